//! Every way in which one object can be bad: the clear text, and that the others go on.

use super::*;

/// Judges one middleware and answers its errors.
fn middleware(options: &str) -> String {
    let checker = checker(&format!(
        "http: {{routers: {{r: {{rule: Host(`a`), service: s, middlewares: [m]}}, good: {{rule: Host(`b`), service: \
         s}}}}, services: {{s: {{loadBalancer: {{}}}}}}, middlewares: {{m: {options}}}}}"
    ));
    assert_eq!(errors(&checker, "http/routers/good@file"), None, "the others go on");
    match errors(&checker, "http/middlewares/m@file") {
        None => {
            assert_eq!(errors(&checker, "http/routers/r@file"), None);
            String::new()
        }
        Some((_, errors)) => {
            assert!(error(&checker, "http/routers/r@file").contains(&errors[0]));
            errors.join(" | ")
        }
    }
}

#[test]
fn middlewares() {
    for (options, text) in [
        ("{headers: {}}", "headers configuration not valid"),
        ("{headers: {sslRedirect: true}}", "headers configuration not valid"),
        ("{headers: {frameDeny: true}}", ""),
        (
            "{headers: {customRequestHeaders: {'X A': b}}}",
            "headers.customRequestHeaders.…: this is no name of a header",
        ),
        (
            "{headers: {customResponseHeaders: {X: \"a\\nb\"}}}",
            "customResponseHeaders: a header's value must not hold control characters",
        ),
        (
            "{headers: {hostsProxyHeaders: ['é']}}",
            "hostsProxyHeaders: a text of 1 characters is no header name",
        ),
        ("{redirectScheme: {}}", "you must provide a target scheme"),
        ("{redirectScheme: {scheme: https, port: x}}", "redirectScheme.port: \"x\" is no port"),
        ("{inFlightReq: {amount: -1}}", "inFlightReq.amount: -1 is negative"),
        (
            "{inFlightReq: {amount: 1, sourceCriterion: {requestHost: true, ipStrategy: {}}}}",
            "iPStrategy and RequestHost are mutually exclusive",
        ),
        (
            "{inFlightReq: {amount: 1, sourceCriterion: {ipStrategy: {excludedIPs: x}}}}",
            "ipStrategy.excludedIPs: \"x\" is neither an address nor a network",
        ),
        (
            "{inFlightReq: {amount: 1, sourceCriterion: {ipStrategy: {ipv6Subnet: 129}}}}",
            "invalid IPv6 subnet 129 value, should be greater to 0 and lower or equal to 128",
        ),
        ("{inFlightReq: {amount: 1}}", ""),
        ("{stripPrefix: {}}", ""),
        (
            "{stripPrefix: {prefixes: [{a: b}]}}",
            "stripPrefix.prefixes: expected a list of texts, found a list",
        ),
        ("{grpcWeb: {allowOrigins: [a]}}", ""),
        ("{plugin: {p: {a: b}}}", "plugin: plugins do not work yet"),
        ("{notAKind: {x: 1}}", "notAKind: field not found"),
        ("{headrs: {x: 1}}", "headrs: field not found (did you mean `headers`?)"),
        ("[1]", ": expected keys with values, found a list"),
    ] {
        let found = middleware(options);
        if options == "[1]" {
            assert!(found.contains("field not found"), "{found}");
        } else {
            assert_eq!(found, text, "{options}");
        }
    }
    let found = middleware("{headers: {accessControlAllowOriginListRegex: ['(']}}");
    assert!(found.starts_with("headers.accessControlAllowOriginListRegex: \"(\": "), "{found}");
}

