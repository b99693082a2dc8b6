//! The provider `rest`: wants what was last put into this process. It has no source that could fail, and nothing to read again; before
//! the first time it wants nothing, and says so by silence, so that what is in the log stays.

use std::time::Duration;

use ravelin_config::rest::PROVIDER;
use ravelin_transport::BoxFuture;

use super::file::throttle::Throttle;
use super::{DraftOutcome, Provider, ProviderUpdate, Surroundings};
use crate::request::status::ProviderState;

/// The provider.
#[derive(Debug)]
pub struct RestProvider {
    throttle: Duration,
}

impl RestProvider {
    /// A provider that holds sustained change back by this interval.
    pub fn new(throttle: Duration) -> Self {
        Self { throttle }
    }
}

impl Provider for RestProvider {
    fn name(&self) -> &str {
        PROVIDER
    }

    fn run(self: Box<Self>, surroundings: Surroundings) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let stop = surroundings.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = forever(self.throttle, surroundings) => {}
            }
        })
    }
}

async fn forever(interval: Duration, mut surroundings: Surroundings) {
    let mut throttle = Throttle::new(interval);
    let provider = || PROVIDER.to_owned();
    let mut state = ProviderState::Starting;
    // What was put before this run began counts too.
    surroundings.put.mark_changed();
    loop {
        surroundings.updates.send(ProviderUpdate::State { provider: provider(), state }).await;
        let draft = loop {
            tokio::select! {
                Ok(()) = surroundings.outcome.changed() => tell(&surroundings.outcome.borrow_and_update()),
                Ok(()) = surroundings.put.changed() => {
                    if surroundings.put.borrow().is_some() {
                        // Nothing is dropped: the newest is taken once it may go.
                        throttle.wait().await;
                        if let Some(draft) = surroundings.put.borrow_and_update().clone() {
                            break draft;
                        }
                    }
                }
                // Nobody is left who could put anything; the run is about to be stopped.
                else => std::future::pending().await,
            }
        };
        state = if draft.objects.is_empty() { ProviderState::Empty } else { ProviderState::Connected };
        for (_, problem) in draft.problems.iter().take(PROBLEMS_MAX) {
            tracing::error!(provider = PROVIDER, "{problem}");
        }
        surroundings.updates.send(ProviderUpdate::Draft { draft, read: Duration::ZERO }).await;
    }
}

/// Lines about one draft in the log.
const PROBLEMS_MAX: usize = 32;

fn tell(outcome: &Option<DraftOutcome>) {
    match outcome {
        Some(DraftOutcome::Refused { problems }) => {
            let mut problems = problems.clone();
            crate::node::journal::bound_texts(&mut problems);
            let problems = problems.join("; ");
            tracing::error!(
                problems,
                "what was put by REST was refused as a whole; everything stays as it was"
            );
        }
        Some(DraftOutcome::Accepted { refused, serving: false, .. }) => {
            for (key, reasons) in refused.iter().take(PROBLEMS_MAX) {
                tracing::error!(object = %key, reasons = reasons.join("; "), "in error");
            }
        }
        Some(DraftOutcome::Accepted { .. }) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ravelin_config::Draft;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::super::Updates;
    use super::*;

    #[tokio::test]
    async fn what_is_put_is_wanted_and_what_was_put_before_the_run_too() {
        let draft = |text: &str| ravelin_config::rest::read(text.as_bytes()).expect("good").draft;
        let (put, puts) = watch::channel::<Option<Arc<Draft>>>(None);
        let run = |puts: watch::Receiver<Option<Arc<Draft>>>| {
            let (updates, received) = Updates::channel();
            let (outcome, reload) = (watch::channel(None).1, watch::channel(0).1);
            let stop = CancellationToken::new();
            let surroundings = Surroundings { updates, outcome, reload, put: puts, stop: stop.clone() };
            (tokio::spawn(Box::new(RestProvider::new(Duration::ZERO)).run(surroundings)), received, stop)
        };
        let (task, mut received, stop) = run(puts.clone());
        let mut said = async || received.recv().await.expect("the run goes on");
        assert!(matches!(said().await, ProviderUpdate::State { state: ProviderState::Starting, .. }));
        put.send_replace(draft(r#"{"http": {"services": {"s": {"loadBalancer": {}}}}}"#));
        let ProviderUpdate::Draft { draft: first, .. } = said().await else { panic!("a draft first") };
        assert_eq!((first.provider.as_str(), first.objects.len()), ("rest", 1));
        assert!(matches!(said().await, ProviderUpdate::State { state: ProviderState::Connected, .. }));
        put.send_replace(draft(r#"{"http": {"services": {}}}"#));
        assert!(matches!(said().await, ProviderUpdate::Draft { draft, .. } if draft.objects.is_empty()));
        assert!(matches!(said().await, ProviderUpdate::State { state: ProviderState::Empty, .. }));
        stop.cancel();
        task.await.expect("it ends when told to");

        let (task, mut received, stop) = run(puts);
        let mut said = async || received.recv().await.expect("the run goes on");
        assert!(matches!(said().await, ProviderUpdate::State { state: ProviderState::Starting, .. }));
        assert!(matches!(said().await, ProviderUpdate::Draft { .. }), "it was put before");
        stop.cancel();
        task.await.expect("it ends when told to");
    }
}
