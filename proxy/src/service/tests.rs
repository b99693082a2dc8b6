//! Compiling services, and whose turn it is.

use std::collections::BTreeMap;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::*;

struct World {
    upstreams: UpstreamRegistry,
    states: PolicyStates,
    servers: ServerStates,
    checks: Checks,
    services: BTreeMap<String, Arc<Service>>,
}

impl World {
    fn new() -> Self {
        Self {
            upstreams: UpstreamRegistry::default(),
            states: PolicyStates::default(),
            servers: ServerStates::default(),
            checks: Checks::default(),
            services: BTreeMap::new(),
        }
    }

    fn compile(&self, name: &str, json: &str) -> Result<Service, CompileError> {
        let transport = Arc::new(Transport::plain());
        let resolver = Resolver {
            upstreams: &self.upstreams,
            states: &self.states,
            servers: &self.servers,
            checks: &self.checks,
            metrics: None,
            transport: &|name| {
                (name == DEFAULT_TRANSPORT || name == "t@file").then(|| Arc::clone(&transport))
            },
            service: &|name| self.services.get(name).cloned(),
            middleware: &|_| None,
        };
        Service::compile(name, &serde_json::from_str(json).expect("the form is right"), &resolver)
    }

    fn with(mut self, name: &str, json: &str) -> Self {
        let service = self.compile(name, json).expect("good");
        self.services.insert(name.to_owned(), Arc::new(service));
        self
    }
}

