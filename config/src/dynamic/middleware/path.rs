//! Middlewares that rewrite the path, send clients elsewhere by their URL, or judge the path's characters.

use serde::{Deserialize, Serialize};

use super::super::is_false;

/// Put a prefix before the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddPrefix {
    /// The prefix, as plain text.
    pub prefix: String,
}

/// Set the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplacePath {
    /// The path, encoded.
    pub path: String,
}

/// Rewrite the path by a regular expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplacePathRegex {
    /// What is replaced, wherever it occurs in the encoded path.
    pub regex: String,
    /// What is put in its place, with `$1` and `${name}` for groups.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub replacement: String,
}

/// Remove a prefix that fits a regular expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StripPrefixRegex {
    /// Expressions; the first whose match begins the decoded path counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regex: Vec<String>,
}

/// Redirect to what a regular expression makes of the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RedirectRegex {
    /// What is replaced, wherever it occurs in the URL.
    pub regex: String,
    /// What is put in its place, with `$1` and `${name}` for groups.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub replacement: String,
    /// 301/308 in place of 302/307.
    #[serde(skip_serializing_if = "is_false")]
    pub permanent: bool,
}

/// Which encoded characters a path may hold; a false one makes the request 400. Unlike an entry point's, they begin as false.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathCharacters {
    /// `%2F`.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_encoded_slash: bool,
    /// `%5C`, and a plain backslash.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_encoded_back_slash: bool,
    /// `%00`.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_encoded_null_character: bool,
    /// `%3B`.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_encoded_semicolon: bool,
    /// `%25`.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_encoded_percent: bool,
    /// `%3F`.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_encoded_question_mark: bool,
    /// `%23`.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_encoded_hash: bool,
}
