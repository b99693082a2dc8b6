//! The path as rules see it: a function of the one normalised path, so that routing and forwarding cannot disagree.
//! It must not decode what would change the path's structure.

use std::borrow::Cow;

/// The normalised path with everything decoded but RFC 3986's reserved characters and the percent sign: rules are written
/// with blanks and letters of any language as they are. Bytes that are no UTF-8 stay encoded. Borrows where nothing changes.
pub fn routing_path(normalised: &str) -> Cow<'_, str> {
    if !normalised.contains('%') {
        return Cow::Borrowed(normalised);
    }
    let mut path = String::with_capacity(normalised.len());
    let mut decoded = Vec::new();
    let mut rest = normalised;
    while let Some(first) = rest.chars().next() {
        let escape = rest.as_bytes().get(..3).and_then(escaped_byte).filter(|byte| !is_structural(*byte));
        match escape {
            Some(byte) => {
                decoded.push(byte);
                rest = rest.get(3..).unwrap_or_default();
            }
            None => {
                flush(&mut decoded, &mut path);
                path.push(first);
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
    }
    flush(&mut decoded, &mut path);
    Cow::Owned(path)
}

fn escaped_byte(escape: &[u8]) -> Option<u8> {
    let [b'%', high, low] = escape else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn is_structural(byte: u8) -> bool {
    b":/?#[]@!$&'()*+,;=%".contains(&byte)
}

fn flush(decoded: &mut Vec<u8>, path: &mut String) {
    for chunk in decoded.utf8_chunks() {
        path.push_str(chunk.valid());
        for byte in chunk.invalid() {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    decoded.clear();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn letters_and_blanks_are_decoded_and_structure_is_not() {
        for (path, expected) in [
            ("/plain/path", "/plain/path"),
            ("/%C3%A9x", "/éx"),
            ("/sp%20ace", "/sp ace"),
            ("/sl%2Fash%3D%25", "/sl%2Fash%3D%25"),
            ("/%E2%82%AC%2F%FF%C3", "/€%2F%FF%C3"),
            ("/%C3é", "/%C3é"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/%zz%2", "/%zz%2"),
        ] {
            assert_eq!(routing_path(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics_and_no_separator_appears(path in "(/|%[0-9A-Fa-f]{2}|é|%|[a-z ]){0,30}") {
            let slashes = |text: &str| text.matches('/').count();
            let routing = routing_path(&path);
            prop_assert_eq!(slashes(&routing), slashes(&path));
        }
    }
}
