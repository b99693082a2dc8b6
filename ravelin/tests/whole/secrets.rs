//! Secrets in a real cluster, where they belong and where people slip: a private key ends handshakes at the proxy, and none is found
//! in any log, data directory, answer or event, only in the files that a person wrote it into.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::driver::{Running, TIME_MAX, free_address, get, ravelin, text};

/// Passwords at places where people slip, for the file provider: under a misspelled option, in a header's value, where a group is
/// due, in a server's address (one that works and one that does not), as a name, and as a field where a name is due.
const SLIPS: [&str; 7] =
    ["Zq1misspelled", "Zq2header", "Zq3scalar", "Zq4address", "Zq5scheme", "Zq6name", "Zq7field"];
/// What a person tries to apply, and is refused.
const REFUSED: [&str; 3] = ["Zr1misspelled", "Zr2scalar", "Zr3name"];

/// Middlewares and services with the slips, each with a router of its own.
fn slips() -> String {
    let [misspelled, header, scalar, address, scheme, name, field] = SLIPS;
    let router = |name: &str, more: &str| {
        format!("    {name}: {{rule: Host(`{name}.test`), service: address, tls: {{}}, {more}}}\n")
    };
    let middlewares = ["misspelled", "header", "scalar", "name", "field"];
    let routers: String =
        middlewares.iter().map(|name| router(name, &format!("middlewares: [{name}]"))).collect();
    format!(
        "http:\n  routers:\n{routers}    scheme: {{rule: Host(`scheme.test`), service: scheme, tls: {{}}}}\n  \
         middlewares:\n    misspelled: {{basicAuth: {{usres: [\"admin:{misspelled}\"]}}}}\n    \
         header: {{headers: {{customRequestHeaders: {{Authorization: \"Bearer {header}\"}}}}}}\n    \
         scalar: {{basicAuth: \"admin:{scalar}\"}}\n    \
         name: {{basicAuth: {{users: {{\"admin:{name}\": \"\"}}}}}}\n    \
         field: {{headers: {{customRequestHeaders: {{\"Authorization: Bearer {field}\": \"\"}}}}}}\n  \
         services:\n    address: {{loadBalancer: {{servers: [{{url: \"http://joe:{address}@127.0.0.1:1\"}}]}}}}\n    \
         scheme: {{loadBalancer: {{servers: [{{url: \"ftp://joe:{scheme}@127.0.0.1:1\"}}]}}}}\n"
    )
}

fn marks(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// A self-signed certificate with its key.
type Pair = rcgen::CertifiedKey<rcgen::KeyPair>;

fn pair(name: &str) -> Pair {
    rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("random bytes")
}

/// What must show nowhere: each line of the key's text, and the key itself.
fn needles(pair: &Pair) -> Vec<Vec<u8>> {
    let pem = pair.signing_key.serialize_pem();
    let lines = pem.lines().filter(|line| !line.starts_with("-----") && line.len() > 20);
    let mut needles: Vec<Vec<u8>> = lines.map(|line| line.as_bytes().to_vec()).collect();
    assert!(!needles.is_empty());
    needles.push(pair.signing_key.serialize_der());
    needles
}

/// A client that trusts exactly this certificate.
fn client(name: &str, pair: &Pair) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a client")
}

/// What the proxy answers for a host, whole.
fn answer(address: SocketAddr, pair: &Pair, host: &str) -> String {
    let socket = TcpStream::connect(address).expect("the entry point is open");
    socket.set_read_timeout(Some(TIME_MAX)).expect("a valid time");
    let mut stream = StreamOwned::new(client("file.test", pair), socket);
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and its end");
    answer
}

/// Whether the proxy ends a handshake for `name` with exactly this certificate.
fn presents(address: SocketAddr, name: &str, pair: &Pair) -> bool {
    let mut client = client(name, pair);
    let Ok(mut socket) = TcpStream::connect(address) else { return false };
    socket.set_read_timeout(Some(TIME_MAX)).expect("a valid time");
    client.complete_io(&mut socket).is_ok()
}

