//! Secrets through a whole cluster: checked as values, then seen by nobody but the proxies they are for.

use std::time::Duration;

use super::harness::{Cluster, apply, site};
use crate::request::status::EventKind;
use crate::request::{Consistency, Request, Response};

/// A certificate with its key, PEM.
struct Pair {
    certificate: String,
    key: String,
    key_der: Vec<u8>,
}

fn pair(name: &str) -> Pair {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("random bytes");
    Pair {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        key_der: made.signing_key.serialize_der(),
    }
}

impl Pair {
    /// As a document with one certificate, both parts in the text.
    fn document(&self) -> String {
        let block = |pem: &str| pem.lines().map(|line| format!("        {line}\n")).collect::<String>();
        let (certificate, key) = (block(&self.certificate), block(&self.key));
        format!("tls:\n  certificates:\n    - certFile: |\n{certificate}      keyFile: |\n{key}")
    }

    /// A line of the key that stands nowhere else.
    fn line(&self) -> &str {
        self.key.lines().nth(1).expect("a body")
    }

    /// Whether bytes hold a line of the key, or the key itself.
    fn is_in(&self, bytes: &[u8]) -> bool {
        holds(bytes, self.line().as_bytes()) || holds(bytes, &self.key_der)
    }
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// Everything of a node that outlives it or can be asked of it, as bytes.
fn traces(cluster: &mut Cluster, node: u64) -> Vec<u8> {
    let mut bytes = cluster.disk_bytes(node);
    for chunk in cluster.machine(node).node().store().snapshot_chunks() {
        bytes.extend_from_slice(&chunk.expect("small"));
    }
    let get =
        Request::Get { prefix: String::new(), after: None, limit: 1000, consistency: Consistency::Stale };
    for request in [get, Request::Events { since: 0, limit: 1000 }] {
        let ticket = cluster.ask(node, request, Duration::from_secs(5));
        let response = cluster.answer(ticket);
        assert!(!matches!(response, Response::Refused(_)), "{response:?}");
        bytes.extend_from_slice(format!("{response:?}").as_bytes());
    }
    bytes.extend_from_slice(format!("{:?}", cluster.reports).as_bytes());
    bytes.extend_from_slice(format!("{:?}", cluster.status(node)).as_bytes());
    bytes
}

/// Whether every proxy serves so many secrets, and this key is among them.
fn proxies_open(cluster: &Cluster, count: usize, pair: &Pair) -> bool {
    cluster.proxies.values().all(|proxy| {
        proxy.serving.as_ref().is_some_and(|(_, map)| {
            let secrets = map.secrets();
            let is_it = |id| secrets.open(id).is_ok_and(|secret| secret.expose().trim() == pair.key.trim());
            secrets.len() == count && secrets.iter().any(|(id, _)| is_it(id))
        })
    })
}

#[test]
fn a_private_key_reaches_proxies_and_is_in_no_log_snapshot_answer_or_event() {
    let mut cluster = Cluster::new(3);
    cluster.log_bytes_max = Some(64 << 10);
    for node in 1..=3 {
        cluster.boot(node);
    }
    cluster.until("a controller runs", |cluster| cluster.controller().is_some());
    cluster.attach(7, 1, None);
    cluster.attach(8, 2, None);
    let (drafted, applied) = (pair("drafted.test"), pair("applied.test"));
    let (controller, epoch) = cluster.controller().expect("it runs");
    cluster.draft(controller, epoch, &drafted.document());
    cluster.until("its key is served", |cluster| proxies_open(cluster, 1, &drafted));
    let follower = cluster.follower();
    let change = cluster.apply(follower, &applied.document());
    assert_eq!((change.put, change.verdicts.len()), (1, 0), "the check saw the values: {change:?}");
    cluster.until("both keys are served", |cluster| proxies_open(cluster, 2, &applied));
    assert!(proxies_open(&cluster, 2, &drafted), "a delta brings what is new, and what was there stays");

    // A key that does not belong is told in words, without being kept anywhere.
    let wrong = Pair { key: drafted.key.clone(), key_der: drafted.key_der.clone(), ..pair("wrong.test") };
    let ticket = cluster.ask(follower, apply(&wrong.document()), Duration::from_secs(10));
    let Response::Refused(refusal) = cluster.answer(ticket) else { panic!("it was taken") };
    assert!(
        refusal.problems.iter().any(|text| text.contains("not the key of the certificate")),
        "{refusal:?}"
    );

    let fill = (0..120).map(|number| format!("site{number}"));
    for name in fill {
        cluster.apply(follower, &site(&name));
    }
    assert!(cluster.saw(|kind| matches!(kind, EventKind::SnapshotTaken { .. })) > 0);
    for node in 1..=3 {
        let traces = traces(&mut cluster, node);
        let public = applied.certificate.lines().nth(1).expect("a body");
        assert!(holds(&traces, public.as_bytes()), "what is public is found this way");
        assert!(holds(&traces, b"{\\\"secret\\\":\\\""), "and references stand in answers");
        assert!(!drafted.is_in(&traces) && !applied.is_in(&traces), "a key shows on node {node}");
    }
}

#[test]
fn the_same_key_read_again_changes_nothing_whoever_reads_it() {
    let mut cluster = Cluster::ready(3);
    let pair = pair("same.test");
    // Objects of a provider that nobody asks for would go with the next controller.
    cluster.apply(1, "providers:\n  file:\n    filename: /nowhere/dynamic.yml\n");
    let (controller, epoch) = cluster.controller().expect("it runs");
    cluster.draft(controller, epoch, &pair.document());
    let fed = |cluster: &Cluster| cluster.alive().find_map(|(_, machine)| machine.node().feeds());
    let secrets = |cluster: &Cluster| {
        let counts = cluster.alive().map(|(_, machine)| machine.node().store().config().secrets().len());
        counts.collect::<Vec<_>>()
    };
    cluster.until("it is committed", |cluster| secrets(cluster) == [1, 1, 1]);
    cluster.run(Duration::from_secs(1));
    let generation = fed(&cluster);
    cluster.draft(controller, epoch, &pair.document());
    cluster.run(Duration::from_secs(2));
    assert_eq!(fed(&cluster), generation, "read again by the same node");
    cluster.kill(controller);
    cluster.until("another takes over", |cluster| cluster.controller().is_some_and(|(_, now)| now > epoch));
    let (next, epoch) = cluster.controller().expect("it runs");
    cluster.draft(next, epoch, &pair.document());
    cluster.run(Duration::from_secs(2));
    assert_eq!(fed(&cluster), generation, "read again by another node");

    assert_eq!(secrets(&cluster), [1, 1]);
    let renewed = self::pair("same.test");
    cluster.draft(next, epoch, &renewed.document());
    cluster.until("it is renewed", |cluster| fed(cluster) != generation);
    cluster.run(Duration::from_secs(1));
    assert_eq!(secrets(&cluster), [1, 1], "the old key went with its certificate");
}
