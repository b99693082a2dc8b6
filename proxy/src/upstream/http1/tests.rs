//! Answers in any pieces, held against hyper's client; requests as they go out; connections that end or say too much.

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// What came of an answer: the head, and the content as far as it came, with whether it is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    fields: Vec<(String, String)>,
    content: Vec<u8>,
    trailers: Vec<(String, String)>,
    whole: bool,
    surplus: bool,
}

fn listed(fields: &HeaderMap) -> Vec<(String, String)> {
    let mut listed: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    listed.sort();
    listed
}

/// Reads an answer that comes in these pieces, behind which the connection ends or not. `None`: no head came of it.
fn read(pieces: &[&[u8]], ends: bool, method: &Method) -> Option<Seen> {
    let mut fields = HeaderMap::new();
    let mut reader = HeadReader::default();
    let mut read = BytesMut::new();
    let mut pieces = pieces.iter();
    let mut head = loop {
        if let Some(head) = reader.read(&mut read, &mut fields).ok()? {
            if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                continue;
            }
            break head;
        }
        read.extend_from_slice(pieces.next()?);
    };
    let mut content = Content::new(framing(&mut head, *method == Method::HEAD).ok()?);
    let mut seen = Seen {
        status: head.status.as_u16(),
        fields: listed(&head.fields),
        content: Vec::new(),
        trailers: Vec::new(),
        whole: false,
        surplus: false,
    };
    loop {
        match content.next(&mut read) {
            Err(_) => return Some(seen),
            Ok(Some(frame)) => match frame.into_data() {
                Ok(data) => seen.content.extend_from_slice(&data),
                Err(frame) => seen.trailers = listed(&frame.into_trailers().unwrap_or_default()),
            },
            Ok(None) if content.is_ended() => break,
            Ok(None) => match pieces.next() {
                Some(piece) => read.extend_from_slice(piece),
                None if ends && content.end().is_ok() => break,
                None => return Some(seen),
            },
        }
    }
    seen.whole = true;
    seen.surplus = !read.is_empty() || pieces.any(|piece| !piece.is_empty());
    Some(seen)
}

/// hyper's client on the same bytes. It tells of no surplus.
fn hyper(bytes: &[u8], ends: bool, method: &Method) -> Option<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let built = hyper::client::conn::http1::Builder::new().handshake(TokioIo::new(ours)).await;
        let (mut sender, connection) = built.expect("no byte is exchanged");
        let driver = tokio::task::spawn_local(connection);
        let request = http::Request::builder().method(method.clone()).uri("/").header("host", "a.test");
        let sending = sender.send_request(request.body(Empty::<Bytes>::new()).expect("a request"));
        let answering = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && theirs.read_buf(&mut head).await.is_ok_and(|read| read > 0)
            {
            }
            theirs.write_all(bytes).await.expect("there is room");
            if ends {
                drop(theirs);
                None
            } else {
                Some(theirs)
            }
        };
        let (answer, _open) = tokio::join!(
            async {
                tokio::select! { answer = sending => answer.ok(), () = settled() => None }
            },
            answering
        );
        let (parts, mut body) = answer?.into_parts();
        let mut seen = Seen {
            status: parts.status.as_u16(),
            fields: listed(&parts.headers),
            content: Vec::new(),
            trailers: Vec::new(),
            whole: false,
            surplus: false,
        };
        loop {
            let frame = tokio::select! { frame = body.frame() => frame, () = settled() => return Some(seen) };
            match frame {
                None => break,
                Some(Err(_)) => return Some(seen),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => seen.content.extend_from_slice(&data),
                    Err(frame) => seen.trailers = listed(&frame.into_trailers().unwrap_or_default()),
                },
            }
        }
        seen.whole = true;
        driver.abort();
        Some(seen)
    })
}

/// Resolves when nothing moves any more: all bytes are at hand, so that a few turns are enough.
async fn settled() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

const TAKEN: [&[u8]; 14] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: \xff y \r\n\r\nok",
    b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.0 200 \r\n\r\nto the end",
    b"HTTP/1.1 404 Not  Here!\r\na:1\r\na:\t2\t\r\nb:\r\ncontent-length: 1\r\n\r\nx",
    b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nA;x=\"y\"\r\n0123456789\r\n1 \r\nx\r\n0\r\nx-t: 1\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n.",
    b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 999 ?\r\ncontent-length: 0\r\n\r\n",
];

