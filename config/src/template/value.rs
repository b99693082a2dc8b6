//! What a template computes with: Go's values as far as a template can tell them apart, their printed form, truth and order.
//! Values never change once made, so that none can hold itself; depth and weight are known when one is made.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{VALUE_DEPTH_MAX, VALUE_WEIGHT_MAX};

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Nothing: `nil`, and what a dictionary does not hold.
    Nil,
    Bool(bool),
    /// Any whole number of Go's.
    Integer(i64),
    Float(f64),
    Text(Rc<str>),
    List(Rc<List>),
    Map(Rc<Map>),
}

/// A list.
#[derive(Debug)]
pub(super) struct List {
    pub(super) items: Vec<Value>,
    extent: Extent,
}

/// A dictionary.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) entries: BTreeMap<String, Value>,
    extent: Extent,
}

/// How deep a value is, and how many values it holds.
#[derive(Debug, Clone, Copy)]
struct Extent {
    depth: u32,
    weight: u64,
}

impl Extent {
    fn around<'v>(values: impl Iterator<Item = &'v Value>) -> Result<Self, String> {
        let mut all = Self { depth: 0, weight: 1 };
        for value in values {
            let one = value.extent();
            all.depth = all.depth.max(one.depth);
            all.weight = all.weight.saturating_add(one.weight);
        }
        all.depth += 1;
        if all.depth > VALUE_DEPTH_MAX {
            return Err(format!("lists and dictionaries nested more than {VALUE_DEPTH_MAX} deep"));
        }
        if all.weight > VALUE_WEIGHT_MAX {
            return Err(format!("a list or dictionary of more than {VALUE_WEIGHT_MAX} elements"));
        }
        Ok(all)
    }
}

impl Value {
    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// A number that counts something.
    pub(super) fn count(count: usize) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(super) fn list(items: Vec<Self>) -> Result<Self, String> {
        let extent = Extent::around(items.iter())?;
        Ok(Self::List(Rc::new(List { items, extent })))
    }

    pub(super) fn map(entries: BTreeMap<String, Self>) -> Result<Self, String> {
        let extent = Extent::around(entries.values())?;
        Ok(Self::Map(Rc::new(Map { entries, extent })))
    }

    fn extent(&self) -> Extent {
        match self {
            Self::List(list) => list.extent,
            Self::Map(map) => map.extent,
            Self::Text(text) => Extent { depth: 0, weight: 1 + text.len() as u64 / 64 },
            _ => Extent { depth: 0, weight: 1 },
        }
    }

