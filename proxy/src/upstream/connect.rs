//! Opening a connection to a server: name, TCP, TLS, HTTP handshake, all under the one connect timeout. It pools nothing.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::io::UpstreamIo;
use super::{Address, Scheme, Upstream};
use crate::body::RequestBody;
use crate::error::{RequestError, UpstreamFailure};
use crate::spiffe::NoIdentity;

/// How long one address may take before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
pub(crate) const HTTP2_STREAM_WINDOW_BYTES: u32 = 1 << 20;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// A connection that is ready for its first request.
pub(crate) enum Connected {
    Http1(UpstreamIo),
    /// `allowed`: streams that the server takes at once, kept up to date by the driver.
    Http2 {
        sender: http2::SendRequest<RequestBody>,
        allowed: Rc<Cell<usize>>,
    },
}

/// Spawns what hyper's HTTP/2 client needs on this worker.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Opens a connection. Must run on a local runtime: the connection's driver is a task of this worker. Cancel safe: dropping
/// the future closes what was opened. Every error may be retried, as nothing was sent.
pub(crate) async fn connect(upstream: &Arc<Upstream>, http1_only: bool) -> Result<Connected, RequestError> {
    let opening = open(upstream, http1_only);
    match upstream.transport.connect_timeout {
        None => opening.await,
        Some(limit) => tokio::time::timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(RequestError::upstream(UpstreamFailure::ConnectTimeout, None, true))),
    }
}

async fn open(upstream: &Arc<Upstream>, http1_only: bool) -> Result<Connected, RequestError> {
    if let (Scheme::Https, Some(workload)) = (upstream.scheme, &upstream.transport.workload) {
        let none = |error: NoIdentity| RequestError::upstream(UpstreamFailure::Tls, Some(error.into()), true);
        workload.ready().await.map_err(none)?;
    }
    let stream = match &upstream.address {
        Address::Socket(address) => TcpStream::connect(address).await.map_err(connect_error)?,
        Address::Name { host, port } => connect_name(host, *port).await?,
    };
    stream.set_nodelay(true).map_err(connect_error)?;
    let io = match upstream.scheme {
        Scheme::Http | Scheme::H2c => UpstreamIo::Plain(stream),
        Scheme::Https => {
            let transport = &upstream.transport;
            let config = if http1_only { &transport.tls_http1 } else { &transport.tls };
            let name = upstream
                .server_name
                .clone()
                .ok_or(RequestError::Internal("an https server without a name"))?;
            let connecting = TlsConnector::from(Arc::clone(config)).connect(name, stream);
            let tls =
                |error: io::Error| RequestError::upstream(UpstreamFailure::Tls, Some(error.into()), true);
            UpstreamIo::Tls(Box::new(connecting.await.map_err(tls)?))
        }
    };
    if upstream.scheme == Scheme::H2c || io.chose_http2() {
        start_http2(upstream, io).await
    } else {
        Ok(Connected::Http1(io))
    }
}

fn connect_error(error: io::Error) -> RequestError {
    let what = match error.kind() {
        io::ErrorKind::TimedOut => UpstreamFailure::ConnectTimeout,
        _ => UpstreamFailure::Connect,
    };
    RequestError::upstream(what, Some(error.into()), true)
}

/// Tries the name's addresses in order, each [`STAGGER`] after the one before or as soon as that failed; the first that stands
/// wins.
async fn connect_name(host: &str, port: u16) -> Result<TcpStream, RequestError> {
    let unresolved =
        |error: io::Error| RequestError::upstream(UpstreamFailure::Resolve, Some(error.into()), true);
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((host, port)).await.map_err(unresolved)?.take(ADDRESSES_MAX).collect();
    let mut waiting = addresses.into_iter();
    let Some(first) = waiting.next() else {
        return Err(RequestError::upstream(UpstreamFailure::Resolve, None, true));
    };
    let mut trying = FuturesUnordered::new();
    trying.push(TcpStream::connect(first));
    loop {
        let ended = tokio::select! {
            ended = trying.next() => ended,
            () = tokio::time::sleep(STAGGER), if waiting.len() > 0 => {
                trying.extend(waiting.next().map(TcpStream::connect));
                continue;
            }
        };
        match ended {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => match waiting.next() {
                Some(next) => trying.push(TcpStream::connect(next)),
                None if trying.is_empty() => return Err(connect_error(error)),
                None => {}
            },
            None => return Err(RequestError::Internal("no address left to try")),
        }
    }
}

async fn start_http2(upstream: &Upstream, io: UpstreamIo) -> Result<Connected, RequestError> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES);
    if let Some(interval) = upstream.transport.ping_interval {
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(interval)
            .keep_alive_timeout(upstream.transport.ping_timeout)
            .keep_alive_while_idle(true);
    }
    let (sender, mut connection) = builder.handshake(TokioIo::new(io)).await.map_err(handshake_error)?;
    let allowed = Rc::new(Cell::new(connection.current_max_send_streams()));
    let told = Rc::clone(&allowed);
    tokio::task::spawn_local(async move {
        // Its end shows at the sender; requests under way get their own error.
        let _ = std::future::poll_fn(|cx| {
            let polled = std::pin::Pin::new(&mut connection).poll(cx);
            told.set(connection.current_max_send_streams());
            polled
        })
        .await;
    });
    Ok(Connected::Http2 { sender, allowed })
}

fn handshake_error(error: hyper::Error) -> RequestError {
    RequestError::upstream(UpstreamFailure::Connect, Some(error.into()), true)
}
