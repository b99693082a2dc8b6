//! The access log of a whole proxy: opened once it can be, and whole at the end.

use std::path::Path;

use super::*;

fn logging(url: &str, file: &Path) -> ConfigMap {
    let mut map = configuration(url);
    put(&mut map, "static/accessLog", &json!({"filePath": file.display().to_string(), "bufferingSize": 64}));
    map
}

#[tokio::test]
async fn an_access_log_that_cannot_be_opened_is_opened_once_it_can_be_and_whole_after_a_shutdown() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let in_the_way = directory.path().join("logs");
    let file = in_the_way.join("access.log");
    std::fs::write(&in_the_way, "no folder").expect("the directory is ours");
    let hub = MemoryHub::new();
    let endpoint = hub.endpoint("c1", ClusterId(CLUSTER), PeerRole::Controller, 1).expect("a free name");
    let proxy = start(&hub, "p1", None);
    let mut control = Control::accept(&endpoint).await;
    let stages = control.stages(1, &logging(&upstream("one"), &file)).await;
    assert_eq!(stages, [Stage::Received, Stage::Validated, Stage::Serving]);
    let address = web(&proxy).await;
    assert_eq!(asked(address, "a.test", "/unlogged").await, ok("one"), "traffic does not wait for a log");
    std::fs::remove_file(&in_the_way).expect("it is ours");
    let start = std::time::Instant::now();
    while !file.exists() {
        assert!(start.elapsed() < PATIENCE, "it is never tried again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Workers take the log up with their next request; one that came too early for that is not in it.
    let logged = || std::fs::read_to_string(&file).expect("it is there").contains("/logged");
    while !logged() {
        assert!(start.elapsed() < PATIENCE, "nothing is ever logged");
        assert_eq!(asked(address, "a.test", "/logged").await, ok("one"));
    }
    assert_eq!(asked(address, "a.test", "/last").await, ok("one"));
    proxy.shutdown().await;
    let text = std::fs::read_to_string(&file).expect("it is there");
    assert!(text.ends_with("ms\n") && text.contains("/last"), "{text}");
}
