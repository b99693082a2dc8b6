//! The worker against real documents: what it makes of them, and what it refuses.

use super::*;
use crate::request::RequestId;
use crate::store::{Author, Command};

fn stamp() -> Stamp {
    Stamp {
        id: RequestId([1; 16]),
        author: Author::Operator { name: "o".to_owned() },
        base: 0,
        at_unix_ms: 0,
    }
}

fn document(name: &str, text: &str) -> SourceDocument {
    SourceDocument { name: name.to_owned(), format: SourceFormat::Yaml, text: text.to_owned() }
}

fn service(name: &str) -> String {
    format!(
        "http:\n  services:\n    {name}:\n      loadBalancer:\n        servers:\n          - url: http://127.0.0.1:1\n"
    )
}

struct Bench {
    worker: Worker,
    number: u64,
}

impl Bench {
    fn new() -> Self {
        let mut worker = Worker::default();
        assert!(worker.run(Job::Reset { map: ConfigMap::new() }).is_none());
        Self { worker, number: 0 }
    }

    fn judge(&mut self, work: Work) -> Verdict {
        self.number += 1;
        let job = Job::Judge { number: self.number, stamp: stamp(), work };
        let verdict = self.worker.run(job).expect("work gets a verdict");
        assert_eq!(verdict.number, self.number);
        verdict
    }

    fn apply(&mut self, documents: Vec<SourceDocument>, mode: ApplyMode) -> Verdict {
        self.judge(Work::Apply { documents, mode })
    }

    /// What the verdict's one command changes: keys put and keys deleted.
    fn keys(verdict: Verdict) -> (Vec<String>, Vec<String>) {
        let prepared = verdict.outcome.expect("accepted");
        let [command] = prepared.commands.as_slice() else { panic!("{} commands", prepared.commands.len()) };
        let Command::Change(change) = Command::decode(command).expect("own encoding") else {
            panic!("no change")
        };
        let puts = change.puts.iter().map(|put| put.key.to_string()).collect();
        (puts, change.deletes.iter().map(ToString::to_string).collect())
    }

    fn refused(verdict: Verdict) -> Refusal {
        verdict.outcome.expect_err("refused")
    }
}

#[test]
fn merge_keeps_and_replace_removes_what_is_not_named() {
    let mut bench = Bench::new();
    let first = bench.apply(vec![document("a.yml", &service("a"))], ApplyMode::Merge);
    assert_eq!(Bench::keys(first), (vec!["config/http/services/a@cluster".to_owned()], vec![]));
    let again = bench.apply(vec![document("a.yml", &service("a"))], ApplyMode::Merge);
    assert!(again.outcome.expect("accepted").commands.is_empty(), "nothing changes");
    let second = bench.apply(vec![document("b.yml", &service("b"))], ApplyMode::Merge);
    assert!(Bench::keys(second).1.is_empty());
    let third = bench.apply(vec![document("b.yml", &service("b"))], ApplyMode::Replace);
    assert_eq!(Bench::keys(third), (vec![], vec!["config/http/services/a@cluster".to_owned()]));
}

#[test]
fn a_static_configuration_is_one_whole() {
    let mut bench = Bench::new();
    let two = "entryPoints:\n  web:\n    address: ':80'\n  more:\n    address: ':81'\nping: {}\n";
    let (puts, _) = Bench::keys(bench.apply(vec![document("t.yml", two)], ApplyMode::Merge));
    assert!(puts.contains(&"config/static/entryPoints/more".to_owned()), "{puts:?}");
    assert!(puts.contains(&"config/static/ping".to_owned()), "{puts:?}");
    let one = "entryPoints:\n  web:\n    address: ':80'\n";
    let (_, deletes) = Bench::keys(bench.apply(vec![document("t.yml", one)], ApplyMode::Merge));
    assert!(deletes.contains(&"config/static/entryPoints/more".to_owned()), "{deletes:?}");
    assert!(deletes.contains(&"config/static/ping".to_owned()), "{deletes:?}");
    let dynamic = bench.apply(vec![document("d.yml", &service("a"))], ApplyMode::Replace);
    assert!(Bench::keys(dynamic).1.is_empty(), "dynamic documents leave it alone");
    let both = vec![document("t.yml", one), document("u.yml", two)];
    let refusal = Bench::refused(bench.apply(both, ApplyMode::Merge));
    assert!(refusal.problems[0].contains("second static configuration"), "{refusal:?}");
    let wrong = document("t.yml", "entryPoints:\n  web:\n    adress: ':80'\n");
    let refusal = Bench::refused(bench.apply(vec![wrong], ApplyMode::Merge));
    assert!(refusal.problems[0].starts_with("t.yml:3"), "{refusal:?}");
}

