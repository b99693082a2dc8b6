//! Conditions of `buffering` and `circuitBreaker`: figures compared with literals, joined by `&&`, `||` and parentheses, in the syntax of
//! Go expressions. What figures there are is the caller's to say. It must not know what they mean.

use std::fmt;

/// Longest text in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 4_096;
/// Deepest parentheses.
const DEPTH_MAX: usize = 64;

/// A figure that an expression may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name, capitals and all.
    pub name: &'static str,
    /// The literals that it takes.
    pub arguments: &'static [Type],
    /// What it is: a truth stands alone, all else is compared.
    pub ty: Type,
}

/// What a figure or literal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Truth,
    /// A whole number.
    Integer,
    /// A number with a point.
    Float,
    /// A text.
    Text,
}

/// A literal, or what a figure is at the moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// True or false. No literal.
    Truth(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a point.
    Float(f64),
    /// A text.
    Text(String),
}

/// A figure as an expression names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    /// As many and of such types as the figure takes.
    pub arguments: Vec<Value>,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A condition that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression(Term);

#[derive(Clone, Debug, PartialEq)]
enum Term {
    All(Vec<Self>),
    Any(Vec<Self>),
    Holds(Call),
    Compared(Call, Operator, Value),
}

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpressionError(String);

impl Value {
    fn ty(&self) -> Type {
        match self {
            Self::Truth(_) => Type::Truth,
            Self::Integer(_) => Type::Integer,
            Self::Float(_) => Type::Float,
            Self::Text(_) => Type::Text,
        }
    }
}

impl Expression {
    /// Reads a condition over these figures.
    ///
    /// # Errors
    /// What is no expression, names an unknown figure, takes or compares a type for another, or is too long or deep.
    pub fn parse(text: &str, figures: &[Figure]) -> Result<Self, ExpressionError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(error(format!("an expression is at most {EXPRESSION_BYTES_MAX} bytes long")));
        }
        let mut parser = Parser { figures, words: words(text)?.into_iter().peekable(), depth: 0 };
        let term = parser.chain(true)?;
        match parser.words.next() {
            None => Ok(Self(term)),
            Some(word) => Err(error(format!("{word} stands where the expression should end"))),
        }
    }

    /// Whether it holds by what the figures are. Each is asked for only where it decides; a wrong type never holds.
    pub fn holds(&self, mut figure: impl FnMut(&Call) -> Value) -> bool {
        holds(&self.0, &mut figure)
    }
}

fn holds(term: &Term, figure: &mut dyn FnMut(&Call) -> Value) -> bool {
    match term {
        Term::All(terms) => terms.iter().all(|term| holds(term, figure)),
        Term::Any(terms) => terms.iter().any(|term| holds(term, figure)),
        Term::Holds(call) => figure(call) == Value::Truth(true),
        Term::Compared(call, operator, with) => {
            let ordering = match (&figure(call), with) {
                (Value::Integer(is), Value::Integer(with)) => is.partial_cmp(with),
                (Value::Float(is), Value::Float(with)) => is.partial_cmp(with),
                (Value::Text(is), Value::Text(with)) => is.partial_cmp(with),
                _ => None,
            };
            ordering.is_some_and(|ordering| match operator {
                Operator::Equal => ordering.is_eq(),
                Operator::NotEqual => ordering.is_ne(),
                Operator::Less => ordering.is_lt(),
                Operator::LessOrEqual => ordering.is_le(),
                Operator::Greater => ordering.is_gt(),
                Operator::GreaterOrEqual => ordering.is_ge(),
            })
        }
    }
}

fn error(text: impl Into<String>) -> ExpressionError {
    ExpressionError(text.into())
}

#[derive(Clone, Debug, PartialEq)]
enum Word {
    Name(String),
    Literal(Value),
    Compare(Operator),
    And,
    Or,
    Open,
    Close,
    Comma,
}

impl fmt::Display for Word {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(out, "`{name}`"),
            Self::Literal(_) => out.write_str("a literal"),
            Self::Compare(_) => out.write_str("a comparison"),
            Self::And => out.write_str("`&&`"),
            Self::Or => out.write_str("`||`"),
            Self::Open => out.write_str("`(`"),
            Self::Close => out.write_str("`)`"),
            Self::Comma => out.write_str("`,`"),
        }
    }
}

