//! The reference pages, printed from the table, and the list of deliberate differences.

use std::fmt::Write as _;

use super::{DYNAMIC, Field, STATIC, Support, Type};

/// Something that Ravelin does otherwise than Traefik on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In a few words.
    pub title: &'static str,
    /// What Traefik does.
    pub traefik: &'static str,
    /// What Ravelin does.
    pub ravelin: &'static str,
    /// Why.
    pub reason: &'static str,
    /// How to have it Traefik's way; none for framing, syntax and safety rules.
    pub restore: Option<&'static str>,
    /// The options whose use it concerns; none if it concerns every request alike.
    pub concerns: &'static [&'static str],
}

/// Every deliberate difference.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        title: "a fault in one object leaves the others alone",
        traefik: "an unknown option, a wrong type or an unknown middleware leaves the whole file unread",
        ravelin: "the object with the fault, and the routers that need it, are in error; everything else moves on",
        reason: "one slip must not freeze or empty everything else",
        restore: None,
        concerns: &["http", "tls"],
    },
    Difference {
        title: "a router in error keeps its place",
        traefik: "a router in error is left out, and the next one that matches serves its requests",
        ravelin: "its last good value serves; without one its requests are answered 503. Where even its rule cannot be \
                  read it has no place: API and log say so",
        reason: "the next router may lack the protection that the one in error had",
        restore: None,
        concerns: &["http.routers"],
    },
    Difference {
        title: "rules are those of version 3",
        traefik: "`core.defaultRuleSyntax: v2` and a router's `ruleSyntax: v2` choose the deprecated language of version 2",
        ravelin: "the first stops the start, the second puts its router in error",
        reason: "the same text means something else in each, and the old language is on its way out in Traefik too",
        restore: None,
        concerns: &["core.defaultRuleSyntax", "http.routers.*.ruleSyntax"],
    },
    Difference {
        title: "a child router that cannot be placed is in error",
        traefik: "of parents in a circle one link is cut with a warning, and a child with `tls` vanishes",
        ravelin: "each router of the circle and the child are in error, and answer 503 where they have a place",
        reason: "nobody can know which link was meant, and what vanishes is looked for in vain",
        restore: None,
        concerns: &["http.routers.*.parentRefs"],
    },
    Difference {
        title: "an empty map counts as nothing",
        traefik: "`middlewares: {}` or `headers: {customRequestHeaders: {}}` leaves the whole file unread",
        ravelin: "it is taken as if it were not there",
        reason: "generators write empty maps, and nothing in one can be misread",
        restore: None,
        concerns: &["http", "tls"],
    },
    Difference {
        title: "a date without quotes is text",
        traefik: "a bare date leaves the whole file unread",
        ravelin: "it is taken as the text that it is",
        reason: "it can mean nothing else",
        restore: None,
        concerns: &["http", "tls"],
    },
    Difference {
        title: "folders of a mounted ConfigMap are read once",
        traefik: "a directory's `..2024_01` folders are read as sub-folders, and the old version wins until it is deleted",
        ravelin: "names that begin with `..` are left out",
        reason: "they are the mount's own business and make every object double",
        restore: None,
        concerns: &["providers.file.directory"],
    },
    Difference {
        title: "sub-folders are watched",
        traefik: "changes below a sub-folder go unseen until the folder itself changes",
        ravelin: "every change is seen",
        reason: "what is read should be what is there",
        restore: None,
        concerns: &["providers.file.directory"],
    },
    Difference {
        title: "a provided file is read when it has rested",
        traefik: "a file is read at the first sign of a change, also one that is half written but happens to be valid; a \
                  renewed certificate file is read only when a configuration file changes",
        ravelin: "a changed file is read once it, and the files that it names, have been left alone for 100 ms (after \
                  5 s of unbroken change as they stand), and a change of a named file is a change",
        reason: "half a file is a configuration that nobody wrote",
        restore: None,
        concerns: &["providers.file"],
    },
    Difference {
        title: "unknown words in TLS options are errors",
        traefik: "an unknown minVersion is ignored; an unknown suite or group closes that name's connections, or is 500 towards servers",
        ravelin: "the TLS options or the servers transport are in error, and so are the routers that need them",
        reason: "a weaker version than the one meant must not be spoken in silence",
        restore: None,
        concerns: &["tls.options", "http.serversTransports"],
    },
    Difference {
        title: "a least TLS version towards servers needs no greatest one",
        traefik: "a servers transport with minVersion but no maxVersion is 500",
        ravelin: "it speaks that version or a later one",
        reason: "nothing else can be meant",
        restore: None,
        concerns: &["http.serversTransports"],
    },
    Difference {
        title: "routers that ask for client certificates are not reached without",
        traefik: "where two routers give one host different TLS options, and where a rule names no host, the default \
                  options hold: a router whose options ask for a client certificate then serves clients that were never \
                  asked",
        ravelin: "such a request is answered 421 unless the connection was made with the router's own options",
        reason: "a router that asks who the client is must not serve whoever comes; options that ask for no certificate \
                 hold as in Traefik",
        restore: None,
        concerns: &["http.routers.*.tls", "tls.options"],
    },
    Difference {
        title: "a change of TLS options holds for connections that stand",
        traefik: "a kept connection goes on under the options that it was made with; on one connection options are compared by \
                  name",
        ravelin: "each request is held against what its host's options ask for now: authorities, versions, suites, groups, ALPN. \
                  Where the connection was made under anything else it is answered 421 and ends; options that ask for the same \
                  count as the same, whatever their names",
        reason: "who asks for certificates, or for others, means the clients that are connected too",
        restore: None,
        concerns: &["http.routers.*.tls", "tls.options"],
    },
    Difference {
        title: "TLS 1.2 is the oldest version",
        traefik: "TLS 1.0 and 1.1 can be switched on",
        ravelin: "`VersionTLS10` and `VersionTLS11` mean 1.2 as a lower bound, and are an error as an upper one",
        reason: "both are broken, and the TLS library does not have them",
        restore: None,
        concerns: &["tls.options.*.minVersion", "tls.options.*.maxVersion", "http.serversTransports"],
    },
    Difference {
        title: "the generated certificate has an elliptic key",
        traefik: "it has an RSA key",
        ravelin: "it has a P-256 key, so that TLS 1.2 clients that know RSA only need a certificate of yours",
        reason: "an RSA key takes longer to make than a start may last",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "a refused handshake may end with another alert",
        traefik: "protocol_version for TLS 1.1, unrecognized_name for a client that offers `acme-tls/1` only; no alert where the \
                  default certificate cannot be read",
        ravelin: "handshake_failure, an end without an alert, and access_denied",
        reason: "it is the TLS library's choice, and the outcome is the same",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "an entry point's header names with underscores are dropped",
        traefik: "`X_Forwarded_For` and its kin are dropped from untrusted clients, others pass",
        ravelin: "every field with an underscore in its name is dropped",
        reason: "many servers read `_` as `-`, so that a client can write the fields that only a proxy may write",
        restore: Some("entryPoints.<name>.http.underscoreHeadersStrategy: keep"),
        concerns: &["entryPoints"],
    },
    Difference {
        title: "a PROXY header of an untrusted peer is not read",
        traefik: "it is read and then ignored; a trusted peer's header may have 64 KiB",
        ravelin: "its bytes count as the request that they are not: 400; a trusted peer's header may have 4,096 bytes",
        reason: "who may not say who the client is has no business with that parser",
        restore: None,
        concerns: &["entryPoints.*.proxyProtocol"],
    },
    Difference {
        title: "forwarding fields of untrusted clients are dropped",
        traefik: "`Forwarded`, `X-Original-URL`, `X-Rewrite-URL` and `Proxy` pass",
        ravelin: "they and the whole `X-Forwarded-*` family are dropped, then ours are written",
        reason: "applications believe them",
        restore: Some("entryPoints.<name>.forwardedHeaders.trustedIPs or insecure"),
        concerns: &["entryPoints"],
    },
    Difference {
        title: "a path that hides a dot segment is refused",
        traefik: "`/a/..%2fb`, `/a/..;/b` and `/a/..%5cb` are routed and forwarded",
        ravelin: "a path that would hold a dot segment under any common decoding is 400; a plain `%2F` passes",
        reason: "the server behind may resolve what the router did not see",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "NUL and `#` in a target are refused, and no byte switches its decoding off",
        traefik: "`%00` in a path and any byte in a query pass; a raw `|` or non-ASCII byte makes Traefik decode the whole path",
        ravelin: "NUL in a path is 400, as are, in path and query, `#`, `<`, `>` and bytes that are no UTF-8, and a backtick in \
                  a path; others that no path holds are encoded, one by one. Over HTTP/2 a `#` and what follows it is gone \
                  before anybody here sees it, so that rules and server see the same path",
        reason: "the decoding dodges rules and `encodedCharacters`; what no target holds is read in as many ways as there are \
                 servers",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "framing of HTTP/1 is strict",
        traefik: "Content-Length beside `chunked` is taken",
        ravelin: "every ambiguous or malformed framing is refused and the connection closed",
        reason: "two readings of one message are request smuggling",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "a Host is one host",
        traefik: "hosts with commas, semicolons, quotes, percent signs, half a bracket, an IPv6 address without brackets, two \
                  dots at the end, two ports or a port that is no number are routed and forwarded",
        ravelin: "they are 400; so is a Host of HTTP/2 that differs from `:authority`, and a request without either",
        reason: "the server behind may take another host from it than the router did",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "`HostRegexp` never sees a trailing dot",
        traefik: "`a.test.` is matched with its dot, so that `^a\\.test$` does not match it",
        ravelin: "the host has one form for all matchers, without the dot",
        reason: "a dot must not lead around a router",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "a target has a form that its method allows",
        traefik: "`ftp://a.test/x`, `http:/x`, `joe:pw@` in an authority, `mailto:x` and `*` are routed; CONNECT of HTTP/2 is routed like any method",
        ravelin: "they are 400; CONNECT is 501",
        reason: "a proxy and a server that read one target in two ways can be played against each other",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "a target has at most 65,534 bytes",
        traefik: "only the whole head is limited; beyond it the answer is 431",
        ravelin: "a longer target is 414",
        reason: "it is what the URI type holds",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "a malformed HTTP/2 request is an error of HTTP/2",
        traefik: "`connection`, `transfer-encoding` or `te: gzip` is 400, a length that its content does not have is 502",
        ravelin: "the stream is reset; a field that cannot be decoded ends the connection",
        reason: "RFC 9113 asks for it, and nothing of it may reach a server",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "what may not switch protocols does not",
        traefik: "`Upgrade: h2c` is passed on",
        ravelin: "it is removed with HTTP2-Settings; HTTP/1.0 requests switch to nothing; a 101 carries no Content-Length",
        reason: "by h2c a client would speak to the server past every router",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "a head has at most 100 fields",
        traefik: "only the bytes of a head are limited",
        ravelin: "more than 100 fields are 431",
        reason: "a field costs more memory than its bytes",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "a rewritten path is in its one form too",
        traefik: "`addPrefix: /api/` makes `/api//x`, a prefix with dot segments is sent as written, and a replaced path \
                  without a slash stands so in the request line; a path that `replacePath` cannot decode is 500",
        ravelin: "slashes and dot segments of a prefix are resolved, a slash is put before; the middleware is in error",
        reason: "child routers, later middlewares and the server must read one path",
        restore: None,
        concerns: &[
            "http.middlewares.*.addPrefix",
            "http.middlewares.*.replacePath",
            "http.middlewares.*.replacePathRegex",
        ],
    },
    Difference {
        title: "an unchanged rate limit goes on counting",
        traefik: "every change of the configuration gives each source a new burst",
        ravelin: "counts begin anew where the limit's own options change",
        reason: "a limit that any change lifts is none",
        restore: None,
        concerns: &["http.middlewares"],
    },
    Difference {
        title: "a bcrypt hash costs seconds at most",
        traefik: "hashes of any cost are worked out where the request runs",
        ravelin: "a user whose hash has a cost above 16 puts the middleware in error; slow hashes run on threads of their \
                  own, and a password that was right is known for a minute",
        reason: "a few wrong passwords must not hold up everybody",
        restore: None,
        concerns: &["http.middlewares"],
    },
    Difference {
        title: "the TLS library chooses the cipher",
        traefik: "of the suites of TLS 1.3 that a client offers, AES-128 comes before AES-256",
        ravelin: "AES-256 comes first",
        reason: "both are sound; `cipherSuites` says nothing of TLS 1.3 in Traefik either",
        restore: None,
        concerns: &["tls.options"],
    },
    Difference {
        title: "TLS options are compared by what they say",
        traefik: "a request to a host with TLS options of another name than its connection's is 421, also where both say \
                  the same",
        ravelin: "it is served where the connection fulfils what the options ask for",
        reason: "a new handshake by the same rules proves nothing",
        restore: None,
        concerns: &["tls.options"],
    },
    Difference {
        title: "an empty answer of HTTP/2 has no length",
        traefik: "`content-length: 0` stands in it",
        ravelin: "its head ends the stream",
        reason: "nothing can follow it",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "a broken answer is 502",
        traefik: "a malformed answer, a 101 that nobody asked for or a failed certificate check is 500, a status below 100 ends the connection, broken chunks of a request are 500",
        ravelin: "502 where the server is at fault, 400 where the client is",
        reason: "500 says that the proxy is broken",
        restore: None,
        concerns: &["http.services"],
    },
    Difference {
        title: "an answer can be read in one way only",
        traefik: "lines of an answer's head may end in LF alone or go on in the next line, and a length may stand beside chunks",
        ravelin: "502; old padding of chunk sizes is taken",
        reason: "what two readers read in two ways can end up as another client's answer",
        restore: None,
        concerns: &["http.services"],
    },
    Difference {
        title: "an answer is passed on as it comes",
        traefik: "an answer shorter than its Content-Length ends the client's connection without a head",
        ravelin: "the head is sent, then what came, then the connection ends",
        reason: "waiting for the rest would delay every answer",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "interim answers change nothing",
        traefik: "after a 103 Traefik guesses a Content-Type, and loses what middlewares had set; HTTP/2 clients get the 103",
        ravelin: "the answer is the same with and without; clients of HTTP/2 do not get the 103",
        reason: "the HTTP/2 library has no way to send it",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "trailers are passed where they are understood",
        traefik: "a client's trailers are announced but never sent; an answer's trailers go to every client",
        ravelin: "a client's trailers are sent, without fields of routing, framing and identity; an answer's go to clients that say `TE: trailers`, in lower case, and are not announced to HEAD; names in `Trailer` stay as written",
        reason: "RFC 9110, 6.5.1; a lost checksum is a lost message",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "what `Connection` names in an answer is removed",
        traefik: "`Connection: X, close` in an answer leaks X to the client",
        ravelin: "X is removed",
        reason: "it belongs to one connection",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "an upload that its server does not take is given up",
        traefik: "client and server hold each other, and both connections, for as long as they like",
        ravelin: "60 s, and at most twice as long, without a byte taken is 504; an answer that has begun breaks off",
        reason: "what nobody ends is never let go",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "user and password in a server's address are shown nowhere",
        traefik: "API, access log and messages show them",
        ravelin: "they show `http://…@host`",
        reason: "a secret is shown nowhere",
        restore: None,
        concerns: &["http.services"],
    },
    Difference {
        title: "what may be a secret is not repeated",
        traefik: "messages quote names and values as they were written",
        ravelin: "of names that cannot be an option's or a header's, and of values where secrets are due, they tell the place \
                  and the length",
        reason: "a password ends at the wrong place by one slip of indentation",
        restore: None,
        concerns: &["http", "tls"],
    },
    Difference {
        title: "no compression is asked for on a client's behalf",
        traefik: "without Accept-Encoding from the client the server sees `Accept-Encoding: gzip`, and the answer is unpacked",
        ravelin: "what the client did not ask for is not asked for",
        reason: "it is a trait of the Go client that costs both sides",
        restore: None,
        concerns: &[],
    },
    Difference {
        title: "CORS fields are whole",
        traefik: "`*` with credentials gives an empty Access-Control-Allow-Origin to requests without Origin; addVaryHeader drops further Vary lines and doubles Origin",
        ravelin: "no empty field; Vary keeps all lines and names Origin once",
        reason: "a lost Vary poisons caches",
        restore: None,
        concerns: &["http.middlewares.*.headers"],
    },
    Difference {
        title: "an encoded answer says so in full",
        traefik: "`compress` leaves `Accept-Ranges` on answers that it encodes with br or zstd, and its `Vary` goes with that of \
                  a service where a middleware behind it removes that",
        ravelin: "`Accept-Ranges` is removed whatever the encoding, and `Vary` stays",
        reason: "ranges of what is sent are not those of what the server has; a lost Vary poisons caches",
        restore: None,
        concerns: &["http.middlewares.*.compress"],
    },
    Difference {
        title: "no `User-Agent` is made up",
        traefik: "`forwardAuth` asks as `Go-http-client/1.1` where the client sent no User-Agent",
        ravelin: "the authentication server gets none either",
        reason: "it is a trait of the Go client",
        restore: None,
        concerns: &["http.middlewares.*.forwardAuth"],
    },
    Difference {
        title: "certificates are of version 3",
        traefik: "takes client certificates of X.509 version 1",
        ravelin: "the handshake is refused",
        reason: "the TLS library reads version 3 alone",
        restore: None,
        concerns: &["tls.options.*.clientAuth"],
    },
    Difference {
        title: "a digest answer is for its own target",
        traefik: "`digestAuth` takes an answer whose uri is any prefix of the path, and compares it with what a middleware before it \
                  made of the path",
        ravelin: "the uri must be the target that the client sent",
        reason: "one answer would open all that lies below its path (RFC 7616, 3.4.6)",
        restore: None,
        concerns: &["http.middlewares.*.digestAuth"],
    },
    Difference {
        title: "cookies of a service stay as they came",
        traefik: "`forwardAuth` writes all cookies of an answer anew once the authentication server sets any, and drops what it \
                  cannot read",
        ravelin: "only the cookies in `addAuthCookiesToResponse` are replaced",
        reason: "attributes and cookies would be lost",
        restore: None,
        concerns: &["http.middlewares.*.forwardAuth"],
    },
    Difference {
        title: "an IPv6 host with a port can be redirected",
        traefik: "the brackets get lost, and the answer is 502",
        ravelin: "they stay",
        reason: "the redirect is what was asked for",
        restore: None,
        concerns: &["http.middlewares.*.redirectScheme"],
    },
    Difference {
        title: "a health check asks its server and nobody else",
        traefik: "a redirection is followed wherever it leads",
        ravelin: "it is followed at the same address only; else its own status counts",
        reason: "a server must not choose whom the proxy dials",
        restore: None,
        concerns: &["http.services.*.loadBalancer.healthCheck.followRedirects"],
    },
    Difference {
        title: "a server that is left alone is shown as down",
        traefik: "the API shows only what active health checks found",
        ravelin: "`serverStatus` is DOWN while failures keep a server from getting requests",
        reason: "who looks wants to know where requests go",
        restore: None,
        concerns: &["http.services.*.loadBalancer.passiveHealthCheck"],
    },
    Difference {
        title: "nobody is called",
        traefik: "looks for new versions, and can send usage statistics",
        ravelin: "`checkNewVersion` and `sendAnonymousUsage` are taken without effect",
        reason: "a proxy dials servers and what it was told to dial",
        restore: None,
        concerns: &["global.checkNewVersion", "global.sendAnonymousUsage"],
    },
];

