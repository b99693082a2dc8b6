//! The functions of templates: Go's own, those of sprig that need nothing but their arguments and the environment, and Traefik's
//! two. A name that Go or sprig knows and this does not is told as such. No message repeats a value.

use std::collections::BTreeMap;
use std::rc::Rc;

use regex::bytes::Regex;

use super::value::{self, Value};
use super::{Environment, MADE_BYTES_MAX, STEPS_MAX};
use crate::rule::go_regex;

mod collections;
mod encode;
mod logic;
mod numbers;
mod text;

/// Expressions of one rendering that are kept compiled.
const REGEXES_MAX: usize = 32;

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    least: usize,
    most: usize,
    pub(super) call: Call,
    /// Whether it changes the dictionary that it gets first.
    pub(super) changes_first: bool,
}

/// How a function is called.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    /// With all its arguments computed.
    With(fn(&mut Context<'_>, &[Value]) -> Answer),
    /// `and`, `or`: the first argument that is so, or the last one.
    First { until: bool },
}

/// What a function gives, or why it gives nothing.
pub(super) type Answer = Result<Value, String>;

/// Any number of arguments.
const ANY: usize = usize::MAX;

const fn function(
    name: &'static str,
    least: usize,
    most: usize,
    run: fn(&mut Context<'_>, &[Value]) -> Answer,
) -> Function {
    Function { name, least, most, call: Call::With(run), changes_first: false }
}

impl Function {
    const fn changing(mut self) -> Self {
        self.changes_first = true;
        self
    }

    /// Whether it can be called with so many arguments.
    pub(super) fn takes(&self, count: usize) -> Result<(), String> {
        let Self { least, most, .. } = *self;
        if (least..=most).contains(&count) {
            return Ok(());
        }
        let wanted = match (least, most) {
            (_, ANY) => format!("at least {least}"),
            _ if least == most => least.to_string(),
            _ => format!("{least} to {most}"),
        };
        Err(format!("it takes {wanted} arguments, here are {count}"))
    }

    /// Calls it.
    pub(super) fn run(&self, context: &mut Context<'_>, arguments: &[Value]) -> Answer {
        match self.call {
            Call::With(run) => run(context, arguments),
            Call::First { .. } => Ok(arguments.last().cloned().unwrap_or(Value::Nil)),
        }
    }
}

/// The function of a name.
///
/// # Errors
/// There is none; whether Go or sprig has one.
pub(super) fn find(name: &str) -> Result<&'static Function, String> {
    let tables = [logic::TABLE, text::TABLE, numbers::TABLE, collections::TABLE, encode::TABLE];
    // `mustX` fails where `X` gives something empty in sprig: here both tell.
    let plain = name.strip_prefix("must").map(|rest| {
        let mut chars = rest.chars();
        chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect())
    });
    let mut all = tables.iter().flat_map(|table| table.iter());
    let wanted = plain.filter(|plain| MUST.contains(&plain.as_str())).unwrap_or_else(|| name.to_owned());
    if let Some(found) = all.find(|function| function.name == wanted) {
        return Ok(found);
    }
    if LEFT_OUT.contains(&name) {
        return Err(format!(
            "the function `{name}` is not there: of Go's and sprig's only those are that need nothing but their \
             arguments and the environment"
        ));
    }
    Err(format!("there is no function {}", super::parse::shown(name)))
}

/// Functions that sprig has with `must` before their name too.
const MUST: &[&str] = &[
    "append",
    "prepend",
    "push",
    "first",
    "last",
    "rest",
    "initial",
    "compact",
    "has",
    "reverse",
    "slice",
    "uniq",
    "without",
    "chunk",
    "merge",
    "mergeOverwrite",
    "deepCopy",
    "fromJson",
    "toJson",
    "toPrettyJson",
    "toRawJson",
    "regexMatch",
    "regexFind",
    "regexFindAll",
    "regexReplaceAll",
    "regexReplaceAllLiteral",
    "regexSplit",
];

/// What Go or sprig has beyond that.
pub(super) const LEFT_OUT: &[&str] = &[
    "adler32sum",
    "ago",
    "b32dec",
    "b32enc",
    "bcrypt",
    "buildCustomCert",
    "call",
    "date",
    "dateInZone",
    "dateModify",
    "date_in_zone",
    "date_modify",
    "decryptAES",
    "derivePassword",
    "duration",
    "durationRound",
    "encryptAES",
    "genCA",
    "genCAWithKey",
    "genPrivateKey",
    "genSelfSignedCert",
    "genSelfSignedCertWithKey",
    "genSignedCert",
    "genSignedCertWithKey",
    "getHostByName",
    "hello",
    "htmlDate",
    "htmlDateInZone",
    "htpasswd",
    "js",
    "kindIs",
    "kindOf",
    "mustDateModify",
    "mustToDate",
    "must_date_modify",
    "now",
    "osBase",
    "osClean",
    "osDir",
    "osExt",
    "osIsAbs",
    "randAlpha",
    "randAlphaNum",
    "randAscii",
    "randBytes",
    "randInt",
    "randNumeric",
    "semver",
    "semverCompare",
    "shuffle",
    "toDate",
    "toDecimal",
    "typeIs",
    "typeIsLike",
    "typeOf",
    "unixEpoch",
    "urlJoin",
    "urlParse",
    "uuidv4",
    "wrap",
    "wrapWith",
    "addf",
    "add1f",
    "subf",
    "mulf",
    "divf",
    "maxf",
    "minf",
];

