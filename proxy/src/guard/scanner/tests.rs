//! Hostile and odd inputs by name, the same outcome for every split, and agreement with hyper on what is accepted.

use proptest::prelude::*;

use super::*;
use crate::guard::oracle;

/// The events of `input` and their offsets, cut before each offset in `cuts`. Held messages are released at once.
fn events(input: &[u8], cuts: &[usize]) -> Vec<(usize, Event)> {
    let mut scanner = Scanner::new(Limits::default());
    let mut events = Vec::new();
    let mut at = 0;
    let mut ends: Vec<usize> = cuts.iter().copied().filter(|&cut| cut < input.len()).collect();
    ends.push(input.len());
    for end in ends {
        while at < end && !matches!(events.last(), Some((_, Event::Refused(_)))) {
            let step = scanner.feed(&input[at..end]);
            at += step.taken;
            if let Some(event) = step.event {
                events.push((at, event));
            } else if scanner.is_held() {
                scanner.release();
            } else if scanner.is_stopped() {
                return events;
            }
        }
    }
    events
}

fn refusal(input: &[u8]) -> Option<Refusal> {
    events(input, &[]).into_iter().find_map(|(_, event)| match event {
        Event::Refused(refusal) => Some(refusal),
        _ => None,
    })
}

fn heads(input: &[u8]) -> usize {
    events(input, &[]).iter().filter(|(_, event)| matches!(event, Event::Head(_))).count()
}

fn get(fields: &str) -> Vec<u8> {
    format!("GET /p HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n").into_bytes()
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /p HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n\r\n{body}").into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked", body)
}

fn assert_refused(inputs: &[Vec<u8>], expected: Refusal) {
    for input in inputs {
        assert_eq!(refusal(input), Some(expected), "{:?}", String::from_utf8_lossy(input));
    }
}

fn assert_accepted(inputs: &[Vec<u8>], messages: usize) {
    for input in inputs {
        assert_eq!(refusal(input), None, "{:?}", String::from_utf8_lossy(input));
        assert_eq!(oracle::compare(input), Ok(messages), "{:?}", String::from_utf8_lossy(input));
    }
}

