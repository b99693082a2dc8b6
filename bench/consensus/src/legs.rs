//! Where the time of one client's command goes: each node notes when its task and its log's thread had it in hand, and the way
//! that decided when it was committed is cut into legs. Beside that, what a wake-up costs here whenever the one that is woken
//! has rested for as long as a sync takes. It must not change what the nodes do.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc as threads};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::clients::Commits;
use crate::disk::runtime;
use crate::driver::Cluster;
use crate::rounds::Spread;

const PARTS: usize = 3;
/// Wake-ups of each kind.
const WAKES: usize = 1000;

/// What a node notes of a command, in the order of its way.
#[derive(Clone, Copy)]
pub(crate) enum Moment {
    /// Its task has it.
    Took,
    /// Its log's thread has it.
    Writes,
    /// It is on disk.
    Synced,
    /// Its task knows that.
    Told,
    /// The leader knows that: of itself never noted.
    Heard,
}

const MOMENTS: usize = 5;

/// The notes of all nodes about the one command that is under way.
pub(crate) struct Notes {
    start: Instant,
    nodes: [[AtomicU64; MOMENTS]; PARTS],
    committed: AtomicU64,
    ways: Mutex<Vec<Way>>,
}

/// How one command came to be committed: the legs in nanoseconds, those without a follower 0 where the leader's own disk
/// decided.
struct Way {
    by_follower: bool,
    legs: [u64; 7],
}

/// What the legs are.
const LEGS: [&str; 7] = [
    "client to leader",
    "leader to follower",
    "task to the log's thread",
    "write and sync",
    "the log's thread to task",
    "follower to leader",
    "leader to client",
];
const SYNC: usize = 3;

impl Notes {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            nodes: array::from_fn(|_| array::from_fn(|_| AtomicU64::new(0))),
            committed: AtomicU64::new(0),
            ways: Mutex::default(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Notes that it is this moment for a node, counted from 1.
    pub(crate) fn note(&self, node: u64, moment: Moment) {
        let of_node = usize::try_from(node).ok().and_then(|node| self.nodes.get(node.checked_sub(1)?));
        if let Some(at) = of_node.and_then(|node| node.get(moment as usize)) {
            at.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Notes that the leader has answered the client.
    pub(crate) fn note_committed(&self) {
        self.committed.store(self.now(), Ordering::Relaxed);
    }

    fn at(&self, node: usize, moment: Moment) -> u64 {
        self.nodes
            .get(node)
            .and_then(|node| node.get(moment as usize))
            .map_or(0, |at| at.load(Ordering::Relaxed))
    }

    /// The way of the command that a client has just been answered; none where a slow node's notes about the one before
    /// stand between them.
    fn way(&self, asked: u64, answered: u64) -> Option<Way> {
        let committed = self.committed.load(Ordering::Relaxed);
        let known = |node| self.at(node, if node == 0 { Moment::Told } else { Moment::Heard });
        let decided = (0..PARTS).filter(|node| (asked..=committed).contains(&known(*node)));
        let last = decided.max_by_key(|node| known(*node))?;
        let took = self.at(0, Moment::Took);
        let at = |moment| self.at(last, moment);
        let mut marks = vec![asked, took, at(Moment::Took), at(Moment::Writes), at(Moment::Synced)];
        marks.extend([at(Moment::Told), known(last), answered]);
        let mut legs = [0; 7];
        for (leg, pair) in legs.iter_mut().zip(marks.windows(2)) {
            let [from, to] = pair else { return None };
            *leg = to.checked_sub(*from)?;
        }
        Some(Way { by_follower: last != 0, legs })
    }

    /// Prints the legs, in the median of those ways that a follower decided; gives their sync, µs.
    pub(crate) fn print(&self) -> f64 {
        let ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let by_follower: Vec<&Way> = ways.iter().filter(|way| way.by_follower).collect();
        let median = |leg: usize| {
            let of_leg = by_follower.iter().filter_map(|way| way.legs.get(leg));
            Spread::of(of_leg.map(|nanos| *nanos as f64 / 1e3).collect()).median
        };
        let medians: Vec<f64> = (0..LEGS.len()).map(median).collect();
        let share = by_follower.len() as f64 / ways.len().max(1) as f64 * 100.0;
        println!("a follower's disk decided {share:.0} of 100; the legs of those commands, medians in µs:");
        for (name, micros) in LEGS.iter().zip(&medians) {
            println!("  {name:<26} {micros:>7.1}");
        }
        println!("  {:<26} {:>7.1}", "together", medians.iter().sum::<f64>());
        medians.get(SYNC).copied().unwrap_or(f64::NAN)
    }
}

/// A cluster with one client, whose commands are followed.
#[derive(Clone)]
pub(crate) struct Followed(pub(crate) Cluster, pub(crate) Arc<Notes>);

impl Commits for Followed {
    async fn commit(&self, command: Bytes) -> anyhow::Result<()> {
        let Self(cluster, notes) = self;
        let asked = notes.now();
        cluster.commit(command).await?;
        let way = notes.way(asked, notes.now());
        notes.ways.lock().unwrap_or_else(PoisonError::into_inner).extend(way);
        Ok(())
    }
}

/// What a wake-up takes, µs, where everybody has rested for a while.
pub(crate) struct Wakes {
    pub(crate) thread_to_task: Spread,
    pub(crate) task_to_task: Spread,
    pub(crate) task_to_thread: Spread,
}

/// Passes a note from this thread to a task, to another task, to another thread, again and again with a rest before each.
pub(crate) fn wakes(rest: Duration) -> anyhow::Result<Wakes> {
    let runtime = runtime()?;
    let (to_first, mut first) = mpsc::unbounded_channel::<Instant>();
    let (to_second, mut second) = mpsc::unbounded_channel::<(Instant, f64)>();
    let (to_thread, thread) = threads::channel::<(Instant, f64, f64)>();
    let (to_us, us) = threads::channel::<[f64; 3]>();
    let micros = |since: Instant| since.elapsed().as_secs_f64() * 1e6;
    runtime.spawn(async move {
        while let Some(sent) = first.recv().await {
            let taken = micros(sent);
            if to_second.send((Instant::now(), taken)).is_err() {
                break;
            }
        }
    });
    runtime.spawn(async move {
        while let Some((sent, before)) = second.recv().await {
            let taken = micros(sent);
            if to_thread.send((Instant::now(), before, taken)).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        while let Ok((sent, one, two)) = thread.recv() {
            if to_us.send([one, two, micros(sent)]).is_err() {
                break;
            }
        }
    });
    let mut taken: [Vec<f64>; 3] = Default::default();
    for _ in 0..WAKES {
        std::thread::sleep(rest); // what is measured: who has not run for so long takes longer to wake
        to_first.send(Instant::now()).ok().context("the tasks have ended")?;
        for (all, one) in taken.iter_mut().zip(us.recv()?) {
            all.push(one);
        }
    }
    drop(to_first);
    runtime.shutdown_timeout(Duration::from_secs(1));
    let [thread_to_task, task_to_task, task_to_thread] = taken.map(Spread::of);
    Ok(Wakes { thread_to_task, task_to_task, task_to_thread })
}
