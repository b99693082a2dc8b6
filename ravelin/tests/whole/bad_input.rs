//! Bad input, one test a case: the error is clear, nothing is lost, and traffic on the old configuration
//! goes on.

use crate::driver::{Running, free_address, ravelin, status, text};
use crate::standalone::{HELLO, Standalone};

/// A second router beside the good one.
fn with_router(extra: &str) -> String {
    HELLO.replace("  services:\n", &format!("{extra}  services:\n"))
}

/// The errors that the API shows for a router.
fn errors_of(all: &Standalone, router: &str) -> String {
    all.api("/api/rawdata")["routers"][router]["error"].to_string()
}

/// Waits until one line of the log says all of this.
fn told(all: &mut Standalone, parts: &[&str]) {
    let log = all.process.log();
    all.process.until(&format!("one line tells {parts:?}"), || {
        let printed = std::fs::read_to_string(&log).unwrap_or_default();
        printed.lines().any(|line| parts.iter().all(|part| line.contains(part)))
    });
}

#[test]
fn a_wrong_key_puts_only_its_object_in_error() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/", 200);
    all.rewrite(&with_router("    bad:\n      rule: Host(`bad.test`)\n      servise: hello\n"));
    all.serves("bad.test", "/", 503);
    assert_eq!(status(all.web, "hello.test", "/"), 200, "the others move on");
    assert!(errors_of(&all, "bad@file").contains("servise"), "{}", errors_of(&all, "bad@file"));
    told(&mut all, &["WARN", "http/routers/bad@file is in error", "servise"]);
}

#[test]
fn what_stands_beside_all_objects_is_told_with_its_place_and_the_objects_are_served() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/", 200);
    let beside = "  rooters: {}\ntcp:\n  routers: {}\n  services: {db: {loadBalancer: {servers: [{address: '127.0.0.1:1'}]}}}\n";
    all.rewrite(&format!("{}{beside}", HELLO.replace("hello.test", "after.test")));
    all.serves("after.test", "/", 200);
    told(&mut all, &["WARN", "traefik.yml:", "http.rooters", "did you mean `routers`"]);
    told(&mut all, &["WARN", "traefik.yml:", "TCP routing does not work yet"]);
}

#[test]
fn a_wrong_type_is_told_with_its_place() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/", 200);
    all.rewrite(&with_router(
        "    bad:\n      rule: Host(`bad.test`)\n      service: hello\n      priority: high\n",
    ));
    all.serves("bad.test", "/", 503);
    assert_eq!(status(all.web, "hello.test", "/"), 200);
    told(&mut all, &["WARN", "http/routers/bad@file is in error", "priority"]);
    let output = ravelin(all.folder.path(), &["validate", "traefik.yml"]);
    assert!(!output.status.success());
    assert!(text(&output).contains("traefik.yml:"), "{}", text(&output));
    assert!(text(&output).contains("priority"), "{}", text(&output));
}

#[test]
fn an_unknown_middleware_makes_its_router_answer_503_and_never_the_next_router() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/", 200);
    let bad = "    guarded:\n      rule: Host(`hello.test`) && PathPrefix(`/admin`)\n      middlewares: [nowhere]\n      service: hello\n";
    all.rewrite(&with_router(bad));
    all.serves("hello.test", "/admin", 503);
    assert_eq!(status(all.web, "hello.test", "/"), 200);
    assert!(errors_of(&all, "guarded@file").contains("nowhere@file"), "{}", errors_of(&all, "guarded@file"));
    told(&mut all, &["WARN", "http/routers/guarded@file is in error", "nowhere@file"]);
}

#[test]
fn a_router_that_breaks_keeps_its_last_good_value() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/", 200);
    all.rewrite(&format!(
        "{}\n  middlewares: {{}}\n",
        HELLO.replace("      service: hello\n", "      service: hello\n      middlewares: [nowhere]\n")
    ));
    let api = all.api;
    all.process.until("the router is disabled", || {
        crate::driver::get(api, "x", "/api/http/routers/hello@file")
            .is_some_and(|answer| answer.body.contains("disabled"))
    });
    assert_eq!(status(all.web, "hello.test", "/"), 200, "served by its last good value");
}

#[test]
fn two_routers_with_one_name_change_nothing() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/", 200);
    all.rewrite(&with_router("    hello:\n      rule: Host(`twice.test`)\n      service: hello\n"));
    all.refused(1);
    let output = ravelin(all.folder.path(), &["validate", "traefik.yml"]);
    let said = "the key `hello` is already given at";
    assert!(text(&output).contains(said), "{}", text(&output));
    assert!(!output.status.success());
    told(&mut all, &["ERROR", "everything stays as it was", "traefik.yml:", said]);
    assert_eq!(status(all.web, "hello.test", "/"), 200);
    assert_eq!(status(all.web, "twice.test", "/"), 404);
}

#[test]
fn an_alias_bomb_is_refused_and_traffic_goes_on() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/", 200);
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let before = level - 1;
        let list = vec![format!("*a{before}"); 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    all.rewrite_whole(&bomb);
    all.refused(1);
    let output = ravelin(all.folder.path(), &["validate", "traefik.yml"]);
    let said = "anchors and aliases unfold to more than";
    assert!(!output.status.success() && text(&output).contains(said), "{}", text(&output));
    told(&mut all, &["ERROR", "everything stays as it was", "traefik.yml:", said]);
    assert_eq!(status(all.web, "hello.test", "/"), 200);
    all.rewrite(&HELLO.replace("hello.test", "after.test"));
    all.serves("after.test", "/", 200);
}

