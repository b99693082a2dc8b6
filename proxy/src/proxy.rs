//! The data plane of a process, put together: feed client, table thread, workers. Reads top to bottom as it starts and ends.
//! It must not need the control plane to serve: what lies on the disk is served before anyone is dialled.

use std::collections::BTreeMap;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ravelin_config::feed::{ControlPlane, Receiver, ReceiverLimits};
use ravelin_config::{ConfigMap, GenerationId, SharedRecords};
use ravelin_transport::backoff::{Backoff, BackoffOptions};
use ravelin_transport::{Target, Transport};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

use futures_util::FutureExt;

use crate::api;
use crate::capacity;
use crate::compile::{Compiler, Process};
use crate::failure::{Failures, Part};
use crate::feed_client::{FeedClient, FeedStatus, FeedTimes, Known};
use crate::last_good::{KeptControlPlane, LastGood, LastGoodError, Loaded, Sealing};
use crate::listener::Status;
use crate::live::Live;
use crate::request;
use crate::rest::Sink;
use crate::table::Table;
use crate::tls::TlsError;
use crate::worker::{Worker, WorkerOptions, WorkerShared, Workers};

mod tables;

use tables::{Mailbox, Tables, Told};

/// Folder of the last good generations below the data directory.
const LAST_GOOD_FOLDER: &str = "last-good";
/// How long the end waits for a disk.
const TABLES_END_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the end waits for the access log's disk.
const LOG_END_TIME_MAX: Duration = Duration::from_secs(5);
/// Verdicts on their way to the feed client.
const VERDICTS_MAX: usize = 16;
/// Waits of a feed client that has panicked.
const AFTER_PANIC: BackoffOptions = BackoffOptions {
    first: Duration::from_millis(100),
    max: Duration::from_secs(60),
    stable_after: Duration::from_secs(60),
};

/// How a proxy is started.
#[derive(Clone)]
pub struct ProxyOptions {
    /// The cluster it belongs to; generations of others are refused.
    pub cluster: [u8; 16],
    /// Its number.
    pub node: u64,
    /// Worker threads.
    pub workers: usize,
    /// Where it keeps files; without it nothing is kept.
    pub data_dir: Option<PathBuf>,
    /// Seals what is kept; without it nothing is kept.
    pub sealing_key: Option<[u8; 32]>,
    /// Where this process listens for an entry point, in place of the address in the generation.
    pub entry_point_addresses: BTreeMap<String, String>,
    /// Who takes the configurations that clients put to `rest@internal`; nobody in a cluster.
    pub rest: Option<Arc<Sink>>,
    /// Records that another part of this process holds; none in a process of its own.
    pub shared: SharedRecords,
    /// What this build calls itself to the control plane.
    pub build: String,
}

