//! The controller's way from drafts and requests to commands in the log: one at a time, in order, each judged against
//! the state that the one before it left. It must not judge objects itself (the worker does) nor touch the store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ravelin_config::{Draft, GenerationId, Key, State};
use ravelin_consensus::Time;

use crate::api::PendingId;
use crate::node::event::{Action, Actions};
use crate::node::timers::between;
use crate::provider::DraftOutcome;
use crate::request::status::EventKind;
use crate::request::{
    ApplyMode, Change, Refusal, RefusalReason, RequestId, Response, SourceDocument, Verdict as ObjectVerdict,
};
use crate::storage::CommandBytes;
use crate::store::{Author, ChangeId, Command, Outcome, Store};

pub mod worker;

/// Requests that wait for their turn at the controller.
pub const REQUESTS_MAX: usize = 256;
/// Parts of one change that are on their way to the log at a time.
const PARTS_IN_FLIGHT_MAX: usize = 8;
/// How long the log may take for a part before it is proposed again.
const PROPOSE_RETRY: Duration = Duration::from_millis(1000);
/// How long one proposal of a part may be on its way, in milliseconds.
pub(crate) const PROPOSE_DEADLINE_MILLIS: u32 = 1000;
/// How long to wait after a part was turned away for the first time; doubled each time.
const TURNED_AWAY_RETRY: Duration = Duration::from_millis(50);
/// How often that is doubled.
const TURNED_AWAY_DOUBLINGS_MAX: u32 = 5;
/// Of a command that belongs to no attempt: nobody waits for what becomes of it.
const NO_ATTEMPT: u64 = 0;
/// How often a change is judged anew because the state changed under it.
const CONFLICTS_MAX: u32 = 8;

/// One piece of work for the worker to judge.
#[derive(Debug)]
pub struct Job {
    /// Comes back with the verdict.
    pub number: u64,
    /// What the commands are stamped with.
    pub stamp: Stamp,
    /// The work.
    pub work: Work,
    /// The applied state that it builds on: an O(1) clone.
    pub store: Box<Store>,
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

/// The worker's answer to a [`Job`].
#[derive(Debug)]
pub struct Verdict {
    /// The job's number.
    pub number: u64,
    /// The commands to propose, or why nothing is to be changed.
    pub outcome: Result<Prepared, Refusal>,
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
    /// Of a draft: every object that is in error, also one that was before, with the reasons.
    pub refused: Arc<BTreeMap<Key, Vec<String>>>,
}

/// What the node has to do for the reconciler.
#[derive(Debug)]
pub(crate) enum Output {
    /// Put this into the log, here or through the leader. What is not `command` comes back where it is turned away.
    Propose { command: CommandBytes, attempt: u64, part: u32 },
    /// Answer this request.
    Answer { request: PendingId, response: Response },
    /// This request was on its way to the log when the run ended: it may take effect or not.
    Orphaned { request: PendingId },
    /// Tell the provider.
    Outcome { provider: String, outcome: DraftOutcome },
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
    /// When a request was asked for the first time, by what was applied then; see [`crate::request::Envelope`].
    since: Option<u64>,
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
    /// Counts attempts: an answer to an earlier one says nothing about this one.
    number: u64,
    /// The configuration's revision that the commands build on.
    base: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Judging,
    Committing(Committing),
}

#[derive(Debug)]
struct Committing {
    prepared: Prepared,
    /// Parts that are applied: they may come in any order, and with gaps.
    applied: BTreeSet<u32>,
    /// Parts that were proposed and not turned away since; those of them that are applied do not count.
    on_the_way: BTreeSet<u32>,
    /// Parts that were ever proposed: from the first one on the change may take effect.
    proposed: BTreeSet<u32>,
    /// Parts that were proposed more than once: a copy of each may be in the log whatever became of another.
    repeated: BTreeSet<u32>,
    /// How often in a row the log had no room.
    turned_away: u32,
    /// When something last moved.
    moved: Time,
    /// Nothing is proposed before this: the log turned a part away.
    not_before: Time,
}

/// The applied state that work is built on.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) store: &'a Store,
    /// Revision of the last change of configuration.
    pub(crate) revision: u64,
    pub(crate) generation: Option<GenerationId>,
    /// What came of a change that took effect already; none if it did not.
    pub(crate) outcome: &'a dyn Fn(RequestId) -> Option<Outcome>,
}

