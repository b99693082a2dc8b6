//! Golden bytes of every variant of the forms on lane Forward, and the way back of each.

use crate::request::nodes::{Leadership, NodeChange, NodeContact, NodeList, NodePart, NodeView};
use bincode::error::{AllowedEnumVariants, DecodeError};
use ravelin_config::Versions;
use ravelin_transport::codec::{self, CodecError};

use super::status::{EventKindV1, ProviderStateV1};
use super::*;
use crate::request::status::{
    ClusterStatus, EventKind, EventRecord, Generation, LongestEvent, NodeStatus, ProviderState,
    ProviderStatus, ProxyStatus, RefusedGeneration, Twins,
};

fn text(text: &str) -> String {
    text.to_owned()
}

fn texts() -> Vec<String> {
    vec![text("a"), text("b")]
}

fn generation() -> Generation {
    Generation { revision: 7, recovery_epoch: 2, digest: text("d1"), name: text("7-d1") }
}

fn understands() -> Understands {
    Understands { formats: Versions { oldest: 1, newest: 2 }, kinds: [(1, 1), (41, 3)].into(), features: 5 }
}

fn every_request() -> Vec<Request> {
    let document = |format| SourceDocument { name: text("n"), format, text: text("t") };
    let page = Page { after: 3, limit: 4 };
    let get = |after, consistency| Request::Get { prefix: text("p"), after, limit: 9, consistency };
    vec![
        Request::Apply { documents: vec![document(SourceFormat::Yaml)], mode: ApplyMode::Merge },
        Request::Apply { documents: vec![document(SourceFormat::Toml)], mode: ApplyMode::Replace },
        Request::Delete { keys: texts() },
        get(None, Consistency::Linearizable),
        get(Some(text("k")), Consistency::Stale),
        Request::Status { scope: Scope::Node, proxies: page },
        Request::Status { scope: Scope::Cluster, proxies: Page::FIRST },
        Request::Events { since: 5, limit: 6 },
        Request::Propose { command: vec![1, 2, 3] },
        Request::Nodes,
        Request::ChangeNode(NodeChange::Add { contact: contact(), votes: true }),
        Request::ChangeNode(NodeChange::Announce { contact: contact() }),
        Request::ChangeNode(NodeChange::Remove { node: 4, force: true }),
        Request::ChangeNode(NodeChange::Promote { node: 4 }),
        Request::ChangeNode(NodeChange::Demote { node: 4 }),
        Request::TransferLeader { to: Some(2) },
    ]
}

fn status() -> ClusterStatus {
    let provider = |state| ProviderStatus {
        name: text("file"),
        state,
        objects: 1,
        in_error: 2,
        serving: true,
        read_micros: 3,
    };
    let failing = ProviderState::Failing { since_micros: 4, reasons: texts() };
    let states = [ProviderState::Starting, ProviderState::Connected, ProviderState::Empty, failing];
    let proxy = ProxyStatus {
        node: 1,
        build: text("b"),
        instance: text("0f"),
        understands: Some(understands()),
        lacks: texts(),
        received: Some(generation()),
        validated: None,
        serving: Some(generation()),
        serving_since_micros: 8,
        refused: Some(RefusedGeneration { generation: generation(), reasons: texts() }),
        overdue: None,
    };
    let node = NodeStatus {
        node: 1,
        role: text("leader"),
        controller: true,
        healthy: false,
        term: 2,
        leader: Some(1),
        controller_node: None,
        controller_epoch: 3,
        last_index: 4,
        commit_index: 5,
        applied_index: 6,
        revision: 7,
        generation: Some(generation()),
        stale: true,
        objects: 8,
        understands: understands(),
        proxies_attached: 9,
        proxies: vec![proxy],
        next_proxy: Some(10),
        providers: states.map(provider).to_vec(),
        longest_event: LongestEvent { event: text("wake"), micros: 11, election_timeout_micros: 12 },
        halted: Some(text("why")),
    };
    let twins = vec![Twins { proxy: 1, nodes: vec![1, 2] }];
    ClusterStatus {
        cluster: text("c1"),
        answered_by: 1,
        nodes: vec![node],
        silent: vec![3],
        twins,
        next_proxy: None,
    }
}

fn every_event() -> Vec<EventKind> {
    let generation = || text("7-d1");
    vec![
        EventKind::Started,
        EventKind::LeaderElected { term: 1 },
        EventKind::LeaderFollowed { leader: 1, term: 2 },
        EventKind::LeaderLost { term: 1 },
        EventKind::ControllerLost { node: 1, epoch: 2 },
        EventKind::ControllerAppointed { node: 1, epoch: 2 },
        EventKind::ProvidersStarted { epoch: 1 },
        EventKind::ProvidersStopped { epoch: 1 },
        EventKind::StaleWriteRefused { epoch: 1, current: 2, decided_by_log: true },
        EventKind::GenerationCommitted { revision: 7, generation: generation() },
        EventKind::ConfigurationRefused { provider: text("file"), reasons: texts() },
        EventKind::ObjectsInError { provider: text("file"), objects: texts() },
        EventKind::ProxyRefused { proxy: 1, generation: generation(), reasons: texts() },
        EventKind::StaleChanged { stale: true },
        EventKind::SnapshotTaken { index: 1, installed: true },
        EventKind::Halted { reason: text("why") },
        EventKind::ProxyTurnedAway { proxy: 1, reason: text("why"), times: 2 },
        EventKind::FramesUnreadable { from: 1, reason: text("why"), times: 2 },
        EventKind::OtherEpoch { from: 1, epoch: 2, own: 3, times: 4 },
        EventKind::ProxyLacks { proxy: 1, kinds: texts() },
        EventKind::ProxyOverdue { proxy: 1, generation: generation() },
        EventKind::MembersChanged { voters: vec![1, 2], spares: vec![3] },
    ]
}

