//! What Traefik makes by itself out of the static configuration: routers, middlewares and services of provider
//! `internal`. One function makes them all, so that API and table see them as any other object.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{Address, Redirection, StaticConfig};
use crate::key::Key;
use crate::object::{Kind, Object};
use crate::options;

/// What Traefik makes by itself.
#[derive(Default)]
pub struct InternalObjects {
    /// Objects of provider `internal`.
    pub objects: Vec<(Key, Arc<Object>)>,
    /// What could not be made: option and reason.
    pub left_out: Vec<(String, String)>,
}

/// Makes them. `transport` is the static section `serversTransport`, with contents in the place of files.
pub fn internal_objects(config: &StaticConfig, transport: Option<&Arc<Object>>) -> InternalObjects {
    let mut making = InternalObjects::default();
    making.put(Kind::HttpService, "noop", json!({}));
    making.api(config);
    making.ping(config);
    making.metrics(config);
    making.rest(config);
    for (name, point) in &config.entry_points {
        let redirection = point.http.redirections.as_ref().and_then(|all| all.entry_point.as_ref());
        if let Some(redirection) = redirection {
            making.redirection(config, name, redirection);
        }
    }
    let options = transport.and_then(|object| options::object_json(object).ok());
    making.put(Kind::HttpServersTransport, "default", options.unwrap_or_else(|| json!({})));
    making
}

impl InternalObjects {
    fn put(&mut self, kind: Kind, name: &str, json: Json) {
        let key = Key::of(kind, &format!("{name}@internal"));
        if let (Ok(key), Ok(object)) = (key, options::object(kind, &json)) {
            self.objects.push((key, Arc::new(object)));
        }
    }

    fn api(&mut self, config: &StaticConfig) {
        let Some(api) = &config.api else { return };
        self.put(Kind::HttpService, "api", json!({}));
        if api.dashboard {
            self.put(Kind::HttpService, "dashboard", json!({}));
        }
        if !api.insecure {
            return;
        }
        let base = api.base_path.trim_matches('/');
        let base = if base.is_empty() { String::new() } else { format!("/{base}") };
        let router = |path: &str, priority: i64, service: &str| {
            json!({"entryPoints": ["traefik"], "rule": format!("PathPrefix(`{path}`)"), "ruleSyntax": "default",
                   "priority": priority, "service": service})
        };
        self.put(Kind::HttpRouter, "api", router(&format!("{base}/api"), i64::MAX - 1, "api@internal"));
        if api.debug {
            self.put(
                Kind::HttpRouter,
                "debug",
                router(&format!("{base}/debug"), i64::MAX - 1, "api@internal"),
            );
        }
        if api.dashboard {
            let mut dashboard = router(&format!("{base}/"), i64::MAX - 2, "dashboard@internal");
            dashboard["middlewares"] =
                json!(["dashboard_redirect@internal", "dashboard_stripprefix@internal"]);
            self.put(Kind::HttpRouter, "dashboard", dashboard);
            let regex = format!(r"^(http:\/\/(\[[\w:.]+\]|[\w\._-]+)(:\d+)?){base}\/$");
            let replacement = format!("${{1}}{base}/dashboard/");
            let redirect =
                json!({"redirectRegex": {"regex": regex, "replacement": replacement, "permanent": true}});
            self.put(Kind::HttpMiddleware, "dashboard_redirect", redirect);
            let prefixes = json!([format!("{base}/dashboard/"), format!("{base}/dashboard")]);
            self.put(
                Kind::HttpMiddleware,
                "dashboard_stripprefix",
                json!({"stripPrefix": {"prefixes": prefixes}}),
            );
        }
    }

    fn ping(&mut self, config: &StaticConfig) {
        let Some(ping) = &config.ping else { return };
        self.put(Kind::HttpService, "ping", json!({}));
        if !ping.manual_routing {
            let router = json!({"entryPoints": [ping.entry_point], "rule": "PathPrefix(`/ping`)",
                "ruleSyntax": "default", "priority": i64::MAX, "service": "ping@internal"});
            self.put(Kind::HttpRouter, "ping", router);
        }
    }

    fn metrics(&mut self, config: &StaticConfig) {
        let Some(prometheus) = config.metrics.as_ref().and_then(|metrics| metrics.prometheus.as_ref()) else {
            return;
        };
        self.put(Kind::HttpService, "prometheus", json!({}));
        if !prometheus.manual_routing {
            let router = json!({"entryPoints": [prometheus.entry_point], "rule": "PathPrefix(`/metrics`)",
                "ruleSyntax": "default", "priority": i64::MAX, "service": "prometheus@internal"});
            self.put(Kind::HttpRouter, "prometheus", router);
        }
    }

    fn rest(&mut self, config: &StaticConfig) {
        let Some(rest) = &config.providers.rest else { return };
        self.put(Kind::HttpService, "rest", json!({}));
        if rest.insecure {
            let router = json!({"entryPoints": ["traefik"], "rule": "PathPrefix(`/api/providers`)",
                "ruleSyntax": "default", "priority": i64::MAX, "service": "rest@internal"});
            self.put(Kind::HttpRouter, "rest", router);
        }
    }

    fn redirection(&mut self, config: &StaticConfig, from: &str, redirection: &Redirection) {
        let Redirection { to, scheme, permanent, priority } = redirection;
        let option = format!("entryPoints.{from}.http.redirections.entryPoint");
        let port = match to.strip_prefix(':') {
            Some(port) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.to_owned()
            }
            _ if to.is_empty() => {
                let text = "unable to create redirection: the entry point or the port is missing".to_owned();
                return self.left_out.push((option, text));
            }
            _ => match config.entry_points.get(to).map(|point| point.address.parse::<Address>()) {
                Some(Ok(address)) => address.port.to_string(),
                _ => {
                    let text = format!("'to' entry point field references a non-existing entry point: {to}");
                    return self.left_out.push((option, text));
                }
            },
        };
        let name = normal(&format!("{from}-to-{to}"));
        let middleware = format!("redirect-{name}");
        let options = json!({"scheme": scheme, "port": port, "permanent": permanent});
        self.put(Kind::HttpMiddleware, &middleware, json!({"redirectScheme": options}));
        let router = json!({"entryPoints": [from], "rule": "HostRegexp(`^.+$`)", "ruleSyntax": "default",
            "priority": priority, "service": "noop@internal", "middlewares": [format!("{middleware}@internal")]});
        self.put(Kind::HttpRouter, &name, router);
    }
}

/// Letters and digits, everything else one dash, as Traefik makes names.
fn normal(name: &str) -> String {
    name.split(|letter: char| !letter.is_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}
