//! Checks of the API against what Traefik was seen to answer: names, statuses, texts, pages, lengths.

use ravelin_config::static_config::{Api, StaticConfig};
use ravelin_config::{ConfigMap, Key};

use super::*;
use crate::compile::tests::{base, compile, put, put_disabled, put_internal, server};

fn put_api(map: &mut ConfigMap, base_path: &str) {
    put(map, "static/api", &json!({"insecure": true, "dashboard": false, "basePath": base_path}));
    let api = Api { insecure: true, dashboard: false, base_path: base_path.to_owned(), ..Api::default() };
    put_internal(map, &StaticConfig { api: Some(api), ..StaticConfig::default() });
}

/// Two middlewares, three good routers and one in error, on two entry points and the API's own.
fn lists() -> ConfigMap {
    let mut map = base();
    put(&mut map, "static/entryPoints/traefik", &json!({"address": ":8080"}));
    put_api(&mut map, "/");
    map.delete(&Key::new("http/services/s@file").expect("a key"));
    put(&mut map, "http/services/s1@file", &server("http://127.0.0.1:9001"));
    let two = json!({"loadBalancer": {"servers": [{"url": "http://127.0.0.1:9002"}, {"url": "http://127.0.0.1:9003"}]}});
    put(&mut map, "http/services/s2@file", &two);
    put(&mut map, "http/middlewares/m1@file", &json!({"redirectScheme": {"scheme": "https"}}));
    put(&mut map, "http/middlewares/m2@file", &json!({"stripPrefix": {"prefixes": ["/x"]}}));
    let router = |name: &str, service: &str, priority: i64, middlewares: &[&str]| {
        let rule = format!("Host(`{name}.test`)");
        json!({"rule": rule, "service": service, "priority": priority, "middlewares": middlewares})
    };
    put(&mut map, "http/routers/alpha@file", &router("alpha", "s1", 10, &["m1"]));
    put(&mut map, "http/routers/beta@file", &router("beta", "s2", 30, &["m1", "m2"]));
    put(&mut map, "http/routers/gamma@file", &router("gamma", "s1@file", 20, &[]));
    put_disabled(&mut map, "http/routers/broken@file", &router("broken", "nope", 5, &[]), None);
    map
}

struct Answer {
    status: u16,
    text: String,
    response: Response<Bytes>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn names(&self) -> Vec<String> {
        let items = self.json();
        let names = items
            .as_array()
            .expect("a list")
            .iter()
            .map(|item| item["name"].as_str().expect("a name").to_owned());
        names.collect()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }
}

fn ask(map: &ConfigMap, method: Method, target: &str) -> Answer {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let response = render(&compile(map), &method, path, query);
    let text = String::from_utf8(response.body().to_vec()).expect("text");
    Answer { status: response.status().as_u16(), text, response }
}

fn get(target: &str) -> Answer {
    ask(&lists(), Method::GET, target)
}

#[test]
fn a_service_with_a_sealed_url_shows_its_servers_and_neither_user_nor_password() {
    use ravelin_config::secret::seal_record;
    use ravelin_config::{Kind, Object, Record, SealingKeys, Status};

    let keys = SealingKeys::new([0; 16], &[[1; 32]]).expect("one key");
    let servers =
        json!([{"url": "http://joe:Marked0Secret@127.0.0.1:9002"}, {"url": "http://127.0.0.1:9003"}]);
    let bytes = serde_json::to_vec(&json!({"loadBalancer": {"servers": servers}})).expect("JSON");
    let object = Object::new(Kind::HttpService, 1, bytes.into());
    let record = Record { object, status: Status::enabled(), last_good: None };
    let (record, secrets) = seal_record(&record, &keys).expect("it can be sealed");
    let mut map = lists();
    map.put(Key::new("http/services/s2@file").expect("a key"), crate::compile::tests::encode(&record));
    let view = keys.view_key("");
    map.change_secrets(secrets.iter().map(|(id, secret)| (*id, Some(view.seal(id, secret)))));
    map.add_view_key(view);
    let shown = ask(&map, Method::GET, "/api/http/services/s2@file");
    assert!(!shown.text.contains("joe") && !shown.text.contains("Marked0"), "{}", shown.text);
    let statuses = json!({"http://…@127.0.0.1:9002": "UP", "http://127.0.0.1:9003": "UP"});
    assert_eq!(shown.json()["serverStatus"], statuses, "{}", shown.text);
    assert_eq!(shown.json()["loadBalancer"]["servers"][0]["url"], "http://…@127.0.0.1:9002");
    assert_eq!(compile(&map).problems.len(), lists_problems());
}

