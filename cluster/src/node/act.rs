//! What the node does of its own accord: appoint, run providers, reconcile, look after requests and feeds.
//! It must not decide who is fit (roles) or what a draft means (reconcile); it carries their decisions out.

use std::collections::BTreeSet;
use std::sync::Arc;

use ravelin_config::check::{INTERNAL, provider_of};
use ravelin_config::{ConfigMap, Draft, Understands};
use ravelin_consensus::{Input, NodeId, ProposalId, RoleName, Time};

use super::event::{Action, Actions};
use super::wire::{self, Frame, Presence};
use super::{Node, Proposer, ProviderRun, with_ground};
use crate::api::ReplyTo;
use crate::provider::{self, PROVIDERS_KEY, Wanted};
use crate::reconcile::worker::CLUSTER_PROVIDER;
use crate::reconcile::{Output, PROPOSE_DEADLINE_MILLIS};
use crate::request::status::EventKind;
use crate::request::{Envelope, Request, RequestId};
use crate::store::{Author, Command, FEATURE_LEVEL};

impl Node {
    /// Everything that may follow from the state of things; cheap when nothing does.
    pub(super) fn act(&mut self, now: Time, actions: &mut Actions) {
        self.take_snapshot(now, actions);
        self.look_after_members(now, actions);
        self.label_feed(now, actions);
        self.run_providers(now, actions);
        let (reconcile, random) = (&mut self.reconcile, &mut self.random);
        with_ground(&self.store, |ground| {
            reconcile.advance(now, ground, || RequestId(random.id()), actions);
        });
        for output in self.reconcile.outputs() {
            self.reconciled(now, output, actions);
        }
        self.look_after_requests(now, actions);
        if self.core.role() == RoleName::Leader {
            self.appoint(now, actions);
        }
    }

    /// Labels what is fed as soon as a quorum stands behind it, or has been missing for too long.
    fn label_feed(&mut self, now: Time, actions: &mut Actions) {
        self.feed.set_leads(self.core.role() == RoleName::Leader);
        let stale = self.roles.is_stale(now);
        if stale != self.feed.is_stale() {
            self.note(now, EventKind::StaleChanged { stale }, actions);
            self.with_feed(|feed, source| feed.set_stale(now, stale, source, actions));
        }
    }

    /// The regular look: signs of life and deadlines.
    pub(super) fn tick(&mut self, now: Time, actions: &mut Actions) {
        self.send_presence(actions);
        if self.core.role() == RoleName::Leader {
            self.record_understood(now);
        }
        self.note_known(now, actions);
        self.tick_members(now, actions);
        self.tell_served(now, actions);
        self.with_feed(|feed, source| feed.tick(now, source, actions));
        let leader_known = self.core.leader().is_some();
        for (request, response) in self.api.overdue(now, leader_known) {
            self.answer(now, request, response, actions);
        }
    }

    fn send_presence(&mut self, actions: &mut Actions) {
        let (me, leader) = (self.me(), self.core.leader());
        let Some(leader) = leader else { return };
        let controller = self.store.controller().map(|(node, _)| node);
        let presence = Presence {
            term: self.core.term().0,
            applied: self.core.applied_index().0,
            healthy: self.is_healthy(),
            providers_epoch: self.providers_epoch().unwrap_or(0),
            served: self.feed.served(),
            understands: Understands::this_build(wire::RAFT_VERSIONS),
            feature_level: FEATURE_LEVEL,
        };
        let Ok(frame) = wire::encode(&Frame::Presence(self.sender(), presence)) else { return };
        for to in BTreeSet::from([leader, controller.unwrap_or(leader)]) {
            if to != me {
                actions.push(Action::SendRaft { to, frame: frame.clone() });
            }
        }
    }

    /// Tells providers whose last draft every proxy serves by now, as far as control nodes are heard of.
    fn tell_served(&mut self, now: Time, actions: &mut Actions) {
        let Some(run) = &mut self.run else { return };
        if run.unserved.is_empty() {
            return;
        }
        let served = self.roles.served(now).chain(self.feed.served()).min();
        let Some(served) = served else { return };
        for (provider, outcome) in run.served(served) {
            actions.push(Action::ProviderOutcome { provider, outcome });
        }
    }

    fn appoint(&mut self, now: Time, actions: &mut Actions) {
        let mut roles = std::mem::take(&mut self.roles);
        let appointment = roles.appoint(now, &self.standing());
        self.roles = roles;
        let Some(appointment) = appointment else { return };
        if let Some((node, epoch)) = appointment.lost {
            self.note(now, EventKind::ControllerLost { node: node.0, epoch }, actions);
        }
        let command = Command::AppointController {
            node: appointment.node,
            epoch: appointment.epoch,
            at_unix_ms: now.micros / 1000,
        };
        if let Ok(payload) = command.encode() {
            let id = ProposalId(self.number());
            self.proposals.insert(id, Proposer::Roles);
            self.step(now, Input::Propose { id, payload });
        }
    }

