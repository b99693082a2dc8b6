//! One HTTP middleware from its text to its compiled form: whatever the check enables a proxy can build, and its expressions and ranges
//! of statuses answer for anything.

use ravelin_config::document::{self, Format};
use ravelin_config::dynamic::{BREAKER_FIGURES, BUFFERING_FIGURES, Middleware, StatusRanges};
use ravelin_config::expression::{Expression, Figure, Value};
use ravelin_config::{Checker, Key, Kind, State, draft_with_files};
use ravelin_proxy::middleware::Template;
use ravelin_proxy::upstream::UpstreamRegistry;

/// The input is the middleware as it stands in a file, without what is around it.
pub fn run(input: &[u8]) {
    builds(input);
}

/// As [`run`]; whether there is a middleware that works. `None`: the text cannot be read.
pub fn builds(input: &[u8]) -> Option<bool> {
    let mut text = String::from("http:\n  middlewares:\n    m:\n");
    for line in std::str::from_utf8(input).ok()?.lines() {
        text.push_str("      ");
        text.push_str(line);
        text.push('\n');
    }
    let document = document::parse("fuzz", &text, Format::Yaml).ok()?;
    let draft = draft_with_files("file", &[document], &content).ok()?;
    let mut checker = Checker::default();
    checker.replace_provider(&draft);
    let key = Key::of(Kind::HttpMiddleware, "m@file").expect("a key");
    let (_, record) = checker.records().find(|(known, _)| **known == key)?;
    if record.status.state == State::Disabled {
        return Some(false);
    }
    let judged: Middleware =
        serde_json::from_slice(&record.object.bytes).expect("an enabled object has its type");
    if let Some(breaker) = &judged.circuit_breaker {
        answers(&breaker.expression, &BREAKER_FIGURES);
    }
    if let Some(buffering) =
        judged.buffering.as_ref().filter(|buffering| !buffering.retry_expression.is_empty())
    {
        answers(&buffering.retry_expression, &BUFFERING_FIGURES);
    }
    if let Some(pages) = &judged.errors {
        let statuses = StatusRanges::parse(&pages.status).expect("judged");
        let _ = (100..1000).filter(|status| statuses.contains(*status)).count();
    }
    // The one that would read the system's authorities from the disk.
    if judged.forward_auth.is_none() {
        Template::compile("m@file", &judged, &UpstreamRegistry::default())
            .expect("what is enabled can be built");
    }
    Some(true)
}

/// Every file that an option names holds its own name: the target touches no disk.
fn content(name: &str) -> Result<String, String> {
    Ok(name.to_owned())
}

fn answers(text: &str, figures: &[Figure]) {
    let expression = Expression::parse(text, figures).expect("judged");
    for value in [
        Value::Truth(true),
        Value::Integer(i64::MIN),
        Value::Float(f64::NAN),
        Value::Float(0.5),
        Value::Text(String::new()),
    ] {
        // A figure of the wrong type holds nowhere, and is no panic.
        let _ = expression.holds(|_| value.clone());
    }
}
