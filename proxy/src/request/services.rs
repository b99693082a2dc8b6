//! Below a router: through services to a server, and to its answer. Services choose; what they choose by is read here, once.

use std::time::Instant;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Method, Response, StatusCode};
use http_body_util::StreamBody;

use super::journey::{Journey, Stage, Stop};
use super::log::{log_internal, note_server, note_service};
use crate::api;
use crate::body::{RequestBody, ResponseBody};
use crate::error::{RequestError, Side, bare, plain_text};
use crate::forward::{self, Outgoing};
use crate::forwarded::Present;
use crate::middleware::{Head, Held, PathText};
use crate::path::PathError;
use crate::rest;
use crate::service::{
    Asker, Choice, Errors, InternalService, LoadBalancer, Mirroring, Mirrors, Server, Service, ServiceKind,
    Turn,
};
use crate::spool::{Bounds, spool};

/// Bytes of a body that is kept in memory, to be sent more than once; what comes after them goes into a temporary file.
pub(super) const KEPT_BYTES_MAX: u64 = 1 << 20;

/// Where the request halves of all chains led.
pub(super) enum Destination<'r> {
    Server(&'r Server, &'r LoadBalancer),
    /// To the first service, and to the second if the first one's answer counts as none.
    Both(&'r Service, &'r Service, &'r Errors),
    /// To a service, and copies to these.
    Copied(&'r Mirroring, Mirrors),
    Internal(InternalService),
}

/// What a service chose: another one, whose middlewares come next, or where the request goes.
pub(super) enum Chosen<'r> {
    Service(&'r Service),
    There(Destination<'r>),
}

impl<'r> Journey<'r> {
    /// What a service, whose own middlewares were passed, chooses for a request.
    pub(super) fn choose(&mut self, head: &Head<'_>, service: &'r Service) -> Result<Chosen<'r>, Stop> {
        match &service.kind {
            ServiceKind::LoadBalancer(balancer) => {
                note_service(self.exchange, service, balancer);
                if self.state.pools.is_full() {
                    return Err(Stop::Refuse(self.overloaded()));
                }
                let server = self.chosen(balancer.choose(&self.asker(head)))?;
                Ok(Chosen::There(Destination::Server(server, balancer)))
            }
            ServiceKind::Weighted(weighted) => {
                Ok(Chosen::Service(self.chosen(weighted.choose(&self.asker(head)))?))
            }
            ServiceKind::Failover(failover) => match failover.turn() {
                Turn::One(service) => Ok(Chosen::Service(service)),
                Turn::Both(service, fallback, errors) => {
                    Ok(Chosen::There(Destination::Both(service, fallback, errors)))
                }
                Turn::Nobody => {
                    let text = "Service Unavailable\n";
                    Err(Stop::Answer(Box::new(plain_text(StatusCode::SERVICE_UNAVAILABLE, text))))
                }
            },
            ServiceKind::Mirroring(mirroring) => match mirroring.mirrors() {
                none if none.is_empty() => Ok(Chosen::Service(mirroring.service())),
                mirrors => Ok(Chosen::There(Destination::Copied(mirroring, mirrors))),
            },
            ServiceKind::Internal(internal) => {
                log_internal(self.exchange, service);
                Ok(Chosen::There(Destination::Internal(*internal)))
            }
        }
    }

    /// Why a request goes to no server while too many wait for theirs.
    pub(super) fn overloaded(&self) -> RequestError {
        self.state.shared.vitals.note_shed_request();
        RequestError::Overloaded
    }

    fn asker<'a>(&self, head: &'a Head<'_>) -> Asker<'a>
    where
        'r: 'a,
    {
        Asker { headers: head.headers, client: self.origin.peer_value.as_bytes() }
    }

    /// What was chosen, if anything was. The answer will say how to come back to it.
    fn chosen<M>(&mut self, choice: Option<Choice<'r, M>>) -> Result<&'r M, Stop> {
        let Choice { member, cookie } = choice.ok_or(Stop::Refuse(RequestError::NoServer))?;
        self.cookies.extend(cookie.cloned());
        Ok(member)
    }

    /// Has the request served where it was led.
    ///
    /// # Errors
    /// What keeps a server from being asked, or its answer from coming.
    pub(super) async fn reach(
        &mut self,
        head: &mut Head<'_>,
        destination: Destination<'r>,
    ) -> Result<Response<ResponseBody>, RequestError> {
        let (server, balancer) = match destination {
            Destination::Server(server, balancer) => (server, balancer),
            Destination::Internal(InternalService::Rest) => return Box::pin(self.rest(head)).await,
            Destination::Internal(service) => return Ok(Box::pin(self.internal(service, head)).await),
            Destination::Both(service, fallback, errors) => {
                return Box::pin(self.fail_over(head, service, fallback, errors)).await;
            }
            Destination::Copied(mirroring, mirrors) => {
                return Box::pin(self.copied(head, mirroring, mirrors)).await;
            }
        };
        let tracker = head.body.tracker();
        let present = head.present;
        debug_assert!(present.covers(Present::of(head.headers)), "who adds a field says so");
        note_server(self.exchange, server, head, present, tracker.as_ref());
        let target = outgoing_target(&head.path, &server.base_path, head.query, self.uri_query)?;
        let upgrade =
            self.policy.forwarded.dispatch(head.headers, present, self.origin, head.omit_forwarded_for);
        let host =
            if balancer.pass_host_header { head.host.clone() } else { server.upstream.authority.clone() };
        let mut outgoing = Outgoing {
            method: head.method.clone(),
            target,
            headers: std::mem::take(head.headers),
            present,
            host,
            upgrade,
            body: std::mem::replace(head.body, RequestBody::empty()),
            tracker,
        };
        self.attempt.reached = true;
        if let Some(in_flight) = balancer.enter(server) {
            self.exchange.hold(Held::Server { _in_flight: in_flight });
        }
        let begun = balancer.measures().then(Instant::now);
        let answered =
            forward::forward(&self.state.pools, self.connection, &server.upstream, &mut outgoing).await;
        if let (Some(begun), Ok(_)) = (begun, &answered) {
            balancer.answered(server, begun.elapsed());
        }
        match &answered {
            Ok(response) => balancer.note(server, response.status().is_server_error()),
            Err(error) if error.side() == Side::Upstream => balancer.note(server, true),
            Err(_) => {}
        }
        if answered.as_ref().is_err_and(RequestError::retry_safe) {
            self.attempt.unsent = true;
            *head.body = outgoing.body;
        }
        answered
    }

    /// To a service, and to its substitute if the answer counts as none. The body is kept first, as it may be sent twice.
    async fn fail_over(
        &mut self,
        head: &mut Head<'_>,
        service: &'r Service,
        fallback: &'r Service,
        errors: &'r Errors,
    ) -> Result<Response<ResponseBody>, RequestError> {
        let body = std::mem::replace(head.body, RequestBody::empty());
        let bounds = Bounds { memory: KEPT_BYTES_MAX, most: errors.body_bytes_max, tells_length: false };
        let kept = spool(body, bounds).await?;
        let (saved, held) = (head.save(), self.exchange.held());
        // What led here stays true whichever of the two answers.
        let cookies = std::mem::take(&mut self.cookies);
        *head.body = RequestBody::kept(&kept);
        let mut response = self.run(head, Stage::Service(service)).await;
        if errors.hold(response.status()) {
            response.into_body().discard().await;
            self.exchange.release(held);
            head.restore(&saved);
            *head.body = RequestBody::kept(&kept);
            response = self.run(head, Stage::Service(fallback)).await;
        }
        self.cookies = cookies;
        Ok(response)
    }

    /// Takes in a configuration that a client puts.
    async fn rest(&self, head: &mut Head<'_>) -> Result<Response<ResponseBody>, RequestError> {
        let body = std::mem::replace(head.body, RequestBody::empty());
        let sink = self.state.shared.rest_sink().cloned();
        let answer = rest::answer(sink, head.method, head.path.as_str(), body).await?;
        Ok(answer.map(ResponseBody::full))
    }

    async fn internal(&self, service: InternalService, head: &Head<'_>) -> Response<ResponseBody> {
        let answer = match service {
            InternalService::Noop | InternalService::Rest => return bare(StatusCode::IM_A_TEAPOT, ""),
            InternalService::Ping => api::ping(self.table, self.state.shared.is_terminating()),
            InternalService::Prometheus => {
                let answer = api::metrics(self.table, &self.state.shared).await;
                if *head.method == Method::HEAD {
                    // As in Traefik a scrape's length is not told in advance.
                    return answer
                        .map(|_| ResponseBody::made(StreamBody::new(futures_util::stream::empty())));
                }
                answer
            }
            InternalService::Dashboard => api::dashboard(head.path.as_str()),
            InternalService::Api => {
                let prefix = head.headers.get("x-forwarded-prefix").and_then(|value| value.to_str().ok());
                let (path, prefix) = (head.path.as_str(), prefix.unwrap_or_default());
                api::answer(self.table, head.method, path, head.query, prefix).await
            }
        };
        answer.map(ResponseBody::full)
    }
}

/// The target that the server gets. Nothing is copied where the client's own is in its one form.
pub(super) fn outgoing_target(
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
