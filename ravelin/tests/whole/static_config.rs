//! The static configuration as a process takes it: its three sources, its log, its health check, what it says of itself.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Stdio;

use crate::driver::{Running, binary, free_address, ravelin, send, status, text};

fn flags(web: SocketAddr, more: &[&str]) -> Vec<String> {
    let mut flags = vec![format!("--entryPoints.web.address={web}"), "--ping.entryPoint=web".to_owned()];
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    flags
}

/// A process with ping on its only entry point.
fn started(folder: &Path, flags: &[String], web: SocketAddr) -> Running {
    let words: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut process = Running::start(folder, "ravelin", &words);
    process.until("ping answers", || status(web, "x", "/ping") == 200);
    process
}

fn lines(file: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // The last line may be on its way.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

#[test]
fn the_log_goes_to_its_file_as_json_and_is_opened_anew_on_sigusr1() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let web = free_address();
    let file = folder.path().join("own.log");
    let dynamic = folder.path().join("dynamic.yaml");
    std::fs::write(&dynamic, "http: {}\n").expect("a file");
    let more = [
        "--log.filePath=own.log",
        "--log.format=json",
        "--log.level=info",
        "--providers.file.filename=dynamic.yaml",
    ];
    let mut process = started(folder.path(), &flags(web, &more), web);
    process.until("the log begins", || !lines(&file).is_empty());
    let moved = folder.path().join("moved.log");
    std::fs::rename(&file, &moved).expect("moved away");
    process.signal("USR1");
    process.until("the file is made anew", || file.exists());
    std::fs::write(&dynamic, "http: [broken\n").expect("a file");
    let told = |line: &serde_json::Value| line["fields"].to_string().contains("ConfigurationRefused");
    process.until("the refusal is logged there", || lines(&file).iter().any(told));
    assert!(!lines(&moved).iter().any(told), "nothing goes to the old one");
    assert_eq!(process.printed(), "", "nothing goes elsewhere");
}

#[test]
fn every_level_of_traefik_is_one_and_a_log_that_cannot_be_written_stops_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let web = free_address();
    for level in ["FATAL", "Panic", "warn"] {
        drop(started(folder.path(), &flags(web, &[&format!("--log.level={level}")]), web));
    }
    let process = started(folder.path(), &flags(web, &["--log.filePath=missing/own.log"]), web);
    assert!(process.printed().contains("missing/own.log"), "{}", process.printed());
}

#[test]
fn what_comes_later_is_said_once_at_the_start_at_the_usual_level_and_by_validate() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let web = free_address();
    let file = format!(
        "entryPoints: {{web: {{address: \"{web}\", http3: {{}}}}}}\nping: {{entryPoint: web}}\nhostResolver: {{cnameFlattening: true}}\n"
    );
    std::fs::write(folder.path().join("t.yml"), file).expect("a file");
    let process = started(folder.path(), &["--configFile=t.yml".to_owned()], web);
    let validated = ravelin(folder.path(), &["validate", "t.yml"]);
    assert_eq!(validated.status.code(), Some(3), "{}", text(&validated));
    for option in [
        "entryPoints.web.http3: HTTP/3 does not work yet",
        "hostResolver: flattening CNAMEs does not work yet",
    ] {
        assert_eq!(process.printed().matches(option).count(), 1, "{option}:\n{}", process.printed());
        let (option, _) = option.split_once(':').expect("an option and why");
        assert!(text(&validated).contains(option), "{option}:\n{}", text(&validated));
    }
}

