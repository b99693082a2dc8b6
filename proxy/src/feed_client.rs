//! Keeps this proxy attached to one control node: dials, takes generations, reports how far each one came. Where that node has
//! no quorum behind it or says nothing, others are asked meanwhile and the better one is moved to; until there is one it
//! stays. It must not compile or serve, and gives up nothing that is served: without a control node it only tries again.
//!
//! | file | is |
//! |---|---|
//! | `attachment` | one lane: opening it, its first word and what that is worth |
//! | `candidates` | whom to dial next, and when |
//! | `known` | where the cluster says that its control nodes are |
//! | `watch` | the deadlines of one attachment |
//! | `session` | what is said on the lane, and when it is left |

use std::sync::Arc;
use std::time::Duration;

use ravelin_config::feed::{FEED_VERSIONS, Hello, Receiver, ToControl};
use ravelin_config::{ConfigMap, GenerationId, Understands};
use ravelin_transport::backoff::{Backoff, BackoffOptions};
use ravelin_transport::codec::CodecError;
use ravelin_transport::{Target, Transport, TransportError};
use tokio::sync::mpsc;
use tokio::sync::watch as watched;
use tokio::time::{Instant, sleep_until};

mod attachment;
mod candidates;
mod known;
mod session;
mod watch;

use attachment::Attachment;
use candidates::Candidates;
pub(crate) use known::Known;
use session::Outcome;

/// How long the client waits for what. The defaults suit every cluster; tests shorten some.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FeedTimes {
    /// Longest time to get from dialling to an open lane.
    pub(crate) attach: Duration,
    /// Longest wait for a control node that takes no frame.
    pub(crate) send: Duration,
    /// A control node that once spoke and then says nothing for so long is left; it gives a sign of life each second.
    pub(crate) silence: Duration,
    /// Longest wait for the next part of a transfer; signs of life do not count.
    pub(crate) part: Duration,
    /// Longest wait for the first word of a control node that is weighed against another.
    pub(crate) word: Duration,
    /// A complete generation that is neither taken nor refused for so long is overdue: this proxy serves an old one.
    pub(crate) judged: Duration,
    /// A control node that another one is ahead of for so long is left.
    pub(crate) owed: Duration,
    /// First and longest wait before another control node is asked, where the present one is stale or wordless.
    pub(crate) scout: BackoffOptions,
    /// How often another control node is asked although all is well: one that has stopped to move cannot tell.
    pub(crate) audit: Duration,
}

impl Default for FeedTimes {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            attach: 5 * second,
            send: 5 * second,
            silence: 5 * second,
            part: 20 * second,
            word: 10 * second,
            judged: 30 * second,
            owed: 5 * second,
            scout: BackoffOptions { first: 2 * second, max: 60 * second, stable_after: Duration::MAX },
            audit: 300 * second,
        }
    }
}

/// What the compiler says of a generation that it was given.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Compiled and published.
    Validated(GenerationId, ConfigMap),
    /// Not taken; what is served stays.
    Refused(GenerationId, Vec<String>),
    /// Not taken, for a secret is missing: the whole may bring it.
    Incomplete(GenerationId, String),
}

/// How the proxy stands to the control plane; for status and readiness.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedStatus {
    /// The control node that feeds this proxy, if any.
    pub attached: Option<String>,
    /// No quorum stands behind that node at the moment.
    pub stale: bool,
    /// A generation that this proxy was given and has neither taken nor refused for too long: what it serves is old.
    pub overdue: Option<GenerationId>,
    /// Why the last attachment ended or failed.
    pub last_error: Option<String>,
}

/// What the client needs from the rest of the process.
pub(crate) struct FeedClient {
    /// How to reach control nodes.
    pub(crate) transport: Arc<dyn Transport>,
    /// Them, as the identity file says.
    pub(crate) controllers: Vec<Target>,
    /// The cluster.
    pub(crate) cluster: [u8; 16],
    /// Them, as the cluster said last.
    pub(crate) known: Known,
    /// What is asked for; empty means everything.
    pub(crate) view: String,
    /// This build, for people.
    pub(crate) build: String,
    /// Drawn at the start of this process: another one under the same identity has another.
    pub(crate) instance: u64,
    /// Gathers transfers; it holds what is served at the start.
    pub(crate) receiver: Receiver,
    /// Takes each complete generation; a newer one replaces one that waits.
    pub(crate) offer: Box<dyn Fn(GenerationId, ConfigMap) + Send>,
    /// What became of them.
    pub(crate) verdicts: mpsc::Receiver<Verdict>,
    /// What every worker serves.
    pub(crate) serving: watched::Receiver<Option<GenerationId>>,
    /// Where to tell how things stand.
    pub(crate) status: watched::Sender<FeedStatus>,
    /// Lets two proxies dial in different order and at different times.
    pub(crate) seed: u64,
    /// How long to wait for what.
    pub(crate) times: FeedTimes,
}

/// Why an attachment ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("not attached within {0:?}")]
    Attach(Duration),
    #[error("the control node takes no frame")]
    Stuck,
    #[error("the control node has been silent for {0:?}")]
    Silent(Duration),
    #[error("the control node has not said a word for {0:?}")]
    Wordless(Duration),
    #[error("no further part of a transfer came within {0:?}")]
    Stalled(Duration),
    #[error("the control node began {0} transfers, and none could be used")]
    NoProgress(u32),
    #[error("the control node ended the feed")]
    Closed,
    #[error("a message cannot be read")]
    Codec(#[from] CodecError),
    #[error("the control node refuses this proxy: {0}")]
    Refused(String),
    #[error("the control node is behind: it offers {offered}, held is {held}{}", given_up(offered, held))]
    Behind { offered: Box<GenerationId>, held: Box<GenerationId> },
    #[error("the control node does not get on: another one feeds {offered}")]
    Lagging { offered: GenerationId },
    #[error("the compiler is gone")]
    Process,
}

