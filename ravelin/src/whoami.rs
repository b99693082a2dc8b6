//! A small backend that answers with what it saw of the request: `ravelin whoami`. It serves the demo,
//! the guides and the tests; it must not be reachable from anything that routes.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Serves until the process ends.
///
/// # Errors
/// The address cannot be bound.
pub(crate) async fn serve(address: SocketAddr, name: &str) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("whoami cannot listen on {address}"))?;
    println!("whoami {name} listens on {}", listener.local_addr().context("the bound address")?);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::task::yield_now().await; // out of descriptors for a moment: the next turn tries again
            continue;
        };
        let name = name.to_owned();
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let service = service_fn(move |request| answer(name.clone(), peer, request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    name: String,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut text = format!("Name: {name}\nRemoteAddr: {peer}\n");
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let _ = writeln!(text, "{} {target} {:?}", request.method(), request.version());
    for (field, value) in request.headers() {
        let _ = writeln!(text, "{field}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}
