//! `addPrefix`: puts a prefix before the path. The prefix is plain text; the whole is brought into the path's one form again.

use ravelin_config::dynamic;

use super::{CompileError, Flow, Head, Kept};
use crate::path;

/// The compiled middleware.
#[derive(Debug)]
pub struct AddPrefix {
    /// Encoded.
    prefix: Box<str>,
}

impl AddPrefix {
    /// From its configuration.
    ///
    /// # Errors
    /// An empty prefix.
    pub fn compile(config: &dynamic::AddPrefix) -> Result<Self, CompileError> {
        if config.prefix.is_empty() {
            return Err(CompileError::Value {
                option: "prefix",
                reason: "prefix cannot be empty".to_owned(),
            });
        }
        Ok(Self { prefix: path::encode_text(&config.prefix).into() })
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        let rest = if head.path.is_used_up() { "" } else { head.path.as_str() };
        let path = format!("{}{rest}", self.prefix);
        match head.rewrite_path(&path) {
            Ok(()) => Flow::Next(Kept::Nothing),
            Err(error) => Flow::Refuse(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sample;
    use super::*;

    fn add(prefix: &str, path: &str) -> String {
        let config = dynamic::AddPrefix { prefix: prefix.to_owned() };
        let mut sample = Sample::new("GET", path);
        let middleware = AddPrefix::compile(&config).expect("good");
        let flow = sample.run(|head| middleware.request(head));
        assert!(matches!(flow, Flow::Next(_)), "{prefix} {path}: {flow:?}");
        sample.path
    }

    #[test]
    fn the_prefix_is_text_and_the_path_keeps_its_encoding() {
        let table = [
            ("/api", "/", "/api/"),
            ("/api", "/a%2Fb/", "/api/a%2Fb/"),
            ("api", "/x", "/api/x"),
            ("/a b", "/x", "/a%20b/x"),
            ("/a?b=1#c", "/x", "/a%3Fb=1%23c/x"),
            ("/50%", "/x", "/50%25/x"),
            ("/%41", "/x", "/%2541/x"),
            ("/é", "/x", "/%C3%A9/x"),
            ("/api/", "/x", "/api/x"),
            ("/a/../b", "/x", "/b/x"),
        ];
        for (prefix, path, want) in table {
            assert_eq!(add(prefix, path), want, "{prefix} {path}");
        }
    }

    #[test]
    fn where_nothing_is_left_of_the_path_the_prefix_is_the_path() {
        let middleware = AddPrefix::compile(&dynamic::AddPrefix { prefix: "/a".to_owned() }).expect("good");
        let mut sample = Sample::new("GET", "/a");
        sample.run(|head| {
            head.replace_path("").expect("nothing climbs");
            assert_eq!(head.path.as_str(), "/");
            middleware.request(head)
        });
        assert_eq!(sample.path, "/a");
    }

    #[test]
    fn an_empty_prefix_is_refused() {
        assert!(AddPrefix::compile(&dynamic::AddPrefix::default()).is_err());
    }
}
