//! How an entry changes the store. Everything is decided before anything is changed.
//! It must not fail half-way, and not depend on anything but the state and the entry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ravelin_config::map::filling;
use ravelin_config::parallel;
use ravelin_config::{Change as ConfigChange, Key, SecretId};
use ravelin_consensus::{Entry, EntryKind, Index, NodeId, Term};

use super::applied::{Applied, ApplyError, Quota, Refusal};
use super::command::{Author, Change, ChangeId, Command, CommandError, Envelope, Put, Stage};
use super::event::{Kind, Recorded};
use super::history::{KeyChange, Revision};
use super::key::{EVENTS_PREFIX, PlainKey, StoreKey};
use super::limits::{FEATURE_LEVEL, LIMITS_LEVEL, Limits};
use super::secrets::REFERENCE_BYTES;
use super::staged::{Attempt, Placed};
use super::{Outcome, Stamp, Store, Value, session, wire};
use crate::storage::CommandBytes;

/// New values by key; `None` removes.
pub(super) type Wanted = BTreeMap<StoreKey, Option<New>>;

/// What a change really changes, with the size of the store after it; or why it is refused.
type Judged = Result<(Wanted, u64), Refusal>;

/// A value, with the secrets that it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct New {
    pub(super) bytes: Arc<[u8]>,
    pub(super) secrets: Arc<[SecretId]>,
}

impl New {
    /// What it takes under its key, in bytes.
    fn bytes_with(&self, key: &StoreKey) -> u64 {
        key.bytes() + self.bytes.len() as u64 + self.secrets.len() as u64 * REFERENCE_BYTES
    }
}

impl Store {
    /// Applies the entry at `index`, which must be the one after the last.
    ///
    /// # Errors
    /// [`ApplyError`]: nothing was changed, and the node must stop.
    pub fn apply(&mut self, index: Index, entry: &Entry<CommandBytes>) -> Result<Applied, ApplyError> {
        let command = match &entry.kind {
            EntryKind::Empty | EntryKind::Configuration(_) => None,
            EntryKind::Command(bytes) => {
                Some(Envelope::decode(bytes).map_err(|source| ApplyError::Unreadable { index, source })?)
            }
        };
        if index != self.applied.0.next() {
            return Err(ApplyError::OutOfOrder { applied: self.applied.0, found: index });
        }
        let applied = match &command {
            None => self.apply_command(index, entry.term, None)?,
            Some(envelope) => self.apply_envelope(index, entry.term, envelope)?,
        };
        if let Some(members) = entry.members() {
            self.recovery_epoch = self.recovery_epoch.max(members.recovery_epoch.0);
        }
        Ok(applied)
    }

    /// Whether the entry brings a change of so many bytes into effect, so that applying it takes long. A matter of time
    /// only, so not part of the replicated state: what comes of an entry never depends on it.
    pub fn is_heavy(&self, entry: &Entry<CommandBytes>, heavy_bytes: u64) -> bool {
        let EntryKind::Command(bytes) = &entry.kind else { return false };
        if self.staged.bytes() + entry.size_bytes() < heavy_bytes {
            return false;
        }
        match Command::decode(bytes) {
            Ok(Command::Stage(stage)) => {
                self.staged.completes(&stage).is_some_and(|bytes| bytes >= heavy_bytes)
            }
            Ok(Command::Change(_)) => entry.size_bytes() >= heavy_bytes,
            Ok(_) | Err(_) => false,
        }
    }

    /// Applies a decoded command (`None`: an entry that is not for the store). On an error nothing was changed.
    pub(super) fn apply_command(
        &mut self,
        index: Index,
        term: Term,
        command: Option<&Command>,
    ) -> Result<Applied, ApplyError> {
        let before = std::mem::replace(&mut self.applied, (index, term));
        let applied = match command {
            None => Ok(Applied::Nothing),
            Some(Command::AppointController { node, epoch, at_unix_ms }) => {
                self.appoint(*node, *epoch, *at_unix_ms)
            }
            Some(Command::Change(change)) => self.change(change),
            Some(Command::Stage(stage)) => self.stage(stage),
            Some(Command::DropStaged { id }) => {
                Ok(Applied::Dropped { id: *id, attempts: self.staged.drop_change(*id) })
            }
            Some(Command::Event(event)) => self
                .event_bytes(event.into())
                .map(|event| Applied::Recorded { revision: self.record(&event) }),
            Some(Command::SetLimits { author, limits, .. }) => Ok(self.set_limits(author, limits)),
            Some(Command::RaiseFeatureLevel { author, level, .. }) => self.raise_level(author, *level),
            Some(Command::OpenSession { author, .. }) => Ok(self.open_session_for(author)),
            Some(Command::CloseSession { session }) => Ok(self.close_session(*session)),
        };
        if applied.is_err() {
            self.applied = before;
        }
        applied
    }

