//! Seals chunks in order: AES-256-GCM under a key of the file's own, so that no number is ever used twice with a key.
//! It must not reuse a salt: a file that is begun again gets a new one.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};

use super::format::{Header, LastGoodError, SALT_BYTES};

/// The key of one file and the number of the next chunk.
pub(super) struct Sealer {
    key: LessSafeKey,
    header: Vec<u8>,
    next: u64,
}

/// A fresh salt.
///
/// # Panics
/// If the operating system has no randomness to give; nothing safe can be written then.
pub(super) fn random_salt() -> [u8; SALT_BYTES] {
    let mut salt = [0; SALT_BYTES];
    aws_lc_rs::rand::fill(&mut salt).expect("the operating system gives random bytes");
    salt
}

impl Sealer {
    pub(super) fn new(node_key: &[u8; 32], header: &Header) -> Self {
        let extracted = Salt::new(HKDF_SHA256, &header.salt).extract(node_key);
        let expanded = extracted
            .expand(&[b"ravelin last good generations 1"], &AES_256_GCM)
            .expect("one AES-256 key is far below what HKDF can give");
        let key = LessSafeKey::new(UnboundKey::from(expanded));
        Self { key, header: header.to_bytes(), next: 0 }
    }

    fn step(&mut self) -> (Nonce, Aad<Vec<u8>>) {
        let number = self.next.to_le_bytes();
        self.next += 1;
        let mut nonce = [0; 12];
        if let Some(low) = nonce.first_chunk_mut::<8>() {
            *low = number;
        }
        let mut bound = self.header.clone();
        bound.extend_from_slice(&number);
        (Nonce::assume_unique_for_key(nonce), Aad::from(bound))
    }

    /// The next chunk with its length in front.
    pub(super) fn seal(&mut self, plain: &[u8]) -> Result<Vec<u8>, LastGoodError> {
        let (nonce, bound) = self.step();
        let mut sealed = plain.to_vec();
        self.key.seal_in_place_append_tag(nonce, bound, &mut sealed).map_err(|_| LastGoodError::Seal)?;
        let length = u32::try_from(sealed.len()).map_err(|_| LastGoodError::Seal)?;
        let mut chunk = length.to_le_bytes().to_vec();
        chunk.append(&mut sealed);
        Ok(chunk)
    }

    /// The next chunk, without its length; `None` if it is not what was sealed at this place of this file.
    pub(super) fn open(&mut self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, bound) = self.step();
        let mut plain = sealed.to_vec();
        let length = self.key.open_in_place(nonce, bound, &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}