impl ProxyOptions {
    /// A worker per core, nothing kept on disk, node 1.
    pub fn new(cluster: [u8; 16]) -> Self {
        Self {
            cluster,
            node: 1,
            workers: WorkerOptions::for_this_machine().workers,
            data_dir: None,
            sealing_key: None,
            entry_point_addresses: BTreeMap::new(),
            rest: None,
            shared: SharedRecords::default(),
            build: concat!("ravelin ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Why no requests should be sent to a proxy that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// Nothing came from the control plane yet, and nothing good lay on the disk.
    #[error("no generation is served yet")]
    Nothing,
    /// It was told to end.
    #[error("connections are being drained")]
    Draining,
    /// It drains its connections next.
    #[error("a part has failed that nothing goes on without")]
    Failed,
}

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory of last good generations cannot be used.
    #[error("the last good generations cannot be kept")]
    LastGood(#[from] LastGoodError),
    /// No default certificate can be generated.
    #[error("no default certificate can be generated")]
    Certificate(#[from] TlsError),
    /// A thread cannot be started.
    #[error("a thread cannot be started")]
    Thread(#[source] io::Error),
}

/// A proxy; [`Proxy::start`] is all there is.
pub struct Proxy;

/// A running proxy. Dropping it ends everything at once.
pub struct ProxyHandle {
    live: Arc<Live<Table>>,
    workers: Arc<Mutex<Workers>>,
    request: Arc<request::Shared>,
    mailbox: Arc<Mailbox>,
    feed: JoinHandle<()>,
    tables: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
    draining: AtomicBool,
    failures: Failures,
    serving: watch::Receiver<Option<GenerationId>>,
    feed_status: watch::Receiver<FeedStatus>,
    entry_points: watch::Receiver<BTreeMap<Arc<str>, Status>>,
}

impl Proxy {
    /// Starts a proxy within a tokio runtime: it serves what it finds on its disk, and follows the control plane from then on.
    /// The workers have threads and runtimes of their own.
    ///
    /// # Errors
    /// [`StartError`]. Damaged files of last good generations are logged, never an error.
    pub fn start(
        options: ProxyOptions,
        transport: Arc<dyn Transport>,
        controllers: Vec<Target>,
    ) -> Result<ProxyHandle, StartError> {
        api::started();
        let (last_good, found) = last_good(&options)?.unzip();
        let (newest, mark) = found.map(|found| (found.newest, found.mark)).unwrap_or_default();
        let process = Arc::new(Process::new(options.workers.max(1))?);
        let live = Live::new(Arc::new(Table::empty()), options.workers.max(1));
        let count = options.workers.max(1);
        let request = request_paths(&options, count);
        let workers = start_workers(&live, &request, count, &process)?;
        let failures = workers.failures().clone();
        let workers = Arc::new(Mutex::new(workers));

        let (verdict_sender, verdicts) = mpsc::channel(VERDICTS_MAX);
        let (serving_sender, serving) = watch::channel(None);
        let (status_sender, feed_status) = watch::channel(FeedStatus::default());
        let (entry_points_sender, entry_points) = watch::channel(BTreeMap::new());
        let mailbox = Arc::new(Mailbox::with(newest.clone()));
        let tables = Tables {
            compiler: Compiler::new(process),
            live: Arc::clone(&live),
            workers: Arc::clone(&workers),
            request: Arc::clone(&request),
            worker_count: count,
            addresses: options.entry_point_addresses.clone(),
            last_good,
            kept: newest.as_ref().map(|(generation, _)| *generation),
            told: Told::default(),
            published: tables::announcing(&live, serving_sender, failures.clone()),
            mailbox: Arc::clone(&mailbox),
            verdicts: verdict_sender,
            entry_points: entry_points_sender,
        };
        let tables = start_tables(tables, failures.clone())?;

        let offers = Arc::clone(&mailbox);
        let client = FeedClient {
            transport,
            controllers,
            cluster: options.cluster,
            known: known(&options),
            view: String::new(),
            build: options.build.clone(),
            instance: rand::random(),
            receiver: receiver(options.cluster, newest, mark, options.shared),
            offer: Box::new(move |generation, map| offers.offer(generation, map)),
            verdicts,
            serving: serving.clone(),
            status: status_sender,
            seed: options.node,
            times: FeedTimes::default(),
        };
        Ok(ProxyHandle {
            live,
            workers,
            request,
            mailbox,
            feed: follow_feed(client, failures.clone()),
            tables: std::sync::Mutex::new(Some(tables)),
            draining: AtomicBool::new(false),
            failures,
            serving,
            feed_status,
            entry_points,
        })
    }
}

fn start_tables(tables: Tables, failures: Failures) -> Result<std::thread::JoinHandle<()>, StartError> {
    let run = move || tables.run(&failures);
    std::thread::Builder::new().name("tables".to_owned()).spawn(run).map_err(StartError::Thread)
}

/// Follows the control plane until the process ends. After a panic it begins anew, later each time that follows soon.
fn follow_feed(mut client: FeedClient, failures: Failures) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (mut waits, start) = (Backoff::new(AFTER_PANIC, client.seed), std::time::Instant::now());
        loop {
            waits.connected(start.elapsed());
            let Err(panic) = AssertUnwindSafe(client.run()).catch_unwind().await else { return };
            let what = failures.survived(Part::FeedClient, &*panic);
            if !client.begin_anew(what, waits.failed(start.elapsed())).await {
                return;
            }
        }
    })
}

/// What takes generations in: nothing older than what was served before this process began, even where that was not kept.
fn receiver(
    cluster: [u8; 16],
    newest: Option<(GenerationId, ConfigMap)>,
    mark: Option<GenerationId>,
    shared: SharedRecords,
) -> Receiver {
    let mut receiver = Receiver::new(cluster, ReceiverLimits::default(), newest);
    receiver.share(shared);
    if let Some(mark) = mark {
        receiver.raise_floor(mark);
    }
    if let Some(served) = receiver.floor() {
        let found = receiver.held().map(|held| held.to_string());
        let found = found.as_deref().unwrap_or("nothing");
        tracing::error!(
            %served, found,
            "a newer generation was served here than is found on the disk; nothing older than that one is taken from a control node"
        );
    }
    receiver
}

/// What the request paths of all workers share.
fn request_paths(options: &ProxyOptions, workers: usize) -> Arc<request::Shared> {
    let requests_max = capacity::requests_max(workers);
    tracing::info!(requests_max, "overload: requests that wait for servers beyond these are answered 503");
    Arc::new(request::Shared::bounded(options.rest.clone(), requests_max))
}

fn start_workers(
    live: &Arc<Live<Table>>,
    request: &Arc<request::Shared>,
    workers: usize,
    process: &Process,
) -> Result<Workers, StartError> {
    let shared = WorkerShared::new(Arc::clone(live), Arc::clone(request), workers, &process.generated);
    let options = WorkerOptions { workers, ..WorkerOptions::for_this_machine() };
    let workers = Workers::start(options, move |index| Worker::new(index, Arc::clone(&shared)));
    let workers = workers.map_err(StartError::Thread)?;
    request.vitals.watch_loads(Arc::clone(workers.loads()));
    request.vitals.watch_failures(workers.failures().clone());
    process.checks.watch_failures(workers.failures().clone());
    process.workloads.watch_failures(workers.failures().clone());
    Ok(workers)
}

/// Opens the last good generations, if they are kept at all.
fn last_good(options: &ProxyOptions) -> Result<Option<(LastGood, Loaded)>, StartError> {
    let (Some(data_dir), Some(key)) = (&options.data_dir, options.sealing_key) else { return Ok(None) };
    let sealing = Sealing { key, cluster: options.cluster, node: options.node };
    let (store, loaded) = LastGood::open(&data_dir.join(LAST_GOOD_FOLDER), sealing)?;
    for problem in &loaded.problems {
        tracing::error!(error = %problem, "a last good generation cannot be used; an older one is tried");
    }
    match &loaded.newest {
        Some((generation, _)) => tracing::info!(%generation, "last good generation found"),
        None => tracing::info!("no last good generation yet"),
    }
    Ok(Some((store, loaded)))
}

/// Where the control nodes are, as one of them said to a process before this one, and where it is kept for the next.
fn known(options: &ProxyOptions) -> Known {
    let (Some(data_dir), Some(key)) = (&options.data_dir, options.sealing_key) else {
        return Known::new(None, Box::new(drop));
    };
    let sealing = Sealing { key, cluster: options.cluster, node: options.node };
    let kept = KeptControlPlane::new(&data_dir.join(LAST_GOOD_FOLDER), &sealing);
    let told = kept.read().unwrap_or_else(|error| {
        tracing::error!(%error, "where control nodes were last is not known; they are looked for where the identity file says");
        None
    });
    // One at a time and in order; only the newest of those that wait for a slow disk is written.
    let (newest, mut said) = watch::channel(None::<ControlPlane>);
    let kept = Arc::new(kept);
    tokio::spawn(async move {
        while said.changed().await.is_ok() {
            let Some(told) = said.borrow_and_update().clone() else { continue };
            let kept = Arc::clone(&kept);
            match tokio::task::spawn_blocking(move || kept.write(told)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "where control nodes are could not be kept for the next start");
                }
                Err(error) => tracing::error!(%error, "where control nodes are is not kept any more"),
            }
        }
    });
    Known::new(told, Box::new(move |told| drop(newest.send_replace(Some(told)))))
}