/// A request of a client, with these cookies.
fn ask<R>(client: &str, cookies: &str, ask: impl FnOnce(&Asker<'_>) -> R) -> R {
    let mut headers = HeaderMap::new();
    if !cookies.is_empty() {
        headers.insert(COOKIE, HeaderValue::from_str(cookies).expect("a value"));
    }
    ask(&Asker { headers: &headers, client: client.as_bytes() })
}

fn turns(service: &Service, number: usize) -> String {
    (0..number).map(|_| ask("192.0.2.1", "", |asker| turn(service, asker).0)).collect()
}

/// The last character of the chosen server's URL, and the cookies that the client gets.
fn turn(mut service: &Service, asker: &Asker<'_>) -> (char, Vec<HeaderValue>) {
    let mut cookies = Vec::new();
    loop {
        match &service.kind {
            ServiceKind::LoadBalancer(balancer) => {
                let Some(Choice { member, cookie }) = balancer.choose(asker) else { return ('-', cookies) };
                cookies.extend(cookie.cloned());
                return (member.url.chars().last().expect("not empty"), cookies);
            }
            ServiceKind::Weighted(weighted) => {
                let Some(Choice { member, cookie }) = weighted.choose(asker) else { return ('-', cookies) };
                cookies.extend(cookie.cloned());
                service = member;
            }
            ServiceKind::Internal(_) => return ('i', cookies),
            ServiceKind::Mirroring(mirroring) => service = mirroring.service(),
            ServiceKind::Failover(failover) => match failover.turn() {
                Turn::One(child) | Turn::Both(child, ..) => service = child,
                Turn::Nobody => return ('-', cookies),
            },
        }
    }
}

fn servers(weights: &[(&str, i64)]) -> String {
    let servers: Vec<_> = weights
        .iter()
        .map(|(port, weight)| format!(r#"{{"url":"http://127.0.0.1:{port}","weight":{weight}}}"#))
        .collect();
    format!(r#"{{"loadBalancer":{{"servers":[{}]}}}}"#, servers.join(","))
}

#[test]
fn servers_take_turns_by_weight() {
    let world = World::new();
    let turns_of =
        |weights: &[(&str, i64)]| turns(&world.compile("s@file", &servers(weights)).expect("good"), 8);
    assert_eq!(turns_of(&[("1", 1), ("2", 1)]), "12121212");
    assert_eq!(turns_of(&[("1", 3), ("2", 1)]), "11211121");
    assert_eq!(turns_of(&[("1", 1), ("2", 0), ("3", -1)]), "11111111");
    assert_eq!(turns_of(&[("1", 0), ("2", -2)]), "--------");
    assert_eq!(turns_of(&[]), "--------");
}

#[test]
fn shares_are_exact_whoever_takes_the_turn() {
    let world = World::new();
    let service = Arc::new(world.compile("s@file", &servers(&[("1", 5), ("2", 2), ("3", 1)])).expect("good"));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let service = Arc::clone(&service);
            std::thread::spawn(move || turns(&service, 200))
        })
        .collect();
    let all: String = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    let count = |server: char| all.chars().filter(|&turn| turn == server).count();
    assert_eq!((count('1'), count('2'), count('3')), (500, 200, 100));
}

#[test]
fn services_take_turns_within_services() {
    let world = World::new()
        .with("s1@file", &servers(&[("1", 1)]))
        .with("s2@file", &servers(&[("2", 1)]))
        .with("s3@file", &servers(&[("3", 1)]))
        .with("w2@file", r#"{"weighted":{"services":[{"name":"s1","weight":1},{"name":"s2","weight":1}]}}"#);
    let nested = r#"{"weighted":{"services":[{"name":"w2"},{"name":"s3@file","weight":1}]}}"#;
    assert_eq!(turns(&world.compile("n@file", nested).expect("good"), 8), "13231323");
    let zero = r#"{"weighted":{"services":[{"name":"s1","weight":0},{"name":"s2","weight":-1}]}}"#;
    assert_eq!(turns(&world.compile("z@file", zero).expect("good"), 2), "--");
    let internal = r#"{"weighted":{"services":[{"name":"noop@internal"}]}}"#;
    assert_eq!(turns(&world.compile("i@file", internal).expect("good"), 1), "i");
}

#[test]
fn a_base_path_counts_only_where_it_is_preserved() {
    let world = World::new();
    let base = |url: &str, preserve: bool| {
        let json =
            format!(r#"{{"loadBalancer":{{"servers":[{{"url":"{url}","preservePath":{preserve}}}]}}}}"#);
        let service = world.compile("s@file", &json).expect("good");
        let ServiceKind::LoadBalancer(balancer) = &service.kind else { panic!("a load balancer") };
        balancer.servers()[0].base_path.to_string()
    };
    assert_eq!(base("http://127.0.0.1:1/base/", false), "");
    assert_eq!(base("http://127.0.0.1:1/base/", true), "/base");
    assert_eq!(base("http://127.0.0.1:1/b%2fse?x=1", true), "/b%2fse");
    assert_eq!(base("http://127.0.0.1:1", true), "");
}

#[test]
fn what_does_not_work_is_an_error() {
    let world = World::new();
    let error = |json: &str| world.compile("s@file", json).expect_err("must not compile").to_string();
    assert_eq!(error("{}"), "no kind is given");
    assert_eq!(error(r#"{"loadBalancer":{},"weighted":{}}"#), "more than one kind is given");
    assert_eq!(error(r#"{"mirroring":{"service":"no"}}"#), "no@file does not exist");
    assert_eq!(error(r#"{"failover":{"service":"api@internal","fallback":"no"}}"#), "no@file does not exist");
    assert_eq!(error(r#"{"loadBalancer":{"serversTransport":"no"}}"#), "no@file does not exist");
    assert_eq!(error(r#"{"weighted":{"services":[{"name":"no"}]}}"#), "no@file does not exist");
    assert!(error(r#"{"loadBalancer":{"servers":[{"url":"ftp://x"}]}}"#).starts_with("unsupported scheme"));
    assert!(world.compile("s@file", r#"{"loadBalancer":{"serversTransport":"t"}}"#).is_ok());
}

#[test]
fn a_cookie_leads_back_through_every_sticky_service() {
    let lb = |port: &str, second: &str| {
        format!(
            r#"{{"loadBalancer":{{"sticky":{{"cookie":{{"name":"in"}}}},"servers":[
                {{"url":"http://127.0.0.1:{port}"}},{{"url":"http://127.0.0.1:{second}"}}]}}}}"#
        )
    };
    let world = World::new().with("a@file", &lb("1", "2")).with("b@file", &lb("3", "4"));
    let sticky =
        r#"{"weighted":{"sticky":{"cookie":{"name":"out"}},"services":[{"name":"a"},{"name":"b"}]}}"#;
    let service = world.compile("w@file", sticky).expect("good");
    let (first, given) = ask("192.0.2.1", "", |asker| turn(&service, asker));
    let pairs: Vec<&str> = given
        .iter()
        .map(|cookie| cookie.to_str().expect("ASCII").split(';').next().expect("a pair"))
        .collect();
    assert_eq!(pairs.len(), 2, "{pairs:?}");
    for _ in 0..8 {
        let again = ask("192.0.2.1", &pairs.join("; "), |asker| turn(&service, asker));
        assert_eq!(again, (first, Vec::new()), "the same server, and no new cookie");
    }
    let stranger = ask("192.0.2.1", "out=x; in=http://127.0.0.9:9", |asker| turn(&service, asker));
    assert_eq!(stranger.1.len(), 2, "what names nobody leads nowhere, and is replaced");
}

#[test]
fn a_server_of_weight_0_has_no_cookie_that_leads_to_it() {
    let json = r#"{"loadBalancer":{"sticky":{"cookie":{"name":"lb"}},"servers":[
        {"url":"http://127.0.0.1:1"},{"url":"http://127.0.0.1:2","weight":0}]}}"#;
    let service = World::new().compile("s@file", json).expect("good");
    let (server, cookies) = ask("192.0.2.1", "lb=http://127.0.0.1:2", |asker| turn(&service, asker));
    assert_eq!((server, cookies.len()), ('1', 1));
}

#[test]
fn a_server_that_is_down_is_passed_over_and_its_clients_get_another_cookie() {
    let json = r#"{"loadBalancer":{"sticky":{"cookie":{"name":"lb"}},"servers":[
        {"url":"http://127.0.0.1:1"},{"url":"http://127.0.0.1:2"}]}}"#;
    let world = World::new();
    let service = world.compile("s@file", json).expect("good");
    world.servers.state("s@file", "http://127.0.0.1:1").set_up(false);
    assert_eq!(turns(&service, 4), "2222");
    let (server, cookies) = ask("192.0.2.1", "lb=http://127.0.0.1:1", |asker| turn(&service, asker));
    assert_eq!((server, cookies.len()), ('2', 1));
    world.servers.state("s@file", "http://127.0.0.1:2").set_up(false);
    assert_eq!(turns(&service, 2), "--");
}

#[test]
fn a_client_has_its_own_server_and_its_own_service() {
    let world = World::new().with("s1@file", &servers(&[("1", 1)])).with("s2@file", &servers(&[("2", 1)]));
    let by_server = r#"{"loadBalancer":{"strategy":"hrw","servers":[{"url":"http://127.0.0.1:1"},
        {"url":"http://127.0.0.1:2"},{"url":"http://127.0.0.1:3"}]}}"#;
    let by_service = r#"{"highestRandomWeight":{"services":[{"name":"s1"},{"name":"s2","weight":1},
        {"name":"s1@file","weight":0}]}}"#;
    for json in [by_server, by_service] {
        let service = world.compile("h@file", json).expect("good");
        let of = |client: &str| ask(client, "", |asker| turn(&service, asker).0);
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..64 {
            let client = format!("192.0.2.{number}");
            assert_eq!(of(&client), of(&client));
            seen.insert(of(&client));
        }
        assert!(seen.len() > 1, "{seen:?}");
    }
    let none = world.compile("h@file", r#"{"highestRandomWeight":{"services":[]}}"#).expect("good");
    assert_eq!(turns(&none, 1), "-");
}

#[test]
fn busy_servers_are_passed_over_where_that_counts() {
    let world = World::new();
    for (strategy, counts) in [("p2c", true), ("leasttime", true), ("hrw", false), ("wrr", false)] {
        let json = format!(
            r#"{{"loadBalancer":{{"strategy":"{strategy}","servers":[{{"url":"http://127.0.0.1:1"}},
            {{"url":"http://127.0.0.1:2"}}]}}}}"#
        );
        let service = world.compile(&format!("{strategy}@file"), &json).expect("good");
        let ServiceKind::LoadBalancer(balancer) = &service.kind else { panic!("a load balancer") };
        let busy = balancer.enter(&balancer.servers()[0]);
        assert_eq!(busy.is_some(), counts, "{strategy}");
        balancer.answered(&balancer.servers()[0], Duration::from_millis(5));
        assert!(!counts || turns(&service, 8) == "22222222", "{strategy}");
    }
}

