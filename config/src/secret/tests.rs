//! Checks of secrets: what is taken, that it comes back, that nothing tells its value, and the golden bytes of what is
//! derived.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::names::SECRET_OPTIONS;
use super::*;
use crate::canonical::{CANONICAL_DEPTH_MAX, value_to_bytes};
use crate::dynamic::{TlsCertificate, TransportCertificate};
use crate::object::{Kind, Object, Record, Status};
use crate::options::{self, Field, Type};

mod slips;

const CLUSTER: [u8; 16] = [3; 16];
const PEM: &str = "-----BEGIN EC PRIVATE KEY-----\nQUJDREVGR0g=\n-----END EC PRIVATE KEY-----\n";

fn keys() -> SealingKeys {
    SealingKeys::new(CLUSTER, &[[1; 32]]).expect("one key")
}

fn object(json: &Json) -> Object {
    Object::new(Kind::TlsCertificate, 1, value_to_bytes(json).expect("shallow"))
}

fn middleware(json: &Json) -> Object {
    Object { kind: Kind::HttpMiddleware, ..object(json) }
}

fn sealed(object: &Object) -> (Object, Vec<(SecretId, Secret)>) {
    seal_object(object, &keys()).expect("it can be sealed")
}

fn json_of(object: &Object) -> Json {
    serde_json::from_slice(&object.bytes).expect("canonical JSON")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_names_envelopes_and_keys() {
    let keys = keys();
    let value = Secret::new("value".to_owned());
    let id = keys.name("value");
    assert_eq!(id.to_string(), "3c27ddd02550f3fdda9b4dc2d8ddcdcc1f5d21a4608e86ae2506daf6a0f999d1");
    let envelope = keys.seal(&id, &value);
    assert_eq!(
        hex(&envelope),
        "01cdaa65cf1dcb181a3c27ddd02550f3fdda9b4dc284687eabf523c8e112ca2aadaa1e2145c46f73ba92"
    );
    assert_eq!(keys.open(&id, &envelope), Ok(value));
    assert_eq!(keys.view_key("").id().to_string(), "b6559c50498a47a5");
    assert_ne!(keys.view_key("").id(), keys.view_key("edge").id());
}

#[test]
fn secrets_leave_an_object_and_come_back() {
    let keys = keys();
    let wanted = json!({"plugin": {
        "certFile": "-----BEGIN CERTIFICATE-----",
        "keyFile": PEM,
        "a/b": {"~": [1, {"PassWord": "p"}, "plain"], "users": ["one", "", "two"]},
        "stray": ["x", PEM],
    }});
    let (sealed, found) = sealed(&middleware(&wanted));
    let pointers: Vec<&str> = sealed.secrets.iter().map(|place| place.pointer.as_str()).collect();
    let expected = ["/a~1b/users/0", "/a~1b/users/2", "/a~1b/~0/1/PassWord", "/keyFile", "/stray/1"];
    assert_eq!(pointers, expected.map(|place| format!("/plugin{place}")));
    let text = String::from_utf8(sealed.bytes.to_vec()).expect("JSON is UTF-8");
    assert!(!text.contains("QUJD") && !text.contains("\"two\"") && text.contains("plain"), "{text}");
    let reference = json!({"secret": keys.name(PEM).to_string()});
    assert_eq!(json_of(&sealed).pointer("/plugin/keyFile"), Some(&reference));

    let open = |id: &SecretId| {
        let found = found.iter().find(|(found, _)| found == id);
        found.map(|(_, secret)| secret.clone()).ok_or(OpenError::Absent)
    };
    assert_eq!(fill(&sealed, open), Ok(middleware(&wanted)));
    assert_eq!(self::sealed(&middleware(&wanted)).0, sealed, "the same values have the same names");
    assert_eq!(self::sealed(&sealed), (sealed.clone(), Vec::new()), "what is sealed stays as it is");
    let missing = fill(&sealed, |_| Err(OpenError::Absent));
    assert!(matches!(missing, Err(FillError::Open { source: OpenError::Absent, .. })), "{missing:?}");
}

#[test]
fn what_only_looks_like_a_reference_is_never_filled() {
    let keys = keys();
    let id = keys.name(PEM);
    let look_alike = json!({"plugin": {"x": {"Place": id.to_string()}}});
    let (sealed, found) = sealed(&middleware(&look_alike));
    assert!(found.is_empty() && sealed.secrets.is_empty());
    let forged = json!({"headers": {"secret": id.to_string()}});
    let (sealed, found) = self::sealed(&object(&forged));
    assert_eq!(found.len(), 1, "its text is sealed like any other under that name");
    let filled = fill(&sealed, |asked| {
        assert_ne!(*asked, id, "the secret that it names is not asked for");
        Ok(found.first().expect("one").1.clone())
    });
    assert_eq!(filled, Ok(object(&forged)));
    // A place that the record lists must hold the very reference.
    let place = SecretPlace { pointer: "/keyFile".to_owned(), id };
    let wrong = Object { secrets: Arc::from([place]), ..object(&json!({"keyFile": "text"})) };
    let error = fill(&wrong, |_| Ok(Secret::new(String::new())));
    assert_eq!(error, Err(FillError::Place { pointer: "/keyFile".to_owned() }));
}

#[test]
fn both_values_of_a_record_are_sealed_and_what_cannot_be_opened_stays_sealed() {
    let keys = keys();
    let last_good = object(&json!({"keyFile": "old"}));
    let record = Record {
        object: object(&json!({"keyFile": "new"})),
        status: Status::disabled("no"),
        last_good: Some(last_good.clone()),
    };
    let (sealed, found) = seal_record(&record, &keys).expect("it can be sealed");
    assert_eq!(found.len(), 2);
    let all = |id: &SecretId| Ok(found.iter().find(|(found, _)| found == id).expect("named").1.clone());
    assert_eq!(fill_record(&sealed, all), (record.clone(), Vec::new()));
    let old = keys.name("old");
    let only_old = |id: &SecretId| if *id == old { all(id) } else { Err(OpenError::Damaged) };
    let (half, errors) = fill_record(&sealed, only_old);
    assert_eq!((half.object, half.last_good, errors.len()), (sealed.object, Some(last_good), 1));
}

#[test]
fn an_envelope_opens_only_under_its_name_and_key_and_every_bit_counts() {
    let keys = keys();
    let (id, value) = (keys.name("v"), Secret::new("v".to_owned()));
    let envelope = keys.seal(&id, &value);
    assert_eq!(keys.open(&keys.name("w"), &envelope), Err(OpenError::Damaged));
    for at in 0..envelope.len() {
        let mut bad = envelope.to_vec();
        if let Some(byte) = bad.get_mut(at) {
            *byte ^= 1;
        }
        assert!(keys.open(&id, &bad).is_err(), "byte {at}");
        assert!(keys.open(&id, envelope.get(..at).expect("shorter")).is_err(), "cut at {at}");
    }
    let other = SealingKeys::new(CLUSTER, &[[2; 32]]).expect("one key");
    assert!(matches!(other.open(&id, &envelope), Err(OpenError::UnknownKey(_))));
    assert_ne!(other.name("v"), id, "without the key nobody can guess at a name");
    let foreign = SealingKeys::new([4; 16], &[[1; 32]]).expect("one key");
    assert!(matches!(foreign.open(&id, &envelope), Err(OpenError::UnknownKey(_))));
    // After a change of keys the old one still opens, and the new one seals.
    let both = SealingKeys::new(CLUSTER, &[[2; 32], [1; 32]]).expect("two keys");
    assert_eq!(both.open(&id, &envelope), Ok(value));
    assert_eq!(both.name("v"), other.name("v"));
}

#[test]
fn a_view_opens_what_is_sealed_for_it_and_not_the_log() {
    let keys = keys();
    let (id, value) = (keys.name("v"), Secret::new("v".to_owned()));
    let (view, edge) = (keys.view_key(""), keys.view_key("edge"));
    let mut beside = SecretMap::default();
    beside.set(id, Some(view.seal(&id, &value)));
    assert_eq!(beside.open(&id), Err(OpenError::UnknownKey(view.id())));
    beside.add_key(edge);
    assert!(beside.open(&id).is_err());
    beside.add_key(view);
    assert_eq!(beside.open(&id), Ok(value.clone()));
    beside.set(id, Some(keys.seal(&id, &value)));
    assert!(matches!(beside.open(&id), Err(OpenError::UnknownKey(_))), "the log's key is not a proxy's");
    assert_eq!(beside.open(&keys.name("w")), Err(OpenError::Absent));
}

#[test]
fn nothing_that_can_be_printed_shows_a_value() {
    let keys = keys();
    let (id, value) = (keys.name("topsecret"), Secret::new("topsecret".to_owned()));
    let view = keys.view_key("");
    let with = object(&json!({"keyFile": "topsecret"}));
    let record = Record { object: with.clone(), status: Status::enabled(), last_good: Some(with) };
    let key_file = "topsecret".to_owned();
    let certificate = TlsCertificate { key_file: key_file.clone(), ..TlsCertificate::default() };
    let client = TransportCertificate { key_file, ..TransportCertificate::default() };
    let shown = format!("{value:?} {id:?} {keys:?} {view:?} {record:?} {certificate:?} {client:?}");
    assert!(!shown.contains("topsecret"), "{shown}");
    // Not as a list of numbers either, as bytes are usually shown.
    assert!(!shown.contains("116, 111, 112") && !shown.contains("1, 1, 1, 1"), "{shown}");
}

/// Files' contents that anybody may know.
const PUBLIC: &[&str] = &["ca", "cacertificates", "cafiles", "cert", "certfile", "rootcas"];

fn walk(fields: &[Field], check: &mut dyn FnMut(&Field)) {
    for field in fields {
        check(field);
        walk(field.ty.fields(), check);
    }
}

#[test]
fn every_option_that_holds_a_secret_is_known_as_one() {
    let telling = ["password", "secret", "token", "apikey", "privatekey", "hmac", "passphrase", "keyfile"];
    let (mut seen, mut missing) = (0, Vec::new());
    let mut check = |field: &Field| {
        let name = field.name.to_ascii_lowercase();
        let holds_file = matches!(field.ty, Type::Content | Type::Contents) && !PUBLIC.contains(&&*name);
        let tells = telling.iter().any(|word| name.contains(word)) && !matches!(field.ty, Type::Flag);
        if holds_file || tells {
            seen += 1;
            missing.extend((!SECRET_OPTIONS.contains(&&*name)).then_some(field.name));
        }
    };
    walk(options::DYNAMIC, &mut check);
    walk(options::STATIC, &mut check);
    assert!(seen > 5 && missing.is_empty(), "{seen} seen, not sealed: {missing:?}");
    assert!(SECRET_OPTIONS.is_sorted());
}
