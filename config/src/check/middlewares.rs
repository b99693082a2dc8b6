//! What can be wrong in the working middlewares beyond the options' types: everything that building them can fail on.

use ipnet::IpNet;

use super::services::server_url;
use super::tls::servers_transport;
use crate::dynamic::{
    BREAKER_FIGURES, BUFFERING_FIGURES, Buffering, CircuitBreaker, Compress, Errors, ForwardAuth, Headers,
    InFlightReq, IpAllowList, IpStrategy, Middleware, RateLimit, RedirectScheme, Retry, SourceCriterion,
    StatusRanges, Users, digest_user,
};
use crate::expression::Expression;
use crate::rule::go_regex;
use crate::secret::is_header_name;

/// Most bytes of a compiled expression, as where it is built.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Judges a middleware of one kind whose options fit the table.
pub(super) fn judge(middleware: &Middleware, errors: &mut Vec<String>) {
    if let Some(headers) = &middleware.headers {
        judge_headers(headers, errors);
    }
    if let Some(redirect) = &middleware.redirect_scheme {
        redirect_scheme(redirect, errors);
    }
    if let Some(limit) = &middleware.in_flight_req {
        in_flight_req(limit, errors);
    }
    for (option, list) in
        [("ipAllowList", &middleware.ip_allow_list), ("ipWhiteList", &middleware.ip_white_list)]
    {
        if let Some(list) = list {
            ip_allow_list(option, list, errors);
        }
    }
    if let Some(users) = &middleware.basic_auth {
        judge_users("basicAuth", users, errors);
    }
    if let Some(limit) = &middleware.rate_limit {
        rate_limit(limit, errors);
    }
    if let Some(buffering) = &middleware.buffering {
        judge_buffering(buffering, errors);
    }
    if let Some(pages) = &middleware.errors {
        judge_error_pages(pages, errors);
    }
    if let Some(breaker) = &middleware.circuit_breaker {
        judge_breaker(breaker, errors);
    }
    if let Some(compress) = &middleware.compress {
        judge_compress(compress, errors);
    }
    if let Some(auth) = &middleware.forward_auth {
        judge_forward_auth(auth, errors);
    }
    if let Some(users) = &middleware.digest_auth {
        judge_digest_users(users, errors);
    }
    if let Some(retry) = &middleware.retry {
        judge_retry(retry, errors);
    }
    judge_paths(middleware, errors);
}

fn judge_buffering(buffering: &Buffering, errors: &mut Vec<String>) {
    let sizes = [
        ("max", buffering.max_request_body_bytes),
        ("mem", buffering.mem_request_body_bytes),
        ("max", buffering.max_response_body_bytes),
        ("mem", buffering.mem_response_body_bytes),
    ];
    for (what, bytes) in sizes.into_iter().filter(|(_, bytes)| *bytes < 0) {
        errors.push(format!("{what} bytes should be >= 0 got {bytes}"));
    }
    let text = &buffering.retry_expression;
    if !text.is_empty()
        && let Err(error) = Expression::parse(text, &BUFFERING_FIGURES)
    {
        errors.push(format!("buffering.retryExpression: {error}"));
    }
}

fn judge_error_pages(pages: &Errors, errors: &mut Vec<String>) {
    if let Err(error) = StatusRanges::parse(&pages.status) {
        errors.push(format!("errors.status: {error}"));
    }
    if let Err(error) = pages.rewrites() {
        errors.push(format!("errors.statusRewrites: {error}"));
    }
    for name in &pages.error_request_headers {
        check_name("errors.errorRequestHeaders", name, errors);
    }
}

fn judge_breaker(breaker: &CircuitBreaker, errors: &mut Vec<String>) {
    if let Err(error) = Expression::parse(&breaker.expression, &BREAKER_FIGURES) {
        errors.push(format!("circuitBreaker.expression: {error}"));
    }
    if breaker.response_code != 0 && !(200..=999).contains(&breaker.response_code) {
        errors.push(format!("circuitBreaker.responseCode: {} ends no request", breaker.response_code));
    }
}

