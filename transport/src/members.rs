//! Who the control nodes are, as far as this node was told: by their recorded public keys they know each other, whatever the
//! authority has signed, and who is no member is not heard.
//!
//! It begins with what the identity file says. Once the cluster's log says more, the shell of the control plane records that
//! instead: what the log says wins. It must not decide who is a member, and knows nothing of logs.

use crate::error::Refusal;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;

/// SHA-256 of a public key (the DER of the SubjectPublicKeyInfo).
pub type KeySha256 = [u8; 32];

/// The control nodes that a node may speak with, each list by number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    /// The recorded keys.
    pub keys: BTreeMap<u64, KeySha256>,
    /// Members, whether or not their key is recorded.
    pub members: BTreeSet<u64>,
    /// The keys of nodes that were members and are not any more: never heard again. Another key under such a number is a new
    /// node that was not recorded yet.
    pub removed: BTreeMap<u64, KeySha256>,
    /// Whether nodes that are neither are heard as well. A member that was away must be able to hear of members that came
    /// meanwhile, from them; one that has caught up hears nobody whom the log does not name.
    pub strangers: bool,
}

/// The roster, shared by everything that judges peers; a change is seen by connections that stand.
#[derive(Debug)]
pub struct Members {
    roster: watch::Sender<Roster>,
}

impl Members {
    pub(crate) fn new(keys: BTreeMap<u64, KeySha256>) -> Self {
        Self { roster: watch::Sender::new(Roster { keys, strangers: true, ..Roster::default() }) }
    }

    /// Puts this in the place of all that was recorded. Connections of control nodes that it does not admit end at once.
    pub fn record(&self, roster: Roster) {
        self.roster.send_if_modified(|recorded| {
            let is_news = *recorded != roster;
            *recorded = roster;
            is_news
        });
    }

    pub(crate) fn key_of(&self, node: u64) -> Option<KeySha256> {
        self.roster.borrow().keys.get(&node).copied()
    }

    /// Whether a control node that proved this key is admitted.
    pub(crate) fn judge(&self, node: u64, key: KeySha256) -> Result<(), Refusal> {
        self.roster.borrow().judge(node, key)
    }

    /// Waits until a control node that proved this key is no longer admitted, and says why. Cancel safe.
    pub(crate) async fn contradict(&self, node: u64, key: KeySha256) -> Refusal {
        let mut roster = self.roster.subscribe();
        match roster
            .wait_for(|roster| roster.judge(node, key).is_err())
            .await
            .map(|roster| roster.judge(node, key))
        {
            Ok(Err(refusal)) => refusal,
            Ok(Ok(())) | Err(_) => std::future::pending().await,
        }
    }
}

impl Roster {
    fn judge(&self, node: u64, key: KeySha256) -> Result<(), Refusal> {
        if self.removed.get(&node) == Some(&key) {
            return Err(Refusal::Removed { node });
        }
        if self.keys.get(&node).is_some_and(|recorded| *recorded != key) {
            return Err(Refusal::WrongKey { node });
        }
        if !self.strangers && !self.members.contains(&node) {
            return Err(Refusal::NotAMember { node });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeySha256 = [1; 32];

    #[test]
    fn the_removed_are_never_heard_and_strangers_only_while_they_may_be_news() {
        let mut roster = Roster {
            keys: [(2, KEY)].into(),
            members: [2, 3].into(),
            removed: [(4, KEY)].into(),
            strangers: false,
        };
        assert_eq!(roster.judge(2, KEY), Ok(()));
        assert_eq!(roster.judge(2, [2; 32]), Err(Refusal::WrongKey { node: 2 }));
        assert_eq!(roster.judge(3, KEY), Ok(()), "a member whose key is not recorded");
        assert_eq!(roster.judge(4, KEY), Err(Refusal::Removed { node: 4 }));
        assert_eq!(roster.judge(5, KEY), Err(Refusal::NotAMember { node: 5 }));
        assert_eq!(
            roster.judge(4, [2; 32]),
            Err(Refusal::NotAMember { node: 4 }),
            "a later node of the number"
        );
        roster.strangers = true;
        assert_eq!(roster.judge(5, KEY), Ok(()));
        assert_eq!(roster.judge(4, KEY), Err(Refusal::Removed { node: 4 }), "whoever else is heard");
    }
}
