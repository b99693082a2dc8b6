//! Hostile and malformed requests against the shipped connection code and request path: each gets a safe answer, none reaches a
//! server that it must not reach, and a plain request afterwards is answered right. The cases are in `hostile.txt`.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::proxy::Proxy;
use crate::upstream::{Spec, Upstream};

const PATIENCE: Duration = Duration::from_secs(10);

struct Case {
    name: &'static str,
    /// Allowed statuses; none: no answer is owed.
    statuses: Vec<&'static str>,
    http2: bool,
    requests_max: usize,
    bytes: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let lines = include_str!("hostile.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut parts = line.splitn(4, " | ");
            let mut part = || parts.next().unwrap_or_else(|| panic!("four parts: {line}"));
            let (name, statuses, requests) = (part(), part(), part());
            let text = part().replace("$H", "Host: a.test\\r\\n").replace("$C", "Connection: close\\r\\n");
            Case {
                name,
                statuses: statuses.split(',').filter(|status| status.len() == 3).collect(),
                http2: statuses == "h2",
                requests_max: requests.parse().expect("a count"),
                bytes: unescape(&repeat(&text)),
            }
        })
        .collect()
}

/// Replaces `{text*count}`, innermost first.
fn repeat(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(end) = text.find('}') {
        let start =
            text.get(..end).and_then(|before| before.rfind('{')).expect("a brace opens before it closes");
        let (inner, count) = text[start + 1..end].rsplit_once('*').expect("a text and a count");
        let whole = inner.repeat(count.parse().expect("a count"));
        text.replace_range(start..=end, &whole);
    }
    text
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, (byte == b'\\').then(|| rest.next()).flatten()) {
            (_, None) => byte,
            (_, Some(b'r')) => b'\r',
            (_, Some(b'n')) => b'\n',
            (_, Some(b't')) => b'\t',
            (_, Some(b'0')) => 0,
            (_, Some(b'\\')) => b'\\',
            (_, Some(b'x')) => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).expect("two hexadecimal digits")
            }
            (_, Some(other)) => panic!("unknown escape \\{}", char::from(other)),
        });
    }
    bytes
}

/// The beginning of some bytes, for people.
struct Start<'a>(&'a [u8]);

impl std::fmt::Debug for Start<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.0.get(..120).unwrap_or(self.0)))
    }
}

/// All that the proxy says until it closes.
fn talk(address: SocketAddr, bytes: &[u8], end: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the proxy listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    // A refusal may close before all is sent.
    let _ = stream.write_all(bytes);
    if end {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("still open after {:?} to {:?}", Start(&answer), Start(bytes))
        }
        _ => answer,
    }
}

/// One HTTP/2 request with these fields and no content, by prior knowledge; ends when the proxy is done with it.
fn talk_http2(address: SocketAddr, fields: &[u8]) {
    let mut block = Vec::new();
    let text: Vec<char> = fields.iter().map(|&byte| char::from(byte)).collect();
    for field in String::from_iter(text).split(";;") {
        let at = field.get(1..).and_then(|rest| rest.find(": ")).expect("a name and a value") + 1;
        block.push(0);
        for part in [&field[..at], &field[at + 2..]] {
            block.push(u8::try_from(part.len()).ok().filter(|&length| length < 127).expect("a short text"));
            block.extend_from_slice(part.as_bytes());
        }
    }
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).expect("a short frame");
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    const END_STREAM_AND_HEADERS: u8 = 5;
    let ping = frame(6, 0, 0, b"are you?");
    let bytes = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, END_STREAM_AND_HEADERS, 1, &block),
        ping,
    ];
    let mut stream = TcpStream::connect(address).expect("the proxy listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.write_all(&bytes.concat()).expect("the request can be sent");
    // Done with is what has ended its stream, reset it, or ended the connection.
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return;
        }
        let [a, b, c, kind, flags, .., id] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        if stream.read_exact(&mut payload).is_err() {
            return;
        }
        let ends = matches!(kind, 0 | 1) && flags & 1 != 0;
        if kind == 7 || (id == 1 && (kind == 3 || ends)) {
            return;
        }
    }
}

fn is_allowed(case: &Case, answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..)).and_then(|rest| rest.get(..3));
    case.statuses.is_empty() || status.is_some_and(|status| case.statuses.contains(&status))
}

#[test]
fn hostile_requests_get_a_safe_answer_and_spoil_nothing() {
    let server = Upstream::start("u1", Spec::default());
    let dynamic = format!(
        "http:\n  routers:\n    open: {{rule: \"Host(`a.test`) && PathPrefix(`/open`)\", service: s}}\n    shut: {{rule: \
         \"Host(`a.test`) && PathPrefix(`/shut`)\", service: none}}\n  services:\n    s: {{loadBalancer: {{servers: \
         [{{url: \"http://{}\"}}]}}}}\n",
        server.address()
    );
    let proxy = Proxy::start("", &dynamic);
    let cases = cases();
    assert!(cases.len() > 90, "the corpus is read");
    for case in &cases {
        let name = case.name;
        if case.http2 {
            talk_http2(proxy.address(), &case.bytes);
        } else {
            let answer = talk(proxy.address(), &case.bytes, case.statuses.is_empty());
            assert!(is_allowed(case, &answer), "{name}: {}", String::from_utf8_lossy(&answer));
        }
        let seen = server.take_seen();
        let count = seen.matches("u1 #").count();
        let fits = if case.http2 { count == case.requests_max } else { count <= case.requests_max };
        assert!(fits, "{name}: {seen}");
        if name.starts_with("crumbs") {
            assert!(seen.contains("cookie: a=1; b=2\n"), "{name}: {seen}");
        }
        assert!(
            seen.lines().filter(|line| line.starts_with("u1 #")).all(|line| line.contains(" /open")),
            "{name}: {seen}"
        );
        for never in ["6.6.6.6", "/shut", "h2c", "http2-settings", "upgrade: websocket"] {
            assert!(name.starts_with("body of") || !seen.to_lowercase().contains(never), "{name}: {seen}");
        }
        let after =
            talk(proxy.address(), b"GET /open HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", false);
        let after = String::from_utf8_lossy(&after);
        assert!(after.starts_with("HTTP/1.1 200 ") && after.ends_with("\r\n\r\nu1"), "after {name}: {after}");
        let seen = server.take_seen();
        assert_eq!(seen.matches("u1 #").count(), 1, "after {name}: {seen}");
        assert!(seen.contains("x-forwarded-for: 127.0.0.1"), "after {name}: {seen}");
    }
}
