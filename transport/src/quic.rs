//! Lanes over QUIC: mutually authenticated TLS 1.3, one bidirectional stream per lane.
//!
//! Everything that quinn leaves open for strangers is closed here: no 0-RTT, no tickets, no resumption (a resumed session would skip the
//! judgement of certificates), no datagrams, no migration, bounded windows. quinn must not be named outside this module.
//!
//! After the handshake the accepting side sends one byte, its transport version, on a stream of its own. Only then is a dialled
//! connection handed out: with TLS 1.3 a client is otherwise done before the server has judged it.

mod connection;
mod door;
mod lane;
mod reset;
mod socket;
mod tasks;
mod tls;
mod wire;

use crate::certificate::{Trust, Verified};
use crate::error::{Refusal, TransportError};
use crate::identity::Identity;
use crate::lane::Lane;
use crate::members::Members;
use crate::peer::{PeerId, PeerRole};
use crate::seam::{BoxFuture, Connection, Target, Transport};
use connection::{Policy, QuicConnection};
use door::{Door, DoorLimits, Knock};
use socket::{Closed, Socket};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;
use tasks::Tasks;
use tls::{Tls, Verdict};
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// The byte that the accepting side sends once it has accepted a peer.
const TRANSPORT_VERSION: u8 = 1;

/// Connections that are ready but not yet taken by [`Transport::accept`]. Beyond it handshakes wait.
const ACCEPTED_MAX: usize = 64;

/// Addresses of one name that are tried in turn.
const ADDRESSES_MAX: usize = 4;

/// Lanes that a proxy may have open at once: it needs one, or two while it enrols anew.
const PROXY_LANES_MAX: u32 = 4;

/// How often the names of control nodes are looked up anew.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(300);

/// How long a shutdown waits for peers to hear of it, and then for its port to be free.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(2);

/// Limits and times of a QUIC transport. The defaults suit nodes of one cluster, near or far.
#[derive(Debug, Clone)]
pub struct QuicOptions {
    /// A connection on which nothing was heard for so long is lost.
    pub idle_timeout: Duration,
    /// How often a quiet connection is kept alive. At most a third of `idle_timeout`.
    pub keep_alive_interval: Duration,
    /// Longest handshake with a peer that dials.
    pub handshake_timeout: Duration,
    /// Longest try to reach one address when dialling.
    pub connect_timeout: Duration,
    /// Longest wait for a lane to be accepted.
    pub lane_timeout: Duration,
    /// Lanes that each side may have open at once; a proxy has to do with four.
    pub lanes_max: u32,
    /// Bytes that one lane may have in flight, unread. All lanes together: this times a little more than twice `lanes_max` per connection;
    /// for a proxy, a little more than twice four.
    pub lane_window_bytes: u32,
    /// The round-trip time assumed before one was measured.
    pub initial_rtt: Duration,
    /// Let the network card cut large sends into packets. Some cards lie about it: turn it off if connections stall.
    pub segmentation_offload: bool,
    /// Connections at once; further ones are refused. An eighth is kept for control nodes.
    pub connections_max: usize,
    /// Connections of one peer at once; further ones are refused.
    pub connections_per_peer_max: usize,
    /// Handshakes at once; further ones are refused. An eighth is kept for the addresses of control nodes.
    pub handshakes_max: usize,
    /// Handshakes at once from one address (one /64 of IPv6). From a quarter of them on it must first prove that it is there.
    pub handshakes_per_source_max: usize,
    /// Handshakes at once from which on a peer must first prove that it is where it says it is.
    pub handshakes_before_retry: usize,
}

impl Default for QuicOptions {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(10),
            keep_alive_interval: Duration::from_millis(2500),
            handshake_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            lane_timeout: Duration::from_secs(5),
            lanes_max: 16,
            lane_window_bytes: 512 << 10,
            initial_rtt: Duration::from_millis(25),
            segmentation_offload: true,
            connections_max: 24_576,
            connections_per_peer_max: 32,
            handshakes_max: 1024,
            handshakes_per_source_max: 256,
            handshakes_before_retry: 256,
        }
    }
}

/// A QUIC endpoint with one identity. Dropping it closes its connections.
pub struct QuicTransport {
    /// Gone once it was shut down: the socket is closed with its last handle.
    endpoint: Lock<Option<quinn::Endpoint>>,
    closed: Closed,
    /// quinn's tasks, where nobody dials this transport.
    tasks: Option<Tasks>,
    local_address: SocketAddr,
    core: Arc<Core>,
    accepted: Mutex<mpsc::Receiver<Result<Arc<dyn Connection>, TransportError>>>,
    accept_loop: JoinHandle<()>,
}

