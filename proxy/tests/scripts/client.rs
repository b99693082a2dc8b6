//! The client of a script: sends bytes, reads one answer, writes it down in one form.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the proxy listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Self { stream: BufReader::new(stream) }
    }

    /// Sends a request (lines of the head ended by CRLF, the body as it stands) and reads its answer.
    pub(crate) fn exchange(&mut self, request: &str, arguments: &[String]) -> String {
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let mut bytes = format!("{}\r\n\r\n", head.replace('\n', "\r\n")).into_bytes();
        bytes.extend_from_slice(body.replace("\\r\\n", "\r\n").as_bytes());
        self.stream.get_mut().write_all(&bytes).expect("the request can be sent");
        let mut out = String::new();
        loop {
            let Some((status, headers)) = self.read_head() else {
                out.push_str("(closed)\n");
                return out;
            };
            let _ = writeln!(out, "{status}");
            for (name, value) in headers.iter().filter(|(name, _)| name != "date") {
                let _ = writeln!(out, "{name}: {value}");
            }
            if status.contains(" 101 ") {
                out.push_str(&self.tunnel(arguments));
                return out;
            }
            if !status.starts_with("HTTP/1.1 1") {
                let bodiless =
                    head.starts_with("HEAD ") || status.contains(" 204 ") || status.contains(" 304 ");
                if !bodiless {
                    out.push_str(&self.read_body(&headers));
                }
                if headers.iter().any(|(name, value)| name == "connection" && value == "close") {
                    out.push_str(if self.is_closed() { "(closed)\n" } else { "(still open)\n" });
                }
                return out;
            }
        }
    }

    fn read_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).ok()?;
        let text = line.strip_suffix(b"\r\n")?;
        Some(text.iter().map(|&byte| char::from(byte)).collect())
    }

    fn read_head(&mut self) -> Option<(String, Vec<(String, String)>)> {
        let status = self.read_line()?;
        let mut headers = self.read_fields()?;
        headers.sort();
        Some((status, headers))
    }

    fn read_fields(&mut self) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.read_line()?;
            match line.split_once(": ") {
                Some((name, value)) => fields.push((name.to_ascii_lowercase(), value.to_owned())),
                None if line.is_empty() => return Some(fields),
                None => fields.push((line.to_ascii_lowercase(), String::new())),
            }
        }
    }

    fn read_body(&mut self, headers: &[(String, String)]) -> String {
        let field =
            |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let mut body = Vec::new();
        let mut after = String::new();
        if field("transfer-encoding").is_some() {
            after = self.read_chunks(&mut body);
        } else if let Some(length) = field("content-length") {
            let length: u64 = length.parse().expect("a length");
            (&mut self.stream).take(length).read_to_end(&mut body).expect("the body can be read");
            if (body.len() as u64) < length {
                after.push_str("(cut)\n");
            }
        } else {
            self.stream.read_to_end(&mut body).expect("the body can be read");
            after.push_str("(ended by the connection)\n");
        }
        let coding = field("content-encoding").unwrap_or_default();
        if let Some(decoded) = decoded(coding, &body) {
            after.push_str(&format!("({coding})\n"));
            body = decoded;
        }
        let mut out = String::from("\n");
        let text = String::from_utf8_lossy(&body);
        match body.len() {
            0 => out.clear(),
            1..=200 => out.push_str(text.strip_suffix('\n').unwrap_or(&text)),
            long => {
                let _ = write!(out, "({long} bytes)");
            }
        }
        if !body.is_empty() {
            out.push_str(if text.ends_with('\n') { "\\n\n" } else { "\n" });
        }
        out + &after
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> String {
        loop {
            let size = self.read_line().and_then(|line| u64::from_str_radix(&line, 16).ok());
            let Some(size) = size else { return "(cut)\n".to_owned() };
            if size == 0 {
                let trailers = self.read_fields().unwrap_or_default();
                return trailers.iter().map(|(name, value)| format!("trailer {name}: {value}\n")).collect();
            }
            let before = body.len() as u64;
            let read = (&mut self.stream).take(size).read_to_end(body);
            if read.is_err() || body.len() as u64 - before < size || self.read_line().as_deref() != Some("") {
                return "(cut)\n".to_owned();
            }
        }
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.stream.fill_buf(), Ok([]) | Err(_))
    }

    /// What a tunnel carries: its first bytes, then an echo of ours.
    fn tunnel(&mut self, arguments: &[String]) -> String {
        let first = usize::from(arguments.iter().any(|argument| argument == "greeted")) * "hello".len();
        let mut greeting = vec![0; first];
        self.stream.read_exact(&mut greeting).expect("the greeting comes through");
        self.stream.get_mut().write_all(b"ping").expect("the tunnel takes bytes");
        let mut echo = [0; 4];
        self.stream.read_exact(&mut echo).expect("the tunnel brings bytes");
        format!("\n{}{}\n", String::from_utf8_lossy(&greeting), String::from_utf8_lossy(&echo))
    }
}

/// Content as it was before it was encoded.
fn decoded(coding: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut out),
        "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut out),
        "zstd" => zstd::stream::read::Decoder::new(body).expect("a decoder").read_to_end(&mut out),
        _ => return None,
    }
    .expect("the content can be decoded");
    Some(out)
}