    /// Whether the command would be refused by the state as it is now: asked by the leader before it proposes. Between
    /// the question and apply the state may change, so apply decides again.
    ///
    /// # Errors
    /// The [`Refusal`] that apply would give.
    pub fn check(&self, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::AppointController { epoch, .. } => self.check_epoch(*epoch),
            Command::Change(change) if self.recent.contains_key(&change.id) => Ok(()),
            Command::Change(change) => {
                self.check_author(&change.author)?;
                self.check_base(change.base)?;
                self.judge(&change.puts, &change.deletes).map(drop)
            }
            Command::Stage(stage) if self.recent.contains_key(&stage.id) => Ok(()),
            Command::Stage(stage) => self.check_stage(stage),
            Command::SetLimits { author, limits, .. } => self.check_limits(author, limits),
            Command::RaiseFeatureLevel { author, level, .. } => self.check_level(author, *level),
            Command::OpenSession { author, .. } => self.check_author(author),
            Command::DropStaged { .. } | Command::Event(_) | Command::CloseSession { .. } => Ok(()),
        }
    }

    /// Whether a change, and the entries that would bring it, fit the bounds in force as the state is now: asked before
    /// anything is proposed.
    ///
    /// # Errors
    /// The [`Refusal`] that apply would give.
    pub fn check_fit(&self, change: &Change, entries: &[CommandBytes]) -> Result<(), Refusal> {
        if entries.len() > 1 {
            let bytes = entries.iter().map(|entry| entry.0.len() as u64).sum();
            within(Quota::Parts, entries.len() as u64, self.limits.parts_max.into())?;
            within(Quota::StagedBytes, bytes, self.limits.staged_bytes_max)?;
        }
        self.judge(&change.puts, &change.deletes).map(drop)
    }

    fn check_epoch(&self, found: u64) -> Result<(), Refusal> {
        let expected = self.controller().map_or(0, |(_, epoch)| epoch).saturating_add(1);
        if found == expected { Ok(()) } else { Err(Refusal::EpochNotNext { expected, found }) }
    }

    fn check_author(&self, author: &Author) -> Result<(), Refusal> {
        let current = self.controller();
        match author {
            Author::Controller { node, epoch } if current != Some((*node, *epoch)) => {
                Err(Refusal::StaleEpoch { author: author.clone(), current })
            }
            Author::Controller { .. } | Author::Operator { .. } => Ok(()),
        }
    }

    fn check_limits(&self, author: &Author, limits: &Limits) -> Result<(), Refusal> {
        self.check_author(author)?;
        if self.feature_level < LIMITS_LEVEL {
            return Err(Refusal::FeatureLevel { needed: LIMITS_LEVEL, found: self.feature_level });
        }
        self.limits.check_next(limits)
    }

    fn check_level(&self, author: &Author, level: u16) -> Result<(), Refusal> {
        self.check_author(author)?;
        let expected = self.feature_level.saturating_add(1);
        if level == expected { Ok(()) } else { Err(Refusal::LevelNotNext { expected, found: level }) }
    }

    fn check_base(&self, base: Option<u64>) -> Result<(), Refusal> {
        match base {
            Some(expected) if expected != self.config_revision => {
                Err(Refusal::BaseChanged { expected, found: self.config_revision })
            }
            _ => Ok(()),
        }
    }

    fn check_stage(&self, stage: &Stage) -> Result<(), Refusal> {
        self.check_author(&stage.author)?;
        self.check_base(stage.base)?;
        within(Quota::Parts, u64::from(stage.of), u64::from(self.limits.parts_max))?;
        within(Quota::PartBytes, stage.bytes.len() as u64, self.limits.part_bytes_max)?;
        if stage.part >= stage.of {
            return Err(Refusal::Parts { what: format!("there is no part {} of {}", stage.part, stage.of) });
        }
        if self.staged.contradicts(stage) {
            return Err(Refusal::Parts {
                what: "another part of it has another author, base or count".to_owned(),
            });
        }
        if !self.staged.has_room(stage, &self.limits) {
            let needed = self.staged.bytes() + stage.bytes.len() as u64;
            return Err(Refusal::OverQuota {
                quota: Quota::StagedBytes,
                needed,
                max: self.limits.staged_bytes_max,
            });
        }
        Ok(())
    }

    /// What a change really changes, with the size of the store after it; or why it is refused.
    fn judge(&self, puts: &[Put], deletes: &[StoreKey]) -> Judged {
        let items = puts.iter().map(|put| (&put.key, Some(put))).chain(deletes.iter().map(|key| (key, None)));
        // In their order, as they mostly come, none is named twice.
        let is_ordered = items.clone().is_sorted_by(|(before, _), (after, _)| before < after);
        let (mut named, mut wanted) = (BTreeSet::new(), Vec::new());
        for (key, put) in items {
            // A secret goes with its last reference, and in no other way.
            if key.is_reserved() || (put.is_none() && key.is_secret()) {
                return Err(Refusal::Reserved { key: key.to_string() });
            }
            if !is_ordered && !named.insert(key) {
                return Err(Refusal::NamedTwice { key: key.to_string() });
            }
            let new = put.map(|put| New { bytes: Arc::clone(&put.value), secrets: Arc::clone(&put.secrets) });
            if let Some(New { bytes, secrets }) = &new {
                within(Quota::KeyBytes, key.bytes(), self.limits.key_bytes_max)?;
                within(Quota::ValueBytes, bytes.len() as u64, self.limits.value_bytes_max)?;
                if !secrets.is_empty() && !matches!(key, StoreKey::Config(_)) {
                    return Err(Refusal::References { key: key.to_string() });
                }
            }
            if self.now(key) != new {
                wanted.push((key.clone(), new));
            }
        }
        let mut wanted: Wanted = wanted.into_iter().collect();
        self.settle_secrets(&mut wanted)?;
        let (mut bytes, mut keys) = (self.live_bytes, self.keys());
        for (key, new) in &wanted {
            if let Some(held) = self.now(key) {
                bytes -= held.bytes_with(key);
                keys -= 1;
            }
            if let Some(new) = new {
                bytes += new.bytes_with(key);
                keys += 1;
            }
        }
        // A change that makes an overfull store smaller is always welcome.
        within(Quota::LiveBytes, bytes, self.limits.live_bytes_max.max(self.live_bytes))?;
        within(Quota::Keys, keys, self.limits.keys_max.max(self.keys()))?;
        Ok((wanted, bytes))
    }

    pub(super) fn held(&self, key: &StoreKey) -> Option<&Arc<[u8]>> {
        match key {
            StoreKey::Config(key) => self.config.get(key.as_str()),
            StoreKey::Plain(key) => self.values.get(key).map(|value| &value.bytes),
        }
    }

    /// What a key holds, with what that refers to.
    fn now(&self, key: &StoreKey) -> Option<New> {
        let bytes = Arc::clone(self.held(key)?);
        let secrets = match key {
            StoreKey::Config(key) => self.references.shared(key),
            StoreKey::Plain(_) => Arc::default(),
        };
        Some(New { bytes, secrets })
    }

    fn appoint(&mut self, node: NodeId, epoch: u64, at_unix_ms: u64) -> Result<Applied, ApplyError> {
        if let Err(refusal) = self.check_epoch(epoch) {
            return Ok(Applied::Refused { id: None, refusal });
        }
        let bytes = wire::encode_controller(node, epoch).map_err(|source| self.unwritable(source))?;
        let event =
            self.event_bytes(Recorded { at_unix_ms, node, kind: Kind::ControllerAppointed { epoch } })?;
        self.staged.clear();
        let key = StoreKey::Plain(PlainKey::controller());
        let new = New { bytes: Arc::from(&bytes[..]), secrets: Arc::default() };
        let held = self.now(&key).map_or(0, |held| held.bytes_with(&key));
        let live_bytes = self.live_bytes - held + new.bytes_with(&key);
        self.put_all(Wanted::from([(key, Some(new))]), live_bytes);
        self.record(&event);
        Ok(Applied::Appointed { node, epoch })
    }

    fn open_session_for(&mut self, author: &Author) -> Applied {
        match self.check_author(author) {
            Ok(()) => self.open_session(),
            Err(refusal) => Applied::Refused { id: None, refusal },
        }
    }

    fn set_limits(&mut self, author: &Author, limits: &Limits) -> Applied {
        if let Err(refusal) = self.check_limits(author, limits) {
            return Applied::Refused { id: None, refusal };
        }
        self.limits = *limits;
        Arc::make_mut(&mut self.sessions).set_bounds(session::bounds(limits));
        Applied::LimitsSet { version: limits.version }
    }

    fn raise_level(&mut self, author: &Author, level: u16) -> Result<Applied, ApplyError> {
        if let Err(refusal) = self.check_level(author, level) {
            return Ok(Applied::Refused { id: None, refusal });
        }
        // Refusing what newer nodes take would make this one differ from them.
        if level > FEATURE_LEVEL {
            return Err(ApplyError::FeatureLevel { index: self.applied.0, level });
        }
        self.feature_level = level;
        Ok(Applied::FeatureLevelRaised { level })
    }

    fn change(&mut self, change: &Change) -> Result<Applied, ApplyError> {
        if let Some(outcome) = self.recent.get(&change.id) {
            return Ok(Applied::Duplicate { id: change.id, revision: outcome.revision });
        }
        let judged = self
            .check_author(&change.author)
            .and_then(|()| self.check_base(change.base))
            .and_then(|()| self.judge(&change.puts, &change.deletes));
        match judged {
            Ok((wanted, live_bytes)) => Ok(self.take_effect(change.id, wanted, live_bytes)),
            Err(refusal) => self.refuse(change.id, change.at_unix_ms, refusal),
        }
    }

    fn stage(&mut self, stage: &Stage) -> Result<Applied, ApplyError> {
        if let Some(outcome) = self.recent.get(&stage.id) {
            return Ok(Applied::Duplicate { id: stage.id, revision: outcome.revision });
        }
        let attempt_key = (stage.id, stage.digest);
        if let Err(refusal) = self.check_stage(stage) {
            // Without a part that was refused for itself the attempt can never be complete.
            let is_hopeless = !matches!(refusal, Refusal::Parts { .. });
            let applied = self.refuse(stage.id, stage.at_unix_ms, refusal)?;
            if is_hopeless {
                self.staged.drop_attempt(&attempt_key);
            }
            return Ok(applied);
        }
        let index = self.applied.0.0;
        match self.staged.place(stage, index, &self.limits) {
            Placed::Waiting(missing) => Ok(Applied::Staged { id: stage.id, part: stage.part, missing }),
            Placed::Complete(attempt) => match self.judge_parts(&attempt, &stage.digest)? {
                Ok((wanted, live_bytes)) => {
                    self.staged.drop_change(stage.id);
                    Ok(self.take_effect(stage.id, wanted, live_bytes))
                }
                Err(refusal) => {
                    let applied = self.refuse(stage.id, stage.at_unix_ms, refusal)?;
                    self.staged.drop_attempt(&attempt_key);
                    Ok(applied)
                }
            },
        }
    }

    /// What all parts together would change. A part that cannot be read is no reason to refuse the change: a node of
    /// another version may be able to read it, and would take it.
    fn judge_parts(&self, attempt: &Attempt, digest: &[u8; 32]) -> Result<Judged, ApplyError> {
        let Some(parts) = attempt.verified(digest) else {
            return Ok(Err(Refusal::Parts { what: "together they have another digest".to_owned() }));
        };
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        let parts: Vec<&Bytes> = parts.collect();
        for part in parallel::map(&parts, 1, |part| wire::decode_part(part)) {
            let (more_puts, more_deletes) =
                part.map_err(|source| ApplyError::Unreadable { index: self.applied.0, source })?;
            puts.extend(more_puts);
            deletes.extend(more_deletes);
        }
        Ok(self.judge(&puts, &deletes))
    }

    fn refuse(&mut self, id: ChangeId, at_unix_ms: u64, refusal: Refusal) -> Result<Applied, ApplyError> {
        if let Refusal::StaleEpoch { author: Author::Controller { node, epoch }, current } = &refusal {
            let kind = Kind::StaleWriteRefused { change: id, epoch: *epoch, current: *current };
            let event = self.event_bytes(Recorded { at_unix_ms, node: *node, kind })?;
            self.stale_refused += 1;
            self.record(&event);
        }
        Ok(Applied::Refused { id: Some(id), refusal })
    }

    fn unwritable(&self, source: CommandError) -> ApplyError {
        ApplyError::Unwritable { index: self.applied.0, source }
    }

    fn take_effect(&mut self, id: ChangeId, wanted: Wanted, live_bytes: u64) -> Applied {
        let changed = !wanted.is_empty();
        let objects = wanted.iter().filter(|(key, _)| matches!(key, StoreKey::Config(_)));
        let (put, deleted) = objects.fold((0, 0), |(put, deleted), (_, new)| match new {
            Some(_) => (put + 1, deleted),
            None => (put, deleted + 1),
        });
        if changed {
            self.put_all(wanted, live_bytes);
        }
        let (index, revision, generation) = (self.applied.0, self.revision, self.generation());
        self.recent.insert(id, Outcome { index, revision, generation, put, deleted });
        self.recent_order.insert(index, id);
        while self.recent_order.len() as u64 > self.limits.recent_max {
            let Some((oldest, forgotten)) = self.recent_order.get_min().copied() else { break };
            self.recent_order.remove(&oldest);
            self.recent.remove(&forgotten);
        }
        if changed {
            Applied::Changed { id, revision, generation }
        } else {
            Applied::Unchanged { id, generation }
        }
    }

    /// Makes one revision of new values; each differs from what is held.
    fn put_all(&mut self, wanted: Wanted, live_bytes: u64) {
        self.revision += 1;
        self.live_bytes = live_bytes;
        let mut config = Vec::new();
        let mut changes = Vec::with_capacity(wanted.len());
        let mut stamped = Vec::new();
        for (key, new) in wanted {
            let existed = self.held(&key).is_some();
            let (value, secrets) = new.map_or_else(Default::default, |new| (Some(new.bytes), new.secrets));
            match &key {
                StoreKey::Config(key) => {
                    stamped.push((key.clone(), value.is_some()));
                    self.references.set(key, secrets);
                    config.push((key.clone(), value.clone().map_or(ConfigChange::Delete, ConfigChange::Put)));
                }
                StoreKey::Plain(key) => {
                    if let Some(id) = key.secret_id() {
                        self.config.change_secrets([(id, value.clone())]);
                    }
                    self.put_plain(key, value.clone());
                }
            }
            changes.push(KeyChange { key, value, existed });
        }
        for (key, put) in filling(stamped) {
            self.stamp(&key, put);
        }
        let mut generation = None;
        if !config.is_empty() {
            self.config.change(config.into_iter().collect());
            self.config_revision = self.revision;
            self.staged.drop_other_bases(self.config_revision);
            generation = Some(self.config.digest());
        }
        self.history.push(Revision { revision: self.revision, generation, changes }, &self.limits);
    }

    fn stamp(&mut self, key: &Key, put: bool) {
        if put {
            let created = self.stamps.get(key).map_or(self.revision, |stamp| stamp.created);
            self.stamps.insert(key.clone(), Stamp { created, modified: self.revision });
        } else {
            self.stamps.remove(key);
        }
    }

    fn put_plain(&mut self, key: &PlainKey, value: Option<Arc<[u8]>>) {
        match value {
            Some(bytes) => {
                let created = self.values.get(key).map_or(self.revision, |held| held.created);
                self.values.insert(key.clone(), Value { bytes, created, modified: self.revision });
            }
            None => {
                self.values.remove(key);
            }
        }
    }

    /// An event as it is kept, cut to its bounds.
    fn event_bytes(&self, mut event: Recorded) -> Result<Arc<[u8]>, ApplyError> {
        if let Kind::Reported { name, text } = &mut event.kind {
            truncate(name, self.limits.event_name_bytes_max);
            truncate(text, self.limits.event_text_bytes_max);
        }
        let bytes = wire::encode_event(&event).map_err(|source| self.unwritable(source))?;
        Ok(Arc::from(&bytes[..]))
    }

    /// Records an event as a revision of its own; the oldest goes where there are too many.
    fn record(&mut self, event: &Arc<[u8]>) -> u64 {
        self.revision += 1;
        let key = PlainKey::event(self.revision);
        self.live_bytes += StoreKey::Plain(key.clone()).bytes() + event.len() as u64;
        self.put_plain(&key, Some(Arc::clone(event)));
        self.events += 1;
        while self.events > self.limits.events_max {
            let Some((oldest, held)) = self.plain_range(EVENTS_PREFIX).next() else { break };
            let (oldest, held) = (oldest.clone(), held.bytes.len() as u64);
            self.live_bytes -= StoreKey::Plain(oldest.clone()).bytes() + held;
            self.values.remove(&oldest);
            self.events -= 1;
        }
        self.revision
    }
}

fn within(quota: Quota, needed: u64, max: u64) -> Result<(), Refusal> {
    if needed <= max { Ok(()) } else { Err(Refusal::OverQuota { quota, needed, max }) }
}

fn truncate(text: &mut String, bytes_max: u64) {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
}
