//! Copies of a request to mirrors: made once the service that answers has begun to, and sent on their own. Nothing of what becomes of
//! them reaches the client, its connection or the log.

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Response, Uri};
use http_body::Body;
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;

use super::State;
use super::journey::{Journey, Stage};
use super::services::KEPT_BYTES_MAX;
use crate::body::{RequestBody, ResponseBody};
use crate::connection::ConnectionFacts;
use crate::error::RequestError;
use crate::exchange::Exchange;
use crate::forwarded::Origin;
use crate::limits::EntryPointPolicy;
use crate::metrics::Measured;
use crate::middleware::{Attempt, Head, PathText, Saved};
use crate::path::PathOptions;
use crate::service::{Mirroring, Mirrors, Service, UnderWay};
use crate::spool::{Bounds, SpoolError, Spooled, spool};
use crate::table::Table;

/// How long a copy may take, its answer included.
const COPY_TIME_MAX: Duration = Duration::from_secs(60);

impl<'r> Journey<'r> {
    /// Has a request served, and sends copies of it. A body that is too long is sent on as it comes, and the request is not copied.
    pub(super) async fn copied(
        &mut self,
        head: &mut Head<'_>,
        mirroring: &'r Mirroring,
        mirrors: Mirrors,
    ) -> Result<Response<ResponseBody>, RequestError> {
        let mut copies = true;
        let mut kept = None;
        if mirroring.body && !head.body.is_end_stream() {
            let body = std::mem::replace(head.body, RequestBody::empty());
            let bounds =
                Bounds { memory: KEPT_BYTES_MAX, most: mirroring.body_bytes_max, tells_length: false };
            match spool(body, bounds).await {
                Ok(whole) => {
                    *head.body = RequestBody::kept(&whole);
                    kept = Some(whole);
                }
                Err(SpoolError::TooLong(begun, rest)) => {
                    *head.body = RequestBody::begun(&begun, rest);
                    copies = false;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let saved = copies.then(|| Rc::new(head.save()));
        let cookies = std::mem::take(&mut self.cookies);
        let response = self.run(head, Stage::Service(mirroring.service())).await;
        self.cookies = cookies;
        if let Some(saved) = saved {
            for mirror in mirrors {
                self.copy(head, mirroring, mirror, &saved, kept.clone());
            }
        }
        Ok(response)
    }

    /// Begins one copy, if there is room for it.
    fn copy(
        &self,
        head: &Head<'_>,
        mirroring: &Mirroring,
        mirror: Arc<Service>,
        saved: &Rc<Saved>,
        kept: Option<Rc<Spooled>>,
    ) {
        let Some(place) = mirroring.enter() else {
            tracing::debug!(service = %mirror.name, "too many copies under way: none is made of this request");
            return;
        };
        let Some(entry_point) = self.table.entry_point(&self.connection.entry_point) else { return };
        let from = self.connection;
        let connection = ConnectionFacts::new(
            from.id,
            from.peer,
            from.local,
            Arc::clone(&from.entry_point),
            from.protocol,
        );
        let measured = self.exchange.watching().map(Measured::of_copy);
        let copy = Copy {
            service: mirror,
            state: self.state.beside(),
            connection: Rc::new(connection),
            policy: Arc::clone(&entry_point.policy),
            peer: self.origin.peer,
            peer_value: self.origin.peer_value.clone(),
            tls: head.tls,
            server: self.origin.server.clone(),
            host: self.host.to_owned(),
            uri_query: self.uri_query.map(str::to_owned),
            method: head.method.clone(),
            target: head.target.clone(),
            query: head.query.map(str::to_owned),
            client: head.client,
            path_options: head.path_options,
            saved: Rc::clone(saved),
            body: kept,
            measured,
            _place: place,
        };
        begin(COPY_TIME_MAX, Box::pin(copy.send()));
    }
}

/// Sends a copy on its own. Beyond its time it is given up; what it held goes with it.
fn begin(time_max: Duration, sending: Pin<Box<dyn Future<Output = ()>>>) -> JoinHandle<Result<(), Elapsed>> {
    tokio::task::spawn_local(tokio::time::timeout(time_max, sending))
}

/// A copy, with all that the request itself borrows.
struct Copy {
    service: Arc<Service>,
    state: State,
    connection: Rc<ConnectionFacts>,
    policy: Arc<EntryPointPolicy>,
    peer: IpAddr,
    peer_value: HeaderValue,
    tls: bool,
    server: HeaderValue,
    host: String,
    uri_query: Option<String>,
    method: Method,
    target: Uri,
    query: Option<String>,
    client: IpAddr,
    path_options: PathOptions,
    saved: Rc<Saved>,
    body: Option<Rc<Spooled>>,
    measured: Option<Measured>,
    _place: UnderWay,
}

impl Copy {
    /// Sends it, and throws the answer away.
    async fn send(mut self) {
        // The process itself answers no copy: it would do so by a table without anything.
        let table = Table::default();
        let mut exchange = Exchange::watched(None, self.measured.take());
        let (mut headers, mut body) = (HeaderMap::new(), RequestBody::empty());
        if let Some(kept) = &self.body {
            body = RequestBody::kept(kept);
        }
        let mut head = Head {
            method: &self.method,
            headers: &mut headers,
            present: self.saved.present,
            path: PathText::Own(Box::default()),
            target: &self.target,
            certificates: &[],
            query: self.query.as_deref(),
            host: HeaderValue::from_static(""),
            tls: self.tls,
            client: self.client,
            path_options: self.path_options,
            omit_forwarded_for: false,
            user: None,
            body: &mut body,
        };
        head.restore(&self.saved);
        let origin =
            Origin { peer: self.peer, peer_value: &self.peer_value, tls: self.tls, server: &self.server };
        let mut journey = Journey {
            state: &self.state,
            table: &table,
            connection: &self.connection,
            policy: &self.policy,
            origin,
            host: &self.host,
            uri_query: self.uri_query.as_deref(),
            exchange: &mut exchange,
            attempt: Attempt::default(),
            cookies: Vec::new(),
        };
        let mut response = journey.run(&mut head, Stage::Service(&self.service)).await;
        let body = response.body_mut();
        while let Some(Ok(_)) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Copies;

    #[test]
    fn a_copy_that_takes_too_long_is_given_up_with_its_place() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let copies = Copies::default();
        let place = copies.enter().expect("room");
        let endless = async move {
            let _place = place;
            std::future::pending().await
        };
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let copy = begin(Duration::from_millis(5), Box::pin(endless));
            assert_eq!(copies.under_way(), 1);
            assert!(copy.await.expect("no panic").is_err(), "its time is over");
        });
        assert_eq!(copies.under_way(), 0);
    }
}
