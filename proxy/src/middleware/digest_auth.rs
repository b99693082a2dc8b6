//! `digestAuth`: serves clients that show to know a user's password without sending it (RFC 7616, with MD5 as Traefik has it). An answer
//! is good once, and for the target that it was made for alone. It tells nobody whether a user exists.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Response, StatusCode, Uri};
use md5::{Digest as _, Md5};
use ravelin_config::dynamic;

use super::{CompileError, Flow, Head, Kept, answer};
use crate::body::ResponseBody;
use crate::error::bare;

mod nonces;
mod parameters;

use nonces::{Nonces, Used};
use parameters::parameters;

/// The compiled middleware.
#[derive(Debug)]
pub struct DigestAuth {
    realm: Box<str>,
    /// The hash of user, realm and password, in hexadecimal digits, of each user of the realm.
    users: HashMap<Vec<u8>, Box<str>, foldhash::fast::RandomState>,
    nonces: Nonces,
    remove_header: bool,
    header_field: Option<HeaderName>,
}

/// What came of a client's answer.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    Right(Vec<u8>),
    Wrong,
    /// Right, but for a nonce that is not good any more.
    Stale,
}

impl DigestAuth {
    /// From its configuration. Of a user that is listed twice the first counts, and lists come before files.
    ///
    /// # Errors
    /// A user that is not `name:realm:hash`, a realm or field name that no field can hold. No text of a user is shown.
    pub fn compile(config: &dynamic::Users) -> Result<Self, CompileError> {
        let value = |option, reason: &str| CompileError::Value { option, reason: reason.to_owned() };
        let realm = if config.realm.is_empty() { "traefik" } else { config.realm.as_str() };
        if realm.contains(['"', '\\']) || HeaderValue::from_str(realm).is_err() {
            return Err(value("realm", "no field can hold it"));
        }
        let mut users = HashMap::default();
        for line in config.lines() {
            let (name, its_realm, hash) =
                dynamic::digest_user(line).ok_or_else(|| value("users", "a user is not name:realm:hash"))?;
            if its_realm == realm {
                users.entry(name.as_bytes().to_vec()).or_insert_with(|| hash.to_ascii_lowercase().into());
            }
        }
        let header_field = (!config.header_field.is_empty())
            .then(|| config.header_field.parse().map_err(|_| value("headerField", "no header name")))
            .transpose()?;
        let (nonces, remove_header) = (Nonces::new(), config.remove_header);
        Ok(Self { realm: realm.into(), users, nonces, remove_header, header_field })
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let credentials = head.headers.get(AUTHORIZATION).and_then(|value| parameters(value.as_bytes()));
        let Some(given) = credentials else {
            head.user = Some(Vec::new());
            return self.challenge(now, false);
        };
        head.user = given.get("username").cloned();
        match self.judge(&given, head.method.as_str(), head.target, now) {
            Judged::Right(user) => self.pass(head, &user),
            Judged::Wrong => self.challenge(now, false),
            Judged::Stale => self.challenge(now, true),
        }
    }

    fn judge(&self, given: &HashMap<String, Vec<u8>>, method: &str, target: &Uri, now: u64) -> Judged {
        let field = |name: &str| given.get(name).map(Vec::as_slice).unwrap_or_default();
        let algorithm = field("algorithm");
        let sent = target.path_and_query().map_or("", |target| target.as_str());
        let is_own = field("uri") == sent.as_bytes() || field("uri") == target.to_string().as_bytes();
        let count = std::str::from_utf8(field("nc")).ok().and_then(|nc| u64::from_str_radix(nc, 16).ok());
        let (Some(count), true) = (count, is_own && field("qop") == b"auth") else { return Judged::Wrong };
        if !(algorithm.is_empty() || algorithm == b"MD5")
            || field("opaque") != self.nonces.opaque().as_bytes()
        {
            return Judged::Wrong;
        }
        // A stranger's answer is worked out too, and fits nothing.
        let user = field("username");
        let secret = self.users.get(user);
        let of_target = hash(&[method.as_bytes(), field("uri")]);
        let whole = hash(&[
            secret.map_or(&b"-"[..], |secret| secret.as_bytes()),
            field("nonce"),
            field("nc"),
            field("cnonce"),
            field("qop"),
            of_target.as_bytes(),
        ]);
        let fits = verify_slices_are_equal(whole.as_bytes(), field("response")).is_ok();
        if !fits || secret.is_none() {
            return Judged::Wrong;
        }
        match self.nonces.take(field("nonce"), count, now) {
            Used::First => Judged::Right(user.to_vec()),
            Used::Before => Judged::Wrong,
            Used::Unknown => Judged::Stale,
        }
    }

    fn pass(&self, head: &mut Head<'_>, user: &[u8]) -> Flow {
        head.authenticated(user, self.header_field.as_ref(), self.remove_header);
        Flow::Next(Kept::Nothing)
    }

    fn challenge(&self, now: u64, stale: bool) -> Flow {
        const TYPE: HeaderValue = HeaderValue::from_static("text/plain");
        let mut response: Response<ResponseBody> = bare(StatusCode::UNAUTHORIZED, "401 Unauthorized\n");
        let (realm, nonce, opaque) = (&self.realm, self.nonces.make(now), self.nonces.opaque());
        let stale = if stale { ", stale=\"true\"" } else { "" };
        let challenge = format!(
            "Digest realm=\"{realm}\", nonce=\"{nonce}\", opaque=\"{opaque}\", algorithm=MD5, qop=\"auth\"{stale}"
        );
        response.headers_mut().insert(CONTENT_TYPE, TYPE);
        // A realm that a field can hold, and digits and letters.
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        answer(response)
    }
}

/// The hash of parts with colons between them, in hexadecimal digits.
fn hash(parts: &[&[u8]]) -> String {
    let mut hasher = Md5::new();
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            hasher.update(b":");
        }
        hasher.update(part);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
