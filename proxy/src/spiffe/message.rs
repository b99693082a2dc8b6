//! The one message of the Workload API that is read, in protobuf: which bytes are what. It trusts nothing that comes, copies
//! nothing, and knows nothing of certificates.

/// Most identities in one message.
const SVIDS_MAX: usize = 64;
/// Most authorities of other trust domains in one message.
const FEDERATED_MAX: usize = 1024;

/// An answer to `FetchX509SVID`, as far as it is used.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Response<'a> {
    pub(super) svids: Vec<Svid<'a>>,
    /// Trust domains with their authorities, certificates in DER one behind the other.
    pub(super) federated: Vec<(&'a str, &'a [u8])>,
}

/// One identity.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Svid<'a> {
    pub(super) id: &'a str,
    /// Certificates in DER, one behind the other, our own first.
    pub(super) chain: &'a [u8],
    /// PKCS#8 in DER.
    pub(super) key: &'a [u8],
    /// The authorities of its trust domain, as the chain.
    pub(super) bundle: &'a [u8],
}

impl std::fmt::Debug for Svid<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Svid").field(&self.id).finish_non_exhaustive()
    }
}

/// Bytes that are no such message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    /// A number or a length that leads past the end.
    #[error("it breaks off")]
    Short,
    /// A number of more than 64 bits, or a kind of value that nobody sends.
    #[error("it is no protobuf")]
    Form,
    /// A field of another type than it should have.
    #[error("its field {0} is of another type")]
    Type(u64),
    /// A name that is no text.
    #[error("a name in it is no UTF-8")]
    Text,
    /// More than there may be.
    #[error("it holds more than {SVIDS_MAX} identities, or more than {FEDERATED_MAX} other trust domains")]
    Many,
}

/// Takes a message apart. Fields that are not known are passed over, as protobuf wants it.
pub(super) fn read(bytes: &[u8]) -> Result<Response<'_>, MessageError> {
    let mut response = Response::default();
    for field in Fields(bytes) {
        match field? {
            (1, value) => response.svids.push(svid(bytes_of(1, value)?)?),
            (3, value) => response.federated.push(entry(bytes_of(3, value)?)?),
            _ => {}
        }
        if response.svids.len() > SVIDS_MAX || response.federated.len() > FEDERATED_MAX {
            return Err(MessageError::Many);
        }
    }
    Ok(response)
}

fn svid(bytes: &[u8]) -> Result<Svid<'_>, MessageError> {
    let mut svid = Svid::default();
    for field in Fields(bytes) {
        match field? {
            (1, value) => svid.id = text(bytes_of(1, value)?)?,
            (2, value) => svid.chain = bytes_of(2, value)?,
            (3, value) => svid.key = bytes_of(3, value)?,
            (4, value) => svid.bundle = bytes_of(4, value)?,
            _ => {}
        }
    }
    Ok(svid)
}

/// One entry of a map.
fn entry(bytes: &[u8]) -> Result<(&str, &[u8]), MessageError> {
    let (mut name, mut content): (&str, &[u8]) = ("", &[]);
    for field in Fields(bytes) {
        match field? {
            (1, value) => name = text(bytes_of(1, value)?)?,
            (2, value) => content = bytes_of(2, value)?,
            _ => {}
        }
    }
    Ok((name, content))
}

fn text(bytes: &[u8]) -> Result<&str, MessageError> {
    std::str::from_utf8(bytes).map_err(|_| MessageError::Text)
}

fn bytes_of(number: u64, value: Option<&[u8]>) -> Result<&[u8], MessageError> {
    value.ok_or(MessageError::Type(number))
}

/// The fields of a message: each its number, and its bytes if it is of a type that has some.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Option<&'a [u8]>), MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u64, Option<&'a [u8]>), MessageError> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => {
                self.number()?;
                None
            }
            1 => {
                self.take(8)?;
                None
            }
            2 => {
                let length = self.number()?;
                Some(self.take(usize::try_from(length).map_err(|_| MessageError::Short)?)?)
            }
            5 => {
                self.take(4)?;
                None
            }
            _ => return Err(MessageError::Form),
        };
        Ok((tag >> 3, value))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], MessageError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(MessageError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Seven bits a byte, the least first.
    fn number(&mut self) -> Result<u64, MessageError> {
        let mut number = 0_u64;
        for place in 0..10_u32 {
            let (&byte, rest) = self.0.split_first().ok_or(MessageError::Short)?;
            self.0 = rest;
            if place == 9 && byte > 1 {
                return Err(MessageError::Form);
            }
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(MessageError::Form)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_read_as_protobuf_writes_it_and_what_is_new_is_passed_over() {
        let mut bytes = vec![0x0a, 25];
        bytes.extend(b"\x0a\x04s://\x12\x02ch\x1a\x01k\x22\x03bun\x2a\x02hi\x38\x96\x01");
        bytes.extend(
            b"\x12\x03crl\x1a\x07\x0a\x01d\x12\x02fe\x4d\x01\x02\x03\x04\x51\x01\x02\x03\x04\x05\x06\x07\x08",
        );
        let svid = Svid { id: "s://", chain: b"ch", key: b"k", bundle: b"bun" };
        assert_eq!(read(&bytes), Ok(Response { svids: vec![svid], federated: vec![("d", b"fe")] }));
        for (bytes, error) in [
            (&b"\x0a"[..], MessageError::Short),
            (b"\x0a\x05abc", MessageError::Short),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", MessageError::Short),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", MessageError::Form),
            (b"\x0b\x0c", MessageError::Form),
            (b"\x08\x01", MessageError::Type(1)),
            (b"\x0a\x02\x18\x01", MessageError::Type(3)),
            (b"\x0a\x03\x0a\x01\xff", MessageError::Text),
            (&b"\x0a\x00".repeat(SVIDS_MAX + 1), MessageError::Many),
        ] {
            assert_eq!(read(bytes), Err(error), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(response) = read(&bytes) {
                let told = response.svids.iter().map(|svid| svid.chain.len() + svid.key.len()).sum::<usize>();
                prop_assert!(told <= bytes.len());
            }
        }
    }
}
