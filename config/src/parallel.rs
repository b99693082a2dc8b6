//! Work on many items at once, on as many threads as there are cores. Answers come in the order of the items, so that what
//! comes of it is the same on any machine. It must not be used where one answer depends on another.

use std::num::NonZero;

/// Small items of work of which fewer are not worth a thread.
pub const SHARE_MIN: usize = 256;
/// Items to work on at a time, where what is made of them takes room.
pub const BATCH: usize = 8192;
/// More threads than this are not used at a time.
const THREADS_MAX: usize = 8;

/// What `work` makes of each item, in their order. A thread gets at least `share_min` of them; where none can be started, this
/// one does its share.
///
/// # Panics
/// Where `work` panics.
pub fn map<T: Sync, R: Send>(items: &[T], share_min: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    let share = items.len().div_ceil(threads).max(share_min).max(1);
    if items.len() <= share {
        return items.iter().map(work).collect();
    }
    let work = &work;
    std::thread::scope(|scope| {
        let shares = items.chunks(share).map(|items| {
            let all = move || items.iter().map(work).collect::<Vec<R>>();
            let name = "ravelin-share".to_owned();
            std::thread::Builder::new().name(name).spawn_scoped(scope, all).map_err(|_| all())
        });
        let shares: Vec<_> = shares.collect();
        let mut answers = Vec::with_capacity(items.len());
        for share in shares {
            answers.extend(match share {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(done) => done,
            });
        }
        answers
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_the_order_of_the_items_however_many_threads_there_are() {
        for count in [0, 1, SHARE_MIN, SHARE_MIN + 1, 10 * SHARE_MIN + 7] {
            let items: Vec<usize> = (0..count).collect();
            let doubled = map(&items, SHARE_MIN, |item| item * 2);
            assert!(doubled.iter().copied().eq((0..count).map(|item| item * 2)), "{count} items");
        }
    }
}
