//! The file provider on a real file system: every way in which a file changes, breaks and goes.

use std::fs;
use std::os::unix::fs::symlink;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::super::Updates;
use super::read::LEFT_ALONE;
use super::*;

/// Far above what anything here takes; a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    directory: tempfile::TempDir,
    updates: mpsc::Receiver<ProviderUpdate>,
    reload: watch::Sender<u64>,
    stop: CancellationToken,
}

impl Bench {
    fn start(source: impl FnOnce(&Path) -> FileSource, watch_it: bool) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary directory"), source, watch_it)
    }

    fn start_in(
        directory: tempfile::TempDir,
        source: impl FnOnce(&Path) -> FileSource,
        watch_it: bool,
    ) -> Self {
        let (updates, received) = Updates::channel();
        let (_, outcome) = watch::channel(None);
        let (reload, reloads) = watch::channel(0);
        let stop = CancellationToken::new();
        let spec = FileSpec {
            source: source(directory.path()),
            watch: watch_it,
            throttle: Duration::from_millis(1),
            log_generated: true,
        };
        let surroundings = Surroundings {
            updates,
            outcome,
            reload: reloads,
            put: watch::channel(None).1,
            stop: stop.clone(),
        };
        tokio::spawn(Box::new(FileProvider::new(spec)).run(surroundings));
        Self { directory, updates: received, reload, stop }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the directory is writable");
    }

    async fn next(&mut self) -> ProviderUpdate {
        timeout(PATIENCE, self.updates.recv()).await.expect("in time").expect("the provider runs")
    }

    async fn draft(&mut self) -> Arc<Draft> {
        loop {
            if let ProviderUpdate::Draft { draft, .. } = self.next().await {
                return draft;
            }
        }
    }

    async fn state(&mut self, is_it: impl Fn(&ProviderState) -> bool) -> ProviderState {
        loop {
            match self.next().await {
                ProviderUpdate::State { state, .. } if is_it(&state) => return state,
                ProviderUpdate::State { .. } => {}
                ProviderUpdate::Draft { draft, .. } => panic!("a draft of {} objects", draft.objects.len()),
            }
        }
    }

    async fn failing(&mut self) -> Vec<String> {
        let state = self.state(|state| matches!(state, ProviderState::Failing { .. })).await;
        let ProviderState::Failing { reasons, .. } = state else { panic!("{state:?}") };
        reasons
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn service(name: &str) -> String {
    format!(
        "http:\n  services:\n    {name}:\n      loadBalancer:\n        servers:\n          - url: http://127.0.0.1:1\n"
    )
}

fn names(draft: &Arc<Draft>) -> Vec<String> {
    draft.objects.keys().map(|key| key.name().to_owned()).collect()
}

fn one_file(root: &Path) -> FileSource {
    FileSource::File(root.join("dynamic.yml"))
}

fn whole_directory(root: &Path) -> FileSource {
    FileSource::Directory(root.to_owned())
}

#[tokio::test]
async fn a_change_in_place_and_by_rename_is_served_soon_and_unchanged_objects_are_shared() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("dynamic.yml"), service("a")).expect("writable");
    let mut bench = Bench::start_in(directory, one_file, true);
    let first = bench.draft().await;
    assert_eq!(names(&first), ["a@file"]);
    bench.state(|state| *state == ProviderState::Connected).await;

    let begun = Instant::now();
    bench.write("dynamic.yml", &format!("{}    b: {{}}\n", service("a")));
    let second = bench.draft().await;
    println!("changed in place: draft after {:?}", begun.elapsed());
    assert_eq!(names(&second), ["a@file", "b@file"]);
    let (key, object) = first.objects.first_key_value().expect("one object");
    assert!(Arc::ptr_eq(object, &second.objects[key]), "unchanged objects keep their Arc");

    bench.write("beside", &service("c"));
    fs::rename(bench.path("beside"), bench.path("dynamic.yml")).expect("one directory");
    assert_eq!(names(&bench.draft().await), ["c@file"]);
    bench.write("dynamic.yml", &service("d"));
    assert_eq!(names(&bench.draft().await), ["d@file"], "the watch survives the rename");
}

#[tokio::test]
async fn the_same_content_written_again_is_no_change() {
    let mut bench = Bench::start(one_file, true);
    bench.write("dynamic.yml", &service("a"));
    bench.draft().await;
    bench.write("dynamic.yml", &service("a"));
    bench.write("dynamic.yml", &service("b"));
    assert_eq!(names(&bench.draft().await), ["b@file"], "nothing came for the same content");
}