fn contact() -> NodeContact {
    NodeContact {
        node: 4,
        recovery_epoch: 2,
        incarnation: 5,
        address: text("a:1"),
        public_key_sha256: vec![6; 32],
    }
}

fn node(part: NodePart) -> NodeView {
    NodeView {
        node: 4,
        incarnation: 5,
        address: text("a:1"),
        part,
        wants_vote: true,
        ready: false,
        behind: Some(6),
    }
}

fn every_response() -> Vec<Response> {
    let verdicts = vec![Verdict { key: text("k"), state: text("warning"), errors: texts() }];
    let change = Change { id: RequestId([9; 16]), generation: generation(), put: 1, deleted: 2, verdicts };
    let object = ObjectView {
        key: text("k"),
        state: text("disabled"),
        errors: texts(),
        object: text("{}"),
        last_good: Some(text("[]")),
    };
    let reasons = [
        RefusalReason::Unreadable,
        RefusalReason::BadRequest,
        RefusalReason::TooLarge,
        RefusalReason::StaleEpoch,
        RefusalReason::Conflict,
        RefusalReason::InError,
    ];
    let records = (1..).zip(every_event());
    let records = records.map(|(number, kind)| EventRecord { number, at_micros: 1, node: 2, kind });
    let objects = vec![object];
    let parts = [NodePart::Voter, NodePart::Spare, NodePart::Joining, NodePart::Leaving];
    let mut all = vec![
        Response::Done(change),
        Response::Unavailable { reason: text("why") },
        Response::Unknown { reason: text("why") },
        Response::Redirect { node: Some(2), may_take_effect: true },
        Response::Objects(Objects { generation: None, stale: true, objects, next: Some(text("k")) }),
        Response::Status(status()),
        Response::Proposed,
        Response::Nodes(NodeList { leader: 1, term: 2, recovery_epoch: 3, nodes: parts.map(node).into() }),
        Response::Leads(Leadership { leader: 1, term: 2, wanted: 3 }),
    ];
    all.extend(reasons.map(|reason| Response::Refused(Refusal { reason, problems: texts() })));
    // One each, so that a change of one shows in its own line.
    all.extend(records.map(|record| Response::Events(vec![record])));
    all
}

fn envelope(request: Request) -> Envelope {
    Envelope {
        id: RequestId([7; 16]),
        hops: 1,
        deadline_millis: 5000,
        author: text("operator-1"),
        request,
        since: Some(5),
    }
}

/// A change here is a change of the wire: it needs a new version byte.
#[test]
fn the_wire_form_of_every_variant_is_fixed() {
    let asked = every_request().into_iter().map(|request| {
        codec::encode::<EnvelopeV1>(REQUEST_VERSION, &envelope(request).to_wire()).expect("small")
    });
    let answered = every_response()
        .into_iter()
        .map(|response| codec::encode::<ResponseV1>(REQUEST_VERSION, &response.to_wire()).expect("small"));
    let hex = |bytes: bytes::Bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let now: Vec<String> = asked.chain(answered).map(hex).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/request/wire/golden.txt");
    if std::env::var_os("RAVELIN_REWRITE").is_some() {
        std::fs::write(path, now.join("\n") + "\n").expect("the checkout can be written");
    }
    let golden = std::fs::read_to_string(path).expect("it is committed");
    assert_eq!(now, golden.lines().collect::<Vec<_>>());
}

#[test]
fn every_question_and_answer_comes_back() {
    for request in every_request() {
        let envelope = envelope(request);
        let bytes = codec::encode::<EnvelopeV1>(REQUEST_VERSION, &envelope.clone().to_wire()).expect("small");
        let form: EnvelopeV1 = codec::decode(REQUEST_VERSION, &bytes).expect("own encoding");
        assert_eq!(Envelope::of_wire(form), Ok(envelope));
    }
    for response in every_response() {
        let bytes = codec::encode::<ResponseV1>(REQUEST_VERSION, &response.clone().to_wire()).expect("small");
        let form: ResponseV1 = codec::decode(REQUEST_VERSION, &bytes).expect("own encoding");
        assert_eq!(Response::of_wire(form), Ok(response));
    }
}

/// A new variant of a versioned enum needs a new version byte: a reader of the old one loses the question or the answer.
#[test]
fn a_new_variant_needs_a_new_version() {
    fn variants<T: Decode<()>>() -> u32 {
        let unknown = [&[REQUEST_VERSION], u32::MAX.to_le_bytes().as_slice()].concat();
        match codec::decode::<T>(REQUEST_VERSION, &unknown).err() {
            Some(CodecError::Malformed(DecodeError::UnexpectedVariant {
                allowed: AllowedEnumVariants::Range { max, .. },
                ..
            })) => max + 1,
            other => panic!("an unknown variant is refused as such: {other:?}"),
        }
    }
    let asked = (variants::<RequestV1>(), variants::<SourceFormatV1>(), variants::<ApplyModeV1>());
    let how = (variants::<ConsistencyV1>(), variants::<ScopeV1>());
    let answered = (variants::<ResponseV1>(), variants::<RefusalReasonV1>());
    let seen = (variants::<ProviderStateV1>(), variants::<EventKindV1>());
    let found = (asked, how, answered, seen);
    assert_eq!(
        (REQUEST_VERSION, found),
        (1, ((9, 2, 2), (2, 2), (11, 6), (4, 22))),
        "raise the version with the variants"
    );
}
