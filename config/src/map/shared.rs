//! Records that the parts of one process hold once: whoever receives a configuration that another part of the process holds
//! already takes that one. It must not bring anything to anyone: only what was received is looked for, by its digest.
//!
//! One thread offers while another asks. It stands on its own (std, loom), so that loom tries every order of them.

use std::sync::{Arc, PoisonError};

#[cfg(ravelin_loom)]
use loom::sync::Mutex;
#[cfg(not(ravelin_loom))]
use std::sync::Mutex;

#[cfg(not(ravelin_loom))]
use super::ConfigMap;
#[cfg(not(ravelin_loom))]
use crate::digest::Digest;
#[cfg(ravelin_loom)]
use loom_checks::{ConfigMap, Digest};

/// The newest configuration that one part of a process holds, for the others; clones share it.
///
/// Memory: one configuration, which its holder has anyway.
#[derive(Clone, Debug, Default)]
pub struct SharedRecords(Arc<Mutex<ConfigMap>>);

impl SharedRecords {
    /// Makes these records the ones that are shared; secrets are not among them.
    pub fn offer(&self, map: &ConfigMap) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *held != *map {
            held.take_records(map);
        }
    }

    /// The records of this digest, if they are shared; without secrets.
    pub(crate) fn of_digest(&self, digest: &Digest) -> Option<ConfigMap> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (held.digest() == *digest).then(|| held.clone())
    }
}

#[cfg(ravelin_loom)]
mod loom_checks {
    /// A stand-in: what a configuration is told by.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Digest(u8);

    /// A stand-in: records that are nothing but what they are told by.
    #[derive(Clone, PartialEq, Eq, Debug, Default)]
    pub struct ConfigMap(pub(super) u8);

    impl ConfigMap {
        pub(super) fn take_records(&mut self, other: &Self) {
            self.0 = other.0;
        }

        pub(super) fn digest(&self) -> Digest {
            Digest(self.0)
        }
    }

    #[cfg(test)]
    mod tests {
        // Counters of all orders: loom does not see them.
        use std::sync::atomic::{AtomicUsize, Ordering};

        use loom::thread;

        use super::super::*;

        /// One asks for the configuration that is shared while another offers the next: whether what it got, if anything, is what
        /// it asked for, and the next one is shared in the end.
        fn asked_while_offered(ask: impl Fn(&SharedRecords, &Digest) -> Option<ConfigMap>) -> bool {
            let (shared, first, next) = (SharedRecords::default(), ConfigMap(1), ConfigMap(2));
            shared.offer(&first);
            let offering = {
                let (shared, next) = (shared.clone(), next.clone());
                thread::spawn(move || shared.offer(&next))
            };
            let found = ask(&shared, &first.digest());
            offering.join().expect("nothing panics there");
            found.is_none_or(|found| found == first) && shared.of_digest(&next.digest()) == Some(next)
        }

        #[test]
        fn loom_what_is_found_by_its_digest_has_that_digest_whatever_is_offered_meanwhile() {
            loom::model(|| assert!(asked_while_offered(SharedRecords::of_digest)));
        }

        /// The negative control: who compares the digest, lets go of the lock and takes what is there then has to be caught.
        #[test]
        fn loom_records_taken_after_the_lock_was_let_go_are_caught() {
            let twice = |shared: &SharedRecords, digest: &Digest| {
                let held = || shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                let same = held().digest() == *digest;
                same.then(|| held().clone())
            };
            let (found, orders) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let counted = (Arc::clone(&found), Arc::clone(&orders));
            loom::model(move || {
                counted.0.fetch_add(usize::from(!asked_while_offered(twice)), Ordering::Relaxed);
                counted.1.fetch_add(1, Ordering::Relaxed);
            });
            let counts = (found.load(Ordering::Relaxed), orders.load(Ordering::Relaxed));
            assert!(counts.0 > 0 && counts.0 < counts.1, "of {} orders, {} are wrong", counts.1, counts.0);
        }
    }
}
