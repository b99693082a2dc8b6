//! `errors`: where an answer has a certain status, another service's page takes its place. The page is asked for by GET, with the
//! request's fields or those that are named, and never with its body.

use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::{Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ravelin_config::dynamic::{self, StatusRanges};

use super::{Back, CompileError, Flow, Head, Kept, PathText, qualify};
use crate::body::ResponseBody;
use crate::service::Service;

/// What stands in a query as it is.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The middleware before its service is known.
#[derive(Debug)]
pub struct Settings {
    statuses: StatusRanges,
    rewrites: Box<[(StatusRanges, StatusCode)]>,
    pub(super) service: Arc<str>,
    target: String,
    /// The only fields that are passed on. Empty: all.
    fields: Box<[HeaderName]>,
}

/// The compiled middleware.
#[derive(Debug)]
pub struct Errors {
    settings: Arc<Settings>,
    service: Arc<Service>,
}

/// A page to ask for in place of an answer.
pub(crate) struct Page {
    pub(crate) service: Arc<Service>,
    pub(crate) path: PathText,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    /// What the client gets, whatever the page's own status.
    pub(crate) status: StatusCode,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("path", &self.path).field("status", &self.status).finish_non_exhaustive()
    }
}

impl Settings {
    /// From the configuration of the middleware of this qualified name.
    ///
    /// # Errors
    /// Statuses that are none, names that no field has.
    pub fn compile(name: &str, config: &dynamic::Errors) -> Result<Self, CompileError> {
        let value = |option, reason: String| CompileError::Value { option, reason };
        let statuses =
            StatusRanges::parse(&config.status).map_err(|error| value("status", error.to_string()))?;
        let rewrites = config.rewrites().map_err(|error| value("statusRewrites", error))?;
        let rewrites = rewrites.into_iter().map(|(from, to)| {
            let to = StatusCode::from_u16(to).map_err(|error| value("statusRewrites", error.to_string()))?;
            Ok((from, to))
        });
        let fields = config.error_request_headers.iter().map(|name| {
            name.trim().parse().map_err(|_| value("errorRequestHeaders", "no header name".to_owned()))
        });
        Ok(Self {
            statuses,
            rewrites: rewrites.collect::<Result<_, CompileError>>()?,
            service: qualify(&config.service, name),
            target: config.query.clone(),
            fields: fields.collect::<Result<_, CompileError>>()?,
        })
    }

    /// With its service.
    pub(super) fn bind(self: &Arc<Self>, service: Arc<Service>) -> Errors {
        Errors { settings: Arc::clone(self), service }
    }

    /// The target of the page for a request, as `url`, that came to `told`, and to `original` by itself.
    fn target(&self, told: StatusCode, original: StatusCode, url: &str) -> String {
        let escaped = utf8_percent_encode(url, QUERY).to_string();
        self.target
            .replace("{status}", told.as_str())
            .replace("{originalStatus}", original.as_str())
            .replace("{url}", &escaped)
    }

    fn headers(&self, headers: &HeaderMap) -> HeaderMap {
        if self.fields.is_empty() {
            let mut all = headers.clone();
            for name in [CONNECTION, UPGRADE, CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT] {
                all.remove(name);
            }
            return all;
        }
        let mut named = HeaderMap::with_capacity(self.fields.len());
        for name in &self.fields {
            for value in headers.get_all(name) {
                named.append(name, value.clone());
            }
        }
        named
    }
}

impl Errors {
    pub(super) fn request(&self) -> Flow {
        Flow::Next(Kept::Errors)
    }

