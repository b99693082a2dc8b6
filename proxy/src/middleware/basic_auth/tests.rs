//! Which credentials pass, and what becomes of the request.

use super::super::tests::Sample;
use super::*;

const BCRYPT: &str = "cy:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
const SHA: &str = "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";

fn users(users: &[&str]) -> dynamic::Users {
    dynamic::Users { users: users.iter().map(|&user| user.to_owned()).collect(), ..dynamic::Users::default() }
}

fn outcome(middleware: &BasicAuth, sample: &mut Sample) -> u16 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let flow = sample.run(|head| match middleware.request(head) {
        Flow::Later(later) => {
            let outcome = runtime.block_on(later);
            middleware.resume(head, matches!(outcome, Outcome::Verdict(true)))
        }
        flow => flow,
    });
    match flow {
        Flow::Next(_) => 200,
        Flow::Answer(answer) => {
            assert_eq!(
                answer.headers().get(WWW_AUTHENTICATE).expect("a challenge"),
                "Basic realm=\"traefik\""
            );
            answer.status().as_u16()
        }
        other => panic!("{other:?}"),
    }
}

fn with(authorization: &str) -> Sample {
    Sample::new("GET", "/").field("authorization", authorization)
}

#[test]
fn only_the_right_password_of_a_known_user_passes() {
    let middleware =
        BasicAuth::compile(&users(&[SHA, BCRYPT, "plain:secret", ":{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="]));
    let middleware = middleware.expect("good");
    for (text, want) in [
        ("Basic YW5uOnNlY3JldA==", 200),
        ("basic YW5uOnNlY3JldA==", 200),
        ("Basic Y3k6c2VjcmV0", 200),
        ("Basic OnNlY3JldA==", 200),
        ("Basic YW5uOndyb25n", 401),
        ("Basic Y3k6d3Jvbmc=", 401),
        ("Basic cGxhaW46c2VjcmV0", 401),
        ("Basic ZXZlOnNlY3JldA==", 401),
        ("Basic YW5u", 401),
        ("Basic YW5uOnNlY3JldA", 401),
        ("Basic  YW5uOnNlY3JldA==", 401),
        ("Bearer YW5uOnNlY3JldA==", 401),
        ("Basic", 401),
        ("", 401),
    ] {
        assert_eq!(outcome(&middleware, &mut with(text)), want, "{text:?}");
    }
    assert_eq!(outcome(&middleware, &mut Sample::new("GET", "/")), 401);
}

#[test]
fn a_slow_hash_is_worked_out_once() {
    let middleware = BasicAuth::compile(&users(&[BCRYPT])).expect("good");
    let asked = |text: &str| {
        let mut sample = with(text);
        let slow = sample.run(|head| matches!(middleware.request(head), Flow::Later(_)));
        outcome(&middleware, &mut sample);
        slow
    };
    assert!(asked("Basic Y3k6c2VjcmV0"));
    assert!(!asked("Basic Y3k6c2VjcmV0"), "it is known now");
    assert!(asked("Basic Y3k6d3Jvbmc=") && asked("Basic Y3k6d3Jvbmc="), "what is wrong is never known");
    assert!(asked("Basic ZXZlOnNlY3JldA=="), "a user that there is not takes as long");
}

#[test]
fn the_service_learns_the_user_and_not_the_password() {
    let config = dynamic::Users {
        users_file: format!("# users\n\nann:{{SHA}}!\n{BCRYPT}\n"),
        remove_header: true,
        header_field: "X-User".to_owned(),
        ..users(&[SHA])
    };
    let middleware = BasicAuth::compile(&config).expect("good");
    for (text, user) in [("Basic YW5uOnNlY3JldA==", "ann"), ("Basic Y3k6c2VjcmV0", "cy")] {
        let mut sample = with(text).field("x-user", "fake");
        assert_eq!(outcome(&middleware, &mut sample), 200);
        let told: Vec<_> = sample.headers.get_all("x-user").iter().collect();
        assert_eq!(told, [user]);
        assert!(!sample.headers.contains_key(AUTHORIZATION));
    }
}

#[test]
fn errors_show_nothing_of_a_user() {
    for config in [
        users(&["ann-secret"]),
        users(&["ann-secret:$2y$31$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"]),
        dynamic::Users { realm: "a\nb".to_owned(), ..users(&[SHA]) },
        dynamic::Users { header_field: "a b".to_owned(), ..users(&[SHA]) },
    ] {
        let error = BasicAuth::compile(&config).expect_err("bad");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
}
