//! The log against a naive list.

use proptest::prelude::*;

use super::Log;
use crate::configuration::Configuration;
use crate::durable::SnapshotMeta;
use crate::entry::{Entry, EntryKind};
use crate::types::{Incarnation, Index, NodeId, Term};

#[derive(Clone, Debug)]
enum Change {
    Append { term_step: u64, kind: u8 },
    Truncate(u64),
    Compact { index: u64, trailing: u64, wanted: u64, kept: u64 },
    Restart { ahead: u64, term_step: u64 },
    Lend { first: u64, count: u64 },
    Receive { terms: Vec<u64> },
    Hand(u64),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0..3u64, 0..6u8).prop_map(|(term_step, kind)| Change::Append { term_step, kind }),
        2 => (0..12u64).prop_map(Change::Truncate),
        1 => (0..12u64, 0..200u64, 0..12u64, 0..200u64).prop_map(|(index, trailing, wanted, kept)| {
            Change::Compact { index, trailing, wanted, kept }
        }),
        1 => (0..4u64, 0..3u64).prop_map(|(ahead, term_step)| Change::Restart { ahead, term_step }),
        6 => (0..12u64, 0..5u64).prop_map(|(first, count)| Change::Lend { first, count }),
        1 => proptest::collection::vec(0..2u64, 1..4).prop_map(|terms| Change::Receive { terms }),
        1 => (0..12u64).prop_map(Change::Hand),
    ]
}

fn configuration(tag: u64) -> Configuration {
    Configuration::of_voters([(NodeId(tag), Incarnation(0))])
}

/// Entries from the very first, with what a snapshot has replaced as `None`.
struct Naive {
    base: u64,
    all: Vec<(Term, Option<Entry<u8>>, Configuration)>,
}

impl Naive {
    fn last(&self) -> u64 {
        self.all.len() as u64
    }

    fn term_at(&self, index: u64) -> Option<Term> {
        if index < self.base {
            return None;
        }
        if index == 0 { Some(Term(0)) } else { self.all.get(index as usize - 1).map(|(term, ..)| *term) }
    }

    fn meeting_point(&self, index: u64, term: Term) -> Option<u64> {
        (self.base..=index.min(self.last()))
            .rev()
            .find(|at| self.term_at(*at).is_some_and(|here| here <= term))
    }

    fn configuration_at(&self, index: u64) -> Configuration {
        if index == 0 { configuration(0) } else { self.all[index as usize - 1].2.clone() }
    }
}

/// Entries of a leader, shared as they came.
fn receive(log: &mut Log<u8>, naive: &mut Naive, last_term: Term, terms: &[u64]) {
    let mut term = last_term.0.max(1);
    let next = |step: &u64| {
        term += step;
        Entry { term: Term(term), kind: EntryKind::Command(9) }
    };
    let received: Vec<_> = terms.iter().map(next).collect();
    let members = naive.configuration_at(naive.last());
    for entry in &received {
        log.append(entry.clone());
        naive.all.push((entry.term, Some(entry.clone()), members.clone()));
    }
    log.received(received.iter().map(Entry::size_bytes).sum(), received.into());
}

fn apply(log: &mut Log<u8>, naive: &mut Naive, change: &Change) {
    let last_term = naive.term_at(naive.last()).unwrap_or_default();
    match change {
        Change::Append { term_step, kind } => {
            let term = Term((last_term.0 + term_step).max(1));
            let before = naive.configuration_at(naive.last());
            let (kind, after) = match kind {
                0 => (EntryKind::Empty, before),
                1 => {
                    let configuration = configuration(naive.last() + 1);
                    (EntryKind::Configuration(configuration.clone()), configuration)
                }
                other => (EntryKind::Command(*other), before),
            };
            let entry = Entry { term, kind };
            naive.all.push((term, Some(entry.clone()), after));
            log.append(entry);
        }
        Change::Truncate(first) => {
            // The core never cuts what a snapshot covers.
            let first = (*first).max(log.snapshot_index().0 + 1);
            log.truncate(Index(first));
            naive.all.truncate(first as usize - 1);
        }
        Change::Compact { index, trailing, wanted, kept } => {
            let index = (*index).clamp(naive.base.max(log.snapshot_index().0), naive.last());
            let Some(term) = naive.term_at(index).filter(|_| index > 0) else { return };
            let configuration = naive.configuration_at(index);
            log.compact(
                SnapshotMeta { index: Index(index), term, digest: [0; 32], configuration },
                *trailing,
                (Index(*wanted), *kept),
            );
            let covered = |base: u64| -> u64 {
                let held = naive.all[base as usize..index as usize].iter();
                held.filter_map(|(_, entry, _)| entry.as_ref()).map(Entry::size_bytes).sum()
            };
            let may_stay = |base: &u64| {
                let most = if base < wanted { *trailing } else { *trailing.max(kept) };
                covered(*base) <= most
            };
            naive.base = (naive.base..=index).find(may_stay).unwrap_or(index);
        }
        Change::Restart { ahead, term_step } => {
            let (index, term) = (naive.last() + ahead + 1, Term(last_term.0 + term_step + 1));
            let configuration = configuration(1000 + index);
            let meta = SnapshotMeta {
                index: Index(index),
                term,
                digest: [0; 32],
                configuration: configuration.clone(),
            };
            log.restart(meta);
            naive.base = index;
            naive.all.resize(index as usize, (term, None, configuration));
        }
        Change::Lend { first, count } => {
            let held = |index: &u64| *index > naive.base && *index <= naive.last() && *first > naive.base;
            let wanted = (*first..first + count).filter(held);
            let wanted: Vec<_> = wanted.filter_map(|index| naive.all[index as usize - 1].1.clone()).collect();
            assert_eq!(log.range(Index(*first), Index(first + count).previous()).to_vec(), wanted);
        }
        Change::Receive { terms } => receive(log, naive, last_term, terms),
        Change::Hand(index) => log.handed(Index(*index)),
    }
}

