//! Headers as the specification shows them, what is none, and that the reader takes back what the writer wrote however it is cut.

use proptest::prelude::*;

use super::*;

fn present(bytes: usize, client: Option<&str>) -> Result<Beginning, Malformed> {
    let client = client.map(|text| text.parse().expect("an address with its port"));
    Ok(Beginning::Present { bytes, client })
}

fn v2(head: [u8; 2], rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [SIGNATURE_V2.as_slice(), &head, &length, rest].concat()
}

const ENDS_V4: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 0x04, 0x57, 0x08, 0xae];

#[test]
fn headers_of_version_1() {
    for (line, client) in [
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\n", Some("1.2.3.4:1111")),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Some("255.255.255.255:65535")),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n", Some("1.2.3.4:0")),
        ("PROXY TCP6 2001:db8::1 2001:DB8::2 1111 2222\r\n", Some("[2001:db8::1]:1111")),
        ("PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n", Some("1.2.3.4:1")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff:: nonsense\r\n", None),
    ] {
        let sent = format!("{line}GET / HTTP/1.1\r\n");
        assert_eq!(beginning(sent.as_bytes()), present(line.len(), client), "{line:?}");
    }
}

#[test]
fn what_is_no_header_of_version_1_is_refused() {
    for line in [
        "PROXY TCP4 nonsense\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1111\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222 3\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222 \r\n",
        "PROXY TCP4  1.2.3.4 5.6.7.8 1111 2222\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536 1\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +1 1\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 01 1\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8  1\r\n",
        "PROXY TCP4 01.2.3.4 5.6.7.8 1 1\r\n",
        "PROXY TCP4 1.2.3.4 ::1 1 1\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1111 2222\r\n",
        "PROXY TCP6 1.2.3.4 5.6.7.8 1111 2222\r\n",
        "PROXY TCP6 fe80::1%eth0 fe80::2 1 1\r\n",
        "PROXY UDP4 1.2.3.4 5.6.7.8 1111 2222\r\n",
        "PROXY tcp4 1.2.3.4 5.6.7.8 1111 2222\r\n",
        "PROXY \r\n",
        "PROXY / HTTP/1.1\r\n",
    ] {
        assert_eq!(beginning(line.as_bytes()), Err(Malformed::Line), "{line:?}");
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX - 16));
    assert_eq!(long.len(), V1_BYTES_MAX);
    assert_eq!(beginning(long.as_bytes()), present(V1_BYTES_MAX, None));
    let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX - 15));
    assert_eq!(beginning(longer.as_bytes()), Err(Malformed::LineTooLong));
    assert_eq!(beginning(&longer.as_bytes()[..V1_BYTES_MAX]), Err(Malformed::LineTooLong), "at once");
}

