//! One timer for all deadlines of a connection: it is set when a deadline comes nearer and left alone when one moves away,
//! so that a request on a kept-alive connection costs no timer operation.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

/// See the module.
pub(super) struct Timer<'a> {
    sleep: Pin<&'a mut Sleep>,
    armed: Option<Instant>,
}

impl<'a> Timer<'a> {
    /// Uses `sleep`, whose own instant does not matter.
    pub(super) fn new(sleep: Pin<&'a mut Sleep>) -> Self {
        Self { sleep, armed: None }
    }

    /// Ready once `at` has passed. To be asked whenever the connection ran, with the deadline as it stands then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        loop {
            if self.armed.is_none_or(|armed| at < armed) {
                self.sleep.as_mut().reset(at.into());
                self.armed = Some(at);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.armed = None;
            if Instant::now() >= at {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_deadline_may_come_nearer_and_move_away() {
        let start = Instant::now();
        let sleep = pin!(tokio::time::sleep_until(start.into()));
        let mut timer = Timer::new(sleep);
        let at = |millis| start + Duration::from_millis(millis);
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            let deadline = match polls {
                1 => at(60_000),
                2 => at(20),
                _ => at(60),
            };
            if polls == 1 {
                cx.waker().wake_by_ref();
            }
            timer.poll(cx, deadline)
        })
        .await;
        assert!(start.elapsed() >= Duration::from_millis(60), "{:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(50));
    }
}
