//! Requests and drafts: from any node to the log and back, in every kind of trouble.

use std::time::Duration;

use super::harness::{Cluster, apply, draft, site, speaker};
use crate::node::event::{CallId, Event};
use crate::provider::PROVIDERS_KEY;
use crate::request::status::EventKind;
use crate::request::{Consistency, Objects, RefusalReason, Request, Response, parts};

fn get(prefix: &str, consistency: Consistency) -> Request {
    Request::Get { prefix: prefix.to_owned(), after: None, limit: 100, consistency }
}

fn objects(response: Response) -> Objects {
    match response {
        Response::Objects(objects) => objects,
        other => panic!("no objects: {other:?}"),
    }
}

#[test]
fn a_change_asked_of_any_node_is_read_back_from_any_node() {
    let mut cluster = Cluster::ready(3);
    for node in 1..=3 {
        let change = cluster.apply(node, &site(&format!("site{node}")));
        assert_eq!((change.put, change.verdicts.len()), (2, 0), "{change:?}");
        for reader in 1..=3 {
            let request = get("http/routers/", Consistency::Linearizable);
            let ticket = cluster.ask(reader, request, Duration::from_secs(2));
            let found = objects(cluster.answer(ticket));
            assert_eq!(found.objects.len(), usize::try_from(node).expect("small"), "read at {reader}");
            assert_eq!(
                found.generation.map(|generation| generation.name),
                Some(change.generation.name.clone())
            );
        }
    }
    let key = "http/routers/site2@cluster".to_owned();
    let ticket = cluster.ask(1, Request::Delete { keys: vec![key] }, Duration::from_secs(2));
    assert!(matches!(cluster.answer(ticket), Response::Done(change) if change.deleted == 1));
}

#[test]
fn a_page_ends_at_its_limit_and_goes_on_after_it() {
    let mut cluster = Cluster::ready(1);
    for name in ["a", "b", "c"] {
        cluster.apply(1, &site(name));
    }
    let page = |after: Option<String>| Request::Get {
        prefix: "http/routers/".to_owned(),
        after,
        limit: 2,
        consistency: Consistency::Stale,
    };
    let ticket = cluster.ask(1, page(None), Duration::from_secs(1));
    let first = objects(cluster.answer(ticket));
    assert_eq!(first.next.as_deref(), Some("http/routers/b@cluster"));
    let ticket = cluster.ask(1, page(first.next), Duration::from_secs(1));
    let second = objects(cluster.answer(ticket));
    assert_eq!((second.objects.len(), second.next), (1, None));
}

#[test]
fn what_cannot_be_read_is_refused_and_changes_nothing() {
    let mut cluster = Cluster::ready(3);
    let before = cluster.apply(1, &site("a"));
    for (text, reason) in
        [("http: [", RefusalReason::Unreadable), ("a: 1\na: 2\n", RefusalReason::Unreadable)]
    {
        let ticket = cluster.ask(2, apply(text), Duration::from_secs(2));
        let Response::Refused(refusal) = cluster.answer(ticket) else { panic!("accepted {text}") };
        assert_eq!(refusal.reason, reason);
        assert!(refusal.problems.iter().all(|problem| problem.starts_with("test.yml:")), "{refusal:?}");
    }
    let ticket = cluster.ask(
        2,
        Request::Delete { keys: vec!["http/routers/a@file".to_owned()] },
        Duration::from_secs(2),
    );
    assert!(
        matches!(cluster.answer(ticket), Response::Refused(refusal) if refusal.reason == RefusalReason::BadRequest)
    );
    assert_eq!(cluster.saw(|kind| matches!(kind, EventKind::ConfigurationRefused { .. })), 3);
    let generation = cluster.generations().first().copied().expect("it is fed");
    assert_eq!(generation.to_string(), before.generation.name);
}

