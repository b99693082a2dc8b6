//! Configuration texts from first byte to verdict: read or refused with a place; drafted with one canonical object per key;
//! judged, with a verdict that depends on the objects alone and not on the way they came.

use std::collections::BTreeMap;

use ravelin_config::document::{self, Document, Format, Value};
use ravelin_config::validate::validate;
use ravelin_config::{Checker, Draft, Key, Status, canonical, draft_with_files};

/// The first byte chooses the format (`t`: TOML, anything else: YAML), the rest is the text.
pub fn run(input: &[u8]) {
    drafts(input);
}

/// As [`run`]; how many objects the text gives, `None` if it cannot be read.
pub fn drafts(input: &[u8]) -> Option<usize> {
    let (letter, text) = input.split_first()?;
    let format = if *letter == b't' { Format::Toml } else { Format::Yaml };
    let text = std::str::from_utf8(text).ok()?;
    // `validate` runs the same reader and judge, and must come to an end on whatever they do.
    let report = validate("fuzz", text, format, &file, &|_| None);
    let document = match document::parse("fuzz", text, format) {
        Ok(document) => document,
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            assert!(!report.is_good(), "validate praises what cannot be read");
            return None;
        }
    };
    reads_back(&document);
    let draft = draft_with_files("file", std::slice::from_ref(&document), &file)
        .expect("texts that can be read give a draft");
    canonical_objects(&draft);
    judged(&draft);
    Some(draft.objects.len())
}

/// Every file that an option names holds this: the target touches no disk.
fn file(_: &str) -> Result<String, String> {
    Ok("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned())
}

/// JSON is YAML: the same tree must come back, unless it holds what JSON has no word for.
fn reads_back(document: &Document) {
    if document.root.value == Value::Null {
        return;
    }
    let json = document.root.to_json();
    let text = json.to_string();
    match document::parse("again", &text, Format::Yaml) {
        Ok(again) => assert_eq!(again.root.to_json(), json, "the tree changed on the way through JSON"),
        // Aliases unfold into more than a text may hold; a character may need an escape that JSON does not make.
        Err(_) => assert!(text.len() > document::ALIAS_VALUES_MAX || !text.chars().all(plain), "{text}"),
    }
}

fn plain(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && c != '\u{feff}'
}

fn canonical_objects(draft: &Draft) {
    for (key, object) in &draft.objects {
        assert_eq!(key.kind(), Some(object.kind), "{key} lies under another kind");
        let value: serde_json::Value =
            serde_json::from_slice(&object.bytes).unwrap_or_else(|error| panic!("{key} is no JSON: {error}"));
        let again = canonical::value_to_bytes(&value).expect("it was written by the same code");
        assert_eq!(again, object.bytes, "{key} is not canonical");
    }
}

/// One verdict per set of objects: all at once, one by one backwards, again, and after another node took over.
fn judged(draft: &Draft) {
    let mut whole = Checker::default();
    let change = whole.replace_provider(draft);
    assert_eq!(change.puts.len(), draft.objects.len(), "every object has a record");
    assert!(whole.replace_provider(draft).is_empty(), "the same draft changes something");
    assert!(whole.judge_again().is_empty(), "judging again changes something");

    let mut single = Checker::default();
    for (key, object) in draft.objects.iter().rev() {
        single.upsert([(key.clone(), object.as_ref().clone())], []);
    }
    assert_eq!(verdicts(&single), verdicts(&whole), "the order of coming changes a verdict");

    let records = whole.records().map(|(key, record)| (key.clone(), record.clone()));
    let mut heir = Checker::from_records(records);
    assert!(heir.replace_provider(draft).is_empty(), "a successor judges otherwise");

    let nothing = Draft { provider: draft.provider.clone(), ..Draft::default() };
    let gone = whole.replace_provider(&nothing);
    assert_eq!(gone.deletes.len(), draft.objects.len(), "something outlives its provider's wish");
    assert!(gone.puts.is_empty() && whole.records().next().is_none());
}

fn verdicts(checker: &Checker) -> BTreeMap<&Key, &Status> {
    checker.records().map(|(key, record)| (key, &record.status)).collect()
}