    /// How many steps it takes to walk the whole value.
    pub(super) fn weight(&self) -> u64 {
        self.extent().weight
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nothing",
            Self::Bool(_) => "true or false",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a dictionary",
        }
    }

    /// Whether Go's templates, and sprig's `empty`, take it for true.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(flag) => *flag,
            Self::Integer(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
        }
    }

    /// The form that `{{ value }}` writes. `room` bounds it; false if that was not enough.
    pub(super) fn print(&self, out: &mut String, room: usize) -> bool {
        match self {
            Self::Nil => out.push_str("<no value>"),
            other => return other.print_within(out, room),
        }
        out.len() <= room
    }

    /// The form of `%v`, in which nothing is `<nil>`.
    pub(super) fn print_within(&self, out: &mut String, room: usize) -> bool {
        match self {
            Self::Nil => out.push_str("<nil>"),
            Self::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Integer(number) => out.push_str(&number.to_string()),
            Self::Float(number) => out.push_str(&print_float(*number)),
            Self::Text(text) => {
                if text.len() > room.saturating_sub(out.len()) {
                    return false;
                }
                out.push_str(text);
            }
            Self::List(list) => {
                out.push('[');
                for (index, item) in list.items.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { " " });
                    if !item.print_within(out, room) {
                        return false;
                    }
                }
                out.push(']');
            }
            Self::Map(map) => {
                out.push_str("map[");
                for (index, (key, value)) in map.entries.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { " " });
                    out.push_str(key);
                    out.push(':');
                    if !value.print_within(out, room) {
                        return false;
                    }
                }
                out.push(']');
            }
        }
        out.len() <= room
    }

    /// Whether both are the same through and through.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nil, Self::Nil) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Integer(left), Self::Integer(right)) => left == right,
            (Self::Float(left), Self::Float(right)) => left == right,
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::List(left), Self::List(right)) => {
                Rc::ptr_eq(left, right)
                    || (left.items.len() == right.items.len()
                        && left.items.iter().zip(&right.items).all(|(left, right)| left.same(right)))
            }
            (Self::Map(left), Self::Map(right)) => {
                Rc::ptr_eq(left, right)
                    || (left.entries.len() == right.entries.len()
                        && left
                            .entries
                            .iter()
                            .zip(&right.entries)
                            .all(|(left, right)| left.0 == right.0 && left.1.same(right.1)))
            }
            _ => false,
        }
    }

    /// Go's `eq` of basic kinds.
    pub(super) fn equals(&self, other: &Self) -> Result<bool, String> {
        match (self, other) {
            (Self::List(_) | Self::Map(_), _) | (_, Self::List(_) | Self::Map(_)) => {
                Err("lists and dictionaries cannot be compared this way: use deepEqual".to_owned())
            }
            (Self::Nil, _) | (_, Self::Nil) => Ok(matches!((self, other), (Self::Nil, Self::Nil))),
            _ if std::mem::discriminant(self) != std::mem::discriminant(other) => {
                Err(format!("{} cannot be compared with {}", self.kind(), other.kind()))
            }
            _ => Ok(self.same(other)),
        }
    }

    /// Go's `lt` and its kin.
    pub(super) fn order(&self, other: &Self) -> Result<Option<Ordering>, String> {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => Ok(Some(left.cmp(right))),
            (Self::Float(left), Self::Float(right)) => Ok(left.partial_cmp(right)),
            (Self::Text(left), Self::Text(right)) => Ok(Some(left.cmp(right))),
            _ => Err(format!("{} cannot be ordered beside {}", self.kind(), other.kind())),
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Nil => Json::Null,
            Self::Bool(flag) => Json::Bool(*flag),
            Self::Integer(number) => (*number).into(),
            Self::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => (*number as i64).into(),
            Self::Float(number) => serde_json::Number::from_f64(*number).map_or(Json::Null, Json::Number),
            Self::Text(text) => Json::String(text.to_string()),
            Self::List(list) => Json::Array(list.items.iter().map(Self::to_json).collect()),
            Self::Map(map) => {
                Json::Object(map.entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect())
            }
        }
    }

    /// As Go reads JSON into nothing in particular: every number is a float.
    pub(super) fn from_json(json: &serde_json::Value) -> Result<Self, String> {
        use serde_json::Value as Json;
        Ok(match json {
            Json::Null => Self::Nil,
            Json::Bool(flag) => Self::Bool(*flag),
            Json::Number(number) => Self::Float(number.as_f64().unwrap_or_default()),
            Json::String(text) => Self::text(text.as_str()),
            Json::Array(items) => Self::list(items.iter().map(Self::from_json).collect::<Result<_, _>>()?)?,
            Json::Object(entries) => Self::map(
                entries
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), Self::from_json(value)?)))
                    .collect::<Result<_, String>>()?,
            )?,
        })
    }
}

/// A float as Go's `%v`: the shortest digits that read back, with an exponent below 1e-4 and from 1e6 on.
pub(super) fn print_float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let shortest = format!("{number:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    number.to_string()
}

/// A whole number as Go reads it with base 0.
pub(super) fn integer(text: &str) -> Option<i64> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = rest.to_ascii_lowercase();
    let (digits, radix) = if let Some(digits) = lower.strip_prefix("0x") {
        (digits, 16)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (digits, 2)
    } else if let Some(digits) = lower.strip_prefix("0o") {
        (digits, 8)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (&lower[1..], 8)
    } else {
        (&lower[..], 10)
    };
    let digits = digits.replace('_', "");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from(u64::from_str_radix(&digits, radix).ok()?);
    i64::try_from(if negative { -number } else { number }).ok()
}

/// A decimal number.
pub(super) fn float(text: &str) -> Option<f64> {
    let decimal = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E' | b'_'));
    if decimal { text.replace('_', "").parse().ok().filter(|number: &f64| number.is_finite()) } else { None }
}
