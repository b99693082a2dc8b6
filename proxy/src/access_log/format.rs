//! The three line formats. They only write bytes into the worker's buffer; which fields are written is the settings' business.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Version};

use super::clock::Stamps;
use super::settings::{Mode, Settings};
use crate::exchange::Entry;

/// Traefik's common format: combined, then number, router, server and milliseconds.
pub(super) fn common(
    out: &mut Vec<u8>,
    entry: &Entry,
    duration: Duration,
    settings: &Settings,
    clock: &mut Stamps,
) {
    combined(out, entry, settings, clock);
    out.push(b' ');
    if settings.keeps("RequestCount") {
        number(out, entry.number)
    } else {
        out.push(b'-')
    }
    out.extend_from_slice(b" \"");
    dash_or(out, entry.router.as_deref().filter(|_| settings.keeps("RouterName")));
    out.extend_from_slice(b"\" \"");
    dash_or(out, entry.server.as_ref().map(|(url, _)| &**url).filter(|_| settings.keeps("ServiceURL")));
    out.extend_from_slice(b"\" ");
    let millis = if settings.keeps("Duration") { duration.as_millis() } else { 0 };
    number(out, u64::try_from(millis).unwrap_or(u64::MAX));
    out.extend_from_slice(b"ms");
}

/// The combined log format.
pub(super) fn generic(out: &mut Vec<u8>, entry: &Entry, settings: &Settings, clock: &mut Stamps) {
    combined(out, entry, settings, clock);
}

fn combined(out: &mut Vec<u8>, entry: &Entry, settings: &Settings, clock: &mut Stamps) {
    if settings.keeps("ClientHost") {
        client_host(out, entry, clock)
    } else {
        out.push(b'-')
    }
    out.extend_from_slice(b" - ");
    match entry.user.as_deref() {
        Some(user) if !user.is_empty() && settings.keeps("ClientUsername") => word(out, user),
        _ => out.push(b'-'),
    }
    out.extend_from_slice(b" [");
    out.extend_from_slice(clock.common(entry.started_at).as_bytes());
    out.extend_from_slice(b"] \"");
    // A method is a token, which needs no escape; nor does a protocol.
    plain_or_dash(out, settings.keeps("RequestMethod").then(|| entry.method.as_str()));
    out.push(b' ');
    if settings.keeps("RequestPath") {
        escaped(out, target(entry, settings).as_bytes())
    } else {
        out.push(b'-')
    }
    out.push(b' ');
    plain_or_dash(out, settings.keeps("RequestProtocol").then(|| protocol(entry.version)));
    out.extend_from_slice(b"\" ");
    if settings.keeps("DownstreamStatus") {
        number(out, u64::from(entry.final_status().as_u16()));
    } else {
        out.push(b'-');
    }
    out.push(b' ');
    if settings.keeps("DownstreamContentSize") {
        number(out, entry.sent_bytes)
    } else {
        out.push(b'-')
    }
    for name in ["referer", "user-agent"] {
        out.extend_from_slice(b" \"");
        match header_text(entry.request_headers.as_ref(), name, settings) {
            Some(value) => escaped(out, value),
            None => out.push(b'-'),
        }
        out.push(b'"');
    }
}

fn header_text<'e>(headers: Option<&'e HeaderMap>, name: &str, settings: &Settings) -> Option<&'e [u8]> {
    let value = headers?.get(name)?;
    match settings.header(name) {
        Mode::Keep => Some(value.as_bytes()),
        Mode::Redact => Some(b"REDACTED"),
        Mode::Drop => None,
    }
}

