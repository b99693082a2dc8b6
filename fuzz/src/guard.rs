//! The HTTP/1 guard on any bytes: of what it accepts, hyper sees the same messages; and however its input is cut, it says the
//! same.

use ravelin_proxy::guard::{Event, Limits, Scanner, oracle};

/// The first byte is the size of the pieces that the guard's input is cut into; the rest is what a client sends.
pub fn run(input: &[u8]) {
    messages(input);
}

/// As [`run`]; how many messages both saw.
pub fn messages(input: &[u8]) -> usize {
    let Some((&piece_bytes, stream)) = input.split_first() else { return 0 };
    let whole = events(stream, stream.len().max(1));
    let pieces = events(stream, usize::from(piece_bytes).max(1));
    assert_eq!(pieces, whole, "the cut changed what the guard says");
    match oracle::compare(stream) {
        Ok(messages) => messages,
        Err(views) => panic!("guard and hyper differ\n{views}"),
    }
}

/// What the scanner tells, and after how many bytes. A held connection goes on, as after an answer that opens no tunnel.
fn events(stream: &[u8], piece_bytes: usize) -> Vec<(usize, Event)> {
    let mut scanner = Scanner::new(Limits::default());
    let (mut told, mut at) = (Vec::new(), 0);
    for piece in stream.chunks(piece_bytes) {
        let mut rest = piece;
        loop {
            let step = scanner.feed(rest);
            at += step.taken;
            rest = rest.get(step.taken..).unwrap_or_default();
            match step.event {
                Some(event) => told.push((at, event)),
                None if scanner.is_held() => scanner.release(),
                None => break,
            }
            if scanner.is_stopped() && !scanner.is_held() {
                return told;
            }
        }
    }
    told
}
