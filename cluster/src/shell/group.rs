//! The loop of the log's thread: everything that was queued while the last sync ran is written with the next one. It stands on
//! its own (std, loom), so that a check runs this very loop under every order of the threads around it.
//!
//! It must not know what is written, and never says that something is durable before the log has said so.

/// Work for the log, carried out in order.
#[derive(Debug)]
pub(super) enum Work<B, M, N> {
    /// Write this batch.
    Persist(B),
    /// Drop what this snapshot covers.
    Compact(M),
    /// Note how far the log is known to be committed.
    NoteKnown(N),
}

/// What the loop writes to.
pub(super) trait GroupLog<B, M, N> {
    /// What is to be told of a group.
    type Told;

    /// Writes these batches with one sync. Returns when they are durable, or says that they are not.
    fn persist(&mut self, batches: &[B]) -> Option<Self::Told>;

    /// Drops what a snapshot covers.
    fn compact(&mut self, meta: &M) -> Option<Self::Told>;

    /// Writes a note that nobody waits for.
    fn note(&mut self, note: N);
}

/// Where work comes from.
pub(super) trait Queue<T> {
    /// The next piece, waited for; none once everything was taken and no more can come.
    fn wait(&mut self) -> Option<T>;

    /// The next piece that is there already.
    fn ready(&mut self) -> Option<T>;
}

/// Runs until the work ends. What was queued by then is written.
pub(super) fn run<B, M, N, L: GroupLog<B, M, N>>(
    log: &mut L,
    work: &mut impl Queue<Work<B, M, N>>,
    mut tell: impl FnMut(L::Told),
) {
    let mut batches = Vec::new();
    let mut known = None;
    while let Some(first) = work.wait() {
        let mut next = Some(first);
        while let Some(item) = next.take() {
            match item {
                Work::Persist(batch) => batches.push(batch),
                Work::Compact(meta) => {
                    write(log, &mut batches).into_iter().for_each(&mut tell);
                    log.compact(&meta).into_iter().for_each(&mut tell);
                }
                Work::NoteKnown(note) => known = Some(note),
            }
            next = work.ready();
        }
        write(log, &mut batches).into_iter().for_each(&mut tell);
        // Nobody waits for a note: it is written once the writes that somebody waits for are done.
        if let Some(note) = known.take() {
            log.note(note);
        }
    }
}

fn write<B, M, N, L: GroupLog<B, M, N>>(log: &mut L, batches: &mut Vec<B>) -> Option<L::Told> {
    let told = if batches.is_empty() { None } else { log.persist(batches) };
    batches.clear();
    told
}

#[cfg(all(test, ravelin_loom))]
mod loom_checks {
    use std::collections::VecDeque;
    use std::sync::{Arc, PoisonError};

    use loom::sync::atomic::{AtomicU64, Ordering};
    use loom::sync::{Condvar, Mutex};
    use loom::thread;

    use super::*;

    /// A channel as the shell uses them: what is sent is taken in its order, and its end is the last thing in it.
    struct Line<T> {
        waiting: Mutex<VecDeque<Option<T>>>,
        came: Condvar,
    }

    impl<T> Line<T> {
        fn new() -> Arc<Self> {
            Arc::new(Self { waiting: Mutex::new(VecDeque::new()), came: Condvar::new() })
        }

        fn send(&self, item: Option<T>) {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(item);
            self.came.notify_one();
        }

        /// The next; none at the end.
        fn receive(&self) -> Option<T> {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                match waiting.pop_front() {
                    Some(next) => return next,
                    None => waiting = self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                }
            }
        }

        /// The next, if it is there and not the end.
        fn at_hand(&self) -> Option<T> {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.pop_front_if(|next| next.is_some()).flatten()
        }
    }

    /// The log's end of its queue; with a slip it forgets what waits once it has taken something.
    struct Inbox {
        line: Arc<Line<Work<u64, u64, u64>>>,
        forgets: bool,
        taken: bool,
    }

    impl Queue<Work<u64, u64, u64>> for Inbox {
        fn wait(&mut self) -> Option<Work<u64, u64, u64>> {
            let forgotten = std::mem::replace(&mut self.taken, true) && self.forgets;
            if forgotten { None } else { self.line.receive() }
        }

        fn ready(&mut self) -> Option<Work<u64, u64, u64>> {
            if self.forgets { None } else { self.line.at_hand() }
        }
    }

    /// A disk that notes what it was asked in the wrong order.
    struct Disk {
        durable: Arc<AtomicU64>,
        written: u64,
        /// A slip: it says so and has written nothing.
        boasts: bool,
        wrong: bool,
    }

    impl GroupLog<u64, u64, u64> for Disk {
        type Told = u64;

        fn persist(&mut self, batches: &[u64]) -> Option<u64> {
            for token in batches {
                self.wrong |= *token != self.written + 1;
                self.written = *token;
            }
            if !self.boasts {
                // Relaxed on purpose: whoever is told must see it by the telling alone.
                self.durable.store(self.written, Ordering::Relaxed);
            }
            Some(self.written)
        }

        fn compact(&mut self, covered: &u64) -> Option<u64> {
            self.wrong |= *covered > self.written;
            None
        }

        fn note(&mut self, _: u64) {}
    }

    /// A node asks for two writes with a compaction between them, ends, and hears what is durable. What it finds wrong at the end.
    fn node_and_log(boasts: bool, forgets: bool) -> Result<(), &'static str> {
        let durable = Arc::new(AtomicU64::new(0));
        let (work, told) = (Line::new(), Line::new());
        let log = {
            let (durable, work, told) = (Arc::clone(&durable), Arc::clone(&work), Arc::clone(&told));
            thread::spawn(move || {
                let mut disk = Disk { durable, written: 0, boasts, wrong: false };
                let mut work = Inbox { line: work, forgets, taken: false };
                run(&mut disk, &mut work, |token| told.send(Some(token)));
                told.send(None);
                disk.wrong
            })
        };
        for item in [Some(Work::Persist(1)), Some(Work::Compact(1)), Some(Work::Persist(2)), None] {
            work.send(item);
        }
        let (mut heard, mut early) = (0, false);
        while let Some(token) = told.receive() {
            early |= token > durable.load(Ordering::Relaxed);
            heard = token;
        }
        match (log.join(), early, heard) {
            (Ok(false), false, 2) => Ok(()),
            (_, true, _) => Err("told before it was durable"),
            (_, false, 0 | 1) => Err("somebody waits for ever"),
            _ => Err("out of order"),
        }
    }

    /// Every order in which threads are interrupted at most twice where they need not be: all would take hours.
    fn all_orders(model: impl Fn() + Sync + Send + 'static) {
        let mut orders = loom::model::Builder::new();
        orders.preemption_bound = Some(2);
        orders.check(model);
    }

    #[test]
    fn loom_every_batch_is_durable_before_it_is_told_and_all_are_told_by_the_end() {
        all_orders(|| assert_eq!(node_and_log(false, false), Ok(())));
    }

    /// The negative control of what is told.
    #[test]
    fn loom_a_log_that_boasts_is_caught() {
        all_orders(|| assert_eq!(node_and_log(true, false), Err("told before it was durable")));
    }

    /// The negative control of the end.
    #[test]
    fn loom_a_queue_that_forgets_at_the_end_is_caught() {
        all_orders(|| assert_eq!(node_and_log(false, true), Err("somebody waits for ever")));
    }
}