/// What dialling and accepting share.
struct Core {
    me: PeerId,
    tls: Tls,
    options: QuicOptions,
    door: Door,
    /// `host:port` of every controller that the identity knows.
    controllers: Vec<String>,
    dialling: Arc<quinn::TransportConfig>,
    accepting: Arc<quinn::TransportConfig>,
    reset_key: [u8; 32],
}

impl QuicTransport {
    /// Opens the socket and starts accepting. Port 0 takes a free one, see [`Transport::local_address`]. Must be called within a tokio
    /// runtime, on which all of the transport's work then runs.
    ///
    /// # Errors
    /// [`TransportError::AddressInUse`], [`TransportError::Bind`], [`TransportError::Credentials`] or [`TransportError::Options`].
    pub fn bind(
        identity: &Identity,
        listen: SocketAddr,
        options: QuicOptions,
    ) -> Result<Self, TransportError> {
        let socket = UdpSocket::bind(listen).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => TransportError::AddressInUse { address: listen },
            _ => TransportError::Bind { address: listen, source: Arc::new(error) },
        })?;
        let core = Arc::new(Core::new(identity, options)?);
        let server = core.server_config(core.tls.server_template());
        Self::start(core, socket, Some(server), listen)
    }

    /// A transport that only dials, from any free port: for the command line and for nodes that nobody dials.
    ///
    /// # Errors
    /// As [`QuicTransport::bind`].
    pub fn dial_only(identity: &Identity, options: QuicOptions) -> Result<Self, TransportError> {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
            .or_else(|_| UdpSocket::bind(any))
            .map_err(|error| TransportError::Bind { address: any, source: Arc::new(error) })?;
        Self::start(Arc::new(Core::new(identity, options)?), socket, None, any)
    }

    fn start(
        core: Arc<Core>,
        socket: UdpSocket,
        server: Option<quinn::ServerConfig>,
        asked: SocketAddr,
    ) -> Result<Self, TransportError> {
        let bind_error = |error: io::Error| TransportError::Bind { address: asked, source: Arc::new(error) };
        let (socket, closed) = Socket::open(socket).map_err(bind_error)?;
        let config = reset::endpoint_config(&core.reset_key);
        let (tasks, runtime): (_, Arc<dyn quinn::Runtime>) = match server {
            Some(_) => (None, Arc::new(quinn::TokioRuntime)),
            None => {
                let (tasks, runtime) = Tasks::new();
                (Some(tasks), runtime)
            }
        };
        let endpoint = quinn::Endpoint::new_with_abstract_socket(config, server, socket, runtime);
        let endpoint = endpoint.map_err(bind_error)?;
        let local_address = endpoint.local_addr().map_err(bind_error)?;
        let (sender, receiver) = mpsc::channel(ACCEPTED_MAX);
        let accept_loop = tokio::spawn(accept_loop(endpoint.clone(), Arc::clone(&core), sender));
        let endpoint = Lock::new(Some(endpoint));
        Ok(Self { endpoint, closed, tasks, local_address, core, accepted: Mutex::new(receiver), accept_loop })
    }

    /// Closes all connections, and takes the endpoint if nobody has before.
    fn close(&self) -> Option<quinn::Endpoint> {
        self.accept_loop.abort();
        let endpoint = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        endpoint.close(wire::CLOSE_SHUTDOWN, b"shutting down");
        Some(endpoint)
    }

    async fn dial(&self, target: &Target) -> Result<QuicConnection, TransportError> {
        let endpoint = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let endpoint = endpoint.ok_or(TransportError::Shutdown)?;
        let resolved = tokio::net::lookup_host(&target.address).await;
        let addresses = resolved.map_err(|error| TransportError::Resolve {
            address: target.address.clone(),
            source: Arc::new(error),
        })?;
        let mut last = TransportError::Unreachable {
            address: target.address.clone(),
            reason: "the name has no address".to_owned(),
        };
        for address in addresses.take(ADDRESSES_MAX) {
            match self.core.dial_address(&endpoint, address, target).await {
                Err(error @ TransportError::Unreachable { .. }) => last = error,
                decided => return decided,
            }
        }
        Err(last)
    }
}

