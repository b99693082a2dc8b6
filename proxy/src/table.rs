//! The table: everything that a request of one generation needs, immutable and shared by all workers.
//! It must not read configuration bytes (the compiler does) and holds nothing that changes while it serves.

pub mod index;
mod names;
mod route;
pub mod sections;
pub mod tls_hosts;

pub use index::{Rank, Ranked, RouteIndex};
pub use route::{EntryPointTable, Outcome, Route, Table};
