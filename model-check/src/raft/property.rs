//! What is asked of every state, and the witnesses that the premises of these questions occur at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ravelin_consensus::invariant::{View, Violation, check_cluster};
use ravelin_consensus::{
    AppendOutcome, Body, Core, Effect, EntryKind, Index, Message, RecoveryEpoch, RoleName, Term, Timer,
    quorum,
};
use smallvec::SmallVec;
use stateright::Property;

use crate::raft::action::Event;
use crate::raft::machine::{Machine, OPEN};
use crate::raft::member::{Member, Outcome};
use crate::raft::model::Raft;
use crate::raft::network::Load;
use crate::raft::state::State;

/// A rare thing that some transition of a search must show.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mark {
    /// Two leaders of different terms at the same time.
    TwoLeaders,
    /// A leader learned of a higher term.
    Deposed,
    /// A vote was refused because the candidate's log was behind.
    VoteRefused,
    /// A vote was refused because it was given away.
    VoteTaken,
    /// A pre-vote was refused because there is a leader.
    PreVoteRefused,
    /// A node that waits for a leader takes from another what it lacks.
    MissingTaken,
    /// A campaign ended without a leader and began anew.
    Recampaign,
    /// Entries were cut off by a new leader.
    Truncated,
    /// An append was rejected.
    Rejected,
    /// An entry of an earlier term was committed by one of a later term.
    IndirectCommit,
    /// An entry of an earlier term was at a quorum, and its leader had to wait (paper, figure 8).
    Figure8,
    /// A crash lost an unfinished write.
    LostWrite,
    /// A crash lost some unfinished writes and kept others.
    PartlyWritten,
    /// A leader committed before its own disk had the entry.
    CommittedAhead,
    /// A leader restarted.
    LeaderCrashed,
    /// A write was reported after a later one had replaced its entries.
    StaleWrite,
    /// A read was answered.
    ReadReady,
    /// A read failed because its leader was deposed.
    ReadFailed,
    /// A read was answered while a later leader existed.
    ReadBesideLater,
    /// A snapshot replaced a log.
    Installed,
    /// A snapshot was offered to one who had its entries.
    Covered,
    /// A leader without answers stepped down.
    QuorumLost,
    /// A leader whose own disk stood still between two looks stepped down, although others answered.
    DiskStalled,
    /// Who follows a leader was asked again for the vote that this has.
    VoteAgain,
    /// A follower heard of a commit beyond what it knows to match, and holds another entry there.
    BehindCommit,
    /// A log caught up with a snapshot while its bytes were on their way.
    Overtaken,
    /// A node that was none is a voter, and the old voters are left.
    Joined,
    /// A voter is none any more.
    Removed,
    /// A leader was elected by two majorities.
    ElectedJoint,
    /// A configuration that was not committed was cut off.
    ChangeCut,
    /// A leader that is no voter any more stepped down once that was committed.
    RemovedLed,
    /// One whose removal it does not know to be committed was elected.
    RemovedCampaigned,
    /// A vote came from another incarnation than the admitted one.
    VoteOfAnother,
    /// The target of a transfer campaigned at once.
    HandedOver,
    /// A transfer ended without success.
    NotHandedOver,
    /// A follower's read was answered.
    ReadAtFollower,
    /// An answer came to a question that is not open.
    StaleAnswer,
    /// A lease answered a read within the step that asked for it.
    ReadAlone,
    /// A leader committed what it had waited to commit.
    WaitedForLease,
    /// A leader's log goes on after its last batch.
    Gathered,
    /// A command is applied that has taken effect before.
    Repeated,
    /// The same, after a later one has.
    RepeatedLate,
    /// A leader takes a command that it holds from an earlier leader already.
    RepeatedElsewhere,
    /// A command comes to a session that is over.
    SessionEnded,
    /// A message of an earlier recovery epoch arrived.
    EpochRefused,
    /// Both epochs have a leader.
    EpochsLead,
    /// Former members committed after the recovery.
    CommittedBeside,
    /// A read has seen what was written.
    WriteSeen,
    /// A call began after a write was over.
    CallAfterWrite,
}

