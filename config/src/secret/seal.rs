//! Keys and envelopes. All keys come from the cluster's sealing key, each for one purpose; an envelope is bound to the name
//! of its secret and says which key opens it.
//!
//! Sealing is deterministic: the nonce is taken from the name, and one name is one value, so that no nonce is used for two
//! texts. It must not draw randomness.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::hmac;
use zeroize::Zeroize as _;

use super::{Secret, SecretId};

/// Length of a sealing key, in bytes.
pub const KEY_BYTES: usize = 32;
/// The version byte of an envelope.
pub const ENVELOPE_VERSION: u8 = 1;
/// Version, key id and nonce.
const HEAD_BYTES: usize = 1 + 8 + NONCE_LEN;

/// The public name of a key: it tells which one opens an envelope, and nothing of the key. `Display` prints 16 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

/// The key of one view of the feed: it opens what a proxy of that view may know, and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct ViewKey {
    id: KeyId,
    key: [u8; KEY_BYTES],
}

/// The cluster's sealing keys: the first names and seals, each opens what it sealed. Clones share them.
#[derive(Clone)]
pub struct SealingKeys(Arc<[Derived]>);

/// What is derived from one sealing key.
struct Derived {
    prk: Prk,
    naming: hmac::Key,
    log: ViewKey,
}

/// Why an envelope was not opened. Nothing of its content is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is none.
    #[error("it is not there")]
    Absent,
    /// Not an envelope, or of another version.
    #[error("it is no envelope that this version reads")]
    Form,
    /// Sealed with a key that is not at hand.
    #[error("it is sealed with key {0}, which is not at hand")]
    UnknownKey(KeyId),
    /// Damaged, or the envelope of another secret.
    #[error("it does not open: it is damaged, or of another secret")]
    Damaged,
}

impl SealingKeys {
    /// The keys of a cluster from what its identity files hold, the one that seals first. `None` without any.
    pub fn new(cluster: [u8; 16], keys: &[[u8; KEY_BYTES]]) -> Option<Self> {
        let derived: Arc<[Derived]> = keys.iter().map(|key| Derived::of(&cluster, key)).collect();
        (!derived.is_empty()).then_some(Self(derived))
    }

    /// The name of a value: the same value has the same name.
    pub fn name(&self, value: &str) -> SecretId {
        let mut id = [0; 32];
        let tag = hmac::sign(&self.first().naming, value.as_bytes());
        for (byte, found) in id.iter_mut().zip(tag.as_ref()) {
            *byte = *found;
        }
        SecretId(id)
    }

    /// The envelope of a value under its name, as it lies in the log. The same value gives the same bytes.
    pub fn seal(&self, id: &SecretId, value: &Secret) -> Arc<[u8]> {
        self.first().log.seal(id, value)
    }

    /// Opens an envelope of the log.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, id: &SecretId, envelope: &[u8]) -> Result<Secret, OpenError> {
        let key_id = key_of(envelope)?;
        let found = self.0.iter().find(|derived| derived.log.id == key_id);
        found.ok_or(OpenError::UnknownKey(key_id))?.log.open(id, envelope)
    }

    /// The key of a view by its name; empty means the default one.
    pub fn view_key(&self, view: &str) -> ViewKey {
        ViewKey::derive(&self.first().prk, &[b"feed view ", view.as_bytes()])
    }

    fn first(&self) -> &Derived {
        self.0.first().expect("keys are only made of at least one")
    }
}

impl Derived {
    fn of(cluster: &[u8; 16], key: &[u8; KEY_BYTES]) -> Self {
        let salt = [b"ravelin sealing key 1".as_slice(), cluster].concat();
        let prk = Salt::new(HKDF_SHA256, &salt).extract(key);
        let mut naming = expand::<32>(&prk, &[b"secret names"]);
        let derived = Self {
            naming: hmac::Key::new(hmac::HMAC_SHA256, &naming),
            log: ViewKey::derive(&prk, &[b"log"]),
            prk,
        };
        naming.zeroize();
        derived
    }
}

impl ViewKey {
    fn derive(prk: &Prk, purpose: &[&[u8]]) -> Self {
        let named = |what: &'static [u8]| [&[what], purpose].concat();
        Self { id: KeyId(expand(prk, &named(b"key id of "))), key: expand(prk, &named(b"key of ")) }
    }

    /// Name and key, for its wire form alone.
    pub(crate) fn to_parts(&self) -> ([u8; 8], [u8; KEY_BYTES]) {
        (self.id.0, self.key)
    }

    /// From its wire form.
    pub(crate) fn from_parts(id: [u8; 8], key: [u8; KEY_BYTES]) -> Self {
        Self { id: KeyId(id), key }
    }

    /// Its name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The envelope of a value under its name. The same value gives the same bytes.
    pub fn seal(&self, id: &SecretId, value: &Secret) -> Arc<[u8]> {
        let mut nonce = [0; NONCE_LEN];
        for (byte, from) in nonce.iter_mut().zip(id.0) {
            *byte = from;
        }
        let mut text = value.expose().as_bytes().to_vec();
        let tag = self
            .cipher()
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), self.bound(id), &mut text)
            .expect("a text in memory is far below the 64 GiB that the cipher takes");
        let head = [&[ENVELOPE_VERSION], self.id.0.as_slice(), &nonce].concat();
        head.iter().chain(&text).chain(tag.as_ref()).copied().collect()
    }

    /// Opens an envelope that this key sealed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, id: &SecretId, envelope: &[u8]) -> Result<Secret, OpenError> {
        let key_id = key_of(envelope)?;
        if key_id != self.id {
            return Err(OpenError::UnknownKey(key_id));
        }
        let (head, sealed) = envelope.split_first_chunk::<HEAD_BYTES>().ok_or(OpenError::Form)?;
        let nonce = head.last_chunk::<NONCE_LEN>().ok_or(OpenError::Form)?;
        let mut text = sealed.to_vec();
        let opened = self
            .cipher()
            .open_in_place(Nonce::assume_unique_for_key(*nonce), self.bound(id), &mut text)
            .map_err(|_| OpenError::Damaged)?
            .len();
        text.truncate(opened);
        String::from_utf8(text).map(Secret::new).map_err(|error| {
            error.into_bytes().zeroize();
            OpenError::Form
        })
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, &self.key);
        LessSafeKey::new(key.expect("the key has the length that the cipher wants"))
    }

    fn bound(&self, id: &SecretId) -> Aad<Vec<u8>> {
        Aad::from([&[ENVELOPE_VERSION], self.id.0.as_slice(), &id.0].concat())
    }
}

/// The name of the key that an envelope says it is sealed with.
pub(super) fn key_of(envelope: &[u8]) -> Result<KeyId, OpenError> {
    match envelope.split_first() {
        Some((&ENVELOPE_VERSION, rest)) => {
            rest.first_chunk::<8>().map(|id| KeyId(*id)).ok_or(OpenError::Form)
        }
        _ => Err(OpenError::Form),
    }
}

fn expand<const BYTES: usize>(prk: &Prk, purpose: &[&[u8]]) -> [u8; BYTES] {
    let mut block = [0; 32];
    prk.expand(purpose, HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut block))
        .expect("one block of HKDF-SHA-256 is 32 bytes");
    let mut key = [0; BYTES];
    for (byte, from) in key.iter_mut().zip(block) {
        *byte = from;
    }
    block.zeroize();
    key
}

impl Drop for ViewKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Never shows the key.
impl fmt::Debug for ViewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ViewKey({})", self.id)
    }
}

/// Never shows a key.
impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|derived| derived.log.id)).finish()
    }
}
