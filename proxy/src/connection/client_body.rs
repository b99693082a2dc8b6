//! A client's body on its way into the request path. Over HTTP/1 the guard minds its time; over HTTP/2, where many bodies share
//! one connection, each is told by its stream when its time is over. It moves bytes and judges nothing else.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::streams::Stream;

/// Why a client's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum ClientBodyError {
    /// The connection or the stream ended before the body did.
    #[error("it ended before its end")]
    Broken(#[source] hyper::Error),
    /// It was not whole when its time was over (`respondingTimeouts.readTimeout`).
    #[error("it took too long")]
    Late,
}

/// What a request carries.
#[derive(Debug)]
pub struct ClientBody {
    incoming: Incoming,
    stream: Option<Rc<Stream>>,
}

impl ClientBody {
    /// A body whose time somebody else minds.
    pub(crate) fn new(incoming: Incoming) -> Self {
        Self { incoming, stream: None }
    }

    /// The body of a stream, which says when it is late.
    pub(super) fn of(stream: &Rc<Stream>, incoming: Incoming) -> Self {
        let stream = (!incoming.is_end_stream()).then(|| Rc::clone(stream));
        if let Some(stream) = &stream {
            stream.reads(true);
        }
        Self { incoming, stream }
    }

    fn ended(&mut self) {
        if let Some(stream) = self.stream.take() {
            stream.reads(false);
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        match &polled {
            // What has come is taken, however late; only who has to wait for the client has waited too long.
            Poll::Pending => match &self.stream {
                Some(stream) if stream.poll_late(cx).is_ready() => {
                    return Poll::Ready(Some(Err(ClientBodyError::Late)));
                }
                _ => return Poll::Pending,
            },
            Poll::Ready(None | Some(Err(_))) => self.ended(),
            Poll::Ready(Some(Ok(_))) if self.incoming.is_end_stream() => self.ended(),
            Poll::Ready(Some(Ok(_))) => {}
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(ClientBodyError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        // Nobody wants it any more: it cannot be late.
        self.ended();
    }
}
