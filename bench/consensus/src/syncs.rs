//! What the disk and the machine can do at best, measured without any consensus: three writers that sync at the same time,
//! and round trips. It writes through the same file calls as the shipped log.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::Context;
use ravelin_cluster::storage::{Disk as _, DiskFile, RealDisk};

use crate::NODES;
use crate::rounds::Spread;

/// Space of a writer's file: a segment of the shipped log.
const FILE_BYTES: u64 = 4 << 20;
const TRIPS: usize = 2000;

/// A file of its own, of which each write takes the next place.
struct Writer {
    file: Box<dyn DiskFile>,
    bytes: Vec<u8>,
    offset: u64,
}

impl Writer {
    fn new(folder: &Path, bytes: usize) -> anyhow::Result<Self> {
        let file = RealDisk::open(folder)?.create("syncs")?;
        file.preallocate(FILE_BYTES)?;
        file.sync()?;
        Ok(Self { file, bytes: vec![7; bytes], offset: 0 })
    }

    fn write(&mut self) -> anyhow::Result<()> {
        self.file.write_at(self.offset, &self.bytes)?;
        self.file.sync()?;
        let next = self.offset + self.bytes.len() as u64;
        self.offset = if next + self.bytes.len() as u64 > FILE_BYTES { 0 } else { next };
        Ok(())
    }
}

fn writers(folder: &Path, bytes: usize) -> anyhow::Result<Vec<Writer>> {
    (1..=NODES).map(|id| Writer::new(&folder.join(format!("writer-{id}")), bytes)).collect()
}

/// Median seconds until two of three have synced: what a quorum waits for. One begins at once, the others when `lag` is
/// over, as they do that first have to hear of what there is to write.
pub(crate) fn quorum_latency(folder: &Path, bytes: usize, rounds: usize, lag: f64) -> anyhow::Result<f64> {
    let barrier = Arc::new(Barrier::new(usize::try_from(NODES)?));
    let mut threads = Vec::new();
    for (at, mut writer) in writers(folder, bytes)?.into_iter().enumerate() {
        let barrier = Arc::clone(&barrier);
        let lag = if at == 0 { 0.0 } else { lag };
        threads.push(std::thread::spawn(move || -> Vec<anyhow::Result<f64>> {
            let mut round = || {
                barrier.wait();
                let began = Instant::now();
                while began.elapsed().as_secs_f64() < lag {
                    std::hint::spin_loop();
                }
                writer.write()?;
                Ok(began.elapsed().as_secs_f64())
            };
            (0..rounds).map(|_| round()).collect()
        }));
    }
    let mut of_writers = Vec::new();
    for thread in threads {
        let taken = thread.join().ok().context("a writer panicked")?;
        of_writers.push(taken.into_iter().collect::<anyhow::Result<Vec<_>>>()?);
    }
    let slower = (0..rounds).filter_map(|round| {
        let mut taken: Vec<f64> = of_writers.iter().filter_map(|of_one| of_one.get(round)).copied().collect();
        taken.sort_by(f64::total_cmp);
        taken.get(1).copied()
    });
    Ok(Spread::of(slower.collect()).median)
}

/// Syncs per second of one of three writers that each go on as fast as they can.
pub(crate) fn per_second(folder: &Path, bytes: usize, span: Duration) -> anyhow::Result<f64> {
    let mut threads = Vec::new();
    for mut writer in writers(folder, bytes)? {
        threads.push(std::thread::spawn(move || -> anyhow::Result<f64> {
            let (began, mut count) = (Instant::now(), 0.0);
            while began.elapsed() < span {
                writer.write()?;
                count += 1.0;
            }
            Ok(count / began.elapsed().as_secs_f64())
        }));
    }
    let mut rates = Vec::new();
    for thread in threads {
        rates.push(thread.join().ok().context("a writer panicked")??);
    }
    Ok(Spread::of(rates).median)
}

/// Median seconds of a round trip of one byte over loopback.
pub(crate) fn loopback() -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    std::thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).and_then(|()| far.write_all(&byte)).is_ok() {}
    });
    let mut trip = || -> anyhow::Result<f64> {
        let (began, mut byte) = (Instant::now(), [7]);
        near.write_all(&byte)?;
        near.read_exact(&mut byte)?;
        Ok(began.elapsed().as_secs_f64())
    };
    let trips = (0..TRIPS).map(|_| trip()).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Spread::of(trips).median)
}
