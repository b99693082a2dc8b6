//! Dates as log lines write them. The text of a second is made once per second and worker.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The last text of each form.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    second: i64,
    text: String,
}

impl Stamps {
    /// `02/Jan/2006:15:04:05 +0000`.
    pub(super) fn common(&mut self, at: SystemTime) -> &str {
        let stamp = timestamp(at);
        if self.second != stamp.as_second() || self.text.is_empty() {
            self.second = stamp.as_second();
            self.text = stamp.to_zoned(TimeZone::UTC).strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
        }
        &self.text
    }
}

fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// RFC 3339 in UTC with nanoseconds.
pub(super) fn utc(at: SystemTime) -> String {
    timestamp(at).to_string()
}

/// RFC 3339 in the process's time zone with nanoseconds.
pub(super) fn local(at: SystemTime) -> String {
    timestamp(at).to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string()
}

/// RFC 3339 in UTC, whole seconds.
pub(super) fn utc_second(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let second = i64::try_from(seconds).ok().and_then(|second| Timestamp::from_second(second).ok());
    second.unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_have_traefiks_forms() {
        let at = UNIX_EPOCH + Duration::new(1_700_000_000, 5_000_000);
        let mut stamps = Stamps::default();
        assert_eq!(stamps.common(at), "14/Nov/2023:22:13:20 +0000");
        assert_eq!(stamps.common(at + Duration::from_secs(1)), "14/Nov/2023:22:13:21 +0000");
        assert_eq!(utc(at), "2023-11-14T22:13:20.005Z");
        assert_eq!(utc_second(at), "2023-11-14T22:13:20Z");
        let zoned = local(at);
        assert!(zoned.contains("20.005") && (zoned.contains('+') || zoned.contains("-")), "{zoned}");
    }
}
