//! The floor: what bare hyper on both sides costs for the same work (route by a host map, add one
//! header, write the forwarded fields, drop the one hop-by-hop field that the load sends, write one
//! buffered access log line of the same fields) with an own pool of upstream connections and the same
//! limits. It has no guard, no middleware chain, no policy, no reload: the least that a proxy on hyper
//! can cost. The bench checks at its start that the backend gets the same fields from it as from Ravelin.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};

const LOG_BUFFER_BYTES: usize = 64 << 10;
/// Ravelin's limits: the largest head of a client with what one read may bring along, the largest head of an answer, fields.
const CLIENT_BUFFER_BYTES_MAX: usize = (1 << 20) + (132 << 10);
const UPSTREAM_BUFFER_BYTES_MAX: usize = 256 << 10;
const HEADERS_MAX: usize = 100;
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_SERVER: HeaderName = HeaderName::from_static("x-forwarded-server");
const X_BENCH: HeaderName = HeaderName::from_static("x-bench");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

struct Floor {
    routes: HashMap<String, SocketAddr>,
    idle: RefCell<Vec<SendRequest<Incoming>>>,
    log: RefCell<Log>,
    /// This host's name, for `X-Forwarded-Server`.
    server: HeaderValue,
    /// The upstream as the log names it.
    url: String,
}

/// The access log, with the date's text of the last second that was asked for.
struct Log {
    file: BufWriter<File>,
    dated: Instant,
    date: String,
    count: u64,
}

impl Log {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("{}", path.display()))?;
        let file = BufWriter::with_capacity(LOG_BUFFER_BYTES, file);
        Ok(Self { file, dated: Instant::now(), date: date(), count: 0 })
    }
}

/// Now, as the common log format writes it.
fn date() -> String {
    jiff::Zoned::now().strftime("%d/%b/%Y:%H:%M:%S %z").to_string()
}

/// Serves until the process ends.
pub(crate) fn run(listen: SocketAddr, upstream: SocketAddr, log: &Path) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default()) // as Ravelin's workers: cheaper than a set of local tasks
        .context("a runtime")?;
    let server = std::fs::read_to_string("/proc/sys/kernel/hostname").context("this host's name")?;
    let floor = Rc::new(Floor {
        routes: HashMap::from([("bench.test".to_owned(), upstream)]),
        idle: RefCell::default(),
        log: RefCell::new(Log::create(log)?),
        server: HeaderValue::from_str(server.trim()).context("this host's name")?,
        url: format!("http://{upstream}"),
    });
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.context("the floor's address")?;
        loop {
            let (stream, peer) = listener.accept().await.context("accept")?;
            let floor = floor.clone();
            let peer = Rc::new(HeaderValue::from_str(&peer.ip().to_string()).context("an address")?);
            tokio::task::spawn_local(async move {
                let _ = stream.set_nodelay(true);
                let service = service_fn(move |request| answer(floor.clone(), peer.clone(), request));
                let connection = server::Builder::new()
                    .max_buf_size(CLIENT_BUFFER_BYTES_MAX)
                    .max_headers(HEADERS_MAX)
                    .serve_connection(TokioIo::new(stream), service);
                let _ = connection.await;
            });
        }
    })
}

async fn answer(
    floor: Rc<Floor>,
    peer: Rc<HeaderValue>,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>, Infallible> {
    let begun = Instant::now();
    let Some(host) = request.headers().get(HOST).cloned() else { panic!("the bench names a host") };
    let routed = host.to_str().ok().and_then(|host| floor.routes.get(host).copied());
    let Some(upstream) = routed else { panic!("the bench asks for no other host") };
    let (method, target, version) = (request.method().clone(), request.uri().clone(), request.version());
    let headers = request.headers_mut();
    headers.remove(CONNECTION);
    headers.insert(X_REAL_IP, HeaderValue::clone(&peer));
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(X_FORWARDED_PORT, HeaderValue::from_static("80"));
    headers.insert(X_FORWARDED_HOST, host);
    headers.insert(X_FORWARDED_SERVER, floor.server.clone());
    headers.insert(X_BENCH, HeaderValue::from_static("1"));
    headers.insert(X_FORWARDED_FOR, HeaderValue::clone(&peer));
    let mut sender = checkout(&floor, upstream).await;
    let response = sender.send_request(request).await.expect("the bench's backend answers every request");
    floor.idle.borrow_mut().push(sender);
    let bytes = response.body().size_hint().exact().expect("the bench's backend gives a length");
    let ended = Instant::now();
    let mut log = floor.log.borrow_mut();
    if ended.duration_since(log.dated) >= Duration::from_secs(1) {
        (log.dated, log.date) = (ended, date());
    }
    log.count += 1;
    let Log { file, date, count, .. } = &mut *log;
    let client = peer.to_str().expect("an address is text");
    let (status, url) = (response.status().as_u16(), &floor.url);
    let millis = ended.duration_since(begun).as_millis();
    writeln!(
        file,
        "{client} - - [{date}] \"{method} {target} {version:?}\" {status} {bytes} \"-\" \"-\" {count} \
         \"bench\" \"{url}\" {millis}ms"
    )
    .expect("the log's disk has room");
    drop(log);
    Ok(response)
}

async fn checkout(floor: &Floor, upstream: SocketAddr) -> SendRequest<Incoming> {
    loop {
        let kept = floor.idle.borrow_mut().pop();
        let Some(mut kept) = kept else { break };
        if kept.ready().await.is_ok() {
            return kept;
        }
    }
    let stream = TcpStream::connect(upstream).await.expect("the bench's backend listens");
    stream.set_nodelay(true).expect("a connected socket");
    let (sender, connection) = client::Builder::new()
        .max_buf_size(UPSTREAM_BUFFER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .expect("a handshake sends nothing");
    tokio::task::spawn_local(connection);
    sender
}
