//! A problem in a configuration text: where it stands, what is wrong, and how to mend it.
//!
//! Every reader of configuration speaks in these; who shows them decides the form.

use std::fmt;

/// A place in a text. Lines and columns count from 1; columns count characters. Line 0 means "no place" (a flag, an
/// environment variable, an object that came without text).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Position {
    /// No place in a text.
    pub const NONE: Self = Self { line: 0, column: 0 };
}

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The object is in error and not served as written (or, in a static section, the start is refused).
    Error,
    /// Traefik knows the option, Ravelin does not yet do it. In a dynamic object this is also an error of that object.
    NotYet,
    /// Taken, but probably not what was meant.
    Warning,
}

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file's name as it was given, or what stands for it (`flag`, `environment`).
    pub file: String,
    /// Where in the file.
    pub at: Position,
    /// The option, as `http.routers.web.rule`; empty where the text itself is broken.
    pub path: String,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// How to mend it, where that is known.
    pub mend: Option<String>,
    /// How much it matters.
    pub severity: Severity,
}

impl Problem {
    /// An error without a known mend.
    pub fn error(file: &str, at: Position, path: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            at,
            path: path.to_owned(),
            message: message.into(),
            mend: None,
            severity: Severity::Error,
        }
    }

    /// The same problem with a mend.
    #[must_use]
    pub fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }

    /// The same problem with another weight.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

impl fmt::Display for Problem {
    /// `dynamic.yaml:5:12: http.routers.web.midlewares: unknown option (did you mean `middlewares`?)`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.file)?;
        if self.at != Position::NONE {
            write!(out, ":{}:{}", self.at.line, self.at.column)?;
        }
        if !self.path.is_empty() {
            write!(out, ": {}", self.path)?;
        }
        write!(out, ": {}", self.message)?;
        if let Some(mend) = &self.mend {
            write!(out, " ({mend})")?;
        }
        Ok(())
    }
}
