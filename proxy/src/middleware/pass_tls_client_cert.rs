//! `passTLSClientCert`: tells the service of the certificates that the client's side of the connection was made with. Whether they are
//! to be trusted is the TLS options' matter; a request over a connection without any is left as it is.

use std::net::{IpAddr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ravelin_config::dynamic::{self, DistinguishedName};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

use super::{Flow, Head, Kept};
use crate::forwarded::Present;

const CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-tls-client-cert");
const INFO: HeaderName = HeaderName::from_static("x-forwarded-tls-client-cert-info");

/// What stands as it is in a query, where a blank becomes a plus sign.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b' ');

/// The compiled middleware.
#[derive(Debug)]
pub struct PassTlsClientCert {
    pem: bool,
    info: Option<dynamic::CertificateInfo>,
}

impl PassTlsClientCert {
    /// From its configuration.
    pub fn compile(config: &dynamic::PassTlsClientCert) -> Self {
        Self { pem: config.pem, info: config.info.clone() }
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        if head.certificates.is_empty() {
            return Flow::Next(Kept::Nothing);
        }
        let mut told = Vec::with_capacity(2);
        if self.pem {
            let encoded: Vec<String> = head.certificates.iter().map(|one| STANDARD.encode(one)).collect();
            told.push((CERTIFICATE, encoded.join(",")));
        }
        if let Some(info) = &self.info {
            let each: Vec<String> = head.certificates.iter().map(|one| described(info, one)).collect();
            let escaped = utf8_percent_encode(&each.join(","), QUERY).to_string().replace(' ', "+");
            told.push((INFO, escaped));
        }
        for (name, value) in told {
            // Printable ASCII by their encodings.
            if let Ok(value) = HeaderValue::from_str(&value) {
                head.present = head.present.and(Present::of_name(&name));
                head.headers.insert(name, value);
            }
        }
        Flow::Next(Kept::Nothing)
    }
}

/// What is asked for of one certificate. What cannot be read says nothing.
fn described(info: &dynamic::CertificateInfo, certificate: &CertificateDer<'_>) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return String::new() };
    let mut parts = Vec::with_capacity(6);
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            parts.push(format!("{name}=\"{value}\""));
        }
    };
    if let Some(wanted) = &info.subject {
        add("Subject", distinguished(wanted, certificate.subject()));
    }
    if let Some(wanted) = &info.issuer {
        add("Issuer", distinguished(wanted, certificate.issuer()));
    }
    if info.serial_number {
        add("SerialNumber", certificate.tbs_certificate.serial.to_string());
    }
    if info.not_before {
        add("NB", certificate.validity().not_before.timestamp().to_string());
    }
    if info.not_after {
        add("NA", certificate.validity().not_after.timestamp().to_string());
    }
    if info.sans {
        add("SAN", alternatives(&certificate).join(","));
    }
    parts.join(";")
}

/// The attributes asked for, in Traefik's order.
fn distinguished(wanted: &DistinguishedName, name: &X509Name<'_>) -> String {
    let attributes = [
        (wanted.domain_component, "DC", "0.9.2342.19200300.100.1.25", true),
        (wanted.country, "C", "2.5.4.6", true),
        (wanted.province, "ST", "2.5.4.8", true),
        (wanted.locality, "L", "2.5.4.7", true),
        (wanted.organization, "O", "2.5.4.10", true),
        (wanted.organizational_unit, "OU", "2.5.4.11", true),
        (wanted.serial_number, "SN", "2.5.4.5", false),
        (wanted.common_name, "CN", "2.5.4.3", false),
    ];
    let mut told = Vec::new();
    for (_, label, oid, several) in attributes.into_iter().filter(|(wanted, ..)| *wanted) {
        let values = name.iter_attributes().filter(|attribute| attribute.attr_type().to_id_string() == oid);
        let values: Vec<String> = values
            .filter_map(|attribute| attribute.as_str().ok())
            .map(|text| format!("{label}={text}"))
            .collect();
        // Where there can be one only, the last counts.
        let from = if several { 0 } else { values.len().saturating_sub(1) };
        told.extend(values.into_iter().skip(from));
    }
    told.join(",")
}

