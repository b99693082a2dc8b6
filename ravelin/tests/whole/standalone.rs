//! In place of a single Traefik: one process, its API, its file watched, its signals, what it leaves behind.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::driver::{Running, free_address, get, send, status};

/// A standalone process on a file that names itself as provider, and a backend.
pub(crate) struct Standalone {
    pub(crate) folder: TempDir,
    pub(crate) web: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) process: Running,
    pub(crate) backend: SocketAddr,
    _whoami: Running,
}

impl Standalone {
    /// Starts with `dynamic` below the static part; `{backend}` in it becomes the backend's address.
    pub(crate) fn start(dynamic: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (web, api, backend) = (free_address(), free_address(), free_address());
        let whoami = Running::start(folder.path(), "whoami", &["whoami", "--listen", &backend.to_string()]);
        let file = folder.path().join("traefik.yml");
        let text = document(&file, web, api, dynamic).replace("{backend}", &backend.to_string());
        std::fs::write(&file, text).expect("the configuration");
        let process =
            Running::start(folder.path(), "ravelin", &[&format!("--configFile={}", file.display())]);
        let mut all = Self { folder, web, api, process, backend, _whoami: whoami };
        let api = all.api;
        all.process.until("the API answers", || status(api, "x", "/api/version") == 200);
        all
    }

    /// Starts it again on its file, after it was ended.
    pub(crate) fn begin_anew(&mut self) {
        let words = [format!("--configFile={}", self.file().display())];
        self.process = Running::start(self.folder.path(), "ravelin", &[&words[0]]);
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("traefik.yml")
    }

    /// Replaces the dynamic part, as an editor does: written beside, renamed.
    pub(crate) fn rewrite(&self, dynamic: &str) {
        let text = document(&self.file(), self.web, self.api, dynamic);
        self.rewrite_whole(&text.replace("{backend}", &self.backend.to_string()));
    }

    /// Replaces the whole file.
    pub(crate) fn rewrite_whole(&self, text: &str) {
        let beside = self.file().with_extension("new");
        std::fs::write(&beside, text).expect("the configuration");
        std::fs::rename(&beside, self.file()).expect("put in place");
    }

    /// Waits until a request has this status.
    pub(crate) fn serves(&mut self, host: &str, path: &str, wanted: u16) {
        let web = self.web;
        self.process.until(&format!("{host}{path} answers {wanted}"), || status(web, host, path) == wanted);
    }

    /// Waits until the provider's text was refused `times` times in all: only then does unchanged traffic show anything.
    pub(crate) fn refused(&mut self, times: usize) {
        let log = self.process.log();
        let told =
            || std::fs::read_to_string(&log).unwrap_or_default().matches("ConfigurationRefused").count();
        self.process.until("the file is refused", || told() >= times);
    }

    /// A JSON answer of the API.
    pub(crate) fn api(&self, path: &str) -> serde_json::Value {
        let answer = get(self.api, "x", path).expect("an answer of the API");
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.body))
    }
}

fn document(file: &Path, web: SocketAddr, api: SocketAddr, dynamic: &str) -> String {
    format!(
        "entryPoints:\n  web:\n    address: \"{web}\"\n  traefik:\n    address: \"{api}\"\n\
         providers:\n  file:\n    filename: \"{}\"\nlog:\n  level: INFO\napi:\n  insecure: true\nping: {{}}\naccessLog:\n  filePath: access.log\n{dynamic}",
        file.display()
    )
}

/// One router to the backend.
pub(crate) const HELLO: &str = "http:\n  routers:\n    hello:\n      entryPoints: [web]\n      rule: Host(`hello.test`)\n      service: hello\n  services:\n    hello:\n      loadBalancer:\n        servers:\n          - url: http://{backend}\n";

#[test]
fn a_router_serves_and_the_api_tells_of_it() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/", 200);
    let answer = get(all.web, "hello.test", "/some/path?q=1").expect("an answer");
    assert!(answer.body.contains("GET /some/path?q=1"), "{}", answer.body);
    assert_eq!(get(all.web, "other.test", "/").expect("an answer").body, "404 page not found\n");
    let raw = all.api("/api/rawdata");
    assert_eq!(raw["routers"]["hello@file"]["status"], "enabled", "{raw}");
    assert_eq!(raw["services"]["hello@file"]["usedBy"][0], "hello@file", "{raw}");
    assert_eq!(all.api("/api/overview")["http"]["routers"]["errors"], 0);
    assert!(all.api("/api/version")["Version"].is_string());
    assert_eq!(get(all.api, "x", "/ping").expect("an answer").body, "OK");
}

