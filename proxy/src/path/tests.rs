//! Truth table and properties of the path normaliser.

use proptest::prelude::*;
use ravelin_config::static_config::{EncodedCharacters, Http};

use super::*;

fn plain(path: &str) -> Result<String, PathError> {
    normalise(path, PathOptions::default()).map(Cow::into_owned)
}

#[test]
fn paths_come_out_in_one_form() {
    let table = [
        ("/", "/"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%5cb", "/a%5Cb"),
        ("/a%3bb", "/a%3Bb"),
        ("/a%25b", "/a%25b"),
        ("/a%2541", "/a%2541"),
        ("/a%3fb", "/a%3Fb"),
        ("/a%23b", "/a%23b"),
        ("/%41%5a%61%7a%30%39", "/AZaz09"),
        ("/%2d%2e%5f%7e", "/-._~"),
        ("/a%0d%0ab", "/a%0D%0Ab"),
        ("/a%ff", "/a%FF"),
        ("/a%e2%82%ac", "/a%E2%82%AC"),
        ("/a%e0%a4%85%f0%9f%98%80", "/a%E0%A4%85%F0%9F%98%80"),
        ("/a%e0/b%f0", "/a%E0/b%F0"),
        ("/a+b@c!d$e&f'g(h)i*j,k=l:m[n]", "/a+b@c!d$e&f'g(h)i*j,k=l:m[n]"),
        ("/a|b\"c<d>e^f`g{h}", "/a%7Cb%22c%3Cd%3Ee%5Ef%60g%7Bh%7D"),
        ("/a\\b", "/a%5Cb"),
        ("/é", "/%C3%A9"),
        ("/a;b=1/c", "/a;b=1/c"),
        ("/x//y/../z", "/x/z"),
        ("/a/./b/.", "/a/b/"),
        ("/a/..", "/"),
        ("/../../a", "/a"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/.%2e/b/", "/b/"),
        ("//evil.test/%2e%2e", "/"),
        ("/...", "/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/a..b/c.", "/a..b/c."),
    ];
    for (path, want) in table {
        assert_eq!(plain(path).as_deref(), Ok(want), "{path}");
    }
}

#[test]
fn what_two_readers_could_read_in_two_ways_is_refused() {
    let table = [
        ("a", PathError::NotAbsolute),
        ("/a%", PathError::Percent),
        ("/a%2", PathError::Percent),
        ("/a%zz", PathError::Percent),
        ("/a%u0041", PathError::Percent),
        ("/a%00b", PathError::Nul),
        ("/a#b", PathError::Fragment),
        ("/a b", PathError::Control),
        ("/a\tb", PathError::Control),
        ("/a\u{7f}b", PathError::Control),
        ("/a/%c0%ae%c0%ae/b", PathError::Overlong),
        ("/a/%e0%80%ae%e0%80%ae/b", PathError::Overlong),
        ("/a/%E0%80%AF", PathError::Overlong),
        ("/a/%e0%9f%bf", PathError::Overlong),
        ("/a/%f0%80%80%ae", PathError::Overlong),
        ("/a/%f0%8f%bf%bf", PathError::Overlong),
        ("/pub/..%2fadmin", PathError::HiddenDotSegment),
        ("/pub/%2e%2e%2fadmin", PathError::HiddenDotSegment),
        ("/pub/..;/admin", PathError::HiddenDotSegment),
        ("/pub/.;x=1/admin", PathError::HiddenDotSegment),
        ("/pub/..%3b/admin", PathError::HiddenDotSegment),
        ("/pub\\..\\admin", PathError::HiddenDotSegment),
        ("/pub/..%5cadmin", PathError::HiddenDotSegment),
        ("/pub/%252e%252e/admin", PathError::HiddenDotSegment),
        ("/pub%252f..%252fadmin", PathError::HiddenDotSegment),
        ("/pub/%25252e%25252e/admin", PathError::HiddenDotSegment),
    ];
    for (path, want) in table {
        assert_eq!(plain(path), Err(want), "{path}");
    }
}

#[test]
fn each_switch_refuses_its_character() {
    type Switch = fn(&mut EncodedCharacters);
    let switches: [(Switch, &str); 6] = [
        (|options| options.allow_encoded_slash = false, "/a%2fb|"),
        (|options| options.allow_encoded_back_slash = false, "/a%5Cb"),
        (|options| options.allow_encoded_semicolon = false, "/a%3Bb"),
        (|options| options.allow_encoded_percent = false, "/a%25b"),
        (|options| options.allow_encoded_question_mark = false, "/a%3fb"),
        (|options| options.allow_encoded_hash = false, "/a%23b"),
    ];
    for (switch, path) in switches {
        let mut characters = EncodedCharacters::default();
        switch(&mut characters);
        let options = PathOptions::compile(&Http { encoded_characters: Some(characters), ..Http::default() });
        assert_eq!(normalise(path, options), Err(PathError::RefusedCharacter), "{path}");
        assert!(normalise("/a/b", options).is_ok());
    }
    let characters = EncodedCharacters { allow_encoded_back_slash: false, ..EncodedCharacters::default() };
    let options = PathOptions::compile(&Http { encoded_characters: Some(characters), ..Http::default() });
    assert_eq!(normalise("/a\\b", options), Err(PathError::RefusedCharacter), "a raw one counts too");
}

#[test]
fn without_sanitising_doubled_slashes_stay_and_dot_segments_are_refused() {
    let options = PathOptions::compile(&Http { sanitize_path: false, ..Http::default() });
    assert_eq!(normalise("/a//b/%41", options).as_deref(), Ok("/a//b/A"));
    assert_eq!(normalise("/a/../b", options), Err(PathError::HiddenDotSegment));
}

#[test]
fn the_usual_path_is_not_copied() {
    for path in ["/", "/index.html", "/a/b/c.d/e-f_g~h", "/api/v1/users/1:cancel"] {
        assert!(matches!(normalise(path, PathOptions::default()), Ok(Cow::Borrowed(_))), "{path}");
    }
}

fn path_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/".to_owned()),
        Just(".".to_owned()),
        Just("..".to_owned()),
        Just("%2e".to_owned()),
        Just("%2F".to_owned()),
        Just("%5c".to_owned()),
        Just("%25".to_owned()),
        Just("2e".to_owned()),
        Just("2f".to_owned()),
        Just(";".to_owned()),
        Just("\\".to_owned()),
        "[a-zA-Z0-9|é]{1,3}",
        "%[0-9a-fA-F]{2}",
    ];
    proptest::collection::vec(piece, 0..14).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn normal_paths_stay_and_hold_no_dot_segment(path in path_text(), sanitize in any::<bool>()) {
        let options = PathOptions { sanitize, refused: Characters::default() };
        if let Ok(once) = normalise(&path, options) {
            prop_assert!(once.starts_with('/') && once.is_ascii());
            let mut view = once.as_bytes().to_vec();
            for _ in 0..=DECODINGS_MAX {
                for segment in view.split(|&byte| byte == b'/' || byte == b'\\') {
                    let name = segment.split(|&byte| byte == b';').next().unwrap_or(segment);
                    prop_assert!(name != b"." && name != b"..", "{} from {}", once, path);
                }
                view = decode(&view);
            }
            let twice = normalise(&once, options);
            prop_assert_eq!(twice.as_deref(), Ok(once.as_ref()));
            prop_assert!(once.parse::<http::uri::PathAndQuery>().is_ok());
        }
    }

    #[test]
    fn any_text_is_normalised_or_refused(path in ".{0,40}") {
        let _ = normalise(&path, PathOptions::default()).map(|normal| assert!(normal.starts_with('/')));
    }
}

#[test]
fn what_is_made_of_a_path_is_a_path_as_a_whole() {
    let options = PathOptions::default();
    for (text, resolved, whole) in [
        ("/a?b#c d", "/a%3Fb%23c%20d", true),
        ("x/%2f", "/x/%2F", true),
        ("", "/", true),
        ("/a//b", "/a/b", false),
        ("/a/../b", "/b", false),
        ("/a/.", "/a/", false),
    ] {
        assert_eq!(rewritten(text, options, false), Ok(resolved.to_owned()), "{text}");
        assert_eq!(rewritten(text, options, true).is_ok(), whole, "{text}");
    }
    assert!(rewritten("/a/..%2fb", options, false).is_err() && rewritten("/%zz", options, true).is_err());
    assert_eq!((bad_escape("/%41/é%4"), bad_escape("/%41")), (Some("%4".to_owned()), None));
    assert_eq!(encode_text("/a%b?é|"), "/a%25b%3F%C3%A9%7C");
}
