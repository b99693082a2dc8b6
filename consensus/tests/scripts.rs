//! Golden scripts: each file of `tests/scripts` is a list of commands with the exact text that they answer.
//! `RAVELIN_REWRITE=1` writes the answers anew; read the difference before committing it.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/render.rs"]
mod render;
#[path = "support/script.rs"]
mod script;

use std::path::Path;

use script::answered;

#[test]
fn scripts_answer_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("a file of that folder").path())
        .collect();
    files.sort();
    let rewrite = std::env::var_os("RAVELIN_REWRITE").is_some();
    let mut stanzas = 0;
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a script is text");
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let answer = std::panic::catch_unwind(|| answered(&text)).unwrap_or_else(|_| panic!("{name} breaks"));
        stanzas += answer.lines().filter(|line| *line == "----").count();
        if rewrite {
            std::fs::write(file, &answer).expect("the script can be written");
        } else if answer != text {
            let differs = answer.lines().zip(text.lines()).position(|(new, old)| new != old);
            let at = differs.unwrap_or(answer.lines().count().min(text.lines().count()));
            let (new, old) = (answer.lines().nth(at), text.lines().nth(at));
            panic!("{name}, line {}: expected {old:?}, the answer is {new:?}", at + 1);
        }
    }
    println!("{} scripts, {stanzas} stanzas", files.len());
    assert!(files.len() >= 20, "the scripts were found");
}
