//! Golden bytes of every variant of the feed's wire forms, and the way back of each.

use bincode::config::{Configuration, Fixint, LittleEndian};
use bincode::error::{AllowedEnumVariants, DecodeError};

use super::*;
use crate::object::Kind;
use crate::secret::SealingKeys;

/// As the transport's codec encodes, but for its limits and the version byte.
const FORM: Configuration<LittleEndian, Fixint> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding();

fn generation(revision: u64) -> GenerationId {
    GenerationId { cluster: [0xc1; 16], recovery_epoch: 2, revision, digest: Digest([0xd1; 32]) }
}

fn every_word_of_a_proxy() -> Vec<ToControl> {
    let understands = Understands {
        formats: Versions { oldest: 1, newest: 2 },
        kinds: [(Kind::HttpRouter.code(), 1), (Kind::StaticSection.code(), 3)].into(),
        features: 5,
    };
    let stages = [
        Stage::Received,
        Stage::Validated,
        Stage::Serving,
        Stage::Refused { reasons: vec!["no".to_owned(), "never".to_owned()] },
        Stage::Overdue,
    ];
    let hello = |held: Option<u64>, floor: Option<u64>| {
        ToControl::Hello(Hello {
            cluster: [0xc1; 16],
            recovery_epoch: 2,
            generation: held.map(generation),
            floor: floor.map(generation),
            view: "v".to_owned(),
            build: "b".to_owned(),
            instance: 0x1122_3344_5566_7788,
            understands: understands.clone(),
        })
    };
    let mut all = vec![hello(None, None), hello(Some(0x0102), Some(0x0103))];
    all.extend(stages.map(|stage| ToControl::Acknowledge { generation: generation(7), stage }));
    all.push(ToControl::NeedWhole { reason: "lost".to_owned() });
    all
}

fn control_node(node: u64, address: &str) -> ControlNode {
    ControlNode { node, address: address.to_owned() }
}

fn control_plane(nodes: Vec<ControlNode>) -> ControlPlane {
    ControlPlane { cluster: [0xc1; 16], recovery_epoch: 2, incarnation: 3, as_of: 9, nodes }
}

fn every_word_of_a_control_node() -> Vec<ToProxy> {
    let key = |text: &str| Key::new(text).expect("a key");
    let part = |content| Part {
        transfer: 7,
        content,
        part: 1,
        of: 2,
        puts: vec![(key("k"), Arc::from(b"v".as_slice()))],
        deletes: vec![key("d")],
        secret_puts: vec![(SecretId([0xaa; 32]), Arc::from(b"e".as_slice()))],
        secret_deletes: vec![SecretId([0xbb; 32])],
    };
    let view = SealingKeys::new([0xc1; 16], &[[0xee; 32]]).expect("one key").view_key("");
    vec![
        ToProxy::UpToDate { generation: generation(9), stale: true, leads: false },
        ToProxy::UpToDate { generation: generation(9), stale: false, leads: true },
        ToProxy::Part(part(Content::Whole { target: generation(8) })),
        ToProxy::Part(part(Content::Delta { base: generation(7), target: generation(8) })),
        ToProxy::Refused { reason: "go".to_owned() },
        ToProxy::ViewKey(view),
        ToProxy::ControlPlane(control_plane(vec![control_node(4, "a:1"), control_node(5, "b:2")])),
    ]
}

fn bytes<T: Encode>(wire: &T) -> Vec<u8> {
    bincode::encode_to_vec(wire, FORM).expect("it is small")
}

fn read<T: Decode<()>>(bytes: &[u8]) -> T {
    let (wire, used) = bincode::decode_from_slice(bytes, FORM).expect("own encoding");
    assert_eq!(used, bytes.len());
    wire
}

/// A change here is a change of wire and last-good file: it needs a new version byte, and the forms of before stay.
#[test]
fn the_wire_form_of_every_variant_is_fixed() {
    let proxy = every_word_of_a_proxy().into_iter().map(|word| bytes(&ToControlV1::from(word)));
    let control = every_word_of_a_control_node().into_iter().map(|word| bytes(&ToProxyV1::from(word)));
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let now: Vec<String> = proxy.chain(control).map(hex).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/feed/wire/golden.txt");
    if std::env::var_os("RAVELIN_REWRITE").is_some() {
        std::fs::write(path, now.join("\n") + "\n").expect("the checkout can be written");
    }
    let golden = std::fs::read_to_string(path).expect("it is committed");
    assert_eq!(now, golden.lines().collect::<Vec<_>>());
}

#[test]
fn every_word_comes_back() {
    for word in every_word_of_a_proxy() {
        assert_eq!(
            ToControl::try_from(read::<ToControlV1>(&bytes(&ToControlV1::from(word.clone())))),
            Ok(word)
        );
    }
    for word in every_word_of_a_control_node() {
        assert_eq!(ToProxy::try_from(read::<ToProxyV1>(&bytes(&ToProxyV1::from(word.clone())))), Ok(word));
    }
}

#[test]
fn what_is_no_key_or_makes_no_sense_is_refused() {
    let Some(ToProxyV1::Part(mut wire)) = every_word_of_a_control_node().into_iter().nth(2).map(Into::into)
    else {
        panic!("the third is a part")
    };
    wire.deletes = vec!["a\nb".into()];
    assert_eq!(Part::try_from(wire), Err(WireError::Key(KeyError::Control { code: 10 })));
    let Some(ToControlV1::Hello(mut hello)) = every_word_of_a_proxy().into_iter().next().map(Into::into)
    else {
        panic!("the first is a hello")
    };
    let mut nonsense = every_word_of_a_proxy();
    if let Some(ToControl::Hello(said)) = nonsense.first_mut() {
        said.understands.formats = Versions { oldest: 2, newest: 1 };
        hello.understands = UnderstandsV1::from(&said.understands);
    }
    for nodes in [vec![control_node(1, &"a".repeat(261))], vec![control_node(1, "a:1"); 65]] {
        let wire = ControlPlaneV1::from(control_plane(nodes));
        assert_eq!(ControlPlane::try_from(wire), Err(WireError::ControlNodes));
    }
    let read = ToControl::try_from(ToControlV1::Hello(hello));
    assert!(matches!(read, Err(WireError::Understands(UnderstandsError::Versions { .. }))), "{read:?}");
}

/// A new variant of a versioned enum needs a new version byte: a reader of the old one loses the frame, or takes the file for
/// damaged.
#[test]
fn a_new_variant_needs_a_new_version() {
    fn variants<T: Decode<()>>() -> u32 {
        match bincode::decode_from_slice::<T, _>(&u32::MAX.to_le_bytes(), FORM).err() {
            Some(DecodeError::UnexpectedVariant {
                allowed: AllowedEnumVariants::Range { max, .. }, ..
            }) => max + 1,
            other => panic!("an unknown variant is refused as such: {other:?}"),
        }
    }
    let found =
        (variants::<ToControlV1>(), variants::<StageV1>(), variants::<ToProxyV1>(), variants::<ContentV1>());
    assert_eq!((FEED_VERSION, found), (1, (3, 5, 5, 2)), "raise the version with the variants");
    // Version n reads n-1.
    const { assert!(FEED_VERSIONS.oldest + 1 >= FEED_VERSION && FEED_VERSIONS.newest == FEED_VERSION) };
}
