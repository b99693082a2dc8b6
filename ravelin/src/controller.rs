//! `ravelin controller`: a node of the control plane, from its identity file to its end. It must not open
//! a traffic port.

use std::fs::File;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use ravelin_cluster::shell::{self, ControllerOptions};
use ravelin_cluster::storage::directory::VERSION_NAME;
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
                "{}: this identity is for a {}, not for a controller",
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
        refuse_wiped(&options.identity, &options.data)?;
        let started = ControllerOptions::of_identity(&identity, transport, options.data.clone());
        // Before anything is answered: what nobody takes up ends the process.
        let mut hangup = signal(SignalKind::hangup()).context("SIGHUP")?;
        let node = shell::start_recorded(started, options.trace_file)
            .await
            .with_context(|| format!("controller-{}", identity.node()))?;
        tracing::info!(node = identity.node(), %listen, "controller started");
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
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

/// Refuses to start on an empty data directory under an identity that has run before: such a node could vote a second
/// time in a term, and lose what it had acknowledged. The mark stands beside the identity file, before the first vote.
fn refuse_wiped(identity: &Path, data: &Path) -> anyhow::Result<()> {
    let mut mark = identity.as_os_str().to_owned();
    mark.push(".started");
    let mark = Path::new(&mark);
    let has_log = data.join(VERSION_NAME).exists();
    if has_log && mark.exists() {
        return Ok(());
    }
    if mark.exists() {
        bail!(
            "{} holds no log, but the identity {} has run before: a control node that lost its log must not come back \
             under its old identity, for it could vote twice. Give --data the directory that it ran with; if that is \
             lost, the node must be replaced. If it never took part in the cluster, remove {}",
            data.display(),
            identity.display(),
            mark.display()
        );
    }
    // A directory that cannot be used must not cost the identity its first start.
    std::fs::create_dir_all(data)
        .and_then(|()| tempfile::tempfile_in(data).map(drop))
        .with_context(|| format!("{} cannot be used as the data directory", data.display()))?;
    let written = File::create(mark).and_then(|file| file.sync_all());
    written.with_context(|| format!("{} could not be written beside the identity file", mark.display()))
}

/// The address that the identity file gives this node, resolved.
fn own_address(identity: &Identity) -> anyhow::Result<SocketAddr> {
    let own = identity.controllers().iter().find(|controller| controller.node == identity.node());
    let address = &own.context("the identity file does not list its own node")?.address;
    let mut resolved = address.to_socket_addrs().with_context(|| format!("{address}: use --listen"))?;
    resolved.next().with_context(|| format!("{address} has no address: use --listen"))
}
