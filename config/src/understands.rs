//! What a process can read: versions of frames, kinds of objects, features. Every node says it to those that might send it more.
//! It must not judge what follows: who feeds tells, who compiles decides.

use std::collections::BTreeMap;
use std::fmt;

use bincode::{Decode, Encode};
use serde::Serialize;

use crate::map::ConfigMap;
use crate::object::Kind;
use crate::options::SCHEMA_VERSION;

/// Kinds that one process may name.
pub const KINDS_MAX: usize = 1024;

/// Kinds whose code has this bit must be understood by whoever serves a generation that holds one.
pub const MUST_BE_KNOWN: u16 = 0x8000;

/// Feature: an object of an unknown kind is set aside; the rest of the generation is served.
pub const SETS_ASIDE: u64 = 1;

/// What a process can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Understands {
    /// Versions of the frames on the lane where it is said.
    pub formats: Versions,
    /// Kinds of objects by their stable code, each with its newest schema.
    pub kinds: BTreeMap<u16, u16>,
    /// Set of features, one bit each; bits without a meaning here are kept.
    pub features: u64,
}

/// Versions from the oldest to the newest, both read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// The oldest.
    pub oldest: u8,
    /// The newest; never below the oldest.
    pub newest: u8,
}

impl Versions {
    /// Whether this one is among them.
    pub fn contain(self, version: u8) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }

    /// The newest that both know; `None` if there is none.
    pub fn newest_of_both(self, other: Self) -> Option<u8> {
        let newest = self.newest.min(other.newest);
        (self.contain(newest) && other.contain(newest)).then_some(newest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.oldest == self.newest {
            true => write!(f, "{}", self.newest),
            false => write!(f, "{} to {}", self.oldest, self.newest),
        }
    }
}

impl Understands {
    /// What this build reads, on a lane of these versions.
    pub fn this_build(formats: Versions) -> Self {
        let kinds = Kind::ALL.into_iter().map(|kind| (kind.code(), SCHEMA_VERSION)).collect();
        Self { formats, kinds, features: SETS_ASIDE }
    }

    /// Kinds of objects in a configuration that are not understood, by the prefix of their keys. As many look-ups as this build
    /// knows kinds: no object is read.
    pub fn lacks(&self, map: &ConfigMap) -> Vec<&'static str> {
        let lacked = Kind::ALL.into_iter().filter(|kind| !self.kinds.contains_key(&kind.code()));
        let held = |kind: &Kind| map.range(kind.prefix()).any(|(key, _)| key.kind() == Some(*kind));
        lacked.filter(held).map(Kind::prefix).collect()
    }
}

/// The first wire form of [`Understands`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct UnderstandsV1 {
    oldest: u8,
    newest: u8,
    kinds: Vec<(u16, u16)>,
    features: u64,
}

/// Why an [`UnderstandsV1`] says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnderstandsError {
    /// The oldest version comes after the newest.
    #[error("versions {oldest} to {newest} are none")]
    Versions {
        /// The oldest.
        oldest: u8,
        /// The newest.
        newest: u8,
    },
    /// More than [`KINDS_MAX`].
    #[error("{count} kinds are more than the {KINDS_MAX} that are taken")]
    Kinds {
        /// How many.
        count: usize,
    },
}

impl From<&Understands> for UnderstandsV1 {
    fn from(value: &Understands) -> Self {
        let Understands { formats: Versions { oldest, newest }, kinds, features } = value;
        let kinds = kinds.iter().map(|(code, schema)| (*code, *schema)).collect();
        Self { oldest: *oldest, newest: *newest, kinds, features: *features }
    }
}

impl TryFrom<UnderstandsV1> for Understands {
    type Error = UnderstandsError;

    fn try_from(wire: UnderstandsV1) -> Result<Self, UnderstandsError> {
        let UnderstandsV1 { oldest, newest, kinds, features } = wire;
        if oldest > newest {
            return Err(UnderstandsError::Versions { oldest, newest });
        }
        if kinds.len() > KINDS_MAX {
            return Err(UnderstandsError::Kinds { count: kinds.len() });
        }
        Ok(Self { formats: Versions { oldest, newest }, kinds: kinds.into_iter().collect(), features })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    fn versions(oldest: u8, newest: u8) -> Versions {
        Versions { oldest, newest }
    }

    #[test]
    fn two_that_are_one_version_apart_agree_and_two_that_are_two_apart_do_not() {
        let (old, now, new) = (versions(1, 2), versions(2, 3), versions(3, 4));
        assert_eq!((old.newest_of_both(now), now.newest_of_both(old)), (Some(2), Some(2)));
        assert_eq!(now.newest_of_both(new), Some(3));
        assert_eq!(old.newest_of_both(new), None);
    }

    #[test]
    fn what_a_configuration_holds_and_a_process_does_not_know_is_told_by_prefix() {
        let holds = ["http/routers/a@file", "static/entryPoints/web"];
        let map: ConfigMap =
            holds.iter().map(|key| (Key::new(key).expect("a key"), b"{}".as_slice().into())).collect();
        let mut old = Understands::this_build(versions(1, 1));
        assert_eq!(old.lacks(&map), Vec::<&str>::new());
        for kind in [Kind::HttpRouter, Kind::TlsOptions, Kind::StaticSection] {
            old.kinds.remove(&kind.code());
        }
        assert_eq!(
            old.lacks(&map),
            ["http/routers/"],
            "the others are not there, or of a kind that is known"
        );
    }

    #[test]
    fn the_wire_form_comes_back_and_nonsense_is_refused() {
        let said = Understands { features: u64::MAX, ..Understands::this_build(versions(1, 2)) };
        assert_eq!(Understands::try_from(UnderstandsV1::from(&said)), Ok(said));
        let none = UnderstandsV1 { oldest: 2, newest: 1, kinds: Vec::new(), features: 0 };
        assert!(matches!(Understands::try_from(none), Err(UnderstandsError::Versions { .. })));
        let many = UnderstandsV1 { oldest: 1, newest: 1, kinds: vec![(1, 1); KINDS_MAX + 1], features: 0 };
        assert!(matches!(Understands::try_from(many), Err(UnderstandsError::Kinds { .. })));
    }

    #[test]
    fn no_kind_of_this_build_must_be_known_by_others() {
        assert!(Kind::ALL.into_iter().all(|kind| kind.code() & MUST_BE_KNOWN == 0));
    }
}
