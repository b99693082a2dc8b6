//! The controller's way from drafts and requests to commands in the log: one at a time, in order, each judged against
//! the state that the one before it left. It must not judge objects itself (the worker does) nor touch the store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ravelin_config::{ConfigMap, Draft, GenerationId, State};
use ravelin_consensus::Time;

use crate::api::PendingId;
use crate::node::event::{Action, Actions};
use crate::node::timers::between;
use crate::provider::DraftRefusal;
use crate::request::status::EventKind;
use crate::request::{
    ApplyMode, Change, Refusal, RefusalReason, RequestId, Response, SourceDocument, Verdict as ObjectVerdict,
};
use crate::storage::CommandBytes;
use crate::store::Author;

pub mod worker;

/// Requests that wait for their turn at the controller.
pub const REQUESTS_MAX: usize = 256;
/// Parts of one change that are on their way to the log at a time.
const PARTS_IN_FLIGHT_MAX: usize = 8;
/// How long the log may take for a part before it is proposed again.
const PROPOSE_RETRY: Duration = Duration::from_millis(1000);
/// How long one proposal of a part may be on its way, in milliseconds.
pub(crate) const PROPOSE_DEADLINE_MILLIS: u32 = 1000;
/// How long to wait after a part was turned away.
const TURNED_AWAY_RETRY: Duration = Duration::from_millis(50);
/// How often a change is judged anew because the state changed under it.
const CONFLICTS_MAX: u32 = 8;

/// A job for the worker.
#[derive(Debug)]
pub enum Job {
    /// Forget everything and begin from these records.
    Reset {
        /// The applied configuration.
        map: ConfigMap,
    },
    /// Judge one piece of work.
    Judge {
        /// Comes back with the verdict.
        number: u64,
        /// What the commands are stamped with.
        stamp: Stamp,
        /// The work.
        work: Work,
    },
}

/// Who writes, under which name, on top of what.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// Names the change in the log: it takes effect at most once.
    pub id: RequestId,
    /// The author, with the controller's epoch.
    pub author: Author,
    /// The revision of the configuration that the change builds on; another one refuses it.
    pub base: u64,
    /// Wall clock, in milliseconds since 1970; only shown.
    pub at_unix_ms: u64,
}

/// A piece of work.
#[derive(Debug, Clone)]
pub enum Work {
    /// Everything that a provider wants, instead of what it wanted before.
    Draft(Arc<Draft>),
    /// Objects of `@cluster` and static objects, from documents.
    Apply {
        /// The documents.
        documents: Vec<SourceDocument>,
        /// What happens to the rest.
        mode: ApplyMode,
    },
    /// Keys to delete.
    Delete {
        /// Full keys.
        keys: Vec<String>,
    },
}

/// The worker's answer to [`Job::Judge`].
#[derive(Debug)]
pub struct Verdict {
    /// The job's number.
    pub number: u64,
    /// The commands to propose, or why nothing is to be changed.
    pub outcome: Result<Prepared, Refusal>,
    /// The worker's state went ahead of what can be committed: it must be reset before the next job.
    pub needs_reset: bool,
}

/// A judged change, ready for the log.
#[derive(Debug, Clone, Default)]
pub struct Prepared {
    /// In order; the last one makes the change take effect. None if there is nothing to change.
    pub commands: Vec<CommandBytes>,
    /// Records that it puts.
    pub put: u64,
    /// Records that it deletes.
    pub deleted: u64,
    /// Objects of it that are in error or carry a warning.
    pub verdicts: Vec<ObjectVerdict>,
}

/// What the node has to do for the reconciler.
#[derive(Debug)]
pub(crate) enum Output {
    /// Put this into the log, here or through the leader. `part` comes back where it is turned away.
    Propose { command: CommandBytes, part: u32 },
    /// Answer this request.
    Answer { request: PendingId, response: Response },
    /// This request was on its way to the log when the run ended: it may take effect or not.
    Orphaned { request: PendingId },
    /// Tell the provider.
    Outcome { provider: String, outcome: Result<GenerationId, DraftRefusal> },
    /// Note this.
    Note(EventKind),
}

/// How the log decided about a change, as the store applied it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// A part of it is in the store, the change itself is not complete.
    Staged { part: u32 },
    /// It took effect, now or before.
    Committed { generation: GenerationId },
    /// The configuration was another one than the attempt was built on, which was this.
    Conflict { base: u64 },
    /// Its author's epoch is over.
    StaleEpoch,
    /// It can never take effect.
    Impossible { reason: String },
}

/// The controller's work in hand; empty on every other node.
#[derive(Debug, Default)]
pub(crate) struct Reconcile {
    run: Option<Run>,
    jobs: u64,
    outputs: Vec<Output>,
}

