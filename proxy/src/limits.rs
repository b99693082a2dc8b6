//! What one entry point allows and believes, compiled once per change: the policies that hold before a route is known. It holds
//! no per-request state.

use ravelin_config::static_config::EntryPoint;

use crate::forwarded::{ForwardedPolicy, PolicyError};
use crate::path::PathOptions;

/// The request policies of one entry point.
#[derive(Clone, Debug)]
pub struct EntryPointPolicy {
    /// Whose forwarding fields are believed, which fields are dropped.
    pub forwarded: ForwardedPolicy,
    /// What paths may hold.
    pub path: PathOptions,
    /// A `;` in a query becomes `%3B` (else `&`), before rules are matched.
    pub encode_query_semicolons: bool,
    /// Requests are logged unless their router says otherwise; also holds for requests that match no router.
    pub access_logs: bool,
    /// As `access_logs`, for metrics.
    pub metrics: bool,
}

impl EntryPointPolicy {
    /// From an entry point's configuration; `append_client` is false if `global.notAppendXForwardedFor` is set.
    ///
    /// # Errors
    /// A trusted address or a field name that is none.
    pub fn compile(entry_point: &EntryPoint, append_client: bool) -> Result<Self, PolicyError> {
        Ok(Self {
            forwarded: ForwardedPolicy::compile(entry_point, append_client)?,
            path: PathOptions::compile(&entry_point.http),
            encode_query_semicolons: entry_point.http.encode_query_semicolons,
            access_logs: entry_point
                .observability
                .as_ref()
                .is_none_or(|observability| observability.access_logs),
            metrics: entry_point.observability.as_ref().is_none_or(|observability| observability.metrics),
        })
    }
}

impl Default for EntryPointPolicy {
    fn default() -> Self {
        Self {
            forwarded: ForwardedPolicy::default(),
            path: PathOptions::default(),
            encode_query_semicolons: false,
            access_logs: true,
            metrics: true,
        }
    }
}
