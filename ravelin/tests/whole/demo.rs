//! The demo as a person runs it, and what is left of it after its end: nothing.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::driver::{Running, binary, free_address, status};

/// Starts the demo below a folder and waits until it has routed a request.
fn start(folder: &Path, words: &[&str]) -> Running {
    let log = folder.join("demo.log");
    let out = std::fs::File::create(&log).expect("a log file");
    let mut command = Command::new(binary());
    command.arg("demo").args(words).arg("--directory").arg(folder.join("cluster")).current_dir(folder);
    command.stdout(out.try_clone().expect("a second handle")).stderr(out);
    // Held open and silent, as a terminal is.
    command.stdin(Stdio::piped());
    let mut demo = Running::of(command, log.clone());
    let printed = || std::fs::read_to_string(&log).unwrap_or_default();
    demo.until("the first routed request", || printed().contains("first routed request after"));
    demo
}

/// The processes that run in or below a folder.
fn running_below(folder: &Path) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("Linux").flatten();
    let below = all.filter(|entry| {
        std::fs::read_link(entry.path().join("cwd")).is_ok_and(|place| place.starts_with(folder))
    });
    below.map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default()).collect()
}

#[test]
fn the_demo_ends_with_every_process_that_it_started_whoever_tells_it_to_and_reads_nothing_more() {
    for (signal, words) in [("INT", &[][..]), ("TERM", &[]), ("INT", &["--once"])] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let below = folder.path().join("cluster");
        let mut demo = start(folder.path(), words);
        let running = running_below(&below);
        assert!(running.len() >= 7, "controllers, proxies, backends: {running:?}");
        demo.signal(signal);
        let succeeded = demo.wait();
        assert_eq!(succeeded, words.is_empty(), "checks that were not made do not hold: {}", demo.printed());
        assert_eq!(running_below(&below), Vec::<String>::new(), "{signal}: {}", demo.printed());
    }
}

#[test]
fn the_demo_routes_a_file_of_ones_own_from_the_address_that_it_shows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let backend = free_address();
    let _whoami = Running::start(folder.path(), "whoami", &["whoami", "--listen", &backend.to_string()]);
    let file = format!(
        "http:\n  routers:\n    own: {{rule: Host(`own.test`), service: own}}\n  services:\n    own:\n      loadBalancer:\n        \
         servers: [{{url: 'http://{backend}'}}]\n"
    );
    std::fs::write(folder.path().join("own.yaml"), file).expect("a file");
    let mut demo = start(folder.path(), &["--config", "own.yaml"]);
    let log = demo.log();
    let shown = || {
        let printed = std::fs::read_to_string(&log).unwrap_or_default();
        let line = printed.lines().find(|line| line.starts_with("Try it:"))?.to_owned();
        line.rsplit_once("http://")?.1.trim_end_matches('/').parse().ok()
    };
    demo.until("it shows what to try", || shown().is_some());
    let address = shown().expect("just seen");
    demo.until("the own router serves", || status(address, "own.test", "/") == 200);
    assert_eq!(status(address, "whoami.localhost", "/"), 404, "nothing but the own file");
    assert!(demo.terminate(), "{}", demo.printed());
}

/// The process id that the status shows last for a process, and its line.
fn shown(log: &Path, name: &str) -> Option<(i32, String)> {
    let printed = std::fs::read_to_string(log).unwrap_or_default();
    let line = printed.lines().rfind(|line| line.starts_with(name) && line.contains(" pid "))?;
    let pid = line.split_once(" pid ")?.1.split_whitespace().next()?.parse().ok()?;
    Some((pid, line.to_owned()))
}

#[test]
fn the_demo_shows_who_does_what_and_goes_on_when_a_person_kills_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut demo = start(folder.path(), &[]);
    let log = demo.log();
    let names = ["controller-1", "controller-2", "controller-3", "proxy-1", "proxy-2"];
    demo.until("every line is whole", || {
        let lines: Option<Vec<String>> = names.iter().map(|name| Some(shown(&log, name)?.1)).collect();
        let lines = lines.unwrap_or_default();
        let of = |word: &str| lines.iter().filter(|line| line.contains(word)).count();
        let roles = of(" leader") == 1 && of("controller (epoch") == 1 && of(" follower") == 2;
        roles && of(" term ") == 3 && of(" req/s  serving ") == 2 && of("not attached") == 0
    });
    let (pid, _) = shown(&log, "controller-2").expect("just seen");
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
    let printed = || std::fs::read_to_string(&log).unwrap_or_default();
    demo.until("its end is told", || printed().contains("controller-2 has ended (signal: 9 (SIGKILL))"));
    demo.until("it is shown", || printed().contains("controller-2   does not run"));
    demo.type_line("start controller-2");
    demo.until("it runs again", || {
        shown(&log, "controller-2")
            .is_some_and(|(now, line)| now != pid.as_raw_nonzero().get() && line.contains(" term "))
    });
    assert!(demo.terminate(), "{}", demo.printed());
}
