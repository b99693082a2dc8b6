//! Follows a Workload API: one call by gRPC whose answer never ends, made again whenever it does. What was given stays until something
//! better comes. It runs on a thread of its own and judges no server.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::percent_decode;
use ravelin_config::spiffe::WorkloadAddress;
use ravelin_transport::backoff::{Backoff, BackoffOptions};
use rustls::crypto::CryptoProvider;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use super::Known;
use super::identity::{Identity, IdentityError};
use crate::failure::{Failures, Part};

/// The call.
const CALL: &str = "/SpiffeWorkloadAPI/FetchX509SVID";
/// Its empty message behind flag and length.
const QUESTION: &[u8] = &[0; 5];
/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// Longest message that is taken, as gRPC's own default.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Most of a text from the other side that is told on.
const TOLD_BYTES_MAX: usize = 300;

/// How long is waited for a Workload API.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// From dialling until the first message.
    pub(super) first_message: Duration,
    /// Between calls.
    pub(super) again: BackoffOptions,
}

impl Default for Times {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            first_message: 10 * second,
            again: BackoffOptions { first: second, max: 30 * second, stable_after: 30 * second },
        }
    }
}

/// Why a call ended or gave nothing, with what to do.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("it cannot be reached ({0}): see that it runs and that `spiffe.workloadAPIAddr` is its address")]
    Unreachable(#[source] io::Error),
    #[error("it sent nothing for {} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("it does not speak gRPC ({0}): see that `spiffe.workloadAPIAddr` is its address")]
    NoGrpc(String),
    #[error("it refuses this process an identity ({0}): register this workload there")]
    Refused(String),
    #[error("it ends the call with status {0}")]
    Status(String),
    #[error("the connection broke off: {0}")]
    Broken(#[source] hyper::Error),
    #[error("it sent a message of {0} bytes, more than the {MESSAGE_BYTES_MAX} that are taken")]
    Long(usize),
    #[error("it sent a compressed message, which was not asked for")]
    Compressed,
    #[error("{0}")]
    Identity(#[from] IdentityError),
}

/// Starts the thread; it ends soon after nobody listens any more.
pub(super) fn start(
    address: WorkloadAddress,
    told: watch::Sender<Known>,
    times: Times,
    failures: Failures,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let follower = Follower { address, told, times, provider, said: String::new() };
    let run = move || runtime.block_on(follower.run(&failures));
    std::thread::Builder::new().name("workload-api".to_owned()).spawn(run)
}

struct Follower {
    address: WorkloadAddress,
    told: watch::Sender<Known>,
    times: Times,
    provider: CryptoProvider,
    /// The failure that was said last; empty while all is well.
    said: String,
}

impl Follower {
    async fn run(mut self, failures: &Failures) {
        let (mut waits, began) = (Backoff::new(self.times.again, rand::random()), Instant::now());
        let listeners = self.told.clone();
        loop {
            let call = AssertUnwindSafe(self.call(|| waits.connected(began.elapsed()))).catch_unwind();
            let ended = tokio::select! {
                () = listeners.closed() => return,
                ended = call => ended,
            };
            match ended {
                Ok(error) => self.failed(&error.to_string()),
                Err(panic) => {
                    let what = failures.survived(Part::WorkloadApi, &*panic);
                    self.failed(&what);
                }
            }
            let wait = waits.failed(began.elapsed());
            tokio::select! {
                () = listeners.closed() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One call, until it ends.
    async fn call(&mut self, connected: impl FnOnce()) -> CallError {
        let limit = self.times.first_message;
        let provider = self.provider.clone();
        let first = async {
            let mut answer = Answer::of(&self.address).await?;
            let message = answer.message().await?;
            Ok::<_, CallError>((answer, message))
        };
        let first = tokio::time::timeout(limit, first).await;
        let (mut answer, mut message) = match first {
            Ok(Ok(first)) => first,
            Ok(Err(error)) => return error,
            Err(_) => return CallError::Silent(limit),
        };
        connected();
        loop {
            match Identity::read(&message, &provider) {
                Ok(identity) => self.given(identity),
                Err(error) => self.failed(&CallError::from(error).to_string()),
            }
            message = match answer.message().await {
                Ok(message) => message,
                Err(error) => return error,
            };
        }
    }

    fn given(&mut self, identity: Identity) {
        tracing::info!(address = %self.address, id = %identity.id, ends = %identity.ends, "the Workload API gave an identity");
        self.said.clear();
        self.told.send_replace(Known::Identity(Arc::new(identity)));
    }

    /// What was given stays; who waits for something is told.
    fn failed(&mut self, reason: &str) {
        let mut then = "what it gave before stays in use";
        self.told.send_if_modified(|known| {
            let has_identity = matches!(known, Known::Identity(_));
            if !has_identity {
                *known = Known::Failed(Arc::from(reason));
                then = "until it gives one, requests that need it are answered 502";
            }
            !has_identity
        });
        if self.said == reason {
            tracing::debug!(address = %self.address, reason, "the Workload API still gives no identity");
        } else {
            tracing::error!(address = %self.address, reason, "the Workload API gives no identity; {then}");
            reason.clone_into(&mut self.said);
        }
    }
}

/// The answer to a call, message by message.
struct Answer {
    body: Incoming,
    read: BytesMut,
}

impl Answer {
    async fn of(address: &WorkloadAddress) -> Result<Self, CallError> {
        match address {
            WorkloadAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(CallError::Unreachable)?;
                Self::over(stream, "localhost").await
            }
            WorkloadAddress::Tcp(socket) => {
                let stream = TcpStream::connect(socket).await.map_err(CallError::Unreachable)?;
                Self::over(stream, &socket.to_string()).await
            }
        }
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        authority: &str,
    ) -> Result<Self, CallError> {
        let no_grpc = |error: &dyn std::fmt::Display| CallError::NoGrpc(told(&error.to_string()));
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(|error| no_grpc(&error))?;
        // Its end shows in the answer.
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::post(format!("http://{authority}{CALL}"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(USER_AGENT, concat!("ravelin/", env!("CARGO_PKG_VERSION")))
            .header("workload.spiffe.io", "true")
            .body(Full::new(Bytes::from_static(QUESTION)))
            .map_err(|error| no_grpc(&error))?;
        let (head, body) = sender.send_request(request).await.map_err(|error| no_grpc(&error))?.into_parts();
        if head.status != StatusCode::OK {
            return Err(CallError::NoGrpc(format!("status {}", head.status)));
        }
        // An answer that is nothing but its end says so in its head.
        if head.headers.contains_key("grpc-status") {
            return Err(status(&head.headers));
        }
        Ok(Self { body, read: BytesMut::new() })
    }

    /// The next message; an error ends the call. Not cancel safe but for giving up.
    async fn message(&mut self) -> Result<Bytes, CallError> {
        loop {
            if let Some(message) = self.whole()? {
                return Ok(message);
            }
            let Some(frame) = self.body.frame().await else { return Err(status(&HeaderMap::new())) };
            match frame.map_err(CallError::Broken)?.into_data() {
                Ok(data) => self.read.extend_from_slice(&data),
                Err(frame) => return Err(status(&frame.into_trailers().unwrap_or_default())),
            }
        }
    }

    fn whole(&mut self) -> Result<Option<Bytes>, CallError> {
        let Some([flag, length @ ..]) = self.read.first_chunk::<PREFIX_BYTES>().copied() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if flag != 0 {
            return Err(CallError::Compressed);
        }
        if length > MESSAGE_BYTES_MAX {
            return Err(CallError::Long(length));
        }
        if self.read.len() - PREFIX_BYTES < length {
            return Ok(None);
        }
        self.read.advance(PREFIX_BYTES);
        Ok(Some(self.read.split_to(length).freeze()))
    }
}

/// How the other side says that a call has ended.
fn status(fields: &HeaderMap) -> CallError {
    let text =
        |name: &str| fields.get(name).map(|value| percent_decode(value.as_bytes()).decode_utf8_lossy());
    let code = text("grpc-status").map_or_else(|| "missing".to_owned(), |code| told(&code));
    let message = told(&text("grpc-message").unwrap_or_default());
    // 7: permission denied.
    match code.as_str() {
        "7" => CallError::Refused(message),
        _ => CallError::Status(format!("{code} ({message})")),
    }
}

/// A text of the other side as it may stand in a log.
fn told(text: &str) -> String {
    let end = text.floor_char_boundary(TOLD_BYTES_MAX);
    text[..end].chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}
