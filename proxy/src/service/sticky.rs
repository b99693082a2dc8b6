//! Sticky sessions: which member a request's cookie names, and the cookie that names a member. What a cookie says chooses among known
//! members only; nothing of it is ever used as an address.

use std::collections::HashMap;

use aws_lc_rs::digest;
use http::header::{COOKIE, HeaderMap, HeaderValue};
use ravelin_config::dynamic::Cookie;
use sha2::{Digest as _, Sha256};

use crate::middleware::CompileError;

/// Letters of the name that a service gives to its cookie, with the underscore before them.
const OWN_NAME_CHARS: usize = 6;
/// Hexadecimal digits of a cookie's value.
const VALUE_DIGITS: usize = 16;
/// Longest domain of a cookie, and longest label of it, in bytes.
const DOMAIN_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: usize = 63;

/// The cookies of one service. Four values and one field a member.
#[derive(Debug)]
pub(super) struct Sticky {
    name: Box<str>,
    members: HashMap<Box<str>, Named, foldhash::fast::RandomState>,
    fields: Box<[HeaderValue]>,
}

/// Whom a cookie names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) member: usize,
    /// By a value that was given out by an older version: the client gets a new one.
    pub(super) outdated: bool,
}

impl Sticky {
    /// For the members of these names, in their order, of the service of this qualified name.
    pub(super) fn compile<'n>(
        cookie: &Cookie,
        service: &str,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<Self, CompileError> {
        let name = match cookie.name.as_deref() {
            None | Some("") => own_name(service),
            Some(name) => sanitised(name),
        };
        let attributes = attributes(cookie);
        let (mut members, mut fields) = (HashMap::<Box<str>, Named, _>::default(), Vec::new());
        let mut older = Vec::new();
        for (member, text) in names.enumerate() {
            let value = value_of(text);
            let field = HeaderValue::from_str(&format!("{name}={value}{attributes}")).map_err(|error| {
                CompileError::Value { option: "sticky.cookie", reason: error.to_string() }
            })?;
            fields.push(field);
            members.entry(value.into()).or_insert(Named { member, outdated: false });
            let once = fnv1_text(text);
            older.extend([text.into(), fnv1_text(&once), once].map(|value: String| (value, member)));
        }
        for (value, member) in older {
            members.entry(value.into()).or_insert(Named { member, outdated: true });
        }
        Ok(Self { name: name.into(), members, fields: fields.into() })
    }

    /// The member that a request's cookie names.
    pub(super) fn named(&self, headers: &HeaderMap) -> Option<Named> {
        self.members.get(cookie_value(headers, &self.name)?).copied()
    }

    /// The field that sticks a client to a member.
    pub(super) fn field(&self, member: usize) -> Option<&HeaderValue> {
        self.fields.get(member)
    }
}

/// What follows the cookie's name and value.
fn attributes(cookie: &Cookie) -> String {
    let mut out = String::new();
    let path: String = cookie.path.as_deref().unwrap_or("/").chars().filter(|&c| is_path_char(c)).collect();
    if !path.is_empty() {
        out.push_str("; Path=");
        out.push_str(&path);
    }
    let domain = cookie.domain.as_deref().unwrap_or_default();
    if is_domain(domain) {
        out.push_str("; Domain=");
        out.push_str(domain.strip_prefix('.').unwrap_or(domain));
    }
    match cookie.max_age.unwrap_or(0) {
        0 => {}
        age => out.push_str(&format!("; Max-Age={}", age.max(0))),
    }
    if cookie.http_only {
        out.push_str("; HttpOnly");
    }
    if cookie.secure {
        out.push_str("; Secure");
    }
    let same_site = cookie.same_site.as_deref().unwrap_or_default().to_ascii_lowercase();
    out.push_str(match same_site.as_str() {
        "none" => "; SameSite=None",
        "lax" => "; SameSite=Lax",
        "strict" => "; SameSite=Strict",
        _ => "",
    });
    out
}

fn is_path_char(c: char) -> bool {
    (' '..'\x7f').contains(&c) && c != ';'
}

/// Whether a browser takes it for the domain of a cookie: a name of letters, digits and hyphens, or an IPv4 address.
fn is_domain(text: &str) -> bool {
    if text.parse::<std::net::Ipv4Addr>().is_ok() {
        return true;
    }
    let name = text.strip_prefix('.').unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= DOMAIN_BYTES_MAX
        && name.bytes().any(|byte| byte.is_ascii_alphabetic())
        && name.split('.').all(label)
}

/// The name where none is set: an underscore and the beginning of a digest of the service's name, as Traefik makes it.
fn own_name(service: &str) -> String {
    let text = format!("_TRAEFIK_BACKEND_{service}");
    let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let mut name = format!("_{}", hexadecimal(sum.as_ref()));
    name.truncate(OWN_NAME_CHARS);
    name
}