/// The page of differences.
pub fn differences_markdown() -> String {
    let mut out = String::from(
        "# Deliberate differences from Traefik\n\nMade from the table in `config/src/options/reference.rs`. What does not \
         work *yet* stands in [options.md](options.md).\n`ravelin validate FILE` prints those that concern a file.\n",
    );
    for difference in DIFFERENCES {
        let Difference { title, traefik, ravelin, reason, restore, concerns: _ } = difference;
        let restore = restore.map_or("no".to_owned(), |restore| format!("`{restore}`"));
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "\n## {}\n- Traefik: {traefik}.\n- Ravelin: {ravelin}.\n- Why: {reason}.\n- Traefik's way possible: {restore}.\n",
            capital(title)
        );
    }
    out
}

/// The page of options.
pub fn options_markdown() -> String {
    let mut out = String::from(
        "# Options\n\nEvery option of Traefik v3.7 that Ravelin knows. Made from the table in `config/src/options/`; names match in \
         any case.\n\nWorks: **yes** as in Traefik, **differs** with the way it does, **not yet** with what is missing: an \
         object that uses it is in error,\na static section without its function starts and says so.\n",
    );
    for (title, fields) in [("Dynamic configuration", DYNAMIC), ("Static configuration", STATIC)] {
        let _ = write!(out, "\n## {title}\n\n| option | value | default | works |\n|---|---|---|---|\n");
        rows(fields, "", false, &mut out);
    }
    out
}