/// What is wrong with a control node from before a recovery of the cluster.
fn given_up(offered: &GenerationId, held: &GenerationId) -> String {
    let (of, known) = (offered.recovery_epoch, held.recovery_epoch);
    if of >= known {
        return String::new();
    }
    format!(
        "; it is of recovery epoch {of}, which was given up for epoch {known}: stop it, it must rejoin as a new node with an \
         empty directory"
    )
}

impl Ended {
    /// Whether the control node was there and of no use, rather than gone: then it is left alone for longer.
    fn was_reached(&self) -> bool {
        match self {
            Self::Stalled(_)
            | Self::NoProgress(_)
            | Self::Codec(_)
            | Self::Refused(_)
            | Self::Behind { .. }
            | Self::Lagging { .. }
            | Self::Transport(TransportError::Refused { .. } | TransportError::RefusedByPeer { .. }) => true,
            // A cluster without any configuration has nothing to say, and is well.
            Self::Wordless(_)
            | Self::Transport(_)
            | Self::Attach(_)
            | Self::Stuck
            | Self::Silent(_)
            | Self::Closed
            | Self::Process => false,
        }
    }
}

impl FeedClient {
    /// Runs until the process ends: the future resolves only when the compiler is gone. Drop it to detach.
    pub(crate) async fn run(&mut self) {
        let mut candidates = Candidates::new(&self.controllers, self.seed, Instant::now());
        candidates.follow(self.known.nodes(), Instant::now());
        // Asking others has waits of its own: it happens while an attachment stands.
        let mut scouting = Backoff::new(self.times.scout, self.seed);
        let mut found: Option<Attachment> = None;
        loop {
            let attachment = match found.take() {
                Some(attachment) => Ok(attachment),
                None => {
                    let Some((place, at)) = candidates.next() else {
                        return self.without_controllers().await;
                    };
                    if !self.wait_until(at).await {
                        return;
                    }
                    let Some(target) = candidates.ask(place) else { return };
                    let (transport, hello) = (Arc::clone(&self.transport), self.hello());
                    let opened = attachment::open(place, transport, target, hello, self.times).await;
                    opened.map_err(|ended| (place, ended))
                }
            };
            let outcome = match attachment {
                Ok(attachment) => self.session(attachment, &mut candidates, &mut scouting).await,
                Err((place, ended)) => Outcome::Ended(place, ended),
            };
            match outcome {
                Outcome::Moved(better) => found = Some(better),
                Outcome::Ended(_, Ended::Process) => return,
                Outcome::Ended(place, ended) => self.lost(place, &ended, &mut candidates),
            }
        }
    }

    /// After a panic: tells it and waits. False when the process ends.
    pub(crate) async fn begin_anew(&mut self, what: String, wait: Duration) -> bool {
        self.status.send_modify(|status| {
            status.attached = None;
            status.stale = false;
            status.last_error = Some(what);
        });
        self.wait_until(Instant::now() + wait).await
    }

    /// Tells once that an attachment was lost or did not come about, and who is to blame.
    fn lost(&mut self, place: usize, ended: &Ended, candidates: &mut Candidates) {
        let text = text_of(ended);
        let was_attached = self.status.borrow().attached.is_some();
        let had_all_failed = candidates.all_failed();
        let is_news = candidates.failed(place, ended, &text, Instant::now());
        let controller = candidates.address(place);
        if was_attached {
            tracing::warn!(controller, error = %text, "feed lost; what is served stays, another control node is looked for");
        } else if is_news {
            tracing::warn!(controller, error = %text, "a control node cannot feed this proxy");
        } else {
            tracing::debug!(controller, error = %text, "a control node still cannot feed this proxy");
        }
        if candidates.all_failed() && !had_all_failed {
            let served = self.serving.borrow().map(|generation| generation.to_string());
            let served = served.as_deref().unwrap_or("nothing yet");
            tracing::error!(
                served,
                "no control node feeds this proxy; it goes on with what it has and keeps trying"
            );
        }
        self.status.send_modify(|status| {
            status.attached = None;
            status.stale = false;
            status.last_error = Some(text);
        });
    }

    fn hello(&self) -> ToControl {
        let newest = self.receiver.floor().or(self.receiver.held());
        let told = self.known.recovery_epoch();
        ToControl::Hello(Hello {
            cluster: self.cluster,
            recovery_epoch: newest.map_or(0, |newest| newest.recovery_epoch).max(told),
            generation: self.receiver.held(),
            floor: self.receiver.floor(),
            view: self.view.clone(),
            build: self.build.clone(),
            instance: self.instance,
            understands: Understands::this_build(FEED_VERSIONS),
        })
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
        let is_over = self.status.send_if_modified(|status| status.overdue.take().is_some());
        if is_over {
            tracing::info!("the table thread gets on again");
        }
        if let Verdict::Validated(generation, map) = verdict {
            self.receiver.adopt(*generation, map.clone());
        }
        if let Verdict::Incomplete(generation, _) = verdict {
            self.receiver.forget(*generation);
        }
    }
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