#[test]
fn a_request_with_an_object_in_error_is_refused_whole() {
    let mut cluster = Cluster::ready(1);
    cluster.apply(1, &site("before"));
    let text = format!("{}    bad:\n      loadBalancer: 7\n", site("good"));
    let ticket = cluster.ask(1, apply(&text), Duration::from_secs(2));
    let Response::Refused(refusal) = cluster.answer(ticket) else { panic!("accepted") };
    assert_eq!(refusal.reason, RefusalReason::InError);
    assert!(refusal.problems[0].contains("bad@cluster"), "{refusal:?}");
    assert!(refusal.problems[1].starts_with("test.yml:12:"), "with its place: {refusal:?}");
    let change = cluster.apply(1, &site("after"));
    assert_eq!((change.put, change.verdicts.len()), (2, 0), "what was refused left nothing in the check");
    assert_eq!(cluster.machine(1).node().store().config().len(), 4);
}

#[test]
fn an_object_of_a_draft_in_error_is_told_and_the_others_move_on() {
    let mut cluster = Cluster::ready(1);
    let text = format!("{}    bad:\n      loadBalancer: 7\n", site("good"));
    cluster.draft(1, 1, &text);
    let told = |kind: &EventKind| match kind {
        EventKind::ObjectsInError { provider, objects } => {
            provider == "file" && objects.iter().all(|object| object.contains("bad@file"))
        }
        _ => false,
    };
    cluster.until("it is told", |cluster| cluster.saw(told) == 1);
    let config = cluster.machine(1).node().store().config();
    assert!(config.get("http/routers/good@file").is_some() && config.get("http/services/bad@file").is_some());
}

#[test]
fn a_request_without_quorum_is_answered_clearly_and_did_nothing() {
    let mut cluster = Cluster::ready(3);
    let last = cluster.follower();
    for node in (1..=3).filter(|node| *node != last) {
        cluster.kill(node);
    }
    cluster.run(Duration::from_secs(5));
    let ticket = cluster.ask(last, apply(&site("a")), Duration::from_secs(3));
    let asked = cluster.now;
    let Response::Unavailable { reason } = cluster.answer(ticket) else { panic!("not refused") };
    assert!(reason.contains("no leader is known"), "{reason}");
    assert!(cluster.now.micros - asked.micros < 3_200_000, "within its deadline");
    let ticket = cluster.ask(last, get("", Consistency::Linearizable), Duration::from_secs(1));
    assert!(matches!(cluster.answer(ticket), Response::Unavailable { .. }));
    let ticket = cluster.ask(last, get("", Consistency::Stale), Duration::from_secs(1));
    assert!(objects(cluster.answer(ticket)).stale);
}

#[test]
fn a_request_that_comes_while_no_leader_is_known_is_done_once_there_is_one() {
    let mut cluster = Cluster::ready(3);
    let leader = cluster.leader().expect("it is ready");
    let asked = cluster.follower();
    cluster.kill(leader);
    let ticket = cluster.ask(asked, apply(&site("a")), Duration::from_secs(10));
    assert!(matches!(cluster.answer(ticket), Response::Done(_)));
    cluster.boot(leader);
    cluster.until("all feed it", |cluster| {
        cluster.generations().len() == 1 && cluster.alive().all(|(_, m)| m.node().feeds().is_some())
    });
}

#[test]
fn nothing_was_changed_is_not_said_after_another_node_let_the_change_go_towards_the_log() {
    for may_take_effect in [false, true] {
        let mut cluster = Cluster::ready(3);
        let (controller, _) = cluster.controller().expect("it is ready");
        let asked = (1..=3).find(|node| *node != controller).expect("three nodes");
        for node in (1..=3).filter(|node| *node != asked) {
            cluster.kill(node);
        }
        let ticket = cluster.ask(asked, apply(&site("a")), Duration::from_secs(5));
        let response = Response::Redirect { node: None, may_take_effect };
        for frame in parts::answer(1, Some(speaker(0)), &response) {
            cluster.step(asked, Event::CallFrame { call: CallId(1), frame });
        }
        let answer = cluster.answer(ticket);
        match may_take_effect {
            true => assert!(matches!(answer, Response::Unknown { .. }), "{answer:?}"),
            false => assert!(matches!(answer, Response::Unavailable { .. }), "{answer:?}"),
        }
    }
}