#[test]
fn files_on_the_controllers_disk_are_out_of_reach() {
    let mut bench = Bench::new();
    let text = "tls:\n  certificates:\n    - certFile: /etc/hostname\n      keyFile: /etc/shadow\n";
    let verdict = bench.apply(vec![document("t.yml", text)], ApplyMode::Merge);
    let said = format!("{:?}", verdict.outcome.expect_err("it cannot be used"));
    assert!(said.contains("files are not read for requests"), "{said}");
}

#[test]
fn a_key_without_its_frame_is_not_told_to_anybody() {
    let secret = "MIGHAgEAMBMGByqGSM49/AgEGCCqGSM49.AwEHBG0wawIBAQQg";
    for options in
        ["tls:\n  certificates:\n    - ", "tls:\n  stores:\n    default:\n      defaultCertificate: "]
    {
        let text = format!("{options}{{certFile: /etc/hostname, keyFile: {secret}}}\n");
        let verdict = Bench::new().apply(vec![document("t.yml", &text)], ApplyMode::Merge);
        let said = format!("{:?}", verdict.outcome.expect_err("it cannot be used"));
        assert!(said.contains("keyFile: "), "{said}");
        assert!(!said.contains("MIGH"), "{said}");
    }
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let mut bench = Bench::new();
    bench.apply(vec![document("a.yml", &service("a"))], ApplyMode::Merge);
    let bad = "http:\n  services:\n    bad:\n      loadBalancer: 7\n";
    let verdict = bench.apply(vec![document("b.yml", bad)], ApplyMode::Merge);
    assert!(verdict.needs_reset, "the check went ahead of what can be committed");
    assert_eq!(Bench::refused(verdict).reason, RefusalReason::InError);
    let unset = bench.apply(vec![document("a.yml", &service("a"))], ApplyMode::Merge);
    assert_eq!(Bench::refused(unset).reason, RefusalReason::Conflict, "not before a reset");
    let unreadable = Bench::new().apply(vec![document("c.yml", "a: [")], ApplyMode::Merge);
    assert!(!unreadable.needs_reset);
    assert_eq!(Bench::refused(unreadable).reason, RefusalReason::Unreadable);
}

#[test]
fn only_keys_of_requests_and_static_ones_can_be_deleted() {
    let mut bench = Bench::new();
    bench.apply(vec![document("a.yml", &service("a"))], ApplyMode::Merge);
    let keys = vec!["http/services/a@cluster".to_owned(), "static/ping".to_owned()];
    assert_eq!(Bench::keys(bench.judge(Work::Delete { keys })).1, ["config/http/services/a@cluster"]);
    for key in ["http/services/a@file", "nodes/1", "", "http/services/\n@cluster"] {
        let refusal = Bench::refused(bench.judge(Work::Delete { keys: vec![key.to_owned()] }));
        assert_eq!(refusal.reason, RefusalReason::BadRequest, "{key:?}");
    }
}

#[test]
fn a_value_that_fits_no_entry_is_refused_with_its_key() {
    let mut bench = Bench::new();
    let mut text = String::from("http:\n  services:\n    huge:\n      loadBalancer:\n        servers:\n");
    for port in 0..60_000 {
        text.push_str(&format!("          - url: http://10.0.0.1:{port}\n"));
    }
    let verdict = bench.apply(vec![document("a.yml", &text)], ApplyMode::Merge);
    assert!(verdict.needs_reset);
    let refusal = Bench::refused(verdict);
    assert_eq!(refusal.reason, RefusalReason::TooLarge);
    assert!(refusal.problems[0].contains("huge@cluster"), "{refusal:?}");
}
