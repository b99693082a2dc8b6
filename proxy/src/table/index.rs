//! Finds the route of a request: host, then path, then the few candidates in order of rank, each tried in full.
//! It must find exactly what a scan of all routes by rank would find; the keys only narrow the search.
//!
//! Every part is persistent: a clone is O(1), and a change copies one path of the tries and one short list.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use ravelin_config::rule::{CompiledRule, HostKeys, PathKeys, RequestFacts, RouteKeys};
use smallvec::SmallVec;

use super::names::Names;

/// Where a route stands among all: a higher priority first, then the provider's precedence, then the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rank {
    /// Higher first.
    pub priority: i64,
    /// Lower first.
    pub precedence: u32,
    /// The name it is shown by: the router's own, or that of its copy for one entry point.
    pub name: Arc<str>,
    /// The router's own qualified name; unique within one index.
    pub router: Arc<str>,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |rank: &Self| (Reverse(rank.priority), rank.precedence);
        key(self)
            .cmp(&key(other))
            .then_with(|| self.name.cmp(&other.name))
            .then_with(|| self.router.cmp(&other.router))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What an index holds: something with a rank and a rule.
pub trait Ranked {
    /// Its rank; it never changes.
    fn rank(&self) -> &Rank;
    /// Its rule; it never changes.
    fn rule(&self) -> &CompiledRule;
}

/// Sorted by rank.
type List<R> = Arc<[Arc<R>]>;

/// An ordered set of routes that can be searched by request.
pub struct RouteIndex<R> {
    hosts: Names<Paths<R>>,
    parents: Names<Paths<R>>,
    any_host: Paths<R>,
    len: usize,
}

/// The routes of one host, by path.
enum Paths<R> {
    /// One route for any path: as most hosts have, so that it costs no lists of its own.
    One(Arc<R>),
    /// Anything else.
    Many(Arc<PathLists<R>>),
}

struct PathLists<R> {
    exact: Names<List<R>>,
    prefixes: Names<List<R>>,
    /// Length in bytes of each prefix and how many prefixes have it; longest first.
    lengths: Arc<[(usize, usize)]>,
    any_path: List<R>,
}

impl<R> Clone for RouteIndex<R> {
    fn clone(&self) -> Self {
        Self {
            hosts: self.hosts.clone(),
            parents: self.parents.clone(),
            any_host: self.any_host.clone(),
            len: self.len,
        }
    }
}

impl<R> Clone for Paths<R> {
    fn clone(&self) -> Self {
        match self {
            Self::One(route) => Self::One(Arc::clone(route)),
            Self::Many(lists) => Self::Many(Arc::clone(lists)),
        }
    }
}

impl<R> Clone for PathLists<R> {
    fn clone(&self) -> Self {
        Self {
            exact: self.exact.clone(),
            prefixes: self.prefixes.clone(),
            lengths: Arc::clone(&self.lengths),
            any_path: Arc::clone(&self.any_path),
        }
    }
}

impl<R> Default for PathLists<R> {
    fn default() -> Self {
        Self {
            exact: Names::default(),
            prefixes: Names::default(),
            lengths: Arc::default(),
            any_path: Arc::default(),
        }
    }
}

impl<R> Default for Paths<R> {
    fn default() -> Self {
        Self::Many(Arc::default())
    }
}

impl<R> Default for RouteIndex<R> {
    fn default() -> Self {
        Self { hosts: Names::default(), parents: Names::default(), any_host: Paths::default(), len: 0 }
    }
}

/// Puts `route` at its place, in place of one of equal rank; or takes out the one of rank `rank`.
fn listed<R: Ranked>(list: &[Arc<R>], rank: &Rank, route: Option<&Arc<R>>) -> List<R> {
    let (before, after) = match list.binary_search_by(|held| held.rank().cmp(rank)) {
        Ok(place) => (list.get(..place), list.get(place + 1..)),
        Err(place) => (list.get(..place), list.get(place..)),
    };
    let parts = [before.unwrap_or_default(), after.unwrap_or_default()];
    let [before, after] = parts;
    before.iter().chain(route).chain(after).cloned().collect()
}

impl<R: Ranked> Paths<R> {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Many(lists) if lists.is_empty())
    }

    /// What becomes of the routes of a host, of which there may be none yet.
    fn changed(held: Option<&Self>, keys: &PathKeys, rank: &Rank, route: Option<&Arc<R>>) -> Self {
        if let (None, PathKeys::Any, Some(only)) = (held, keys, route) {
            return Self::One(Arc::clone(only));
        }
        let mut lists = match held {
            None => PathLists::default(),
            Some(Self::One(only)) => {
                PathLists { any_path: Arc::from([Arc::clone(only)]), ..PathLists::default() }
            }
            Some(Self::Many(lists)) => PathLists::clone(lists),
        };
        lists.set(keys, rank, route);
        match &*lists.any_path {
            [only] if lists.exact.is_empty() && lists.prefixes.is_empty() => Self::One(Arc::clone(only)),
            _ => Self::Many(Arc::new(lists)),
        }
    }

    #[inline]
    fn candidates<'a>(&'a self, path: &str, lists: &mut SmallVec<[&'a [Arc<R>]; 8]>) {
        match self {
            Self::One(only) => lists.push(std::slice::from_ref(only)),
            Self::Many(held) => held.candidates(path, lists),
        }
    }
}

