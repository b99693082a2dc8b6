//! Other forms of a text: base64, digests, JSON, HTML, URL.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{ANY, Answer, Context, Function, Value, argument, function, text_of};

pub(super) const TABLE: &[Function] = &[
    function("b64enc", 1, 1, |context, given| {
        let text = text_of(given, 0)?;
        context.made(text.len())?;
        context.text(STANDARD.encode(text))
    }),
    function("b64dec", 1, 1, |context, given| {
        let bytes = STANDARD.decode(text_of(given, 0)?).map_err(|_| "the text is no base64".to_owned())?;
        context.text(String::from_utf8(bytes).map_err(|_| "what the base64 holds is no text".to_owned())?)
    }),
    function("sha1sum", 1, 1, |context, given| digested(context, given, &digest::SHA1_FOR_LEGACY_USE_ONLY)),
    function("sha256sum", 1, 1, |context, given| digested(context, given, &digest::SHA256)),
    function("sha512sum", 1, 1, |context, given| digested(context, given, &digest::SHA512)),
    function("toJson", 1, 1, |context, given| json(context, given, false, true)),
    function("toRawJson", 1, 1, |context, given| json(context, given, false, false)),
    function("toPrettyJson", 1, 1, |context, given| json(context, given, true, true)),
    function("fromJson", 1, 1, |context, given| {
        let text = text_of(given, 0)?;
        // A value of a few bytes takes some dozens.
        context.made(text.len().saturating_mul(16))?;
        let json: serde_json::Value =
            serde_json::from_str(text).map_err(|_| "the text is no JSON".to_owned())?;
        Value::from_json(&json)
    }),
    function("html", 1, ANY, |context, given| {
        let text = all(context, given)?;
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '&' => out.push_str("&amp;"),
                '"' => out.push_str("&#34;"),
                '\'' => out.push_str("&#39;"),
                '\0' => out.push('\u{fffd}'),
                c => out.push(c),
            }
        }
        context.text(out)
    }),
    function("urlquery", 1, ANY, |context, given| {
        let text = all(context, given)?;
        let mut out = String::with_capacity(text.len());
        for byte in text.bytes() {
            match byte {
                b' ' => out.push('+'),
                b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
                byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
                byte => push(&mut out, format_args!("%{byte:02X}")),
            }
        }
        context.text(out)
    }),
    function("base", 1, 1, |context, given| {
        let trimmed = text_of(given, 0)?;
        let path = trimmed.trim_end_matches('/');
        context.text(match (trimmed.is_empty(), path) {
            (true, _) => ".",
            (false, "") => "/",
            (false, path) => path.rsplit('/').next().unwrap_or_default(),
        })
    }),
    function("dir", 1, 1, |context, given| {
        let path = text_of(given, 0)?;
        context.text(clean(path.rsplit_once('/').map_or("", |_| &path[..=path.rfind('/').unwrap_or(0)])))
    }),
    function("ext", 1, 1, |context, given| {
        let path = text_of(given, 0)?;
        let name = path.rsplit('/').next().unwrap_or_default();
        context.text(name.rfind('.').map_or("", |dot| &name[dot..]))
    }),
    function("clean", 1, 1, |context, given| context.text(clean(text_of(given, 0)?))),
    function("isAbs", 1, 1, |_, given| Ok(Value::Bool(text_of(given, 0)?.starts_with('/')))),
];

fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    let _: std::fmt::Result = out.write_fmt(what);
}

fn all(context: &mut Context<'_>, given: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    for value in given {
        text.push_str(&context.print(value)?);
    }
    context.made(text.len().saturating_mul(3))?;
    Ok(text)
}

fn digested(context: &mut Context<'_>, given: &[Value], by: &'static digest::Algorithm) -> Answer {
    let text = text_of(given, 0)?;
    context.steps(1 + text.len() as u64 / 16)?;
    let mut out = String::new();
    for byte in digest::digest(by, text.as_bytes()).as_ref() {
        push(&mut out, format_args!("{byte:02x}"));
    }
    context.text(out)
}

fn json(context: &mut Context<'_>, given: &[Value], pretty: bool, escapes: bool) -> Answer {
    let value = argument(given, 0);
    context.steps(value.weight())?;
    context.made(usize::try_from(value.weight()).unwrap_or(usize::MAX).saturating_mul(64))?;
    let json = value.to_json();
    let text = if pretty { serde_json::to_string_pretty(&json) } else { serde_json::to_string(&json) };
    let text = text.map_err(|_| "it cannot be written as JSON".to_owned())?;
    let text = if escapes {
        // Only within texts can these stand, where Go writes them so.
        text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    } else {
        text
    };
    context.text(text)
}

/// A path in its shortest form, as Go's `path.Clean`.
fn clean(path: &str) -> String {
    let is_rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if is_rooted => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (is_rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
