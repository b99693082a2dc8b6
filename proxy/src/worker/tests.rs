//! Workers, listeners and connections on real sockets, with answers made up here in place of the request path.

mod application;
mod framing;
mod http2;
mod lifecycle;
mod memory;
mod parking;
mod proxy_protocol;
mod rig;
mod time;
mod tls;
mod tunnel;
mod waiting;
