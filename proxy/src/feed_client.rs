//! Keeps this proxy attached to one control node: dials, takes generations, reports how far each one came.
//! It must not compile or serve, and it gives up nothing that is served: without a control node it only tries again.

use std::sync::Arc;
use std::time::Duration;

use ravelin_config::feed::{FEED_VERSION, Receiver, Stage, Step, ToControl, ToProxy};
use ravelin_config::{ConfigMap, GenerationId};
use ravelin_transport::backoff::{Backoff, BackoffOptions};
use ravelin_transport::codec::{self, CodecError};
use ravelin_transport::{Lane, LaneReceiver, LaneSender, Target, Transport, TransportError};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// Longest time to get from dialling to an open lane.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a control node that takes no frame.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// A control node that once spoke and then says nothing for so long is left; it gives a sign of life each second.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What the compiler says of a generation that it was given.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Compiled and published.
    Validated(GenerationId, ConfigMap),
    /// Not taken; what is served stays.
    Refused(GenerationId, Vec<String>),
}

/// How the proxy stands to the control plane; for status and readiness.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedStatus {
    /// The control node that feeds this proxy, if any.
    pub attached: Option<String>,
    /// No quorum stands behind that node at the moment.
    pub stale: bool,
    /// Why the last attachment ended or failed.
    pub last_error: Option<String>,
}

/// What the client needs from the rest of the process.
pub(crate) struct FeedClient {
    /// How to reach control nodes.
    pub(crate) transport: Arc<dyn Transport>,
    /// Them.
    pub(crate) controllers: Vec<Target>,
    /// What is asked for; empty means everything.
    pub(crate) view: String,
    /// This build, for people.
    pub(crate) build: String,
    /// Gathers transfers; it holds what is served at the start.
    pub(crate) receiver: Receiver,
    /// Takes each complete generation; a newer one replaces one that waits.
    pub(crate) offer: Box<dyn Fn(GenerationId, ConfigMap) + Send>,
    /// What became of them.
    pub(crate) verdicts: mpsc::Receiver<Verdict>,
    /// What every worker serves.
    pub(crate) serving: watch::Receiver<Option<GenerationId>>,
    /// Where to tell how things stand.
    pub(crate) status: watch::Sender<FeedStatus>,
    /// Lets two proxies dial in different order and at different times.
    pub(crate) seed: u64,
}

/// Why an attachment ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("not attached within {ATTACH_TIMEOUT:?}")]
    Attach,
    #[error("the control node takes no frame")]
    Stuck,
    #[error("the control node has been silent for {SILENCE_MAX:?}")]
    Silent,
    #[error("the control node ended the feed")]
    Closed,
    #[error("a message cannot be read")]
    Codec(#[from] CodecError),
    #[error("the control node refuses this proxy: {0}")]
    Refused(String),
    #[error("the control node is behind: it offers {offered}, held is {held}")]
    Behind { offered: GenerationId, held: GenerationId },
    #[error("the compiler is gone")]
    Process,
}

struct Candidate {
    target: Target,
    backoff: Backoff,
    not_before: Instant,
}

impl FeedClient {
    /// Runs until the process ends: the future resolves only when the compiler is gone. Drop it to detach.
    pub(crate) async fn run(mut self) {
        let start = Instant::now();
        let mut candidates = self.candidates(start);
        loop {
            let Some(candidate) = candidates.iter_mut().min_by_key(|candidate| candidate.not_before) else {
                return self.without_controllers().await;
            };
            if !self.wait_until(candidate.not_before).await {
                return;
            }
            let ended = self.attachment(candidate, start).await;
            self.status.send_modify(|status| {
                status.attached = None;
                status.last_error = Some(text_of(&ended));
            });
            if matches!(ended, Ended::Process) {
                return;
            }
            tracing::warn!(controller = %candidate.target.address, error = %text_of(&ended), "feed lost");
            candidate.not_before = Instant::now() + candidate.backoff.failed(start.elapsed());
        }
    }

    fn candidates(&self, start: Instant) -> Vec<Candidate> {
        let count = self.controllers.len().max(1) as u64;
        let mut candidates: Vec<Candidate> = (0u64..)
            .zip(&self.controllers)
            .map(|(number, target)| Candidate {
                target: target.clone(),
                backoff: Backoff::new(BackoffOptions::default(), self.seed.wrapping_add(number)),
                not_before: start,
            })
            .collect();
        // Proxies begin at different control nodes.
        candidates.rotate_left(usize::try_from(self.seed % count).unwrap_or(0).min(self.controllers.len()));
        candidates
    }

    /// A proxy that was given no control node serves what it has.
    async fn without_controllers(&mut self) {
        while let Some(verdict) = self.verdicts.recv().await {
            self.note(&verdict);
        }
    }

