//! Calls, answers and preflights, each compared with what pages get.

use bytes::Bytes;
use http_body_util::BodyExt;

use super::super::tests::Sample;
use super::*;

fn middleware(origins: &[&str]) -> GrpcWeb {
    GrpcWeb::compile(&dynamic::GrpcWeb { allow_origins: origins.iter().map(ToString::to_string).collect() })
}

fn call(called: &str, body: &'static [u8]) -> Sample {
    let mut sample = Sample::new("POST", "/p.S/M").field("content-type", called).field("content-length", "8");
    sample.body = RequestBody::full(Bytes::from_static(body));
    sample
}

/// What a made body becomes, read to its end.
fn read<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Result<Vec<u8>, B::Error> {
    let mut out = Vec::new();
    run(async {
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                out.extend_from_slice(&data);
            }
        }
        Ok(())
    })?;
    Ok(out)
}

fn run<R>(future: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// An answer of messages, and trailers where there are any.
struct Messages(Vec<Frame<Bytes>>);

impl Messages {
    fn new(pieces: &[&'static [u8]], trailers: &[(&'static str, &'static str)]) -> Self {
        let mut frames: Vec<_> = pieces.iter().map(|piece| Frame::data(Bytes::from_static(piece))).collect();
        if !trailers.is_empty() {
            let fields = trailers
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
            frames.push(Frame::trailers(fields.collect()));
        }
        frames.reverse();
        Self(frames)
    }
}

impl Body for Messages {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.pop().map(Ok))
    }
}

