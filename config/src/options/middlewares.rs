//! Options of HTTP middlewares, all kinds.

use super::services::CLIENT_TLS;
use super::{Field, content, duration, flag, free, group, integer, switch, text, text_map, texts};

const IP_STRATEGY: &[Field] = &[integer("depth").or("0"), texts("excludedIPs"), integer("ipv6Subnet")];

const SOURCE_CRITERION: &[Field] =
    &[switch("ipStrategy", IP_STRATEGY), text("requestHeaderName"), flag("requestHost")];

/// The switches of an entry point's `encodedCharacters`.
pub(super) const ENCODED_CHARACTERS: &[Field] = &[
    flag("allowEncodedSlash").or("true"),
    flag("allowEncodedBackSlash").or("true"),
    flag("allowEncodedNullCharacter").or("true").differs("a NUL in a path is always refused"),
    flag("allowEncodedSemicolon").or("true"),
    flag("allowEncodedPercent").or("true"),
    flag("allowEncodedQuestionMark").or("true"),
    flag("allowEncodedHash").or("true"),
];

/// Those of the middleware, which begin as false.
const PATH_CHARACTERS: &[Field] = &[
    flag("allowEncodedSlash"),
    flag("allowEncodedBackSlash"),
    flag("allowEncodedNullCharacter").differs("a NUL in a path is always refused"),
    flag("allowEncodedSemicolon"),
    flag("allowEncodedPercent"),
    flag("allowEncodedQuestionMark"),
    flag("allowEncodedHash"),
];

const USERS: &[Field] = &[
    texts("users"),
    content("usersFile"),
    text("realm").or("traefik"),
    flag("removeHeader"),
    text("headerField"),
];

const DEAD: &str = "deprecated in Traefik and without effect";

const HEADERS: &[Field] = &[
    text_map("customRequestHeaders"),
    text_map("customResponseHeaders"),
    flag("accessControlAllowCredentials"),
    texts("accessControlAllowHeaders"),
    texts("accessControlAllowMethods"),
    texts("accessControlAllowOriginList"),
    texts("accessControlAllowOriginListRegex"),
    texts("accessControlExposeHeaders"),
    integer("accessControlMaxAge").or("0"),
    flag("addVaryHeader"),
    texts("allowedHosts"),
    texts("hostsProxyHeaders"),
    text_map("sslProxyHeaders"),
    integer("stsSeconds").or("0"),
    flag("stsIncludeSubdomains"),
    flag("stsPreload"),
    flag("forceSTSHeader"),
    flag("frameDeny"),
    text("customFrameOptionsValue"),
    flag("contentTypeNosniff"),
    flag("browserXssFilter"),
    text("customBrowserXSSValue"),
    text("contentSecurityPolicy"),
    text("contentSecurityPolicyReportOnly"),
    text("publicKey"),
    text("referrerPolicy"),
    text("permissionsPolicy"),
    flag("isDevelopment"),
    text("featurePolicy").differs(DEAD),
    flag("sslRedirect").differs(DEAD),
    flag("sslTemporaryRedirect").differs(DEAD),
    text("sslHost").differs(DEAD),
    flag("sslForceHost").differs(DEAD),
];

const SUBJECT: &[Field] = &[
    flag("country"),
    flag("province"),
    flag("locality"),
    flag("organization"),
    flag("organizationalUnit"),
    flag("commonName"),
    flag("serialNumber"),
    flag("domainComponent"),
];

const ISSUER: &[Field] = &[
    flag("country"),
    flag("province"),
    flag("locality"),
    flag("organization"),
    flag("commonName"),
    flag("serialNumber"),
    flag("domainComponent"),
];

const FORWARD_AUTH: &[Field] = &[
    text("address"),
    group("tls", CLIENT_TLS),
    flag("trustForwardHeader"),
    texts("authResponseHeaders"),
    text("authResponseHeadersRegex"),
    texts("authRequestHeaders"),
    texts("addAuthCookiesToResponse"),
    text("headerField"),
    flag("forwardBody"),
    integer("maxBodySize").or("-1"),
    integer("maxResponseBodySize").or("-1"),
    flag("preserveLocationHeader"),
    flag("preserveRequestMethod"),
    text("authSigninURL"),
];

