//! Every example of the guides, run in its order: `sh` blocks line by line, `yaml` blocks written to the
//! file that their first line names.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use crate::driver::{Running, TIME_MAX, get, own_ip, ravelin, text};

/// A fenced block: its language and lines.
type Block = (String, Vec<String>);

fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(language) if !inside => {
                found.push((language.to_owned(), Vec::new()));
                inside = true;
            }
            Some(_) => inside = false,
            None if inside => found.last_mut().expect("an open block").1.push(line.to_owned()),
            None => {}
        }
    }
    found
}

fn guide(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides").join(name);
    // The guides' ports, where nobody else has them.
    std::fs::read_to_string(path).expect("the guide").replace("127.0.0.1", &own_ip().to_string())
}

/// Writes the files first, then runs the commands: a guide may show a file after the command that needs it.
fn run(name: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let blocks = blocks(&guide(name));
    for (language, lines) in blocks.iter().filter(|(language, _)| language == "yaml") {
        let first = lines.first().expect("a first line");
        let file = first.trim_start_matches("# ").split(':').next().expect("a name");
        assert!(
            file.ends_with(".yaml") || file.ends_with(".yml"),
            "a {language} block begins with its file's name: {first}"
        );
        std::fs::write(folder.path().join(file), lines.join("\n")).expect("the file");
    }
    let mut running: Vec<Running> = Vec::new();
    let commands = blocks.iter().filter(|(language, _)| language == "sh").flat_map(|(_, lines)| lines);
    let mut ran = 0;
    for line in commands {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.split_first() {
            Some((&"ravelin", rest)) => match rest.split_last() {
                Some((&"&", rest)) => running.push(Running::start(folder.path(), rest[0], rest)),
                _ => succeeds(folder.path(), rest),
            },
            Some((&"curl", _)) => curl(line),
            Some((&"kill", jobs)) => end(&mut running, jobs),
            _ => panic!("the test cannot run {line:?}"),
        }
        ran += 1;
    }
    assert!(ran > 0, "{name} shows no command");
}

/// Runs a command until it succeeds: nodes that were just started may not answer yet.
fn succeeds(folder: &Path, words: &[&str]) {
    let begun = Instant::now();
    loop {
        let output = ravelin(folder, words);
        if output.status.success() {
            return;
        }
        assert!(begun.elapsed() < TIME_MAX, "ravelin {}:\n{}", words.join(" "), text(&output));
    }
}

/// `kill %1 %2`, gently or with -9, the jobs as a shell counts them.
fn end(running: &mut [Running], words: &[&str]) {
    let (force, jobs) = match words.split_first() {
        Some((&"-9", jobs)) => (true, jobs),
        _ => (false, words),
    };
    for job in jobs {
        let number: usize = job.trim_start_matches('%').parse().expect("a job");
        let process = running.get_mut(number - 1).expect("it was started");
        if force {
            process.kill();
        } else {
            assert!(process.terminate(), "{job} does not end with success:\n{}", process.printed());
        }
    }
}

/// `curl -H 'Host: NAME' http://ADDRESS/`, until the answer is 200.
fn curl(line: &str) {
    let host = line.split('\'').nth(1).and_then(|field| field.strip_prefix("Host: ")).expect("a Host field");
    let url = line.split_whitespace().last().expect("a URL");
    let (address, path) = url.trim_start_matches("http://").split_once('/').expect("a path");
    let address: SocketAddr = address.parse().expect("an address");
    let begun = Instant::now();
    loop {
        let answer = get(address, host, &format!("/{path}"));
        if answer.as_ref().is_some_and(|answer| answer.status == 200) {
            return;
        }
        assert!(begun.elapsed() < TIME_MAX, "{line}: {answer:?}");
        std::thread::sleep(std::time::Duration::from_millis(20)); // another process can only be asked again
    }
}

#[test]
fn the_cluster_guide_works_as_written() {
    run("cluster.md");
}

#[test]
fn the_recovery_guide_works_as_written() {
    run("recovery.md");
}

#[test]
fn the_standalone_guide_works_as_written() {
    run("standalone.md");
}
