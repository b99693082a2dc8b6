//! A private key in a real cluster: it ends handshakes at the proxy, and is found in no log, data directory, answer or event,
//! only in the files that a person wrote it into.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::driver::{Running, TIME_MAX, free_address, get, ravelin, text};

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

/// Whether the proxy ends a handshake for `name` with exactly this certificate.
fn presents(address: SocketAddr, name: &str, pair: &Pair) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
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
        &format!("tls:\n  certificates:\n    - certFile: {certificate}\n      keyFile: {key}\n"),
    );
    let block = |pem: &str| pem.lines().map(|line| format!("        {line}\n")).collect::<String>();
    let (certificate, key) = (block(&inline.cert.pem()), block(&inline.signing_key.serialize_pem()));
    let Places { web, api, .. } = places;
    write(
        "apply.yml",
        &format!(
            "entryPoints:\n  websecure:\n    address: {web}\n  traefik:\n    address: {api}\n\
             api:\n  insecure: true\nproviders:\n  file:\n    filename: {}\n\
             http:\n  routers:\n    all:\n      rule: PathPrefix(`/`)\n      service: noop@internal\n      tls: {{}}\n\
             tls:\n  certificates:\n    - certFile: |\n{certificate}      keyFile: |\n{key}",
            named("dynamic.yml")
        ),
    );
}

fn operator(folder: &Path, words: &[&str]) -> std::process::Output {
    ravelin(folder, &[words, &["--identity", "identities/operator.toml"]].concat())
}

#[test]
fn a_private_key_is_found_only_where_a_person_wrote_it() {
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

    // What was on its way or is asked for shows references.
    let mut shown = text(&applied.expect("it was applied"));
    let listed = operator(folder, &["get", "tls/", "--json"]);
    assert!(text(&listed).contains("{\\\"secret\\\":\\\""), "{}", text(&listed));
    shown += &text(&listed);
    for node in ["1", "2", "3"] {
        shown += &text(&operator(folder, &["events", "--json", "--node", node]));
        shown += &text(&operator(folder, &["status", "--json", "--node", node]));
    }
    for path in ["/api/rawdata", "/api/overview", "/api/http/routers"] {
        shown += &get(places.api, "x", path).expect("an answer of the API").body;
    }
    let all = [needles(&file), needles(&inline)].concat();
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
