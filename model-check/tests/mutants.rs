//! The table of mutants fits the sources, and weaving refuses what is out of date.

use std::collections::BTreeSet;
use std::path::Path;

use ravelin_model_check::mutant::{CopyError, Layer, MUTANTS, Mutant, page, weave};

fn source(file: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    std::fs::read_to_string(root.join(file)).expect("the table names a file that exists")
}

#[test]
fn every_original_occurs_once() {
    for mutant in MUTANTS.iter() {
        let woven = weave(&source(mutant.file), &[(1, mutant)]).expect("an original that occurs once");
        assert!(woven.contains("mutant_choice::chosen(1)"), "{}", mutant.id);
    }
}

#[test]
fn ids_differ_and_every_mutant_has_a_probe() {
    let ids: BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.id).collect();
    assert_eq!(ids.len(), MUTANTS.len());
    assert!(MUTANTS.iter().all(|mutant| !mutant.probe.is_empty()));
}

#[test]
fn the_shipped_sources_know_nothing_of_mutants() {
    for mutant in MUTANTS.iter() {
        let source = source(mutant.file).to_lowercase();
        assert!(!source.contains("mutant") && !source.contains("stateright"), "{}", mutant.file);
    }
}

/// No slip of log or snapshots waits for a lucky seed: the first line of a script names those that it kills.
#[test]
fn every_mutant_of_storage_is_named_by_a_script_that_kills_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let mut named = BTreeSet::new();
    for script in
        std::fs::read_dir(root.join("cluster/tests/storage_scripts")).expect("the folder of scripts")
    {
        let text = std::fs::read_to_string(script.expect("a file of that folder").path()).expect("text");
        let first = text.lines().next().unwrap_or_default();
        let killed = first.split_once("; kills ").map_or("", |(_, killed)| killed.trim_end_matches(')'));
        named.extend(killed.split(", ").filter(|id| !id.is_empty()).map(str::to_owned));
    }
    let of_storage = MUTANTS.iter().filter(|mutant| mutant.file.starts_with("cluster/src/storage/"));
    let wanted: BTreeSet<String> = of_storage.map(|mutant| mutant.id.to_owned()).collect();
    assert!(wanted.len() >= 10);
    assert_eq!(wanted, named);
}

/// `RAVELIN_REWRITE=1` takes over what the table says; what is measured comes from `cargo xtask mutants --write`.
#[test]
fn the_page_says_what_the_table_says_and_every_mutant_was_caught() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    let path = page::path(root);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let measured = page::measured(&text);
    if std::env::var_os("RAVELIN_REWRITE").is_some() {
        std::fs::write(&path, page::page(&measured)).expect("the page can be written");
        return;
    }
    let wanted = page::page(&measured);
    let differs = text.lines().zip(wanted.lines()).find(|(written, wanted)| written != wanted);
    assert_eq!(differs, None, "docs/reference/mutants.md; RAVELIN_REWRITE=1 writes it anew");
    assert_eq!(text.len(), wanted.len(), "docs/reference/mutants.md; RAVELIN_REWRITE=1 writes it anew");
    let mut strong = 0;
    for mutant in MUTANTS.iter() {
        let by = measured.get(mutant.id).expect("just compared");
        assert!(!by.is_empty(), "nothing is known to catch {}: cargo xtask mutants --write", mutant.id);
        strong += usize::from(by.contains_key(&Layer::Model) || by.contains_key(&Layer::Simulation));
    }
    assert!(
        MUTANTS.len() >= 45 && strong >= 30,
        "{} mutants, {strong} by model or simulation",
        MUTANTS.len()
    );
}

fn slip(original: &'static str, wrong: &'static str) -> Mutant {
    Mutant { id: "slip", stands_for: "", slip: "", file: "some.rs", original, wrong, probe: &["model"] }
}

#[test]
fn weaving_keeps_the_surroundings() {
    let slip = slip("x: «1 + 1»,", "3");
    let woven = weave("S { x: 1 + 1, y: 1 + 1 }", &[(7, &slip)]).expect("it occurs once");
    assert_eq!(woven, "S { x: (if crate::mutant_choice::chosen(7) { 3 } else { 1 + 1 }), y: 1 + 1 }");
}

#[test]
fn mutants_of_one_place_share_it() {
    let (one, two) = (slip("a < b", "a <= b"), slip("a < b", "a > b"));
    let woven = weave("a < b", &[(1, &one), (2, &two)]).expect("the very same place");
    let expected = "(if crate::mutant_choice::chosen(1) { a <= b } else \
                    if crate::mutant_choice::chosen(2) { a > b } else { a < b })";
    assert_eq!(woven, expected);
}

#[test]
fn what_is_out_of_date_is_refused() {
    let (gone, twice) = (slip("gone", ""), slip("a", ""));
    assert!(matches!(weave("a a", &[(1, &gone)]), Err(CopyError::NotOnce { found: 0, .. })));
    assert!(matches!(weave("a a", &[(1, &twice)]), Err(CopyError::NotOnce { found: 2, .. })));
    let (outer, inner) = (slip("a + b", ""), slip("b", ""));
    assert!(matches!(weave("a + b", &[(1, &outer), (2, &inner)]), Err(CopyError::Overlap { .. })));
}
