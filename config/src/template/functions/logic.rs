//! Comparison, choice, defaults, environment and printing.

use std::cmp::Ordering;

use super::super::format;
use super::{ANY, Answer, Call, Context, Function, Value, argument, function, text_of};

pub(super) const TABLE: &[Function] = &[
    Function { name: "and", least: 1, most: ANY, call: Call::First { until: false }, changes_first: false },
    Function { name: "or", least: 1, most: ANY, call: Call::First { until: true }, changes_first: false },
    function("not", 1, 1, |_, given| Ok(Value::Bool(!argument(given, 0).is_true()))),
    function("eq", 2, ANY, |_, given| {
        let first = argument(given, 0);
        for other in given.iter().skip(1) {
            if first.equals(other)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
    function("ne", 2, 2, |_, given| Ok(Value::Bool(!argument(given, 0).equals(argument(given, 1))?))),
    function("lt", 2, 2, |_, given| ordered(given, |order| order == Ordering::Less)),
    function("le", 2, 2, |_, given| ordered(given, |order| order != Ordering::Greater)),
    function("gt", 2, 2, |_, given| ordered(given, |order| order == Ordering::Greater)),
    function("ge", 2, 2, |_, given| ordered(given, |order| order != Ordering::Less)),
    function("deepEqual", 2, 2, |context, given| {
        context.steps(argument(given, 0).weight())?;
        Ok(Value::Bool(argument(given, 0).same(argument(given, 1))))
    }),
    function("default", 1, ANY, |_, given| {
        let found = given.get(1).filter(|value| value.is_true());
        Ok(found.unwrap_or_else(|| argument(given, 0)).clone())
    }),
    function("empty", 1, 1, |_, given| Ok(Value::Bool(!argument(given, 0).is_true()))),
    function("coalesce", 0, ANY, |_, given| {
        Ok(given.iter().find(|value| value.is_true()).cloned().unwrap_or(Value::Nil))
    }),
    function("all", 0, ANY, |_, given| Ok(Value::Bool(given.iter().all(Value::is_true)))),
    function("any", 0, ANY, |_, given| Ok(Value::Bool(given.iter().any(Value::is_true)))),
    function("ternary", 3, 3, |_, given| match argument(given, 2) {
        Value::Bool(flag) => Ok(argument(given, usize::from(!flag)).clone()),
        other => Err(format!("argument 3 is {}, not true or false", other.kind())),
    }),
    // What it says is the text's own word, and no value.
    function("fail", 1, 1, |_, given| Err(text_of(given, 0)?.chars().take(200).collect())),
    function("env", 1, 1, |context, given| {
        let value = context.variable(text_of(given, 0)?);
        context.text(value)
    }),
    function("expandenv", 1, 1, |context, given| {
        let expanded = expand(context, text_of(given, 0)?)?;
        context.text(expanded)
    }),
    function("print", 0, ANY, |context, given| {
        let mut out = String::new();
        for (index, value) in given.iter().enumerate() {
            let both_are_texts =
                |before: &Value| matches!((before, value), (Value::Text(_), _) | (_, Value::Text(_)));
            if index > 0 && given.get(index - 1).is_some_and(|before| !both_are_texts(before)) {
                out.push(' ');
            }
            out.push_str(&context.print(value)?);
        }
        context.text(out)
    }),
    function("println", 0, ANY, |context, given| {
        let mut parts = Vec::with_capacity(given.len());
        for value in given {
            parts.push(context.print(value)?);
        }
        context.text(parts.join(" ") + "\n")
    }),
    function("printf", 1, ANY, |context, given| {
        let mut weight = 0;
        for value in given {
            weight += value.weight();
        }
        context.steps(weight)?;
        let text = format::format(text_of(given, 0)?, given.get(1..).unwrap_or_default())?;
        context.text(text)
    }),
];

fn ordered(given: &[Value], is_so: fn(Ordering) -> bool) -> Answer {
    let order = argument(given, 0).order(argument(given, 1))?;
    Ok(Value::Bool(order.is_some_and(is_so)))
}

/// `$NAME` and `${NAME}` of the environment, as Go's `os.ExpandEnv`.
fn expand(context: &mut Context<'_>, text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let is_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
        let is_special = |c: char| matches!(c, '*' | '#' | '$' | '@' | '!' | '?' | '-' | '0'..='9');
        let (name, behind) = if let Some(inner) = after.strip_prefix('{') {
            match inner.split_once('}') {
                Some((name, behind)) => (name, behind),
                // Go drops what cannot be a name.
                None => ("", inner),
            }
        } else if let Some(c) = after.chars().next().filter(|c| is_special(*c)) {
            after.split_at(c.len_utf8())
        } else {
            after.split_at(after.len() - after.trim_start_matches(is_name).len())
        };
        if name.is_empty() && !after.starts_with('{') {
            out.push('$');
        } else if !name.is_empty() {
            let value = context.variable(name);
            context.made(value.len())?;
            out.push_str(&value);
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}
