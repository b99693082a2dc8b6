//! The most that a connection takes, measured: each state is driven to its limits in a process of its own and compared with the sum that
//! is told of it. An idle connection stands in `parking.rs`.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::parking::resident_bytes;
use super::rig::{Client, Rig};
use crate::connection::{Bounds, Settings};
use crate::preface::HTTP2_PREFACE;

/// Set in the child process: memory is that of a whole process.
const CHILD: &str = "RAVELIN_TEST_STATE_MEMORY";

/// Runs this test in a process of its own, unless it is that already.
pub(super) fn alone(name: &str, measure: fn()) {
    if std::env::var_os(CHILD).is_some() {
        return measure();
    }
    let this = std::env::current_exe().expect("a test runs from a file");
    let name = format!("worker::tests::{name}");
    let child =
        std::process::Command::new(this).args(["--exact", &name, "--nocapture"]).env(CHILD, "1").output();
    let child = child.expect("a process can be started");
    let (out, text) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && out.contains("bytes"), "{out}{text}");
    print!("{out}");
}

/// Bytes that each of these connections takes while all its requests wait, `requests` on each.
fn taken(rig: &Rig, connections: usize, requests: usize, begin: impl Fn() -> Client) -> u64 {
    let waiting = |rig: &Rig, wanted: usize| {
        rig.record.until("all of them wait", |record| record.waiting.load(Ordering::SeqCst) >= wanted);
    };
    // The first one fills what is shared.
    let mut held = vec![begin()];
    waiting(rig, requests);
    let before = resident_bytes();
    held.extend((0..connections).map(|_| begin()));
    waiting(rig, requests * (connections + 1));
    let each = resident_bytes().saturating_sub(before) / connections as u64;
    drop(held);
    each
}

#[test]
fn the_largest_heads_of_http1_take_no_more_than_is_told() {
    alone("memory::the_largest_heads_of_http1_take_no_more_than_is_told", || {
        let settings = Settings::default();
        let (bounds, most) = (Bounds::of(&settings), settings.limits.head_bytes_max);
        let fields = settings.limits.fields_max - 1;
        let mut head = "GET /wait HTTP/1.1\r\nHost: a.test\r\n".to_owned();
        for number in 0..fields {
            let _ = write!(head, "x-{number:02}: {}\r\n", "v".repeat((most - 64) / fields - 8));
        }
        head.push_str("\r\n");
        assert!(head.len() <= most && head.len() > most - 4096, "{} of {most}", head.len());
        let rig = Rig::with(1, settings);
        let each = taken(&rig, 8, 1, || {
            let mut client = rig.connect();
            client.send(head.as_bytes());
            client
        });
        println!("HTTP/1 with the largest head: {each} bytes, told {}", bounds.http1_bytes);
        assert!(each >= most as u64 / 2, "{each} bytes: it was not driven there");
        assert!(each <= bounds.http1_bytes, "{each} bytes, told {}", bounds.http1_bytes);
    });
}

/// HEADERS and CONTINUATION frames of a GET for `/wait` whose list has some `bytes`.
pub(super) fn request(stream: u32, bytes: usize) -> Vec<u8> {
    const FRAME_BYTES: usize = 16 * 1024;
    const FIELDS: usize = 50;
    let mut block = vec![0x82, 0x86, 0x04, 5];
    block.extend_from_slice(b"/wait");
    block.extend_from_slice(&[0x01, 6]);
    block.extend_from_slice(b"a.test");
    // Each counts with 32 bytes more; four bytes are its name, in a literal that no table keeps.
    let value = bytes / FIELDS - 36;
    for number in 0..FIELDS {
        block.extend_from_slice(&[0x00, 4]);
        block.extend_from_slice(format!("x-{number:02}").as_bytes());
        // A length beyond seven bits goes on in groups of seven (RFC 7541, 5.1).
        let rest = value - 127;
        block.extend_from_slice(&[127, (rest & 127) as u8 | 128, (rest >> 7) as u8]);
        block.extend(std::iter::repeat_n(b'v', value));
    }
    let count = block.len().div_ceil(FRAME_BYTES);
    let mut frames = Vec::new();
    for (place, part) in block.chunks(FRAME_BYTES).enumerate() {
        let kind = if place == 0 { 1 } else { 9 };
        let ends_stream = u8::from(place == 0);
        let ends_head = if place + 1 == count { 4 } else { 0 };
        frames.extend_from_slice(&(part.len() as u32).to_be_bytes()[1..]);
        frames.extend_from_slice(&[kind, ends_stream | ends_head]);
        frames.extend_from_slice(&stream.to_be_bytes());
        frames.extend_from_slice(part);
    }
    frames
}

#[test]
fn the_largest_heads_on_every_stream_of_http2_take_no_more_than_is_told() {
    alone("memory::the_largest_heads_on_every_stream_of_http2_take_no_more_than_is_told", || {
        let settings = Settings::default();
        let bounds = Bounds::of(&settings);
        let (streams, list) =
            (settings.http2.streams_max, settings.http2.header_list_bytes_max as usize - 512);
        let mut text = HTTP2_PREFACE.to_vec();
        text.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        for stream in 0..streams {
            text.extend_from_slice(&request(2 * stream + 1, list));
        }
        let rig = Rig::with(1, settings);
        let each = taken(&rig, 3, streams as usize, || {
            let mut client = rig.connect();
            client.send(&text);
            client
        });
        println!("HTTP/2 with the largest head on every stream: {each} bytes, told {}", bounds.http2_bytes);
        assert!(each >= streams as u64 * list as u64 / 2, "{each} bytes: it was not driven there");
        assert!(each <= bounds.http2_bytes, "{each} bytes, told {}", bounds.http2_bytes);
    });
}