#[test]
fn headers_of_version_2() {
    let with_field = [ENDS_V4.as_slice(), b"\x01\0\x04test", b"\x04\0\0"].concat();
    let ends_v6 = [[0x20, 1, 0xd, 0xb8].as_slice(), &[0; 28], &[0x04, 0x57, 0, 1]].concat();
    for (head, rest, client) in [
        ([0x21, 0x11], ENDS_V4.as_slice(), Some("1.2.3.4:1111")),
        ([0x21, 0x12], &ENDS_V4, Some("1.2.3.4:1111")),
        ([0x21, 0x11], &with_field, Some("1.2.3.4:1111")),
        ([0x21, 0x21], &ends_v6, Some("[2001:db8::]:1111")),
        ([0x21, 0x31], &[b'/'; 216], None),
        ([0x21, 0x00], &[], None),
        ([0x21, 0x00], b"anything", None),
        ([0x21, 0x10], b"x", None),
        ([0x20, 0x00], &[], None),
        ([0x20, 0x11], &ENDS_V4, None),
        ([0x20, 0x11], b"short", None),
    ] {
        let header = v2(head, rest);
        let sent = [header.as_slice(), b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(beginning(&sent), present(header.len(), client), "{head:02x?} {rest:02x?}");
    }
}

#[test]
fn what_is_no_header_of_version_2_is_refused() {
    for head in [[0x11, 0x11], [0x31, 0x11], [0x22, 0x11], [0x2f, 0x11], [0x21, 0x41], [0x21, 0x13]] {
        assert_eq!(beginning(&v2(head, &ENDS_V4)), Err(Malformed::Unknown), "{head:02x?}");
    }
    let field = |field: &[u8]| v2([0x21, 0x11], &[ENDS_V4.as_slice(), field].concat());
    for header in [
        v2([0x21, 0x11], &ENDS_V4[..11]),
        v2([0x21, 0x11], &[]),
        v2([0x21, 0x21], &[0; 35]),
        v2([0x21, 0x31], &[b'/'; 215]),
        field(b"\x01"),
        field(b"\x01\0"),
        field(b"\x01\0\x05test"),
        field(b"\x01\xff\xfftest"),
        v2([0x21, 0x31], &[[b'/'; 216].as_slice(), b"\x01\0\x01"].concat()),
    ] {
        assert_eq!(beginning(&header), Err(Malformed::Length), "{header:02x?}");
    }
    let rest = |bytes: usize| vec![0; bytes];
    let longest = v2([0x20, 0], &rest(HEADER_BYTES_MAX - V2_FIXED_BYTES));
    assert_eq!(beginning(&longest), present(HEADER_BYTES_MAX, None));
    let longer = v2([0x20, 0], &rest(HEADER_BYTES_MAX - V2_FIXED_BYTES + 1));
    assert_eq!(
        beginning(&longer[..V2_FIXED_BYTES]),
        Err(Malformed::TooLong(HEADER_BYTES_MAX + 1)),
        "before any of it is kept"
    );
}

#[test]
fn what_begins_as_something_else_is_none_and_what_may_still_be_one_is_waited_for() {
    for first in [
        "GET / HTTP/1.1\r\n",
        "POST / HTTP/1.1",
        "PRI * HTTP/2.0\r\n",
        "PROXYX",
        "\r\nGET",
        "\r\n\r\nG",
        "\x16\x03",
    ] {
        assert_eq!(beginning(first.as_bytes()), Ok(Beginning::Absent), "{first:?}");
    }
    for first in
        ["", "P", "PROXY", "PROXY ", "PROXY TCP4 1.2.3.4", "\r", "\r\n\r\n", "\r\n\r\n\0\r\nQUIT\n!\x11\0"]
    {
        assert_eq!(beginning(first.as_bytes()), Ok(Beginning::Open), "{first:?}");
    }
}

#[test]
fn only_who_is_trusted_is_believed() {
    let policy = |insecure, trusted: &[&str]| {
        let trusted_ips = trusted.iter().map(|text| (*text).to_owned()).collect();
        ProxyProtocolPolicy::compile(&ProxyProtocol { insecure, trusted_ips })
    };
    let ip = |text: &str| text.parse().expect("an address");
    let some = policy(false, &["10.0.0.0/8", " 192.0.2.1 ", "no network", "2001:db8::/32"]);
    for (peer, trusted) in
        [("10.1.2.3", true), ("192.0.2.1", true), ("192.0.2.2", false), ("2001:db8::9", true), ("::1", false)]
    {
        assert_eq!(some.trusts(ip(peer)), trusted, "{peer}");
    }
    assert!(!policy(false, &[]).trusts(ip("127.0.0.1")), "nobody named, nobody trusted");
    assert!(policy(true, &["10.0.0.0/8"]).trusts(ip("192.0.2.1")));
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_however_it_is_cut(
        from in address(), to in address(), two in any::<bool>(), rest in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let header = header(if two { Version::Two } else { Version::One }, from, to);
        let told = (from.is_ipv4() == to.is_ipv4()).then(|| client(from.ip(), from.port()));
        let sent = [header.clone(), rest].concat();
        for cut in 0..=sent.len() {
            let expected = if cut < header.len() {
                Beginning::Open
            } else {
                Beginning::Present { bytes: header.len(), client: told }
            };
            prop_assert_eq!(beginning(&sent[..cut]), Ok(expected));
        }
    }

    #[test]
    fn one_wrong_byte_names_nobody_by_accident(
        from in address(), to in address(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut header = header(Version::Two, from, to);
        let at = at.index(V2_FIXED_BYTES);
        prop_assume!(header[at] != byte);
        header[at] = byte;
        // Another command, version or length gives no client, or no header, or a longer one than came. Only another family or
        // transport may still name somebody: by as many bytes as it has.
        if let Ok(Beginning::Present { client: Some(_), .. }) = beginning(&header) {
            prop_assert_eq!(at, 13);
        }
    }
}
