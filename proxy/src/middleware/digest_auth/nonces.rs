//! Nonces that say by themselves when they were made, so that asking for one costs no memory; only those that were used are kept, each
//! with the last count it was used with. A nonce that is forgotten is stale, never new.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How long a nonce is good, in seconds.
const GOOD_FOR_SECS: u64 = 300;
/// Most nonces in use; the oldest is forgotten for one more, and with it all that are as old.
const USED_MAX: usize = 10_000;

const TIME_BYTES: usize = 8;
const RANDOM_BYTES: usize = 8;
const TAG_BYTES: usize = 16;

/// What became of a nonce and its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Used {
    /// It is good, and the count is larger than any before.
    First,
    /// The count, or a larger one, was used.
    Before,
    /// It is none of ours, or not good any more.
    Unknown,
}

/// The nonces of one middleware, for all workers.
#[derive(Debug)]
pub(super) struct Nonces {
    key: hmac::Key,
    opaque: Box<str>,
    used: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last count of each nonce, by its time and random part.
    counts: BTreeMap<[u8; TIME_BYTES + RANDOM_BYTES], u64>,
    /// Nonces made at this second or before are not good.
    floor: u64,
}

fn random<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut bytes);
    bytes
}

impl Nonces {
    pub(super) fn new() -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()),
            opaque: URL_SAFE_NO_PAD.encode(random::<12>()).into(),
            used: Mutex::default(),
        }
    }

    /// What clients send back as it is.
    pub(super) fn opaque(&self) -> &str {
        &self.opaque
    }

    /// A nonce of this second.
    pub(super) fn make(&self, now: u64) -> String {
        let mut bytes = Vec::with_capacity(TIME_BYTES + RANDOM_BYTES + TAG_BYTES);
        bytes.extend_from_slice(&now.to_be_bytes());
        bytes.extend_from_slice(&random::<RANDOM_BYTES>());
        let tag = hmac::sign(&self.key, &bytes);
        bytes.extend(tag.as_ref().iter().take(TAG_BYTES));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Uses a nonce with a count.
    pub(super) fn take(&self, nonce: &[u8], count: u64, now: u64) -> Used {
        let Some((stem, made)) = self.read(nonce) else { return Used::Unknown };
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let State { counts, floor } = &mut *used;
        let oldest = now.saturating_sub(GOOD_FOR_SECS);
        *floor = (*floor).max(oldest);
        if made <= *floor || made > now.saturating_add(GOOD_FOR_SECS) {
            return Used::Unknown;
        }
        if let Some(last) = counts.get_mut(&stem) {
            if count <= *last {
                return Used::Before;
            }
            *last = count;
            return Used::First;
        }
        if counts.len() >= USED_MAX {
            // Keys begin with their time: those that are over first, then the oldest.
            if let Some(first) = counts.keys().next().and_then(time_of) {
                *floor = (*floor).max(first);
            }
            let floor = *floor;
            *counts = counts.split_off(&first_after(floor));
            if made <= floor {
                return Used::Unknown;
            }
        }
        counts.insert(stem, count);
        Used::First
    }

    /// The stem and the time of a nonce that was made here.
    fn read(&self, nonce: &[u8]) -> Option<([u8; TIME_BYTES + RANDOM_BYTES], u64)> {
        let bytes = URL_SAFE_NO_PAD.decode(nonce).ok()?;
        let (stem, tag) = bytes.split_at_checked(TIME_BYTES + RANDOM_BYTES)?;
        let own = hmac::sign(&self.key, stem);
        let own = own.as_ref().get(..TAG_BYTES)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(own, tag).ok()?;
        let stem = stem.try_into().ok()?;
        Some((stem, time_of(&stem)?))
    }
}

fn time_of(stem: &[u8; TIME_BYTES + RANDOM_BYTES]) -> Option<u64> {
    stem.first_chunk().copied().map(u64::from_be_bytes)
}

/// The least key of a later second.
fn first_after(second: u64) -> [u8; TIME_BYTES + RANDOM_BYTES] {
    let mut key = [0; TIME_BYTES + RANDOM_BYTES];
    for (to, from) in key.iter_mut().zip(second.saturating_add(1).to_be_bytes()) {
        *to = from;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    #[test]
    fn a_nonce_is_good_for_a_while_and_each_count_once() {
        let nonces = Nonces::new();
        let nonce = nonces.make(NOW);
        let take = |count, now| nonces.take(nonce.as_bytes(), count, now);
        assert_eq!(take(1, NOW), Used::First);
        assert_eq!(take(1, NOW), Used::Before);
        assert_eq!(take(3, NOW + 1), Used::First);
        assert_eq!(take(2, NOW + 1), Used::Before);
        assert_eq!(take(4, NOW + GOOD_FOR_SECS - 1), Used::First);
        assert_eq!(take(5, NOW + GOOD_FOR_SECS), Used::Unknown);
        assert_eq!(take(6, NOW), Used::Unknown, "time that goes back makes nothing good again");
    }

    #[test]
    fn what_was_not_made_here_is_unknown() {
        let (nonces, others) = (Nonces::new(), Nonces::new());
        assert_eq!(nonces.take(others.make(NOW).as_bytes(), 1, NOW), Used::Unknown);
        assert_eq!(nonces.take(nonces.make(NOW + 2 * GOOD_FOR_SECS).as_bytes(), 1, NOW), Used::Unknown);
        let mut forged = nonces.make(NOW).into_bytes();
        forged.reverse();
        for nonce in [&forged[..], b"", b"AAAA", b"\xff"] {
            assert_eq!(nonces.take(nonce, 1, NOW), Used::Unknown);
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_forgotten_is_stale() {
        let nonces = Nonces::new();
        let first = nonces.make(NOW);
        assert_eq!(nonces.take(first.as_bytes(), 1, NOW), Used::First);
        for number in 0..(USED_MAX as u64 + 10) {
            // A hundred in each second.
            let second = NOW + 1 + number / 100;
            assert_eq!(nonces.take(nonces.make(second).as_bytes(), 1, second), Used::First);
            assert!(nonces.used.lock().expect("not poisoned").counts.len() <= USED_MAX);
        }
        assert_eq!(nonces.take(first.as_bytes(), 2, NOW + 110), Used::Unknown);
    }
}