/// The objects of [`lists`] that are in error.
fn lists_problems() -> usize {
    compile(&lists()).problems.len()
}

#[test]
fn a_router_shows_what_traefik_shows() {
    let page = get("/api/http/routers?per_page=2");
    let observability =
        json!({"accessLogs": true, "metrics": true, "tracing": true, "traceVerbosity": "minimal"});
    let expected = json!([
        {
            "entryPoints": ["web", "websecure"], "middlewares": ["m1@file"], "service": "s1",
            "rule": "Host(`alpha.test`)", "priority": 10, "observability": observability, "status": "enabled",
            "using": ["web", "websecure"], "name": "alpha@file", "provider": "file", "priorityStr": "10",
        },
        {
            "entryPoints": ["traefik"], "service": "api@internal", "rule": "PathPrefix(`/api`)", "ruleSyntax": "default",
            "priority": 9_223_372_036_854_775_806_i64, "observability": observability, "status": "enabled",
            "using": ["traefik"], "name": "api@internal", "provider": "internal", "priorityStr": "9223372036854775806",
        },
    ]);
    assert_eq!(page.json(), expected);
    assert_eq!((page.text.len(), page.header("content-type")), (665, Some("application/json")));
    assert_eq!(page.header("x-next-page"), Some("2"));
    let broken = get("/api/http/routers/broken@file").json();
    assert_eq!((&broken["status"], &broken["error"]), (&json!("disabled"), &json!(["judged bad"])));
}

#[test]
fn services_and_middlewares_show_their_type_users_and_servers() {
    let expected = json!([{
        "loadBalancer": {
            "passHostHeader": true, "responseForwarding": {"flushInterval": "100ms"}, "strategy": "wrr",
            "servers": [{"url": "http://127.0.0.1:9002"}, {"url": "http://127.0.0.1:9003"}],
        },
        "serverStatus": {"http://127.0.0.1:9002": "UP", "http://127.0.0.1:9003": "UP"},
        "status": "enabled", "type": "loadbalancer", "usedBy": ["beta@file"], "name": "s2@file", "provider": "file",
    }]);
    assert_eq!(get("/api/http/services?search=S2").json(), expected);
    assert_eq!(get("/api/http/services").names(), ["api@internal", "noop@internal", "s1@file", "s2@file"]);
    let middlewares = get("/api/http/middlewares").json();
    let expected = json!({
        "stripPrefix": {"prefixes": ["/x"]}, "status": "enabled", "type": "stripprefix", "usedBy": ["beta@file"],
        "name": "m2@file", "provider": "file",
    });
    assert_eq!(middlewares[1], expected);
    assert_eq!(middlewares[0]["usedBy"], json!(["alpha@file", "beta@file"]));
}

#[test]
fn lists_are_filtered_sorted_and_paged() {
    for (query, expected) in [
        ("", "alpha@file api@internal beta@file broken@file gamma@file"),
        ("per_page=2&page=2", "beta@file broken@file"),
        ("search=BETA", "beta@file"),
        ("search=.test", "alpha@file beta@file broken@file gamma@file"),
        ("search=none", ""),
        ("status=disabled", "broken@file"),
        ("status=ENABLED", "alpha@file api@internal beta@file gamma@file"),
        ("serviceName=s1%40file", "alpha@file gamma@file"),
        ("serviceName=s1", "alpha@file"),
        ("middlewareName=m1%40file", "alpha@file beta@file"),
        ("middlewareName=m1", ""),
        ("sortBy=priority", "broken@file alpha@file gamma@file beta@file api@internal"),
        ("sortBy=rule&direction=desc", "api@internal gamma@file broken@file beta@file alpha@file"),
        ("sortBy=status", "broken@file alpha@file api@internal beta@file gamma@file"),
        ("sortBy=nonsense", "alpha@file api@internal beta@file broken@file gamma@file"),
    ] {
        assert_eq!(get(&format!("/api/http/routers?{query}")).names().join(" "), expected, "{query}");
    }
    let services = get("/api/http/services?sortBy=servers&direction=desc&search=s").names();
    assert_eq!(services, ["s2@file", "s1@file"]);
    assert_eq!(get("/api/entrypoints?per_page=1").names(), ["traefik"]);
    assert_eq!(get("/api/http/routers?search=none").text, "[]\n");
}

