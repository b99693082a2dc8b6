//! The table thread: turns each offered generation into the live table, opens its entry points, keeps it on disk, and frees
//! what is retired. It must not run on a worker; everything slow of a change happens here.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use ravelin_config::{ConfigMap, GenerationId, static_config};
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};

use crate::access_log::AccessLog;
use crate::compile::{Compiler, Refusal};
use crate::failure::{Failures, Part};
use crate::feed_client::Verdict;
use crate::last_good::LastGood;
use crate::listener::{Status, Wanted};
use crate::live::Live;
use crate::request;
use crate::table::Table;
use crate::worker::Workers;

/// How soon retired tables are looked at again.
const RETIRED_INTERVAL: Duration = Duration::from_millis(250);
/// How soon what failed is tried again: an entry point that could not be opened, a generation that could not be kept.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Tables beside the live one from which on it is told how many there are.
const HELD_TOLD_MIN: usize = 16;

/// Where the table thread says what it has published, under which sequence number.
pub(super) fn announcing(
    live: &Arc<Live<Table>>,
    serving: watch::Sender<Option<GenerationId>>,
    failures: Failures,
) -> watch::Sender<Option<(GenerationId, u64)>> {
    let (published, mut to_announce) = watch::channel(None);
    let live = Arc::clone(live);
    drop(tokio::spawn(async move {
        while let Err(panic) =
            AssertUnwindSafe(announce(&live, &mut to_announce, &serving)).catch_unwind().await
        {
            failures.survived(Part::Announcer, &*panic);
            tokio::time::sleep(RETRY_INTERVAL).await;
            to_announce.mark_changed();
        }
    }));
    published
}

/// Announces each generation as served once every worker has taken it, one after another: the newest that was published
/// meanwhile is next. Ends with the table thread.
async fn announce(
    live: &Live<Table>,
    published: &mut watch::Receiver<Option<(GenerationId, u64)>>,
    serving: &watch::Sender<Option<GenerationId>>,
) {
    while published.changed().await.is_ok() {
        let Some((generation, sequence)) = *published.borrow_and_update() else { continue };
        live.served(sequence).await;
        serving.send_if_modified(|serving| {
            let newer = serving.is_none_or(|serving| generation.is_newer_than(&serving));
            if newer {
                *serving = Some(generation);
            }
            newer
        });
    }
}

/// Holds at most one generation: a newer one takes the place of one that waits.
pub(super) struct Mailbox {
    state: Mutex<Letters>,
    changed: Condvar,
}

#[derive(Default)]
struct Letters {
    offer: Option<(GenerationId, ConfigMap)>,
    closed: bool,
}

enum Letter {
    Offer(GenerationId, ConfigMap),
    Nothing,
    Closed,
}

impl Mailbox {
    /// A mailbox in which this waits.
    pub(super) fn with(offer: Option<(GenerationId, ConfigMap)>) -> Self {
        Self { state: Mutex::new(Letters { offer, closed: false }), changed: Condvar::new() }
    }

