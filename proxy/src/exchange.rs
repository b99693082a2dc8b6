//! One request from its arrival to the last byte of its answer, for those who must know when it ends: the access log, metrics and
//! policies that hold a place. It lives in the response body and acts once, when it is dropped.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

use crate::access_log::WorkerLog;
use crate::body::Tracker;
use crate::connection::ConnectionFacts;
use crate::error::client_closed_request;
use crate::metrics::Measured;
use crate::middleware::Held;

/// One request under way.
#[derive(Default)]
pub struct Exchange {
    watched: Option<Box<Watched>>,
    held: Vec<Held>,
}

/// What is noted of an exchange. In one piece, so that a request of which nothing is noted has one thing to look at.
#[derive(Default)]
struct Watched {
    entry: Option<Entry>,
    measured: Option<Measured>,
}

/// What a log line is made of. Names and values are shared, not copied.
pub(crate) struct Entry {
    pub(crate) log: WorkerLog,
    pub(crate) connection: Rc<ConnectionFacts>,
    pub(crate) started_at: SystemTime,
    pub(crate) started: Instant,
    pub(crate) number: u64,
    pub(crate) method: Method,
    pub(crate) target: Uri,
    pub(crate) version: Version,
    pub(crate) host: HeaderValue,
    /// `X-Forwarded-For` where it is believed.
    pub(crate) forwarded_for: Option<HeaderValue>,
    /// The user that the client says to be, right or not; empty where an authentication found none.
    pub(crate) user: Option<Vec<u8>>,
    pub(crate) router: Option<Arc<str>>,
    pub(crate) service: Option<Arc<str>>,
    pub(crate) server: Option<(Arc<str>, HeaderValue)>,
    pub(crate) request_headers: Option<HeaderMap>,
    pub(crate) request_body: Option<Rc<Tracker>>,
    /// The service's answer, if the request came that far.
    pub(crate) origin: Option<Origin>,
    /// The answer's fields as the client gets them; Traefik logs them as the service's too.
    pub(crate) response_headers: Option<HeaderMap>,
    /// `None` until there is an answer: the client left before.
    pub(crate) status: Option<StatusCode>,
    pub(crate) sent_bytes: u64,
    /// When the answer came to its end, where that was told.
    pub(crate) ended: Option<Instant>,
}

/// The service's answer.
pub(crate) struct Origin {
    pub(crate) status: StatusCode,
    pub(crate) waited: std::time::Duration,
}

impl Exchange {
    /// An exchange that ends with a log line, is counted at its end, or both.
    #[inline]
    pub(crate) fn watched(entry: Option<Entry>, measured: Option<Measured>) -> Self {
        if entry.is_none() && measured.is_none() {
            return Self::default();
        }
        // Each is moved into its place, and not before into a whole that is moved again.
        let mut watched = Box::<Watched>::default();
        watched.entry = entry;
        watched.measured = measured;
        Self { watched: Some(watched), held: Vec::new() }
    }

    /// What its log line will be made of.
    #[inline]
    pub(crate) fn entry(&mut self) -> Option<&mut Entry> {
        self.watched.as_mut()?.entry.as_mut()
    }

    /// It gets no log line.
    pub(crate) fn forget_entry(&mut self) {
        if let Some(watched) = &mut self.watched {
            watched.entry = None;
            if watched.measured.is_none() {
                self.watched = None;
            }
        }
    }

    /// How it will be counted.
    #[inline]
    pub(crate) fn measured(&mut self) -> Option<&mut Measured> {
        self.watched.as_mut()?.measured.as_mut()
    }

    /// How it will be counted, as far as is known.
    pub(crate) fn watching(&self) -> Option<&Measured> {
        self.watched.as_ref()?.measured.as_ref()
    }

    /// It is not counted.
    pub(crate) fn forget_measured(&mut self) {
        if let Some(watched) = &mut self.watched {
            watched.measured = None;
            if watched.entry.is_none() {
                self.watched = None;
            }
        }
    }

