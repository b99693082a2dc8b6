//! Walks the heads of the HTTP/2 frames a client sends, below hyper, and charges what the protocol lets it send for nothing:
//! PING, SETTINGS, PRIORITY, empty DATA, window updates beyond what was written. It edits nothing and reads no payload.

use std::time::{Duration, Instant};

use crate::preface::HTTP2_PREFACE;

/// Frames that cost us more than the client, allowed in one [`BUDGET_PERIOD`].
pub(super) const CONTROL_FRAMES_MAX: u32 = 1000;
/// The time a budget is for.
pub(super) const BUDGET_PERIOD: Duration = Duration::from_secs(10);
/// Written bytes that make one window update free.
const WINDOW_CREDIT_BYTES: u64 = 1024;
/// Frames that each DATA frame of ours makes free: a PING, by which clients measure the way, and an update of both windows.
const EARNED_BY_DATA: u32 = 3;
/// Most frames that may be earned and not yet used.
const EARNED_MAX: u32 = 10_000;
const FRAME_HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// GOAWAY(ENHANCE_YOUR_CALM) for a client over its budget. It names the highest stream there can be: any may have run.
pub(super) const GOAWAY_CALM: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0xB];

fn frame_length(a: u8, b: u8, c: u8) -> usize {
    (usize::from(a) << 16) | (usize::from(b) << 8) | usize::from(c)
}

/// Where in the client's frames the walk stands.
#[derive(Clone, Debug)]
pub(super) struct FrameWalk {
    preface_left: usize,
    head: [u8; FRAME_HEAD_BYTES],
    head_bytes: usize,
    payload_left: usize,
    in_data: bool,
    /// Since when a frame, or a header block of several, is incomplete.
    begun: Option<Instant>,
    in_block: bool,
    last_byte: Instant,
    window_credit: u64,
    earned: u32,
    reset_came: bool,
    period_start: Instant,
    spent: u32,
}

impl FrameWalk {
    /// At the first byte of a connection.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            preface_left: HTTP2_PREFACE.len(),
            head: [0; FRAME_HEAD_BYTES],
            head_bytes: 0,
            payload_left: 0,
            in_data: false,
            begun: None,
            in_block: false,
            last_byte: now,
            window_credit: 0,
            earned: 0,
            reset_came: false,
            period_start: now,
            spent: 0,
        }
    }

    /// The client has said that it speaks HTTP/2.
    pub(super) fn is_open(&self) -> bool {
        self.preface_left == 0
    }

    /// Since when something other than DATA is incomplete.
    pub(super) fn head_since(&self) -> Option<Instant> {
        self.begun.filter(|_| !self.in_data)
    }

    /// When the last byte of an incomplete DATA frame came.
    pub(super) fn data_since(&self) -> Option<Instant> {
        (self.begun.is_some() && self.in_data).then_some(self.last_byte)
    }

    /// Bytes went out, and this many DATA frames among them: what a client has to say to them is earned.
    pub(super) fn wrote(&mut self, bytes: usize, data_frames: u32) {
        self.window_credit = self.window_credit.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        let earned = data_frames.saturating_mul(EARNED_BY_DATA);
        self.earned = self.earned.saturating_add(earned).min(EARNED_MAX);
    }

    /// Whether the client has reset a stream since this was last asked.
    pub(super) fn take_reset(&mut self) -> bool {
        std::mem::take(&mut self.reset_came)
    }

    /// Bytes came. `false`: the budget is spent.
    pub(super) fn came(&mut self, bytes: &[u8], now: Instant) -> bool {
        self.last_byte = now;
        if now.saturating_duration_since(self.period_start) >= BUDGET_PERIOD {
            self.period_start = now;
            self.spent = 0;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.step(rest, now);
        }
        if !self.in_block && self.head_bytes == 0 && self.payload_left == 0 {
            self.begun = None;
        }
        self.spent <= CONTROL_FRAMES_MAX
    }

    fn step<'a>(&mut self, rest: &'a [u8], now: Instant) -> &'a [u8] {
        if self.preface_left > 0 {
            let bytes = self.preface_left.min(rest.len());
            self.preface_left -= bytes;
            return rest.get(bytes..).unwrap_or_default();
        }
        if self.payload_left > 0 {
            let bytes = self.payload_left.min(rest.len());
            self.payload_left -= bytes;
            if self.payload_left == 0 && !self.in_block {
                self.begun = None;
            }
            return rest.get(bytes..).unwrap_or_default();
        }
        let bytes = (FRAME_HEAD_BYTES - self.head_bytes).min(rest.len());
        for (place, &byte) in self.head.iter_mut().skip(self.head_bytes).zip(rest) {
            *place = byte;
        }
        self.head_bytes += bytes;
        if self.begun.is_none() {
            self.begun = Some(now);
            self.in_data = false;
        }
        if self.head_bytes == FRAME_HEAD_BYTES {
            self.head_bytes = 0;
            self.frame();
        }
        rest.get(bytes..).unwrap_or_default()
    }

    fn frame(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        let length = frame_length(a, b, c);
        self.payload_left = length;
        self.in_data = kind == DATA;
        self.reset_came |= kind == RST_STREAM;
        let free = match kind {
            DATA => length > 0 || flags & END_STREAM != 0,
            HEADERS => true,
            PING | WINDOW_UPDATE if self.earned > 0 && (kind == WINDOW_UPDATE || flags & ACK == 0) => {
                self.earned -= 1;
                true
            }
            WINDOW_UPDATE if self.window_credit >= WINDOW_CREDIT_BYTES => {
                self.window_credit -= WINDOW_CREDIT_BYTES;
                true
            }
            _ => false,
        };
        if !free {
            self.spent = self.spent.saturating_add(1);
        }
        self.in_block = matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS == 0;
        if length == 0 && !self.in_block {
            self.begun = None;
        }
    }
}

