//! The control plane: one synchronous node machine (`node`), what it keeps (`storage`, `store`), what it says (`request`),
//! and the shell that gives it sockets, files, threads and time (`shell`).
//!
//! It must not serve user traffic, and nothing in `node` and the modules it uses may do I/O or read a clock.

mod api;
pub mod feed;
pub mod members;
pub mod node;
pub mod provider;
pub mod reconcile;
pub mod recover;
pub mod request;
mod roles;
pub mod shell;
pub mod sim_entry;
pub mod storage;
pub mod store;
pub mod trace;
