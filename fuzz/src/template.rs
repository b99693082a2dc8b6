//! Templates: any text is carried out, or refused with a place in it, always the same way; text without an action stays as it is;
//! every line of what was given leads to a place in the file.

use ravelin_config::Position;
use ravelin_config::template::{OUTPUT_BYTES_MAX, render};

/// Longest input that is carried out: a fuzzer learns nothing from steps alone.
const INPUT_BYTES_MAX: usize = 4096;

/// The input is the text of a file.
pub fn run(input: &[u8]) {
    renders(input);
}

/// As [`run`]; whether the text could be carried out.
pub fn renders(input: &[u8]) -> bool {
    let Some(text) = std::str::from_utf8(input).ok().filter(|text| text.len() <= INPUT_BYTES_MAX) else {
        return false;
    };
    let outcome = render("fuzz", text, &environment);
    let again = render("fuzz", text, &environment);
    let is_good = outcome.is_ok();
    match (outcome, again) {
        (Ok(None), Ok(None)) => assert!(!text.contains("{{"), "an action was overlooked"),
        (Ok(Some(first)), Ok(Some(second))) => {
            assert!(text.contains("{{"), "a text without an action was carried out");
            assert!(first.text.len() <= OUTPUT_BYTES_MAX);
            assert!(first.text == second.text, "the same template gave two texts");
            let lines = text.matches('\n').count() + 1;
            for (index, line) in first.text.split('\n').enumerate().take(64) {
                let line_number = u32::try_from(index + 1).expect("at most 64");
                let column = u32::try_from(line.chars().count()).unwrap_or(u32::MAX);
                let at = first.origins.of(Position { line: line_number, column });
                assert!(at.line >= 1 && at.line as usize <= lines && at.column >= 1, "{at:?} lies outside");
            }
        }
        (Err(first), Err(second)) => {
            assert_eq!(first, second, "the same template failed in two ways");
            let lines = text.matches('\n').count() + 1;
            assert!(first.at.line >= 1 && first.at.line as usize <= lines, "{first} lies outside the text");
        }
        _ => panic!("the same template went two ways"),
    }
    is_good
}

fn environment(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| format!("value of {name}"))
}