#[test]
fn middlewares_that_send_again_or_let_others_answer() {
    for (options, text) in [
        ("{retry: {attempts: 2}}", ""),
        ("{retry: {initialInterval: 1s}}", "incorrect (or empty) value for attempt (0)"),
        ("{retry: {attempts: -1}}", "incorrect (or empty) value for attempt (-1)"),
        (
            "{retry: {attempts: 2, disableRetryOnNetworkError: true}}",
            "retry middleware requires at least HTTP status codes or retry on TCP",
        ),
        (
            "{retry: {attempts: 2, status: [5xx]}}",
            "retry.status: \"5xx\" is neither a status nor a range of them",
        ),
        ("{buffering: {memResponseBodyBytes: 1}}", ""),
        ("{buffering: {maxRequestBodyBytes: -1}}", "max bytes should be >= 0 got -1"),
        (
            "{buffering: {retryExpression: Attempts()}}",
            "buffering.retryExpression: the expression ends where a comparison of Attempts is expected",
        ),
        ("{errors: {status: ['500'], service: s}}", ""),
        ("{errors: {status: ['500'], service: none}}", "the service \"none@file\" does not exist"),
        (
            "{errors: {service: s, statusRewrites: {5xx: 200}}}",
            "errors.statusRewrites: \"5xx\" is neither a status nor a range of them",
        ),
        ("{compress: {}}", ""),
        ("{compress: {encodings: [gzip, deflate]}}", "unsupported encoding: deflate"),
        ("{compress: {encodings: [gzip], defaultEncoding: br}}", "unsupported default encoding: br"),
        (
            "{compress: {excludedContentTypes: [a/b], includedContentTypes: [a/b]}}",
            "excludedContentTypes and includedContentTypes options are mutually exclusive",
        ),
        ("{compress: {excludedContentTypes: [text/]}}", "\"text/\" is no media type"),
    ] {
        assert_eq!(middleware(options), text, "{options}");
    }
}

#[test]
fn middlewares_that_guard_a_service() {
    for (options, text) in [
        ("{forwardAuth: {address: 'http://a'}}", ""),
        ("{forwardAuth: {address: a}}", "forwardAuth.address: it has no scheme such as http://"),
        (
            "{forwardAuth: {address: 'http://a', authRequestHeaders: [a b]}}",
            "forwardAuth.authRequestHeaders: a text of 3 characters is no header name",
        ),
        ("{circuitBreaker: {expression: NetworkErrorRatio() > 0.5}}", ""),
        (
            "{circuitBreaker: {expression: NetworkErrorRatio() > 1}}",
            "circuitBreaker.expression: NetworkErrorRatio is of another type than what it is compared with",
        ),
        (
            "{circuitBreaker: {expression: NetworkErrorRatio() > 0.5, responseCode: 101}}",
            "circuitBreaker.responseCode: 101 ends no request",
        ),
        ("{digestAuth: {users: ['a:b:c']}}", ""),
        ("{digestAuth: {users: ['a:b:c', 'a:b']}}", "digestAuth.users: user 2 is not name:realm:hash"),
        ("{passTLSClientCert: {pem: true}}", ""),
    ] {
        assert_eq!(middleware(options), text, "{options}");
    }
    let found = middleware("{forwardAuth: {address: 'https://a', tls: {ca: none}}}");
    assert!(!found.is_empty(), "a root that is none");
}

#[test]
fn middlewares_that_rewrite() {
    for (options, text) in [
        ("{addPrefix: {prefix: /a}}", ""),
        ("{addPrefix: {}}", "prefix cannot be empty"),
        ("{replacePath: {path: /a%2}}", "replacePath.path: invalid URL escape \"%2\""),
        ("{replacePath: {path: '/a b?%41'}}", ""),
        ("{replacePathRegex: {regex: ' ^/(a'}}", "error compiling regular expression ^/(a: unclosed group"),
        (
            "{redirectRegex: {regex: 'a(?!b)'}}",
            "error compiling regular expression a(?!b): look-around is not supported",
        ),
        (
            "{stripPrefixRegex: {regex: [a, '[']}}",
            "error compiling regular expression [: a class is not closed",
        ),
        ("{stripPrefixRegex: {}}", ""),
    ] {
        assert_eq!(middleware(options), text, "{options}");
    }
}

