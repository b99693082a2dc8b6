//! Who refers to whom among the objects of a configuration, so that a change finds all that it touches.
//! It must not care whether a name leads anywhere: an object that appears later finds its users waiting.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use ravelin_config::{Key, Kind};

/// A persistent graph; a copy costs nothing, a change its own edges.
#[derive(Clone, Default)]
pub(super) struct References {
    of: OrdMap<Key, Arc<[Key]>>,
    users: OrdMap<Key, OrdSet<Key>>,
}

impl References {
    /// Says all that `user` refers to, in place of what it referred to before.
    pub(super) fn set(&mut self, user: &Key, refers_to: BTreeSet<Key>) {
        let before = self.of.get(user).cloned().unwrap_or_default();
        for key in before.iter().filter(|key| !refers_to.contains(*key)) {
            let Some(users) = self.users.get_mut(key) else { continue };
            users.remove(user);
            if users.is_empty() {
                self.users.remove(key);
            }
        }
        for key in refers_to.iter().filter(|key| !before.contains(key)) {
            match self.users.get_mut(key) {
                Some(users) => drop(users.insert(user.clone())),
                None => drop(self.users.insert(key.clone(), OrdSet::unit(user.clone()))),
            }
        }
        if refers_to.is_empty() {
            self.of.remove(user);
        } else {
            // Many refer to the same: its text is held once.
            let held =
                |key: Key| self.users.get_key_value(&key).map_or(key.clone(), |(held, _)| held.clone());
            let refers_to: Vec<Key> = refers_to.into_iter().map(held).collect();
            // Those beside each other mostly refer to the same: their list is held once.
            let beside = self.of.get_prev(user).map(|(_, list)| list).filter(|list| ***list == *refers_to);
            let refers_to = beside.cloned().unwrap_or_else(|| Arc::from(refers_to));
            self.of.insert(user.clone(), refers_to);
        }
    }

    /// All that `user` refers to.
    pub(super) fn of(&self, user: &Key) -> &[Key] {
        self.of.get(user).map_or(&[], |keys| keys)
    }

    /// These keys and all that refer to them, directly or not.
    pub(super) fn closure(&self, keys: BTreeSet<Key>) -> BTreeSet<Key> {
        let mut waiting: Vec<Key> = keys.iter().cloned().collect();
        let mut closure = keys;
        while let Some(key) = waiting.pop() {
            // A router that refers to another is its child, and takes nothing from it.
            if key.kind() == Some(Kind::HttpRouter) {
                continue;
            }
            for user in self.users.get(&key).into_iter().flatten() {
                if closure.insert(user.clone()) {
                    waiting.push(user.clone());
                }
            }
        }
        closure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).expect("a short printable key")
    }

    fn keys(texts: &[&str]) -> BTreeSet<Key> {
        texts.iter().map(|text| key(text)).collect()
    }

    #[test]
    fn those_beside_each_other_share_the_list_of_what_they_refer_to() {
        let mut references = References::default();
        for user in ["r1", "r3", "r2"] {
            references.set(&key(user), keys(&["e", "s"]));
        }
        let list = |user: &str| references.of(&key(user)).as_ptr();
        assert_eq!([list("r2"), list("r3")], [list("r1"); 2]);
        assert_eq!(references.closure(keys(&["s"])), keys(&["s", "r1", "r2", "r3"]));
    }

    #[test]
    fn the_closure_follows_users_through_cycles_and_forgets_old_edges() {
        let mut references = References::default();
        references.set(&key("r"), keys(&["s", "m"]));
        references.set(&key("w"), keys(&["s"]));
        references.set(&key("q"), keys(&["w"]));
        references.set(&key("s"), keys(&["q"]));
        assert_eq!(references.closure(keys(&["m"])), keys(&["m", "r"]));
        assert_eq!(references.closure(keys(&["w"])), keys(&["w", "q", "s", "r"]));
        references.set(&key("s"), BTreeSet::new());
        references.set(&key("r"), keys(&["m"]));
        assert_eq!(references.closure(keys(&["w"])), keys(&["w", "q"]));
        assert_eq!(references.closure(keys(&["s"])), keys(&["s", "w", "q"]));
    }
}
