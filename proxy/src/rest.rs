//! `rest@internal`: takes a whole configuration by `PUT /api/providers/rest` and hands it on. It must not judge who may put one (routers
//! and middlewares do), nor know where it goes: a proxy of a cluster has nobody to hand it to, and says so.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

use crate::api::text;
use crate::body::RequestBody;
use crate::error::RequestError;
use crate::spool::{Bounds, spool};

/// Bytes of a configuration: as much as a file may have.
const PUT_BYTES_MAX: u64 = ravelin_config::document::DOCUMENT_BYTES_MAX as u64;
/// Bytes of it in memory while it comes; the rest waits in a file.
const WAITING_BYTES_MAX: u64 = 64 * 1024;

/// Takes a configuration in, and gives back what of it was understood, as JSON, or why nothing was. May block.
pub type Take = dyn Fn(&[u8]) -> Result<String, String> + Send + Sync;

/// Where configurations go that clients put.
pub struct Sink {
    take: Box<Take>,
    /// One at a time is read whole: it bounds the memory.
    turn: Semaphore,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}

impl Sink {
    /// Hands each configuration to `take`, one after the other, off the workers.
    pub fn new(take: Box<Take>) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self { take, turn: Semaphore::new(1) })
    }
}

/// Answers a request to `rest@internal`. `path` is normalised.
///
/// Cancel safe: what was handed on is taken in, whoever waits for the answer.
///
/// # Errors
/// The body breaks off, is too large, or cannot be kept.
pub(crate) async fn answer(
    sink: Option<std::sync::Arc<Sink>>,
    method: &Method,
    path: &str,
    body: RequestBody,
) -> Result<Response<Bytes>, RequestError> {
    let provider =
        path.strip_prefix("/api/providers/").filter(|name| !name.is_empty() && !name.contains('/'));
    let Some(provider) = provider else { return Ok(text(StatusCode::NOT_FOUND, "404 page not found\n")) };
    if method != Method::PUT {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return Ok(response);
    }
    if provider != ravelin_config::rest::PROVIDER {
        let wrong = "Only 'rest' provider can be updated through the REST API\n";
        return Ok(text(StatusCode::BAD_REQUEST, wrong));
    }
    let Some(sink) = sink else {
        let wrong = "a proxy changes nothing of its cluster: use `ravelin apply`\n";
        return Ok(text(StatusCode::NOT_IMPLEMENTED, wrong));
    };
    let bounds = Bounds { memory: WAITING_BYTES_MAX, most: Some(PUT_BYTES_MAX), tells_length: false };
    let kept = spool(body, bounds).await?;
    let gone = || text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error\n");
    let Ok(_turn) = sink.turn.acquire().await else { return Ok(gone()) };
    let content = RequestBody::kept(&kept).collect().await.map_err(|_| RequestError::ClientBody)?.to_bytes();
    let taking = std::sync::Arc::clone(&sink);
    let taken = tokio::task::spawn_blocking(move || (taking.take)(&content)).await;
    Ok(match taken {
        Ok(Ok(json)) => {
            let mut response = Response::new(Bytes::from(json));
            let json = HeaderValue::from_static("application/json; charset=UTF-8");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Ok(Err(wrong)) => text(StatusCode::BAD_REQUEST, &format!("{wrong}\n")),
        Err(_) => gone(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    async fn asked(method: &Method, path: &str, sink: bool, body: &str) -> (u16, String) {
        let taken = std::sync::Arc::new(Mutex::new(Vec::new()));
        let taking = std::sync::Arc::clone(&taken);
        let take = move |text: &[u8]| {
            taking.lock().expect("nothing panics").push(text.len());
            match std::str::from_utf8(text) {
                Ok("bad") => Err("bad it is".to_owned()),
                Ok(text) => Ok(format!("got {}", text.len())),
                Err(error) => Err(error.to_string()),
            }
        };
        let sink = sink.then(|| Sink::new(Box::new(take)));
        let body = RequestBody::full(Bytes::copy_from_slice(body.as_bytes()));
        let response = answer(sink, method, path, body).await.expect("the body is whole");
        let status = response.status().as_u16();
        assert_eq!(
            taken.lock().expect("nothing panics").len(),
            usize::from([200, 400].contains(&status) && path.ends_with("/rest"))
        );
        (status, String::from_utf8_lossy(response.body()).into_owned())
    }

    #[tokio::test]
    async fn only_a_put_to_its_own_name_is_handed_on_and_a_cluster_takes_none() {
        let put = &Method::PUT;
        let large = "x".repeat(300_000);
        assert_eq!(asked(put, "/api/providers/rest", true, &large).await, (200, "got 300000".to_owned()));
        assert_eq!(asked(put, "/api/providers/rest", true, "bad").await, (400, "bad it is\n".to_owned()));
        assert_eq!(asked(&Method::GET, "/api/providers/rest", true, "").await, (405, String::new()));
        assert_eq!(asked(&Method::POST, "/api/providers/other", true, "").await, (405, String::new()));
        let (status, told) = asked(put, "/api/providers/other", true, "").await;
        assert!(status == 400 && told.starts_with("Only 'rest'"), "{told}");
        for path in ["/api/providers", "/api/providers/", "/api/providers/rest/x", "/else"] {
            assert_eq!(asked(put, path, true, "").await.0, 404, "{path}");
        }
        let (status, told) = asked(put, "/api/providers/rest", false, "{}").await;
        assert!(status == 501 && told.contains("ravelin apply"), "{told}");
    }
}