impl Transport for QuicTransport {
    fn connect<'a>(
        &'a self,
        target: &'a Target,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, TransportError>> {
        Box::pin(async { Ok(Arc::new(self.dial(target).await?) as Arc<dyn Connection>) })
    }

    fn accept(&self) -> BoxFuture<'_, Result<Arc<dyn Connection>, TransportError>> {
        Box::pin(async { self.accepted.lock().await.recv().await.unwrap_or(Err(TransportError::Shutdown)) })
    }

    fn local_address(&self) -> Option<SocketAddr> {
        Some(self.local_address)
    }

    fn members(&self) -> Option<&Members> {
        Some(self.core.tls.trust().members())
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let endpoint = self.close();
            if let Some(tasks) = &self.tasks {
                // Nobody will dial the port, and whoever misses the farewell finds out by the silence.
                let _ = timeout(SHUTDOWN_WAIT, tasks.end()).await;
                return;
            }
            if let Some(endpoint) = endpoint {
                let _ = timeout(SHUTDOWN_WAIT, endpoint.wait_idle()).await;
            }
            // Whoever listens here next must find the port free. Those who still hold a connection keep it, so not for ever.
            let _ = timeout(SHUTDOWN_WAIT, self.closed.wait()).await;
        })
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        drop(self.close());
    }
}

impl Core {
    fn new(identity: &Identity, options: QuicOptions) -> Result<Self, TransportError> {
        let trust = Trust::of(identity).map_err(|reason| TransportError::Credentials { reason })?;
        let tls = Tls::new(identity, trust)?;
        let door = Door::new(DoorLimits {
            handshakes_max: options.handshakes_max,
            handshakes_before_retry: options.handshakes_before_retry,
            handshakes_per_source_max: options.handshakes_per_source_max.max(4),
            connections_max: options.connections_max,
            connections_per_peer_max: options.connections_per_peer_max,
        });
        let dialling = Arc::new(quic_config(&options, options.lanes_max)?);
        // Whoever dials begins with a proxy's share; more is given once it is known who it is.
        let accepting = Arc::new(quic_config(&options, options.lanes_max.min(PROXY_LANES_MAX))?);
        let reset_key = identity.derive_key("quic stateless reset");
        let controllers = identity.controllers().iter().map(|controller| controller.address.clone());
        let (me, controllers) = (identity.peer().clone(), controllers.collect());
        Ok(Self { me, tls, options, door, controllers, dialling, accepting, reset_key })
    }

    fn server_config(&self, crypto: Arc<dyn quinn::crypto::ServerConfig>) -> quinn::ServerConfig {
        let mut config = quinn::ServerConfig::with_crypto(crypto);
        let mut tokens = quinn::ValidationTokenConfig::default();
        tokens.sent(0);
        config.transport_config(Arc::clone(&self.accepting));
        config.validation_token_config(tokens);
        config.migration(false);
        config.max_incoming(self.options.handshakes_max);
        config.incoming_buffer_size(64 << 10);
        config.incoming_buffer_size_total(16 << 20);
        config
    }

    async fn dial_address(
        &self,
        endpoint: &quinn::Endpoint,
        address: SocketAddr,
        target: &Target,
    ) -> Result<QuicConnection, TransportError> {
        let unreachable =
            |reason: String| TransportError::Unreachable { address: target.address.clone(), reason };
        let verdict = Verdict::default();
        let mut config = quinn::ClientConfig::new(self.tls.client(&verdict)?);
        config.transport_config(Arc::clone(&self.dialling));
        let connecting = match endpoint.connect_with(config, address, tls::SERVER_NAME) {
            Err(quinn::ConnectError::EndpointStopping) => return Err(TransportError::Shutdown),
            connecting => connecting.map_err(|error| unreachable(error.to_string()))?,
        };
        let within = self.options.connect_timeout;
        let handshake = async {
            let quinn =
                connecting.await.map_err(|error| handshake_error(&error, &verdict, &target.address))?;
            let verified = self.admitted(&quinn, &verdict, &target.address)?;
            target
                .expect
                .check(&verified.peer)
                .map_err(|refusal| refuse(&quinn, &target.address, refusal))?;
            self.await_welcome(&quinn, &target.address).await?;
            Ok((quinn, verified))
        };
        let (quinn, verified) = timeout(within, handshake)
            .await
            .map_err(|_| unreachable(format!("no answer from {address} within {within:?}")))??;
        Ok(QuicConnection::new(quinn, target.address.clone(), self.policy(verified), None))
    }

