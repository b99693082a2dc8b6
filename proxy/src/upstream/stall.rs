//! The time that a server may leave what was sent to it untaken. Traefik knows no such limit: a server that reads no further
//! holds its client, both connections and what was read of the body, for as long as it likes.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How long a server may take nothing of a request that waits for it. There is no option for it.
pub(crate) const UPLOAD_STALL_TIME_MAX: Duration = Duration::from_secs(60);

/// Watches one request's way out. It costs no timer before something has to wait, and none for each piece that moves.
#[derive(Debug)]
pub(crate) struct Stall {
    limit: Duration,
    /// Set while something waits, with how much had gone out by then.
    watched: Option<(Pin<Box<Sleep>>, u64)>,
}

impl Stall {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, watched: None }
    }

    /// Ready once nothing has moved for at least the limit, and at most twice as long, although something waited. `waits`: how
    /// much of the request has gone out, if more of it waits for the server. To be asked whenever the request was looked at.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, waits: Option<u64>) -> Poll<()> {
        let Some(sent) = waits else {
            self.watched = None;
            return Poll::Pending;
        };
        let (sleep, before) =
            self.watched.get_or_insert_with(|| (Box::pin(tokio::time::sleep(self.limit)), sent));
        while sleep.as_mut().poll(cx).is_ready() {
            if *before == sent {
                return Poll::Ready(());
            }
            *before = sent;
            sleep.as_mut().reset(Instant::now() + self.limit);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Instant;

    use super::*;

    const SHORT: Duration = Duration::from_millis(30);

    #[tokio::test]
    async fn what_moves_or_waits_for_nobody_is_not_stalled() {
        let mut stall = Stall::new(SHORT);
        let begun = Instant::now();
        let mut sent = 0;
        poll_fn(|cx| {
            // Woken by the timer alone: something has moved each time, until the fifth.
            sent = (sent + 1).min(5);
            stall.poll(cx, Some(sent))
        })
        .await;
        assert!(begun.elapsed() >= 5 * SHORT, "{:?}", begun.elapsed());
        let quiet = poll_fn(|cx| stall.poll(cx, None));
        assert!(tokio::time::timeout(3 * SHORT, quiet).await.is_err(), "the client is what is waited for");
    }
}
