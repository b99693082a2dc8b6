//! The codec on the wire types of each part: any bytes are decoded or refused, without a panic and within bounded memory; and what was
//! decoded has one encoding, which decodes to the same again.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bincode::{Decode, Encode};
use ravelin_cluster::node::wire;
use ravelin_config::feed::{ToControl, ToControlV1, ToProxy, ToProxyV1};
use ravelin_config::object::RecordWire;
use ravelin_transport::codec::{CodecError, decode, encode, version};

/// A type of every shape that wire types may have.
#[derive(Debug, Encode, Decode)]
enum Shapes {
    Unit,
    Tuple(bool, u8, i16, u32, i64, u128, char),
    Named { text: String, bytes: Vec<u8>, array: [u8; 16], optional: Option<Box<str>> },
    Nested(Vec<(u16, Option<Vec<String>>)>),
    Map(BTreeMap<String, BTreeMap<u8, Vec<u64>>>),
}

/// One wire type under its letter.
type Kind = (u8, fn(&[u8]) -> bool);

/// The letters that an input may start with, and what each stands for.
const KINDS: &[Kind] = &[
    (b's', check::<Shapes>),
    (b'c', means::<ToControlV1, ToControl>),
    (b'p', means::<ToProxyV1, ToProxy>),
    (b'r', check::<RecordWire>),
    (b'n', raft),
];

/// The first byte chooses the type, the rest is the encoding.
pub fn run(input: &[u8]) {
    decodes(input);
}

/// The letters of all types, for the test that the corpus holds a good encoding of each.
pub fn letters() -> impl Iterator<Item = u8> {
    KINDS.iter().map(|(letter, _)| *letter)
}

/// As [`run`]; whether the input was an encoding of its type.
pub fn decodes(input: &[u8]) -> bool {
    let Some((letter, encoding)) = input.split_first() else { return false };
    KINDS.iter().find(|(known, _)| known == letter).is_some_and(|(_, check)| check(encoding))
}

/// As [`check`]; and what the wire form means is the same after another journey.
fn means<Wire, T>(encoding: &[u8]) -> bool
where
    Wire: Encode + Decode<()> + From<T> + TryInto<T>,
    T: Clone + PartialEq + Debug,
{
    let Some(version) = version(encoding).filter(|_| check::<Wire>(encoding)) else { return false };
    let Ok(wire) = decode::<Wire>(version, encoding) else { return false };
    let Ok(value) = wire.try_into() else { return false };
    let once = encode(version, &Wire::from(value.clone()));
    let Ok(once) = once else { return true };
    let again = decode::<Wire>(version, &once).expect("the encoder checked that it decodes").try_into().ok();
    assert_eq!(again, Some(value), "what was said is not what is understood");
    true
}

/// A frame between control nodes: what was understood is understood again from what is said of it.
fn raft(encoding: &[u8]) -> bool {
    let Ok(frame) = wire::decode(encoding) else { return false };
    let once = match wire::encode(&frame) {
        Ok(once) => once,
        // As below.
        Err(CodecError::Unreadable(_)) => return true,
        Err(error) => panic!("a decoded frame does not encode: {error}"),
    };
    assert_eq!(wire::decode(&once).ok(), Some(frame), "what was said is not what is understood");
    let longer = [encoding, &[0]].concat();
    assert!(wire::decode(&longer).is_err(), "a trailing byte was accepted");
    true
}

fn check<T: Encode + Decode<()>>(encoding: &[u8]) -> bool {
    let Some(version) = version(encoding) else {
        assert!(matches!(decode::<T>(0, encoding), Err(CodecError::Empty)));
        return false;
    };
    assert!(matches!(decode::<T>(version.wrapping_add(1), encoding), Err(CodecError::Version { .. })));
    let Ok(value) = decode::<T>(version, encoding) else { return false };
    let once = match encode(version, &value) {
        Ok(once) => once,
        // A map given with an entry twice encodes shorter than it came, and small encodings have the smaller limit.
        Err(CodecError::Unreadable(_)) => return true,
        Err(error) => panic!("a decoded value does not encode: {error}"),
    };
    let again = decode::<T>(version, &once).expect("the encoder checked that it decodes");
    assert_eq!(encode(version, &again).expect("it did before"), once, "two encodings of one value");

    let mut longer = encoding.to_vec();
    longer.push(0);
    assert!(decode::<T>(version, &longer).is_err(), "a trailing byte was accepted");
    true
}