#[test]
fn bad_numbers_names_paths_and_methods_have_their_answers() {
    for (target, status, body) in [
        (
            "/api/http/routers?page=99&per_page=2",
            400,
            "{\"message\":\"invalid request: page: 99, per_page: 2\"}\n",
        ),
        ("/api/http/routers?page=0", 400, "{\"message\":\"invalid request: page: 0\"}\n"),
        ("/api/http/routers?page=two", 400, "{\"message\":\"invalid request: page: 0\"}\n"),
        ("/api/http/routers?per_page=-1", 400, "{\"message\":\"invalid request: per_page: -1\"}\n"),
        ("/api/http/routers/none@file", 404, "{\"message\":\"router not found: none@file\"}\n"),
        ("/api/tcp/services/none@file", 404, "{\"message\":\"service not found: none@file\"}\n"),
        ("/api/overview/", 404, "404 page not found\n"),
        ("/api", 404, "404 page not found\n"),
        ("/api/", 404, "404 page not found\n"),
        ("/api/nothing", 404, "404 page not found\n"),
        ("/apis", 404, "404 page not found\n"),
        ("/api/http/things", 404, "404 page not found\n"),
    ] {
        let answer = get(target);
        assert_eq!((answer.status, answer.text.as_str()), (status, body), "{target}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{target}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{target}");
    }
    for method in [Method::POST, Method::HEAD] {
        let answer = ask(&lists(), method, "/api/overview");
        assert_eq!((answer.status, answer.text.as_str()), (405, ""));
        assert_eq!(answer.header("content-type"), None);
    }
}

#[test]
fn raw_data_overview_version_and_entry_points() {
    let raw = get("/api/rawdata").json();
    assert_eq!(raw["routers"]["broken@file"]["status"], "disabled");
    assert_eq!(raw["routers"]["alpha@file"].get("name"), None, "names stand in the keys only");
    assert_eq!(raw["services"]["noop@internal"], json!({"status": "enabled"}));
    assert_eq!(raw.get("tcpRouters"), None);
    let overview = get("/api/overview").json();
    assert_eq!(overview["http"]["routers"], json!({"total": 5, "warnings": 0, "errors": 1}));
    assert_eq!(overview["http"]["services"]["total"], 4);
    let version = get("/api/version").json();
    let mut fields: Vec<&String> = version.as_object().expect("an object").keys().collect();
    fields.sort();
    assert_eq!(fields, ["Codename", "Version", "startDate"]);
    let web = get("/api/entrypoints/web").json();
    assert_eq!((&web["name"], &web["address"]), (&json!("web"), &json!(":80")));
    assert_eq!(
        (web.get("asDefault"), web["forwardedHeaders"].get("insecure")),
        (None, None),
        "empty ones are left out"
    );
    assert_eq!(get("/api/entrypoints/none").status, 404);
    assert!(!get("/api/rawdata").text.contains('&'), "as Go escapes it");
}

#[test]
fn a_router_is_copied_for_entry_points_with_something_of_their_own() {
    let mut map = lists();
    let config = json!({"address": ":443", "http": {"middlewares": ["m2"], "tls": {}}});
    put(&mut map, "static/entryPoints/websecure", &config);
    let routers = ask(&map, Method::GET, "/api/http/routers?search=alpha").json();
    assert_eq!((&routers[0]["name"], &routers[0]["entryPoints"]), (&json!("alpha@file"), &json!(["web"])));
    let copy = &routers[1];
    assert_eq!((&copy["name"], &copy["using"]), (&json!("websecure-alpha@file"), &json!(["websecure"])));
    assert_eq!(
        (&copy["middlewares"], &copy["tls"]),
        (&json!(["m2@file", "m1@file"]), &json!({"options": "default"}))
    );
    let service = ask(&map, Method::GET, "/api/http/services/s2@file").json();
    assert_eq!(service["usedBy"], json!(["beta@file", "websecure-beta@file"]));
    let twice = json!({"rule": "Host(`t.test`)", "service": "s1", "middlewares": ["m2", "m2@file"]});
    put(&mut map, "http/routers/twice@file", &twice);
    let middleware = ask(&map, Method::GET, "/api/http/middlewares/m2@file").json();
    let users = middleware["usedBy"].as_array().expect("a list");
    assert_eq!(users.iter().filter(|user| **user == "twice@file").count(), 1, "each user is named once");
}

