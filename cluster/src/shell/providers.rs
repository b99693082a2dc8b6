//! Runs the providers that the node asks for, each as a task of its own under the epoch it was started for.
//! It must not decide which run: the node does.

use std::collections::BTreeMap;
use std::sync::Arc;

use ravelin_config::Draft;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Message;
use crate::node::event::Event;
use crate::provider::{DraftOutcome, ProviderSpec, Surroundings, Updates};

/// The providers that run at the moment, by name.
#[derive(Debug)]
pub(super) struct Providers {
    inbox: mpsc::Sender<Message>,
    reload: watch::Receiver<u64>,
    put: watch::Receiver<Option<Arc<Draft>>>,
    epoch: u64,
    running: BTreeMap<String, Running>,
}

#[derive(Debug)]
struct Running {
    spec: ProviderSpec,
    stop: CancellationToken,
    outcome: watch::Sender<Option<DraftOutcome>>,
}

impl Providers {
    pub(super) fn new(
        inbox: mpsc::Sender<Message>,
        reload: watch::Receiver<u64>,
        put: watch::Receiver<Option<Arc<Draft>>>,
    ) -> Self {
        Self { inbox, reload, put, epoch: 0, running: BTreeMap::new() }
    }

    /// Runs these and no others. One that runs unchanged under the same epoch goes on.
    pub(super) fn run(&mut self, epoch: u64, specs: Vec<ProviderSpec>) {
        if epoch != self.epoch {
            self.stop();
            self.epoch = epoch;
        }
        self.running.retain(|_, running| {
            let goes_on = specs.contains(&running.spec);
            if !goes_on {
                running.stop.cancel();
            }
            goes_on
        });
        for spec in specs {
            if !self.running.contains_key(spec.name()) {
                self.start(spec);
            }
        }
    }

    fn start(&mut self, spec: ProviderSpec) {
        let (updates, mut received) = Updates::channel();
        let (outcome, outcomes) = watch::channel(None);
        let stop = CancellationToken::new();
        let surroundings = Surroundings {
            updates,
            outcome: outcomes,
            reload: self.reload.clone(),
            put: self.put.clone(),
            stop: stop.clone(),
        };
        tracing::info!(provider = spec.name(), epoch = self.epoch, "provider starts");
        tokio::spawn(spec.clone().build().run(surroundings));
        let (inbox, epoch) = (self.inbox.clone(), self.epoch);
        tokio::spawn(async move {
            while let Some(update) = received.recv().await {
                if inbox.send(Message::Event(Event::Provider { epoch, update })).await.is_err() {
                    return;
                }
            }
        });
        self.running.insert(spec.name().to_owned(), Running { spec, stop, outcome });
    }

    /// Runs none.
    pub(super) fn stop(&mut self) {
        for running in std::mem::take(&mut self.running).into_values() {
            running.stop.cancel();
        }
    }

    /// Tells a provider what became of its last draft.
    pub(super) fn outcome(&self, provider: &str, outcome: DraftOutcome) {
        if let Some(running) = self.running.get(provider) {
            running.outcome.send_replace(Some(outcome));
        }
    }
}

impl Drop for Providers {
    fn drop(&mut self) {
        self.stop();
    }
}