fn answered(called: &str, fields: &[(&'static str, &str)], body: Messages) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::made(body));
    response.headers_mut().insert(CONTENT_TYPE, called.parse().expect("a field value"));
    for (name, value) in fields {
        response.headers_mut().insert(*name, value.parse().expect("a field value"));
    }
    response
}

fn asked(text: bool) -> Asked {
    Asked { text, origin: None }
}

#[test]
fn a_call_becomes_one_of_grpc_and_nothing_else_does() {
    let list = middleware(&["http://one.test"]);
    for (called, body, grpc, text) in [
        ("application/grpc-web", &b"\0\0\0\0\x01a"[..], "application/grpc", false),
        ("application/grpc-web+proto", b"\0\0\0\0\x01a", "application/grpc+proto", false),
        ("application/grpc-web-text", b"AAAAAAFh", "application/grpc", true),
        ("application/grpc-web-text+proto", b"AAAA\r\nAAFh", "application/grpc+proto", true),
    ] {
        let mut sample = call(called, body);
        let flow = sample.run(|head| {
            let flow = list.request(head);
            assert!(head.present.any(Present::GRPC));
            flow
        });
        let Flow::Next(Kept::GrpcWeb(asked)) = flow else { panic!("{called} is a call") };
        assert_eq!((asked.text, &asked.origin), (text, &None), "{called}");
        assert_eq!(sample.headers[CONTENT_TYPE], grpc);
        assert!(!sample.headers.contains_key(CONTENT_LENGTH), "{called}");
        assert_eq!(sample.body.size_hint().exact(), None);
        assert_eq!(read(&mut sample.body).expect("whole"), b"\0\0\0\0\x01a", "{called}");
    }
    for (method, called) in
        [("GET", "application/grpc-web"), ("POST", "application/grpc"), ("POST", "text/plain")]
    {
        let mut sample = Sample::new(method, "/").field("content-type", called);
        let flow = sample.run(|head| list.request(head));
        assert!(matches!(flow, Flow::Next(Kept::Nothing)), "{method} {called}");
        assert_eq!(sample.headers[CONTENT_TYPE], called);
    }
}

#[test]
fn a_call_that_is_no_base64_breaks_off() {
    for body in [&b"AAAAAAFh!"[..], b"AAAAAAF"] {
        let mut sample = call("application/grpc-web-text", body);
        sample.run(|head| middleware(&[]).request(head));
        assert!(matches!(read(&mut sample.body), Err(BodyError::NotBase64)));
    }
}

#[test]
fn an_answer_becomes_one_of_grpc_web_with_its_trailers_last() {
    let status = [("grpc-status", "0"), ("grpc-message", "fine")];
    let trailers = b"\x80\0\0\0\x24grpc-message: fine\r\ngrpc-status: 0\r\n";
    let mut answer = answered(
        "application/grpc",
        &[("trailer", "Grpc-Status"), ("content-length", "7")],
        Messages::new(&[b"\0\0\0\0\x02hi"], &status),
    );
    response(Asked { text: false, origin: Some(HeaderValue::from_static("http://one.test")) }, &mut answer);
    let fields = answer.headers();
    assert_eq!(fields[CONTENT_TYPE], "application/grpc-web");
    assert_eq!(fields[ACCESS_CONTROL_ALLOW_ORIGIN], "http://one.test");
    assert_eq!(fields[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    assert_eq!(
        fields[ACCESS_CONTROL_EXPOSE_HEADERS],
        "Access-Control-Allow-Credentials, Access-Control-Allow-Origin, Content-Type, Vary, grpc-status, grpc-message"
    );
    assert!(!fields.contains_key(TRAILER) && !fields.contains_key(CONTENT_LENGTH));
    assert!(!answer.body().is_end_stream());
    let whole = read(answer.body_mut()).expect("whole");
    assert_eq!(whole, [&b"\0\0\0\0\x02hi"[..], trailers].concat());
    assert!(answer.body().is_end_stream());

    let mut answer = answered("application/grpc+json", &[], Messages::new(&[b"\0\0\0\0\x02hi"], &status));
    response(asked(true), &mut answer);
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/grpc-web-text+json");
    assert!(!answer.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    let whole = String::from_utf8(read(answer.body_mut()).expect("whole")).expect("letters");
    assert_eq!(whole, format!("AAAAAAJoaQ=={}", STANDARD.encode(trailers)));
    assert_eq!(whole, "AAAAAAJoaQ==gAAAACRncnBjLW1lc3NhZ2U6IGZpbmUNCmdycGMtc3RhdHVzOiAwDQo=");

    let mut answer = answered("application/grpc", &[], Messages::new(&[b"\0\0\0\0\0"], &[]));
    response(asked(false), &mut answer);
    assert_eq!(read(answer.body_mut()).expect("whole"), b"\0\0\0\0\0\x80\0\0\0\0", "a message without lines");
}

#[test]
fn what_ended_with_its_head_or_is_no_grpc_keeps_its_content() {
    for (called, fields, becomes) in [
        ("application/grpc", &[("grpc-status", "5"), ("content-length", "5")][..], "application/grpc-web"),
        ("text/plain", &[("content-length", "5")], "text/plain"),
        ("application/grpcish", &[("content-length", "5")], "application/grpcish"),
    ] {
        let mut answer = answered(called, fields, Messages::new(&[b"plain"], &[]));
        response(asked(false), &mut answer);
        assert_eq!(answer.headers()[CONTENT_TYPE], becomes);
        assert_eq!(answer.headers()[CONTENT_LENGTH], "5");
        assert_eq!(answer.headers()[VARY], "Origin");
        assert_eq!(read(answer.body_mut()).expect("whole"), b"plain");
    }
}

#[test]
fn what_browsers_ask_beforehand_is_answered_by_origin() {
    let list = middleware(&["http://one.test"]);
    let ask = |kind: &GrpcWeb, origin: &str, method: &str, names: &str| {
        let mut sample = Sample::new("OPTIONS", "/p.S/M")
            .field("origin", origin)
            .field("access-control-request-method", method)
            .field("access-control-request-headers", names);
        match sample.run(|head| kind.request(head)) {
            Flow::Answer(response) => Some(*response),
            Flow::Next(Kept::Nothing) => None,
            other => panic!("{other:?}"),
        }
    };
    let given = ask(&list, "http://one.test", "post", "x-GRPC-web,content-type, x_a.b").expect("an answer");
    assert_eq!(given.status(), 200);
    let fields = given.headers();
    assert_eq!(fields[ACCESS_CONTROL_ALLOW_HEADERS], "X-Grpc-Web, Content-Type, X_A.b");
    assert_eq!(fields[ACCESS_CONTROL_ALLOW_METHODS], "POST");
    assert_eq!(fields[ACCESS_CONTROL_ALLOW_ORIGIN], "http://one.test");
    assert_eq!(fields[ACCESS_CONTROL_MAX_AGE], "600");
    assert_eq!(fields.get_all(VARY).iter().count(), 3);
    for (kind, origin, method) in [
        (&list, "http://evil.test", "POST"),
        (&list, "http://one.test", "DELETE"),
        (&middleware(&[]), "a", "POST"),
    ] {
        let refused = ask(kind, origin, method, "x-grpc-web").expect("an answer");
        assert_eq!((refused.status(), refused.headers().len()), (StatusCode::OK, 3), "three lines of Vary");
    }
    assert!(ask(&middleware(&["*"]), "http://any.test", "POST", "x-grpc-web").is_some_and(|given| {
        given.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN).is_some_and(|origin| origin == "http://any.test")
    }));
    assert!(ask(&list, "http://one.test", "POST", "content-type").is_none(), "not a call of gRPC-Web");
    assert!(ask(&list, "http://one.test", "", "x-grpc-web").is_none(), "no question of a browser");
}