const REDIS: &[Field] = &[
    texts("endpoints").or("127.0.0.1:6379"),
    group("tls", CLIENT_TLS),
    text("username"),
    text("password"),
    integer("db").or("0"),
    integer("poolSize").or("0"),
    integer("minIdleConns").or("0"),
    integer("maxActiveConns").or("0"),
    duration("readTimeout").or("3s"),
    duration("writeTimeout").or("3s"),
    duration("dialTimeout").or("5s"),
];

pub(super) const MIDDLEWARE: &[Field] = &[
    group("chain", &[texts("middlewares")]),
    group("headers", HEADERS),
    group("inFlightReq", &[integer("amount"), switch("sourceCriterion", SOURCE_CRITERION)]),
    group("redirectScheme", &[text("scheme"), text("port"), flag("permanent")]),
    group("stripPrefix", &[texts("prefixes"), flag("forceSlash").or("true")]),
    group("addPrefix", &[text("prefix")]),
    group("basicAuth", USERS),
    group(
        "buffering",
        &[
            integer("maxRequestBodyBytes").or("0"),
            integer("memRequestBodyBytes").or("1048576"),
            integer("maxResponseBodyBytes").or("0"),
            integer("memResponseBodyBytes").or("1048576"),
            text("retryExpression"),
            flag("disableRequestBuffer"),
            flag("disableResponseBuffer"),
        ],
    ),
    group(
        "circuitBreaker",
        &[
            text("expression"),
            duration("checkPeriod").or("100ms"),
            duration("fallbackDuration").or("10s"),
            duration("recoveryDuration").or("10s"),
            integer("responseCode").or("503"),
        ],
    ),
    switch(
        "compress",
        &[
            texts("encodings").or("gzip, br, zstd"),
            texts("excludedContentTypes"),
            texts("includedContentTypes"),
            integer("minResponseBodyBytes").or("1024"),
            text("defaultEncoding"),
        ],
    ),
    switch("contentType", &[flag("autoDetect").or("true")]),
    group("digestAuth", USERS),
    switch("encodedCharacters", PATH_CHARACTERS),
    group(
        "errors",
        &[
            texts("status"),
            text_map("statusRewrites"),
            text("service"),
            text("query"),
            texts("errorRequestHeaders"),
        ],
    ),
    group("forwardAuth", FORWARD_AUTH),
    group("grpcWeb", &[texts("allowOrigins")]),
    group(
        "ipAllowList",
        &[texts("sourceRange"), switch("ipStrategy", IP_STRATEGY), integer("rejectStatusCode").or("403")],
    ),
    group("ipWhiteList", &[texts("sourceRange"), switch("ipStrategy", IP_STRATEGY)]),
    group(
        "passTLSClientCert",
        &[
            flag("pem"),
            group(
                "info",
                &[
                    flag("notAfter"),
                    flag("notBefore"),
                    flag("sans"),
                    flag("serialNumber"),
                    group("subject", SUBJECT),
                    group("issuer", ISSUER),
                ],
            ),
        ],
    ),
    free("plugin").not_yet("plugins do not work yet"),
    group(
        "rateLimit",
        &[
            integer("average").or("0"),
            duration("period").or("1s"),
            integer("burst").or("1"),
            switch("sourceCriterion", SOURCE_CRITERION),
            group("redis", REDIS).not_yet("counts in Redis do not work yet"),
        ],
    ),
    group("redirectRegex", &[text("regex"), text("replacement"), flag("permanent")]),
    group("replacePath", &[text("path")]),
    group("replacePathRegex", &[text("regex"), text("replacement")]),
    group(
        "retry",
        &[
            integer("attempts"),
            duration("initialInterval").or("0s"),
            duration("timeout").or("0s"),
            integer("maxRequestBodyBytes").or("2097152"),
            texts("status"),
            flag("disableRetryOnNetworkError"),
            flag("retryNonIdempotentMethod"),
        ],
    ),
    group("stripPrefixRegex", &[texts("regex")]),
];
