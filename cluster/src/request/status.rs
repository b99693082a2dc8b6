//! How a cluster stands, as answers to `Status` and `Events`: nodes, proxies, providers, what happened when.
//! It must not decide anything: the node fills these in.

use ravelin_config::{GenerationId, Understands};
use serde::Serialize;

/// A generation for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// The store's revision of the last change to configuration.
    pub revision: u64,
    /// Counts fenced recoveries.
    pub recovery_epoch: u32,
    /// The digest in hexadecimal digits.
    pub digest: String,
    /// Short name: revision and the first digits of the digest.
    pub name: String,
}

impl From<GenerationId> for Generation {
    fn from(id: GenerationId) -> Self {
        Self {
            revision: id.revision,
            recovery_epoch: id.recovery_epoch,
            digest: id.digest.to_string(),
            name: id.to_string(),
        }
    }
}

/// The whole cluster as one control node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// The cluster's id in hexadecimal digits.
    pub cluster: String,
    /// The node that answered.
    pub answered_by: u64,
    /// Every control node that answered in time, by number.
    pub nodes: Vec<NodeStatus>,
    /// Control nodes that did not, by number.
    pub silent: Vec<u64>,
    /// Proxies of this page under whose identity more than one process is attached at this moment, each to another node. It
    /// passes where a proxy was started anew; where it stays, somebody started the same identity twice.
    pub twins: Vec<Twins>,
    /// More proxies follow after this number.
    pub next_proxy: Option<u64>,
}

/// Processes that run under one identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Twins {
    /// The proxy's number.
    pub proxy: u64,
    /// The control nodes that feed one of them each.
    pub nodes: Vec<u64>,
}

/// One control node about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its number.
    pub node: u64,
    /// `leader`, `candidate`, `follower` and so on.
    pub role: String,
    /// Whether it is the controller: the one that runs the providers.
    pub controller: bool,
    /// Whether it has caught up with what the leader had committed when it (re)connected.
    pub healthy: bool,
    /// Its term.
    pub term: u64,
    /// The leader it knows.
    pub leader: Option<u64>,
    /// The controller that its state names.
    pub controller_node: Option<u64>,
    /// The epoch that the controller was appointed under; 0 before the first.
    pub controller_epoch: u64,
    /// Last entry in its log.
    pub last_index: u64,
    /// Last entry it knows to be committed.
    pub commit_index: u64,
    /// Last entry it has applied.
    pub applied_index: u64,
    /// Revision of its store.
    pub revision: u64,
    /// The generation it feeds; none before the first configuration.
    pub generation: Option<Generation>,
    /// Whether it feeds below quorum.
    pub stale: bool,
    /// Objects in its configuration.
    pub objects: u64,
    /// What it can read of what other control nodes send.
    pub understands: Understands,
    /// How many proxies are attached to it.
    pub proxies_attached: u64,
    /// One page of them, by number.
    pub proxies: Vec<ProxyStatus>,
    /// More of them follow after this number.
    pub next_proxy: Option<u64>,
    /// Providers that it runs.
    pub providers: Vec<ProviderStatus>,
    /// The longest that one event has held up this node since its start; an election timeout is what it must not reach.
    pub longest_event: LongestEvent,
    /// Why it has stopped, if it has.
    pub halted: Option<String>,
}

/// One event that took its time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LongestEvent {
    /// What kind of event.
    pub event: String,
    /// How long the node was busy with it, in microseconds.
    pub micros: u64,
    /// The least election timeout of this node, in microseconds.
    pub election_timeout_micros: u64,
}

/// A proxy, as the control node that feeds it knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyStatus {
    /// The proxy's number.
    pub node: u64,
    /// Its build.
    pub build: String,
    /// Which process it is, in hexadecimal digits drawn at its start: two under one identity differ here.
    pub instance: String,
    /// What it can read, by its own word.
    pub understands: Option<Understands>,
    /// Kinds of objects that it is fed and does not know, by the prefix of their keys: it sets them aside.
    pub lacks: Vec<String>,
    /// Newest generation that arrived there complete.
    pub received: Option<Generation>,
    /// Newest generation compiled there.
    pub validated: Option<Generation>,
    /// Newest generation that every worker serves.
    pub serving: Option<Generation>,
    /// When `serving` was reported, in microseconds since 1970.
    pub serving_since_micros: u64,
    /// Newest generation that it refused, and why.
    pub refused: Option<RefusedGeneration>,
    /// A generation that it could neither take nor refuse for too long: it serves an older one, and says so.
    pub overdue: Option<Generation>,
}

/// A generation that a proxy did not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedGeneration {
    /// The generation.
    pub generation: Generation,
    /// Why, one text each.
    pub reasons: Vec<String>,
}

/// A provider, as the controller knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderStatus {
    /// Its name, as after the `@`.
    pub name: String,
    /// How it stands.
    pub state: ProviderState,
    /// Objects in its last draft.
    pub objects: u64,
    /// Of those of its last draft in the log: how many are in error.
    pub in_error: u64,
    /// Whether every attached proxy serves its last draft.
    pub serving: bool,
    /// How long it took to read and parse its last draft, in microseconds.
    pub read_micros: u64,
}