fn judge_compress(compress: &Compress, errors: &mut Vec<String>) {
    errors.extend(compress.encodings().err());
    errors.extend(compress.media_types().err());
}

fn judge_forward_auth(auth: &ForwardAuth, errors: &mut Vec<String>) {
    if let Err(error) = server_url(auth.address.trim()) {
        // Not cited: it may hold a password.
        errors.push(format!("forwardAuth.address: {error}"));
    }
    let names = [
        ("authResponseHeaders", &auth.auth_response_headers),
        ("authRequestHeaders", &auth.auth_request_headers),
    ];
    for (option, names) in names {
        names.iter().for_each(|name| check_name(&format!("forwardAuth.{option}"), name, errors));
    }
    if !auth.header_field.is_empty() {
        check_name("forwardAuth.headerField", &auth.header_field, errors);
    }
    check_value("forwardAuth.authSigninURL", &auth.auth_signin_url, errors);
    let expression = auth.auth_response_headers_regex.trim();
    if let Err(error) = go_regex::compile(expression) {
        errors.push(format!("error compiling regular expression {expression}: {error}"));
    }
    if let Some(tls) = &auth.tls {
        servers_transport(&tls.transport(), errors);
    }
}

/// As of other users, which one is bad is told by its place.
fn judge_digest_users(users: &Users, errors: &mut Vec<String>) {
    for (number, line) in users.lines().enumerate() {
        if digest_user(line).is_none() {
            errors.push(format!("digestAuth.users: user {} is not name:realm:hash", number + 1));
        }
    }
    check_value("digestAuth.realm", &users.realm, errors);
    if users.realm.contains(['"', '\\']) {
        errors.push("digestAuth.realm: it must not hold quotes".to_owned());
    }
    if !users.header_field.is_empty() {
        check_name("digestAuth.headerField", &users.header_field, errors);
    }
}

fn judge_retry(retry: &Retry, errors: &mut Vec<String>) {
    if retry.status.is_empty() && retry.disable_retry_on_network_error {
        errors.push("retry middleware requires at least HTTP status codes or retry on TCP".to_owned());
    }
    if retry.attempts <= 0 {
        errors.push(format!("incorrect (or empty) value for attempt ({})", retry.attempts));
    }
    if let Err(error) = StatusRanges::parse(&retry.status) {
        errors.push(format!("retry.status: {error}"));
    }
}

/// What is wrong with users tells which one by its place, never by its text.
fn judge_users(option: &str, users: &Users, errors: &mut Vec<String>) {
    let file = users.users_file.lines().map(str::trim);
    let file = file.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let listed = users.users.iter().map(|user| ("users", user.trim())).enumerate();
    for (number, (list, user)) in listed.chain(file.map(|line| ("usersFile", line)).enumerate()) {
        match user.split_once(':') {
            None => errors.push(format!("{option}.{list}: user {} has no colon", number + 1)),
            Some((_, hash)) if bcrypt_cost(hash).is_some_and(|cost| cost > BCRYPT_COST_MAX) => {
                errors.push(format!(
                    "{option}.{list}: user {}: a bcrypt cost above {BCRYPT_COST_MAX} takes too long",
                    number + 1
                ))
            }
            Some(_) => {}
        }
    }
    check_value(&format!("{option}.realm"), &users.realm, errors);
    if !users.header_field.is_empty() {
        check_name(&format!("{option}.headerField"), &users.header_field, errors);
    }
}

/// Largest exponent of bcrypt, as where it is worked out: one more doubles the time.
const BCRYPT_COST_MAX: u32 = 16;

fn bcrypt_cost(hash: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2x$", "$2y$"].iter().find_map(|magic| hash.strip_prefix(magic))?;
    rest.split_once('$')?.0.parse().ok()
}

fn rate_limit(limit: &RateLimit, errors: &mut Vec<String>) {
    if let Some(period) = limit.period
        && period.nanos() < 0
    {
        errors.push(format!("negative value not valid for period: {period}"));
    }
    if let Some(criterion) = &limit.source_criterion {
        source_criterion(criterion, errors);
    }
}

