//! A regular expression with its replacement, as Go reads both, bounded in time and size. It knows nothing of what it rewrites.

use ravelin_config::rule::go_regex;
use regex::bytes::Regex;

use super::CompileError;

/// Longest result in bytes: no request target is longer.
const RESULT_BYTES_MAX: usize = 65_534;

/// A compiled expression and what is put in the place of each match.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    replacement: Box<str>,
}

/// The result would be longer than any request target, or is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the result is longer than {RESULT_BYTES_MAX} bytes, or no text")]
pub(crate) struct Unfit;

/// A Go expression; blanks around it do not count.
pub(crate) fn compile(expression: &str) -> Result<Regex, CompileError> {
    go_regex::compile(expression.trim()).map_err(|reason| CompileError::Value { option: "regex", reason })
}

impl Pattern {
    /// From the configuration's texts.
    ///
    /// # Errors
    /// An expression that cannot be compiled.
    pub(crate) fn compile(expression: &str, replacement: &str) -> Result<Self, CompileError> {
        Ok(Self { regex: compile(expression)?, replacement: replacement.into() })
    }

    /// The text with every match replaced; `None` where nothing matches.
    ///
    /// # Errors
    /// [`Unfit`].
    pub(crate) fn replace(&self, text: &str) -> Result<Option<String>, Unfit> {
        let bytes = text.as_bytes();
        let mut out = Vec::new();
        let mut end = 0;
        let mut found = false;
        for captures in self.regex.captures_iter(bytes) {
            let Some(whole) = captures.get(0) else { continue };
            found = true;
            out.extend_from_slice(bytes.get(end..whole.start()).unwrap_or_default());
            captures.expand(self.replacement.as_bytes(), &mut out);
            end = whole.end();
            if out.len() > RESULT_BYTES_MAX {
                return Err(Unfit);
            }
        }
        if !found {
            return Ok(None);
        }
        out.extend_from_slice(bytes.get(end..).unwrap_or_default());
        if out.len() > RESULT_BYTES_MAX {
            return Err(Unfit);
        }
        String::from_utf8(out).map(Some).map_err(|_| Unfit)
    }
}