/// Names, mail addresses, addresses and URIs for which a certificate stands, in this order.
fn alternatives(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let mut kinds: [Vec<String>; 4] = Default::default();
    let [names, mail, addresses, uris] = &mut kinds;
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::RFC822Name(address) => mail.push((*address).to_owned()),
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            _ => {}
        }
    }
    kinds.concat()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(octets).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::super::tests::Sample;
    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().clone()
    }

    fn all() -> DistinguishedName {
        DistinguishedName {
            country: true,
            province: true,
            locality: true,
            organization: true,
            organizational_unit: true,
            common_name: true,
            serial_number: true,
            domain_component: true,
        }
    }

    fn told(
        config: &dynamic::PassTlsClientCert,
        certificates: Vec<CertificateDer<'static>>,
    ) -> [Option<String>; 2] {
        let middleware = PassTlsClientCert::compile(config);
        let mut sample = Sample::new("GET", "/").field("x-forwarded-tls-client-cert", "outer");
        sample.certificates = certificates;
        assert!(matches!(sample.run(|head| middleware.request(head)), Flow::Next(_)));
        [CERTIFICATE, INFO]
            .map(|name| sample.headers.get(name).map(|value| value.to_str().expect("ASCII").to_owned()))
    }

    #[test]
    fn what_is_asked_for_is_told_in_order_and_escaped() {
        let leaf = certificate(|params| {
            let name = &mut params.distinguished_name;
            name.push(DnType::CommonName, "client one");
            name.push(DnType::OrganizationName, "Acme, Inc");
            name.push(DnType::CountryName, "FR");
            params.serial_number = Some(0x1234_u64.into());
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2030, 1, 1);
            params.subject_alt_names = vec![
                SanType::URI("https://one.test/x".try_into().expect("ASCII")),
                SanType::IpAddress("10.1.2.3".parse().expect("an address")),
                SanType::IpAddress("2001:db8::1".parse().expect("an address")),
                SanType::DnsName("one.test".try_into().expect("ASCII")),
                SanType::Rfc822Name("a@one.test".try_into().expect("ASCII")),
            ];
        });
        let info = dynamic::CertificateInfo {
            not_after: true,
            not_before: true,
            sans: true,
            serial_number: true,
            subject: Some(all()),
            issuer: Some(DistinguishedName { common_name: true, ..DistinguishedName::default() }),
        };
        let config = dynamic::PassTlsClientCert { pem: true, info: Some(info) };
        let [pem, info] = told(&config, vec![leaf.clone(), leaf.clone()]);
        let encoded = STANDARD.encode(&leaf);
        assert_eq!(pem, Some(format!("{encoded},{encoded}")));
        let one = "Subject%3D%22C%3DFR%2CO%3DAcme%2C+Inc%2CCN%3Dclient+one%22%3BIssuer%3D%22CN%3Dclient+one%22%3BSerialNumber%3D\
                   %224660%22%3BNB%3D%221577836800%22%3BNA%3D%221893456000%22%3BSAN%3D%22one.test%2Ca%40one.test%2C10.1.2.3%2C\
                   2001%3Adb8%3A%3A1%2Chttps%3A%2F%2Fone.test%2Fx%22";
        assert_eq!(info, Some(format!("{one}%2C{one}")));
    }

    #[test]
    fn without_a_certificate_nothing_is_touched() {
        let config =
            dynamic::PassTlsClientCert { pem: true, info: Some(dynamic::CertificateInfo::default()) };
        assert_eq!(told(&config, Vec::new()), [Some("outer".to_owned()), None]);
        let none = dynamic::PassTlsClientCert { pem: false, info: None };
        assert_eq!(told(&none, vec![certificate(|_| {})]), [Some("outer".to_owned()), None]);
    }

    proptest! {
        /// A client chooses these bytes, and the names within.
        #[test]
        fn any_bytes_are_described_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let info = dynamic::CertificateInfo { sans: true, subject: Some(all()), ..dynamic::CertificateInfo::default() };
            let _ = described(&info, &CertificateDer::from(bytes));
        }
    }
}
