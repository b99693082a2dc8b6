//! Checks of secrets on a proxy: a key that came beside its generation ends a handshake, survives a restart on the disk without
//! being readable there, and a generation that lacks one is taken by nobody.

use ravelin_config::object::Kind;
use ravelin_config::secret::{ViewKey, seal_record};
use ravelin_config::{Object, Record, SealingKeys, SecretId, Status};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::compile::tests::encode;

/// A certificate for `a.test`, with its key.
fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).expect("random bytes")
}

fn sealing() -> SealingKeys {
    SealingKeys::new(CLUSTER, &[[1; 32]]).expect("one key")
}

/// The usual configuration over TLS, with this certificate: its key sealed for the default view.
fn with_certificate(url: &str, certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> ConfigMap {
    let mut map = configuration(url);
    put(&mut map, "http/routers/r@file", &json!({"rule": "Host(`a.test`)", "service": "s", "tls": {}}));
    let (chain, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    let bytes = serde_json::to_vec(&json!({"certFile": chain, "keyFile": key})).expect("JSON");
    let object = Object::new(Kind::TlsCertificate, 1, bytes.into());
    let record = Record { object, status: Status::enabled(), last_good: None };
    let (record, secrets) = seal_record(&record, &sealing()).expect("it can be sealed");
    assert_eq!(secrets.len(), 1);
    map.put(Key::new("tls/certificates/c@file").expect("a key"), encode(&record));
    let view = view_key();
    map.change_secrets(secrets.iter().map(|(id, secret)| (*id, Some(view.seal(id, secret)))));
    map
}

fn view_key() -> ViewKey {
    sealing().view_key("")
}

fn secret_of(map: &ConfigMap) -> SecretId {
    *map.secrets().iter().next().expect("one").0
}

impl Control {
    async fn say(&mut self, message: &ToProxy) {
        let frame = codec::encode(FEED_VERSION, &ToProxyV1::from(message.clone())).expect("small");
        self.sender.send(frame).await.expect("the lane stands");
    }

    async fn say_whole(&mut self, revision: u64, map: &ConfigMap) {
        for part in whole_to_parts(id(revision, map), map, revision, 1 << 16) {
            self.say(&ToProxy::Part(part)).await;
        }
    }
}

/// Whether a handshake ends with this certificate, and nothing else is trusted.
async fn presents(address: SocketAddr, certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.cert.der().clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("a.test").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let handshake = move || {
        let mut socket = TcpStream::connect(address).expect("the entry point is open");
        socket.set_read_timeout(Some(PATIENCE)).expect("a valid time");
        client.complete_io(&mut socket).is_ok()
    };
    tokio::task::spawn_blocking(handshake).await.expect("it ends")
}

#[tokio::test]
async fn a_key_from_beside_the_generation_ends_handshakes_also_after_a_restart_alone() {
    let certificate = certificate();
    let map = with_certificate(&upstream("one"), &certificate);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let hub = MemoryHub::new();
    let endpoint = hub.endpoint("c1", ClusterId(CLUSTER), PeerRole::Controller, 1).expect("a free name");
    let proxy = start(&hub, "p1", Some(directory.path().to_owned()));
    let mut control = Control::accept(&endpoint).await;
    control.say(&ToProxy::ViewKey(view_key())).await;
    assert_eq!(control.stages(1, &map).await, [Stage::Received, Stage::Validated, Stage::Serving]);
    assert!(presents(web(&proxy).await, &certificate).await);
    assert!(!presents(web(&proxy).await, &self::certificate()).await, "another one is not trusted");
    let shown = format!("{:?}", proxy.table().config);
    assert!(!shown.contains("PRIVATE"), "{shown}");
    proxy.shutdown().await;
    drop((proxy, control, endpoint));

    let pem = certificate.signing_key.serialize_pem();
    let body = pem.lines().nth(1).expect("a body");
    for entry in std::fs::read_dir(directory.path().join(LAST_GOOD_FOLDER)).expect("it was written") {
        let bytes = std::fs::read(entry.expect("listed").path()).expect("readable");
        assert!(!bytes.windows(body.len()).any(|window| window == body.as_bytes()));
    }
    let alone = MemoryHub::new();
    let proxy = start(&alone, "p1", Some(directory.path().to_owned()));
    served(&proxy, id(1, &map)).await;
    assert!(presents(web(&proxy).await, &certificate).await, "the key was kept with its generation");
    proxy.shutdown().await;
}

#[tokio::test]
async fn a_generation_that_lacks_a_secret_is_asked_for_whole_once_and_then_refused() {
    let (old, new) = (certificate(), certificate());
    let url = upstream("one");
    let first = with_certificate(&url, &old);
    let hub = MemoryHub::new();
    let endpoint = hub.endpoint("c1", ClusterId(CLUSTER), PeerRole::Controller, 1).expect("a free name");
    let proxy = start(&hub, "p1", None);
    let mut control = Control::accept(&endpoint).await;
    control.say(&ToProxy::ViewKey(view_key())).await;
    control.stages(1, &first).await;
    let whole = with_certificate(&url, &new);
    let secret = secret_of(&whole);
    let mut lacking = whole.clone();
    lacking.change_secrets([(secret, None)]);

    control.say_whole(2, &lacking).await;
    assert!(matches!(control.hear().await, ToControl::Acknowledge { stage: Stage::Received, .. }));
    let ToControl::NeedWhole { reason } = control.hear().await else { panic!("the whole is not asked for") };
    let text =
        format!("tls/certificates/c@file refers to the secret {}, which cannot be had", secret.short());
    assert!(reason.starts_with(&text), "{reason}");
    assert!(presents(web(&proxy).await, &old).await, "nothing changed");

    let stages = control.stages(2, &lacking).await;
    assert!(
        matches!(stages.as_slice(), [Stage::Received, Stage::Refused { reasons }] if *reasons == [reason]),
        "{stages:?}"
    );
    assert!(presents(web(&proxy).await, &old).await, "nothing changed");
    assert_eq!(control.stages(3, &whole).await, [Stage::Received, Stage::Validated, Stage::Serving]);
    assert!(presents(web(&proxy).await, &new).await);

    // An envelope that this proxy has no key for is no better than none.
    let other = SealingKeys::new(CLUSTER, &[[2; 32]]).expect("one key").view_key("");
    let mut foreign = with_certificate(&url, &old);
    let id = secret_of(&foreign);
    let value = ravelin_config::Secret::new(old.signing_key.serialize_pem());
    foreign.change_secrets([(id, Some(other.seal(&id, &value)))]);
    control.say_whole(4, &foreign).await;
    control.hear().await;
    let ToControl::NeedWhole { reason } = control.hear().await else { panic!("the whole is not asked for") };
    assert!(reason.contains("sealed with key"), "{reason}");
    control.say(&ToProxy::ViewKey(other)).await;
    assert_eq!(control.stages(4, &foreign).await, [Stage::Received, Stage::Validated, Stage::Serving]);
    assert!(presents(web(&proxy).await, &old).await, "with the key it opens");
    proxy.shutdown().await;
}
