//! What befalls a control node's disk, or knocks under a foreign name: the error is clear, nothing is lost, and the proxy
//! serves on. Each case on real processes and files.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::driver::{Running, binary, free_address, ravelin, status, text};

const CONTROLLER: [&str; 5] = ["controller", "--identity", "i/controller-1.toml", "--data", "data"];
const OPERATOR: [&str; 4] = ["--identity", "i/operator.toml", "--timeout", "5"];

/// One controller and one proxy with one router, each a process of its own. A second cluster's identities lie in `other`.
struct Small {
    folder: TempDir,
    web: SocketAddr,
    controller: Running,
    _others: [Running; 2],
}

impl Small {
    /// Starts with the controller given as a command line.
    fn start(program: &Path, controller: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let here = folder.path();
        let (web, backend, control) = (free_address(), free_address(), free_address());
        for out in ["i", "other"] {
            let nodes = format!("controller-1={control},proxy-1");
            let output = ravelin(here, &["init", "--out", out, "--nodes", &nodes]);
            assert!(output.status.success(), "{}", text(&output));
        }
        fs::write(here.join("cluster.yaml"), document(web, backend)).expect("the configuration");
        let controller = Running::start_program(program, here, "controller", controller);
        let proxy =
            Running::start(here, "proxy", &["proxy", "--identity", "i/proxy-1.toml", "--data", "proxy-data"]);
        let whoami = Running::start(here, "whoami", &["whoami", "--listen", &backend.to_string()]);
        let mut all = Self { folder, web, controller, _others: [proxy, whoami] };
        all.until_applied("cluster.yaml");
        all.controller.until("the router serves", || status(web, "hello.test", "/") == 200);
        all
    }

    fn here(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until the controller took a file.
    fn until_applied(&mut self, file: &str) {
        let here = self.folder.path().to_owned();
        let words = [&["apply", file], &OPERATOR[..]].concat();
        self.controller.until("the change is taken", || ravelin(&here, &words).status.success());
    }

    /// Waits until the controller leads again; what it took before must be there, with nobody's help.
    fn until_held(&mut self) {
        let here = self.folder.path().to_owned();
        let words = [&["get", "http/routers/"], &OPERATOR[..]].concat();
        let mut last = String::new();
        self.controller.until("the controller answers", || {
            let output = ravelin(&here, &words);
            last = text(&output);
            output.status.success()
        });
        assert!(last.contains("hello@cluster"), "{last}");
    }

    fn routers(&self) -> String {
        text(&ravelin(self.here(), &[&["get", "http/routers/"], &OPERATOR[..]].concat()))
    }

    fn still_serves(&self, when: &str) {
        assert_eq!(status(self.web, "hello.test", "/"), 200, "{when}");
    }
}

fn document(web: SocketAddr, backend: SocketAddr) -> String {
    format!(
        "entryPoints: {{web: {{address: '{web}'}}}}\nhttp:\n  routers:\n    hello: {{rule: Host(`hello.test`), service: \
         hello}}\n  services:\n    hello: {{loadBalancer: {{servers: [{{url: 'http://{backend}'}}]}}}}\n"
    )
}

/// Every file below a folder with its content.
fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push((path.clone(), fs::read(&path).expect("a file")));
            }
        }
    }
    found.sort();
    found
}

/// What is done to a data directory.
type Damage<'a> = &'a dyn Fn(&Path);

/// The first segment of the log.
fn segment(data: &Path) -> PathBuf {
    let entries = fs::read_dir(data.join("wal")).expect("the log");
    entries.map(|entry| entry.expect("an entry").path()).min().expect("a segment")
}

