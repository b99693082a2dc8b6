//! The language of rules of routers that name none: a static option that every such router's verdict depends on.
//! It must not read rules.

use std::collections::BTreeSet;

use super::own::Own;
use super::{Checker, Key, Kind, Record};
use crate::object::Object;
use crate::options;
use crate::rule::Syntax;
use crate::static_config::Core;

/// The static section that says it.
const SECTION: &str = "static/core";

/// Whether this object says the language.
pub(super) fn decides(key: &Key) -> bool {
    key.as_str() == SECTION
}

/// A router's value as it must be kept once routers that name no language are read in another one than `former`; `None` if
/// nothing has to be said. What was good stays what it was.
pub(super) fn kept(good: &Object, former: Option<Syntax>) -> Option<Object> {
    let word = match former? {
        Syntax::Version2 => "v2",
        Syntax::Version3 => "v3",
    };
    let mut json = (good.kind == Kind::HttpRouter).then(|| options::object_json(good).ok()).flatten()?;
    let members = json.as_object_mut()?;
    if members.get("ruleSyntax").is_some_and(|syntax| syntax.as_str() != Some("")) {
        return None;
    }
    members.insert("ruleSyntax".to_owned(), word.into());
    // Secrets keep their places: the option has none, and places are found by name.
    let named = options::object(Kind::HttpRouter, &json).ok()?;
    Some(Object { schema: good.schema, secrets: good.secrets.clone(), ..named })
}

impl Checker {
    /// What the section in force says.
    fn language_said(&self) -> Syntax {
        let node = self.nodes.get(SECTION);
        let value = node.and_then(|node| match node.own.seldom.errors.is_empty() {
            true => Some(node.wanted()),
            false => node.record.as_ref().and_then(Record::effective),
        });
        let core = value.and_then(|object| serde_json::from_slice::<Core>(&object.bytes).ok());
        Core::syntax(core.as_ref())
    }

    /// Takes the language that the restored section says; routers are read in it, and not judged again.
    pub(super) fn restore_language(&mut self) {
        let said = self.language_said();
        let former = std::mem::replace(&mut self.language, said);
        if former == self.language {
            return;
        }
        for key in self.routers() {
            let Some(mut node) = self.nodes.remove(&key) else { continue };
            self.unindex(&key, &node.own);
            node.own = Own::of(&key, node.wanted(), self.language);
            self.index(&key, &mut node.own);
            self.nodes.insert(key, node);
        }
    }

    /// Takes the language that the section says now. If it is another one, every router is judged again: its rule may mean
    /// something else, and what it was last good by has to be kept in the language that it had, which is returned.
    pub(super) fn change_language(
        &mut self,
        default_entry_points: &[Key],
        touched: &mut BTreeSet<Key>,
        spread: &mut Vec<Key>,
    ) -> Option<Syntax> {
        let said = self.language_said();
        let former = std::mem::replace(&mut self.language, said);
        if former == self.language {
            return None;
        }
        for key in self.routers() {
            let Some(mut node) = self.nodes.remove(&key) else { continue };
            let mut own = Own::of(&key, node.wanted(), self.language);
            if own != node.own {
                let counts = [self.tls_counts(&node.own), self.tls_counts(&own)].concat();
                self.unindex(&key, &node.own);
                self.index(&key, &mut own);
                self.touch_tls(counts, default_entry_points, touched);
                spread.push(key.clone());
                node.own = own;
            }
            self.nodes.insert(key.clone(), node);
            touched.insert(key);
        }
        Some(former)
    }

    fn routers(&self) -> Vec<Key> {
        let routers = self.nodes.keys().filter(|key| key.kind() == Some(Kind::HttpRouter));
        routers.cloned().collect()
    }
}
