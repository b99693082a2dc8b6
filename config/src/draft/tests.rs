//! Drafts from documents: keys, first file wins, problems with their places, files resolved.

use std::sync::Arc;

use super::*;
use crate::document::{Format, parse};

fn documents(texts: &[(&str, &str)]) -> Vec<Document> {
    texts.iter().map(|(name, text)| parse(name, text, Format::Yaml).expect("the text is sound")).collect()
}

fn no_files(_: &str) -> Result<String, String> {
    Err("no such file".to_owned())
}

fn draft(texts: &[(&str, &str)]) -> Draft {
    draft_with_files("file", &documents(texts), &no_files).expect("documents give a draft")
}

fn text(draft: &Draft, key: &str) -> String {
    let object = draft.objects.get(key).expect("the object is there");
    String::from_utf8(object.bytes.to_vec()).expect("JSON is text")
}

fn problems(draft: &Draft) -> Vec<String> {
    draft.problems.iter().map(|(_, problem)| problem.to_string()).collect()
}

#[test]
fn objects_have_qualified_keys_and_canonical_bytes() {
    let draft = draft(&[(
        "a.yaml",
        "HTTP:\n  Routers:\n    web: {Rule: Host(`a`), service: s}\n    gone:\n  services: {s: {loadBalancer: {}}}\n  \
         middlewares: {}\nentryPoints: {x: 1}\nnonsense: [1]\ntls:\n  certificates:\n    - {certFile: a, keyFile: b}\n  \
         options: {default: {sniStrict: 1}}\n",
    )]);
    let keys: Vec<&str> = draft.objects.keys().map(Key::as_str).collect();
    let certificate = format!("tls/certificates/{}@file", Digest::of(b"a"));
    assert_eq!(
        keys,
        ["http/routers/web@file", "http/services/s@file", certificate.as_str(), "tls/options/default@file"]
    );
    assert_eq!(text(&draft, "http/routers/web@file"), r#"{"rule":"Host(`a`)","service":"s"}"#);
    assert_eq!(text(&draft, "tls/options/default@file"), r#"{"sniStrict":true}"#);
}

#[test]
fn what_is_wrong_with_one_object_leaves_the_others() {
    let draft = draft(&[(
        "a.yaml",
        "http:\n  routers:\n    good: {rule: Host(`a`), service: s}\n    typo: {rule: Host(`b`), service: s, \
         midlewares: [x]}\n    text: hello\n  router: {x: {}}\n  services: [1]\ntcp:\n  routers: {t: {rul: x}}\n",
    )]);
    assert_eq!(
        problems(&draft),
        [
            "a.yaml:4:41: http.routers.typo.midlewares: field not found (did you mean `middlewares`?)",
            "a.yaml:5:11: http.routers.text: expected keys with values, found a text of 5 characters",
            "a.yaml:6:3: http.router: field not found (did you mean `routers`?)",
            "a.yaml:7:13: http.services: expected keys with values",
            "a.yaml:8:1: tcp: TCP routing does not work yet",
            "a.yaml:9:17: tcp.routers.t.rul: field not found (did you mean `rule`?)",
        ]
    );
    assert_eq!(draft.objects.len(), 4);
    assert_eq!(text(&draft, "tcp/routers/t@file"), r#"{"rul":"x"}"#, "wanted, though nothing of it works");
    assert_eq!(
        text(&draft, "http/routers/typo@file"),
        r#"{"midlewares":["x"],"rule":"Host(`b`)","service":"s"}"#
    );
    assert_eq!(text(&draft, "http/routers/text@file"), r#"{"":"hello"}"#);
}

#[test]
fn of_two_objects_with_one_name_the_first_file_wins_and_the_later_is_reported() {
    let draft = draft(&[
        ("a.yaml", "http: {routers: {web: {rule: Host(`a`)}}}"),
        ("b.yaml", "http:\n  routers: {web: {rule: Host(`b`)}, other: {rule: Host(`c`)}}"),
    ]);
    assert_eq!(text(&draft, "http/routers/web@file"), r#"{"rule":"Host(`a`)"}"#);
    assert_eq!(
        problems(&draft),
        [
            "b.yaml:2:13: http.routers.web: already defined at a.yaml:1:18, which is the one that counts (rename or \
          remove one of them)"
        ]
    );
    assert_eq!(draft.objects.len(), 2);
}

#[test]
fn files_give_their_content_and_missing_ones_are_reported_with_their_place() {
    let text_of = "tls:\n  certificates:\n    - certFile: /a.crt\n      keyFile: /none\n  options:\n    o: \
                   {clientAuth: {caFiles: [/a.crt, /none]}}\nhttp:\n  serversTransports:\n    t: {certificates: \
                   [{certFile: /a.crt, keyFile: '-----BEGIN X'}]}\n";
    let files = |path: &str| match path {
        "/a.crt" => Ok("PEM of a".to_owned()),
        _ => Err("no such file".to_owned()),
    };
    let draft =
        draft_with_files("file", &documents(&[("t.yaml", text_of)]), &files).expect("documents give a draft");
    let key = format!("tls/certificates/{}@file", Digest::of(b"/a.crt"));
    assert_eq!(text(&draft, &key), r#"{"certFile":"PEM of a","keyFile":"/none"}"#);
    assert_eq!(text(&draft, "tls/options/o@file"), r#"{"clientAuth":{"caFiles":["PEM of a","/none"]}}"#);
    assert_eq!(
        text(&draft, "http/serversTransports/t@file"),
        r#"{"certificates":[{"certFile":"PEM of a","keyFile":"-----BEGIN X"}]}"#
    );
    let mend = "(name a file that Ravelin may read, or give its content)";
    assert_eq!(
        problems(&draft),
        [
            format!(
                "t.yaml:4:16: tls.certificates[0].keyFile: the file \"/none\" cannot be read: no such file {mend}"
            ),
            format!(
                "t.yaml:6:40: tls.options.o.clientAuth.caFiles: the file \"/none\" cannot be read: no such file {mend}"
            ),
        ]
    );
}

#[test]
fn unchanged_objects_are_shared_with_the_earlier_draft() {
    let before = draft(&[("a.yaml", "http: {routers: {a: {rule: x}, b: {rule: y}}}")]);
    let mut after = draft(&[("a.yaml", "http: {routers: {a: {rule: x}, b: {rule: z}}}")]);
    after.keep_unchanged(&before);
    let shared = |key: &str| Arc::ptr_eq(&before.objects[key], &after.objects[key]);
    assert!(shared("http/routers/a@file"));
    assert!(!shared("http/routers/b@file"));
}

#[test]
fn names_that_cannot_be_keys_are_refused() {
    let draft =
        draft(&[("a.yaml", &format!("http: {{routers: {{\"a\\tb\": {{}}, {}: {{}}}}}}", "x".repeat(1020)))]);
    assert_eq!(draft.objects.len(), 0);
    assert_eq!(draft.problems.len(), 2);
}

#[test]
fn files_are_read_from_the_disk_up_to_their_limit() {
    let folder = tempfile::tempdir().expect("the system has a temporary folder");
    let path = folder.path().join("x.pem");
    let name = path.to_str().expect("the folder's name is text");
    std::fs::write(&path, "content").expect("the folder is ours");
    assert_eq!(read_file(name), Ok("content".to_owned()));
    std::fs::write(&path, vec![b'x'; 1024 * 1024 + 1]).expect("the folder is ours");
    assert!(read_file(name).is_err_and(|error| error.contains("longer than")));
    assert!(read_file("/no/such/file").is_err());
}

#[test]
fn the_name_of_a_certificate_tells_nothing_of_its_key() {
    let named = |key: &str| {
        let text = format!(
            "tls:\n  certificates:\n    - keyFile: {key}\n    - certFile: [x]\n      keyFile: {key}\n    - certFile: \
             '{key} PRIVATE KEY-----'\n"
        );
        let draft = draft(&[("t.yaml", &text)]);
        draft.objects.keys().map(|key| key.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(named("one").len(), 3);
    assert_eq!(named("one"), named("two"), "an unkeyed digest of a secret would let guesses be tried");
}