#[test]
fn middlewares_that_refuse() {
    for (options, text) in [
        ("{ipAllowList: {sourceRange: []}}", "sourceRange is empty, IPAllowLister not created"),
        (
            "{ipWhiteList: {sourceRange: localhost}}",
            "ipWhiteList.sourceRange: \"localhost\" is neither an address nor a network",
        ),
        (
            "{ipAllowList: {sourceRange: 10.0.0.0/33}}",
            "ipAllowList.sourceRange: \"10.0.0.0/33\" is neither an address nor a network",
        ),
        ("{ipAllowList: {sourceRange: ' ::1 ', ipStrategy: {depth: -1}}}", ""),
        ("{ipAllowList: {sourceRange: ::1, rejectStatusCode: 599}}", "invalid HTTP status code 599"),
        (
            "{ipAllowList: {sourceRange: ::1, rejectStatusCode: 100}}",
            "ipAllowList.rejectStatusCode: 100 ends no request",
        ),
        ("{ipAllowList: {sourceRange: ::1, rejectStatusCode: 418}}", ""),
        (
            "{ipAllowList: {sourceRange: ::1, ipStrategy: {excludedIPs: x}}}",
            "ipStrategy.excludedIPs: \"x\" is neither an address nor a network",
        ),
        ("{encodedCharacters: {}}", ""),
        ("{contentType: {}}", ""),
        ("{basicAuth: {users: ['ann:x', ':y']}}", ""),
        ("{basicAuth: {users: ['ann:x', 'secret']}}", "basicAuth.users: user 2 has no colon"),
        (
            "{basicAuth: {users: ['ann:$2y$31$x']}}",
            "basicAuth.users: user 1: a bcrypt cost above 16 takes too long",
        ),
        (
            "{basicAuth: {headerField: a b}}",
            "basicAuth.headerField: a text of 3 characters is no header name",
        ),
        ("{rateLimit: {average: 1, burst: -1}}", ""),
        ("{rateLimit: {period: -1s}}", "negative value not valid for period: -1s"),
        ("{rateLimit: {redis: {db: 1}}}", "rateLimit.redis: counts in Redis do not work yet"),
        (
            "{rateLimit: {sourceCriterion: {requestHost: true, ipStrategy: {}}}}",
            "iPStrategy and RequestHost are mutually exclusive",
        ),
        (
            "{encodedCharacters: {allowEncodedSlash: maybe}}",
            "encodedCharacters.allowEncodedSlash: expected true or false, found \"maybe\"",
        ),
    ] {
        assert_eq!(middleware(options), text, "{options}");
    }
}

#[test]
fn every_kind_that_does_not_work_yet_makes_its_router_an_error() {
    for kind in options::of_object(Kind::HttpMiddleware, "") {
        let works = !matches!(kind.support, options::Support::NotYet(_));
        let found = middleware(&format!("{{{}: {{x: 1}}}}", kind.name));
        assert_eq!(found.contains("yet"), !works, "{}: {found}", kind.name);
    }
    let old = |rule: &str| {
        let text = format!(
            "http: {{routers: {{r: {{rule: '{rule}', service: s, ruleSyntax: v2}}}}, services: {{s: {{loadBalancer: {{}}}}}}}}"
        );
        errors(&checker(&text), "http/routers/r@file")
    };
    assert_eq!(old("Host(`a`, `b`) && Path(`/{id:[0-9]+}`)"), None);
    let (_, told) = old("PathRegexp(`/`)").expect("it is of the third language");
    assert!(told.concat().contains("unknown matcher"), "{told:?}");
}

#[test]
fn who_asks_a_service_how_it_is_needs_one_that_knows() {
    let verdict = |service: &str| {
        let checker = checker(&format!(
            "http: {{routers: {{r: {{rule: Host(`a`), service: s}}}}, services: {{s: {{{service}}}, \
             checked: {{loadBalancer: {{healthCheck: {{path: /}}}}}}, plain: {{loadBalancer: {{}}}}, \
             mid: {{weighted: {{services: [{{name: checked}}]}}}}}}}}"
        ));
        errors(&checker, "http/routers/r@file").map_or_else(String::new, |(_, errors)| errors.join(" | "))
    };
    let none = |service: &str| assert_eq!(verdict(service), "", "{service}");
    none("weighted: {healthCheck: {}, services: [{name: checked}]}");
    none("weighted: {services: [{name: plain}]}");
    none("highestRandomWeight: {healthCheck: {}, services: [{name: checked}]}");
    none("mirroring: {healthCheck: {}, service: checked, mirrors: [{name: plain, percent: 100}]}");
    none("failover: {service: checked, fallback: plain}");
    none("failover: {service: plain, fallback: plain, errors: {status: ['500']}}");
    let needs = |name: &str| {
        format!(
            "service \"{name}@file\": it has no healthCheck, which the service that refers to it by health needs"
        )
    };
    let told = |service: &str, name: &str| assert_eq!(verdict(service), needs(name), "{service}");
    told("weighted: {healthCheck: {}, services: [{name: plain}]}", "plain");
    told("weighted: {healthCheck: {}, services: [{name: mid}]}", "mid");
    told("mirroring: {healthCheck: {}, service: plain}", "plain");
    told("failover: {service: plain, fallback: checked}", "plain");
    told("failover: {healthCheck: {}, service: checked, fallback: plain}", "plain");
}