#[test]
fn the_health_check_asks_ping_and_its_status_is_the_answer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let web = free_address();
    let grace = "--entryPoints.web.transport.lifeCycle.requestAcceptGraceTimeout=60";
    let flags = flags(web, &[grace]);
    let mut words = vec!["healthcheck"];
    words.extend(flags.iter().map(String::as_str));
    let nobody = ravelin(folder.path(), &words);
    assert_eq!(nobody.status.code(), Some(1), "{}", text(&nobody));
    assert!(text(&nobody).contains(&format!("nothing answers on {web}")), "{}", text(&nobody));
    let mut process = started(folder.path(), &flags, web);
    let good = ravelin(folder.path(), &words);
    assert_eq!((good.status.code(), text(&good)), (Some(0), format!("OK: http://{web}/ping\n")));
    let off = ravelin(folder.path(), &["healthcheck", &flags[0]]);
    assert_eq!(off.status.code(), Some(1));
    assert!(text(&off).contains("please enable `ping`"), "{}", text(&off));
    // Told to stop, it still takes connections for the grace time, and says that it will be gone.
    process.signal("TERM");
    process.until("ping says so", || status(web, "x", "/ping") == 503);
    let bad = ravelin(folder.path(), &words);
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad).contains("Bad healthcheck status: HTTP/1.1 503"), "{}", text(&bad));
}

#[test]
fn a_file_beside_the_process_wins_over_flags_and_flags_over_the_environment() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (by_file, by_flag, by_variable) = (free_address(), free_address(), free_address());
    let start = |words: &[&str]| {
        let out = std::fs::File::create(folder.path().join("out.log")).expect("a file");
        let mut command = std::process::Command::new(binary());
        command.args(words).current_dir(folder.path()).env_clear().stdin(Stdio::null());
        command.stdout(out.try_clone().expect("a handle")).stderr(out);
        command.env("TRAEFIK_ENTRYPOINTS_WEB_ADDRESS", by_variable.to_string());
        command.env("TRAEFIK_PING_ENTRYPOINT", "web");
        // A variable that is no text must not matter.
        command.env("BYTES", std::ffi::OsString::from_vec(vec![0xff, 0xfe]));
        Running::of(command, folder.path().join("out.log"))
    };
    let answers = |mut process: Running, what: &str, at: SocketAddr| {
        process.until(what, || status(at, "x", "/ping") == 200);
        process
    };
    drop(answers(start(&[]), "the environment counts", by_variable));
    let flag = format!("--entryPoints.web.address={by_flag}");
    drop(answers(start(&[&flag, "--ping.entryPoint=web"]), "the flags count", by_flag));
    let file = format!("[entryPoints.web]\naddress = \"{by_file}\"\n[ping]\nentryPoint = \"web\"\n");
    std::fs::write(folder.path().join("traefik.toml"), file).expect("a file");
    let _running = answers(start(&[&flag, "--ping.entryPoint=web"]), "the file counts", by_file);
}

/// Entry points, each with options of its own, and a router to a backend on all of them.
const OPTIONS: &str = r#"
entryPoints:
  plain: {address: "{plain}"}
  trusting:
    address: "{trusting}"
    forwardedHeaders: {insecure: true}
    http: {underscoreHeadersStrategy: keep, encodeQuerySemicolons: true, middlewares: [mark@file]}
  strict:
    address: "{strict}"
    transport: {keepAliveMaxRequests: 1}
    http: {maxHeaderBytes: 200, underscoreHeadersStrategy: reject, encodedCharacters: {allowEncodedSlash: false}}
  quiet: {address: "{quiet}", observability: {accessLogs: false}}
  away: {address: "{away}", http: {redirections: {entryPoint: {to: plain, scheme: http, permanent: false}}}}
  secure: {address: "{secure}", http: {tls: {}}}
ping: {entryPoint: plain}
global: {notAppendXForwardedFor: true}
accessLog: {filePath: access.log, format: json}
providers: {file: {filename: t.yml}}
http:
  routers: {all: {rule: "Host(`a.test`)", service: s}}
  middlewares: {mark: {headers: {customResponseHeaders: {X-Mark: "1"}}}}
  services: {s: {loadBalancer: {servers: [{url: "http://{backend}"}]}}}
"#;

