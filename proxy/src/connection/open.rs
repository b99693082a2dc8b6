//! From an accepted socket to a protocol: PROXY header, first bytes, TLS handshake, all under one deadline.
//! What is not decided within it is closed without a word.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use rustls::ProtocolVersion;
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::stream::{ClientStream, Rewound};
use super::{
    Accepted, Application, ConnectionFacts, Control, Protocol, Scope, Stage, TlsFacts, handshakes, http1,
    http2,
};
use crate::preface::{Opening, opening};
use crate::proxy_protocol::{self, Beginning};
use crate::tls::{self, Demands, Hello};

/// Bytes asked for at once from a new connection: a usual head or ClientHello comes with the first read.
const FIRST_READ_BYTES: usize = 2048;

/// TLS alert: the offered version is not spoken.
const PROTOCOL_VERSION: u8 = 70;
/// TLS alert: no certificate is for the name asked for.
const UNRECOGNIZED_NAME: u8 = 112;

/// A connection whose protocol is known.
enum Opened {
    Http1 { io: ClientStream, first: BytesMut, tls: Option<TlsFacts> },
    Http2 { io: Rewound<ClientStream>, tls: Option<TlsFacts> },
}

/// Serves an accepted connection to its end. Never panics outward, and returns nothing: what is to be told of a connection
/// is told while it runs.
pub async fn serve<A: Application>(accepted: Accepted, scope: Scope<A>) {
    let Accepted { id, socket, mut peer, local, entry_point, accepted_at } = accepted;
    let deadline = accepted_at.checked_add(scope.settings.timeouts.handshake).unwrap_or_else(Instant::now);
    // Boxed, as is HTTP/2 below: the future of a usual connection must not be as large as its rarest stage.
    let opened = {
        let mut opening = Box::pin(async {
            tokio::select! {
                opened = tokio::time::timeout_at(deadline.into(), open(socket, &mut peer, &entry_point, &scope)) => Some(opened),
                () = drained(&scope.control, scope.settings.timeouts.idle_in_drain) => None,
            }
        });
        opening.as_mut().await
    };
    let Some(opened) = opened else { return };
    let opened = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => {
            tracing::debug!(connection = id, %peer, %error, "closed before its protocol was known");
            return;
        }
        Err(_) => {
            tracing::debug!(connection = id, %peer, "closed: silent for too long");
            return;
        }
    };
    let facts = |protocol, tls| {
        let mut facts = ConnectionFacts::new(id, peer, local, entry_point, protocol);
        facts.tls = tls;
        facts.accepted_at = accepted_at;
        Rc::new(facts)
    };
    match opened {
        Opened::Http1 { io, first, tls } => {
            let facts = facts(Protocol::Http1, tls);
            http1::serve(io, first, scope, facts).await;
        }
        Opened::Http2 { io, tls } => {
            let facts = facts(Protocol::Http2, tls);
            Box::pin(http2::serve(io, scope, facts)).await;
        }
    }
}

