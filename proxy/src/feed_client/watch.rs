//! The deadlines of one attachment: a control node has to get on, not merely to be there. Plain state; nothing waits here.

use std::time::Duration;

use ravelin_config::GenerationId;
use tokio::time::Instant;

use super::attachment::{self, Worth};
use super::{Ended, FeedTimes};

/// Transfers that may begin, or be asked for, without one coming to its end.
const TRANSFERS_MAX: u32 = 4;

/// What is due from the control node, and since when.
#[derive(Debug)]
pub(super) struct Watch {
    times: FeedTimes,
    /// The last frame; none before the first.
    heard: Option<Instant>,
    /// A part is due: the whole was asked for, or a transfer has begun.
    part_due_since: Option<Instant>,
    /// Transfers begun since the last that was of use.
    transfers: u32,
    /// A complete generation is with the compiler: the control node waits for this proxy, and says nothing meanwhile.
    judging: Option<(GenerationId, Instant)>,
    /// It was told that this takes too long.
    overdue_told: bool,
    stale: bool,
    leads: bool,
    was_useful: bool,
    /// Another control node has this; it is due from this one too.
    owed: Option<(GenerationId, Instant)>,
}

impl Watch {
    pub(super) fn new(times: FeedTimes) -> Self {
        Self {
            times,
            heard: None,
            part_due_since: None,
            transfers: 0,
            judging: None,
            overdue_told: false,
            stale: false,
            leads: false,
            was_useful: false,
            owed: None,
        }
    }

    /// A frame came. True if it is the first.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        self.heard.replace(now).is_none()
    }

    /// It said whether a quorum stands behind it. True if that is news.
    pub(super) fn set_stale(&mut self, stale: bool) -> bool {
        std::mem::replace(&mut self.stale, stale) != stale
    }

    /// It said whether it leads. True if that is news.
    pub(super) fn set_leads(&mut self, leads: bool) -> bool {
        std::mem::replace(&mut self.leads, leads) != leads
    }

    pub(super) fn worth(&self) -> Worth {
        match self.heard {
            None => Worth::Wordless,
            Some(_) => attachment::worth(self.stale, self.leads),
        }
    }

    /// A transfer begins anew, or is asked for.
    ///
    /// # Errors
    /// [`Ended::NoProgress`]: too many have begun and led nowhere.
    pub(super) fn transfer(&mut self, now: Instant) -> Result<(), Ended> {
        self.part_due_since = Some(now);
        self.transfers += 1;
        if self.transfers > TRANSFERS_MAX { Err(Ended::NoProgress(self.transfers)) } else { Ok(()) }
    }

    /// A part was taken, others follow.
    pub(super) fn part(&mut self, now: Instant) {
        self.part_due_since = Some(now);
    }

    /// Whether a transfer has begun or was asked for.
    pub(super) fn is_part_due(&self) -> bool {
        self.part_due_since.is_some()
    }

    /// A transfer has ended that brought nothing new.
    pub(super) fn nothing_due(&mut self) {
        self.part_due_since = None;
    }

    /// It was of use: what is held is what it feeds, or a transfer came to its end. True if for the first time.
    pub(super) fn useful(&mut self) -> bool {
        self.part_due_since = None;
        self.transfers = 0;
        !std::mem::replace(&mut self.was_useful, true)
    }

    /// A complete generation went to the compiler.
    pub(super) fn judging(&mut self, generation: GenerationId, now: Instant) {
        // One that waits behind another waits for the same compiler.
        let since = self.judging.map_or(now, |(_, since)| since);
        self.judging = Some((generation, since));
    }

    /// When the compiler has taken too long, unless that was told.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        let (_, since) = self.judging.filter(|_| !self.overdue_told)?;
        Some(since + self.times.judged)
    }

    /// It is told now that the compiler takes too long: over this generation, or one that this one waits for.
    pub(super) fn tell_overdue(&mut self) -> Option<GenerationId> {
        self.overdue_told = true;
        self.judging.map(|(generation, _)| generation)
    }

    /// The compiler spoke of a generation.
    pub(super) fn judged(&mut self, generation: GenerationId, now: Instant) {
        self.overdue_told = false;
        if let Some((judging, since)) = &mut self.judging {
            if judging.is_newer_than(&generation) {
                *since = now;
                return;
            }
            self.judging = None;
            self.heard = self.heard.map(|_| now);
        }
    }

    /// Another control node offers this; here it is due within the grace time.
    pub(super) fn owe(&mut self, generation: GenerationId, now: Instant) {
        self.owed.get_or_insert((generation, now + self.times.owed));
    }

    /// When to leave, and why, if nothing happens until then.
    pub(super) fn deadline(&mut self, held: Option<GenerationId>) -> Option<(Instant, Ended)> {
        let has = |wanted: &GenerationId| {
            [held, self.judging.map(|(judging, _)| judging)]
                .into_iter()
                .flatten()
                .any(|has| !wanted.is_newer_than(&has))
        };
        if self.owed.as_ref().is_some_and(|(generation, _)| has(generation)) {
            self.owed = None;
        }
        if self.judging.is_some() {
            return None;
        }
        if let Some(since) = self.part_due_since {
            return Some((since + self.times.part, Ended::Stalled(self.times.part)));
        }
        let silent = self.heard.map(|at| (at + self.times.silence, Ended::Silent(self.times.silence)));
        let lagging = self.owed.map(|(offered, at)| (at, Ended::Lagging { offered }));
        silent.into_iter().chain(lagging).min_by_key(|(at, _)| *at)
    }

    /// How long to wait before another control node is asked for comparison, where this one is well.
    pub(super) fn audit_interval(&self) -> Duration {
        self.times.audit
    }
}

