//! A thousand proxies at once, judged by counts: what is encoded, what is shared, and what waits for those that are slow.

use std::collections::BTreeSet;

use super::*;

const PROXIES: u64 = 1000;

#[test]
fn a_thousand_proxies_that_hold_fifty_generations_cost_fifty_deltas() {
    let mut bench = Bench::new();
    let held: Vec<GenerationId> =
        (1..=50).map(|revision| bench.publish(revision, &[("a", &revision.to_string())])).collect();
    // In turn, so that no two neighbours hold the same.
    for link in 1..=PROXIES {
        bench.attach(link, held.get((link % 50) as usize).copied());
    }
    let last = held.last().copied().expect("fifty");
    let sent = bench.sent();
    let parts: Vec<&(u64, Bytes)> =
        sent.iter().filter(|(_, frame)| matches!(read(frame), ToProxy::Part(_))).collect();
    assert_eq!(parts.len(), PROXIES as usize * 49 / 50, "all but those that hold the last");
    assert!(parts.iter().all(|(_, frame)| matches!(
        read(frame),
        ToProxy::Part(part) if matches!(part.content, Content::Delta { target, .. } if target == last)
    )));
    let encodings: BTreeSet<*const u8> = parts.iter().map(|(_, frame)| frame.as_ptr()).collect();
    assert_eq!(encodings.len(), 49, "one encoding for all that hold the same");
    assert_eq!(bench.feed.transfers.deltas_encoded(), 49);
}

#[test]
fn proxies_that_hold_more_generations_than_deltas_are_kept_share_the_whole() {
    let mut bench = Bench::new();
    let held: Vec<GenerationId> =
        (1..=400).map(|revision| bench.publish(revision, &[("a", &revision.to_string())])).collect();
    for link in 1..=PROXIES {
        bench.attach(link, held.get((link % 399) as usize).copied());
    }
    let sent = bench.sent();
    let encodings: BTreeSet<*const u8> = sent.iter().map(|(_, frame)| frame.as_ptr()).collect();
    assert_eq!(sent.len(), PROXIES as usize);
    assert_eq!(encodings.len(), 257, "256 deltas, and one whole for all the others");
}

#[test]
fn what_waits_for_slow_proxies_is_bounded_and_is_the_latest() {
    let mut bench = Bench::new();
    let text = "x".repeat(10_000);
    let entries = |revision: u64| -> Vec<(String, String)> {
        (0..200).map(|number| (format!("key{number}"), format!("{revision}{text}"))).collect()
    };
    let publish = |bench: &mut Bench, revision: u64| {
        let entries = entries(revision);
        let entries: Vec<(&str, &str)> = entries.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        bench.publish(revision, &entries)
    };
    let first = publish(&mut bench, 1);
    for link in 1..=PROXIES {
        bench.attach(link, Some(first));
    }
    bench.sent();
    // Nobody takes a frame from here on, and the configuration changes ten times.
    for revision in 2..=11 {
        publish(&mut bench, revision);
    }
    let mut waiting: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    let mut distinct: BTreeSet<*const u8> = BTreeSet::new();
    for action in bench.actions.as_slice() {
        let Action::SendLink { link, frame } = action else { panic!("{action:?}") };
        let (frames, bytes) = waiting.entry(link.0).or_default();
        (*frames, *bytes) = (*frames + 1, *bytes + frame.len());
        distinct.insert(frame.as_ptr());
    }
    assert_eq!(waiting.len(), PROXIES as usize);
    let most = waiting.values().max().expect("a thousand");
    assert!(most.0 <= FRAMES_QUEUED_MAX && most.1 <= FRAMES_QUEUED_MAX << 20, "{most:?}");
    assert!(distinct.len() <= FRAMES_QUEUED_MAX, "{} buffers for a thousand proxies", distinct.len());
    // Once one reads on, it gets what it began, and after its answer the latest at once.
    let second = bench.history.get(1).map(|(generation, _)| *generation).expect("published");
    bench.sent();
    bench.acknowledge(1, second, Stage::Validated);
    let targets: BTreeSet<u64> = bench
        .sent()
        .iter()
        .filter_map(|(_, frame)| match read(frame) {
            ToProxy::Part(part) => Some(part.content.target().revision),
            _ => None,
        })
        .collect();
    assert_eq!(targets, BTreeSet::from([11]), "nothing in between");
}