/// Resolves once the worker has been draining for `time`: a client that says nothing must not hold up the end.
async fn drained(control: &Control, time: Duration) {
    poll_fn(|cx| {
        control.listen(cx.waker());
        if control.stage() > Stage::Open { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    tokio::time::sleep(time).await;
}

async fn open<A: Application>(
    mut socket: TcpStream,
    peer: &mut SocketAddr,
    entry_point: &str,
    scope: &Scope<A>,
) -> io::Result<Opened> {
    let mut first = BytesMut::with_capacity(FIRST_READ_BYTES);
    if scope.settings.proxy_protocol.as_ref().is_some_and(|policy| policy.trusts(peer.ip())) {
        *peer = client_behind(&mut socket, &mut first).await?.unwrap_or(*peer);
    }
    loop {
        match opening(&first) {
            None => read(&mut socket, &mut first).await?,
            Some(Opening::Http1) => {
                return Ok(Opened::Http1 { io: ClientStream::Plain(socket), first, tls: None });
            }
            Some(Opening::Http2) => {
                let io = Rewound::new(first.freeze(), ClientStream::Plain(socket));
                return Ok(Opened::Http2 { io, tls: None });
            }
            Some(Opening::Ssl2) => return Err(alerted(&mut socket, PROTOCOL_VERSION).await),
            Some(Opening::Tls) => {
                return handshake(Rewound::new(first.freeze(), socket), entry_point, scope).await;
            }
        }
    }
}

async fn read(socket: &mut TcpStream, first: &mut BytesMut) -> io::Result<()> {
    match socket.read_buf(first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Takes the PROXY header of a trusted peer off the front, if there is one: who its client is. What has come behind it stays.
async fn client_behind(socket: &mut TcpStream, first: &mut BytesMut) -> io::Result<Option<SocketAddr>> {
    loop {
        match proxy_protocol::beginning(first).map_err(io::Error::other)? {
            Beginning::Open => read(socket, first).await?,
            Beginning::Absent => return Ok(None),
            Beginning::Present { bytes, client } => {
                first.advance(bytes);
                return Ok(client);
            }
        }
    }
}

async fn handshake<A: Application>(
    io: Rewound<TcpStream>,
    entry_point: &str,
    scope: &Scope<A>,
) -> io::Result<Opened> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
    let hello = {
        let hello = start.client_hello();
        let server_name = hello.server_name().map(tls::canonical_name).map(Arc::from);
        Hello { server_name, alpn: hello.alpn().map(|names| names.map(<[u8]>::to_vec).collect()) }
    };
    let Some(choice) = scope.application.tls(entry_point, &hello) else {
        return Err(io::Error::other("the TLS options of this name cannot be used"));
    };
    if choice.unrecognised {
        let mut io = start.io;
        return Err(alerted(&mut io, UNRECOGNIZED_NAME).await);
    }
    handshakes::turn().await;
    let stream = start.into_stream(choice.config).await?;
    let facts = tls_facts(&stream, hello, choice.options, choice.demands);
    let io = ClientStream::Tls(Box::new(stream));
    if facts.alpn == Some(Protocol::Http2) {
        return Ok(Opened::Http2 { io: Rewound::new(bytes::Bytes::new(), io), tls: Some(facts) });
    }
    Ok(Opened::Http1 { io, first: BytesMut::new(), tls: Some(facts) })
}

/// Ends a handshake before it begins, with a fatal alert in the clear (RFC 8446, 6.2). What is returned tells why for the log.
async fn alerted<S: tokio::io::AsyncWrite + Unpin>(io: &mut S, description: u8) -> io::Error {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    // Whether the client hears of it does not matter.
    let _ = io.write_all(&[ALERT, 3, 1, 0, 2, FATAL, description]).await;
    let _ = io.shutdown().await;
    io::Error::other(format!("refused with TLS alert {description}"))
}

fn tls_facts(
    stream: &TlsStream<Rewound<TcpStream>>,
    hello: Hello,
    options: Arc<str>,
    demands: Demands,
) -> TlsFacts {
    let (_, session) = stream.get_ref();
    let alpn = match session.alpn_protocol() {
        Some(b"h2") => Some(Protocol::Http2),
        Some(_) => Some(Protocol::Http1),
        None => None,
    };
    let client_certificates: Arc<[_]> =
        session.peer_certificates().unwrap_or_default().iter().map(|der| der.clone().into_owned()).collect();
    TlsFacts {
        sni: hello.server_name,
        version: if session.protocol_version() == Some(ProtocolVersion::TLSv1_3) { "1.3" } else { "1.2" },
        cipher: session.negotiated_cipher_suite().map_or("", |suite| tls::suite_name(suite.suite())),
        alpn,
        options,
        demands,
        settled: Cell::new(0),
        client_subject: client_certificates.first().and_then(tls::subject),
        client_certificates,
    }
}