#[test]
fn parents_and_children_fit_together() {
    let text = |routers: &str| {
        draft(&format!("http: {{routers: {{{routers}}}, services: {{s: {{loadBalancer: {{}}}}}}}}"))
    };
    let mut checker = checker("");
    let mut verdicts = |routers: &str| {
        checker.replace_provider(&text(routers));
        let routers = checker.records().filter(|(key, _)| key.kind() == Some(Kind::HttpRouter));
        let all: Vec<String> = routers
            .filter(|(_, record)| record.status.state != State::Enabled)
            .map(|(key, record)| format!("{}: {}", key.name(), record.status.errors.join(" | ")))
            .collect();
        all.join("\n")
    };
    let child = "c: {rule: Path(`/`), service: s, parentRefs: [r]}";
    assert_eq!(verdicts(&format!("r: {{rule: Host(`a`)}}, {child}")), "");
    assert_eq!(verdicts("r: {rule: Host(`a`)}"), "r@file: the service is missing on the router");
    assert_eq!(
        verdicts(&format!("r: {{rule: Host(`a`), service: s}}, {child}")),
        "r@file: service: the router has a child, c@file, so it cannot have a service"
    );
    assert_eq!(verdicts("r: {rule: Host(`a`), service: s}"), "", "judged again as its child went");
    assert_eq!(verdicts(child), "c@file: parent router \"r@file\" does not exist");
    assert_eq!(
        verdicts(
            "r: {rule: Host(`a`)}, c: {rule: Path(`/`), service: s, parentRefs: r, tls: {}, entryPoints: web}"
        ),
        "c@file: entryPoints: a child router has none of its own, that of the root router counts | \
         tls: a child router has none of its own, that of the root router counts"
    );
    assert_eq!(
        verdicts(
            "r: {rule: Host(`a`), parentRefs: c}, c: {rule: Path(`/`), parentRefs: r}, d: {rule: Path(`/`), service: s, parentRefs: c}"
        ),
        "c@file: parentRefs: c@file is an ancestor of itself\nr@file: parentRefs: r@file is an ancestor of itself"
    );
}

#[test]
fn names_with_an_at_sign_are_refused_and_long_references_lead_nowhere() {
    let long = "x".repeat(3000);
    let checker = checker(&format!(
        "http: {{routers: {{'a@b': {{rule: Host(`a`), service: s}}, l: {{rule: Host(`a`), service: {long}}}}}, services: \
         {{s: {{loadBalancer: {{}}}}}}}}"
    ));
    assert_eq!(error(&checker, "http/routers/a@b@file"), "a name must not hold `@`");
    assert!(error(&checker, "http/routers/l@file").ends_with("does not exist"));
}

const UNCONFIGURED: &str = "SPIFFE is enabled for this transport, but not configured: set `spiffe.workloadAPIAddr` in the static \
     configuration";

#[test]
fn a_transport_with_spiffe_needs_a_workload_api_and_is_judged_again_as_one_comes_and_goes() {
    let mut checker = checker(
        "http: {routers: {r: {rule: Host(`a`), service: s}}, services: {s: {loadBalancer: {serversTransport: t}}}, \
         serversTransports: {t: {spiffe: {ids: ['spiffe://a.test/web']}}}}",
    );
    let key = Key::of(Kind::StaticSection, "spiffe").expect("a short name");
    let section = |address: &str| {
        let json = serde_json::json!({"workloadAPIAddr": address});
        (key.clone(), options::object(Kind::StaticSection, &json).expect("shallow"))
    };
    assert_eq!(error(&checker, "http/routers/r@file"), UNCONFIGURED);
    checker.upsert([section("unix:///run/agent.sock")], []);
    assert_eq!(errors(&checker, "http/routers/r@file"), None);
    checker.upsert([section("agent.sock")], []);
    assert_eq!(
        error(&checker, "static/spiffe"),
        "workloadAPIAddr: expected unix:///path/of/the/socket, or tcp:// with an IP address and a port, found \"agent.sock\""
    );
    assert!(
        error(&checker, "http/routers/r@file").starts_with("static section \"spiffe\": workloadAPIAddr: ")
    );
    checker.upsert([], [key.clone()]);
    assert_eq!(error(&checker, "http/routers/r@file"), UNCONFIGURED);
}

