//! Whether what clients saw of one key can have happened one after the other, each operation at some moment between its
//! asking and its answer (linearizability). Exact and cheap, because no value is ever written twice (Gibbons and Korach,
//! "Testing shared memories", 1997). It must not look at anything but the clients' own clocks and answers.

use std::collections::BTreeMap;

/// One operation on the key. Values are numbers, 0 is "not there", which it was at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operation {
    /// When it was asked for.
    pub(super) begun: u64,
    /// When it was answered; never, as far as anybody knows, if it may still take effect.
    pub(super) ended: Option<u64>,
    /// Written, or seen.
    pub(super) value: u64,
    /// Whether it wrote.
    pub(super) writes: bool,
}

/// All operations of one value.
#[derive(Debug, Clone, Copy)]
struct Cluster {
    /// When its write was asked for.
    write_begun: u64,
    first_end: u64,
    last_begin: u64,
    /// Whether anybody knows that it took effect.
    known: bool,
}

/// Judges the operations on one key. Writes that were said to have failed must not be among them.
///
/// # Errors
/// What cannot have happened.
pub(super) fn judge(operations: &[Operation]) -> Result<(), String> {
    let absent = Cluster { write_begun: 0, first_end: 0, last_begin: 0, known: true };
    let mut clusters = BTreeMap::from([(0, absent)]);
    for write in operations.iter().filter(|operation| operation.writes) {
        let Operation { begun, ended, value, .. } = *write;
        let first_end = ended.unwrap_or(u64::MAX);
        let cluster = Cluster { write_begun: begun, first_end, last_begin: begun, known: ended.is_some() };
        if clusters.insert(value, cluster).is_some() {
            return Err(format!("value {value} was written twice"));
        }
    }
    for read in operations.iter().filter(|operation| !operation.writes) {
        let Some(cluster) = clusters.get_mut(&read.value) else {
            return Err(format!("value {} was seen, and nobody wrote it", read.value));
        };
        let ended = read.ended.unwrap_or(u64::MAX);
        if ended < cluster.write_begun {
            return Err(format!("value {} was seen before it was written", read.value));
        }
        cluster.first_end = cluster.first_end.min(ended);
        cluster.last_begin = cluster.last_begin.max(read.begun);
        cluster.known = true;
    }
    zones_fit(&clusters)
}

/// Between the first end and the last beginning of its operations a value must have been the value all the time; where
/// these are the other way round there must be one moment for it.
fn zones_fit(clusters: &BTreeMap<u64, Cluster>) -> Result<(), String> {
    let known = || clusters.iter().filter(|(_, cluster)| cluster.known);
    let mut held: Vec<(u64, u64, u64)> = known()
        .filter(|(_, cluster)| cluster.first_end < cluster.last_begin)
        .map(|(value, cluster)| (cluster.first_end, cluster.last_begin, *value))
        .collect();
    held.sort_unstable();
    for pair in held.windows(2) {
        if let [(_, until, one), (from, _, other)] = pair
            && from < until
        {
            return Err(format!("value {one} was seen again after value {other}"));
        }
    }
    let moments = known().filter(|(_, cluster)| cluster.first_end >= cluster.last_begin);
    for (value, Cluster { first_end, last_begin, .. }) in moments {
        let inside = held.iter().find(|(from, until, _)| from < last_begin && first_end < until);
        if let Some((_, _, other)) = inside {
            return Err(format!("value {value} was there while value {other} was"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(begun: u64, ended: u64, value: u64) -> Operation {
        Operation { begun, ended: Some(ended), value, writes: true }
    }

    fn read(begun: u64, ended: u64, value: u64) -> Operation {
        Operation { begun, ended: Some(ended), value, writes: false }
    }

    #[test]
    fn a_stale_read_and_a_lost_write_are_found() {
        assert_eq!(judge(&[write(1, 2, 7), read(3, 4, 7), write(5, 6, 8), read(7, 8, 8)]), Ok(()));
        assert!(judge(&[write(1, 2, 7), write(5, 6, 8), read(7, 8, 7)]).is_err(), "stale");
        assert!(judge(&[write(1, 2, 7), read(3, 4, 0)]).is_err(), "lost");
        assert!(judge(&[write(1, 9, 7), read(2, 3, 7), read(4, 5, 0)]).is_err(), "back to what was before");
        assert!(judge(&[read(2, 3, 7)]).is_err(), "out of nowhere");
    }

    #[test]
    fn an_unknown_write_may_have_happened_at_any_time_or_never() {
        let unknown = Operation { begun: 3, ended: None, value: 9, writes: true };
        for seen in [0, 9] {
            assert_eq!(judge(&[unknown, read(5, 6, seen)]), Ok(()));
        }
        assert_eq!(judge(&[unknown, read(5, 6, 0), read(7, 8, 9)]), Ok(()));
        assert!(judge(&[unknown, read(5, 6, 9), read(7, 8, 0)]).is_err());
        assert!(judge(&[unknown, read(1, 2, 9)]).is_err());
    }

    /// Tries every order.
    fn brute(left: &[Operation], value: u64) -> bool {
        let first_end = left.iter().filter_map(|operation| operation.ended).min().unwrap_or(u64::MAX);
        if left.iter().all(|operation| operation.ended.is_none()) {
            return true;
        }
        (0..left.len()).any(|at| {
            let next = left[at];
            let rest: Vec<_> =
                left.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, it)| *it).collect();
            let fits = next.writes || next.value == value;
            next.begun <= first_end && fits && brute(&rest, next.value)
        })
    }

    proptest! {
        #[test]
        fn it_agrees_with_trying_every_order(
            writes in proptest::collection::vec((0..12u64, 1..6u64, any::<bool>()), 0..4),
            reads in proptest::collection::vec((0..12u64, 1..6u64, 0..4u64), 0..4),
        ) {
            // Moments are told apart: no two operations begin or end together.
            let written = writes.iter().zip(1..).map(|((begun, length, known), value)| Operation {
                begun: begun * 100 + value,
                ended: known.then_some((begun + length) * 100 + 40 + value),
                value,
                writes: true,
            });
            let seen = reads.iter().zip(10..).map(|((begun, length, value), at)| {
                read(begun * 100 + at, (begun + length) * 100 + 40 + at, *value)
            });
            let all: Vec<_> = written.chain(seen).collect();
            let possible = brute(&all, 0);
            prop_assert_eq!(judge(&all).is_ok(), possible, "{:?}", all);
        }
    }
}
