//! Words that choose nothing are refused by each program: what runs nothing would end as if all were well.

#![cfg(feature = "cluster")]

use std::process::Command;

fn refused(program: &str, line: &str) {
    let output = Command::new(program).args(line.split(' ')).output().expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    assert!(!output.status.success(), "{line}: {}", String::from_utf8_lossy(&text));
    assert!(!text.is_empty(), "{line}: refused without a word");
}

#[test]
fn what_chooses_nothing_is_refused() {
    for line in [
        "check nonsense",
        "reach nonsense",
        "probe nonsense",
        "harm nonsense",
        "explore nonsense",
        "nonsense",
    ] {
        refused(env!("CARGO_BIN_EXE_model"), line);
    }
    for line in ["nonsense", "--write nonsense", "--show nonsense", "--steps nonsense"] {
        refused(env!("CARGO_BIN_EXE_mutants"), line);
    }
    for line in
        ["--seeds 0", "--core --seeds 0", "--seed nonsense", "--seeds", "--script nonsense", "--script"]
    {
        refused(env!("CARGO_BIN_EXE_sim"), line);
    }
}
