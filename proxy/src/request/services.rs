//! Below a router: through services to a server, and to its answer. Services choose; what they choose by is read here, once.

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Response, StatusCode};

use super::log::{log_internal, log_server, log_service};
use super::{Journey, Passed, Stop, through};
use crate::api;
use crate::body::{RequestBody, ResponseBody};
use crate::error::{RequestError, bare};
use crate::forward::{self, Outgoing};
use crate::forwarded::Present;
use crate::middleware::{Head, PathText};
use crate::path::PathError;
use crate::service::{InternalService, Server, Service, ServiceKind};

/// Where the request halves of all chains led.
pub(super) enum Destination<'r> {
    Server(&'r Server, bool),
    Internal(InternalService),
}

impl<'r> Journey<'r> {
    /// Through the request halves of each service's own middlewares, down to a server.
    pub(super) async fn descend(
        &mut self,
        head: &mut Head<'_>,
        mut service: &'r Service,
        passed: &mut Passed<'r>,
    ) -> Result<Destination<'r>, Stop> {
        loop {
            through(head, &service.middlewares, passed).await?;
            match &service.kind {
                ServiceKind::LoadBalancer(balancer) => {
                    log_service(self.exchange, service);
                    let server = balancer.next().ok_or(Stop::Refuse(RequestError::NoServer))?;
                    return Ok(Destination::Server(server, balancer.pass_host_header));
                }
                ServiceKind::Weighted(weighted) => {
                    service = weighted.next().ok_or(Stop::Refuse(RequestError::NoServer))?;
                }
                ServiceKind::Internal(internal) => {
                    log_internal(self.exchange, service);
                    return Ok(Destination::Internal(*internal));
                }
            }
        }
    }

    /// Has the request served where it was led.
    ///
    /// # Errors
    /// What keeps a server from being asked, or its answer from coming.
    pub(super) async fn reach(
        &mut self,
        head: &mut Head<'_>,
        destination: Destination<'r>,
        body: &mut RequestBody,
    ) -> Result<Response<ResponseBody>, RequestError> {
        let (server, pass_host_header) = match destination {
            Destination::Server(server, pass_host_header) => (server, pass_host_header),
            Destination::Internal(service) => return Ok(Box::pin(self.internal(service, head)).await),
        };
        let tracker = body.tracker();
        let present = head.present;
        debug_assert!(present.covers(Present::of(head.headers)), "who adds a field says so");
        log_server(self.exchange, server, head, present, tracker.as_ref());
        let target = outgoing_target(&head.path, &server.base_path, head.query, self.uri_query)?;
        let upgrade =
            self.policy.forwarded.dispatch(head.headers, present, self.origin, head.omit_forwarded_for);
        let host = if pass_host_header { head.host.clone() } else { server.upstream.authority.clone() };
        let mut outgoing = Outgoing {
            method: head.method.clone(),
            target,
            headers: std::mem::take(head.headers),
            present,
            host,
            upgrade,
            body: std::mem::replace(body, RequestBody::empty()),
            tracker,
        };
        forward::forward(&self.state.pools, self.connection, &server.upstream, &mut outgoing).await
    }

    async fn internal(&self, service: InternalService, head: &Head<'_>) -> Response<ResponseBody> {
        let answer = match service {
            InternalService::Noop => return bare(StatusCode::IM_A_TEAPOT, ""),
            InternalService::Ping => api::ping(self.table, self.state.shared.is_terminating()),
            InternalService::Api => {
                api::answer(self.table, head.method, head.path.as_str(), head.query).await
            }
        };
        answer.map(ResponseBody::full)
    }
}

/// The target that the server gets. Nothing is copied where the client's own is in its one form.
fn outgoing_target(
    path: &PathText,
    base_path: &str,
    client_query: Option<&str>,
    query: Option<&str>,
) -> Result<PathAndQuery, RequestError> {
    if let PathText::Original(uri) = path
        && base_path.is_empty()
        && client_query == query
        && let Some(target) = uri.path_and_query()
        && target.as_str().starts_with('/')
    {
        return Ok(target.clone());
    }
    let path = path.as_str();
    let mut text =
        String::with_capacity(base_path.len() + path.len() + query.map_or(0, |query| query.len() + 1));
    text.push_str(base_path);
    text.push_str(path);
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    PathAndQuery::from_maybe_shared(Bytes::from(text)).map_err(|_| PathError::Unwritable.into())
}

