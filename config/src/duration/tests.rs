//! Durations: Go's own examples, Traefik's bare seconds, and print after parse.

use proptest::prelude::*;

use super::{DurationError, GoDuration};

fn nanos(text: &str) -> i64 {
    text.parse::<GoDuration>().expect("the example is a duration").nanos()
}

#[test]
fn go_forms_and_bare_seconds() {
    for (text, expected) in [
        ("0", 0),
        ("0s", 0),
        ("10", 10_000_000_000),
        ("-10", -10_000_000_000),
        ("1h", 3_600_000_000_000),
        ("1h15m30.918s", 4_530_918_000_000),
        ("1.5h", 5_400_000_000_000),
        ("2us", 2_000),
        ("2µs", 2_000),
        ("-1ms", -1_000_000),
        ("+5s", 5_000_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("0.0000000019s", 1),
        ("2540400h", 9_145_440_000_000_000_000),
    ] {
        assert_eq!(nanos(text), expected, "{text}");
    }
}

#[test]
fn refuses_what_go_refuses() {
    for text in ["", "-", "s", ".s", "1.1.1s", "1", "2 parsecs", "10 s", "1d", "soon", "1s2", "--1s", "1S"] {
        let parsed = text.parse::<GoDuration>();
        assert_eq!(parsed.is_ok(), text == "1", "{text:?} gave {parsed:?}");
    }
    assert_eq!("9999999999999h".parse::<GoDuration>(), Err(DurationError::TooLong("9999999999999h".into())));
    assert!(matches!("9".repeat(18).parse::<GoDuration>(), Err(DurationError::TooLong(_))));
}

#[test]
fn prints_as_go_does() {
    for (nanos, expected) in [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (100_000_000, "100ms"),
        (3_300_000_000, "3.3s"),
        (245_000_000_000, "4m5s"),
        (180_000_000_000, "3m0s"),
        (18_367_001_000_000, "5h6m7.001s"),
        (-1_000_000, "-1ms"),
        (i64::MAX, "2562047h47m16.854775807s"),
        (i64::MIN, "-2562047h47m16.854775808s"),
    ] {
        assert_eq!(GoDuration::from_nanos(nanos).to_string(), expected);
    }
}

proptest! {
    #[test]
    fn parse_after_print_is_identity(nanos in any::<i64>()) {
        let duration = GoDuration::from_nanos(nanos);
        prop_assert_eq!(duration.to_string().parse::<GoDuration>(), Ok(duration));
    }

    #[test]
    fn any_text_is_answered(text in "[-+0-9.a-zµ ]{0,24}") {
        if let Ok(duration) = text.parse::<GoDuration>() {
            prop_assert_eq!(duration.to_string().parse::<GoDuration>(), Ok(duration));
        }
    }
}
