//! What can be wrong in HTTP services beyond the options' types.

use rustls_pki_types::ServerName;

use crate::dynamic::{Failover, HealthCheck, HttpService, LoadBalancer, Mirror, Mirroring, StatusRanges};
use crate::secret::shown_address;

/// Longest host of a server in bytes, with its port.
const AUTHORITY_BYTES_MAX: usize = 261;

/// Judges a user's service whose options fit the table.
pub(super) fn judge(name: &str, service: &HttpService, errors: &mut Vec<String>) {
    let HttpService { load_balancer, weighted, highest_random_weight, mirroring, failover, middlewares: _ } =
        service;
    let kinds = [
        load_balancer.is_some(),
        weighted.is_some(),
        highest_random_weight.is_some(),
        mirroring.is_some(),
        failover.is_some(),
    ];
    match kinds.into_iter().filter(|given| *given).count() {
        0 => return errors.push(format!("the service \"{name}\" does not have any type defined")),
        1 => {}
        _ => {
            return errors.push(
                "cannot create service: multi-types service not supported, consider declaring two different pieces \
                 of service instead"
                    .to_owned(),
            );
        }
    }
    if let Some(load_balancer) = load_balancer {
        servers(load_balancer, errors);
    }
    if weighted.iter().flat_map(|weighted| &weighted.services).any(|child| child.name.is_empty()) {
        errors.push("weighted.services: a service without a name".to_owned());
    }
    if highest_random_weight.iter().flat_map(|highest| &highest.services).any(|child| child.name.is_empty()) {
        errors.push("highestRandomWeight.services: a service without a name".to_owned());
    }
    if let Some(mirroring) = mirroring {
        judge_mirroring(mirroring, errors);
    }
    if let Some(failover) = failover {
        judge_failover(failover, errors);
    }
}

fn judge_mirroring(mirroring: &Mirroring, errors: &mut Vec<String>) {
    if mirroring.service.is_empty() {
        errors.push("mirroring.service: name the service that answers".to_owned());
    }
    for Mirror { name, percent } in &mirroring.mirrors {
        if name.is_empty() {
            errors.push("mirroring.mirrors: a mirror without a name".to_owned());
        }
        if !(0..=100).contains(percent) {
            errors.push(format!("mirroring.mirrors: percent must be between 0 and 100, and is {percent}"));
        }
    }
}

fn judge_failover(failover: &Failover, errors: &mut Vec<String>) {
    for (option, name) in [("service", &failover.service), ("fallback", &failover.fallback)] {
        if name.is_empty() {
            errors.push(format!("failover.{option}: name a service"));
        }
    }
    if let Some(statuses) = failover.errors.as_ref().map(|errors| &errors.status) {
        if statuses.is_empty() {
            errors.push("failover.errors.status: name a status such as \"503\" or \"500-599\"".to_owned());
        }
        if let Err(error) = StatusRanges::parse(statuses) {
            errors.push(format!("failover.errors.status: {error}"));
        }
    }
}

/// What is wrong with a service of Ravelin's own.
pub(super) fn internal(name: &str) -> Option<String> {
    match name {
        "api" | "dashboard" | "ping" | "prometheus" | "rest" | "noop" => None,
        other => Some(format!("the service {other}@internal does not work yet")),
    }
}

/// What a check could not write into a request or an address.
fn health_check(check: &HealthCheck, errors: &mut Vec<String>) {
    let mut wrong = |option: &str, mend: &str| errors.push(format!("healthCheck.{option}: {mend}"));
    if !["", "http", "https", "h2c"].contains(&check.scheme.as_str()) {
        wrong("scheme", "the schemes http, https and h2c work");
    }
    if !(0..=65_535).contains(&check.port) {
        wrong("port", "give a number from 1 to 65535, or none for the server's own");
    }
    if check.status != 0 && !(100..=599).contains(&check.status) {
        wrong("status", "give a status from 100 to 599, or none for 200 to 399");
    }
    if !check.method.bytes().all(is_token) {
        wrong("method", "it holds a character that no method holds");
    }
    if check.path.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
        wrong(
            "path",
            "blanks, control characters and letters beyond ASCII have to be written as %20 and the like",
        );
    }
    if check.hostname.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
        wrong("hostname", "it holds a character that no host holds");
    }
    for (name, value) in &check.headers {
        if name.is_empty() || !name.bytes().all(is_token) {
            wrong("headers", &format!("{name:?} is no name of a header"));
        } else if value.bytes().any(|byte| byte != b'\t' && (byte < b' ' || byte == 0x7f)) {
            wrong("headers", &format!("the value of {name:?} holds a control character"));
        }
    }
}

