//! The feed server: brings the applied generation to every attached proxy, as a delta or whole, and keeps what they report.
//! It must not feed anything that is not applied here, and keeps nothing durable: what proxies report is soft state.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use ravelin_config::feed::{
    ControlPlane, FEED_VERSION, FEED_VERSIONS, Hello, ToControl, ToControlV1, ToProxy, ToProxyV1,
};
use ravelin_config::secret::{OpenError, Secret, SecretId};
use ravelin_config::{ConfigMap, Delta, GenerationId, SealingKeys};
use ravelin_consensus::Time;
use ravelin_transport::codec::{self, CodecError};

use crate::node::event::{Action, Actions, LinkId};
use crate::node::timers::between;
use crate::request::status::{EventKind, ProxyStatus};
use crate::request::{PROXIES_PAGE_MAX, Page};
use crate::storage::chain;

mod conduct;
mod session;
pub mod transfer;

use conduct::{Conduct, HELLO_TIMEOUT, TWIN, UNGREETED_MAX};
use session::{Sending, Session};
use transfer::{Transfer, Transfers, ViewSealing, encode_whole};

/// Proxies that one control node feeds at most; further ones are told to go elsewhere.
pub const PROXIES_MAX: usize = 20_000;
/// Frames that wait in the transport for one proxy.
const FRAMES_QUEUED_MAX: usize = 4;
/// How often a proxy hears that it is up to date.
const SIGN_OF_LIFE_INTERVAL: Duration = Duration::from_secs(1);
/// How often one proxy may be sent the whole again because the last one did it no good.
const WHOLE_INTERVAL: Duration = Duration::from_secs(1);
/// How long an encoded whole is kept after a proxy needed it: many come at a time.
const WHOLE_KEPT: Duration = Duration::from_secs(5);
/// Generations with at most so many objects are encoded at once instead of in the background.
const INLINE_OBJECTS_MAX: usize = 512;
/// Bytes kept of what a proxy says of its build.
const BUILD_BYTES_MAX: usize = 64;
/// Proxies of which it is noted at one time that they do not know a kind; the status names all.
const LACKS_NOTED_MAX: usize = 16;

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
    /// Of the default view, the only one so far.
    sealing: ViewSealing,
    /// Whether there ever was a secret to send: until then no proxy needs a key.
    had_secrets: bool,
    sessions: BTreeMap<LinkId, Session>,
    /// The lanes of each proxy that has any.
    lanes: BTreeMap<u64, BTreeSet<LinkId>>,
    conduct: Conduct,
    /// Who this node is and where control nodes are, with how often that has changed; none before it is known.
    plane: Option<(ControlPlane, u64)>,
    transfers: Transfers,
    /// What is fed; none before the first configuration.
    current: Option<GenerationId>,
    stale: bool,
    /// This node leads.
    leads: bool,
    /// The whole generation that is being encoded in the background.
    encoding: Option<GenerationId>,
    /// When the whole that is kept was last needed.
    whole_used: Option<Time>,
    /// The last whole that cannot be encoded; another try would end the same way.
    unencodable: Option<GenerationId>,
}

impl Feed {
    pub(crate) fn new(cluster: [u8; 16], keys: SealingKeys) -> Self {
        Self {
            cluster,
            sealing: ViewSealing::new(keys, ""),
            had_secrets: false,
            sessions: BTreeMap::new(),
            lanes: BTreeMap::new(),
            conduct: Conduct::default(),
            plane: None,
            transfers: Transfers::default(),
            current: None,
            stale: true,
            leads: false,
            encoding: None,
            whole_used: None,
            unencodable: None,
        }
    }

    /// The value of a secret of the log.
    pub(crate) fn open(&self, id: &SecretId, envelope: &[u8]) -> Result<Secret, OpenError> {
        self.sealing.open(id, envelope)
    }

