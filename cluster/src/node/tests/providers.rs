//! What a provider is told of its drafts: object by object, and when every proxy of every node serves them.

use std::time::Duration;

use ravelin_config::Key;

use super::harness::{Cluster, site};
use crate::provider::{DraftOutcome, ObjectOutcome};

fn key(name: &str) -> Key {
    Key::new(&format!("http/routers/{name}@file")).expect("a key")
}

fn is_serving(outcome: &DraftOutcome) -> bool {
    matches!(outcome, DraftOutcome::Accepted { serving: true, .. })
}

#[test]
fn a_draft_is_served_once_the_proxies_of_all_nodes_serve_it_and_not_before() {
    let mut cluster = Cluster::ready(3);
    let (controller, epoch) = cluster.controller().expect("it is ready");
    let others: Vec<u64> = (1..=3).filter(|node| *node != controller).collect();
    cluster.attach(7, others[0], None);
    cluster.attach(8, others[1], None);
    cluster.run(Duration::from_secs(1));
    cluster.proxies.get_mut(&8).expect("attached").refuses = true;
    let bad = "    bad:\n      rule: Nonsense(`x`)\n      service: good\n";
    let text = site("good").replace("  services:\n", &format!("{bad}  services:\n"));
    cluster.draft(controller, epoch, &text);
    cluster.until("one proxy serves it", |cluster| cluster.proxies[&7].serving.is_some());
    cluster.run(Duration::from_secs(2));
    let (told_by, outcome) = cluster.outcomes.last().expect("it was accepted");
    assert_eq!(*told_by, controller);
    assert_eq!(outcome.of(&key("good")), ObjectOutcome::Accepted, "another proxy does not serve it");
    let ObjectOutcome::Refused(reasons) = outcome.of(&key("bad")) else { panic!("{outcome:?}") };
    assert!(reasons.iter().any(|reason| reason.contains("Nonsense")), "{reasons:?}");

    cluster.proxies.get_mut(&8).expect("attached").refuses = false;
    cluster.draft(controller, epoch, &text.replace("good.test", "better.test"));
    cluster.until("both serve the next", |cluster| {
        cluster.outcomes.last().is_some_and(|(_, outcome)| is_serving(outcome))
    });
    let (_, outcome) = cluster.outcomes.last().expect("just seen");
    assert_eq!(outcome.of(&key("good")), ObjectOutcome::Serving);
    assert!(matches!(outcome.of(&key("bad")), ObjectOutcome::Refused(_)));
    let said = cluster.outcomes.iter().filter(|(_, outcome)| is_serving(outcome)).count();
    cluster.run(Duration::from_secs(5));
    let again = cluster.outcomes.iter().filter(|(_, outcome)| is_serving(outcome)).count();
    assert_eq!((said, again), (1, 1), "once");
}

#[test]
fn without_a_proxy_nothing_is_served() {
    let mut cluster = Cluster::ready(3);
    let (controller, epoch) = cluster.controller().expect("it is ready");
    cluster.draft(controller, epoch, &site("a"));
    cluster.until("it is accepted", |cluster| !cluster.outcomes.is_empty());
    cluster.run(Duration::from_secs(3));
    assert!(!cluster.outcomes.iter().any(|(_, outcome)| is_serving(outcome)));
    cluster.attach(7, 1, None);
    cluster.until("the first proxy serves it", |cluster| {
        cluster.outcomes.last().is_some_and(|(_, outcome)| is_serving(outcome))
    });
}
