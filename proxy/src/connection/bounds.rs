//! The most memory that one client's connection takes, state by state: sums of the limits that hold it, told when an entry point opens.
//! Tests drive each state to its limits and compare. It limits nothing by itself.

use std::fmt;

use super::http1::BUFFER_SLACK_BYTES;
use super::http2::{CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, SEND_BUFFER_BYTES};
use super::settings::Settings;
use crate::upstream::connect::HTTP2_STREAM_WINDOW_BYTES;

const KIB: u64 = 1024;
/// Between requests, its buffers let go: task, guard and socket.
const PARKED_BYTES: u64 = 8 * KIB;
/// What the guard reads ahead and holds back.
const GUARD_BYTES: u64 = (64 + 16) * KIB;
/// One field of a head in a map, without its text.
const FIELD_BYTES: u64 = 256;
/// A request in flight: its future, route and log line.
const REQUEST_BYTES: u64 = 16 * KIB;
/// What is read from a server of HTTP/1 ahead of the client, and a line of its head; one of HTTP/2 may send its window ahead.
const SERVER_BYTES: u64 = (256 + 64) * KIB;
/// hyper's buffers of HTTP/1 once the head is small: what is read, and what waits to be written.
const FLOW_BYTES: u64 = (64 + 64) * KIB;
/// What TLS holds of both directions: at most 64 KiB to be sent, and a record of each.
const TLS_BYTES: u64 = (64 + 2 * 18 + 8) * KIB;

/// Bytes of one connection without TLS; bodies that middlewares keep have bounds of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Nothing is asked.
    pub parked_bytes: u64,
    /// What TLS adds to each.
    pub tls_bytes: u64,
    /// HTTP/1 with a head of usual size: content waits for the client or for the server.
    pub flowing_bytes: u64,
    /// HTTP/1: the largest head, its answer waiting for the client.
    pub http1_bytes: u64,
    /// HTTP/2: the largest head on every stream, each answer waiting for the client. More than three quarters of it are what servers of
    /// HTTP/2 may send ahead, each on its own; with those of HTTP/1, or on few connections, it comes to an eighth.
    pub http2_bytes: u64,
}

impl Bounds {
    /// Of a connection under these settings.
    pub fn of(settings: &Settings) -> Self {
        let wide = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        let fields = wide(settings.limits.fields_max).saturating_mul(FIELD_BYTES);
        let request = REQUEST_BYTES + SERVER_BYTES.max(u64::from(HTTP2_STREAM_WINDOW_BYTES) + 64 * KIB);
        // The same bound holds for what is read and for what waits to be written.
        let buffer = wide(settings.limits.head_bytes_max).saturating_add(wide(BUFFER_SLACK_BYTES));
        let http1 = buffer.saturating_mul(2).saturating_add(GUARD_BYTES + request).saturating_add(fields);
        let http2 = &settings.http2;
        // Text and map: what counts as a field's size in the list is more than its text.
        let list = u64::from(http2.header_list_bytes_max).saturating_mul(2).saturating_add(fields);
        let stream = list.saturating_add(wide(SEND_BUFFER_BYTES) + request);
        let tables = u64::from(http2.header_table_bytes).saturating_mul(2);
        let shared = u64::from(CONNECTION_WINDOW_BYTES) + 4 * u64::from(FRAME_BYTES_MAX) + GUARD_BYTES;
        let http2 = stream.saturating_mul(u64::from(http2.streams_max)).saturating_add(shared + tables);
        let flowing_bytes = FLOW_BYTES + GUARD_BYTES + request;
        Self {
            parked_bytes: PARKED_BYTES,
            tls_bytes: TLS_BYTES,
            flowing_bytes,
            http1_bytes: http1,
            http2_bytes: http2,
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: u64| bytes.div_ceil(KIB);
        write!(
            f,
            "a connection takes at most {} KiB parked, {} KiB while content flows, {} KiB over HTTP/1, {} KiB over HTTP/2, and {} KiB \
             more within TLS",
            kib(self.parked_bytes),
            kib(self.flowing_bytes),
            kib(self.http1_bytes),
            kib(self.http2_bytes),
            kib(self.tls_bytes)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_follow_the_options_and_are_told() {
        let usual = Bounds::of(&Settings::default());
        assert_eq!(
            usual.to_string(),
            "a connection takes at most 8 KiB parked, 1312 KiB while content flows, 3521 KiB over HTTP/1, 331426 KiB over \
             HTTP/2, and 108 KiB more within TLS"
        );
        let mut entry_point = ravelin_config::static_config::EntryPoint::default();
        entry_point.http.max_header_bytes = 16 * 1024;
        entry_point.http2.max_concurrent_streams = 10;
        let small = Bounds::of(&Settings::compile(&entry_point));
        assert!(
            small.http1_bytes < usual.http1_bytes / 2 && small.http2_bytes < usual.http2_bytes / 20,
            "{small}"
        );
    }
}
