//! Effects, messages and cores as short lines of text.

use std::fmt::Write;

use ravelin_consensus::{
    AppendOutcome, Batch, Body, Core, Effect, Entry, EntryKind, Index, Message, NodeId, SnapshotMeta, Term,
    Ticket, Timer,
};

use super::cluster::Text;

fn members(ids: impl Iterator<Item = NodeId>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(",")
}

/// `1- 1"a" 2{1,2,3}`: term and content of each; `3{2}@1`: the members of a recovery.
pub(crate) fn entries(entries: &[Entry<Text>]) -> String {
    let one = |entry: &Entry<Text>| match &entry.kind {
        EntryKind::Empty => format!("{}-", entry.term),
        EntryKind::Command(text) => format!("{}\"{}\"", entry.term, text.0),
        EntryKind::Configuration(configuration) => {
            let outgoing = members(configuration.outgoing.keys().copied());
            let joint = if outgoing.is_empty() { String::new() } else { format!("|{outgoing}") };
            let learners = members(configuration.learners.keys().copied());
            let learners = if learners.is_empty() { learners } else { format!("+{learners}") };
            let voters = members(configuration.voters.keys().copied());
            let epoch = configuration.recovery_epoch.0;
            let epoch = if epoch == 0 { String::new() } else { format!("@{epoch}") };
            format!("{}{{{voters}{learners}{joint}}}{epoch}", entry.term)
        }
    };
    format!("[{}]", entries.iter().map(one).collect::<Vec<_>>().join(" "))
}

fn at(index: Index, term: Term) -> String {
    format!("{index}/{term}")
}

fn vote(vote: Option<NodeId>) -> String {
    vote.map_or("-".to_owned(), |node| node.to_string())
}

fn snapshot(meta: &SnapshotMeta) -> String {
    at(meta.index, meta.term)
}

/// `term 2 append prev 1/1 [2-] commit 1`.
pub(crate) fn message(message: &Message<Text>) -> String {
    let round = |round: u64| if round == 0 { String::new() } else { format!(" round {round}") };
    let body = match &message.body {
        Body::PreVote { last_index, last_term } => format!("pre-vote? last {}", at(*last_index, *last_term)),
        Body::PreVoteReply { granted } => format!("pre-vote {}", if *granted { "yes" } else { "no" }),
        Body::Missing { prev_index, prev_term, entries: list } => {
            format!("missing after {} {}", at(*prev_index, *prev_term), entries(list))
        }
        Body::Vote { last_index, last_term } => format!("vote? last {}", at(*last_index, *last_term)),
        Body::VoteReply { granted } => format!("vote {}", if *granted { "yes" } else { "no" }),
        Body::Append { prev_index, prev_term, entries: list, commit, round: number } => format!(
            "append prev {} {} commit {commit}{}",
            at(*prev_index, *prev_term),
            entries(list),
            round(number.0)
        ),
        Body::AppendReply { outcome: AppendOutcome::Accepted { matched }, round: number } => {
            format!("accepted {matched}{}", round(number.0))
        }
        Body::AppendReply {
            outcome: AppendOutcome::Rejected { prev_index, hint_index, hint_term }, ..
        } => {
            format!("rejected {prev_index} hint {}", at(*hint_index, *hint_term))
        }
        Body::Snapshot { meta, round: number } => format!("snapshot {}{}", snapshot(meta), round(number.0)),
        Body::TimeoutNow => "take over".to_owned(),
        Body::Read { ticket } => format!("read? {}", asked(*ticket)),
        Body::ReadReply { ticket, index: Some(index) } => format!("read {} at {index}", asked(*ticket)),
        Body::ReadReply { ticket, index: None } => format!("read {} failed", asked(*ticket)),
        Body::SnapshotReply { index, outcome, .. } => format!("snapshot {index} {outcome:?}").to_lowercase(),
    };
    format!("term {} {body}", message.term)
}

fn asked(ticket: Ticket) -> String {
    format!("{}.{}", ticket.life, ticket.number)
}

fn persist(batch: &Batch<Text>) -> String {
    let mut text = format!("persist term {} vote {}", batch.hard_state.term, vote(batch.hard_state.vote));
    if let Some(meta) = &batch.snapshot {
        let _ = write!(text, " snapshot {}", snapshot(meta));
    }
    if batch.snapshot.is_some() || !batch.entries.is_empty() {
        let _ = write!(text, " from {} {}", batch.first, entries(&batch.entries));
    }
    text
}

