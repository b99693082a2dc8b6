//! Texts: cut, compared, joined, matched.

use super::super::format;
use super::{ANY, Answer, Context, Function, Value, argument, function, text_of, whole_of};

pub(super) const TABLE: &[Function] = &[
    function("upper", 1, 1, |context, given| each(context, given, str::to_uppercase)),
    function("lower", 1, 1, |context, given| each(context, given, str::to_lowercase)),
    function("title", 1, 1, |context, given| each(context, given, title)),
    function("untitle", 1, 1, |context, given| {
        each(context, given, |text| first_of_words(text, |c| c.to_lowercase().collect()))
    }),
    function("swapcase", 1, 1, |context, given| {
        each(context, given, |text| {
            let swapped = |c: char| -> String {
                if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
            };
            text.chars().map(swapped).collect()
        })
    }),
    function("snakecase", 1, 1, |context, given| each(context, given, |text| parted(text, "_"))),
    function("kebabcase", 1, 1, |context, given| each(context, given, |text| parted(text, "-"))),
    function("camelcase", 1, 1, |context, given| each(context, given, camel)),
    function("trim", 1, 1, |context, given| each(context, given, |text| text.trim().to_owned())),
    function("nospace", 1, 1, |context, given| {
        each(context, given, |text| text.chars().filter(|c| !c.is_whitespace()).collect())
    }),
    function("initials", 1, 1, |context, given| {
        each(context, given, |text| text.split_whitespace().filter_map(|word| word.chars().next()).collect())
    }),
    function("trimAll", 2, 2, |context, given| trimmed(context, given, |text, set| text.trim_matches(set))),
    function("trimall", 2, 2, |context, given| trimmed(context, given, |text, set| text.trim_matches(set))),
    function("trimPrefix", 2, 2, |context, given| {
        let (prefix, text) = (text_of(given, 0)?, text_of(given, 1)?);
        context.text(text.strip_prefix(prefix).unwrap_or(text))
    }),
    function("trimSuffix", 2, 2, |context, given| {
        let (suffix, text) = (text_of(given, 0)?, text_of(given, 1)?);
        context.text(text.strip_suffix(suffix).unwrap_or(text))
    }),
    function("hasPrefix", 2, 2, |_, given| {
        Ok(Value::Bool(text_of(given, 1)?.starts_with(text_of(given, 0)?)))
    }),
    function("hasSuffix", 2, 2, |_, given| Ok(Value::Bool(text_of(given, 1)?.ends_with(text_of(given, 0)?)))),
    function("contains", 2, 2, |_, given| Ok(Value::Bool(text_of(given, 1)?.contains(text_of(given, 0)?)))),
    function("replace", 3, 3, |context, given| {
        let (old, new, text) = (text_of(given, 0)?, text_of(given, 1)?, text_of(given, 2)?);
        context.steps(1 + text.len() as u64 / 16)?;
        let times = text.matches(old).count();
        context.made(text.len().saturating_add(times.saturating_mul(new.len())))?;
        Ok(Value::text(text.replace(old, new)))
    }),
    function("repeat", 2, 2, |context, given| {
        let (count, text) = (whole_of(given, 0)?, text_of(given, 1)?);
        let count = usize::try_from(count).map_err(|_| "a count below nought".to_owned())?;
        context.made(text.len().saturating_mul(count))?;
        Ok(Value::text(text.repeat(count)))
    }),
    function("trunc", 2, 2, |context, given| {
        let (width, text) = (whole_of(given, 0)?, text_of(given, 1)?);
        let length = text.chars().count();
        let wanted = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX).min(length);
        let kept: String = if width < 0 {
            text.chars().skip(length - wanted).collect()
        } else {
            text.chars().take(wanted).collect()
        };
        context.text(kept)
    }),
    function("abbrev", 2, 2, |context, given| {
        let (width, text) = (whole_of(given, 0)?, text_of(given, 1)?);
        let width = usize::try_from(width).unwrap_or(0);
        if width < 4 || text.chars().count() <= width {
            return context.text(text);
        }
        let kept: String = text.chars().take(width - 3).collect();
        context.text(kept + "...")
    }),
    function("substr", 3, 3, |context, given| {
        let (start, end, text) = (whole_of(given, 0)?, whole_of(given, 1)?, text_of(given, 2)?);
        let start = usize::try_from(start).unwrap_or(0);
        let end = usize::try_from(end).unwrap_or(usize::MAX);
        let kept: String = text.chars().skip(start).take(end.saturating_sub(start)).collect();
        context.text(kept)
    }),
    function("indent", 2, 2, indented),
    function("nindent", 2, 2, |context, given| match indented(context, given)? {
        Value::Text(text) => context.text(format!("\n{text}")),
        other => Ok(other),
    }),
    function("quote", 0, ANY, |context, given| surrounded(context, given, |text| format::quote(&text))),
    function("squote", 0, ANY, |context, given| surrounded(context, given, |text| format!("'{text}'"))),
    function("cat", 0, ANY, |context, given| {
        let text = joined(context, given.iter().filter(|value| !matches!(value, Value::Nil)), " ")?;
        context.text(text.trim())
    }),
    function("plural", 3, 3, |_, given| Ok(argument(given, usize::from(whole_of(given, 2)? != 1)).clone())),
    function("toString", 1, 1, |context, given| {
        let text = context.print(argument(given, 0))?;
        Ok(Value::text(text))
    }),
    function("toStrings", 1, 1, |context, given| {
        let texts = texts(context, argument(given, 0))?;
        context.list(texts.into_iter().map(Value::text).collect())
    }),
    function("join", 2, 2, |context, given| {
        let texts = texts(context, argument(given, 1))?;
        let between = text_of(given, 0)?;
        context.made(between.len().saturating_mul(texts.len()))?;
        context.text(texts.join(between))
    }),
    // Traefik's, which takes the text first.
    function("split", 2, 2, |context, given| split(context, text_of(given, 0)?, text_of(given, 1)?, None)),
    function("splitList", 2, 2, |context, given| {
        split(context, text_of(given, 1)?, text_of(given, 0)?, None)
    }),
    function("splitn", 3, 3, |context, given| {
        let count = usize::try_from(whole_of(given, 1)?).ok();
        let parts = split(context, text_of(given, 2)?, text_of(given, 0)?, count)?;
        let Value::List(list) = parts else { return Ok(parts) };
        let named = list.items.iter().enumerate().map(|(index, part)| (format!("_{index}"), part.clone()));
        context.map(named.collect())
    }),
    function("sortAlpha", 1, 1, |context, given| {
        let mut texts = texts(context, argument(given, 0))?;
        texts.sort();
        context.list(texts.into_iter().map(Value::text).collect())
    }),
    // Traefik's: what is neither letter nor digit parts words, which a hyphen joins.
    function("normalize", 1, 1, |context, given| {
        each(context, given, |text| {
            let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
            words.collect::<Vec<_>>().join("-")
        })
    }),
    function("regexMatch", 2, 2, |context, given| {
        let regex = context.regex(text_of(given, 0)?)?;
        Ok(Value::Bool(regex.is_match(searched(context, given, 1)?.as_bytes())))
    }),
    function("regexFind", 2, 2, |context, given| {
        let regex = context.regex(text_of(given, 0)?)?;
        let text = searched(context, given, 1)?;
        let found = regex.find(text.as_bytes()).and_then(|found| text.get(found.range()));
        context.text(found.unwrap_or_default())
    }),
    function("regexFindAll", 3, 3, |context, given| {
        let regex = context.regex(text_of(given, 0)?)?;
        let text = searched(context, given, 1)?;
        let most = usize::try_from(whole_of(given, 2)?).unwrap_or(usize::MAX);
        let found = regex.find_iter(text.as_bytes()).take(most);
        let found: Vec<&str> = found.filter_map(|found| text.get(found.range())).collect();
        context.list(found.into_iter().map(Value::text).collect())
    }),
    function("regexReplaceAll", 3, 3, |context, given| {
        let regex = context.regex(text_of(given, 0)?)?;
        let (text, by) = (searched(context, given, 1)?, text_of(given, 2)?);
        // What a reference brings is a piece of the text.
        let most = text.len().saturating_add(1).saturating_mul(by.len().saturating_add(text.len()));
        bounded_replacement(context, most, regex.find_iter(text.as_bytes()).count(), text, by)?;
        let replaced = regex.replace_all(text.as_bytes(), by.as_bytes());
        context.text(String::from_utf8_lossy(&replaced))
    }),
    function("regexReplaceAllLiteral", 3, 3, |context, given| {
        let regex = context.regex(text_of(given, 0)?)?;
        let (text, by) = (searched(context, given, 1)?, text_of(given, 2)?);
        let times = regex.find_iter(text.as_bytes()).count();
        context.made(times.saturating_mul(by.len()))?;
        let replaced = regex.replace_all(text.as_bytes(), regex::bytes::NoExpand(by.as_bytes()));
        context.text(String::from_utf8_lossy(&replaced))
    }),
    function("regexSplit", 3, 3, |context, given| {
        let regex = context.regex(text_of(given, 0)?)?;
        let text = searched(context, given, 1)?;
        let parts: Vec<&[u8]> = match usize::try_from(whole_of(given, 2)?) {
            Ok(most) => regex.splitn(text.as_bytes(), most).collect(),
            Err(_) => regex.split(text.as_bytes()).collect(),
        };
        context.list(parts.into_iter().map(|part| Value::text(String::from_utf8_lossy(part))).collect())
    }),
    function("regexQuoteMeta", 1, 1, |context, given| each(context, given, regex::escape)),
];