#[cfg(test)]
mod tests {
    use ravelin_config::Digest;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn id(revision: u64) -> GenerationId {
        GenerationId { cluster: [1; 16], recovery_epoch: 0, revision, digest: Digest([0; 32]) }
    }

    #[test]
    fn silence_counts_from_the_first_word_and_not_while_this_proxy_is_the_slow_one() {
        let times = FeedTimes::default();
        let now = Instant::now();
        let mut watch = Watch::new(times);
        assert!(watch.deadline(None).is_none(), "a control node without configuration has nothing to say");
        assert!(watch.heard(now) && !watch.heard(now));
        assert!(matches!(watch.deadline(None), Some((at, Ended::Silent(_))) if at == now + times.silence));
        watch.judging(id(2), now);
        assert_eq!(watch.overdue_at(), Some(now + times.judged));
        assert!(watch.deadline(None).is_none(), "the compiler may take its time");
        watch.judged(id(1), now + SECOND);
        assert_eq!(watch.overdue_at(), Some(now + SECOND + times.judged), "the compiler gets on");
        assert_eq!((watch.tell_overdue(), watch.overdue_at()), (Some(id(2)), None), "told once");
        assert!(watch.deadline(None).is_none(), "an older verdict is not the one waited for");
        watch.judged(id(2), now + 9 * SECOND);
        let after = watch.deadline(None).map(|(at, _)| at);
        assert_eq!(after, Some(now + 9 * SECOND + times.silence), "its word is due from then on");
    }

    #[test]
    fn transfers_get_on_part_by_part_and_not_for_ever_anew() {
        let times = FeedTimes::default();
        let now = Instant::now();
        let mut watch = Watch::new(times);
        watch.heard(now);
        watch.transfer(now).expect("the first");
        watch.heard(now + 19 * SECOND);
        assert!(matches!(watch.deadline(None), Some((at, Ended::Stalled(_))) if at == now + times.part));
        watch.part(now + 19 * SECOND);
        assert!(watch.deadline(None).is_some_and(|(at, _)| at == now + 19 * SECOND + times.part));
        for _ in 1..TRANSFERS_MAX {
            watch.transfer(now).expect("not yet too many");
        }
        assert!(matches!(watch.transfer(now), Err(Ended::NoProgress(_))));
        assert!(watch.useful() && !watch.useful(), "told once");
        watch.transfer(now).expect("counted anew");
    }

    #[test]
    fn what_another_node_has_is_owed_until_it_came() {
        let times = FeedTimes::default();
        let now = Instant::now();
        let mut watch = Watch::new(times);
        watch.heard(now + times.owed);
        watch.owe(id(5), now);
        watch.owe(id(6), now + SECOND);
        let due = watch.deadline(Some(id(4)));
        assert!(matches!(due, Some((at, Ended::Lagging { .. })) if at == now + times.owed), "{due:?}");
        assert!(matches!(watch.deadline(Some(id(5))), Some((_, Ended::Silent(_)))), "it came");
    }
}