#[test]
fn a_damaged_newer_or_foreign_data_directory_is_refused_untouched_while_traffic_goes_on() {
    let mut all = Small::start(binary(), &CONTROLLER);
    all.controller.kill();
    let data = all.here().join("data");
    let whole = content(&data);
    let flip = |data: &Path| {
        let path = segment(data);
        let mut bytes = fs::read(&path).expect("the segment");
        bytes[272] ^= 8;
        fs::write(&path, bytes).expect("written back");
    };
    let truncate = |data: &Path| {
        let file = fs::File::options().write(true).open(segment(data)).expect("the segment");
        file.set_len(300).expect("shortened");
    };
    let newer =
        |data: &Path| fs::write(data.join("VERSION"), "format = 99\n").expect("the header is written");
    let nothing = |_: &Path| {};
    let cases: [(&str, Damage<'_>, &str, &str); 4] = [
        ("a flipped byte", &flip, "i", "is damaged at byte"),
        ("a truncated log", &truncate, "i", "is damaged at byte"),
        ("a newer format", &newer, "i", "this version knows only"),
        ("another cluster's directory", &nothing, "other", "belongs to cluster"),
    ];
    for (case, damage, identity, said) in cases {
        damage(&data);
        let before = content(&data);
        let file = format!("{identity}/controller-1.toml");
        let output = ravelin(all.here(), &["controller", "--identity", &file, "--data", "data"]);
        assert!(!output.status.success(), "{case}");
        assert!(text(&output).contains(said), "{case}: {}", text(&output));
        assert!(content(&data) == before, "{case}: the directory was touched");
        all.still_serves(case);
        for (path, bytes) in &whole {
            fs::write(path, bytes).expect("the directory as it was");
        }
    }
    all.controller = Running::start(all.here(), "again", &CONTROLLER);
    all.until_held();
    all.until_applied("cluster.yaml");
}

#[test]
fn a_foreign_certificate_is_refused_while_the_cluster_and_traffic_go_on() {
    let mut all = Small::start(binary(), &CONTROLLER);
    let before = all.routers();
    let words = ["apply", "cluster.yaml", "--identity", "other/operator.toml", "--timeout", "3"];
    let output = ravelin(all.here(), &words);
    assert!(!output.status.success());
    assert!(text(&output).contains("cluster"), "{}", text(&output));
    let words = ["proxy", "--identity", "other/proxy-1.toml", "--data", "foreign-data"];
    let mut foreign = Running::start(all.here(), "foreign", &words);
    let log = foreign.log();
    foreign.until("the foreign proxy is told why", || {
        let printed = fs::read_to_string(&log).unwrap_or_default();
        printed.lines().any(|line| line.contains("cannot feed this proxy") && line.contains("cluster"))
    });
    all.still_serves("strangers knock");
    assert_eq!(all.routers(), before);
    all.until_applied("cluster.yaml");
}

/// Needs a file system of its own: where mounting is not allowed, the simulated disk's test has to do.
#[test]
fn a_full_disk_stops_the_node_clearly_and_loses_nothing() {
    let mount = ["-m", "-p", "--fork", "--kill-child", "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"];
    let can = Command::new("unshare").args(mount).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        return eprintln!(
            "skipped: no mounting here; `a_full_disk_stops_the_log_clearly_and_loses_nothing` stands for it"
        );
    }
    let script = format!(
        "mkdir -p data && mount -t tmpfs -o size=7m none data && {} {}; echo \"ended with $?\"; \
         mount -o remount,size=128m data && exec {} {}",
        binary().display(),
        CONTROLLER.join(" "),
        binary().display(),
        CONTROLLER.join(" ")
    );
    let mut all =
        Small::start(Path::new("unshare"), &["-m", "-p", "--fork", "--kill-child", "sh", "-c", &script]);
    // A change that the first segment has no room for, and the disk none for a second one.
    let long = "x".repeat(8_000);
    let name = |change: usize, number: usize| format!("r{change}-{number}");
    let router = |name: String| {
        format!("    {name}: {{rule: 'Host(`{name}.test`) && Header(`X`, `{long}`)', service: hello}}\n")
    };
    let log = all.controller.log();
    let ended = || fs::read_to_string(&log).unwrap_or_default().contains("ended with");
    let mut accepted = Vec::new();
    for change in 0..8 {
        let more: String = (0..100).map(|number| router(name(change, number))).collect();
        let file = format!("more-{change}.yaml");
        fs::write(all.here().join(&file), format!("http:\n  routers:\n{more}")).expect("a file");
        let words = ["apply", &file, "--identity", "i/operator.toml", "--timeout", "2"];
        if ravelin(all.here(), &words).status.success() {
            accepted.push(name(change, 99));
        }
        if ended() {
            break;
        }
    }
    all.controller.until("the node has stopped", ended);
    let printed = all.controller.printed();
    assert!(printed.contains("No space left on device"), "{printed}");
    all.still_serves("the disk is full");
    all.until_held();
    let routers = all.routers();
    let lost: Vec<_> = accepted.iter().filter(|name| !routers.contains(*name)).collect();
    assert!(lost.is_empty(), "accepted, and not there: {lost:?}");
    all.until_applied("cluster.yaml");
}
