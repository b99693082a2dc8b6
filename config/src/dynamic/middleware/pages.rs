//! Middlewares that change answers: pages in place of errors, and smaller bodies.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Let another service answer where this one failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Errors {
    /// Statuses of answers that are replaced, as codes and ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<String>,
    /// The status that the client gets in place of some of these, by codes and ranges.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub status_rewrites: BTreeMap<String, String>,
    /// The service that has the pages.
    pub service: String,
    /// The page's target, with `{status}`, `{originalStatus}` and `{url}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// The only fields of the request that the service gets; none means all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub error_request_headers: Vec<String>,
}

impl Errors {
    /// What the statuses in [`Errors::status_rewrites`] become, single codes before ranges, each in the order of the text.
    ///
    /// # Errors
    /// A key that is neither a status nor a range of them, a value that is no status.
    pub fn rewrites(&self) -> Result<Vec<(super::super::StatusRanges, u16)>, String> {
        let mut read = Vec::with_capacity(self.status_rewrites.len());
        for (from, to) in &self.status_rewrites {
            let ranges = super::super::StatusRanges::parse(&[from]).map_err(|error| error.to_string())?;
            let code = to.trim().parse().ok().filter(|code| (200..=999).contains(code));
            read.push((from.contains('-'), ranges, code.ok_or_else(|| format!("{to:?} is no status"))?));
        }
        read.sort_by_key(|(is_range, ..)| *is_range);
        Ok(read.into_iter().map(|(_, ranges, code)| (ranges, code)).collect())
    }
}

/// How an answer's body may be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `gzip`.
    Gzip,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
}

impl Encoding {
    /// All of them, in the order that counts where nothing is said.
    const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// Its name in fields and configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    fn by_name(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|encoding| encoding.name() == name);
        found.ok_or_else(|| format!("unsupported encoding: {name}"))
    }
}

/// Make answers smaller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Compress {
    /// The encodings, the preferred first; none means gzip, br and zstd.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub encodings: Vec<String>,
    /// Media types of requests and answers that are left alone; `application/grpc` always is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_content_types: Vec<String>,
    /// The only media types of answers that are encoded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_content_types: Vec<String>,
    /// The smallest answer that is encoded; unset, 0 and less mean 1024.
    #[serde(skip_serializing_if = "super::super::is_zero")]
    pub min_response_body_bytes: i64,
    /// The encoding for clients that say nothing; unset means none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default_encoding: String,
}

impl Compress {
    /// The encodings in their order, and that for clients that say nothing.
    ///
    /// # Errors
    /// A name that is no encoding, a default that is not among them.
    pub fn encodings(&self) -> Result<(Vec<Encoding>, Option<Encoding>), String> {
        let named = self.encodings.iter().map(|name| Encoding::by_name(name));
        let mut encodings = named.collect::<Result<Vec<_>, _>>()?;
        if encodings.is_empty() {
            encodings = Encoding::ALL.to_vec();
        }
        let default = match self.default_encoding.as_str() {
            "" => None,
            name => Some(Encoding::by_name(name)?),
        };
        match default.filter(|default| !encodings.contains(default)) {
            Some(default) => Err(format!("unsupported default encoding: {}", default.name())),
            None => Ok((encodings, default)),
        }
    }

    /// The media types that are excluded, and those that are included, if only these are.
    ///
    /// # Errors
    /// What is no media type, types of both kinds.
    pub fn media_types(&self) -> Result<(Vec<String>, Vec<String>), String> {
        if !self.excluded_content_types.is_empty() && !self.included_content_types.is_empty() {
            return Err(
                "excludedContentTypes and includedContentTypes options are mutually exclusive".to_owned()
            );
        }
        let read = |types: &[String]| -> Result<Vec<String>, String> {
            let read =
                types.iter().map(|text| media_type(text).ok_or_else(|| format!("{text:?} is no media type")));
            read.collect()
        };
        let mut excluded = read(&self.excluded_content_types)?;
        excluded.push("application/grpc".to_owned());
        Ok((excluded, read(&self.included_content_types)?))
    }
}

/// The media type of a field's value in small letters, without its parameters. `None`: it is none.
pub fn media_type(text: &str) -> Option<String> {
    let token = |text: &str| {
        let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(sign)
    };
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let (kind, subtype) = name.trim().split_once('/')?;
    let mut parameters = parameters.split(';').map(str::trim).filter(|parameter| !parameter.is_empty());
    let good = token(kind)
        && token(subtype)
        && parameters.all(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| token(name.trim_end()) && !value.is_empty())
        });
    good.then(|| name.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn media_types_are_read_without_their_parameters() {
        let table = [
            ("text/html", Some("text/html")),
            (" Text/HTML ; charset=utf-8", Some("text/html")),
            ("text/*", Some("text/*")),
            ("a/b; c=\"d e\"; f=g;", Some("a/b")),
            ("text/plain; =bad", None),
            ("text/plain; bad", None),
            ("text/", None),
            ("text", None),
            ("te xt/html", None),
            ("", None),
        ];
        for (text, wanted) in table {
            assert_eq!(media_type(text).as_deref(), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_media_type_or_none(text in "[a-z/;= \"*]{0,20}") {
            if let Some(read) = media_type(&text) {
                prop_assert_eq!(media_type(&read), Some(read.clone()));
            }
        }
    }
}
