//! How the time of a campaign is dealt out: by weight, in slices, so that every target runs early and none waits for the
//! end of another. It must not start anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;

/// Shortest and longest slice, in seconds: long enough to get beyond loading the corpus, short enough to see all soon.
const SLICE_SECONDS: std::ops::RangeInclusive<u64> = 5..=600;
/// Into so many slices a target's time is cut, within these bounds.
const SLICES: u64 = 10;

/// How much time a target still has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Share {
    name: String,
    weight: u64,
    granted: u64,
    budget: u64,
}

/// The time of all targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    shares: Vec<Share>,
}

impl Plan {
    /// Deals `seconds` of one core out to the targets by weight, a target without one counting as 1.
    pub(super) fn new(targets: &[String], weights: &BTreeMap<String, u64>, seconds: u64) -> Self {
        let weight = |name: &String| weights.get(name).copied().unwrap_or(1).max(1);
        let sum: u64 = targets.iter().map(weight).sum();
        let share = |name: &String| Share {
            name: name.clone(),
            weight: weight(name),
            granted: 0,
            budget: seconds * weight(name) / sum.max(1),
        };
        Self { shares: targets.iter().map(share).collect() }
    }

    /// The next slice: of the target that has had least of its share. None once all is dealt out.
    pub(super) fn next(&mut self) -> Option<(String, u64)> {
        let open = self.shares.iter_mut().filter(|share| share.granted < share.budget);
        let share = open.min_by(|one, other| {
            (one.granted * other.weight, &one.name).cmp(&(other.granted * one.weight, &other.name))
        })?;
        let slice = (share.budget / SLICES).clamp(*SLICE_SECONDS.start(), *SLICE_SECONDS.end());
        let slice = slice.min(share.budget - share.granted).max(1);
        share.granted += slice;
        Some((share.name.clone(), slice))
    }

    /// A target gets no more: it has crashed, and would only crash again.
    pub(super) fn drop(&mut self, name: &str) {
        self.shares.retain(|share| share.name != name);
    }
}

/// The committed weights, by name of the target.
pub(super) fn weights(root: &Path) -> anyhow::Result<BTreeMap<String, u64>> {
    let path = root.join("fuzz/weights.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn time_is_dealt_out_by_weight_and_everybody_begins_early() {
        let weights = BTreeMap::from([("b".to_owned(), 3)]);
        let mut plan = Plan::new(&names(&["a", "b", "c"]), &weights, 1_000);
        let mut granted: BTreeMap<String, u64> = BTreeMap::new();
        let mut order = Vec::new();
        while let Some((name, seconds)) = plan.next() {
            order.push(name.clone());
            *granted.entry(name).or_default() += seconds;
        }
        assert_eq!(granted.into_values().collect::<Vec<_>>(), [200, 600, 200]);
        assert_eq!(order.iter().take(3).collect::<std::collections::BTreeSet<_>>().len(), 3, "{order:?}");
    }

    #[test]
    fn a_target_that_crashed_gets_no_more() {
        let mut plan = Plan::new(&names(&["a", "b"]), &BTreeMap::new(), 100);
        plan.drop("a");
        while let Some((name, _)) = plan.next() {
            assert_eq!(name, "b");
        }
    }

    #[test]
    fn every_weight_is_of_a_target() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
        let targets = super::super::targets(root).expect("the targets are there");
        for name in weights(root).expect("the weights are there").keys() {
            assert!(targets.contains(name), "{name} is no target");
        }
    }
}
