//! Whether a proxy is alive and whether it is ready, at an address of its own: for whoever restarts processes, and for whoever sends
//! requests to them. It answers from the first moment to the last, whatever entry points there are, and must tell nothing else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ravelin_proxy::proxy::ProxyHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Questions at once: further ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 64;
/// For a question and its answer.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Binds the address.
///
/// # Errors
/// It cannot be bound.
pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("--health-address: cannot listen on {address}"))?;
    tracing::info!(address = %listener.local_addr().unwrap_or(address), "/live and /ready are answered");
    Ok(listener)
}

/// Answers until it is dropped.
pub(crate) struct Health(JoinHandle<()>);

impl Health {
    /// Answers for this proxy.
    pub(crate) fn answer(listener: TcpListener, proxy: Arc<ProxyHandle>) -> Self {
        Self(tokio::spawn(serve(listener, proxy)))
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(listener: TcpListener, proxy: Arc<ProxyHandle>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await; // out of descriptors for a moment: the next turn tries again
            continue;
        };
        let proxy = Arc::clone(&proxy);
        tokio::spawn(async move {
            // Who asks and goes away, or says nothing, has lost nothing but the answer.
            let _ = timeout(QUESTION_TIME_MAX, question(stream, proxy)).await;
            drop(place);
        });
    }
}

async fn question(stream: TcpStream, proxy: Arc<ProxyHandle>) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = response(&request, &proxy);
        async { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder.keep_alive(false).max_buf_size(HEAD_BYTES_MAX);
    builder.serve_connection(TokioIo::new(stream), service).await
}

fn response(request: &Request<Incoming>, proxy: &ProxyHandle) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/live") => (StatusCode::OK, "alive\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/ready") => match proxy.unready() {
            None => (StatusCode::OK, "ready\n".to_owned()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        },
        (_, "/live" | "/ready") => (StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "there are /live and /ready\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
