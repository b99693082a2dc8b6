//! Connections that outlive a change of TLS options: what was asked of a client in its handshake must be what is asked now.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version};
use serde_json::Value;

use super::*;

/// A self-signed certificate, which is its own authority.
fn certificate(name: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("random bytes")
}

/// A proxy, its control node, and a client that has an identity of its own.
struct Rig {
    proxy: ProxyHandle,
    control: Control,
    _endpoint: MemoryTransport,
    map: ConfigMap,
    revision: u64,
    server: rcgen::CertifiedKey<rcgen::KeyPair>,
    client: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Rig {
    /// Serves `a.test` with the options `own@file`, and `b.test` with the default ones.
    async fn new(own: &Value) -> Self {
        let hub = MemoryHub::new();
        let endpoint = hub.endpoint("c1", ClusterId(CLUSTER), PeerRole::Controller, 1).expect("a free name");
        let proxy = start(&hub, "p1", None);
        let control = Control::accept(&endpoint).await;
        let server = rcgen::generate_simple_self_signed(["a.test", "b.test"].map(str::to_owned))
            .expect("random bytes");
        let mut map = configuration(&upstream("one"));
        let pair = json!({"certFile": server.cert.pem(), "keyFile": server.signing_key.serialize_pem()});
        put(&mut map, "tls/certificates/c@file", &pair);
        let router =
            |host: &str, tls: Value| json!({"rule": format!("Host(`{host}`)"), "service": "s", "tls": tls});
        put(&mut map, "http/routers/r@file", &router("a.test", json!({"options": "own"})));
        put(&mut map, "http/routers/b@file", &router("b.test", json!({})));
        let client = certificate("client");
        let mut rig = Self { proxy, control, _endpoint: endpoint, map, revision: 0, server, client };
        rig.change("tls/options/own@file", own).await;
        rig
    }

    /// Serves a changed configuration on every worker.
    async fn change(&mut self, key: &str, value: &Value) {
        put(&mut self.map, key, value);
        self.revision += 1;
        let stages = self.control.stages(self.revision, &self.map).await;
        assert_eq!(stages.last(), Some(&Stage::Serving), "{stages:?}");
    }

    /// Options that verify clients by the client's own certificate.
    fn own_authority(&self) -> Value {
        json!({"clientAuth": {"caFiles": [self.client.cert.pem()], "clientAuthType": "RequireAndVerifyClientCert"}})
    }

    fn config(&self, versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.server.cert.der().clone()).expect("a certificate");
        let chain: Vec<CertificateDer<'static>> = vec![self.client.cert.der().clone()];
        let key: PrivateKeyDer<'static> =
            PrivatePkcs8KeyDer::from(self.client.signing_key.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions that exist")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .expect("a key of its own");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    async fn connect(&self, versions: &[&'static SupportedProtocolVersion]) -> KeptAlive {
        let name = ServerName::try_from("a.test").expect("a name");
        let tls = ClientConnection::new(self.config(versions, &[]), name).expect("a client");
        let socket = TcpStream::connect(web(&self.proxy).await).expect("the entry point is open");
        socket.set_read_timeout(Some(PATIENCE)).expect("a valid time");
        KeptAlive(StreamOwned::new(tls, socket))
    }
}

/// A client's one connection over HTTP/1.1.
struct KeptAlive(StreamOwned<ClientConnection, TcpStream>);

impl KeptAlive {
    /// A request and its answer: the status, and whether the answer says that it is the last.
    async fn ask(self, host: &str) -> (u16, bool, Self) {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let exchange = move || {
            let mut stream = self.0;
            stream.write_all(request.as_bytes()).expect("it takes a request");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("an answer's head");
                head.extend_from_slice(&byte);
            }
            let head = String::from_utf8(head).expect("ASCII").to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            let mut body = vec![0; length.parse().expect("a number")];
            stream.read_exact(&mut body).expect("an answer's body");
            let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
            (status, head.contains("connection: close"), Self(stream))
        };
        tokio::task::spawn_blocking(exchange).await.expect("an answer")
    }

    /// The server closes, and has nothing more to say.
    async fn ends(self) {
        let end = move || {
            let mut stream = self.0;
            let mut rest = Vec::new();
            assert_eq!(stream.read_to_end(&mut rest).expect("closed in order"), 0);
        };
        tokio::task::spawn_blocking(end).await.expect("it ends");
    }
}