#[derive(Debug)]
struct Run {
    author: Author,
    /// Whether the worker's state is the applied one; the next job starts with a reset otherwise.
    current: bool,
    /// The newest draft of each provider that is not yet in the log.
    drafts: BTreeMap<String, Arc<Draft>>,
    requests: VecDeque<Item>,
    active: Option<Active>,
}

#[derive(Debug, Clone)]
struct Item {
    origin: Origin,
    id: RequestId,
    work: Work,
    conflicts: u32,
}

#[derive(Debug, Clone)]
enum Origin {
    Provider(String),
    Request(PendingId, String),
}

#[derive(Debug)]
struct Active {
    item: Item,
    /// The configuration's revision that the commands build on.
    base: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Judging { number: u64 },
    Committing(Committing),
}

#[derive(Debug)]
struct Committing {
    prepared: Prepared,
    /// Parts that are applied: they may come in any order, and with gaps.
    applied: BTreeSet<u32>,
    /// Parts that were proposed and not turned away since; those of them that are applied do not count.
    on_the_way: BTreeSet<u32>,
    /// Whether any part was ever proposed: from then on the change may take effect.
    proposed: bool,
    /// When something last moved.
    moved: Time,
    /// Nothing is proposed before this: the log turned a part away.
    not_before: Time,
}

/// The applied state that work is built on.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) map: &'a ConfigMap,
    /// Revision of the last change of configuration.
    pub(crate) revision: u64,
    pub(crate) generation: Option<GenerationId>,
    /// The generation to name for a change that took effect already; none if it did not.
    pub(crate) outcome: &'a dyn Fn(RequestId) -> Option<GenerationId>,
}

impl Reconcile {
    /// This node is the controller from now on, and writes as this author.
    pub(crate) fn begin(&mut self, author: Author) {
        self.run = Some(Run {
            author,
            current: false,
            drafts: BTreeMap::new(),
            requests: VecDeque::new(),
            active: None,
        });
    }

    /// It no longer is: epoch `current` stands. Requests that were not judged go back to where they came from; what is on
    /// its way to the log is left to its fate there, which the fencing epoch decides. Work that was under way is a late
    /// write: it is dropped, and that is noted.
    pub(crate) fn end(&mut self, current: u64) {
        let Some(run) = self.run.take() else { return };
        if let Author::Controller { epoch, .. } = run.author
            && epoch < current
            && (run.active.is_some() || !run.drafts.is_empty())
        {
            let note = EventKind::StaleWriteRefused { epoch, current, decided_by_log: false };
            self.outputs.push(Output::Note(note));
        }
        let redirect = |may_take_effect| Response::Redirect { node: None, may_take_effect };
        for item in run.requests {
            if let Origin::Request(request, _) = item.origin {
                let response = redirect(item.conflicts > 0);
                self.outputs.push(Output::Answer { request, response });
            }
        }
        let Some(active) = run.active else { return };
        let unproposed = active.is_unproposed();
        if let Origin::Request(request, _) = active.item.origin {
            self.outputs.push(match unproposed {
                true => Output::Answer { request, response: redirect(false) },
                false => Output::Orphaned { request },
            });
        }
    }

    /// The static objects that the configuration must hold, and no others.
    pub(crate) fn static_objects(&mut self, objects: &Arc<Draft>) {
        self.draft(Arc::clone(objects));
    }

    /// Another piece of work from a provider; it replaces one that still waits.
    pub(crate) fn draft(&mut self, draft: Arc<Draft>) {
        if let Some(run) = &mut self.run {
            run.drafts.insert(draft.provider.clone(), draft);
        }
    }

    /// Another piece of work from a request. False if there is no run, or no room.
    pub(crate) fn request(
        &mut self,
        request: PendingId,
        id: RequestId,
        author: String,
        work: Work,
    ) -> Result<(), Response> {
        let Some(run) = &mut self.run else {
            return Err(Response::Redirect { node: None, may_take_effect: false });
        };
        if run.requests.len() >= REQUESTS_MAX {
            let reason = format!("{REQUESTS_MAX} changes already wait at the controller");
            return Err(Response::Unavailable { reason });
        }
        run.requests.push_back(Item { origin: Origin::Request(request, author), id, work, conflicts: 0 });
        Ok(())
    }

