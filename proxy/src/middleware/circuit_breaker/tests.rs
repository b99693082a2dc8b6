//! When a breaker opens, and how it closes again.

use super::*;

fn breaker(expression: &str) -> Breaker {
    let config =
        dynamic::CircuitBreaker { expression: expression.to_owned(), ..dynamic::CircuitBreaker::default() };
    Breaker::new(Settings::compile(&config).expect("good"))
}

const FAST: Duration = Duration::from_millis(1);

#[test]
fn it_opens_by_its_expression_and_only_then() {
    let table = [
        ("NetworkErrorRatio() > 0.30", 502, FAST, true),
        ("NetworkErrorRatio() > 0.30", 500, FAST, false),
        ("ResponseCodeRatio(500, 600, 0, 600) > 0.30", 503, FAST, true),
        ("ResponseCodeRatio(500, 600, 0, 600) > 0.30", 404, FAST, false),
        ("ResponseCodeRatio(500, 600, 600, 700) > 0.30", 500, FAST, false),
        ("LatencyAtQuantileMS(50.0) > 300", 200, Duration::from_millis(400), true),
        ("LatencyAtQuantileMS(50.0) > 300", 200, FAST, false),
        ("NetworkErrorRatio() > 0.30 && LatencyAtQuantileMS(50.0) > 300", 502, FAST, false),
        ("NetworkErrorRatio() > 0.30 || LatencyAtQuantileMS(50.0) > 300", 502, FAST, true),
    ];
    for (expression, status, took, opens) in table {
        let (breaker, now) = (breaker(expression), Instant::now());
        assert!(breaker.admits(now), "{expression}");
        breaker.observe(status.try_into().expect("a status"), took, now);
        assert_eq!(!breaker.admits(now), opens, "{expression} after {status}");
    }
}

#[test]
fn it_is_looked_at_once_in_a_period() {
    let (breaker, now) = (breaker("NetworkErrorRatio() > 0.30"), Instant::now());
    let at = |millis| now + Duration::from_millis(millis);
    breaker.observe(StatusCode::OK, FAST, at(0));
    breaker.observe(StatusCode::BAD_GATEWAY, FAST, at(50));
    assert!(breaker.admits(at(50)), "not looked at yet");
    breaker.observe(StatusCode::BAD_GATEWAY, FAST, at(100));
    assert!(!breaker.admits(at(100)));
}

#[test]
fn it_closes_step_by_step_and_forgets_why_it_opened() {
    let (breaker, now) = (breaker("NetworkErrorRatio() > 0.30"), Instant::now());
    let at = |millis: u64| now + Duration::from_millis(millis);
    breaker.observe(StatusCode::BAD_GATEWAY, FAST, now);
    assert!((0..10_000).step_by(100).all(|millis| !breaker.admits(at(millis))), "nothing passes at first");
    assert!(!breaker.admits(at(10_000)), "nor does what comes first after that");
    let passed =
        |from: u64, to: u64| (from..to).step_by(10).filter(|&millis| breaker.admits(at(millis))).count();
    let (early, late) = (passed(10_010, 15_000), passed(15_000, 20_000));
    assert!(early < late && early + late <= 500, "{early} and {late} of a thousand: half of them at the end");
    assert!(breaker.admits(at(20_001)) && breaker.admits(at(20_002)), "all pass again");
    breaker.observe(StatusCode::OK, FAST, at(20_003));
    assert!(breaker.admits(at(20_004)));
}

#[test]
fn a_request_that_ends_is_observed_with_its_status() {
    let states = PolicyStates::default();
    let config = dynamic::CircuitBreaker {
        expression: "ResponseCodeRatio(499, 500, 0, 600) > 0.5".to_owned(),
        response_code: 429,
        ..dynamic::CircuitBreaker::default()
    };
    let settings = Settings::compile(&config).expect("good");
    let bind = |owner: &str| CircuitBreaker::bind(&settings, owner, &"b@file".into(), &states);
    let (one, other) = (bind("r@file"), bind("s@file"));
    // The client leaves before there is an answer.
    let Flow::Next(Kept::Observation(observation)) = one.request() else { panic!("it is let through") };
    drop(observation);
    let Flow::Answer(answer) = one.request() else { panic!("it is refused") };
    assert_eq!(answer.status(), 429);
    assert!(matches!(bind("r@file").request(), Flow::Answer(_)), "the next table's breaker is the same");
    assert!(matches!(other.request(), Flow::Next(_)), "another router has its own");
}

#[test]
fn what_can_never_open_is_refused() {
    let settings = |expression: &str, response_code: i64| {
        let expression = expression.to_owned();
        Settings::compile(&dynamic::CircuitBreaker {
            expression,
            response_code,
            ..dynamic::CircuitBreaker::default()
        })
    };
    for expression in [
        "",
        "NetworkErrorRatio() > 1",
        "LatencyAtQuantileMS(50) > 100",
        "LatencyAtQuantileMS(50.0) > 100.5",
        "ResponseCodeRatio(500, 600) > 0.5",
        "networkerrorratio() > 0.5",
    ] {
        assert!(settings(expression, 0).is_err(), "{expression}");
    }
    for code in [-1, 99, 100, 1000] {
        assert!(settings("NetworkErrorRatio() > 0.5", code).is_err(), "{code}");
    }
    assert!(settings("NetworkErrorRatio() > 0.5", 599).is_ok());
}
