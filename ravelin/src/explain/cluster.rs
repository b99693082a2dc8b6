//! What the cluster answers to `get` as records, from which a table can be made. Secrets stay in the cluster, so what stood in their
//! places is left out, such that an object which the cluster found good is good without them. It must not judge an object.

use std::sync::Arc;

use ravelin_cluster::request::{ObjectView, Objects};
use ravelin_config::object::{State, Status};
use ravelin_config::options::SCHEMA_VERSION;
use ravelin_config::{Key, Kind, Object, Record, SecretId};
use serde_json::{Map, Value};

/// Stands for an address that holds a password.
const HIDDEN_ADDRESS: &str = "http://hidden.invalid";
/// Options that hold addresses.
const ADDRESSES: [&str; 2] = ["url", "address"];
/// Keys, each with the certificate that is of no use without it.
const PAIRS: [(&str, &str); 2] = [("key", "cert"), ("keyFile", "certFile")];

/// The records of these objects. What this build does not know is left out, and certificates, on which no route depends.
pub(super) fn records(objects: &Objects) -> Vec<(Key, Record)> {
    objects.objects.iter().filter_map(record).collect()
}

fn record(view: &ObjectView) -> Option<(Key, Record)> {
    let key = Key::new(&view.key).ok()?;
    let kind = key.kind().filter(|kind| !matches!(kind, Kind::TlsCertificate | Kind::TlsStore))?;
    let object = |text: &str| Object::new(kind, SCHEMA_VERSION, without_secrets(text));
    let states = [State::Enabled, State::Warning];
    let state = states.into_iter().find(|state| state.as_str() == view.state).unwrap_or(State::Disabled);
    let status = Status { state, errors: view.errors.clone() };
    Some((
        key,
        Record { object: object(&view.object), status, last_good: view.last_good.as_deref().map(object) },
    ))
}

fn without_secrets(text: &str) -> Arc<[u8]> {
    if !text.contains("\"secret\"") {
        return Arc::from(text.as_bytes());
    }
    match serde_json::from_str::<Value>(text) {
        Ok(mut json) => {
            take_out(&mut json);
            Arc::from(json.to_string().into_bytes())
        }
        Err(_) => Arc::from(text.as_bytes()),
    }
}

/// Recursion is bounded: no deeper JSON is read.
fn take_out(json: &mut Value) {
    match json {
        Value::Array(items) => items.retain_mut(|item| {
            let was_empty = item.as_object().is_some_and(Map::is_empty);
            let is_kept = !is_reference(item);
            take_out(item);
            is_kept && (was_empty || item.as_object().is_none_or(|members| !members.is_empty()))
        }),
        Value::Object(members) => {
            for (key, certificate) in PAIRS {
                if members.get(key).is_some_and(is_reference) {
                    members.remove(certificate);
                }
            }
            for (name, member) in members.iter_mut() {
                match (is_reference(member), ADDRESSES.contains(&name.as_str())) {
                    (true, true) => *member = HIDDEN_ADDRESS.into(),
                    (true, false) => {}
                    (false, _) => take_out(member),
                }
            }
            members.retain(|_, member| !is_reference(member));
        }
        _ => {}
    }
}

/// Whether this is what stands in a secret's place. Which places hold one is not told; an option that only looks so is left out too.
fn is_reference(json: &Value) -> bool {
    let only = json.as_object().filter(|members| members.len() == 1);
    only.and_then(|members| members.get("secret")?.as_str())
        .is_some_and(|text| SecretId::parse(text).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(text: &str) -> String {
        let secret = format!(r#"{{"secret":"{}"}}"#, SecretId([7; 32]));
        String::from_utf8(without_secrets(&text.replace('#', &secret)).to_vec()).expect("text")
    }

    #[test]
    fn what_stood_in_the_places_of_secrets_is_left_out_so_that_the_rest_is_good() {
        assert_eq!(
            left(r#"{"basicAuth":{"users":[#,#],"realm":"r"}}"#),
            r#"{"basicAuth":{"realm":"r","users":[]}}"#
        );
        assert_eq!(
            left(r#"{"headers":{"customRequestHeaders":{"Authorization":#,"X-Own":"1"}}}"#),
            r#"{"headers":{"customRequestHeaders":{"X-Own":"1"}}}"#
        );
        assert_eq!(
            left(r#"{"certificates":[{"certFile":"c","keyFile":#}],"serverName":"s"}"#),
            r#"{"certificates":[],"serverName":"s"}"#
        );
        assert_eq!(
            left(r#"{"forwardAuth":{"address":"http://a","tls":{"ca":"x","cert":"c","key":#}}}"#),
            r#"{"forwardAuth":{"address":"http://a","tls":{"ca":"x"}}}"#
        );
        assert_eq!(
            left(r#"{"loadBalancer":{"servers":[{"url":#},{"url":"http://b"}]}}"#),
            r#"{"loadBalancer":{"servers":[{"url":"http://hidden.invalid"},{"url":"http://b"}]}}"#
        );
        let plain = r#"{"rule":"Query(`a`, `{\"secret\":1}`)","x":{"secret":"short"}}"#;
        assert_eq!(left(plain), plain);
    }
}
