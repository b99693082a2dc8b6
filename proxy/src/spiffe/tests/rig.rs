//! A Workload API on a socket, authorities that sign for workloads, and a server that takes only clients of an authority: real
//! sockets and real certificates, on the runtime of the test. It decides nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Channel;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::super::identity::who;

/// Who signs for the workloads of a trust domain.
pub(super) struct Authority {
    pub(super) domain: &'static str,
    pub(super) der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub(super) struct Workload {
    pub(super) chain: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl Authority {
    pub(super) fn new(domain: &'static str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, domain);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("random bytes");
        let der = params.self_signed(&key).expect("an authority").der().clone();
        Self { domain, der, issuer: Issuer::new(params, key) }
    }

    pub(super) fn sign(&self, uris: &[&str]) -> Workload {
        self.signed(uris, IsCa::NoCa)
    }

    pub(super) fn signed(&self, uris: &[&str], is_ca: IsCa) -> Workload {
        let mut params = CertificateParams::default();
        params.subject_alt_names =
            uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("ASCII"))).collect();
        params.is_ca = is_ca;
        let key = KeyPair::generate().expect("random bytes");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Workload { chain: certificate.der().to_vec(), key: key.serialize_der() }
    }
}

/// A field of protobuf that has bytes.
pub(super) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).expect("seven bits"));
    out.extend(bytes);
    out
}

/// An answer with one identity, the authority of its domain, and those of others.
pub(super) fn message(id: &str, own: &Workload, authority: &Authority, others: &[&Authority]) -> Vec<u8> {
    let svid = [field(1, id.as_bytes()), field(2, &own.chain), field(3, &own.key), field(4, &authority.der)];
    let mut out = field(1, &svid.concat());
    for other in others {
        let name = format!("spiffe://{}", other.domain);
        out.extend(field(3, &[field(1, name.as_bytes()), field(2, &other.der)].concat()));
    }
    out
}

/// A message with its prefix.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// What a Workload API says.
#[derive(Clone)]
pub(super) enum Says {
    Nothing,
    Bytes(Vec<u8>),
    Refuses,
}

/// A Workload API; nobody listens any more once it is dropped, and its connections break.
pub(super) struct Agent {
    pub(super) says: watch::Sender<Says>,
    task: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Agent {
    pub(super) fn start(path: &Path, says: Says) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("a path that is free");
        let (says, heard) = watch::channel(says);
        let task = tokio::task::spawn_local(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let heard = heard.clone();
                let serve = service_fn(move |request| answer(request, heard.clone()));
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                connections.spawn_local(server.serve_connection(TokioIo::new(socket), serve));
            }
        });
        Self { says, task }
    }

    pub(super) fn say(&self, message: &[u8]) {
        self.says.send_replace(Says::Bytes(framed(message)));
    }
}

async fn answer(
    request: Request<Incoming>,
    mut heard: watch::Receiver<Says>,
) -> Result<Response<Channel<Bytes>>, http::Error> {
    let (mut sender, body) = Channel::new(4);
    let asked = request.uri().path() == "/SpiffeWorkloadAPI/FetchX509SVID"
        && request.headers().get("workload.spiffe.io").is_some_and(|value| value == "true")
        && request.headers().get("content-type").is_some_and(|value| value == "application/grpc");
    tokio::spawn(async move {
        loop {
            let says = heard.borrow_and_update().clone();
            match says {
                Says::Nothing => {}
                Says::Bytes(bytes) => {
                    if sender.send_data(bytes.into()).await.is_err() {
                        return;
                    }
                }
                Says::Refuses => {
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", HeaderValue::from_static("7"));
                    trailers.insert("grpc-message", HeaderValue::from_static("no%20identity%20issued"));
                    let _ = sender.send_trailers(trailers).await;
                    return;
                }
            }
            if heard.changed().await.is_err() {
                return;
            }
        }
    });
    let status = if asked { 200 } else { 404 };
    Response::builder().status(status).header("content-type", "application/grpc").body(body)
}

/// A server that takes clients of one authority and tells each who it is to the server. Its port.
pub(super) async fn server(own: &Workload, clients: &Authority) -> u16 {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(clients.der.clone()).expect("an authority");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .expect("an authority");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from(own.chain.clone())],
            PrivatePkcs8KeyDer::from(own.key.clone()).into(),
        )
        .expect("a pair");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("bound").port();
    tokio::task::spawn_local(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            let client = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first().cloned());
            let name =
                client.map_or_else(String::new, |client| who(&client).expect("a workload").to_string());
            let _ = stream.write_all(name.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

/// Where a Workload API listens in a test.
pub(super) fn socket(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("agent.sock")
}
