//! What a change touches, and what stays in force when it is bad.

use super::*;

fn web(text: &str) -> String {
    format!("http: {{routers: {{web: {text}}}, services: {{s: {{loadBalancer: {{}}}}}}}}")
}

fn rule_in_force(checker: &Checker, key: &str) -> Option<String> {
    let effective = checker.record(key)?.effective()?;
    let json = options::object_json(effective).expect("objects are JSON");
    json["rule"].as_str().map(str::to_owned)
}

#[test]
fn a_bad_change_keeps_the_last_good_value_and_a_good_one_ends_it() {
    let key = "http/routers/web@file";
    let mut checker = checker(&web("{rule: Host(`a`), service: s}"));
    for (text, in_force, state) in [
        ("{rule: Host(`b`), service: s, midlewares: [x]}", "Host(`a`)", State::Disabled),
        ("{rule: Host(`c`), service: nope}", "Host(`a`)", State::Disabled),
        ("{rule: Host(`d`), service: s}", "Host(`d`)", State::Enabled),
        ("{rule: Host(, service: s}", "Host(`d`)", State::Disabled),
    ] {
        let text = text.replace("Host(,", "'Host(',");
        let change = checker.replace_provider(&draft(&web(&text)));
        let record = change.puts.get(key).expect("the record changed");
        assert_eq!(record.status.state, state, "{text}");
        assert_eq!(rule_in_force(&checker, key).as_deref(), Some(in_force), "{text}");
        assert_eq!(record.last_good.is_some(), state == State::Disabled);
    }
    // The last good value outlives the node that judged it.
    let records: Vec<(Key, Record)> =
        checker.records().map(|(key, record)| (key.clone(), record.clone())).collect();
    let mut other = Checker::from_records(records);
    other.replace_provider(&draft(&web("{rule: 5, service: s}")));
    assert_eq!(rule_in_force(&other, key).as_deref(), Some("Host(`d`)"));
}

#[test]
fn a_new_object_in_error_has_no_last_good_value() {
    let checker = checker(&web("{rule: Host(`a`), service: s, midlewares: [x]}"));
    let record = checker.record("http/routers/web@file").expect("it is known");
    assert_eq!(record.status.errors, ["midlewares: field not found (did you mean `middlewares`?)"]);
    assert_eq!(record.effective(), None);
}