/// The kinds that rewrite paths and URLs.
fn judge_paths(middleware: &Middleware, errors: &mut Vec<String>) {
    if middleware.add_prefix.as_ref().is_some_and(|add| add.prefix.is_empty()) {
        errors.push("prefix cannot be empty".to_owned());
    }
    if let Some(replace) = &middleware.replace_path
        && let Some(escape) = bad_escape(&replace.path)
    {
        errors.push(format!("replacePath.path: invalid URL escape {escape:?}"));
    }
    let mut expressions = Vec::new();
    expressions.extend(middleware.replace_path_regex.as_ref().map(|replace| replace.regex.as_str()));
    expressions.extend(middleware.redirect_regex.as_ref().map(|redirect| redirect.regex.as_str()));
    expressions
        .extend(middleware.strip_prefix_regex.iter().flat_map(|strip| &strip.regex).map(String::as_str));
    for expression in expressions.into_iter().map(str::trim) {
        if let Err(error) = go_regex::compile(expression) {
            errors.push(format!("error compiling regular expression {expression}: {error}"));
        }
    }
}

/// The first percent sign without two hexadecimal digits, with what follows it.
fn bad_escape(path: &str) -> Option<String> {
    path.match_indices('%').find_map(|(at, _)| {
        let escape = path.get(at..).map(|rest| rest.chars().take(3).collect::<String>())?;
        let good = escape.len() == 3 && escape.bytes().skip(1).all(|byte| byte.is_ascii_hexdigit());
        (!good).then_some(escape)
    })
}

fn ip_allow_list(option: &str, list: &IpAllowList, errors: &mut Vec<String>) {
    if list.source_range.is_empty() {
        errors.push("sourceRange is empty, IPAllowLister not created".to_owned());
    }
    for range in &list.source_range {
        check_network(&format!("{option}.sourceRange"), range, errors);
    }
    match list.reject_status_code {
        0 => {}
        100..=199 => {
            errors.push(format!("{option}.rejectStatusCode: {} ends no request", list.reject_status_code));
        }
        status if STATUSES.iter().any(|range| range.contains(&status)) => {}
        status => errors.push(format!("invalid HTTP status code {status}")),
    }
    if let Some(strategy) = &list.ip_strategy {
        ip_strategy(strategy, errors);
    }
}

/// The statuses that have a reason phrase, as Go knows them; others are refused where a middleware answers with one.
const STATUSES: [std::ops::RangeInclusive<i64>; 12] = [
    200..=208,
    226..=226,
    300..=305,
    307..=308,
    400..=418,
    421..=426,
    428..=429,
    431..=431,
    451..=451,
    500..=508,
    510..=510,
    511..=511,
];

fn judge_headers(headers: &Headers, errors: &mut Vec<String>) {
    let without_effect = Headers {
        feature_policy: headers.feature_policy.clone(),
        ssl_redirect: headers.ssl_redirect,
        ssl_temporary_redirect: headers.ssl_temporary_redirect,
        ssl_host: headers.ssl_host.clone(),
        ssl_force_host: headers.ssl_force_host,
        ..Headers::default()
    };
    if *headers == without_effect {
        return errors.push("headers configuration not valid".to_owned());
    }
    let custom = [
        ("customRequestHeaders", &headers.custom_request_headers),
        ("customResponseHeaders", &headers.custom_response_headers),
        ("sslProxyHeaders", &headers.ssl_proxy_headers),
    ];
    for (option, map) in custom {
        for (name, value) in map {
            check_name(option, name, errors);
            check_value(option, value, errors);
        }
    }
    for name in &headers.hosts_proxy_headers {
        check_name("hostsProxyHeaders", name, errors);
    }
    let lists = [
        ("accessControlAllowHeaders", &headers.access_control_allow_headers),
        ("accessControlAllowMethods", &headers.access_control_allow_methods),
        ("accessControlAllowOriginList", &headers.access_control_allow_origin_list),
        ("accessControlExposeHeaders", &headers.access_control_expose_headers),
    ];
    for (option, list) in lists {
        list.iter().for_each(|value| check_value(option, value, errors));
    }
    let values = [
        ("customFrameOptionsValue", &headers.custom_frame_options_value),
        ("customBrowserXSSValue", &headers.custom_browser_xss_value),
        ("contentSecurityPolicy", &headers.content_security_policy),
        ("contentSecurityPolicyReportOnly", &headers.content_security_policy_report_only),
        ("publicKey", &headers.public_key),
        ("referrerPolicy", &headers.referrer_policy),
        ("permissionsPolicy", &headers.permissions_policy),
    ];
    for (option, value) in values {
        check_value(option, value, errors);
    }
    for pattern in &headers.access_control_allow_origin_list_regex {
        let built = go_regex::compile(pattern).map(|_| ()).and_then(|()| {
            let builder = regex::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
            builder.map(|_| ()).map_err(|error| error.to_string())
        });
        if let Err(error) = built {
            errors.push(format!("headers.accessControlAllowOriginListRegex: {pattern:?}: {error}"));
        }
    }
}

