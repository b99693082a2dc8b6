//! `printf`: Go's verbs for the values that templates have. What a verb cannot show is written as Go writes it, with the value's
//! kind instead of the value.

use super::value::{Value, print_float};

/// Widest field, and most digits behind a point.
const WIDTH_MAX: usize = 1024;
/// Longest result.
const BYTES_MAX: usize = super::OUTPUT_BYTES_MAX;

#[derive(Default)]
struct Verb {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// The text of a format and its values.
///
/// # Errors
/// A width or a result beyond what is allowed, or a verb that asks for types.
pub(super) fn format(text: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = rest.next_if(|c| matches!(c, '-' | '+' | '#' | ' ' | '0')) {
            match flag {
                '-' => verb.minus = true,
                '+' => verb.plus = true,
                '#' => verb.sharp = true,
                ' ' => verb.space = true,
                _ => verb.zero = true,
            }
        }
        verb.width = number(&mut rest, &mut values)?;
        if rest.next_if_eq(&'.').is_some() {
            verb.precision = Some(number(&mut rest, &mut values)?.unwrap_or(0));
        }
        match rest.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(letter) => match values.next() {
                None => out.push_str(&format!("%!{letter}(MISSING)")),
                Some(value) => verb.write(letter, value, &mut out)?,
            },
        }
        if out.len() > BYTES_MAX {
            return Err("the text gets too long".to_owned());
        }
    }
    let extra: Vec<&str> = values.map(Value::kind).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    Ok(out)
}

fn number<'v>(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    values: &mut impl Iterator<Item = &'v Value>,
) -> Result<Option<usize>, String> {
    let mut found: Option<usize> = None;
    if rest.next_if_eq(&'*').is_some() {
        let Some(Value::Integer(given)) = values.next() else {
            return Err("a `*` in the format takes a whole number".to_owned());
        };
        found = usize::try_from(*given).ok();
    }
    while let Some(digit) = rest.next_if(char::is_ascii_digit) {
        let digit = digit.to_digit(10).unwrap_or(0) as usize;
        found = Some(found.unwrap_or(0).saturating_mul(10).saturating_add(digit));
    }
    if found.is_some_and(|found| found > WIDTH_MAX) {
        return Err(format!("a width of more than {WIDTH_MAX}"));
    }
    Ok(found)
}

impl Verb {
    fn write(&self, letter: char, value: &Value, out: &mut String) -> Result<(), String> {
        if letter == 'T' {
            return Err("the verb `%T` is not there".to_owned());
        }
        let shown = match (letter, value) {
            ('v', Value::Integer(_)) => self.integer('d', value),
            ('v', Value::Float(number)) if self.precision.is_none() => {
                Some(self.signed(print_float(*number)))
            }
            ('v', Value::Float(_)) => self.float('g', value),
            ('v', Value::Text(text)) if self.sharp => Some(quote(text)),
            ('v', _) | ('s', Value::Text(_)) => Some(self.cut(printed(value)?)),
            ('q', Value::Text(text)) => Some(quote(&self.cut(text.to_string()))),
            ('t', Value::Bool(flag)) => Some(flag.to_string()),
            ('x' | 'X', Value::Text(text)) => Some(hex(text.as_bytes(), letter)),
            ('d' | 'b' | 'o' | 'O' | 'x' | 'X' | 'c' | 'U' | 'q', Value::Integer(_)) => {
                self.integer(letter, value)
            }
            ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(_)) => self.float(letter, value),
            ('s' | 'q' | 'd' | 'x', Value::List(list)) => {
                out.push('[');
                for (index, item) in list.items.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { " " });
                    self.write(letter, item, out)?;
                    if out.len() > BYTES_MAX {
                        return Err("the text gets too long".to_owned());
                    }
                }
                out.push(']');
                return Ok(());
            }
            _ => None,
        };
        match shown {
            Some(shown) => self.pad(&shown, matches!(value, Value::Integer(_) | Value::Float(_)), out),
            None => out.push_str(&format!("%!{letter}({})", value.kind())),
        }
        Ok(())
    }

    fn cut(&self, text: String) -> String {
        match self.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text,
        }
    }

    fn signed(&self, digits: String) -> String {
        if digits.starts_with(['-', '+']) {
            return digits;
        }
        let sign = if self.plus {
            "+"
        } else if self.space {
            " "
        } else {
            ""
        };
        format!("{sign}{digits}")
    }

    fn integer(&self, letter: char, value: &Value) -> Option<String> {
        let Value::Integer(number) = value else { return None };
        let size = number.unsigned_abs();
        let digits = match letter {
            'd' => size.to_string(),
            'b' => format!("{size:b}"),
            'o' => format!("{}{size:o}", if self.sharp { "0" } else { "" }),
            'O' => format!("0o{size:o}"),
            'x' => format!("{}{size:x}", if self.sharp { "0x" } else { "" }),
            'X' => format!("{}{size:X}", if self.sharp { "0X" } else { "" }),
            'U' => return Some(format!("U+{size:04X}")),
            _ => {
                let c = u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
                return Some(if letter == 'q' { format!("'{c}'") } else { c.to_string() });
            }
        };
        let least = self.precision.unwrap_or(0);
        let digits = format!("{}{digits}", "0".repeat(least.saturating_sub(digits.len())));
        Some(self.signed(if *number < 0 { format!("-{digits}") } else { digits }))
    }

    fn float(&self, letter: char, value: &Value) -> Option<String> {
        let Value::Float(number) = value else { return None };
        if !number.is_finite() {
            return Some(self.signed(print_float(*number)));
        }
        let precision = self.precision.unwrap_or(6);
        let shown = match letter {
            'f' | 'F' => format!("{number:.precision$}"),
            'e' | 'E' => exponential(&format!("{number:.precision$e}")),
            _ => match self.precision {
                None => print_float(*number),
                Some(digits) => general(*number, digits.max(1)),
            },
        };
        Some(self.signed(if letter.is_ascii_uppercase() { shown.to_uppercase() } else { shown }))
    }

    fn pad(&self, shown: &str, is_number: bool, out: &mut String) {
        let missing = self.width.unwrap_or(0).saturating_sub(shown.chars().count());
        if self.minus {
            out.push_str(shown);
            out.push_str(&" ".repeat(missing));
        } else if self.zero && (!is_number || self.precision.is_none() || shown.contains('.')) {
            let sign = usize::from(is_number && shown.starts_with(['-', '+', ' ']));
            let (sign, digits) = shown.split_at(sign);
            out.push_str(sign);
            out.push_str(&"0".repeat(missing));
            out.push_str(digits);
        } else {
            out.push_str(&" ".repeat(missing));
            out.push_str(shown);
        }
    }
}

fn printed(value: &Value) -> Result<String, String> {
    let mut out = String::new();
    if value.print_within(&mut out, BYTES_MAX) { Ok(out) } else { Err("the text gets too long".to_owned()) }
}

/// `1e5` with Go's sign and two digits.
fn exponential(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// `%g` with so many digits.
fn general(number: f64, digits: usize) -> String {
    let scientific = format!("{number:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let precision = i32::try_from(digits).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= precision {
        return exponential(&format!("{}e{exponent}", trim(mantissa)));
    }
    let decimals = usize::try_from(precision - 1 - exponent).unwrap_or(0);
    trim(&format!("{number:.decimals$}"))
}

fn hex(bytes: &[u8], letter: char) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    let text: String = digits.collect();
    if letter == 'X' { text.to_uppercase() } else { text }
}

/// Go's `%q`.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() || c == '\u{feff}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