impl<R: Ranked> PathLists<R> {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty() && self.any_path.is_empty()
    }

    fn set(&mut self, keys: &PathKeys, rank: &Rank, route: Option<&Arc<R>>) {
        match keys {
            PathKeys::Any => self.any_path = listed(&self.any_path, rank, route),
            PathKeys::Among { exact, prefixes } => {
                for key in exact {
                    set_in(&mut self.exact, key, rank, route);
                }
                for key in prefixes {
                    let change = set_in(&mut self.prefixes, key, rank, route);
                    if change != 0 {
                        self.lengths = counted(&self.lengths, key.len(), change);
                    }
                }
            }
        }
    }

    fn candidates<'a>(&'a self, path: &str, lists: &mut SmallVec<[&'a [Arc<R>]; 8]>) {
        lists.push(&self.any_path);
        if let Some(list) = self.exact.get(path) {
            lists.push(list);
        }
        for (length, _) in self.lengths.iter() {
            if let Some(list) = path.get(..*length).and_then(|prefix| self.prefixes.get(prefix)) {
                lists.push(list);
            }
        }
    }
}

/// Changes one list of a map. Returns by how many keys the map grew: 1, 0 or -1.
fn set_in<R: Ranked>(map: &mut Names<List<R>>, key: &Arc<str>, rank: &Rank, route: Option<&Arc<R>>) -> isize {
    let old = map.get(key);
    let new = listed(old.map_or(&[][..], |list| list), rank, route);
    match (old.is_some(), new.is_empty()) {
        (false, true) => 0,
        (true, true) => {
            map.remove(key);
            -1
        }
        (had, false) => {
            map.insert(Arc::clone(key), new);
            isize::from(!had)
        }
    }
}

fn counted(lengths: &[(usize, usize)], length: usize, change: isize) -> Arc<[(usize, usize)]> {
    let mut lengths = lengths.to_vec();
    match lengths.binary_search_by_key(&Reverse(length), |(length, _)| Reverse(*length)) {
        Ok(place) => {
            if let Some((_, count)) = lengths.get_mut(place) {
                *count = count.saturating_add_signed(change);
            }
        }
        Err(place) => lengths.insert(place, (length, usize::try_from(change).unwrap_or(0))),
    }
    lengths.retain(|(_, count)| *count > 0);
    Arc::from(lengths)
}

impl<R: Ranked> RouteIndex<R> {
    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a route under the keys of its rule. Its rank must not be in the index.
    pub fn insert(&mut self, keys: &RouteKeys, route: &Arc<R>) {
        self.set(keys, route.rank(), Some(route));
        self.len += 1;
    }

    /// Takes out the route of this rank, which was inserted with these keys.
    pub fn remove(&mut self, keys: &RouteKeys, rank: &Rank) {
        self.set(keys, rank, None);
        self.len = self.len.saturating_sub(1);
    }

    fn set(&mut self, keys: &RouteKeys, rank: &Rank, route: Option<&Arc<R>>) {
        let set_host = |map: &mut Names<Paths<R>>, host: &Arc<str>| {
            let held = map.get_mut(host);
            let paths = Paths::changed(held.as_deref(), &keys.paths, rank, route);
            match held {
                _ if paths.is_empty() => map.remove(host),
                Some(held) => *held = paths,
                None => map.insert(Arc::clone(host), paths),
            }
        };
        match &keys.hosts {
            HostKeys::Any => {
                self.any_host = Paths::changed(Some(&self.any_host), &keys.paths, rank, route);
            }
            HostKeys::Among { exact, parents } => {
                exact.iter().for_each(|host| set_host(&mut self.hosts, host));
                parents.iter().for_each(|parent| set_host(&mut self.parents, parent));
            }
        }
    }

    /// The routes whose keys the request has, in lists by rank; a route may stand in several.
    #[inline]
    fn lists(&self, facts: &RequestFacts<'_>) -> SmallVec<[&[Arc<R>]; 8]> {
        let host = facts.host.trim_end_matches('.');
        let mut lists: SmallVec<[&[Arc<R>]; 8]> = SmallVec::new();
        self.any_host.candidates(facts.path, &mut lists);
        if let Some(paths) = self.hosts.get(host) {
            paths.candidates(facts.path, &mut lists);
        }
        if let Some(paths) = host.split_once('.').and_then(|(_, parent)| self.parents.get(parent)) {
            paths.candidates(facts.path, &mut lists);
        }
        lists.retain(|list| !list.is_empty());
        lists
    }

    /// Every route that [`Self::find`] could try, by rank, each once.
    pub fn candidates(&self, facts: &RequestFacts<'_>) -> Vec<&Arc<R>> {
        let mut found: Vec<&Arc<R>> = self.lists(facts).into_iter().flatten().collect();
        found.sort_by(|a, b| a.rank().cmp(b.rank()));
        found.dedup_by(|a, b| Arc::ptr_eq(a, b));
        found
    }

    /// The first route by rank whose rule matches.
    pub fn find(&self, facts: &RequestFacts<'_>) -> Option<&Arc<R>> {
        let mut lists = self.lists(facts);
        // The heads of all lists compete; a route that stands in two lists may be tried twice, to the same effect.
        loop {
            let best = lists.iter_mut().min_by(|a, b| match (a.first(), b.first()) {
                (Some(a), Some(b)) => a.rank().cmp(b.rank()),
                (a, b) => b.is_some().cmp(&a.is_some()),
            })?;
            let (route, rest) = best.split_first()?;
            if route.rule().matches(facts) {
                return Some(route);
            }
            *best = rest;
        }
    }
}

#[cfg(test)]
mod tests;
