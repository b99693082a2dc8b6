//! The corpora of the disk formats are made by the shipped code, and say what each seed must lead to. With
//! `RAVELIN_WRITE_CORPUS` set the seeds are written anew: after a format was released that must never be needed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ravelin_cluster::node::wire::{self, Frame, Presence, Sender};
use ravelin_cluster::storage::disk::read_all;
use ravelin_cluster::storage::{CommandBytes, DataDirectory, MemoryDisk, Owner, Wal, WalLimits};
use ravelin_cluster::store::{
    Author, Change, ChangeId, Command, Event, Limits, PlainKey, Put, Store, StoreKey,
};
use ravelin_cluster::trace::Recorder;
use ravelin_config::{SecretId, Understands, Versions};
use ravelin_consensus::{
    Batch, Body, ClusterId, Configuration, Core, Durable, Effects, Entry, EntryKind, HardState, Incarnation,
    Index, Input, Life, Message, NodeId, Params, ProposalId, ReadId, RecoveryEpoch, Round, SnapshotMeta,
    Term, Time, Timer, Token,
};
use ravelin_fuzz::{cluster, codec, oracle, store, trace, wal};

/// The bytes of a seed as committed, which must be what this build makes.
fn seed(target: &str, name: &str, made: &[u8]) -> Vec<u8> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target).join(name);
    if std::env::var_os("RAVELIN_WRITE_CORPUS").is_some() {
        std::fs::write(&path, made).expect("the source tree is writable when seeds are made");
    }
    let found = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(found == made, "{} is not what this build writes: a disk form has changed", path.display());
    found
}

/// As the fuzz entry of storage wants it.
const OWNER: Owner = Owner { cluster: [0x11; 16], recovery_epoch: 0, node: 1, incarnation: 1 };

fn members() -> Configuration {
    Configuration::of_voters([1, 2, 3].map(|node| (NodeId(node), Incarnation(1))))
}

fn entry(term: u64, text: &str) -> Entry<CommandBytes> {
    let command = CommandBytes(Bytes::copy_from_slice(text.as_bytes()));
    Entry { term: Term(term), kind: EntryKind::Command(command) }
}

fn batch(token: u64, term: u64, first: u64, entries: Vec<Entry<CommandBytes>>) -> Batch<CommandBytes> {
    let hard_state = HardState { term: Term(term), vote: Some(NodeId(1)) };
    Batch { token: Token(token), hard_state, snapshot: None, first: Index(first), entries: entries.into() }
}

fn meta(index: u64, term: u64) -> SnapshotMeta {
    SnapshotMeta { index: Index(index), term: Term(term), digest: [9; 32], configuration: members() }
}

/// The first segment of a log after `fill`.
fn segment(fill: impl FnOnce(&mut Wal)) -> Vec<u8> {
    let disk = MemoryDisk::new();
    let directory = DataDirectory::open(Arc::new(disk.clone()), OWNER).expect("fresh");
    let (mut log, _) = Wal::open(directory, WalLimits { segment_bytes: 1536 }, &members()).expect("fresh");
    fill(&mut log);
    assert_eq!(log.segments(), 1, "one segment is all that the target takes");
    read_all(&disk, "wal/00000000000000000001.wal", 1 << 20).expect("the first segment")
}

fn labelled(letter: u8, bytes: &[u8]) -> Vec<u8> {
    [&[letter], bytes].concat()
}

#[test]
fn logs_of_every_shape_are_recovered() {
    let first = Entry { term: Term(1), kind: EntryKind::Empty };
    let joined = Entry { term: Term(2), kind: EntryKind::Configuration(members()) };
    let plain = segment(|log| {
        let _token = log.append(&[batch(1, 1, 1, vec![first.clone()])]).expect("memory");
        let both = [batch(2, 1, 2, vec![entry(1, "a"), entry(1, "b")]), batch(3, 2, 4, vec![joined.clone()])];
        let _token = log.append(&both).expect("memory");
    });
    let replaced = segment(|log| {
        let old = vec![first.clone(), entry(1, "old"), entry(1, "older")];
        let _token = log.append(&[batch(1, 1, 1, old)]).expect("memory");
        let _token = log.append(&[batch(2, 3, 2, vec![entry(3, "new")])]).expect("memory");
    });
    let compacted = segment(|log| {
        let _token = log.append(&[batch(1, 1, 1, vec![first, entry(1, "a")])]).expect("memory");
        log.compact(&meta(1, 1)).expect("memory");
    });
    let installed = segment(|log| {
        let snapshot = Some(Box::new(meta(40, 4)));
        let entries = vec![entry(4, "after")];
        let whole = Batch { snapshot, ..batch(1, 4, 41, entries) };
        let _token = log.append(&[whole]).expect("memory");
    });
    for (name, bytes, entries) in [
        ("plain", plain, 4),
        ("replaced", replaced, 2),
        ("compacted", compacted, 1),
        ("installed", installed, 1),
    ] {
        let mut mended = bytes.clone();
        wal::mend(&mut mended);
        assert!(mended == bytes, "mending what is whole must not change it: {name}");
        let whole = wal::recovers(&seed("wal", name, &labelled(b's', &bytes))).expect("whole");
        assert_eq!(whole.entries.len(), entries, "{name}");

        let end = bytes.iter().rposition(|byte| *byte != 0).expect("not empty");
        let mut flipped = bytes.clone();
        flipped[end / 2] ^= 4;
        let torn = seed("wal", &format!("{name}-flipped"), &labelled(b'r', &flipped));
        assert!(wal::recovers(&torn).is_none_or(|recovered| recovered.torn_bytes > 0), "{name}");
    }
}

