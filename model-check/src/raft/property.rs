//! What is asked of every state, and the witnesses that the premises of these questions occur at all.

use std::sync::atomic::{AtomicU64, Ordering};

use ravelin_consensus::{AppendOutcome, Body, Effect, Index, RoleName, Timer, quorum};
use stateright::{Expectation, Property};

use crate::raft::action::Event;
use crate::raft::bounds::Bounds;
use crate::raft::member::{Member, Outcome};
use crate::raft::model::Raft;
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
    /// A follower heard of a commit beyond what it knows to match, and holds another entry there.
    BehindCommit,
    /// A log caught up with a snapshot while its bytes were on their way.
    Overtaken,
}

/// Every mark, in the order of their bits.
const MARKS: [Mark; 23] = [
    Mark::TwoLeaders,
    Mark::Deposed,
    Mark::VoteRefused,
    Mark::VoteTaken,
    Mark::PreVoteRefused,
    Mark::Recampaign,
    Mark::Truncated,
    Mark::Rejected,
    Mark::IndirectCommit,
    Mark::Figure8,
    Mark::LostWrite,
    Mark::PartlyWritten,
    Mark::CommittedAhead,
    Mark::LeaderCrashed,
    Mark::StaleWrite,
    Mark::ReadReady,
    Mark::ReadFailed,
    Mark::ReadBesideLater,
    Mark::Installed,
    Mark::Covered,
    Mark::QuorumLost,
    Mark::BehindCommit,
    Mark::Overtaken,
];

impl Mark {
    fn bit(self) -> u64 {
        1 << (self as u32)
    }

    fn witness(self) -> Property<Raft> {
        macro_rules! witness {
            ($($mark:ident: $name:literal,)*) => {
                match self {
                    $(Mark::$mark => Property::sometimes($name, |model: &Raft, _| model.saw(Mark::$mark)),)*
                }
            };
        }
        witness! {
            TwoLeaders: "two leaders at once",
            Deposed: "a leader is deposed",
            VoteRefused: "a vote is refused to a log that is behind",
            VoteTaken: "a vote is refused because it is given away",
            PreVoteRefused: "a pre-vote is refused because there is a leader",
            Recampaign: "a campaign ends without a leader",
            Truncated: "a follower's entries are cut off",
            Rejected: "an append is rejected",
            IndirectCommit: "an older entry is committed by a newer one",
            Figure8: "an older entry is at a quorum and not committed",
            LostWrite: "a crash loses a write",
            PartlyWritten: "a crash keeps one write and loses the next",
            CommittedAhead: "a leader commits before its own disk",
            LeaderCrashed: "a leader crashes",
            StaleWrite: "a write completes after its entries were replaced",
            ReadReady: "a read is answered",
            ReadFailed: "a read fails",
            ReadBesideLater: "a read is answered beside a later leader",
            Installed: "a snapshot replaces a log",
            Covered: "a snapshot is offered to one who needs none",
            QuorumLost: "a leader without answers steps down",
            BehindCommit: "a follower hears of a commit where it holds another entry",
            Overtaken: "a log catches up while a snapshot is on its way",
        }
    }
}

/// The invariants of every state, and the witnesses of a configuration.
pub(crate) fn of(bounds: &Bounds) -> Vec<Property<Raft>> {
    let mut properties = vec![
        Property::always("every step keeps the local and step invariants", |_: &Raft, state: &State| {
            state.violation.is_none()
        }),
        Property::always("I6 log matching", |model: &Raft, state: &State| model.cluster_holds(state, "I6")),
        Property::always("I9 leader completeness", |model: &Raft, state| model.cluster_holds(state, "I9")),
        Property::always("I11 committed entries stay", |model: &Raft, state| {
            model.cluster_holds(state, "I11")
        }),
        Property::always("I15 beliefs are durable", |model: &Raft, state| model.cluster_holds(state, "I15")),
        Property::always("I16 commits are held by a quorum", |model: &Raft, state| {
            model.cluster_holds(state, "I16")
        }),
        Property::always("I36 disks agree with memory", |model: &Raft, state| {
            model.cluster_holds(state, "I36")
        }),
    ];
    properties.extend(bounds.witnesses.iter().map(|mark| mark.witness()));
    properties
}

/// The names of the questions that every state must answer with yes.
pub(crate) fn is_invariant(property: &Property<Raft>) -> bool {
    property.expectation == Expectation::Always
}

impl Raft {
    fn saw(&self, mark: Mark) -> bool {
        self.marks.load(Ordering::Relaxed) & mark.bit() != 0
    }
}

/// Notes what a transition shows.
pub(crate) fn mark(
    marks: &AtomicU64,
    state: &State,
    event: Event,
    before: &Member,
    outcome: &Outcome,
    next: &State,
) {
    let seen = marks.load(Ordering::Relaxed);
    let mut found = seen;
    for mark in MARKS {
        if found & mark.bit() == 0 && shows(mark, state, event, before, outcome, next) {
            found |= mark.bit();
        }
    }
    if found != seen {
        marks.fetch_or(found, Ordering::Relaxed);
    }
}