proptest! {
    #[test]
    fn equals_a_naive_list(changes in proptest::collection::vec(change(), 0..40)) {
        let mut log = Log::new(None, configuration(0));
        let mut naive = Naive { base: 0, all: Vec::new() };
        for change in &changes {
            apply(&mut log, &mut naive, change);
            prop_assert!(log.is_coherent(), "{log:?}");
            prop_assert_eq!(log.base(), Index(naive.base));
            prop_assert_eq!(log.last_index(), Index(naive.last()));
            prop_assert_eq!(Some(log.last_term()), naive.term_at(naive.last()));
            prop_assert_eq!(log.configuration(), &naive.configuration_at(naive.last()));
            for index in 0..naive.last() + 3 {
                prop_assert_eq!(log.term_at(Index(index)), naive.term_at(index));
                let held = index > naive.base && index <= naive.last();
                let entry = naive.all.get((index as usize).wrapping_sub(1)).and_then(|(_, entry, _)| entry.as_ref());
                prop_assert_eq!(log.entry(Index(index)), entry.filter(|_| held));
                if index >= naive.base && index <= naive.last() {
                    prop_assert_eq!(log.configuration_at(Index(index)), &naive.configuration_at(index));
                }
                for term in 0..log.last_term().0 + 2 {
                    let found = log.meeting_point(Index(index), Term(term));
                    prop_assert_eq!(found, naive.meeting_point(index, Term(term)).map(Index));
                }
            }
        }
    }

    #[test]
    fn bounded_ranges_keep_their_bounds(
        count in 0..20usize, first in 0..22u64, last in 0..22u64, entries_max in 0..6usize, bytes_max in 0..200u64,
    ) {
        let mut log = Log::new(None, configuration(0));
        for _ in 0..count {
            log.append(Entry { term: Term(1), kind: EntryKind::Command(0u8) });
        }
        // What was given out before, to whoever has other bounds, changes nothing.
        for lent in [0, 1, 2, last] {
            log.range(Index(first), Index(lent));
            let (entries, bytes) = log.bounded((Index(first), Index(last)), entries_max, bytes_max);
            prop_assert!(entries.len() <= entries_max);
            prop_assert!(entries.len() <= 1 || bytes <= bytes_max);
            prop_assert_eq!(bytes, entries.iter().map(Entry::size_bytes).sum::<u64>());
            let there = first >= 1 && first <= last.min(count as u64);
            prop_assert_eq!(!entries.is_empty(), there && entries_max > 0);
        }
    }
}

proptest! {
    /// L4 (B32): where two logs part, each question skips a whole term of one of them.
    #[test]
    fn back_off_takes_a_question_for_each_run(
        common in proptest::collection::vec(0..2u64, 0..6),
        ours in proptest::collection::vec(0..2u64, 0..12),
        theirs in proptest::collection::vec(0..2u64, 0..12),
    ) {
        // Terms after the common part are even in one log and odd in the other.
        let build = |parity: u64, suffix: &[u64]| {
            let mut log = Log::new(None, configuration(0));
            let mut term = 1;
            for step in &common {
                term += step * 2;
                log.append(Entry { term: Term(term), kind: EntryKind::Command(0u8) });
            }
            term += 1 + parity;
            for step in suffix {
                term += step * 2;
                log.append(Entry { term: Term(term), kind: EntryKind::Command(0u8) });
            }
            log
        };
        let (leader, follower) = (build(0, &ours), build(1, &theirs));
        let mut prev = leader.last_index();
        let mut questions = 1;
        while leader.term_at(prev) != follower.term_at(prev) {
            let term = leader.term_at(prev).unwrap_or_default();
            let hint = follower.meeting_point(prev, term).unwrap_or(Index::ZERO);
            let meeting = leader.meeting_point(hint, follower.term_at(hint).unwrap_or_default());
            prev = meeting.unwrap_or(Index::ZERO).min(prev.previous());
            questions += 1;
        }
        prop_assert!(prev >= Index(common.len() as u64) || prev == leader.last_index());
        prop_assert!(questions <= leader.runs.len() + follower.runs.len() + 1, "{questions} questions");
    }
}

