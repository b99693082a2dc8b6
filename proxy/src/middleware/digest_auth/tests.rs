//! Which answers to a challenge pass.

use super::super::tests::Sample;
use super::*;

/// `secret` for `ann` in the realm `traefik`.
const ANN: &str = "ann:traefik:e008efc4676c740d22dfb8460b00c71f";

fn middleware(change: impl FnOnce(&mut dynamic::Users)) -> DigestAuth {
    let mut config = dynamic::Users { users: vec![ANN.to_owned()], ..dynamic::Users::default() };
    change(&mut config);
    DigestAuth::compile(&config).expect("good")
}

/// The challenge of a refusal; none where the request passes.
fn challenge(middleware: &DigestAuth, sample: &mut Sample) -> Option<HashMap<String, Vec<u8>>> {
    match sample.run(|head| middleware.request(head)) {
        Flow::Next(_) => None,
        Flow::Answer(answer) => {
            assert_eq!(answer.status(), 401);
            parameters(answer.headers()[WWW_AUTHENTICATE].as_bytes())
        }
        other => panic!("{other:?}"),
    }
}

/// A client that knows the password, and what it changes of its answer after that was worked out.
fn answer_to(asked: &HashMap<String, Vec<u8>>, method: &str, uri: &str, count: u64) -> String {
    let text = |name: &str| String::from_utf8(asked[name].clone()).expect("ASCII");
    let (nonce, opaque, count) = (text("nonce"), text("opaque"), format!("{count:08x}"));
    let of_user = hash(&[b"ann", b"traefik", b"secret"]);
    let of_target = hash(&[method.as_bytes(), uri.as_bytes()]);
    let parts = [of_user.as_str(), &nonce, &count, "c0ffee", "auth", &of_target].map(str::as_bytes);
    let response = hash(&parts);
    format!(
        "Digest username=\"ann\", realm=\"traefik\", nonce=\"{nonce}\", uri=\"{uri}\", qop=auth, nc={count}, \
         cnonce=\"c0ffee\", opaque=\"{opaque}\", response=\"{response}\""
    )
}

fn passes(middleware: &DigestAuth, target: &str, credentials: &str) -> bool {
    challenge(middleware, &mut Sample::new("GET", target).field("authorization", credentials)).is_none()
}

#[test]
fn who_knows_the_password_passes_once_with_each_answer() {
    let middleware = middleware(|_| {});
    let asked = challenge(&middleware, &mut Sample::new("GET", "/x?q=1")).expect("a challenge");
    assert_eq!(asked["realm"], b"traefik");
    let good = answer_to(&asked, "GET", "/x?q=1", 1);
    assert!(passes(&middleware, "/x?q=1", &good));
    assert!(!passes(&middleware, "/x?q=1", &good), "it was used");
    assert!(passes(&middleware, "/x?q=1", &answer_to(&asked, "GET", "/x?q=1", 2)));
}

#[test]
fn an_answer_is_good_for_its_own_target_and_method_alone() {
    let middleware = middleware(|_| {});
    let asked = challenge(&middleware, &mut Sample::new("GET", "/x")).expect("a challenge");
    for (number, uri) in ["/", "/x", "/x/y?q=2", "", "/x/y/z"].into_iter().enumerate() {
        assert!(!passes(&middleware, "/x/y?q=1", &answer_to(&asked, "GET", uri, number as u64 + 1)), "{uri}");
    }
    assert!(!passes(&middleware, "/x", &answer_to(&asked, "POST", "/x", 9)));
    assert!(passes(&middleware, "/x", &answer_to(&asked, "GET", "/x", 10)));
}

#[test]
fn strangers_and_changed_answers_do_not_pass() {
    let middleware = middleware(|_| {});
    let asked = challenge(&middleware, &mut Sample::new("GET", "/x")).expect("a challenge");
    let good = answer_to(&asked, "GET", "/x", 1);
    for (from, to) in [
        ("\"ann\"", "\"eve\""),
        ("nc=00000001", "nc=00000002"),
        ("nc=00000001", "nc=x"),
        ("qop=auth", "qop=auth-int"),
        ("c0ffee", "coffee"),
        ("Digest", "Basic"),
        ("opaque=\"", "opaque=\"x"),
        ("qop=auth", "qop=auth, algorithm=SHA-256"),
        ("response=\"", "response=\"0"),
    ] {
        assert!(good.contains(from), "{from}");
        assert!(!passes(&middleware, "/x", &good.replacen(from, to, 1)), "{to}");
    }
    assert!(passes(&middleware, "/x", &good), "none of these used it up");
}

#[test]
fn a_nonce_of_another_time_is_stale() {
    let (middleware, restarted) = (middleware(|_| {}), middleware(|_| {}));
    let mut asked = challenge(&middleware, &mut Sample::new("GET", "/x")).expect("a challenge");
    asked.insert("opaque".to_owned(), restarted.nonces.opaque().as_bytes().to_vec());
    let old = answer_to(&asked, "GET", "/x", 1);
    let again = challenge(&restarted, &mut Sample::new("GET", "/x").field("authorization", &old));
    assert_eq!(again.expect("a challenge")["stale"], b"true");
}

#[test]
fn the_service_hears_of_the_user_as_configured() {
    let middleware = middleware(|config| {
        config.remove_header = true;
        config.header_field = "X-User".to_owned();
    });
    let asked = challenge(&middleware, &mut Sample::new("GET", "/x")).expect("a challenge");
    let mut sample = Sample::new("GET", "/x").field("authorization", &answer_to(&asked, "GET", "/x", 1));
    assert!(challenge(&middleware, &mut sample).is_none());
    assert_eq!(sample.headers["x-user"], "ann");
    assert!(!sample.headers.contains_key(AUTHORIZATION));
}

#[test]
fn users_of_other_realms_and_bad_ones_are_none() {
    let middleware = middleware(|config| config.realm = "other".to_owned());
    let asked = challenge(&middleware, &mut Sample::new("GET", "/x")).expect("a challenge");
    assert!(!passes(&middleware, "/x", &answer_to(&asked, "GET", "/x", 1)));
    for users in ["ann", "ann:x", "ann:traefik:hash:more"] {
        let config = dynamic::Users { users: vec![users.to_owned()], ..dynamic::Users::default() };
        assert!(DigestAuth::compile(&config).is_err(), "{users}");
    }
}
