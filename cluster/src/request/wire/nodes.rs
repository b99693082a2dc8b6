//! Wire forms of what is asked and answered about control nodes as members. The rules of the module above hold.

use bincode::{Decode, Encode};
use ravelin_config::understands::UnderstandsError;

use super::{Wire, form};
use crate::request::nodes::{Leadership, NodeChange, NodeContact, NodeList, NodePart, NodeView};

form!(enum NodeChangeV1 of NodeChange {
    Add { contact: NodeContactV1, votes: bool },
    Announce { contact: NodeContactV1 },
    Remove { node: u64, force: bool },
    Promote { node: u64 },
    Demote { node: u64 },
});

form!(struct NodeContactV1 of NodeContact {
    node: u64,
    recovery_epoch: u32,
    incarnation: u64,
    address: String,
    public_key_sha256: Vec<u8>,
});

form!(struct NodeListV1 of NodeList {
    leader: u64,
    term: u64,
    recovery_epoch: u32,
    nodes: Vec<NodeViewV1>,
});

form!(struct NodeViewV1 of NodeView {
    node: u64,
    incarnation: u64,
    address: String,
    part: NodePartV1,
    wants_vote: bool,
    ready: bool,
    behind: Option<u64>,
});

form!(enum NodePartV1 of NodePart { Voter, Spare, Joining, Leaving });
form!(struct LeadershipV1 of Leadership { leader: u64, term: u64, wanted: u64 });