impl Mark {
    fn bit(self) -> u64 {
        1 << (self as u32)
    }

    /// What it is, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Mark::TwoLeaders => "two leaders at once",
            Mark::Deposed => "a leader is deposed",
            Mark::VoteRefused => "a vote is refused to a log that is behind",
            Mark::VoteTaken => "a vote is refused because it is given away",
            Mark::PreVoteRefused => "a pre-vote is refused because there is a leader",
            Mark::MissingTaken => "a log is brought on without a leader",
            Mark::Recampaign => "a campaign ends without a leader",
            Mark::Truncated => "a follower's entries are cut off",
            Mark::Rejected => "an append is rejected",
            Mark::IndirectCommit => "an older entry is committed by a newer one",
            Mark::Figure8 => "an older entry is at a quorum and not committed",
            Mark::LostWrite => "a crash loses a write",
            Mark::PartlyWritten => "a crash keeps one write and loses the next",
            Mark::CommittedAhead => "a leader commits before its own disk",
            Mark::LeaderCrashed => "a leader crashes",
            Mark::StaleWrite => "a write completes after its entries were replaced",
            Mark::ReadReady => "a read is answered",
            Mark::ReadFailed => "a read fails",
            Mark::ReadBesideLater => "a read is answered beside a later leader",
            Mark::Installed => "a snapshot replaces a log",
            Mark::Covered => "a snapshot is offered to one who needs none",
            Mark::QuorumLost => "a leader without answers steps down",
            Mark::DiskStalled => "a leader whose disk stands still steps down",
            Mark::VoteAgain => "a follower is asked again for the vote that its leader has",
            Mark::BehindCommit => "a follower hears of a commit where it holds another entry",
            Mark::Overtaken => "a log catches up while a snapshot is on its way",
            Mark::Joined => "a new voter joins",
            Mark::Removed => "a voter is removed",
            Mark::ElectedJoint => "a leader is elected by two majorities",
            Mark::ChangeCut => "a change of members is cut off",
            Mark::RemovedLed => "a leader commits its own removal",
            Mark::RemovedCampaigned => "one that is removed is elected",
            Mark::VoteOfAnother => "a vote comes from one that lost its disk",
            Mark::HandedOver => "leadership is handed over",
            Mark::NotHandedOver => "leadership is not handed over",
            Mark::ReadAtFollower => "a read is answered at a follower",
            Mark::StaleAnswer => "an answer comes to no open question",
            Mark::ReadAlone => "a lease answers a read",
            Mark::WaitedForLease => "a leader commits once older leases are over",
            Mark::Gathered => "a leader gathers for its next batch",
            Mark::Repeated => "a command is repeated",
            Mark::RepeatedLate => "a command is repeated after the next one",
            Mark::RepeatedElsewhere => "a command is proposed again to another leader",
            Mark::SessionEnded => "a command comes to a session that has ended",
            Mark::EpochRefused => "a message of an earlier epoch arrives",
            Mark::EpochsLead => "both epochs have a leader",
            Mark::CommittedBeside => "the old members commit after the recovery",
            Mark::WriteSeen => "a read sees a write",
            Mark::CallAfterWrite => "a call begins after a write has ended",
        }
    }
}

/// The one question that every state must answer with yes. More of them, and witnesses, would only cost: each is looked up
/// by its name in every state.
pub(crate) const INVARIANTS: &str = "every invariant of the catalogue holds";

/// The same as stateright asks it.
pub(crate) fn invariants() -> Property<Raft> {
    Property::always(INVARIANTS, |model: &Raft, state: &State| model.broken(state).is_none())
}