/// What a client over HTTP/1.1 gets on a connection from before a change.
async fn across(
    rig: &mut Rig,
    versions: &[&'static SupportedProtocolVersion],
    key: &str,
    after: &Value,
) -> (u16, bool, KeptAlive) {
    let client = rig.connect(versions).await;
    let (status, last, client) = client.ask("a.test").await;
    assert_eq!((status, last), (200, false), "before the change");
    rig.change(key, after).await;
    client.ask("a.test").await
}

const OWN: &str = "tls/options/own@file";

#[tokio::test]
async fn a_kept_connection_takes_no_request_under_options_that_ask_for_something_else() {
    let any = rustls::ALL_VERSIONS;
    let none = json!({});
    let foreign = json!({"clientAuth": {"caFiles": [certificate("other").cert.pem()]}});
    let newest = json!({"minVersion": "VersionTLS13"});
    let suites =
        json!({"minVersion": "VersionTLS12", "cipherSuites": ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]});
    for case in ["clients are asked", "another authority", "a newer version", "other suites", "another set"] {
        let mut rig = Rig::new(&none).await;
        let own_authority = rig.own_authority();
        if case == "another authority" {
            rig.change(OWN, &own_authority).await;
        }
        let referred = json!({"rule": "Host(`a.test`)", "service": "s", "tls": {"options": "strict"}});
        let (versions, key, after) = match case {
            "clients are asked" => (any, OWN, &own_authority),
            "another authority" => (any, OWN, &foreign),
            "a newer version" => (&[&version::TLS12][..], OWN, &newest),
            "other suites" => (&[&version::TLS12][..], OWN, &suites),
            _ => {
                rig.change("tls/options/strict@file", &own_authority).await;
                (any, "http/routers/r@file", &referred)
            }
        };
        let (status, last, client) = across(&mut rig, versions, key, after).await;
        assert_eq!((status, last), (421, true), "{case}");
        client.ends().await;
        if case == "clients are asked" {
            let (status, ..) = rig.connect(any).await.ask("a.test").await;
            assert_eq!(status, 200, "a new connection was asked for what is asked now");
        }
        rig.proxy.shutdown().await;
    }
}

#[tokio::test]
async fn a_kept_connection_outlives_changes_that_ask_for_nothing_else() {
    let mut rig = Rig::new(&json!({})).await;
    let own_authority = rig.own_authority();
    rig.change(OWN, &own_authority).await;
    let (mut status, mut last, mut client) = rig.connect(rustls::ALL_VERSIONS).await.ask("a.test").await;
    assert_eq!((status, last), (200, false));
    // The same authority among comments and twice, the version that holds anyway, tickets: nothing else is asked of a client.
    let pem = format!("# ours\n{0}{0}", rig.client.cert.pem());
    let alike = json!({
        "clientAuth": {"caFiles": [pem]}, "minVersion": "VersionTLS12", "disableSessionTickets": true,
    });
    let renamed = json!({"rule": "Host(`a.test`)", "service": "s", "tls": {"options": "renamed"}});
    rig.change("tls/options/renamed@file", &own_authority).await;
    for (key, value) in [(OWN, &alike), ("http/routers/r@file", &renamed)] {
        rig.change(key, value).await;
        (status, last, client) = client.ask("a.test").await;
        assert_eq!((status, last), (200, false), "{key}");
    }
    // Another name's options are another matter, of that request alone.
    (status, last, client) = client.ask("b.test").await;
    assert_eq!((status, last), (421, false));
    (status, last, client) = client.ask("a.test").await;
    assert_eq!((status, last), (200, false));
    // As in Traefik they are another matter by their name alone, whatever they say.
    for (options, wanted) in [("own", 421), ("renamed", 200)] {
        rig.change(OWN, &own_authority).await;
        let router = json!({"rule": "Host(`b.test`)", "service": "s", "tls": {"options": options}});
        rig.change("http/routers/b@file", &router).await;
        (status, last, client) = client.ask("b.test").await;
        assert_eq!((status, last), (wanted, false), "{options}");
    }
    drop(client);
    rig.proxy.shutdown().await;
}

#[tokio::test]
async fn an_http2_connection_under_old_options_is_answered_421_and_told_to_go() {
    let mut rig = Rig::new(&json!({})).await;
    let own_authority = rig.own_authority();
    let socket =
        tokio::net::TcpStream::connect(web(&rig.proxy).await).await.expect("the entry point is open");
    let name = ServerName::try_from("a.test").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(rig.config(rustls::ALL_VERSIONS, &["h2"]));
    let stream = connector.connect(name, socket).await.expect("a handshake");
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let request = || {
        let request = Request::get("https://a.test/").body(Empty::<Bytes>::new());
        request.expect("a request")
    };
    let status = async |sender: &mut http2::SendRequest<Empty<Bytes>>| {
        let answer = timeout(PATIENCE, sender.send_request(request())).await.expect("an answer in time");
        answer.expect("an answer").status()
    };
    assert_eq!(status(&mut sender).await, StatusCode::OK);
    rig.change(OWN, &own_authority).await;
    assert_eq!(status(&mut sender).await, StatusCode::MISDIRECTED_REQUEST);
    // The client still holds its end: it is the server that says goodbye.
    let ended = timeout(PATIENCE, connection).await.expect("it ends").expect("no panic");
    assert!(ended.is_ok(), "in order: {ended:?}");
    drop(sender);
    rig.proxy.shutdown().await;
}

#[tokio::test]
async fn a_changed_certificate_is_shown_in_the_next_handshake_and_costs_no_connection() {
    let mut rig = Rig::new(&json!({})).await;
    let (_, _, standing) = rig.connect(rustls::ALL_VERSIONS).await.ask("a.test").await;
    let renewed = certificate("a.test");
    let pair = json!({"certFile": renewed.cert.pem(), "keyFile": renewed.signing_key.serialize_pem()});
    rig.change("tls/certificates/c@file", &pair).await;
    let (status, last, _) = standing.ask("a.test").await;
    assert_eq!((status, last), (200, false), "the connection goes on");
    // From here on the client trusts the new one alone.
    rig.server = renewed;
    let (status, _, client) = rig.connect(rustls::ALL_VERSIONS).await.ask("a.test").await;
    let shown = client.0.conn.peer_certificates().and_then(|chain| chain.first()).cloned();
    assert_eq!((status, shown.as_ref()), (200, Some(rig.server.cert.der())));
}
