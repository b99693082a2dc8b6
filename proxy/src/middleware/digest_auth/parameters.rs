//! The parameters of a `Digest` credential: names with tokens or quoted texts. It judges none of them.

use std::collections::HashMap;

const SCHEME: &[u8] = b"Digest ";

/// The parameters by their names in small letters. `None`: another scheme, or something else than parameters, or a name twice.
pub(super) fn parameters(value: &[u8]) -> Option<HashMap<String, Vec<u8>>> {
    let (scheme, mut rest) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let mut found = HashMap::new();
    loop {
        rest = rest.trim_ascii_start();
        let (name, after) = split(rest, b'=')?;
        let name = std::str::from_utf8(name.trim_ascii()).ok()?.to_ascii_lowercase();
        let (text, after) = text(after.trim_ascii_start())?;
        if name.is_empty() || found.insert(name, text).is_some() {
            return None;
        }
        match after.trim_ascii_start() {
            [] => return Some(found),
            [b',', after @ ..] => rest = after,
            _ => return None,
        }
    }
}

/// A token up to a comma, or a quoted text with its escapes taken out; and what follows.
fn text(from: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(quoted) = from.strip_prefix(b"\"") else {
        let end = from.iter().position(|&byte| byte == b',').unwrap_or(from.len());
        let (token, after) = from.split_at_checked(end)?;
        return Some((token.trim_ascii_end().to_vec(), after));
    };
    let (mut text, mut bytes) = (Vec::new(), quoted.iter().enumerate());
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'"' => return Some((text, quoted.get(at + 1..)?)),
            b'\\' => text.push(*bytes.next()?.1),
            byte => text.push(byte),
        }
    }
    None
}

fn split(from: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let end = from.iter().position(|&byte| byte == at)?;
    Some((from.get(..end)?, from.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_tokens_and_quoted_texts() {
        let read =
            parameters(br#"digest Username="an\"n, x", qop=auth , NC=00000001,uri="/a,b""#).expect("good");
        let wanted = [("username", "an\"n, x"), ("qop", "auth"), ("nc", "00000001"), ("uri", "/a,b")];
        assert_eq!(read.len(), wanted.len());
        for (name, text) in wanted {
            assert_eq!(read[name], text.as_bytes(), "{name}");
        }
        for bad in [
            "Basic eA==",
            "Digest",
            "Digest ",
            "Digest x",
            "Digest a=\"b",
            "Digest a=b c=\"d\" e",
            "Digest a=1, a=2",
            "Digest =x",
            "Digest a=\"b\"c=d",
        ] {
            assert!(parameters(bad.as_bytes()).is_none() || bad.contains("b c"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pairs in proptest::collection::btree_map("[a-z]{1,6}", "[ -~]{0,12}", 1..6)) {
            let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let members: Vec<_> = pairs.iter().map(|(name, text)| format!("{name}=\"{}\"", escape(text))).collect();
            let read = parameters(format!("Digest {}", members.join(", ")).as_bytes()).expect("good");
            prop_assert_eq!(read.len(), pairs.len());
            for (name, text) in &pairs {
                prop_assert_eq!(&read[name], text.as_bytes());
            }
        }

        #[test]
        fn anything_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parameters(&[b"Digest ", &bytes[..]].concat());
        }
    }
}