#[test]
fn a_request_whose_controller_dies_under_it_is_done_by_the_next_or_truly_unknown() {
    for moment in 0..12 {
        let mut cluster = Cluster::ready(3);
        let (controller, _) = cluster.controller().expect("it is ready");
        let asked = (1..=3).find(|node| *node != controller).expect("three nodes");
        let ticket = cluster.ask(asked, apply(&site("a")), Duration::from_secs(10));
        cluster.run(Duration::from_micros(moment * 500));
        cluster.kill(controller);
        let response = cluster.answer(ticket);
        cluster.run(Duration::from_secs(3));
        let found = cluster.machine(asked).node().store().config().get("http/routers/a@cluster").is_some();
        match response {
            Response::Done(_) => assert!(found, "said done at {moment}"),
            Response::Unknown { .. } => {}
            other => panic!("moment {moment}: {other:?}, found {found}"),
        }
    }
}

#[test]
fn a_change_larger_than_an_entry_takes_effect_whole() {
    let mut cluster = Cluster::ready(3);
    let mut text = String::from("http:\n  services:\n");
    for number in 0..8000 {
        text.push_str(&format!(
            "    service-{number}:\n      loadBalancer:\n        servers:\n          - url: http://127.0.0.1:{}\n",
            1000 + number
        ));
    }
    let follower = cluster.follower();
    cluster.attach(7, follower, None);
    let change = cluster.apply(follower, &text);
    assert_eq!(change.put, 8000);
    cluster.run(Duration::from_secs(1));
    let committed = cluster.saw(|kind| matches!(kind, EventKind::GenerationCommitted { .. }));
    assert_eq!(committed, 3, "once on each node, however many entries it took");
    cluster.until("the proxy serves it", |cluster| {
        cluster.proxies.values().any(|proxy| proxy.serving.as_ref().is_some_and(|(_, map)| map.len() == 8000))
    });
}

#[test]
fn drafts_of_the_provider_replace_each_other_and_leave_requests_alone() {
    let mut cluster = Cluster::ready(3);
    let (controller, epoch) = cluster.controller().expect("it is ready");
    cluster.apply(1, &site("kept"));
    cluster.draft(controller, epoch, &site("one"));
    cluster.draft(controller, epoch, &site("two"));
    cluster.draft(controller, epoch, &site("three"));
    let holds = |cluster: &Cluster, key: &str| {
        cluster.alive().all(|(_, machine)| machine.node().store().config().get(key).is_some())
    };
    cluster.until("the last draft is everywhere", |cluster| holds(cluster, "http/routers/three@file"));
    assert!(holds(&cluster, "http/routers/kept@cluster"));
    let config = cluster.machine(controller).node().store().config();
    assert!(config.get("http/routers/one@file").is_none());
    assert_eq!(config.len(), 4);
}

#[test]
fn static_objects_come_first_and_say_which_providers_run() {
    let mut cluster = Cluster::new(1);
    let mut fixed = draft("internal", "");
    let key = ravelin_config::Key::new(PROVIDERS_KEY).expect("a key");
    let bytes = br#"{"file":{"filename":"/nowhere/dynamic.yml"},"providersThrottleDuration":"2s"}"#;
    let object = ravelin_config::Object::new(ravelin_config::Kind::StaticSection, 1, bytes.as_slice().into());
    fixed.objects.insert(key, std::sync::Arc::new(object));
    cluster.static_objects = Some(std::sync::Arc::new(fixed));
    cluster.boot(1);
    cluster.until("the provider runs", |cluster| {
        cluster.running.get(&1).is_some_and(|(epoch, specs)| *epoch == 1 && specs.len() == 1)
    });
}

#[test]
fn proxies_get_deltas_and_their_word_is_in_the_status() {
    let mut cluster = Cluster::ready(3);
    cluster.attach(7, 1, None);
    cluster.attach(8, 2, None);
    cluster.apply(1, &site("a"));
    let serving = |cluster: &Cluster, objects: usize| {
        cluster
            .proxies
            .values()
            .all(|proxy| proxy.serving.as_ref().is_some_and(|(_, map)| map.len() == objects))
    };
    cluster.until("both serve the first", |cluster| serving(cluster, 2));
    cluster.apply(2, &site("b"));
    cluster.until("both serve the second", |cluster| serving(cluster, 4));
    for proxy in cluster.proxies.values() {
        assert_eq!((proxy.wholes, proxy.deltas), (1, 1), "the whole first, then only what changed");
    }
    cluster.run(Duration::from_secs(1));
    let status = cluster.status(3);
    assert_eq!((status.nodes.len(), status.silent.len()), (3, 0));
    let proxies: Vec<_> = status.nodes.iter().flat_map(|node| &node.proxies).collect();
    assert_eq!(proxies.iter().map(|proxy| proxy.node).collect::<Vec<_>>(), [7, 8]);
    for proxy in proxies {
        assert_eq!(proxy.serving, status.nodes[0].generation);
    }
    cluster.kill(1);
    let status = cluster.status(3);
    assert_eq!(status.silent, [1]);
}

