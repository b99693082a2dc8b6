//! Golden scripts of log and snapshots: each file of `tests/storage_scripts` is a list of commands with the exact text that
//! they answer. `RAVELIN_REWRITE=1` writes the answers anew; read the difference before committing it.

#[path = "../../consensus/tests/support/stanza.rs"]
#[allow(dead_code)] // the core's scripts use more of it
mod stanza;
#[path = "support/storage.rs"]
mod storage;

use std::path::Path;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/storage_scripts")
}

#[test]
fn storage_scripts_answer_as_written() {
    stanza::assert_answered(&folder(), 10, storage::answered);
}

/// The first line says what holds, and in brackets by which rule. A script fits a screen.
#[test]
fn storage_scripts_say_what_they_show_and_are_short() {
    for file in stanza::files(&folder()).expect("the folder is committed") {
        let text = std::fs::read_to_string(&file).expect("a script is text");
        let first = text.lines().next().unwrap_or_default();
        let says = first.starts_with("# ") && first.contains(" (") && first.ends_with(')');
        assert!(says, "{} does not begin with its rule: {first}", file.display());
        assert!(text.lines().count() <= 60, "{} is longer than 60 lines", file.display());
    }
}