#[test]
fn what_a_transport_says_of_spiffe_is_judged() {
    let checker = checker(
        "
http:
  serversTransports:
    spiffe: {spiffe: {}}
    both: {spiffe: {}, peerCertURI: 'spiffe://a.test/web'}
    ids: {spiffe: {ids: ['spiffe://a.test/web', 'https://a.test', 'spiffe://A.test']}}
    domain: {spiffe: {trustDomain: 'a.test/web'}}
",
    );
    for (key, text) in [
        ("http/serversTransports/spiffe@file", UNCONFIGURED),
        (
            "http/serversTransports/both@file",
            &format!(
                "spiffe: TLS and SPIFFE configuration cannot be defined at the same time: leave out either `spiffe` or \
                 the other options of TLS | {UNCONFIGURED}"
            ),
        ),
        (
            "http/serversTransports/ids@file",
            &format!(
                "spiffe.ids: \"https://a.test\": a SPIFFE ID begins with spiffe:// | spiffe.ids: \"spiffe://A.test\": a \
                 trust domain has small letters, digits, `.`, `-` and `_`, and at least one of them | {UNCONFIGURED}"
            ),
        ),
        (
            "http/serversTransports/domain@file",
            &format!(
                "spiffe.trustDomain: \"a.test/web\": a trust domain has small letters, digits, `.`, `-` and `_`, and at \
                 least one of them | {UNCONFIGURED}"
            ),
        ),
    ] {
        assert_eq!(error(&checker, key), text, "{key}");
    }
}