    async fn accept_incoming(&self, incoming: quinn::Incoming) -> Result<QuicConnection, TransportError> {
        let address = incoming.remote_address().to_string();
        let verdict = Verdict::default();
        let config = Arc::new(self.server_config(self.tls.server(&verdict)?));
        let within = self.options.handshake_timeout;
        let handshake = async {
            let connecting =
                incoming.accept_with(config).map_err(|error| handshake_error(&error, &verdict, &address))?;
            let quinn = connecting.await.map_err(|error| handshake_error(&error, &verdict, &address))?;
            let verified = self.admitted(&quinn, &verdict, &address)?;
            let seat = self.door.seat(&verified.peer).map_err(|refusal| refuse(&quinn, &address, refusal))?;
            self.widen(&quinn, verified.peer.role());
            welcome(&quinn).await.map_err(|error| handshake_error(&error, &verdict, &address))?;
            Ok((quinn, verified, seat))
        };
        let (quinn, verified, seat) =
            timeout(within, handshake).await.map_err(|_| TransportError::Unreachable {
                address: address.clone(),
                reason: format!("its handshake did not end within {within:?}"),
            })??;
        Ok(QuicConnection::new(quinn, address, self.policy(verified), Some(seat)))
    }

    /// Gives an accepted peer the lanes and windows of its role.
    fn widen(&self, quinn: &quinn::Connection, role: PeerRole) {
        let lanes = match role {
            PeerRole::Controller | PeerRole::Operator => self.options.lanes_max,
            PeerRole::Proxy => return,
        };
        let (streams, window) = windows(&self.options, lanes);
        // Both fitted when the transport was made.
        if let Ok(window) = quinn::VarInt::from_u64(window) {
            quinn.set_receive_window(window);
            quinn.set_send_window(window.into_inner());
        }
        quinn.set_max_concurrent_bi_streams(streams.into());
    }

    /// The peer that the handshake verified, if the two have any business with each other.
    fn admitted(
        &self,
        quinn: &quinn::Connection,
        verdict: &Verdict,
        address: &str,
    ) -> Result<Verified, TransportError> {
        let judged = verdict
            .get()
            .cloned()
            .unwrap_or_else(|| Err(Refusal::Certificate { reason: "none was presented".to_owned() }));
        let admitted = judged.and_then(|verified| {
            // Said after the handshake: a TLS alert has no room for why.
            if (self.me.role(), verified.peer.role()) == (PeerRole::Controller, PeerRole::Controller) {
                self.tls.trust().members().judge(verified.peer.node(), verified.key)?;
            }
            if Lane::any_between(self.me.role(), verified.peer.role()) {
                Ok(verified)
            } else {
                Err(Refusal::NoLanes { here: self.me.role(), found: verified.peer.role() })
            }
        });
        admitted.map_err(|refusal| refuse(quinn, address, refusal))
    }

    async fn await_welcome(&self, quinn: &quinn::Connection, address: &str) -> Result<(), TransportError> {
        let mut byte = [0];
        let read = match quinn.accept_uni().await {
            Ok(mut stream) => stream.read_exact(&mut byte).await.map_err(|error| match error {
                quinn::ReadExactError::ReadError(quinn::ReadError::ConnectionLost(error)) => Some(error),
                _ => None,
            }),
            Err(error) => Err(Some(error)),
        };
        match (read, byte) {
            (Ok(()), [TRANSPORT_VERSION]) => Ok(()),
            (Ok(()), [version]) => {
                let reason = format!("version {version}, this is version {TRANSPORT_VERSION}");
                Err(refuse(quinn, address, Refusal::Version { reason }))
            }
            (Err(Some(error)), _) => {
                Err(wire::unreachable_if_lost(wire::connection_error(&error, address, None), address))
            }
            (Err(None), _) => {
                Err(TransportError::Protocol { reason: "it broke off its first stream".to_owned() })
            }
        }
    }

    fn policy(&self, verified: Verified) -> Policy {
        Policy {
            here: self.me.role(),
            peer: verified.peer,
            standing: verified.standing,
            key: verified.key,
            members: Arc::clone(self.tls.trust().members()),
            lane_timeout: self.options.lane_timeout,
            lanes_max: self.options.lanes_max as usize,
        }
    }
}

/// Closes the connection, telling the peer why.
fn refuse(quinn: &quinn::Connection, address: &str, refusal: Refusal) -> TransportError {
    quinn.close(wire::close_code(refusal.kind()), wire::cut(&refusal.to_string()));
    TransportError::Refused { address: address.to_owned(), refusal }
}

