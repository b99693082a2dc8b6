//! The HTTP/1 guard: stands between a connection's bytes and hyper, so that hyper reads only messages whose framing was
//! accepted here. It edits no byte, knows no route, and answers what it refuses by itself.

pub(crate) mod bytes;
pub(crate) mod chunk;
pub mod clock;
pub mod exchanges;
mod head;
mod host;
pub mod oracle;
pub mod refusal;
pub mod scanner;
pub mod stream;

pub use clock::{Expiry, Timeouts};
pub use exchanges::{Exchanges, Ripe};
pub use head::{After, Framing, Head};
pub use refusal::Refusal;
pub use scanner::{Event, Limits, Scanner, Step};
pub use stream::Guarded;