#[test]
fn tls_options_and_transports() {
    let checker = checker(
        "
http:
  serversTransports:
    suite: {cipherSuites: [TLS_NOT_A_CIPHER]}
    roots: {rootCAs: [/no/such.pem]}
    versions: {minVersion: VersionTLS13, maxVersion: VersionTLS12}
tls:
  options:
    suite: {cipherSuites: [TLS_NOT_A_CIPHER, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}
    old: {cipherSuites: [TLS_RSA_WITH_AES_128_CBC_SHA]}
    curve: {curvePreferences: [X25519, P-25]}
    lacking: {curvePreferences: [CurveP521]}
    client: {clientAuth: {clientAuthType: RequireAndVerifyClientCert}}
    pem: {clientAuth: {caFiles: ['-----BEGIN nothing'], clientAuthType: RequireAnyClientCert}}
    word: {minVersion: TLS12}
  stores:
    other: {}
    default: {defaultCertificate: {certFile: /no/a.crt, keyFile: /no/a.key}}
  certificates:
    - {certFile: /no/a.crt, keyFile: /no/a.key}
",
    );
    for (key, text) in [
        (
            "http/serversTransports/suite@file",
            "cipherSuites: unknown or unsupported cipher suite \"TLS_NOT_A_CIPHER\"",
        ),
        (
            "http/serversTransports/roots@file",
            "rootCAs: neither a file that can be read nor PEM: \"/no/such.pem\"",
        ),
        (
            "http/serversTransports/versions@file",
            "minVersion and maxVersion leave neither TLS 1.2 nor TLS 1.3",
        ),
        ("tls/options/suite@file", "invalid CipherSuite: TLS_NOT_A_CIPHER"),
        ("tls/options/old@file", "cipherSuites: the TLS library has none of those named"),
        ("tls/options/curve@file", "invalid CurveID in curvePreferences: P-25"),
        (
            "tls/options/client@file",
            "invalid clientAuthType: RequireAndVerifyClientCert, CAFiles is required",
        ),
        (
            "tls/options/pem@file",
            "clientAuth.caFiles: PEM that cannot be read: a section's first line is malformed",
        ),
        (
            "tls/stores/default@file",
            "defaultCertificate.certFile: neither a file that can be read nor PEM: \"/no/a.crt\" | defaultCertificate.keyFile: neither a file that can be read nor PEM: \"/no/a.key\"",
        ),
    ] {
        assert_eq!(error(&checker, key), text, "{key}");
    }
    assert!(error(&checker, "tls/options/word@file").starts_with("minVersion: expected one of VersionTLS10"));
    let other = errors(&checker, "tls/stores/other@file");
    assert_eq!(other, Some((State::Warning, vec!["only the store `default` is used".to_owned()])));
}

#[test]
fn entry_points_and_sections() {
    let mut checker = Checker::default();
    checker.replace_provider(&entry_points(
        "
a: {address: ':80', forwardedHeaders: {trustedIPs: [x]}}
b: {address: ':80', transport: {respondingTimeouts: {readTimeout: -1s}}}
c: {address: ':80', http: {maxHeaderBytes: -1}}
d: {}
f: {adress: ':80'}
",
    ));
    for (name, text) in [
        ("a", "forwardedHeaders.trustedIPs: \"x\" is neither an address nor a network"),
        ("b", "transport.respondingTimeouts.readTimeout: -1s is negative"),
        ("c", "http.maxHeaderBytes: -1 is not between 0 and 4294967295"),
        ("d", "address: missing port in address \"\""),
        ("f", "adress: field not found (did you mean `address`?)"),
    ] {
        assert_eq!(error(&checker, &format!("static/entryPoints/{name}")), text);
    }
    let mut section = |name: &str, json: serde_json::Value| {
        let key = Key::of(Kind::StaticSection, name).expect("a short name");
        let object = options::object(Kind::StaticSection, &json).expect("shallow");
        checker.upsert([(key.clone(), object)], []);
        errors(&checker, key.as_str()).map(|(_, errors)| errors.join(" | "))
    };
    assert_eq!(section("ping", serde_json::json!({"entryPoint": "web"})), None);
    let found = section("ping", serde_json::json!({"terminatingStatusCode": 5}));
    assert_eq!(found.as_deref(), Some("terminatingStatusCode: 5 is no HTTP status"));
    let found = section("accessLog", serde_json::json!({"filters": {"statusCodes": ["200-2xx"]}}));
    assert_eq!(
        found.as_deref(),
        Some("filters.statusCodes: \"200-2xx\" is neither a status nor a range of them")
    );
    assert_eq!(
        section("accessLog", serde_json::json!({"filters": {"statusCodes": ["200", "300-302"]}})),
        None
    );
    let found = section("serversTransport", serde_json::json!({"rootCAs": ["x"]}));
    assert_eq!(found.as_deref(), Some("rootCAs: neither a file that can be read nor PEM: a text of 1 bytes"));
}

/// A self-signed certificate and its key, PEM.
fn certificate(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("the name is sound");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[test]
fn certificates_and_keys_belong_together() {
    let ((a, a_key), (_, b_key)) = (certificate("a.test"), certificate("b.test"));
    let judge = |certificate: &str, key: &str, stores: &[&str]| {
        let mut checker = Checker::default();
        let json = serde_json::json!({"certFile": certificate, "keyFile": key, "stores": stores});
        let object = options::object(Kind::TlsCertificate, &json).expect("shallow");
        let key = Key::of(Kind::TlsCertificate, "digest@file").expect("a short name");
        checker.upsert([(key.clone(), object)], []);
        errors(&checker, key.as_str()).map(|(_, errors)| errors.join(" | ")).unwrap_or_default()
    };
    assert_eq!(judge(&a, &a_key, &[]), "");
    assert_eq!(judge(&a, &a_key, &["default", "x"]), "");
    assert_eq!(
        judge(&a, &a_key, &["x"]),
        "stores: only the store `default` is used, so this certificate is not"
    );
    assert_eq!(judge(&a, &b_key, &[]), "keyFile: not the key of the certificate in certFile");
    assert_eq!(judge(&a, &a, &[]), "keyFile: no key in the PEM text: nothing of the kind in it");
    assert_eq!(judge(&a_key, &a_key, &[]), "certFile: no certificate in the PEM text");
    let cut: String = a.lines().take(3).collect::<Vec<_>>().join("\n");
    assert_eq!(judge(&cut, &a_key, &[]), "certFile: PEM that cannot be read: a section has no end");
    let foreign = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let found = judge(foreign, &a_key, &[]);
    assert!(found.starts_with("certFile: not a certificate that can be read"), "{found}");
}

#[test]
fn objects_of_tcp_and_udp_are_there_and_say_that_they_are_not_served() {
    let text = "tcp: {routers: {r: {rule: HostSNI(`a`), service: s, tls: {}}, bad: {rul: x}}, services: {s: {}}, middlewares: {m: {}}, \
                serversTransports: {t: {}}}\nudp: {routers: {r: {service: s}}, services: {s: {}}}\n";
    let checker = checker(text);
    for (key, said) in [
        ("tcp/routers/r@file", "TCP routing does not work yet"),
        (
            "tcp/routers/bad@file",
            "rul: field not found (did you mean `rule`?) | TCP routing does not work yet",
        ),
        ("tcp/services/s@file", "TCP routing does not work yet"),
        ("tcp/middlewares/m@file", "TCP routing does not work yet"),
        ("udp/routers/r@file", "UDP routing does not work yet"),
        ("udp/services/s@file", "UDP routing does not work yet"),
    ] {
        assert_eq!(error(&checker, key), said, "{key}");
        assert_eq!(checker.record(key).and_then(Record::effective), None, "{key}");
    }
    let streams = checker.records().filter(|(key, _)| !key.as_str().starts_with("static/"));
    assert_eq!(streams.count(), 6, "nobody sees transports before they work");
}
