//! `encodedCharacters`: refuses paths that hold an encoded character which it does not allow. It looks at the normalised path,
//! where a plain backslash is encoded too; the query is not its business.

use ravelin_config::dynamic;

use super::{Flow, Head, Kept};
use crate::error::RequestError;
use crate::path::{Characters, PathError};

/// The compiled middleware.
#[derive(Debug)]
pub struct EncodedCharacters {
    refused: Characters,
}

impl EncodedCharacters {
    /// From its configuration.
    pub fn compile(config: &dynamic::PathCharacters) -> Self {
        Self { refused: Characters::refused_by(config) }
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        if self.refused.any_in(head.path.as_str()) {
            return Flow::Refuse(RequestError::BadTarget(PathError::RefusedCharacter));
        }
        Flow::Next(Kept::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sample;
    use super::*;

    fn status(config: &dynamic::PathCharacters, path: &str) -> u16 {
        let middleware = EncodedCharacters::compile(config);
        match Sample::new("GET", path).run(|head| middleware.request(head)) {
            Flow::Next(_) => 200,
            Flow::Refuse(error) => error.status().as_u16(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_allowed_is_refused() {
        let none = dynamic::PathCharacters::default();
        for path in ["/a%2Fb", "/a%5Cb", "/a%3Bb", "/a%25b", "/a%3Fb", "/a%23b", "/a%252Fb"] {
            assert_eq!(status(&none, path), 400, "{path}");
        }
        for path in ["/a", "/a%20b", "/a;b", "/caf%C3%A9"] {
            assert_eq!(status(&none, path), 200, "{path}");
        }
        let slash = dynamic::PathCharacters { allow_encoded_slash: true, ..none };
        assert_eq!((status(&slash, "/a%2Fb"), status(&slash, "/a%2Fb%25c")), (200, 400));
    }
}
