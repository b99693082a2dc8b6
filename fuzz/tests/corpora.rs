//! Replays every committed corpus on the ordinary toolchain, and keeps targets, programs and corpora in step.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ravelin_fuzz::{TARGETS, codec};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn entries(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .collect()
}

fn stems(folder: &Path) -> BTreeSet<String> {
    let stem =
        |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()).expect("plain names").to_owned();
    entries(folder).iter().map(stem).collect()
}

#[test]
fn every_target_has_a_program_and_a_corpus_and_nothing_is_left_over() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names.len(), TARGETS.len(), "a name is there twice");
    assert_eq!(stems(&folder("fuzz_targets")), names);
    assert_eq!(stems(&folder("corpus")), names);
}

/// With `RAVELIN_FUZZ_TARGET` set, only that target's.
#[test]
fn every_corpus_is_replayed() {
    let only = std::env::var("RAVELIN_FUZZ_TARGET").ok();
    let targets: Vec<_> =
        TARGETS.iter().filter(|target| only.as_ref().is_none_or(|only| only == target.name)).collect();
    assert!(!targets.is_empty(), "there is no target {only:?}");
    for target in targets {
        let inputs = entries(&folder("corpus").join(target.name));
        assert!(!inputs.is_empty(), "the corpus of {} is empty", target.name);
        for input in inputs {
            let bytes = fs::read(&input).unwrap_or_else(|error| panic!("{}: {error}", input.display()));
            // A panic below is told apart from others by this line, which the test harness shows with it.
            println!("{}", input.display());
            (target.run)(&bytes);
        }
    }
}

#[test]
fn the_codec_corpus_holds_a_good_encoding_of_every_type() {
    let inputs: Vec<Vec<u8>> = entries(&folder("corpus/codec"))
        .iter()
        .map(|path| fs::read(path).expect("a readable file"))
        .collect();
    for letter in codec::letters() {
        let good =
            inputs.iter().filter(|input| input.first() == Some(&letter) && codec::decodes(input)).count();
        assert!(good > 0, "none for the letter {}", char::from(letter));
    }
}

#[test]
fn every_target_takes_what_is_no_input_at_all() {
    for target in TARGETS {
        (target.run)(&[]);
        for byte in 0..=u8::MAX {
            (target.run)(&[byte]);
            (target.run)(&[byte; 64]);
        }
    }
}