#[test]
fn services_are_nested_so_deep_and_no_deeper() {
    let mut world = World::new().with("s0@file", &servers(&[("1", 1)]));
    let nested = |number: usize| format!(r#"{{"weighted":{{"services":[{{"name":"s{number}"}}]}}}}"#);
    for number in 1..=DEPTH_MAX {
        world = world.with(&format!("s{number}@file"), &nested(number - 1));
    }
    let error = world.compile("s@file", &nested(DEPTH_MAX)).expect_err("too deep").to_string();
    assert_eq!(error, "s@file holds services within services more than 64 deep");
}

#[test]
fn parents_with_a_health_check_leave_out_children_that_are_down() {
    let checked = |port: &str| {
        format!(
            r#"{{"loadBalancer":{{"passiveHealthCheck":{{}},"servers":[{{"url":"http://127.0.0.1:{port}"}}]}}}}"#
        )
    };
    let world = World::new().with("s1@file", &checked("1")).with("s2@file", &checked("2"));
    let of = |kind: &str, health: &str, first: &str| {
        format!(r#"{{"{kind}":{{{health}"services":[{{"name":"{first}"}},{{"name":"s2"}}]}}}}"#)
    };
    let aware = r#""healthCheck":{},"#;
    let mid = of("weighted", aware, "s1").replace(r#",{"name":"s2"}"#, "");
    let world = world.with("mid@file", &mid);
    let service = |json: &str| world.compile("w@file", json).expect("good");
    let (seeing, blind) = (service(&of("weighted", aware, "s1")), service(&of("weighted", "", "s1")));
    let mirrored = service(r#"{"mirroring":{"healthCheck":{},"service":"s1"}}"#);
    let back = service(r#"{"failover":{"healthCheck":{},"service":"s1","fallback":"s2"}}"#);
    let one_sided = service(r#"{"failover":{"service":"s1","fallback":"s2"}}"#);
    let (deep, highest) =
        (service(&of("weighted", aware, "mid")), service(&of("highestRandomWeight", aware, "s1")));
    assert_eq!((turns(&seeing, 4), turns(&deep, 4)), ("1212".into(), "1212".into()));
    let set = |port: &str, up| {
        world.servers.state(&format!("s{port}@file"), &format!("http://127.0.0.1:{port}")).set_up(up)
    };
    set("1", false);
    assert_eq!((turns(&seeing, 4), turns(&deep, 4)), ("2222".into(), "2222".into()));
    assert_eq!((turns(&blind, 4), turns(&highest, 2)), ("-2-2".into(), "22".into()));
    assert!(seeing.is_up() && deep.is_up() && blind.is_up());
    assert_eq!((turns(&back, 2), turns(&one_sided, 2)), ("22".into(), "22".into()));
    assert!(!mirrored.is_up() && back.is_up());
    set("2", false);
    assert_eq!(
        (turns(&seeing, 2), turns(&deep, 2), turns(&highest, 1)),
        ("--".into(), "--".into(), "-".into())
    );
    assert!(!seeing.is_up() && !deep.is_up() && !highest.is_up());
    assert!(blind.is_up(), "who does not ask does not know");
    assert_eq!((turns(&back, 1), turns(&one_sided, 1)), ("-".into(), "-".into()));
    assert!(!back.is_up());
    set("1", true);
    assert_eq!((turns(&seeing, 2), turns(&deep, 2)), ("11".into(), "11".into()));
}
