//! Routers and middlewares that the static sections ask for: the API, ping, and redirects of whole entry points.
//! Their names end in `@internal`, as in Traefik, and they are compiled like all others.

use std::collections::BTreeMap;
use std::sync::Arc;

use ravelin_config::dynamic::{HttpRouter, Middleware, RedirectScheme};
use ravelin_config::static_config::{Address, EntryPoint};

use crate::table::sections::{Internal, Sections};

/// The entry point that the API is served on without a router of one's own.
const API_ENTRY_POINT: &str = "traefik";

/// What these sections and entry points ask for.
pub(super) fn internal(sections: &Sections, entry_points: &BTreeMap<Arc<str>, Arc<EntryPoint>>) -> Internal {
    let mut internal = Internal::default();
    if let Some(api) = sections.api.as_ref().filter(|api| api.insecure) {
        let base = api.base_path.trim_end_matches('/');
        let router = HttpRouter {
            entry_points: vec![API_ENTRY_POINT.to_owned()],
            rule: format!("PathPrefix(`{base}/api`)"),
            service: "api@internal".to_owned(),
            rule_syntax: "default".to_owned(),
            priority: i64::MAX - 1,
            ..HttpRouter::default()
        };
        internal.routers.insert(Arc::from("api@internal"), router);
    }
    if let Some(ping) = sections.ping.as_ref().filter(|ping| !ping.manual_routing) {
        let router = HttpRouter {
            entry_points: vec![ping.entry_point.clone()],
            rule: "PathPrefix(`/ping`)".to_owned(),
            service: "ping@internal".to_owned(),
            rule_syntax: "default".to_owned(),
            priority: i64::MAX,
            ..HttpRouter::default()
        };
        internal.routers.insert(Arc::from("ping@internal"), router);
    }
    for (name, entry_point) in entry_points {
        redirect(&mut internal, name, entry_point, entry_points);
    }
    internal
}

fn redirect(
    internal: &mut Internal,
    name: &str,
    entry_point: &EntryPoint,
    entry_points: &BTreeMap<Arc<str>, Arc<EntryPoint>>,
) {
    let Some(redirection) = entry_point.http.redirections.as_ref().and_then(|all| all.entry_point.as_ref())
    else {
        return;
    };
    let port = match redirection.to.strip_prefix(':') {
        Some(port) => port.to_owned(),
        // A target that does not exist was judged when the static configuration was read.
        None => {
            match entry_points.get(redirection.to.as_str()).map(|target| target.address.parse::<Address>()) {
                Some(Ok(address)) => address.port.to_string(),
                _ => return,
            }
        }
    };
    let router_name = normalised(&format!("{name}-to-{}", redirection.to));
    let middleware_name = format!("redirect-{router_name}");
    let scheme = redirection.scheme.clone();
    let redirect = RedirectScheme { scheme, port, permanent: redirection.permanent };
    let middleware = Middleware { redirect_scheme: Some(redirect), ..Middleware::default() };
    internal.middlewares.insert(Arc::from(format!("{middleware_name}@internal")), middleware);
    let router = HttpRouter {
        entry_points: vec![name.to_owned()],
        rule: "HostRegexp(`^.+$`)".to_owned(),
        service: "noop@internal".to_owned(),
        middlewares: vec![middleware_name],
        rule_syntax: "default".to_owned(),
        priority: redirection.priority,
        ..HttpRouter::default()
    };
    internal.routers.insert(Arc::from(format!("{router_name}@internal")), router);
}

/// Letters and digits; every run of anything else is one hyphen.
fn normalised(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use ravelin_config::static_config::{Api, Ping, Redirection, Redirections};

    use super::*;

    #[test]
    fn the_api_ping_and_redirects_get_routers() {
        let sections = Sections {
            api: Some(Api { insecure: true, ..Api::default() }),
            ping: Some(Ping::default()),
            ..Sections::default()
        };
        let mut web = EntryPoint { address: ":80".to_owned(), ..EntryPoint::default() };
        let to = |to: &str| {
            Some(Redirections {
                entry_point: Some(Redirection { to: to.to_owned(), priority: 10, ..Redirection::default() }),
            })
        };
        web.http.redirections = to("websecure");
        let mut other = web.clone();
        other.http.redirections = to(":8443");
        let secure = EntryPoint { address: "127.0.0.1:9443".to_owned(), ..EntryPoint::default() };
        let entry_points = BTreeMap::from([
            (Arc::from("web"), Arc::new(web)),
            (Arc::from("other"), Arc::new(other)),
            (Arc::from("websecure"), Arc::new(secure)),
        ]);
        let found = internal(&sections, &entry_points);
        let names: Vec<&str> = found.routers.keys().map(|name| &**name).collect();
        assert_eq!(
            names,
            ["api@internal", "other-to-8443@internal", "ping@internal", "web-to-websecure@internal"]
        );
        let redirect = |name: &str| found.middlewares.get(name).and_then(|m| m.redirect_scheme.clone());
        let port = |name: &str| redirect(name).map(|redirect| redirect.port);
        assert_eq!(port("redirect-web-to-websecure@internal").as_deref(), Some("9443"));
        assert_eq!(port("redirect-other-to-8443@internal").as_deref(), Some("8443"));
        assert_eq!(found.routers.get("api@internal").map(|r| r.rule.as_str()), Some("PathPrefix(`/api`)"));
        let quiet =
            internal(&Sections { api: Some(Api::default()), ..Sections::default() }, &BTreeMap::new());
        assert!(quiet.routers.is_empty(), "an API that is not insecure has only the user's routers");
    }
}
