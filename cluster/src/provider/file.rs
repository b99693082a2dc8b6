//! The file provider: a file or a directory in Traefik's formats, read at start and on change.
//!
//! What counts is the content, not the events: any hint leads to a look, and only another content to a draft. So renames,
//! symlink swaps, editors and missed events all come out the same. The content is that of the documents and of every
//! file that they name in the place of a text (certificates, keys): a renewed certificate is taken up without a touch to
//! the document.
//!
//! What is guaranteed: a change is read when its files have rested for 100 ms, so that a text that is written in pieces
//! is read whole as long as the writer does not pause for longer (rename a finished file into place where it may), and
//! within 200 ms after that where the system tells of changes, else within seconds. A file that is moved into its place is
//! whole and read at once. A source that never rests is read as it stands after five seconds.
//!
//! It must not keep objects of a text that it cannot read, nor take a missing or broken file for an empty one: then
//! everything stays as it was, and the reason is told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use ravelin_config::draft::Place;
use ravelin_config::{Draft, Key, secret};
use ravelin_transport::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{DraftOutcome, FileSource, FileSpec, ObjectOutcome, Provider, ProviderUpdate, Surroundings};
use crate::request::status::ProviderState;

mod read;
pub(super) mod throttle;

use read::{Content, Look, Patience, Seen};
use throttle::Throttle;

/// How long a burst of hints is gathered before a look: an editor writes, renames and touches in one go.
const SETTLE: Duration = Duration::from_millis(25);
/// How often to look without a hint: hints get lost (network file systems, watch limits).
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How long a source may go on changing until it is read as it stands.
const RESTLESS_MAX: Duration = Duration::from_secs(5);
/// Directories of named files that are watched; files beyond are looked at by time.
const WATCHED_MAX: usize = 64;
/// Lines about single objects in the log after one draft.
const LINES_MAX: usize = 32;
/// Objects of templates that the log shows after one draft.
const GENERATED_MAX: usize = 1024;
/// How often to look while the source cannot be read, or cannot be watched.
const ANXIOUS_INTERVAL: Duration = Duration::from_millis(500);

/// The file provider.
#[derive(Debug)]
pub struct FileProvider {
    spec: FileSpec,
}

impl FileProvider {
    /// A provider of this file or directory.
    pub fn new(spec: FileSpec) -> Self {
        Self { spec }
    }
}

/// Reads a source once, as the provider would. May block for as long as the file system does.
///
/// # Errors
/// It is not there, or cannot be read as configuration: one line each.
pub fn read_once(source: &FileSource) -> Result<Draft, Vec<String>> {
    match read::look(source, None, Patience::Spent) {
        Look::Changed(_, content) => Ok(content.draft),
        Look::Missing(reason) => Err(vec![reason]),
        Look::Unreadable(_, problems) => Err(problems),
        // Only what was seen before is the same, and only the patient wait.
        Look::Same(_) | Look::Fleeting => Err(vec!["it is being changed".to_owned()]),
    }
}

impl Provider for FileProvider {
    fn name(&self) -> &str {
        "file"
    }

    fn run(self: Box<Self>, surroundings: Surroundings) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let stop = surroundings.stop.clone();
            let mut run = Run::new(self.spec, surroundings);
            tokio::select! {
                () = stop.cancelled() => {}
                () = run.forever() => {}
            }
        })
    }
}

struct Run {
    spec: FileSpec,
    surroundings: Surroundings,
    throttle: Throttle,
    watch: Watch,
    /// What the last draft or complaint was about.
    seen: Option<Arc<Seen>>,
    last: Option<Arc<Draft>>,
    /// The objects in error that the log was told of.
    told: Arc<BTreeMap<Key, Vec<String>>>,
    /// What the log was told of the text beside its objects.
    general: Vec<String>,
    failing: Option<(u64, Vec<String>)>,
}

impl Run {
    fn new(spec: FileSpec, surroundings: Surroundings) -> Self {
        let throttle = Throttle::new(spec.throttle);
        let watch = Watch::new(spec.watch);
        Self {
            spec,
            surroundings,
            throttle,
            watch,
            seen: None,
            last: None,
            told: Arc::default(),
            general: Vec::new(),
            failing: None,
        }
    }

