//! `ravelin explain` by a file and by a running process: both say the same, and it is what the process does.

use std::process::Output;

use crate::driver::get;
use crate::standalone::{HELLO, Standalone};

fn explained(words: &[&str]) -> (bool, String) {
    let output: Output = std::process::Command::new(env!("CARGO_BIN_EXE_ravelin"))
        .arg("explain")
        .args(words)
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).expect("text"))
}

#[test]
fn a_file_and_the_process_on_it_say_the_same() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/x", 200);
    let port = all.web.port();
    let url = format!("http://hello.test:{port}/x");
    let file = format!("--configFile={}", all.file().display());
    let (good, of_file) = explained(&[&url, &file]);
    assert!(good, "{of_file}");
    let wanted = format!(
        "router hello@file, priority 18: Host(`hello.test`)\nservice hello@file\n  server http://{}\n",
        all.backend
    );
    assert!(of_file.contains(&wanted), "{of_file}");
    let api = all.api.to_string();
    let (good, of_process) = explained(&[&url, "--api", &api, "--method", "GET"]);
    assert!(good, "{of_process}");
    assert_eq!(of_file, of_process);
    assert!(get(all.web, "hello.test", "/x").expect("an answer").body.contains("GET /x"), "as it was told");
    let (good, none) = explained(&[&format!("http://nobody.test:{port}/"), "--api", &api]);
    assert!(good && none.contains("no router takes it: 404"), "{none}");
    let (good, wrong) = explained(&["http://hello.test:1/", "--api", &api]);
    assert!(!good && wrong.contains("no entry point listens on port 1"), "{wrong}");
    let (good, wrong) = explained(&["hello.test", &file]);
    assert!(!good && wrong.contains("is no URL"), "{wrong}");
}
