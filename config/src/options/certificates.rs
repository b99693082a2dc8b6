//! Options of TLS certificates, stores and option sets.

use super::routers::DOMAIN;
use super::services::TLS_VERSIONS;
use super::{Field, Support, choice, content, contents, flag, group, text, texts};

pub(super) const CERTIFICATE: &[Field] = &[
    content("certFile"),
    content("keyFile"),
    texts("stores")
        .or("default")
        .differs("as in Traefik only the store `default` is used; other names are reported"),
];

pub(super) const STORE: &[Field] = &[
    group("defaultCertificate", &[content("certFile"), content("keyFile")]),
    group("defaultGeneratedCert", &[text("resolver"), group("domain", DOMAIN)])
        .differs("taken without effect: there are no certificate resolvers yet"),
];

pub(super) const OPTIONS: &[Field] = &[
    choice("minVersion", TLS_VERSIONS).or("VersionTLS12"),
    choice("maxVersion", TLS_VERSIONS).or("VersionTLS13"),
    texts("cipherSuites")
        .differs("suites that the TLS library does not have (CBC, RSA key exchange) are left out"),
    texts("curvePreferences").differs("groups that the TLS library does not have are left out"),
    group(
        "clientAuth",
        &[
            contents("caFiles"),
            choice(
                "clientAuthType",
                &[
                    ("NoClientCert", Support::Same),
                    ("RequestClientCert", Support::Same),
                    ("RequireAnyClientCert", Support::Same),
                    ("VerifyClientCertIfGiven", Support::Same),
                    ("RequireAndVerifyClientCert", Support::Same),
                ],
            )
            .or("NoClientCert"),
        ],
    ),
    flag("sniStrict"),
    texts("alpnProtocols")
        .or("h2, http/1.1, acme-tls/1")
        .differs("only h2 and http/1.1 are spoken; other names are left out"),
    flag("disableSessionTickets"),
    flag("preferServerCipherSuites").differs("deprecated in Traefik and without effect"),
];