    /// Takes what there is to do outside.
    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Goes on as far as possible: starts the next piece of work, proposes parts, repeats what seems lost.
    pub(crate) fn advance(
        &mut self,
        now: Time,
        ground: Ground<'_>,
        mut fresh_id: impl FnMut() -> RequestId,
        actions: &mut Actions,
    ) {
        let Some(run) = &mut self.run else { return };
        while run.active.is_none()
            && let Some(item) = run.next_item(&mut fresh_id)
        {
            if let (Origin::Request(request, _), Some(generation)) = (&item.origin, (ground.outcome)(item.id))
            {
                // It took effect under a controller before this one, or in an attempt that seemed lost.
                let response = done(item.id, generation, Prepared::default());
                self.outputs.push(Output::Answer { request: *request, response });
                continue;
            }
            if !run.current {
                actions.push(Action::Check(Job::Reset { map: ground.map.clone() }));
                run.current = true;
            }
            self.jobs += 1;
            let author = run.author_of(&item);
            let at_unix_ms = now.micros / 1000;
            let stamp = Stamp { id: item.id, author, base: ground.revision, at_unix_ms };
            let job = Job::Judge { number: self.jobs, stamp, work: item.work.clone() };
            actions.push(Action::Check(job));
            run.active =
                Some(Active { item, base: ground.revision, stage: Stage::Judging { number: self.jobs } });
        }
        if let Some(Active { stage: Stage::Committing(committing), .. }) = &mut run.active {
            committing.propose(now, &mut self.outputs);
        }
    }

    /// The worker has judged.
    pub(crate) fn judged(&mut self, now: Time, verdict: Verdict, ground: Ground<'_>) {
        let Some(run) = &mut self.run else { return };
        let Some(active) = &mut run.active else { return };
        if !matches!(active.stage, Stage::Judging { number } if number == verdict.number) {
            return;
        }
        run.current &= !verdict.needs_reset;
        if active.base != ground.revision {
            run.retry();
            return;
        }
        match verdict.outcome {
            Ok(prepared) if prepared.commands.is_empty() => {
                self.finish(ground, Ok((prepared, ground.generation)));
            }
            Ok(prepared) => {
                active.stage = Stage::Committing(Committing {
                    prepared,
                    applied: BTreeSet::new(),
                    on_the_way: BTreeSet::new(),
                    proposed: false,
                    moved: now,
                    not_before: now,
                });
            }
            Err(refusal) => {
                let provider = active.item.origin.name();
                self.outputs.push(Output::Note(EventKind::ConfigurationRefused {
                    provider,
                    reasons: refusal.problems.clone(),
                }));
                self.finish(ground, Err(refusal));
            }
        }
    }

    /// The log decided about a change. Changes that are not this run's only make the worker's state old.
    pub(crate) fn decided(&mut self, now: Time, id: RequestId, decision: &Decision, ground: Ground<'_>) {
        let Some(run) = &mut self.run else { return };
        let ours = run.active.as_mut().filter(|active| active.item.id == id);
        let Some(Active { stage: Stage::Committing(committing), item, base }) = ours else {
            // Another author, or an earlier attempt of work that is still to be judged: the worker must look again. In
            // the second case the store remembers the change, and answers for it when the work's turn comes.
            run.current &= !matches!(decision, Decision::Committed { .. });
            return;
        };
        match decision {
            // Of an attempt before this one, which is over.
            Decision::Conflict { base: earlier } if earlier != base => {}
            Decision::Staged { part } => {
                committing.applied.insert(*part);
                committing.on_the_way.remove(part);
                committing.moved = now;
            }
            Decision::Committed { generation } => {
                let prepared = std::mem::take(&mut committing.prepared);
                self.finish(ground, Ok((prepared, Some(*generation))));
            }
            Decision::Conflict { .. } if item.conflicts < CONFLICTS_MAX => {
                item.conflicts += 1;
                run.retry();
            }
            Decision::Conflict { .. } => {
                let problem = format!("the configuration changed under the request {CONFLICTS_MAX} times");
                run.current = false;
                self.finish(ground, Err(Refusal::new(RefusalReason::Conflict, problem)));
            }
            Decision::StaleEpoch => {
                let problem = "another controller was appointed before the change reached the log";
                run.current = false;
                self.finish(ground, Err(Refusal::new(RefusalReason::StaleEpoch, problem)));
            }
            Decision::Impossible { reason } => {
                run.current = false;
                self.finish(ground, Err(Refusal::new(RefusalReason::TooLarge, reason.clone())));
            }
        }
    }

    /// The log did not take a part: propose it again a little later.
    pub(crate) fn turned_away(&mut self, now: Time, part: u32) {
        let run = self.run.as_mut();
        if let Some(Active { stage: Stage::Committing(committing), .. }) =
            run.and_then(|run| run.active.as_mut())
        {
            committing.on_the_way.remove(&part);
            committing.not_before = crate::node::timers::after(now, TURNED_AWAY_RETRY);
        }
    }

