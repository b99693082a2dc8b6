//! A request head to try middlewares on, and the tests of chains.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, Method};

use rustls_pki_types::CertificateDer;

use super::*;
use crate::body::RequestBody;
use crate::forwarded::Present;
use crate::path::PathOptions;
use crate::upstream::UpstreamRegistry;

/// Panics where the request's path asks this half of this kind to.
pub(super) fn strike(kind: &str, half: &str, path: &str) {
    let wanted = path.strip_prefix("/strike/").and_then(|rest| rest.strip_prefix(half));
    assert!(wanted.and_then(|rest| rest.strip_prefix('/')) != Some(kind), "struck in {kind}");
}

/// A request as a middleware meets it.
pub(crate) struct Sample {
    method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) path: String,
    query: Option<String>,
    pub(crate) host: HeaderValue,
    tls: bool,
    pub(crate) omit_forwarded_for: bool,
    pub(crate) body: RequestBody,
    target: http::Uri,
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

impl Sample {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Self {
            method: method.parse().expect("a method"),
            headers: HeaderMap::new(),
            path: path.to_owned(),
            query,
            host: HeaderValue::from_static("a.test"),
            tls: false,
            omit_forwarded_for: false,
            body: RequestBody::empty(),
            target: target.parse().unwrap_or_default(),
            certificates: Vec::new(),
        }
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = host.parse().expect("a field value");
        self
    }

    pub(crate) fn field(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(HeaderName::from_static(name), value.parse().expect("a field value"));
        self
    }

    pub(crate) fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Lets a middleware's request half run, and keeps what it changed.
    pub(crate) fn run<R>(&mut self, act: impl FnOnce(&mut Head<'_>) -> R) -> R {
        let mut head = Head {
            method: &self.method,
            present: Present::of(&self.headers),
            headers: &mut self.headers,
            path: PathText::Own(self.path.as_str().into()),
            query: self.query.as_deref(),
            host: self.host.clone(),
            tls: self.tls,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            path_options: PathOptions::default(),
            omit_forwarded_for: self.omit_forwarded_for,
            user: None,
            body: &mut self.body,
            target: &self.target,
            certificates: &self.certificates,
        };
        let result = act(&mut head);
        let (path, host, omit) = (head.path.as_str().to_owned(), head.host.clone(), head.omit_forwarded_for);
        (self.path, self.host, self.omit_forwarded_for) = (path, host, omit);
        result
    }

    /// Status and target (empty where none is told) of what a middleware answers with; none where it lets the request pass.
    pub(crate) fn redirected(&mut self, act: impl FnOnce(&mut Head<'_>) -> Flow) -> Option<(u16, String)> {
        match self.run(act) {
            Flow::Next(_) => None,
            Flow::Answer(answer) => {
                let location =
                    answer.headers().get(http::header::LOCATION).map(|value| value.as_bytes().to_vec());
                let location = String::from_utf8(location.unwrap_or_default()).expect("UTF-8");
                Some((answer.status().as_u16(), location))
            }
            other => panic!("{other:?}"),
        }
    }

    /// The path that a middleware leaves, and the prefix that it tells the server of.
    pub(crate) fn stripped(mut self, act: impl FnOnce(&mut Head<'_>) -> Flow) -> (String, Option<String>) {
        let before = self.path.clone();
        let flow = self.run(act);
        assert!(matches!(flow, Flow::Next(_)), "{before}: {flow:?}");
        let told = self.headers.get(crate::forwarded::X_FORWARDED_PREFIX);
        let told = told.map(|value| value.to_str().expect("ASCII").to_owned());
        (self.path, told)
    }
}

fn template(name: &str, json: &str) -> Result<Template, CompileError> {
    Template::compile(
        name,
        &serde_json::from_str(json).expect("the form is right"),
        &UpstreamRegistry::default(),
    )
}

fn compile(objects: &[(&str, &str)], names: &[&str]) -> Result<Vec<&'static str>, CompileError> {
    let templates: std::collections::BTreeMap<_, _> = objects
        .iter()
        .map(|(name, json)| ((*name).to_owned(), Arc::new(template(name, json).expect("good"))))
        .collect();
    let names: Vec<Arc<str>> = names.iter().map(|&name| name.into()).collect();
    let chain = Middleware::compile(
        &names,
        &|name| templates.get(name).cloned(),
        &|_| None,
        "r@file",
        &PolicyStates::default(),
    )?;
    Ok(chain
        .iter()
        .map(|middleware| match middleware {
            Middleware::Headers(_) => "headers",
            Middleware::StripPrefix(_) => "stripPrefix",
            Middleware::RedirectScheme(_) => "redirectScheme",
            Middleware::InFlightReq(_) => "inFlightReq",
            other => panic!("{other:?} is not among the samples"),
        })
        .collect())
}

const OBJECTS: [(&str, &str); 6] = [
    ("h@file", r#"{"headers":{"frameDeny":true}}"#),
    ("s@file", r#"{"stripPrefix":{"prefixes":["/a"]}}"#),
    ("r@other", r#"{"redirectScheme":{"scheme":"https"}}"#),
    ("i@file", r#"{"inFlightReq":{"amount":1}}"#),
    ("inner@file", r#"{"chain":{"middlewares":["s","r@other"]}}"#),
    ("outer@file", r#"{"chain":{"middlewares":["h","inner","i"]}}"#),
];

#[test]
fn chains_are_laid_out_flat_in_order() {
    let kinds = compile(&OBJECTS, &["i@file", "outer@file", "s@file"]).expect("good");
    assert_eq!(
        kinds,
        ["inFlightReq", "headers", "stripPrefix", "redirectScheme", "inFlightReq", "stripPrefix"]
    );
    assert_eq!(compile(&OBJECTS, &[]).expect("good"), [] as [&str; 0]);
}

#[test]
fn what_leads_nowhere_or_never_ends_is_an_error() {
    assert!(
        matches!(compile(&OBJECTS, &["no@file"]), Err(CompileError::Missing(name)) if &*name == "no@file")
    );
    let endless =
        [("a@file", r#"{"chain":{"middlewares":["b"]}}"#), ("b@file", r#"{"chain":{"middlewares":["a"]}}"#)];
    assert!(matches!(compile(&endless, &["a@file"]), Err(CompileError::ChainLength(_))));
}

#[test]
fn exactly_one_kind_that_works() {
    assert!(matches!(template("m@file", "{}"), Err(CompileError::NoKind)));
    let two = r#"{"chain":{"middlewares":[]},"stripPrefix":{"prefixes":[]}}"#;
    assert!(matches!(template("m@file", two), Err(CompileError::SeveralKinds)));
    for kind in ["plugin", "nonsense"] {
        let json = format!(r#"{{"{kind}":{{}}}}"#);
        let error = template("m@file", &json).expect_err("does not work yet");
        assert_eq!(error.to_string(), format!("{kind} does not work yet"));
    }
}

#[test]
fn references_without_a_provider_mean_the_owners() {
    assert_eq!(&*qualify("m", "r@file"), "m@file");
    assert_eq!(&*qualify("m@docker", "r@file"), "m@docker");
    assert_eq!(&*qualify("m", "r"), "m");
}
