//! One configuration object and the record in which it travels: as wanted, its status, its last good value.
//! It must not read the object's bytes: they are opaque to log, store and feed.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::secret::{SecretId, SecretPlace};

/// What an object is. The order is that of [`Kind::ALL`]; codes are stable on the wire and on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An HTTP router.
    HttpRouter,
    /// An HTTP service.
    HttpService,
    /// An HTTP middleware.
    HttpMiddleware,
    /// A transport to HTTP servers.
    HttpServersTransport,
    /// A TCP router.
    TcpRouter,
    /// A TCP service.
    TcpService,
    /// A TCP middleware.
    TcpMiddleware,
    /// A UDP router.
    UdpRouter,
    /// A UDP service.
    UdpService,
    /// A certificate with its key, named by the digest of its certificate.
    TlsCertificate,
    /// A certificate store.
    TlsStore,
    /// TLS options.
    TlsOptions,
    /// An entry point of the static configuration.
    EntryPoint,
    /// Any other section of the static configuration.
    StaticSection,
}

impl Kind {
    /// Every kind; a more specific key prefix comes before a more general one.
    pub const ALL: [Self; 14] = [
        Self::HttpRouter,
        Self::HttpService,
        Self::HttpMiddleware,
        Self::HttpServersTransport,
        Self::TcpRouter,
        Self::TcpService,
        Self::TcpMiddleware,
        Self::UdpRouter,
        Self::UdpService,
        Self::TlsCertificate,
        Self::TlsStore,
        Self::TlsOptions,
        Self::EntryPoint,
        Self::StaticSection,
    ];

    /// The prefix of this kind's keys, with its trailing slash.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::HttpRouter => "http/routers/",
            Self::HttpService => "http/services/",
            Self::HttpMiddleware => "http/middlewares/",
            Self::HttpServersTransport => "http/serversTransports/",
            Self::TcpRouter => "tcp/routers/",
            Self::TcpService => "tcp/services/",
            Self::TcpMiddleware => "tcp/middlewares/",
            Self::UdpRouter => "udp/routers/",
            Self::UdpService => "udp/services/",
            Self::TlsCertificate => "tls/certificates/",
            Self::TlsStore => "tls/stores/",
            Self::TlsOptions => "tls/options/",
            Self::EntryPoint => "static/entryPoints/",
            Self::StaticSection => "static/",
        }
    }

    /// The code that names the kind on wire and disk, for good. One with [`MUST_BE_KNOWN`](crate::understands::MUST_BE_KNOWN)
    /// is for kinds that nobody may leave out.
    pub fn code(self) -> u16 {
        match self {
            Self::HttpRouter => 1,
            Self::HttpService => 2,
            Self::HttpMiddleware => 3,
            Self::HttpServersTransport => 4,
            Self::TcpRouter => 5,
            Self::TcpService => 6,
            Self::TcpMiddleware => 7,
            Self::UdpRouter => 9,
            Self::UdpService => 10,
            Self::TlsCertificate => 20,
            Self::TlsStore => 21,
            Self::TlsOptions => 22,
            Self::EntryPoint => 40,
            Self::StaticSection => 41,
        }
    }

    fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// One object: its kind, the version of its schema, and its canonical JSON. Before it goes into the log its secrets are
/// replaced by references (`secret`); `Debug` never shows its content.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Object {
    /// What the object is.
    pub kind: Kind,
    /// The version of the schema that its bytes follow.
    pub schema: u16,
    /// Canonical JSON: keys sorted, no blanks, absent is not null.
    pub bytes: Arc<[u8]>,
    /// Where `{"secret":"<id>"}` stands for a secret, in order; empty where nothing was replaced.
    pub secrets: Arc<[SecretPlace]>,
}

/// How an object stands after the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// In use, nothing to say.
    Enabled,
    /// In use, with something to say.
    Warning,
    /// Not in use as wanted.
    Disabled,
}

impl State {
    /// The word that the API prints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Warning => "warning",
            Self::Disabled => "disabled",
        }
    }
}

/// The verdict on an object, with the texts a person sees.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Status {
    /// The verdict.
    pub state: State,
    /// What is wrong, one text each; empty when enabled.
    pub errors: Vec<String>,
}

impl Status {
    /// In use, nothing to say.
    pub fn enabled() -> Self {
        Self { state: State::Enabled, errors: Vec::new() }
    }

    /// Not in use as wanted, for this reason.
    pub fn disabled(error: impl Into<String>) -> Self {
        Self { state: State::Disabled, errors: vec![error.into()] }
    }
}

/// What a generation holds for one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// The object as its author wants it.
    pub object: Object,
    /// The verdict of the check.
    pub status: Status,
    /// The last value that was good; only where the wanted one is in error.
    pub last_good: Option<Object>,
}

impl Record {
    /// The value in force: the wanted one unless it is disabled, else the last good one, else none.
    pub fn effective(&self) -> Option<&Object> {
        match self.status.state {
            State::Enabled | State::Warning => Some(&self.object),
            State::Disabled => self.last_good.as_ref(),
        }
    }

    /// The secrets that it refers to, in the order of their names, each once.
    pub fn secrets(&self) -> impl Iterator<Item = SecretId> {
        let objects = std::iter::once(&self.object).chain(&self.last_good);
        let ids: BTreeSet<SecretId> =
            objects.flat_map(|object| object.secrets.iter()).map(|place| place.id).collect();
        ids.into_iter()
    }

