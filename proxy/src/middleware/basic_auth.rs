//! `basicAuth`: serves clients that name a user and the password of one. Slow hashes are worked out on threads for that, few at
//! a time, and what was right is known for a while. It tells nobody whether a user exists, and logs no password.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use ravelin_config::dynamic;
use tokio::sync::Semaphore;

use super::{CompileError, Flow, Head, Kept, Later, Outcome, answer};
use crate::body::ResponseBody;
use crate::error::bare;

mod hash;

use hash::Hash;

/// How long a password that was right is known to be.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// Most passwords known at a time for one middleware.
const KNOWN_MAX: usize = 1_024;
/// Most slow hashes worked out at a time in the process; further requests wait.
const HASHING_MAX: usize = 2;

static HASHING: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(HASHING_MAX)));

/// The compiled middleware.
#[derive(Debug)]
pub struct BasicAuth {
    shared: Arc<Shared>,
    challenge: HeaderValue,
    remove_header: bool,
    header_field: Option<HeaderName>,
}

#[derive(Debug)]
struct Shared {
    users: HashMap<Vec<u8>, Hash, foldhash::fast::RandomState>,
    /// What is worked out for users that there are not, so that the time tells nothing.
    stranger: Option<Hash>,
    /// Passwords that were right, by a keyed hash of user and password, and until when.
    known: Mutex<HashMap<Vec<u8>, Instant, foldhash::fast::RandomState>>,
    key: hmac::Key,
}

impl BasicAuth {
    /// From its configuration. Of a user that is listed twice the first counts, and lists come before files.
    ///
    /// # Errors
    /// A user without a colon, a realm or field name that no field can hold, hashes that take too long. No text of a user is shown.
    pub fn compile(config: &dynamic::Users) -> Result<Self, CompileError> {
        let value = |option, reason: &str| CompileError::Value { option, reason: reason.to_owned() };
        let mut users = HashMap::default();
        let file = config
            .users_file
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        for user in config.users.iter().map(|user| user.trim()).chain(file) {
            let (name, hash) =
                user.split_once(':').ok_or_else(|| value("users", "a user without a colon"))?;
            let hash = Hash::read(hash).map_err(|reason| value("users", reason))?;
            users.entry(name.as_bytes().to_vec()).or_insert(hash);
        }
        let realm = if config.realm.is_empty() { "traefik" } else { &config.realm };
        let challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\""))
            .map_err(|_| value("realm", "no field can hold it"))?;
        let header_field = (!config.header_field.is_empty())
            .then(|| config.header_field.parse().map_err(|_| value("headerField", "no header name")))
            .transpose()?;
        let stranger = users.values().max_by_key(|hash: &&Hash| hash.cost()).cloned();
        let mut secret = [0_u8; 32];
        rand::Rng::fill_bytes(&mut rand::rng(), &mut secret);
        let shared = Shared {
            users,
            stranger,
            known: Mutex::default(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
        };
        Ok(Self { shared: Arc::new(shared), challenge, remove_header: config.remove_header, header_field })
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        let credentials = head.headers.get(AUTHORIZATION).and_then(credentials);
        let Some((user, password)) = credentials else {
            head.user = Some(Vec::new());
            return self.refuse();
        };
        head.user = Some(user.clone());
        let hash = self.shared.users.get(&user);
        let known = hash.is_some();
        let Some(hash) = hash.or(self.shared.stranger.as_ref()) else { return self.refuse() };
        if !hash.is_slow() {
            return if hash.fits(&password) && known { self.pass(head, &user) } else { self.refuse() };
        }
        let tag = self.shared.tag(&user, &password);
        if known && self.shared.knows(&tag) {
            return self.pass(head, &user);
        }
        let (shared, hash) = (Arc::clone(&self.shared), hash.clone());
        Flow::Later(Later::new(async move {
            // The semaphore is never closed.
            let Ok(_permit) = Arc::clone(&HASHING).acquire_owned().await else {
                return Outcome::Verdict(false);
            };
            let fits = tokio::task::spawn_blocking(move || hash.fits(&password)).await.unwrap_or(false);
            if fits && known {
                shared.learn(tag);
            }
            Outcome::Verdict(fits && known)
        }))
    }

    /// Goes on with what a slow hash said.
    pub(super) fn resume(&self, head: &mut Head<'_>, right: bool) -> Flow {
        match head.user.clone() {
            Some(user) if right => self.pass(head, &user),
            _ => self.refuse(),
        }
    }

    fn pass(&self, head: &mut Head<'_>, user: &[u8]) -> Flow {
        head.authenticated(user, self.header_field.as_ref(), self.remove_header);
        Flow::Next(Kept::Nothing)
    }

    fn refuse(&self) -> Flow {
        const TYPE: HeaderValue = HeaderValue::from_static("text/plain");
        let mut response: Response<ResponseBody> = bare(StatusCode::UNAUTHORIZED, "401 Unauthorized\n");
        response.headers_mut().insert(CONTENT_TYPE, TYPE);
        response.headers_mut().insert(WWW_AUTHENTICATE, self.challenge.clone());
        answer(response)
    }
}

impl Shared {
    fn tag(&self, user: &[u8], password: &[u8]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(user.len() as u64).to_be_bytes());
        context.update(user);
        context.update(password);
        context.sign().as_ref().to_vec()
    }

    fn knows(&self, tag: &[u8]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(tag).is_some_and(|until| Instant::now() < *until)
    }

    fn learn(&self, tag: Vec<u8>) {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.retain(|_, until| now < *until);
        }
        if known.len() < KNOWN_MAX {
            known.insert(tag, now + KNOWN_FOR);
        }
    }
}

/// User and password of an `Authorization` field.
fn credentials(value: &HeaderValue) -> Option<(Vec<u8>, Vec<u8>)> {
    const SCHEME: &str = "Basic ";
    let (scheme, encoded) = value.as_bytes().split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) {
        return None;
    }
    let decoded = STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let (user, password) = decoded.split_at(colon);
    Some((user.to_vec(), password.get(1..)?.to_vec()))
}

#[cfg(test)]
mod tests;
