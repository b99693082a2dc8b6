//! The record of observed cases: every answer that is not Traefik's has a reason, which is a deliberate difference of the table
//! or an option that the table says does not work yet. When such an option works the record is wrong until it is measured anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use super::*;

const RECORD: &str = "conformance-cases.txt";
const PAGE: &str = "conformance.md";

#[derive(Default)]
struct Case {
    id: String,
    same: u32,
    all: u32,
    differs: Vec<String>,
    needs: Vec<String>,
}

struct Record {
    /// What has no option.
    features: BTreeSet<String>,
    /// In the order of the file.
    areas: Vec<(String, Vec<Case>)>,
}

fn reference(name: &str) -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(name)
}

fn record(text: &str) -> Record {
    let mut record = Record { features: BTreeSet::new(), areas: Vec::new() };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(feature) = line.strip_prefix("feature: ") {
            assert!(record.features.insert(feature.to_owned()), "{feature} is there twice");
        } else if let Some(area) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            record.areas.push((area.to_owned(), Vec::new()));
        } else {
            let (_, cases) = record.areas.last_mut().expect("a case stands in an area");
            if let Some(title) = line.strip_prefix("  differs: ") {
                cases.last_mut().expect("a reason stands in a case").differs.push(title.to_owned());
            } else if let Some(option) = line.strip_prefix("  needs: ") {
                cases.last_mut().expect("a reason stands in a case").needs.push(option.to_owned());
            } else {
                let (id, counts) = line.split_once(' ').expect("a case has counts");
                let (same, all) = counts.split_once('/').expect("same/all");
                let number = |text: &str| text.parse().expect("a number");
                cases.push(Case {
                    id: id.to_owned(),
                    same: number(same),
                    all: number(all),
                    ..Case::default()
                });
            }
        }
    }
    record
}

/// Options by path, and whether they work.
fn options_that_wait(fields: &[Field], above: &str, waits: bool, out: &mut BTreeMap<String, bool>) {
    for (field, path) in fields.iter().map(|field| (field, format!("{above}{}", field.name))) {
        let word = match field.ty {
            Type::Choice(words) | Type::AnyCase(words) => {
                words.iter().any(|(_, support)| matches!(support, Support::NotYet(_)))
            }
            _ => false,
        };
        let waits = waits || word || matches!(field.support, Support::NotYet(_));
        out.insert(path.clone(), waits);
        let below = match field.ty {
            Type::Named(_) => format!("{path}.*."),
            Type::Groups(_) => format!("{path}[]."),
            _ => format!("{path}."),
        };
        options_that_wait(field.ty.fields(), &below, waits, out);
    }
}

#[test]
fn every_observed_case_is_accounted_for() {
    let text = std::fs::read_to_string(reference(RECORD)).expect("the record is there");
    let record = record(&text);
    let titles: BTreeSet<&str> = DIFFERENCES.iter().map(|difference| difference.title).collect();
    let mut options = BTreeMap::new();
    options_that_wait(DYNAMIC, "", false, &mut options);
    options_that_wait(STATIC, "", false, &mut options);
    let (mut ids, mut features) = (BTreeSet::new(), BTreeSet::new());
    for case in record.areas.iter().flat_map(|(_, cases)| cases) {
        let Case { id, same, all, differs, needs } = case;
        assert!(ids.insert(id.clone()), "{id} is there twice");
        assert!(same <= all && *all > 0, "{id}: {same} of {all}");
        assert_eq!(
            same < all,
            !(differs.is_empty() && needs.is_empty()),
            "{id}: a reason for what is not the same"
        );
        for title in differs {
            assert!(
                titles.contains(title.as_str()),
                "{id}: {title:?} is no deliberate difference of the table"
            );
        }
        for need in needs {
            if record.features.contains(need) {
                features.insert(need.clone());
            } else {
                assert_eq!(
                    options.get(need),
                    Some(&true),
                    "{id}: {need:?} is no option that does not work yet"
                );
            }
        }
    }
    assert_eq!(features, record.features, "a feature that nothing needs is none");
    let page = std::fs::read_to_string(reference(PAGE)).expect("the page is there");
    let (before, after) = page.split_once("## Figures\n").expect("the page has figures");
    let after = after.split_once("\n## ").expect("the figures are followed by a section").1;
    committed(PAGE, &format!("{before}## Figures\n{}\n## {after}", figures(&record)));
}

/// The page's table and sum.
fn figures(record: &Record) -> String {
    let mut out = "\n| area | cases | same | differ on purpose | need what does not work yet |\n|---|---|---|---|---|\n".to_owned();
    let mut row = |area: &str, cases: &[&Case]| {
        let count = |keep: &dyn Fn(&Case) -> bool| cases.iter().filter(|case| keep(case)).count();
        let same = count(&|case| case.same == case.all);
        let needs = count(&|case| !case.needs.is_empty());
        let stars = if area == "all" { "**" } else { "" };
        let numbers = [cases.len(), same, cases.len() - same - needs, needs]
            .map(|number| format!("{stars}{number}{stars}"));
        let _ = writeln!(out, "| {stars}{area}{stars} | {} |", numbers.join(" | "));
    };
    for (area, cases) in &record.areas {
        row(area, &cases.iter().collect::<Vec<_>>());
    }
    let cases: Vec<&Case> = record.areas.iter().flat_map(|(_, cases)| cases).collect();
    row("all", &cases);
    let thousands = |number: u32| match (number / 1_000, number % 1_000) {
        (0, rest) => rest.to_string(),
        (whole, rest) => format!("{whole},{rest:03}"),
    };
    let (same, all) = cases.iter().fold((0, 0), |(same, all), case| (same + case.same, all + case.all));
    let _ = writeln!(out, "\nIn answers: {} of {} are the same.", thousands(same), thousands(all));
    out
}
