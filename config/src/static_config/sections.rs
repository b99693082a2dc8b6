//! The static sections other than entry points.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::EntryPoint;
use crate::duration::GoDuration;
use crate::dynamic::ServersTransport;
use crate::rule::Syntax;

/// The whole static configuration, as far as it works.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StaticConfig {
    /// Entry points by name. Never empty once loaded.
    pub entry_points: BTreeMap<String, EntryPoint>,
    /// Where dynamic configuration comes from.
    pub providers: Providers,
    /// The API, if on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    /// The ping endpoint, if on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping: Option<Ping>,
    /// The process's own log.
    pub log: Log,
    /// The access log, if on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// Metrics, if on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// Settings of the whole process.
    pub global: Global,
    /// The language of rules, where it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core: Option<Core>,
    /// The transport named `default@internal`.
    pub servers_transport: ServersTransport,
    /// Where identities for servers come from, if from anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe: Option<Workload>,
}

/// Where this process learns who it is to servers, and whom to take for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Workload {
    /// The Workload API of its own machine: `unix:///path`, or `tcp://` with an address and a port. Empty: there is none.
    #[serde(rename = "workloadAPIAddr", skip_serializing_if = "String::is_empty")]
    pub workload_api_addr: String,
}

/// Where dynamic configuration comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Providers {
    /// Least time between two configurations taken from one provider.
    pub providers_throttle_duration: GoDuration,
    /// Which provider's router wins a tie in priority, first wins; empty means Traefik's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub precedence: Vec<String>,
    /// A file or directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileProvider>,
    /// Whatever is put by REST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<RestProvider>,
    /// Providers that Traefik knows and that do not work yet, as written.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Default for Providers {
    fn default() -> Self {
        Self {
            providers_throttle_duration: GoDuration::from_secs(2),
            precedence: Vec::new(),
            file: None,
            rest: None,
            other: BTreeMap::new(),
        }
    }
}

/// A configuration that clients put by REST.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestProvider {
    /// Take it on the entry point `traefik` without a router of one's own.
    pub insecure: bool,
}

/// What holds for all routers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Core {
    /// The language of rules of routers that name none: `v3` or `v2`. Deprecated in Traefik.
    pub default_rule_syntax: String,
}

impl Core {
    /// The language of rules of routers that name none.
    pub fn syntax(core: Option<&Self>) -> Syntax {
        core.map_or(Syntax::Version3, |core| Syntax::named(&core.default_rule_syntax))
    }
}

impl Default for Core {
    fn default() -> Self {
        Self { default_rule_syntax: "v3".to_owned() }
    }
}

/// A file or directory of dynamic configuration. With both given the directory wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileProvider {
    /// Every `.toml`, `.yaml` and `.yml` in it and below.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub directory: String,
    /// One file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filename: String,
    /// Read again on change.
    pub watch: bool,
    /// Log the objects that templates gave, without their secrets, in lines of level DEBUG.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug_log_generated_template: Option<bool>,
}

impl Default for FileProvider {
    fn default() -> Self {
        Self {
            directory: String::new(),
            filename: String::new(),
            watch: true,
            debug_log_generated_template: None,
        }
    }
}

/// The API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Api {
    /// Serve it on the entry point `traefik` without a router of one's own.
    pub insecure: bool,
    /// Serve the dashboard.
    pub dashboard: bool,
    /// Serve `/debug`. Not working yet.
    pub debug: bool,
    /// Path in front of `/api`.
    pub base_path: String,
}

impl Default for Api {
    fn default() -> Self {
        Self { insecure: false, dashboard: true, debug: false, base_path: "/".to_owned() }
    }
}

/// The ping endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ping {
    /// Entry point that serves it.
    pub entry_point: String,
    /// Make no router for it: the user's own leads to `ping@internal`.
    pub manual_routing: bool,
    /// Status while the process ends.
    pub terminating_status_code: i64,
}

impl Default for Ping {
    fn default() -> Self {
        Self { entry_point: "traefik".to_owned(), manual_routing: false, terminating_status_code: 503 }
    }
}

/// The process's own log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Log {
    /// `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR`, `FATAL`, `PANIC`, in any case.
    pub level: String,
    /// `common` or `json`.
    pub format: String,
    /// No colours.
    pub no_color: bool,
    /// File in place of standard error.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file_path: String,
    /// MiB of the file beyond which it is put aside; 0 for the usual 100.
    #[serde(skip_serializing_if = "crate::dynamic::is_zero")]
    pub max_size: i64,
    /// Days after which a file that was put aside goes; 0 for never.
    #[serde(skip_serializing_if = "crate::dynamic::is_zero")]
    pub max_age: i64,
    /// Files that were put aside and are kept; 0 for all.
    #[serde(skip_serializing_if = "crate::dynamic::is_zero")]
    pub max_backups: i64,
    /// Pack files that were put aside.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub compress: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "ERROR".to_owned(),
            format: "common".to_owned(),
            no_color: false,
            file_path: String::new(),
            max_size: 0,
            max_age: 0,
            max_backups: 0,
            compress: false,
        }
    }
}

