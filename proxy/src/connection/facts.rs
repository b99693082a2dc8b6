//! What is known about a connection before its first request: handed to every request of it.
//! Holds facts, and the interim answers on their way; it reads no socket and decides nothing.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::tls::Demands;

/// The HTTP version family of a connection, chosen once: by ALPN under TLS, else by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1: one request at a time, behind the guard.
    Http1,
    /// HTTP/2, by ALPN or by prior knowledge.
    Http2,
}

/// What the TLS handshake settled.
#[derive(Clone, Debug)]
pub struct TlsFacts {
    /// The server name the client asked for, lower case, without a trailing dot. `None`: it sent none.
    pub sni: Option<Arc<str>>,
    /// `"1.2"` or `"1.3"`, as Traefik's access log writes it.
    pub version: &'static str,
    /// The negotiated cipher suite in IANA spelling.
    pub cipher: &'static str,
    /// The protocol chosen by ALPN. `None`: the client offered none.
    pub alpn: Option<Protocol>,
    /// Qualified name of the TLS options the handshake used (`default` if none was named).
    pub options: Arc<str>,
    /// What they asked for: a request whose host has options that ask for something else by now is answered 421.
    pub demands: Demands,
    /// The number of the last table in which the name asked for still has such options.
    pub(crate) settled: Cell<u64>,
    /// The client's certificate chain in DER, leaf first, already verified as far as the options ask for. Often empty.
    pub client_certificates: Arc<[rustls_pki_types::CertificateDer<'static>]>,
    /// Whom the leaf of it names, for logs. `None`: there is no certificate, or it cannot be read.
    pub(crate) client_subject: Option<Box<str>>,
}

/// The request target exactly as it came. Present among a request's extensions only where `http::Uri` does not show
/// every byte of it: it drops a `#` and what follows. A request without this extension has the URI as its raw target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTarget(pub Bytes);

/// What every request of one connection may know about it. Lives on one worker; shared by `Rc`.
pub struct ConnectionFacts {
    /// Unique within the process's life; for logs.
    pub id: u64,
    /// Who the client is: the other end of the socket, or whom the PROXY header of a trusted peer names.
    pub peer: SocketAddr,
    /// Our end of the socket.
    pub local: SocketAddr,
    /// Name of the entry point that accepted it.
    pub entry_point: Arc<str>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Set under TLS only: routers with `tls` see no other connection.
    pub tls: Option<TlsFacts>,
    /// When it was accepted.
    pub accepted_at: Instant,
    /// Interim (1xx) heads waiting to be written before the answer.
    pub(crate) interim: RefCell<Vec<u8>>,
    pub(crate) interim_allowed: Cell<bool>,
    /// It was made with TLS options that its own name has no more: it takes no further request.
    pub(crate) outdated: Cell<bool>,
}

/// Most bytes of interim heads that wait at once; more are dropped: a client needs none of them.
const INTERIM_BYTES_MAX: usize = 16 * 1024;

impl ConnectionFacts {
    /// The facts of a connection just accepted.
    pub fn new(
        id: u64,
        peer: SocketAddr,
        local: SocketAddr,
        entry_point: Arc<str>,
        protocol: Protocol,
    ) -> Self {
        Self {
            id,
            peer,
            local,
            entry_point,
            protocol,
            tls: None,
            accepted_at: Instant::now(),
            interim: RefCell::new(Vec::new()),
            interim_allowed: Cell::new(false),
            outdated: Cell::new(false),
        }
    }

    /// Relays an interim answer (103, not 101) of the running request. Returns `false` where it cannot be sent: over
    /// HTTP/2, to an HTTP/1.0 client, after the answer's head, or when too many wait.
    pub fn send_interim(&self, status: StatusCode, fields: &HeaderMap) -> bool {
        if !self.interim_allowed.get()
            || !status.is_informational()
            || status == StatusCode::SWITCHING_PROTOCOLS
        {
            return false;
        }
        let mut head = Vec::with_capacity(256);
        head.extend_from_slice(b"HTTP/1.1 ");
        head.extend_from_slice(status.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(status.canonical_reason().unwrap_or("Interim").as_bytes());
        head.extend_from_slice(b"\r\n");
        for (name, value) in fields {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        let mut waiting = self.interim.borrow_mut();
        if waiting.len() + head.len() > INTERIM_BYTES_MAX {
            return false;
        }
        waiting.extend_from_slice(&head);
        true
    }
}
