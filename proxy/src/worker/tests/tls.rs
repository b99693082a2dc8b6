//! Which certificate and protocol a TLS client gets.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use ravelin_config::dynamic::{ClientAuth, TlsCertificate, TlsOptions, TlsStore};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{
    AlertDescription, CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, Error,
    HandshakeKind, NamedGroup, ServerConnection, SignatureScheme, StreamOwned, version,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use super::proxy_protocol::{believing, of_a_client};
use super::rig::{Rig, get};
use crate::connection::Settings;
use crate::proxy_protocol::Version;
use crate::table::sections::TlsSettings;
use crate::tls::{Hello, TlsTable, generated_default};

/// A self-signed certificate for these names, as configuration and as DER with its key.
fn certificate(names: &[&str]) -> (TlsCertificate, CertificateDer<'static>, PrivateKeyDer<'static>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(names).expect("random bytes");
    let object =
        TlsCertificate { cert_file: cert.pem(), key_file: signing_key.serialize_pem(), stores: Vec::new() };
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
    (object, cert.der().clone(), key)
}

fn rig(settings: &TlsSettings, options: fn(&str) -> &str) -> Rig {
    rig_with(Settings::default(), settings, options)
}

fn rig_with(connections: Settings, settings: &TlsSettings, options: fn(&str) -> &str) -> Rig {
    let rig = Rig::with(1, connections);
    let table = TlsTable::compile(settings, &generated_default().expect("random bytes"), None);
    *rig.record.tls.lock().expect("no panic") = Some((Arc::new(table), options));
    rig
}

fn options(change: impl FnOnce(&mut TlsOptions)) -> Arc<TlsOptions> {
    let mut options = TlsOptions::default();
    change(&mut options);
    Arc::new(options)
}

/// Takes any certificate: what was presented is what the tests compare.
#[derive(Debug)]
pub(super) struct TakeAny;

impl ServerCertVerifier for TakeAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

struct Ask<'a> {
    name: &'a str,
    alpn: &'a [&'a str],
    versions: &'a [&'static rustls::SupportedProtocolVersion],
    identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
}

impl<'a> Ask<'a> {
    fn name(name: &'a str) -> Self {
        Self { name, alpn: &[], versions: rustls::ALL_VERSIONS, identity: None }
    }

    fn config(self) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(self.versions)
            .expect("versions that exist")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TakeAny));
        let mut config = match self.identity {
            Some((chain, key)) => builder.with_client_auth_cert(vec![chain], key).expect("a key of its own"),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// A whole request; what was answered, and the connection.
    fn exchange(
        self,
        rig: &Rig,
        path: &str,
    ) -> std::io::Result<(String, StreamOwned<ClientConnection, TcpStream>)> {
        self.exchange_behind(&[], rig, path)
    }

    /// The same, with something in front of the handshake.
    fn exchange_behind(
        self,
        first: &[u8],
        rig: &Rig,
        path: &str,
    ) -> std::io::Result<(String, StreamOwned<ClientConnection, TcpStream>)> {
        let name = ServerName::try_from(self.name.to_owned()).expect("a name");
        let connection = ClientConnection::new(Arc::new(self.config()), name).expect("a configuration");
        let mut socket = TcpStream::connect(rig.address)?;
        socket.write_all(first)?;
        let mut stream = StreamOwned::new(connection, socket);
        let request =
            String::from_utf8(get(path)).expect("ASCII").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok((answer, stream))
    }

    fn presented(self, rig: &Rig) -> Option<Vec<u8>> {
        let (_, stream) = self.exchange(rig, "/a").ok()?;
        stream.conn.peer_certificates()?.first().map(|der| der.to_vec())
    }
}

#[test]
fn each_name_gets_its_own_certificate() {
    let (exact, exact_der, _) = certificate(&["a.test", "b.test"]);
    let (wild, wild_der, _) = certificate(&["*.w.test"]);
    let mut settings = TlsSettings::default();
    settings.certificates.insert("one@file".into(), Arc::new(exact));
    settings.certificates.insert("two@file".into(), Arc::new(wild));
    let rig = rig(&settings, |_| "default");
    assert_eq!(Ask::name("a.test").presented(&rig).as_deref(), Some(&*exact_der));
    assert_eq!(Ask::name("B.TEST").presented(&rig).as_deref(), Some(&*exact_der));
    assert_eq!(Ask::name("x.w.test").presented(&rig).as_deref(), Some(&*wild_der));
    for other in ["y.x.w.test", "w.test", "other.test", "127.0.0.1"] {
        let generated = Ask::name(other).presented(&rig).expect("a certificate for every name");
        assert!(generated.windows(20).any(|part| part == b"TRAEFIK DEFAULT CERT"), "{other}");
    }
}