#[test]
fn certificates_in_error_are_counted() {
    let mut map = lists();
    let text = json!({"certFile": "none", "keyFile": "none"});
    put_disabled(&mut map, "tls/certificates/one@file", &text, None);
    let counts = &ask(&map, Method::GET, "/api/overview").json()["certificates"];
    assert_eq!(*counts, json!({"total": 1, "warnings": 0, "errors": 1}));
}

#[test]
fn the_base_path_stands_in_front_and_names_may_be_escaped() {
    let mut map = lists();
    put_api(&mut map, "/admin");
    assert_eq!(ask(&map, Method::GET, "/admin/api/http/routers/alpha%40file").status, 200);
    assert_eq!(ask(&map, Method::GET, "/api/version").status, 404);
}

#[tokio::test]
async fn a_large_configuration_is_rendered_off_the_worker() {
    let mut map = lists();
    for number in 0..300 {
        let router = json!({"rule": format!("Host(`h{number}.test`)"), "service": "s1"});
        put(&mut map, &format!("http/routers/h{number}@file"), &router);
    }
    let table = compile(&map);
    let response = answer(&table, &Method::GET, "/api/http/routers", Some("search=h299"), "").await;
    assert_eq!(response.headers().get("x-next-page").map(HeaderValue::as_bytes), Some(b"1".as_slice()));
    assert!(String::from_utf8_lossy(response.body()).contains("h299@file"));
}

#[test]
fn ping_tells_of_the_end() {
    let mut map = lists();
    let pinged = |map: &ConfigMap, terminating| {
        let response = ping(&compile(map), terminating);
        (response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned())
    };
    put(&mut map, "static/ping", &json!({}));
    assert_eq!(pinged(&map, false), (200, "OK".to_owned()));
    assert_eq!(pinged(&map, true), (503, "Service Unavailable".to_owned()));
    put(&mut map, "static/ping", &json!({"terminatingStatusCode": 204}));
    assert_eq!(pinged(&map, true), (204, String::new()));
}

#[test]
fn a_server_that_is_down_is_shown_as_down_until_it_is_up_again() {
    let mut map = lists();
    let servers = json!([{"url": "http://127.0.0.1:9004"}, {"url": "http://127.0.0.1:9005"}]);
    let passive = json!({"failureWindow": "1h", "maxFailedAttempts": 1});
    let service = json!({"loadBalancer": {"servers": servers, "passiveHealthCheck": passive}});
    put(&mut map, "http/services/falls@file", &service);
    let table = compile(&map);
    let shown = || {
        let response = render(&table, &Method::GET, "/api/http/services/falls@file", "");
        let json: Value = serde_json::from_slice(response.body()).expect("JSON");
        json["serverStatus"].clone()
    };
    assert_eq!(shown(), json!({"http://127.0.0.1:9004": "UP", "http://127.0.0.1:9005": "UP"}));
    let service = table.services["falls@file"].as_ref().expect("a service");
    let crate::service::ServiceKind::LoadBalancer(balancer) = &service.kind else {
        panic!("a load balancer")
    };
    balancer.note(&balancer.servers()[1], true);
    assert_eq!(shown(), json!({"http://127.0.0.1:9004": "UP", "http://127.0.0.1:9005": "DOWN"}));
    let explained = render(
        &table,
        &Method::GET,
        "/api/explain",
        "url=http%3A%2F%2Fbeta.test%2Fx&entryPoint=web&method=POST",
    );
    let text = String::from_utf8(explained.body().to_vec()).expect("text");
    assert!(text.contains("router beta@file, priority 30"), "{text}");
    assert!(text.contains("POST http://beta.test/x on entry point web"), "{text}");
}

