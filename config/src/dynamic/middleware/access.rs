//! Middlewares that let some clients through and answer the others.

use serde::{Deserialize, Serialize};

use super::super::{is_false, is_zero};
use super::{IpStrategy, SourceCriterion};
use crate::duration::GoDuration;

/// Serve clients of these addresses only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IpAllowList {
    /// Addresses and networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_range: Vec<String>,
    /// Which address is the client's; unset means that of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_strategy: Option<IpStrategy>,
    /// The status of all others; 0 means 403.
    #[serde(skip_serializing_if = "is_zero")]
    pub reject_status_code: i64,
}

/// Users with their passwords' hashes.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Users {
    /// Users with their hashes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// The same, one a line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub users_file: String,
    /// The realm of the challenge; empty means `traefik`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub realm: String,
    /// Keep `Authorization` from the service.
    #[serde(skip_serializing_if = "is_false")]
    pub remove_header: bool,
    /// The field that tells the service the user's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub header_field: String,
}

/// Shows no user and no hash.
impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("realm", &self.realm).finish_non_exhaustive()
    }
}

/// Limit on requests in a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimit {
    /// Requests from one source in a period; 0 or less means no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub average: i64,
    /// The period; unset or 0 means a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<GoDuration>,
    /// Most requests at once from one source; unset or less means 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<i64>,
    /// What makes two requests come from one source; unset means the client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_criterion: Option<SourceCriterion>,
    /// Where the counts are kept, if not in the process. Does not work yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<serde_json::Value>,
}
