//! The data plane: takes generations, compiles them into a table, and carries requests by it. It never links the
//! control plane or consensus, and holds no provider credential.

pub mod access_log;
pub mod api;
pub mod body;
pub mod capacity;
pub mod compile;
pub mod connection;
pub mod drain;
pub mod error;
pub mod exchange;
pub mod explain;
pub mod failure;
pub mod feed_client;
pub mod forward;
pub mod forwarded;
pub mod guard;
pub mod host;
pub mod last_good;
pub mod limits;
pub mod listener;
pub mod live;
pub mod metrics;
pub mod middleware;
pub mod path;
pub mod preface;
pub mod proxy;
pub mod proxy_protocol;
pub mod request;
pub mod rest;
pub mod service;
pub mod spiffe;
mod spool;
pub mod table;
pub mod tls;
pub mod upstream;
pub mod worker;