    async fn forever(&mut self) {
        let state = ProviderState::Starting;
        self.surroundings.updates.send(ProviderUpdate::State { provider: "file".to_owned(), state }).await;
        loop {
            // Watch first, then look: what changes in between gives a hint.
            let watched = directories(&self.spec.source, self.seen.as_deref());
            let anxious = !self.watch.aim(&watched, &self.spec.source) || self.failing.is_some();
            self.look().await;
            if directories(&self.spec.source, self.seen.as_deref()) != watched {
                // The documents name files elsewhere by now.
                continue;
            }
            self.wait(anxious).await;
        }
    }

    /// Waits for a hint, the next look by time, or a person's wish. Without a watch only a person makes it read again; an
    /// error at the start is one too.
    async fn wait(&mut self, anxious: bool) {
        let next = Instant::now() + if anxious { ANXIOUS_INTERVAL } else { LOOK_INTERVAL };
        loop {
            tokio::select! {
                Ok(()) = self.surroundings.outcome.changed() => self.tell(),
                Ok(()) = self.surroundings.reload.changed() => {
                    self.seen = None;
                    return;
                }
                () = self.watch.hinted(), if self.spec.watch => {
                    // What was moved into place is there as a whole: no burst follows.
                    if !self.watch.moved.load(Ordering::Acquire) {
                        tokio::time::sleep(SETTLE).await;
                    }
                    self.watch.forget_hints();
                    return;
                }
                () = tokio::time::sleep_until(next), if self.spec.watch => return,
                // Nobody is left who could ask; the run is about to be stopped.
                else => std::future::pending().await,
            }
        }
    }

    /// Says in the log what became of the last draft: object by object what is refused, and when the rest is served.
    fn tell(&mut self) {
        let Some(outcome) = self.surroundings.outcome.borrow_and_update().clone() else { return };
        match &outcome {
            DraftOutcome::Refused { problems } => {
                let mut problems = problems.clone();
                crate::node::journal::bound_texts(&mut problems);
                tracing::error!(
                    problems = problems.join("; "),
                    "what the file provider wants was refused as a whole; everything stays as it was"
                );
            }
            DraftOutcome::Accepted { generation, refused, serving } => {
                // Also where it is served already: only the latest outcome is kept, and the one before may never have been seen.
                for line in news(&outcome, &self.told, refused) {
                    tracing::warn!("{line}");
                }
                self.told = Arc::clone(refused);
                if !serving {
                    return;
                }
                let objects = self.last.as_ref().map_or(0, |draft| draft.objects.len());
                let good = objects.saturating_sub(refused.len());
                tracing::info!(%generation, objects = good, in_error = refused.len(), "every proxy serves it");
            }
        }
    }

    async fn look(&mut self) {
        let begun = Instant::now();
        loop {
            let (source, seen) = (self.spec.source.clone(), self.seen.clone());
            let patience = match begun.elapsed() < RESTLESS_MAX {
                // Said of one look: whatever is written next is another matter.
                true if self.watch.moved.swap(false, Ordering::AcqRel) => Patience::Moved,
                true => Patience::Rest,
                false => Patience::Spent,
            };
            let reads = Instant::now();
            // Reading and parsing may take a while and must not hold up other tasks.
            let look = tokio::task::spawn_blocking(move || read::look(&source, seen.as_deref(), patience));
            match look.await {
                Err(_) => return,
                Ok(Look::Fleeting) => tokio::time::sleep(SETTLE).await,
                Ok(Look::Same(seen)) => return self.seen = Some(Arc::new(seen)),
                Ok(Look::Missing(reason)) => return self.fail(None, vec![reason]).await,
                Ok(Look::Unreadable(seen, problems)) => return self.fail(Some(seen), problems).await,
                Ok(Look::Changed(seen, content)) => return self.take(seen, content, reads.elapsed()).await,
            }
        }
    }

