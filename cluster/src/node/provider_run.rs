//! What a node keeps of the providers that it runs: how they stand, and which of their drafts are not served everywhere yet.
//! It must not start or stop any.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::provider::{DraftOutcome, ProviderSpec, ProviderUpdate};
use crate::request::status::{EventKind, ProviderState, ProviderStatus};

#[derive(Debug, Default)]
pub(super) struct ProviderRun {
    pub(super) epoch: u64,
    pub(super) specs: Vec<ProviderSpec>,
    /// The bytes that `specs` were read from, to see a change without parsing; none before the first look.
    pub(super) section: Option<Option<Arc<[u8]>>>,
    pub(super) providers: BTreeMap<String, ProviderStatus>,
    /// The last draft of each provider that is in the log and not yet served by every proxy.
    pub(super) unserved: BTreeMap<String, DraftOutcome>,
}

impl ProviderRun {
    /// Takes a provider's word about itself; gives what is worth noting.
    pub(super) fn update(&mut self, update: &ProviderUpdate) -> Option<EventKind> {
        match update {
            ProviderUpdate::Draft { draft, read } => {
                let status = self.status(&draft.provider);
                status.objects = draft.objects.len() as u64;
                status.read_micros = u64::try_from(read.as_micros()).unwrap_or(u64::MAX);
                status.serving = false;
                None
            }
            ProviderUpdate::State { provider, state } => {
                let status = self.status(provider);
                let noted = match state {
                    ProviderState::Failing { reasons, .. } if status.state != *state => {
                        Some(EventKind::ConfigurationRefused {
                            provider: provider.clone(),
                            reasons: reasons.clone(),
                        })
                    }
                    _ => None,
                };
                status.state = state.clone();
                noted
            }
        }
    }

    /// Keeps what became of a provider's draft, until every proxy serves it.
    pub(super) fn told(&mut self, provider: &str, outcome: &DraftOutcome) {
        self.unserved.remove(provider);
        if let DraftOutcome::Accepted { refused, .. } = outcome {
            self.status(provider).in_error = refused.len() as u64;
            self.unserved.insert(provider.to_owned(), outcome.clone());
        }
    }

    /// Every proxy serves this revision or a newer one: the outcomes of which that says something new.
    pub(super) fn served(&mut self, revision: u64) -> Vec<(String, DraftOutcome)> {
        let mut news = Vec::new();
        for (provider, outcome) in std::mem::take(&mut self.unserved) {
            match outcome {
                DraftOutcome::Accepted { generation, refused, .. } if generation.revision <= revision => {
                    self.status(&provider).serving = true;
                    news.push((provider, DraftOutcome::Accepted { generation, refused, serving: true }));
                }
                waits => drop(self.unserved.insert(provider, waits)),
            }
        }
        news
    }

    fn status(&mut self, provider: &str) -> &mut ProviderStatus {
        self.providers.entry(provider.to_owned()).or_insert_with(|| ProviderStatus {
            name: provider.to_owned(),
            state: ProviderState::Starting,
            objects: 0,
            in_error: 0,
            serving: false,
            read_micros: 0,
        })
    }
}
