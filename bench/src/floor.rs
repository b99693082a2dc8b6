//! The floor: what bare hyper on both sides costs for the same work (route by a host map, add one
//! header, write one buffered access log line) with an own pool of upstream connections and the same
//! limits. It has no guard, no middleware chain, no policy, no reload: the least that a proxy on hyper
//! can cost.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::header::{HOST, HeaderName, HeaderValue};
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

struct Floor {
    routes: HashMap<String, SocketAddr>,
    idle: RefCell<Vec<SendRequest<Incoming>>>,
    log: RefCell<BufWriter<File>>,
}

/// Serves until the process ends.
pub(crate) fn run(listen: SocketAddr, upstream: SocketAddr, log: &Path) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default()) // as Ravelin's workers: cheaper than a set of local tasks
        .context("a runtime")?;
    let file = File::create(log).with_context(|| format!("{}", log.display()))?;
    let floor = Rc::new(Floor {
        routes: HashMap::from([("bench.test".to_owned(), upstream)]),
        idle: RefCell::default(),
        log: RefCell::new(BufWriter::with_capacity(LOG_BUFFER_BYTES, file)),
    });
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.context("the floor's address")?;
        loop {
            let (stream, peer) = listener.accept().await.context("accept")?;
            let floor = floor.clone();
            tokio::task::spawn_local(async move {
                let _ = stream.set_nodelay(true);
                let service = service_fn(move |request| answer(floor.clone(), peer, request));
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
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>, Infallible> {
    let begun = Instant::now();
    let host = request.headers().get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(upstream) = floor.routes.get(host).copied() else { panic!("the bench asks for no other host") };
    let line = format!("{peer} {} {}", request.method(), request.uri());
    request.headers_mut().insert(HeaderName::from_static("x-bench"), HeaderValue::from_static("1"));
    let mut sender = checkout(&floor, upstream).await;
    let response = sender.send_request(request).await.expect("the bench's backend answers every request");
    floor.idle.borrow_mut().push(sender);
    let status = response.status().as_u16();
    let micros = begun.elapsed().as_micros();
    writeln!(floor.log.borrow_mut(), "{line} {status} {micros}").expect("the log's disk has room");
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
