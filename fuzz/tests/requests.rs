//! What the seeds about requests and middlewares lead to.

use std::collections::BTreeMap;
use std::path::Path;

use ravelin_fuzz::{middleware, request};

fn seeds(target: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = std::fs::read_dir(folder).expect("the corpus is committed");
    files
        .map(|file| {
            let file = file.expect("a readable folder");
            let bytes = std::fs::read(file.path()).expect("a readable file");
            (file.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect()
}

#[test]
fn middlewares_of_the_corpus_work_but_for_those_that_show_a_fault() {
    for (name, bytes) in seeds("middleware") {
        // Those of other objects need them.
        let works = !matches!(name.as_str(), "breaker-bad" | "two-kinds" | "chain" | "errors");
        assert_eq!(middleware::builds(&bytes), Some(works), "{name}");
    }
}

#[test]
fn requests_of_the_corpus_are_taken_but_for_what_shows_a_fault() {
    for (name, bytes) in seeds("request") {
        let taken = match name.as_str() {
            // Where paths are not resolved, dot segments are refused.
            "hidden" | "bad-host" | "dots-as-written" => 2..=2,
            "encoded" => 2..=3,
            _ => 3..=3,
        };
        let told = request::told(&bytes);
        assert!(taken.contains(&told), "{name}: {told}");
    }
}

/// Changes of one seed.
const CHANGES: usize = 100;

/// The next number of a row that is the same in every run (xorshift).
fn next(row: &mut u64) -> usize {
    *row ^= *row << 13;
    *row ^= *row >> 7;
    *row ^= *row << 17;
    (*row >> 33) as usize
}

/// One to four bytes replaced, put in, taken out, or a piece of another seed put in.
fn changed(seed: &[u8], other: &[u8], row: &mut u64) -> Vec<u8> {
    const BYTES: &[u8] = b"%./\\;:?#[]{}()&|<>!=\"'\n \0\xff\xc0\xafaA09-_,$*~`@";
    let mut bytes = seed.to_vec();
    for _ in 0..=next(row) % 4 {
        let at = next(row) % (bytes.len() + 1);
        let byte = BYTES.get(next(row) % BYTES.len()).copied().unwrap_or(0);
        match next(row) % 4 {
            0 if at < bytes.len() => bytes[at] = byte,
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => {
                let from = next(row) % (other.len() + 1);
                let to = other.len().min(from + next(row) % 20);
                drop(bytes.splice(at..at, other[from..to].iter().copied()));
            }
            _ => bytes.insert(at, byte),
        }
    }
    bytes
}

#[test]
fn changed_seeds_break_no_promise_either() {
    let mut row = 0x9E37_79B9_7F4A_7C15;
    for (target, run) in [("middleware", middleware::run as fn(&[u8])), ("request", request::run)] {
        let seeds: Vec<Vec<u8>> = seeds(target).into_values().collect();
        for seed in &seeds {
            for _ in 0..CHANGES {
                let other = &seeds[next(&mut row) % seeds.len()];
                let input = changed(seed, other, &mut row);
                println!("{:?}", String::from_utf8_lossy(&input));
                run(&input);
            }
        }
    }
}
