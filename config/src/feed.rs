//! The Feed lane: the messages between a control node and a proxy, and the proxy's pure receiving half.
//! It must not encode frames, read a clock or open a connection; it never takes a proxy backwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::delta::Delta;
use crate::generation::GenerationId;
use crate::key::Key;
use crate::map::{Change, ConfigMap, SharedRecords};
use crate::secret::{SecretId, VIEW_KEYS_MAX, ViewKey};
use crate::understands::Understands;

pub mod wire;

pub use wire::{FEED_VERSION, FEED_VERSIONS, ToControlV1, ToProxyV1};

/// What a proxy says to a control node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToControl {
    /// The first message on the lane.
    Hello(Hello),
    /// How far a generation has come in this proxy.
    Acknowledge {
        /// The generation meant.
        generation: GenerationId,
        /// How far.
        stage: Stage,
    },
    /// The last transfer could not be used: send the whole.
    NeedWhole {
        /// Why, for people.
        reason: String,
    },
}

/// Who a proxy is and what it has, as it says on a new lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Its cluster.
    pub cluster: [u8; 16],
    /// The newest recovery epoch that it has heard of: a control node of an older one was given up.
    pub recovery_epoch: u32,
    /// The generation held, if any: deltas start from it.
    pub generation: Option<GenerationId>,
    /// It takes nothing older than this, which it served before, though it does not hold it any more.
    pub floor: Option<GenerationId>,
    /// The named view asked for; empty means the default one, of everything.
    pub view: String,
    /// The proxy's build, for people.
    pub build: String,
    /// Drawn at the start of its process: two that run under one identity differ in it.
    pub instance: u64,
    /// What it can read.
    pub understands: Understands,
}

/// How far a generation has come in a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Complete, and its digest is right.
    Received,
    /// Compiled.
    Validated,
    /// Every worker's next request gets it.
    Serving,
    /// Not taken; the proxy goes on with what it had.
    Refused {
        /// Why, one text each.
        reasons: Vec<String>,
    },
    /// Neither taken nor refused for too long: what the proxy serves is old, and it knows.
    Overdue,
}

/// What a control node says to a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToProxy {
    /// The proxy holds what the control node would send. Repeated as a sign of life.
    UpToDate {
        /// The generation meant.
        generation: GenerationId,
        /// No quorum stands behind the control node at the moment.
        stale: bool,
        /// The control node leads: a proxy that finds another one leaves it to its work.
        leads: bool,
    },
    /// One part of a transfer. Parts come in order; a first part ends any transfer before it.
    Part(Part),
    /// The control node will not feed this proxy.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// The key that opens the secrets of what follows. It is for this proxy's view and goes over its own lane only.
    ViewKey(ViewKey),
    /// Who speaks, and where control nodes are: on each lane before anything else, and whenever it changes.
    ControlPlane(ControlPlane),
}

/// Most control nodes that a proxy is told of.
pub const CONTROL_NODES_MAX: usize = 64;
/// Longest address of one, in bytes: a host name and a port.
pub const ADDRESS_BYTES_MAX: usize = 260;

/// Who speaks in a lane of the feed, beside what the connection proves, and where the control nodes of its cluster are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlane {
    /// The cluster.
    pub cluster: [u8; 16],
    /// How often it was recovered, as far as the speaker's data directory knows.
    pub recovery_epoch: u32,
    /// The life of that directory.
    pub incarnation: u64,
    /// The revision of the store that last changed anything of `nodes`: what another control node says may be newer.
    pub as_of: u64,
    /// The control nodes by number, at most [`CONTROL_NODES_MAX`]. Where to look, not whom to trust: each has to prove who it is.
    pub nodes: Vec<ControlNode>,
}

impl ControlPlane {
    /// Whether `nodes` may be newer than what another control node said.
    pub fn may_replace(&self, other: &Self) -> bool {
        (self.recovery_epoch, self.as_of) >= (other.recovery_epoch, other.as_of)
    }
}

/// Where one control node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlNode {
    /// Its number.
    pub node: u64,
    /// `host:port`, at most [`ADDRESS_BYTES_MAX`].
    pub address: String,
}

/// One part of a whole generation or of a delta. Each part is usable by itself: a record is never split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which transfer, on this lane.
    pub transfer: u64,
    /// What the transfer brings.
    pub content: Content,
    /// The place of this part, from 0.
    pub part: u32,
    /// How many parts there are.
    pub of: u32,
    /// Records to put.
    pub puts: Vec<(Key, Arc<[u8]>)>,
    /// Keys to delete; empty in a whole generation.
    pub deletes: Vec<Key>,
    /// Secrets that the records refer to: envelopes to put.
    pub secret_puts: Vec<(SecretId, Arc<[u8]>)>,
    /// Names of secrets to drop; empty in a whole generation.
    pub secret_deletes: Vec<SecretId>,
}

