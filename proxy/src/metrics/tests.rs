//! What is counted for whom, what is not, and that nothing grows without a bound.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;

use super::series::{Labels, MethodLabel, Sample, Spoken, Totals};
use super::*;

fn metrics(prometheus: static_config::Prometheus) -> Metrics {
    let config = static_config::Metrics { add_internals: false, prometheus: Some(prometheus) };
    Metrics::compile(&config, 2).expect("a good configuration").expect("it is on")
}

fn sample(code: u16, method: &str, millis: u64) -> Sample<'static> {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    Sample {
        labels: Labels::new(code, MethodLabel::of(&method), Spoken::Http),
        took: Duration::from_millis(millis),
        received_bytes: 3,
        sent_bytes: 5,
        tls: None,
        values: None,
    }
}

fn totals(subject: &Subject) -> Totals {
    let mut totals = Totals::default();
    subject.used_shards().for_each(|shard| shard.add_to(&mut totals));
    totals
}

#[test]
fn workers_count_apart_and_are_summed() {
    let metrics = metrics(static_config::Prometheus::default());
    let subject = metrics.service("s@file").expect("services are counted");
    for worker in [0, 1, 1] {
        subject.shard(worker).expect("a worker").record(&sample(200, "GET", 100));
    }
    subject.shard(0).expect("a worker").record(&sample(200, "GET", 101));
    subject.shard(0).expect("a worker").record(&sample(200, "GET", 5001));
    subject.shard(0).expect("a worker").record(&sample(502, "BREW", 0));
    assert!(subject.shard(2).is_none(), "there are two workers");
    let totals = totals(&subject);
    let seen: BTreeMap<_, _> = totals
        .series
        .iter()
        .map(|(labels, total)| ((labels.code(), labels.method(), labels.protocol()), total))
        .collect();
    assert_eq!(seen.len(), 2);
    let good = seen[&(200, "GET", "http")];
    assert_eq!(good.buckets, [3, 1, 0, 0, 1], "a bound belongs to its bucket");
    assert_eq!((good.nanos, good.received_bytes, good.sent_bytes), (5_402_000_000, 15, 25));
    assert_eq!(seen[&(502, "EXTENSION_METHOD", "http")].buckets, [1, 0, 0, 0, 0]);
}

#[test]
fn numbers_go_on_while_a_table_holds_them_and_end_with_the_last() {
    let metrics = metrics(static_config::Prometheus::default());
    let (first, second) = (metrics.service("s@file"), metrics.service("s@file"));
    let (first, second) = (first.expect("counted"), second.expect("counted"));
    assert!(Arc::ptr_eq(&first, &second));
    first.shard(0).expect("a worker").record(&sample(200, "GET", 1));
    assert_eq!((metrics.subjects().len(), metrics.budget.series.load(Ordering::Relaxed)), (1, 1));
    drop(first);
    assert_eq!(totals(&second).series.len(), 1);
    drop(second);
    assert_eq!((metrics.subjects().len(), metrics.budget.series.load(Ordering::Relaxed)), (0, 0));
    let again = metrics.service("s@file").expect("counted");
    assert!(totals(&again).series.is_empty(), "it begins anew");
}

#[test]
fn only_what_the_configuration_names_is_counted() {
    let (name, service) = ("r@file".into(), "s@file".into());
    let usual = metrics(static_config::Prometheus::default());
    assert!(usual.entry_point(&name).is_some() && usual.service("s@file").is_some());
    assert!(usual.router(&name, &service).is_none(), "routers are not, unless asked for");
    assert!(usual.counts("s@file") && !usual.counts("ping@internal"));
    let routers = metrics(static_config::Prometheus {
        add_entry_points_labels: false,
        add_routers_labels: true,
        add_services_labels: false,
        ..Default::default()
    });
    assert!(routers.entry_point(&name).is_none() && routers.service("s@file").is_none());
    assert!(routers.router(&name, &service).is_some());
    let off = Metrics::compile(&static_config::Metrics::default(), 1).expect("good");
    assert!(off.is_none());
}

#[test]
fn a_server_that_invents_statuses_opens_only_so_many_series() {
    let metrics = metrics(static_config::Prometheus::default());
    let subject = metrics.service("s@file").expect("counted");
    let shard = subject.shard(0).expect("a worker");
    let codes = 100..1000;
    for code in codes.clone() {
        shard.record(&sample(code, "GET", 1));
    }
    let open = metrics.budget.series.load(Ordering::Relaxed);
    let uncounted = metrics.budget.uncounted.load(Ordering::Relaxed);
    assert!(open <= 512, "{open}");
    assert_eq!(open as u64 + uncounted, codes.count() as u64, "each is counted, or counted as not counted");
    shard.record(&sample(100, "GET", 1));
    assert_eq!(metrics.budget.uncounted.load(Ordering::Relaxed), uncounted, "an open one counts on");
}

#[test]
fn a_process_opens_only_so_many_series() {
    let metrics = metrics(static_config::Prometheus::default());
    let subject = metrics.service("s@file").expect("counted");
    let shard = subject.shard(0).expect("a worker");
    metrics.budget.series.store(SERIES_MAX - 1, Ordering::Relaxed);
    shard.record(&sample(200, "GET", 1));
    shard.record(&sample(201, "GET", 1));
    shard.record(&sample(200, "GET", 1));
    assert_eq!(metrics.budget.series.load(Ordering::Relaxed), SERIES_MAX);
    assert_eq!(metrics.budget.uncounted.load(Ordering::Relaxed), 1);
    assert_eq!(totals(&subject).series.values().map(|total| total.buckets[0]).sum::<u64>(), 2);
}

#[test]
fn values_from_requests_are_bounded() {
    let labels = [("agent".to_owned(), "User-Agent".to_owned())].into();
    let metrics = metrics(static_config::Prometheus { header_labels: labels, ..Default::default() });
    let subject = metrics.entry_point(&"web".into()).expect("counted");
    let shard = subject.shard(0).expect("a worker");
    for number in 0..1000 {
        let values: Box<[Box<str>]> = [format!("agent {number}").into()].into();
        shard.record(&Sample { values: Some(&values), ..sample(200, "GET", 1) });
    }
    let totals = totals(&subject);
    assert_eq!(totals.labelled.len(), 257, "256 and all others");
    assert_eq!(totals.labelled.values().sum::<u64>(), 1000);
    let others = totals.labelled.iter().find(|((_, values), _)| &*values[0] == "other");
    assert_eq!(others.map(|(_, count)| *count), Some(744));
}

#[test]
fn pairs_of_tls_version_and_cipher_are_counted() {
    let metrics = metrics(static_config::Prometheus::default());
    let subject = metrics.entry_point(&"web".into()).expect("counted");
    let pairs = [("1.3", "TLS_AES_128_GCM_SHA256"), ("1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")];
    for (worker, tls) in [(0, pairs[0]), (1, pairs[0]), (1, pairs[1])] {
        let sample = Sample { tls: Some(tls), ..sample(200, "GET", 1) };
        subject.shard(worker).expect("a worker").record(&sample);
    }
    assert_eq!(totals(&subject).tls, [(pairs[0], 2), (pairs[1], 1)].into());
}
