//! The feed server: brings the applied generation to every attached proxy, as a delta or whole, and keeps what they report.
//! It must not feed anything that is not applied here, and keeps nothing durable: what proxies report is soft state.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ravelin_config::feed::{FEED_VERSION, Stage, ToControl, ToProxy};
use ravelin_config::{ConfigMap, Delta, GenerationId};
use ravelin_consensus::Time;
use ravelin_transport::codec;

use crate::node::event::{Action, Actions, LinkId};
use crate::node::journal::bound_texts;
use crate::node::timers::between;
use crate::request::status::{EventKind, ProxyStatus, RefusedGeneration};

pub mod transfer;

use transfer::{Transfer, Transfers, encode_whole};

/// Proxies that one control node feeds at most; further ones are told to go elsewhere.
pub const PROXIES_MAX: usize = 20_000;
/// Frames that wait in the transport for one proxy.
const FRAMES_QUEUED_MAX: usize = 4;
/// How often a proxy hears that it is up to date.
const SIGN_OF_LIFE_INTERVAL: Duration = Duration::from_secs(1);
/// How often one proxy may be sent the whole again because the last one did it no good.
const WHOLE_INTERVAL: Duration = Duration::from_secs(1);
/// Generations with at most so many objects are encoded at once instead of in the background.
const INLINE_OBJECTS_MAX: usize = 512;
/// Bytes kept of what a proxy says of its build.
const BUILD_BYTES_MAX: usize = 64;

/// What the feed needs to know of the store at the moment.
pub(crate) struct Source<'a> {
    /// The applied configuration.
    pub(crate) map: &'a ConfigMap,
    /// The changes from a generation to the applied one, if the history still reaches back to it.
    pub(crate) delta: &'a dyn Fn(&GenerationId) -> Option<Delta>,
}

/// The feed server's state.
#[derive(Debug)]
pub(crate) struct Feed {
    cluster: [u8; 16],
    sessions: BTreeMap<LinkId, Session>,
    transfers: Transfers,
    /// What is fed; none before the first configuration.
    current: Option<GenerationId>,
    stale: bool,
    /// The whole generation that is being encoded in the background.
    encoding: Option<GenerationId>,
    /// The last whole that cannot be encoded; another try would end the same way.
    unencodable: Option<GenerationId>,
}

#[derive(Debug)]
struct Session {
    proxy: u64,
    build: String,
    /// Nothing is sent before the proxy has said hello.
    greeted: bool,
    /// What the proxy holds, by its own word.
    held: Option<GenerationId>,
    needs_whole: bool,
    whole_sent: Option<Time>,
    sending: Option<Sending>,
    /// A complete transfer that the proxy has not answered yet.
    offered: Option<GenerationId>,
    /// Not offered again: the proxy will not take it.
    refused: Option<RefusedByProxy>,
    queued: usize,
    /// The last sign of life: what it said and when.
    said: Option<(GenerationId, bool, Time)>,
    received: Option<GenerationId>,
    validated: Option<GenerationId>,
    serving: Option<(GenerationId, Time)>,
}

#[derive(Debug)]
struct Sending {
    transfer: Transfer,
    next: usize,
}

#[derive(Debug)]
struct RefusedByProxy {
    generation: GenerationId,
    reasons: Vec<String>,
}

impl Feed {
    pub(crate) fn new(cluster: [u8; 16]) -> Self {
        Self {
            cluster,
            sessions: BTreeMap::new(),
            transfers: Transfers::default(),
            current: None,
            stale: true,
            encoding: None,
            unencodable: None,
        }
    }

