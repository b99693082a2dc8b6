//! Options of the static configuration.

use super::middlewares::ENCODED_CHARACTERS;
use super::providers::PROVIDERS;
use super::routers::{TLS, VERBOSITY};
use super::services::{CLIENT_TLS, DEFAULT_TRANSPORT, SPIFFE};
use super::{
    Field, Support, any_case, choice, contents, duration, flag, free, group, integer, named, number, switch,
    text, text_map, texts,
};

const NO_CALLS: &str = "taken without effect: Ravelin calls nobody";
const NO_PUSH: &str = "only Prometheus metrics work yet";
const NO_TRACING: &str = "tracing does not work yet";
const NO_OTLP: &str = "OpenTelemetry does not work yet";

const FORWARDED_HEADERS: &[Field] =
    &[flag("insecure"), texts("trustedIPs"), texts("connection"), flag("notAppendXForwardedFor")];

const REDIRECTION: &[Field] = &[
    text("to"),
    text("scheme").or("https"),
    flag("permanent").or("true"),
    integer("priority").or("9223372036854775806"),
];

const HTTP: &[Field] = &[
    switch("redirections", &[group("entryPoint", REDIRECTION)]),
    texts("middlewares"),
    switch("tls", TLS),
    flag("encodeQuerySemicolons"),
    flag("sanitizePath")
        .or("true")
        .differs("off, doubled slashes stay, but a path with dot segments is refused"),
    integer("maxHeaderBytes").or("1048576").differs(
        "unset, the header list of an HTTP/2 request may have 65,536 bytes; a value set holds for both",
    ),
    switch("encodedCharacters", ENCODED_CHARACTERS),
    choice(
        "underscoreHeadersStrategy",
        &[("keep", Support::Same), ("delete", Support::Same), ("reject", Support::Same)],
    )
    .or("delete (Traefik: keep)")
    .differs("unset, header names with an underscore are dropped; `keep` restores Traefik's way"),
];

/// One entry point.
pub(super) const ENTRY_POINT: &[Field] = &[
    text("address"),
    flag("allowACMEByPass").differs("taken without effect: there is no ACME challenge to bypass yet"),
    flag("reusePort"),
    flag("asDefault"),
    group(
        "transport",
        &[
            group(
                "lifeCycle",
                &[duration("requestAcceptGraceTimeout").or("0s"), duration("graceTimeOut").or("10s")],
            ),
            group(
                "respondingTimeouts",
                &[
                    duration("readTimeout").or("60s"),
                    duration("writeTimeout").or("0s"),
                    duration("idleTimeout").or("180s"),
                ],
            ),
            duration("keepAliveMaxTime").or("0s"),
            integer("keepAliveMaxRequests").or("0"),
        ],
    ),
    switch(
        "proxyProtocol",
        &[
            flag("insecure"),
            texts("trustedIPs")
                .differs("a header of anybody else is not read: his first bytes are no request"),
        ],
    ),
    group("forwardedHeaders", FORWARDED_HEADERS),
    group("http", HTTP),
    group(
        "http2",
        &[
            integer("maxConcurrentStreams").or("250"),
            integer("maxDecoderHeaderTableSize").or("4096"),
            integer("maxEncoderHeaderTableSize")
                .or("4096")
                .differs("taken without effect: the client's own limit holds"),
        ],
    ),
    switch("http3", &[integer("advertisedPort")]).not_yet("HTTP/3 does not work yet"),
    group("udp", &[duration("timeout").or("3s")]).not_yet("UDP does not work yet"),
    group(
        "observability",
        &[
            flag("accessLogs").or("true"),
            flag("metrics").or("true"),
            flag("tracing").or("true").not_yet(NO_TRACING),
            choice("traceVerbosity", VERBOSITY)
                .or("minimal")
                .differs("taken without effect: there is no tracing yet"),
        ],
    ),
];

const OTLP_GRPC: Field = switch(
    "grpc",
    &[text("endpoint").or("localhost:4317"), flag("insecure"), group("tls", CLIENT_TLS), text_map("headers")],
);
const OTLP_HTTP: Field = switch(
    "http",
    &[text("endpoint").or("https://localhost:4318"), group("tls", CLIENT_TLS), text_map("headers")],
);
const OTLP: &[Field] = &[OTLP_GRPC, OTLP_HTTP];

