//! The form of golden scripts, whatever their commands mean: a stanza is a command line, `----`, the answer, and an empty
//! line; lines that begin with `#` explain. It must not know any command.

use std::collections::BTreeMap;
use std::io;
use std::panic::{RefUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ravelin_consensus::{Index, NodeId, Term};

/// A command line: words in order and `key=value` pairs.
pub(crate) struct Words<'a> {
    pub(crate) line: &'a str,
    pub(crate) plain: Vec<&'a str>,
    pub(crate) keyed: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    pub(crate) fn of(line: &'a str) -> Words<'a> {
        let mut words = Words { line, plain: Vec::new(), keyed: BTreeMap::new() };
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) => {
                    words.keyed.insert(key, value);
                }
                None => words.plain.push(word),
            }
        }
        words
    }

    pub(crate) fn number(&self, at: usize) -> u64 {
        let word = self.plain.get(at).unwrap_or_else(|| panic!("{}: word {at} is missing", self.line));
        word.parse().unwrap_or_else(|_| panic!("{}: {word} is no number", self.line))
    }

    pub(crate) fn node(&self, at: usize) -> NodeId {
        NodeId(self.number(at))
    }

    pub(crate) fn key(&self, key: &str) -> Option<u64> {
        self.keyed.get(key).map(|value| value.parse().unwrap_or_else(|_| panic!("{}: {key}", self.line)))
    }

    /// `key=1,2,3`.
    pub(crate) fn nodes(&self, key: &str) -> Vec<NodeId> {
        let list = self.keyed.get(key).copied().unwrap_or_default();
        let ids = list.split(',').filter(|id| !id.is_empty());
        ids.map(|id| NodeId(id.parse().unwrap_or_else(|_| panic!("{}: {key}", self.line)))).collect()
    }

    /// `key=index/term`.
    pub(crate) fn place(&self, key: &str) -> (Index, Term) {
        let Some(value) = self.keyed.get(key) else { return (Index::ZERO, Term(0)) };
        let (index, term) =
            value.split_once('/').unwrap_or_else(|| panic!("{}: {key} is index/term", self.line));
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{}: {key}", self.line));
        (Index(number(index)), Term(number(term)))
    }
}

/// A script with the answers of this run.
pub(crate) fn answered(text: &str, run: &mut dyn FnMut(&str) -> String) -> String {
    let mut written = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        written += line;
        written.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        while lines.peek().is_some_and(|line| !line.is_empty()) {
            lines.next();
        }
        written += "----\n";
        written += &run(line);
    }
    written
}

/// The scripts of a folder, by name.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<PathBuf>>>()?;
    files.sort();
    Ok(files)
}

/// The scripts of a folder that do not answer as written, each in a line that begins with its name. One that panics is
/// one of them.
pub(crate) fn broken(
    folder: &Path,
    answered: impl Fn(&str) -> String + RefUnwindSafe,
) -> io::Result<Vec<String>> {
    let mut broken = Vec::new();
    for file in files(folder)? {
        let text = std::fs::read_to_string(&file)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match catch_unwind(|| answered(&text)) {
            Ok(answer) => broken.extend(difference(&text, &answer).map(|what| format!("{name} {what}"))),
            Err(panic) => {
                let said = panic.downcast_ref::<String>().map_or("it panics", String::as_str);
                broken.push(format!("{name}: {said}"));
            }
        }
    }
    Ok(broken)
}

/// Where an answer first differs from what is written.
pub(crate) fn difference(written: &str, answer: &str) -> Option<String> {
    let mut lines =
        (1..).zip(answer.lines().map(Some).chain([None]).zip(written.lines().map(Some).chain([None])));
    let (line, (new, old)) = lines.find(|(_, (new, old))| new != old)?;
    Some(format!("line {line}: expected {:?}, the answer is {:?}", old.unwrap_or(""), new.unwrap_or("")))
}

/// The test of a folder: every script of it answers as written, and there are at least so many. `RAVELIN_REWRITE=1` writes
/// the answers anew; read the difference before committing it.
pub(crate) fn assert_answered(
    folder: &Path,
    scripts_min: usize,
    answered: impl Fn(&str) -> String + RefUnwindSafe,
) {
    let files = files(folder).expect("the folder of scripts is committed");
    assert!(files.len() >= scripts_min, "{} scripts were found", files.len());
    if std::env::var_os("RAVELIN_REWRITE").is_some() {
        for file in &files {
            let text = std::fs::read_to_string(file).expect("a script is text");
            std::fs::write(file, answered(&text)).expect("the script can be written");
        }
    }
    let broken = broken(folder, answered).expect("a script is text");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
