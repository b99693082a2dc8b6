//! Golden scripts: a configuration, requests as bytes, and what the client and the servers then saw. Everything between the two
//! sockets is the shipped code: guard, hyper, request path, pools. `RAVELIN_REWRITE=1` writes what happened into the files
//! instead of comparing; read the difference before you commit it.

#[path = "scripts/client.rs"]
mod client;
#[path = "scripts/early.rs"]
mod early;
#[path = "scripts/hostile.rs"]
mod hostile;
#[path = "scripts/proxy.rs"]
mod proxy;
#[path = "scripts/thrown.rs"]
mod thrown;
#[path = "scripts/upstream.rs"]
mod upstream;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use client::Client;
use proxy::Proxy;
use upstream::Upstream;

/// One block of a script: `--- kind argument…`, then its text up to the next one.
struct Block {
    kind: String,
    arguments: Vec<String>,
    text: String,
}

struct Case {
    title: String,
    blocks: Vec<Block>,
}

fn parse(script: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in script.split_inclusive('\n') {
        if let Some(title) = line.strip_prefix("=== ") {
            cases.push(Case { title: title.trim().to_owned(), blocks: Vec::new() });
        } else if let Some(head) = line.strip_prefix("--- ") {
            let mut words = head.split_whitespace().map(str::to_owned);
            let kind = words.next().expect("a block has a kind");
            let block = Block { kind, arguments: words.collect(), text: String::new() };
            cases.last_mut().expect("a block stands in a case").blocks.push(block);
        } else if let Some(block) = cases.last_mut().and_then(|case| case.blocks.last_mut()) {
            block.text.push_str(line);
        }
    }
    cases
}

const SERVERS: [&str; 3] = ["u1", "u2", "u3"];

/// Runs a case and writes it anew with what happened in place of what was expected.
fn run(case: &Case) -> String {
    let servers: BTreeMap<&str, Upstream> = SERVERS.map(|name| (name, start(name, case))).into();
    let fill = |text: &str| {
        servers.iter().fold(text.to_owned(), |text, (name, server)| {
            text.replace(&format!("{{{name}}}"), &server.address().to_string())
        })
    };
    let hide = |text: String| {
        servers.iter().fold(text, |text, (name, server)| {
            text.replace(&server.address().to_string(), &format!("{{{name}}}"))
        })
    };
    let part = |kind: &str| {
        case.blocks.iter().find(|block| block.kind == kind).map_or("", |block| block.text.as_str())
    };
    let proxy = Proxy::start(&fill(part("entry")), &fill(part("dynamic")));
    let mut out = format!("=== {}\n", case.title);
    let mut client = Client::new(proxy.address());
    for block in &case.blocks {
        match block.kind.as_str() {
            "answer" | "seen" => continue,
            _ => write_block(&mut out, block),
        }
        if block.kind != "request" {
            continue;
        }
        if !block.arguments.iter().any(|argument| argument == "same") {
            client = Client::new(proxy.address());
        }
        let answer = client.exchange(&fill(block.text.trim_end_matches('\n')), &block.arguments);
        let _ = write!(out, "--- answer\n{}", hide(answer));
        for name in block.arguments.iter().filter_map(|argument| argument.strip_prefix("seen-by-")) {
            servers.get(name).expect("a server of this name").await_seen();
        }
        let mut seen = String::new();
        for server in servers.values() {
            seen.push_str(&server.take_seen());
        }
        if !seen.is_empty() {
            let _ = write!(out, "--- seen\n{}", hide(seen));
        }
    }
    out
}

fn start(name: &str, case: &Case) -> Upstream {
    let mut spec = upstream::Spec::default();
    for block in case.blocks.iter().filter(|block| block.kind == "upstream") {
        let [server, rest @ ..] = block.arguments.as_slice() else { panic!("an upstream has a name") };
        if server == name {
            spec.add(rest, &block.text);
        }
    }
    Upstream::start(name, spec)
}

fn write_block(out: &mut String, block: &Block) {
    let _ = write!(out, "--- {}", block.kind);
    for argument in &block.arguments {
        let _ = write!(out, " {argument}");
    }
    let _ = write!(out, "\n{}", block.text);
}

fn script(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(name);
    let expected = std::fs::read_to_string(&path).expect("the script is there");
    let cases = parse(&expected);
    assert!(!cases.is_empty(), "{name} holds no case");
    let actual: Vec<String> = cases.iter().map(run).collect();
    if std::env::var_os("RAVELIN_REWRITE").is_some() {
        std::fs::write(&path, actual.join("\n")).expect("the script can be written");
        return;
    }
    for (case, actual) in cases.iter().zip(actual) {
        let mut wanted = format!("=== {}\n", case.title);
        for block in &case.blocks {
            write_block(&mut wanted, block);
        }
        assert_eq!(actual.trim_end(), wanted.trim_end(), "{name}: {}", case.title);
    }
}

#[test]
fn paths() {
    script("paths.txt");
}

#[test]
fn forwarding() {
    script("forwarding.txt");
}

#[test]
fn middlewares() {
    script("middlewares.txt");
}

#[test]
fn rewriting() {
    script("rewriting.txt");
}

#[test]
fn access() {
    script("access.txt");
}

#[test]
fn services() {
    script("services.txt");
}

#[test]
fn balancing() {
    script("balancing.txt");
}

#[test]
fn delivery() {
    script("delivery.txt");
}

#[test]
fn answers() {
    script("answers.txt");
}

#[test]
fn guards() {
    script("guards.txt");
}

#[test]
fn failures() {
    script("failures.txt");
}

#[test]
fn tunnels() {
    script("tunnels.txt");
}

#[test]
fn entry_points() {
    script("entry_points.txt");
}
