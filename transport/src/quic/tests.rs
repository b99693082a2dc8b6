//! QUIC from end to end.
