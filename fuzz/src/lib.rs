//! One plain function per fuzz target: any bytes in, a panic if a promise is broken.
//!
//! The functions need no fuzzer: `fuzz_targets/` hands them to libFuzzer where that is built, and an ordinary test replays every committed
//! corpus through them. They must be deterministic and must not touch files, sockets or clocks.

pub mod cluster;
pub mod codec;
pub mod document;
pub mod frame;
pub mod guard;
pub mod middleware;
pub mod oracle;
pub mod proxy_protocol;
pub mod request;
pub mod rule;
pub mod store;
pub mod template;
pub mod trace;
pub mod wal;

/// A target as corpus, fuzzer and replay know it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of `fuzz_targets/<name>.rs` and of `corpus/<name>/`.
    pub name: &'static str,
    /// What is run on every input.
    pub run: fn(&[u8]),
}

/// Every target. A test compares the list with the folders.
pub const TARGETS: &[Target] = &[
    Target { name: "cluster", run: cluster::run },
    Target { name: "codec", run: codec::run },
    Target { name: "document", run: document::run },
    Target { name: "frame", run: frame::run },
    Target { name: "guard", run: guard::run },
    Target { name: "middleware", run: middleware::run },
    Target { name: "oracle", run: oracle::run },
    Target { name: "proxy_protocol", run: proxy_protocol::run },
    Target { name: "request", run: request::run },
    Target { name: "rule", run: rule::run },
    Target { name: "store", run: store::run },
    Target { name: "template", run: template::run },
    Target { name: "trace", run: trace::run },
    Target { name: "wal", run: wal::run },
];
