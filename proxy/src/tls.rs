//! How a client's TLS handshake is answered: options by the name the router gave, a certificate by the name the client
//! asked for. Compiled off the workers, shared by them, and immutable; it reads no file and no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ravelin_config::dynamic::{TlsCertificate, TlsOptions};
use rustls::ServerConfig;
use rustls::sign::CertifiedKey;

use crate::table::sections::TlsSettings;
use crate::table::tls_hosts::DEFAULT_OPTIONS;

mod certificates;
mod facts;
mod options;
mod subject;
mod verifier;

pub use certificates::{Loaded, TlsError, generated_default};

pub(crate) use certificates::canonical_name;
use certificates::{Certificates, Resolver};
pub(crate) use facts::CertificateFacts;
pub use options::Demands;
use options::Negotiation;
pub(crate) use options::suite_name;
pub(crate) use subject::subject;

/// The protocols we speak, as ALPN names them.
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What a client's first message says, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The name asked for, lower case, without a trailing dot.
    pub server_name: Option<Arc<str>>,
    /// The protocols offered, in the client's order. `None`: no ALPN.
    pub alpn: Option<Vec<Vec<u8>>>,
}

/// How to go on with a handshake.
#[derive(Clone, Debug)]
pub struct Choice {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// The name of the options in it.
    pub options: Arc<str>,
    /// What they ask of the connection.
    pub demands: Demands,
    /// The options serve names with a certificate of their own only, and this one has none.
    pub unrecognised: bool,
}

/// One set of options with its certificates.
#[derive(Debug)]
struct Compiled {
    name: Arc<str>,
    source: Arc<TlsOptions>,
    negotiation: Negotiation,
    config: Arc<ServerConfig>,
    /// For clients that offer HTTP/1.1 to options that list HTTP/2 only: Go serves them as if neither knew ALPN.
    without_alpn: Option<Arc<ServerConfig>>,
}

/// A certificate as configured, and as it could be read.
type Source = (Arc<TlsCertificate>, Result<Arc<Loaded>, TlsError>);

/// All of TLS of one generation.
#[derive(Debug)]
pub struct TlsTable {
    loaded: BTreeMap<Arc<str>, Source>,
    options: BTreeMap<Arc<str>, Result<Compiled, TlsError>>,
    certificates: Arc<Certificates>,
    fallback: Arc<Loaded>,
}

impl TlsTable {
    /// Compiles the TLS objects of a generation. What has not changed since `previous` is taken over, keys of session
    /// tickets included; `generated` is the certificate for names that have none, unless the default store has one.
    ///
    /// Objects in error cost their own names only: see [`TlsTable::problems`].
    pub fn compile(settings: &TlsSettings, generated: &Arc<Loaded>, previous: Option<&Self>) -> Self {
        let loaded = settings.certificates.iter().map(|(name, source)| {
            let kept =
                previous.and_then(|previous| previous.loaded.get(name)).filter(|(old, _)| old == source);
            let loaded =
                kept.map_or_else(|| Loaded::load(source).map(Arc::new), |(_, loaded)| loaded.clone());
            (Arc::clone(name), (Arc::clone(source), loaded))
        });
        let loaded: BTreeMap<_, _> = loaded.collect();
        let store = settings.stores.iter().find(|(name, _)| is_default(name));
        let default = match store.and_then(|(_, store)| store.default_certificate.as_ref()) {
            // One that cannot be read leaves names without a certificate of their own unserved, as in Traefik.
            Some(source) => Loaded::load(source).ok().map(Arc::new),
            None => Some(Arc::clone(generated)),
        };
        let in_default_store = |source: &TlsCertificate| {
            source.stores.is_empty() || source.stores.iter().any(|store| is_default(store))
        };
        let certificates = loaded
            .values()
            .filter(|(source, _)| in_default_store(source))
            .filter_map(|(_, loaded)| loaded.as_ref().ok());
        let certificates = Arc::new(Certificates::new(certificates, default));
        let mut sources = settings.options.clone();
        if !sources.keys().any(|name| is_default(name)) {
            sources.insert(DEFAULT_OPTIONS.into(), Arc::new(TlsOptions::default()));
        }
        let options = sources.into_iter().map(|(name, source)| {
            let kept = previous
                .and_then(|previous| previous.options.get(&name)?.as_ref().ok())
                .filter(|old| old.source == source)
                .map(|old| old.negotiation.clone());
            let compiled = Compiled::new(Arc::clone(&name), source, kept, &certificates);
            (name, compiled)
        });
        let options = options.collect();
        Self { options, loaded, certificates, fallback: Arc::clone(generated) }
    }