const OTLP_LOG: &[Field] = &[
    switch("grpc", &[text("endpoint"), flag("insecure"), group("tls", CLIENT_TLS), text_map("headers")]),
    switch("http", &[text("endpoint"), group("tls", CLIENT_TLS), text_map("headers")]),
    text("serviceName"),
    text_map("resourceAttributes"),
];

const API: &[Field] = &[
    flag("insecure"),
    flag("dashboard").or("true").differs("the page is Ravelin's own"),
    flag("debug").not_yet("`/debug` does not work yet"),
    text("basePath").or("/"),
    text("dashboardName").differs("taken without effect: the page has one name"),
    flag("disableDashboardAd").differs("taken without effect: there are no advertisements"),
];

const PING: &[Field] =
    &[text("entryPoint").or("traefik"), flag("manualRouting"), integer("terminatingStatusCode").or("503")];

const LEVELS: &[(&str, Support)] = &[
    ("TRACE", Support::Same),
    ("DEBUG", Support::Same),
    ("INFO", Support::Same),
    ("WARN", Support::Same),
    ("ERROR", Support::Same),
    ("FATAL", Support::Same),
    ("PANIC", Support::Same),
];

const LOG: &[Field] = &[
    any_case("level", LEVELS).or("ERROR"),
    choice("format", &[("common", Support::Same), ("json", Support::Same)])
        .or("common")
        .differs("lines have Ravelin's own form in either"),
    flag("noColor"),
    text("filePath")
        .or("standard error (Traefik: standard output)")
        .differs("unset, standard output is left to the access log; SIGUSR1 opens the file anew"),
    integer("maxSize").or("100"),
    integer("maxAge").or("0"),
    integer("maxBackups").or("0"),
    flag("compress"),
    switch("otlp", OTLP_LOG).not_yet(NO_OTLP),
];

const KEEP_DROP: &[(&str, Support)] = &[("keep", Support::Same), ("drop", Support::Same)];
const KEEP_DROP_REDACT: &[(&str, Support)] =
    &[("keep", Support::Same), ("drop", Support::Same), ("redact", Support::Same)];

const ACCESS_LOG: &[Field] = &[
    text("filePath").or("standard output"),
    choice("format", &[("common", Support::Same), ("genericCLF", Support::Same), ("json", Support::Same)])
        .or("common"),
    integer("bufferingSize")
        .or("0")
        .differs("taken without effect: lines are written in blocks and wait at most 100 ms"),
    flag("addInternals"),
    flag("dualOutput").differs("taken without effect: without OpenTelemetry the log is always written"),
    group(
        "filters",
        &[
            texts("statusCodes"),
            flag("retryAttempts").differs("never keeps a line, as in Traefik: attempts are not counted"),
            duration("minDuration").or("0s"),
        ],
    ),
    group(
        "fields",
        &[
            choice("defaultMode", KEEP_DROP).or("keep"),
            text_map("names"),
            group("headers", &[choice("defaultMode", KEEP_DROP_REDACT).or("drop"), text_map("names")]),
            group("queryParameters", &[choice("defaultMode", KEEP_DROP_REDACT).or("keep")]),
        ],
    ),
    switch("otlp", OTLP_LOG).not_yet(NO_OTLP),
];

const STATSD: &[Field] = &[
    text("address"),
    duration("pushInterval").or("10s"),
    flag("addEntryPointsLabels").or("true"),
    flag("addRoutersLabels"),
    flag("addServicesLabels").or("true"),
    text("prefix").or("traefik"),
];

const METRICS: &[Field] = &[
    flag("addInternals"),
    switch(
        "prometheus",
        &[
            texts("buckets").or("0.1, 0.3, 1.2, 5"),
            flag("addEntryPointsLabels").or("true"),
            flag("addRoutersLabels"),
            flag("addServicesLabels").or("true"),
            text("entryPoint").or("traefik"),
            flag("manualRouting"),
            text_map("headerLabels"),
        ],
    ),
    switch("datadog", STATSD).not_yet(NO_PUSH),
    switch("statsD", STATSD).not_yet(NO_PUSH),
    switch(
        "influxDB2",
        &[
            text("address"),
            text("token"),
            duration("pushInterval").or("10s"),
            text("org"),
            text("bucket"),
            flag("addEntryPointsLabels").or("true"),
            flag("addRoutersLabels"),
            flag("addServicesLabels").or("true"),
            text_map("additionalLabels"),
        ],
    )
    .not_yet(NO_PUSH),
    switch(
        "otlp",
        &[
            OTLP_GRPC,
            OTLP_HTTP,
            flag("addEntryPointsLabels").or("true"),
            flag("addRoutersLabels"),
            flag("addServicesLabels").or("true"),
            texts("explicitBoundaries"),
            duration("pushInterval").or("10s"),
            text("serviceName").or("traefik"),
            text_map("resourceAttributes"),
        ],
    )
    .not_yet(NO_PUSH),
];

