//! The one judge of configuration: takes what providers want, says what of it is good, and keeps the last good value of
//! what is not.
//!
//! Each object is judged by itself once, when it changes (`own`), by running every constructor that can fail; then with
//! what it refers to (`reach`). A change costs what it touches: an object whose own verdict and references stay the same
//! makes nobody else be judged again. The verdict depends on the objects alone, so every node that holds the same
//! records comes to the same. It must not know how objects travel or are served.

mod language;
mod middlewares;
mod own;
mod pem;
mod reach;
mod services;
mod static_sections;
mod tls;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::draft::Draft;
use crate::key::Key;
use crate::object::{Kind, Object, Record, State, Status};
use crate::parallel::{self, BATCH, SHARE_MIN};
use crate::rule::Syntax;
use own::Own;

/// The provider of what Ravelin makes itself: static sections, and objects that Traefik names `…@internal`.
pub const INTERNAL: &str = "internal";

/// What changes in the committed records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordChange {
    /// Records that are new or differ.
    pub puts: BTreeMap<Key, Record>,
    /// Keys whose object is no longer wanted.
    pub deletes: BTreeSet<Key>,
}

impl RecordChange {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }
}

/// Holds everything that is wanted, and judges what changes. Rebuilt from the committed records whenever another node
/// takes over, or a change was not committed.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    /// Each beside the tree, whose nodes are half empty.
    nodes: BTreeMap<Key, Box<Node>>,
    /// Who refers to a key, whether it exists or not.
    dependants: BTreeMap<Key, BTreeSet<Key>>,
    /// Routers with TLS by entry point and host, and there by their TLS options: two sets of options are at odds.
    tls_hosts: BTreeMap<TlsPlace, BTreeMap<Arc<str>, BTreeSet<Key>>>,
    /// The language of rules of routers that name none.
    language: Syntax,
}

/// An entry point's key (that without a name stands for the default ones) and a host.
type TlsPlace = (Key, Arc<str>);

/// What is known of entry points while objects are judged.
struct EntryPoints {
    /// Those of routers that name none.
    default: Vec<Key>,
    /// Whether there is any at all: a part of a configuration may be judged without its static one.
    any: bool,
}

#[derive(Clone, Debug)]
struct Node {
    own: Own,
    /// What is committed, or on its way; none while it is judged for the first time.
    record: Option<Record>,
    /// The object as it is wanted, where that is not what the record holds: until it is judged.
    unjudged: Option<Box<Object>>,
}

impl Node {
    fn new(wanted: Object, own: Own, record: Option<Record>) -> Self {
        let is_held = record.as_ref().is_some_and(|record| record.object == wanted);
        Self { own, record, unjudged: (!is_held).then(|| Box::new(wanted)) }
    }

    fn wanted(&self) -> &Object {
        let held =
            || &self.record.as_ref().expect("what is wanted stands in one of the two: see `new`").object;
        self.unjudged.as_deref().unwrap_or_else(held)
    }
}

impl Checker {
    /// A checker over the committed records. Their verdicts are taken as they are; see [`Self::judge_again`].
    pub fn from_records(records: impl IntoIterator<Item = (Key, Record)>) -> Self {
        let mut checker = Self::default();
        for (key, record) in records {
            checker.restore(key, Some(record));
        }
        checker
    }

    /// Judges everything again: after an upgrade the same object may be judged otherwise. Costs as much as everything.
    pub fn judge_again(&mut self) -> RecordChange {
        let keys: BTreeSet<Key> = self.nodes.keys().cloned().collect();
        let mut change = RecordChange::default();
        self.judge(keys, None, &mut change);
        change
    }

    /// Makes a record what it is in the committed configuration, whatever was judged of it since. Nothing is judged again:
    /// who restores a part must restore all that was judged with it.
    pub fn restore(&mut self, key: Key, record: Option<Record>) {
        let held = self.nodes.get(&key);
        let is_there = |record: &Record| {
            held.is_some_and(|node| node.record.as_ref() == Some(record) && node.unjudged.is_none())
        };
        if record.as_ref().map_or(held.is_none(), is_there) {
            return;
        }
        if let Some(node) = self.nodes.remove(&key) {
            self.unindex(&key, &node.own);
        }
        let says_language = language::decides(&key);
        if let Some(record) = record {
            let mut own = Own::of(&key, &record.object, self.language);
            self.index(&key, &mut own);
            let node = Node { own, record: Some(record), unjudged: None };
            self.nodes.insert(key, Box::new(node));
        }
        if says_language {
            self.restore_language();
        }
    }

