//! The certificates that are served, as the API shows them: what each says of itself, by its fingerprint. Keys are not its business.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::view::Object;
use crate::table::Table;
use crate::tls::CertificateFacts;

/// With less time left than this a certificate gets a warning, in seconds.
const WARNING_SECONDS: i64 = 30 * 24 * 60 * 60;

/// All that are configured, by fingerprint.
pub(super) fn certificates(table: &Table) -> Vec<(String, Object)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let facts = table.tls.iter().flat_map(|tls| tls.facts());
    facts.map(|facts| (facts.fingerprint.clone(), shown(&facts, now))).collect()
}

fn shown(facts: &CertificateFacts, now: i64) -> Object {
    let date = |seconds| jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string();
    let mut sans: Vec<&str> = facts.names.iter().chain(&facts.addresses).map(String::as_str).collect();
    sans.sort_unstable();
    let (key, bits) = facts.key;
    let status = match facts.not_after.saturating_sub(now) {
        left if left < 0 => "expired",
        left if left < WARNING_SECONDS => "warning",
        _ => "enabled",
    };
    let mut object = Object::new();
    let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    put("name", json!(facts.fingerprint));
    put("sans", json!(sans));
    put("notAfter", json!(date(facts.not_after)));
    put("notBefore", json!(date(facts.not_before)));
    put("serialNumber", json!(facts.serial));
    put("commonName", json!(facts.subject.common_name));
    put("version", json!(format!("v{}", facts.version)));
    put("keyType", json!(key));
    put("signatureAlgorithm", json!(facts.signature));
    put("certFingerprint", json!(facts.fingerprint));
    put("publicKeyFingerprint", json!(facts.key_fingerprint));
    put("status", json!(status));
    // These are left out where they are empty.
    let texts = [
        ("issuerOrg", &facts.issuer.organization),
        ("issuerCN", &facts.issuer.common_name),
        ("issuerCountry", &facts.issuer.country),
        ("organization", &facts.subject.organization),
        ("country", &facts.subject.country),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        put(name, json!(text));
    }
    if bits > 0 {
        put("keySize", json!(bits));
    }
    object
}
