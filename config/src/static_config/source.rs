//! Where the static configuration comes from: one file, or the flags, or the environment, never a mixture.
//!
//! The first that holds anything is the only one that is read, in this order, as in Traefik. Flags and variables become
//! the same tree that a file gives, so that everything behind judges one form.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::document::{self, Entry, Format, Node, Value};
use crate::options::{Field, STATIC, Type};
use crate::problem::{Position, Problem, Severity};

/// How problems cite the flags.
const COMMAND_LINE: &str = "command line";
/// How problems cite the environment.
const ENVIRONMENT: &str = "environment";
/// Highest index of a list in flags and variables.
const INDEX_MAX: usize = 1000;

/// What the process was given.
pub struct Inputs<'a> {
    /// Arguments without the program's name and without Ravelin's own.
    pub arguments: &'a [String],
    /// The whole environment; only `TRAEFIK_…`, `HOME` and `XDG_CONFIG_HOME` are looked at.
    pub environment: &'a [(String, String)],
    /// Reads a file; `None` if there is none of that name. See [`read_if_there`].
    pub read: &'a dyn Fn(&Path) -> std::io::Result<Option<String>>,
}

/// Reads a file from the disk, if there is one.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn read_if_there(path: &Path) -> std::io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// The command line.
    Flags,
    /// The environment.
    Environment,
    /// Nothing was given: defaults.
    Nothing,
}

impl Source {
    /// How problems cite it.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Flags => COMMAND_LINE.to_owned(),
            Self::Environment => ENVIRONMENT.to_owned(),
            Self::Nothing => "defaults".to_owned(),
        }
    }
}

/// Finds the source and reads it into a tree that holds static sections only.
pub(super) fn tree(inputs: &Inputs<'_>) -> Result<(Source, Node), Vec<Problem>> {
    let flags = flags(inputs.arguments).map_err(|problem| vec![*problem])?;
    for path in candidates(&flags, inputs.environment) {
        let shown = path.display().to_string();
        let refuse = |message: String| vec![Problem::error(&shown, Position::NONE, "", message)];
        let text = match (inputs.read)(&path) {
            Ok(Some(text)) => text,
            Ok(None) => continue,
            Err(error) => return Err(refuse(format!("cannot be read: {error}"))),
        };
        let Some(format) = Format::of_path(&path) else {
            return Err(refuse("unsupported file extension: .yaml, .yml and .toml work".to_owned()));
        };
        let root = sections_of(document::parse(&shown, &text, format)?.root);
        if root.entries().is_empty() {
            return Err(refuse(format!("no configuration found in file: {shown}")));
        }
        return Ok((Source::File(path), root));
    }
    let (flags, misplaced): (Vec<_>, Vec<_>) = flags.into_iter().partition(|flag| flag.name.is_some());
    if let Some(misplaced) = misplaced.first() {
        let message = format!("unexpected argument {:?}", misplaced.value);
        return Err(vec![Problem::error(COMMAND_LINE, Position::NONE, "", message)]);
    }
    let others = flags.iter().filter(|flag| !flag.is_config_file());
    let pairs =
        others.map(|flag| (path_of(flag.name.as_deref().unwrap_or_default(), '.'), flag.value.clone()));
    let pairs: Vec<_> = pairs.collect();
    if !flags.is_empty() {
        return Ok((Source::Flags, built(pairs)));
    }
    let pairs: Vec<_> = inputs.environment.iter().filter_map(variable).collect();
    if !pairs.is_empty() {
        return Ok((Source::Environment, built(pairs)));
    }
    Ok((Source::Nothing, Node::unplaced(Value::Map(Vec::new()))))
}

/// What to say where a file was named that is not there: Traefik looks elsewhere without a word.
pub(super) fn passed_over(inputs: &Inputs<'_>, source: &Source) -> Option<Problem> {
    let flags = flags(inputs.arguments).ok()?;
    let named = flags.iter().find(|flag| flag.is_config_file() && !flag.value.is_empty())?;
    if *source == Source::File(PathBuf::from(&named.value)) {
        return None;
    }
    let instead = source.name();
    let message = format!("there is no file {:?}: as in Traefik, what counts is: {instead}", named.value);
    let problem = Problem::error(COMMAND_LINE, Position::NONE, "configFile", message);
    Some(problem.severity(Severity::Warning))
}

/// The static sections of a file; others are ignored, so that one file may hold static and dynamic configuration.
pub(super) fn sections_of(root: Node) -> Node {
    let at = root.at;
    let known = |entry: &Entry| {
        entry.node.value != Value::Null
            && (STATIC.iter().any(|field| field.name.eq_ignore_ascii_case(&entry.key))
                || super::removed::is_section(&entry.key))
    };
    let entries = match root.value {
        Value::Map(entries) => entries.into_iter().filter(known).collect(),
        _ => Vec::new(),
    };
    Node { at, value: Value::Map(entries) }
}

/// Files in the order in which Traefik looks for them.
fn candidates(flags: &[Flag], environment: &[(String, String)]) -> Vec<PathBuf> {
    let named = flags.iter().filter(|flag| flag.is_config_file()).map(|flag| PathBuf::from(&flag.value));
    let variable =
        |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let folders = [
        Some("/etc/traefik/traefik".to_owned()),
        variable("XDG_CONFIG_HOME").map(|folder| format!("{folder}/traefik")),
        variable("HOME").map(|folder| format!("{folder}/.config/traefik")),
        Some("./traefik".to_owned()),
    ];
    let usual = folders.into_iter().flatten().flat_map(|base| {
        ["toml", "yaml", "yml"].map(|extension| PathBuf::from(format!("{base}.{extension}")))
    });
    named.filter(|path| !path.as_os_str().is_empty()).chain(usual).collect()
}

