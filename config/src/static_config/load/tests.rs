//! Static configuration from its three sources: the same result, exclusive, and what stops the start.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::duration::GoDuration;
use crate::rule::Syntax;
use crate::static_config::{Core, EntryPoint};

struct Given {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    files: BTreeMap<String, String>,
}

fn given(arguments: &[&str], environment: &[(&str, &str)], files: &[(&str, &str)]) -> Given {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Given {
        arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
        environment: environment.iter().map(pair).collect(),
        files: files.iter().map(pair).collect(),
    }
}

impl Given {
    fn load(&self) -> Result<Loaded, Vec<Problem>> {
        let read = |path: &Path| Ok(self.files.get(path.to_str().expect("test names are text")).cloned());
        load(&Inputs { arguments: &self.arguments, environment: &self.environment, read: &read })
    }

    fn good(&self) -> Loaded {
        self.load().unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn refused(&self) -> String {
        let problems = self.load().expect_err("the start must be refused");
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

fn file(text: &str) -> Given {
    given(&["--configfile=t.yml"], &[], &[("t.yml", text)])
}

const YAML: &str = "
global: {checkNewVersion: false}
ENTRYPOINTS:
  web:
    address: 127.0.0.1:80
    forwardedHeaders: {trustedIPs: [127.0.0.9, 127.0.0.10]}
    http: {encodeQuerySemicolons: true, sanitizePath: false, tls: {domains: [{main: a.test, sans: [b.test]}]}}
    transport: {respondingTimeouts: {readTimeout: 5}}
providers: {file: {filename: dyn.yaml}, providersThrottleDuration: 100ms}
ping: {entryPoint: web}
api: {dashboard: false}
log: {level: info}
http: {routers: {x: {}}}
nonsense: 1
";

const TOML: &str = "
[global]
checkNewVersion = false
[entryPoints.web]
address = '127.0.0.1:80'
[entryPoints.web.forwardedHeaders]
trustedIPs = ['127.0.0.9', '127.0.0.10']
[entryPoints.web.http]
encodeQuerySemicolons = true
sanitizePath = false
[[entryPoints.web.http.tls.domains]]
main = 'a.test'
sans = ['b.test']
[entryPoints.web.transport.respondingTimeouts]
readTimeout = 5
[providers]
providersThrottleDuration = '100ms'
[providers.file]
filename = 'dyn.yaml'
[ping]
entryPoint = 'web'
[api]
dashboard = false
[log]
level = 'info'
";

#[test]
fn file_flags_and_environment_say_the_same() {
    let from_file = file(YAML).good();
    let from_toml = given(&["--configFile", "t.toml"], &[], &[("t.toml", TOML)]).good();
    let flags = [
        "--entryPoints.web.address=127.0.0.1:80",
        "--entrypoints.WEB.forwardedheaders.trustedips=127.0.0.9,127.0.0.10",
        "--ENTRYPOINTS.web.HTTP.encodequerysemicolons",
        "--entrypoints.web.http.sanitizepath=false",
        "--entrypoints.web.http.tls.domains[0].main=a.test",
        "--entrypoints.web.http.tls.domains[0].sans=b.test",
        "--entrypoints.web.transport.respondingtimeouts.readtimeout",
        "5",
        "--providers.file.filename=dyn.yaml",
        "--providers.providersthrottleduration=100ms",
        "--ping",
        "--ping.entrypoint=web",
        "--api=true",
        "-api.dashboard=false",
        "--global.checknewversion=false",
        "--log.level=info",
    ];
    let from_flags = given(&flags, &[("TRAEFIK_PING_ENTRYPOINT", "nowhere")], &[]).good();
    let variables = [
        ("TRAEFIK_ENTRYPOINTS_WEB_ADDRESS", "127.0.0.1:80"),
        ("TRAEFIK_ENTRYPOINTS_WEB_FORWARDEDHEADERS_TRUSTEDIPS", "127.0.0.9,127.0.0.10"),
        ("TRAEFIK_ENTRYPOINTS_WEB_HTTP_ENCODEQUERYSEMICOLONS", "true"),
        ("TRAEFIK_ENTRYPOINTS_WEB_HTTP_SANITIZEPATH", "false"),
        ("TRAEFIK_ENTRYPOINTS_WEB_HTTP_TLS_DOMAINS_0_MAIN", "a.test"),
        ("TRAEFIK_ENTRYPOINTS_WEB_HTTP_TLS_DOMAINS[0]_SANS", "b.test"),
        ("TRAEFIK_ENTRYPOINTS_WEB_TRANSPORT_RESPONDINGTIMEOUTS_READTIMEOUT", "5"),
        ("TRAEFIK_PROVIDERS_FILE_FILENAME", "dyn.yaml"),
        ("TRAEFIK_PROVIDERS_PROVIDERSTHROTTLEDURATION", "100ms"),
        ("TRAEFIK_PING", "true"),
        ("TRAEFIK_PING_ENTRYPOINT", "web"),
        ("TRAEFIK_API_DASHBOARD", "false"),
        ("TRAEFIK_GLOBAL_CHECKNEWVERSION", "false"),
        ("TRAEFIK_LOG_LEVEL", "info"),
        ("TRAEFIK_NO_SUCH", "1"),
        ("HOME", "/root"),
    ];
    let from_environment = given(&[], &variables, &[]).good();
    assert_eq!(from_file.source, Source::File("t.yml".into()));
    assert_eq!(from_flags.source, Source::Flags);
    assert_eq!(from_environment.source, Source::Environment);
    for other in [&from_toml, &from_flags, &from_environment] {
        assert_eq!(other.config, from_file.config);
        assert_eq!(other.draft.objects, from_file.draft.objects);
    }
    let web = &from_file.config.entry_points["web"];
    assert_eq!(web.forwarded_headers.trusted_ips, ["127.0.0.9", "127.0.0.10"]);
    assert_eq!(web.transport.responding_timeouts.read_timeout, GoDuration::from_secs(5));
    assert_eq!(from_file.config.providers.providers_throttle_duration, GoDuration::from_millis(100));
}

#[test]
fn sources_are_exclusive_and_searched_in_order() {
    let web = "entryPoints: {web: {address: ':1'}}";
    let files = [("./traefik.yml", web), ("/h/.config/traefik.toml", "[entryPoints.toml]\naddress = ':2'")];
    let flags = ["--configFile=missing.yml", "--entryPoints.flag.address=:3", "--no.such=flag"];
    let loaded = given(&flags, &[("HOME", "/h")], &files).good();
    assert_eq!(loaded.source, Source::File("/h/.config/traefik.toml".into()));
    assert_eq!(loaded.config.entry_points.keys().collect::<Vec<_>>(), ["toml"]);
    assert_eq!(
        loaded.notes.first().map(ToString::to_string).as_deref(),
        Some(
            "command line: configFile: there is no file \"missing.yml\": as in Traefik, what counts is: \
             /h/.config/traefik.toml"
        )
    );
    let loaded = given(&flags[..2], &[("TRAEFIK_PING", "true")], &[]).good();
    assert_eq!(loaded.source, Source::Flags);
    assert_eq!(loaded.config.ping, None);
    let loaded = given(&[], &[], &[]).good();
    assert_eq!(loaded.source, Source::Nothing);
    assert_eq!(loaded.config.entry_points["http"].address, ":80");
}

#[test]
fn entry_points_come_by_themselves_where_traefik_makes_them() {
    let names = |text: &str| file(text).good().config.entry_points.into_keys().collect::<Vec<_>>();
    assert_eq!(names("ping: {}"), ["http", "traefik"]);
    assert_eq!(names("ping: {manualRouting: true}"), ["http"]);
    assert_eq!(names("ping: {entryPoint: http}"), ["http"]);
    assert_eq!(names("api: {insecure: true}\nentryPoints: {web: {address: ':1'}}"), ["traefik", "web"]);
    assert_eq!(names("api: {insecure: true}\nentryPoints: {traefik: {address: ':1'}}"), ["traefik"]);
    assert_eq!(names("api: {}"), ["http"]);
}

fn object(loaded: &Loaded, key: &str) -> Json {
    let object = loaded.draft.objects.get(key).unwrap_or_else(|| panic!("{key} is not there"));
    options::object_json(object).expect("objects are JSON")
}

#[test]
fn internal_objects_are_those_of_traefik() {
    let loaded = file(
        "api: {insecure: true, dashboard: true, basePath: /base}\nping: {}\nentryPoints: {web: {address: ':80', http: {redirections: \
         {entryPoint: {to: secure, permanent: false}}}}, secure: {address: ':8443'}, port: {address: ':81', http: \
         {redirections: {entryPoint: {to: ':443'}}}}, lost: {address: ':82', http: {redirections: {entryPoint: {to: \
         nowhere}}}}}\n",
    )
    .good();
    let names: Vec<&str> =
        loaded.draft.objects.keys().map(Key::as_str).filter(|key| key.starts_with("http/")).collect();
    assert_eq!(
        names,
        [
            "http/middlewares/dashboard_redirect@internal",
            "http/middlewares/dashboard_stripprefix@internal",
            "http/middlewares/redirect-port-to-443@internal",
            "http/middlewares/redirect-web-to-secure@internal",
            "http/routers/api@internal",
            "http/routers/dashboard@internal",
            "http/routers/ping@internal",
            "http/routers/port-to-443@internal",
            "http/routers/web-to-secure@internal",
            "http/serversTransports/default@internal",
            "http/services/api@internal",
            "http/services/dashboard@internal",
            "http/services/noop@internal",
            "http/services/ping@internal",
        ]
    );
    assert_eq!(
        object(&loaded, "http/routers/api@internal"),
        json!({"entryPoints": ["traefik"], "priority": 9_223_372_036_854_775_806_i64,
               "rule": "PathPrefix(`/base/api`)", "ruleSyntax": "default", "service": "api@internal"})
    );
    assert_eq!(
        object(&loaded, "http/middlewares/redirect-web-to-secure@internal"),
        json!({"redirectScheme": {"scheme": "https", "port": "8443", "permanent": false}})
    );
    let notes: Vec<String> = loaded.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        ["t.yml:3:253: entryPoints.lost.http.redirections.entryPoint: 'to' entry point field references a \
             non-existing entry point: nowhere",]
    );
    let mut checker = Checker::default();
    checker.replace_provider(&loaded.draft);
    let disabled: Vec<&str> = checker
        .records()
        .filter(|(_, record)| record.status.state == State::Disabled)
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!(disabled, [""; 0]);
}

#[test]
fn what_is_put_by_rest_has_a_service_and_a_router_only_where_it_is_asked_for() {
    let names = |text: &str| {
        let loaded = file(text).good();
        let names = loaded.draft.objects.keys().map(|key| key.as_str().to_owned());
        names.filter(|key| key.contains("rest@") || key.ends_with("/traefik")).collect::<Vec<_>>()
    };
    let points = "entryPoints: {web: {address: ':1'}}";
    assert_eq!(names(points), [""; 0]);
    assert_eq!(names(&format!("{points}\nproviders: {{rest: {{}}}}")), ["http/services/rest@internal"]);
    let insecure = format!("{points}\nproviders: {{rest: {{insecure: true}}}}");
    assert_eq!(
        names(&insecure),
        ["http/routers/rest@internal", "http/services/rest@internal", "static/entryPoints/traefik"]
    );
    let loaded = file(&insecure).good();
    assert_eq!(
        object(&loaded, "http/routers/rest@internal"),
        json!({"entryPoints": ["traefik"], "priority": i64::MAX, "rule": "PathPrefix(`/api/providers`)",
               "ruleSyntax": "default", "service": "rest@internal"})
    );
}

#[test]
fn sections_are_objects_of_the_generation_as_written() {
    let loaded =
        file("entryPoints: {web: {address: ':1'}}\nlog: {level: DEBUG}\ntracing: {otlp: {}}\n").good();
    let keys: Vec<&str> =
        loaded.draft.objects.keys().map(Key::as_str).filter(|key| key.starts_with("static/")).collect();
    assert_eq!(keys, ["static/entryPoints/web", "static/log"]);
    assert_eq!(object(&loaded, "static/entryPoints/web"), json!({"address": ":1"}));
    let notes: Vec<String> = loaded.notes.iter().map(ToString::to_string).collect();
    assert_eq!(notes, ["t.yml:3:1: tracing: tracing does not work yet"]);
    let point: EntryPoint =
        serde_json::from_value(object(&loaded, "static/entryPoints/web")).expect("it fits");
    assert_eq!(point.http2.max_concurrent_streams, 250);
}

#[test]
fn the_transport_to_servers_holds_what_its_files_hold() {
    let made = rcgen::generate_simple_self_signed(vec!["ca.test".to_owned()]).expect("random bytes");
    let ca = made.cert.pem();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("ca.pem").display().to_string();
    std::fs::write(&path, &ca).expect("a file");
    for given in [&path, &ca] {
        let sections = json!({"serversTransport": {"insecureSkipVerify": true, "maxIdleConnsPerHost": 3,
            "rootCAs": [given], "forwardingTimeouts": {"dialTimeout": 4, "responseHeaderTimeout": "1m"}}});
        let loaded = file(&sections.to_string()).good();
        assert_eq!(
            object(&loaded, "http/serversTransports/default@internal"),
            json!({"insecureSkipVerify": true, "maxIdleConnsPerHost": 3, "rootCAs": [ca],
                   "forwardingTimeouts": {"dialTimeout": "4s", "responseHeaderTimeout": "1m0s"}}),
            "{given}"
        );
    }
    let missing = file("serversTransport: {rootCAs: [/no/such/file.pem]}").refused();
    assert!(missing.contains("/no/such/file.pem"), "{missing}");
}

#[test]
fn where_identities_come_from_is_an_object_unless_it_is_off() {
    let loaded = file(
        "spiffe: {workloadAPIAddr: 'unix:///run/agent.sock'}\nserversTransport: {spiffe: {trustDomain: a.test}}\n",
    )
    .good();
    assert_eq!(loaded.notes, []);
    assert_eq!(object(&loaded, "static/spiffe"), json!({"workloadAPIAddr": "unix:///run/agent.sock"}));
    assert_eq!(
        object(&loaded, "http/serversTransports/default@internal"),
        json!({"spiffe": {"trustDomain": "a.test"}})
    );
    for off in ["spiffe: {}", "spiffe: {workloadAPIAddr: ''}"] {
        let loaded = file(&format!("ping: {{}}\n{off}")).good();
        assert!(!loaded.draft.objects.contains_key("static/spiffe"), "{off}");
    }
}

#[test]
fn the_language_of_rules_is_one_of_two() {
    assert!(file("core: {defaultRuleSyntax: v1}").refused().contains("core.defaultRuleSyntax"));
    for (text, expected) in [
        ("log: {}", Syntax::Version3),
        ("core: {}", Syntax::Version3),
        ("core: {defaultRuleSyntax: v3}", Syntax::Version3),
        ("core: {defaultRuleSyntax: v2}", Syntax::Version2),
    ] {
        let loaded = file(text).good();
        assert_eq!(Core::syntax(loaded.config.core.as_ref()), expected, "{text}");
    }
}

#[test]
fn whose_proxy_headers_are_read_must_be_said() {
    let with =
        |option: &str| file(&format!("entryPoints: {{web: {{address: ':80', proxyProtocol: {option}}}}}"));
    for option in ["{}", "true", "{insecure: false}"] {
        let refused = with(option).refused();
        assert!(refused.ends_with("proxyProtocol: no trusted IPs provided"), "{option}: {refused}");
    }
    let refused = with("{trustedIPs: [10.0.0.0/8, nobody]}").refused();
    assert!(refused.contains("proxyProtocol.trustedIPs: \"nobody\" is neither"), "{refused}");
    let given = |loaded: Loaded| loaded.config.entry_points["web"].proxy_protocol.clone();
    assert!(given(with("{insecure: true}").good()).is_some_and(|option| option.insecure));
    let trusted = given(with("{trustedIPs: '10.0.0.0/8,::1'}").good()).expect("it is on");
    assert_eq!(
        (trusted.insecure, trusted.trusted_ips),
        (false, vec!["10.0.0.0/8".to_owned(), "::1".to_owned()])
    );
    assert_eq!(given(file("entryPoints: {web: {address: ':80', proxyProtocol: false}}").good()), None);
}

#[test]
fn what_cannot_be_used_stops_the_start_with_its_place() {
    for (text, expected) in [
        ("entryPoints: {", "t.yml:1:14: cannot be read as YAML: unclosed bracket '{'"),
        (
            "entryPoints:\n  web:\n    adress: x\n",
            "t.yml:3:5: entryPoints.web.adress: field not found, node: adress (did you mean `address`?)",
        ),
        ("", "t.yml: no configuration found in file: t.yml"),
        ("foo: {bar: 1}", "t.yml: no configuration found in file: t.yml"),
        (
            "ping: {}\nping: {}",
            "t.yml:2:1: the key `ping` is already given at 1:1 (rename or remove the duplicate)",
        ),
        (
            "[1, 2]",
            "t.yml:1:1: YAML with something else than keys and values at the top (begin with a key such as `http:`)",
        ),
        (
            "entryPoints: {web: {address: ':1', asDefault: perhaps}}",
            "t.yml:1:47: entryPoints.web.asDefault: expected true or false, found \"perhaps\"",
        ),
        (
            "providers: {providersThrottleDuration: 2 parsecs}",
            "t.yml:1:40: providers.providersThrottleDuration: unknown unit \" parsecs\" in the duration \"2 parsecs\" \
             (write `500ms`, `1m30s`, or a whole number of seconds)",
        ),
        (
            "pilot: {token: x}",
            "t.yml:1:1: pilot: this option of Traefik 2 was removed in version 3 (remove all `pilot` options)",
        ),
        (
            "entryPoints: {web: {address: '127.0.0.1:{{ env }}'}}",
            "t.yml:1:15: entryPoints.web: address: \"{{ env }}\" is no port",
        ),
        (
            "spiffe: {workloadAPIAddr: /run/agent.sock}",
            "t.yml:1:1: spiffe: workloadAPIAddr: expected unix:///path/of/the/socket, or tcp:// with an IP address and a \
             port, found \"/run/agent.sock\"",
        ),
        (
            "spiffe: {}\nserversTransport: {spiffe: {}}",
            "t.yml:2:1: serversTransport: SPIFFE is enabled for this transport, but not configured: set \
             `spiffe.workloadAPIAddr` in the static configuration",
        ),
        (
            "providers: {file: {directry: x}}",
            "t.yml:1:20: providers.file.directry: field not found, node: directry (did you mean `directory`?)",
        ),
    ] {
        assert_eq!(file(text).refused(), expected, "{text}");
    }
    let refused = given(&["--configfile=t.conf"], &[], &[("t.conf", "a: b")]).refused();
    assert_eq!(refused, "t.conf: unsupported file extension: .yaml, .yml and .toml work");
    let refused = given(&["--configfile=t.toml"], &[], &[("t.toml", "= x")]).refused();
    assert!(refused.starts_with("t.toml:1:1: cannot be read as TOML"), "{refused}");
}

#[test]
fn flags_and_variables_are_judged_too() {
    for (flags, expected) in [
        (
            vec!["--entrypoints.web.address=:1", "--entrypoints.web.asdefault=maybe"],
            "command line: entryPoints.web.asDefault: expected true or false, found \"maybe\"",
        ),
        (vec!["--nosuch=1"], "command line: nosuch: field not found, node: nosuch"),
        (
            vec!["--entrypoint.web.address=:1"],
            "command line: entrypoint: field not found, node: entrypoint (did you mean `entryPoints`?)",
        ),
        (
            vec!["--log.level"],
            "command line: log.level: flag needs an argument: --log.level (write --name=value)",
        ),
        (vec!["---x"], "command line: bad flag syntax: ---x"),
        (vec!["--api", "stray"], "command line: unexpected argument \"stray\""),
    ] {
        assert_eq!(given(&flags, &[], &[]).refused(), expected);
    }
    let refused = given(&[], &[("TRAEFIK_ENTRYPOINTS_WEB_ADRESS", ":1")], &[]).refused();
    assert_eq!(
        refused,
        "environment: entryPoints.web.adress: field not found, node: adress (did you mean `address`?)"
    );
}

#[test]
fn a_ping_on_an_unknown_entry_point_does_not_stop_the_start() {
    let loaded = file("ping: {entryPoint: nowhere}\nentryPoints: {web: {address: ':1'}}").good();
    assert_eq!(loaded.config.entry_points.len(), 1);
}
