//! The value that travels through Ravelin: configuration's schema, rule language, check, generation, delta, digest.
//! It must not perform network input or output, and knows nothing of consensus, transport or serving.

pub mod canonical;
pub mod check;
pub mod delta;
pub mod digest;
pub mod document;
pub mod draft;
pub mod duration;
pub mod dynamic;
pub mod expression;
pub mod feed;
pub mod generation;
pub mod key;
pub mod map;
pub mod object;
pub mod options;
pub mod parallel;
pub mod problem;
pub mod rest;
pub mod rule;
pub mod secret;
pub mod spiffe;
pub mod static_config;
pub mod template;
pub mod understands;
pub mod validate;

pub use check::{Checker, RecordChange};
pub use delta::{Delta, DeltaError};
pub use digest::Digest;
pub use draft::{Draft, draft_from_documents, draft_with_files};
pub use duration::GoDuration;
pub use generation::GenerationId;
pub use key::{Key, KeyError};
pub use map::{Change, ConfigMap, SharedRecords};
pub use object::{Kind, Object, Record, RecordError, RecordWire, State, Status};
pub use problem::{Position, Problem, Severity};
pub use secret::{SealingKeys, Secret, SecretId, SecretMap};
pub use understands::{Understands, Versions};
