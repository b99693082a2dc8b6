//! The one rule for choices by name: what chooses nothing is refused, as it would end as if all were well. It must not know what is
//! chosen.

/// How a name is chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// It contains the text.
    Part,
    /// It is the text.
    Whole,
}

/// Those of `all` that are chosen; all of them where nothing is said.
///
/// # Errors
/// None of them is.
pub(crate) fn chosen<T: Clone>(
    all: &[T],
    name: impl Fn(&T) -> &str,
    only: Option<&str>,
    by: By,
) -> anyhow::Result<Vec<T>> {
    let Some(only) = only else { return Ok(all.to_vec()) };
    let fits = |one: &&T| match by {
        By::Part => name(one).contains(only),
        By::Whole => name(one) == only,
    };
    let chosen: Vec<T> = all.iter().filter(fits).cloned().collect();
    if chosen.is_empty() {
        let names = all.iter().map(name).collect::<Vec<_>>().join(", ");
        anyhow::bail!("--only {only} chooses nothing, so nothing would be done; there are {names}");
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{Arguments, run, workspace_root};

    #[test]
    fn what_chooses_nothing_is_refused_and_says_what_there_is() {
        let all = ["format", "tidy"];
        let by = |only, by| chosen(&all, |name| name, only, by);
        assert_eq!(by(None, By::Whole).expect("all"), all);
        assert_eq!(by(Some("form"), By::Part).expect("one"), ["format"]);
        for (only, how) in [("form", By::Whole), ("nonsense", By::Part), ("format ", By::Part)] {
            let refused = by(Some(only), how).expect_err("none of that name").to_string();
            assert!(refused.ends_with("there are format, tidy"), "{refused}");
        }
    }

    /// Chores that choose by name or number; those of the programs of `model-check` are tried there.
    #[test]
    fn no_chore_does_nothing_and_ends_well() {
        let chore = |line: &str| Arguments::try_parse_from(line.split(' ')).map(|words| words.chore);
        let verify = chore("xtask verify --only nonsense").expect("a chore");
        let refused = run(&workspace_root(), verify).expect_err("no such step").to_string();
        assert!(refused.contains("nonsense chooses nothing") && refused.contains("clippy"), "{refused}");
        for line in ["xtask sim --seeds 0", "xtask sim --core --seeds 0", "xtask bench start --rounds 0"] {
            assert!(chore(line).is_err(), "{line}");
        }
    }
}
