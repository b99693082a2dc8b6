//! Which answers are encoded, and how.

use super::super::tests::Sample;
use super::*;
use crate::error::bare;

fn compress(change: impl FnOnce(&mut dynamic::Compress)) -> Compress {
    let mut config = dynamic::Compress::default();
    change(&mut config);
    Compress::compile(&config).expect("good")
}

fn chosen(compress: &Compress, accept: &str) -> String {
    let mut sample = Sample::new("GET", "/");
    if accept != "-" {
        sample = sample.field("accept-encoding", accept);
    }
    match sample.run(|head| compress.request(head)) {
        Flow::Next(Kept::Compress(Chosen::Encoded(encoding))) => encoding.name().to_owned(),
        Flow::Next(Kept::Compress(Chosen::Plain)) => "plain".to_owned(),
        Flow::Next(_) => "untouched".to_owned(),
        Flow::Answer(answer) => answer.status().as_u16().to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_client_chooses_by_weight_and_the_configuration_by_order() {
    let usual = compress(|_| {});
    let table = [
        ("-", "untouched"),
        ("gzip", "gzip"),
        ("br, gzip", "gzip"),
        ("zstd,br", "br"),
        ("deflate", "untouched"),
        ("", "untouched"),
        ("*", "plain"),
        ("gzip;q=0.5, br;q=0.8", "br"),
        ("br;q=0.8, gzip;q=0.8", "gzip"),
        ("gzip;q=0.5, identity", "untouched"),
        ("gzip;q=x, br", "br"),
        ("identity;q=0", "406"),
        ("*;q=0", "406"),
    ];
    for (accept, wanted) in table {
        assert_eq!(chosen(&usual, accept), wanted, "{accept}");
    }
    let ordered = compress(|config| {
        config.encodings = vec!["zstd".into(), "gzip".into()];
        config.default_encoding = "gzip".into();
    });
    for (accept, wanted) in [("-", "gzip"), ("gzip, zstd", "zstd"), ("br", "untouched"), ("*", "zstd")] {
        assert_eq!(chosen(&ordered, accept), wanted, "{accept}");
    }
}

fn encodes(
    compress: &Compress,
    encoding: Encoding,
    fields: &[(&'static str, &str)],
    status: u16,
    bytes: usize,
) -> bool {
    let mut response = bare(status.try_into().expect("a status"), "a".repeat(bytes));
    for (name, value) in fields {
        response.headers_mut().append(*name, value.parse().expect("a field value"));
    }
    compress.response(Chosen::Encoded(encoding), &mut response);
    let headers = response.headers();
    let own = fields.iter().any(|(name, _)| *name == "content-encoding");
    assert_eq!(headers.get_all(VARY).iter().next_back().expect("it varies"), "Accept-Encoding");
    assert!(own || !headers.contains_key(CONTENT_ENCODING) || !headers.contains_key(CONTENT_LENGTH));
    !own && headers.contains_key(CONTENT_ENCODING)
}

#[test]
fn only_what_is_worth_it_is_encoded() {
    let usual = compress(|_| {});
    for encoding in [Encoding::Gzip, Encoding::Brotli, Encoding::Zstd] {
        let encodes = |fields: &[_], status, bytes| encodes(&usual, encoding, fields, status, bytes);
        assert!(encodes(&[("content-type", "text/plain")], 200, 1024));
        assert!(encodes(&[], 404, 2000));
        assert!(!encodes(&[], 200, 1023));
        assert!(!encodes(&[], 204, 2000) && !encodes(&[], 304, 2000) && !encodes(&[], 206, 2000));
        assert!(!encodes(&[("content-range", "bytes 0-1/3")], 200, 2000));
        assert!(!encodes(&[("content-encoding", "identity")], 200, 2000));
        assert!(!encodes(&[("content-type", "application/grpc")], 200, 2000));
    }
    assert!(!encodes(&usual, Encoding::Gzip, &[("no-gzip-compression", "1")], 200, 2000));
    assert!(encodes(&usual, Encoding::Brotli, &[("no-gzip-compression", "1")], 200, 2000));
}

#[test]
fn types_are_compared_without_their_parameters() {
    let html = [("content-type", "Text/HTML; charset=utf-8")];
    let json = [("content-type", "application/json")];
    let excluding = compress(|config| config.excluded_content_types = vec!["text/html".into()]);
    let including = compress(|config| config.included_content_types = vec!["text/html; charset=x".into()]);
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        assert!(
            !encodes(&excluding, encoding, &html, 200, 2000)
                && encodes(&excluding, encoding, &json, 200, 2000)
        );
        assert!(
            encodes(&including, encoding, &html, 200, 2000)
                && !encodes(&including, encoding, &json, 200, 2000)
        );
    }
    let mut sample = Sample::new("POST", "/")
        .field("accept-encoding", "gzip")
        .field("content-type", "text/html; charset=x");
    let flow = sample.run(|head| excluding.request(head));
    assert!(matches!(flow, Flow::Next(Kept::Nothing)), "what is sent counts too");
}

#[test]
fn encodings_and_types_that_are_none_are_refused() {
    let changes: [fn(&mut dynamic::Compress); 5] = [
        |config| config.encodings = vec!["deflate".into()],
        |config| config.encodings = vec!["identity".into()],
        |config| config.default_encoding = "x".into(),
        |config| config.excluded_content_types = vec!["text/".into()],
        |config| {
            config.excluded_content_types = vec!["text/html".into()];
            config.included_content_types = vec!["text/plain".into()];
        },
    ];
    for change in changes {
        let mut config = dynamic::Compress::default();
        change(&mut config);
        assert!(Compress::compile(&config).is_err(), "{config:?}");
    }
}
