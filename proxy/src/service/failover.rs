//! Failover: one service, and another one where the first is down, or where its answer has a status that counts as none. It chooses; who
//! sends the request a second time is the journey.

use std::sync::Arc;

use ravelin_config::dynamic::{Failover as Config, StatusRanges};

use super::Service;
use crate::middleware::CompileError;

/// A service and its substitute.
#[derive(Debug)]
pub struct Failover {
    service: Arc<Service>,
    fallback: Arc<Service>,
    /// The fallback is asked how it is, too.
    checked: bool,
    errors: Option<Errors>,
}

/// Which answers count as none.
#[derive(Debug)]
pub struct Errors {
    statuses: StatusRanges,
    /// Most bytes of a request's body that are kept for the fallback; a longer one is refused. `None`: as many as come.
    pub(crate) body_bytes_max: Option<u64>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub enum Turn<'f> {
    /// To this service and no other.
    One(&'f Service),
    /// To the first; to the second if the first one's answer counts as none.
    Both(&'f Service, &'f Service, &'f Errors),
    /// Both are down.
    Nobody,
}

impl Failover {
    /// From its configuration and its two services.
    ///
    /// # Errors
    /// A status that is none.
    pub(super) fn compile(
        config: &Config,
        service: Arc<Service>,
        fallback: Arc<Service>,
    ) -> Result<Self, CompileError> {
        let errors = config.errors.as_ref().map(|errors| {
            let statuses = StatusRanges::parse(&errors.status).map_err(|error| CompileError::Value {
                option: "failover.errors.status",
                reason: error.to_string(),
            })?;
            Ok::<_, CompileError>(Errors {
                statuses,
                body_bytes_max: u64::try_from(errors.max_request_body_bytes).ok(),
            })
        });
        let checked = config.health_check.is_some();
        Ok(Self { service, fallback, checked, errors: errors.transpose()? })
    }

    /// Whose turn it is.
    pub fn turn(&self) -> Turn<'_> {
        match (self.service.is_up(), &self.errors) {
            (true, None) => Turn::One(&self.service),
            (true, Some(errors)) => Turn::Both(&self.service, &self.fallback, errors),
            (false, _) if !self.checked || self.fallback.is_up() => Turn::One(&self.fallback),
            (false, _) => Turn::Nobody,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.service.is_up() || self.fallback.is_up()
    }

    pub(crate) fn children(&self) -> [&Arc<Service>; 2] {
        [&self.service, &self.fallback]
    }
}

impl Errors {
    /// Whether an answer of this status is to be replaced.
    pub(crate) fn hold(&self, status: http::StatusCode) -> bool {
        self.statuses.contains(status.as_u16())
    }
}