    /// Waits while verdicts go on to be noted. False when the process ends.
    async fn wait_until(&mut self, moment: Instant) -> bool {
        loop {
            tokio::select! {
                () = sleep_until(moment) => return true,
                verdict = self.verdicts.recv() => match verdict {
                    Some(verdict) => self.note(&verdict),
                    None => return false,
                },
            }
        }
    }

    fn note(&mut self, verdict: &Verdict) {
        if let Verdict::Validated(generation, map) = verdict {
            self.receiver.adopt(*generation, map.clone());
        }
    }

    async fn attachment(&mut self, candidate: &mut Candidate, start: Instant) -> Ended {
        let attached = timeout(ATTACH_TIMEOUT, async {
            let connection = self.transport.connect(&candidate.target).await?;
            let (sender, receiver) = connection.open(Lane::Feed).await?;
            Ok::<_, TransportError>((connection, sender, receiver))
        });
        let (_connection, sender, receiver) = match attached.await {
            Ok(Ok(attached)) => attached,
            Ok(Err(error)) => return error.into(),
            Err(_) => return Ended::Attach,
        };
        candidate.backoff.connected(start.elapsed());
        let address = candidate.target.address.clone();
        tracing::info!(controller = %address, "attached to a control node");
        self.status.send_modify(|status| {
            *status = FeedStatus { attached: Some(address), stale: false, last_error: None };
        });
        match self.session(sender, receiver).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn session(
        &mut self,
        mut sender: LaneSender,
        mut lane: LaneReceiver,
    ) -> Result<std::convert::Infallible, Ended> {
        self.receiver.reconnected();
        let (view, build) = (self.view.clone(), self.build.clone());
        send(&mut sender, &ToControl::Hello { generation: self.receiver.held(), view, build }).await?;
        let mut told = None;
        self.tell_serving(&mut sender, &mut told).await?;
        // Silence counts from the first word on: a control node without any configuration has nothing to say.
        let mut silent_at = None;
        loop {
            let silence = async {
                match silent_at {
                    Some(moment) => sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                frame = lane.receive() => {
                    let frame = frame?.ok_or(Ended::Closed)?;
                    silent_at = Some(Instant::now() + SILENCE_MAX);
                    let message = codec::decode(FEED_VERSION, &frame)?;
                    self.message(&mut sender, message).await?;
                }
                verdict = self.verdicts.recv() => {
                    let verdict = verdict.ok_or(Ended::Process)?;
                    self.note(&verdict);
                    let (generation, stage) = match verdict {
                        Verdict::Validated(generation, _) => (generation, Stage::Validated),
                        Verdict::Refused(generation, reasons) => (generation, Stage::Refused { reasons }),
                    };
                    send(&mut sender, &ToControl::Acknowledge { generation, stage }).await?;
                    self.tell_serving(&mut sender, &mut told).await?;
                }
                changed = self.serving.changed() => {
                    changed.map_err(|_| Ended::Process)?;
                    self.tell_serving(&mut sender, &mut told).await?;
                }
                () = silence => return Err(Ended::Silent),
            }
        }
    }

    /// Says once what is served, and only of the generation that is held: validated comes before serving.
    async fn tell_serving(
        &mut self,
        sender: &mut LaneSender,
        told: &mut Option<GenerationId>,
    ) -> Result<(), Ended> {
        let serving = *self.serving.borrow_and_update();
        let Some(generation) = serving.filter(|generation| self.receiver.held() == Some(*generation)) else {
            return Ok(());
        };
        if *told != serving {
            *told = serving;
            send(sender, &ToControl::Acknowledge { generation, stage: Stage::Serving }).await?;
        }
        Ok(())
    }

    async fn message(&mut self, sender: &mut LaneSender, message: ToProxy) -> Result<(), Ended> {
        if let ToProxy::UpToDate { stale, .. } = &message {
            let stale = *stale;
            self.status.send_if_modified(|status| std::mem::replace(&mut status.stale, stale) != stale);
        }
        match self.receiver.handle(message) {
            Step::Nothing => Ok(()),
            Step::Complete { generation, map } => {
                send(sender, &ToControl::Acknowledge { generation, stage: Stage::Received }).await?;
                (self.offer)(generation, map);
                Ok(())
            }
            Step::Held { generation } => {
                send(sender, &ToControl::Acknowledge { generation, stage: Stage::Validated }).await
            }
            Step::NeedWhole { reason } => {
                tracing::info!(%reason, "asking for the whole generation");
                send(sender, &ToControl::NeedWhole { reason }).await
            }
            Step::GoesBackwards { offered, held } => Err(Ended::Behind { offered, held }),
            Step::Refused { reason } => Err(Ended::Refused(reason)),
        }
    }
}

async fn send(sender: &mut LaneSender, message: &ToControl) -> Result<(), Ended> {
    let frame = codec::encode(FEED_VERSION, message)?;
    timeout(SEND_TIMEOUT, sender.send(frame)).await.map_err(|_| Ended::Stuck)??;
    Ok(())
}

/// The error with its causes, as one line.
fn text_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