/// A character of a method or of a header's name (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn servers(load_balancer: &LoadBalancer, errors: &mut Vec<String>) {
    if let Some(check) = &load_balancer.health_check {
        health_check(check, errors);
    }
    for server in &load_balancer.servers {
        if let Err(reason) = server_url(&server.url) {
            errors.push(format!("error parsing server URL {}: {reason}", shown_address(&server.url)));
        }
    }
}

/// `scheme://host[:port][/path]` with a scheme that works. Userinfo and query are ignored, as in Traefik.
pub(super) fn server_url(text: &str) -> Result<(), &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("it has no scheme such as http://")?;
    let scheme = scheme.to_ascii_lowercase();
    if !["http", "https", "h2c"].contains(&scheme.as_str()) {
        return Err("the schemes http, https and h2c work");
    }
    if rest.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err("it holds blanks or control characters");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host_of(authority)?;
    if scheme == "https" && ServerName::try_from(host).is_err() {
        return Err("its host cannot be checked against a certificate");
    }
    Ok(())
}

/// The host of `host[:port]`, IPv6 in brackets.
fn host_of(authority: &str) -> Result<&str, &'static str> {
    if authority.len() > AUTHORITY_BYTES_MAX {
        return Err("its host is too long");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or("its bracket is not closed")?;
            let plain = address.split_once('%').map_or(address, |(plain, _)| plain);
            plain.parse::<std::net::Ipv6Addr>().map_err(|_| "its brackets hold no IPv6 address")?;
            match after.strip_prefix(':') {
                Some(port) => (address, port),
                None if after.is_empty() => (address, ""),
                None => return Err("something else than a port stands behind its brackets"),
            }
        }
        None => {
            let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte);
            if !host.bytes().all(good) {
                return Err("its host holds a character that no host holds");
            }
            (host.strip_suffix('.').unwrap_or(host), port)
        }
    };
    if host.is_empty() {
        return Err("it has no host");
    }
    if !port.is_empty() && (port.parse::<u16>().is_err() || !port.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("its port is no number up to 65535");
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_urls() {
        for good in [
            "http://127.0.0.1:8080",
            "HTTPS://Joe:pw@Name.test/base/?from=url#x",
            "h2c://[::1]:9/b%2fse",
            "http://a.test.:80",
            "http://under_score:",
        ] {
            assert_eq!(server_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:80",
            "http://",
            "http:///x",
            "http://a b",
            "http://a:port",
            "http://::1",
            "ftp://a",
            "http://a:70000",
            "http://[::1",
            "http://[x]",
            "http://[::1]x",
            "http://a,b",
            "https://*",
            "http://ä",
        ] {
            assert!(server_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn faults_of_health_checks_mirrors_and_failovers_are_told_with_their_place() {
        let judged = |json: &str| {
            let mut errors = Vec::new();
            judge("s@file", &serde_json::from_str(json).expect("the form is right"), &mut errors);
            errors.join(" | ")
        };
        let check = |options: &str| judged(&format!(r#"{{"loadBalancer":{{"healthCheck":{{{options}}}}}}}"#));
        assert_eq!(
            check(r#""path":"/h?x=1","port":80,"status":204,"method":"POST","headers":{"X-A":"b"}"#),
            ""
        );
        assert_eq!(check(r#""scheme":"ftp""#), "healthCheck.scheme: the schemes http, https and h2c work");
        for (options, place) in [
            (r#""port":65536"#, "healthCheck.port: "),
            (r#""port":-1"#, "healthCheck.port: "),
            (r#""status":99"#, "healthCheck.status: "),
            (r#""method":"G T""#, "healthCheck.method: "),
            (r#""path":"/a b""#, "healthCheck.path: "),
            (r#""hostname":"a b""#, "healthCheck.hostname: "),
            (r#""headers":{"a b":"c"}"#, "healthCheck.headers: "),
            (r#""headers":{"a":"b\nc"}"#, "healthCheck.headers: "),
        ] {
            assert!(check(options).starts_with(place), "{options}: {}", check(options));
        }
        assert_eq!(
            judged(r#"{"mirroring":{"service":"a","mirrors":[{"name":"b","percent":101}]}}"#),
            "mirroring.mirrors: percent must be between 0 and 100, and is 101"
        );
        assert_eq!(
            judged(r#"{"mirroring":{"mirrors":[{"name":""}]}}"#),
            "mirroring.service: name the service that answers | mirroring.mirrors: a mirror without a name"
        );
        assert_eq!(judged(r#"{"failover":{"service":"a"}}"#), "failover.fallback: name a service");
        let failover = |status: &str| {
            judged(&format!(
                r#"{{"failover":{{"service":"a","fallback":"b","errors":{{"status":{status}}}}}}}"#
            ))
        };
        assert_eq!(failover(r#"["500-599","404"]"#), "");
        assert_eq!(
            failover(r#"["5xx"]"#),
            r#"failover.errors.status: "5xx" is neither a status nor a range of them"#
        );
        assert!(failover("[]").contains("name a status"));
    }
}
