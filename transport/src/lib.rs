//! Carries bounded, opaque frames between authenticated peers, on a few named lanes.
//!
//! The crate knows who the peer is (from a certificate that its cluster signed), which lane a frame travels on, and how
//! large a frame may be. It must not know what a frame means: no other Ravelin crate is a dependency of this one. Treat
//! every transport as lossy, reordering and duplicating across reconnects; within one lane of one connection frames are
//! whole and in order.
//!
//! * [`seam`]: the `Transport` and `Connection` traits and the two halves of a lane.
//! * [`peer`], [`lane`]: who speaks, and what each role may open.
//! * [`identity`]: certificates, keys and the files they live in.
//! * [`codec`]: the only encoder and decoder of wire and disk structures.
//! * [`frame`]: length-prefixed frames as a plain incremental decoder.

mod certificate;
pub mod codec;
pub mod error;
pub mod frame;
pub mod identity;
pub mod lane;
pub mod peer;
pub mod seam;

pub use error::{LaneRefusal, Refusal, RefusalKind, Side, TransportError};
pub use lane::{FRAME_BYTES_MAX, Lane};
pub use peer::{ClusterId, PeerId, PeerRole};
pub use seam::{BoxFuture, Connection, Expected, LaneReceiver, LaneSender, Target, Transport};
