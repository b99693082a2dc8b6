//! The shell around a node: gives it sockets, files, threads and time, and nothing else. One task owns the node; the log
//! has a thread of its own, and so has the check of configuration.
//!
//! It must not decide anything that the simulator could not see: decisions live in `node`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc as threads;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ravelin_config::{Draft, GenerationId, SealingKeys, SharedRecords};
use ravelin_consensus::{NodeId, Params};
use ravelin_transport::Transport;
use ravelin_transport::identity::Identity;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::members::{Contact, Contacts};
use crate::node::NodeOptions;
use crate::node::boot::{BootError, Booted, Member, boot};
use crate::node::event::{Event, LinkId};
use crate::node::wire::{self, Frame, Sender};
use crate::request::{Envelope, Request, RequestId, Response};
use crate::storage::{Disk, MemoryDisk, RealDisk, RealDiskError, Release, WalLimits};
use crate::trace::Recorder;

mod accept;
pub mod client;
mod disk;
mod driver;
mod group;
mod muffler;
mod peer;
mod peers;
mod providers;
mod raft_lanes;
mod snapshot;

use accept::{Budget, Door, LinkOut, Share};
use driver::{Clock, Driver};
use peers::Peers;
use providers::Providers;

/// Messages that wait for the node; whoever sends more waits.
const INBOX_MAX: usize = 4096;
/// Messages of links that wait for the node, apart from the others: they come from proxies and operators.
const CROWD_MAX: usize = 4096;
/// Reserved length of a log segment without a data directory.
const MEMORY_SEGMENT_BYTES: u64 = 256 << 10;
/// Time beyond a request's own deadline that this process waits for the node's word.
const ANSWER_GRACE: Duration = Duration::from_millis(500);
/// Longest wait at the end for work that still uses the data directory: the longest is the writing of a snapshot.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(20);

/// What a control node is started with.
pub struct ControllerOptions {
    /// Who it is, and who the voters are.
    pub member: Member,
    /// Where the other control nodes are dialled, until the log says more: number and address. Its own entry is ignored.
    pub controllers: Vec<(u64, String)>,
    /// Their public keys' SHA-256, where they are known by keys.
    pub keys: BTreeMap<u64, [u8; 32]>,
    /// Where this node is dialled, which it tells the others; none keeps it to itself.
    pub announced: Option<String>,
    /// Its data directory; without one everything is in memory and gone at the end (standalone).
    pub data_dir: Option<PathBuf>,
    /// How it is reached and reaches others: already listening.
    pub transport: Arc<dyn Transport>,
    /// Static objects that the configuration holds from the start, and no other static ones (standalone).
    pub static_objects: Option<Arc<Draft>>,
    /// Where the applied records are held for other parts of the process; none where it has none.
    pub shared: Option<SharedRecords>,
    /// Timings and bounds other than the usual ones.
    pub params: Option<Params>,
    /// The keys that the cluster's secrets are sealed with, the same on all its control nodes.
    pub sealing: SealingKeys,
}

impl ControllerOptions {
    /// The options of a cluster's node, from its identity file.
    ///
    /// # Panics
    /// If the identity is not that of a controller: every controller's holds a sealing key.
    pub fn of_identity(identity: &Identity, transport: Arc<dyn Transport>, data_dir: PathBuf) -> Self {
        let controllers = identity.controllers();
        let keys: Vec<[u8; 32]> = identity.sealing_keys().copied().collect();
        let sealing = SealingKeys::new(identity.cluster().0, &keys);
        Self {
            sealing: sealing.expect("a controller's identity holds a sealing key"),
            member: Member {
                cluster: identity.cluster().0,
                recovery_epoch: identity.recovery_epoch(),
                node: identity.node(),
                incarnation: identity.incarnation(),
                voters: identity
                    .founders()
                    .iter()
                    .map(|founder| (founder.node, founder.incarnation))
                    .collect(),
            },
            controllers: controllers.iter().map(|peer| (peer.node, peer.address.clone())).collect(),
            keys: controllers.iter().map(|peer| (peer.node, peer.public_key_sha256)).collect(),
            announced: controllers
                .iter()
                .find(|peer| peer.node == identity.node())
                .map(|own| own.address.clone()),
            data_dir: Some(data_dir),
            transport,
            static_objects: None,
            shared: None,
            params: None,
        }
    }

