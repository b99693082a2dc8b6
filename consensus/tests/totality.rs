//! `step` is total and deterministic (I43): whatever comes in, nothing panics, the local invariants hold, equal cores
//! do equal things, and neither tokens nor names of nodes carry meaning.

use std::sync::Arc;

use proptest::prelude::*;
use ravelin_consensus::{
    AppendOutcome, Batch, Body, Change, ClusterId, Configuration, Core, Corrupt, Durable, Effect, Effects,
    Entry, EntryKind, HardState, Incarnation, Index, Input, Life, Message, NodeId, Params, ProposalId,
    ReadId, RecoveryEpoch, Round, SnapshotMeta, SnapshotOutcome, Term, Ticket, Time, Timer, Token,
};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0..8u64, 1 => Just(u64::MAX), 1 => Just(u64::MAX >> 2), 1 => Just((u64::MAX >> 2) + 1)]
}

fn index() -> impl Strategy<Value = Index> {
    number().prop_map(Index)
}

fn term() -> impl Strategy<Value = Term> {
    number().prop_map(Term)
}

fn members() -> Configuration {
    Configuration::of_voters((1..4).map(|id| (NodeId(id), Incarnation(1))))
}

fn configuration() -> impl Strategy<Value = Configuration> {
    prop_oneof![
        4 => Just(members()),
        1 => Just(Configuration::default()),
        1 => (1..6u64).prop_map(|id| Configuration::of_voters([(NodeId(id), Incarnation(1))])),
    ]
}

fn entry() -> impl Strategy<Value = Entry<u8>> {
    let kind = prop_oneof![
        3 => Just(EntryKind::Empty),
        3 => any::<u8>().prop_map(EntryKind::Command),
        1 => configuration().prop_map(EntryKind::Configuration),
    ];
    (term(), kind).prop_map(|(term, kind)| Entry { term, kind })
}

fn meta() -> impl Strategy<Value = SnapshotMeta> {
    (index(), term(), configuration()).prop_map(|(index, term, configuration)| SnapshotMeta {
        index,
        term,
        digest: [0; 32],
        configuration,
    })
}

fn ticket() -> impl Strategy<Value = Ticket> {
    (0..3u64, 0..4u64).prop_map(|(life, number)| Ticket { life: Life(life), number })
}