    /// Starts or stops the providers, as the applied state says. A node starts them only once it has caught up: what it
    /// reads while it replays its log may be long out of date.
    fn run_providers(&mut self, now: Time, actions: &mut Actions) {
        let me = self.me();
        let epoch = self.store.controller().filter(|(node, _)| *node == me).map(|(_, epoch)| epoch);
        if let Some(run) = &self.run
            && epoch != Some(run.epoch)
        {
            let over = run.epoch;
            self.run = None;
            let current = self.store.controller().map_or(0, |(_, current)| current);
            self.reconcile.end(current);
            actions.push(Action::StopProviders);
            self.note(now, EventKind::ProvidersStopped { epoch: over }, actions);
        }
        let Some(epoch) = epoch else { return };
        if self.run.is_none() {
            if !self.is_healthy() {
                return;
            }
            self.reconcile.begin(Author::Controller { node: me, epoch });
            if let Some(objects) = &self.options.static_objects {
                self.reconcile.static_objects(objects);
            }
            self.run =
                Some(ProviderRun { epoch, specs: Vec::new(), section: None, ..ProviderRun::default() });
            self.note(now, EventKind::ProvidersStarted { epoch }, actions);
        }
        self.choose_providers(now, epoch, actions);
    }

    /// Runs what the configuration asks for; looks at it only where its bytes changed.
    fn choose_providers(&mut self, now: Time, epoch: u64, actions: &mut Actions) {
        let Some(run) = &mut self.run else { return };
        let section = self.store.config().get(PROVIDERS_KEY);
        if run.section.as_ref().map(Option::as_ref) == Some(section) {
            return;
        }
        run.section = Some(section.cloned());
        match provider::wanted(self.store.config(), |id, envelope| self.feed.open(id, envelope)) {
            Ok(Wanted { specs, dropped }) => {
                // Objects of a provider that is no longer wanted go with it; one that merely fails is still wanted.
                let held = providers_of(self.store.config());
                for gone in dropped.into_iter().filter(|name| held.contains(*name)) {
                    let provider = gone.to_owned();
                    self.reconcile.draft(Arc::new(Draft { provider, ..Draft::default() }));
                }
                if specs != run.specs {
                    run.specs.clone_from(&specs);
                    run.providers.retain(|name, _| specs.iter().any(|spec| spec.name() == name));
                    actions.push(Action::RunProviders { epoch, providers: specs });
                }
            }
            Err(reason) => {
                let kind = EventKind::ConfigurationRefused {
                    provider: PROVIDERS_KEY.to_owned(),
                    reasons: vec![reason],
                };
                self.note(now, kind, actions);
            }
        }
    }

    fn reconciled(&mut self, now: Time, output: Output, actions: &mut Actions) {
        match output {
            Output::Propose { command, attempt, part } => {
                let envelope = Envelope {
                    id: RequestId(self.random.id()),
                    hops: 0,
                    deadline_millis: PROPOSE_DEADLINE_MILLIS,
                    author: format!("controller-{}", self.me()),
                    request: Request::Propose { command: command.0.to_vec() },
                    since: None,
                };
                self.request(now, ReplyTo::Reconciler { attempt, part }, true, envelope, actions);
            }
            Output::Answer { request, response } => self.answer(now, request, response, actions),
            Output::Orphaned { request } => {
                if let Some(pending) = self.api.get_mut(request) {
                    pending.may_take_effect = true;
                }
                self.api.wait_again(now, request);
            }
            Output::Outcome { provider, outcome } => {
                if let Some(run) = &mut self.run {
                    run.told(&provider, &outcome);
                }
                actions.push(Action::ProviderOutcome { provider, outcome });
            }
            Output::Note(kind) => self.note(now, kind, actions),
        }
    }

    /// The control nodes other than this one.
    pub(super) fn others(&self) -> Vec<NodeId> {
        let me = self.me();
        self.core.configuration().members().filter(|node| *node != me).collect()
    }
}

/// The providers whose objects a configuration holds, other than requests and Ravelin itself.
fn providers_of(map: &ConfigMap) -> BTreeSet<String> {
    let all = map.iter().map(|(key, _)| provider_of(key));
    all.filter(|name| ![CLUSTER_PROVIDER, INTERNAL].contains(name)).map(str::to_owned).collect()
}