    /// The form that goes to wire and disk.
    pub fn to_wire(&self) -> RecordWire {
        RecordWire::V1(RecordV1 {
            object: ObjectV1::from(&self.object),
            state: match self.status.state {
                State::Enabled => 0,
                State::Warning => 1,
                State::Disabled => 2,
            },
            errors: self.status.errors.clone(),
            last_good: self.last_good.as_ref().map(ObjectV1::from),
        })
    }

    /// Reads the form of wire and disk.
    ///
    /// # Errors
    /// [`RecordError`] if it names a kind or state that this build does not know.
    pub fn from_wire(wire: RecordWire) -> Result<Self, RecordError> {
        let RecordWire::V1(record) = wire;
        let state = match record.state {
            0 => State::Enabled,
            1 => State::Warning,
            2 => State::Disabled,
            code => return Err(RecordError::UnknownState { code }),
        };
        Ok(Self {
            object: record.object.try_into()?,
            status: Status { state, errors: record.errors },
            last_good: record.last_good.map(Object::try_from).transpose()?,
        })
    }
}

/// Why a record from wire or disk cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A kind that this build does not know: written by a newer one.
    #[error("the record names object kind {code}, which this build does not know")]
    UnknownKind {
        /// The code found.
        code: u16,
    },
    /// A state that this build does not know.
    #[error("the record names state {code}, which this build does not know")]
    UnknownState {
        /// The code found.
        code: u8,
    },
}

/// The version byte to encode a [`RecordWire`] under.
pub const RECORD_VERSION: u8 = 1;

/// A record as it stands on wire and disk; one variant per version, never changed once released.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum RecordWire {
    /// The first form.
    V1(RecordV1),
}

/// The first wire form of [`Record`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RecordV1 {
    /// The wanted object.
    pub object: ObjectV1,
    /// 0 enabled, 1 warning, 2 disabled.
    pub state: u8,
    /// The texts of the verdict.
    pub errors: Vec<String>,
    /// The last good object.
    pub last_good: Option<ObjectV1>,
}

/// The first wire form of [`Object`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ObjectV1 {
    /// The kind's stable code.
    pub kind: u16,
    /// The version of the object's schema.
    pub schema: u16,
    /// Canonical JSON, with references in place of secrets.
    pub bytes: Arc<[u8]>,
    /// Where the references stand.
    pub secrets: Arc<[SecretPlace]>,
}

impl From<&Object> for ObjectV1 {
    fn from(object: &Object) -> Self {
        Self {
            kind: object.kind.code(),
            schema: object.schema,
            bytes: Arc::clone(&object.bytes),
            secrets: Arc::clone(&object.secrets),
        }
    }
}

impl TryFrom<ObjectV1> for Object {
    type Error = RecordError;

    fn try_from(wire: ObjectV1) -> Result<Self, RecordError> {
        let kind = Kind::from_code(wire.kind).ok_or(RecordError::UnknownKind { code: wire.kind })?;
        Ok(Self { kind, schema: wire.schema, bytes: wire.bytes, secrets: wire.secrets })
    }
}

impl Object {
    /// An object without references to secrets.
    pub fn new(kind: Kind, schema: u16, bytes: Arc<[u8]>) -> Self {
        Self { kind, schema, bytes, secrets: Arc::default() }
    }
}

/// Never shows the content: secrets may stand in it.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("kind", &self.kind)
            .field("schema", &self.schema)
            .field("bytes", &self.bytes.len())
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        Object::new(Kind::HttpRouter, 1, Arc::from(text.as_bytes()))
    }

    #[test]
    fn the_value_in_force_is_the_wanted_one_unless_disabled() {
        let mut record =
            Record { object: object("{}"), status: Status::enabled(), last_good: Some(object("{\"a\":1}")) };
        assert_eq!(record.effective(), Some(&object("{}")));
        record.status = Status::disabled("bad rule");
        assert_eq!(record.effective(), Some(&object("{\"a\":1}")));
        record.last_good = None;
        assert_eq!(record.effective(), None);
    }

    #[test]
    fn the_wire_form_brings_back_the_same_record() {
        let record = Record {
            object: object("{\"rule\":\"x\"}"),
            status: Status { state: State::Warning, errors: vec!["w".to_owned()] },
            last_good: Some(object("{}")),
        };
        assert_eq!(Record::from_wire(record.to_wire()), Ok(record));
    }

    #[test]
    fn unknown_codes_are_errors() {
        let RecordWire::V1(mut wire) =
            Record { object: object("{}"), status: Status::enabled(), last_good: None }.to_wire();
        wire.object.kind = 999;
        let error = Record::from_wire(RecordWire::V1(wire.clone()));
        assert_eq!(error, Err(RecordError::UnknownKind { code: 999 }));
        wire.state = 9;
        assert_eq!(Record::from_wire(RecordWire::V1(wire)), Err(RecordError::UnknownState { code: 9 }));
    }

    #[test]
    fn kind_codes_and_prefixes_are_distinct() {
        for (position, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(Kind::from_code(kind.code()), Some(kind));
            // A general prefix never hides a more specific one that comes after it.
            for later in Kind::ALL.into_iter().skip(position + 1) {
                assert!(!later.prefix().starts_with(kind.prefix()), "{kind:?} hides {later:?}");
            }
        }
    }
}