#[test]
fn the_default_store_has_the_certificate_for_other_names() {
    let (default, default_der, _) = certificate(&["default.test"]);
    let mut settings = TlsSettings::default();
    let store = TlsStore { default_certificate: Some(default), ..TlsStore::default() };
    settings.stores.insert("default@file".into(), Arc::new(store));
    assert_eq!(
        Ask::name("other.test").presented(&rig(&settings, |_| "default")).as_deref(),
        Some(&*default_der)
    );
    let broken = TlsCertificate { cert_file: "none".into(), ..TlsCertificate::default() };
    let store = TlsStore { default_certificate: Some(broken), ..TlsStore::default() };
    settings.stores.insert("default@file".into(), Arc::new(store));
    assert_eq!(Ask::name("other.test").presented(&rig(&settings, |_| "default")), None);
}

#[test]
fn alpn_chooses_the_protocol_and_facts_say_what_was_settled() {
    let rig = rig(&TlsSettings::default(), |_| "default");
    for (alpn, chosen) in [(&["http/1.1"][..], Some(&b"http/1.1"[..])), (&[], None)] {
        let (answer, stream) =
            Ask { alpn, ..Ask::name("a.test") }.exchange(&rig, "/facts").expect("HTTP/1 over TLS");
        assert!(answer.contains(r#"Some((Some("a.test"), "1.3", "default", 0))"#), "{answer}");
        assert_eq!(stream.conn.alpn_protocol(), chosen);
    }
    assert!(Ask { alpn: &["acme-tls/1"], ..Ask::name("a.test") }.exchange(&rig, "/a").is_err());
    let (answer, _) =
        Ask { versions: &[&version::TLS12], ..Ask::name("A.test") }.exchange(&rig, "/facts").expect("1.2");
    assert!(answer.contains(r#"Some((Some("a.test"), "1.2""#), "{answer}");
}

#[test]
fn a_proxy_header_stands_before_the_handshake() {
    let rig = rig_with(believing("127.0.0.1"), &TlsSettings::default(), |_| "default");
    for (first, client) in [
        (of_a_client(Version::One), "192.0.2.7"),
        (of_a_client(Version::Two), "192.0.2.7"),
        (Vec::new(), "127.0.0.1"),
    ] {
        let (answer, _) = Ask::name("a.test").exchange_behind(&first, &rig, "/ends").expect("a handshake");
        assert!(answer.contains(&format!("{client} and 127.0.0.1")), "{answer}");
    }
}

/// The alert that a handshake ended with.
fn alert(ask: Ask<'_>, rig: &Rig) -> Option<AlertDescription> {
    let error = ask.exchange(rig, "/a").err()?;
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::AlertReceived(description) => Some(*description),
        _ => None,
    }
}

#[test]
fn refused_handshakes_end_with_the_alert_that_says_why() {
    let (own, ..) = certificate(&["own.test"]);
    let mut settings = TlsSettings::default();
    settings.certificates.insert("one@file".into(), Arc::new(own));
    settings.options.insert("strict@file".into(), options(|options| options.sni_strict = true));
    let unspoken = options(|options| options.alpn_protocols = vec!["foo/1".into()]);
    settings.options.insert("unspoken@file".into(), unspoken);
    let rig = rig(&settings, |name| if name == "alpn.test" { "unspoken@file" } else { "strict@file" });
    assert!(Ask::name("own.test").presented(&rig).is_some());
    assert_eq!(alert(Ask::name("other.test"), &rig), Some(AlertDescription::UnrecognisedName));
    let offers = Ask { alpn: &["http/1.1"], ..Ask::name("alpn.test") };
    assert_eq!(alert(offers, &rig), Some(AlertDescription::NoApplicationProtocol));
    assert!(Ask::name("panic.test").exchange(&rig, "/a").is_err(), "a panic ends its connection");
    let (counted, _) = Ask::name("own.test").exchange(&rig, "/panics").expect("and no other");
    assert!(counted.ends_with("path /panics 1"), "{counted:?}");
    let mut old = TcpStream::connect(rig.address).expect("listens");
    old.write_all(b"\x80\x2e\x01\x03\x01\x00\x15").expect("is read");
    let mut answer = Vec::new();
    old.read_to_end(&mut answer).expect("is closed in order");
    assert_eq!(answer, [21, 3, 1, 0, 2, 2, 70], "a fatal alert: the version is not spoken");
}

#[test]
fn options_hold_for_the_names_that_have_them() {
    let (client, client_der, client_key) = certificate(&["client"]);
    let mut settings = TlsSettings::default();
    let sets: BTreeMap<&str, Arc<TlsOptions>> = BTreeMap::from([
        ("strict@file", options(|options| options.sni_strict = true)),
        ("new@file", options(|options| options.min_version = "VersionTLS13".into())),
        ("old@file", options(|options| options.max_version = "VersionTLS12".into())),
        ("h2@file", options(|options| options.alpn_protocols = vec!["h2".into()])),
        ("bad@file", options(|options| options.curve_preferences = vec!["nonsense".into()])),
        (
            "mutual@file",
            options(|options| {
                let kind = "RequireAndVerifyClientCert".into();
                options.client_auth =
                    Some(ClientAuth { ca_files: vec![client.cert_file.clone()], client_auth_type: kind });
            }),
        ),
        (
            "any@file",
            options(|options| {
                let kind = "RequireAnyClientCert".into();
                options.client_auth = Some(ClientAuth { ca_files: Vec::new(), client_auth_type: kind });
            }),
        ),
    ]);
    settings.options.extend(sets.into_iter().map(|(name, options)| (name.into(), options)));
    let rig = rig(&settings, |name| match name {
        "strict.test" => "strict@file",
        "new.test" => "new@file",
        "old.test" => "old@file",
        "h2.test" => "h2@file",
        "bad.test" => "bad@file",
        "mutual.test" => "mutual@file",
        "any.test" => "any@file",
        "missing.test" => "missing@file",
        _ => "default",
    });
    let works = |ask: Ask<'_>| ask.exchange(&rig, "/facts").ok().map(|(answer, _)| answer);
    for refused in ["strict.test", "bad.test", "missing.test", "mutual.test", "any.test"] {
        assert_eq!(works(Ask::name(refused)), None, "{refused}");
    }
    assert_eq!(works(Ask { versions: &[&version::TLS12], ..Ask::name("new.test") }), None);
    assert!(works(Ask { versions: &[&version::TLS13], ..Ask::name("new.test") }).is_some());
    assert_eq!(works(Ask { versions: &[&version::TLS13], ..Ask::name("old.test") }), None);
    let without = Ask { alpn: &["http/1.1"], ..Ask::name("h2.test") }
        .exchange(&rig, "/a")
        .expect("served all the same");
    assert_eq!(without.1.conn.alpn_protocol(), None);
    for name in ["mutual.test", "any.test"] {
        let identity = Some((client_der.clone(), client_key.clone_key()));
        let answer = works(Ask { identity, ..Ask::name(name) }).expect("with a certificate");
        assert!(answer.contains(&format!("\"{}@file\", 1", name.trim_end_matches(".test"))), "{answer}");
    }
    let (_, foreign, foreign_key) = certificate(&["client"]);
    assert_eq!(works(Ask { identity: Some((foreign, foreign_key)), ..Ask::name("mutual.test") }), None);
}

#[test]
fn a_recompiled_table_keeps_what_has_not_changed() {
    let (one, ..) = certificate(&["a.test"]);
    let (broken, ..) = certificate(&["b.test"]);
    let broken = TlsCertificate { key_file: one.key_file.clone(), ..broken };
    let mut settings = TlsSettings::default();
    settings.certificates.insert("one@file".into(), Arc::new(one));
    settings.certificates.insert("broken@file".into(), Arc::new(broken));
    let generated = generated_default().expect("random bytes");
    let first = TlsTable::compile(&settings, &generated, None);
    assert_eq!(first.problems().map(|(name, _)| &**name).collect::<Vec<_>>(), ["broken@file"]);
    settings.certificates.remove("broken@file");
    let second = TlsTable::compile(&settings, &generated, Some(&first));
    assert_eq!(second.problems().count(), 0);
    let hello = Hello::default();
    let ticketer =
        |table: &TlsTable| Arc::clone(&table.choose("default", &hello).expect("options").config.ticketer);
    assert!(Arc::ptr_eq(&ticketer(&first), &ticketer(&second)), "sessions survive a change of certificates");
}

/// How a handshake went, by what was agreed: the session, the group, the suite.
fn agreed(
    config: &Arc<ClientConfig>,
    rig: &Rig,
    name: &'static str,
) -> (HandshakeKind, Option<NamedGroup>, CipherSuite) {
    let server = ServerName::try_from(name).expect("a name");
    let connection = ClientConnection::new(Arc::clone(config), server).expect("a configuration");
    let mut stream = StreamOwned::new(connection, TcpStream::connect(rig.address).expect("listens"));
    let request =
        String::from_utf8(get("/a")).expect("ASCII").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    // To the end of the connection, tickets too.
    let read = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    assert!(read.is_ok() && answer.ends_with("path /a"), "{name}: {read:?} after {answer:?}");
    let suite = stream.conn.negotiated_cipher_suite().expect("it went through").suite();
    let group = stream.conn.negotiated_key_exchange_group().map(|group| group.name());
    (stream.conn.handshake_kind().expect("it went through"), group, suite)
}

#[test]
fn sessions_are_resumed_by_their_tickets_unless_those_are_off() {
    let mut settings = TlsSettings::default();
    settings.options.insert("off@file".into(), options(|options| options.disable_session_tickets = true));
    let rig = rig(&settings, |name| if name == "off.test" { "off@file" } else { "default" });
    for versions in [&[&version::TLS12][..], &[&version::TLS13]] {
        for (name, second) in [("on.test", HandshakeKind::Resumed), ("off.test", HandshakeKind::Full)] {
            let config = Arc::new(Ask { versions, ..Ask::name(name) }.config());
            let kinds = [(), ()].map(|()| agreed(&config, &rig, name).0);
            assert_eq!(kinds, [HandshakeKind::Full, second], "{name}");
        }
    }
}

#[test]
fn only_groups_and_suites_that_the_options_name_are_spoken() {
    let mut settings = TlsSettings::default();
    settings
        .options
        .insert("p384@file".into(), options(|set| set.curve_preferences = vec!["CurveP384".into()]));
    let suite = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305";
    settings.options.insert("suite@file".into(), options(|set| set.cipher_suites = vec![suite.into()]));
    let rig = rig(&settings, |name| match name {
        "p384.test" => "p384@file",
        "suite.test" => "suite@file",
        _ => "default",
    });
    let speak = |versions, name| {
        let config = Arc::new(Ask { versions, ..Ask::name(name) }.config());
        let (_, group, suite) = agreed(&config, &rig, name);
        (group, suite)
    };
    assert_eq!(speak(rustls::ALL_VERSIONS, "p384.test").0, Some(NamedGroup::secp384r1));
    assert_ne!(speak(rustls::ALL_VERSIONS, "any.test").0, Some(NamedGroup::secp384r1));
    let old = &[&version::TLS12][..];
    let chacha = CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
    assert_eq!(speak(old, "suite.test").1, chacha);
    assert_ne!(speak(old, "any.test").1, chacha);
}

/// Everything that one side has to say, as it would go over the wire.
fn said(write: &mut dyn FnMut(&mut Vec<u8>) -> std::io::Result<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while write(&mut bytes).expect("memory takes everything") > 0 {}
    bytes
}

#[test]
fn no_record_is_as_large_as_what_some_processors_copy_slowly() {
    let generated = generated_default().expect("random bytes");
    let choice =
        TlsTable::empty(&generated).choose("default", &Hello::default()).expect("options for everyone");
    let mut server = ServerConnection::new(choice.config).expect("a configuration that serves");
    let name = ServerName::try_from("a.test").expect("a name");
    let mut client = ClientConnection::new(Arc::new(Ask::name("a.test").config()), name).expect("a client");
    while client.is_handshaking() || server.is_handshaking() {
        let asked = said(&mut |bytes| client.write_tls(bytes));
        server.read_tls(&mut &asked[..]).expect("a few messages");
        server.process_new_packets().expect("a handshake");
        let told = said(&mut |bytes| server.write_tls(bytes));
        client.read_tls(&mut &told[..]).expect("a few messages");
        client.process_new_packets().expect("a handshake");
    }
    server.set_buffer_limit(None);
    server.writer().write_all(&[b'x'; 100_000]).expect("there is no limit");
    let sent = said(&mut |bytes| server.write_tls(bytes));
    let (mut rest, mut records) = (&sent[..], 0);
    while let [_, _, _, high, low, body @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        // Its head, what says of what kind it is, and its tag.
        assert!(5 + length <= 8_160 + 17, "a record of {length} bytes");
        rest = &body[length..];
        records += 1;
    }
    assert_eq!((records, rest), (100_000_usize.div_ceil(8_155), &[][..]));
}