impl Reconcile {
    /// This node is the controller from now on, and writes as this author.
    pub(crate) fn begin(&mut self, author: Author) {
        self.run = Some(Run { author, drafts: BTreeMap::new(), requests: VecDeque::new(), active: None });
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
        (id, since): (RequestId, Option<u64>),
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
        let origin = Origin::Request(request, author);
        run.requests.push_back(Item { origin, id, work, since, conflicts: 0 });
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
            if let (Origin::Request(request, _), Some(outcome)) = (&item.origin, (ground.outcome)(item.id)) {
                // It took effect under a controller before this one, or in an attempt that seemed lost.
                let Outcome { generation, put, deleted, .. } = outcome;
                let prepared = Prepared { put, deleted, ..Prepared::default() };
                let response = done(item.id, generation, prepared);
                self.outputs.push(Output::Answer { request: *request, response });
                continue;
            }
            if let (Origin::Request(request, _), Some(since)) = (&item.origin, item.since)
                && ground.store.may_have_forgotten(since)
            {
                let reason = "it was asked for so long ago that what came of it may be forgotten; look what stands there \
                              before you ask for it as a new request";
                let response = Response::Unknown { reason: reason.to_owned() };
                self.outputs.push(Output::Answer { request: *request, response });
                continue;
            }
            self.jobs += 1;
            let number = self.jobs;
            let author = run.author_of(&item);
            let at_unix_ms = now.micros / 1000;
            let stamp = Stamp { id: item.id, author, base: ground.revision, at_unix_ms };
            let store = Box::new(ground.store.clone());
            actions.push(Action::Check(Job { number, stamp, work: item.work.clone(), store }));
            run.active = Some(Active { item, number, base: ground.revision, stage: Stage::Judging });
        }
        if let Some(Active { stage: Stage::Committing(committing), number, .. }) = &mut run.active {
            committing.propose(now, *number, &mut self.outputs);
        }
    }

    /// The worker has judged.
    pub(crate) fn judged(&mut self, now: Time, verdict: Verdict, ground: Ground<'_>) {
        let Some(run) = &mut self.run else { return };
        let Some(active) = &mut run.active else { return };
        if !matches!(active.stage, Stage::Judging) || active.number != verdict.number {
            return;
        }
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
                    proposed: BTreeSet::new(),
                    repeated: BTreeSet::new(),
                    turned_away: 0,
                    moved: now,
                    not_before: now,
                });
            }
            Err(refusal) => {
                let provider = active.item.origin.name();
                let reasons = refusal.problems.clone();
                self.outputs.push(Output::Note(EventKind::ConfigurationRefused { provider, reasons }));
                self.finish(ground, Err(refusal));
            }
        }
    }

    /// The log decided about a change. One that is not this run's active one says nothing here: the worker looks at the
    /// applied state before each job anyway, and for an earlier attempt of work that is still to be judged the store
    /// answers when the work's turn comes.
    pub(crate) fn decided(&mut self, now: Time, id: RequestId, decision: &Decision, ground: Ground<'_>) {
        let Some(run) = &mut self.run else { return };
        let ours = run.active.as_mut().filter(|active| active.item.id == id);
        let Some(Active { stage: Stage::Committing(committing), item, base, .. }) = ours else { return };
        match decision {
            // Of an attempt before this one, which is over.
            Decision::Conflict { base: earlier } if earlier != base => {}
            Decision::Staged { part } => {
                committing.applied.insert(*part);
                committing.on_the_way.remove(part);
                committing.moved = now;
                committing.turned_away = 0;
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
                self.finish(ground, Err(Refusal::new(RefusalReason::Conflict, problem)));
            }
            Decision::StaleEpoch => {
                let problem = "another controller was appointed before the change reached the log";
                self.finish(ground, Err(Refusal::new(RefusalReason::StaleEpoch, problem)));
            }
            Decision::Impossible { reason } => {
                self.finish(ground, Err(Refusal::new(RefusalReason::TooLarge, reason.clone())));
            }
        }
    }

    /// The log had no room for a part, or nobody knows whether it got there: it is proposed again, later each time.
    pub(crate) fn turned_away(&mut self, now: Time, attempt: u64, part: u32) {
        let Some(committing) = self.committing(attempt) else { return };
        committing.on_the_way.remove(&part);
        let wait = TURNED_AWAY_RETRY * 2_u32.pow(committing.turned_away.min(TURNED_AWAY_DOUBLINGS_MAX));
        committing.turned_away += 1;
        committing.not_before = crate::node::timers::after(now, wait);
    }

    /// The leader says that a part can never take effect, before it reached the log: another try would end the same way.
    pub(crate) fn refused(&mut self, attempt: u64, part: u32, refusal: Refusal, ground: Ground<'_>) {
        let Some(committing) = self.committing(attempt) else { return };
        let is_certain = !committing.repeated.contains(&part);
        let Some(active) = self.run.as_ref().and_then(|run| run.active.as_ref()) else { return };
        let (origin, reasons) = (active.item.origin.clone(), refusal.problems.clone());
        let provider = origin.name();
        self.outputs.push(Output::Note(EventKind::ConfigurationRefused { provider, reasons }));
        match origin {
            Origin::Request(request, _) if !is_certain => {
                let why = refusal.problems.join("; ");
                let reason =
                    format!("an earlier copy may have reached the log; a later one was refused: {why}");
                self.outputs.push(Output::Answer { request, response: Response::Unknown { reason } });
                let active = self.run.as_mut().and_then(|run| run.active.take());
                self.outputs.extend(active.and_then(|active| active.leftover()));
            }
            _ => self.finish(ground, Err(refusal)),
        }
    }

    fn committing(&mut self, attempt: u64) -> Option<&mut Committing> {
        let active = self.run.as_mut()?.active.as_mut().filter(|active| active.number == attempt)?;
        match &mut active.stage {
            Stage::Committing(committing) => Some(committing),
            Stage::Judging => None,
        }
    }

    fn finish(&mut self, ground: Ground<'_>, outcome: Result<(Prepared, Option<GenerationId>), Refusal>) {
        let Some(run) = &mut self.run else { return };
        let Some(active) = run.active.take() else { return };
        if outcome.is_err() {
            self.outputs.extend(active.leftover());
        }
        let item = active.item;
        if let Ok((prepared, Some(_))) = &outcome {
            self.outputs.extend(in_error(&item.origin.name(), &prepared.verdicts).map(Output::Note));
        }
        match item.origin {
            Origin::Provider(provider) => {
                let outcome = match outcome {
                    Ok((Prepared { refused, .. }, Some(generation))) => {
                        DraftOutcome::Accepted { generation, refused, serving: false }
                    }
                    Ok((_, None)) => return,
                    Err(refusal) => DraftOutcome::Refused { problems: refusal.problems },
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
    /// Lets the store forget the parts of a change that ends without all of them: nobody else would, and they take room from others.
    fn leftover(&self) -> Option<Output> {
        let Stage::Committing(committing) = &self.stage else { return None };
        if committing.prepared.commands.len() < 2 || committing.proposed.is_empty() {
            return None;
        }
        let command = Command::DropStaged { id: ChangeId(self.item.id.0) }.encode().ok()?;
        Some(Output::Propose { command, attempt: NO_ATTEMPT, part: 0 })
    }

    /// Whether no part of it can have reached the log.
    fn is_unproposed(&self) -> bool {
        match &self.stage {
            Stage::Judging => self.item.conflicts == 0,
            Stage::Committing(committing) => self.item.conflicts == 0 && committing.proposed.is_empty(),
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
        Some(Item { origin, id: fresh_id(), work: Work::Draft(draft), since: None, conflicts: 0 })
    }

    fn author_of(&self, item: &Item) -> Author {
        match &item.origin {
            Origin::Provider(_) => self.author.clone(),
            Origin::Request(_, name) => Author::Operator { name: name.clone() },
        }
    }

    /// Judges the active work anew, from the applied state. A newer draft of the same provider takes its place.
    fn retry(&mut self) {
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
    fn propose(&mut self, now: Time, attempt: u64, outputs: &mut Vec<Output>) {
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
                if !self.proposed.insert(part) {
                    self.repeated.insert(part);
                }
                outputs.push(Output::Propose { command: command.clone(), attempt, part });
            }
        }
    }
}

#[cfg(test)]
mod tests;
