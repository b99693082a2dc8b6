//! What an entry point's options mean for its connections, compiled once per change. No state.

use std::time::Duration;

use ravelin_config::GoDuration;
use ravelin_config::static_config::EntryPoint;

use crate::guard::{Limits, Timeouts};
use crate::proxy_protocol::ProxyProtocolPolicy;

/// Traefik's default of `maxHeaderBytes`.
const MAX_HEADER_BYTES_DEFAULT: usize = 1 << 20;
/// The HTTP/2 header list where `maxHeaderBytes` keeps its default: one-byte references let a client announce a list that
/// costs it nothing, on every stream at once. A value set by hand holds for HTTP/2 too.
const HEADER_LIST_BYTES_DEFAULT: u32 = 64 * 1024;

const STREAMS_DEFAULT: u32 = 250;
const HEADER_TABLE_BYTES_DEFAULT: u32 = 4096;

/// The options of one entry point's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Bounds of HTTP/1 messages.
    pub limits: Limits,
    /// Requests after which a connection closes.
    pub keep_alive_requests_max: Option<u64>,
    /// Age after which a connection closes.
    pub keep_alive_time_max: Option<Duration>,
    /// HTTP/2.
    pub http2: Http2Settings,
    /// Whose PROXY headers are read; `None` where the option is not set: then nobody's.
    pub proxy_protocol: Option<ProxyProtocolPolicy>,
    /// How long the entry point still accepts once the process ends.
    pub accept_grace: Duration,
    /// How long requests in flight may still take after that.
    pub drain_grace: Duration,
}

/// The options of HTTP/2 connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Settings {
    /// Streams at once.
    pub streams_max: u32,
    /// Bytes of a header list, 32 added for each field.
    pub header_list_bytes_max: u32,
    /// Bytes of the HPACK table of requests.
    pub header_table_bytes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self::compile(&EntryPoint::default())
    }
}

impl Settings {
    /// From an entry point's configuration.
    pub fn compile(entry_point: &EntryPoint) -> Self {
        let transport = &entry_point.transport;
        let responding = &transport.responding_timeouts;
        let set = |duration: GoDuration| duration.positive();
        let read = set(responding.read_timeout);
        let head = Timeouts::default().head;
        let max_header_bytes = usize::try_from(entry_point.http.max_header_bytes)
            .ok()
            .filter(|&bytes| bytes > 0)
            .unwrap_or(MAX_HEADER_BYTES_DEFAULT);
        let header_list_bytes_max = match max_header_bytes {
            MAX_HEADER_BYTES_DEFAULT => HEADER_LIST_BYTES_DEFAULT,
            bytes => u32::try_from(bytes).unwrap_or(u32::MAX),
        };
        Self {
            timeouts: Timeouts {
                head: read.map_or(head, |read| read.min(head)),
                read,
                write: set(responding.write_timeout),
                idle: set(responding.idle_timeout),
                ..Timeouts::default()
            },
            limits: Limits::with_header_bytes(max_header_bytes),
            keep_alive_requests_max: u64::try_from(transport.keep_alive_max_requests)
                .ok()
                .filter(|&max| max > 0),
            keep_alive_time_max: set(transport.keep_alive_max_time),
            http2: Http2Settings {
                // 0 means Go's own default, as in Traefik.
                streams_max: u32::try_from(entry_point.http2.max_concurrent_streams)
                    .ok()
                    .filter(|&streams| streams > 0)
                    .unwrap_or(STREAMS_DEFAULT),
                header_list_bytes_max,
                header_table_bytes: u32::try_from(entry_point.http2.max_decoder_header_table_size)
                    .ok()
                    .filter(|&bytes| bytes > 0)
                    .unwrap_or(HEADER_TABLE_BYTES_DEFAULT),
            },
            proxy_protocol: entry_point.proxy_protocol.as_ref().map(ProxyProtocolPolicy::compile),
            accept_grace: set(transport.life_cycle.request_accept_grace_timeout).unwrap_or_default(),
            drain_grace: set(transport.life_cycle.grace_time_out).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_traefiks_where_it_has_the_option() {
        let settings = Settings::default();
        assert_eq!(settings.timeouts.read, Some(Duration::from_secs(60)));
        assert_eq!(settings.timeouts.idle, Some(Duration::from_secs(180)));
        assert_eq!(settings.timeouts.write, None);
        assert_eq!(settings.limits.head_bytes_max, (1 << 20) + 4096);
        assert_eq!(settings.http2.streams_max, 250);
        assert_eq!(settings.http2.header_list_bytes_max, 64 * 1024);
        assert_eq!(settings.drain_grace, Duration::from_secs(10));
        assert_eq!(settings.keep_alive_requests_max, None);
    }

    #[test]
    fn set_options_win() {
        let mut entry_point = EntryPoint::default();
        entry_point.http.max_header_bytes = 2000;
        entry_point.transport.responding_timeouts.read_timeout = GoDuration::from_secs(3);
        entry_point.transport.responding_timeouts.idle_timeout = GoDuration::from_secs(0);
        entry_point.transport.keep_alive_max_requests = 7;
        entry_point.transport.responding_timeouts.write_timeout = GoDuration::from_secs(5);
        entry_point.transport.keep_alive_max_time = GoDuration::from_secs(11);
        entry_point.transport.life_cycle.request_accept_grace_timeout = GoDuration::from_secs(13);
        entry_point.transport.life_cycle.grace_time_out = GoDuration::from_secs(17);
        entry_point.http2.max_concurrent_streams = 0;
        entry_point.http2.max_decoder_header_table_size = 8192;
        let settings = Settings::compile(&entry_point);
        let seconds = |time: Duration| time.as_secs();
        assert_eq!(settings.timeouts.write.map(seconds), Some(5));
        assert_eq!(settings.keep_alive_time_max.map(seconds), Some(11));
        assert_eq!((seconds(settings.accept_grace), seconds(settings.drain_grace)), (13, 17));
        assert_eq!(settings.http2.header_table_bytes, 8192);
        assert_eq!(settings.timeouts.read.map(seconds), Some(3));
        assert_eq!(settings.limits.head_bytes_max, 6096);
        assert_eq!(settings.http2.header_list_bytes_max, 2000);
        assert_eq!(settings.timeouts.head, Duration::from_secs(3));
        assert_eq!(settings.timeouts.idle, None);
        assert_eq!(settings.keep_alive_requests_max, Some(7));
        assert_eq!(settings.http2.streams_max, 250, "0 would let no request through");
    }
}
