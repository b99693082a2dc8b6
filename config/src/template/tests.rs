//! Templates against committed scripts, whose answers were compared with Go's own templates and sprig; limits; and any text at all.
//! `RAVELIN_REWRITE=1` writes the answers anew: read the difference before committing it.

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn environment(name: &str) -> Option<String> {
    match name {
        "HOST" => Some("a.test".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

/// What a text gives, or the error with its place.
fn answer(text: &str) -> String {
    match render("t", text, &environment) {
        Ok(None) => text.to_owned(),
        Ok(Some(rendered)) => rendered.text,
        Err(problem) => {
            let Position { line, column } = problem.at;
            let message = problem.message.strip_prefix("template: ").expect("every fault says whose it is");
            format!("ERROR {line}:{column} {message}")
        }
    }
}

/// Texts each behind a line `<<<`, their answers each behind a line `===`.
fn script(name: &str, least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/template").join(name);
    let committed = std::fs::read_to_string(&path).expect("the script is committed");
    let (mut made, mut count) = (String::new(), 0);
    for stanza in committed.split("<<<\n").skip(1) {
        let text = stanza.split_once("\n===\n").expect("an answer follows").0;
        writeln!(made, "<<<\n{text}\n===\n{}", answer(text)).expect("texts take everything");
        count += 1;
    }
    assert!(count >= least, "only {count} texts");
    if std::env::var_os("RAVELIN_REWRITE").is_some() {
        std::fs::write(&path, &made).expect("the checkout can be written");
        return;
    }
    for (made, committed) in made.split("<<<\n").zip(committed.split("<<<\n")) {
        assert_eq!(made, committed, "{name}");
    }
}

#[test]
fn texts_give_what_go_and_sprig_give() {
    script("same.txt", 75);
}

#[test]
fn faults_are_told_with_their_places_and_without_values() {
    script("faults.txt", 40);
}

#[test]
fn what_differs_from_go_does_so_as_listed() {
    script("different.txt", 9);
}

fn fault(text: &str) -> String {
    render("t", text, &environment).expect_err("beyond a limit").message
}

#[test]
fn every_limit_is_told() {
    let cases = [
        ("{{ range 100000000 }}{{ end }}", "steps"),
        ("{{ range until 100000000 }}{{ end }}", "steps"),
        ("{{ $a := `x` }}{{ range until 40 }}{{ $a = print $a $a }}{{ end }}", "make more than"),
        ("{{ $a := repeat 3000000 `x` }}{{ range 100 }}{{ $b := print $a }}{{ end }}", "make more than"),
        ("{{ $a := repeat 3000000 `x` }}{{ range 20 }}{{ $a }}{{ end }}", "gives more than"),
        ("{{ $a := list }}{{ range 40 }}{{ $a = list $a }}{{ end }}", "nested more than"),
        ("{{ $a := dict }}{{ range 40 }}{{ $a = dict `a` $a `b` $a }}{{ end }}", "elements"),
        ("{{ define `a` }}{{ template `a` }}{{ end }}{{ template `a` }}", "nested more than"),
        ("{{ printf `%2000d` 1 }}", "width"),
        ("{{ repeat 99999999999 `xx` }}", "more than"),
    ];
    for (text, expected) in cases {
        let found = fault(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
    let deep = format!("{}{}", "{{ if 1 }}".repeat(70), "{{ end }}".repeat(70));
    assert!(fault(&deep).contains("nested more than"));
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(70), ")".repeat(70));
    assert!(fault(&deep).contains("nested more than"));
    let many: String = (0..300).map(|number| format!("{{{{ $v{number} := 1 }}}}")).collect();
    assert!(fault(&many).contains("variables"));
}

#[test]
fn a_fault_repeats_no_value_that_may_be_secret() {
    let secret = |_: &str| Some("S3cretValue".to_owned());
    for text in [
        "{{ add1 (env `A`) | upper }}",
        "{{ index (list 1) (env `A`) }}",
        "{{ env `A` | until }}",
        "{{ printf `%d` (env `A`) | fromJson }}",
        "{{ b64dec (env `A`) }}",
        "{{ regexMatch (print (env `A`) `(`) `x` }}",
        "{{ index (dict `S3cret` 1) 5 }}",
        "{{ (env `A`).B }}",
        "{{ lt (env `A`) 1 }}",
        "{{ range env `A` }}{{ end }}",
    ] {
        let problem = render("t", text, &secret).expect_err("each is a fault");
        assert!(!problem.message.contains("S3cret"), "{text}: {}", problem.message);
    }
}

#[test]
fn variables_that_are_not_set_are_noted_once_with_their_first_place() {
    let text = "{{ env `HOST` }}{{ env `EMPTY` }}\n{{ env `GONE` }} {{ expandenv `$GONE ${LOST}` }}";
    let rendered = render("t", text, &environment).expect("a good template").expect("it is one");
    assert_eq!(rendered.text, "a.test\n  ");
    let at = |line, column| Position { line, column };
    assert_eq!(rendered.unset, [("GONE".to_owned(), at(2, 4)), ("LOST".to_owned(), at(2, 21))]);
}

#[test]
fn places_lead_back_to_the_file_also_on_long_lines_of_wide_characters() {
    let wide = "ü".repeat(700);
    let text = format!("{wide}{{{{ `x\ny` }}}}{wide}z\n{{{{- /* gone */ -}}}}\n  end");
    let rendered = render("t", &text, &|_| None).expect("good").expect("a template");
    assert_eq!(rendered.text, format!("{wide}x\ny{wide}zend"));
    let of = |line, column| {
        let at = rendered.origins.of(Position { line, column });
        (at.line, at.column)
    };
    assert_eq!(of(1, 1), (1, 1));
    assert_eq!(of(1, 700), (1, 700));
    assert_eq!((of(1, 701), of(2, 1)), ((1, 701), (1, 701)), "what an action wrote stands where it begins");
    assert_eq!(of(2, 2), (2, 6));
    assert_eq!(of(2, 702), (2, 706));
    assert_eq!(of(2, 703), (4, 3));
}

/// Pieces of templates, put together at random.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{{",
        "}}",
        "{{-",
        "-}}",
        " ",
        "\n",
        "if",
        "else",
        "end",
        "range",
        "with",
        "define",
        "template",
        "block",
        "`a`",
        "\"b\"",
        "'c'",
        "1",
        "2.5",
        "-3",
        "$x",
        "$",
        ".",
        ".A",
        ":=",
        "=",
        "|",
        "(",
        ")",
        ",",
        "/*",
        "*/",
        "list",
        "dict",
        "env",
        "until",
        "index",
        "print",
        "printf",
        "set",
        "merge",
        "splitn",
        "regexReplaceAll",
        "break",
        "continue",
        "and",
        "or",
        "eq",
        "nil",
        "true",
        "ü",
        "trunc",
        "substr",
        "repeat",
        "slice",
        "dig",
        "text",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn a_text_without_actions_stays_as_it_is(text in "([^{]|\\{[^{]){0,60}") {
        prop_assert!(render("t", &text, &environment).expect("no template").is_none());
    }

    #[test]
    fn text_around_an_action_stays_as_it_is(before in "[^{]{0,40}", after in "[^{]{0,40}") {
        let rendered = render("t", &format!("{before}{{{{ `x` }}}}{after}"), &environment).expect("good").expect("one");
        prop_assert_eq!(rendered.text, format!("{before}x{after}"));
    }

    #[test]
    fn whatever_is_written_ends_with_a_text_or_a_place(text in pieces()) {
        if let Err(problem) = render("t", &text, &environment) {
            prop_assert!(problem.at != Position::NONE && problem.message.len() < 1000, "{}", problem);
        }
    }

    #[test]
    fn one_action_of_anything_ends(inner in pieces()) {
        let _ended = render("t", &format!("{{{{ {} }}}}", inner.replace("{{", "").replace("}}", "")), &environment);
    }

    #[test]
    fn a_quoted_text_is_written_as_it_is(text in "\\PC{0,40}") {
        let quoted = format::quote(&text);
        prop_assert_eq!(answer(&format!("{{{{ {quoted} }}}}")), text);
    }
}