#[test]
fn padding_and_extensions_are_bounded_by_chunk_and_not_by_answer() {
    let answer = |line: &str, chunks: usize| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        format!("{head}{}0\r\n\r\n", format!("{line}\r\nx\r\n").repeat(chunks))
    };
    for line in ["1      ", "1;signature=0123456789abcdef"] {
        let seen = read(&[answer(line, 10_000).as_bytes()], false, &Method::GET).expect("a head");
        assert!(seen.whole && seen.content.len() == 10_000, "{line}: {} bytes", seen.content.len());
    }
    for line in [format!("1{}", " ".repeat(5000)), format!("1;a={}", "b".repeat(5000))] {
        assert!(!read(&[answer(&line, 1).as_bytes()], false, &Method::GET).expect("a head").whole);
    }
}

#[test]
fn every_answer_is_read_alike_however_it_is_cut_and_as_hyper_reads_it() {
    for bytes in TAKEN {
        for ends in [true, false] {
            for method in [Method::GET, Method::HEAD] {
                let whole = read(&[bytes], ends, &method);
                for at in 0..=bytes.len() {
                    let (first, second) = bytes.split_at(at);
                    assert_eq!(read(&[first, second], ends, &method), whole, "{:?}", first.escape_ascii());
                }
                let single: Vec<&[u8]> = bytes.chunks(1).collect();
                assert_eq!(read(&single, ends, &method), whole);
                let mut ours = whole.expect("a head");
                ours.surplus = false;
                ours.fields.dedup();
                let mut theirs = hyper(bytes, ends, &method).expect("hyper takes it");
                // One length that is said twice is passed on once.
                theirs.fields.dedup();
                assert_eq!(ours, theirs, "{:?} {ends} {method}", bytes.escape_ascii().to_string());
            }
        }
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_no_answer() {
    let refused: [&[u8]; 19] = [
        b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\nxx",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n\n",
        b"HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: a\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    for bytes in refused {
        assert_eq!(read(&[bytes], true, &Method::GET), None, "{:?}", bytes.escape_ascii().to_string());
    }
    let fields = |count| {
        let fields = "a: b\r\n".repeat(count);
        read(&[format!("HTTP/1.1 204 x\r\n{fields}\r\n").as_bytes()], true, &Method::GET).is_some()
    };
    assert!(fields(100) && !fields(101));
    let long = |bytes| {
        let head = format!("HTTP/1.1 204 x\r\na: {}\r\n\r\n", "b".repeat(bytes));
        read(&head.as_bytes().chunks(4096).collect::<Vec<_>>(), true, &Method::GET).is_some()
    };
    assert!(long(60 << 10) && !long(70 << 10));
    let endless = vec![b'a'; 1 << 20];
    assert!(HeadReader::default().read(&mut BytesMut::from(&endless[..]), &mut HeaderMap::new()).is_err());
}

proptest! {
    /// Whatever is taken is taken alike in two pieces, and never read otherwise than hyper reads it.
    #[test]
    fn mutated_answers_are_refused_or_read_as_hyper_reads_them(
        which in 0..TAKEN.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = TAKEN[which].to_vec();
        for (place, byte, kind) in changes {
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ if bytes.len() > 1 => { bytes.remove(place); }
                _ => {}
            }
        }
        let whole = read(&[&bytes], true, &Method::GET);
        let (first, second) = bytes.split_at(cut.index(bytes.len()));
        prop_assert_eq!(&read(&[first, second], true, &Method::GET), &whole);
        if let Some(mut ours) = whole.filter(|seen| seen.status != 101) {
            ours.surplus = false;
            ours.fields.dedup();
            let theirs = hyper(&bytes, true, &Method::GET);
            let Some(mut theirs) = theirs else { return Err(TestCaseError::fail(format!("hyper refuses {ours:?}"))) };
            theirs.fields.dedup();
            if ours.whole {
                prop_assert_eq!(ours, theirs);
            } else {
                prop_assert!(theirs.content.starts_with(&ours.content), "{:?} {:?}", ours, theirs);
            }
        }
    }
}

#[test]
fn a_request_goes_out_with_one_host_and_one_framing() {
    let mut fields = HeaderMap::new();
    fields.insert("accept", http::HeaderValue::from_static("*/*"));
    fields.append("x-many", http::HeaderValue::from_static("1"));
    fields.append("x-many", http::HeaderValue::from_bytes(b"\xff").expect("a value"));
    for (name, value) in [("host", "other.test"), ("content-length", "77"), ("transfer-encoding", "chunked")]
    {
        fields.insert(name, http::HeaderValue::from_static(value));
    }
    let host = http::HeaderValue::from_static("a.test");
    let head = RequestHead { method: &Method::POST, target: "/x?y", host: &host, fields: &fields };
    let written = |content| {
        let mut out = Vec::new();
        head.write(&mut out, content);
        out.escape_ascii().to_string()
    };
    let wanted = |framing: &str| {
        format!(
            "POST /x?y HTTP/1.1\\r\\nhost: a.test\\r\\naccept: */*\\r\\nx-many: 1\\r\\nx-many: \\xff\\r\\n{framing}\\r\\n"
        )
    };
    assert_eq!(written(Sent::None), wanted(""));
    assert_eq!(written(Sent::Length(10)), wanted("content-length: 10\\r\\n"));
    assert_eq!(written(Sent::Chunked), wanted("transfer-encoding: chunked\\r\\n"));
}

/// The bytes of a body of these pieces, each written before the next one comes or all at once.
fn sent(
    length: Option<u64>,
    pieces: &[&'static [u8]],
    trailers: Option<HeaderMap>,
    at_once: bool,
) -> Result<Vec<u8>, Fault> {
    let mut sending =
        Sending { left: length, announced: vec![HeaderName::from_static("x-sum")], ..Sending::default() };
    let mut all = Vec::new();
    let mut write = |sending: &mut Sending| {
        all.append(&mut sending.out);
        all.extend_from_slice(&std::mem::take(&mut sending.piece));
        all.extend_from_slice(std::mem::take(&mut sending.behind));
    };
    for piece in pieces {
        sending.data(Bytes::from_static(piece))?;
        if !at_once || sending.has_bytes() && piece.len() > COPIED_BYTES_MAX {
            write(&mut sending);
        }
    }
    sending.end(trailers)?;
    write(&mut sending);
    Ok(all)
}

#[test]
fn a_body_goes_out_as_long_as_it_was_said_or_in_chunks() {
    const LONG: &[u8] = &[b'x'; 5000];
    for at_once in [true, false] {
        assert_eq!(sent(Some(4), &[b"ab", b"", b"cd"], None, at_once).expect("sent"), b"abcd");
        assert_eq!(sent(Some(5000), &[LONG], None, at_once).expect("sent"), LONG);
        let chunks = sent(None, &[b"ab", b"", b"c"], None, at_once).expect("sent");
        assert_eq!(chunks, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n");
        let long = [b"1388\r\n", LONG, b"\r\n2\r\nab\r\n0\r\n\r\n"].concat();
        assert_eq!(sent(None, &[LONG, b"ab"], None, at_once).expect("sent"), long);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", http::HeaderValue::from_static("9"));
    trailers.insert("x-unannounced", http::HeaderValue::from_static("9"));
    let chunks = sent(None, &[b"ab"], Some(trailers), true).expect("sent");
    assert_eq!(chunks, b"2\r\nab\r\n0\r\nx-sum: 9\r\n\r\n");
    assert!(matches!(sent(Some(1), &[b"ab"], None, true), Err(Fault::Length)));
    assert!(matches!(sent(Some(3), &[b"ab"], None, true), Err(Fault::Length)));
}

#[test]
fn the_end_of_a_body_goes_with_its_last_piece() {
    let mut sending = Sending { left: None, ..Sending::default() };
    sending.data(Bytes::from_static(&[b'x'; 5000])).expect("a piece");
    sending.end(None).expect("the end");
    assert_eq!(sending.behind, b"\r\n0\r\n\r\n");
}