fn change(id: u8, author: Author, key: &str, value: &str) -> Command {
    let puts = vec![Put::new(StoreKey::new(key).expect("a key"), Arc::from(value.as_bytes()))];
    let id = ChangeId([id; 16]);
    Command::Change(Change { id, author, at_unix_ms: 5, base: None, puts, deletes: Vec::new() })
}

/// A certificate that refers to a secret, with the envelope.
fn certificate(id: u8, author: Author) -> Command {
    let Command::Change(mut change) = change(id, author, "config/tls/certificates/c@file", "C") else {
        panic!("a change")
    };
    let secret = SecretId([0x5e; 32]);
    change.puts.iter_mut().for_each(|put| put.secrets = Arc::from([secret]));
    change.puts.push(Put::new(PlainKey::secret(&secret).into(), Arc::from(b"envelope".as_slice())));
    Command::Change(change)
}

fn commands() -> Vec<Command> {
    let controller = |epoch| Author::Controller { node: NodeId(1), epoch };
    let operator = Author::Operator { name: "operator-1".to_owned() };
    let raiser = operator.clone();
    let appoint = |epoch| Command::AppointController { node: NodeId(1), epoch, at_unix_ms: 1 };
    let event = Event { at_unix_ms: 2, node: NodeId(3), name: "seen".to_owned(), text: "x".to_owned() };
    vec![
        appoint(1),
        change(1, controller(1), "config/http/routers/a@file", "A"),
        change(2, operator.clone(), "config/http/routers/b@cluster", "B"),
        appoint(2),
        change(3, controller(1), "config/http/routers/a@file", "late"),
        change(2, operator.clone(), "config/http/routers/b@cluster", "twice"),
        change(4, operator.clone(), "user/key", "value"),
        certificate(5, operator),
        Command::Event(event),
        Command::DropStaged { id: ChangeId([9; 16]) },
        Command::RaiseFeatureLevel { author: raiser.clone(), at_unix_ms: 3, level: 1 },
        Command::SetLimits {
            author: raiser,
            at_unix_ms: 3,
            limits: Limits { version: 2, keys_max: 2_000_000, ..Limits::GENESIS },
        },
    ]
}

#[test]
fn commands_are_applied_and_their_snapshot_is_taken_back() {
    let mut listed = vec![b'c'];
    for command in commands() {
        let bytes = command.encode().expect("small").0;
        let length = u16::try_from(bytes.len()).expect("small");
        listed.extend_from_slice(&length.to_le_bytes());
        listed.extend_from_slice(&bytes);
    }
    let applied = store::takes(&seed("store", "commands", &listed)).expect("a list of commands");
    assert_eq!(applied.applied_index(), Index(commands().len() as u64));
    assert_eq!((applied.config().len(), applied.stale_writes_refused()), (3, 1));
    assert_eq!((applied.feature_level(), applied.limits().version), (1, 2));
    assert_eq!(applied.config().secrets().len(), 1);

    let empty: Vec<_> = Store::new([7; 16]).snapshot_chunks().collect();
    for (name, chunks) in [("snapshot-empty", empty), ("snapshot", applied.snapshot_chunks().collect())] {
        let [Ok(chunk)] = chunks.as_slice() else { panic!("one chunk: {chunks:?}") };
        assert!(store::takes(&seed("store", name, &labelled(b's', chunk))).is_some(), "{name}");
    }
}

#[test]
fn the_histories_of_a_cluster_reach_what_they_are_named_after() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/cluster");
    let reached = |name: &str| cluster::reaches(&std::fs::read(folder.join(name)).expect("a committed seed"));
    assert!(reached("election").term == 1);
    assert!(reached("commit").committed >= 3);
    assert!(reached("crash-of-the-leader").term >= 2);
    assert!(reached("snapshot").snapshot > 0);
}

