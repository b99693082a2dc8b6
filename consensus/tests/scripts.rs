//! Golden scripts: each file of `tests/scripts` is a list of commands with the exact text that they answer.
//! `RAVELIN_REWRITE=1` writes the answers anew; read the difference before committing it.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/render.rs"]
mod render;
#[path = "support/script.rs"]
mod script;
#[path = "support/stanza.rs"]
mod stanza;

use std::path::Path;

#[test]
fn scripts_answer_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    stanza::assert_answered(&folder, 20, script::answered);
}

/// The first line: what holds, then in brackets where that is written, its invariants or bug classes, and mutants that the
/// script kills. A script fits a screen.
#[test]
fn every_script_says_what_it_holds_and_what_it_kills() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tables =
        std::fs::read_dir(here.join("../model-check/src/mutant/table")).expect("the tables of mutants");
    let text = |table: std::fs::DirEntry| std::fs::read_to_string(table.path()).expect("a table is text");
    let table: String = tables.map(|table| text(table.expect("a readable folder"))).collect();
    for file in stanza::files(&here.join("tests/scripts")).expect("the folder of scripts is committed") {
        let text = std::fs::read_to_string(&file).expect("a script is text");
        let name = file.display();
        assert!(text.lines().count() <= 60, "{name} has more than 60 lines");
        let first = text.lines().next().unwrap_or_default();
        let (_, written) = first.rsplit_once(" (").unwrap_or_else(|| panic!("{name}: {first}"));
        let (places, killed) =
            written.split_once("; kills ").unwrap_or_else(|| panic!("{name} kills nothing"));
        assert!(places.contains('§') || places.contains("figure"), "{name} names no section: {places}");
        let numbered = |word: &str| word.len() > 1 && word[1..].chars().all(|it| it.is_ascii_digit());
        let named = places.split([' ', ',']).any(|word| word.starts_with(['I', 'B', 'L']) && numbered(word));
        assert!(named, "{name} names no rule: {places}");
        for mutant in killed.trim_end_matches(").").split(", ") {
            assert!(table.contains(&format!("id: \"{mutant}\"")), "{name}: there is no mutant {mutant}");
        }
    }
}