fn rows(fields: &[Field], path: &str, within_not_yet: bool, out: &mut String) {
    for field in fields {
        let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
        let later = within_not_yet || matches!(field.support, Support::NotYet(_));
        let works = match field.support {
            _ if within_not_yet => "not yet".to_owned(),
            Support::Same => words_that_differ(&field.ty).unwrap_or_else(|| "yes".to_owned()),
            Support::Different(reason) => format!("differs: {reason}"),
            Support::NotYet(missing) => format!("not yet: {missing}"),
        };
        // A default with blanks is a description, unless it is a list.
        let described =
            field.default.is_empty() || (field.default.contains(' ') && !field.default.contains(','));
        let default = if described { field.default.to_owned() } else { format!("`{}`", field.default) };
        let value = match field.ty {
            Type::Choice(words) | Type::AnyCase(words) => {
                words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            }
            ty => ty.describe().to_owned(),
        };
        let leaf = field.ty.fields().is_empty();
        if leaf || field.support != Support::Same {
            let _ = writeln!(out, "| `{path}` | {value} | {default} | {works} |");
        }
        let below = match field.ty {
            Type::Named(_) => format!("{path}.*"),
            Type::Groups(_) => format!("{path}[]"),
            _ => path,
        };
        rows(field.ty.fields(), &below, later, out);
    }
}

/// What is to be said of single words of a choice.
fn words_that_differ(ty: &Type) -> Option<String> {
    let (Type::Choice(words) | Type::AnyCase(words)) = ty else { return None };
    let texts = words.iter().filter_map(|(_, support)| match support {
        Support::Same => None,
        Support::Different(text) | Support::NotYet(text) => Some(*text),
    });
    let texts: Vec<&str> = texts.collect();
    if texts.is_empty() { None } else { Some(format!("in part: {}", texts.join("; "))) }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
