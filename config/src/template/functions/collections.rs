//! Lists and dictionaries. Dictionaries come out in the order of their keys, where Go's have none.

use std::collections::BTreeMap;

use super::{
    ANY, Answer, Context, Function, Value, argument, entries_of, function, items_of, text_of, whole_of,
};

pub(super) const TABLE: &[Function] = &[
    function("len", 1, 1, |_, given| match argument(given, 0) {
        Value::Text(text) => Ok(Value::count(text.len())),
        Value::List(list) => Ok(Value::count(list.items.len())),
        Value::Map(map) => Ok(Value::count(map.entries.len())),
        other => Err(format!("{} has no length", other.kind())),
    }),
    function("index", 1, ANY, |_, given| {
        given.iter().skip(1).try_fold(argument(given, 0).clone(), |value, index| indexed(&value, index))
    }),
    function("list", 0, ANY, |context, given| context.list(given.to_vec())),
    function("tuple", 0, ANY, |context, given| context.list(given.to_vec())),
    function("first", 1, 1, |_, given| Ok(items_of(given, 0)?.first().cloned().unwrap_or(Value::Nil))),
    function("last", 1, 1, |_, given| Ok(items_of(given, 0)?.last().cloned().unwrap_or(Value::Nil))),
    function("rest", 1, 1, |context, given| {
        let items = items_of(given, 0)?;
        if items.is_empty() { Ok(Value::Nil) } else { context.list(items.iter().skip(1).cloned().collect()) }
    }),
    function("initial", 1, 1, |context, given| {
        let items = items_of(given, 0)?;
        let count = items.len().saturating_sub(1);
        if items.is_empty() {
            Ok(Value::Nil)
        } else {
            context.list(items.iter().take(count).cloned().collect())
        }
    }),
    function("append", 2, 2, appended),
    function("push", 2, 2, appended),
    function("prepend", 2, 2, |context, given| {
        let items = items_of(given, 0)?;
        context.list(given.iter().skip(1).chain(items).cloned().collect())
    }),
    function("concat", 0, ANY, |context, given| {
        let mut all = Vec::new();
        for index in 0..given.len() {
            let items = items_of(given, index)?;
            context.steps(items.len() as u64)?;
            all.extend(items.iter().cloned());
        }
        context.list(all)
    }),
    function("reverse", 1, 1, |context, given| {
        context.list(items_of(given, 0)?.iter().rev().cloned().collect())
    }),
    function("uniq", 1, 1, |context, given| {
        let mut kept: Vec<Value> = Vec::new();
        for item in items_of(given, 0)? {
            if !holds(context, &kept, item)? {
                kept.push(item.clone());
            }
        }
        context.list(kept)
    }),
    function("without", 1, ANY, |context, given| {
        let mut kept = Vec::new();
        for item in items_of(given, 0)? {
            if !holds(context, given.get(1..).unwrap_or_default(), item)? {
                kept.push(item.clone());
            }
        }
        context.list(kept)
    }),
    function("has", 2, 2, |context, given| match argument(given, 1) {
        Value::Nil => Ok(Value::Bool(false)),
        _ => Ok(Value::Bool(holds(context, items_of(given, 1)?, argument(given, 0))?)),
    }),
    function("compact", 1, 1, |context, given| {
        context.list(items_of(given, 0)?.iter().filter(|item| item.is_true()).cloned().collect())
    }),
    function("slice", 1, 3, |context, given| {
        let items = items_of(given, 0)?;
        let bound = |index: usize, otherwise: usize| match given.get(index) {
            Some(_) => {
                usize::try_from(whole_of(given, index)?).map_err(|_| "an index below nought".to_owned())
            }
            None => Ok(otherwise),
        };
        let (from, to) = (bound(1, 0)?, bound(2, items.len())?);
        let kept = items.get(from..to).ok_or("the list is shorter than that")?;
        context.list(kept.to_vec())
    }),
    function("chunk", 2, 2, |context, given| {
        let size = usize::try_from(whole_of(given, 0)?).ok().filter(|size| *size > 0);
        let size = size.ok_or("a size below one")?;
        let mut chunks = Vec::new();
        for chunk in items_of(given, 1)?.chunks(size) {
            chunks.push(context.list(chunk.to_vec())?);
        }
        context.list(chunks)
    }),
    function("dict", 0, ANY, |context, given| {
        let mut entries = BTreeMap::new();
        for pair in given.chunks(2) {
            let key = context.print(argument(pair, 0))?;
            entries.insert(key, pair.get(1).cloned().unwrap_or_else(|| Value::text("")));
        }
        context.map(entries)
    }),
    function("get", 2, 2, |_, given| {
        let found = entries_of(given, 0)?.get(text_of(given, 1)?).cloned();
        Ok(found.unwrap_or_else(|| Value::text("")))
    }),
    function("hasKey", 2, 2, |_, given| {
        Ok(Value::Bool(entries_of(given, 0)?.contains_key(text_of(given, 1)?)))
    }),
    function("set", 3, 3, |context, given| {
        let mut entries = copied(context, entries_of(given, 0)?)?;
        entries.insert(text_of(given, 1)?.to_owned(), argument(given, 2).clone());
        context.map(entries)
    })
    .changing(),
    function("unset", 2, 2, |context, given| {
        let mut entries = copied(context, entries_of(given, 0)?)?;
        entries.remove(text_of(given, 1)?);
        context.map(entries)
    })
    .changing(),
    function("merge", 1, ANY, |context, given| merged(context, given, false)).changing(),
    function("mergeOverwrite", 1, ANY, |context, given| merged(context, given, true)).changing(),
    function("deepCopy", 1, 1, |_, given| Ok(argument(given, 0).clone())),
    function("keys", 1, ANY, |context, given| {
        let mut keys = Vec::new();
        for index in 0..given.len() {
            keys.extend(entries_of(given, index)?.keys().map(|key| Value::text(key.as_str())));
            context.steps(keys.len() as u64)?;
        }
        context.list(keys)
    }),
    function("values", 1, 1, |context, given| {
        context.list(entries_of(given, 0)?.values().cloned().collect())
    }),
    function("pluck", 1, ANY, |context, given| {
        let key = text_of(given, 0)?;
        let mut found = Vec::new();
        for index in 1..given.len() {
            found.extend(entries_of(given, index)?.get(key).cloned());
        }
        context.list(found)
    }),
    function("pick", 1, ANY, |context, given| {
        let entries = entries_of(given, 0)?;
        let mut picked = BTreeMap::new();
        for index in 1..given.len() {
            let key = text_of(given, index)?;
            picked.extend(entries.get(key).map(|value| (key.to_owned(), value.clone())));
        }
        context.map(picked)
    }),
    function("omit", 1, ANY, |context, given| {
        let mut entries = copied(context, entries_of(given, 0)?)?;
        for index in 1..given.len() {
            entries.remove(text_of(given, index)?);
        }
        context.map(entries)
    }),
    function("dig", 3, ANY, |_, given| {
        let (default, path) = (argument(given, given.len() - 2), 0..given.len() - 2);
        let mut value = argument(given, given.len() - 1);
        for index in path {
            let Value::Map(map) = value else { return Err("a dictionary is missing on the way".to_owned()) };
            match map.entries.get(text_of(given, index)?) {
                Some(inner) => value = inner,
                None => return Ok(default.clone()),
            }
        }
        Ok(value.clone())
    }),
];