#[test]
fn an_oversized_file_is_refused_and_traffic_goes_on() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/", 200);
    all.rewrite(&format!("{HELLO}# {}\n", "x".repeat(80 << 20)));
    all.refused(1);
    let output = ravelin(all.folder.path(), &["validate", "traefik.yml"]);
    let said = "more than the 33554432";
    let begin = text(&output).chars().take(500).collect::<String>();
    assert!(!output.status.success() && text(&output).contains(said), "{begin}");
    told(&mut all, &["ERROR", "everything stays as it was", "traefik.yml", said]);
    assert_eq!(status(all.web, "hello.test", "/"), 200);
    all.rewrite(&HELLO.replace("hello.test", "after.test"));
    all.serves("after.test", "/", 200);
}

#[test]
fn a_taken_port_is_named_and_the_other_entry_points_serve() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let api = free_address();
    let words = [
        format!("--entryPoints.web.address={}", taken.local_addr().expect("its address")),
        format!("--entryPoints.traefik.address={api}"),
        "--api.insecure=true".to_owned(),
        "--log.level=INFO".to_owned(),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut process = Running::start(folder.path(), "ravelin", &words);
    process.until("the API answers", || status(api, "x", "/api/version") == 200);
    let port = taken.local_addr().expect("its address").port().to_string();
    let log = process.log();
    process.until("the taken port is told", || {
        let printed = std::fs::read_to_string(&log).unwrap_or_default();
        printed.lines().any(|line| line.contains(&port) && line.contains("web"))
    });
}

#[test]
fn an_unknown_nested_static_key_stops_the_start_with_its_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("traefik.yml");
    std::fs::write(&file, "unknownTopLevel: {}\nentryPoints:\n  web:\n    adress: \":80\"\n")
        .expect("a file");
    let output = ravelin(folder.path(), &["--configFile=traefik.yml"]);
    assert!(!output.status.success());
    let text = text(&output);
    assert!(text.contains("traefik.yml:4") && text.contains("adress") && text.contains("address"), "{text}");
}

#[test]
fn a_data_directory_of_another_cluster_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let address = free_address();
    for cluster in ["one", "other"] {
        let nodes = format!("controller-1={address},proxy-1");
        let output = ravelin(folder.path(), &["init", "--out", cluster, "--nodes", &nodes]);
        assert!(output.status.success(), "{}", text(&output));
    }
    let mut first = Running::start(
        folder.path(),
        "first",
        &["controller", "--identity", "one/controller-1.toml", "--data", "data"],
    );
    let version = folder.path().join("data/VERSION");
    first.until("the data directory is taken", || version.exists());
    first.kill();
    let words = ["controller", "--identity", "other/controller-1.toml", "--data", "data"];
    let output = ravelin(folder.path(), &words);
    assert!(!output.status.success());
    assert!(text(&output).contains("cluster"), "{}", text(&output));
    assert!(version.exists(), "nothing was touched");
}

#[test]
fn a_node_that_lost_its_log_does_not_come_back_under_its_old_identity() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nodes = format!("controller-1={}", free_address());
    assert!(ravelin(folder.path(), &["init", "--out", "i", "--nodes", &nodes]).status.success());
    let words = ["controller", "--identity", "i/controller-1.toml", "--data", "data"];
    let mut node = Running::start(folder.path(), "node", &words);
    let version = folder.path().join("data/VERSION");
    node.until("the data directory is taken", || version.exists());
    node.kill();
    std::fs::rename(folder.path().join("data"), folder.path().join("lost")).expect("moved away");
    let output = ravelin(folder.path(), &words);
    assert!(!output.status.success());
    assert!(text(&output).contains("could vote twice"), "{}", text(&output));
    assert!(!version.exists(), "nothing was made");
    std::fs::rename(folder.path().join("lost"), folder.path().join("data")).expect("moved back");
    let mut node = Running::start(folder.path(), "again", &words);
    let status = ["status", "--identity", "i/operator.toml", "--timeout", "5"];
    node.until("it answers with its own log", || ravelin(folder.path(), &status).status.success());
}

#[test]
fn a_rule_that_cannot_be_read_keeps_the_last_good_router_or_has_no_place_and_says_so() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/", 200);
    let broken = HELLO.replace("Host(`hello.test`)", "Host(`hello.test`");
    let new = "    new:\n      rule: Host(`new.test`\n      service: hello\n";
    all.rewrite(&broken.replace("  services:\n", &format!("{new}  services:\n")));
    let log = all.process.log();
    all.process.until("the log tells of the router without a place", || {
        let printed = std::fs::read_to_string(&log).unwrap_or_default();
        printed.lines().any(|line| line.contains("no place of its own") && line.contains("new@file"))
    });
    assert_eq!(status(all.web, "hello.test", "/"), 200, "served by its last good value");
    assert_eq!(status(all.web, "new.test", "/"), 404);
    assert!(
        errors_of(&all, "new@file").contains("error while parsing rule"),
        "{}",
        errors_of(&all, "new@file")
    );
    assert!(errors_of(&all, "hello@file").contains("error while parsing rule"));
}

#[test]
fn a_broken_template_changes_nothing_and_is_told_with_its_place() {
    let mut all = Standalone::start(HELLO);
    all.serves("hello.test", "/", 200);
    all.rewrite(&HELLO.replace("hello.test", "{{ enf `HOST` }}"));
    all.refused(1);
    assert_eq!(status(all.web, "hello.test", "/"), 200);
    let told = "template: there is no function `enf`";
    assert!(all.process.printed().contains(told), "{}", all.process.printed());
    all.rewrite(&HELLO.replace("hello.test", "{{ list `rendered` `test` | join `.` }}"));
    all.serves("rendered.test", "/", 200);
}
