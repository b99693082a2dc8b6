//! The memory transport and the simulated network.