/// Tells a dialling peer that it was accepted.
async fn welcome(quinn: &quinn::Connection) -> Result<(), quinn::ConnectionError> {
    let mut stream = quinn.open_uni().await?;
    if stream.write_all(&[TRANSPORT_VERSION]).await.is_err() || stream.finish().is_err() {
        return Err(quinn.close_reason().unwrap_or(quinn::ConnectionError::Reset));
    }
    Ok(())
}

/// What a failed handshake means: this side's own verdict on the certificate if there was one, else what the peer or network did.
fn handshake_error(error: &quinn::ConnectionError, verdict: &Verdict, address: &str) -> TransportError {
    match verdict.get() {
        Some(Err(refusal)) => {
            TransportError::Refused { address: address.to_owned(), refusal: refusal.clone() }
        }
        _ => wire::unreachable_if_lost(wire::connection_error(error, address, None), address),
    }
}

/// Takes incoming connections, each through a handshake of its own, until the endpoint is closed.
async fn accept_loop(
    endpoint: quinn::Endpoint,
    core: Arc<Core>,
    accepted: mpsc::Sender<Result<Arc<dyn Connection>, TransportError>>,
) {
    let mut running = JoinSet::new();
    if core.me.role() == PeerRole::Controller {
        running.spawn(look_up_controllers(Arc::clone(&core)));
    }
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Some(_) = running.join_next() => continue,
        };
        let Some(incoming) = incoming else { return };
        let source = incoming.remote_address().ip();
        match core.door.knock(source, incoming.remote_address_validated()) {
            Knock::Refuse => incoming.refuse(),
            Knock::Retry if incoming.may_retry() => drop(incoming.retry()),
            Knock::Admit | Knock::Retry => {
                let handshake = core.door.begin(source);
                let (core, accepted) = (Arc::clone(&core), accepted.clone());
                running.spawn(async move {
                    let connection = core.accept_incoming(incoming).await;
                    drop(handshake);
                    let _ = accepted.send(connection.map(|it| Arc::new(it) as Arc<dyn Connection>)).await;
                });
            }
        }
    }
}

/// Keeps the door told of where control nodes come from, as far as their names tell.
async fn look_up_controllers(core: Arc<Core>) {
    loop {
        let mut found = Vec::new();
        for controller in &core.controllers {
            if let Ok(addresses) = tokio::net::lookup_host(controller).await {
                found.extend(addresses.take(ADDRESSES_MAX).map(|address| address.ip()));
            }
        }
        core.door.set_controllers(found);
        tokio::time::sleep(LOOK_UP_INTERVAL).await;
    }
}

/// The streams and bytes that so many lanes need.
fn windows(options: &QuicOptions, lanes: u32) -> (u32, u64) {
    // quinn gives streams back in lots of an eighth: so many more that the last lanes are never waited for.
    let streams = lanes.saturating_add(lanes / 7 + 1);
    (streams, u64::from(options.lane_window_bytes) * u64::from(streams) * 2)
}

fn quic_config(options: &QuicOptions, lanes: u32) -> Result<quinn::TransportConfig, TransportError> {
    let refuse = |reason: &str| TransportError::Options { reason: reason.to_owned() };
    if options.keep_alive_interval.saturating_mul(3) > options.idle_timeout {
        return Err(refuse("keep_alive_interval must be at most a third of idle_timeout"));
    }
    if options.lanes_max == 0 || options.lane_window_bytes == 0 {
        return Err(refuse("lanes_max and lane_window_bytes must be at least 1"));
    }
    let idle = options
        .idle_timeout
        .try_into()
        .map_err(|_| refuse("idle_timeout is longer than QUIC can express"))?;
    let (streams_max, connection_window) = windows(options, lanes);
    let connection_window = quinn::VarInt::from_u64(connection_window)
        .map_err(|_| refuse("lanes_max times lane_window_bytes is more than QUIC can express"))?;
    let mut config = quinn::TransportConfig::default();
    config
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(options.keep_alive_interval))
        .initial_rtt(options.initial_rtt)
        .max_concurrent_bidi_streams(streams_max.into())
        .max_concurrent_uni_streams(1_u32.into())
        .stream_receive_window(options.lane_window_bytes.into())
        .receive_window(connection_window)
        .send_window(connection_window.into_inner())
        .datagram_receive_buffer_size(None)
        .enable_segmentation_offload(options.segmentation_offload);
    Ok(config)
}

#[cfg(test)]
mod tests;
