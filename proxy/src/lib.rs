//! The data plane: takes generations, compiles them into a table, and carries requests by it. It never links the
//! control plane or consensus, and holds no provider credential.

pub mod connection;
pub mod guard;
pub mod last_good;
pub mod live;
pub mod table;
pub mod worker;