    /// A table without any object: the generated certificate for every name.
    pub fn empty(generated: &Arc<Loaded>) -> Self {
        Self::compile(&TlsSettings::default(), generated, None)
    }

    /// The certificate generated for names that have none.
    pub fn generated(&self) -> &Arc<Loaded> {
        &self.fallback
    }

    /// How to answer a client, with the options its name has. `None`: not at all, as these options are unknown or in error.
    pub fn choose(&self, options: &str, hello: &Hello) -> Option<Choice> {
        let compiled = self.options(options)?;
        let offers = |wanted: &[u8]| {
            hello.alpn.as_ref().is_some_and(|offered| offered.iter().any(|name| name == wanted))
        };
        let config = match &compiled.without_alpn {
            Some(without_alpn) if offers(HTTP1) && !offers(HTTP2) => without_alpn,
            _ => &compiled.config,
        };
        let name =
            if is_default(&compiled.name) { DEFAULT_OPTIONS.into() } else { Arc::clone(&compiled.name) };
        let has_own =
            || hello.server_name.as_deref().is_some_and(|name| !self.certificates.of(name).is_empty());
        let unrecognised = compiled.source.sni_strict && !has_own();
        let demands = compiled.negotiation.demands();
        Some(Choice { config: Arc::clone(config), options: name, demands, unrecognised })
    }

    /// Options that can be used.
    fn options(&self, name: &str) -> Option<&Compiled> {
        let compiled = match name {
            DEFAULT_OPTIONS => self.options.iter().find(|(name, _)| is_default(name)).map(|(_, found)| found),
            name => self.options.get(name),
        };
        compiled?.as_ref().ok()
    }

    /// What options ask of a connection. `None`: they are unknown or in error, and no connection is good enough.
    pub fn demands(&self, options: &str) -> Option<Demands> {
        Some(self.options(options)?.negotiation.demands())
    }

    /// Whether options ask a client for a certificate. Unknown ones, and those in error, do.
    pub fn verifies_clients(&self, options: &str) -> bool {
        self.options(options).is_none_or(|found| found.negotiation.asks_clients())
    }

    /// What the certificates that may be served say of themselves, in order, each once; not the generated one.
    pub(crate) fn facts(&self) -> BTreeSet<CertificateFacts> {
        let configured = |key: &&Arc<CertifiedKey>| !self.fallback.is(key);
        self.certificates
            .all()
            .into_iter()
            .filter(configured)
            .filter_map(|key| CertificateFacts::of(key))
            .collect()
    }

    /// What could not be used, by name: for logs. The control plane has judged the same objects before.
    pub fn problems(&self) -> impl Iterator<Item = (&Arc<str>, &TlsError)> {
        let certificates =
            self.loaded.iter().filter_map(|(name, (_, loaded))| Some((name, loaded.as_ref().err()?)));
        let options =
            self.options.iter().filter_map(|(name, compiled)| Some((name, compiled.as_ref().err()?)));
        certificates.chain(options)
    }
}

impl Compiled {
    fn new(
        name: Arc<str>,
        source: Arc<TlsOptions>,
        kept: Option<Negotiation>,
        certificates: &Arc<Certificates>,
    ) -> Result<Self, TlsError> {
        let negotiation = kept.map_or_else(|| Negotiation::new(&source), Ok)?;
        let resolver = Resolver::new(Arc::clone(certificates), source.sni_strict);
        let config = negotiation.server_config(Arc::new(resolver))?;
        let alpn = &config.alpn_protocols;
        let only_http2 = alpn.iter().any(|name| name == HTTP2) && !alpn.iter().any(|name| name == HTTP1);
        let without_alpn = only_http2.then(|| {
            let mut config = config.clone();
            config.alpn_protocols.clear();
            Arc::new(config)
        });
        Ok(Self { name, source, negotiation, config: Arc::new(config), without_alpn })
    }
}

/// Whether a name, with or without its provider, is the one that needs no reference.
fn is_default(name: &str) -> bool {
    name.split('@').next() == Some(DEFAULT_OPTIONS)
}