    fn finish(&mut self, ground: Ground<'_>, outcome: Result<(Prepared, Option<GenerationId>), Refusal>) {
        let Some(run) = &mut self.run else { return };
        let Some(Active { item, .. }) = run.active.take() else { return };
        if let Ok((prepared, Some(_))) = &outcome {
            self.outputs.extend(in_error(&item.origin.name(), &prepared.verdicts).map(Output::Note));
        }
        match item.origin {
            Origin::Provider(provider) => {
                let outcome = match outcome {
                    Ok((_, Some(generation))) => Ok(generation),
                    Ok((_, None)) => return,
                    Err(refusal) => Err(DraftRefusal { problems: refusal.problems }),
                };
                self.outputs.push(Output::Outcome { provider, outcome });
            }
            Origin::Request(request, _) => {
                let response = match outcome {
                    Ok((prepared, generation)) => match generation.or(ground.generation) {
                        Some(generation) => done(item.id, generation, prepared),
                        None => Response::Refused(Refusal::new(
                            RefusalReason::BadRequest,
                            "there is no configuration yet, and the request brings none",
                        )),
                    },
                    Err(refusal) if refusal.reason == RefusalReason::StaleEpoch => {
                        // The epoch fences what its controller wrote, not every copy of the request.
                        Response::Redirect { node: None, may_take_effect: true }
                    }
                    Err(refusal) => Response::Refused(refusal),
                };
                self.outputs.push(Output::Answer { request, response });
            }
        }
    }
}

/// What to note of a committed change, if any object of it is in error.
fn in_error(provider: &str, verdicts: &[ObjectVerdict]) -> Option<EventKind> {
    let broken = verdicts.iter().filter(|verdict| verdict.state == State::Disabled.as_str());
    let objects: Vec<String> =
        broken.map(|verdict| format!("{}: {}", verdict.key, verdict.errors.join("; "))).collect();
    (!objects.is_empty()).then(|| EventKind::ObjectsInError { provider: provider.to_owned(), objects })
}

fn done(id: RequestId, generation: GenerationId, prepared: Prepared) -> Response {
    let Prepared { put, deleted, verdicts, .. } = prepared;
    Response::Done(Change { id, generation: generation.into(), put, deleted, verdicts })
}

impl Origin {
    fn name(&self) -> String {
        match self {
            Self::Provider(name) => name.clone(),
            Self::Request(..) => worker::CLUSTER_PROVIDER.to_owned(),
        }
    }
}

impl Active {
    /// Whether no part of it can have reached the log.
    fn is_unproposed(&self) -> bool {
        match &self.stage {
            Stage::Judging { .. } => self.item.conflicts == 0,
            Stage::Committing(committing) => self.item.conflicts == 0 && !committing.proposed,
        }
    }
}

impl Run {
    /// Requests before drafts: somebody waits for them.
    fn next_item(&mut self, fresh_id: &mut impl FnMut() -> RequestId) -> Option<Item> {
        if let Some(item) = self.requests.pop_front() {
            return Some(item);
        }
        let (provider, draft) = self.drafts.pop_first()?;
        let origin = Origin::Provider(provider);
        Some(Item { origin, id: fresh_id(), work: Work::Draft(draft), conflicts: 0 })
    }

    fn author_of(&self, item: &Item) -> Author {
        match &item.origin {
            Origin::Provider(_) => self.author.clone(),
            Origin::Request(_, name) => Author::Operator { name: name.clone() },
        }
    }

    /// Judges the active work anew, from the applied state. A newer draft of the same provider takes its place.
    fn retry(&mut self) {
        self.current = false;
        let Some(Active { item, .. }) = self.active.take() else { return };
        match (&item.origin, &item.work) {
            (Origin::Provider(provider), Work::Draft(draft)) => {
                self.drafts.entry(provider.clone()).or_insert_with(|| Arc::clone(draft));
            }
            _ => self.requests.push_front(item),
        }
    }
}

impl Committing {
    fn propose(&mut self, now: Time, outputs: &mut Vec<Output>) {
        if now < self.not_before {
            return;
        }
        if between(self.moved, now) >= PROPOSE_RETRY {
            // Whatever was on its way may be lost; a part that arrives twice does no harm.
            self.on_the_way.clear();
            self.moved = now;
            if self.applied.len() >= self.prepared.commands.len() {
                // All were applied and nothing followed: the store let go of some to make room for others.
                self.applied.clear();
            }
        }
        for (part, command) in (0..).zip(&self.prepared.commands) {
            if self.on_the_way.len() >= PARTS_IN_FLIGHT_MAX {
                return;
            }
            if !self.applied.contains(&part) && self.on_the_way.insert(part) {
                self.proposed = true;
                outputs.push(Output::Propose { command: command.clone(), part });
            }
        }
    }
}

#[cfg(test)]
mod tests;