    pub(super) fn offer(&self, generation: GenerationId, map: ConfigMap) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).offer = Some((generation, map));
        self.changed.notify_one();
    }

    pub(super) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_one();
    }

    /// Waits for so long, whatever comes meanwhile. True if it was closed.
    fn closes_within(&self, wait: Duration) -> bool {
        let letters = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(letters, wait, |letters| !letters.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// The next letter, or nothing once `wait` is over.
    fn next(&self, wait: Option<Duration>) -> Letter {
        let until = wait.map(|wait| Instant::now() + wait);
        let mut letters = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if letters.closed {
                return Letter::Closed;
            }
            if let Some((generation, map)) = letters.offer.take() {
                return Letter::Offer(generation, map);
            }
            letters = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.changed.wait(letters).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return Letter::Nothing,
                Some(rest) => {
                    self.changed.wait_timeout(letters, rest).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// What the table thread has said, and says again only once it changes, and what it has yet to say.
#[derive(Default)]
pub(super) struct Told {
    /// What is published could not be kept.
    unkept: bool,
    /// The mark could not be raised.
    unmarked: bool,
    /// Tables held beside the live one.
    held: usize,
    /// The last generation that lacked a secret, for which the whole was asked.
    asked_whole: Option<GenerationId>,
    /// The access log that is wanted could not be opened.
    unlogged: bool,
    /// What is being made a table, of which nothing was said yet.
    taking: Option<(GenerationId, ConfigMap)>,
}

/// What the thread works with.
pub(super) struct Tables {
    pub(super) compiler: Compiler,
    pub(super) live: Arc<Live<Table>>,
    pub(super) workers: Arc<AsyncMutex<Workers>>,
    pub(super) request: Arc<request::Shared>,
    pub(super) worker_count: usize,
    pub(super) addresses: BTreeMap<String, String>,
    pub(super) last_good: Option<LastGood>,
    /// What lies on the disk.
    pub(super) kept: Option<GenerationId>,
    /// What was said, so that it is said once.
    pub(super) told: Told,
    /// What was published last, and under which sequence number.
    pub(super) published: watch::Sender<Option<(GenerationId, u64)>>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) verdicts: mpsc::Sender<Verdict>,
    pub(super) entry_points: watch::Sender<BTreeMap<Arc<str>, Status>>,
}

impl Tables {
    /// Runs until the mailbox is closed. A panic costs the generation that it came with, which is refused unless it is in force; the
    /// next one is taken, and what is served stays.
    pub(super) fn run(mut self, failures: &Failures) {
        loop {
            // A table is published whole or not at all, and the compiler's state changes with its last step.
            match catch_unwind(AssertUnwindSafe(|| self.turn())) {
                Ok(true) => {}
                Ok(false) => return,
                Err(panic) => {
                    self.panicked(failures.survived(Part::TableThread, &*panic));
                    if self.mailbox.closes_within(RETRY_INTERVAL) {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for one thing and does it. False at the end.
    fn turn(&mut self) -> bool {
        let tables = self.live.free_retired();
        self.tell_held(tables);
        let held = tables + self.request.free_retired();
        let failed = self.entry_points.borrow().values().any(Result::is_err);
        let wait = match (held, failed || self.told.unkept || self.told.unlogged) {
            (0, false) => None,
            (0, true) => Some(RETRY_INTERVAL),
            _ => Some(RETIRED_INTERVAL),
        };
        match self.mailbox.next(wait) {
            Letter::Offer(generation, map) => {
                self.told.taking = Some((generation, map.clone()));
                self.take(generation, map);
                self.told.taking = None;
            }
            Letter::Nothing => {
                if failed {
                    let status = self.workers.blocking_lock().retry();
                    self.tell_entry_points(status);
                }
                if self.told.unlogged {
                    self.open_access_log(&self.live.current().sections.access_log);
                }
                self.keep_again();
            }
            Letter::Closed => return false,
        }
        true
    }

    /// The thread has panicked: says what became of the generation that it was at.
    fn panicked(&mut self, what: String) {
        if let Some(store) = &mut self.last_good {
            store.begin_anew();
        }
        let Some((generation, map)) = self.told.taking.take() else { return };
        let is_published = self.live.current().generation == Some(generation);
        self.say(match is_published {
            true => Verdict::Validated(generation, map),
            false => Verdict::Refused(generation, vec![what]),
        });
    }

    fn take(&mut self, generation: GenerationId, map: ConfigMap) {
        #[cfg(test)]
        super::tests::panics::strike(&map, super::tests::panics::COMPILING);
        let begun = Instant::now();
        if self.published.borrow().is_none_or(|(published, _)| published != generation) {
            let table = match self.compiler.apply(generation, &map) {
                Ok(table) => table,
                Err(refusal) => {
                    tracing::error!(%generation, error = %refusal, "generation refused; what was served stays");
                    return self.refuse(generation, &refusal);
                }
            };
            let compiled = begun.elapsed();
            let before = self.live.current();
            self.mark(generation);
            let sequence = self.live.publish(Arc::clone(&table));
            self.request.vitals.note_reload();
            self.published.send_replace(Some((generation, sequence)));
            self.tell_problems(&before, &table);
            self.set_access_log(&before, &table);
            #[cfg(test)]
            super::tests::panics::strike(&map, super::tests::panics::PUBLISHED);
            let status = self.workers.blocking_lock().listen(self.wanted(&table));
            self.tell_entry_points(status);
            tracing::info!(%generation, objects = map.len(), compile_micros = compiled.as_micros(), "table published");
        }
        self.say(Verdict::Validated(generation, map.clone()));
        self.keep(generation, &map);
    }

    /// What came without all of its secrets may only have lost some on its way: the whole is asked for once.
    fn refuse(&mut self, generation: GenerationId, refusal: &Refusal) {
        let reason = refusal.to_string();
        let is_incomplete = matches!(refusal, Refusal::Secret { .. });
        if is_incomplete && self.told.asked_whole.replace(generation) != Some(generation) {
            return self.say(Verdict::Incomplete(generation, reason));
        }
        self.say(Verdict::Refused(generation, vec![reason]));
    }

    /// A verdict that nobody waits for is no loss: the process ends, or the client attaches anew and says what is held.
    fn say(&self, verdict: Verdict) {
        if self.verdicts.blocking_send(verdict).is_err() {
            tracing::debug!("the feed client has ended");
        }
    }

    /// Notes on the disk that this is served from now on. Where the disk does not take it, it is served all the same: who asks
    /// for a change wants it now, and a restart is the rarer event.
    fn mark(&mut self, generation: GenerationId) {
        let Some(store) = &mut self.last_good else { return };
        match store.mark(generation) {
            Ok(()) => self.told.unmarked = false,
            Err(error) if !std::mem::replace(&mut self.told.unmarked, true) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(
                    %generation, %error, cause,
                    "it cannot be noted that this generation is served: after a restart an older one could be taken"
                );
            }
            Err(_) => {}
        }
    }

    /// Tells of tables that requests hold, each time there are twice as many: every one costs the memory of its change.
    fn tell_held(&mut self, held: usize) {
        if held >= HELD_TOLD_MIN.max(self.told.held * 2) {
            self.told.held = held;
            tracing::warn!(
                tables = held,
                "requests that wait for their servers hold so many tables of before; each goes when its last request has an answer"
            );
        } else if held < HELD_TOLD_MIN {
            self.told.held = 0;
        }
    }

    fn wanted(&self, table: &Table) -> BTreeMap<Arc<str>, Wanted> {
        let mut wanted = Wanted::of(table);
        for (name, address) in &self.addresses {
            if let Some(wanted) = wanted.get_mut(name.as_str()) {
                wanted.address = address.parse();
            }
        }
        wanted
    }

    fn tell_entry_points(&self, status: BTreeMap<Arc<str>, Status>) {
        let before = self.entry_points.borrow().clone();
        for (name, status) in &status {
            let same = match (status, before.get(name)) {
                (Ok(new), Some(Ok(old))) => new == old,
                (Err(new), Some(Err(old))) => new.to_string() == old.to_string(),
                _ => false,
            };
            match status {
                _ if same => {}
                Ok(address) => tracing::info!(entry_point = %name, %address, "entry point open"),
                Err(error) => {
                    tracing::error!(entry_point = %name, %error, "entry point not open; it is tried again")
                }
            }
        }
        self.entry_points.send_replace(status);
    }

    /// Logs what is newly wrong.
    fn tell_problems(&self, before: &Table, table: &Table) {
        for (key, problem) in &table.problems {
            if before.problems.get(key) != Some(problem) {
                tracing::error!(object = %key, error = %problem, "object in error; its routers answer 503 in their places");
            }
        }
    }

    fn set_access_log(&mut self, before: &Table, table: &Table) {
        let wanted = &table.sections.access_log;
        if before.generation.is_none() || before.sections.access_log != *wanted {
            self.open_access_log(wanted);
        }
    }

    /// Opens the access log. One that cannot be opened is tried again: its folder may not be there yet, or its disk have no room.
    fn open_access_log(&mut self, wanted: &Option<static_config::AccessLog>) {
        let opened = wanted.as_ref().map(|config| AccessLog::open(config, self.worker_count)).transpose();
        match opened {
            Ok(log) => {
                self.request.set_access_log(log);
                if std::mem::take(&mut self.told.unlogged) {
                    tracing::info!("the access log is open now");
                }
            }
            Err(error) if !std::mem::replace(&mut self.told.unlogged, true) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the access log cannot be opened; the one before stays, and it is tried again");
            }
            Err(_) => {}
        }
    }

    fn keep(&mut self, generation: GenerationId, map: &ConfigMap) {
        let Some(store) = self.last_good.as_mut().filter(|_| self.kept != Some(generation)) else { return };
        match store.save(generation, map) {
            Ok(()) => {
                self.kept = Some(generation);
                if std::mem::take(&mut self.told.unkept) {
                    tracing::info!(%generation, "this generation is kept now");
                }
            }
            // Said once: what is wrong with a disk mostly stays wrong for a while.
            Err(error) if !std::mem::replace(&mut self.told.unkept, true) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%generation, %error, cause, "this generation cannot be kept for a restart; it is tried again");
            }
            Err(_) => {}
        }
    }

    /// Tries again to keep what is published: the disk may have room again, and a restart must not go back further than it has to.
    fn keep_again(&mut self) {
        let table = self.live.current();
        if self.told.unkept
            && let Some(generation) = table.generation
        {
            self.keep(generation, &table.config);
        }
    }
}