impl Raft {
    /// What is broken in a state, or was on the way to it.
    pub(crate) fn broken(&self, state: &State) -> Option<Violation> {
        if state.violation.is_some() {
            return state.violation().cloned();
        }
        // Each epoch is a cluster of its own. Who has left one is there still what it was then.
        let fence = state.past.fence.as_ref();
        let judged = |epoch: RecoveryEpoch| {
            let here = state.members.iter().filter(|member| member.core.params().recovery_epoch == epoch);
            let left = fence.filter(|_| epoch == RecoveryEpoch(0)).map(|fence| &fence.left);
            let views: SmallVec<[View<'_, Load>; 5]> = here
                .chain(left)
                .map(|member| View { core: &member.core, durable: Some(&member.disk) })
                .collect();
            check_cluster(&views, state.past.of(epoch)).err()
        };
        judged(RecoveryEpoch(0)).or_else(|| fence.and_then(|_| judged(RecoveryEpoch(1))))
    }

    /// The wanted marks that no transition has shown.
    pub(crate) fn unseen(&self) -> Vec<&'static str> {
        let seen = self.marks.load(Ordering::Relaxed);
        let wanted = self.bounds.witnesses.iter();
        wanted.filter(|mark| seen & mark.bit() == 0).map(|mark| mark.words()).collect()
    }
}

/// Notes which of the wanted marks a transition shows.
pub(crate) fn mark(marks: &AtomicU64, wanted: &[Mark], transition: &Transition<'_>) {
    let seen = marks.load(Ordering::Relaxed);
    let mut found = seen;
    for mark in wanted {
        if found & mark.bit() == 0 && transition.shows(*mark) {
            found |= mark.bit();
        }
    }
    if found != seen {
        marks.fetch_or(found, Ordering::Relaxed);
    }
}

/// One transition, of one node.
pub(crate) struct Transition<'a> {
    pub(crate) state: &'a State,
    pub(crate) event: Event,
    pub(crate) before: &'a Member,
    pub(crate) outcome: &'a Outcome,
    pub(crate) next: &'a State,
}