fn each(context: &mut Context<'_>, given: &[Value], change: impl FnOnce(&str) -> String) -> Answer {
    let text = text_of(given, 0)?;
    context.steps(1 + text.len() as u64 / 16)?;
    let changed = change(text);
    context.text(changed)
}

fn trimmed(
    context: &mut Context<'_>,
    given: &[Value],
    trim: impl for<'t> FnOnce(&'t str, &[char]) -> &'t str,
) -> Answer {
    let (set, text) = (text_of(given, 0)?, text_of(given, 1)?);
    let set: Vec<char> = set.chars().collect();
    context.steps((text.len() as u64).saturating_mul(1 + set.len() as u64) / 16)?;
    context.text(trim(text, &set))
}

/// A text that an expression walks.
fn searched<'g>(context: &mut Context<'_>, given: &'g [Value], index: usize) -> Result<&'g str, String> {
    let text = text_of(given, index)?;
    context.steps(1 + text.len() as u64)?;
    Ok(text)
}

/// Counts what replacing may make before it is made: each `$` may bring a piece as long as what was found.
fn bounded_replacement(
    context: &mut Context<'_>,
    most: usize,
    times: usize,
    text: &str,
    by: &str,
) -> Result<(), String> {
    let references = by.matches('$').count();
    let brought = text.len().saturating_mul(references);
    context.made(times.saturating_mul(by.len()).saturating_add(brought).min(most))
}

