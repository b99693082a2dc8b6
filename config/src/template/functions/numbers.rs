//! Whole and other numbers, and sequences of them.

use super::{ANY, Answer, Context, Function, Value, argument, function, to_float, to_integer, whole_of};

pub(super) const TABLE: &[Function] = &[
    function("add", 0, ANY, |_, given| fold(given, 0, i64::checked_add)),
    function("add1", 1, 1, |_, given| fold(given, 1, i64::checked_add)),
    function("sub", 2, 2, |_, given| both(given, i64::checked_sub)),
    function("mul", 1, ANY, |_, given| fold(given, 1, i64::checked_mul)),
    function("div", 2, 2, |_, given| both(given, i64::checked_div)),
    function("mod", 2, 2, |_, given| both(given, i64::checked_rem)),
    function("max", 1, ANY, |_, given| Ok(Value::Integer(given.iter().map(to_integer).max().unwrap_or(0)))),
    function("biggest", 1, ANY, |_, given| {
        Ok(Value::Integer(given.iter().map(to_integer).max().unwrap_or(0)))
    }),
    function("min", 1, ANY, |_, given| Ok(Value::Integer(given.iter().map(to_integer).min().unwrap_or(0)))),
    function("floor", 1, 1, |_, given| Ok(Value::Float(to_float(argument(given, 0)).floor()))),
    function("ceil", 1, 1, |_, given| Ok(Value::Float(to_float(argument(given, 0)).ceil()))),
    function("round", 2, 3, |_, given| {
        let digits = i32::try_from(whole_of(given, 1)?.clamp(-300, 300)).unwrap_or(0);
        let up_from = given.get(2).map_or(0.5, to_float);
        let power = 10f64.powi(digits);
        let scaled = to_float(argument(given, 0)) * power;
        let whole = if scaled.fract() >= up_from { scaled.ceil() } else { scaled.floor() };
        Ok(Value::Float(whole / power))
    }),
    function("int", 1, 1, |_, given| Ok(Value::Integer(to_integer(argument(given, 0))))),
    function("int64", 1, 1, |_, given| Ok(Value::Integer(to_integer(argument(given, 0))))),
    function("float64", 1, 1, |_, given| Ok(Value::Float(to_float(argument(given, 0))))),
    function("atoi", 1, 1, |_, given| {
        let number = super::text_of(given, 0)?.parse().unwrap_or(0);
        Ok(Value::Integer(number))
    }),
    function("until", 1, 1, |context, given| {
        let count = whole_of(given, 0)?;
        sequence(context, 0, count, if count < 0 { -1 } else { 1 })
    }),
    function("untilStep", 3, 3, |context, given| {
        sequence(context, whole_of(given, 0)?, whole_of(given, 1)?, whole_of(given, 2)?)
    }),
    function("seq", 0, 3, |context, given| {
        let numbers = [whole_of(given, 0), whole_of(given, 1), whole_of(given, 2)];
        let (start, step, end) = match (given.len(), numbers) {
            (0, _) => return context.text(""),
            (1, [end, ..]) => (1, None, end?),
            (2, [start, end, _]) => (start?, None, end?),
            (_, [start, step, end]) => (start?, Some(step?), end?),
        };
        let towards = if end < start { -1 } else { 1 };
        if end < start && step.is_some_and(|step| step > 0) {
            return context.text("");
        }
        let behind = end.checked_add(towards).ok_or("the number is too large")?;
        let numbers = sequence(context, start, behind, step.unwrap_or(towards))?;
        let words: Vec<String> = match &numbers {
            Value::List(list) => list.items.iter().map(|item| to_integer(item).to_string()).collect(),
            _ => Vec::new(),
        };
        context.text(words.join(" "))
    }),
];

fn fold(given: &[Value], start: i64, step: fn(i64, i64) -> Option<i64>) -> Answer {
    let mut all = start;
    for value in given {
        all = step(all, to_integer(value)).ok_or("the number is too large")?;
    }
    Ok(Value::Integer(all))
}

fn both(given: &[Value], step: fn(i64, i64) -> Option<i64>) -> Answer {
    let (left, right) = (to_integer(argument(given, 0)), to_integer(argument(given, 1)));
    let found =
        step(left, right).ok_or("the outcome is no whole number: a division by nought, or too large")?;
    Ok(Value::Integer(found))
}

/// Whole numbers from `start` to before `stop`; none where `step` leads away from it.
fn sequence(context: &mut Context<'_>, start: i64, stop: i64, step: i64) -> Answer {
    let leads_there = if stop < start { step < 0 } else { step > 0 };
    if !leads_there || start == stop {
        return context.list(Vec::new());
    }
    let count = start.abs_diff(stop).div_ceil(step.unsigned_abs());
    context.steps(count)?;
    let mut numbers = Vec::new();
    let mut number = start;
    for _ in 0..count {
        numbers.push(Value::Integer(number));
        number = number.saturating_add(step);
    }
    context.list(numbers)
}