/// The words of a text, which is bounded.
fn words(text: &str) -> Result<Vec<Word>, ExpressionError> {
    const SIGNS: [(&str, Word); 11] = [
        ("&&", Word::And),
        ("||", Word::Or),
        ("==", Word::Compare(Operator::Equal)),
        ("!=", Word::Compare(Operator::NotEqual)),
        ("<=", Word::Compare(Operator::LessOrEqual)),
        (">=", Word::Compare(Operator::GreaterOrEqual)),
        ("<", Word::Compare(Operator::Less)),
        (">", Word::Compare(Operator::Greater)),
        ("(", Word::Open),
        (")", Word::Close),
        (",", Word::Comma),
    ];
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = if let Some((sign, word)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign))
        {
            (word.clone(), rest.get(sign.len()..).unwrap_or_default())
        } else if first.is_ascii_digit() {
            number(rest)?
        } else if first == '"' || first == '`' {
            let (inner, after) = rest
                .get(1..)
                .and_then(|inner| inner.split_once(first))
                .ok_or_else(|| error("a text is not closed"))?;
            if first == '"' && inner.contains('\\') {
                return Err(error("a text with a backslash stands in backticks"));
            }
            (Word::Literal(Value::Text(inner.to_owned())), after)
        } else if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            (Word::Name(name.to_owned()), after)
        } else {
            return Err(error(format!("{first:?} has no meaning in an expression")));
        };
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

fn number(rest: &str) -> Result<(Word, &str), ExpressionError> {
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
    let value = match whole {
        true => digits.parse().ok().map(Value::Integer),
        false => digits.parse().ok().filter(|float: &f64| float.is_finite()).map(Value::Float),
    };
    let value = value.ok_or_else(|| error(format!("{digits} is no number")))?;
    Ok((Word::Literal(value), after))
}

struct Parser<'a> {
    figures: &'a [Figure],
    words: std::iter::Peekable<std::vec::IntoIter<Word>>,
    depth: usize,
}

