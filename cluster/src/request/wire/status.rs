//! Wire forms of how a cluster stands and what happened in it. See the module above.

use bincode::{Decode, Encode};
use ravelin_config::understands::{UnderstandsError, UnderstandsV1};

use super::{Wire, form};
use crate::request::status::{
    ClusterStatus, EventKind, EventRecord, Generation, LongestEvent, NodeStatus, ProviderState,
    ProviderStatus, ProxyStatus, RefusedGeneration, Twins,
};

form!(struct GenerationV1 of Generation { revision: u64, recovery_epoch: u32, digest: String, name: String });

form!(struct ClusterStatusV1 of ClusterStatus {
    cluster: String,
    answered_by: u64,
    nodes: Vec<NodeStatusV1>,
    silent: Vec<u64>,
    twins: Vec<TwinsV1>,
    next_proxy: Option<u64>,
});

form!(struct TwinsV1 of Twins { proxy: u64, nodes: Vec<u64> });

form!(struct NodeStatusV1 of NodeStatus {
    node: u64,
    role: String,
    controller: bool,
    healthy: bool,
    term: u64,
    leader: Option<u64>,
    controller_node: Option<u64>,
    controller_epoch: u64,
    last_index: u64,
    commit_index: u64,
    applied_index: u64,
    revision: u64,
    generation: Option<GenerationV1>,
    stale: bool,
    objects: u64,
    understands: UnderstandsV1,
    proxies_attached: u64,
    proxies: Vec<ProxyStatusV1>,
    next_proxy: Option<u64>,
    providers: Vec<ProviderStatusV1>,
    longest_event: LongestEventV1,
    halted: Option<String>,
});

form!(struct LongestEventV1 of LongestEvent { event: String, micros: u64, election_timeout_micros: u64 });

form!(struct ProxyStatusV1 of ProxyStatus {
    node: u64,
    build: String,
    instance: String,
    understands: Option<UnderstandsV1>,
    lacks: Vec<String>,
    received: Option<GenerationV1>,
    validated: Option<GenerationV1>,
    serving: Option<GenerationV1>,
    serving_since_micros: u64,
    refused: Option<RefusedGenerationV1>,
    overdue: Option<GenerationV1>,
});

form!(struct RefusedGenerationV1 of RefusedGeneration { generation: GenerationV1, reasons: Vec<String> });

form!(struct ProviderStatusV1 of ProviderStatus {
    name: String,
    state: ProviderStateV1,
    objects: u64,
    in_error: u64,
    serving: bool,
    read_micros: u64,
});

form!(enum ProviderStateV1 of ProviderState {
    Starting,
    Connected,
    Empty,
    Failing { since_micros: u64, reasons: Vec<String> },
});

form!(struct EventRecordV1 of EventRecord { number: u64, at_micros: u64, node: u64, kind: EventKindV1 });

form!(enum EventKindV1 of EventKind {
    Started,
    LeaderElected { term: u64 },
    LeaderFollowed { leader: u64, term: u64 },
    LeaderLost { term: u64 },
    ControllerLost { node: u64, epoch: u64 },
    ControllerAppointed { node: u64, epoch: u64 },
    ProvidersStarted { epoch: u64 },
    ProvidersStopped { epoch: u64 },
    StaleWriteRefused { epoch: u64, current: u64, decided_by_log: bool },
    GenerationCommitted { revision: u64, generation: String },
    ConfigurationRefused { provider: String, reasons: Vec<String> },
    ObjectsInError { provider: String, objects: Vec<String> },
    ProxyRefused { proxy: u64, generation: String, reasons: Vec<String> },
    StaleChanged { stale: bool },
    SnapshotTaken { index: u64, installed: bool },
    Halted { reason: String },
    ProxyTurnedAway { proxy: u64, reason: String, times: u64 },
    FramesUnreadable { from: u64, reason: String, times: u64 },
    OtherEpoch { from: u64, epoch: u32, own: u32, times: u64 },
    ProxyLacks { proxy: u64, kinds: Vec<String> },
    ProxyOverdue { proxy: u64, generation: String },
    MembersChanged { voters: Vec<u64>, spares: Vec<u64> },
});
