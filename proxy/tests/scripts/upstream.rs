//! The servers of a script: plain threads that read HTTP/1.1 strictly enough to see what the proxy sends, and answer what the
//! script says, good or bad.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// How long a request that is on its way is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen, and whoever waits for it.
type Seen = (Mutex<String>, Condvar);

/// What a server does. `closed`: nobody listens. `close`: it closes each connection after the request. `forgetful`: it closes
/// after each answer, without saying so. `dying`: the second request on a connection is read and never answered.
/// `unnumbered`: nobody knows which of its connections a request takes, as it comes on its own.
#[derive(Clone, Default)]
pub(crate) struct Spec {
    flags: Vec<String>,
    /// Raw answers by the beginning of the path.
    answers: BTreeMap<String, Vec<u8>>,
}

impl Spec {
    pub(crate) fn add(&mut self, arguments: &[String], text: &str) {
        match arguments {
            [path] if path.starts_with('/') => {
                let text = text.trim_end_matches('\n');
                let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
                let mut raw = head.replace('\n', "\r\n").into_bytes();
                raw.extend_from_slice(b"\r\n\r\n");
                raw.extend_from_slice(body.replace("\\r\\n", "\r\n").as_bytes());
                self.answers.insert(path.clone(), raw);
            }
            flags => self.flags.extend(flags.iter().cloned()),
        }
    }

    fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }
}

pub(crate) struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
}

impl Upstream {
    pub(crate) fn start(name: &str, spec: Spec) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
        let address = listener.local_addr().expect("a bound socket has an address");
        let seen = Arc::new(Seen::default());
        if !spec.is("closed") {
            let (name, seen) = (name.to_owned(), Arc::clone(&seen));
            std::thread::spawn(move || {
                for (number, stream) in listener.incoming().flatten().enumerate() {
                    let (seen, spec) = (Arc::clone(&seen), spec.clone());
                    let connection = if spec.is("unnumbered") { 0 } else { number + 1 };
                    let place = Place { name: name.clone(), connection };
                    std::thread::spawn(move || serve(&place, &spec, stream, &seen));
                }
            });
        }
        Self { address, seen }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn take_seen(&self) -> String {
        std::mem::take(&mut self.seen.0.lock().expect("no thread panicked"))
    }

    /// Waits until something was seen.
    pub(crate) fn await_seen(&self) {
        let (seen, told) = &*self.seen;
        let seen = seen.lock().expect("no thread panicked");
        let (seen, _) =
            told.wait_timeout_while(seen, PATIENCE, |seen| seen.is_empty()).expect("no thread panicked");
        assert!(!seen.is_empty(), "no request came");
    }
}

/// Which connection of which server, counted from 1.
struct Place {
    name: String,
    connection: usize,
}

fn serve(place: &Place, spec: &Spec, stream: TcpStream, (seen, told): &Seen) {
    let name = &place.name;
    let mut stream = BufReader::new(stream);
    let mut answered = 0;
    while let Some((text, head)) = read_request(place, &mut stream) {
        seen.lock().expect("no thread panicked").push_str(&text);
        told.notify_all();
        if spec.is("dying") && answered > 0 {
            return;
        }
        answered += 1;
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let raw = spec.answers.iter().rev().find(|(prefix, _)| path.starts_with(prefix.as_str()));
        let usual = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{name}",
            name.len()
        );
        let usual = if head.starts_with("HEAD ") { usual.trim_end_matches(name).to_owned() } else { usual };
        let answer = raw.map_or(usual.as_bytes(), |(_, raw)| raw.as_slice());
        if spec.is("close") || stream.get_mut().write_all(answer).is_err() {
            return;
        }
        if answer.starts_with(b"HTTP/1.1 101") {
            let mut writer = stream.get_ref().try_clone().expect("a socket can be cloned");
            let _ = std::io::copy(&mut stream, &mut writer);
            return;
        }
        // A raw answer may be anything: whoever takes it for a whole one must not get another on this connection.
        if raw.is_some() || spec.is("forgetful") {
            let _ = stream.get_mut().shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
            return;
        }
    }
}

fn read_line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).ok()?;
    Some(line.strip_suffix(b"\r\n")?.iter().map(|&byte| char::from(byte)).collect())
}

fn read_request(place: &Place, stream: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let head = read_line(stream)?;
    let mut fields = Vec::new();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            break;
        }
        fields.push(line);
    }
    let value = |wanted: &str| fields.iter().find_map(|field| field.strip_prefix(wanted));
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    if value("transfer-encoding: chunked").is_some() {
        loop {
            let size = u64::from_str_radix(&read_line(stream)?, 16).ok()?;
            if size == 0 {
                break;
            }
            stream.take(size).read_to_end(&mut body).ok()?;
            read_line(stream)?;
        }
        loop {
            let line = read_line(stream)?;
            if line.is_empty() {
                break;
            }
            trailers.push(line);
        }
    } else if let Some(length) = value("content-length: ") {
        stream.take(length.parse().ok()?).read_to_end(&mut body).ok()?;
    }
    fields.sort();
    let mut text = format!("{} #{}: {head}\n", place.name, place.connection);
    for field in fields.iter().filter(|field| !field.starts_with("x-forwarded-server: ")) {
        let _ = writeln!(text, "{field}");
    }
    match body.len() {
        0 => {}
        1..=200 => {
            let _ = writeln!(text, "\n{}", String::from_utf8_lossy(&body));
        }
        long => {
            let _ = writeln!(text, "\n({long} bytes)");
        }
    }
    for trailer in trailers {
        let _ = writeln!(text, "trailer {trailer}");
    }
    Some((text, head))
}
