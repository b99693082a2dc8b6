//! Lanes without a network: within one process for standalone, and in virtual time with seeded faults for the simulator.
//!
//! * [`MemoryTransport`]: the same seam as every other transport, over bounded queues.
//! * [`Network`]: no async, no clock, no threads; given the same seed and the same calls it gives the same deliveries.

mod lane;
mod network;
mod transport;

pub use network::{Counters, Delivery, Faults, Network};
pub use transport::{MemoryHub, MemoryTransport};

#[cfg(test)]
mod tests;