    async fn take(&mut self, seen: Seen, content: Content, read: Duration) {
        let Content { mut draft, explicitly_empty, templates } = content;
        if self.spec.log_generated {
            for line in generated(&draft, &templates) {
                tracing::debug!("{line}");
            }
        }
        self.throttle.wait().await;
        if let Some(last) = &self.last {
            draft.keep_unchanged(last);
        }
        let general = general(&draft);
        if general != self.general {
            for line in &general {
                tracing::warn!("{line}");
            }
            self.general = general;
        }
        // Told above where they count; nobody asks for them later.
        draft.places = BTreeMap::new();
        let draft = Arc::new(draft);
        self.seen = Some(Arc::new(seen));
        self.last = Some(Arc::clone(&draft));
        self.failing = None;
        self.surroundings.updates.send(ProviderUpdate::Draft { draft, read }).await;
        let state = if explicitly_empty { ProviderState::Empty } else { ProviderState::Connected };
        self.surroundings.updates.send(ProviderUpdate::State { provider: "file".to_owned(), state }).await;
    }

    async fn fail(&mut self, seen: Option<Seen>, mut reasons: Vec<String>) {
        crate::node::journal::bound_texts(&mut reasons);
        // What comes back after it was missing is looked at anew, also unchanged.
        self.seen = seen.map(Arc::new);
        let since_micros = match &self.failing {
            Some((_, told)) if *told == reasons => return,
            Some((since, _)) => *since,
            None => micros_since_1970(),
        };
        tracing::error!(
            reasons = reasons.join("; "),
            "the file provider cannot read what it is given; everything stays as it was"
        );
        self.failing = Some((since_micros, reasons.clone()));
        let state = ProviderState::Failing { since_micros, reasons };
        self.surroundings.updates.send(ProviderUpdate::State { provider: "file".to_owned(), state }).await;
    }
}

/// What templates gave, object by object with `…` for each secret: the text itself would show them. At most
/// [`GENERATED_MAX`] lines and one that counts the rest.
fn generated(draft: &Draft, templates: &BTreeSet<String>) -> Vec<String> {
    let of_template = |place: &Place| templates.contains(&*place.file);
    let mut places = draft.places.iter().filter(|(_, place)| of_template(place));
    let line = |(key, place): (&Key, &Place)| {
        let object = draft.objects.get(key).map(|object| secret::shown_object(object));
        format!("{}:{}: the template gives {key}: {}", place.file, place.at.line, object.unwrap_or_default())
    };
    let mut lines: Vec<String> = places.by_ref().take(GENERATED_MAX).map(line).collect();
    let more = places.count();
    if more > 0 {
        lines.push(format!("and {more} more objects"));
    }
    lines
}

/// What is new about single objects since the log was told last, at most [`LINES_MAX`] lines and one that counts the rest.
fn news(
    outcome: &DraftOutcome,
    told: &BTreeMap<Key, Vec<String>>,
    refused: &BTreeMap<Key, Vec<String>>,
) -> Vec<String> {
    let changed = refused.iter().filter(|(key, reasons)| told.get(*key) != Some(reasons)).map(|(key, _)| key);
    let mended = told.keys().filter(|key| !refused.contains_key(*key));
    let mut keys = changed.chain(mended);
    let line = |key: &Key| match outcome.of(key) {
        ObjectOutcome::Refused(reasons) => format!("{key} is in error: {}", reasons.join("; ")),
        ObjectOutcome::Accepted | ObjectOutcome::Serving => format!("{key} is no longer in error"),
    };
    let mut lines: Vec<String> = keys.by_ref().take(LINES_MAX).map(line).collect();
    let more = keys.count();
    if more > 0 {
        lines.push(format!("and {more} more objects: `ravelin get` shows their state"));
    }
    lines
}

/// What is wrong with the text beside its objects: no object says so. At most [`LINES_MAX`] lines and one that counts the rest.
fn general(draft: &Draft) -> Vec<String> {
    let mut problems = draft.problems.iter().filter(|(key, _)| key.is_none()).map(|(_, problem)| problem);
    let mut lines: Vec<String> = problems.by_ref().take(LINES_MAX).map(ToString::to_string).collect();
    let more = problems.count();
    if more > 0 {
        lines.push(format!("and {more} more: `ravelin validate` shows them all"));
    }
    lines
}

