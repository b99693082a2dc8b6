//! What the replicated state records of each control node, one key each, and its form there.
//!
//! The form lists every field with its type in order; a change of it, a new variant too, needs a higher version. It must not
//! decide what follows from a record.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use ravelin_consensus::{Incarnation, NodeId};
use ravelin_transport::codec::{self, CodecError};

use crate::store::Store;
use crate::store::key::NODES_PREFIX;

/// The version byte of a record.
const RECORD_VERSION: u8 = 1;
/// What the name of a control node's record begins with, after the prefix of nodes.
const CONTROLLER: &str = "controller-";

/// What is wanted of a control node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// To vote, as soon as it has caught up and another makes a pair with it.
    Voter,
    /// To follow without a vote.
    Spare,
    /// Nothing any more.
    Removed {
        /// Even where fewer voters are left then, and none can take its place.
        force: bool,
    },
}

/// What the state records of a control node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// The recovery epoch that it was made in: after a fenced recovery it means nothing.
    pub recovery_epoch: u32,
    /// The life of its data directory.
    pub incarnation: u64,
    /// `host:port` at which the others dial it.
    pub address: String,
    /// SHA-256 of its public key; none where it was never told.
    pub public_key_sha256: Option<[u8; 32]>,
    /// What is wanted of it.
    pub wanted: Wanted,
}

impl NodeRecord {
    /// The record's bytes.
    ///
    /// # Errors
    /// [`CodecError`]: it is larger than any that can be made here.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        Ok(codec::encode(RECORD_VERSION, &RecordV1::from(self))?.to_vec())
    }

    /// A record from its bytes.
    ///
    /// # Errors
    /// [`CodecError`]; a newer version wrote it, or nobody.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode::<RecordV1>(RECORD_VERSION, bytes).map(Self::from)
    }

    /// Whether the node is, or is to be, a member.
    pub fn is_wanted(&self) -> bool {
        !matches!(self.wanted, Wanted::Removed { .. })
    }

    /// The incarnation as the core names it.
    pub fn life(&self) -> Incarnation {
        Incarnation(self.incarnation)
    }
}

#[derive(Debug, Clone, Copy, Encode, Decode)]
enum WantedV1 {
    Voter,
    Spare,
    Removed { force: bool },
}

#[derive(Debug, Clone, Encode, Decode)]
struct RecordV1 {
    recovery_epoch: u32,
    incarnation: u64,
    address: String,
    public_key_sha256: Option<[u8; 32]>,
    wanted: WantedV1,
}

impl From<&NodeRecord> for RecordV1 {
    fn from(record: &NodeRecord) -> Self {
        let NodeRecord { recovery_epoch, incarnation, address, public_key_sha256, wanted } = record.clone();
        let wanted = match wanted {
            Wanted::Voter => WantedV1::Voter,
            Wanted::Spare => WantedV1::Spare,
            Wanted::Removed { force } => WantedV1::Removed { force },
        };
        Self { recovery_epoch, incarnation, address, public_key_sha256, wanted }
    }
}

impl From<RecordV1> for NodeRecord {
    fn from(form: RecordV1) -> Self {
        let RecordV1 { recovery_epoch, incarnation, address, public_key_sha256, wanted } = form;
        let wanted = match wanted {
            WantedV1::Voter => Wanted::Voter,
            WantedV1::Spare => Wanted::Spare,
            WantedV1::Removed { force } => Wanted::Removed { force },
        };
        Self { recovery_epoch, incarnation, address, public_key_sha256, wanted }
    }
}

/// Records by node.
pub type Records = BTreeMap<NodeId, NodeRecord>;

/// The key of a control node's record.
pub fn record_key(node: NodeId) -> String {
    format!("{NODES_PREFIX}{CONTROLLER}{}", node.0)
}

/// The records of the state's own recovery epoch, and the revision that last changed one of them. What a later version wrote is
/// left out.
pub fn records(store: &Store) -> (Records, u64) {
    let prefix = format!("{NODES_PREFIX}{CONTROLLER}");
    let mut records = Records::new();
    let mut at = 0;
    for (key, value) in store.range(&prefix) {
        let Some(node) = key.to_string().strip_prefix(&prefix).and_then(|number| number.parse().ok()) else {
            continue;
        };
        let Ok(record) = NodeRecord::decode(&value.bytes) else { continue };
        if record.recovery_epoch == store.recovery_epoch() {
            at = at.max(value.modified);
            records.insert(NodeId(node), record);
        }
    }
    (records, at)
}

/// Nodes that are recorded in earlier recovery epochs only, with their keys: what they held was given up, and they with it.
pub fn former(store: &Store) -> BTreeMap<NodeId, [u8; 32]> {
    let prefix = format!("{NODES_PREFIX}{CONTROLLER}");
    let all = store.range(&prefix).filter_map(|(key, value)| {
        let node = key.to_string().strip_prefix(&prefix)?.parse().ok()?;
        let record = NodeRecord::decode(&value.bytes).ok()?;
        let key = record.public_key_sha256?;
        (record.recovery_epoch < store.recovery_epoch()).then_some((NodeId(node), key))
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new variant is read as nothing by the version before: it needs a higher one, and a line here.
    #[test]
    fn the_form_of_every_record_is_fixed() {
        let forms = [
            (Wanted::Voter, "00000000"),
            (Wanted::Spare, "01000000"),
            (Wanted::Removed { force: false }, "0200000000"),
            (Wanted::Removed { force: true }, "0200000001"),
        ];
        for (wanted, form) in forms {
            let record = NodeRecord {
                recovery_epoch: 0,
                incarnation: 1,
                address: "127.0.0.1:1".to_owned(),
                public_key_sha256: Some([7; 32]),
                wanted,
            };
            let bytes = record.encode().expect("small");
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let address = "0b000000000000003132372e302e302e313a31";
            assert_eq!(hex, format!("01000000000100000000000000{address}01{}{form}", "07".repeat(32)));
            assert_eq!(NodeRecord::decode(&bytes).expect("its own"), record);
            let newer = [&[RECORD_VERSION + 1], &bytes[1..]].concat();
            assert!(matches!(NodeRecord::decode(&newer), Err(CodecError::Version { .. })));
            let mut unknown = bytes;
            let at = unknown.len() - form.len() / 2;
            unknown[at] = 3;
            assert!(matches!(NodeRecord::decode(&unknown), Err(CodecError::Malformed(_))));
        }
    }
}