#[test]
fn a_proxy_that_refuses_goes_on_and_gets_the_next() {
    let mut cluster = Cluster::ready(1);
    cluster.attach(7, 1, None);
    cluster.apply(1, &site("a"));
    cluster.until("it serves the first", |cluster| cluster.proxies[&7].serving.is_some());
    cluster.proxies.get_mut(&7).expect("attached").refuses = true;
    cluster.apply(1, &site("b"));
    cluster.until("it refuses the second", |cluster| {
        cluster.saw(|kind| matches!(kind, EventKind::ProxyRefused { proxy: 7, .. })) == 1
    });
    cluster.run(Duration::from_secs(5));
    assert_eq!(
        cluster.saw(|kind| matches!(kind, EventKind::ProxyRefused { .. })),
        1,
        "it is not offered again"
    );
    let status = cluster.status(1);
    assert!(status.nodes[0].proxies[0].refused.is_some());
    cluster.proxies.get_mut(&7).expect("attached").refuses = false;
    cluster.apply(1, &site("c"));
    cluster.until("it serves the third", |cluster| {
        cluster.proxies[&7].serving.as_ref().is_some_and(|(_, map)| map.len() == 6)
    });
}

#[test]
fn a_provider_that_is_no_longer_wanted_takes_its_objects_with_it() {
    let mut cluster = Cluster::ready(1);
    let fixed = "entryPoints:\n  web:\n    address: ':8000'\n";
    let with_file = format!("{fixed}providers:\n  file:\n    filename: /nowhere/dynamic.yml\n");
    cluster.apply(1, &with_file);
    cluster.apply(1, &site("kept"));
    let (_, specs) = cluster.running.get(&1).expect("it runs").clone();
    assert_eq!(specs.len(), 1, "{specs:?}");
    cluster.draft(1, 1, &site("provided"));
    let holds = |cluster: &Cluster, key: &str| cluster.machine(1).node().store().config().get(key).is_some();
    cluster.until("it is there", |cluster| holds(cluster, "http/routers/provided@file"));
    cluster.apply(1, fixed);
    cluster.until("it is gone", |cluster| !holds(cluster, "http/routers/provided@file"));
    assert!(holds(&cluster, "http/routers/kept@cluster"));
    assert!(cluster.running.get(&1).is_some_and(|(_, specs)| specs.is_empty()));
}

/// Whoever hears no answer asks again under the same id, through whatever node: the first answer is the only one there is.
#[test]
fn a_change_whose_answer_was_lost_takes_effect_once_and_is_answered_as_it_was() {
    let mut cluster = Cluster::ready(3);
    let (asked, deadline) = (cluster.follower(), Duration::from_secs(20));
    let ticket = cluster.ask(asked, apply(&site("first")), deadline);
    let Response::Done(told) = cluster.answer(ticket) else { panic!("not done") };
    assert!(told.put > 0);
    cluster.kill(asked);
    let other = cluster.leader().expect("two of three");
    let between = cluster.apply(other, &site("second"));
    assert_ne!(between.generation, told.generation);
    // Every node that is left, and the one that comes back.
    cluster.boot(asked);
    for node in 1..=3 {
        let again = cluster.ask_as(node, ticket, apply(&site("first")), deadline);
        assert_eq!(cluster.answer(again), Response::Done(told.clone()), "node {node}");
    }
    let revisions = cluster.alive().map(|(_, machine)| machine.node().store().generation().revision);
    assert!(revisions.max() <= Some(between.generation.revision), "it did not take effect again");
}
