//! A request's head as middlewares see and change it, and its path in the one form that it has on its way.
//! It routes nothing.

use http::header::{AUTHORIZATION, HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Method};

use crate::body::RequestBody;
use crate::error::RequestError;
use crate::forwarded::Present;
use crate::path::{PathError, PathOptions};
use rustls_pki_types::CertificateDer;

/// What a middleware may see and change of a request on its way in.
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The fields; ours are among them already, `X-Forwarded-For` is not.
    ///
    /// `Host` may be among them as the client sent it, which no middleware looks at: [`Head::host`] is what counts.
    /// A field that a configuration names is found by `field`.
    pub headers: &'a mut HeaderMap,
    /// Which of them may be there. Who adds a field says so here.
    pub(crate) present: Present,
    /// The one normalised path. Who changes it sets it by [`Head::rewrite_path`].
    pub path: PathText,
    /// The target as the client sent it: whoever judges it as such must not look at what became of it.
    pub(crate) target: &'a http::Uri,
    /// The query as the client sent it, without the question mark. `None`: the target has none.
    pub query: Option<&'a str>,
    /// The Host as the client sent it, or as a middleware set it: what is forwarded.
    pub host: HeaderValue,
    /// The connection is TLS.
    pub tls: bool,
    /// The certificates that the client showed, its own first. Often none.
    pub(crate) certificates: &'a [CertificateDer<'static>],
    /// The client's address.
    pub client: std::net::IpAddr,
    /// What the entry point allows in paths.
    pub path_options: PathOptions,
    /// A middleware removed `X-Forwarded-For`: it is not written.
    pub omit_forwarded_for: bool,
    /// The user that the client says to be, right or not, for the log; empty where an authentication found none.
    pub user: Option<Vec<u8>>,
    /// What the client sends after its head. Who reads it puts back what the server is to get.
    pub(crate) body: &'a mut RequestBody,
}

/// The path of a request: the client's own bytes while nothing changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathText {
    /// As in the request's URI, which was normal already.
    Original(http::Uri),
    /// Normalised or rewritten.
    Own(Box<str>),
}

impl PathText {
    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            // An absolute-form target may have no path at all.
            Self::Original(uri) if uri.path().is_empty() => "/",
            Self::Original(uri) => uri.path(),
            Self::Own(text) if text.is_empty() => "/",
            Self::Own(text) => text,
        }
    }

    /// A middleware left nothing of it: what is put before it is the whole path then.
    pub(crate) fn is_used_up(&self) -> bool {
        matches!(self, Self::Own(text) if text.is_empty())
    }
}

impl Head<'_> {
    /// The first value of the field that a configuration names. The Host is none, as in Traefik.
    pub(crate) fn field(&self, name: &HeaderName) -> Option<&HeaderValue> {
        if *name == HOST { None } else { self.headers.get(name) }
    }

    /// Tells the server who the client is, in a field if one is named for it, and takes the credentials away if so configured.
    pub(crate) fn authenticated(&mut self, user: &[u8], field: Option<&HeaderName>, takes_credentials: bool) {
        if let Some(field) = field
            && let Ok(value) = HeaderValue::from_bytes(user)
        {
            self.present = self.present.and(Present::of_name(field));
            self.headers.insert(field.clone(), value);
        }
        if takes_credentials {
            self.headers.remove(AUTHORIZATION);
        }
    }

    /// Sets a rewritten path after bringing it into its one form again.
    ///
    /// # Errors
    /// A path that climbs, or that cannot be normalised: the request is refused.
    pub fn rewrite_path(&mut self, path: &str) -> Result<(), RequestError> {
        self.set_path(crate::path::rewritten(path, self.path_options, false))
    }

    /// Sets what is left of a path, nothing too, or stands in its place. It must be a path already: nothing of it is resolved, so that no
    /// client reaches by a rewriting what it could not ask for.
    ///
    /// # Errors
    /// Empty and dot segments, or what cannot be normalised: the request is refused.
    pub fn replace_path(&mut self, path: &str) -> Result<(), RequestError> {
        if path.is_empty() {
            self.path = PathText::Own(Box::default());
            return Ok(());
        }
        self.set_path(crate::path::rewritten(path, self.path_options, true))
    }

    fn set_path(&mut self, path: Result<String, PathError>) -> Result<(), RequestError> {
        self.path = PathText::Own(path.map_err(RequestError::RewrittenPath)?.into());
        Ok(())
    }
}

/// A head as it was, for who may send the request from there once more, or answer from elsewhere.
pub(crate) struct Saved {
    pub(crate) headers: HeaderMap,
    pub(crate) present: Present,
    pub(crate) path: PathText,
    pub(crate) host: HeaderValue,
    omit_forwarded_for: bool,
}

impl Head<'_> {
    pub(crate) fn save(&self) -> Saved {
        Saved {
            headers: self.headers.clone(),
            present: self.present,
            path: self.path.clone(),
            host: self.host.clone(),
            omit_forwarded_for: self.omit_forwarded_for,
        }
    }

    pub(crate) fn restore(&mut self, saved: &Saved) {
        self.headers.clone_from(&saved.headers);
        self.present = saved.present;
        self.path.clone_from(&saved.path);
        self.host.clone_from(&saved.host);
        self.omit_forwarded_for = saved.omit_forwarded_for;
    }
}