/// What functions may use, and how much of it is left.
pub(super) struct Context<'a> {
    environment: &'a Environment<'a>,
    steps_left: u64,
    made_left: u64,
    /// Where the call that runs now stands.
    pub(super) at: usize,
    unset: Vec<(String, usize)>,
    regexes: BTreeMap<String, Rc<Regex>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(environment: &'a Environment<'a>) -> Self {
        Self {
            environment,
            steps_left: STEPS_MAX,
            made_left: MADE_BYTES_MAX,
            at: 0,
            unset: Vec::new(),
            regexes: BTreeMap::new(),
        }
    }

    pub(super) fn into_unset(self) -> Vec<(String, usize)> {
        self.unset
    }

    /// Counts steps.
    pub(super) fn steps(&mut self, count: u64) -> Result<(), String> {
        let left = self.steps_left.checked_sub(count);
        self.steps_left = left.ok_or_else(|| format!("it takes more than {STEPS_MAX} steps"))?;
        Ok(())
    }

    /// Counts bytes before they are made. A step is worth some bytes.
    fn made(&mut self, bytes: usize) -> Result<(), String> {
        let bytes = bytes as u64;
        self.steps(1 + bytes / 256)?;
        let left = self.made_left.checked_sub(bytes);
        self.made_left =
            left.ok_or_else(|| format!("its functions make more than {MADE_BYTES_MAX} bytes"))?;
        Ok(())
    }

    fn text(&mut self, text: impl Into<Rc<str>>) -> Answer {
        let text: Rc<str> = text.into();
        self.made(text.len())?;
        Ok(Value::Text(text))
    }

    fn list(&mut self, items: Vec<Value>) -> Answer {
        self.made(items.len().saturating_mul(size_of::<Value>()))?;
        self.steps(items.len() as u64)?;
        Value::list(items)
    }

    fn map(&mut self, entries: BTreeMap<String, Value>) -> Answer {
        self.made(entries.len().saturating_mul(2 * size_of::<Value>()))?;
        self.steps(entries.len() as u64)?;
        Value::map(entries)
    }

    /// The form of `%v`.
    fn print(&mut self, value: &Value) -> Result<String, String> {
        self.steps(value.weight())?;
        let mut out = String::new();
        if !value.print_within(&mut out, super::OUTPUT_BYTES_MAX) {
            return Err("longer than any text may be".to_owned());
        }
        self.made(out.len())?;
        Ok(out)
    }

    /// What a variable of the environment holds; nothing if it is not set, which is noted.
    fn variable(&mut self, name: &str) -> String {
        if let Some(value) = (self.environment)(name) {
            return value;
        }
        const NOTED_MAX: usize = 32;
        if self.unset.len() < NOTED_MAX && !self.unset.iter().any(|(known, _)| known == name) {
            self.unset.push((name.to_owned(), self.at));
        }
        String::new()
    }

    fn regex(&mut self, pattern: &str) -> Result<Rc<Regex>, String> {
        if let Some(regex) = self.regexes.get(pattern) {
            return Ok(Rc::clone(regex));
        }
        const COMPILING_STEPS: u64 = 10_000;
        self.steps(COMPILING_STEPS)?;
        let regex = go_regex::compile(pattern)
            .map(Rc::new)
            .map_err(|reason| format!("not an expression: {reason}"))?;
        if self.regexes.len() < REGEXES_MAX {
            self.regexes.insert(pattern.to_owned(), Rc::clone(&regex));
        }
        Ok(regex)
    }
}

/// The argument at a place; there are as many as the table says.
fn argument(arguments: &[Value], index: usize) -> &Value {
    arguments.get(index).unwrap_or(&Value::Nil)
}

fn text_of(arguments: &[Value], index: usize) -> Result<&str, String> {
    match argument(arguments, index) {
        Value::Text(text) => Ok(text),
        other => Err(format!("argument {} is {}, not text", index + 1, other.kind())),
    }
}

fn items_of(arguments: &[Value], index: usize) -> Result<&[Value], String> {
    match argument(arguments, index) {
        Value::List(list) => Ok(&list.items),
        other => Err(format!("argument {} is {}, not a list", index + 1, other.kind())),
    }
}

fn entries_of(arguments: &[Value], index: usize) -> Result<&BTreeMap<String, Value>, String> {
    match argument(arguments, index) {
        Value::Map(map) => Ok(&map.entries),
        other => Err(format!("argument {} is {}, not a dictionary", index + 1, other.kind())),
    }
}

fn whole_of(arguments: &[Value], index: usize) -> Result<i64, String> {
    match argument(arguments, index) {
        Value::Integer(number) => Ok(*number),
        other => Err(format!("argument {} is {}, not a whole number", index + 1, other.kind())),
    }
}

/// As sprig's `toInt64`: what is no number is nought.
fn to_integer(value: &Value) -> i64 {
    match value {
        Value::Bool(flag) => i64::from(*flag),
        Value::Integer(number) => *number,
        Value::Float(number) => *number as i64,
        Value::Text(text) => {
            let whole = match text.split_once('.') {
                Some((whole, zeros)) if zeros.bytes().all(|byte| byte == b'0') => whole,
                _ => text,
            };
            value::integer(whole).unwrap_or(0)
        }
        Value::Nil | Value::List(_) | Value::Map(_) => 0,
    }
}

fn to_float(value: &Value) -> f64 {
    match value {
        Value::Float(number) => *number,
        Value::Text(text) => value::float(text).unwrap_or(0.0),
        other => to_integer(other) as f64,
    }
}
