//! Carries bounded, opaque frames between authenticated peers, on a few named lanes.
//!
//! The crate knows who the peer is (from a certificate that its cluster signed), which lane a frame travels on, and how
//! large a frame may be. It must not know what a frame means: no other Ravelin crate is a dependency of this one. Treat
//! every transport as lossy, reordering and duplicating across reconnects; within one lane of one connection frames are
//! whole and in order.
//!
//! * [`seam`]: the `Transport` and `Connection` traits and the two halves of a lane.
//! * [`peer`], [`lane`]: who speaks, and what each role may open.
//! * [`quic`]: the transport over the network. [`memory`]: the same without one, and the simulator's network.
//! * [`identity`]: certificates, keys and the files they live in. [`members`]: the keys by which control nodes know each other.
//! * [`codec`]: the only encoder and decoder of wire and disk structures.
//! * [`backoff`]: when to dial again.
//! * [`frame`]: length-prefixed frames as a plain incremental decoder.

pub mod backoff;
mod certificate;
pub mod codec;
#[cfg(test)]
mod conformance;
pub mod error;
pub mod frame;
pub mod identity;
pub mod lane;
pub mod members;
pub mod memory;
pub mod peer;
pub mod quic;
mod random;
pub mod seam;

pub use error::{LaneRefusal, Refusal, RefusalKind, Side, TransportError};
pub use lane::{FRAME_BYTES_MAX, Lane};
pub use members::{KeySha256, Members, Roster};
pub use peer::{ClusterId, PeerId, PeerRole};
pub use seam::{BoxFuture, Connection, Expected, LaneReceiver, LaneSender, Target, Transport};