fn title(text: &str) -> String {
    first_of_words(text, |c| c.to_uppercase().collect())
}

fn first_of_words(text: &str, change: impl Fn(char) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut within = false;
    for c in text.chars() {
        let is_word = c.is_alphanumeric() || matches!(c, '_' | '\'');
        if is_word && !within {
            out.push_str(&change(c))
        } else {
            out.push(c)
        }
        within = is_word;
    }
    out
}

/// The words of a name in any style: parted at blanks, `-`, `_` and where upper case begins.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let characters: Vec<char> = text.chars().collect();
    for (index, c) in characters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|index| characters.get(index));
        let after = characters.get(index + 1);
        let begins = c.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_numeric()
                    || (before.is_uppercase() && after.is_some_and(|after| after.is_lowercase()))
            });
        if !c.is_alphanumeric() || begins {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.push(*c);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn parted(text: &str, between: &str) -> String {
    words(text).iter().map(|word| word.to_lowercase()).collect::<Vec<_>>().join(between)
}

fn camel(text: &str) -> String {
    let capital = |word: &String| {
        let mut chars = word.chars();
        let first: String = chars.next().map_or(String::new(), |first| first.to_uppercase().collect());
        first + chars.as_str()
    };
    words(text).iter().map(capital).collect()
}

fn indented(context: &mut Context<'_>, given: &[Value]) -> Answer {
    let (width, text) = (whole_of(given, 0)?, text_of(given, 1)?);
    let width = usize::try_from(width).map_err(|_| "a width below nought".to_owned())?;
    let lines = text.matches('\n').count() + 1;
    context.made(text.len().saturating_add(lines.saturating_mul(width)))?;
    let blanks = " ".repeat(width);
    Ok(Value::text(format!("{blanks}{}", text.replace('\n', &format!("\n{blanks}")))))
}

fn surrounded(context: &mut Context<'_>, given: &[Value], change: impl Fn(String) -> String) -> Answer {
    let mut parts = Vec::with_capacity(given.len());
    for value in given.iter().filter(|value| !matches!(value, Value::Nil)) {
        let text = context.print(value)?;
        parts.push(change(text));
    }
    context.text(parts.join(" "))
}

fn joined<'v>(
    context: &mut Context<'_>,
    values: impl Iterator<Item = &'v Value>,
    between: &str,
) -> Result<String, String> {
    let mut parts = Vec::new();
    for value in values {
        parts.push(context.print(value)?);
    }
    Ok(parts.join(between))
}

/// A list as texts, without what is nothing; anything else as a list of one.
fn texts(context: &mut Context<'_>, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Nil => Ok(Vec::new()),
        Value::List(list) => {
            let mut texts = Vec::with_capacity(list.items.len());
            for item in list.items.iter().filter(|item| !matches!(item, Value::Nil)) {
                texts.push(context.print(item)?);
            }
            Ok(texts)
        }
        other => Ok(vec![context.print(other)?]),
    }
}

/// As Go's `strings.SplitN`: without a separator into characters.
fn split(context: &mut Context<'_>, text: &str, by: &str, most: Option<usize>) -> Answer {
    let count = if by.is_empty() { text.len() } else { text.matches(by).count() + 1 };
    context.made(text.len().saturating_add(count.saturating_mul(16)))?;
    let parts: Vec<Value> = match (by.is_empty(), most) {
        (_, Some(0)) => Vec::new(),
        (true, Some(most)) => {
            let mut parts: Vec<Value> = Vec::new();
            let mut rest = text;
            while let Some(c) = rest.chars().next().filter(|_| parts.len() + 1 < most) {
                let (first, behind) = rest.split_at(c.len_utf8());
                parts.push(Value::text(first));
                rest = behind;
            }
            if !rest.is_empty() {
                parts.push(Value::text(rest));
            }
            parts
        }
        (true, None) => text.chars().map(|c| Value::text(c.to_string())).collect(),
        (false, Some(most)) => text.splitn(most, by).map(Value::text).collect(),
        (false, None) => text.split(by).map(Value::text).collect(),
    };
    context.list(parts)
}