/// The access log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessLog {
    /// File in place of standard output.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file_path: String,
    /// `common`, `genericCLF` or `json`.
    pub format: String,
    /// Lines that may wait in memory; 0 means each is written at once.
    pub buffering_size: i64,
    /// Log requests to internal services too.
    pub add_internals: bool,
    /// Which requests are logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<AccessLogFilters>,
    /// Which fields are logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<AccessLogFields>,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            file_path: String::new(),
            format: "common".to_owned(),
            buffering_size: 0,
            add_internals: false,
            filters: None,
            fields: None,
        }
    }
}

/// Which requests are logged: those that fit any filter; all if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessLogFilters {
    /// Statuses and ranges, as `200` or `300-302`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status_codes: Vec<String>,
    /// Requests that were tried again.
    pub retry_attempts: bool,
    /// Requests that took at least this long.
    pub min_duration: GoDuration,
}

/// Which fields are logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessLogFields {
    /// `keep` (unset) or `drop`, for fields not named.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default_mode: String,
    /// `keep` or `drop` by field.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
    /// Headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<AccessLogHeaders>,
    /// Query parameters in the request's target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_parameters: Option<DefaultMode>,
}

/// Which headers are logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessLogHeaders {
    /// `keep`, `drop` (unset) or `redact`, for headers not named.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default_mode: String,
    /// `keep`, `drop` or `redact` by header.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
}

/// One mode for all of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultMode {
    /// `keep`, `drop` or `redact`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default_mode: String,
}

/// Metrics. Only those that a Prometheus server fetches work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metrics {
    /// Count requests to internal services too.
    pub add_internals: bool,
    /// For a Prometheus server to fetch, if on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
}

/// Metrics for a Prometheus server to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Prometheus {
    /// Upper bounds of the durations' buckets in seconds, growing; empty means 0.1, 0.3, 1.2 and 5.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<String>,
    /// Count by entry point.
    pub add_entry_points_labels: bool,
    /// Count by router.
    pub add_routers_labels: bool,
    /// Count by service.
    pub add_services_labels: bool,
    /// Entry point that serves `/metrics`.
    pub entry_point: String,
    /// Make no router for it: the user's own leads to `prometheus@internal`.
    pub manual_routing: bool,
    /// Further labels of the counts of requests, by the header that holds their value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header_labels: BTreeMap<String, String>,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self {
            buckets: Vec::new(),
            add_entry_points_labels: true,
            add_routers_labels: false,
            add_services_labels: true,
            entry_point: "traefik".to_owned(),
            manual_routing: false,
            header_labels: BTreeMap::new(),
        }
    }
}

/// Most buckets of a histogram; each costs memory for everything that is counted.
const BUCKETS_MAX: usize = 64;

impl Prometheus {
    /// The upper bounds of the durations' buckets in seconds: at most 64, each greater than the one before it.
    ///
    /// # Errors
    /// What is wrong with them, for a person.
    pub fn bounds(&self) -> Result<Vec<f64>, String> {
        if self.buckets.is_empty() {
            return Ok(vec![0.1, 0.3, 1.2, 5.0]);
        }
        if self.buckets.len() > BUCKETS_MAX {
            return Err(format!("more than {BUCKETS_MAX}"));
        }
        let mut bounds = Vec::with_capacity(self.buckets.len());
        for text in &self.buckets {
            let bound: f64 = text.trim().parse().map_err(|_| format!("{text:?} is no number"))?;
            let grows = bounds.last().is_none_or(|last| bound > *last);
            if !bound.is_finite() || bound < 0.0 || !grows {
                return Err(format!("{text} is not a number of seconds greater than the one before it"));
            }
            bounds.push(bound);
        }
        Ok(bounds)
    }
}

/// Settings of the whole process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Global {
    /// Taken without effect: Ravelin calls nobody.
    pub check_new_version: bool,
    /// Taken without effect: Ravelin calls nobody.
    pub send_anonymous_usage: bool,
    /// Do not add the client's address to X-Forwarded-For.
    pub not_append_x_forwarded_for: bool,
}

impl Default for Global {
    fn default() -> Self {
        Self { check_new_version: true, send_anonymous_usage: false, not_append_x_forwarded_for: false }
    }
}
