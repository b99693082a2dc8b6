//! Everything that can happen to a node and everything that it can ask for: two closed lists.
//! It must not hold behaviour: `Node::handle` turns one into the other, a shell or a simulator carries them out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ravelin_config::{ConfigMap, GenerationId};
use ravelin_consensus::{Batch, Configuration, Entry, Index, NodeId, SnapshotMeta, Term, Time, Token};
use ravelin_transport::{Lane, PeerRole};

use super::boot::Known;
use crate::feed::transfer::ViewSealing;
use crate::provider::{DraftOutcome, ProviderSpec, ProviderUpdate};
use crate::reconcile::{Job, Verdict};
use crate::request::status::EventRecord;
use crate::request::{Envelope, Response};
use crate::storage::CommandBytes;
use crate::store::{Applied, ApplyError, Store};

/// Names a lane that a peer opened to this node. Never used twice in one life of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// Names a request that this node made of another one. Never used twice in one life of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Names a request that this node's own process made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TicketId(pub u64);

/// One event.
#[derive(Debug)]
pub enum Event {
    /// Once, first.
    Start,
    /// The time named by the last [`Action::WakeAt`] has come.
    Wake,
    /// A frame of lane Raft.
    RaftFrame {
        /// The authenticated sender.
        from: NodeId,
        /// Its bytes.
        frame: Bytes,
    },
    /// Frames to this peer are being lost.
    Unreachable(NodeId),
    /// The batch of this token and every earlier one is durable.
    Persisted(Token),
    /// A write or sync failed: what is on disk is unknown.
    PersistFailed {
        /// The disk's words.
        reason: String,
    },
    /// The snapshot asked for by [`Action::WriteSnapshot`] is durable.
    SnapshotWritten(SnapshotMeta),
    /// It is not.
    SnapshotNotWritten {
        /// Why.
        reason: String,
    },
    /// The snapshot asked for by [`Action::FetchSnapshot`] is durable here, and this is its content.
    SnapshotFetched {
        /// Its name.
        meta: SnapshotMeta,
        /// Its content.
        store: Store,
    },
    /// It did not arrive, or is not what its name says.
    SnapshotNotFetched {
        /// Its name.
        meta: SnapshotMeta,
        /// Why.
        reason: String,
    },
    /// A peer opened lane Feed or Forward; the transport has checked that its role may.
    LinkOpened {
        /// The name it goes by from now on.
        link: LinkId,
        /// Which lane.
        lane: Lane,
        /// The peer's role.
        role: PeerRole,
        /// The peer's number within its role.
        node: u64,
    },
    /// A frame came over such a lane.
    LinkFrame {
        /// Which.
        link: LinkId,
        /// Its bytes.
        frame: Bytes,
    },
    /// The transport has taken one more of the frames sent over such a lane.
    LinkSent(LinkId),
    /// Such a lane is over.
    LinkClosed(LinkId),
    /// One frame of the answer to a call.
    CallFrame {
        /// Which call.
        call: CallId,
        /// Its bytes.
        frame: Bytes,
    },
    /// There will be no (further) answer to a call.
    CallFailed {
        /// Which call.
        call: CallId,
        /// Whether the other node may have received it.
        may_have_arrived: bool,
        /// Why.
        reason: String,
    },
    /// This process itself asks.
    Request {
        /// What the answer goes to.
        ticket: TicketId,
        /// What is asked.
        envelope: Envelope,
    },
    /// The answer to [`Action::Check`].
    Checked(Verdict),
    /// The answer to [`Action::EncodeWhole`].
    WholeEncoded {
        /// Which generation.
        generation: GenerationId,
        /// Its frames, in order; none if it cannot be encoded.
        frames: Option<Arc<[Bytes]>>,
    },
    /// The answer to [`Action::ApplyBeside`].
    AppliedBeside {
        /// The job's number.
        job: u64,
        /// The state after the entry, and what came of it.
        outcome: Result<(Box<Store>, Applied), ApplyError>,
    },
    /// A member refused this node for having been removed from the cluster.
    RefusedAsRemoved {
        /// The member.
        by: NodeId,
    },
    /// A provider of the run of this epoch has something to say.
    Provider {
        /// The epoch it was started under.
        epoch: u64,
        /// What.
        update: ProviderUpdate,
    },
}

impl Event {
    /// What kind of event it is, as a word for status and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Wake => "wake",
            Self::RaftFrame { .. } => "raftFrame",
            Self::Unreachable(_) => "unreachable",
            Self::Persisted(_) => "persisted",
            Self::PersistFailed { .. } => "persistFailed",
            Self::SnapshotWritten(_) => "snapshotWritten",
            Self::SnapshotNotWritten { .. } => "snapshotNotWritten",
            Self::SnapshotFetched { .. } => "snapshotFetched",
            Self::SnapshotNotFetched { .. } => "snapshotNotFetched",
            Self::LinkOpened { .. } => "linkOpened",
            Self::LinkFrame { .. } => "linkFrame",
            Self::LinkSent(_) => "linkSent",
            Self::LinkClosed(_) => "linkClosed",
            Self::CallFrame { .. } => "callFrame",
            Self::CallFailed { .. } => "callFailed",
            Self::Request { .. } => "request",
            Self::Checked(_) => "checked",
            Self::WholeEncoded { .. } => "wholeEncoded",
            Self::AppliedBeside { .. } => "appliedBeside",
            Self::Provider { .. } => "provider",
            Self::RefusedAsRemoved { .. } => "refusedAsRemoved",
        }
    }
}

