//! Services of the process's own, beside API and metrics: a configuration put by REST, the dashboard, the support dump.

use crate::driver::{Answer, get, send, status};
use crate::standalone::{HELLO, Standalone};

fn put(all: &Standalone, body: &str) -> Answer {
    let head = format!(
        "PUT /api/providers/rest HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    send(all.api, format!("{head}{body}").as_bytes()).expect("an answer")
}

fn with_rest() -> Standalone {
    let mut all = Standalone::start(HELLO);
    all.process.kill();
    let text = std::fs::read_to_string(all.file()).expect("the configuration");
    all.rewrite_whole(&text.replace("providers:\n", "providers:\n  rest:\n    insecure: true\n"));
    all.begin_anew();
    all.serves("hello.test", "/", 200);
    all
}

#[test]
fn a_configuration_that_is_put_is_served_beside_the_files_and_replaced_as_a_whole() {
    let mut all = with_rest();
    let of = |host: &str| {
        format!(
            "{{\"http\": {{\"routers\": {{\"r\": {{\"rule\": \"Host(`{host}`)\", \"service\": \"s\"}}}}, \
             \"services\": {{\"s\": {{\"loadBalancer\": {{\"servers\": [{{\"url\": \"http://{}\"}}]}}}}}}}}}}",
            all.backend
        )
    };
    let (first, second) = (of("put.test"), of("again.test"));
    let taken = put(&all, &first);
    assert!(
        taken.status == 200 && taken.head.to_lowercase().contains("application/json; charset=utf-8"),
        "{taken:?}"
    );
    let told: serde_json::Value = serde_json::from_str(&taken.body).expect("JSON");
    assert_eq!(told, serde_json::from_str::<serde_json::Value>(&first).expect("JSON"));
    all.serves("put.test", "/", 200);
    assert_eq!(all.api("/api/http/routers/r@rest")["provider"], "rest");
    let wrong = put(&all, "not json");
    assert!(wrong.status == 400 && wrong.body.contains("line 1"), "{wrong:?}");
    assert_eq!(put(&all, r#"{"http": {"nonsense": 1}}"#).body, r#"{"http":{}}"#);
    assert_eq!(status(all.web, "put.test", "/"), 200, "nothing was put, so what was there stays");
    assert_eq!(put(&all, &second).status, 200);
    all.serves("again.test", "/", 200);
    assert_eq!(status(all.web, "put.test", "/"), 404, "it is replaced as a whole");
    assert_eq!(status(all.web, "hello.test", "/"), 200, "that of the files is another matter");
    assert_eq!(put(&all, r#"{"http": {"routers": {}}}"#).status, 200);
    all.serves("again.test", "/", 404);
}

#[test]
fn the_dashboard_is_there_unless_it_is_switched_off() {
    let mut all = Standalone::start(HELLO);
    let led = get(all.api, "x", "/").expect("an answer");
    assert!([301, 302].contains(&led.status) && led.head.contains("/dashboard/"), "{led:?}");
    let page = get(all.api, "x", "/dashboard/").expect("an answer");
    assert!(page.status == 200 && page.body.contains("dashboard.js"), "{page:?}");
    let script = get(all.api, "x", "/dashboard/dashboard.js").expect("an answer");
    assert!(script.status == 200 && script.head.contains("text/javascript"), "{script:?}");
    assert_eq!(all.api("/api/rawdata")["routers"]["dashboard@internal"]["status"], "enabled");

    all.process.kill();
    let text = std::fs::read_to_string(all.file()).expect("the configuration");
    all.rewrite_whole(&text.replace("insecure: true", "insecure: true\n  dashboard: false"));
    all.begin_anew();
    all.serves("hello.test", "/", 200);
    assert_eq!((status(all.api, "x", "/"), status(all.api, "x", "/dashboard/")), (404, 404));
}

#[test]
fn a_support_dump_is_an_archive() {
    let all = Standalone::start(HELLO);
    let dump = get(all.api, "x", "/api/support-dump").expect("an answer");
    let head = dump.head.to_lowercase();
    assert!(dump.status == 200 && head.contains("content-type: application/gzip"), "{head}");
    assert!(head.contains("attachment; filename=support-dump.tar.gz"), "{head}");
}
