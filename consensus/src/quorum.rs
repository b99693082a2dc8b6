//! The one place where members are counted: commit, elections, reads and check-quorum all ask here.

use std::collections::BTreeMap;

use crate::configuration::Configuration;
use crate::types::{Incarnation, NodeId};

/// The greatest value that a majority of the voters has reached and, in a joint configuration, a majority of the
/// outgoing voters as well (paper §5.3 and §6; I4, I16, I20). Learners are never asked. 0 without voters.
pub fn agreed(configuration: &Configuration, value: impl Fn(NodeId) -> u64) -> u64 {
    let incoming = majority(&configuration.voters, &value);
    if configuration.outgoing.is_empty() {
        incoming
    } else {
        incoming.min(majority(&configuration.outgoing, &value))
    }
}

/// Whether enough of the members for which `said_yes` holds are voters (I19: each counts once).
pub fn reached(configuration: &Configuration, said_yes: impl Fn(NodeId) -> bool) -> bool {
    agreed(configuration, |node| u64::from(said_yes(node))) == 1
}

fn majority(members: &BTreeMap<NodeId, Incarnation>, value: &impl Fn(NodeId) -> u64) -> u64 {
    let quorum = members.len() / 2 + 1;
    let has_reached = |least: u64| members.keys().filter(|node| value(**node) >= least).count() >= quorum;
    let values = members.keys().map(|node| value(*node));
    values.fold(0, |best, next| if next > best && has_reached(next) { next } else { best })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{agreed, reached};
    use crate::configuration::Configuration;
    use crate::types::{Incarnation, NodeId};

    fn configuration(voters: &[u64], outgoing: &[u64]) -> Configuration {
        let part = |ids: &[u64]| ids.iter().map(|id| (NodeId(*id), Incarnation(0))).collect();
        Configuration {
            voters: part(voters),
            outgoing: part(outgoing),
            learners: part(&[99]),
            ..Configuration::default()
        }
    }

    #[test]
    fn majorities_of_small_sets() {
        let identity = |node: NodeId| node.0;
        assert_eq!(agreed(&configuration(&[], &[]), identity), 0);
        assert_eq!(agreed(&configuration(&[5], &[]), identity), 5);
        assert_eq!(agreed(&configuration(&[5, 6], &[]), identity), 5);
        assert_eq!(agreed(&configuration(&[5, 6, 7], &[]), identity), 6);
        assert_eq!(agreed(&configuration(&[5, 6, 7, 8], &[]), identity), 6);
        assert_eq!(agreed(&configuration(&[5, 6, 7], &[1, 2]), identity), 1);
    }

    #[test]
    fn any_number_of_voters_is_counted() {
        assert_eq!(agreed(&configuration(&[1, 2, 3, 4, 5, 6, 7, 8], &[]), |node| node.0), 4);
        assert_eq!(agreed(&configuration(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[]), |node| node.0), 5);
    }

    #[test]
    fn learners_do_not_count() {
        assert!(!reached(&configuration(&[1, 2, 3], &[]), |node| node.0 == 1 || node.0 == 99));
        assert!(!reached(&configuration(&[], &[]), |_| true));
    }

    /// The definition, tried with every value there is: more than half of each part that decides has reached it.
    fn tried(parts: [&BTreeSet<u64>; 2], value: impl Fn(u64) -> u64) -> u64 {
        let fits = |least: &u64| {
            parts.into_iter().filter(|part| !part.is_empty()).all(|part| {
                let (enough, short): (Vec<u64>, Vec<u64>) = part.iter().partition(|id| value(**id) >= *least);
                enough.len() > short.len()
            })
        };
        if parts[0].is_empty() { 0 } else { (0..8).filter(fits).max().unwrap_or_default() }
    }

    proptest! {
        #[test]
        fn what_is_agreed_is_what_trying_every_value_finds(
            voters in proptest::collection::btree_set(1..10u64, 0..8),
            outgoing in proptest::collection::btree_set(1..10u64, 0..8),
            values in proptest::collection::vec(0..8u64, 10),
        ) {
            let value = |id: u64| values.get(id as usize).copied().unwrap_or(7);
            let list = |part: &BTreeSet<u64>| part.iter().copied().collect::<Vec<_>>();
            let members = configuration(&list(&voters), &list(&outgoing));
            let expected = tried([&voters, &outgoing], value);
            prop_assert_eq!(agreed(&members, |node| value(node.0)), expected);
            let yes = |id: u64| value(id) >= 4;
            let expected = tried([&voters, &outgoing], |id| u64::from(yes(id))) == 1;
            prop_assert_eq!(reached(&members, |node| yes(node.0)), expected);
        }
    }
}
