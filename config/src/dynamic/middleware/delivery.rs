//! Middlewares that send a request again or keep it whole.

use serde::{Deserialize, Serialize};

use super::super::{is_false, is_zero};
use crate::duration::GoDuration;
use crate::expression::{Figure, Type};

/// What the expression of `buffering` may name.
pub const BUFFERING_FIGURES: [Figure; 4] = [
    Figure { name: "Attempts", arguments: &[], ty: Type::Integer },
    Figure { name: "ResponseCode", arguments: &[], ty: Type::Integer },
    Figure { name: "RequestMethod", arguments: &[], ty: Type::Text },
    Figure { name: "IsNetworkError", arguments: &[], ty: Type::Truth },
];

/// Send a request again that was not served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retry {
    /// How often it is sent at most, the first time included. At least 1.
    pub attempts: i64,
    /// How long to wait before the second time; each further wait is longer, up to twice as long. Unset means no wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_interval: Option<GoDuration>,
    /// How long after its arrival a request may be sent again; unset or 0 means for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// Largest body that is kept to be sent again because of a status; unset means 2 MiB, less than 0 no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_request_body_bytes: Option<i64>,
    /// Statuses of answers that make the request be sent again, as codes and ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<String>,
    /// Not because no server could be reached.
    #[serde(skip_serializing_if = "is_false")]
    pub disable_retry_on_network_error: bool,
    /// Because of a status also with the methods POST, LOCK and PATCH.
    #[serde(skip_serializing_if = "is_false")]
    pub retry_non_idempotent_method: bool,
}

/// Keep requests and answers whole before they go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Buffering {
    /// Largest body of a request; larger ones are answered 413. 0 means no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_request_body_bytes: i64,
    /// How much of it is kept in memory, the rest in a file; unset or 0 means 1 MiB.
    #[serde(skip_serializing_if = "is_zero")]
    pub mem_request_body_bytes: i64,
    /// Largest body of an answer; larger ones become a 500. 0 means no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_response_body_bytes: i64,
    /// How much of it is kept in memory, the rest in a file; unset or 0 means 1 MiB.
    #[serde(skip_serializing_if = "is_zero")]
    pub mem_response_body_bytes: i64,
    /// The request is sent again while this is true.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub retry_expression: String,
    /// Requests go on as they come.
    #[serde(skip_serializing_if = "is_false")]
    pub disable_request_buffer: bool,
    /// Answers go on as they come.
    #[serde(skip_serializing_if = "is_false")]
    pub disable_response_buffer: bool,
}