    /// Makes a draft the only thing that its provider wants.
    pub fn replace_provider(&mut self, draft: &Draft) -> RecordChange {
        // Both are in the order of their keys: one walk along them finds what differs, which is little of much as a rule.
        let (mut gone, mut puts) = (Vec::new(), Vec::new());
        let mut wanted = draft.objects.iter().peekable();
        for (key, node) in &self.nodes {
            while let Some((new, object)) = wanted.next_if(|(new, _)| *new < key) {
                puts.push((new.clone(), Object::clone(object)));
            }
            match wanted.next_if(|(new, _)| *new == key) {
                Some((_, object)) if *node.wanted() == **object => {}
                Some((_, object)) => puts.push((key.clone(), Object::clone(object))),
                None if provider_of(key) == draft.provider => gone.push(key.clone()),
                None => {}
            }
        }
        puts.extend(wanted.map(|(new, object)| (new.clone(), Object::clone(object))));
        self.upsert(puts, gone)
    }

    /// Changes single objects. Cost follows what the change touches.
    pub fn upsert(
        &mut self,
        puts: impl IntoIterator<Item = (Key, Object)>,
        deletes: impl IntoIterator<Item = Key>,
    ) -> RecordChange {
        let mut change = RecordChange::default();
        let mut touched = BTreeSet::new();
        // Whose own verdict, references or existence changed: those who depend on them are judged again.
        let mut spread = Vec::new();
        let default_before = self.default_entry_points();
        for key in deletes {
            if let Some(node) = self.nodes.remove(&key) {
                let counts = self.tls_counts(&node.own);
                touched.extend(node.own.parents().cloned());
                self.unindex(&key, &node.own);
                self.touch_tls(counts, &default_before, &mut touched);
                spread.push(key.clone());
                change.deletes.insert(key);
            }
        }
        let mut puts = puts.into_iter();
        let mut batch = self.judged_alone(&mut puts);
        while let Some((key, object, own)) = batch.pop_front().or_else(|| {
            batch = self.judged_alone(&mut puts);
            batch.pop_front()
        }) {
            // A key that is given twice may be another one by now than when its batch was judged.
            if self.nodes.get(&key).is_some_and(|node| *node.wanted() == object) {
                continue;
            }
            let mut own = own.unwrap_or_else(|| Own::of(&key, &object, self.language));
            let before = self.nodes.remove(&key);
            if before.as_ref().is_none_or(|node| node.own != own) {
                let nothing = Own::default();
                let old = before.as_ref().map_or(&nothing, |node| &node.own);
                let counts = [self.tls_counts(old), self.tls_counts(&own)].concat();
                touched.extend(old.parents().chain(own.parents()).cloned());
                self.unindex(&key, old);
                self.index(&key, &mut own);
                self.touch_tls(counts, &default_before, &mut touched);
                spread.push(key.clone());
            }
            let (own, record) = match before.map(|node| *node) {
                // What was indexed stays: its references share their texts.
                Some(node) if node.own == own => (node.own, node.record),
                before => (own, before.and_then(|node| node.record)),
            };
            change.deletes.remove(&key);
            self.nodes.insert(key.clone(), Box::new(Node::new(object, own, record)));
            touched.insert(key);
        }
        let former = self.change_language(&default_before, &mut touched, &mut spread);
        for key in &spread {
            touched.extend(self.rivals(key).cloned());
        }
        if self.default_entry_points() != default_before {
            touched.extend(self.tls_hosts.values().flat_map(BTreeMap::values).flatten().cloned());
        }
        self.spread(spread, &mut touched);
        self.judge(touched, former, &mut change);
        change
    }

