//! What is held under names, hosts or paths: found by the hash of the name, and no order of the names is kept.
//! It must tell names of one hash apart: whoever writes a configuration may choose them so.

use std::cmp::Ordering;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use equivalent::{Comparable, Equivalent};
use foldhash::fast::FixedState;
use imbl::OrdMap;

/// A persistent map by name. An ordered map of hashes: a trie of hashes takes three times the room for 100,000 names, as
/// each of its leaves has room for sixteen and holds three or four.
pub(super) struct Names<V> {
    held: OrdMap<Name, V>,
    hasher: FixedState,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    hash: u64,
    text: Arc<str>,
}

/// A name that is looked for.
struct Wanted<'a> {
    hash: u64,
    text: &'a str,
}

impl Equivalent<Name> for Wanted<'_> {
    #[inline]
    fn equivalent(&self, name: &Name) -> bool {
        self.compare(name).is_eq()
    }
}

impl Comparable<Name> for Wanted<'_> {
    #[inline]
    fn compare(&self, name: &Name) -> Ordering {
        self.hash.cmp(&name.hash).then_with(|| self.text.cmp(&name.text))
    }
}

impl<V> Clone for Names<V> {
    fn clone(&self) -> Self {
        Self { held: self.held.clone(), hasher: self.hasher.clone() }
    }
}

impl<V> Default for Names<V> {
    fn default() -> Self {
        Self { held: OrdMap::new(), hasher: FixedState::default() }
    }
}

impl<V: Clone> Names<V> {
    #[inline]
    fn wanted<'a>(&self, text: &'a str) -> Wanted<'a> {
        Wanted { hash: self.hasher.hash_one(text), text }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    #[inline]
    pub(super) fn get(&self, name: &str) -> Option<&V> {
        if self.held.is_empty() {
            return None;
        }
        self.held.get(&self.wanted(name))
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        let wanted = self.wanted(name);
        self.held.get_mut(&wanted)
    }

    pub(super) fn insert(&mut self, text: Arc<str>, value: V) {
        let Wanted { hash, .. } = self.wanted(&text);
        self.held.insert(Name { hash, text }, value);
    }

    pub(super) fn remove(&mut self, name: &str) {
        let wanted = self.wanted(name);
        self.held.remove(&wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_hash_are_told_apart() {
        let name = |text: &str| Name { hash: 7, text: Arc::from(text) };
        let held: OrdMap<Name, u8> =
            ["b", "a", "c"].into_iter().zip(1..).map(|(text, value)| (name(text), value)).collect();
        let get = |hash, text| held.get(&Wanted { hash, text }).copied();
        assert_eq!([get(7, "a"), get(7, "b"), get(7, "c")], [Some(2), Some(1), Some(3)]);
        assert_eq!([get(7, "d"), get(8, "a"), get(6, "c")], [None; 3]);
    }

    #[test]
    fn what_is_put_is_found_until_it_is_taken_out() {
        let mut names = Names::default();
        for number in 0..1_000u32 {
            names.insert(Arc::from(number.to_string()), number);
        }
        for number in (0..1_000).step_by(3) {
            names.remove(&number.to_string());
        }
        let before = names.clone();
        *names.get_mut("1").expect("it is not a third one") = 0;
        for number in 0..1_000u32 {
            let wanted = (!number.is_multiple_of(3)).then_some(number);
            assert_eq!(before.get(&number.to_string()).copied(), wanted);
        }
        assert_eq!(names.get("1"), Some(&0));
        assert!(!names.is_empty() && Names::<u32>::default().get("1").is_none());
    }
}