const TRACING: &[Field] = &[
    switch("otlp", OTLP),
    text("serviceName").or("traefik"),
    number("sampleRate").or("1"),
    text_map("resourceAttributes"),
    text_map("globalAttributes"),
    texts("capturedRequestHeaders"),
    texts("capturedResponseHeaders"),
    texts("safeQueryParams"),
    flag("addInternals"),
];

const ACME: &[Field] = &[
    text("email"),
    texts("emailAddresses"),
    text("caServer").or("https://acme-v02.api.letsencrypt.org/directory"),
    contents("caCertificates"),
    flag("caSystemCertPool"),
    text("caServerName"),
    integer("certificatesDuration").or("2160"),
    duration("clientTimeout").or("2m"),
    duration("clientResponseHeaderTimeout").or("30s"),
    duration("certificateTimeout").or("30s"),
    text("preferredChain"),
    text("profile"),
    flag("disableCommonName"),
    text("storage").or("acme.json"),
    text("keyType").or("RSA4096"),
    group("eab", &[text("kid"), text("hmacEncoded")]),
    switch("httpChallenge", &[text("entryPoint"), duration("delay")]),
    switch("tlsChallenge", &[duration("delay")]),
    switch(
        "dnsChallenge",
        &[
            text("provider"),
            texts("resolvers"),
            group(
                "propagation",
                &[
                    flag("disableChecks"),
                    flag("disableANSChecks"),
                    flag("requireAllRNS"),
                    duration("delayBeforeChecks"),
                ],
            ),
            duration("delayBeforeCheck"),
            flag("disablePropagationCheck"),
        ],
    ),
];

const EXPERIMENTAL: &[Field] = &[
    free("plugins").not_yet("plugins do not work yet"),
    free("localPlugins").not_yet("plugins do not work yet"),
    flag("abortOnPluginFailure").differs("taken without effect: there are no plugins yet"),
    switch("fastProxy", &[flag("debug")]).differs("taken without effect: there is one way to servers"),
    flag("otlpLogs").not_yet(NO_OTLP),
    flag("knative").not_yet("the provider `knative` does not work yet"),
    flag("kubernetesGateway").not_yet("the provider `kubernetesGateway` does not work yet"),
    flag("kubernetesIngressNGINX").not_yet("the provider `kubernetesIngressNGINX` does not work yet"),
];

pub(super) const STATIC: &[Field] = &[
    group(
        "global",
        &[
            flag("checkNewVersion").or("true").differs(NO_CALLS),
            flag("sendAnonymousUsage").differs(NO_CALLS),
            flag("notAppendXForwardedFor"),
        ],
    ),
    named("entryPoints", ENTRY_POINT),
    group("providers", PROVIDERS),
    switch("api", API),
    switch("ping", PING),
    switch("log", LOG),
    switch("accessLog", ACCESS_LOG),
    group("serversTransport", DEFAULT_TRANSPORT),
    switch("metrics", METRICS),
    switch("tracing", TRACING).not_yet(NO_TRACING),
    named("certificatesResolvers", &[switch("acme", ACME), switch("tailscale", &[])])
        .not_yet("certificate resolvers do not work yet"),
    switch("hostResolver", &[flag("cnameFlattening"), text("resolvConfig"), integer("resolvDepth").or("5")])
        .not_yet("flattening CNAMEs does not work yet"),
    group(
        "tcpServersTransport",
        &[
            duration("dialKeepAlive").or("15s"),
            duration("dialTimeout").or("30s"),
            duration("terminationDelay"),
            group("tls", &[flag("insecureSkipVerify"), contents("rootCAs"), switch("spiffe", SPIFFE)]),
        ],
    )
    .not_yet("TCP routing does not work yet"),
    group("spiffe", &[text("workloadAPIAddr")]),
    switch("ocsp", &[text_map("responderOverrides")]).not_yet("OCSP stapling does not work yet"),
    group("experimental", EXPERIMENTAL),
    group("core", &[choice("defaultRuleSyntax", &[("v3", Support::Same), ("v2", Support::Same)]).or("v3")]),
];