/// One line per effect; timers only with `timers`.
pub(crate) fn effect(id: NodeId, effect: &Effect<Text>, timers: bool) -> Option<String> {
    let leader = |leader: &Option<NodeId>| leader.map_or("nobody".to_owned(), |node| node.to_string());
    let what = match effect {
        Effect::Send { to, message: sent } => return Some(format!("{id} -> {to}: {}", message(sent))),
        Effect::Persist(batch) => persist(batch),
        Effect::Apply { first, entries: list } => format!("apply from {first} {}", entries(list)),
        Effect::Accepted { id, index, term } => format!("proposal {id} accepted at {}", at(*index, *term)),
        Effect::Rejected { id, leader: known, reason } => {
            format!("proposal {id} rejected: {reason:?}, leader {}", leader(known))
        }
        Effect::ReadReady { id, index } => format!("read {id} ready at {index}"),
        Effect::ReadFailed { id, leader: known } => format!("read {id} failed, leader {}", leader(known)),
        Effect::SetTimer { timer, min, max } if timers => format!("timer {} {min:?}..{max:?}", name(*timer)),
        Effect::CancelTimer(timer) if timers => format!("timer {} off", name(*timer)),
        Effect::SetTimer { .. } | Effect::CancelTimer(_) => return None,
        Effect::TransferFailed { to, leader: known } => {
            format!("not handed over to {to}, leader {}", leader(known))
        }
        Effect::TakeSnapshot => "take a snapshot".to_owned(),
        Effect::SendSnapshot { to, meta } => format!("send snapshot {} to {to}", snapshot(meta)),
        Effect::InstallSnapshot { from, meta } => format!("install snapshot {} from {from}", snapshot(meta)),
        Effect::RoleChanged { role, term, leader: known } => {
            format!("{role:?} in term {term}, leader {}", leader(known)).to_lowercase()
        }
        Effect::Halt(reason) => format!("halt: {reason:?}"),
    };
    Some(format!("{id}: {what}"))
}

fn name(timer: Timer) -> &'static str {
    match timer {
        Timer::Election => "election",
        Timer::Heartbeat => "heartbeat",
        Timer::CheckQuorum => "check-quorum",
        Timer::Transfer => "transfer",
        Timer::Lease => "lease",
        Timer::Read => "read",
    }
}

/// `1: leader term 2 vote 1 log [1- 2-] commit 2 durable 2`.
pub(crate) fn core(core: &Core<Text>) -> String {
    let held: Vec<Entry<Text>> = (core.first_index().0..=core.last_index().0)
        .filter_map(|index| core.entry(Index(index)).cloned())
        .collect();
    let base = core.first_index().previous();
    let from = if base == Index::ZERO { String::new() } else { format!("{base}+") };
    let mut text = format!(
        "{}: {:?} term {} vote {} log {from}{} commit {} applied {} durable {}",
        core.id(),
        core.role(),
        core.term(),
        vote(core.hard_state().vote),
        entries(&held),
        core.commit_index(),
        core.applied_index(),
        core.durable_index(),
    )
    .to_lowercase();
    for peer in core.peers() {
        let _ = write!(text, "\n   {} {:?} matched {} next {}", peer.id, peer.mode, peer.matched, peer.next);
        if peer.inflight_messages > 0 {
            let _ = write!(text, " unanswered {}", peer.inflight_messages);
        }
    }
    text
}

/// Lines that say the same of several nodes, or to several, as one: `1 -> 2,3: term 1 vote? last 0/0`.
pub(crate) fn joined(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match lines.last().and_then(|before| joint(before, line)) {
            Some(both) => *lines.last_mut().expect("it was just looked at") = both,
            None => lines.push(line.to_owned()),
        }
    }
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}

fn joint(before: &str, line: &str) -> Option<String> {
    let ((head, rest), (next, same)) = (parted(before)?, parted(line)?);
    let (common, id) = next.rsplit_once(' ').unwrap_or(("", next));
    let mut ids = head.strip_prefix(common)?.trim_start().split(',');
    let other = |told: &str| told != id && told.parse::<u64>().is_ok();
    (same == rest && ids.all(other)).then(|| format!("{head},{id}{rest}"))
}

/// A line up to the node that it is about, and the rest: of a message sent, of a node's state, of what a leader knows of it.
fn parted(line: &str) -> Option<(&str, &str)> {
    let known = line.strip_prefix("   ").and_then(|rest| rest.find(' ')).map(|at| at + 3);
    let at = known.or_else(|| line.find(": ").filter(|_| line.contains(" -> ") || line.contains(" log ")))?;
    let (head, rest) = line.split_at(at);
    head.chars().all(|it| it.is_ascii_digit() || " ,->".contains(it)).then_some((head, rest))
}
