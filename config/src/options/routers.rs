//! Options of HTTP routers.

use super::{Field, Support, choice, flag, groups, integer, switch, text, texts};

const NO_RESOLVER: &str = "taken without effect: there are no certificate resolvers yet, so the router is served with \
                           the certificates at hand";

/// Words of `traceVerbosity`.
pub(super) const VERBOSITY: &[(&str, Support)] = &[("minimal", Support::Same), ("detailed", Support::Same)];

/// Names of a certificate to obtain.
pub(super) const DOMAIN: &[Field] = &[text("main"), texts("sans")];

/// `tls` of a router or entry point.
pub(super) const TLS: &[Field] = &[
    text("options").or("default"),
    text("certResolver").differs(NO_RESOLVER),
    groups("domains", DOMAIN).differs(NO_RESOLVER),
];

pub(super) const ROUTER: &[Field] = &[
    texts("entryPoints").or("the default entry points"),
    text("rule"),
    text("service"),
    texts("middlewares"),
    integer("priority").or("length of the rule"),
    choice("ruleSyntax", &[("v3", Support::Same), ("default", Support::Same), ("v2", Support::Same)])
        .or("v3"),
    texts("parentRefs"),
    switch("tls", TLS),
    switch(
        "observability",
        &[
            flag("accessLogs").or("as the entry point says"),
            flag("metrics").or("as the entry point says"),
            flag("tracing")
                .or("as the entry point says")
                .differs("taken without effect: there is no tracing yet"),
            choice("traceVerbosity", VERBOSITY)
                .or("minimal")
                .differs("taken without effect: there is no tracing yet"),
        ],
    ),
];