fn body() -> impl Strategy<Value = Body<u8>> {
    let round = || number().prop_map(Round);
    prop_oneof![
        1 => (index(), term()).prop_map(|(last_index, last_term)| Body::PreVote { last_index, last_term }),
        1 => any::<bool>().prop_map(|granted| Body::PreVoteReply { granted }),
        1 => (index(), term()).prop_map(|(last_index, last_term)| Body::Vote { last_index, last_term }),
        1 => any::<bool>().prop_map(|granted| Body::VoteReply { granted }),
        5 => (index(), term(), proptest::collection::vec(entry(), 0..4), index(), round()).prop_map(
            |(prev_index, prev_term, mut entries, commit, round)| {
                // Mostly in order, so that some get past admission.
                entries.sort_by_key(|entry| entry.term);
                Body::Append { prev_index, prev_term, entries: entries.into(), commit, round }
            }
        ),
        3 => (index(), term(), proptest::collection::vec(entry(), 0..4)).prop_map(
            |(prev_index, prev_term, mut entries)| {
                entries.sort_by_key(|entry| entry.term);
                Body::Missing { prev_index, prev_term, entries: entries.into() }
            }
        ),
        3 => (index(), round()).prop_map(|(matched, round)| Body::AppendReply {
            outcome: AppendOutcome::Accepted { matched },
            round,
        }),
        3 => (index(), index(), term(), round()).prop_map(|(prev_index, hint_index, hint_term, round)| {
            Body::AppendReply { outcome: AppendOutcome::Rejected { prev_index, hint_index, hint_term }, round }
        }),
        1 => Just(Body::TimeoutNow),
        1 => ticket().prop_map(|ticket| Body::Read { ticket }),
        1 => (ticket(), proptest::option::of(index()))
            .prop_map(|(ticket, index)| Body::ReadReply { ticket, index }),
        2 => (meta(), round()).prop_map(|(meta, round)| Body::Snapshot { meta: Box::new(meta), round }),
        1 => (index(), any::<bool>(), round()).prop_map(|(index, failed, round)| Body::SnapshotReply {
            index,
            outcome: if failed { SnapshotOutcome::Failed } else { SnapshotOutcome::Receiving },
            round,
        }),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    (0..6u64, 0..4u8).prop_map(|(node, what)| match what {
        0 => Change::AddVoter(NodeId(node), Incarnation(1)),
        1 => Change::AddLearner(NodeId(node), Incarnation(1)),
        2 => Change::Demote(NodeId(node)),
        _ => Change::Remove(NodeId(node)),
    })
}

fn input() -> impl Strategy<Value = Input<u8>> {
    let from = prop_oneof![9 => 1..4u64, 1 => 0..9u64].prop_map(NodeId);
    let incarnation = prop_oneof![9 => Just(Incarnation(1)), 1 => Just(Incarnation(2))];
    let epoch = prop_oneof![19 => Just(RecoveryEpoch(0)), 1 => Just(RecoveryEpoch(1))];
    let message =
        (term(), incarnation, epoch, body()).prop_map(|(term, incarnation, recovery_epoch, body)| Message {
            cluster: ClusterId::default(),
            recovery_epoch,
            incarnation,
            term,
            body,
        });
    prop_oneof![
        1 => Just(Input::Timer(Timer::Heartbeat)),
        12 => (from, message).prop_map(|(from, message)| Input::Message { from, message }),
        2 => Just(Input::Timer(Timer::Election)),
        1 => Just(Input::Timer(Timer::Heartbeat)),
        1 => Just(Input::Timer(Timer::CheckQuorum)),
        2 => any::<u8>().prop_map(|payload| Input::Propose { id: ProposalId(0), payload }),
        1 => proptest::collection::vec(change(), 0..3)
            .prop_map(|changes| Input::Change { id: ProposalId(0), changes }),
        1 => (0..5u64).prop_map(|id| Input::Transfer(NodeId(id))),
        1 => Just(Input::Timer(Timer::Transfer)),
        1 => Just(Input::Timer(Timer::Lease)),
        1 => Just(Input::Timer(Timer::Read)),
        1 => number().prop_map(|id| Input::Read(ReadId(id))),
        6 => (0..40u64).prop_map(|token| Input::Persisted(Token(token))),
        1 => index().prop_map(Input::Applied),
        2 => meta().prop_map(|meta| Input::SnapshotTaken(Box::new(meta))),
        2 => meta().prop_map(|meta| Input::SnapshotInstalled(Box::new(meta))),
        1 => meta().prop_map(|meta| Input::SnapshotFailed(Box::new(meta))),
        1 => (0..5u64).prop_map(|id| Input::Unreachable(NodeId(id))),
        1 => (0..100u32).prop_map(|dice| if dice == 0 { Input::PersistFailed } else { Input::Start { life: Life(1) } }),
    ]
}

fn params(id: u64) -> Arc<Params> {
    let mut params = Params::new(ClusterId::default(), NodeId(id), Incarnation(1));
    params.log_bytes_max = 600;
    params.uncommitted_bytes_max = 200;
    params.entry_bytes_max = 150;
    params.log_trailing_bytes_max = 50;
    params.append_entries_max = 2;
    params.inflight_messages_max = 2;
    params.pre_vote = false;
    Arc::new(params)
}

/// What a helpful driver adds: completions that fit, reports of what was applied, snapshots that were asked for.
fn answer(effect: &Effect<u8>) -> Option<Input<u8>> {
    match effect {
        Effect::Apply { first, entries } => Some(Input::Applied(first.plus(entries.len()).previous())),
        Effect::InstallSnapshot { meta, .. } => Some(Input::SnapshotInstalled(meta.clone())),
        _ => None,
    }
}

fn step(core: &mut Core<u8>, input: Input<u8>) -> Vec<Effect<u8>> {
    let mut effects = Effects::new();
    core.step(Time::default(), input, &mut effects);
    effects.drain().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_panics_or_breaks_a_core(inputs in proptest::collection::vec(input(), 0..120)) {
        let mut core = Core::restore(params(1), Durable::genesis(members())).expect("a genesis");
        for input in inputs {
            let twin = core.clone();
            let effects = step(&mut core, input.clone());
            prop_assert_eq!(core.check(), Ok(()), "after {:?}", input);
            let mut again = twin;
            prop_assert_eq!(&step(&mut again, input), &effects);
            prop_assert_eq!(&again, &core);
            for input in effects.iter().filter_map(answer) {
                step(&mut core, input);
                prop_assert_eq!(core.check(), Ok(()));
            }
        }
    }

    #[test]
    fn restore_refuses_or_gives_a_sound_core(
        term in term(),
        vote in proptest::option::of(1..4u64),
        snapshot in proptest::option::of(meta()),
        entries in proptest::collection::vec(entry(), 0..5),
        configuration in configuration(),
    ) {
        let hard_state = HardState { term, vote: vote.map(NodeId) };
        let durable = Durable { hard_state, snapshot, configuration, entries };
        match Core::restore(params(1), durable.clone()) {
            Ok(core) => {
                prop_assert_eq!(core.check(), Ok(()));
                prop_assert_eq!(core.last_index(), durable.last_index());
                prop_assert_eq!(core.hard_state(), durable.hard_state);
            }
            Err(Corrupt::Members) => {
                let known = durable.entries.iter().filter_map(|entry| match &entry.kind {
                    EntryKind::Configuration(configuration) => Some(configuration),
                    _ => None,
                });
                let known = known.chain(durable.snapshot.as_ref().map(|meta| &meta.configuration));
                prop_assert!(known.chain([&durable.configuration]).any(|known| !known.is_usable()));
            }
            Err(_) => {}
        }
    }

    /// Canonically equal cores do the same, up to the numbers of tokens.
    #[test]
    fn tokens_carry_no_meaning(inputs in proptest::collection::vec(input(), 0..80)) {
        let mut core = Core::restore(params(1), Durable::genesis(members())).expect("a genesis");
        let (mut twin, mut by) = core.clone().canonical();
        let mut total = 0;
        for input in inputs {
            total += by.tokens.0;
            let shifted = match &input {
                Input::Persisted(token) => Input::Persisted(Token(token.0.saturating_sub(total))),
                other => other.clone(),
            };
            let effects = step(&mut core, input);
            let expected: Vec<_> = effects.into_iter().map(|effect| match effect {
                Effect::Persist(batch) => {
                    Effect::Persist(Batch { token: Token(batch.token.0 - total), ..batch })
                }
                other => other,
            }).collect();
            prop_assert_eq!(step(&mut twin, shifted), expected);
            (twin, by) = twin.canonical();
            prop_assert_eq!(&core.clone().canonical().0, &twin);
        }
    }

    /// A core under other names does the same under other names; only the order among peers may differ.
    #[test]
    fn names_carry_no_meaning(inputs in proptest::collection::vec(input(), 0..80)) {
        let name = |node: NodeId| NodeId(match node.0 { 1 => 3, 2 => 1, 3 => 2, other => other });
        let mut core = Core::restore(params(1), Durable::genesis(members())).expect("a genesis");
        let mut twin = core.renamed(params(3), &name);
        for input in inputs {
            let renamed = rename_input(input.clone(), &name);
            let mut sent = sends(step(&mut core, input), &name);
            let mut expected = sends(step(&mut twin, renamed), &|node| node);
            sent.sort();
            expected.sort();
            prop_assert_eq!(sent, expected);
            prop_assert_eq!(&core.renamed(params(3), &name), &twin);
        }
    }
}

fn rename_input(input: Input<u8>, name: &impl Fn(NodeId) -> NodeId) -> Input<u8> {
    match input {
        Input::Message { from, message } => {
            Input::Message { from: name(from), message: message.renamed(name) }
        }
        Input::Change { id, changes } => {
            let rename = |change| match change {
                Change::AddVoter(node, life) => Change::AddVoter(name(node), life),
                Change::AddLearner(node, life) => Change::AddLearner(name(node), life),
                Change::Demote(node) => Change::Demote(name(node)),
                Change::Remove(node) => Change::Remove(name(node)),
            };
            Input::Change { id, changes: changes.into_iter().map(rename).collect() }
        }
        Input::SnapshotTaken(meta) => Input::SnapshotTaken(Box::new(meta.renamed(name))),
        Input::SnapshotInstalled(meta) => Input::SnapshotInstalled(Box::new(meta.renamed(name))),
        Input::SnapshotFailed(meta) => Input::SnapshotFailed(Box::new(meta.renamed(name))),
        Input::Unreachable(node) => Input::Unreachable(name(node)),
        Input::Transfer(node) => Input::Transfer(name(node)),
        other => other,
    }
}

/// Who is told what kind of thing, under other names.
fn sends(effects: Vec<Effect<u8>>, name: &impl Fn(NodeId) -> NodeId) -> Vec<String> {
    let sent = effects.into_iter().map(|effect| match effect {
        Effect::Send { to, message } => {
            let Input::Message { from, message } = rename_input(Input::Message { from: to, message }, name)
            else {
                return String::new();
            };
            format!("to {from}: {:?} in term {}", message.body, message.term)
        }
        Effect::RoleChanged { role, term, leader } => format!("{role:?} {term} {:?}", leader.map(name)),
        Effect::Accepted { id, index, term } => format!("accepted {id} {index} {term}"),
        Effect::Apply { first, entries } => {
            let entries: Vec<_> = entries.into_iter().map(|entry| entry.renamed(name)).collect();
            format!("apply {first} {entries:?}")
        }
        _ => String::new(),
    });
    sent.collect()
}

#[test]
fn quorums_equal_a_count_of_all_subsets() {
    let identity =
        |ids: u32| (0..6u64).filter(move |id| ids >> id & 1 == 1).map(|id| (NodeId(id), Incarnation(0)));
    for incoming in 0..64u32 {
        for outgoing in [0, 0b1, 0b11, 0b111, 0b1_1100, 0b11_1111] {
            let configuration = Configuration {
                voters: identity(incoming).collect(),
                outgoing: identity(outgoing).collect(),
                learners: identity(!incoming & !outgoing & 63).collect(),
                ..Configuration::default()
            };
            for yes in 0..64u32 {
                let enough = |part: u32| (part & yes).count_ones() * 2 > part.count_ones();
                let expected = enough(incoming) && (outgoing == 0 || enough(outgoing));
                let reached =
                    ravelin_consensus::quorum::reached(&configuration, |node| yes >> node.0 & 1 == 1);
                assert_eq!(reached, expected, "{incoming:b} {outgoing:b} {yes:b}");
            }
        }
    }
}

/// Members name the recovery that made them: none is taken from a later one than the node's, and none goes back.
#[test]
fn members_of_a_recovery_are_taken_in_its_epoch_only() {
    let in_epoch = |epoch| {
        let mut params = Params::clone(&params(1));
        params.recovery_epoch = RecoveryEpoch(epoch);
        Arc::new(params)
    };
    let recovered = Durable::<u8>::genesis(members()).recovered(NodeId(1), Incarnation(1), RecoveryEpoch(1));
    let before = Core::restore(in_epoch(0), recovered.clone()).map(drop);
    assert_eq!(before, Err(Corrupt::Epoch { index: Index(1) }));
    let core = Core::restore(in_epoch(1), recovered.clone()).expect("its own epoch");
    assert_eq!(core.configuration().recovery_epoch, RecoveryEpoch(1));
    assert!(core.configuration().voters.keys().eq([&NodeId(1)]));
    let mut falls = recovered.clone();
    falls.entries.push(Entry { term: Term(1), kind: EntryKind::Configuration(members()) });
    let falls = Core::restore(in_epoch(1), falls).map(drop);
    assert_eq!(falls, Err(Corrupt::Epoch { index: Index(2) }));

    // Who joins later learns of the recovery from the log, and of none that its leader cannot know.
    for (epoch, taken) in [(1, true), (2, false)] {
        let mut joining =
            Core::restore(in_epoch(1), Durable::<u8>::genesis(members())).expect("an empty log");
        let alone = Configuration { recovery_epoch: RecoveryEpoch(epoch), ..members() };
        let entries = vec![Entry { term: Term(1), kind: EntryKind::Configuration(alone) }];
        let (prev_index, prev_term, commit, round) = (Index::ZERO, Term(0), Index::ZERO, Round(1));
        let message = Message {
            cluster: core.params().cluster,
            recovery_epoch: RecoveryEpoch(1),
            incarnation: Incarnation(2),
            term: Term(1),
            body: Body::Append { prev_index, prev_term, entries: entries.into(), commit, round },
        };
        joining.step(Time::default(), Input::Message { from: NodeId(2), message }, &mut Effects::new());
        assert_eq!(joining.last_index() == Index(1), taken, "epoch {epoch}");
    }
}
