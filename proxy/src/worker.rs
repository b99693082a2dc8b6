//! The state of one core: everything a request touches that is not shared with other cores. It is reached by `Rc` and
//! never leaves its thread; what all workers share stands in [`WorkerShared`].

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Request, Response, StatusCode};

use crate::body::ResponseBody;
use crate::connection::{Application, ClientBody, ConnectionFacts, Stage, TunnelRun};
use crate::forwarded::Present;
use crate::listener::OpenEntryPoints;
use crate::live::{Live, Pin};
use crate::table::Table;
use crate::tls::{Choice, Hello, Loaded, TlsTable};
use crate::{error, forward, request};

mod accept;
mod load;
mod shed;
mod station;
mod threads;

pub(crate) use load::Loads;
pub use threads::{WorkerOptions, Workers};

/// What all workers are to do. The latest counts.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    open: Arc<OpenEntryPoints>,
    stage: Stage,
}

impl Default for Plan {
    fn default() -> Self {
        Self { open: Arc::default(), stage: Stage::Open }
    }
}

/// What all workers of a process share.
pub struct WorkerShared {
    /// The live table's cell.
    pub live: Arc<Live<Table>>,
    /// The request path's part.
    pub request: Arc<request::Shared>,
    /// How many workers there are.
    pub workers: usize,
    /// TLS where the table has no TLS object at all.
    plain_tls: TlsTable,
}

impl WorkerShared {
    /// For `workers` workers, which is also the number of seats at `live`. `generated` is the certificate for names without
    /// one, the same that tables are compiled with.
    pub fn new(
        live: Arc<Live<Table>>,
        request: Arc<request::Shared>,
        workers: usize,
        generated: &Arc<Loaded>,
    ) -> Arc<Self> {
        Arc::new(Self { live, request, workers, plain_tls: TlsTable::empty(generated) })
    }
}

/// Counts of one worker: written by it alone, read by scrapes. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Connections accepted or taken over.
    pub connections: AtomicU64,
    /// Requests handed to the request path.
    pub requests: AtomicU64,
    /// Requests that were refused before the request path saw them.
    pub refused: AtomicU64,
    /// Connections that were told that there are too many.
    pub shed: AtomicU64,
    /// Times that an idle connection let its buffers go.
    pub parked: AtomicU64,
    /// Panics that were caught: at a request's edge, else at its connection's.
    pub panics: AtomicU64,
}

impl Counters {
    /// Adds one, wrapping after 2^64. For the worker whose counts these are.
    pub fn add(counter: &AtomicU64) {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

/// One core's state. Not `Send`.
pub struct Worker {
    /// 0-based number of this worker.
    pub index: usize,
    /// What all workers share.
    pub shared: Arc<WorkerShared>,
    /// This worker's hold on the live table.
    pub table: Pin<Table>,
    /// What the request path keeps: pools, the access log's block.
    pub request: request::State,
    /// Counts.
    pub counters: Arc<Counters>,
}

impl Worker {
    /// The state of worker `index`, made on its own thread.
    pub fn new(index: usize, shared: Arc<WorkerShared>) -> Rc<Self> {
        let counters = Arc::<Counters>::default();
        shared.request.vitals.watch_worker(Arc::clone(&counters));
        Rc::new(Self {
            index,
            table: Pin::new(Arc::clone(&shared.live), index),
            request: request::State::new(Arc::clone(&shared.request), index, shared.workers),
            shared,
            counters,
        })
    }
}

impl Application for Worker {
    type Body = ResponseBody;

    async fn answer(
        self: &Rc<Self>,
        connection: &Rc<ConnectionFacts>,
        present: Present,
        request: Request<ClientBody>,
    ) -> Response<ResponseBody> {
        let table = self.table.current();
        request::answer(&self.request, &table, connection, present, request).await
    }

    fn take_tunnel(body: &mut ResponseBody) -> Option<TunnelRun> {
        let tunnel = body.take_tunnel()?;
        Some(Box::new(move |client| {
            Box::pin(async move {
                let end = tunnel.run(client, forward::tunnel::IDLE_TIMEOUT).await;
                tracing::debug!(?end, "a tunnel ended");
            })
        }))
    }

    fn failed(status: StatusCode) -> Response<ResponseBody> {
        error::bare(status, status.canonical_reason().unwrap_or_default())
    }

    fn tls(&self, entry_point: &str, hello: &Hello) -> Option<Choice> {
        let table = self.table.current();
        let entry_point = table.entry_point(entry_point)?;
        let options = entry_point.tls_options(hello.server_name.as_deref().unwrap_or_default());
        table.tls.as_deref().unwrap_or(&self.shared.plain_tls).choose(options, hello)
    }

    async fn follow(self: Rc<Self>) {
        tokio::join!(self.table.follow(), self.request.maintain());
    }

    fn drain(&self) {
        self.request.drain();
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

#[cfg(test)]
mod tests;