/// Counts the DATA bytes among the frames we send: what hyper was given and these do not show yet waits for the client.
#[derive(Clone, Debug, Default)]
pub(super) struct DataCount {
    head: [u8; FRAME_HEAD_BYTES],
    head_bytes: usize,
    payload_left: usize,
    in_data: bool,
    data_bytes: u64,
    reset_sent: bool,
}

impl DataCount {
    /// DATA bytes sent so far.
    pub(super) fn bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Whether we have reset a stream since this was last asked.
    pub(super) fn take_reset(&mut self) -> bool {
        std::mem::take(&mut self.reset_sent)
    }

    /// These bytes went out. Returns how many DATA frames began among them.
    pub(super) fn wrote(&mut self, mut bytes: &[u8]) -> u32 {
        let mut data_frames = 0;
        while !bytes.is_empty() {
            let taken = if self.payload_left > 0 {
                let taken = self.payload_left.min(bytes.len());
                self.payload_left -= taken;
                if self.in_data {
                    self.data_bytes =
                        self.data_bytes.saturating_add(u64::try_from(taken).unwrap_or(u64::MAX));
                }
                taken
            } else {
                let taken = (FRAME_HEAD_BYTES - self.head_bytes).min(bytes.len());
                for (place, &byte) in self.head.iter_mut().skip(self.head_bytes).zip(bytes) {
                    *place = byte;
                }
                self.head_bytes += taken;
                if self.head_bytes == FRAME_HEAD_BYTES {
                    self.head_bytes = 0;
                    let [a, b, c, kind, ..] = self.head;
                    self.payload_left = frame_length(a, b, c);
                    self.in_data = kind == DATA;
                    self.reset_sent |= kind == RST_STREAM;
                    data_frames += u32::from(self.in_data);
                }
                taken
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        data_frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![
            0,
            u8::try_from(length >> 8).expect("small"),
            (length & 0xFF) as u8,
            kind,
            flags,
            0,
            0,
            0,
            1,
        ];
        bytes.resize(FRAME_HEAD_BYTES + length, 0);
        bytes
    }

    fn walk(parts: &[Vec<u8>], piece: usize) -> (bool, FrameWalk) {
        let now = Instant::now();
        let mut walk = FrameWalk::new(now);
        let input = [HTTP2_PREFACE.to_vec(), parts.concat()].concat();
        let within =
            input.chunks(piece).map(|bytes| walk.came(bytes, now)).filter(|within| !within).count() == 0;
        (within, walk)
    }

    #[test]
    fn floods_of_free_frames_spend_the_budget_whatever_the_split() {
        let limit = CONTROL_FRAMES_MAX as usize;
        for (kind, flags, length) in
            [(6, 0, 8), (4, 0, 0), (2, 0, 5), (8, 0, 4), (0, 0, 0), (3, 0, 4), (0xBB, 0, 0)]
        {
            for piece in [1, 7, 4096] {
                assert!(walk(&vec![frame(kind, flags, length); limit], piece).0, "kind {kind}");
                assert!(!walk(&vec![frame(kind, flags, length); limit + 1], piece).0, "kind {kind}");
            }
        }
    }

    #[test]
    fn ordinary_traffic_is_free() {
        let parts = vec![[frame(1, 5, 40), frame(0, 0, 100), frame(0, 1, 0)].concat(); 5000];
        assert!(walk(&parts, 999).0);
    }

    #[test]
    fn window_updates_are_earned_by_what_was_written() {
        let now = Instant::now();
        let mut walk = FrameWalk::new(now);
        walk.wrote(10_000 * 1024, 0);
        assert!(walk.came(HTTP2_PREFACE, now));
        assert!(walk.came(&frame(8, 0, 4).repeat(10_000), now));
        assert!(!walk.came(&frame(8, 0, 4).repeat(1001), now));
    }

    #[test]
    fn what_a_client_says_to_each_data_frame_is_free() {
        let now = Instant::now();
        let mut walk = FrameWalk::new(now);
        assert!(walk.came(HTTP2_PREFACE, now));
        let said = [frame(PING, 0, 8), frame(WINDOW_UPDATE, 0, 4), frame(WINDOW_UPDATE, 0, 4)].concat();
        for _ in 0..20_000 {
            walk.wrote(20, 1);
            assert!(walk.came(&said, now), "a stream of small messages is ordinary traffic");
        }
        walk.wrote(0, u32::MAX);
        assert!(!walk.came(&frame(PING, 0, 8).repeat(20_000), now), "what is earned is bounded");
        let mut walk = FrameWalk::new(now);
        assert!(walk.came(HTTP2_PREFACE, now));
        walk.wrote(20, 5000);
        assert!(!walk.came(&frame(PING, ACK, 8).repeat(1001), now), "answers to what nobody asked");
    }

    #[test]
    fn a_budget_is_for_a_period() {
        let now = Instant::now();
        let mut walk = FrameWalk::new(now);
        assert!(walk.came(HTTP2_PREFACE, now));
        for period in 0..5 {
            assert!(walk.came(&frame(6, 0, 8).repeat(900), now + period * BUDGET_PERIOD));
        }
    }

    #[test]
    fn an_incomplete_frame_or_block_is_noticed() {
        let whole = frame(1, END_HEADERS, 20);
        assert_eq!(walk(std::slice::from_ref(&whole), 3).1.head_since(), None);
        assert!(walk(&[whole[..12].to_vec()], 4096).1.head_since().is_some(), "half a frame");
        assert!(walk(&[frame(1, 0, 20)], 4096).1.head_since().is_some(), "a block without its end");
        assert_eq!(walk(&[frame(1, 0, 20), frame(9, END_HEADERS, 3)], 5).1.head_since(), None);
        let (_, half_data) = walk(&[frame(0, 0, 50)[..30].to_vec()], 4096);
        assert!(half_data.head_since().is_none() && half_data.data_since().is_some());
        let (_, pipelined) = walk(&[frame(6, 0, 8), frame(1, 0, 20)], 4096);
        assert!(pipelined.head_since().is_some());
    }

    #[test]
    fn sent_data_is_counted_whatever_the_split() {
        let output =
            [frame(4, 0, 6), frame(1, 4, 20), frame(0, 0, 300), frame(6, 1, 8), frame(0, 1, 7)].concat();
        for piece in [1, 10, 4096] {
            let mut count = DataCount::default();
            let frames: u32 = output.chunks(piece).map(|bytes| count.wrote(bytes)).sum();
            assert_eq!((count.bytes(), frames, count.take_reset()), (307, 2, false));
        }
    }
}