    /// Bytes of content were handed to the client's connection.
    pub(crate) fn sent(&mut self, bytes: u64) {
        let Some(watched) = &mut self.watched else { return };
        if let Some(entry) = &mut watched.entry {
            entry.sent_bytes += bytes;
        }
        if let Some(measured) = &mut watched.measured {
            measured.sent_bytes += bytes;
        }
    }

    /// The answer came to its end at `now`; this is then not asked of the clock again.
    pub(crate) fn ended(&mut self, now: Instant) {
        let Some(watched) = &mut self.watched else { return };
        if let Some(entry) = &mut watched.entry {
            entry.ended = Some(now);
        }
        if let Some(measured) = &mut watched.measured {
            measured.ended = Some(now);
        }
    }

    /// Fields came behind the answer.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(measured) = self.measured() {
            measured.note_grpc_status(trailers);
        }
    }

    /// Keeps this until the exchange ends.
    pub(crate) fn hold(&mut self, held: Held) {
        self.held.push(held);
    }

    /// How much is kept.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Lets go of what was kept since there was so much: that part of the exchange is over, and another begins.
    pub(crate) fn release(&mut self, held: usize) {
        self.held.truncate(held);
    }

    /// Whether anything depends on this exchange's end.
    pub(crate) fn matters(&self) -> bool {
        self.watched.is_some() || !self.held.is_empty()
    }
}

impl Entry {
    pub(crate) fn peer(&self) -> SocketAddr {
        self.connection.peer
    }

    pub(crate) fn final_status(&self) -> StatusCode {
        // Without an answer the client left, unless this is the way out of a panic, which is answered elsewhere.
        self.status.unwrap_or_else(|| match std::thread::panicking() {
            true => StatusCode::INTERNAL_SERVER_ERROR,
            false => client_closed_request(),
        })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Looked at where it lies: it is too large to be moved for every request.
        let Some(watched) = &mut self.watched else { return };
        if let Some(entry) = &watched.entry {
            entry.log.write(entry, entry.ended.unwrap_or_else(Instant::now));
        }
        if let Some(measured) = &mut watched.measured {
            measured.record();
        }
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("watched", &self.watched.is_some())
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ravelin_config::dynamic;

    use super::*;
    use crate::body::ResponseBody;
    use crate::middleware::{Attempt, Back, Flow, Kept, Middleware, PolicyStates, Template, tests::Sample};
    use crate::upstream::UpstreamRegistry;

    #[test]
    fn a_place_is_held_until_the_answers_body_is_gone() {
        let config = dynamic::Middleware {
            in_flight_req: Some(dynamic::InFlightReq { amount: 1, source_criterion: None }),
            ..dynamic::Middleware::default()
        };
        let template =
            Arc::new(Template::compile("l@file", &config, &UpstreamRegistry::default()).expect("good"));
        let states = PolicyStates::default();
        let find = |_: &str| Some(Arc::clone(&template));
        let chain =
            Middleware::compile(&["l@file".into()], &find, &|_| None, "r@file", &states).expect("good");
        let enter = || match Sample::new("GET", "/").run(|head| chain[0].request(head)) {
            Flow::Next(Kept::Place(place)) => Some(place),
            _ => None,
        };
        let mut exchange = Exchange::default();
        assert!(!exchange.matters());
        let mut response = crate::error::bare(StatusCode::OK, "");
        let kept = Kept::Place(enter().expect("a place"));
        match Sample::new("GET", "/")
            .run(|head| chain[0].response(kept, &mut response, Attempt::default(), head))
        {
            Back::Hold(held) => exchange.hold(held),
            other => panic!("the place outlives the response half: {other:?}"),
        }
        assert!(exchange.matters());
        let mut body = ResponseBody::full("x");
        body.bind(exchange);
        assert!(enter().is_none(), "the answer is still on its way");
        drop(body);
        assert!(enter().is_some());
    }
}