/// What a transfer brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A complete generation.
    Whole {
        /// The generation.
        target: GenerationId,
    },
    /// The change from one generation to a later one.
    Delta {
        /// Where it starts.
        base: GenerationId,
        /// Where it leads.
        target: GenerationId,
    },
}

impl Content {
    /// The generation that the transfer leads to.
    pub fn target(&self) -> GenerationId {
        match self {
            Self::Whole { target } | Self::Delta { target, .. } => *target,
        }
    }
}

/// Bytes of a part besides its records, with room to spare: ids, counts and lengths.
const PART_OVERHEAD_BYTES: usize = 512;
/// Bytes of one record or key besides its text: two lengths.
const ENTRY_OVERHEAD_BYTES: usize = 16;

/// One entry of a transfer: `None` deletes.
enum Item {
    Record(Key, Option<Arc<[u8]>>),
    Secret(SecretId, Option<Arc<[u8]>>),
}

impl Item {
    fn bytes(&self) -> usize {
        let (name, value) = match self {
            Self::Record(key, value) => (key.as_str().len(), value),
            Self::Secret(id, value) => (id.0.len(), value),
        };
        ENTRY_OVERHEAD_BYTES + name + value.as_ref().map_or(0, |value| value.len())
    }

    fn add_to(self, part: &mut Part) {
        match self {
            Self::Record(key, Some(bytes)) => part.puts.push((key, bytes)),
            Self::Record(key, None) => part.deletes.push(key),
            Self::Secret(id, Some(envelope)) => part.secret_puts.push((id, envelope)),
            Self::Secret(id, None) => part.secret_deletes.push(id),
        }
    }
}

/// Cuts a transfer into parts whose encoding is at most `part_bytes_max` each, or one entry where that is larger.
fn split(
    transfer: u64,
    content: Content,
    items: impl IntoIterator<Item = Item>,
    part_bytes_max: usize,
) -> Vec<Part> {
    let empty = || Part {
        transfer,
        content,
        part: 0,
        of: 0,
        puts: Vec::new(),
        deletes: Vec::new(),
        secret_puts: Vec::new(),
        secret_deletes: Vec::new(),
    };
    let room = part_bytes_max.saturating_sub(PART_OVERHEAD_BYTES);
    let mut parts = vec![empty()];
    let mut used = 0;
    for item in items {
        let cost = item.bytes();
        if used > 0 && used + cost > room {
            parts.push(empty());
            used = 0;
        }
        used += cost;
        if let Some(last) = parts.last_mut() {
            item.add_to(last);
        }
    }
    let of = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    for (place, part) in (0..).zip(&mut parts) {
        part.part = place;
        part.of = of;
    }
    parts
}

/// Bounds of what a proxy takes in one transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverLimits {
    /// Parts of one transfer.
    pub parts_max: u32,
    /// Records, keys and secrets of one transfer.
    pub entries_max: usize,
    /// Bytes of keys, records and envelopes of one transfer.
    pub transfer_bytes_max: usize,
}

impl Default for ReceiverLimits {
    fn default() -> Self {
        Self { parts_max: 65_536, entries_max: 4_000_000, transfer_bytes_max: 1 << 30 }
    }
}

/// What the caller has to do after a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing: a part on the way, or a sign of life.
    Nothing,
    /// A newer generation is complete and its digest is right; it counts as held once [`Receiver::adopt`] is called.
    Complete {
        /// The generation.
        generation: GenerationId,
        /// Its content.
        map: ConfigMap,
    },
    /// A transfer of the generation that is held already has ended: it needs an answer, and nothing else.
    Held {
        /// The generation.
        generation: GenerationId,
    },
    /// The transfer cannot be used; ask for the whole.
    NeedWhole {
        /// Why, for people.
        reason: String,
    },
    /// The control node offers a generation that is older than the held one, or than one served before: try another node.
    GoesBackwards {
        /// What was offered.
        offered: GenerationId,
        /// What is held, or was served.
        held: GenerationId,
    },
    /// The control node speaks for another cluster, or refuses this proxy: try another node.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

struct Transfer {
    id: u64,
    content: Content,
    next: u32,
    of: u32,
    bytes: usize,
    changes: BTreeMap<Key, Change>,
    secrets: BTreeMap<SecretId, Option<Arc<[u8]>>>,
}

