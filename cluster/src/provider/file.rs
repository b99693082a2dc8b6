//! The file provider: a file or a directory in Traefik's formats, read at start and on change.
//!
//! What counts is the content, not the events: any hint leads to a look, and only another content to a draft. So renames,
//! symlink swaps, editors and missed events all come out the same. It must not keep objects of a text that it cannot
//! read, nor take a missing or broken file for an empty one: then everything stays as it was, and the reason is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use ravelin_config::Draft;
use ravelin_transport::BoxFuture;
use tokio::sync::mpsc;

use super::{FileSource, FileSpec, Provider, ProviderUpdate, Surroundings};
use crate::request::status::ProviderState;

mod read;
mod throttle;

use read::{Content, Fingerprint, Look};
use throttle::Throttle;

/// How long a burst of hints is gathered before a look: an editor writes, renames and touches in one go.
const SETTLE: Duration = Duration::from_millis(25);
/// How often to look without a hint: hints get lost (network file systems, watch limits).
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
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
    /// The content that the last draft or complaint was about.
    seen: Option<Fingerprint>,
    last: Option<Arc<Draft>>,
    failing: Option<(u64, Vec<String>)>,
}

impl Run {
    fn new(spec: FileSpec, surroundings: Surroundings) -> Self {
        let throttle = Throttle::new(spec.throttle);
        let watch = Watch::new(spec.watch);
        Self { spec, surroundings, throttle, watch, seen: None, last: None, failing: None }
    }

    async fn forever(&mut self) {
        let state = ProviderState::Starting;
        self.surroundings.updates.send(ProviderUpdate::State { provider: "file".to_owned(), state }).await;
        loop {
            // Watch first, then look: what changes in between gives a hint.
            let anxious = !self.watch.aim(&self.spec.source) || self.failing.is_some();
            self.look().await;
            self.wait(anxious).await;
        }
    }

    /// Waits for a hint, the next look by time, or a person's wish.
    async fn wait(&mut self, anxious: bool) {
        if !self.spec.watch {
            // Only a person makes it read again; an error at the start is one too.
            drop(self.surroundings.reload.changed().await);
            self.seen = None;
            return;
        }
        let interval = if anxious { ANXIOUS_INTERVAL } else { LOOK_INTERVAL };
        tokio::select! {
            () = self.watch.hinted() => {
                tokio::time::sleep(SETTLE).await;
                self.watch.forget_hints();
            }
            Ok(()) = self.surroundings.reload.changed() => self.seen = None,
            () = tokio::time::sleep(interval) => {}
        }
    }

    async fn look(&mut self) {
        let (source, seen) = (self.spec.source.clone(), self.seen);
        // Reading and parsing may take a while and must not hold up other tasks.
        let Ok(look) = tokio::task::spawn_blocking(move || read::look(&source, seen)).await else { return };
        match look {
            Look::Same => {}
            Look::Fleeting => self.watch.hint(),
            Look::Missing(reason) => self.fail(None, vec![reason]).await,
            Look::Unreadable(fingerprint, problems) => self.fail(Some(fingerprint), problems).await,
            Look::Changed(fingerprint, content) => self.take(fingerprint, content).await,
        }
    }

    async fn take(&mut self, fingerprint: Fingerprint, content: Content) {
        let Content { mut draft, explicitly_empty } = content;
        self.throttle.wait().await;
        if let Some(last) = &self.last {
            draft.keep_unchanged(last);
        }
        let draft = Arc::new(draft);
        self.seen = Some(fingerprint);
        self.last = Some(Arc::clone(&draft));
        self.failing = None;
        self.surroundings.updates.send(ProviderUpdate::Draft(draft)).await;
        let state = if explicitly_empty { ProviderState::Empty } else { ProviderState::Connected };
        self.surroundings.updates.send(ProviderUpdate::State { provider: "file".to_owned(), state }).await;
    }

    async fn fail(&mut self, fingerprint: Option<Fingerprint>, mut reasons: Vec<String>) {
        crate::node::journal::bound_texts(&mut reasons);
        // What comes back after it was missing is looked at anew, also unchanged.
        self.seen = fingerprint;
        let since_micros = match &self.failing {
            Some((_, told)) if *told == reasons => return,
            Some((since, _)) => *since,
            None => micros_since_1970(),
        };
        self.failing = Some((since_micros, reasons.clone()));
        let state = ProviderState::Failing { since_micros, reasons };
        self.surroundings.updates.send(ProviderUpdate::State { provider: "file".to_owned(), state }).await;
    }
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
}

impl Watch {
    fn new(wanted: bool) -> Self {
        // One place: a hint that is there already says everything.
        let (hint, hints) = mpsc::channel(1);
        Self { wanted, watcher: None, aimed_at: Vec::new(), hint, hints }
    }

    /// Makes sure that the right directories are watched; false if they cannot be.
    fn aim(&mut self, source: &FileSource) -> bool {
        if !self.wanted {
            return true;
        }
        let wanted = directories(source);
        if self.watcher.is_some() && wanted == self.aimed_at && !wanted.is_empty() {
            return true;
        }
        let hint = self.hint.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is not a change: a look would otherwise lead to the next one.
            if !matches!(event.as_ref().map(|event| event.kind), Ok(notify::EventKind::Access(_))) {
                // One hint that waits already says everything.
                let _: Result<(), _> = hint.try_send(());
            }
        });
        self.watcher = watcher.ok();
        self.aimed_at.clear();
        let Some(watcher) = &mut self.watcher else { return false };
        for (directory, mode) in &wanted {
            if watcher.watch(directory, *mode).is_err() {
                return false;
            }
        }
        let complete = !wanted.is_empty();
        self.aimed_at = wanted;
        complete
    }

    async fn hinted(&mut self) {
        // The sender lives in `self`, so that the channel never closes.
        let _one = self.hints.recv().await;
    }

    fn hint(&self) {
        let _: Result<(), _> = self.hint.try_send(());
    }

    fn forget_hints(&mut self) {
        while self.hints.try_recv().is_ok() {}
    }
}

/// What to watch: the parent of the file (renames and swapped links happen there) and of what it really is, or the tree.
fn directories(source: &FileSource) -> Vec<(PathBuf, RecursiveMode)> {
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
    found
}

#[cfg(test)]
mod tests;
