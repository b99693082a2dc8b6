//! The name of a request for people: with it a request whose answer was lost is asked again, by another process too, and takes
//! effect once. It must not ask or answer anything.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::{ApplyMode, Request, RequestId, SourceFormat};

/// Bytes of an id that are drawn; the rest tells what is asked for.
const DRAWN_BYTES: usize = 8;

/// Names one request: what it asks for, and since when it may have been asked. Written as `SINCE-ID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestName {
    /// A control node had applied up to here before it was asked for the first time.
    pub since: u64,
    /// Its id: half of it is drawn, half follows from that and from what is asked for.
    pub id: RequestId,
}

/// A text that is no name of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write the name as it was shown: a number, a hyphen and 32 hexadecimal digits")]
pub struct NoRequestName;

impl RequestName {
    /// Names a request that is about to be asked for the first time. `drawn` must be another one each time.
    pub fn new(request: &Request, since: u64, drawn: [u8; DRAWN_BYTES]) -> Self {
        let mut id = [0; 16];
        let (head, tail) = id.split_at_mut(DRAWN_BYTES);
        head.copy_from_slice(&drawn);
        tail.copy_from_slice(&content(request, &drawn));
        Self { since, id: RequestId(id) }
    }

    /// Whether it is the name of a request that asks for this: another one under its name would be told what came of the first.
    pub fn is_of(&self, request: &Request) -> bool {
        let (drawn, told) = self.id.0.split_at(DRAWN_BYTES);
        drawn.first_chunk().is_some_and(|drawn| content(request, drawn) == told)
    }
}

/// What a request asks for, under the drawn half of its id. The names of files are no part of it.
fn content(request: &Request, drawn: &[u8; DRAWN_BYTES]) -> [u8; DRAWN_BYTES] {
    let mut hasher = Sha256::new();
    hasher.update(drawn);
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match request {
        Request::Apply { documents, mode } => {
            part(&[1, u8::from(*mode == ApplyMode::Replace)]);
            for document in documents {
                part(&[u8::from(document.format == SourceFormat::Toml)]);
                part(document.text.as_bytes());
            }
        }
        Request::Delete { keys } => {
            part(&[2]);
            keys.iter().for_each(|key| part(key.as_bytes()));
        }
        // Each says the wanted state, or changes nothing.
        Request::Get { .. }
        | Request::Status { .. }
        | Request::Events { .. }
        | Request::Nodes
        | Request::ChangeNode(_)
        | Request::TransferLeader { .. }
        | Request::Propose { .. } => part(&[0]),
    }
    let digest: [u8; 32] = hasher.finalize().into();
    digest.first_chunk().copied().unwrap_or_default()
}

impl fmt::Display for RequestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.since, self.id)
    }
}

impl FromStr for RequestName {
    type Err = NoRequestName;

    fn from_str(text: &str) -> Result<Self, NoRequestName> {
        let (since, digits) = text.split_once('-').ok_or(NoRequestName)?;
        let is_digits = digits.len() == 32 && digits.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let id = u128::from_str_radix(digits, 16).ok().filter(|_| is_digits).ok_or(NoRequestName)?;
        let name = Self { since: since.parse().map_err(|_| NoRequestName)?, id: RequestId(id.to_be_bytes()) };
        if name.to_string() == text { Ok(name) } else { Err(NoRequestName) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SourceDocument;
    use super::*;

    fn apply(name: &str, text: &str) -> Request {
        let document =
            SourceDocument { name: name.to_owned(), format: SourceFormat::Yaml, text: text.to_owned() };
        Request::Apply { documents: vec![document], mode: ApplyMode::Merge }
    }

    #[test]
    fn a_name_is_fixed_reads_back_and_is_of_one_content() {
        let asked = apply("a.yml", "http: {}");
        let name = RequestName::new(&asked, 7, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(name.to_string(), "7-0102030405060708565c0f6750aff0fb");
        assert_eq!(name.to_string().parse(), Ok(name));
        assert!(
            name.is_of(&asked) && name.is_of(&apply("b.yml", "http: {}")),
            "the file may be elsewhere now"
        );
        let Request::Apply { documents, .. } = asked else { panic!("it is") };
        for other in [
            apply("a.yml", "http: {} "),
            Request::Apply { documents, mode: ApplyMode::Replace },
            Request::Delete { keys: vec!["http: {}".to_owned()] },
        ] {
            assert!(!name.is_of(&other), "{other:?}");
        }
        let split =
            |keys: &[&str]| Request::Delete { keys: keys.iter().map(|key| (*key).to_owned()).collect() };
        assert!(!RequestName::new(&split(&["ab", "c"]), 0, [0; 8]).is_of(&split(&["a", "bc"])));
    }

    #[test]
    fn only_the_canonical_text_is_a_name() {
        let digits = "0102030405060708565c0f6750aff0fb";
        assert!(format!("7-{digits}").parse::<RequestName>().is_ok());
        for text in [
            String::new(),
            digits.to_owned(),
            format!("07-{digits}"),
            format!("+7-{digits}"),
            format!("-7-{digits}"),
            format!("7-{}", digits.to_uppercase()),
            format!("7-{digits}0"),
            format!("7-+{}", &digits[1..]),
        ] {
            assert_eq!(text.parse::<RequestName>(), Err(NoRequestName), "{text}");
        }
    }
}