fn appended(context: &mut Context<'_>, given: &[Value]) -> Answer {
    let items = items_of(given, 0)?;
    context.list(items.iter().chain(given.iter().skip(1)).cloned().collect())
}

fn indexed(value: &Value, index: &Value) -> Answer {
    match (value, index) {
        (Value::Map(map), Value::Text(key)) => Ok(map.entries.get(&**key).cloned().unwrap_or(Value::Nil)),
        (Value::List(list), Value::Integer(number)) => {
            let found = usize::try_from(*number).ok().and_then(|number| list.items.get(number));
            found
                .cloned()
                .ok_or_else(|| format!("the list has {} elements, and not that one", list.items.len()))
        }
        (Value::Text(text), Value::Integer(number)) => {
            let found = usize::try_from(*number).ok().and_then(|number| text.as_bytes().get(number));
            found.map(|byte| Value::Integer(i64::from(*byte))).ok_or_else(|| "the text is shorter".to_owned())
        }
        _ => Err(format!("{} cannot be asked for {}", value.kind(), index.kind())),
    }
}

fn holds(context: &mut Context<'_>, items: &[Value], wanted: &Value) -> Result<bool, String> {
    context.steps((items.len() as u64).saturating_mul(wanted.weight()))?;
    Ok(items.iter().any(|item| item.same(wanted)))
}

fn copied(
    context: &mut Context<'_>,
    entries: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, String> {
    context.steps(entries.len() as u64)?;
    Ok(entries.clone())
}

/// The first dictionary with what the others have beyond it, or instead.
fn merged(context: &mut Context<'_>, given: &[Value], overwrites: bool) -> Answer {
    let mut all = argument(given, 0).clone();
    entries_of(given, 0)?;
    for index in 1..given.len() {
        context.steps(all.weight() + argument(given, index).weight())?;
        all = joined(
            context,
            entries_of(std::slice::from_ref(&all), 0)?,
            entries_of(given, index)?,
            overwrites,
        )?;
    }
    Ok(all)
}

fn joined(
    context: &mut Context<'_>,
    left: &BTreeMap<String, Value>,
    right: &BTreeMap<String, Value>,
    overwrites: bool,
) -> Answer {
    let mut entries = copied(context, left)?;
    for (key, value) in right {
        let joint = match (left.get(key), value) {
            (Some(Value::Map(left)), Value::Map(right)) => {
                joined(context, &left.entries, &right.entries, overwrites)?
            }
            (Some(mine), value) => {
                let replaces = if overwrites { value.is_true() } else { !mine.is_true() };
                if replaces { value.clone() } else { mine.clone() }
            }
            (None, value) => value.clone(),
        };
        entries.insert(key.clone(), joint);
    }
    context.map(entries)
}