/// One JSON object with its keys in order, as Traefik's logger writes it.
pub(super) fn json(
    out: &mut Vec<u8>,
    entry: &Entry,
    duration: Duration,
    settings: &Settings,
    clock: &mut Stamps,
) {
    let mut object = Object { out, settings, first: true };
    object.out.push(b'{');
    upper_case_fields(&mut object, entry, duration, clock);
    object.headers("downstream_", entry.response_headers.as_ref());
    object.text("entryPointName", entry.connection.entry_point.as_bytes());
    object.always("level", |out| text(out, b"info"));
    object.always("msg", |out| text(out, b""));
    object.headers("origin_", entry.response_headers.as_ref().filter(|_| entry.origin.is_some()));
    object.headers("request_", entry.request_headers.as_ref());
    let now = entry.started_at + duration;
    object.always("time", |out| quoted(out, |out| clock.utc_second(out, now)));
    object.out.push(b'}');
}

fn upper_case_fields(object: &mut Object<'_>, entry: &Entry, duration: Duration, clock: &mut Stamps) {
    let settings = object.settings;
    let peer = entry.peer();
    object.display("ClientAddr", peer);
    object.field("ClientHost", |out| quoted(out, |out| client_host(out, entry, clock)));
    object.display("ClientPort", peer.port());
    object.text("ClientUsername", entry.user.as_deref().unwrap_or(b"-"));
    object.number("DownstreamContentSize", entry.sent_bytes);
    object.number("DownstreamStatus", entry.final_status().as_u16());
    object.number("Duration", nanos(duration));
    let waited = entry.origin.as_ref().map_or(Duration::ZERO, |origin| origin.waited);
    match &entry.origin {
        None => {
            object.number("GzipRatio", 0_u16);
            object.number("OriginContentSize", 0_u16);
        }
        Some(_) => object.number("OriginContentSize", entry.sent_bytes),
    }
    object.number("OriginDuration", nanos(waited));
    object.number("OriginStatus", entry.origin.as_ref().map_or(0, |origin| origin.status.as_u16()));
    object.number("Overhead", nanos(duration.saturating_sub(waited)));
    request_fields(object, entry, settings);
    object.number("RetryAttempts", 0_u16);
    if let Some(router) = &entry.router {
        object.text("RouterName", router.as_bytes());
    }
    if let Some((_, address)) = &entry.server {
        object.text("ServiceAddr", address.as_bytes());
    }
    if let Some(service) = &entry.service {
        object.text("ServiceName", service.as_bytes());
    }
    if let Some((url, _)) = &entry.server {
        object.text("ServiceURL", url.as_bytes());
    }
    object.field("StartLocal", |out| quoted(out, |out| clock.local(out, entry.started_at)));
    object.field("StartUTC", |out| quoted(out, |out| clock.utc(out, entry.started_at)));
    if let Some(tls) = &entry.connection.tls {
        object.text("TLSCipher", tls.cipher.as_bytes());
        if let Some(subject) = &tls.client_subject {
            object.text("TLSClientSubject", subject.as_bytes());
        }
        object.text("TLSVersion", tls.version.as_bytes());
    }
}

fn request_fields(object: &mut Object<'_>, entry: &Entry, settings: &Settings) {
    let host = String::from_utf8_lossy(entry.host.as_bytes());
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (&*host, "-"),
    };
    object.text("RequestAddr", entry.host.as_bytes());
    object.number("RequestContentSize", entry.request_body.as_ref().map_or(0, |body| body.bytes()));
    object.number("RequestCount", entry.number);
    object.text("RequestHost", name.trim_start_matches('[').trim_end_matches(']').as_bytes());
    object.text("RequestMethod", entry.method.as_str().as_bytes());
    object.text("RequestPath", target(entry, settings).as_bytes());
    object.text("RequestPort", port.as_bytes());
    object.text("RequestProtocol", protocol(entry.version).as_bytes());
    let scheme = if entry.connection.tls.is_some() { "https" } else { "http" };
    object.text("RequestScheme", scheme.as_bytes());
}

struct Object<'o> {
    out: &'o mut Vec<u8>,
    settings: &'o Settings,
    first: bool,
}

