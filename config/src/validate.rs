//! `ravelin validate`: everything that can be said of a configuration file before it runs.
//!
//! First each problem with its place and mend, then option by option what is the same as in Traefik, different, or not
//! working yet. It runs the very reader and judge that a running process has, and nothing else.

mod places;
mod render;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::check::{Checker, INTERNAL};
use crate::document::{self, Document, Entry, Format, Node, Value};
use crate::draft::{Draft, ReadFile, draft_with_files};
use crate::key::Key;
use crate::object::{Kind, Object, State};
use crate::options::{self, DIFFERENCES, DYNAMIC, Difference, STATIC, Support, Use};
use crate::problem::{Position, Problem, Severity};
use crate::static_config::{Judged, internal_objects, judge_document};
use crate::template::{self, Environment};

/// The name that provider `file` gives to what stands in the file.
const PROVIDER: &str = "file";

/// What is said of a file.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The file's name.
    pub file: String,
    /// Problems in the order of the text.
    pub problems: Vec<Problem>,
    /// Options that the file uses, by name.
    pub options: Vec<OptionUse>,
    /// Deliberate differences from Traefik that concern what the file uses.
    pub differences: Vec<&'static Difference>,
}

/// An option that the file uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionUse {
    /// The option, with `*` for names and `[]` for items.
    pub option: String,
    /// Where it is used first.
    pub at: Position,
    /// How often it is used.
    pub times: usize,
    /// Whether it works.
    pub support: Support,
}

impl Report {
    /// Whether the file can be run as it is: no error, and nothing that does not work yet in an object that is served.
    pub fn is_good(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity == Severity::Warning)
    }

    /// The status to exit with: 0 if the file is good, 1 if something in it is wrong, 3 if nothing is wrong but something
    /// does not work yet. (2 is that of a command line that cannot be read.)
    pub fn exit_status(&self) -> u8 {
        let any = |severity| self.problems.iter().any(|problem| problem.severity == severity);
        if any(Severity::Error) { 1 } else { u8::from(any(Severity::NotYet)) * 3 }
    }
}

/// Judges a text. `name` is how problems cite the file; `files` reads what certificates and keys name, `environment` what templates
/// ask for.
pub fn validate(
    name: &str,
    text: &str,
    format: Format,
    files: &ReadFile<'_>,
    environment: &Environment<'_>,
) -> Report {
    let mut report = Report { file: name.to_owned(), ..Report::default() };
    match read(name, text, format, environment) {
        Ok((document, unset)) => {
            report.problems = unset;
            Validation { report: &mut report, document: &document }.run(files);
        }
        Err(problems) => report.problems = problems,
    }
    report.problems.sort_by(|left, right| (left.at, &left.path).cmp(&(right.at, &right.path)));
    report
}

/// The text as the file provider would read it, with a warning for each variable of the environment that it misses here.
fn read(
    name: &str,
    text: &str,
    format: Format,
    environment: &Environment<'_>,
) -> Result<(Document, Vec<Problem>), Vec<Problem>> {
    let rendered = template::render_dynamic(name, text, format, environment);
    let Some(rendered) = rendered.map_err(|problem| vec![*problem])? else {
        return document::parse(name, text, format).map(|document| (document, Vec::new()));
    };
    let unset = rendered.unset.iter().map(|(variable, at)| {
        let message = format!(
            "template: the variable {variable} of the environment is not set here: it counts as empty"
        );
        let problem = Problem::error(name, *at, "", message).severity(Severity::Warning);
        problem.mend("run `validate` with the environment that Ravelin will have")
    });
    let unset = unset.collect();
    rendered.read(name, format).map(|document| (document, unset))
}

fn is_dynamic(entry: &Entry) -> bool {
    DYNAMIC.iter().any(|field| field.name.eq_ignore_ascii_case(&entry.key))
}

struct Validation<'a> {
    report: &'a mut Report,
    document: &'a Document,
}