#[tokio::test]
async fn a_broken_file_keeps_what_was_and_says_where_it_is_broken() {
    let mut bench = Bench::start(one_file, true);
    bench.write("dynamic.yml", &service("a"));
    bench.draft().await;
    bench.write("dynamic.yml", "http:\n  services: [\n");
    let reasons = bench.failing().await;
    assert!(reasons.iter().all(|reason| reason.contains("dynamic.yml:")), "{reasons:?}");
    bench.write("dynamic.yml", &format!("# {{{{ enf `A` }}}}\n{}", service("a")));
    let reasons = bench.failing().await;
    assert!(reasons[0].contains("dynamic.yml:1:6: template: there is no function `enf`"), "{reasons:?}");
    bench.write("dynamic.yml", &service("b"));
    assert_eq!(names(&bench.draft().await), ["b@file"]);
    bench.state(|state| *state == ProviderState::Connected).await;
}

#[tokio::test]
async fn a_missing_file_is_failing_and_an_empty_one_is_explicitly_empty() {
    let mut bench = Bench::start(one_file, true);
    let reasons = bench.failing().await;
    assert!(reasons[0].contains("No such file"), "{reasons:?}");
    bench.write("dynamic.yml", &service("a"));
    assert_eq!(names(&bench.draft().await), ["a@file"], "a file that comes later is taken up");
    fs::remove_file(bench.path("dynamic.yml")).expect("it is there");
    bench.failing().await;
    bench.write("dynamic.yml", "# nothing\n");
    assert!(bench.draft().await.objects.is_empty());
    bench.state(|state| *state == ProviderState::Empty).await;
}

#[tokio::test]
async fn a_file_that_comes_back_unchanged_is_no_longer_failing() {
    let mut bench = Bench::start(one_file, true);
    bench.failing().await;
    bench.write("dynamic.yml", &service("a"));
    bench.draft().await;
    bench.state(|state| *state == ProviderState::Connected).await;
    fs::rename(bench.path("dynamic.yml"), bench.path("away")).expect("it is there");
    bench.failing().await;
    fs::rename(bench.path("away"), bench.path("dynamic.yml")).expect("it is there");
    assert_eq!(names(&bench.draft().await), ["a@file"]);
    bench.state(|state| *state == ProviderState::Connected).await;
}

#[tokio::test]
async fn a_swapped_link_as_kubernetes_mounts_it_is_a_change() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    for (version, name) in [("..2026_01", "old"), ("..2026_02", "new")] {
        fs::create_dir(path(version)).expect("writable");
        fs::write(path(version).join("dynamic.yml"), service(name)).expect("writable");
    }
    symlink("..2026_01", path("..data")).expect("writable");
    symlink("..data/dynamic.yml", path("dynamic.yml")).expect("writable");
    let mut whole =
        Bench::start_in(tempfile::tempdir().expect("another"), |_| whole_directory(directory.path()), true);
    let mut single =
        Bench::start_in(tempfile::tempdir().expect("another"), |_| one_file(directory.path()), true);
    for bench in [&mut whole, &mut single] {
        assert_eq!(
            names(&bench.draft().await),
            ["old@file"],
            "the versions behind the link are not read twice"
        );
        bench.state(|state| *state == ProviderState::Connected).await;
    }
    symlink("..2026_02", path("..data_tmp")).expect("writable");
    fs::rename(path("..data_tmp"), path("..data")).expect("one directory");
    for bench in [&mut whole, &mut single] {
        assert_eq!(names(&bench.draft().await), ["new@file"]);
    }
}

#[tokio::test]
async fn a_directory_is_read_with_its_subdirectories_in_order_of_names() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(directory.path().join("sub")).expect("writable");
    fs::write(directory.path().join("a.yml"), service("first")).expect("writable");
    fs::write(directory.path().join("sub/b.toml"), "[http.services.second.loadBalancer]\n")
        .expect("writable");
    fs::write(directory.path().join("c.txt"), "not read").expect("writable");
    let mut bench = Bench::start_in(directory, whole_directory, true);
    assert_eq!(names(&bench.draft().await), ["first@file", "second@file"]);
    bench.write("sub/d.yaml", &service("third"));
    assert_eq!(names(&bench.draft().await), ["first@file", "second@file", "third@file"]);
    bench.write("z.yml", "http: [");
    let reasons = bench.failing().await;
    assert!(reasons[0].contains("z.yml"), "{reasons:?}");
}