/// One thing to do. `Persist` and `Check` actions are carried out in their order; nothing waits for anything else.
#[derive(Debug)]
pub enum Action {
    /// Call [`Event::Wake`] at this time, instead of any time named before.
    WakeAt(Time),
    /// Write as one record, after every earlier batch, and report the token.
    Persist(Batch<CommandBytes>),
    /// Send a frame over lane Raft, now; it may be lost.
    SendRaft {
        /// To whom.
        to: NodeId,
        /// The frame.
        frame: Bytes,
    },
    /// Write a snapshot of this state in the background.
    WriteSnapshot {
        /// The last entry in it.
        index: Index,
        /// That entry's term.
        term: Term,
        /// The members as of it.
        configuration: Configuration,
        /// The state: an O(1) clone.
        store: Box<Store>,
    },
    /// The log up to this entry is no longer needed: a snapshot holds it.
    CompactLog(SnapshotMeta),
    /// Note how far the log is known to be committed, after the work of the log that was asked for before.
    NoteKnown(Known),
    /// Get this snapshot from a peer, check and keep it, then report.
    FetchSnapshot {
        /// Who has it.
        from: NodeId,
        /// Which.
        meta: SnapshotMeta,
    },
    /// Dial and hear these control nodes, and no others.
    Directory(Directory),
    /// Send a frame over a lane that a peer opened. At most a few wait per link: see [`Event::LinkSent`].
    SendLink {
        /// Which.
        link: LinkId,
        /// The frame.
        frame: Bytes,
    },
    /// End such a lane. No event follows for it.
    CloseLink {
        /// Which.
        link: LinkId,
        /// Why, for the peer's log.
        reason: String,
    },
    /// Ask another control node over lane Forward.
    Call {
        /// Whom.
        to: NodeId,
        /// The call's name, which its frames carry too.
        call: CallId,
        /// The question, in parts.
        frames: Vec<Bytes>,
    },
    /// Answer this process itself.
    Respond {
        /// Which request.
        ticket: TicketId,
        /// The answer.
        response: Response,
    },
    /// Run a job of the reconciler on its own thread, in order.
    Check(Job),
    /// Apply this entry to this copy of the state, in the background.
    ApplyBeside {
        /// Comes back with the answer.
        job: u64,
        /// The entry's place.
        index: Index,
        /// The entry.
        entry: Entry<CommandBytes>,
        /// The state before it: an O(1) clone.
        store: Box<Store>,
    },
    /// Let go of this state, in the background: what only it holds takes time to free.
    Discard(Box<Store>),
    /// Encode a whole generation for proxies, in the background.
    EncodeWhole {
        /// Which.
        generation: GenerationId,
        /// Its content.
        map: ConfigMap,
        /// The number that its transfer carries.
        transfer: u64,
        /// Seals its secrets for those who get it.
        sealing: ViewSealing,
    },
    /// Run these providers, and no others, under this epoch. Those that run unchanged under it go on.
    RunProviders {
        /// The fencing epoch; comes back with every update.
        epoch: u64,
        /// Which.
        providers: Vec<ProviderSpec>,
    },
    /// Run none.
    StopProviders,
    /// Tell a provider what became of its last draft.
    ProviderOutcome {
        /// The provider's name.
        provider: String,
        /// What.
        outcome: DraftOutcome,
    },
    /// Print this: it is in the node's event log.
    Report(EventRecord),
    /// The generation that this node feeds changed.
    Generation(GenerationId),
    /// The node has stopped for its own safety: nothing further comes from it.
    Halt {
        /// Why.
        reason: String,
    },
}

/// The control nodes that a node has to do with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory {
    /// Whom to dial, and where.
    pub dial: BTreeMap<NodeId, String>,
    /// The recorded keys.
    pub keys: BTreeMap<NodeId, [u8; 32]>,
    /// Members, as far as this node knows.
    pub named: BTreeSet<NodeId>,
    /// Former members by the keys that they had: never to be heard again.
    pub removed: BTreeMap<NodeId, [u8; 32]>,
    /// Whether others are heard as well: they may be news to this node, which has not caught up.
    pub strangers: bool,
}

/// The caller's reusable buffer of actions.
#[derive(Debug, Default)]
pub struct Actions(Vec<Action>);

impl Actions {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an action.
    pub fn push(&mut self, action: Action) {
        self.0.push(action);
    }

    /// Takes all actions, keeping the buffer's memory.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Action> {
        self.0.drain(..)
    }

    /// The actions so far, in order.
    pub fn as_slice(&self) -> &[Action] {
        &self.0
    }
}