/// The files below a folder that hold any of the needles.
fn holders(folder: &Path, needles: &[Vec<u8>]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("listed").path();
        if path.is_dir() {
            found.extend(holders(&path, needles));
        } else if holds(&std::fs::read(&path).expect("readable"), needles) {
            found.push(path.file_name().expect("a file").to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

fn holds(bytes: &[u8], needles: &[Vec<u8>]) -> bool {
    needles.iter().any(|needle| bytes.windows(needle.len()).any(|window| window == needle))
}

/// Where everything listens.
struct Places {
    web: SocketAddr,
    api: SocketAddr,
    controllers: [SocketAddr; 3],
}

fn start_controllers(folder: &Path) -> Vec<Running> {
    let start = |node: u64| {
        let identity = format!("identities/controller-{node}.toml");
        let data = format!("data/controller-{node}");
        let words = ["controller", "--identity", &identity, "--data", &data, "--log-level", "debug"];
        Running::start(folder, &format!("controller-{node}"), &words)
    };
    (1..=3).map(start).collect()
}

fn start_proxy(folder: &Path) -> Running {
    let words = ["proxy", "--identity", "identities/proxy-1.toml", "--data", "data/proxy-1"];
    Running::start(folder, "proxy-1", &[&words[..], &["--workers", "1", "--log-level", "debug"]].concat())
}

/// The files that a person writes: one for the file provider that names two files, one with the key in its text.
fn write_files(folder: &Path, places: &Places, file: &Pair, inline: &Pair) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("writable");
    write("file.crt", &file.cert.pem());
    write("file.key", &file.signing_key.serialize_pem());
    let named = |name: &str| folder.join(name).display().to_string();
    let (certificate, key) = (named("file.crt"), named("file.key"));
    write(
        "dynamic.yml",
        &format!("tls:\n  certificates:\n    - certFile: {certificate}\n      keyFile: {key}\n{}", slips()),
    );
    let [misspelled, scalar, name] = REFUSED;
    write(
        "refused.yml",
        &format!(
            "http:\n  middlewares:\n    a: {{digestAuth: {{usres: [\"admin:{misspelled}\"]}}}}\n    \
             b: {{digestAuth: \"admin:{scalar}\"}}\n    c: {{basicAuth: {{\"admin:{name}\": true}}}}\n"
        ),
    );
    let block = |pem: &str| pem.lines().map(|line| format!("        {line}\n")).collect::<String>();
    let (certificate, key) = (block(&inline.cert.pem()), block(&inline.signing_key.serialize_pem()));
    let Places { web, api, .. } = places;
    write(
        "apply.yml",
        &format!(
            "entryPoints:\n  websecure:\n    address: {web}\n  traefik:\n    address: {api}\n\
             api:\n  insecure: true\naccessLog:\n  format: json\nproviders:\n  file:\n    filename: {}\n\
             http:\n  routers:\n    all:\n      rule: PathPrefix(`/`)\n      service: noop@internal\n      tls: {{}}\n\
             tls:\n  certificates:\n    - certFile: |\n{certificate}      keyFile: |\n{key}",
            named("dynamic.yml")
        ),
    );
}

fn operator(folder: &Path, words: &[&str]) -> std::process::Output {
    ravelin(folder, &[words, &["--identity", "identities/operator.toml"]].concat())
}

/// What is asked for, refused or answered: references, places and lengths in place of secrets.
fn everything_shown(folder: &Path, places: &Places, file: &Pair) -> String {
    let listed = operator(folder, &["get", "tls/", "--json"]);
    assert!(text(&listed).contains("{\\\"secret\\\":\\\""), "{}", text(&listed));
    let mut shown = text(&listed);
    for node in ["1", "2", "3"] {
        shown += &text(&operator(folder, &["events", "--json", "--node", node]));
        shown += &text(&operator(folder, &["status", "--json", "--node", node]));
    }
    shown += &text(&operator(folder, &["get", "http/", "--json"]));
    let refused = operator(folder, &["apply", "refused.yml"]);
    assert!(!refused.status.success() && text(&refused).contains("usres"), "{}", text(&refused));
    shown += &text(&refused);
    for file in ["dynamic.yml", "refused.yml"] {
        shown += &text(&ravelin(folder, &["validate", file]));
    }
    let paths = ["rawdata", "overview", "http/routers", "http/middlewares", "http/services"];
    for path in paths {
        shown += &get(places.api, "x", &format!("/api/{path}")).expect("an answer of the API").body;
    }
    assert!(shown.contains("usres"), "what is wrong is named: {shown}");
    // Each router in error answers in its place; the others go on to a server that is not there.
    for (host, status) in [
        ("misspelled", 503),
        ("scalar", 503),
        ("name", 503),
        ("field", 503),
        ("scheme", 503),
        ("header", 502),
    ] {
        let answer = answer(places.web, file, &format!("{host}.test"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
        shown += &answer;
    }
    shown
}

#[test]
fn a_secret_is_found_only_where_a_person_wrote_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let controllers = [free_address(), free_address(), free_address()];
    let places = Places { web: free_address(), api: free_address(), controllers };
    let [one, two, three] = places.controllers;
    let nodes = format!("controller-1={one},controller-2={two},controller-3={three},proxy-1");
    let made = ravelin(folder, &["init", "--out", "identities", "--nodes", &nodes]);
    assert!(made.status.success(), "{}", text(&made));
    let (file, inline) = (pair("file.test"), pair("inline.test"));
    write_files(folder, &places, &file, &inline);
    let mut controllers = start_controllers(folder);
    let mut proxy = start_proxy(folder);
    let mut applied = None;
    controllers[0].until("the file is applied", || {
        let output = operator(folder, &["apply", "apply.yml"]);
        let done = output.status.success();
        applied = Some(output);
        done
    });
    proxy.until("both certificates are served", || {
        presents(places.web, "file.test", &file) && presents(places.web, "inline.test", &inline)
    });

    let shown = text(&applied.expect("it was applied")) + &everything_shown(folder, &places, &file);
    let all = [needles(&file), needles(&inline), marks(&SLIPS), marks(&REFUSED)].concat();
    assert!(!holds(shown.as_bytes(), &all), "{shown}");

    // Alone, and after a restart: the keys lie on the proxy's disk, and cannot be read there.
    controllers.iter_mut().for_each(Running::kill);
    assert!(proxy.terminate(), "{}", proxy.printed());
    proxy = start_proxy(folder);
    proxy.until("the restarted proxy serves both", || {
        presents(places.web, "file.test", &file) && presents(places.web, "inline.test", &inline)
    });
    assert_eq!(holders(folder, &needles(&file)), ["file.key"]);
    assert_eq!(holders(folder, &needles(&inline)), ["apply.yml"]);
    assert_eq!(holders(folder, &marks(&SLIPS)), ["dynamic.yml"]);
    assert_eq!(holders(folder, &marks(&REFUSED)), ["refused.yml"]);
    let public = file.cert.pem().lines().nth(1).map(|line| line.as_bytes().to_vec()).expect("a body");
    assert!(holders(folder, &[public]).len() > 3, "what is public is found this way, in every log");

    // The controllers start again on what they have, and read the same file: nothing changes.
    let before = proxy.printed().matches("table published").count();
    let mut controllers = start_controllers(folder);
    controllers[0].until("they answer", || {
        let output = operator(folder, &["get", "tls/"]);
        output.status.success()
    });
    proxy.until("the proxy is attached", || proxy_is_attached(folder));
    assert_eq!(proxy.printed().matches("table published").count(), before, "{}", proxy.printed());
}

/// Whether a controller names the proxy and what it serves.
fn proxy_is_attached(folder: &Path) -> bool {
    let status = operator(folder, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
    let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
    let proxies = nodes.iter().flat_map(|node| node["proxies"].as_array().cloned().unwrap_or_default());
    let ran = nodes.iter().any(|node| node["providers"].as_array().is_some_and(|all| !all.is_empty()));
    ran && proxies.into_iter().any(|proxy| !proxy["serving"].is_null())
}
