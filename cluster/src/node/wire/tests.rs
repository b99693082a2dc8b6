//! Golden bytes of lane Raft and the way back of every message.

use bincode::error::AllowedEnumVariants;

use super::*;

const SENDER: Sender =
    Sender { cluster: ClusterId([0xc1; 16]), recovery_epoch: RecoveryEpoch(2), incarnation: Incarnation(3) };

fn configuration() -> Configuration {
    let mut configuration =
        Configuration::of_voters([(NodeId(1), Incarnation(11)), (NodeId(2), Incarnation(12))]);
    configuration.recovery_epoch = RecoveryEpoch(2);
    configuration.learners.insert(NodeId(4), Incarnation(14));
    configuration
}

fn message(body: Body<CommandBytes>) -> Message<CommandBytes> {
    let Sender { cluster, recovery_epoch, incarnation } = SENDER;
    Message { cluster, recovery_epoch, incarnation, term: Term(4), body }
}

fn every_body() -> Vec<Body<CommandBytes>> {
    let meta =
        SnapshotMeta { index: Index(9), term: Term(3), digest: [0xd1; 32], configuration: configuration() };
    let command = |text: &'static str| EntryKind::Command(CommandBytes(Bytes::from_static(text.as_bytes())));
    let entries = vec![
        Entry { term: Term(3), kind: EntryKind::Empty },
        Entry { term: Term(4), kind: EntryKind::Configuration(configuration()) },
        Entry { term: Term(4), kind: command("abc") },
    ];
    vec![
        Body::PreVote { last_index: Index(5), last_term: Term(3) },
        Body::PreVoteReply { granted: true },
        Body::Vote { last_index: Index(6), last_term: Term(3) },
        Body::VoteReply { granted: false },
        Body::Append {
            prev_index: Index(7),
            prev_term: Term(3),
            entries: entries.clone().into(),
            commit: Index(6),
            round: Round(8),
        },
        Body::AppendReply { outcome: AppendOutcome::Accepted { matched: Index(10) }, round: Round(8) },
        Body::AppendReply {
            outcome: AppendOutcome::Rejected {
                prev_index: Index(7),
                hint_index: Index(5),
                hint_term: Term(2),
            },
            round: Round(9),
        },
        Body::Snapshot { meta: Box::new(meta), round: Round(10) },
        Body::SnapshotReply { index: Index(9), outcome: SnapshotOutcome::Receiving, round: Round(10) },
        Body::SnapshotReply { index: Index(9), outcome: SnapshotOutcome::Failed, round: Round(11) },
        Body::TimeoutNow,
        Body::Read { ticket: Ticket { life: Life(12), number: 13 } },
        Body::ReadReply { ticket: Ticket { life: Life(14), number: 15 }, index: None },
        Body::ReadReply { ticket: Ticket { life: Life(16), number: 17 }, index: Some(Index(18)) },
        Body::Missing { prev_index: Index(6), prev_term: Term(3), entries: entries.into() },
    ]
}

