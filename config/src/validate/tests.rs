//! The report of whole files against committed texts. `RAVELIN_REWRITE=1` writes the texts anew.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use super::*;

fn no_files(_: &str) -> Result<String, String> {
    Err("no such file".to_owned())
}

fn report(name: &str) -> Report {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/validate").join(name);
    let text = std::fs::read_to_string(&path).expect("the file is committed");
    let format = Format::of_path(&path).expect("the name has an extension that is read");
    validate(name, &text, format, &no_files, &|_| None)
}

fn golden(name: &str) -> Report {
    let report = report(name);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/validate").join(format!("{name}.txt"));
    let text = report.to_string();
    if std::env::var_os("RAVELIN_REWRITE").is_some() {
        std::fs::write(&path, &text).expect("the checkout can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == committed, "the report of {name} is another one:\n{text}");
    report
}

#[test]
fn every_fault_of_a_dynamic_file() {
    let report = golden("bad.yaml");
    assert!(!report.is_good());
    assert_eq!(report.exit_status(), 1);
    let without_place: Vec<_> =
        report.problems.iter().filter(|problem| problem.at == Position::NONE).collect();
    assert_eq!(without_place, [] as [&Problem; 0], "each problem has its place");
}

#[test]
fn a_good_file_with_both_parts() {
    let report = golden("good.yaml");
    assert_eq!(report.problems, []);
    assert_eq!(report.exit_status(), 0);
    assert!(report.options.iter().any(|used| used.option == "http.services.*.loadBalancer.servers[].url"));
}

#[test]
fn every_fault_of_a_static_file() {
    assert_eq!(golden("static.toml").exit_status(), 1);
}

#[test]
fn what_does_not_work_yet_in_a_static_file() {
    assert_eq!(golden("later.yaml").exit_status(), 3);
}

#[test]
fn an_unreadable_file() {
    let report = golden("unreadable.yaml");
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.exit_status(), 1);
}

#[test]
fn files_without_configuration_and_warnings_alone() {
    let validate = |text: &str| validate("t.yaml", text, Format::Yaml, &no_files, &|_| None);
    assert_eq!(validate("").exit_status(), 1);
    assert_eq!(validate("nonsense: 1").exit_status(), 1);
    let warned = validate("nonsense: 1\nhttp: {services: {s: {loadBalancer: {}}}}");
    assert_eq!((warned.problems.len(), warned.exit_status()), (1, 0));
}

#[test]
fn a_template_is_carried_out_as_the_provider_would_and_static_sections_are_none() {
    let environment = |name: &str| (name == "H").then(|| "a.test".to_owned());
    let validate = |text: &str| validate("t.yaml", text, Format::Yaml, &no_files, &environment);
    let router = |rule: &str| {
        format!(
            "http:\n  services: {{s: {{loadBalancer: {{}}}}}}\n  routers:\n    a: {{rule: '{rule}', service: s}}\n"
        )
    };
    let good = validate(&router("Host(`{{ env \"H\" }}`)"));
    assert_eq!((good.problems.as_slice(), good.exit_status()), (&[][..], 0));
    let unset = validate(&router("Host(`{{ env \"I\" }}b.test`)"));
    assert_eq!((unset.problems.len(), unset.exit_status()), (1, 0), "{:?}", unset.problems);
    assert_eq!(
        (unset.problems[0].severity, unset.problems[0].at),
        (Severity::Warning, Position { line: 4, column: 25 })
    );
    let wrong = validate(&router("Host({{ list \"a.test\" | first }})"));
    assert_eq!((wrong.problems[0].at.line, wrong.exit_status()), (4, 1), "{:?}", wrong.problems);
    let broken = validate("http:\n  {{ range .Hosts }}\n");
    assert!(broken.problems[0].message.starts_with("template: a block"), "{:?}", broken.problems);
    let of_static = validate("accessLog: {filePath: 'a{{b'}\nentryPoints: {web: {address: ':80'}}\n");
    assert_eq!(of_static.exit_status(), 0, "{:?}", of_static.problems);
}

#[test]
fn what_does_not_work_yet_has_a_status_of_its_own() {
    let text = "http:\n  services: {s: {loadBalancer: {}, middlewares: [t]}}\n  middlewares: {t: {rateLimit: {redis: {db: 1}}}}\n";
    let status = |text: &str| validate("t.yaml", text, Format::Yaml, &no_files, &|_| None).exit_status();
    assert_eq!(status(text), 3);
    let used = text.replace("services:", "routers: {r: {rule: Host(`a`), service: s}}\n  services:");
    assert_eq!(status(&used), 3, "a router that needs it is in error for nothing else");
    assert_eq!(
        status(&text.replace("rateLimit: {", "rateLimit: {average: {x: y}, ")),
        1,
        "an error outweighs it"
    );
}

#[test]
fn usual_slips_are_told_with_their_mend() {
    let mends = |text: &str| {
        let report = validate("t.yaml", text, Format::Yaml, &no_files, &|_| None);
        report.problems.iter().filter_map(|problem| problem.mend.clone()).collect::<Vec<_>>().join("\n")
    };
    let rule = |rule: &str| {
        mends(&format!(
            "http:\n  routers: {{r: {{rule: \"{rule}\", service: s}}}}\n  services: {{s: {{loadBalancer: {{}}}}}}\n"
        ))
    };
    for (text, mend) in [
        ("Host(a.test)", "put the values into backticks, as in Host(`example.com`)"),
        ("Host(`a.test`) and Path(`/`)", "write `&&` for and"),
        ("Host(`a.test`) OR Path(`/`)", "write `||` for or"),
        ("Hots(`a.test`)", "did you mean `Host`?"),
        ("Host(`a.test`", "correct the rule"),
    ] {
        assert!(rule(text).starts_with(mend), "{text}: {}", rule(text));
    }
    let servers = "http: {services: {s: {loadBalancer: {servers: ['http://a:1']}}}}";
    assert_eq!(mends(servers), "write `- url: …`");
    assert_eq!(mends("http:\n\trouters: {}\n"), "indent with blanks");
    assert_eq!(mends("a: `x`\n"), "put the value into quotes: '…'");
    assert_eq!(mends("experimental: {HTTP3: true}"), "remove it: `entryPoints.<name>.http3` is enough");
}

#[test]
fn references_across_both_parts_are_judged() {
    let text = "entryPoints: {web: {address: ':1'}}\nhttp:\n  routers:\n    a: {rule: Host(`a`), service: ping@internal}\n    \
                b: {rule: Host(`a`), service: s, entryPoints: [wob]}\n  services: {s: {loadBalancer: {}}}\n";
    let report = validate("t.yaml", text, Format::Yaml, &no_files, &|_| None);
    let texts: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "t.yaml:4:26: http.routers.a.service: ping is not enabled",
            "t.yaml:5:38: http.routers.b.entryPoints: entryPoint \"wob\" doesn't exist",
            "t.yaml:5:38: http.routers.b.entryPoints: no valid entryPoint for this router",
        ]
    );
}

/// A person waits for it. The bound is wide: tests are built without optimisation and share their machine.
#[test]
fn a_large_file_takes_no_time_to_speak_of() {
    let mut text =
        "http:\n  services: {s: {loadBalancer: {servers: [{url: 'http://127.0.0.1:1'}]}}}\n  routers:\n"
            .to_owned();
    for n in 0..5_000 {
        let broken = if n == 4_000 { ", prioritty: 5" } else { "" };
        writeln!(text, "    r{n}: {{rule: 'Host(`h{n}.test`) && PathPrefix(`/p`)', service: s{broken}}}")
            .expect("writing to a String cannot fail");
    }
    let started = Instant::now();
    let report = validate("t.yaml", &text, Format::Yaml, &no_files, &|_| None);
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert_eq!(report.problems[0].at.line, 4_004);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