    /// The next objects, each with its verdict by itself unless it is wanted already as it is: the dear part of a check, and
    /// none depends on another.
    fn judged_alone(
        &self,
        puts: &mut impl Iterator<Item = (Key, Object)>,
    ) -> VecDeque<(Key, Object, Option<Own>)> {
        let batch: Vec<(Key, Object)> = puts.take(BATCH).collect();
        let owns = parallel::map(&batch, SHARE_MIN, |(key, object)| {
            let is_same = self.nodes.get(key).is_some_and(|node| node.wanted() == object);
            (!is_same).then(|| Own::of(key, object, self.language))
        });
        batch.into_iter().zip(owns).map(|((key, object), own)| (key, object, own)).collect()
    }

    /// The other providers' TLS options or stores of the name `default`: it has no provider, so there can be one only.
    fn rivals(&self, key: &Key) -> impl Iterator<Item = &Key> {
        let is_single = matches!(key.kind(), Some(Kind::TlsOptions | Kind::TlsStore));
        let prefix = is_single.then(|| key.as_str().split_once("/default@")).flatten();
        let prefix = prefix.map(|(kind, _)| format!("{kind}/default@"));
        prefix.into_iter().flat_map(move |prefix| {
            let others = self.nodes.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
            let among = move |other: &&Key| other.as_str().starts_with(&prefix);
            others.map(|(other, _)| other).take_while(among).filter(move |other| *other != key)
        })
    }

    /// The record of a key, as last judged.
    pub fn record(&self, key: &str) -> Option<&Record> {
        self.nodes.get(key)?.record.as_ref()
    }

    /// All records, in the order of their keys.
    pub fn records(&self) -> impl Iterator<Item = (&Key, &Record)> {
        self.nodes.iter().filter_map(|(key, node)| Some((key, node.record.as_ref()?)))
    }

    /// Who refers to a key directly, in the order of their keys.
    pub fn dependants(&self, key: &Key) -> impl Iterator<Item = &Key> {
        self.dependants.get(key).into_iter().flatten()
    }

    fn index(&mut self, key: &Key, own: &mut Own) {
        for to in &mut own.references {
            let entry = self.dependants.entry(to.key.clone());
            // Many refer to the same: its text is held once.
            to.key = entry.key().clone();
            entry.or_default().insert(key.clone());
        }
        for (place, options) in own.tls_places() {
            let routers = self.tls_hosts.entry(place).or_default().entry(Arc::clone(options)).or_default();
            routers.insert(key.clone());
        }
    }

    fn unindex(&mut self, key: &Key, own: &Own) {
        for to in &own.references {
            if let Some(dependants) = self.dependants.get_mut(&to.key) {
                dependants.remove(key);
                if dependants.is_empty() {
                    self.dependants.remove(&to.key);
                }
            }
        }
        for (place, options) in own.tls_places() {
            let Some(by_options) = self.tls_hosts.get_mut(&place) else { continue };
            if let Some(routers) = by_options.get_mut(options) {
                routers.remove(key);
                if routers.is_empty() {
                    by_options.remove(options);
                }
            }
            if by_options.is_empty() {
                self.tls_hosts.remove(&place);
            }
        }
    }

    /// The sets of TLS options that are given on the places of a router, and how many there are on each.
    fn tls_counts(&self, own: &Own) -> Vec<(TlsPlace, usize)> {
        own.tls_places()
            .map(|(place, _)| (place.clone(), self.tls_hosts.get(&place).map_or(0, BTreeMap::len)))
            .collect()
    }

    /// Adds the routers whose place has other sets of TLS options than before.
    fn touch_tls(&self, before: Vec<(TlsPlace, usize)>, default: &[Key], touched: &mut BTreeSet<Key>) {
        for ((point, host), count) in before {
            if self.tls_hosts.get(&(point.clone(), Arc::clone(&host))).map_or(0, BTreeMap::len) == count {
                continue;
            }
            for (point, host) in reach::places_beside(&point, &host, default) {
                let routers =
                    self.tls_hosts.get(&(point, host)).into_iter().flat_map(BTreeMap::values).flatten();
                touched.extend(routers.cloned());
            }
        }
    }

    /// Adds everything that depends on the keys given, directly or not.
    fn spread(&self, mut from: Vec<Key>, touched: &mut BTreeSet<Key>) {
        let mut seen: BTreeSet<Key> = from.iter().cloned().collect();
        while let Some(key) = from.pop() {
            for alias in own::also_known_as(&key) {
                for dependant in self.dependants.get(&alias).into_iter().flatten() {
                    if seen.insert(dependant.clone()) {
                        touched.insert(dependant.clone());
                        from.push(dependant.clone());
                    }
                }
            }
        }
    }

