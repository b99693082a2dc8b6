//! One proxy's lane: what it holds, what is on its way to it, what it has reported. It must not choose what is fed: the feed
//! server does, and hands over transfers.

use ravelin_config::feed::{ControlPlane, Hello, Stage, ToProxy};
use ravelin_config::{ConfigMap, GenerationId, Understands};
use ravelin_consensus::Time;

use super::transfer::{Transfer, ViewSealing};
use super::{BUILD_BYTES_MAX, FRAMES_QUEUED_MAX, SIGN_OF_LIFE_INTERVAL, encode};
use crate::node::event::{Action, Actions, LinkId};
use crate::node::journal::bound_texts;
use crate::node::timers::between;
use crate::request::status::{EventKind, ProxyStatus, RefusedGeneration};

#[derive(Debug)]
pub(super) struct Session {
    pub(super) proxy: u64,
    /// When it was first looked at, for as long as no hello has come.
    pub(super) ungreeted_since: Option<Time>,
    pub(super) build: String,
    /// Which process it is of those that ever ran under this identity.
    pub(super) instance: u64,
    /// What it can read, by its own word.
    pub(super) understands: Option<Understands>,
    /// The kinds last noted that it does not know and is fed.
    lacks: Vec<&'static str>,
    /// It takes nothing older.
    floor: Option<GenerationId>,
    /// Nothing is sent before the proxy has said hello.
    pub(super) greeted: bool,
    /// Which of the changes of the control plane the proxy was told of.
    plane: u64,
    /// The proxy was given the key of its view.
    pub(super) keyed: bool,
    /// What the proxy holds, by its own word.
    pub(super) held: Option<GenerationId>,
    pub(super) needs_whole: bool,
    pub(super) whole_sent: Option<Time>,
    /// A whole is due that the proxy may not have yet.
    pub(super) held_back: bool,
    pub(super) sending: Option<Sending>,
    /// A complete transfer that the proxy has not answered yet.
    pub(super) offered: Option<GenerationId>,
    /// Not offered again: the proxy will not take it.
    pub(super) refused: Option<RefusedByProxy>,
    pub(super) queued: usize,
    /// The last sign of life: what it said and when.
    pub(super) said: Option<(GenerationId, bool, Time)>,
    pub(super) received: Option<GenerationId>,
    pub(super) validated: Option<GenerationId>,
    pub(super) serving: Option<(GenerationId, Time)>,
    /// It could not say for too long what became of this one.
    pub(super) overdue: Option<GenerationId>,
}

#[derive(Debug)]
pub(super) struct Sending {
    pub(super) transfer: Transfer,
    pub(super) next: usize,
}

#[derive(Debug)]
pub(super) struct RefusedByProxy {
    pub(super) generation: GenerationId,
    pub(super) reasons: Vec<String>,
}

impl Session {
    pub(super) fn new(proxy: u64) -> Self {
        Self {
            proxy,
            ungreeted_since: None,
            build: String::new(),
            instance: 0,
            understands: None,
            lacks: Vec::new(),
            floor: None,
            greeted: false,
            plane: 0,
            keyed: false,
            held: None,
            needs_whole: false,
            whole_sent: None,
            held_back: false,
            sending: None,
            offered: None,
            refused: None,
            queued: 0,
            said: None,
            received: None,
            validated: None,
            serving: None,
            overdue: None,
        }
    }

    /// The proxy said hello.
    pub(super) fn greet(&mut self, hello: Hello) {
        let Hello { cluster: _, recovery_epoch: _, generation, floor, view: _, build, instance, understands } =
            hello;
        self.greeted = true;
        self.held = generation;
        self.floor = floor;
        self.build = build.chars().take(BUILD_BYTES_MAX).collect();
        self.instance = instance;
        self.understands = Some(understands);
    }

    /// What is to be noted where the proxy is fed kinds that it does not know, and others than were noted before.
    pub(super) fn lacking(&mut self, map: &ConfigMap) -> Option<EventKind> {
        let lacks = self.understands.as_ref().map(|understands| understands.lacks(map)).unwrap_or_default();
        if self.lacks == lacks {
            return None;
        }
        let kinds: Vec<String> = lacks.iter().map(|&prefix| prefix.to_owned()).collect();
        self.lacks = lacks;
        (!kinds.is_empty()).then_some(EventKind::ProxyLacks { proxy: self.proxy, kinds })
    }

    /// Whether `current` should be sent: newer than what is held, not on its way, not refused.
    pub(super) fn wants(&self, current: GenerationId) -> bool {
        self.offered.is_none()
            && self.refused.as_ref().is_none_or(|refused| refused.generation != current)
            && self.floor.is_none_or(|floor| !floor.is_newer_than(&current))
            && (self.needs_whole || self.held.is_none_or(|held| current.is_newer_than(&held)))
    }

