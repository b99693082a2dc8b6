//! The reference pages, printed from the table, and the list of deliberate differences.

use std::fmt::Write as _;

use super::{DYNAMIC, Field, STATIC, Support, Type};

mod differences;

pub use differences::DIFFERENCES;

/// Something that Ravelin does otherwise than Traefik on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In a few words.
    pub title: &'static str,
    /// What Traefik does.
    pub traefik: &'static str,
    /// What Ravelin does.
    pub ravelin: &'static str,
    /// Why.
    pub reason: &'static str,
    /// How to have it Traefik's way; none for framing, syntax and safety rules.
    pub restore: Option<&'static str>,
    /// The options whose use it concerns; none if it concerns every request alike.
    pub concerns: &'static [&'static str],
}

/// The page of differences.
pub fn differences_markdown() -> String {
    let mut out = String::from(
        "# Deliberate differences from Traefik\n\nMade from the table in `config/src/options/reference/differences.rs`. What does not \
         work *yet* stands in [options.md](options.md).\n`ravelin validate FILE` prints those that concern a file.\n",
    );
    for difference in DIFFERENCES {
        let Difference { title, traefik, ravelin, reason, restore, concerns: _ } = difference;
        let restore = restore.map_or("no".to_owned(), |restore| format!("`{restore}`"));
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "\n## {}\n- Traefik: {traefik}.\n- Ravelin: {ravelin}.\n- Why: {reason}.\n- Traefik's way possible: {restore}.\n",
            capital(title)
        );
    }
    out
}

/// The page of options.
pub fn options_markdown() -> String {
    let mut out = String::from(
        "# Options\n\nEvery option of Traefik v3.7 that Ravelin knows. Made from the table in `config/src/options/`; names match in \
         any case.\n\nWorks: **yes** as in Traefik, **differs** with the way it does, **not yet** with what is missing: an \
         object that uses it is in error,\na static section without its function starts and says so.\n",
    );
    for (title, fields) in [("Dynamic configuration", DYNAMIC), ("Static configuration", STATIC)] {
        let _ = write!(out, "\n## {title}\n\n| option | value | default | works |\n|---|---|---|---|\n");
        rows(fields, "", false, &mut out);
    }
    out
}

fn rows(fields: &[Field], path: &str, within_not_yet: bool, out: &mut String) {
    for field in fields {
        let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        let later = within_not_yet || matches!(field.support, Support::NotYet(_));
        let works = match field.support {
            _ if within_not_yet => "not yet".to_owned(),
            Support::Same => words_that_differ(&field.ty).unwrap_or_else(|| "yes".to_owned()),
            Support::Different(reason) => format!("differs: {reason}"),
            Support::NotYet(missing) => format!("not yet: {missing}"),
        };
        // A default with blanks is a description, unless it is a list.
        let described =
            field.default.is_empty() || (field.default.contains(' ') && !field.default.contains(','));
        let default = if described { field.default.to_owned() } else { format!("`{}`", field.default) };
        let value = match field.ty {
            Type::Choice(words) | Type::AnyCase(words) => {
                words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            }
            ty => ty.describe().to_owned(),
        };
        let leaf = field.ty.fields().is_empty();
        if leaf || field.support != Support::Same {
            let _ = writeln!(out, "| `{path}` | {value} | {default} | {works} |");
        }
        let below = match field.ty {
            Type::Named(_) => format!("{path}.*"),
            Type::Groups(_) => format!("{path}[]"),
            _ => path,
        };
        rows(field.ty.fields(), &below, later, out);
    }
}

/// What is to be said of single words of a choice.
fn words_that_differ(ty: &Type) -> Option<String> {
    let (Type::Choice(words) | Type::AnyCase(words)) = ty else { return None };
    let texts = words.iter().filter_map(|(_, support)| match support {
        Support::Same => None,
        Support::Different(text) | Support::NotYet(text) => Some(*text),
    });
    let texts: Vec<&str> = texts.collect();
    if texts.is_empty() { None } else { Some(format!("in part: {}", texts.join("; "))) }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