impl Object<'_> {
    fn always(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        value(self.out);
    }

    fn field(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        if self.settings.keeps(name) {
            self.always(name, value);
        }
    }

    fn text(&mut self, name: &str, value: &[u8]) {
        self.field(name, |out| text(out, value));
    }

    /// A value whose text needs no escape.
    fn display(&mut self, name: &str, value: impl std::fmt::Display) {
        self.field(name, |out| {
            quoted(out, |out| {
                // Writing into a vector cannot fail.
                let _ = write!(out, "{value}");
            });
        });
    }

    fn number(&mut self, name: &str, value: impl Into<u64>) {
        let value = value.into();
        self.field(name, |out| number(out, value));
    }

    /// Headers with a prefix, in the order of their spelled names; repeated ones joined by commas.
    fn headers(&mut self, prefix: &str, headers: Option<&HeaderMap>) {
        let Some(headers) = headers else { return };
        let mut names: Vec<_> = headers.keys().collect();
        names.sort_unstable_by_key(|name| name.as_str());
        for name in names {
            let mode = self.settings.header(name.as_str());
            if mode == Mode::Drop {
                continue;
            }
            let mut key = String::from(prefix);
            spell(&mut key, name.as_str());
            self.always(&key, |out| match mode {
                Mode::Keep => {
                    let all: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
                    text(out, &all.join(&b','));
                }
                Mode::Redact | Mode::Drop => text(out, b"REDACTED"),
            });
        }
    }
}

/// A header's name as Go spells it: every word begins with a capital.
fn spell(out: &mut String, name: &str) {
    let mut start = true;
    for character in name.chars() {
        out.push(if start { character.to_ascii_uppercase() } else { character });
        start = character == '-';
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    // As many digits as the largest value has.
    let mut digits = [0_u8; 20];
    let mut first = digits.len();
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        // The remainder of a division by ten is one digit.
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        first = place;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(first..).unwrap_or_default());
}

fn dash_or(out: &mut Vec<u8>, value: Option<&str>) {
    escaped(out, value.unwrap_or("-").as_bytes());
}

/// Text that needs no escape.
fn plain_or_dash(out: &mut Vec<u8>, value: Option<&str>) {
    out.extend_from_slice(value.unwrap_or("-").as_bytes());
}

/// The client, as the proxy before us says if it is believed.
fn client_host(out: &mut Vec<u8>, entry: &Entry, clock: &mut Stamps) {
    match &entry.forwarded_for {
        Some(value) if !value.is_empty() => escaped(out, value.as_bytes()),
        _ => out.extend_from_slice(clock.client(entry.peer().ip()).as_bytes()),
    }
}

fn target<'e>(entry: &'e Entry, settings: &Settings) -> &'e str {
    let whole = entry.target.path_and_query().map_or("/", |target| target.as_str());
    if settings.keep_query { whole } else { entry.target.path() }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// A text that a client chose where blanks and brackets part the fields of a line.
fn word(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        if byte.is_ascii_graphic() && !b"\"\\[]".contains(&byte) {
            out.push(byte);
        } else {
            // Writing into a vector cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// Text inside quotes: nothing in it ends the quotes or the line.
fn escaped(out: &mut Vec<u8>, value: &[u8]) {
    // No early end: so the compiler looks at many bytes at a time.
    let plain = value
        .iter()
        .fold(true, |plain, &byte| plain & (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\'));
    if plain {
        out.extend_from_slice(value);
        return;
    }
    for character in String::from_utf8_lossy(value).chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            control if control.is_control() => {
                let mut code = String::with_capacity(6);
                let _ = write!(code, "\\u{:04x}", u32::from(control));
                out.extend_from_slice(code.as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn text(out: &mut Vec<u8>, value: &[u8]) {
    quoted(out, |out| escaped(out, value));
}

fn quoted(out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    value(out);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_plain_decimals() {
        for value in [0, 7, 10, 99, 100, 65_535, 1_000_000_007, u64::MAX - 1, u64::MAX] {
            let mut out = b"x".to_vec();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).expect("ASCII"), format!("x{value}"));
        }
    }
}