/// The receiving half of one feed lane: gathers parts, checks digests, refuses to go back.
///
/// Memory is bounded by [`ReceiverLimits`]. A new lane begins with [`Receiver::reconnected`].
pub struct Receiver {
    cluster: [u8; 16],
    limits: ReceiverLimits,
    held: Option<(GenerationId, ConfigMap)>,
    /// The keys that control nodes gave, the newest last.
    keys: Vec<ViewKey>,
    /// Nothing older is taken: it was held and forgotten, or served before this process began.
    floor: Option<GenerationId>,
    transfer: Option<Transfer>,
    /// What another part of the process holds already.
    shared: SharedRecords,
}

impl Receiver {
    /// A receiver for one cluster, with the generation that the proxy already serves, if any.
    pub fn new(cluster: [u8; 16], limits: ReceiverLimits, held: Option<(GenerationId, ConfigMap)>) -> Self {
        let shared = SharedRecords::default();
        Self { cluster, limits, held, keys: Vec::new(), floor: None, transfer: None, shared }
    }

    /// Where another part of the process holds what was received, that is held in its place: it has the same digest, and so
    /// the same records.
    pub fn share(&mut self, records: SharedRecords) {
        self.shared = records;
    }

    /// Takes nothing older than this from now on, whatever is held.
    pub fn raise_floor(&mut self, floor: GenerationId) {
        if self.floor.is_none_or(|now| floor.is_newer_than(&now)) {
            self.floor = Some(floor);
        }
    }

    /// What nothing older is taken than, where that is not what is held.
    pub fn floor(&self) -> Option<GenerationId> {
        self.floor.filter(|floor| self.held().is_none_or(|held| floor.is_newer_than(&held)))
    }

    /// The generation held: what a `Hello` names.
    pub fn held(&self) -> Option<GenerationId> {
        self.held.as_ref().map(|(generation, _)| *generation)
    }

    /// Makes a generation from [`Step::Complete`] the held one. A caller that refuses it does not adopt it.
    pub fn adopt(&mut self, generation: GenerationId, map: ConfigMap) {
        self.held = Some((generation, map));
    }

    /// Lets go of a generation that turned out to lack something, so that the same one is taken again as a whole. Nothing
    /// older is taken.
    pub fn forget(&mut self, generation: GenerationId) {
        if self.held() == Some(generation) {
            self.held = None;
            self.raise_floor(generation);
        }
    }

    /// Forgets what a lost lane had begun.
    pub fn reconnected(&mut self) {
        self.transfer = None;
    }

    /// Takes one message. Total: no message panics or grows memory beyond the limits.
    pub fn handle(&mut self, message: ToProxy) -> Step {
        match message {
            ToProxy::UpToDate { generation, .. } => self.up_to_date(generation),
            ToProxy::Refused { reason } => Step::Refused { reason },
            ToProxy::ControlPlane(told) if told.cluster != self.cluster => foreign(),
            // Where control nodes are is the client's to know.
            ToProxy::ControlPlane(_) => Step::Nothing,
            ToProxy::Part(part) => self.part(part),
            ToProxy::ViewKey(key) => {
                self.keys.retain(|held| held.id() != key.id());
                self.keys.push(key);
                let excess = self.keys.len().saturating_sub(VIEW_KEYS_MAX);
                self.keys.drain(..excess);
                Step::Nothing
            }
        }
    }

    fn up_to_date(&self, generation: GenerationId) -> Step {
        match self.held() {
            _ if generation.cluster != self.cluster => foreign(),
            _ if self.floor.is_some_and(|floor| floor.is_newer_than(&generation)) => self.behind(generation),
            Some(held) if held == generation => Step::Nothing,
            Some(held) if !generation.is_newer_than(&held) => {
                Step::GoesBackwards { offered: generation, held }
            }
            _ => Step::NeedWhole {
                reason: format!("told to be up to date with {generation}, which is not held"),
            },
        }
    }

    fn part(&mut self, part: Part) -> Step {
        let target = part.content.target();
        if target.cluster != self.cluster {
            self.transfer = None;
            return foreign();
        }
        if self.floor.is_some_and(|floor| floor.is_newer_than(&target)) {
            self.transfer = None;
            return self.behind(target);
        }
        if let Some(held) = self.held().filter(|held| !target.is_newer_than(held)) {
            self.transfer = None;
            return match held == target {
                true if part.part.saturating_add(1) < part.of => Step::Nothing,
                true => Step::Held { generation: held },
                false => Step::GoesBackwards { offered: target, held },
            };
        }
        if part.part == 0 {
            if let Content::Delta { base, .. } = part.content
                && self.held() != Some(base)
            {
                self.transfer = None;
                return Step::NeedWhole {
                    reason: format!("the delta starts from {base}, which is not held"),
                };
            }
            self.transfer = Some(Transfer {
                id: part.transfer,
                content: part.content,
                next: 0,
                of: part.of,
                bytes: 0,
                changes: BTreeMap::new(),
                secrets: BTreeMap::new(),
            });
        }
        match self.take(part) {
            Ok(Some(transfer)) => self.complete(transfer),
            Ok(None) => Step::Nothing,
            Err(reason) => {
                self.transfer = None;
                Step::NeedWhole { reason }
            }
        }
    }

