//! A `Location` made absolute against the URL that was asked (RFC 3986, 5.2). It sends nobody anywhere.

/// The URL that was asked.
#[derive(Debug)]
pub(super) struct Base {
    scheme: &'static str,
    authority: Box<str>,
    path: Box<str>,
}

impl Base {
    /// `path` begins with a slash.
    pub(super) fn new(https: bool, authority: &str, path: &str) -> Self {
        let scheme = if https { "https" } else { "http" };
        Self { scheme, authority: authority.into(), path: path.into() }
    }

    /// Where a location leads. `None`: it is no reference that may be passed on.
    pub(super) fn absolute(&self, location: &str) -> Option<String> {
        if !location.bytes().all(|byte| byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte))
            || !escapes(location)
        {
            return None;
        }
        let Self { scheme, authority, path } = self;
        let before = location.find(['/', '?', '#']).unwrap_or(location.len());
        let has_scheme = location.find(':').is_some_and(|colon| colon < before);
        Some(if has_scheme || location.is_empty() {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else {
            let end = location.find(['?', '#']).unwrap_or(location.len());
            let (target, rest) = location.split_at(end);
            let whole = match (target.starts_with('/'), target.is_empty()) {
                (true, _) => target.to_owned(),
                (_, true) => path.to_string(),
                _ => format!("{}/{target}", path.rsplit_once('/').map_or("", |(folder, _)| folder)),
            };
            format!("{scheme}://{authority}{}{rest}", without_dots(&whole))
        })
    }
}

/// Every percent sign has its two digits.
fn escapes(text: &str) -> bool {
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    let mut signs = text.match_indices('%');
    signs.all(|(at, _)| digit(bytes.get(at + 1)) && digit(bytes.get(at + 2)))
}

fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            ".." => drop(kept.pop()),
            "." => {}
            segment => {
                kept.push(segment);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn locations_are_those_of_the_server_that_was_asked() {
        let base = Base::new(false, "auth.test:81", "/deep/er");
        let table = [
            ("login?x=1", Some("http://auth.test:81/deep/login?x=1")),
            ("/login", Some("http://auth.test:81/login")),
            ("../a/./b/..", Some("http://auth.test:81/a/")),
            ("?x", Some("http://auth.test:81/deep/er?x")),
            ("//sso.test/x", Some("http://sso.test/x")),
            ("https://sso.test/login?rd=%2F", Some("https://sso.test/login?rd=%2F")),
            ("", Some("")),
            ("http://a b/%zz", None),
            ("/%4", None),
        ];
        for (location, wanted) in table {
            assert_eq!(base.absolute(location).as_deref(), wanted, "{location}");
        }
    }

    proptest! {
        /// A location without scheme and authority stays on the server, whatever it holds.
        #[test]
        fn a_relative_location_leads_nowhere_else(location in "[a-z.?#][a-z./?#%]{0,20}") {
            let base = Base::new(true, "auth.test", "/a/b/c");
            if let Some(whole) = base.absolute(&location) {
                prop_assert!(whole.starts_with("https://auth.test/"), "{whole}");
                let path = whole["https://auth.test".len()..].split(['?', '#']).next().expect("a path");
                prop_assert!(!path.split('/').any(|segment| segment == ".."), "{whole}");
            }
        }
    }
}