fn micros_since_1970() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Hints that something may have changed: from the operating system where it can give them.
struct Watch {
    wanted: bool,
    watcher: Option<RecommendedWatcher>,
    aimed_at: Vec<(PathBuf, RecursiveMode)>,
    hint: mpsc::Sender<()>,
    hints: mpsc::Receiver<()>,
    /// Whether the last thing that happened to the file is that it was moved into its place.
    moved: Arc<AtomicBool>,
}

impl Watch {
    fn new(wanted: bool) -> Self {
        // One place: a hint that is there already says everything.
        let (hint, hints) = mpsc::channel(1);
        Self { wanted, watcher: None, aimed_at: Vec::new(), hint, hints, moved: Arc::default() }
    }

    /// Makes sure that the right directories are watched; false if they cannot be.
    fn aim(&mut self, wanted: &[(PathBuf, RecursiveMode)], source: &FileSource) -> bool {
        if !self.wanted {
            return true;
        }
        if self.watcher.is_some() && wanted == self.aimed_at && !wanted.is_empty() {
            return true;
        }
        let (hint, moved, path) = (self.hint.clone(), Arc::clone(&self.moved), source.path().to_owned());
        let is_file = matches!(source, FileSource::File(_));
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Some(whole) =
                event.as_ref().ok().filter(|_| is_file).and_then(|event| is_moved(event, &path))
            {
                moved.store(whole, Ordering::Release);
            }
            // Reading is not a change: a look would otherwise lead to the next one.
            if !matches!(event.as_ref().map(|event| event.kind), Ok(notify::EventKind::Access(_))) {
                // One hint that waits already says everything.
                let _: Result<(), _> = hint.try_send(());
            }
        });
        self.watcher = watcher.ok();
        self.aimed_at.clear();
        let Some(watcher) = &mut self.watcher else { return false };
        for (directory, mode) in wanted {
            if watcher.watch(directory, *mode).is_err() {
                return false;
            }
        }
        let complete = !wanted.is_empty();
        self.aimed_at = wanted.to_vec();
        complete
    }

    async fn hinted(&mut self) {
        // The sender lives in `self`, so that the channel never closes.
        let _one = self.hints.recv().await;
    }

    fn forget_hints(&mut self) {
        while self.hints.try_recv().is_ok() {}
    }
}

/// Whether an event says that the file was moved into its place (then it is whole), or that it was written to; none of either.
fn is_moved(event: &notify::Event, file: &Path) -> Option<bool> {
    use notify::EventKind;
    use notify::event::{ModifyKind, RenameMode};
    let is_target = event.paths.last().is_some_and(|path| path == file);
    match event.kind {
        EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) if is_target => Some(true),
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) if is_target => {
            Some(false)
        }
        _ => None,
    }
}

/// What to watch: the parent of the file (renames and swapped links happen there) and of what it really is, or the tree;
/// and the directories of the files that the documents name.
fn directories(source: &FileSource, seen: Option<&Seen>) -> Vec<(PathBuf, RecursiveMode)> {
    let mut found = Vec::new();
    let mut add = |path: Option<&Path>, mode| {
        if let Some(path) = path.map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path })
            && path.is_dir()
            && !found.iter().any(|(known, _)| known == path)
        {
            found.push((path.to_owned(), mode));
        }
    };
    match source {
        FileSource::File(file) => {
            add(file.parent(), RecursiveMode::NonRecursive);
            if let Ok(real) = file.canonicalize() {
                add(real.parent(), RecursiveMode::NonRecursive);
            }
        }
        FileSource::Directory(directory) => {
            add(Some(directory), RecursiveMode::Recursive);
            add(directory.parent(), RecursiveMode::NonRecursive);
        }
    }
    let mut named: Vec<&Path> = seen.into_iter().flat_map(Seen::named_directories).collect();
    named.dedup();
    for directory in named.into_iter().take(WATCHED_MAX) {
        add(Some(directory), RecursiveMode::NonRecursive);
    }
    found
}

#[cfg(test)]
mod tests;