/// Terms 1, 1, 2 with a configuration at 2, and nothing that was lent.
fn small() -> Log<u8> {
    let mut log = Log::new(None, configuration(1));
    for (term, kind) in
        [(1, EntryKind::Empty), (1, EntryKind::Configuration(configuration(2))), (2, EntryKind::Command(3))]
    {
        log.append(Entry { term: Term(term), kind });
    }
    log
}

#[test]
fn a_bound_of_bytes_is_reached_and_not_passed() {
    let sizes: Vec<u64> = (1..=3).map(|index| small().sum(Index(index), Index(index))).collect();
    let both = sizes[0] + sizes[1];
    let count = |bytes_max| small().bounded((Index(1), Index(3)), 10, bytes_max).0.len();
    assert_eq!([count(both - 1), count(both), count(both + sizes[2])], [1, 2, 3]);
}

#[test]
fn configurations_since_an_index_are_the_one_then_and_those_after_it() {
    let mut log = small();
    log.append(Entry { term: Term(2), kind: EntryKind::Configuration(configuration(4)) });
    let since = |index| log.configurations_since(Index(index)).cloned().collect::<Vec<_>>();
    assert_eq!(since(0), [configuration(1), configuration(2), configuration(4)]);
    assert_eq!(since(2), [configuration(2), configuration(4)]);
    assert_eq!(since(4), [configuration(4)]);
}

#[test]
fn what_is_wanted_is_kept_up_to_the_entry_that_is() {
    let meta = |log: &Log<u8>| SnapshotMeta {
        index: Index(3),
        term: Term(2),
        digest: [0; 32],
        configuration: log.configuration_at(Index(3)).clone(),
    };
    // What follows the wanted place stays, although nothing else would keep it; what lies before it goes.
    for (wanted, base) in [(0, 0), (1, 1), (2, 2), (3, 3)] {
        let mut log = small();
        let meta = meta(&log);
        log.compact(meta, 0, (Index(wanted), u64::MAX));
        assert_eq!(log.base(), Index(base), "wanted after {wanted}");
    }
}

/// Each part by itself: that all of them agree says nothing about a check that looks at one only.
#[test]
fn a_log_whose_parts_do_not_agree_is_not_coherent() {
    assert!(small().is_coherent());
    let snapshot = |index, term| {
        let configuration = configuration(2);
        Some(SnapshotMeta { index: Index(index), term: Term(term), digest: [0; 32], configuration })
    };
    let mut falling = Log::new(None, configuration(1));
    falling.append(Entry { term: Term(2), kind: EntryKind::Command(1u8) });
    falling.append(Entry { term: Term(1), kind: EntryKind::Command(1) });
    falling.append(Entry { term: Term(1), kind: EntryKind::Command(1) });
    let broken = |slip: fn(&mut Log<u8>)| {
        let mut log = small();
        slip(&mut log);
        log
    };
    let mut before_base = small();
    before_base.compact(snapshot(3, 2).expect("just made"), 0, (Index::MAX, 0));
    before_base.snapshot = None;
    let mut another_term = small();
    another_term.snapshot = snapshot(3, 1);
    let logs = [
        falling,
        broken(|log| log.runs.clear()),
        broken(|log| log.configurations.clear()),
        broken(|log| log.bytes += 1),
        before_base,
        another_term,
    ];
    for (place, log) in logs.iter().enumerate() {
        assert!(!log.is_coherent(), "{place}");
    }
}

#[test]
fn every_configuration_that_a_log_names_gets_its_new_names() {
    let mut log = small();
    log.map_configurations(|_| configuration(9));
    assert!([0, 1, 2, 3].into_iter().all(|index| *log.configuration_at(Index(index)) == configuration(9)));
    assert_eq!(log.entry(Index(2)).and_then(Entry::members), Some(&configuration(9)));
    assert!(log.is_coherent());
}