/// A flag, or (without a name) something else on the command line.
struct Flag {
    name: Option<String>,
    value: String,
}

impl Flag {
    fn is_config_file(&self) -> bool {
        self.name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case("configfile"))
    }
}

/// Takes the command line apart: `--name=value`, `--switch`, `--name value` where the name is that of no switch.
fn flags(arguments: &[String]) -> Result<Vec<Flag>, Box<Problem>> {
    let mut flags = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
            flags.push(Flag { name: None, value: argument.clone() });
            continue;
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        if name.is_empty() || name.starts_with('-') {
            let message = format!("bad flag syntax: {argument}");
            return Err(Box::new(Problem::error(COMMAND_LINE, Position::NONE, "", message)));
        }
        let value = match value {
            Some(value) => value,
            None if takes_value(name) => rest.next().cloned().ok_or_else(|| {
                let message = format!("flag needs an argument: --{name}");
                Box::new(
                    Problem::error(COMMAND_LINE, Position::NONE, name, message).mend("write --name=value"),
                )
            })?,
            None => "true".to_owned(),
        };
        flags.push(Flag { name: Some(name.to_owned()), value });
    }
    Ok(flags)
}

/// Whether a flag without `=` takes the next argument: those of text, numbers and lists do, switches do not.
fn takes_value(name: &str) -> bool {
    if name.eq_ignore_ascii_case("configfile") {
        return true;
    }
    let mut ty = Type::Group(STATIC);
    for step in path_of(name, '.') {
        let Some(next) = below(&ty, &step) else { return false };
        ty = next;
    }
    !matches!(ty, Type::Flag | Type::Free) && ty.fields().is_empty() && !matches!(ty, Type::Switch(_))
}

/// One step of a path: a key or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// `tls.domains[0].main` as steps. An index may also stand as a step of its own.
fn path_of(name: &str, separator: char) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut ty = Some(Type::Group(STATIC));
    for part in name.split(separator) {
        let (key, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
            Some((key, index)) => (key, index.parse().ok().filter(|index| *index <= INDEX_MAX)),
            None => (part, None),
        };
        let listed = matches!(ty, Some(Type::Groups(_)));
        let alone = if listed { part.parse().ok().filter(|index| *index <= INDEX_MAX) } else { None };
        let found = match (alone, index) {
            (Some(index), _) => vec![Step::Index(index)],
            (None, Some(index)) => vec![Step::Key(key.to_owned()), Step::Index(index)],
            (None, None) => vec![Step::Key(part.to_owned())],
        };
        for step in found {
            ty = ty.and_then(|ty| below(&ty, &step));
            steps.push(step);
        }
    }
    steps
}

/// The type one step below.
fn below(ty: &Type, step: &Step) -> Option<Type> {
    match (ty, step) {
        (Type::Group(fields) | Type::Switch(fields), Step::Key(key)) => {
            fields.iter().find(|field| field.name.eq_ignore_ascii_case(key)).map(|field: &Field| field.ty)
        }
        (Type::Named(fields), Step::Key(_)) | (Type::Groups(fields), Step::Index(_)) => {
            Some(Type::Group(fields))
        }
        (Type::TextMap, Step::Key(_)) => Some(Type::Text),
        (Type::Free, _) => Some(Type::Free),
        _ => None,
    }
}

/// A variable that names a static option. A variable that names no section at all is none of ours.
fn variable((name, value): &(String, String)) -> Option<(Vec<Step>, String)> {
    let rest = name.strip_prefix("TRAEFIK_")?.to_ascii_lowercase();
    let section = rest.split('_').next()?;
    let known = STATIC.iter().any(|field| field.name.eq_ignore_ascii_case(section));
    known.then(|| (path_of(&rest, '_'), value.clone()))
}

/// What grows into a [`Node`].
#[derive(Default)]
struct Branch {
    value: Option<String>,
    keys: Vec<(String, Branch)>,
    items: BTreeMap<usize, Branch>,
}

fn built(pairs: Vec<(Vec<Step>, String)>) -> Node {
    let mut root = Branch::default();
    for (steps, value) in pairs {
        let mut branch = &mut root;
        for step in steps {
            branch = match step {
                Step::Index(index) => branch.items.entry(index).or_default(),
                Step::Key(key) => {
                    let known = branch.keys.iter().position(|(known, _)| known.eq_ignore_ascii_case(&key));
                    let at = known.unwrap_or_else(|| {
                        branch.keys.push((key, Branch::default()));
                        branch.keys.len() - 1
                    });
                    &mut branch.keys[at].1
                }
            };
        }
        branch.value = Some(value);
    }
    let node = root.node();
    if node.value == Value::Null { Node::unplaced(Value::Map(Vec::new())) } else { node }
}

impl Branch {
    /// What stands below a switch goes before the switch's own value, as `--ping --ping.entryPoint=web` needs.
    fn node(self) -> Node {
        let value = if !self.items.is_empty() {
            Value::List(self.items.into_values().map(Self::node).collect())
        } else if !self.keys.is_empty() {
            let entry =
                |(key, branch): (String, Self)| Entry { key, at: Position::NONE, node: branch.node() };
            Value::Map(self.keys.into_iter().map(entry).collect())
        } else {
            self.value.map_or(Value::Null, Value::Text)
        };
        Node::unplaced(value)
    }
}
