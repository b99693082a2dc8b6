//! The nearest known word to a misspelled one.

/// Longest word that is compared; no option is longer.
const WORD_CHARS_MAX: usize = 64;

/// The known word that is most like `word`, if any is like it: one edit per three letters, at most three.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
    if word.is_empty() || word.len() > WORD_CHARS_MAX {
        return None;
    }
    let allowed = (word.len() / 3).clamp(1, 3);
    let rated = known.into_iter().map(|candidate| (distance(&word, candidate), candidate));
    rated
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words: insert, remove, replace, or swap two neighbours. Case does not count.
fn distance(word: &[char], other: &str) -> usize {
    let other: Vec<char> = other.chars().flat_map(char::to_lowercase).take(WORD_CHARS_MAX).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in word.iter().enumerate() {
        let mut current = Vec::with_capacity(last.len());
        current.push(row + 1);
        for (column, other_letter) in other.iter().enumerate() {
            let replace = last[column] + usize::from(letter != other_letter);
            let mut edits = replace.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped =
                row > 0 && column > 0 && word[row - 1] == *other_letter && *letter == other[column - 1];
            if swapped {
                edits = edits.min(before_last[column - 1] + 1);
            }
            current.push(edits);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        let known = ["middlewares", "service", "rule", "entryPoints", "priority"];
        for (word, near) in [
            ("midlewares", Some("middlewares")),
            ("middleware", Some("middlewares")),
            ("entrypiont", Some("entryPoints")),
            ("ruel", Some("rule")),
            ("SERVICES", Some("service")),
            ("weight", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), near, "{word}");
        }
        assert_eq!(nearest(&"a".repeat(1000), known), None);
    }
}
