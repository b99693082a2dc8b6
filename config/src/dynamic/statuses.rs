//! Sets of statuses as configurations write them: single codes and ranges. It names no option.

/// Statuses by codes and ranges: `404`, `500-599`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusRanges(Box<[(u16, u16)]>);

/// A text that is neither a status nor a range of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a status nor a range of them")]
pub struct NoStatus(pub String);

impl StatusRanges {
    /// Reads each text as one code or range. Blanks around numbers do not count.
    ///
    /// # Errors
    /// [`NoStatus`] for the first text that is neither.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, NoStatus> {
        texts.iter().map(|text| range(text.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a status is among them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|&(first, last)| (first..=last).contains(&status))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn range(text: &str) -> Result<(u16, u16), NoStatus> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let code = |digits: &str| digits.trim().parse().map_err(|_| NoStatus(text.to_owned()));
    Ok((code(first)?, code(last)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codes_and_ranges_are_read_and_nothing_else_is() {
        let statuses = StatusRanges::parse(&["404", " 500 - 599", "302"]).expect("good");
        let among: Vec<u16> = (200..=600).filter(|status| statuses.contains(*status)).collect();
        assert_eq!(among.len(), 102);
        assert!(statuses.contains(500) && statuses.contains(599) && !statuses.contains(600));
        for text in ["", "5xx", "500,502", "-500", "500-", "1-2-3", "99999", "+-1"] {
            assert_eq!(StatusRanges::parse(&[text]), Err(NoStatus(text.to_owned())));
        }
        assert!(StatusRanges::parse::<&str>(&[]).expect("none").is_empty());
    }

    proptest! {
        #[test]
        fn a_range_holds_what_lies_between_its_ends(first: u16, last: u16, status: u16) {
            let statuses = StatusRanges::parse(&[format!("{first}-{last}")]).expect("good");
            prop_assert_eq!(statuses.contains(status), first <= status && status <= last);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9 ,x-]{0,9}") {
            let _ = StatusRanges::parse(&[text]);
        }
    }
}