    /// The control node is behind what this proxy has served.
    fn behind(&self, offered: GenerationId) -> Step {
        Step::GoesBackwards { offered, held: self.floor.unwrap_or(offered) }
    }

    fn take(&mut self, part: Part) -> Result<Option<Transfer>, String> {
        let limits = self.limits;
        let Some(transfer) = self.transfer.as_mut() else {
            return Err(format!("part {} of transfer {} came without a beginning", part.part, part.transfer));
        };
        let expected = (transfer.id, transfer.next, transfer.of, transfer.content);
        if (part.transfer, part.part, part.of, part.content) != expected || part.part >= part.of {
            return Err(format!("part {} of transfer {} does not follow", part.part, part.transfer));
        }
        if part.of > limits.parts_max {
            return Err(format!("{} parts are more than the {} allowed", part.of, limits.parts_max));
        }
        for (key, change) in part
            .puts
            .into_iter()
            .map(|(key, bytes)| (key, Change::Put(bytes)))
            .chain(part.deletes.into_iter().map(|key| (key, Change::Delete)))
        {
            transfer.bytes += key.as_str().len();
            if let Change::Put(bytes) = &change {
                transfer.bytes += bytes.len();
            }
            transfer.changes.insert(key, change);
        }
        let puts = part.secret_puts.into_iter().map(|(id, envelope)| (id, Some(envelope)));
        for (id, envelope) in puts.chain(part.secret_deletes.into_iter().map(|id| (id, None))) {
            transfer.bytes += id.0.len() + envelope.as_ref().map_or(0, |envelope| envelope.len());
            transfer.secrets.insert(id, envelope);
        }
        let entries = transfer.changes.len() + transfer.secrets.len();
        if transfer.bytes > limits.transfer_bytes_max || entries > limits.entries_max {
            return Err(format!(
                "the transfer is larger than the {} bytes or {} entries allowed",
                limits.transfer_bytes_max, limits.entries_max
            ));
        }
        transfer.next += 1;
        Ok(if transfer.next == transfer.of { self.transfer.take() } else { None })
    }

    fn complete(&self, transfer: Transfer) -> Step {
        let target = transfer.content.target();
        let mut map = match (transfer.content, &self.held) {
            (Content::Whole { .. }, _) => ConfigMap::new(),
            (Content::Delta { base, .. }, Some((held, map))) if *held == base => map.clone(),
            (Content::Delta { base, .. }, _) => {
                return Step::NeedWhole {
                    reason: format!("the delta starts from {base}, which is not held"),
                };
            }
        };
        match self.shared.of_digest(&target.digest) {
            Some(records) => map.take_records(&records),
            None => map.change(transfer.changes),
        }
        map.change_secrets(transfer.secrets);
        for key in &self.keys {
            map.add_view_key(key.clone());
        }
        if map.digest() != target.digest {
            let found = map.digest().short();
            return Step::NeedWhole { reason: format!("the transfer gives digest {found}, not {target}") };
        }
        Step::Complete { generation: target, map }
    }
}

fn foreign() -> Step {
    Step::Refused { reason: "the control node speaks for another cluster".to_owned() }
}

impl Delta {
    /// The delta as parts of one transfer, each at most `part_bytes_max` bytes unless one item is larger.
    pub fn to_parts(&self, transfer: u64, part_bytes_max: usize) -> Vec<Part> {
        let content = Content::Delta { base: self.base, target: self.target };
        let puts = self.puts.iter().map(|(key, bytes)| Item::Record(key.clone(), Some(Arc::clone(bytes))));
        let deletes = self.deletes.iter().map(|key| Item::Record(key.clone(), None));
        let secrets = self.secrets.iter().map(|(id, envelope)| Item::Secret(*id, envelope.clone()));
        split(transfer, content, puts.chain(deletes).chain(secrets), part_bytes_max)
    }
}

/// A whole generation as parts of one transfer, each at most `part_bytes_max` bytes unless one item is larger.
pub fn whole_to_parts(
    generation: GenerationId,
    map: &ConfigMap,
    transfer: u64,
    part_bytes_max: usize,
) -> Vec<Part> {
    let puts = map.iter().map(|(key, bytes)| Item::Record(key.clone(), Some(Arc::clone(bytes))));
    let secrets = map.secrets().iter().map(|(id, envelope)| Item::Secret(*id, Some(Arc::clone(envelope))));
    split(transfer, Content::Whole { target: generation }, puts.chain(secrets), part_bytes_max)
}

#[cfg(test)]
mod tests;