fn presence() -> Presence {
    Presence {
        term: 4,
        applied: 9,
        healthy: true,
        providers_epoch: 2,
        served: Some(7),
        understands: Understands {
            formats: Versions { oldest: 1, newest: 2 },
            kinds: [(1, 1), (41, 3)].into(),
            features: 5,
        },
        feature_level: 6,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_message_comes_back() {
    for body in every_body() {
        let frame = Frame::Message(message(body));
        assert_eq!(decode(&encode(&frame).expect("within the limits")).expect("own encoding"), frame);
    }
    let presence = Frame::Presence(SENDER, presence());
    assert_eq!(decode(&encode(&presence).expect("within the limits")).expect("own encoding"), presence);
}

/// Cluster, recovery epoch and incarnation stand in every frame, at the same place: before anything that differs.
#[test]
fn every_frame_says_who_speaks() {
    let mut frames: Vec<Frame> = every_body().into_iter().map(|body| Frame::Message(message(body))).collect();
    let presence = presence();
    frames.push(Frame::Presence(SENDER, presence));
    frames.push(Frame::Greeting(SENDER, "127.0.0.1:7".to_owned()));
    let head = [&[RAFT_VERSION][..], &[0xc1; 16], &2_u32.to_le_bytes(), &3_u64.to_le_bytes()].concat();
    for frame in frames {
        let bytes = encode(&frame).expect("within the limits");
        assert!(bytes.starts_with(&head), "{frame:?}");
        assert_eq!(decode(&bytes).expect("own encoding").sender(), SENDER);
    }
}

/// The frames as written on 2026-11-23. A change here is a change of the wire: it needs a new version byte.
#[test]
fn the_wire_form_is_fixed() {
    let golden: Vec<&str> = include_str!("golden.txt").lines().collect();
    let mut frames: Vec<Frame> = every_body().into_iter().map(|body| Frame::Message(message(body))).collect();
    frames.push(Frame::Presence(SENDER, presence()));
    frames.push(Frame::Greeting(SENDER, "127.0.0.1:7".to_owned()));
    let now: Vec<String> =
        frames.iter().map(|frame| hex(&encode(frame).expect("within the limits"))).collect();
    if std::env::var_os("RAVELIN_REWRITE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/node/wire/golden.txt");
        std::fs::write(path, now.join("\n") + "\n")
            .expect("the source tree is writable when golden files are made");
        return;
    }
    assert_eq!(now, golden);
}

#[test]
fn another_version_and_trailing_bytes_are_refused() {
    let frame = Frame::Presence(SENDER, presence());
    let mut bytes = encode(&frame).expect("within the limits").to_vec();
    bytes.push(0);
    assert!(matches!(decode(&bytes), Err(CodecError::Trailing { bytes: 1 })));
    bytes.pop();
    bytes[0] = 3;
    assert!(matches!(decode(&bytes), Err(CodecError::Version { expected: 2, found: 3 })));
}

#[test]
fn equal_appends_in_a_row_share_one_encoding() {
    let append = |prev: u64, commit: u64| {
        message(Body::Append {
            prev_index: Index(prev),
            prev_term: Term(3),
            entries: vec![Entry { term: Term(4), kind: EntryKind::Empty }].into(),
            commit: Index(commit),
            round: Round(1),
        })
    };
    let mut cache = AppendCache::default();
    let first = cache.encode(append(7, 6)).expect("within the limits");
    let second = cache.encode(append(7, 6)).expect("within the limits");
    assert_eq!(first.as_ptr(), second.as_ptr());
    let third = cache.encode(append(8, 6)).expect("within the limits");
    assert_ne!(first, third);
    assert_eq!(
        cache.encode(append(8, 7)).expect("within the limits"),
        encode(&Frame::Message(append(8, 7))).expect("within the limits")
    );
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        if let Ok(frame) = decode(&bytes) {
            proptest::prop_assert_eq!(encode(&frame).expect("it was read").to_vec(), bytes);
        }
    }

    #[test]
    fn a_changed_byte_never_reads_as_the_same(place in 0usize..200, flip in 1u8..) {
        for body in every_body() {
            let frame = Frame::Message(message(body));
            let mut bytes = encode(&frame).expect("within the limits").to_vec();
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= flip;
                proptest::prop_assert_ne!(decode(&bytes).ok(), Some(frame));
            }
        }
    }
}

/// A new variant of a versioned enum needs a new version byte: a reader of the old one takes it for damage, or loses the frame.
#[test]
fn a_new_variant_needs_a_new_version() {
    fn variants<T: Decode<()>>() -> u32 {
        let unknown = [&[RAFT_VERSION], u32::MAX.to_le_bytes().as_slice()].concat();
        match codec::decode::<T>(RAFT_VERSION, &unknown).err() {
            Some(CodecError::Malformed(DecodeError::UnexpectedVariant {
                allowed: AllowedEnumVariants::Range { max, .. },
                ..
            })) => max + 1,
            other => panic!("an unknown variant is refused as such: {other:?}"),
        }
    }
    let found = (variants::<ContentV2>(), variants::<BodyV2>(), variants::<EntryKindV2>());
    assert_eq!((RAFT_VERSION, found), (2, (3, 13, 3)), "raise the version with the variants");
}