#[test]
fn what_cannot_be_explained_is_told_as_an_error() {
    for (query, wanted) in [
        ("", "is no URL of the form"),
        ("url=http://a.test/&header=x", "is no field of the form"),
        ("url=http://a.test/&entryPoint=nowhere", "no entry point nowhere"),
        ("url=http://a.test/&colour=red", "is not known of a request"),
    ] {
        let answer = get(&format!("/api/explain?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text.contains(wanted), "{query}: {}", answer.text);
    }
}

#[test]
fn objects_of_tcp_and_udp_are_shown_with_what_they_use_and_their_status() {
    let mut map = lists();
    put(&mut map, "static/entryPoints/dns", &json!({"address": ":53/udp"}));
    let mut wanted = |key: &str, json: Value| put_disabled(&mut map, key, &json, None);
    wanted("tcp/routers/all@file", json!({"rule": "HostSNI(`*`)", "service": "s", "entryPoints": ["web"]}));
    let named = json!({"rule": "HostSNI(`a.test`)", "service": "s@file", "middlewares": ["m"], "tls": {}});
    wanted("tcp/routers/named@file", named);
    wanted("tcp/routers/nowhere@file", json!({"service": "none", "entryPoints": ["none"]}));
    wanted("tcp/services/s@file", json!({"loadBalancer": {"servers": [{"address": "127.0.0.1:1"}]}}));
    wanted("tcp/services/w@file", json!({"weighted": {"services": [{"name": "s"}]}}));
    wanted("tcp/middlewares/m@file", json!({"inFlightConn": {"amount": 3}}));
    wanted("udp/routers/r@file", json!({"service": "s"}));
    wanted("udp/services/s@file", json!({"loadBalancer": {"servers": [{"address": "127.0.0.1:1"}]}}));
    let ask = |target: &str| ask(&map, Method::GET, target);

    let status = json!({"status": "disabled", "error": ["judged bad"], "provider": "file"});
    let with = |name: &str, own: Value| {
        let mut all = status.clone();
        for (key, value) in [("name", json!(name))]
            .into_iter()
            .chain(own.as_object().expect("fields").iter().map(|(key, value)| (key.as_str(), value.clone())))
        {
            all[key] = value;
        }
        all
    };
    let both = json!(["web", "websecure"]);
    let named = json!({"rule": "HostSNI(`a.test`)", "service": "s@file", "middlewares": ["m@file"], "priority": 17,
        "priorityStr": "17", "tls": {"passthrough": false}, "entryPoints": both, "using": both});
    assert_eq!(ask("/api/tcp/routers/named@file").json(), with("named@file", named));
    let all = ask("/api/tcp/routers/all@file").json();
    assert_eq!((&all["priority"], &all["using"]), (&json!(-1), &json!(["web"])));
    let nowhere = ask("/api/tcp/routers/nowhere@file").json();
    assert_eq!((nowhere.get("using"), &nowhere["priorityStr"]), (None, &json!("0")));
    let udp = json!({"service": "s", "entryPoints": ["dns"], "using": ["dns"]});
    assert_eq!(ask("/api/udp/routers/r@file").json(), with("r@file", udp));
    let servers = json!({"servers": [{"address": "127.0.0.1:1"}]});
    let service =
        json!({"type": "loadbalancer", "loadBalancer": servers, "usedBy": ["all@file", "named@file"]});
    assert_eq!(ask("/api/tcp/services/s@file").json(), with("s@file", service));
    assert_eq!(ask("/api/tcp/services/w@file").json()["weighted"]["services"][0]["weight"], 1);
    assert_eq!(ask("/api/tcp/middlewares/m@file").json()["usedBy"], json!(["named@file"]));

    // Pages, order and filters are those of HTTP.
    let page = ask("/api/tcp/routers?per_page=1&page=2&sortBy=priority");
    assert_eq!((page.names(), page.header("x-next-page")), (vec!["nowhere@file".to_owned()], Some("3")));
    assert_eq!(ask("/api/tcp/routers?search=a.test").names(), ["named@file"]);
    assert_eq!(ask("/api/udp/services?status=enabled").text, "[]\n");
    let raw = ask("/api/rawdata").json();
    assert_eq!(raw["tcpRouters"]["named@file"].get("name"), None);
    assert!(raw["udpServices"]["s@file"].is_object() && raw.get("udpMiddlewares").is_none());
    let overview = ask("/api/overview").json();
    assert_eq!(overview["tcp"]["routers"], json!({"total": 3, "warnings": 0, "errors": 3}));
    assert_eq!(overview["udp"]["services"]["total"], 1);
}