#[tokio::test]
async fn a_file_that_is_written_in_pieces_is_read_whole_though_each_piece_is_valid() {
    let mut bench = Bench::start(one_file, true);
    for _ in 0..100 {
        bench.write("dynamic.yml", &service("a"));
        while names(&bench.draft().await) != ["a@file"] {}
        let mut text = service("b");
        let (mut before, mut longest) = (Instant::now(), Duration::ZERO);
        let mut write = |text: &str| {
            let begun = Instant::now();
            bench.write("dynamic.yml", text);
            longest = longest.max(before.elapsed());
            before = begun;
        };
        for name in ["c", "d", "e", "f", "g"] {
            // A writer that flushes now and then: another process, whose pauses nobody can await.
            write(&text);
            tokio::time::sleep(Duration::from_millis(45)).await;
            text.push_str(&service(name)["http:\n  services:\n".len()..]);
        }
        write(&text);
        let draft = bench.draft().await;
        // On a machine that let the writer wait for so long, the file was left alone in between.
        if longest < LEFT_ALONE {
            return assert_eq!(names(&draft), ["b@file", "c@file", "d@file", "e@file", "f@file", "g@file"]);
        }
    }
    panic!("this machine never lets a process run for a third of a second");
}

#[test]
fn a_file_that_was_moved_into_its_place_is_read_however_fresh_it_is() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let source = one_file(directory.path());
    fs::write(source.path(), service("a")).expect("writable");
    let Look::Changed(seen, _) = read::look(&source, None, Patience::Spent) else { panic!("the first look") };
    let beside = directory.path().join("beside");
    fs::write(&beside, service("b")).expect("writable");
    // As fresh as can be: its age is what would make it wait.
    let written = fs::File::options().append(true).open(&beside).expect("it is there");
    written.set_modified(std::time::SystemTime::now()).expect("its time can be set");
    fs::rename(&beside, source.path()).expect("one directory");
    let Look::Changed(_, content) = read::look(&source, Some(&seen), Patience::Moved) else {
        panic!("it waits")
    };
    assert_eq!(names(&Arc::new(content.draft)), ["b@file"]);
}

#[test]
fn what_moves_a_file_into_its_place_is_told_from_what_writes_to_it() {
    use notify::event::{CreateKind, DataChange, ModifyKind, RenameMode};
    use notify::{Event, EventKind};
    let (file, other) = (Path::new("/d/dynamic.yml"), Path::new("/d/dynamic.yml.new"));
    let event = |kind, paths: &[&Path]| {
        paths.iter().fold(Event::new(kind), |event, path| event.add_path(path.to_path_buf()))
    };
    let name = |mode| EventKind::Modify(ModifyKind::Name(mode));
    let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    assert_eq!(is_moved(&event(name(RenameMode::To), &[file]), file), Some(true));
    assert_eq!(is_moved(&event(name(RenameMode::Both), &[other, file]), file), Some(true));
    assert_eq!(is_moved(&event(name(RenameMode::Both), &[file, other]), file), None);
    assert_eq!(is_moved(&event(name(RenameMode::From), &[file]), file), None);
    assert_eq!(is_moved(&event(written, &[file]), file), Some(false));
    assert_eq!(is_moved(&event(EventKind::Create(CreateKind::File), &[file]), file), Some(false));
    assert_eq!(is_moved(&event(written, &[other]), file), None);
}

#[tokio::test]
async fn a_file_that_a_document_names_is_part_of_the_content() {
    let outside = tempfile::tempdir().expect("a temporary directory");
    let (cert, key) = (outside.path().join("tls.crt"), outside.path().join("tls.key"));
    let pem = |text: &str| format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    fs::write(&cert, pem("old")).expect("writable");
    fs::write(&key, pem("key")).expect("writable");
    let text = format!(
        "tls:\n  certificates:\n    - certFile: {}\n      keyFile: {}\n",
        cert.display(),
        key.display()
    );
    let mut bench = Bench::start(one_file, true);
    bench.write("dynamic.yml", &text);
    let holds = |draft: &Arc<Draft>, text: &str| {
        draft.objects.values().any(|object| String::from_utf8_lossy(&object.bytes).contains(text))
    };
    assert!(holds(&bench.draft().await, "old"));
    fs::write(&cert, pem("new")).expect("writable");
    assert!(holds(&bench.draft().await, "new"), "a renewed certificate");
    fs::remove_file(&key).expect("it is there");
    bench.draft().await;
    fs::write(&key, pem("renewed")).expect("writable");
    assert!(holds(&bench.draft().await, "renewed"));
}

