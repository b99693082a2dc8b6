//! What tells that a text is a secret: its option's or header's name, or the text itself. It must not walk objects: that is
//! `places`.

/// Options whose strings, at whatever depth below them, are secrets. In lower case; matched in any case, whether the option
/// is known, misplaced or comes later.
pub(super) const SECRET_OPTIONS: &[&str] = &[
    "accesskey",
    "apikey",
    "apitoken",
    "bearertoken",
    "clientsecret",
    "hmac",
    "hmacencoded",
    "key",
    "keyfile",
    "passphrase",
    "password",
    "privatekey",
    "secret",
    "secretaccesskey",
    "secretkey",
    "signingsecret",
    "tlskey",
    "token",
    "users",
    "usersfile",
];

/// Groups within which a value that stands at the wrong place may well be a secret.
const SENSITIVE_GROUPS: &[&str] = &["basicauth", "digestauth", "forwardauth", "plugin", "redis", "tls"];

/// Words within the names of options that no table knows.
const TELLING_WORDS: &[&str] =
    &["apikey", "credential", "hmac", "passphrase", "passwd", "password", "privatekey", "secret", "token"];

/// Words within the names of headers.
const TELLING_HEADER_WORDS: &[&str] = &[
    "apikey",
    "authorization",
    "authtoken",
    "cookie",
    "credential",
    "password",
    "passwd",
    "secret",
    "session",
    "signature",
    "token",
];

/// Options that hold the address of a server.
const ADDRESSES: &[&str] = &["address", "endpoint", "endpoints", "url"];

/// What every PEM private key holds, of whatever kind.
pub(crate) const PRIVATE_KEY: &str = "PRIVATE KEY-----";

fn is_among(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The name in lower case without what separates its words.
fn joined(name: &str) -> String {
    name.chars().filter(|letter| !"-_.".contains(*letter)).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Whether this option's strings are secrets.
pub(super) fn is_secret(option: &str) -> bool {
    is_among(SECRET_OPTIONS, option)
}

/// Whether an option that no table knows is, by its name, a secret.
pub(crate) fn looks_secret(option: &str) -> bool {
    let name = joined(option);
    is_secret(&name) || TELLING_WORDS.iter().any(|word| name.contains(word))
}

/// Whether no message may show a value of this option, or of one below it.
pub(crate) fn may_hold_secrets(option: &str) -> bool {
    is_secret(option) || is_among(SENSITIVE_GROUPS, option)
}

/// Whether the option holds the address of a server.
pub(super) fn is_address(option: &str) -> bool {
    is_among(ADDRESSES, option)
}

/// Whether a header with this name and value is a secret.
pub(super) fn is_secret_header(name: &str) -> bool {
    let name = joined(name);
    name.ends_with("key")
        || name.ends_with("xauth")
        || TELLING_HEADER_WORDS.iter().any(|word| name.contains(word))
}

/// Whether a header's value shows by itself that it is a secret, whatever the header's name.
pub(super) fn is_credentials(value: &str) -> bool {
    let scheme = value.trim_start().split_once(' ').map_or("", |(scheme, _)| scheme);
    is_among(&["basic", "bearer", "digest", "negotiate"], scheme)
}

/// Whether a text is a secret wherever it stands: a private key, or a URL that may name a user.
pub(super) fn is_secret_text(text: &str) -> bool {
    let scheme = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    text.contains(PRIVATE_KEY)
        || text
            .trim_start()
            .split_once("://")
            .is_some_and(|(before, rest)| scheme(before) && rest.contains('@'))
}

/// An address for a message: user and password, or whatever may be meant as such, are left out.
pub(crate) fn shown_address(text: &str) -> String {
    text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, rest)| format!("…@{rest}"))
}