#[test]
fn a_changed_file_is_served_and_a_broken_one_is_not() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/", 200);
    all.rewrite(&HELLO.replace("hello.test", "changed.test"));
    all.serves("changed.test", "/", 200);
    assert_eq!(status(all.web, "hello.test", "/"), 404);
    all.rewrite("http: [this is: not what it should be");
    all.refused(1);
    assert_eq!(status(all.web, "changed.test", "/"), 200, "the old configuration stays");
    all.rewrite(&HELLO.replace("hello.test", "again.test"));
    all.serves("again.test", "/", 200);
}

#[test]
fn a_hangup_reads_a_file_anew_that_nobody_watches() {
    let mut all = Standalone::start(HELLO);
    all.process.kill();
    let unwatched = |text: &str| text.replace("    filename:", "    watch: false\n    filename:");
    let text = unwatched(&std::fs::read_to_string(all.file()).expect("the configuration"));
    all.rewrite_whole(&text);
    all.begin_anew();
    all.serves("hello.test", "/", 200);
    all.rewrite_whole(&text.replace("hello.test", "{{ upper `changed` | lower }}.test"));
    all.process.signal("HUP");
    all.serves("changed.test", "/", 200);
}

#[test]
fn a_kill_leaves_nothing_behind_and_a_new_start_binds_the_same_ports() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/", 200);
    let mut names: Vec<_> = files(all.folder.path());
    all.process.kill();
    names.sort();
    let expected = ["access.log", "ravelin.log", "traefik.yml", "whoami.log"];
    assert_eq!(names, expected, "a lone process writes nothing but its logs");
    all.process =
        Running::start(all.folder.path(), "ravelin", &[&format!("--configFile={}", all.file().display())]);
    all.serves("hello.test", "/", 200);
}

#[test]
fn a_termination_drains_and_ends_with_success() {
    for signal in ["TERM", "INT"] {
        let mut all = Standalone::start(HELLO);
        all.serves("hello.test", "/", 200);
        all.process.signal(signal);
        assert!(all.process.wait(), "{signal}: {}", all.process.printed());
        let log = std::fs::read_to_string(all.folder.path().join("access.log")).expect("the access log");
        assert!(log.contains("\"GET / HTTP/1.1\" 200"), "{log}");
        let request = b"GET / HTTP/1.1\r\nHost: hello.test\r\n\r\n";
        assert!(send(all.web, request).is_none(), "the port is closed");
    }
}

#[test]
fn the_access_log_tells_the_user_and_a_service_only_where_it_was_reached() {
    let guarded =
        HELLO.replace("      service: hello\n", "      service: hello\n      middlewares: [auth]\n");
    let mut all = Standalone::start(&format!(
        "  format: json\n{guarded}  middlewares:\n    auth:\n      basicAuth:\n        users: ['ann:{{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ=']\n"
    ));
    all.serves("hello.test", "/", 401);
    let request = b"GET / HTTP/1.1\r\nHost: hello.test\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\nConnection: close\r\n\r\n";
    assert_eq!(send(all.web, request).expect("an answer").status, 200);
    assert!(all.process.terminate(), "{}", all.process.printed());
    let log = std::fs::read_to_string(all.folder.path().join("access.log")).expect("the access log");
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let of = |status: u64| lines.iter().rfind(|line| line["DownstreamStatus"] == status).expect("a line");
    let told = |status: u64| (of(status)["ClientUsername"].clone(), of(status)["ServiceName"].clone());
    assert_eq!(told(401), (serde_json::json!(""), serde_json::Value::Null), "{log}");
    assert_eq!(told(200), (serde_json::json!("ann"), serde_json::json!("hello@file")), "{log}");
    assert!(!log.contains("secret") && !log.contains("YW5u"), "{log}");
}

#[test]
fn flags_do_what_the_file_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (web, api) = (free_address(), free_address());
    let words = [
        "standalone".to_owned(),
        format!("--entryPoints.web.address={web}"),
        format!("--entrypoints.traefik.address={api}"),
        "--api.insecure".to_owned(),
        "--ping".to_owned(),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut process = Running::start(folder.path(), "ravelin", &words);
    process.until("ping answers", || status(api, "x", "/ping") == 200);
    process.until("the entry point answers", || status(web, "x", "/") == 404);
}

/// The names of a folder's entries.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}
