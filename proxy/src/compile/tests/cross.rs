//! The check against the compiler, over generated configurations: what the one lets pass the other takes, and a router in error
//! answers in its own place.

use proptest::sample::{select, subsequence};
use ravelin_config::check::Checker;
use ravelin_config::document::{self, Format};
use ravelin_config::draft::draft_from_documents;

use super::*;

const NUMBERED: usize = 4;

fn named(kind: &str) -> Vec<String> {
    (0..NUMBERED).map(|number| format!("{kind}{number}")).collect()
}

fn values(list: Value) -> Vec<Value> {
    let Value::Array(list) = list else { panic!("a list") };
    list
}

/// Good and bad values of one kind, up to one for each number.
fn objects(kind: &'static str, variants: Vec<Value>) -> impl Strategy<Value = Value> {
    prop::collection::vec(prop::option::of(select(variants)), NUMBERED).prop_map(move |chosen| {
        let named = named(kind).into_iter().zip(chosen);
        Value::Object(named.filter_map(|(name, value)| Some((name, value?))).collect())
    })
}

fn middlewares() -> Vec<Value> {
    values(json!([
        {"headers": {"customRequestHeaders": {"X-A": "1", "Host": "b.test"}}},
        {"headers": {"customRequestHeaders": {"X A": "1"}}},
        {"headers": {"customResponseHeaders": {"X-A": "a\nb"}}},
        {"headers": {"customResponseHeaders": {"": "a"}}},
        {"headers": {"accessControlAllowOriginListRegex": ["("]}},
        {"headers": {"accessControlAllowOriginList": ["https://a.test", "b\u{1}"]}},
        {"headers": {"accessControlMaxAge": -5, "addVaryHeader": true}},
        {"headers": {"stsSeconds": 5, "frameDeny": true, "sslProxyHeaders": {"X-P": "https"}}},
        {"headers": {"allowedHosts": ["a.test", ""], "hostsProxyHeaders": ["X Y"]}},
        {"headers": {"customFrameOptionsValue": "a\r\n", "contentSecurityPolicy": "x"}},
        {"headers": {}},
        {"stripPrefix": {"prefixes": ["/a", "b c", "\u{e9}", "x\ny"]}},
        {"stripPrefix": {}},
        {"stripPrefix": {"prefixes": ["/a"], "forceSlash": true}},
        {"redirectScheme": {"scheme": "https", "port": "443", "permanent": true}},
        {"redirectScheme": {"scheme": "ht tp"}},
        {"redirectScheme": {"scheme": "https", "port": "x y"}},
        {"redirectScheme": {}},
        {"inFlightReq": {"amount": 1}},
        {"inFlightReq": {"amount": -1}},
        {"inFlightReq": {"amount": 1, "sourceCriterion": {"ipStrategy": {"depth": 1, "excludedIPs": ["10.0.0.1"]}}}},
        {"inFlightReq": {"amount": 1, "sourceCriterion": {"ipStrategy": {"excludedIPs": ["x"]}}}},
        {"inFlightReq": {"amount": 1, "sourceCriterion": {"ipStrategy": {"ipv6Subnet": 200}}}},
        {"inFlightReq": {"amount": 1, "sourceCriterion": {"requestHeaderName": "X Y"}}},
        {"inFlightReq": {"amount": 1, "sourceCriterion": {"requestHost": true, "requestHeaderName": "X"}}},
        {"chain": {"middlewares": ["m0", "m1"]}},
        {"chain": {"middlewares": ["m2@file", "m3"]}},
        {"chain": {"middlewares": ["nope"]}},
        {"chain": {"middlewares": []}},
        {"basicAuth": {"users": ["a:b"]}},
        {"nope": {}},
        {},
        {"stripPrefix": {"prefixes": ["/a"]}, "headers": {}},
    ]))
}

