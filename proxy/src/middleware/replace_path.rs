//! `replacePath` and `replacePathRegex`: set the path, or rewrite it by an expression, and tell the old one in
//! `X-Replaced-Path`. What they make is a path, never a query; one that climbs is refused.

use http::{HeaderName, HeaderValue, StatusCode};
use ravelin_config::dynamic;

use super::pattern::Pattern;
use super::{CompileError, Flow, Head, Kept, answer};
use crate::error::{RequestError, plain_text};
use crate::path::{self, PathError};

const X_REPLACED_PATH: HeaderName = HeaderName::from_static("x-replaced-path");

/// The compiled `replacePath`.
#[derive(Debug)]
pub struct ReplacePath {
    path: Box<str>,
}

impl ReplacePath {
    /// From its configuration.
    ///
    /// # Errors
    /// A percent sign without two hexadecimal digits.
    pub fn compile(config: &dynamic::ReplacePath) -> Result<Self, CompileError> {
        match path::bad_escape(&config.path) {
            None => Ok(Self { path: config.path.as_str().into() }),
            Some(escape) => {
                Err(CompileError::Value { option: "path", reason: format!("invalid URL escape {escape:?}") })
            }
        }
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        replace(head, &self.path)
    }
}

/// The compiled `replacePathRegex`.
#[derive(Debug)]
pub struct ReplacePathRegex {
    pattern: Pattern,
}

impl ReplacePathRegex {
    /// From its configuration.
    ///
    /// # Errors
    /// An expression that cannot be compiled.
    pub fn compile(config: &dynamic::ReplacePathRegex) -> Result<Self, CompileError> {
        Ok(Self { pattern: Pattern::compile(&config.regex, config.replacement.trim())? })
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        match self.pattern.replace(head.path.as_str()) {
            Ok(None) => Flow::Next(Kept::Nothing),
            Ok(Some(path)) => replace(head, &path),
            Err(_) => Flow::Refuse(RequestError::BadTarget(PathError::Unwritable)),
        }
    }
}

fn replace(head: &mut Head<'_>, path: &str) -> Flow {
    if let Some(escape) = path::bad_escape(path) {
        let text = format!("invalid URL escape {escape:?}\n");
        return answer(plain_text(StatusCode::INTERNAL_SERVER_ERROR, text));
    }
    // A normalised path is always a field value.
    if let Ok(old) = HeaderValue::from_str(head.path.as_str()) {
        head.headers.append(X_REPLACED_PATH, old);
    }
    match head.replace_path(path) {
        Ok(()) => Flow::Next(Kept::Nothing),
        Err(error) => Flow::Refuse(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sample;
    use super::*;

    /// The new path and what is told of the old one, or the answer's status.
    fn outcome(act: impl FnOnce(&mut Head<'_>) -> Flow, path: &str) -> Result<(String, Option<String>), u16> {
        let mut sample = Sample::new("GET", path);
        match sample.run(act) {
            Flow::Next(_) => {
                let told = sample.headers.get(X_REPLACED_PATH);
                let told = told.map(|value| value.to_str().expect("ASCII").to_owned());
                Ok((sample.path, told))
            }
            Flow::Answer(answer) => Err(answer.status().as_u16()),
            Flow::Refuse(error) => Err(error.status().as_u16()),
            Flow::Around(_) | Flow::Later(_) | Flow::Fetch(_) => panic!("nothing to wait for"),
        }
    }

    fn rewrite(regex: &str, replacement: &str, path: &str) -> Result<(String, Option<String>), u16> {
        let config = dynamic::ReplacePathRegex { regex: regex.into(), replacement: replacement.into() };
        let middleware = ReplacePathRegex::compile(&config).expect("good");
        outcome(|head| middleware.request(head), path)
    }

    #[test]
    fn every_match_in_the_encoded_path_is_replaced() {
        let table = [
            ("^/old/(.*)", "/new/$1", "/old/a%2Fb", Some("/new/a%2Fb")),
            ("^/old/(.*)", "/new/$1", "/old", None),
            ("^/(?P<who>[a-z]+)/(?P<n>[0-9]+)$", "/${n}/${who}/$who", "/bob/42", Some("/42/bob/bob")),
            ("^/a", "/$$1", "/a/b", Some("/$1/b")),
            ("a", "bb", "/a/ab/c", Some("/bb/bbb/c")),
            ("^/gone.*", "", "/gone/x", Some("/")),
            ("^/item/(.*)", "/get?id=$1#x", "/item/7", Some("/get%3Fid=7%23x")),
            (" ^/a$ ", " /b ", "/a", Some("/b")),
            ("%2F", "/", "/x%2Fy", Some("/x/y")),
            ("^/", "x", "/abc", Some("/xabc")),
        ];
        for (regex, replacement, path, want) in table {
            let told = want.map(|_| path.to_owned());
            let want = (want.unwrap_or(path).to_owned(), told);
            assert_eq!(rewrite(regex, replacement, path), Ok(want), "{regex} {path}");
        }
    }

    #[test]
    fn what_climbs_doubles_slashes_or_cannot_be_decoded_is_refused() {
        let table = [
            ("^/f(.*)", "$1", "/f../x", 400),
            ("^/f(.*)", "$1", "/f..%2Fx", 400),
            ("^/(a+)/(b+)", "/$1x/${2}y", "/aa/bb", 400),
            ("", "/b", "/a", 400),
            ("^/(.*)$", "//x//$1/", "/a", 400),
            ("^/a(.*)", "/%z$1", "/ab", 500),
        ];
        for (regex, replacement, path, want) in table {
            assert_eq!(rewrite(regex, replacement, path), Err(want), "{regex} {path}");
        }
    }

    #[test]
    fn a_small_target_cannot_become_a_huge_one() {
        let path = format!("/{}", "a".repeat(60_000));
        assert_eq!(rewrite("a", &"b".repeat(1_000), &path), Err(400));
    }

    #[test]
    fn a_set_path_is_encoded_and_told() {
        let table =
            [("/new", "/new"), ("new", "/new"), ("/a b?c", "/a%20b%3Fc"), ("/%41%2f", "/A%2F"), ("", "/")];
        for (path, want) in table {
            let config = dynamic::ReplacePath { path: path.to_owned() };
            let middleware = ReplacePath::compile(&config).expect("good");
            let outcome = outcome(|head| middleware.request(head), "/old%2Fx");
            assert_eq!(outcome, Ok((want.to_owned(), Some("/old%2Fx".to_owned()))), "{path}");
        }
        assert!(ReplacePath::compile(&dynamic::ReplacePath { path: "/%zz".to_owned() }).is_err());
    }
}
