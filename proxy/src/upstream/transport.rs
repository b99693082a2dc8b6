//! How servers are reached: deadlines, limits of the pool, TLS. One per servers transport of the configuration, shared by all
//! workers, so that TLS sessions are too. It opens nothing itself.

use std::sync::Arc;
use std::time::Duration;

use ravelin_config::dynamic::{ForwardingTimeouts, ServersTransport};
use rustls::ClientConfig;

use super::stall::UPLOAD_STALL_TIME_MAX;
use super::unique_id;
use super::wear::Wear;
use crate::spiffe::{Source, SpiffeError};

mod identity;
mod tls;

/// Idle connections kept per server where nothing is said, as Traefik's static default.
const IDLE_CONNECTIONS_MAX: usize = 200;
/// What an explicit 0 means: Go's own default.
const IDLE_CONNECTIONS_OF_ZERO: usize = 2;

/// How servers are reached.
#[derive(Debug)]
pub struct Transport {
    pub(crate) id: u64,
    /// Until a connection stands, name resolution and TLS included. `None`: no limit.
    pub connect_timeout: Option<Duration>,
    /// From the request sent until the answer's head is read.
    pub response_header_timeout: Option<Duration>,
    /// How long the server may take nothing of a request that waits for it.
    pub(crate) upload_stall: Duration,
    /// How long a connection is used at all.
    pub(crate) wear: Wear,
    /// How long a connection may lie idle.
    pub idle_timeout: Option<Duration>,
    /// Idle connections kept per server by all workers together.
    pub idle_connections_max: usize,
    /// HTTP/2 silence after which a ping is sent.
    pub(crate) ping_interval: Option<Duration>,
    /// How long a ping's answer may take.
    pub(crate) ping_timeout: Duration,
    /// In place of the server's host, for SNI and the certificate's name.
    pub(crate) server_name: Option<Box<str>>,
    /// TLS that offers HTTP/2 (unless it is off) and HTTP/1.1.
    pub(crate) tls: Arc<ClientConfig>,
    /// TLS for HTTP/1.1 only, for requests that switch protocols.
    pub(crate) tls_http1: Arc<ClientConfig>,
    /// Who gives the identities that TLS goes by, if not the configuration itself.
    pub(crate) workload: Option<Arc<Source>>,
}

/// Why a servers transport cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// A root, certificate or key that is none.
    #[error("{what} cannot be read: {cause}")]
    Pem {
        /// Which option.
        what: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// A TLS version or cipher suite that is not known, or a combination that allows nothing.
    #[error("{0}")]
    Tls(String),
    /// Options of SPIFFE that cannot be used.
    #[error(transparent)]
    Spiffe(#[from] SpiffeError),
    /// SPIFFE beside what it takes the place of.
    #[error("spiffe: TLS and SPIFFE configuration cannot be defined at the same time")]
    BesideTls,
    /// SPIFFE without anybody who gives identities.
    #[error("SPIFFE is enabled for this transport, but not configured")]
    NoWorkload,
}

impl Transport {
    /// From a servers transport of the configuration, and the Workload API if there is one.
    ///
    /// # Errors
    /// PEM that cannot be read, TLS settings that allow nothing, SPIFFE that cannot be used.
    pub fn compile(
        config: &ServersTransport,
        workload: Option<&Arc<Source>>,
    ) -> Result<Self, TransportError> {
        let timeouts = config.forwarding_timeouts.clone().unwrap_or_default();
        let (tls, tls_http1) = tls::client_configs(config, workload)?;
        let server_name = (!config.server_name.is_empty()).then(|| config.server_name.as_str().into());
        let idle = idle_connections(config.max_idle_conns_per_host);
        let workload = workload.filter(|_| config.spiffe.is_some()).cloned();
        Ok(Self { workload, ..Self::new(&timeouts, idle, server_name, tls, tls_http1) })
    }

    fn new(
        timeouts: &ForwardingTimeouts,
        idle_connections_max: usize,
        server_name: Option<Box<str>>,
        tls: Arc<ClientConfig>,
        tls_http1: Arc<ClientConfig>,
    ) -> Self {
        Self {
            id: unique_id(),
            connect_timeout: timeouts.dial_timeout.positive(),
            response_header_timeout: timeouts.response_header_timeout.positive(),
            upload_stall: UPLOAD_STALL_TIME_MAX,
            wear: Wear::default(),
            idle_timeout: timeouts.idle_conn_timeout.positive(),
            idle_connections_max,
            ping_interval: timeouts.read_idle_timeout.positive(),
            ping_timeout: timeouts.ping_timeout.positive().unwrap_or(Duration::from_secs(15)),
            server_name,
            tls,
            tls_http1,
            workload: None,
        }
    }

    /// Defaults with a certificate check that fails for every server: enough for servers without TLS.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        let (tls, tls_http1) = tls::without_roots();
        Self::new(&ForwardingTimeouts::default(), IDLE_CONNECTIONS_MAX, None, tls, tls_http1)
    }
}

fn idle_connections(configured: Option<i64>) -> usize {
    match configured {
        None => IDLE_CONNECTIONS_MAX,
        Some(0) => IDLE_CONNECTIONS_OF_ZERO,
        Some(number) => usize::try_from(number).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use ravelin_config::dynamic::Spiffe;

    use super::*;

    #[test]
    fn unset_zero_and_set_limits_mean_what_traefik_means() {
        assert_eq!(idle_connections(None), 200);
        assert_eq!(idle_connections(Some(0)), 2);
        assert_eq!(idle_connections(Some(7)), 7);
        assert_eq!(idle_connections(Some(-1)), 0);
        let transport = Transport::plain();
        assert_eq!(transport.connect_timeout, Some(Duration::from_secs(30)));
        assert_eq!(transport.response_header_timeout, None);
        assert_eq!(transport.idle_timeout, Some(Duration::from_secs(90)));
    }

    #[test]
    fn spiffe_without_anybody_who_gives_identities_is_an_error_and_not_the_usual_tls() {
        let spiffe = ServersTransport { spiffe: Some(Spiffe::default()), ..ServersTransport::default() };
        assert!(matches!(Transport::compile(&spiffe, None), Err(TransportError::NoWorkload)));
    }
}