    /// A proxy opened the lane. A second lane of one proxy replaces the first.
    pub(crate) fn opened(&mut self, link: LinkId, proxy: u64, actions: &mut Actions) {
        let before: Vec<LinkId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.proxy == proxy)
            .map(|(link, _)| *link)
            .collect();
        for old in before {
            self.sessions.remove(&old);
            let reason = "this proxy opened another feed".to_owned();
            actions.push(Action::CloseLink { link: old, reason });
        }
        if self.sessions.len() >= PROXIES_MAX {
            let reason = format!("this node already feeds {PROXIES_MAX} proxies");
            actions.push(Action::CloseLink { link, reason });
            return;
        }
        self.sessions.insert(link, Session::new(proxy));
    }

    /// Whether the lane is one of the feed's.
    pub(crate) fn owns(&self, link: LinkId) -> bool {
        self.sessions.contains_key(&link)
    }

    pub(crate) fn closed(&mut self, link: LinkId) {
        self.sessions.remove(&link);
    }

    /// The transport took a frame: there is room for the next.
    pub(crate) fn sent(&mut self, now: Time, link: LinkId, source: &Source<'_>, actions: &mut Actions) {
        if let Some(session) = self.sessions.get_mut(&link) {
            session.queued = session.queued.saturating_sub(1);
        }
        self.pump(now, link, source, actions);
    }

    /// A frame from a proxy. Gives what is worth noting.
    pub(crate) fn frame(
        &mut self,
        now: Time,
        link: LinkId,
        frame: &[u8],
        source: &Source<'_>,
        actions: &mut Actions,
    ) -> Option<EventKind> {
        let noted = match codec::decode(FEED_VERSION, frame) {
            Ok(message) => self.message(now, link, message, actions),
            Err(error) => {
                self.sessions.remove(&link);
                actions.push(Action::CloseLink { link, reason: format!("not a feed message: {error}") });
                None
            }
        };
        self.pump(now, link, source, actions);
        noted
    }

    fn message(
        &mut self,
        now: Time,
        link: LinkId,
        message: ToControl,
        actions: &mut Actions,
    ) -> Option<EventKind> {
        let cluster = self.cluster;
        let session = self.sessions.get_mut(&link)?;
        match message {
            ToControl::Hello { generation, view, build } => {
                let refusal = if !view.is_empty() {
                    Some(format!("there is no view named {view:?}"))
                } else if generation.is_some_and(|held| held.cluster != cluster) {
                    Some("the generation held belongs to another cluster".to_owned())
                } else {
                    None
                };
                if let Some(reason) = refusal {
                    self.refuse(link, reason, actions);
                    return None;
                }
                session.greeted = true;
                session.held = generation;
                session.build = build.chars().take(BUILD_BYTES_MAX).collect();
                None
            }
            ToControl::Acknowledge { generation, stage } => session.acknowledged(now, generation, stage),
            ToControl::NeedWhole { .. } => {
                session.sending = None;
                session.offered = None;
                session.needs_whole = true;
                None
            }
        }
    }

    fn refuse(&mut self, link: LinkId, reason: String, actions: &mut Actions) {
        self.sessions.remove(&link);
        if let Some(frame) = encode(&ToProxy::Refused { reason: reason.clone() }) {
            actions.push(Action::SendLink { link, frame });
        }
        actions.push(Action::CloseLink { link, reason });
    }

    /// Another generation is applied: every proxy gets it, as soon as it has room.
    pub(crate) fn publish(
        &mut self,
        now: Time,
        generation: GenerationId,
        source: &Source<'_>,
        actions: &mut Actions,
    ) {
        if self.current == Some(generation) {
            return;
        }
        self.current = Some(generation);
        self.pump_all(now, source, actions);
    }

    /// What is fed.
    pub(crate) fn current(&self) -> Option<GenerationId> {
        self.current
    }

    /// Whether a quorum stands behind this node.
    pub(crate) fn set_stale(&mut self, now: Time, stale: bool, source: &Source<'_>, actions: &mut Actions) {
        if self.stale != stale {
            self.stale = stale;
            self.pump_all(now, source, actions);
        }
    }

    /// Whether the feed is labelled stale.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Signs of life that are due.
    pub(crate) fn tick(&mut self, now: Time, source: &Source<'_>, actions: &mut Actions) {
        let due: Vec<LinkId> = self
            .sessions
            .iter()
            .filter(|(_, session)| {
                session.needs_whole
                    || session.said.is_some_and(|(_, _, at)| between(at, now) >= SIGN_OF_LIFE_INTERVAL)
            })
            .map(|(link, _)| *link)
            .collect();
        for link in due {
            self.pump(now, link, source, actions);
        }
    }

    /// A whole generation was encoded in the background.
    pub(crate) fn encoded(
        &mut self,
        now: Time,
        transfer: Transfer,
        source: &Source<'_>,
        actions: &mut Actions,
    ) {
        self.encoding = None;
        self.transfers.keep_whole(transfer);
        self.pump_all(now, source, actions);
    }

    /// A whole generation cannot be encoded: the next one may be.
    pub(crate) fn not_encoded(
        &mut self,
        now: Time,
        generation: GenerationId,
        source: &Source<'_>,
        actions: &mut Actions,
    ) {
        self.encoding = None;
        self.unencodable = Some(generation);
        self.pump_all(now, source, actions);
    }

    fn pump_all(&mut self, now: Time, source: &Source<'_>, actions: &mut Actions) {
        let links: Vec<LinkId> = self.sessions.keys().copied().collect();
        for link in links {
            self.pump(now, link, source, actions);
        }
    }

    /// Sends what one proxy needs next, as far as there is room.
    fn pump(&mut self, now: Time, link: LinkId, source: &Source<'_>, actions: &mut Actions) {
        let Some(current) = self.current else { return };
        let Some(session) = self.sessions.get(&link) else { return };
        if !session.greeted {
            return;
        }
        if session.needs_whole && session.whole_sent.is_some_and(|at| between(at, now) < WHOLE_INTERVAL) {
            return;
        }
        if session.sending.is_none() && session.wants(current) {
            let transfer = self.choose(session.held, session.needs_whole, current, source, actions);
            let Some((transfer, whole)) = transfer else { return };
            let Some(session) = self.sessions.get_mut(&link) else { return };
            session.needs_whole = false;
            session.whole_sent = if whole { Some(now) } else { session.whole_sent };
            session.sending = Some(Sending { transfer, next: 0 });
        }
        let stale = self.stale;
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.send_parts(link, actions);
        if session.sending.is_none() && session.offered.is_none() {
            session.say_up_to_date(now, link, current, stale, actions);
        }
    }

    /// The cheapest transfer that takes a proxy forward, and whether it is a whole; none while that is being encoded.
    fn choose(
        &mut self,
        held: Option<GenerationId>,
        needs_whole: bool,
        current: GenerationId,
        source: &Source<'_>,
        actions: &mut Actions,
    ) -> Option<(Transfer, bool)> {
        if let (Some(base), false) = (held, needs_whole)
            && let Some(delta) = self.transfers.delta(base, current, || (source.delta)(&base))
        {
            return Some((delta, false));
        }
        let is_forward = |whole: &Transfer| {
            whole.target == current
                || (!needs_whole && held.is_none_or(|held| whole.target.is_newer_than(&held)))
        };
        // An older whole is still good where a delta leads on from it.
        if let Some(whole) = self.transfers.whole().filter(|whole| is_forward(whole)).cloned()
            && (whole.target == current || (source.delta)(&whole.target).is_some())
        {
            return Some((whole, true));
        }
        if self.encoding.is_some() || self.unencodable == Some(current) {
            return None;
        }
        let transfer = self.transfers.next_number();
        if source.map.len() <= INLINE_OBJECTS_MAX
            && let Ok(frames) = encode_whole(current, source.map, transfer)
        {
            let whole = Transfer { target: current, frames };
            self.transfers.keep_whole(whole.clone());
            return Some((whole, true));
        }
        self.encoding = Some(current);
        actions.push(Action::EncodeWhole { generation: current, map: source.map.clone(), transfer });
        None
    }

    /// The proxies attached here, by number.
    pub(crate) fn proxies(&self) -> Vec<ProxyStatus> {
        let mut proxies: Vec<ProxyStatus> =
            self.sessions.values().filter(|session| session.greeted).map(Session::status).collect();
        proxies.sort_by_key(|proxy| proxy.node);
        proxies
    }
}