/// A name as a cookie may have it: what may not stand there becomes an underscore.
fn sanitised(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^`|~".contains(c);
    name.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

/// The value that names a member.
pub(crate) fn value_of(name: &str) -> String {
    let mut value = hexadecimal(&Sha256::digest(name.as_bytes()));
    value.truncate(VALUE_DIGITS);
    value
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The 64-bit FNV-1 sum as older versions wrote it into cookies.
fn fnv1_text(text: &str) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let sum = text.bytes().fold(OFFSET, |sum, byte| sum.wrapping_mul(PRIME) ^ u64::from(byte));
    format!("{sum:x}")
}

/// The value of the first good cookie of this name.
fn cookie_value<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(found, value)| {
        let value = value.trim_end_matches([' ', '\t']);
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        let good = value.bytes().all(|byte| (b' '..0x7f).contains(&byte) && !b"\"\\".contains(&byte));
        (found.trim_matches([' ', '\t']) == name && good).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sticky(cookie: &Cookie, names: &[&str]) -> Sticky {
        Sticky::compile(cookie, "s@file", names.iter().copied()).expect("good")
    }

    fn named_lb() -> Cookie {
        Cookie { name: Some("lb".to_owned()), ..Cookie::default() }
    }

    fn headers(cookies: &[&str]) -> HeaderMap {
        cookies.iter().map(|value| (COOKIE, HeaderValue::from_str(value).expect("a value"))).collect()
    }

    #[test]
    fn every_attribute_has_its_place() {
        let field = |cookie: Cookie| {
            let sticky = sticky(&cookie, &["http://a"]);
            let field = sticky.field(0).expect("one member").to_str().expect("ASCII").to_owned();
            field.split_once(&value_of("http://a")).expect("its value").1.to_owned()
        };
        assert_eq!(field(named_lb()), "; Path=/");
        let all = Cookie {
            name: None,
            secure: true,
            http_only: true,
            same_site: Some("Strict".to_owned()),
            max_age: Some(7),
            path: Some("/a;b\u{7f}".to_owned()),
            domain: Some(".x.test".to_owned()),
        };
        assert_eq!(field(all), "; Path=/ab; Domain=x.test; Max-Age=7; HttpOnly; Secure; SameSite=Strict");
        let none = |same_site: &str| Cookie {
            path: Some(String::new()),
            domain: Some("a_b".to_owned()),
            max_age: Some(-1),
            same_site: Some(same_site.to_owned()),
            ..Cookie::default()
        };
        assert_eq!(field(none("lax")), "; Max-Age=0; SameSite=Lax");
        assert_eq!(field(none("none")), "; Max-Age=0; SameSite=None");
        assert_eq!(field(none("")), "; Max-Age=0");
    }

    #[test]
    fn names_are_made_from_the_service_or_mended() {
        // sha1sum of "_TRAEFIK_BACKEND_s@file" begins with these digits.
        let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, b"_TRAEFIK_BACKEND_s@file");
        let name = own_name("s@file");
        assert_eq!(name, format!("_{}", &hexadecimal(sum.as_ref())[..5]));
        assert_eq!(sanitised("a b=c;d.e"), "a_b_c_d.e");
    }

    #[test]
    fn domains_are_those_that_browsers_take() {
        for good in ["a", ".a.test", "a-b.test", "1.2.3.4", "a1"] {
            assert!(is_domain(good), "{good}");
        }
        for bad in ["", ".", "-a", "a-", "a..b", "a_b", "::1", "123", "a b", &"a".repeat(64)] {
            assert!(!is_domain(bad), "{bad}");
        }
    }

    #[test]
    fn values_of_old_are_known_and_outdated() {
        let sticky = sticky(&named_lb(), &["http://a", "http://b"]);
        let named = |value: &str| sticky.named(&headers(&[&format!("lb={value}")]));
        let b = |outdated| Some(Named { member: 1, outdated });
        assert_eq!(named(&value_of("http://b")), b(false));
        assert_eq!(named("http://b"), b(true));
        assert_eq!(named(&fnv1_text("http://b")), b(true));
        assert_eq!(named(&fnv1_text(&fnv1_text("http://b"))), b(true));
        assert_eq!(named("http://c"), None);
        assert_eq!(fnv1_text("a"), "af63bd4c8601b7be", "FNV-1, not FNV-1a");
    }

    #[test]
    fn the_first_good_cookie_of_the_name_counts() {
        let value = |cookies: &[&str]| cookie_value(&headers(cookies), "lb").map(str::to_owned);
        assert_eq!(value(&["x=y; lb=1; lb=2"]), Some("1".into()));
        assert_eq!(value(&["LB=1", "lb=\"2\""]), Some("2".into()));
        assert_eq!(value(&["lb=a\\b; lb=3"]), Some("3".into()));
        assert_eq!(value(&["lb", "xlb=1"]), None);
    }

    proptest! {
        /// Whatever a client sends names a member of the service or none.
        #[test]
        fn no_cookie_leads_anywhere_else(cookie in "[ -~]{0,60}", count in 1_usize..5) {
            let names: Vec<String> = (0..count).map(|number| format!("http://h{number}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let sticky = sticky(&named_lb(), &names);
            for text in [cookie.clone(), format!("lb={cookie}")] {
                if let Some(named) = sticky.named(&headers(&[&text])) {
                    prop_assert!(named.member < count);
                }
            }
            for (member, name) in names.iter().enumerate() {
                let given = sticky.field(member).expect("a member").to_str().expect("ASCII");
                let sent = given.split(';').next().expect("a pair");
                prop_assert_eq!(sticky.named(&headers(&[sent])), Some(Named { member, outdated: false }), "{}", name);
            }
        }
    }
}
