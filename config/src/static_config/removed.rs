//! Options of Traefik 2 that version 3 removed. Their presence stops the start, with the way out.

use crate::document::{Entry, Node, Value};
use crate::problem::Problem;

/// Path, in lower case, and what to do instead.
const REMOVED: &[(&[&str], &str)] = &[
    (&["pilot"], "remove all `pilot` options"),
    (&["experimental", "http3"], "remove it: `entryPoints.<name>.http3` is enough"),
    (&["providers", "marathon"], "remove it: the provider is gone"),
    (&["providers", "rancher"], "remove it: the provider is gone"),
    (&["providers", "docker", "swarmmode"], "use the provider `swarm`"),
    (&["providers", "consul", "namespace"], "use `namespaces`"),
    (&["providers", "consulcatalog", "namespace"], "use `namespaces`"),
    (&["providers", "nomad", "namespace"], "use `namespaces`"),
    (&["tracing", "jaeger"], "use `tracing.otlp`"),
    (&["tracing", "zipkin"], "use `tracing.otlp`"),
    (&["tracing", "datadog"], "use `tracing.otlp`"),
    (&["tracing", "instana"], "use `tracing.otlp`"),
    (&["tracing", "haystack"], "use `tracing.otlp`"),
    (&["tracing", "elastic"], "use `tracing.otlp`"),
    (&["tracing", "spannamelimit"], "remove it"),
    (&["metrics", "influxdb"], "use `metrics.influxDB2`"),
];

/// Whether a top-level key is one of a removed section.
pub(super) fn is_section(key: &str) -> bool {
    REMOVED.iter().any(|(path, _)| path.len() == 1 && path[0].eq_ignore_ascii_case(key))
}

/// Takes removed sections out of a tree and says what was there.
pub(super) fn check(file: &str, root: &mut Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, mend) in REMOVED {
        let mut node = Some(&*root);
        let mut found: Option<&Entry> = None;
        for key in *path {
            found = node.and_then(|node| node.entry(key));
            node = found.map(|entry| &entry.node);
        }
        if let Some(entry) = found.filter(|entry| entry.node.value != Value::Null) {
            let message = "this option of Traefik 2 was removed in version 3";
            problems.push(Problem::error(file, entry.at, &path.join("."), message).mend(*mend));
        }
    }
    // Said once is enough.
    for (path, _) in REMOVED {
        take_out(root, path);
    }
    problems
}

fn take_out(node: &mut Node, path: &[&str]) {
    let (Value::Map(entries), Some((first, rest))) = (&mut node.value, path.split_first()) else { return };
    if rest.is_empty() {
        return entries.retain(|entry| !entry.key.eq_ignore_ascii_case(first));
    }
    for entry in entries.iter_mut().filter(|entry| entry.key.eq_ignore_ascii_case(first)) {
        take_out(&mut entry.node, rest);
    }
}
