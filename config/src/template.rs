//! Go templates in files of the file provider, as far as people use them there: text, actions, pipelines, variables, blocks and
//! the functions of Go, of sprig and of Traefik that need nothing but their arguments and the environment.
//!
//! Everything is bounded: steps, output, what functions make, nesting. The same text with the same environment gives the same
//! bytes. It must not read clocks, files or sockets, and no message repeats a value: it may be a secret.

mod format;
mod functions;
mod lex;
mod nesting;
mod origin;
mod parse;
mod run;
mod value;

pub use origin::Origins;

use crate::document::{self, DOCUMENT_BYTES_MAX, Document, Entry, Format};
use crate::options::DYNAMIC;
use crate::problem::{Position, Problem};

/// Most steps of one rendering: one for each part that is carried out or called, and for each element that a function walks.
pub const STEPS_MAX: u64 = 10_000_000;
/// Longest result in bytes: a longer one could not be read either.
pub const OUTPUT_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
/// Most bytes that all functions of one rendering may make together.
pub const MADE_BYTES_MAX: u64 = 256 << 20;
/// Deepest nesting of blocks and parentheses in a text.
pub const NESTING_MAX: usize = 64;
/// Deepest nesting of what is carried out: blocks, parentheses, and templates that call templates.
pub const CALLS_MAX: usize = 100;
/// Deepest nesting of lists and dictionaries.
pub const VALUE_DEPTH_MAX: u32 = 32;
/// Most elements of a value, those of its elements included.
pub const VALUE_WEIGHT_MAX: u64 = 2_000_000;

/// What a variable of the environment holds; none if it is not set.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The environment of this process.
pub fn process_environment(name: &str) -> Option<String> {
    // The standard library takes such names for a mistake of the program.
    if name.is_empty() || name.contains(['=', '\0']) {
        return None;
    }
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// What a template gave.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Where it comes from, line by line.
    pub origins: Origins,
    /// Variables of the environment that were asked for and are not set, each once, with the first place.
    pub unset: Vec<(String, Position)>,
}

/// Something that keeps a template from being carried out, by its place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The byte of the text at which it stands.
    at: usize,
    message: String,
}

impl Fault {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}

/// Renders a text; `None` if it holds no action and so stays as it is.
///
/// # Errors
/// What is wrong in the template, with its place in the file.
pub fn render(
    name: &str,
    text: &str,
    environment: &Environment<'_>,
) -> Result<Option<Rendered>, Box<Problem>> {
    if !text.contains("{{") {
        return Ok(None);
    }
    let places = origin::Places::of(text);
    let told = |fault: Fault| {
        let message = format!("template: {}", fault.message);
        Box::new(Problem::error(name, places.position(fault.at), "", message))
    };
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(told(Fault::new(0, format!("longer than the {DOCUMENT_BYTES_MAX} bytes allowed"))));
    }
    let parsed = parse::parse(text).map_err(told)?;
    let outcome = run::run(&parsed, text, environment).map_err(told)?;
    let unset = outcome.unset.into_iter().map(|(name, at)| (name, places.position(at))).collect();
    let origins = Origins::new(&outcome.text, outcome.segments, places);
    Ok(Some(Rendered { text: outcome.text, origins, unset }))
}

/// As [`render`], but a text of static sections alone stays as it is: those are no template in Traefik either.
///
/// # Errors
/// As [`render`].
pub fn render_dynamic(
    name: &str,
    text: &str,
    format: Format,
    environment: &Environment<'_>,
) -> Result<Option<Rendered>, Box<Problem>> {
    let is_dynamic = |entry: &Entry| DYNAMIC.iter().any(|field| field.name.eq_ignore_ascii_case(&entry.key));
    let is_static = |document: Document| !document.root.entries().iter().any(is_dynamic);
    if !text.contains("{{") || document::parse(name, text, format).is_ok_and(is_static) {
        return Ok(None);
    }
    render(name, text, environment)
}

impl Rendered {
    /// Reads what the template gave. Every place is that in the file from which it comes.
    ///
    /// # Errors
    /// As [`document::parse`]; the places are those of the file, the messages tell the line of the text that was given.
    pub fn read(&self, name: &str, format: Format) -> Result<Document, Vec<Problem>> {
        let mut document = document::parse(name, &self.text, format).map_err(|mut problems| {
            for problem in &mut problems {
                if problem.at != Position::NONE {
                    let line = problem.at.line;
                    problem.at = self.origins.of(problem.at);
                    problem.message = format!("{} (line {line} of what the template gives)", problem.message);
                }
            }
            problems
        })?;
        self.origins.place(&mut document.root);
        Ok(document)
    }
}

#[cfg(test)]
mod tests;
