//! The worker against real documents: what it makes of them, and what it refuses.

use ravelin_consensus::{Entry, EntryKind, Term};

use super::*;
use crate::request::RequestId;
use crate::store::{Applied, Author, Command, Limits};

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

fn worker() -> Worker {
    Worker::new(SealingKeys::new([7; 16], &[[7; 32]]).expect("one key"))
}

struct Bench {
    worker: Worker,
    store: Store,
    number: u64,
}

impl Bench {
    fn new() -> Self {
        Self { worker: worker(), store: Store::new([7; 16]), number: 0 }
    }

    fn judge(&mut self, work: Work) -> Verdict {
        self.number += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.number.to_le_bytes());
        let stamp = Stamp { id: RequestId(id), base: self.store.generation().revision, ..stamp() };
        let store = Box::new(self.store.clone());
        let verdict = self.worker.run(Job { number: self.number, stamp, work, store });
        assert_eq!(verdict.number, self.number);
        verdict
    }

    /// Brings the commands of a verdict into the state, as the log does.
    fn commit(&mut self, verdict: &Verdict) {
        for command in &verdict.outcome.as_ref().expect("accepted").commands {
            let index = self.store.applied_index().next();
            let entry = Entry { term: Term(1), kind: EntryKind::Command(command.clone()) };
            let applied = self.store.apply(index, &entry).expect("own encoding");
            assert!(!matches!(applied, Applied::Refused { .. }), "{applied:?}");
        }
    }

    fn apply(&mut self, documents: Vec<SourceDocument>, mode: ApplyMode) -> Verdict {
        let verdict = self.judge(Work::Apply { documents, mode });
        if verdict.outcome.is_ok() {
            self.commit(&verdict);
        }
        verdict
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
fn a_template_is_not_carried_out_with_the_environment_of_a_node() {
    let mut bench = Bench::new();
    let text = service("{{ env `HOME` }}");
    let verdict = bench.apply(vec![document("t.yml", &text)], ApplyMode::Merge);
    let said = format!("{:?}", verdict.outcome.expect_err("it cannot be used"));
    assert!(said.contains("a template: it must be carried out before it is sent"), "{said}");
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
fn what_is_refused_leaves_nothing_behind_and_costs_what_it_touched() {
    let mut bench = Bench::new();
    for number in 0..50 {
        bench.apply(vec![document("a.yml", &service(&format!("s{number}")))], ApplyMode::Merge);
    }
    bench.worker.restored = 0;
    let bad = format!("{}    bad:\n      loadBalancer: 7\n", service("s7").replace(":1\n", ":2\n"));
    for _ in 0..3 {
        let refusal = Bench::refused(bench.apply(vec![document("b.yml", &bad)], ApplyMode::Merge));
        assert_eq!(refusal.reason, RefusalReason::InError);
    }
    let unset = bench.apply(vec![document("a.yml", &service("s7"))], ApplyMode::Merge);
    assert!(unset.outcome.expect("accepted").commands.is_empty(), "s7 is what it was");
    assert_eq!(bench.worker.restored, 3 * 2, "two objects for each refusal, not all fifty");
    let unreadable = Bench::new().apply(vec![document("c.yml", "a: [")], ApplyMode::Merge);
    assert_eq!(Bench::refused(unreadable).reason, RefusalReason::Unreadable);
}

#[test]
fn what_was_judged_and_not_committed_or_changed_by_others_is_taken_from_the_applied_state() {
    let mut bench = Bench::new();
    bench.apply(vec![document("a.yml", &service("a"))], ApplyMode::Merge);
    // Judged, and lost on the way to the log.
    let lost = Work::Apply { documents: vec![document("b.yml", &service("b"))], mode: ApplyMode::Merge };
    assert_eq!(bench.judge(lost.clone()).outcome.expect("accepted").put, 1);
    let again = bench.judge(lost);
    assert_eq!(again.outcome.as_ref().expect("accepted").put, 1, "it is not there yet");
    bench.commit(&again);
    // Another controller, with a worker of its own, goes on.
    let mut other = Bench { worker: worker(), store: bench.store.clone(), number: 100 };
    other.apply(vec![document("b.yml", &service("b").replace(":1\n", ":2\n"))], ApplyMode::Merge);
    let keys = vec!["http/services/a@cluster".to_owned()];
    let deleted = other.judge(Work::Delete { keys });
    other.commit(&deleted);
    bench.store = other.store;
    let verdict =
        bench.apply(vec![document("c.yml", &(service("b") + &service("a")[17..]))], ApplyMode::Merge);
    let (puts, _) = Bench::keys(verdict);
    assert_eq!(puts, ["config/http/services/a@cluster", "config/http/services/b@cluster"]);
}

#[test]
fn a_change_beyond_a_bound_is_refused_before_it_is_proposed_with_the_bound_and_the_mend() {
    let mut bench = Bench::new();
    bench.store.limit_for_tests(Limits { keys_max: 2, ..Limits::GENESIS });
    bench.apply(vec![document("a.yml", &service("a"))], ApplyMode::Merge);
    let two = service("b") + &service("c")[17..];
    let refusal = Bench::refused(bench.apply(vec![document("b.yml", &two)], ApplyMode::Merge));
    assert_eq!(refusal.reason, RefusalReason::TooLarge);
    let said = &refusal.problems[0];
    assert!(said.contains("number of keys would be 3, more than the 2 allowed: delete"), "{said}");
    bench.apply(vec![document("b.yml", &service("b"))], ApplyMode::Merge).outcome.expect("it fits");
}

#[test]
fn a_draft_tells_every_object_in_error_also_one_that_was_before() {
    let mut bench = Bench::new();
    let text = "http:\n  routers:\n    bad:\n      rule: Nonsense(`x`)\n      service: s\n  services:\n    s:\n      loadBalancer: {}\n";
    let parsed = document::parse("f.yml", text, Format::Yaml).expect("it can be read");
    let draft = Arc::new(ravelin_config::draft_from_documents("file", &[parsed]).expect("a draft"));
    let first = bench.judge(Work::Draft(Arc::clone(&draft)));
    bench.commit(&first);
    for verdict in [first, bench.judge(Work::Draft(draft))] {
        let refused = verdict.outcome.expect("accepted").refused;
        let keys: Vec<String> = refused.keys().map(ToString::to_string).collect();
        assert_eq!(keys, ["http/routers/bad@file"]);
    }
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
    let refusal = Bench::refused(verdict);
    assert_eq!(refusal.reason, RefusalReason::TooLarge);
    assert!(refusal.problems[0].contains("huge@cluster"), "{refusal:?}");
}