/// How a provider stands. An outage is never an empty configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ProviderState {
    /// Started, nothing read yet.
    Starting,
    /// Its source was read.
    Connected,
    /// Its source was read, and is explicitly empty.
    Empty,
    /// Its source cannot be read; the objects of before stay.
    Failing {
        /// Since when, in microseconds since 1970.
        since_micros: u64,
        /// Why, one text each.
        reasons: Vec<String>,
    },
}

/// Something that happened, as one control node saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRecord {
    /// Counts this node's events since its start, from 1.
    pub number: u64,
    /// When, in microseconds since 1970 by the node's clock.
    pub at_micros: u64,
    /// The node that saw it.
    pub node: u64,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EventKind {
    /// The node began to run.
    Started,
    /// This node became leader.
    LeaderElected {
        /// In this term.
        term: u64,
    },
    /// This node follows a leader that it did not follow before.
    LeaderFollowed {
        /// The leader.
        leader: u64,
        /// Its term.
        term: u64,
    },
    /// This node knows no leader any more.
    LeaderLost {
        /// The term it is in.
        term: u64,
    },
    /// As leader, this node found the controller silent.
    ControllerLost {
        /// The silent node.
        node: u64,
        /// The epoch it was appointed under.
        epoch: u64,
    },
    /// The log appointed a controller.
    ControllerAppointed {
        /// The node.
        node: u64,
        /// Its fencing epoch.
        epoch: u64,
    },
    /// This node runs the providers.
    ProvidersStarted {
        /// Under this epoch.
        epoch: u64,
    },
    /// This node no longer runs the providers.
    ProvidersStopped {
        /// The epoch that is over.
        epoch: u64,
    },
    /// A write of a controller whose epoch is over was refused.
    StaleWriteRefused {
        /// The epoch of the write.
        epoch: u64,
        /// The epoch that stands.
        current: u64,
        /// Whether the log decided it; otherwise the node did, before the log.
        decided_by_log: bool,
    },
    /// A change of configuration is committed and applied.
    GenerationCommitted {
        /// The new generation's revision.
        revision: u64,
        /// Its short name.
        generation: String,
    },
    /// A configuration was refused; the old one stays.
    ConfigurationRefused {
        /// The provider, or `cluster` for the API.
        provider: String,
        /// Why, one text each, bounded.
        reasons: Vec<String>,
    },
    /// A change is committed in which objects are in error; they keep their last good value, or answer 503.
    ObjectsInError {
        /// The provider that wants them.
        provider: String,
        /// Key and reasons, one text each, bounded.
        objects: Vec<String>,
    },
    /// A proxy does not take a generation.
    ProxyRefused {
        /// The proxy's number.
        proxy: u64,
        /// The generation's short name.
        generation: String,
        /// Why, one text each, bounded.
        reasons: Vec<String>,
    },
    /// No quorum stands behind this node any more, or again.
    StaleChanged {
        /// Whether it feeds below quorum from now on.
        stale: bool,
    },
    /// A snapshot was written or installed.
    SnapshotTaken {
        /// The last entry in it.
        index: u64,
        /// Whether it came from another node.
        installed: bool,
    },
    /// Another set of control nodes is committed and applied.
    MembersChanged {
        /// Those that vote.
        voters: Vec<u64>,
        /// Those that follow without a vote.
        spares: Vec<u64>,
    },
    /// The node stopped for its own safety.
    Halted {
        /// Why.
        reason: String,
    },
    /// A proxy does what a proxy never does, or two processes run under its identity: its lane was closed.
    ProxyTurnedAway {
        /// The proxy's number.
        proxy: u64,
        /// Why.
        reason: String,
        /// How often so far, this time included; not each one is noted.
        times: u64,
    },
    /// A control node sends what this one cannot read: another version, which must be told before anything else.
    FramesUnreadable {
        /// The sender.
        from: u64,
        /// Why.
        reason: String,
        /// How often since this node's start, this time included; noted at first and at each tenfold.
        times: u64,
    },
    /// A control node speaks under another recovery epoch: neither counts for the other.
    OtherEpoch {
        /// The sender.
        from: u64,
        /// Its epoch. If it is the higher one, what this node holds was given up: it must rejoin as a new one.
        epoch: u32,
        /// This node's epoch.
        own: u32,
        /// How often since this node's start, this time included; noted at first and at each tenfold.
        times: u64,
    },
    /// A proxy is fed kinds of objects that it does not know. It sets them aside, and serves the rest.
    ProxyLacks {
        /// The proxy's number.
        proxy: u64,
        /// The prefixes of their keys.
        kinds: Vec<String>,
    },
    /// A proxy could neither take nor refuse a generation for too long: it serves an older one.
    ProxyOverdue {
        /// The proxy's number.
        proxy: u64,
        /// The generation's short name.
        generation: String,
    },
}
