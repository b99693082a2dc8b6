//! One client connection from its first byte to its last: which protocol it speaks, its deadlines, its drain.
//! It never looks at routes: a request is handed whole to `request::handle`.

pub mod facts;

pub use facts::{ConnectionFacts, Protocol, RawTarget, TlsFacts};