fn shows(mark: Mark, state: &State, event: Event, before: &Member, outcome: &Outcome, next: &State) -> bool {
    let (old, new) = (&before.core, &outcome.member.core);
    let delivered = match event {
        Event::Deliver { packet, .. } => Some(&state.network[packet].message),
        _ => None,
    };
    let crashed = match event {
        Event::Crash { persisted, .. } => Some(persisted),
        _ => None,
    };
    let was_leader = old.role() == RoleName::Leader;
    let refuses = |term, votes: bool| {
        delivered.is_some_and(|message| {
            let asked = if votes {
                matches!(message.body, Body::Vote { .. })
            } else {
                matches!(message.body, Body::PreVote { .. })
            };
            asked && message.term == term && outcome.sent.is_empty()
        })
    };
    match mark {
        Mark::TwoLeaders => {
            next.members.iter().filter(|member| member.core.role() == RoleName::Leader).count() > 1
        }
        Mark::Deposed => was_leader && new.term() > old.term(),
        Mark::VoteRefused => refuses(new.term(), true) && new.hard_state().vote.is_none(),
        Mark::VoteTaken => refuses(old.term(), true) && old.hard_state().vote.is_some(),
        Mark::PreVoteRefused => refuses(old.term(), false) && old.leader().is_some(),
        Mark::Recampaign => {
            matches!(event, Event::Timer { timer: Timer::Election, .. }) && old.role() == RoleName::Candidate
        }
        Mark::Truncated => {
            crashed.is_none()
                && (1..=old.last_index().0).map(Index).any(|index| {
                    new.entry(index).is_some()
                        && old.entry(index).is_some()
                        && new.term_at(index) != old.term_at(index)
                })
        }
        Mark::Rejected => outcome.sent.iter().any(|packet| {
            matches!(packet.message.body, Body::AppendReply { outcome: AppendOutcome::Rejected { .. }, .. })
                && packet.message.term == old.term()
        }),
        Mark::IndirectCommit => {
            new.role() == RoleName::Leader
                && (old.commit_index().0 + 1..=new.commit_index().0)
                    .any(|index| new.term_at(Index(index)).is_some_and(|term| term < new.term()))
        }
        Mark::Figure8 => figure_8(next),
        Mark::LostWrite => crashed.is_some_and(|persisted| persisted < before.queue.len()),
        Mark::PartlyWritten => {
            crashed.is_some_and(|persisted| persisted > 0 && persisted < before.queue.len())
        }
        Mark::LeaderCrashed => crashed.is_some() && was_leader,
        Mark::CommittedAhead => new.role() == RoleName::Leader && new.commit_index() > new.durable_index(),
        Mark::StaleWrite => {
            matches!(event, Event::Persist { .. }) && new.durable_index() < outcome.member.disk.last_index()
        }
        Mark::ReadReady => outcome.told.iter().any(|effect| matches!(effect, Effect::ReadReady { .. })),
        Mark::ReadFailed => outcome.told.iter().any(|effect| matches!(effect, Effect::ReadFailed { .. })),
        Mark::ReadBesideLater => {
            shows(Mark::ReadReady, state, event, before, outcome, next)
                && state.history.leaders().iter().any(|(term, _)| *term > new.term())
        }
        Mark::Installed => {
            new.first_index() > old.last_index().next()
                || new.first_index() > old.first_index() && matches!(event, Event::InstallSnapshot { .. })
        }
        Mark::Covered => {
            delivered.is_some_and(|message| matches!(message.body, Body::Snapshot { .. }))
                && outcome.member.awaited.is_none()
        }
        Mark::BehindCommit => delivered.is_some_and(|message| match &message.body {
            Body::Append { prev_index, entries, commit, .. } => {
                let matched = prev_index.plus(entries.len());
                let other = |index| {
                    let committed = state.history.entry(index).map(|committed| committed.entry.term);
                    new.term_at(index)
                        .is_some_and(|term| committed.is_some_and(|committed| committed != term))
                };
                new.term() == message.term && (matched.0 + 1..=commit.0).map(Index).any(other)
            }
            _ => false,
        }),
        Mark::Overtaken => {
            let awaited = before.awaited.as_ref();
            matches!(event, Event::InstallSnapshot { .. })
                && awaited.is_some_and(|meta| old.term_at(meta.index) == Some(meta.term))
                && new.durable_hard_state().term == old.durable_hard_state().term
        }
        Mark::QuorumLost => {
            matches!(event, Event::Timer { timer: Timer::CheckQuorum, .. })
                && was_leader
                && new.role() == RoleName::Follower
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
