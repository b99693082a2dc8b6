//! A disk that fails, for real: writing to a process's own memory at address 0 is an input/output error on any Linux, and a link
//! leads there from where a generation is to be kept.

use std::path::Path;

use super::*;

/// `EIO`.
const INPUT_OUTPUT_ERROR: i32 = 5;

/// The file that keeps a generation, if there is one.
fn kept(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).expect("it is there").flatten().map(|entry| entry.path());
    files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "sealed"))
}

#[tokio::test]
async fn a_failing_disk_is_told_and_holds_up_neither_a_change_nor_traffic() {
    let map = configuration(&upstream("one"));
    let sealing = || Sealing { key: [7; 32], cluster: CLUSTER, node: 1 };
    let good = tempfile::tempdir().expect("a temporary directory");
    let (mut store, _) = LastGood::open(good.path(), sealing()).expect("it opens");
    store.save(id(1, &map), &map).expect("a good disk");
    let name = kept(good.path()).expect("it was written");
    let begun = Path::new(name.file_name().expect("a file")).with_extension("tmp");

    // What the disk says is what is told.
    let bad = tempfile::tempdir().expect("a temporary directory");
    let folder = bad.path().join(LAST_GOOD_FOLDER);
    let (mut store, _) = LastGood::open(&folder, sealing()).expect("it opens");
    let fail = || std::os::unix::fs::symlink("/proc/self/mem", folder.join(&begun)).expect("a link");
    fail();
    let error = store.save(id(1, &map), &map).expect_err("nothing was written");
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    assert_eq!(source.and_then(io::Error::raw_os_error), Some(INPUT_OUTPUT_ERROR), "{error}");
    assert!(kept(&folder).is_none());
    drop(store);

    // A whole proxy on this disk: opening removes what was begun, so that the link comes after it.
    let hub = MemoryHub::new();
    let endpoint = hub.endpoint("c1", ClusterId(CLUSTER), PeerRole::Controller, 1).expect("a free name");
    let proxy = start(&hub, "p1", Some(bad.path().to_owned()));
    let mut control = Control::accept(&endpoint).await;
    fail();
    assert_eq!(control.stages(1, &map).await, [Stage::Received, Stage::Validated, Stage::Serving]);
    assert_eq!(asked(web(&proxy).await, "a.test", "/").await, ok("one"), "traffic goes on");
    assert!(proxy.ready() && kept(&folder).is_none());
    let begun = std::time::Instant::now();
    while kept(&folder).is_none() {
        assert!(begun.elapsed() < PATIENCE, "it is never tried again");
        tokio::task::yield_now().await;
    }
    proxy.shutdown().await;
}
