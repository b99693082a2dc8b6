//! Options of HTTP services and of transports to servers.

use super::{
    Field, Support, any_case, choice, content, contents, duration, flag, free, group, groups, integer,
    switch, text, text_map, texts,
};

const COOKIE: &[Field] = &[
    text("name").or("six characters made from the service's name"),
    flag("secure"),
    flag("httpOnly"),
    any_case("sameSite", &[("none", Support::Same), ("lax", Support::Same), ("strict", Support::Same)]),
    integer("maxAge").or("0"),
    text("path").or("/"),
    text("domain"),
];

const STICKY: &[Field] = &[switch("cookie", COOKIE)];

const HEALTH_CHECK: &[Field] = &[
    text("scheme"),
    choice("mode", &[("http", Support::Same), ("grpc", Support::Same)]).or("http"),
    text("path"),
    text("method").or("GET"),
    integer("status").or("200 to 399"),
    integer("port").or("the server's"),
    duration("interval").or("30s"),
    duration("unhealthyInterval").or("as `interval`"),
    duration("timeout").or("5s"),
    text("hostname"),
    flag("followRedirects").or("true"),
    text_map("headers"),
];

const HASH: &str = "a client's member is chosen by another hash than Traefik's";

const LOAD_BALANCER: &[Field] = &[
    groups("servers", &[text("url"), integer("weight").or("1"), flag("preservePath")]),
    choice(
        "strategy",
        &[
            ("wrr", Support::Same),
            ("p2c", Support::Same),
            ("hrw", Support::Different(HASH)),
            ("leasttime", Support::Same),
        ],
    )
    .or("wrr"),
    switch("sticky", STICKY),
    group("healthCheck", HEALTH_CHECK),
    group("passiveHealthCheck", &[duration("failureWindow").or("10s"), integer("maxFailedAttempts").or("1")]),
    flag("passHostHeader").or("true"),
    group(
        "responseForwarding",
        &[duration("flushInterval")
            .or("100ms")
            .differs("without effect: what a server sends goes out at once")],
    ),
    text("serversTransport").or("default@internal"),
];

const WEIGHTED_SERVICE: &[Field] = &[text("name"), integer("weight").or("1")];

const COMPOSITE_HEALTH: Field = switch("healthCheck", &[]);

pub(super) const SERVICE: &[Field] = &[
    group("loadBalancer", LOAD_BALANCER),
    group("weighted", &[groups("services", WEIGHTED_SERVICE), switch("sticky", STICKY), COMPOSITE_HEALTH]),
    group("highestRandomWeight", &[groups("services", WEIGHTED_SERVICE), COMPOSITE_HEALTH]).differs(HASH),
    group(
        "mirroring",
        &[
            text("service"),
            flag("mirrorBody").or("true"),
            integer("maxBodySize").or("-1"),
            groups("mirrors", &[text("name"), integer("percent").or("0")]),
            COMPOSITE_HEALTH,
        ],
    ),
    group(
        "failover",
        &[
            text("service"),
            text("fallback"),
            COMPOSITE_HEALTH,
            group("errors", &[texts("status"), integer("maxRequestBodyBytes").or("-1")]),
        ],
    ),
    texts("middlewares"),
];

/// Go's names of TLS versions.
pub(super) const TLS_VERSIONS: &[(&str, Support)] = &[
    ("VersionTLS10", Support::Different("TLS 1.0 is not spoken: 1.2 is the oldest")),
    ("VersionTLS11", Support::Different("TLS 1.1 is not spoken: 1.2 is the oldest")),
    ("VersionTLS12", Support::Same),
    ("VersionTLS13", Support::Same),
];

/// SPIFFE towards servers.
pub(super) const SPIFFE: &[Field] = &[texts("ids"), text("trustDomain")];

pub(super) const SERVERS_TRANSPORT: &[Field] = &[
    text("serverName"),
    flag("insecureSkipVerify"),
    contents("rootCAs").or("the system's"),
    groups("certificates", &[content("certFile"), content("keyFile")]),
    texts("cipherSuites")
        .differs("suites that the TLS library does not have (CBC, RSA key exchange) are an error"),
    choice("minVersion", TLS_VERSIONS).or("VersionTLS12"),
    choice("maxVersion", TLS_VERSIONS).or("VersionTLS13"),
    integer("maxIdleConnsPerHost").or("200"),
    group(
        "forwardingTimeouts",
        &[
            duration("dialTimeout").or("30s"),
            duration("responseHeaderTimeout").or("0s"),
            duration("idleConnTimeout").or("90s"),
            duration("readIdleTimeout").or("0s"),
            duration("pingTimeout").or("15s"),
        ],
    ),
    flag("disableHTTP2"),
    text("peerCertURI"),
    switch("spiffe", SPIFFE),
];

/// The static section of the same name: the transport `default@internal`.
pub(super) const DEFAULT_TRANSPORT: &[Field] = &[
    flag("insecureSkipVerify"),
    contents("rootCAs").or("the system's"),
    integer("maxIdleConnsPerHost").or("200"),
    group(
        "forwardingTimeouts",
        &[
            duration("dialTimeout").or("30s"),
            duration("responseHeaderTimeout").or("0s"),
            duration("idleConnTimeout").or("90s"),
        ],
    ),
    switch("spiffe", SPIFFE),
];

/// TLS towards a server that is no HTTP server of a service (provider, collector, authentication).
pub(super) const CLIENT_TLS: &[Field] = &[
    content("ca"),
    content("cert"),
    content("key"),
    flag("insecureSkipVerify"),
    free("caOptional").differs("deprecated in Traefik and without effect"),
];