#[test]
fn frames_between_control_nodes_of_every_shape_are_understood() {
    let sender = Sender {
        cluster: ClusterId([0x11; 16]),
        recovery_epoch: RecoveryEpoch(1),
        incarnation: Incarnation(2),
    };
    let message = |body| {
        let Sender { cluster, recovery_epoch, incarnation } = sender;
        Frame::Message(Message { cluster, recovery_epoch, incarnation, term: Term(3), body })
    };
    let entries = vec![
        Entry { term: Term(2), kind: EntryKind::Empty },
        Entry { term: Term(3), kind: EntryKind::Configuration(members()) },
        entry(3, "a"),
    ];
    let append = Body::Append {
        prev_index: Index(4),
        prev_term: Term(2),
        entries: entries.clone().into(),
        commit: Index(4),
        round: Round(5),
    };
    let missing = Body::Missing { prev_index: Index(4), prev_term: Term(2), entries: entries.into() };
    let understands =
        Understands { formats: Versions { oldest: 1, newest: 2 }, kinds: [(1, 1)].into(), features: 5 };
    let presence = Presence {
        term: 3,
        applied: 4,
        healthy: true,
        providers_epoch: 1,
        served: Some(7),
        understands,
        feature_level: 1,
    };
    for (name, frame) in [
        ("raft-append", message(append)),
        ("raft-missing", message(missing)),
        ("raft-snapshot", message(Body::Snapshot { meta: meta(40, 3).into(), round: Round(5) })),
        ("raft-presence", Frame::Presence(sender, presence)),
        ("raft-greeting", Frame::Greeting(sender, "node-1.test:7000".to_owned())),
    ] {
        let bytes = wire::encode(&frame).expect("small");
        assert!(codec::decodes(&seed("codec", name, &labelled(b'n', &bytes))), "{name}");
    }
}

/// The trace of a lone voter that starts from `durable`, is given these commands, and hears a stranger's message.
fn trace_of(durable: Durable<CommandBytes>, commands: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("trace");
    let params = Arc::new(Params::new(ClusterId([0x11; 16]), NodeId(1), Incarnation(1)));
    let mut core = Core::restore(params, durable).expect("nothing contradicts itself");
    let mut recorder = Recorder::open(&core, &path).expect("the folder is ours");
    let mut effects = Effects::new();
    let propose = |(number, text): (u64, &&str)| Input::Propose {
        id: ProposalId(number),
        payload: CommandBytes(Bytes::copy_from_slice(text.as_bytes())),
    };
    let stranger = Message {
        cluster: ClusterId([0x11; 16]),
        recovery_epoch: RecoveryEpoch(0),
        incarnation: Incarnation(1),
        term: Term(9),
        body: Body::Vote { last_index: Index(0), last_term: Term(0) },
    };
    let given = [Input::Start { life: Life(1) }, Input::Persisted(Token(1)), Input::Persisted(Token(2))];
    let last = [
        Input::Applied(Index(1)),
        Input::Timer(Timer::Heartbeat),
        Input::Read(ReadId(1)),
        Input::Message { from: NodeId(2), message: stranger },
        Input::PersistFailed,
    ];
    let given = given.into_iter().chain((1..).zip(commands).map(propose)).chain(last);
    for (micros, input) in (1..).zip(given) {
        recorder.step(&mut core, Time { micros }, input, &mut effects);
        drop(effects.drain());
    }
    drop(recorder);
    std::fs::read(&path).expect("just written")
}

#[test]
fn traces_of_every_shape_are_replayed() {
    let alone = || Durable::genesis(Configuration::of_voters([(NodeId(1), Incarnation(1))]));
    let fresh = seed("trace", "fresh", &trace_of(alone(), &["a", "b"]));
    assert_eq!(trace::replays(&fresh), Some(10));
    let mut older = alone();
    older.hard_state = HardState { term: Term(2), vote: Some(NodeId(1)) };
    older.entries = vec![Entry { term: Term(1), kind: EntryKind::Empty }, entry(2, "old")];
    let older = seed("trace", "older", &trace_of(older, &["c"]));
    assert_eq!(trace::replays(&older), Some(9));
    let mut other = older.clone();
    let at = other.windows(3).position(|window| window == b"old").expect("it is durable");
    other[at] = b'O';
    assert_eq!(trace::replays(&other), None, "what was durable is handed to the state machine again");
    assert_eq!(trace::replays(&older[..40]), None);
}

#[test]
fn the_oracle_corpus_hands_over_changes_members_and_installs_snapshots() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/oracle");
    let mut seen = std::collections::BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("the corpus is committed") {
        let bytes = std::fs::read(file.expect("a readable folder").path()).expect("a readable file");
        seen.extend(oracle::reaches(&bytes));
    }
    for wanted in [
        "handed over",
        "members changed",
        "snapshot installed",
        "read ready",
        "entries cut off",
        "write lost",
    ] {
        assert!(seen.contains(wanted), "{wanted}: {seen:?}");
    }
}