impl Parser<'_> {
    fn expected(&mut self, what: &str) -> ExpressionError {
        match self.words.peek() {
            Some(word) => error(format!("{word} stands where {what} is expected")),
            None => error(format!("the expression ends where {what} is expected")),
        }
    }

    fn take(&mut self, word: &Word) -> bool {
        self.words.next_if_eq(word).is_some()
    }

    /// `||` joins what `&&` joins.
    fn chain(&mut self, any: bool) -> Result<Term, ExpressionError> {
        let sign = if any { Word::Or } else { Word::And };
        let mut terms = Vec::with_capacity(1);
        loop {
            terms.push(if any { self.chain(false)? } else { self.term()? });
            if !self.take(&sign) {
                break;
            }
        }
        Ok(match (terms.pop(), terms.is_empty()) {
            (Some(only), true) => only,
            (last, _) => {
                terms.extend(last);
                if any { Term::Any(terms) } else { Term::All(terms) }
            }
        })
    }

    fn term(&mut self) -> Result<Term, ExpressionError> {
        if !self.take(&Word::Open) {
            return self.comparison();
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(error(format!("the expression is nested deeper than {DEPTH_MAX}")));
        }
        let term = self.chain(true)?;
        self.depth -= 1;
        if self.take(&Word::Close) { Ok(term) } else { Err(self.expected("`)`")) }
    }

    fn comparison(&mut self) -> Result<Term, ExpressionError> {
        let name = match self.words.next_if(|word| matches!(word, Word::Name(_))) {
            Some(Word::Name(name)) => name,
            _ => return Err(self.expected("a figure")),
        };
        let figure = self.figures.iter().find(|figure| figure.name == name);
        let figure = *figure.ok_or_else(|| error(format!("there is no figure `{name}`")))?;
        let call = self.call(figure)?;
        let operator = match self.words.next_if(|word| matches!(word, Word::Compare(_))) {
            Some(Word::Compare(operator)) => operator,
            _ if figure.ty == Type::Truth => return Ok(Term::Holds(call)),
            _ => return Err(self.expected(&format!("a comparison of {name}"))),
        };
        let value = match self.words.next_if(|word| matches!(word, Word::Literal(_))) {
            Some(Word::Literal(value)) => value,
            _ => return Err(self.expected("a literal")),
        };
        if value.ty() != figure.ty {
            return Err(error(format!("{name} is of another type than what it is compared with")));
        }
        if figure.ty == Type::Text && !matches!(operator, Operator::Equal | Operator::NotEqual) {
            return Err(error(format!("{name} is a text: it is equal or not")));
        }
        Ok(Term::Compared(call, operator, value))
    }

    fn call(&mut self, figure: Figure) -> Result<Call, ExpressionError> {
        if !self.take(&Word::Open) {
            return Err(self.expected("`(`"));
        }
        let mut arguments = Vec::new();
        while let Some(Word::Literal(value)) = self.words.next_if(|word| matches!(word, Word::Literal(_))) {
            arguments.push(value);
            if !self.take(&Word::Comma) {
                break;
            }
        }
        if !self.take(&Word::Close) {
            return Err(self.expected("`)`"));
        }
        if !arguments.iter().map(Value::ty).eq(figure.arguments.iter().copied()) {
            return Err(error(format!(
                "{} takes {} arguments of its own types",
                figure.name,
                figure.arguments.len()
            )));
        }
        Ok(Call { name: figure.name, arguments })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIGURES: [Figure; 4] = [
        Figure { name: "Count", arguments: &[], ty: Type::Integer },
        Figure { name: "Ratio", arguments: &[Type::Integer, Type::Float], ty: Type::Float },
        Figure { name: "Word", arguments: &[], ty: Type::Text },
        Figure { name: "Broken", arguments: &[], ty: Type::Truth },
    ];

    fn figure(call: &Call) -> Value {
        match call.name {
            "Count" => Value::Integer(3),
            "Ratio" => Value::Float(0.5),
            "Word" => Value::Text("GET".to_owned()),
            _ => Value::Truth(true),
        }
    }

    #[test]
    fn conditions_mean_what_they_say() {
        let table = [
            ("Count() == 3", true),
            ("Count() != 3", false),
            ("Count() < 3 || Count() >= 3", true),
            ("Count()<=2||Broken()&&Word()==`GET`", true),
            ("(Count() <= 2 || Broken()) && Word() != \"GET\"", false),
            ("Ratio(1, 2.5) > 0.30", true),
            ("Ratio(1, 2.5) > 1e3", false),
            ("Broken()", true),
            (" ( ( Broken() ) ) ", true),
        ];
        for (text, wanted) in table {
            let expression =
                Expression::parse(text, &FIGURES).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(expression.holds(figure), wanted, "{text}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in [
            "",
            " ",
            "Count()",
            "Count",
            "Nothing() > 1",
            "count() > 1",
            "Count() >",
            "Count() > 1.0",
            "Count() > \"1\"",
            "Ratio(1, 2.5) > 1",
            "Ratio(1, 2) > 1.0",
            "Ratio(1) > 1.0",
            "Ratio(1, 2.5, 3) > 1.0",
            "Word() < \"GET\"",
            "Broken() == 1",
            "!Broken()",
            "Count() > -1",
            "3 < Count()",
            "Broken() Broken()",
            "(Broken()",
            "Broken())",
            "Word() == \"GET",
            "Count() > 0x10",
            "Count() > 1 > 0",
            "Count() == 99999999999999999999",
            "Count( > 1",
        ] {
            assert!(Expression::parse(text, &FIGURES).is_err(), "{text}");
        }
        let deep = |depth: usize| format!("{}Broken(){}", "(".repeat(depth), ")".repeat(depth));
        assert!(Expression::parse(&deep(DEPTH_MAX), &FIGURES).is_ok());
        assert!(Expression::parse(&deep(DEPTH_MAX + 1), &FIGURES).is_err());
        assert!(Expression::parse(&" ".repeat(EXPRESSION_BYTES_MAX + 1), &FIGURES).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[A-Za-z0-9 .(),&|<>=!\"`]{0,60}") {
            if let Ok(expression) = Expression::parse(&text, &FIGURES) {
                expression.holds(figure);
            }
        }

        #[test]
        fn comparisons_are_those_of_numbers(is: i64, with in 0..i64::MAX) {
            let count = |_: &Call| Value::Integer(is);
            for (sign, wanted) in
                [("<", is < with), ("<=", is <= with), (">", is > with), ("==", is == with), ("!=", is != with)]
            {
                let expression = Expression::parse(&format!("Count() {sign} {with}"), &FIGURES).expect("good");
                prop_assert_eq!(expression.holds(count), wanted);
            }
        }
    }
}