impl Validation<'_> {
    fn run(mut self, files: &ReadFile<'_>) {
        let mut uses = Vec::new();
        let mut checker = Checker::default();
        match judge_document(self.document, files) {
            None => {
                checker.upsert(anything_internal(), []);
            }
            Some(Err(problems)) => {
                self.report.problems.extend(problems);
                checker.upsert(anything_internal(), []);
            }
            Some(Ok(judged)) => {
                let Judged { config: _, notes, draft, uses: used } = judged;
                self.report.problems.extend(notes);
                uses.extend(used);
                checker.replace_provider(&draft);
            }
        }
        self.dynamic(&mut checker, files, &mut uses);
        self.unknown_sections();
        self.count(uses);
    }

    fn dynamic(&mut self, checker: &mut Checker, files: &ReadFile<'_>, uses: &mut Vec<Use>) {
        let entries = self.document.root.entries().iter().filter(|entry| is_dynamic(entry));
        let entries: Vec<Entry> = entries.cloned().collect();
        if entries.is_empty() {
            return;
        }
        let root = Node { at: self.document.root.at, value: Value::Map(entries) };
        uses.extend(options::read(DYNAMIC, &root, "", true).uses);
        match draft_with_files(PROVIDER, std::slice::from_ref(self.document), files) {
            Ok(draft) => {
                self.report.problems.extend(draft.problems.iter().map(|(_, problem)| problem.clone()));
                checker.replace_provider(&draft);
                self.verdicts(checker, &draft);
            }
            Err(problems) => self.report.problems.extend(problems),
        }
    }

    /// What the check says beyond what was found in the text. What many objects suffer from one cause is said once.
    fn verdicts(&mut self, checker: &Checker, draft: &Draft) {
        let mut suffering: BTreeMap<String, Vec<(Position, String)>> = BTreeMap::new();
        // An object may be in error for nothing but what another needs and does not work yet.
        let weight = |error: &str, severity| match severity {
            Severity::Error if error.ends_with("not work yet") => Severity::NotYet,
            severity => severity,
        };
        for (key, record) in checker.records() {
            // Of sections that do not work yet everything was told at once.
            let works = key.kind().is_none_or(|kind| options::not_yet(kind).is_none());
            let Some(place) = draft.places.get(key).filter(|_| works) else { continue };
            let severity = match record.status.state {
                State::Enabled => continue,
                State::Warning => Severity::Warning,
                State::Disabled => Severity::Error,
            };
            let said = self.said_of(draft, key, &place.path);
            for error in &record.status.errors {
                if said.iter().any(|option| error.starts_with(option.as_str())) {
                    continue;
                }
                let (at, option) = places::of(error, &self.document.root, &place.path, place.at);
                if places::is_of_another(error) {
                    suffering.entry(error.clone()).or_default().push((at, option));
                    continue;
                }
                let message = error.strip_prefix(&format!("{}: ", relative(&option, &place.path)));
                let problem = Problem::error(&self.report.file, at, &option, message.unwrap_or(error));
                let problem = match places::mend(error) {
                    Some(mend) => problem.mend(mend),
                    None => problem,
                };
                self.report.problems.push(problem.severity(weight(error, severity)));
            }
        }
        for (error, places) in suffering {
            let Some((at, option)) = places.iter().min().cloned() else { continue };
            let more = match places.len() {
                1 => String::new(),
                count => format!(" (and {} more)", count - 1),
            };
            let problem = Problem::error(&self.report.file, at, &option, format!("{error}{more}"));
            self.report.problems.push(problem.severity(weight(&error, Severity::Error)));
        }
    }

    /// How status texts begin that say again what was found in the text: `option: `.
    fn said_of(&self, draft: &Draft, key: &Key, path: &str) -> BTreeSet<String> {
        let own = draft
            .problems
            .iter()
            .filter(|(of, problem)| of.as_ref() == Some(key) && problem.severity != Severity::Warning);
        own.map(|(_, problem)| {
            let option = relative(&problem.path, path);
            if option.is_empty() { ": expected".to_owned() } else { format!("{option}: ") }
        })
        .collect()
    }

    fn unknown_sections(&mut self) {
        let entries = self.document.root.entries();
        let names = || DYNAMIC.iter().chain(STATIC).map(|field| field.name);
        let mut any = false;
        for entry in entries {
            if names().any(|name| name.eq_ignore_ascii_case(&entry.key)) {
                any = true;
                continue;
            }
            if self.report.problems.iter().any(|problem| problem.at == entry.at) {
                continue; // An option of Traefik 2.
            }
            let message = "no section of this name: ignored, as in Traefik";
            let problem = Problem::error(&self.report.file, entry.at, &entry.key, message);
            let problem = match options::nearest(&entry.key, names()) {
                Some(near) => problem.mend(format!("did you mean `{near}`?")),
                None => problem,
            };
            self.report.problems.push(problem.severity(Severity::Warning));
        }
        if !any && self.report.problems.iter().all(|problem| problem.severity == Severity::Warning) {
            let message = "no configuration found in the file";
            let problem = Problem::error(&self.report.file, Position::NONE, "", message);
            self.report.problems.push(problem.mend("dynamic files begin with `http:` or `tls:`"));
        }
    }

    fn count(&mut self, uses: Vec<Use>) {
        let mut options: BTreeMap<(String, u8), OptionUse> = BTreeMap::new();
        for used in uses {
            let rank = match used.support {
                Support::Same => 0,
                Support::Different(_) => 1,
                Support::NotYet(_) => 2,
            };
            let option = options.entry((used.option.clone(), rank)).or_insert_with(|| OptionUse {
                option: used.option,
                at: used.at,
                times: 0,
                support: used.support,
            });
            option.times += 1;
            option.at = option.at.min(used.at);
        }
        self.report.options = options.into_values().collect();
        let touches = |difference: &&Difference| {
            let concerns = |pattern: &str| {
                self.report.options.iter().any(|used| {
                    used.option
                        .strip_prefix(pattern)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
                })
            };
            difference.concerns.iter().any(|pattern| concerns(pattern))
        };
        self.report.differences = DIFFERENCES.iter().filter(touches).collect();
    }
}

/// An option below an object.
fn relative<'a>(path: &'a str, object: &str) -> &'a str {
    path.strip_prefix(object).map_or(path, |rest| rest.trim_start_matches('.'))
}

/// Every internal object that can exist: a file without static sections may refer to any of them.
fn anything_internal() -> Vec<(Key, Object)> {
    let config = crate::static_config::StaticConfig {
        api: Some(crate::static_config::Api::default()),
        ping: Some(crate::static_config::Ping::default()),
        ..Default::default()
    };
    let services = |(key, _): &(Key, Arc<Object>)| {
        key.kind() == Some(Kind::HttpService) && key.provider() == Some(INTERNAL)
    };
    let objects = internal_objects(&config, None).objects.into_iter().filter(services);
    let workload = serde_json::json!({"workloadAPIAddr": "unix:///any"});
    let workload =
        Key::of(Kind::StaticSection, "spiffe").ok().zip(options::object(Kind::StaticSection, &workload).ok());
    objects.map(|(key, object)| (key, Arc::unwrap_or_clone(object))).chain(workload).collect()
}

#[cfg(test)]
mod tests;