/// Looks by time would take it up too, only later.
#[tokio::test]
async fn the_directory_of_a_file_that_a_document_names_is_watched() {
    let (directory, outside) = (tempfile::tempdir(), tempfile::tempdir());
    let (directory, outside) = (directory.expect("a directory"), outside.expect("a directory"));
    let cert = outside.path().join("tls.crt");
    fs::write(&cert, "old").expect("writable");
    let named = cert.display();
    let text = format!("tls:\n  certificates:\n    - certFile: {named}\n      keyFile: {named}\n");
    fs::write(directory.path().join("dynamic.yml"), text).expect("writable");
    let source = one_file(directory.path());
    let Look::Changed(seen, _) = read::look(&source, None, Patience::Spent) else { panic!("it can be read") };
    let watched = directories(&source, Some(&seen));
    assert!(watched.iter().any(|(path, _)| path == outside.path()), "{watched:?}");
    let mut watch = Watch::new(true);
    assert!(watch.aim(&watched, &source), "the system watches directories");
    fs::write(&cert, "new").expect("writable");
    timeout(PATIENCE, watch.hinted()).await.expect("it tells of the change");
}

#[test]
fn a_template_is_carried_out_and_what_it_gives_can_be_logged_without_secrets() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let text = "http:\n  services:\n{{ range list `a` `b` }}    {{ . }}:\n      loadBalancer: {servers: [{url: 'http://u:Marked0@h'}]}\n{{ end }}";
    fs::write(directory.path().join("t.yml"), text).expect("writable");
    fs::write(directory.path().join("plain.yml"), service("c")).expect("writable");
    let source = whole_directory(directory.path());
    let Look::Changed(_, content) = read::look(&source, None, Patience::Spent) else { panic!("unreadable") };
    let draft = Arc::new(content.draft);
    assert_eq!(names(&draft), ["a@file", "b@file", "c@file"]);
    assert_eq!(content.templates, BTreeSet::from([directory.path().join("t.yml").display().to_string()]));
    let lines = generated(&draft, &content.templates);
    assert_eq!(lines.len(), 2, "of templates only: {lines:?}");
    assert!(lines[1].contains("t.yml:3: the template gives http/services/b@file: {"), "{lines:?}");
    assert!(lines.iter().all(|line| line.contains('…') && !line.contains("Marked0")), "{lines:?}");
}

#[test]
fn the_log_is_told_what_is_new_about_single_objects_and_no_more_than_fits() {
    let key = |number: usize| Key::new(&format!("http/routers/r{number:03}@file")).expect("a key");
    let error = |number: usize, why: &str| (key(number), vec![why.to_owned()]);
    let outcome = |refused: &BTreeMap<Key, Vec<String>>| DraftOutcome::Accepted {
        generation: ravelin_config::GenerationId {
            cluster: [1; 16],
            recovery_epoch: 0,
            revision: 3,
            digest: ravelin_config::Digest([0; 32]),
        },
        refused: Arc::new(refused.clone()),
        serving: false,
    };
    let told = BTreeMap::from([error(1, "old"), error(2, "same"), error(3, "old")]);
    let refused = BTreeMap::from([error(2, "same"), error(3, "new"), error(4, "new")]);
    let lines = news(&outcome(&refused), &told, &refused);
    let expected = [
        "http/routers/r003@file is in error: new",
        "http/routers/r004@file is in error: new",
        "http/routers/r001@file is no longer in error",
    ];
    assert_eq!(lines, expected);
    let many: BTreeMap<_, _> = (0..1000).map(|number| error(number, "x")).collect();
    let lines = news(&outcome(&many), &BTreeMap::new(), &many);
    assert_eq!(lines.len(), LINES_MAX + 1);
    assert!(lines[LINES_MAX].starts_with("and 968 more"), "{lines:?}");
}

#[tokio::test]
async fn without_a_watch_only_a_wish_reads_it_again() {
    let mut bench = Bench::start(one_file, false);
    bench.failing().await;
    bench.write("dynamic.yml", &service("a"));
    assert!(
        timeout(ANXIOUS_INTERVAL * 3, bench.updates.recv()).await.is_err(),
        "nobody asked for another look"
    );
    bench.reload.send_modify(|count| *count += 1);
    assert_eq!(names(&bench.draft().await), ["a@file"]);
}
