//! The only encoder and decoder of structures that leave the process, on the wire or to disk.
//!
//! Layout: one version byte, then bincode with little-endian integers of fixed size. The caller's type is the versioned wire type, never an
//! in-memory one. Rules for such types, since the format does not enforce them: no recursion (depth is not bounded), no elements
//! of zero size (they cost nothing against the limit), no hash containers (their order differs).
//!
//! An encoder's output is canonical; a decoder's input need not be (entries of a map may come in any order). So hash or compare what was
//! encoded here, never what a peer sent.
//!
//! bincode's limit counts the memory that a value asks for, not the bytes it came in. So a value could be encoded that can never be read
//! back; [`encode`] therefore decodes what it made, and refuses what would not be accepted.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use bytes::Bytes;

/// The largest encoding, in bytes with the version byte. Larger things travel and lie in parts.
pub const ENCODED_BYTES_MAX: usize = 8 << 20;

/// Memory that one decoded value may ask for, in bytes, whatever the length of its encoding.
pub const DECODED_BYTES_MAX: usize = 64 << 20;

/// Encodings up to this length are held to [`SMALL_DECODED_BYTES_MAX`], so that a few bytes cannot ask for the whole limit.
pub const SMALL_ENCODED_BYTES_MAX: usize = 16 << 10;

/// Memory that one value decoded from a small encoding may ask for, in bytes.
pub const SMALL_DECODED_BYTES_MAX: usize = 1 << 20;

type Limited<const MEMORY: usize> = Configuration<LittleEndian, Fixint, Limit<MEMORY>>;

const fn limited<const MEMORY: usize>() -> Limited<MEMORY> {
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<MEMORY>()
}

/// Why a value was not encoded or bytes were not decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// No byte at all, so not even a version.
    #[error("empty: the version byte is missing")]
    Empty,
    /// Another version than the one asked for.
    #[error("version {found}, where version {expected} was expected")]
    Version {
        /// What the reader understands.
        expected: u8,
        /// What the bytes say.
        found: u8,
    },
    /// Longer than [`ENCODED_BYTES_MAX`].
    #[error("{bytes} bytes are more than the {ENCODED_BYTES_MAX} allowed")]
    TooLarge {
        /// The length.
        bytes: usize,
    },
    /// Bytes were left over after the value.
    #[error("{bytes} bytes too many after the value")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// Not an encoding of the type, or one that asks for more memory than allowed.
    #[error("malformed")]
    Malformed(#[source] DecodeError),
    /// The type itself cannot be encoded.
    #[error("cannot be encoded")]
    Encode(#[source] EncodeError),
    /// It was decoded, and means nothing.
    #[error("it was decoded and makes no sense")]
    Meaning(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The value was encoded, but no reader would accept it back; it was not handed out.
    #[error("would not be accepted back")]
    Unreadable(#[source] Box<CodecError>),
}

/// Encodes a value under a version, and makes sure that [`decode`] accepts the result.
///
/// # Errors
/// [`CodecError::TooLarge`], [`CodecError::Encode`], or [`CodecError::Unreadable`] for a value beyond the decoder's limits.
pub fn encode<T: Encode + Decode<()>>(version: u8, value: &T) -> Result<Bytes, CodecError> {
    encode_as::<T, T>(version, value)
}

/// As [`encode`], for a type that borrows: `Owned` is what readers decode, and must have the same encoding.
///
/// # Errors
/// As [`encode`]; also [`CodecError::Unreadable`] where the two types do not agree.
pub fn encode_as<Owned: Decode<()>, T: Encode + ?Sized>(version: u8, value: &T) -> Result<Bytes, CodecError> {
    let mut bytes = Vec::with_capacity(128);
    bytes.push(version);
    bincode::encode_into_std_write(value, &mut bytes, limited::<DECODED_BYTES_MAX>())
        .map_err(CodecError::Encode)?;
    decode::<Owned>(version, &bytes).map_err(|error| match error {
        CodecError::TooLarge { bytes } => CodecError::TooLarge { bytes },
        error => CodecError::Unreadable(Box::new(error)),
    })?;
    Ok(bytes.into())
}

/// Decodes a value of exactly this version from exactly these bytes. Takes any bytes: never panics, and asks for no more memory than
/// [`DECODED_BYTES_MAX`] ([`SMALL_DECODED_BYTES_MAX`] for small input); bound how many run at once.
///
/// # Errors
/// Every way in which the bytes are not an encoding that [`encode`] would have made.
pub fn decode<T: Decode<()>>(expected_version: u8, bytes: &[u8]) -> Result<T, CodecError> {
    let Some((&found, body)) = bytes.split_first() else { return Err(CodecError::Empty) };
    if found != expected_version {
        return Err(CodecError::Version { expected: expected_version, found });
    }
    if bytes.len() > ENCODED_BYTES_MAX {
        return Err(CodecError::TooLarge { bytes: bytes.len() });
    }
    let decoded = if bytes.len() <= SMALL_ENCODED_BYTES_MAX {
        bincode::decode_from_slice(body, limited::<SMALL_DECODED_BYTES_MAX>())
    } else {
        bincode::decode_from_slice(body, limited::<DECODED_BYTES_MAX>())
    };
    let (value, used) = decoded.map_err(CodecError::Malformed)?;
    match body.len() - used {
        0 => Ok(value),
        bytes => Err(CodecError::Trailing { bytes }),
    }
}

/// As [`decode`], and turns the wire form into what it means.
///
/// # Errors
/// As [`decode`]; also [`CodecError::Meaning`].
pub fn decode_into<Wire, T>(version: u8, bytes: &[u8]) -> Result<T, CodecError>
where
    Wire: Decode<()> + TryInto<T, Error: std::error::Error + Send + Sync + 'static>,
{
    decode::<Wire>(version, bytes)?.try_into().map_err(|error| CodecError::Meaning(Box::new(error)))
}

/// The version byte, if it is one of those from `oldest` to `newest`: for readers that understand several.
///
/// # Errors
/// [`CodecError::Empty`]; [`CodecError::Version`], which names the version that comes nearest.
pub fn version_within(oldest: u8, newest: u8, bytes: &[u8]) -> Result<u8, CodecError> {
    match version(bytes).ok_or(CodecError::Empty)? {
        found if found > newest => Err(CodecError::Version { expected: newest, found }),
        found if found < oldest => Err(CodecError::Version { expected: oldest, found }),
        found => Ok(found),
    }
}

/// The version byte, for readers that understand several; `None` if there are no bytes.
#[must_use]
pub fn version(bytes: &[u8]) -> Option<u8> {
    bytes.first().copied()
}

#[cfg(test)]
mod tests;