impl Transition<'_> {
    fn core_before(&self) -> &Core<Load> {
        &self.before.core
    }

    fn core_after(&self) -> &Core<Load> {
        &self.outcome.member.core
    }

    fn delivered(&self) -> Option<&Message<Load>> {
        match self.event {
            Event::Deliver { packet, .. } => Some(&self.state.network[packet].message),
            _ => None,
        }
    }

    fn crash(&self) -> Option<usize> {
        match self.event {
            Event::Crash { persisted, .. } => Some(persisted),
            _ => None,
        }
    }

    fn was_leader(&self) -> bool {
        self.core_before().role() == RoleName::Leader
    }

    fn is_timer(&self, of: Timer) -> bool {
        matches!(self.event, Event::Timer { timer, .. } if timer == of)
    }

    fn shows(&self, mark: Mark) -> bool {
        match mark {
            Mark::TwoLeaders
            | Mark::Deposed
            | Mark::VoteRefused
            | Mark::VoteTaken
            | Mark::PreVoteRefused
            | Mark::MissingTaken
            | Mark::Recampaign
            | Mark::QuorumLost
            | Mark::DiskStalled
            | Mark::VoteAgain
            | Mark::VoteOfAnother
            | Mark::HandedOver
            | Mark::NotHandedOver => self.shows_of_elections(mark),
            Mark::Truncated
            | Mark::Rejected
            | Mark::IndirectCommit
            | Mark::Figure8
            | Mark::WaitedForLease
            | Mark::BehindCommit => self.shows_of_replication(mark),
            Mark::LostWrite
            | Mark::PartlyWritten
            | Mark::CommittedAhead
            | Mark::LeaderCrashed
            | Mark::Gathered
            | Mark::StaleWrite => self.shows_of_disks(mark),
            Mark::ReadReady
            | Mark::ReadFailed
            | Mark::ReadBesideLater
            | Mark::ReadAtFollower
            | Mark::ReadAlone
            | Mark::StaleAnswer => self.shows_of_reads(mark),
            Mark::Installed | Mark::Covered | Mark::Overtaken => self.shows_of_snapshots(mark),
            Mark::Joined
            | Mark::Removed
            | Mark::ElectedJoint
            | Mark::ChangeCut
            | Mark::RemovedLed
            | Mark::RemovedCampaigned => self.shows_of_members(mark),
            Mark::EpochRefused | Mark::EpochsLead | Mark::CommittedBeside => self.shows_of_epochs(mark),
            Mark::Repeated
            | Mark::RepeatedLate
            | Mark::RepeatedElsewhere
            | Mark::SessionEnded
            | Mark::WriteSeen
            | Mark::CallAfterWrite => self.shows_of_clients(mark),
        }
    }

    fn shows_of_elections(&self, mark: Mark) -> bool {
        let (old, new) = (self.core_before(), self.core_after());
        let unanswered = |term: Term| {
            self.delivered()
                .filter(|message| message.term == term && self.outcome.sent.is_empty())
                .map(|it| &it.body)
        };
        match mark {
            Mark::TwoLeaders => {
                let leads = |member: &&Arc<Member>| member.core.role() == RoleName::Leader;
                self.next.members.iter().filter(leads).count() > 1
            }
            Mark::Deposed => self.was_leader() && new.term() > old.term(),
            Mark::VoteRefused => {
                matches!(unanswered(new.term()), Some(Body::Vote { .. })) && new.hard_state().vote.is_none()
            }
            Mark::VoteTaken => {
                matches!(unanswered(old.term()), Some(Body::Vote { .. })) && old.hard_state().vote.is_some()
            }
            Mark::PreVoteRefused => {
                matches!(unanswered(old.term()), Some(Body::PreVote { .. })) && old.leader().is_some()
            }
            Mark::MissingTaken => new.role() == RoleName::PreCandidate && new.last_index() > old.last_index(),
            Mark::Recampaign => self.is_timer(Timer::Election) && old.role() == RoleName::Candidate,
            Mark::QuorumLost | Mark::DiskStalled => {
                let heard = |node| node == old.id() || old.peers().any(|peer| peer.id == node && peer.active);
                let alone = !quorum::reached(old.configuration(), heard);
                let idle = self.before.queue.is_empty();
                let gone = self.was_leader() && new.role() == RoleName::Follower;
                let why = if mark == Mark::QuorumLost { alone && idle } else { !alone && !idle };
                self.is_timer(Timer::CheckQuorum) && gone && why
            }
            Mark::VoteAgain => {
                let asked = matches!(self.delivered().map(|message| &message.body), Some(Body::Vote { .. }));
                asked && old.leader().is_some() && old.leader() == old.hard_state().vote
            }
            Mark::VoteOfAnother => {
                let another =
                    self.delivered().filter(|message| message.incarnation != new.params().incarnation);
                another.is_some_and(|message| message.body == Body::VoteReply { granted: true })
                    && old.role() == RoleName::Candidate
            }
            Mark::HandedOver => {
                let told = self.delivered().is_some_and(|message| message.body == Body::TimeoutNow);
                told && new.term() > old.term()
            }
            Mark::NotHandedOver => {
                let mut told = self.outcome.told.iter();
                told.any(|effect| matches!(effect, Effect::TransferFailed { .. }))
            }
            _ => false,
        }
    }

    fn shows_of_replication(&self, mark: Mark) -> bool {
        let (old, new) = (self.core_before(), self.core_after());
        match mark {
            Mark::Truncated => {
                let replaced = |index| {
                    let held = (old.entry(index).is_some(), new.entry(index).is_some());
                    held == (true, true) && new.term_at(index) != old.term_at(index)
                };
                self.crash().is_none() && (1..=old.last_index().0).map(Index).any(replaced)
            }
            Mark::Rejected => self.outcome.sent.iter().any(|packet| {
                let outcome = match &packet.message.body {
                    Body::AppendReply { outcome, .. } => Some(outcome),
                    _ => None,
                };
                matches!(outcome, Some(AppendOutcome::Rejected { .. })) && packet.message.term == old.term()
            }),
            Mark::IndirectCommit => {
                let mut committed = (old.commit_index().0 + 1..=new.commit_index().0).map(Index);
                let older = |index| new.term_at(index).is_some_and(|term| term < new.term());
                new.role() == RoleName::Leader && committed.any(older)
            }
            Mark::Figure8 => figure_8(self.next),
            Mark::WaitedForLease => self.is_timer(Timer::Lease) && new.commit_index() > old.commit_index(),
            Mark::BehindCommit => {
                self.delivered().is_some_and(|message| self.hears_of_another_commit(message))
            }
            _ => false,
        }
    }

    fn hears_of_another_commit(&self, message: &Message<Load>) -> bool {
        let Body::Append { prev_index, entries, commit, .. } = &message.body else { return false };
        let new = self.core_after();
        let other = |index| {
            let committed = self.state.past.history.entry(index).map(|committed| committed.entry.term);
            new.term_at(index).is_some_and(|term| committed.is_some_and(|committed| committed != term))
        };
        let matched = prev_index.plus(entries.len());
        new.term() == message.term && (matched.0 + 1..=commit.0).map(Index).any(other)
    }

    fn shows_of_disks(&self, mark: Mark) -> bool {
        let new = self.core_after();
        let writes = self.before.queue.len();
        match mark {
            Mark::LostWrite => self.crash().is_some_and(|persisted| persisted < writes),
            Mark::PartlyWritten => self.crash().is_some_and(|persisted| persisted > 0 && persisted < writes),
            Mark::LeaderCrashed => self.crash().is_some() && self.was_leader(),
            Mark::Gathered => {
                let written = self.outcome.member.queue.back();
                let last = written.map(|batch| batch.first.plus(batch.entries.len()).previous());
                new.role() == RoleName::Leader && last.is_some_and(|last| last < new.last_index())
            }
            Mark::CommittedAhead => {
                new.role() == RoleName::Leader && new.commit_index() > new.durable_index()
            }
            Mark::StaleWrite => {
                let written = self.outcome.member.disk.last_index();
                matches!(self.event, Event::Persist { .. }) && new.durable_index() < written
            }
            _ => false,
        }
    }

    fn shows_of_reads(&self, mark: Mark) -> bool {
        let mut told = self.outcome.told.iter();
        match mark {
            Mark::ReadReady => told.any(|effect| matches!(effect, Effect::ReadReady { .. })),
            Mark::ReadAlone => {
                let asks = matches!(self.event, Event::Read { .. });
                asks && told.any(|effect| matches!(effect, Effect::ReadReady { .. }))
            }
            Mark::ReadAtFollower => {
                !self.was_leader() && told.any(|effect| matches!(effect, Effect::ReadReady { .. }))
            }
            Mark::StaleAnswer => {
                let answer = self.delivered().is_some_and(|it| matches!(it.body, Body::ReadReply { .. }));
                answer && self.core_before().asks_leader() && self.outcome.told.is_empty()
            }
            Mark::ReadFailed => told.any(|effect| matches!(effect, Effect::ReadFailed { .. })),
            Mark::ReadBesideLater => {
                let leaders = self.state.past.history.leaders();
                let later = leaders.iter().any(|(term, _)| *term > self.core_after().term());
                later && told.any(|effect| matches!(effect, Effect::ReadReady { .. }))
            }
            _ => false,
        }
    }

    fn shows_of_members(&self, mark: Mark) -> bool {
        let (old, new) = (self.core_before(), self.core_after());
        let elected = !self.was_leader() && new.role() == RoleName::Leader;
        let settled = |core: &Core<Load>| core.configuration_at(core.commit_index()).clone();
        let (before, after) = (settled(old), settled(new));
        let of_genesis = &self.before.disk.configuration.voters;
        match mark {
            Mark::Joined => {
                !after.is_joint() && after.voters.keys().any(|node| !of_genesis.contains_key(node))
            }
            Mark::Removed => {
                before.is_joint() && before.outgoing.keys().any(|node| after.incarnation(*node).is_none())
            }
            Mark::ElectedJoint => elected && new.configuration().is_joint(),
            Mark::ChangeCut => {
                let is_joint = |index: Index| old.configuration_at(index).is_joint();
                let cut = |index: &Index| is_joint(*index) && old.term_at(*index) != new.term_at(*index);
                self.crash().is_none() && (1..=old.last_index().0).map(Index).any(|index| cut(&index))
            }
            Mark::RemovedLed => {
                self.was_leader() && new.role() == RoleName::Follower && after.incarnation(new.id()).is_none()
            }
            Mark::RemovedCampaigned => elected && new.configuration().incarnation(new.id()).is_none(),
            _ => false,
        }
    }

    fn shows_of_epochs(&self, mark: Mark) -> bool {
        let (old, new) = (self.core_before(), self.core_after());
        let epoch = new.params().recovery_epoch;
        match mark {
            Mark::EpochRefused => self.delivered().is_some_and(|message| message.recovery_epoch < epoch),
            Mark::EpochsLead => {
                let leaders = self.next.members.iter().map(|member| &member.core);
                let mut leaders = leaders.filter(|core| core.role() == RoleName::Leader);
                let first = leaders.next().map(|core| core.params().recovery_epoch);
                leaders.any(|core| Some(core.params().recovery_epoch) != first)
            }
            Mark::CommittedBeside => {
                let fenced = self.state.past.fence.is_some() && epoch == RecoveryEpoch(0);
                fenced
                    && self.next.past.history.commit_index() > self.state.past.history.commit_index()
                    && new.commit_index() > old.commit_index()
            }
            _ => false,
        }
    }

    fn shows_of_clients(&self, mark: Mark) -> bool {
        let applied = self.outcome.told.iter().flat_map(|effect| match effect {
            Effect::Apply { entries, .. } => entries.to_vec(),
            _ => Vec::new(),
        });
        let mut applied = applied.filter_map(|entry| match entry.kind {
            EntryKind::Command(command) if command > OPEN => Some(command),
            _ => None,
        });
        let before = self.before.machine.as_ref();
        let has_run = |command| before.is_some_and(|machine| machine.has_run(command));
        match mark {
            Mark::Repeated => applied.any(has_run),
            Mark::RepeatedLate => applied.any(|command| has_run(command) && has_run(command + 1)),
            Mark::SessionEnded => before.is_some_and(Machine::session_ended) && applied.next().is_some(),
            Mark::RepeatedElsewhere => {
                let Event::Propose { command, .. } = self.event else { return false };
                let core = self.core_after();
                let holds = |index| {
                    let entry = core.entry(index).filter(|entry| entry.term < core.term());
                    entry.is_some_and(|entry| entry.kind == EntryKind::Command(command))
                };
                command > OPEN && (1..core.last_index().0).map(Index).any(holds)
            }
            Mark::WriteSeen => self.next.past.clients.saw_a_write(),
            Mark::CallAfterWrite => self.next.past.clients.followed_a_write(),
            _ => false,
        }
    }

    fn shows_of_snapshots(&self, mark: Mark) -> bool {
        let (old, new) = (self.core_before(), self.core_after());
        let installs = matches!(self.event, Event::InstallSnapshot { .. });
        match mark {
            Mark::Installed => installs && new.first_index() > old.first_index(),
            Mark::Covered => {
                let offered = self.delivered().is_some_and(|it| matches!(it.body, Body::Snapshot { .. }));
                offered && self.outcome.member.awaited.is_none()
            }
            Mark::Overtaken => {
                let awaited = self.before.awaited.as_ref();
                installs && awaited.is_some_and(|meta| old.term_at(meta.index) == Some(meta.term))
            }
            _ => false,
        }
    }
}

/// A leader whose log holds an entry of an earlier term that a quorum holds durably, and that it must not commit yet.
fn figure_8(state: &State) -> bool {
    let leaders = state.members.iter().filter(|member| member.core.role() == RoleName::Leader);
    leaders.into_iter().any(|leader| {
        let core = &leader.core;
        let waiting = (core.commit_index().0 + 1..=core.last_index().0).map(Index);
        waiting.into_iter().any(|index| {
            let term = core.term_at(index);
            let held = quorum::reached(core.configuration(), |node| {
                let holder = state.members.iter().find(|member| member.core.id() == node);
                holder.is_some_and(|holder| holder.disk.term_at(index) == term)
            });
            held && term.is_some_and(|term| term < core.term())
        })
    })
}