    /// A proxy opened the lane. It takes the place of another lane of that proxy once it says hello.
    pub(crate) fn opened(&mut self, link: LinkId, proxy: u64, actions: &mut Actions) {
        let own = self.lanes.entry(proxy).or_default();
        let waiting = own.iter().filter(|link| self.sessions.get(link).is_some_and(|it| !it.greeted)).count();
        own.insert(link);
        let reason = if self.sessions.len() >= PROXIES_MAX {
            Some(format!("this node already feeds {PROXIES_MAX} proxies"))
        } else if waiting >= UNGREETED_MAX {
            Some(format!("{UNGREETED_MAX} lanes of this proxy wait for their hello"))
        } else {
            None
        };
        self.sessions.insert(link, Session::new(proxy));
        if let Some(reason) = reason {
            self.refuse(link, reason, actions);
        }
    }

    /// Whether the lane is one of the feed's.
    pub(crate) fn owns(&self, link: LinkId) -> bool {
        self.sessions.contains_key(&link)
    }

    pub(crate) fn closed(&mut self, link: LinkId) {
        let Some(session) = self.sessions.remove(&link) else { return };
        if let Some(own) = self.lanes.get_mut(&session.proxy) {
            own.remove(&link);
            if own.is_empty() {
                self.lanes.remove(&session.proxy);
            }
        }
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
        let proxy = self.sessions.get(&link)?.proxy;
        let noted = if !self.conduct.may_say(now, proxy) {
            self.turn_away(now, link, "it says more than a proxy has to say", actions)
        } else {
            match decode(frame) {
                Ok(message) => self.message(now, link, message, source, actions),
                Err(error) => {
                    let reason = format!("not a feed message: {}", chain(&error));
                    self.turn_away(now, link, &reason, actions)
                }
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
        source: &Source<'_>,
        actions: &mut Actions,
    ) -> Option<EventKind> {
        let current = self.current;
        let session = self.sessions.get_mut(&link)?;
        if session.greeted == matches!(message, ToControl::Hello(_)) {
            let reason = if session.greeted { "it said hello twice" } else { "it did not begin with hello" };
            return self.turn_away(now, link, reason, actions);
        }
        match message {
            ToControl::Hello(hello) => self.hello(now, link, hello, source, actions),
            ToControl::Acknowledge { generation, stage } => {
                session.acknowledged(now, generation, stage, current)
            }
            ToControl::NeedWhole { .. } => {
                session.sending = None;
                session.offered = None;
                session.needs_whole = true;
                None
            }
        }
    }

    fn hello(
        &mut self,
        now: Time,
        link: LinkId,
        hello: Hello,
        source: &Source<'_>,
        actions: &mut Actions,
    ) -> Option<EventKind> {
        if let Some(reason) = self.unfit(&hello) {
            self.refuse(link, reason, actions);
            return None;
        }
        let proxy = self.sessions.get(&link)?.proxy;
        let mut own = self.lanes.get(&proxy).into_iter().flatten();
        let before =
            own.find_map(|link| Some((*link, self.sessions.get(link).filter(|it| it.greeted)?.instance)));
        if let Some((before, instance)) = before {
            // A process that lost its connection may come back as often as it likes.
            if instance != hello.instance && !self.conduct.may_take_over(now, proxy) {
                return self.turn_away(now, link, TWIN, actions);
            }
            self.refuse(before, "this proxy opened another feed".to_owned(), actions);
        }
        let session = self.sessions.get_mut(&link)?;
        session.greet(hello);
        session.lacking(source.map)
    }

    /// Why this node cannot feed a proxy that says this of itself.
    fn unfit(&self, hello: &Hello) -> Option<String> {
        let Hello { cluster, recovery_epoch, generation, view, understands, .. } = hello;
        let own_epoch = self.plane.as_ref().map(|(plane, _)| plane.recovery_epoch);
        if !view.is_empty() {
            Some(format!("there is no view named {view:?}"))
        } else if *cluster != self.cluster {
            Some("it is a proxy of another cluster".to_owned())
        } else if let Some(own) = own_epoch.filter(|own| own < recovery_epoch) {
            Some(format!(
                "this control node is of recovery epoch {own}, which was given up for {recovery_epoch}"
            ))
        } else if generation.is_some_and(|held| held.cluster != self.cluster) {
            Some("the generation held belongs to another cluster".to_owned())
        } else if FEED_VERSIONS.newest_of_both(understands.formats).is_none() {
            let theirs = understands.formats;
            Some(format!(
                "it reads versions {theirs} of the feed, this node {FEED_VERSIONS}: nodes may be one version apart"
            ))
        } else {
            None
        }
    }

    /// Ends a lane on which something happened that never should; it is counted.
    fn turn_away(
        &mut self,
        now: Time,
        link: LinkId,
        reason: &str,
        actions: &mut Actions,
    ) -> Option<EventKind> {
        let proxy = self.sessions.get(&link)?.proxy;
        self.refuse(link, reason.to_owned(), actions);
        self.conduct.offended(now, proxy, reason)
    }

    fn refuse(&mut self, link: LinkId, reason: String, actions: &mut Actions) {
        self.closed(link);
        if let Some(frame) = encode(ToProxy::Refused { reason: reason.clone() }) {
            actions.push(Action::SendLink { link, frame });
        }
        actions.push(Action::CloseLink { link, reason });
    }

    /// Another generation is applied: every proxy gets it, as soon as it has room. Gives what is worth noting: the first of
    /// those that do not know a kind in it.
    pub(crate) fn publish(
        &mut self,
        now: Time,
        generation: GenerationId,
        source: &Source<'_>,
        actions: &mut Actions,
    ) -> Vec<EventKind> {
        if self.current == Some(generation) {
            return Vec::new();
        }
        self.current = Some(generation);
        self.pump_all(now, source, actions);
        let greeted = self.sessions.values_mut().filter(|session| session.greeted);
        greeted.filter_map(|session| session.lacking(source.map)).take(LACKS_NOTED_MAX).collect()
    }

    /// Whether this node leads: proxies that find another one leave it then.
    pub(crate) fn set_leads(&mut self, leads: bool) {
        self.leads = leads;
    }

    /// Who this node is and where control nodes are: every proxy hears of it.
    pub(crate) fn set_control_plane(
        &mut self,
        now: Time,
        plane: ControlPlane,
        source: &Source<'_>,
        actions: &mut Actions,
    ) {
        let changes = match &self.plane {
            Some((told, _)) if *told == plane => return,
            Some((_, changes)) => changes + 1,
            None => 1,
        };
        self.plane = Some((plane, changes));
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
        self.conduct.forget(now);
        let is_idle = self.sessions.values().all(|session| session.sending.is_none());
        if is_idle && self.whole_used.is_some_and(|at| between(at, now) >= WHOLE_KEPT) {
            self.transfers.forget_whole();
            self.whole_used = None;
        }
        for link in self.silent(now) {
            self.refuse(link, "it did not say hello in time".to_owned(), actions);
        }
        let due: Vec<LinkId> = self
            .sessions
            .iter()
            .filter(|(_, session)| {
                session.needs_whole
                    || session.held_back
                    || session.said.is_some_and(|(_, _, at)| between(at, now) >= SIGN_OF_LIFE_INTERVAL)
            })
            .map(|(link, _)| *link)
            .collect();
        for link in due {
            self.pump(now, link, source, actions);
        }
    }

    /// Lanes on which a hello is overdue.
    fn silent(&mut self, now: Time) -> Vec<LinkId> {
        let mut silent = Vec::new();
        for (link, session) in self.sessions.iter_mut().filter(|(_, session)| !session.greeted) {
            let since = *session.ungreeted_since.get_or_insert(now);
            if between(since, now) >= HELLO_TIMEOUT {
                silent.push(*link);
            }
        }
        silent
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
        self.whole_used = Some(now);
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
        let Some(session) = self.sessions.get_mut(&link).filter(|session| session.greeted) else { return };
        if let Some(plane) = &self.plane {
            session.say_control_plane(link, plane, actions);
        }
        let Some(current) = self.current else { return };
        let Some(session) = self.sessions.get(&link) else { return };
        let proxy = session.proxy;
        if session.needs_whole && session.whole_sent.is_some_and(|at| between(at, now) < WHOLE_INTERVAL) {
            return;
        }
        if session.sending.is_none() && session.wants(current) {
            let transfer = self.choose(session.held, session.needs_whole, current, source, actions);
            let Some((transfer, whole)) = transfer else { return };
            let held_back = whole && !self.conduct.may_have_whole(now, proxy);
            let Some(session) = self.sessions.get_mut(&link) else { return };
            session.held_back = held_back;
            if held_back {
                return;
            }
            session.needs_whole = false;
            if whole {
                session.whole_sent = Some(now);
                self.whole_used = Some(now);
            }
            session.sending = Some(Sending { transfer, next: 0 });
        }
        let (stale, leads) = (self.stale, self.leads);
        self.had_secrets |= !source.map.secrets().is_empty();
        let Some(session) = self.sessions.get_mut(&link) else { return };
        if !self.had_secrets || session.send_key(link, &self.sealing, actions) {
            session.send_parts(link, actions);
        }
        if session.sending.is_none() && session.offered.is_none() {
            session.say_up_to_date(now, link, current, (stale, leads), actions);
        }
    }

    /// Whether a delta goes from one generation to another. Made once and kept, as whoever gets the one needs the other.
    fn leads_on(&mut self, from: GenerationId, to: GenerationId, source: &Source<'_>) -> bool {
        self.transfers.delta(from, to, &self.sealing, || (source.delta)(&from)).is_some()
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
            && let Some(delta) = self.transfers.delta(base, current, &self.sealing, || (source.delta)(&base))
        {
            return Some((delta, false));
        }
        let is_forward = |whole: &Transfer| {
            whole.target == current
                || (!needs_whole && held.is_none_or(|held| whole.target.is_newer_than(&held)))
        };
        // An older whole is still good where a delta leads on from it.
        if let Some(whole) = self.transfers.whole().filter(|whole| is_forward(whole)).cloned()
            && (whole.target == current || self.leads_on(whole.target, current, source))
        {
            return Some((whole, true));
        }
        if self.encoding.is_some() || self.unencodable == Some(current) {
            return None;
        }
        let transfer = self.transfers.next_number();
        if source.map.len() <= INLINE_OBJECTS_MAX
            && let Ok(frames) = encode_whole(current, source.map, transfer, &self.sealing)
        {
            let whole = Transfer { target: current, frames };
            self.transfers.keep_whole(whole.clone());
            return Some((whole, true));
        }
        self.encoding = Some(current);
        let (map, sealing) = (source.map.clone(), self.sealing.clone());
        actions.push(Action::EncodeWhole { generation: current, map, transfer, sealing });
        None
    }

    /// The oldest revision that a proxy attached here serves; 0 if one serves nothing yet, none if there is no proxy.
    pub(crate) fn served(&self) -> Option<u64> {
        let greeted = self.sessions.values().filter(|session| session.greeted);
        greeted.map(|session| session.serving.map_or(0, |(generation, _)| generation.revision)).min()
    }

    /// How many proxies are attached here.
    pub(crate) fn attached(&self) -> u64 {
        self.sessions.values().filter(|session| session.greeted).count() as u64
    }

    /// A page of the proxies attached here, by number, and after which one more follow.
    pub(crate) fn proxies(&self, page: Page) -> (Vec<ProxyStatus>, Option<u64>) {
        let limit = page.limit.min(PROXIES_PAGE_MAX) as usize;
        let lanes = self.lanes.range(page.after.saturating_add(1)..).flat_map(|(_, links)| links);
        let greeted = lanes.filter_map(|link| self.sessions.get(link)).filter(|session| session.greeted);
        // At most one lane of each proxy has said hello.
        let mut proxies: Vec<ProxyStatus> =
            greeted.take(limit.saturating_add(1)).map(Session::status).collect();
        let next = (proxies.len() > limit).then(|| proxies.pop().and(proxies.last().map(|last| last.node)));
        (proxies, next.map(|last| last.unwrap_or(page.after)))
    }
}

fn encode(message: ToProxy) -> Option<Bytes> {
    codec::encode(FEED_VERSION, &ToProxyV1::from(message)).ok()
}

/// A proxy's word, of any version that this build reads.
fn decode(frame: &[u8]) -> Result<ToControl, CodecError> {
    let version = codec::version_within(FEED_VERSIONS.oldest, FEED_VERSIONS.newest, frame)?;
    codec::decode_into::<ToControlV1, _>(version, frame)
}

#[cfg(test)]
mod tests;