    /// The options of standalone: a lone voter in memory, with a sealing key drawn for its life.
    pub fn standalone(cluster: [u8; 16], transport: Arc<dyn Transport>, static_objects: Arc<Draft>) -> Self {
        Self {
            sealing: SealingKeys::new(cluster, &[rand::random()]).expect("one key"),
            member: Member::alone(cluster),
            controllers: Vec::new(),
            keys: BTreeMap::new(),
            announced: None,
            data_dir: None,
            transport,
            static_objects: Some(static_objects),
            shared: None,
            params: None,
        }
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be taken.
    #[error(transparent)]
    Disk(#[from] RealDiskError),
    /// What it holds cannot be used.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The trace that was asked for cannot be written.
    #[error("the trace cannot be made")]
    Trace(#[source] std::io::Error),
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// What the tasks tell the node's task.
enum Message {
    Event(Event),
    /// A frame from a peer; holds its share of the inbox's bytes until the node has taken it.
    Frame {
        event: Event,
        _share: Share,
    },
    Link {
        link: LinkId,
        out: LinkOut,
        opened: Event,
    },
    LinkOver(LinkId),
    Ask {
        envelope: Envelope,
        answer: oneshot::Sender<Response>,
    },
    /// Whoever does this work has ended without doing it: what was asked of it may never be answered.
    WorkLost(&'static str),
    Stop,
}

/// Starts a control node on the current tokio runtime. Ready to take requests when it returns.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub async fn start(options: ControllerOptions) -> Result<ClusterHandle, StartError> {
    start_recorded(options, None).await
}

/// As [`start`]; what the consensus core is given and answers is taken down in this file, for a
/// [replay](crate::trace::replay).
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub async fn start_recorded(
    options: ControllerOptions,
    trace: Option<PathBuf>,
) -> Result<ClusterHandle, StartError> {
    let contacts = contacts(&options);
    let ControllerOptions { member, data_dir, transport, static_objects, shared, params, sealing, .. } =
        options;
    // Without a directory there is no other life, and a lone voter has no other node: nobody will read the log.
    let forgets_log = data_dir.is_none() && member.voters.len() == 1;
    let params = params.unwrap_or_else(|| {
        let usual = member.params();
        // What followers may still need of a log that a snapshot covers is needed by nobody there.
        let log_trailing_bytes_max = if forgets_log { 0 } else { usual.log_trailing_bytes_max };
        Params { log_trailing_bytes_max, ..usual }
    });
    let greeting = greeting(&params, &contacts);
    let node_options =
        NodeOptions { static_objects, contacts, forgets_log, ..NodeOptions::new(params, sealing.clone()) };
    // Opening a large log takes a while and blocks.
    let booted = tokio::task::spawn_blocking(move || {
        let (disk, limits, release): (Arc<dyn Disk>, WalLimits, Option<Release>) = match &data_dir {
            Some(path) => {
                let (disk, release) = RealDisk::open_awaited(path)?;
                (Arc::new(disk), WalLimits::default(), Some(release))
            }
            None => {
                let disk = if forgets_log { MemoryDisk::of_heads() } else { MemoryDisk::new() };
                // Reserved space is memory here: little of it.
                (Arc::new(disk), WalLimits { segment_bytes: MEMORY_SEGMENT_BYTES }, None)
            }
        };
        Ok::<_, StartError>((boot(disk, limits, &member, node_options, rand::random())?, release))
    });
    let (mut booted, release) =
        booted.await.map_err(|error| StartError::Thread(std::io::Error::other(error)))??;
    if let Some(path) = &trace {
        booted.node.record(Recorder::open(booted.node.core(), path).map_err(StartError::Trace)?);
    }
    if booted.torn_bytes > 0 {
        tracing::info!(bytes = booted.torn_bytes, "an interrupted write was cut off the end of the log");
    }
    let (inbox, received) = mpsc::channel(INBOX_MAX);
    let (crowd, crowd_received) = mpsc::channel(CROWD_MAX);
    let stop = CancellationToken::new();
    let peers = Peers::new(Arc::clone(&transport), inbox.clone(), stop.clone(), greeting);
    let door = Door {
        inbox: inbox.clone(),
        crowd,
        snapshots: booted.snapshots.clone(),
        links: Arc::new(AtomicU64::new(0)),
        budget: Budget::new(),
        raft_lanes: raft_lanes::RaftLanes::default(),
        stop: stop.clone(),
    };
    tokio::spawn(accept::accept(Arc::clone(&transport), door));
    let received = Received { inbox: received, crowd: crowd_received };
    spawn_driver(booted, (sealing, shared), peers, inbox, received, Ending { transport, stop, release })
}

/// What the identity file says of where control nodes are.
fn contacts(options: &ControllerOptions) -> Contacts {
    let key = |node: &u64| options.keys.get(node).copied();
    let me = options.member.node;
    let others = options.controllers.iter().filter(|(node, _)| *node != me);
    let hint = |(node, address): &(u64, String)| {
        (NodeId(*node), Contact { address: address.clone(), public_key_sha256: key(node) })
    };
    let own = |address: &String| Contact { address: address.clone(), public_key_sha256: key(&me) };
    Contacts { own: options.announced.as_ref().map(own), hints: others.map(hint).collect() }
}

/// What this node says first to every control node that it dials.
fn greeting(params: &Params, contacts: &Contacts) -> Option<Bytes> {
    let Params { cluster, recovery_epoch, incarnation, .. } = *params;
    let address = contacts.own.as_ref()?.address.clone();
    wire::encode(&Frame::Greeting(Sender { cluster, recovery_epoch, incarnation }, address)).ok()
}

/// What the node's task takes its messages from: links apart, so that nothing of the node's own waits behind them.
struct Received {
    inbox: mpsc::Receiver<Message>,
    crowd: mpsc::Receiver<Message>,
}

/// What has to end with the node.
struct Ending {
    transport: Arc<dyn Transport>,
    stop: CancellationToken,
    /// Tells when the data directory is free; none where there is none.
    release: Option<Release>,
}

impl Ending {
    /// Returns once all that worked for the node has ended: whoever starts the next one on its data directory then finds
    /// it free.
    async fn carry_out(self, log_thread: std::thread::JoinHandle<()>) {
        self.stop.cancel();
        self.transport.shutdown().await;
        let release = self.release;
        let waiting = move || {
            // The log's thread ends once the driver has let go of its end: then everything is on disk.
            drop(log_thread.join());
            release.is_none_or(|release| release.wait(RELEASE_TIMEOUT))
        };
        if let Ok(false) = tokio::task::spawn_blocking(waiting).await {
            tracing::warn!(
                seconds = RELEASE_TIMEOUT.as_secs(),
                "the data directory is still in use by this node's work"
            );
        }
    }
}

fn spawn_driver(
    booted: Booted,
    (sealing, shared): (SealingKeys, Option<SharedRecords>),
    peers: Peers,
    inbox: mpsc::Sender<Message>,
    received: Received,
    ending: Ending,
) -> Result<ClusterHandle, StartError> {
    let Booted { node, log, snapshots, .. } = booted;
    let (log_work, log_jobs) = threads::sync_channel(disk::LOG_WORK_MAX);
    let (checks, check_jobs) = threads::sync_channel(disk::CHECKS_MAX);
    let log_thread = thread("ravelin-log", inbox.clone(), |outbox| disk::run_log(log, log_jobs, outbox))?;
    thread("ravelin-check", inbox.clone(), |outbox| disk::run_checks(sealing, check_jobs, outbox))?;
    let (generation_sender, generation) = watch::channel(None);
    let (reload, reloads) = watch::channel(0);
    let (put, puts) = watch::channel(None);
    let (ended_sender, ended) = watch::channel(None);
    let driver = Driver {
        node,
        clock: Clock::new(),
        inbox: received.inbox,
        crowd: received.crowd,
        outbox: inbox.clone(),
        peers,
        links: BTreeMap::new(),
        tickets: BTreeMap::new(),
        ticket: 0,
        log: log_work,
        checks,
        snapshots,
        providers: Providers::new(inbox.clone(), reloads, puts),
        generation: generation_sender,
        shared,
        wake: None,
    };
    let task = tokio::spawn(async move {
        let halted = driver.run().await;
        if let Some(reason) = &halted {
            tracing::error!(reason, "the node has stopped for its own safety");
        }
        ending.carry_out(log_thread).await;
        ended_sender.send_replace(Some(halted));
    });
    Ok(ClusterHandle { inbox, generation, reload, put, ended, task: Mutex::new(Some(task)) })
}

/// Starts a thread that works for the node. However it ends, the node hears of it, unless that has ended before.
fn thread(
    name: &'static str,
    outbox: mpsc::Sender<Message>,
    work: impl FnOnce(mpsc::Sender<Message>) + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, StartError> {
    let farewell = disk::Farewell { what: name, outbox: outbox.clone() };
    let run = move || {
        let _farewell = farewell;
        work(outbox);
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(StartError::Thread)
}

/// A running control node, as its own process sees it. Dropping it leaves the node running; see [`Self::shutdown`].
pub struct ClusterHandle {
    inbox: mpsc::Sender<Message>,
    generation: watch::Receiver<Option<GenerationId>>,
    reload: watch::Sender<u64>,
    put: watch::Sender<Option<Arc<Draft>>>,
    ended: watch::Receiver<Option<Option<String>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl ClusterHandle {
    /// Asks the node. Always answers: by itself a little after the timeout, if the node does not.
    pub async fn request(&self, request: Request, timeout: Duration) -> Response {
        let changes = request.changes_state();
        let envelope = Envelope {
            id: RequestId(rand::random()),
            hops: 0,
            deadline_millis: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
            author: "process".to_owned(),
            request,
            since: None,
        };
        let (answer, answered) = oneshot::channel();
        if self.inbox.send(Message::Ask { envelope, answer }).await.is_err() {
            return Response::Unavailable { reason: "the node has stopped".to_owned() };
        }
        match tokio::time::timeout(timeout + ANSWER_GRACE, answered).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) | Err(_) if changes => Response::Unknown {
                reason: "the node gave no answer; the change may still take effect".to_owned(),
            },
            Ok(Err(_)) | Err(_) => Response::Unavailable { reason: "the node gave no answer".to_owned() },
        }
    }

    /// The generation that the node feeds, as it changes; none before the first configuration.
    pub fn generation(&self) -> watch::Receiver<Option<GenerationId>> {
        self.generation.clone()
    }

    /// Makes the providers read everything anew (SIGHUP).
    pub fn reload(&self) {
        self.reload.send_modify(|count| *count += 1);
    }

    /// Where what is put by REST goes: the newest draft stands for the provider `rest` while it runs here.
    pub fn rest(&self) -> watch::Sender<Option<Arc<Draft>>> {
        self.put.clone()
    }

    /// Waits until the node has ended; the reason if it stopped for its own safety.
    pub async fn ended(&self) -> Option<String> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().flatten(),
            Err(_) => Some("the node's task ended without a word".to_owned()),
        }
    }

    /// Ends the node in order: everything accepted is on disk when it returns, and the data directory is free.
    pub async fn shutdown(&self) {
        // If the node has ended already there is nobody to tell.
        drop(self.inbox.send(Message::Stop).await);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            drop(task.await);
        }
    }
}

#[cfg(test)]
mod tests;
