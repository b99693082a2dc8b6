//! The access log's settings in the form that formatting asks them: which fields, which headers, which requests.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use ravelin_config::dynamic::{NoStatus, StatusRanges};
use ravelin_config::static_config;

/// Why a configuration of the access log cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not `common`, `genericCLF` or `json`.
    #[error("unsupported access log format {0:?}")]
    Format(String),
    /// Not `keep`, `drop` or (for headers) `redact`.
    #[error("unknown mode {0:?}")]
    Mode(String),
    /// Neither a status nor a range of them.
    #[error(transparent)]
    Status(NoStatus),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Common,
    GenericClf,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Keep,
    Drop,
    Redact,
}

#[derive(Debug)]
pub(super) struct Settings {
    pub(super) format: Format,
    pub(super) filters: Filters,
    pub(super) add_internals: bool,
    /// Lines may wait in memory.
    pub(super) buffered: bool,
    pub(super) keep_query: bool,
    fields: Choice,
    headers: Choice,
}

#[derive(Debug)]
struct Choice {
    unnamed: Mode,
    named: BTreeMap<String, Mode>,
}

#[derive(Debug, Default)]
pub(super) struct Filters {
    statuses: StatusRanges,
    min_duration: Duration,
    /// A filter is set at all.
    any: bool,
}

impl Settings {
    pub(super) fn compile(config: &static_config::AccessLog) -> Result<Self, SettingsError> {
        let format = match config.format.as_str() {
            "" | "common" => Format::Common,
            "genericCLF" => Format::GenericClf,
            "json" => Format::Json,
            other => return Err(SettingsError::Format(other.to_owned())),
        };
        let fields = config.fields.clone().unwrap_or_default();
        let headers = fields.headers.clone().unwrap_or_default();
        let query = fields.query_parameters.clone().unwrap_or_default();
        Ok(Self {
            format,
            filters: Filters::compile(config.filters.as_ref())?,
            add_internals: config.add_internals,
            buffered: config.buffering_size > 0,
            keep_query: mode(&query.default_mode, Mode::Keep)? == Mode::Keep,
            fields: Choice::compile(&fields.default_mode, Mode::Keep, &fields.names)?,
            headers: Choice::compile(&headers.default_mode, Mode::Drop, &headers.names)?,
        })
    }

    /// Whether the field of this name is logged.
    #[inline]
    pub(super) fn keeps(&self, field: &str) -> bool {
        self.fields.mode(field) == Mode::Keep
    }

    /// What is logged of the header of this lower-case name.
    pub(super) fn header(&self, name: &str) -> Mode {
        self.headers.mode(name)
    }

    /// Whether any header may be logged.
    pub(super) fn keeps_headers(&self) -> bool {
        self.headers.unnamed != Mode::Drop || self.headers.named.values().any(|&mode| mode != Mode::Drop)
    }
}

impl Choice {
    /// Names are compared in lower case: fields and headers both ignore case.
    fn compile(unnamed: &str, unset: Mode, names: &BTreeMap<String, String>) -> Result<Self, SettingsError> {
        let named = names
            .iter()
            .map(|(name, text)| Ok((name.to_ascii_lowercase(), mode(text, unset)?)))
            .collect::<Result<_, _>>()?;
        Ok(Self { unnamed: mode(unnamed, unset)?, named })
    }

    #[inline]
    fn mode(&self, name: &str) -> Mode {
        // Mostly none is named.
        if self.named.is_empty() { self.unnamed } else { self.named_mode(name) }
    }

    fn named_mode(&self, name: &str) -> Mode {
        let named = self.named.get(name).or_else(|| self.named.get(&name.to_ascii_lowercase()));
        named.copied().unwrap_or(self.unnamed)
    }
}

fn mode(text: &str, unset: Mode) -> Result<Mode, SettingsError> {
    match text {
        "" => Ok(unset),
        "keep" => Ok(Mode::Keep),
        "drop" => Ok(Mode::Drop),
        "redact" => Ok(Mode::Redact),
        other => Err(SettingsError::Mode(other.to_owned())),
    }
}

impl Filters {
    fn compile(config: Option<&static_config::AccessLogFilters>) -> Result<Self, SettingsError> {
        let Some(config) = config else { return Ok(Self::default()) };
        let statuses = config.status_codes.iter().flat_map(|text| text.split(',')).collect::<Vec<_>>();
        let statuses = StatusRanges::parse(&statuses).map_err(SettingsError::Status)?;
        let min_duration = Duration::from_nanos(u64::try_from(config.min_duration.nanos()).unwrap_or(0));
        let any = !statuses.is_empty() || !min_duration.is_zero() || config.retry_attempts;
        Ok(Self { statuses, min_duration, any })
    }

    /// Any filter that fits keeps the line; retries are never counted, as in Traefik, so that filter alone keeps none.
    pub(super) fn keep(&self, status: StatusCode, duration: Duration) -> bool {
        let code = status.as_u16();
        !self.any
            || self.statuses.contains(code)
            || (!self.min_duration.is_zero() && duration > self.min_duration)
    }
}
