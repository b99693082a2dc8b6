//! `ravelin controller`: a node of the control plane, from its identity file to its end. It must not open
//! a traffic port.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use anyhow::{Context, bail};
use ravelin_cluster::shell::{self, ControllerOptions};
use ravelin_transport::identity::Identity;
use ravelin_transport::quic::{QuicOptions, QuicTransport};
use ravelin_transport::{PeerRole, Transport};
use tokio::signal::unix::{SignalKind, signal};

use crate::{cli, exit, logging};

/// Runs until SIGTERM, SIGINT, or the node stops for its own safety. SIGHUP makes the providers read anew.
///
/// # Errors
/// The node does not start, or has stopped for its own safety.
pub(crate) fn run(options: cli::ControllerOptions) -> anyhow::Result<()> {
    logging::start(&options.log.level, options.log.json)?;
    exit::runtime()?.block_on(async {
        let identity = Identity::load(&options.identity)?;
        if identity.role() != PeerRole::Controller {
            bail!(
                "{}: the identity of a {}, not of a controller",
                options.identity.display(),
                identity.role()
            );
        }
        let listen = match options.listen {
            Some(listen) => listen,
            None => own_address(&identity)?,
        };
        let transport: Arc<dyn Transport> =
            Arc::new(QuicTransport::bind(&identity, listen, QuicOptions::default())?);
        let started = ControllerOptions::of_identity(&identity, transport, options.data.clone());
        let node = shell::start(started).await.with_context(|| format!("controller-{}", identity.node()))?;
        tracing::info!(node = identity.node(), %listen, "controller started");
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let mut hangup = signal(SignalKind::hangup()).context("SIGHUP")?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = tokio::signal::ctrl_c() => break,
                _ = hangup.recv() => node.reload(),
                reason = node.ended() => bail!("the node has stopped: {}", reason.unwrap_or_default()),
            }
        }
        node.shutdown().await;
        Ok(())
    })
}

/// The address that the identity file gives this node, resolved.
fn own_address(identity: &Identity) -> anyhow::Result<SocketAddr> {
    let own = identity.controllers().iter().find(|controller| controller.node == identity.node());
    let address = &own.context("the identity file does not list its own node")?.address;
    let mut resolved = address.to_socket_addrs().with_context(|| format!("{address}: use --listen"))?;
    resolved.next().with_context(|| format!("{address} has no address: use --listen"))
}
