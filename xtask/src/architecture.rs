//! Checks that the map of the code tells the truth: every path that `docs/ARCHITECTURE.md` and the
//! README name exists. It must not judge prose.

use std::fs;
use std::path::Path;

use anyhow::Context;

const MAPS: [&str; 2] = ["docs/ARCHITECTURE.md", "README.md"];

/// Every named path that does not exist, one line each.
pub(crate) fn breaches(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for map in MAPS {
        let text = fs::read_to_string(root.join(map)).with_context(|| map.to_owned())?;
        for (number, line) in text.lines().enumerate() {
            for name in paths_named(line) {
                if !root.join(name).exists() {
                    found.push(format!("{map}:{}: `{name}` does not exist", number + 1));
                }
            }
        }
    }
    Ok(found)
}

/// The back-quoted words and link targets of a line that look like a path of this repository.
fn paths_named(line: &str) -> Vec<&str> {
    let quoted = line.split('`').skip(1).step_by(2);
    let linked = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    quoted.chain(linked).filter(|word| is_path(word)).collect()
}

fn is_path(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let known_end = [".rs", ".md", ".toml", ".yaml", ".yml", ".txt", "/"];
    let looks = word.chars().all(plain) && known_end.iter().any(|end| word.ends_with(end));
    looks && !word.starts_with('/') && !word.starts_with("http") && !word.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_other_words() {
        let line = "see `consensus/src/core.rs`, `Core`, `/api/rawdata`, `x.y.z` and [it](docs/guides/)";
        assert_eq!(paths_named(line), vec!["consensus/src/core.rs", "docs/guides/"]);
    }
}