impl ProxyHandle {
    /// The generation that every worker's next request gets.
    pub fn serving(&self) -> watch::Receiver<Option<GenerationId>> {
        self.serving.clone()
    }

    /// How this proxy stands to the control plane.
    pub fn feed_status(&self) -> watch::Receiver<FeedStatus> {
        self.feed_status.clone()
    }

    /// Where each entry point listens, or why it does not.
    pub fn entry_points(&self) -> watch::Receiver<BTreeMap<Arc<str>, Status>> {
        self.entry_points.clone()
    }

    /// The table in force.
    pub fn table(&self) -> Arc<Table> {
        self.live.current()
    }

    /// Whether it makes sense to send requests here: a generation is served and the process does not end. Alive is another
    /// question.
    pub fn ready(&self) -> bool {
        self.unready().is_none()
    }

    /// Why no requests should be sent here, if so.
    pub fn unready(&self) -> Option<Unready> {
        if self.draining.load(Ordering::Acquire) {
            return Some(Unready::Draining);
        }
        if self.failures.any() {
            return Some(Unready::Failed);
        }
        self.serving.borrow().is_none().then_some(Unready::Nothing)
    }

    /// Waits until a part fails that nothing goes on without, and says which: the process is to end then. For ever if none
    /// does. Cancel safe.
    pub async fn failed(&self) -> Arc<str> {
        self.failures.first().await
    }