fn services() -> Vec<Value> {
    let balancer = |servers: Value| json!({"loadBalancer": {"servers": servers}});
    let mut all: Vec<Value> = [
        "http://127.0.0.1:1",
        "https://x.test",
        "h2c://[::1]:1",
        "ftp://x",
        "http://",
        "http://a b",
        "127.0.0.1",
        "http://a:99999",
        "http://u@a.test/x?y#z",
        "https://-bad-.test",
        "https://1.2.3.4",
        "https://a_b.test",
        "",
        "HTTP://A.test",
        "http://[::1",
        "http://x.test:",
        "https://x.test.",
        "http://%41.test",
        "http://a.test\\x",
    ]
    .iter()
    .map(|url| balancer(json!([{"url": url}])))
    .collect();
    all.extend(values(json!([
        {"loadBalancer": {"servers": [{"url": "http://a.test", "weight": 0}, {"url": "http://b.test", "weight": -4}]}},
        {"loadBalancer": {"servers": [{"url": "http://a.test", "weight": 9223372036854775807_i64}, {"url": "http://b.test"}]}},
        {"loadBalancer": {"servers": [{"url": "http://a.test/x/", "preservePath": true}], "passHostHeader": false}},
        {"loadBalancer": {"servers": []}},
        {"loadBalancer": {}},
        {"loadBalancer": {"servers": [{"url": "http://a.test"}], "serversTransport": "t0"}},
        {"loadBalancer": {"servers": [{"url": "https://a.test"}], "serversTransport": "t1@file"}},
        {"loadBalancer": {"servers": [{"url": "http://a.test"}], "serversTransport": "nope"}},
        {"loadBalancer": {"servers": [{"url": "http://a.test"}], "sticky": {"cookie": {}}}},
        {"loadBalancer": {"servers": [{"url": "http://a.test"}], "strategy": "p2c"}},
        {"loadBalancer": {"servers": [{"url": "http://a.test"}], "strategy": "wrr"}},
        {"loadBalancer": {"servers": [{"url": "http://a.test"}], "healthCheck": {"path": "/"}}},
        {"loadBalancer": {"servers": [{"url": "http://a.test"}], "responseForwarding": {"flushInterval": "1s"}}},
        {"weighted": {"services": [{"name": "s0", "weight": 1}, {"name": "s1@file", "weight": 3}]}},
        {"weighted": {"services": [{"name": "s2"}, {"name": "api@internal"}]}},
        {"weighted": {"services": [{"name": "nope"}]}},
        {"weighted": {"services": []}},
        {"weighted": {"services": [{"name": "s3", "weight": 0}], "sticky": {"cookie": {}}}},
        {"mirroring": {"service": "s0"}},
        {"failover": {"service": "s0"}},
        {"loadBalancer": {"servers": [{"url": "http://a.test"}]}, "weighted": {"services": []}},
        {},
    ])));
    all
}

fn transports() -> Vec<Value> {
    values(json!([
        {}, {"serverName": "x.test"}, {"serverName": "a b"}, {"rootCAs": ["no PEM"]}, {"insecureSkipVerify": true},
        {"maxIdleConnsPerHost": -1}, {"forwardingTimeouts": {"dialTimeout": "x"}},
        {"forwardingTimeouts": {"dialTimeout": "-5s", "idleConnTimeout": 3}}, {"spiffe": {}}, {"peerCertURI": "x"},
        {"minVersion": "VersionTLS13", "maxVersion": "VersionTLS12"}, {"minVersion": "VersionTLS13"},
        {"cipherSuites": ["nope"]}, {"cipherSuites": ["TLS_AES_128_GCM_SHA256"]}, {"disableHTTP2": true},
        {"certificates": [{"certFile": "x", "keyFile": "y"}]},
    ]))
}

fn tls_options() -> Vec<Value> {
    values(json!([
        {}, {"minVersion": "VersionTLS13"}, {"maxVersion": "VersionTLS11"}, {"minVersion": "nope"},
        {"minVersion": "VersionTLS13", "maxVersion": "VersionTLS12"},
        {"clientAuth": {"clientAuthType": "RequireAnyClientCert"}},
        {"clientAuth": {"clientAuthType": "RequireAndVerifyClientCert"}},
        {"clientAuth": {"clientAuthType": "VerifyClientCertIfGiven", "caFiles": ["no PEM"]}},
        {"clientAuth": {"clientAuthType": "nope"}}, {"curvePreferences": ["nope"]}, {"curvePreferences": ["CurveP521"]},
        {"cipherSuites": ["nope"]}, {"cipherSuites": ["TLS_AES_128_GCM_SHA256"]},
        {"cipherSuites": ["TLS_RSA_WITH_RC4_128_SHA"]}, {"alpnProtocols": [""]}, {"alpnProtocols": ["h2"]},
        {"sniStrict": true, "disableSessionTickets": true},
    ]))
}

/// Rules with a host and path that they match; `None`: they are none.
const RULES: [(&str, Option<(&str, &str)>); 12] = [
    ("Host(`a.test`)", Some(("a.test", "/"))),
    ("Host(`a.test`) && PathPrefix(`/x`)", Some(("a.test", "/x/y"))),
    ("Host(`b.test`) || Path(`/only`)", Some(("c.test", "/only"))),
    ("HostRegexp(`^.+[.]r[.]test$`)", Some(("x.r.test", "/"))),
    ("PathRegexp(`^/r/[a-z]+$`)", Some(("d.test", "/r/a"))),
    ("PathPrefix(`/`) && !Header(`X-No`, `1`)", Some(("e.test", "/"))),
    ("Host(`*.w.test`)", Some(("a.w.test", "/"))),
    ("Host(`a.test`", None),
    ("Nope(`x`)", None),
    ("PathRegexp(`(`)", None),
    ("ClientIP(`x`)", None),
    ("", None),
];

