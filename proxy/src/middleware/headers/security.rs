//! The security half of `headers`: fixed answer fields, Strict-Transport-Security, allowed hosts. It never redirects: Traefik's
//! old `ssl*` options have no effect there either.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use ravelin_config::dynamic;

use super::super::{CompileError, Head, field_value};

#[derive(Debug, Default)]
pub(super) struct Security {
    /// On every answer.
    always: Box<[(HeaderName, HeaderValue)]>,
    /// On answers over TLS only.
    secure: Box<[(HeaderName, HeaderValue)]>,
    allowed_hosts: Box<[Box<str>]>,
    host_fields: Box<[HeaderName]>,
    tls_fields: Box<[(HeaderName, Box<str>)]>,
}

impl Security {
    pub(super) fn compile(config: &dynamic::Headers) -> Result<Self, CompileError> {
        let mut always = Vec::new();
        let mut secure = Vec::new();
        if config.sts_seconds != 0 && !config.is_development {
            let value = strict_transport(config);
            let value = field_value("stsSeconds", &value)?;
            let list = if config.force_sts_header { &mut always } else { &mut secure };
            list.push((http::header::STRICT_TRANSPORT_SECURITY, value));
        }
        if !config.public_key.is_empty() && !config.is_development {
            let name = HeaderName::from_static("public-key-pins");
            secure.push((name, field_value("publicKey", &config.public_key)?));
        }
        for (option, name, text) in fixed_fields(config) {
            if !text.is_empty() {
                always.push((name, field_value(option, text)?));
            }
        }
        let allowed_hosts = if config.is_development { &[][..] } else { &config.allowed_hosts };
        let tls_fields = config
            .ssl_proxy_headers
            .iter()
            .map(|(name, value)| Ok((header_name("sslProxyHeaders", name)?, value.as_str().into())))
            .collect::<Result<_, CompileError>>()?;
        Ok(Self {
            always: always.into(),
            secure: secure.into(),
            allowed_hosts: allowed_hosts.iter().map(|host| host.as_str().into()).collect(),
            host_fields: config
                .hosts_proxy_headers
                .iter()
                .map(|name| header_name("hostsProxyHeaders", name))
                .collect::<Result<_, _>>()?,
            tls_fields,
        })
    }

    /// Whether the whole Host, port included, is one of those allowed (all, if none is named).
    pub(super) fn allows_host(&self, head: &Head<'_>) -> bool {
        if self.allowed_hosts.is_empty() {
            return true;
        }
        let named =
            self.host_fields.iter().find_map(|name| head.field(name).filter(|value| !value.is_empty()));
        let host = named.unwrap_or(&head.host).as_bytes();
        self.allowed_hosts.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(host))
    }

    /// Whether the client speaks TLS, to us or, by a configured field, to the proxy before us.
    pub(super) fn is_secure(&self, head: &Head<'_>) -> bool {
        head.tls
            || self
                .tls_fields
                .iter()
                .any(|(name, value)| head.field(name).is_some_and(|said| said.as_bytes() == value.as_bytes()))
    }

    pub(super) fn apply(&self, secure: bool, headers: &mut HeaderMap) {
        for (name, value) in &self.always {
            headers.insert(name.clone(), value.clone());
        }
        if secure {
            for (name, value) in &self.secure {
                headers.insert(name.clone(), value.clone());
            }
        }
    }
}

fn strict_transport(config: &dynamic::Headers) -> String {
    let subdomains = if config.sts_include_subdomains { "; includeSubDomains" } else { "" };
    let preload = if config.sts_preload { "; preload" } else { "" };
    format!("max-age={}{subdomains}{preload}", config.sts_seconds)
}

/// Fields whose value does not depend on the request; an empty text means none.
fn fixed_fields(config: &dynamic::Headers) -> [(&'static str, HeaderName, &str); 7] {
    let frame = match (config.custom_frame_options_value.as_str(), config.frame_deny) {
        ("", true) => "DENY",
        (custom, _) => custom,
    };
    let xss = match (config.custom_browser_xss_value.as_str(), config.browser_xss_filter) {
        ("", true) => "1; mode=block",
        (custom, _) => custom,
    };
    let sniff = if config.content_type_nosniff { "nosniff" } else { "" };
    let permissions = HeaderName::from_static("permissions-policy");
    [
        ("customFrameOptionsValue", http::header::X_FRAME_OPTIONS, frame),
        ("contentTypeNosniff", http::header::X_CONTENT_TYPE_OPTIONS, sniff),
        ("customBrowserXSSValue", http::header::X_XSS_PROTECTION, xss),
        ("contentSecurityPolicy", http::header::CONTENT_SECURITY_POLICY, &config.content_security_policy),
        (
            "contentSecurityPolicyReportOnly",
            http::header::CONTENT_SECURITY_POLICY_REPORT_ONLY,
            &config.content_security_policy_report_only,
        ),
        ("referrerPolicy", http::header::REFERRER_POLICY, &config.referrer_policy),
        ("permissionsPolicy", permissions, &config.permissions_policy),
    ]
}

fn header_name(option: &'static str, name: &str) -> Result<HeaderName, CompileError> {
    name.parse().map_err(|_| CompileError::Value { option, reason: format!("{name:?} is no header name") })
}