impl Session {
    fn new(proxy: u64) -> Self {
        Self {
            proxy,
            build: String::new(),
            greeted: false,
            held: None,
            needs_whole: false,
            whole_sent: None,
            sending: None,
            offered: None,
            refused: None,
            queued: 0,
            said: None,
            received: None,
            validated: None,
            serving: None,
        }
    }

    /// Whether `current` should be sent: newer than what is held, not on its way, not refused.
    fn wants(&self, current: GenerationId) -> bool {
        self.offered.is_none()
            && self.refused.as_ref().is_none_or(|refused| refused.generation != current)
            && (self.needs_whole || self.held.is_none_or(|held| current.is_newer_than(&held)))
    }

    fn send_parts(&mut self, link: LinkId, actions: &mut Actions) {
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
    fn say_up_to_date(
        &mut self,
        now: Time,
        link: LinkId,
        current: GenerationId,
        stale: bool,
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
        if let Some(frame) = encode(&ToProxy::UpToDate { generation, stale }) {
            self.said = Some((generation, stale, now));
            self.queued += 1;
            actions.push(Action::SendLink { link, frame });
        }
    }

    fn acknowledged(&mut self, now: Time, generation: GenerationId, stage: Stage) -> Option<EventKind> {
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
            Stage::Refused { mut reasons } => {
                bound_texts(&mut reasons);
                self.offered = self.offered.filter(|offered| *offered != generation);
                let repeated = self.refused.as_ref().is_some_and(|held| held.generation == generation);
                let noted = EventKind::ProxyRefused {
                    proxy: self.proxy,
                    generation: generation.to_string(),
                    reasons: reasons.clone(),
                };
                self.refused = Some(RefusedByProxy { generation, reasons });
                return (!repeated).then_some(noted);
            }
        }
        None
    }

    /// From here on the proxy holds this generation: deltas may start from it.
    fn settle(&mut self, generation: GenerationId) {
        self.held = Some(generation);
        self.offered = self.offered.filter(|offered| *offered != generation);
        self.refused = self.refused.take().filter(|refused| refused.generation.is_newer_than(&generation));
    }

    fn status(&self) -> ProxyStatus {
        ProxyStatus {
            node: self.proxy,
            build: self.build.clone(),
            received: self.received.map(Into::into),
            validated: self.validated.map(Into::into),
            serving: self.serving.map(|(generation, _)| generation.into()),
            serving_since_micros: self.serving.map_or(0, |(_, at)| at.micros),
            refused: self.refused.as_ref().map(|refused| RefusedGeneration {
                generation: refused.generation.into(),
                reasons: refused.reasons.clone(),
            }),
        }
    }
}

fn encode(message: &ToProxy) -> Option<Bytes> {
    codec::encode(FEED_VERSION, message).ok()
}

#[cfg(test)]
mod tests;