fn router() -> impl Strategy<Value = Value> {
    let pick = |list: Value| select(values(list));
    (
        select(RULES.map(|(rule, _)| rule).to_vec()),
        select([named("s"), vec!["nope".to_owned(), "api@internal".to_owned()]].concat()),
        subsequence([named("m"), vec!["nope".to_owned()]].concat(), 0..3),
        pick(json!([0, 0, 5, -3, 9223372036854775807_i64, "x", 1.5])),
        pick(json!([null, null, ["web"], ["websecure", "web"], ["nope"], []])),
        pick(json!([null, null, {}, {"options": "o0"}, {"options": "o1@file"}, {"options": "nope"}, {"certResolver": "x"}])),
        pick(json!([null, null, null, {"surplus": 1}, {"ruleSyntax": "v2"}, {"observability": {"accessLogs": false}}])),
    )
        .prop_map(|(rule, service, middlewares, priority, entry_points, tls, more)| {
            let mut router = json!({"rule": rule, "service": service, "middlewares": middlewares, "priority": priority});
            let fields = [("entryPoints", entry_points), ("tls", tls)];
            let more = more.as_object().cloned().unwrap_or_default();
            let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(more);
            for (name, value) in fields.filter(|(_, value)| !value.is_null()) {
                router[name] = value;
            }
            router
        })
}

fn configuration() -> impl Strategy<Value = Value> {
    (
        prop::collection::vec(router(), NUMBERED),
        objects("s", services()),
        objects("m", middlewares()),
        objects("t", transports()),
        objects("o", tls_options()),
        prop::option::of(select(tls_options())),
    )
        .prop_map(|(routers, services, middlewares, transports, mut options, default)| {
            if let Some(default) = default {
                options["default"] = default;
            }
            let routers: serde_json::Map<String, Value> = named("r").into_iter().zip(routers).collect();
            json!({
                "http": {"routers": routers, "services": services, "middlewares": middlewares, "serversTransports": transports},
                "tls": {"options": options},
            })
        })
}

/// What the control plane makes of a file: every object with its status.
fn checked(configuration: &Value) -> ConfigMap {
    let mut map = ConfigMap::new();
    let mut checker = Checker::default();
    for name in ["web", "websecure"] {
        let key = Key::new(&format!("static/entryPoints/{name}")).expect("a key");
        let entry_point = object(&key, &json!({"address": "127.0.0.1:0"}));
        checker.upsert([(key, entry_point)], []);
    }
    let text = configuration.to_string();
    let document = document::parse("dynamic.yaml", &text, Format::Yaml).expect("JSON is YAML");
    checker.replace_provider(&draft_from_documents("file", &[document]).expect("a draft"));
    for (key, record) in checker.records() {
        map.put(key.clone(), encode(record));
    }
    map
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_the_check_lets_pass_the_compiler_takes_and_errors_stand_in_their_places(configuration in configuration()) {
        let map = checked(&configuration);
        let table = compile(&map);
        for (key, bytes) in map.iter() {
            let record = record(key, bytes).expect("just written");
            let disabled = record.status.state == Verdict::Disabled;
            let problem = table.problems.get(key);
            prop_assert_eq!(disabled, problem.is_some(), "{}: {:?} but {:?}", key, record.status, problem);
            let Some(("http/routers", _)) = key.as_str().rsplit_once('/') else { continue };
            let value: Value = serde_json::from_slice(&record.object.bytes).expect("canonical");
            let rule = value["rule"].as_str().unwrap_or_default();
            let Some((_, Some((host, path)))) = RULES.iter().find(|(known, _)| *known == rule) else { continue };
            let everywhere = value.get("entryPoints").is_none_or(|named| *named == json!([]));
            if !everywhere || value.get("ruleSyntax").is_some() {
                continue;
            }
            // Alone, so that nobody stands before it.
            let mut alone = map.clone();
            for other in map.iter().map(|(key, _)| key).filter(|other| other.kind() == Some(Kind::HttpRouter)) {
                if other != key {
                    alone.delete(other);
                }
            }
            let found = outcome(&compile(&alone), "websecure", value.get("tls").is_some(), host, path);
            let expected = format!("{} {}", key.name(), if disabled { "error: " } else { "[" });
            prop_assert!(found.starts_with(&expected), "{key}: {found}");
        }
    }
}
