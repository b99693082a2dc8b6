//! Options of TCP and UDP routing: known, none works yet.

use super::routers::DOMAIN;
use super::services::SPIFFE;
use super::{
    Field, Support, choice, content, contents, duration, flag, group, groups, integer, named, switch, text,
    texts,
};

const TCP_TLS: &[Field] =
    &[flag("passthrough"), text("options"), text("certResolver"), groups("domains", DOMAIN)];

const WEIGHTED: &[Field] =
    &[groups("services", &[text("name"), integer("weight")]), switch("healthCheck", &[])];

const HEALTH_CHECK: &[Field] = &[
    integer("port"),
    text("send"),
    text("expect"),
    duration("interval").or("30s"),
    duration("unhealthyInterval"),
    duration("timeout").or("5s"),
];

const TRANSPORT_TLS: &[Field] = &[
    text("serverName"),
    flag("insecureSkipVerify"),
    contents("rootCAs"),
    groups("certificates", &[content("certFile"), content("keyFile")]),
    text("peerCertURI"),
    switch("spiffe", SPIFFE),
];

const PROXY_PROTOCOL: &[Field] = &[integer("version").or("2")];

pub(super) const TCP_ROUTER: &[Field] = &[
    texts("entryPoints"),
    text("rule"),
    text("service"),
    texts("middlewares"),
    integer("priority"),
    choice("ruleSyntax", &[("v3", Support::Same), ("default", Support::Same), ("v2", Support::Same)]),
    switch("tls", TCP_TLS),
];

pub(super) const TCP_SERVICE: &[Field] = &[
    group(
        "loadBalancer",
        &[
            groups("servers", &[text("address"), flag("tls")]),
            text("serversTransport"),
            switch("proxyProtocol", PROXY_PROTOCOL),
            integer("terminationDelay"),
            group("healthCheck", HEALTH_CHECK),
        ],
    ),
    group("weighted", WEIGHTED),
];

pub(super) const TCP_MIDDLEWARE: &[Field] = &[
    group("inFlightConn", &[integer("amount")]),
    group("ipAllowList", &[texts("sourceRange")]),
    group("ipWhiteList", &[texts("sourceRange")]),
];

pub(super) const TCP: &[Field] = &[
    named("routers", TCP_ROUTER),
    named("services", TCP_SERVICE),
    named("middlewares", TCP_MIDDLEWARE),
    named(
        "serversTransports",
        &[
            duration("dialKeepAlive").or("15s"),
            duration("dialTimeout").or("30s"),
            switch("proxyProtocol", PROXY_PROTOCOL),
            duration("terminationDelay"),
            switch("tls", TRANSPORT_TLS),
        ],
    ),
];

pub(super) const UDP_ROUTER: &[Field] = &[texts("entryPoints"), text("service")];

pub(super) const UDP_SERVICE: &[Field] =
    &[group("loadBalancer", &[groups("servers", &[text("address")])]), group("weighted", WEIGHTED)];

pub(super) const UDP: &[Field] = &[named("routers", UDP_ROUTER), named("services", UDP_SERVICE)];
