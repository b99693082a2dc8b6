//! Durations as Traefik's configuration writes them: Go's text form (`1m30s`, `250ms`), or a bare integer of seconds.
//!
//! One place reads and prints them. It must not know what a duration is for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// A signed length of time in nanoseconds, as Go's `time.Duration`.
///
/// Negative values are legal text (`flushInterval: -1ms`); what they mean is the option's business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(i64);

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The text has no number and unit where one is due.
    #[error("{0:?} is no duration")]
    Malformed(String),
    /// A number without a unit, other than a whole number of seconds.
    #[error("a unit is missing in the duration {0:?}")]
    UnitMissing(String),
    /// A unit that Go does not know.
    #[error("unknown unit {unit:?} in the duration {text:?}")]
    UnitUnknown {
        /// The unit as written.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// More than about 292 years.
    #[error("the duration {0:?} is too long")]
    TooLong(String),
}

impl GoDuration {
    /// From whole nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From whole milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// From whole seconds.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(NANOS_PER_SECOND))
    }

    /// Whole nanoseconds, negative before zero.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The length if it is above zero. Most options read zero and less as "off".
    pub const fn positive(self) -> Option<Duration> {
        if self.0 > 0 { Some(Duration::from_nanos(self.0.unsigned_abs())) } else { None }
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(seconds) = text.parse::<i64>() {
            let nanos = seconds.checked_mul(NANOS_PER_SECOND);
            return nanos.map(Self).ok_or_else(|| DurationError::TooLong(text.to_owned()));
        }
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest.is_empty() {
            return Err(DurationError::Malformed(text.to_owned()));
        }
        let mut nanos: i128 = 0;
        while !rest.is_empty() {
            let (part, after) = one_part(rest, text)?;
            nanos += part;
            if nanos > i128::from(i64::MAX) + i128::from(negative) {
                return Err(DurationError::TooLong(text.to_owned()));
            }
            rest = after;
        }
        let signed = if negative { -nanos } else { nanos };
        i64::try_from(signed).map(Self).map_err(|_| DurationError::TooLong(text.to_owned()))
    }
}

/// Reads `12.5ms` from the head of `rest`; answers its nanoseconds (cut, as Go cuts) and what follows.
fn one_part<'a>(rest: &'a str, text: &str) -> Result<(i128, &'a str), DurationError> {
    let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, after) = rest.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(DurationError::Malformed(text.to_owned()));
    }
    let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
    let (unit, after) = after.split_at(unit_end);
    let scale: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err(DurationError::UnitMissing(text.to_owned())),
        _ => return Err(DurationError::UnitUnknown { unit: unit.to_owned(), text: text.to_owned() }),
    };
    let digits = whole.trim_start_matches('0');
    if digits.len() > 19 {
        return Err(DurationError::TooLong(text.to_owned()));
    }
    let whole: i128 = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(i128::from(i64::MAX)) };
    let mut nanos = whole.saturating_mul(scale);
    let mut step = scale;
    for digit in fraction.bytes() {
        step /= 10;
        nanos += i128::from(digit - b'0') * step;
        if step == 0 {
            break;
        }
    }
    Ok((nanos, after))
}

impl fmt::Display for GoDuration {
    /// Go's own form: `0s`, `1.5ms`, `1m30s`, `2h0m0s`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if nanos == 0 {
            return out.write_str("0s");
        }
        if self.0 < 0 {
            out.write_str("-")?;
        }
        match nanos {
            0..1_000 => write!(out, "{nanos}ns"),
            1_000..1_000_000 => write!(out, "{}µs", Fraction(nanos, 1_000)),
            1_000_000..1_000_000_000 => write!(out, "{}ms", Fraction(nanos, 1_000_000)),
            _ => {
                let second = NANOS_PER_SECOND.unsigned_abs();
                let (hours, minutes) = (nanos / (3_600 * second), nanos / (60 * second) % 60);
                if hours > 0 {
                    write!(out, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(out, "{minutes}m")?;
                }
                write!(out, "{}s", Fraction(nanos % (60 * second), second))
            }
        }
    }
}

/// `value / unit` in decimal, without trailing zeros. `unit` is a power of ten.
struct Fraction(u64, u64);

impl fmt::Display for Fraction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / self.1, self.0 % self.1);
        write!(out, "{whole}")?;
        if rest > 0 {
            let width = self.1.ilog10() as usize;
            let digits = format!("{rest:0width$}");
            write!(out, ".{}", digits.trim_end_matches('0'))?;
        }
        Ok(())
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
