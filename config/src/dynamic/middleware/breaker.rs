//! The middleware that keeps requests from a service that fails.

use serde::{Deserialize, Serialize};

use super::super::is_zero;
use crate::duration::GoDuration;
use crate::expression::{Figure, Type};

/// What the expression of `circuitBreaker` may name.
pub const BREAKER_FIGURES: [Figure; 3] = [
    Figure { name: "NetworkErrorRatio", arguments: &[], ty: Type::Float },
    Figure { name: "ResponseCodeRatio", arguments: &[Type::Integer; 4], ty: Type::Float },
    Figure { name: "LatencyAtQuantileMS", arguments: &[Type::Float], ty: Type::Integer },
];

/// Keep requests from a service that fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CircuitBreaker {
    /// No request is let through for a while once this holds.
    pub expression: String,
    /// How often that is looked at; unset or 0 means 100 ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_period: Option<GoDuration>,
    /// How long none is let through; unset or 0 means 10 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_duration: Option<GoDuration>,
    /// How long it then takes until all are; unset or 0 means 10 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_duration: Option<GoDuration>,
    /// What the others are answered; 0 means 503.
    #[serde(skip_serializing_if = "is_zero")]
    pub response_code: i64,
}
