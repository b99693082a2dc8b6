//! Traefik's static configuration: the sections that work, as Rust types, and how they are read from file, flags or
//! environment. Which options exist at all stands in `options`; this module must not judge single values twice.

mod entry_point;
mod internal;
mod load;
mod removed;
mod sections;
mod source;

pub use entry_point::{
    Address, AddressError, EncodedCharacters, EntryPoint, ForwardedHeaders, Http, Http2, HttpTls, LifeCycle,
    Observability, Protocol, ProxyProtocol, Redirection, Redirections, RespondingTimeouts, Transport,
    UnderscoreHeaders,
};
pub use internal::{InternalObjects, internal_objects};
pub use load::{Judged, Loaded, judge_document, load};
pub use sections::{
    AccessLog, AccessLogFields, AccessLogFilters, AccessLogHeaders, Api, Core, DefaultMode, FileProvider,
    Global, Log, Metrics, Ping, Prometheus, Providers, StaticConfig, Workload,
};
pub use source::{Inputs, Source, read_if_there};
