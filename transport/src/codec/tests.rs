//! Golden bytes and hostile bytes of the codec.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
enum Sample {
    Nothing,
    Everything {
        flag: bool,
        small: u8,
        medium: u16,
        large: u64,
        negative: i32,
        text: String,
        bytes: Vec<u8>,
        optional: Option<u32>,
        fixed: [u8; 4],
        map: BTreeMap<u16, String>,
    },
    Wide(Vec<[u64; 16]>),
}

fn everything() -> Sample {
    Sample::Everything {
        flag: true,
        small: 7,
        medium: 0x0102,
        large: 0x0102_0304_0506_0708,
        negative: -2,
        text: "hé".to_owned(),
        bytes: vec![1, 2, 3],
        optional: Some(9),
        fixed: *b"rvln",
        map: BTreeMap::from([(1, "a".to_owned()), (2, String::new())]),
    }
}

#[test]
fn golden_bytes() {
    #[rustfmt::skip]
    let golden: &[u8] = &[
        3,                                              // version
        1, 0, 0, 0,                                     // variant
        1,                                              // flag
        7,                                              // small
        2, 1,                                           // medium
        8, 7, 6, 5, 4, 3, 2, 1,                         // large
        0xfe, 0xff, 0xff, 0xff,                         // negative
        3, 0, 0, 0, 0, 0, 0, 0, b'h', 0xc3, 0xa9,       // text
        3, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3,                // bytes
        1, 9, 0, 0, 0,                                  // optional
        b'r', b'v', b'l', b'n',                         // fixed
        2, 0, 0, 0, 0, 0, 0, 0,                         // map: entries
        1, 0, 1, 0, 0, 0, 0, 0, 0, 0, b'a',
        2, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let bytes = encode(3, &everything()).expect("a small value");
    assert_eq!(&bytes[..], golden);
    assert_eq!(decode::<Sample>(3, golden).expect("golden bytes"), everything());
    assert_eq!(version(golden), Some(3));
}

#[test]
fn another_version_is_named() {
    let bytes = encode(2, &Sample::Nothing).expect("a small value");
    let error = decode::<Sample>(1, &bytes).expect_err("version 2 read as version 1");
    assert_eq!(error.to_string(), "version 2, where version 1 was expected");
    assert!(matches!(decode::<Sample>(1, &[]), Err(CodecError::Empty)));
    assert_eq!(version(&[]), None);
}

#[test]
fn trailing_bytes_are_refused() {
    let mut bytes = encode(1, &everything()).expect("a small value").to_vec();
    bytes.push(0);
    assert!(matches!(decode::<Sample>(1, &bytes), Err(CodecError::Trailing { bytes: 1 })));
}

#[test]
fn every_truncation_is_refused() {
    let bytes = encode(1, &everything()).expect("a small value");
    for length in 0..bytes.len() {
        assert!(decode::<Sample>(1, &bytes[..length]).is_err(), "{length} bytes were enough");
    }
}

#[test]
fn nine_bytes_cannot_ask_for_gigabytes() {
    let mut bytes = vec![1];
    bytes.extend_from_slice(&(1_u64 << 32).to_le_bytes());
    assert!(matches!(decode::<Vec<u64>>(1, &bytes), Err(CodecError::Malformed(DecodeError::LimitExceeded))));
    bytes[1..].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(decode::<Vec<u8>>(1, &bytes), Err(CodecError::Malformed(_))));
}

#[test]
fn a_small_input_is_held_to_the_small_limit() {
    let mut bytes = vec![1];
    bytes.extend_from_slice(&(SMALL_DECODED_BYTES_MAX as u64 + 1).to_le_bytes());
    assert!(matches!(decode::<Vec<u8>>(1, &bytes), Err(CodecError::Malformed(DecodeError::LimitExceeded))));
}

#[test]
fn what_could_not_be_read_back_is_not_handed_out() {
    // Each `None` is one byte here but asks for 136 bytes of memory there: 2 MiB, from an encoding of 16 KiB.
    let wide: Vec<Option<[u64; 16]>> = vec![None; 16_000];
    let error = encode(1, &wide).expect_err("beyond the reader's limit");
    assert!(matches!(error, CodecError::Unreadable(_)), "{error}");
    let larger: Vec<Option<[u64; 16]>> = vec![None; 17_000];
    let bytes = encode(1, &larger).expect("a larger encoding has the larger limit");
    assert_eq!(decode::<Vec<Option<[u64; 16]>>>(1, &bytes).expect("just encoded"), larger);
}

#[test]
fn too_large_is_refused_on_both_ways() {
    let error = encode(1, &vec![0_u8; ENCODED_BYTES_MAX]).expect_err("9 bytes too long");
    assert!(matches!(error, CodecError::TooLarge { bytes } if bytes == ENCODED_BYTES_MAX + 9), "{error}");
    let largest = vec![5_u8; ENCODED_BYTES_MAX - 9];
    let bytes = encode(1, &largest).expect("exactly the limit");
    assert_eq!(bytes.len(), ENCODED_BYTES_MAX);
    assert_eq!(decode::<Vec<u8>>(1, &bytes).expect("exactly the limit"), largest);
    let mut long = bytes.to_vec();
    long.push(0);
    assert!(matches!(decode::<Vec<u8>>(1, &long), Err(CodecError::TooLarge { .. })));
}

#[test]
fn a_borrowing_type_is_checked_as_its_owned_one() {
    let borrowed = encode_as::<(u8, String), (u8, &str)>(1, &(4, "ok")).expect("same encoding");
    assert_eq!(decode::<(u8, String)>(1, &borrowed).expect("same encoding"), (4, "ok".to_owned()));
    assert!(matches!(encode_as::<(u64, String), (u8, &str)>(1, &(4, "ok")), Err(CodecError::Unreadable(_))));
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused_and_what_decodes_has_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = decode::<Sample>(1, &bytes) {
            let encoded = encode(1, &value).expect("it was within limits");
            prop_assert_eq!(decode::<Sample>(1, &encoded).expect("just encoded"), value);
        }
    }
}