#[test]
fn options_of_entry_points_hold_from_the_file_to_the_socket() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let names = ["plain", "trusting", "strict", "quiet", "away", "secure", "backend"];
    let addresses = names.map(|name| (name, free_address()));
    let at = |name: &str| addresses.iter().find(|(known, _)| *known == name).expect("a name").1;
    let text = addresses.iter().fold(OPTIONS.to_owned(), |text, (name, address)| {
        text.replace(&format!("{{{name}}}"), &address.to_string())
    });
    std::fs::write(folder.path().join("t.yml"), text).expect("a file");
    let backend = at("backend").to_string();
    let _whoami = Running::start(folder.path(), "whoami", &["whoami", "--listen", &backend]);
    let mut process = started(folder.path(), &["--configFile=t.yml".to_owned()], at("plain"));
    process.until("the route is served", || status(at("plain"), "a.test", "/") == 200);
    let ask = |name: &str, target: &str, fields: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n");
        let answer = send(at(name), request.as_bytes()).unwrap_or_else(|| panic!("{name} {target}"));
        (answer.status, answer.head.to_ascii_lowercase(), answer.body)
    };
    let forwarded = "X-Forwarded-For: 6.6.6.6\r\nX_Under: 1\r\n";

    let (_, head, seen) = ask("plain", "/a?b;c", forwarded);
    assert!(!seen.contains("x-forwarded-for") && !seen.contains("x_under"), "{seen}");
    assert!(seen.contains("/a?b&c") && !head.contains("x-mark"), "{head}{seen}");
    let (_, head, seen) = ask("trusting", "/a?b;c", forwarded);
    assert!(seen.contains("x-forwarded-for: 6.6.6.6\n") && seen.contains("x_under: 1"), "{seen}");
    assert!(seen.contains("/a?b%3Bc") && head.contains("x-mark: 1"), "{head}{seen}");

    assert_eq!(ask("strict", "/", "").0, 200);
    assert_eq!(ask("strict", "/", "X_Under: 1\r\n").0, 400);
    assert_eq!(ask("strict", "/a%2Fb", "").0, 400);
    assert_eq!(ask("strict", "/", &format!("X: {}\r\n", "x".repeat(5000))).0, 431);
    let kept = send(at("strict"), b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("it ends by itself");
    assert!(kept.head.to_ascii_lowercase().contains("connection: close"), "{}", kept.head);

    let (status, head, _) = ask("away", "/x?y", "");
    assert_eq!(status, 302, "{head}");
    assert!(head.contains(&format!("location: http://a.test:{}/x?y", at("plain").port())), "{head}");
    assert_eq!(ask("secure", "/", "").0, 404, "its routers are for TLS");
    assert_eq!(ask("quiet", "/quiet", "").0, 200);
    assert!(process.terminate(), "{}", process.printed());
    let log = lines(&folder.path().join("access.log"));
    let logged = |path: &str| log.iter().any(|line| line["RequestPath"] == path);
    assert!(logged("/a?b;c") || logged("/a?b&c"), "{log:?}");
    assert!(!logged("/quiet"), "{log:?}");
}

#[test]
fn a_proxy_header_of_a_trusted_peer_names_the_client_in_the_access_log() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let web = free_address();
    let more = [
        "--entryPoints.web.proxyProtocol.trustedIPs=127.0.0.0/8",
        "--accessLog.filePath=access.log",
        "--accessLog.format=json",
    ];
    let mut process = started(folder.path(), &flags(web, &more), web);
    let request = "PROXY TCP4 192.0.2.7 192.0.2.1 1111 80\r\nGET /named HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    assert_eq!(send(web, request.as_bytes()).map(|answer| answer.status), Some(404));
    assert!(process.terminate(), "{}", process.printed());
    let log = lines(&folder.path().join("access.log"));
    let line = log.iter().find(|line| line["RequestPath"] == "/named").expect("its line");
    assert_eq!(
        (&line["ClientAddr"], &line["ClientHost"]),
        (&"192.0.2.7:1111".into(), &"192.0.2.7".into()),
        "{line}"
    );
}
