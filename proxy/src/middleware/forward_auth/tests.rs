//! What the server is asked, and what becomes of its answers.

use super::super::tests::Sample;
use super::*;

fn auth(change: impl FnOnce(&mut dynamic::ForwardAuth)) -> ForwardAuth {
    let address = "http://auth.test:81/ask?by=proxy".to_owned();
    let mut config = dynamic::ForwardAuth { address, ..dynamic::ForwardAuth::default() };
    change(&mut config);
    ForwardAuth::compile(&config, &UpstreamRegistry::default()).expect("good")
}

fn asked(auth: &ForwardAuth, sample: &mut Sample) -> Outgoing {
    match sample.run(|head| auth.request(head)) {
        Flow::Fetch(fetch) => fetch.outgoing,
        other => panic!("{other:?}"),
    }
}

fn fetched(status: u16, fields: &[(&'static str, &str)]) -> Fetched {
    let mut response = Response::new(Spooled::of("denied".into()));
    *response.status_mut() = status.try_into().expect("a status");
    for (name, value) in fields {
        response.headers_mut().append(*name, value.parse().expect("a field value"));
    }
    Ok(response)
}

fn refused(auth: &ForwardAuth, fetched: Fetched) -> Response<ResponseBody> {
    match Sample::new("GET", "/").run(|head| auth.resume(head, fetched)) {
        Flow::Answer(answer) => *answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_server_is_told_what_was_asked_of_us() {
    let sample = || {
        Sample::new("POST", "/x?q=1")
            .field("x-one", "1")
            .field("connection", "x-hop")
            .field("x-hop", "1")
            .field("x-forwarded-for", "9.9.9.9")
            .field("x-forwarded-method", "PUT")
            .field("x-forwarded-server", "me")
            .field("x-real-ip", "9.9.9.9")
    };
    let plain = asked(&auth(|_| {}), &mut sample());
    let field = |outgoing: &Outgoing, name: &str| {
        let values: Vec<_> =
            outgoing.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        values.join("|")
    };
    assert_eq!((plain.method.as_str(), plain.target.as_str()), ("GET", "/ask?by=proxy"));
    assert_eq!(field(&plain, "x-one"), "1");
    assert_eq!(field(&plain, "x-hop") + &field(&plain, "connection"), "");
    assert_eq!(field(&plain, "x-forwarded-uri"), "/x?q=1");
    assert_eq!(field(&plain, "x-forwarded-method"), "PUT", "of whom the entry point trusts");
    assert_eq!(field(&plain, "x-forwarded-for"), "9.9.9.9, 127.0.0.1");
    let own = asked(
        &auth(|config| {
            config.trust_forward_header = Some(false);
            config.preserve_request_method = true;
        }),
        &mut sample(),
    );
    assert_eq!(own.method, Method::POST);
    assert_eq!(field(&own, "x-forwarded-method"), "POST");
    assert_eq!(field(&own, "x-forwarded-for"), "127.0.0.1");
    assert_eq!(field(&own, "x-forwarded-host"), "a.test");
    assert_eq!(field(&own, "x-forwarded-server") + &field(&own, "x-real-ip"), "");
    let named = asked(&auth(|config| config.auth_request_headers = vec!["Accept".into()]), &mut sample());
    assert_eq!(field(&named, "x-one") + &field(&named, "x-forwarded-server"), "");
    assert_eq!(field(&named, "x-forwarded-uri"), "/x?q=1");
}

#[test]
fn fields_of_a_good_answer_replace_those_of_the_request() {
    let auth = auth(|config| {
        config.auth_response_headers = vec!["X-User".into(), "X-Gone".into()];
        config.auth_response_headers_regex = "^X-Auth-[A-Z]".into();
        config.header_field = "X-User".into();
    });
    let mut sample = Sample::new("GET", "/")
        .field("x-user", "forged")
        .field("x-gone", "forged")
        .field("x-auth-group", "forged");
    let good = fetched(204, &[("x-user", "ann"), ("x-auth-role", "r"), ("x-other", "o")]);
    let (flow, user) = sample.run(|head| (auth.resume(head, good), head.user.clone()));
    assert!(matches!(flow, Flow::Next(Kept::Nothing)), "{flow:?}");
    assert_eq!(user.as_deref(), Some(&b"ann"[..]));
    let mut fields: Vec<_> =
        sample.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    fields.sort();
    assert_eq!(fields, ["x-auth-role: \"r\"", "x-user: \"ann\""]);
}

#[test]
fn other_answers_are_the_clients() {
    let plain = auth(|_| {});
    let answer = refused(&plain, fetched(403, &[("x-reason", "why"), ("location", "/login")]));
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.headers()["x-reason"], "why");
    assert_eq!(answer.headers()[LOCATION], "http://auth.test:81/login");
    let kept = auth(|config| config.preserve_location_header = true);
    assert_eq!(refused(&kept, fetched(302, &[("location", "/login")])).headers()[LOCATION], "/login");
    assert_eq!(refused(&plain, fetched(302, &[("location", "http://a b/%zz")])).status(), 500);
    let sign_in = auth(|config| config.auth_signin_url = "https://sso.test/".into());
    let answer = refused(&sign_in, fetched(401, &[]));
    assert_eq!(
        (answer.status().as_u16(), answer.headers()[LOCATION].as_bytes()),
        (302, &b"https://sso.test/"[..])
    );
    let broken = SpoolError::Broken(crate::body::BodyError::Unwanted);
    assert_eq!(refused(&plain, Err(broken)).status(), 500);
    let long = SpoolError::TooLong(Spooled::of("x".into()), ResponseBody::empty());
    assert_eq!(refused(&plain, Err(long)).status(), 401);
}

#[test]
fn listed_cookies_come_from_the_server_that_was_asked() {
    let auth = auth(|config| config.add_auth_cookies_to_response = vec!["sess".into(), "gone".into()]);
    let good = fetched(200, &[("set-cookie", "sess=auth; Path=/"), ("set-cookie", "other=o")]);
    let kept = match Sample::new("GET", "/").run(|head| auth.resume(head, good)) {
        Flow::Next(Kept::Cookies(kept)) => kept,
        other => panic!("{other:?}"),
    };
    let mut response = bare(StatusCode::OK, "");
    for cookie in ["up=1; path=/; Custom=x", "sess=service", "gone=1", "odd"] {
        response.headers_mut().append(SET_COOKIE, HeaderValue::from_static(cookie));
    }
    auth.response(&kept, &mut response);
    let cookies: Vec<_> = response.headers().get_all(SET_COOKIE).iter().map(HeaderValue::as_bytes).collect();
    assert_eq!(cookies, [&b"up=1; path=/; Custom=x"[..], b"odd", b"sess=auth; Path=/"]);
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let changes: [fn(&mut dynamic::ForwardAuth); 5] = [
        |config| config.address = "auth.test".into(),
        |config| config.address = String::new(),
        |config| config.auth_response_headers_regex = "^(".into(),
        |config| config.auth_request_headers = vec!["a b".into()],
        |config| config.tls = Some(dynamic::ClientTls { ca: "none".into(), ..dynamic::ClientTls::default() }),
    ];
    for change in changes {
        let mut config =
            dynamic::ForwardAuth { address: "https://auth.test".into(), ..dynamic::ForwardAuth::default() };
        change(&mut config);
        assert!(ForwardAuth::compile(&config, &UpstreamRegistry::default()).is_err(), "{config:?}");
    }
}
