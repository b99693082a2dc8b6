//! `stripPrefix`: takes a prefix off the path and tells it in `X-Forwarded-Prefix`. It compares text, not segments, as Traefik
//! does; what is left is normalised again, so that nothing climbs.

use std::borrow::Cow;

use http::HeaderValue;
use ravelin_config::dynamic;

use super::{Flow, Head, Kept};
use crate::forwarded::{Present, X_FORWARDED_PREFIX};

/// The compiled middleware.
#[derive(Debug)]
pub struct StripPrefix {
    prefixes: Box<[(Box<str>, HeaderValue)]>,
}

impl StripPrefix {
    /// From its configuration. A prefix that cannot be a field value never fits a path either, and is left out.
    pub fn compile(config: &dynamic::StripPrefix) -> Self {
        let prefixes = config
            .prefixes
            .iter()
            .map(|prefix| prefix.trim())
            .filter_map(|prefix| Some((prefix.into(), HeaderValue::from_str(prefix).ok()?)))
            .collect();
        Self { prefixes }
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        let path = head.path.as_str();
        let found = self.prefixes.iter().find(|(prefix, _)| rest_after(path, prefix.as_bytes()).is_some());
        match found {
            Some((prefix, value)) => strip(head, prefix.as_bytes(), value.clone()),
            None => Flow::Next(Kept::Nothing),
        }
    }
}

/// Takes a prefix of the decoded path away and tells it. What is left must be a path by itself.
pub(super) fn strip(head: &mut Head<'_>, prefix: &[u8], told: HeaderValue) -> Flow {
    let Some(rest) = rest_after(head.path.as_str(), prefix).map(Cow::into_owned) else {
        return Flow::Next(Kept::Nothing);
    };
    head.headers.append(X_FORWARDED_PREFIX, told);
    head.present = head.present.and(Present::FORWARDING);
    match head.replace_path(&rest) {
        Ok(()) => Flow::Next(Kept::Nothing),
        Err(error) => Flow::Refuse(error),
    }
}

/// What is left of an encoded path after a prefix of its decoded form: nothing, or a path with a leading slash; `None` if it
/// does not fit.
fn rest_after<'p>(path: &'p str, prefix: &[u8]) -> Option<Cow<'p, str>> {
    let mut rest = path.as_bytes();
    for &wanted in prefix {
        let (byte, after) = decoded_first(rest)?;
        if byte != wanted {
            return None;
        }
        rest = after;
    }
    // The prefix ended at the end of an escape or of a character, so that the rest is text.
    let rest = std::str::from_utf8(rest).ok()?;
    Some(match rest.strip_prefix("%2F") {
        _ if rest.is_empty() || rest.starts_with('/') => Cow::Borrowed(rest),
        Some(tail) => Cow::Owned(format!("/{tail}")),
        None => Cow::Owned(format!("/{rest}")),
    })
}

fn decoded_first(path: &[u8]) -> Option<(u8, &[u8])> {
    match path {
        [b'%', high, low, rest @ ..] => {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            Some((digit(*high)? << 4 | digit(*low)?, rest))
        }
        [byte, rest @ ..] => Some((*byte, rest)),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sample;
    use super::*;

    fn strip(prefixes: &[&str], path: &str) -> (String, Option<String>) {
        let config = dynamic::StripPrefix {
            prefixes: prefixes.iter().map(|&prefix| prefix.to_owned()).collect(),
            force_slash: None,
        };
        Sample::new("GET", path).stripped(|head| StripPrefix::compile(&config).request(head))
    }

    #[test]
    fn the_first_listed_prefix_that_fits_goes() {
        let prefixes = ["/api", "/v1/", "/api/deep", " /trim "];
        let table = [
            ("/api", "/", Some("/api")),
            ("/api/", "/", Some("/api")),
            ("/api/x", "/x", Some("/api")),
            ("/apix", "/x", Some("/api")),
            ("/API/x", "/API/x", None),
            ("/v1", "/v1", None),
            ("/v1/x", "/x", Some("/v1/")),
            ("/api/deep/x", "/deep/x", Some("/api")),
            ("/trim/x", "/x", Some("/trim")),
            ("/other/api/x", "/other/api/x", None),
            ("/api/api/x", "/api/x", Some("/api")),
            ("/api/x/", "/x/", Some("/api")),
            ("/api%2Fx", "/x", Some("/api")),
            ("/api/a%2Fb", "/a%2Fb", Some("/api")),
            ("/ap%69/x", "/x", Some("/api")),
        ];
        for (path, want, told) in table {
            assert_eq!(strip(&prefixes, path), (want.to_owned(), told.map(str::to_owned)), "{path}");
        }
        assert_eq!(strip(&[""], "/x"), ("/x".to_owned(), Some(String::new())));
        assert_eq!(strip(&["/"], "/x"), ("/x".to_owned(), Some("/".to_owned())));
        assert_eq!(strip(&["api"], "/api/x"), ("/api/x".to_owned(), None));
        assert_eq!(strip(&["/a b"], "/a%20b/x"), ("/x".to_owned(), Some("/a b".to_owned())));
    }

    #[test]
    fn a_rest_that_climbs_is_refused() {
        let config = dynamic::StripPrefix { prefixes: vec!["/api".into()], force_slash: None };
        for path in ["/api../admin", "/api.;/x", "/api./x", "/api%2F/x"] {
            let mut sample = Sample::new("GET", path);
            match sample.run(|head| StripPrefix::compile(&config).request(head)) {
                Flow::Refuse(error) => assert_eq!(error.status(), 400, "{path}"),
                other => panic!("{path}: {other:?}"),
            }
        }
    }
}
