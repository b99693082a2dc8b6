//! Compiling services, and whose turn it is.

use std::collections::BTreeMap;

use super::*;

struct World {
    upstreams: UpstreamRegistry,
    states: PolicyStates,
    services: BTreeMap<String, Arc<Service>>,
}

impl World {
    fn new() -> Self {
        Self {
            upstreams: UpstreamRegistry::default(),
            states: PolicyStates::default(),
            services: BTreeMap::new(),
        }
    }

    fn compile(&self, name: &str, json: &str) -> Result<Service, CompileError> {
        let transport = Arc::new(Transport::plain());
        let resolver = Resolver {
            upstreams: &self.upstreams,
            states: &self.states,
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

fn turns(service: &Service, number: usize) -> String {
    (0..number)
        .map(|_| {
            let mut service = service;
            loop {
                match &service.kind {
                    ServiceKind::LoadBalancer(balancer) => {
                        break balancer
                            .next()
                            .map_or('-', |server| server.url.chars().last().expect("not empty"));
                    }
                    ServiceKind::Weighted(weighted) => match weighted.next() {
                        Some(child) => service = child,
                        None => break '-',
                    },
                    ServiceKind::Internal(_) => break 'i',
                }
            }
        })
        .collect()
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
        balancer.next().expect("a server").base_path.to_string()
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
    assert_eq!(error(r#"{"mirroring":{}}"#), "mirroring does not work yet");
    assert_eq!(error(r#"{"failover":{}}"#), "failover does not work yet");
    assert_eq!(error(r#"{"highestRandomWeight":{}}"#), "highestRandomWeight does not work yet");
    assert_eq!(error(r#"{"loadBalancer":{"strategy":"p2c"}}"#), "strategy does not work yet");
    assert_eq!(error(r#"{"loadBalancer":{"sticky":{"cookie":{}}}}"#), "sticky does not work yet");
    assert_eq!(error(r#"{"loadBalancer":{"healthCheck":{}}}"#), "healthCheck does not work yet");
    assert_eq!(error(r#"{"weighted":{"sticky":{}}}"#), "sticky does not work yet");
    assert_eq!(error(r#"{"loadBalancer":{"serversTransport":"no"}}"#), "no@file does not exist");
    assert_eq!(error(r#"{"weighted":{"services":[{"name":"no"}]}}"#), "no@file does not exist");
    assert!(error(r#"{"loadBalancer":{"servers":[{"url":"ftp://x"}]}}"#).starts_with("unsupported scheme"));
    assert!(world.compile("s@file", r#"{"loadBalancer":{"serversTransport":"t"}}"#).is_ok());
}