#[test]
fn ordinary_messages_pass_and_hyper_sees_the_same() {
    assert_accepted(
        &[
            get(""),
            get("X: \r\nX-Tab:\t a \t b \r\nObs: caf\u{e9}\r\n"),
            post("Content-Length: 5", "hello"),
            post("Content-Length: 0", ""),
            chunked("5\r\nhello\r\n0\r\n\r\n"),
            post("Transfer-Encoding: ChUnKeD \t", "5;a=b;c=\"d\\\"e\"\r\nhello\r\n00\r\nX: y\r\n\r\n"),
            [b"\r\n".to_vec(), get("")].concat(),
            b"GET http://a.test/x?y HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(),
            b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(),
            b"FROB /caf\xc3\xa9?q=\xc3\xa9 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n".to_vec(),
            b"GET / HTTP/1.0\r\n\r\n".to_vec(),
            b"HEAD /p HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
            post("Content-Length: 5\r\nTransfer_Encoding: chunked", "hello"),
            get("Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        ],
        1,
    );
}

#[test]
fn pipelined_messages_are_counted_apart() {
    let input =
        [get(""), post("Content-Length: 3", "abc"), chunked("3\r\nabc\r\n0\r\n\r\n"), get("")].concat();
    assert_accepted(&[input], 4);
    let smuggled = post("Content-Length: 43", "GET /admin HTTP/1.1\r\nHost: a.test\r\nX: y\r\n\r\n\r\n");
    assert_eq!(heads(&smuggled), 1, "a body is never read as a request");
}

#[test]
fn nothing_is_read_after_the_last_message() {
    for last in [
        b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n".to_vec(),
        get("Connection: close\r\n"),
        get("Connection: x\r\nConnection: a, Close\r\nConnection: keep-alive\r\n"),
    ] {
        let input = [last, get("")].concat();
        assert_eq!(heads(&input), 1);
        assert_eq!(oracle::compare(&input), Ok(1));
    }
    let kept = [b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_vec(), get("")].concat();
    assert_accepted(&[kept], 2);
}

#[test]
fn a_possible_tunnel_holds_what_follows() {
    for head in [
        get("Connection: Upgrade\r\nUpgrade: foo\r\n"),
        b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n".to_vec(),
    ] {
        let mut scanner = Scanner::new(Limits::default());
        let input = [head.clone(), get("")].concat();
        let step = scanner.feed(&input);
        assert_eq!(step.taken, head.len());
        assert!(matches!(step.event, Some(Event::Head(Head { after: After::Hold, .. }))));
        assert_eq!(scanner.feed(&input[head.len()..]), Step { taken: 0, event: None });
        scanner.release();
        assert!(matches!(scanner.feed(&input[head.len()..]).event, Some(Event::Head(_))));
    }
    assert_eq!(heads(b"GET / HTTP/1.0\r\nUpgrade: a\r\nHost: a.test\r\n\r\nGET / HTTP/1.1\r\n"), 1);
}

#[test]
fn length_and_coding_together_are_refused() {
    assert_refused(
        &[
            post("Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\nG"),
            post("Transfer-Encoding: chunked\r\nContent-Length: 4", "5c\r\n"),
            post("Content-Length: 0\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            post("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"),
        ],
        Refusal::LengthAndCoding,
    );
}

#[test]
fn odd_lengths_are_refused() {
    let odd = [
        "+5",
        "-0",
        "0x5",
        "5 5",
        "",
        "5,",
        "5, 5",
        "5, 6",
        "5, 5;a=b",
        "1_0",
        "18446744073709551616",
        "5e0",
        "0005",
        "00",
        "9223372036854775808",
        "\u{ff15}",
        "5\"",
        "five",
    ];
    let mut inputs: Vec<Vec<u8>> =
        odd.iter().map(|value| post(&format!("Content-Length: {value}"), "hello")).collect();
    inputs.push(post("Content-Length: 5\r\nContent-Length: 6", "hello"));
    inputs.push(post("Content-Length: 5\r\ncontent-length: 5", "hello"));
    assert_refused(&inputs, Refusal::ContentLength);
    assert_eq!(refusal(&post("Content-Length: 5\x0b", "hello")), Some(Refusal::Field));
    assert_eq!(refusal(&post("Content-Length: 9223372036854775807", "")), None);
}

#[test]
fn odd_codings_are_refused() {
    let unknown = [
        "xchunked",
        "chunked, gzip",
        "chunked, chunked",
        "identity",
        "chunked;q=1",
        "\"chunked\"",
        "\u{a0}chunked",
        ", chunked",
        "",
        "chunked, identity",
        "gzip, chunked",
        "chunked,",
        "gzip",
        "chunked chunked",
    ];
    let inputs: Vec<Vec<u8>> =
        unknown.iter().map(|value| post(&format!("Transfer-Encoding: {value}"), "0\r\n\r\n")).collect();
    assert_refused(&inputs, Refusal::UnknownCoding);
    assert_refused(
        &[
            post("Transfer-Encoding: chunked\x0b", ""),
            post("Transfer-Encoding: chunked\0", ""),
            post("Transfer-Encoding:\r\n chunked", ""),
        ],
        Refusal::Field,
    );
    assert_refused(
        &[
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            b"POST /p HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        ],
        Refusal::TransferEncoding,
    );
}

#[test]
fn an_unknown_expectation_is_refused() {
    assert_eq!(refusal(&post("Expect: 100-Continue\r\nContent-Length: 5", "hello")), None);
    assert_eq!(refusal(&post("Expect: \r\nContent-Length: 5", "hello")), None);
    assert_refused(
        &[post("Expect: y 100-continue\r\nContent-Length: 5", "hello"), post("Expect: 200-ok", "")],
        Refusal::Expectation,
    );
}

#[test]
fn the_chunk_grammar_is_strict() {
    let bad = [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n",
        "-5\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "0_5\r\nhello\r\n",
        "\r\nhello\r\n",
        ";a\r\nhello\r\n",
        "fffffffffffffffff\r\nhello\r\n",
        "10000000000000005\r\nhello\r\n",
        "5;\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n",
        "5;\0a\r\nhello\r\n",
        "5;a=\"b\r\nc\"\r\nhello\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\r\n",
        "5 \r\nhello\r\n",
        "00000000000000000000000000000000000000005\r\nhello\r\n",
    ];
    assert_refused(&bad.map(chunked), Refusal::Chunk);
    assert_refused(&[chunked("8000000000000000\r\n"), chunked("ffffffffffffffff\r\n")], Refusal::Chunk);
    assert_refused(
        &[
            chunked(&format!("5;{}\r\nhello\r\n", "e".repeat(20_000))),
            chunked(&format!("1;{}\r\nx\r\n", "e".repeat(100)).repeat(10_000)),
        ],
        Refusal::ChunkExtensions,
    );
}

#[test]
fn trailers_are_bounded_and_strict() {
    assert_refused(
        &[
            chunked("0\r\nX: y\n\r\n"),
            chunked("0\r\n x: y\r\n\r\n"),
            chunked("0\r\nX : y\r\n\r\n"),
            chunked("0\r\nX: a\0b\r\n\r\n"),
            chunked("0\r\nno colon\r\n\r\n"),
            chunked("0\r\n\rx"),
        ],
        Refusal::Trailer,
    );
    assert_refused(
        &[
            chunked(&format!("0\r\n{}\r\n", format!("X-T: {}\r\n", "t".repeat(94)).repeat(1000))),
            chunked(&format!("0\r\n{}\r\n", "A: b\r\n".repeat(33))),
            chunked(&format!("0\r\nX: {}\r\n\r\n", "t".repeat(8192))),
        ],
        Refusal::TrailerTooLarge,
    );
    assert_accepted(&[chunked(&format!("0\r\n{}\r\n", "A: b\r\n".repeat(32)))], 1);
}

#[test]
fn request_lines_are_strict() {
    let bad: [&[u8]; 15] = [
        b"GET /p HTTP/1.1\nHost: a.test\n\n",
        b"GET\t/p HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET  /p HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET /p\r\n",
        b"GET /p http/1.1\r\nHost: a.test\r\n\r\n",
        b"GET /p HTTP/1.1 \r\nHost: a.test\r\n\r\n",
        b"GET /p HTTP/1.10\r\nHost: a.test\r\n\r\n",
        b"GET /p x HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"G=\"<>\" /p HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"\x00\x01\x02\xff\xfe\xfd\r\n\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"PROXY TCP4 9.9.9.9 1.1.1.1 1 80\r\nGET /p HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"\r\n\r\n\r\nGET /p HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET /a\0b HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET /a`b HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ];
    for input in bad {
        let refused = refusal(input);
        assert!(
            matches!(refused, Some(Refusal::RequestLine | Refusal::Target)),
            "{refused:?} for {:?}",
            String::from_utf8_lossy(input)
        );
    }
    assert_refused(
        &["HTTP/2.0", "HTTP/1.2", "HTTP/3.0", "HTTP/0.9"]
            .map(|v| format!("GET /p {v}\r\nHost: a.test\r\n\r\n").into_bytes()),
        Refusal::Version,
    );
    assert_refused(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()], Refusal::Target);
    assert_refused(&[b"get /p HTTP/1.1\r\n".to_vec(), b"Post /p HTTP/1.1\r\n".to_vec()], Refusal::MethodCase);
    assert_refused(&[[b"A".repeat(33), b" /p HTTP/1.1\r\n".to_vec()].concat()], Refusal::MethodTooLong);
}

#[test]
fn target_forms_belong_to_their_methods() {
    let bad = [
        "GET http://u:p@a.test/p",
        "GET ftp://a.test/p",
        "GET a.test:80",
        "GET *",
        "CONNECT /p",
        "CONNECT a.test",
        "CONNECT a.test:",
        "GET http:///p",
        "GET http://a.test:x/",
        "GET ?q",
        "GET #f",
        "OPTIONS *x",
        "GET http://a%2ftest/",
        "GET /a%",
        "GET /a%2",
        "GET /a%2?b",
        "GET /a%zzb",
    ];
    assert_refused(
        &bad.map(|line| format!("{line} HTTP/1.1\r\nHost: a.test\r\n\r\n").into_bytes()),
        Refusal::Target,
    );
    assert_refused(&[b"GET /\xff\xfe HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec()], Refusal::Target);
    assert_eq!(refusal(b"GET /a%2F?%zz% HTTP/1.1\r\nHost: a.test\r\n\r\n"), None);
}

#[test]
fn a_fragment_is_handed_on_whole() {
    let input = b"GET /a#b?c HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let Some((_, Event::Head(head))) = events(input, &[9]).into_iter().next() else { panic!("accepted") };
    assert_eq!(head.raw_target.as_deref(), Some(b"/a#b?c".as_slice()));
    assert_eq!(oracle::compare(input), Ok(1));
}

#[test]
fn field_lines_are_strict() {
    let bad = [
        "Host: a.test\nX: y\r\n\r\n",
        "Host: a.test\rX: y\r\n\r\n",
        "Host: a.test\r\nX: a\r\n b\r\n\r\n",
        "Host: a.test\r\nno-colon\r\n\r\n",
        "Host: a.test\r\n: x\r\n\r\n",
        "Host: a.test\r\nFo(o: x\r\n\r\n",
        "Host: a.test\r\nX: a\0b\r\n\r\n",
        "Host: a.test\r\nX: a\x01b\r\n\r\n",
        " X: y\r\nHost: a.test\r\n\r\n",
        "Host: a.test\r\nX\x0b: y\r\n\r\n",
        "Host: a.test\r\nContent-Length : 5\r\n\r\n",
        "Host: a.test\r\nTransfer-Encoding : chunked\r\n\r\n",
        "Host: a.test\r\nX: a\x7fb\r\n\r\n",
        "Host: a.test\r\nX\0: y\r\n\r\n",
        "Host: a.test\r\n\rX",
        "Host: a.test\0\r\n\r\n",
    ];
    assert_refused(&bad.map(|fields| format!("GET /p HTTP/1.1\r\n{fields}").into_bytes()), Refusal::Field);
}

#[test]
fn host_is_one_host() {
    assert_eq!(refusal(b"GET /p HTTP/1.1\r\n\r\n"), Some(Refusal::HostMissing));
    assert_eq!(refusal(b"GET /p HTTP/1.1\r\nHost: \r\n\r\n"), None);
    for second in ["a.test", "b.test"] {
        let text = format!("GET /p HTTP/1.1\r\nHost: a.test\r\nHost: {second}\r\n\r\n");
        assert_eq!(refusal(text.as_bytes()), Some(Refusal::HostRepeated));
    }
    let bad = [
        "a.test, b.test",
        "a.test/x",
        "u@a.test",
        "a.test b",
        "a.test:x",
        "[::1",
        "a.test#b",
        "a.test?b",
        "a.test\\b",
        ":80",
    ];
    assert_refused(
        &bad.map(|host| format!("GET /p HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()),
        Refusal::Host,
    );
}

#[test]
fn sizes_are_bounded_exactly() {
    let fields = |count: usize| get(&"X: y\r\n".repeat(count - 1));
    assert_accepted(&[fields(100)], 1);
    assert_refused(&[fields(101)], Refusal::TooManyFields);
    let target = |bytes: usize| {
        format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "a".repeat(bytes - 1)).into_bytes()
    };
    assert_accepted(&[target(65_534)], 1);
    assert_refused(&[target(65_535)], Refusal::TargetTooLong);
    let limit = Limits::default().head_bytes_max;
    let empty = get("X: \r\n").len();
    assert_accepted(&[get(&format!("X: {}\r\n", "a".repeat(limit - empty)))], 1);
    assert_refused(&[get(&format!("X: {}\r\n", "a".repeat(limit - empty + 1)))], Refusal::HeadTooLarge);
    assert_refused(
        &[
            get(&format!("{}: y\r\n", "n".repeat(1025))),
            get(&format!("Connection: {}\r\n", "c".repeat(4097))),
        ],
        Refusal::HeadTooLarge,
    );
    let small = Limits::with_header_bytes(2000);
    for (bytes, passes) in [(5000, true), (7000, false)] {
        let step = Scanner::new(small).feed(&get(&format!("X: {}\r\n", "a".repeat(bytes))));
        assert_eq!(matches!(step.event, Some(Event::Head(_))), passes, "{bytes}");
    }
}

/// Fragments that make and break framing, to be strung together at random.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /x?y HTTP/1.1\r\nHost: a\r\n",
        b"GET /#f HTTP/1.0\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"Connection: upgrade\r\nUpgrade: x\r\n",
        b"Expect: 100-continue\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b"hello",
        b"5\r\nhello\r\n",
        b"5;a=\"b\"\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nT: v\r\n\r\n",
        b" ",
        b"\t",
        b"a",
        b":",
        b"\0",
        b"\xc3\xa9",
        b"\xff",
        b"\"",
    ];
    proptest::collection::vec(
        prop_oneof![8 => proptest::sample::select(words).prop_map(<[u8]>::to_vec), 1 => proptest::collection::vec(any::<u8>(), 1..3)],
        0..14,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_split_gives_the_same_events(input in pieces(), mut cuts in proptest::collection::vec(0..200_usize, 0..8)) {
        cuts.sort_unstable();
        let whole = events(&input, &[]);
        prop_assert_eq!(&events(&input, &cuts), &whole);
        let bytewise: Vec<usize> = (0..input.len()).collect();
        prop_assert_eq!(&events(&input, &bytewise), &whole);
    }

    #[test]
    fn hyper_sees_the_same_messages(input in pieces()) {
        if let Err(difference) = oracle::compare(&input) {
            prop_assert!(false, "{}", difference);
        }
    }
}
