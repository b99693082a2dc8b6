//! The subject of a client's certificate as one line of text, as Go writes it, for logs. It judges nothing: who a client may be is the
//! TLS options' matter.

use std::fmt::Write as _;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate};

/// Most bytes of a subject that are told: a certificate may hold more names than a log wants.
const SUBJECT_BYTES_MAX: usize = 4096;

/// The attributes that Go knows by name, in the order in which it writes them; of a serial number and a common name only the last.
const KNOWN: [(&str, &str, bool); 9] = [
    ("2.5.4.5", "SERIALNUMBER", false),
    ("2.5.4.3", "CN", false),
    ("2.5.4.11", "OU", true),
    ("2.5.4.10", "O", true),
    ("2.5.4.17", "POSTALCODE", true),
    ("2.5.4.9", "STREET", true),
    ("2.5.4.7", "L", true),
    ("2.5.4.8", "ST", true),
    ("2.5.4.6", "C", true),
];

/// The subject of a certificate, as `pkix.Name.String` gives it. `None` if it cannot be read.
pub(crate) fn subject(certificate: &CertificateDer<'_>) -> Option<Box<str>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let attributes = certificate.subject().iter_attributes();
    let named: Vec<_> =
        attributes.map(|attribute| (attribute.attr_type().to_id_string(), attribute)).collect();
    let mut parts = Vec::new();
    for (oid, label, several) in KNOWN {
        let values = named.iter().filter(|(found, _)| found == oid);
        let mut values: Vec<String> = values
            .filter_map(|(_, attribute)| attribute.as_str().ok())
            .map(|text| format!("{label}={}", escaped(text)))
            .collect();
        if !several {
            values.drain(..values.len().saturating_sub(1));
        }
        if !values.is_empty() {
            parts.push(values.join("+"));
        }
    }
    let other = named.iter().filter(|(oid, _)| KNOWN.iter().all(|(known, ..)| oid != known));
    parts.extend(other.rev().map(|(oid, attribute)| format!("{oid}=#{}", encoded(attribute))));
    let mut text = parts.join(",");
    text.truncate(text.floor_char_boundary(SUBJECT_BYTES_MAX));
    Some(text.into())
}

/// A value with the characters that part a name's attributes marked as its own (RFC 2253, 2.4).
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (at, character) in value.char_indices() {
        let marked = match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at + 1 == value.len(),
            '#' => at == 0,
            _ => false,
        };
        if marked {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

/// A value of an attribute without a name, in hexadecimal: texts as Go encodes them anew, what is no text as it came.
fn encoded(attribute: &AttributeTypeAndValue<'_>) -> String {
    const PRINTABLE_STRING: u8 = 0x13;
    const UTF8_STRING: u8 = 0x0C;
    let Ok(text) = attribute.as_str() else { return hex(attribute.as_slice()) };
    let printable = |byte: u8| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte);
    let tag = if text.bytes().all(printable) { PRINTABLE_STRING } else { UTF8_STRING };
    let length = text.len();
    let mut der = vec![tag];
    match u8::try_from(length) {
        Ok(short @ 0..0x80) => der.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let significant = bytes.iter().position(|&byte| byte != 0).unwrap_or(bytes.len());
            let bytes = bytes.get(significant..).unwrap_or_default();
            der.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0));
            der.extend_from_slice(bytes);
        }
    }
    der.extend_from_slice(text.as_bytes());
    hex(&der)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn told(names: &[(DnType, &str)]) -> Option<Box<str>> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let key = KeyPair::generate().expect("a key");
        subject(params.self_signed(&key).expect("a certificate").der())
    }

    #[test]
    fn a_subject_is_written_as_go_writes_it() {
        let mail = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
        let uid = DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]);
        let of = |last| DnType::CustomDnType(vec![2, 5, 4, last]);
        let table: [(&[(DnType, &str)], &str); 5] = [
            (
                &[
                    (of(17), "75001"),
                    (of(9), "Rue 1"),
                    (DnType::StateOrProvinceName, "Ile de France"),
                    (DnType::LocalityName, "Paris"),
                    (of(5), "S-77"),
                    (DnType::OrganizationalUnitName, "Unit"),
                    (DnType::OrganizationName, "Org"),
                    (DnType::CountryName, "FR"),
                    (DnType::CommonName, "one"),
                ],
                "SERIALNUMBER=S-77,CN=one,OU=Unit,O=Org,POSTALCODE=75001,STREET=Rue 1,L=Paris,ST=Ile de France,C=FR",
            ),
            (
                &[
                    (DnType::CountryName, "FR"),
                    (DnType::OrganizationName, "Acme, Inc"),
                    (DnType::OrganizationalUnitName, "Ops"),
                    (DnType::CommonName, "client one"),
                ],
                r"CN=client one,OU=Ops,O=Acme\, Inc,C=FR",
            ),
            (&[(DnType::CommonName, "#1 \"<a>\";b+c\\ ")], r#"CN=\#1 \"\<a\>\"\;b\+c\\\ "#),
            (
                &[(mail, "a@b.test"), (DnType::CommonName, "x"), (uid, "joe")],
                "CN=x,0.9.2342.19200300.100.1.1=#13036a6f65,1.2.840.113549.1.9.1=#0c086140622e74657374",
            ),
            (&[], ""),
        ];
        for (names, wanted) in table {
            assert_eq!(told(names).as_deref(), Some(wanted));
        }
    }

    #[test]
    fn a_subject_without_end_is_cut() {
        let long = "é".repeat(SUBJECT_BYTES_MAX);
        let subject = told(&[(DnType::CommonName, &long)]).expect("readable");
        assert!((SUBJECT_BYTES_MAX - 4..=SUBJECT_BYTES_MAX).contains(&subject.len()));
    }

    proptest! {
        /// A client chooses these bytes.
        #[test]
        fn any_bytes_are_a_subject_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = subject(&CertificateDer::from(bytes));
        }
    }
}