#[test]
fn a_middleware_gone_bad_takes_its_routers_along_and_back() {
    let text = |option: &str| {
        format!(
            "http: {{routers: {{r: {{rule: Host(`a`), service: s, middlewares: [c]}}, o: {{rule: Host(`b`), service: \
             s}}}}, services: {{s: {{loadBalancer: {{}}}}}}, middlewares: {{c: {{chain: {{middlewares: [m]}}}}, m: \
             {option}}}}}"
        )
    };
    let mut checker = checker(&text("{stripPrefix: {prefixes: /a}}"));
    let change = checker.replace_provider(&draft(&text("{stripPrefix: {prefxes: /b}}")));
    let changed: Vec<&str> = change.puts.keys().map(Key::as_str).collect();
    assert_eq!(changed, ["http/middlewares/c@file", "http/middlewares/m@file", "http/routers/r@file"]);
    assert_eq!(
        error(&checker, "http/routers/r@file"),
        "middleware \"m@file\": stripPrefix.prefxes: field not found (did you mean `prefixes`?)"
    );
    assert_eq!(rule_in_force(&checker, "http/routers/r@file").as_deref(), Some("Host(`a`)"));
    let in_force =
        checker.record("http/middlewares/m@file").and_then(Record::effective).expect("the last good one");
    assert_eq!(&*in_force.bytes, br#"{"stripPrefix":{"prefixes":["/a"]}}"#);

    let change = checker.replace_provider(&draft(&text("{stripPrefix: {prefixes: /b}}")));
    assert_eq!(change.puts.len(), 3);
    assert!(
        change.puts.values().all(|record| record.status == Status::enabled() && record.last_good.is_none())
    );
    // A good value changed into another good one is nobody else's business.
    let change = checker.replace_provider(&draft(&text("{stripPrefix: {prefixes: /c}}")));
    assert_eq!(change.puts.keys().map(Key::as_str).collect::<Vec<_>>(), ["http/middlewares/m@file"]);
}

#[test]
fn what_is_no_longer_wanted_goes_and_who_needed_it_hears() {
    let mut checker = checker(&web("{rule: Host(`a`), service: s}"));
    let change = checker.replace_provider(&draft("http: {routers: {web: {rule: Host(`a`), service: s}}}"));
    assert_eq!(change.deletes.iter().map(Key::as_str).collect::<Vec<_>>(), ["http/services/s@file"]);
    assert_eq!(error(&checker, "http/routers/web@file"), "the service \"s@file\" does not exist");
    let change = checker.replace_provider(&draft(&web("{rule: Host(`a`), service: s}")));
    assert_eq!(change.puts.len(), 2);
    assert_eq!(errors(&checker, "http/routers/web@file"), None);
    // An empty draft wants nothing; other providers' objects stay.
    let change = checker.replace_provider(&draft(""));
    assert_eq!((change.puts.len(), change.deletes.len()), (0, 2));
    assert_eq!(checker.records().count(), 2);
}

#[test]
fn single_objects_change_and_a_put_beats_a_delete() {
    let mut checker = checker(GOOD);
    let key = Key::of(Kind::HttpRouter, "plain@file").expect("a short name");
    let json = serde_json::json!({"rule": "Path(`/x`)", "service": "s"});
    let object = options::object(Kind::HttpRouter, &json).expect("shallow");
    let change = checker.upsert([(key.clone(), object)], [key.clone()]);
    assert_eq!((change.puts.len(), change.deletes.len()), (1, 0));
    let change = checker.upsert([], [key.clone()]);
    assert_eq!(change.deletes, BTreeSet::from([key.clone()]));
    assert!(checker.upsert([], [key]).is_empty());
}

#[test]
fn foreign_objects_are_judged_too() {
    let mut checker = checker(GOOD);
    let key = Key::of(Kind::HttpRouter, "x@api").expect("a short name");
    for (kind, schema, bytes, text) in [
        (Kind::HttpRouter, 9, "{}", "newer than"),
        (Kind::HttpRouter, 1, "[", "no JSON"),
        (Kind::HttpService, 1, "{}", "kind is not that of its key"),
        (
            Kind::HttpRouter,
            1,
            r#"{"rule":"Host(`a`)","service":"s@file","priority":"high"}"#,
            "priority: expected",
        ),
    ] {
        let object = Object::new(kind, schema, Arc::from(bytes.as_bytes()));
        checker.upsert([(key.clone(), object)], []);
        let found = error(&checker, key.as_str());
        assert!(found.contains(text), "{found}");
    }
}

#[test]
fn the_language_of_rules_holds_for_routers_that_name_none_and_what_was_good_keeps_its_own() {
    let key = "http/routers/web@file";
    let core = Key::of(Kind::StaticSection, "core").expect("a short name");
    let says = |word: &str| {
        let json = serde_json::json!({"defaultRuleSyntax": word});
        (core.clone(), options::object(Kind::StaticSection, &json).expect("shallow"))
    };
    let old = web("{rule: 'Host(`a`, `b`)', service: s}");
    let mut checker = checker(&old);
    assert!(error(&checker, key).contains("error while parsing rule"), "version 3 takes one host");

    let change = checker.upsert([says("v2")], []);
    assert!(change.puts.contains_key(key), "{:?}", change.puts.keys());
    assert_eq!(errors(&checker, key), None);
    let ids = |checker: &Checker| {
        let records: Vec<(Key, Record)> =
            checker.records().map(|(key, record)| (key.clone(), record.clone())).collect();
        records
    };
    // Who takes over reads routers before the section, and comes to the same.
    let mut other = Checker::from_records(ids(&checker));
    assert!(other.judge_again().is_empty());
    let both = web("{rule: 'Host(`a`, `c`)', service: s}");
    let other_change = other.replace_provider(&draft(&both));
    assert_eq!(other_change.puts[key].status, Status::enabled());

    // A language of its own is a router's own.
    checker.replace_provider(&draft(&web("{rule: 'PathRegexp(`/`)', ruleSyntax: v3, service: s}")));
    assert_eq!(errors(&checker, key), None);
    checker.replace_provider(&draft(&old));

    let change = checker.upsert([says("v3")], []);
    assert!(error(&checker, key).contains("error while parsing rule"));
    let kept = change.puts[key].effective().expect("it was good in the other language");
    let kept = options::object_json(kept).expect("objects are JSON");
    assert_eq!(kept, serde_json::json!({"rule": "Host(`a`, `b`)", "ruleSyntax": "v2", "service": "s"}));
    assert!(checker.upsert([says("v9")], []).puts[core.as_str()].status.state == State::Disabled);
    let change = checker.upsert([], [core.clone()]);
    assert!(!change.puts.contains_key(key), "no section, and one in error, leave it at version 3");
}

/// Cost follows the change: a count of what is judged, not a clock.
#[test]
fn one_changed_router_among_many_touches_only_itself() {
    let mut objects = BTreeMap::new();
    let router = |n: usize, rule: &str| {
        let key = Key::of(Kind::HttpRouter, &format!("r{n}@file")).expect("a short name");
        let json =
            serde_json::json!({"rule": rule, "service": "s", "middlewares": ["m"], "tls": {}, "priority": n});
        (key, Arc::new(options::object(Kind::HttpRouter, &json).expect("shallow")))
    };
    for n in 0..20_000 {
        objects.extend([router(n, &format!("Host(`h{}.test`)", n % 2))]);
    }
    let mut checker =
        checker("http: {services: {s: {loadBalancer: {}}}, middlewares: {m: {stripPrefix: {prefixes: /}}}}");
    let mut wanted =
        draft("http: {services: {s: {loadBalancer: {}}}, middlewares: {m: {stripPrefix: {prefixes: /}}}}");
    wanted.objects.extend(objects);
    assert_eq!(checker.replace_provider(&wanted).puts.len(), 20_000);
    let (key, changed) = router(777, "Host(`other.test`)");
    let judged = |checker: &Checker, object: &Object| {
        let (mut own, default) = (Own::of(&key, object, checker.language), checker.default_entry_points());
        let mut after = checker.clone();
        let old = after.nodes.remove(&key).expect("it was put");
        let counts = [after.tls_counts(&old.own), after.tls_counts(&own)].concat();
        after.unindex(&key, &old.own);
        after.index(&key, &mut own);
        let mut touched = BTreeSet::new();
        after.touch_tls(counts, &default, &mut touched);
        after.spread(vec![key.clone()], &mut touched);
        touched.remove(&key);
        touched.len()
    };
    assert_eq!(judged(&checker, &changed), 0, "others would be judged again");
    let change = checker.upsert([(key.clone(), Object::clone(&changed))], []);
    assert_eq!(change.puts.keys().collect::<Vec<_>>(), [&key]);
}

#[test]
fn the_default_tls_options_of_two_providers_are_an_error_of_both() {
    let mut checker = checker("tls: {options: {default: {sniStrict: true}}}");
    assert_eq!(errors(&checker, "tls/options/default@file"), None);
    let other = Key::of(Kind::TlsOptions, "default@cluster").expect("a short name");
    let object = options::object(Kind::TlsOptions, &serde_json::json!({})).expect("shallow");
    let change = checker.upsert([(other.clone(), object)], []);
    assert_eq!(change.puts.len(), 2);
    assert_eq!(
        error(&checker, "tls/options/default@cluster"),
        "`default` is also defined as tls/options/default@file: only one provider may"
    );
    assert!(
        checker.record("tls/options/default@file").and_then(Record::effective).is_some(),
        "the first serves on"
    );
    checker.upsert([], [other]);
    assert_eq!(errors(&checker, "tls/options/default@file"), None);
}

#[test]
fn texts_of_a_status_are_bounded() {
    let long = "x".repeat(10_000);
    let options: String = (0..50).map(|n| format!("a{n}: 1, ")).collect();
    let checker =
        checker(&format!("http: {{routers: {{l: {{rule: {long}, service: s}}, m: {{{options}}}}}}}"));
    let Some((_, found)) = errors(&checker, "http/routers/l@file") else { panic!("the rule is bad") };
    assert!(found.iter().all(|error| error.len() < 2_010));
    let Some((_, found)) = errors(&checker, "http/routers/m@file") else { panic!("the options are bad") };
    assert_eq!((found.len(), found.last().map(String::as_str)), (17, Some("and 34 more")));
}