    /// `head` is the request as it went on from here.
    pub(super) fn response(&self, response: &Response<ResponseBody>, head: &Head<'_>) -> Back {
        let original = response.status();
        if original == StatusCode::SWITCHING_PROTOCOLS || !self.settings.statuses.contains(original.as_u16())
        {
            return Back::Pass;
        }
        let rewrite = self.settings.rewrites.iter().find(|(from, _)| from.contains(original.as_u16()));
        let status = rewrite.map_or(original, |(_, to)| *to);
        let url = format!(
            "{}://{}{}{}{}",
            if head.tls { "https" } else { "http" },
            String::from_utf8_lossy(head.host.as_bytes()),
            head.path.as_str(),
            if head.query.is_some() { "?" } else { "" },
            head.query.unwrap_or_default()
        );
        let target = self.settings.target(status, original, &url);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target.as_str(), None),
        };
        // What a request may not ask for, no page may be.
        let Ok(path) = crate::path::rewritten(path, head.path_options, false) else { return Back::Pass };
        Back::Page(Box::new(Page {
            service: Arc::clone(&self.service),
            path: PathText::Own(path.into()),
            query,
            headers: self.settings.headers(head.headers),
            status,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::Sample;
    use super::*;
    use crate::error::bare;
    use crate::service::InternalService;

    fn config(query: &str) -> dynamic::Errors {
        dynamic::Errors {
            status: vec!["404-499".into(), "502".into()],
            status_rewrites: [("410-418", "403"), ("418", "404")]
                .map(|(from, to)| (from.to_owned(), to.to_owned()))
                .into(),
            service: "ping@internal".to_owned(),
            query: query.to_owned(),
            ..dynamic::Errors::default()
        }
    }

    fn page(config: &dynamic::Errors, sample: &mut Sample, status: u16) -> Option<(String, u16, HeaderMap)> {
        let settings = Arc::new(Settings::compile("e@file", config).expect("good"));
        let errors = settings.bind(Arc::new(Service::internal(InternalService::Ping)));
        let response = bare(status.try_into().expect("a status"), "");
        match sample.run(|head| errors.response(&response, head)) {
            Back::Pass => None,
            Back::Page(page) => {
                let query = page.query.map(|query| format!("?{query}")).unwrap_or_default();
                Some((format!("{}{query}", page.path.as_str()), page.status.as_u16(), page.headers))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pages_are_asked_for_by_what_happened() {
        let get = || Sample::new("POST", "/x?q=1 ");
        let config = config("{status}/{originalStatus}?u={url}");
        let asked = |status| page(&config, &mut get(), status).map(|(target, status, _)| (target, status));
        let target = |codes: &str| format!("/{codes}?u=http%3A%2F%2Fa.test%2Fx%3Fq%3D1%20");
        assert_eq!(asked(404), Some((target("404/404"), 404)));
        assert_eq!(asked(410), Some((target("403/410"), 403)));
        assert_eq!(asked(418), Some((target("404/418"), 404)), "a single code comes before a range");
        assert_eq!(asked(500), None);
        assert_eq!(asked(101), None);
    }

    #[test]
    fn fields_are_passed_as_named_and_never_those_of_the_body_or_connection() {
        let sample = || {
            Sample::new("GET", "/").field("x-one", "1").field("cookie", "a=b").field("upgrade", "websocket")
        };
        let names = |config: &dynamic::Errors| {
            let (_, _, headers) = page(config, &mut sample(), 404).expect("a page");
            let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
            names.sort();
            names
        };
        let mut config = config("/err");
        assert_eq!(names(&config), ["cookie", "x-one"]);
        config.error_request_headers = vec!["X-One".into(), "Accept".into()];
        assert_eq!(names(&config), ["x-one"]);
    }

    #[test]
    fn what_names_no_status_is_refused() {
        for (status, from, to) in
            [("5xx", "500", "200"), ("500", "5xx", "200"), ("500", "500", "ok"), ("500", "500", "99")]
        {
            let config = dynamic::Errors {
                status: vec![status.to_owned()],
                status_rewrites: [(from.to_owned(), to.to_owned())].into(),
                ..config("/")
            };
            assert!(Settings::compile("e@file", &config).is_err(), "{status} {from} {to}");
        }
    }

    proptest! {
        /// However a target looks, the page's path is one that a request may ask for, or there is no page.
        #[test]
        fn a_page_never_climbs(query in "[a-z./%{}?#\\\\]{0,30}") {
            if let Some((target, ..)) = page(&config(&query), &mut Sample::new("GET", "/x"), 404) {
                let path = target.split('?').next().expect("a path");
                prop_assert!(path.starts_with('/') && !path.split('/').any(|segment| segment == ".."), "{target}");
            }
        }
    }
}
