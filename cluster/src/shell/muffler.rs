//! Keeps what strangers do from filling the log: of each kind one line in a while, with the number of those left out.
//! It must not decide what is worth a line; it only spaces them.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// One line of a kind in so long.
const INTERVAL: Duration = Duration::from_secs(10);
/// Kinds told apart.
const KINDS_MAX: usize = 64;

/// What was said of each kind.
#[derive(Debug, Default)]
pub(super) struct Muffler {
    kinds: BTreeMap<String, (Instant, u64)>,
}

impl Muffler {
    /// Something of this kind happened: whether to say so, and then how many before it went unsaid.
    pub(super) fn hear(&mut self, kind: String, now: Instant) -> Option<u64> {
        let full = self.kinds.len() >= KINDS_MAX;
        match self.kinds.get_mut(&kind) {
            Some((said, unsaid)) if now.duration_since(*said) < INTERVAL => {
                *unsaid += 1;
                None
            }
            Some((said, unsaid)) => {
                *said = now;
                Some(std::mem::take(unsaid))
            }
            None if full => None,
            None => {
                self.kinds.insert(kind, (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_kind_one_in_a_while_is_said_and_the_others_are_counted() {
        let mut muffler = Muffler::default();
        let now = Instant::now();
        assert_eq!(muffler.hear("a".to_owned(), now), Some(0));
        for _ in 0..1000 {
            assert_eq!(muffler.hear("a".to_owned(), now + Duration::from_secs(1)), None);
        }
        assert_eq!(muffler.hear("b".to_owned(), now), Some(0), "another kind has its own line");
        assert_eq!(muffler.hear("a".to_owned(), now + INTERVAL), Some(1000));
        assert_eq!(muffler.hear("a".to_owned(), now + 2 * INTERVAL), Some(0));
        for kind in 0..1000 {
            muffler.hear(format!("kind {kind}"), now);
        }
        assert_eq!(muffler.kinds.len(), KINDS_MAX);
    }
}
