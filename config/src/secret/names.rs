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

/// What stands for a name that may be a secret: in messages, and in objects, where the name itself is sealed below it.
pub(crate) const HIDDEN_NAME: &str = "…";

/// The name of what no table knows, for a message: what cannot be the slip of an option's name may be a secret, or hold one
/// (`users: {"admin:$apr1$…": …}`).
pub(crate) fn shown_name(name: &str) -> &str {
    const NAME_CHARACTERS_MAX: usize = 40;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.len() <= NAME_CHARACTERS_MAX && name.bytes().all(plain) { name } else { HIDDEN_NAME }
}

/// Whether it is a token of RFC 9110, and of a length that is usual.
pub(crate) fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 256 && name.bytes().all(token)
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

/// Whether a text is a whole field with a secret in it, where only a name or a value is due.
fn is_secret_field(text: &str) -> bool {
    text.split_once(": ").is_some_and(|(name, value)| {
        is_header_name(name.trim()) && is_secret_header(name.trim()) && !value.trim().is_empty()
    })
}

/// Whether a text is a secret wherever it stands: a private key, a URL that may name a user, a field of credentials.
pub(super) fn is_secret_text(text: &str) -> bool {
    let scheme = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    text.contains(PRIVATE_KEY)
        || is_secret_field(text)
        || text
            .trim_start()
            .split_once("://")
            .is_some_and(|(before, rest)| scheme(before) && rest.contains('@'))
}

/// An address for a message, a log line or a view: user and password, or whatever may be meant as such, are left out.
pub fn shown_address(text: &str) -> String {
    const SCHEMES: &[&str] = &["http", "https", "h2c", "ftp", "tcp", "udp", "ws", "wss", "redis", "rediss"];
    let Some((before, rest)) = text.rsplit_once('@') else { return text.to_owned() };
    match before.split_once("://") {
        Some((scheme, _)) if is_among(SCHEMES, scheme) => format!("{scheme}://…@{rest}"),
        _ => format!("…@{rest}"),
    }
}
