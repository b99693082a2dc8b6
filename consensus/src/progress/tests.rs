//! The progress of one peer under any answers, also stale, doubled and invented ones (I39, I40).

use proptest::prelude::*;

use super::{Mode, Progress};
use crate::types::Index;

const END: u64 = 12;
const WINDOW: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Happening {
    Send(u64),
    Remind,
    Accepted(u64),
    Rejected { prev: u64, meeting: u64 },
    Pause,
    Heartbeat,
}

fn happening() -> impl Strategy<Value = Happening> {
    let index = 0..=END;
    prop_oneof![
        4 => (1..4u64).prop_map(Happening::Send),
        1 => Just(Happening::Remind),
        4 => index.clone().prop_map(Happening::Accepted),
        3 => (index.clone(), index).prop_map(|(prev, meeting)| Happening::Rejected { prev, meeting }),
        1 => Just(Happening::Pause),
        1 => Just(Happening::Heartbeat),
    ]
}

fn take(progress: &mut Progress, happening: Happening) {
    let before = progress.next.previous();
    match happening {
        Happening::Send(count) if progress.may_send(WINDOW, u64::MAX) && before < Index(END) => {
            progress.sent(Index((before.0 + count).min(END)), count, true);
        }
        Happening::Send(_) => {}
        Happening::Remind => progress.sent(before, 0, false),
        Happening::Accepted(matched) => progress.accepted(Index(matched), Index::ZERO),
        Happening::Rejected { prev, meeting } => progress.rejected(Index(prev), Index(meeting)),
        Happening::Pause => progress.pause(),
        Happening::Heartbeat => {
            if let Mode::Probe { sent } = &mut progress.mode {
                *sent = None;
            }
        }
    }
}

proptest! {
    #[test]
    fn no_answer_brings_it_out_of_bounds(happenings in proptest::collection::vec(happening(), 0..60)) {
        let mut progress = Progress::new(Index(END / 2));
        for happening in happenings {
            let matched = progress.matched;
            take(&mut progress, happening);
            prop_assert!(progress.matched >= matched, "a match never falls (B6)");
            prop_assert!(progress.matched < progress.next && progress.next <= Index(END + 1));
            if let Mode::Replicate { inflight } = &progress.mode {
                prop_assert!(inflight.len() <= WINDOW);
                prop_assert!(inflight.iter().map(|(last, _)| *last).is_sorted());
                prop_assert!(inflight.back().is_none_or(|(last, _)| *last < progress.next));
            }
        }
    }
}

/// A peer whose log is full takes nothing of a probe: it gets the next one at the heartbeat, not at its answer.
#[test]
fn a_probe_of_which_nothing_is_taken_waits() {
    let mut progress = Progress::new(Index(4));
    progress.sent(Index(6), 1, true);
    progress.accepted(Index(4), Index::ZERO);
    assert!(!progress.may_send(WINDOW, u64::MAX));
    progress.accepted(Index(5), Index::ZERO);
    assert!(matches!(&progress.mode, Mode::Replicate { inflight } if inflight.len() == 1));
}
