//! The language of the core's golden scripts: the commands are the arms of `Script::run`. It judges nothing itself: the
//! cluster does, after every step.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use ravelin_consensus::{
    AppendOutcome, Body, Change, ClusterId, Configuration, Core, Effect, Entry, EntryKind, Incarnation,
    Index, Input, Life, Message, NodeId, Params, ProposalId, ReadId, RecoveryEpoch, Round, Term, Ticket,
    Timer,
};

use super::cluster::{Cluster, Packet, Text, incarnation};
use super::render;
use super::stanza::{self, Words};

/// A run of one script.
#[derive(Default)]
pub(crate) struct Script {
    cluster: Option<Cluster>,
    timers: bool,
    names: u64,
    /// Whether a broken invariant is part of the answer, and the run goes on; else it panics.
    lenient: bool,
}

impl Script {
    /// A run that goes on when an invariant is broken, and says so in its answer: to look at what is wrong.
    #[allow(dead_code)] // the tests of the core stop at once
    pub(crate) fn lenient() -> Script {
        Script { lenient: true, ..Script::default() }
    }

    pub(crate) fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("a script begins with `cluster`")
    }

    fn shown(&self, id: NodeId, effects: &[Effect<Text>]) -> String {
        effects
            .iter()
            .filter_map(|effect| render::effect(id, effect, self.timers))
            .fold(String::new(), |text, line| text + &line + "\n")
    }

    fn step(&mut self, id: NodeId, input: Input<Text>) -> String {
        let effects = self.cluster().step(id, input);
        self.shown(id, &effects)
    }

    fn next_name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    /// Carries out the commands of a line, parted by semicolons; their answers together, but those of commands that begin
    /// with `~`.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let mut answers = String::new();
        for command in line.split(';').map(str::trim) {
            match command.strip_prefix('~') {
                Some(unheard) => drop(self.command(unheard)),
                None => answers += &self.command(command),
            }
        }
        let mut answer = render::joined(&answers);
        for broken in self.cluster.iter_mut().flat_map(|cluster| cluster.broken.drain(..)) {
            let _ = writeln!(answer, "BROKEN: {broken}");
        }
        if answer.is_empty() { "nothing\n".to_owned() } else { answer }
    }

    fn command(&mut self, line: &str) -> String {
        let words = Words::of(line);
        let (command, rest) = words.plain.split_first().expect("a command");
        let command = *command;
        let rest = rest.len();
        match command {
            "cluster" => self.create(&words),
            "start" => self.start(&words, rest),
            "election" => self.step(words.node(1), Input::Timer(Timer::Election)),
            "heartbeat" => self.step(words.node(1), Input::Timer(Timer::Heartbeat)),
            "check-quorum" => self.step(words.node(1), Input::Timer(Timer::CheckQuorum)),
            "propose" => {
                let id = ProposalId(self.next_name());
                let payload = Text(words.plain.get(2).copied().unwrap_or_default().into());
                self.step(words.node(1), Input::Propose { id, payload })
            }
            "recover" => self.recover(words.node(1)),
            "transfer" => self.step(words.node(1), Input::Transfer(words.node(2))),
            "transfer-timeout" => self.step(words.node(1), Input::Timer(Timer::Transfer)),
            "pass" => {
                self.cluster().now.micros += words.number(1);
                String::new()
            }
            "lease-timeout" => self.step(words.node(1), Input::Timer(Timer::Lease)),
            "ask-again" => self.step(words.node(1), Input::Timer(Timer::Read)),
            "change" => self.change(&words),
            "read" => {
                let id = ReadId(self.next_name());
                self.step(words.node(1), Input::Read(id))
            }
            "persist" => self.persist(&words, rest),
            "fail-disk" => self.step(words.node(1), Input::PersistFailed),
            "report" => {
                let token = ravelin_consensus::Token(words.key("token").unwrap_or(0));
                self.step(words.node(1), Input::Persisted(token))
            }
            "crash" => {
                let kept = usize::try_from(words.key("kept").unwrap_or(0)).expect("a small number");
                let effects = self.cluster().crash(words.node(1), kept);
                self.shown(words.node(1), &effects)
            }
            "snapshot" => {
                let effects = self.cluster().take_snapshot(words.node(1));
                self.shown(words.node(1), &effects)
            }
            "install" => {
                let effects = self.cluster().install(words.node(1));
                effects
                    .map_or("nothing to install\n".to_owned(), |effects| self.shown(words.node(1), &effects))
            }
            "install-fails" => {
                match self.cluster().nodes.get_mut(&words.node(1)).and_then(|node| node.awaited.take()) {
                    Some(meta) => self.step(words.node(1), Input::SnapshotFailed(Box::new(meta))),
                    None => "nothing to install\n".to_owned(),
                }
            }
            "wipe" => {
                let effects = self.cluster().wipe(words.node(1));
                self.shown(words.node(1), &effects)
            }
            "unreachable" => self.step(words.node(1), Input::Unreachable(words.node(2))),
            "deliver" => self.deliver(&words),
            "drop" => self.lose(&words),
            "stabilize" => self.stabilize(&words),
            "inject" => self.inject(&words),
            "network" => self.network(),
            "status" => self.status(&words, rest),
            other => panic!("unknown command {other}"),
        }
    }

    fn create(&mut self, words: &Words<'_>) -> String {
        let part = |key: &str| -> BTreeMap<NodeId, Incarnation> {
            words.nodes(key).into_iter().map(|id| (id, incarnation(id))).collect()
        };
        let configuration = Configuration {
            voters: part("voters"),
            outgoing: part("outgoing"),
            learners: part("learners"),
            ..Configuration::default()
        };
        self.timers = words.keyed.get("timers") == Some(&"shown");
        let adjust = |params: &mut Params| {
            params.pre_vote = words.keyed.get("pre-vote") == Some(&"on");
            params.check_quorum = words.keyed.get("check-quorum") == Some(&"on");
            params.log_trailing_bytes_max = words.key("trailing").unwrap_or(0);
            let sized =
                |key, old: usize| words.key(key).map_or(old, |it| usize::try_from(it).expect("small"));
            params.append_entries_max = sized("entries", params.append_entries_max);
            params.inflight_messages_max = sized("window", params.inflight_messages_max);
            params.lease = words.key("lease").map(std::time::Duration::from_micros);
            params.reads_pending_max = sized("reads", params.reads_pending_max);
            params.uncommitted_bytes_max = words.key("uncommitted").unwrap_or(params.uncommitted_bytes_max);
            params.log_bytes_max = words.key("log").unwrap_or(params.log_bytes_max);
            params.entry_bytes_max = words.key("entry").unwrap_or(params.entry_bytes_max);
        };
        self.cluster = Some(Cluster::new(&configuration, &words.nodes("spare"), adjust));
        self.cluster().lenient = self.lenient;
        if let Some(leader) = words.key("leads") {
            self.step(NodeId(leader), Input::Timer(Timer::Election));
            self.stabilize(words);
        }
        "ok\n".to_owned()
    }

    /// `change 1 add=4 learner=5 demote=2 remove=3`, each a list; `life=41` for other incarnations than the usual.
    fn change(&mut self, words: &Words<'_>) -> String {
        let id = ProposalId(self.next_name());
        let life = |node| words.key("life").map_or(incarnation(node), Incarnation);
        let mut changes = Vec::new();
        changes.extend(words.nodes("add").into_iter().map(|node| Change::AddVoter(node, life(node))));
        changes.extend(words.nodes("learner").into_iter().map(|node| Change::AddLearner(node, life(node))));
        changes.extend(words.nodes("demote").into_iter().map(Change::Demote));
        changes.extend(words.nodes("remove").into_iter().map(Change::Remove));
        self.step(words.node(1), Input::Change { id, changes })
    }

    /// The node goes on alone, in the next recovery epoch. What others held may be lost, so no history is kept on.
    fn recover(&mut self, id: NodeId) -> String {
        let cluster = self.cluster();
        cluster.honest = false;
        let node = cluster.nodes.get_mut(&id).expect("the node exists");
        let mut params = Params::clone(node.core.params());
        params.recovery_epoch.0 += 1;
        node.disk = node.disk.clone().recovered(id, incarnation(id), params.recovery_epoch);
        node.core =
            Core::restore(Arc::new(params), node.disk.clone()).expect("a disk written by the core itself");
        node.queue.clear();
        node.awaited = None;
        node.applied.clear();
        let effects = cluster.start(id);
        self.shown(id, &effects)
    }

    fn ids(&mut self, words: &Words<'_>, rest: usize) -> Vec<NodeId> {
        if rest == 0 {
            return self.cluster().nodes.keys().copied().collect();
        }
        (1..=rest).map(|at| words.node(at)).collect()
    }

    fn start(&mut self, words: &Words<'_>, rest: usize) -> String {
        self.ids(words, rest)
            .into_iter()
            .map(|id| {
                let effects = self.cluster().start(id);
                self.shown(id, &effects)
            })
            .collect()
    }

    /// `persist 1 2`: all unfinished writes of these; `count=n` for the first n of one.
    fn persist(&mut self, words: &Words<'_>, rest: usize) -> String {
        let mut answer = String::new();
        for id in self.ids(words, rest) {
            let mut left = words.key("count").unwrap_or(u64::MAX);
            while left > 0 {
                let Some(effects) = self.cluster().persist(id) else { break };
                answer += &self.shown(id, &effects);
                left -= 1;
            }
        }
        answer
    }

    /// Which messages in flight a command means: `from=`, `to=`, `kind=` (a word of the rendered message), and of these
    /// only the one that `nr=` names, counted from 1.
    fn selected(&mut self, words: &Words<'_>) -> Vec<usize> {
        let (from, to) = (words.key("from"), words.key("to"));
        let kind = words.keyed.get("kind").copied();
        let fits = |packet: &Packet| {
            from.is_none_or(|from| packet.from == NodeId(from))
                && to.is_none_or(|to| packet.to == NodeId(to))
                && kind.is_none_or(|kind| render::message(&packet.message).contains(&format!(" {kind}")))
        };
        let packets = self.cluster().network.iter().enumerate();
        let selected = packets.filter(|(_, packet)| fits(packet)).map(|(at, _)| at);
        match words.key("nr").and_then(|number| usize::try_from(number).ok()) {
            Some(number) => selected.skip(number.saturating_sub(1)).take(1).collect(),
            None => selected.collect(),
        }
    }

    /// Delivers the selected messages that are in flight now, in the order they were sent; `keep=yes` leaves a copy.
    fn deliver(&mut self, words: &Words<'_>) -> String {
        let mut answer = String::new();
        for (gone, at) in self.selected(words).into_iter().enumerate() {
            let keep = words.keyed.contains_key("keep");
            let at = if keep { at } else { at - gone };
            let packet = self.cluster().network[at].clone();
            if keep {
                self.cluster().network.push(packet.clone());
            }
            let _ =
                writeln!(answer, "  {} -> {}: {}", packet.from, packet.to, render::message(&packet.message));
            let effects = self.cluster().deliver(at);
            answer += &self.shown(packet.to, &effects);
            if keep {
                let copy = self.cluster().network.len() - 1 - effects_sent(&effects);
                let packet = self.cluster().network.remove(copy);
                self.cluster().network.insert(at, packet);
            }
        }
        answer
    }

    fn lose(&mut self, words: &Words<'_>) -> String {
        let mut answer = String::new();
        for at in self.selected(words).into_iter().rev() {
            let packet = self.cluster().network.remove(at);
            let message = render::message(&packet.message);
            answer = format!("{} -> {}: {message} (lost)\n", packet.from, packet.to) + &answer;
        }
        answer
    }

    /// Persists and delivers until nothing is left; `only=1,2` cuts off the others; `quiet=yes` shows the end only.
    fn stabilize(&mut self, words: &Words<'_>) -> String {
        let only = words.keyed.contains_key("only").then(|| words.nodes("only"));
        let within = |id: NodeId| only.as_ref().is_none_or(|only| only.contains(&id));
        let mut answer = String::new();
        for _ in 0..1000 {
            let ids: Vec<NodeId> = self.cluster().nodes.keys().copied().filter(|id| within(*id)).collect();
            let mut moved = false;
            for id in ids {
                while let Some(effects) = self.cluster().persist(id) {
                    answer += &self.shown(id, &effects);
                    moved = true;
                }
            }
            let next =
                self.cluster().network.iter().position(|packet| within(packet.from) && within(packet.to));
            if let Some(at) = next {
                let to = self.cluster().network[at].to;
                let effects = self.cluster().deliver(at);
                answer += &self.shown(to, &effects);
            } else if !moved {
                if words.keyed.contains_key("quiet") {
                    return self.status(words, 0);
                }
                return answer;
            }
        }
        panic!("the cluster does not come to rest")
    }

    /// A message that no member of the run has sent: `inject 2 1 append term=3 prev=1/1 entries=2,2 commit=1`.
    fn inject(&mut self, words: &Words<'_>) -> String {
        let (from, to) = (words.node(1), words.node(2));
        let kind = words.plain.get(3).copied().unwrap_or_default();
        let (last_index, last_term) = words.place("last");
        let (prev_index, prev_term) = words.place("prev");
        let terms = words.keyed.get("entries").copied().unwrap_or_default();
        let terms = terms.split(',').filter(|term| !term.is_empty());
        let entry = |term: &str| Entry { term: Term(term.parse().expect("a term")), kind: EntryKind::Empty };
        let round = Round(words.key("round").unwrap_or(0));
        let life = Life(words.key("life").unwrap_or(0));
        let ticket = Ticket { life, number: words.key("ticket").unwrap_or(1) };
        let body = match kind {
            "pre-vote" => Body::PreVote { last_index, last_term },
            "pre-vote-yes" => Body::PreVoteReply { granted: true },
            "missing" => Body::Missing { prev_index, prev_term, entries: terms.map(entry).collect() },
            "vote" => Body::Vote { last_index, last_term },
            "vote-yes" => Body::VoteReply { granted: true },
            "append" => Body::Append {
                prev_index,
                prev_term,
                entries: terms.map(entry).collect(),
                commit: Index(words.key("commit").unwrap_or(0)),
                round,
            },
            "accepted" => {
                let outcome = AppendOutcome::Accepted { matched: Index(words.key("matched").unwrap_or(0)) };
                Body::AppendReply { outcome, round }
            }
            "rejected" => {
                let (hint_index, hint_term) = words.place("hint");
                let outcome = AppendOutcome::Rejected { prev_index, hint_index, hint_term };
                Body::AppendReply { outcome, round }
            }
            "take-over" => Body::TimeoutNow,
            "read" => Body::Read { ticket },
            "read-reply" => Body::ReadReply { ticket, index: words.key("at").map(Index) },
            other => panic!("{}: unknown message {other}", words.line),
        };
        let message = Message {
            cluster: ClusterId([u8::try_from(words.key("cluster").unwrap_or(7)).expect("a byte"); 16]),
            recovery_epoch: RecoveryEpoch(
                u32::try_from(words.key("epoch").unwrap_or(0)).expect("a small number"),
            ),
            incarnation: words.key("incarnation").map_or(incarnation(from), Incarnation),
            term: Term(words.key("term").unwrap_or(0)),
            body,
        };
        self.cluster().honest &= words.keyed.contains_key("honest");
        self.step(to, Input::Message { from, message })
    }

    fn network(&mut self) -> String {
        let packets = self.cluster().network.iter();
        packets.fold(String::new(), |text, packet| {
            text + &format!("{} -> {}: {}\n", packet.from, packet.to, render::message(&packet.message))
        })
    }

    fn status(&mut self, words: &Words<'_>, rest: usize) -> String {
        let ids = self.ids(words, rest);
        ids.into_iter().map(|id| render::core(&self.cluster().nodes[&id].core) + "\n").collect()
    }
}

fn effects_sent(effects: &[Effect<Text>]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Send { .. })).count()
}

/// Runs one file; returns it with the answers of this run.
pub(crate) fn answered(text: &str) -> String {
    let mut script = Script::default();
    stanza::answered(text, &mut |line| script.run(line))
}
