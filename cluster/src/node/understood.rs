//! What each member understands, as the log records it under `nodes/controller-<number>/understands`: what may follow from it
//! holds for members that are away too. The leader writes what members say of themselves; it must not raise anything by itself.

use std::sync::Arc;
use std::time::Duration;

use bincode::{Decode, Encode};
use ravelin_config::Understands;
use ravelin_config::understands::UnderstandsV1;
use ravelin_consensus::{Input, NodeId, ProposalId, Time};
use ravelin_transport::codec::{self, CodecError};

use super::timers::between;
use super::wire::RAFT_VERSIONS;
use super::{Node, Proposer};
use crate::members::record_key;
use crate::store::{Author, Change, ChangeId, Command, FEATURE_LEVEL, Put, StoreKey};

/// The version byte of a record.
const UNDERSTOOD_VERSION: u8 = 1;
/// How long a write may be on its way before it is proposed again.
const RETRY: Duration = Duration::from_secs(1);

/// What a control node can read, and the highest feature level that its version knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Understood {
    /// On lane Raft, and of objects.
    pub understands: Understands,
    /// Of the replicated state.
    pub feature_level: u16,
}

#[derive(Debug, Encode, Decode)]
struct UnderstoodV1 {
    understands: UnderstandsV1,
    feature_level: u16,
}

impl Understood {
    /// What this build says of itself.
    pub fn this_build() -> Self {
        Self { understands: Understands::this_build(RAFT_VERSIONS), feature_level: FEATURE_LEVEL }
    }

    fn encode(&self) -> Result<Arc<[u8]>, CodecError> {
        let wire = UnderstoodV1 {
            understands: UnderstandsV1::from(&self.understands),
            feature_level: self.feature_level,
        };
        Ok(Arc::from(codec::encode(UNDERSTOOD_VERSION, &wire)?.as_ref()))
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let UnderstoodV1 { understands, feature_level } = codec::decode(UNDERSTOOD_VERSION, bytes)?;
        let understands =
            Understands::try_from(understands).map_err(|error| CodecError::Meaning(Box::new(error)))?;
        Ok(Self { understands, feature_level })
    }
}

/// The key of a member's record.
fn key(node: NodeId) -> String {
    format!("{}/understands", record_key(node))
}

impl Node {
    /// What a member said when it was last heard, by the log.
    pub fn understood(&self, node: NodeId) -> Option<Understood> {
        Understood::decode(&self.store.get(&key(node))?.bytes).ok()
    }

    /// Whether every member is known to support a feature level.
    pub(super) fn all_support(&self, level: u16) -> bool {
        let mut members = self.core.configuration().members();
        members.all(|node| self.understood(node).is_some_and(|said| said.feature_level >= level))
    }

    /// On the leader: records what members say of themselves, where the log has something else.
    pub(super) fn record_understood(&mut self, now: Time) {
        if !self.is_healthy() || self.recorded.is_some_and(|at| between(at, now) < RETRY) {
            return;
        }
        let me = self.me();
        let members = self.core.configuration();
        let own = std::iter::once((me, Understood::this_build()));
        let others = self.roles.presences().map(|(node, said)| {
            let understands = said.understands.clone();
            (node, Understood { understands, feature_level: said.feature_level })
        });
        let news = own.chain(others).filter(|(node, _)| members.incarnation(*node).is_some());
        let puts = news.filter_map(|(node, said)| {
            let (key, bytes) = (key(node), said.encode().ok()?);
            let is_known = self.store.get(&key).is_some_and(|value| value.bytes == bytes);
            Some(Put::new(StoreKey::new(&key).ok().filter(|_| !is_known)?, bytes))
        });
        let puts: Vec<Put> = puts.collect();
        if puts.is_empty() {
            return;
        }
        let change = Change {
            id: ChangeId(self.random.id()),
            author: Author::Operator { name: format!("controller-{me}") },
            at_unix_ms: now.micros / 1000,
            base: None,
            puts,
            deletes: Vec::new(),
        };
        self.recorded = Some(now);
        if let Ok(payload) = Command::Change(change).encode() {
            let id = ProposalId(self.number());
            self.proposals.insert(id, Proposer::Roles);
            self.step(now, Input::Propose { id, payload });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_record_is_fixed() {
        let said = Understood {
            understands: Understands {
                formats: ravelin_config::Versions { oldest: 1, newest: 2 },
                kinds: [(1, 1), (41, 3)].into(),
                features: 5,
            },
            feature_level: 6,
        };
        let bytes = said.encode().expect("small");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0101020200000000000000010001002900030005000000000000000600");
        assert_eq!(Understood::decode(&bytes).expect("own encoding"), said);
        let newer = [&[UNDERSTOOD_VERSION + 1], &bytes[1..]].concat();
        assert!(matches!(Understood::decode(&newer), Err(CodecError::Version { .. })));
    }
}
