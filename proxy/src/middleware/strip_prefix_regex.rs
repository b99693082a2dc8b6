//! `stripPrefixRegex`: takes off the path what an expression finds at its beginning, and tells it in `X-Forwarded-Prefix`. The
//! expression sees the decoded path; what is left keeps its encoding.

use http::HeaderValue;
use ravelin_config::dynamic;
use regex::bytes::Regex;

use super::strip_prefix::strip;
use super::{CompileError, Flow, Head, Kept, pattern};
use crate::path;

/// The compiled middleware.
#[derive(Debug)]
pub struct StripPrefixRegex {
    expressions: Box<[Regex]>,
}

impl StripPrefixRegex {
    /// From its configuration.
    ///
    /// # Errors
    /// An expression that cannot be compiled.
    pub fn compile(config: &dynamic::StripPrefixRegex) -> Result<Self, CompileError> {
        let expressions = config.regex.iter().map(|text| pattern::compile(text)).collect::<Result<_, _>>()?;
        Ok(Self { expressions })
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        let decoded = path::decode(head.path.as_str().as_bytes());
        let found = self.expressions.iter().find_map(|expression| {
            let found = expression.find(&decoded)?.as_bytes();
            (!found.is_empty() && decoded.starts_with(found)).then_some(found)
        });
        // What is no field value is told to nobody, and stays.
        let prefix = found.and_then(|found| Some((found, HeaderValue::from_bytes(found).ok()?)));
        match prefix {
            Some((prefix, value)) => strip(head, prefix, value),
            None => Flow::Next(Kept::Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sample;
    use super::*;

    fn strip(expressions: &[&str], path: &str) -> (String, Option<String>) {
        let regex = expressions.iter().map(|&text| text.to_owned()).collect();
        let middleware = StripPrefixRegex::compile(&dynamic::StripPrefixRegex { regex }).expect("good");
        Sample::new("GET", path).stripped(|head| middleware.request(head))
    }

    #[test]
    fn what_begins_the_decoded_path_goes() {
        let expressions = ["/nowhere", "^/api/[0-9]+", "/[a-z]*"];
        let table = [
            ("/api/42/x", "/x", Some("/api/42")),
            ("/api/42", "/", Some("/api/42")),
            ("/api/x/42", "/x/42", Some("/api")),
            ("/%61pi/4%32/a%2Fb", "/a%2Fb", Some("/api/42")),
            ("/-/api/42", "/-/api/42", None),
        ];
        for (path, want, told) in table {
            let expressions = if told.is_none() { &expressions[..2] } else { &expressions[..] };
            assert_eq!(strip(expressions, path), (want.to_owned(), told.map(str::to_owned)), "{path}");
        }
        assert_eq!(strip(&["x*"], "/x"), ("/x".to_owned(), None), "an empty match is none");
    }

    #[test]
    fn an_expression_that_cannot_be_compiled_is_an_error() {
        let config = dynamic::StripPrefixRegex { regex: vec!["(".to_owned()] };
        assert!(StripPrefixRegex::compile(&config).is_err());
    }
}
