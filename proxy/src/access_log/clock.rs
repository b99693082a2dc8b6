//! Dates as log lines write them, and the last client's address. The text of a second is made once per second and worker; the
//! rest of a date is digits.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The texts of the last second that was asked for.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    second: Option<u64>,
    /// `02/Jan/2006:15:04:05 +0000`.
    common: String,
    /// `2006-01-02T15:04:05`, in UTC.
    utc: String,
    /// The same in the process's time zone.
    local: String,
    /// That zone's offset: `+02:00`.
    offset: String,
    /// The last address that was asked for: a client's requests come in rows.
    client: Option<IpAddr>,
    client_text: String,
}

impl Stamps {
    /// An address as text.
    pub(super) fn client(&mut self, address: IpAddr) -> &str {
        if self.client != Some(address) {
            self.client = Some(address);
            self.client_text = address.to_string();
        }
        &self.client_text
    }

    /// `02/Jan/2006:15:04:05 +0000`.
    pub(super) fn common(&mut self, at: SystemTime) -> &str {
        self.turn_to(at);
        &self.common
    }

    /// RFC 3339 in UTC with nanoseconds.
    pub(super) fn utc(&mut self, out: &mut Vec<u8>, at: SystemTime) {
        let nanos = self.turn_to(at);
        out.extend_from_slice(self.utc.as_bytes());
        fraction(out, nanos);
        out.push(b'Z');
    }

    /// RFC 3339 in the process's time zone with nanoseconds.
    pub(super) fn local(&mut self, out: &mut Vec<u8>, at: SystemTime) {
        let nanos = self.turn_to(at);
        out.extend_from_slice(self.local.as_bytes());
        fraction(out, nanos);
        out.extend_from_slice(self.offset.as_bytes());
    }

    /// RFC 3339 in UTC, whole seconds.
    pub(super) fn utc_second(&mut self, out: &mut Vec<u8>, at: SystemTime) {
        self.turn_to(at);
        out.extend_from_slice(self.utc.as_bytes());
        out.push(b'Z');
    }

    /// Makes the second's texts where they are another's, and returns the nanoseconds behind it.
    fn turn_to(&mut self, at: SystemTime) -> u32 {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            let second =
                i64::try_from(since.as_secs()).ok().and_then(|second| Timestamp::from_second(second).ok());
            let stamp = second.unwrap_or(Timestamp::UNIX_EPOCH);
            let (utc, local) = (stamp.to_zoned(TimeZone::UTC), stamp.to_zoned(TimeZone::system()));
            self.common = utc.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
            self.utc = utc.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            self.local = local.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            self.offset = local.strftime("%:z").to_string();
        }
        since.subsec_nanos()
    }
}

/// The fraction of a second without trailing zeros, as Go writes it.
fn fraction(out: &mut Vec<u8>, nanos: u32) {
    if nanos == 0 {
        return;
    }
    // Writing into a vector cannot fail.
    let _ = write!(out, ".{nanos:09}");
    while out.last() == Some(&b'0') {
        out.pop();
    }
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
        let mut text = |write: fn(&mut Stamps, &mut Vec<u8>, SystemTime), at| {
            let mut out = Vec::new();
            write(&mut stamps, &mut out, at);
            String::from_utf8(out).expect("ASCII")
        };
        assert_eq!(text(Stamps::utc, at), "2023-11-14T22:13:20.005Z");
        assert_eq!(text(Stamps::utc, UNIX_EPOCH), "1970-01-01T00:00:00Z");
        assert_eq!(text(Stamps::utc_second, at), "2023-11-14T22:13:20Z");
        let local: Timestamp = text(Stamps::local, at).parse().expect("RFC 3339");
        assert_eq!(local.as_nanosecond(), 1_700_000_000_005_000_000);
    }
}
