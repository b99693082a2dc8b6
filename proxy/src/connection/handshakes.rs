//! How many TLS handshakes a worker begins in one turn of its loop: each takes a core for a quarter of a millisecond and more, and
//! who is being served must not wait for a burst of them. What does not get its turn waits in order, under its own deadline.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Semaphore;

/// Handshakes begun before everybody else gets a turn.
const PER_TURN_MAX: usize = 8;

struct Turn {
    left: Rc<Semaphore>,
    ending: Cell<bool>,
}

thread_local! {
    /// A worker is a thread.
    static TURN: Turn = Turn { left: Rc::new(Semaphore::new(PER_TURN_MAX)), ending: const { Cell::new(false) } };
}

/// Waits until this worker may begin one more handshake. Cancel safe: whoever goes away gives up its place.
pub(super) async fn turn() {
    let left = TURN.with(|turn| Rc::clone(&turn.left));
    // It is never closed.
    if let Ok(permit) = left.acquire().await {
        permit.forget();
    }
    if !TURN.with(|turn| turn.ending.replace(true)) {
        let ended = Ended;
        tokio::task::spawn_local(async move {
            // Comes back after the worker has looked at its sockets.
            tokio::task::yield_now().await;
            drop(ended);
        });
    }
}

/// Ends a turn when it is dropped: what was taken is there again.
struct Ended;

impl Drop for Ended {
    fn drop(&mut self) {
        TURN.with(|turn| {
            turn.ending.set(false);
            turn.left.add_permits(PER_TURN_MAX.saturating_sub(turn.left.available_permits()));
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, LocalOptions};

    use super::*;

    #[test]
    fn a_burst_of_handshakes_leaves_turns_to_others_and_comes_to_its_end() {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        runtime.expect("a runtime").block_on(async {
            let begun = Rc::new(Cell::new(0));
            let tasks: Vec<_> = (0..50)
                .map(|_| {
                    let begun = Rc::clone(&begun);
                    tokio::task::spawn_local(async move {
                        turn().await;
                        begun.set(begun.get() + 1);
                    })
                })
                .collect();
            let (mut last, mut turns) = (0, 0);
            while begun.get() < 50 {
                tokio::task::yield_now().await;
                let now = begun.get();
                assert!(now - last <= PER_TURN_MAX, "{} in one turn", now - last);
                (last, turns) = (now, turns + 1);
                assert!(turns < 1000, "some never get their turn");
            }
            for task in tasks {
                task.await.expect("no panic");
            }
        });
    }
}