    /// Tells who speaks and where control nodes are, where that is news to the proxy.
    pub(super) fn say_control_plane(
        &mut self,
        link: LinkId,
        (plane, changes): &(ControlPlane, u64),
        actions: &mut Actions,
    ) {
        if self.plane == *changes || self.queued >= FRAMES_QUEUED_MAX {
            return;
        }
        if let Some(frame) = encode(ToProxy::ControlPlane(plane.clone())) {
            actions.push(Action::SendLink { link, frame });
            self.queued += 1;
            self.plane = *changes;
        }
    }

    /// Hands over the key of the proxy's view, before the first transfer on its lane that may need it. Whether it has it.
    pub(super) fn send_key(&mut self, link: LinkId, sealing: &ViewSealing, actions: &mut Actions) -> bool {
        if !self.keyed
            && self.sending.is_some()
            && self.queued < FRAMES_QUEUED_MAX
            && let Some(frame) = sealing.key_frame()
        {
            actions.push(Action::SendLink { link, frame });
            self.queued += 1;
            self.keyed = true;
        }
        self.keyed
    }

    pub(super) fn send_parts(&mut self, link: LinkId, actions: &mut Actions) {
        while self.queued < FRAMES_QUEUED_MAX
            && let Some(sending) = self.sending.as_mut()
        {
            if let Some(frame) = sending.transfer.frames.get(sending.next) {
                actions.push(Action::SendLink { link, frame: frame.clone() });
                self.queued += 1;
                sending.next += 1;
            }
            if sending.next >= sending.transfer.frames.len() {
                self.offered = Some(sending.transfer.target);
                self.sending = None;
            }
        }
    }

    /// A proxy that holds what is fed, or something newer, is told where this node stands.
    pub(super) fn say_up_to_date(
        &mut self,
        now: Time,
        link: LinkId,
        current: GenerationId,
        (stale, leads): (bool, bool),
        actions: &mut Actions,
    ) {
        let refuses_current = self.refused.as_ref().is_some_and(|refused| refused.generation == current);
        // A proxy that will not take the current generation hears about the one that it holds.
        let generation = if refuses_current { self.held } else { Some(current) };
        let Some(generation) = generation else { return };
        let fresh = self.said.is_some_and(|(said, was_stale, at)| {
            said == generation && was_stale == stale && between(at, now) < SIGN_OF_LIFE_INTERVAL
        });
        if fresh || self.queued >= FRAMES_QUEUED_MAX {
            return;
        }
        if let Some(frame) = encode(ToProxy::UpToDate { generation, stale, leads }) {
            self.said = Some((generation, stale, now));
            self.queued += 1;
            actions.push(Action::SendLink { link, frame });
        }
    }

    pub(super) fn acknowledged(
        &mut self,
        now: Time,
        generation: GenerationId,
        stage: Stage,
        current: Option<GenerationId>,
    ) -> Option<EventKind> {
        match stage {
            Stage::Received => {
                self.received = Some(generation);
            }
            Stage::Validated => {
                self.validated = Some(generation);
                self.settle(generation);
            }
            Stage::Serving => {
                self.serving = Some((generation, now));
                self.settle(generation);
            }
            Stage::Overdue => {
                let is_news = self.overdue.replace(generation) != Some(generation);
                let generation = generation.to_string();
                return is_news.then_some(EventKind::ProxyOverdue { proxy: self.proxy, generation });
            }
            Stage::Refused { mut reasons } => {
                bound_texts(&mut reasons);
                // What is noted is about generations that it could have been given, not whatever it names.
                let is_ours = current == Some(generation) || self.offered == Some(generation);
                self.offered = self.offered.filter(|offered| *offered != generation);
                self.overdue = None;
                let repeated = self.refused.as_ref().is_some_and(|held| held.generation == generation);
                let noted = EventKind::ProxyRefused {
                    proxy: self.proxy,
                    generation: generation.to_string(),
                    reasons: reasons.clone(),
                };
                self.refused = Some(RefusedByProxy { generation, reasons });
                return (is_ours && !repeated).then_some(noted);
            }
        }
        None
    }

    /// From here on the proxy holds this generation: deltas may start from it.
    pub(super) fn settle(&mut self, generation: GenerationId) {
        self.held = Some(generation);
        self.overdue = None;
        self.offered = self.offered.filter(|offered| *offered != generation);
        self.refused = self.refused.take().filter(|refused| refused.generation.is_newer_than(&generation));
    }

    pub(super) fn status(&self) -> ProxyStatus {
        ProxyStatus {
            node: self.proxy,
            build: self.build.clone(),
            instance: format!("{:016x}", self.instance),
            understands: self.understands.clone(),
            lacks: self.lacks.iter().map(|&prefix| prefix.to_owned()).collect(),
            received: self.received.map(Into::into),
            validated: self.validated.map(Into::into),
            serving: self.serving.map(|(generation, _)| generation.into()),
            overdue: self.overdue.map(Into::into),
            serving_since_micros: self.serving.map_or(0, |(_, at)| at.micros),
            refused: self.refused.as_ref().map(|refused| RefusedGeneration {
                generation: refused.generation.into(),
                reasons: refused.reasons.clone(),
            }),
        }
    }
}