    /// `former` is what the language of rules was until now, if it is another one.
    fn judge(&mut self, keys: BTreeSet<Key>, former: Option<Syntax>, change: &mut RecordChange) {
        let entry_points = EntryPoints { default: self.default_entry_points(), any: self.has_entry_points() };
        let keys: Vec<Key> = keys.into_iter().collect();
        // A verdict depends on what objects are by themselves, never on the verdict on another one.
        for keys in keys.chunks(BATCH) {
            let statuses = parallel::map(keys, SHARE_MIN, |key| {
                self.nodes.get(key).map(|node| self.verdict(key, node, &entry_points))
            });
            for (key, status) in keys.iter().zip(statuses) {
                let (Some(node), Some(status)) = (self.nodes.get_mut(key), status) else { continue };
                let before = node.record.as_ref();
                let last_good = match status.state {
                    State::Disabled => before
                        .and_then(Record::effective)
                        .map(|good| language::kept(good, former).unwrap_or_else(|| good.clone())),
                    State::Enabled | State::Warning => None,
                };
                let record = Record { object: node.wanted().clone(), status, last_good };
                if before != Some(&record) {
                    change.puts.insert(key.clone(), record.clone());
                    node.record = Some(record);
                }
                node.unjudged = None;
            }
        }
    }

    fn verdict(&self, key: &Key, node: &Node, entry_points: &EntryPoints) -> Status {
        let mut reach = reach::Reach::of(self, key, node, entry_points);
        if let Some(rival) = self.rivals(key).next() {
            reach.errors.push(format!("`default` is also defined as {rival}: only one provider may"));
        }
        let (state, errors) = match (reach.errors.is_empty(), reach.warnings.is_empty()) {
            (false, _) => (State::Disabled, reach.errors),
            (true, false) => (State::Warning, reach.warnings),
            (true, true) => (State::Enabled, Vec::new()),
        };
        Status { state, errors: bounded(errors) }
    }

    fn has_entry_points(&self) -> bool {
        let first = self.nodes.range(own::entry_point_key("")..).next();
        first.is_some_and(|(key, _)| key.kind() == Some(Kind::EntryPoint))
    }

    /// The entry points of routers that name none: those that say `asDefault`, else all but UDP ones and `traefik`.
    fn default_entry_points(&self) -> Vec<Key> {
        let first = own::entry_point_key("");
        let points = self.nodes.range(first..).take_while(|(key, _)| key.kind() == Some(Kind::EntryPoint));
        let points: Vec<(&Key, &Own)> = points.map(|(key, node)| (key, &node.own)).collect();
        let said: Vec<Key> =
            points.iter().filter(|(_, own)| own.as_default).map(|(key, _)| Key::clone(key)).collect();
        if !said.is_empty() {
            return said;
        }
        let usual = |(key, own): &&(&Key, &Own)| !own.udp && key.name() != "traefik";
        points.iter().filter(usual).map(|(key, _)| Key::clone(key)).collect()
    }
}

/// Most texts in one status.
const ERRORS_MAX: usize = 16;
/// Longest text in bytes: a rule is cited whole, and may be long.
const ERROR_BYTES_MAX: usize = 2_000;

fn bounded(mut errors: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    errors.retain(|error| seen.insert(error.clone()));
    for error in errors.iter_mut().filter(|error| error.len() > ERROR_BYTES_MAX) {
        error.truncate(error.floor_char_boundary(ERROR_BYTES_MAX));
        error.push('…');
    }
    if errors.len() > ERRORS_MAX {
        let more = errors.len() - ERRORS_MAX;
        errors.truncate(ERRORS_MAX);
        errors.push(format!("and {more} more"));
    }
    errors
}

/// The provider that wants a key: what stands behind the `@`, or [`INTERNAL`] for static sections.
pub fn provider_of(key: &Key) -> &str {
    match key.kind() {
        Some(Kind::EntryPoint | Kind::StaticSection) => INTERNAL,
        _ => key.provider().unwrap_or(INTERNAL),
    }
}

#[cfg(test)]
mod tests;