fn redirect_scheme(redirect: &RedirectScheme, errors: &mut Vec<String>) {
    let RedirectScheme { scheme, port, .. } = redirect;
    if scheme.is_empty() {
        errors.push("you must provide a target scheme".to_owned());
    } else if !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
        errors.push(format!("redirectScheme.scheme: {scheme:?} is no scheme"));
    }
    if !port.is_empty() && (port.parse::<u16>().is_err() || !port.bytes().all(|byte| byte.is_ascii_digit())) {
        errors.push(format!("redirectScheme.port: {port:?} is no port"));
    }
}

fn in_flight_req(limit: &InFlightReq, errors: &mut Vec<String>) {
    if limit.amount < 0 {
        errors.push(format!("inFlightReq.amount: {} is negative", limit.amount));
    }
    if let Some(criterion) = &limit.source_criterion {
        source_criterion(criterion, errors);
    }
}

fn source_criterion(criterion: &SourceCriterion, errors: &mut Vec<String>) {
    let SourceCriterion { ip_strategy, request_header_name, request_host } = criterion;
    let exclusive = [
        (ip_strategy.is_some() && !request_header_name.is_empty(), "iPStrategy and RequestHeaderName"),
        (ip_strategy.is_some() && *request_host, "iPStrategy and RequestHost"),
        (!request_header_name.is_empty() && *request_host, "requestHost and requestHeaderName"),
    ];
    for (both, names) in exclusive {
        if both {
            errors.push(format!("{names} are mutually exclusive"));
        }
    }
    if !request_header_name.is_empty() {
        check_name("requestHeaderName", request_header_name, errors);
    }
    if let Some(strategy) = ip_strategy {
        self::ip_strategy(strategy, errors);
    }
}

fn ip_strategy(strategy: &IpStrategy, errors: &mut Vec<String>) {
    for range in &strategy.excluded_ips {
        check_network("ipStrategy.excludedIPs", range, errors);
    }
    if let Some(bits) = strategy.ipv6_subnet
        && !(0..=128).contains(&bits)
    {
        errors.push(format!(
            "invalid IPv6 subnet {bits} value, should be greater to 0 and lower or equal to 128"
        ));
    }
}

/// A header's name must be a token of RFC 9110.
pub(super) fn check_name(option: &str, name: &str, errors: &mut Vec<String>) {
    if !is_header_name(name.trim()) {
        // Not quoted: it may be a whole field, with its value.
        errors.push(format!("{option}: a text of {} characters is no header name", name.chars().count()));
    }
}

fn check_value(option: &str, value: &str, errors: &mut Vec<String>) {
    if value.trim().bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
        errors.push(format!("{option}: a header's value must not hold control characters"));
    }
}

/// An address or a network.
pub(super) fn check_network(option: &str, text: &str, errors: &mut Vec<String>) {
    let text = text.trim();
    if text.parse::<IpNet>().is_err() && text.parse::<std::net::IpAddr>().is_err() {
        errors.push(format!("{option}: {text:?} is neither an address nor a network"));
    }
}