    /// How often a part beside the workers has panicked and begun anew, while what was served went on.
    pub fn panics_survived(&self) -> u64 {
        self.failures.survived_by_part().map(|(_, count)| count).sum()
    }

    /// Opens the access log anew, after its file was renamed. Within a tokio runtime; returns at once, as the disk may hang.
    pub fn reopen_access_log(&self) {
        if let Some(log) = self.request.access_log() {
            drop(tokio::task::spawn_blocking(move || log.reopen()));
        }
    }

    /// Ends in order: not ready at once, connections as their entry points' grace times say, then everything else. Returns how
    /// many connections had to be cut. Cancel safe; another call goes on.
    pub async fn drain(&self) -> usize {
        self.draining.store(true, Ordering::Release);
        self.request.set_terminating();
        let cut = self.workers.lock().await.drain().await;
        self.end().await;
        self.tables_ended().await;
        cut
    }

    /// Ends at once: connections are cut.
    pub async fn shutdown(&self) {
        self.draining.store(true, Ordering::Release);
        // First the workers: the log's end is then what they have given it.
        self.workers.lock().await.close().await;
        self.end().await;
        self.tables_ended().await;
    }

    /// Waits, for a while, until the table thread has ended: it may be writing the last good generation.
    async fn tables_ended(&self) {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(tables) = tables else { return };
        let ended = tokio::task::spawn_blocking(move || drop(tables.join()));
        if tokio::time::timeout(TABLES_END_TIME_MAX, ended).await.is_err() {
            tracing::error!("the disk took too long: the last good generation may be an older one");
        }
    }

    async fn end(&self) {
        self.feed.abort();
        self.mailbox.close();
        // The log's last lines are on the disk before the process says that it has ended, unless the disk hangs.
        let Some(log) = self.request.access_log() else { return };
        let flushed = tokio::task::spawn_blocking(move || log.flush());
        if tokio::time::timeout(LOG_END_TIME_MAX, flushed).await.is_err() {
            tracing::error!("the disk took too long: the end of the access log may be missing");
        }
    }
}

impl Drop for ProxyHandle {
    fn drop(&mut self) {
        self.feed.abort();
        self.mailbox.close();
    }
}

#[cfg(test)]
mod tests;
