//! The pieces of a template as a tree. Names of functions, variables and templates are looked up here, so that a slip is told
//! before anything is carried out. It must not compute.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::functions::{self, Function};
use super::lex::{self, Piece, Token, TokenKind};
use super::nesting::Nesting;
use super::{Fault, NESTING_MAX};

/// A template that can be carried out, with those that it defines.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) root: Vec<Node>,
    pub(super) named: BTreeMap<String, Vec<Node>>,
}

/// A part of a template.
#[derive(Debug)]
pub(super) enum Node {
    /// Bytes of the text.
    Text { start: usize, end: usize },
    /// `{{ pipeline }}`.
    Write { at: usize, pipeline: Pipeline },
    /// `if` or `with`: the branches in order, then `else`.
    Choice { with: bool, branches: Vec<Branch>, otherwise: Vec<Node> },
    /// `range`.
    Range { at: usize, branch: Branch, otherwise: Vec<Node> },
    /// `template` or `block`.
    Call { at: usize, name: String, argument: Option<Pipeline> },
    /// `break`.
    Break,
    /// `continue`.
    Continue,
}

/// What is carried out where a pipeline holds.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipeline: Pipeline,
    pub(super) body: Vec<Node>,
}

/// Commands, each of which gets what the one before it gave as its last argument.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) at: usize,
    /// Variables that get the outcome.
    pub(super) variables: Vec<String>,
    /// Whether they are declared here, or only set.
    pub(super) declares: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

/// A part of a command, and the fields that are asked of it.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) kind: OperandKind,
    pub(super) fields: Vec<String>,
}

/// What an operand is.
#[derive(Debug)]
pub(super) enum OperandKind {
    Nil,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Rc<str>),
    Dot,
    Variable(String),
    Function(&'static Function),
    Parentheses(Box<Pipeline>),
}

/// What ends a list of parts.
enum Stop {
    Text,
    End,
    Else(usize, Vec<Token>),
}

/// Reads a text.
pub(super) fn parse(text: &str) -> Result<Parsed, Fault> {
    let pieces = lex::pieces(text)?;
    let mut parser = Parser {
        pieces: pieces.into_iter(),
        named: BTreeMap::new(),
        called: Vec::new(),
        variables: vec!["$".to_owned()],
        loops: 0,
        depth: 0,
        last: 0,
    };
    let (root, end) = parser.list(true)?;
    match end {
        Stop::Text => {}
        Stop::End => return Err(Fault::new(parser.last, "an `end` without the block that it would end")),
        Stop::Else(at, _) => return Err(Fault::new(at, "an `else` without its `if`, `with` or `range`")),
    }
    let known: BTreeSet<&String> = parser.named.keys().collect();
    for (at, name) in &parser.called {
        if !known.contains(name) {
            return Err(Fault::new(*at, "`template` names one that is nowhere defined"));
        }
    }
    Ok(Parsed { root, named: parser.named })
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    named: BTreeMap<String, Vec<Node>>,
    called: Vec<(usize, String)>,
    variables: Vec<String>,
    loops: usize,
    depth: usize,
    /// Where the last action began.
    last: usize,
}

impl Nesting for Parser {
    type Variable = String;
    const WHAT: &'static str = "blocks and parentheses";
    const DEPTH_MAX: usize = NESTING_MAX;

    fn scope(&mut self) -> (&mut usize, &mut Vec<String>) {
        (&mut self.depth, &mut self.variables)
    }
}

impl Parser {
    /// Reads parts up to the `end` or `else` of the block that they are in, or to the end of the text.
    fn list(&mut self, is_top: bool) -> Result<(Vec<Node>, Stop), Fault> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (at, tokens) = match piece {
                Piece::Text { start, end } => {
                    nodes.push(Node::Text { start, end });
                    continue;
                }
                Piece::Action { at, tokens } => (at, tokens),
            };
            self.last = at;
            let mut rest = tokens.into_iter().peekable();
            let word = match rest.peek() {
                Some(Token { kind: TokenKind::Word(word), .. }) => word.clone(),
                None => return Err(Fault::new(at, "an action with nothing in it")),
                Some(_) => String::new(),
            };
            let rest: Vec<Token> =
                if KEYWORDS.contains(&word.as_str()) { rest.skip(1).collect() } else { rest.collect() };
            match word.as_str() {
                "end" => return self.nothing_more(at, &rest).map(|()| (nodes, Stop::End)),
                "else" => return Ok((nodes, Stop::Else(at, rest))),
                "define" if is_top => self.define(at, rest)?,
                "define" => return Err(Fault::new(at, "`define` within a block: it stands at the top only")),
                "if" => nodes.push(self.nested(at, |parser| parser.choice(at, false, rest))?),
                "with" => nodes.push(self.nested(at, |parser| parser.choice(at, true, rest))?),
                "range" => nodes.push(self.nested(at, |parser| parser.range(at, rest))?),
                "block" => nodes.push(self.nested(at, |parser| parser.block(at, rest))?),
                "template" => nodes.push(self.call(at, rest)?),
                "break" | "continue" => {
                    self.nothing_more(at, &rest)?;
                    if self.loops == 0 {
                        return Err(Fault::new(at, format!("`{word}` outside of a `range`")));
                    }
                    nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                }
                _ => nodes.push(Node::Write { at, pipeline: self.pipeline(at, rest)? }),
            }
        }
        Ok((nodes, Stop::Text))
    }

    fn nothing_more(&self, at: usize, rest: &[Token]) -> Result<(), Fault> {
        rest.first().map_or(Ok(()), |_| Err(Fault::new(at, "something behind a word that stands alone")))
    }

    /// `if` and `with` up to their `end`.
    fn choice(&mut self, at: usize, with: bool, tokens: Vec<Token>) -> Result<Node, Fault> {
        let mut branches = Vec::new();
        let mut tokens = tokens;
        let mut at = at;
        loop {
            let pipeline = self.pipeline(at, tokens)?;
            let (body, end) = self.list(false)?;
            branches.push(Branch { pipeline, body });
            let (else_at, rest) = match end {
                Stop::End => return Ok(Node::Choice { with, branches, otherwise: Vec::new() }),
                Stop::Text => return Err(unended(at)),
                Stop::Else(else_at, rest) => (else_at, rest),
            };
            let again = if with { "with" } else { "if" };
            match rest.first().map(|token| &token.kind) {
                None => {
                    let otherwise = self.last_branch(at)?;
                    return Ok(Node::Choice { with, branches, otherwise });
                }
                Some(TokenKind::Word(word)) if word == again => {
                    tokens = rest.into_iter().skip(1).collect();
                    at = else_at;
                }
                Some(_) => {
                    return Err(Fault::new(
                        else_at,
                        format!("behind this `else` there can be nothing but `{again}`"),
                    ));
                }
            }
        }
    }

    /// What follows an `else` up to the `end`.
    fn last_branch(&mut self, at: usize) -> Result<Vec<Node>, Fault> {
        match self.list(false)? {
            (nodes, Stop::End) => Ok(nodes),
            (_, Stop::Text) => Err(unended(at)),
            (_, Stop::Else(at, _)) => Err(Fault::new(at, "a second `else`")),
        }
    }

    fn range(&mut self, at: usize, tokens: Vec<Token>) -> Result<Node, Fault> {
        let pipeline = self.ranged(at, tokens)?;
        self.loops += 1;
        let list = self.list(false);
        self.loops -= 1;
        let (body, end) = list?;
        let branch = Branch { pipeline, body };
        match end {
            Stop::End => Ok(Node::Range { at, branch, otherwise: Vec::new() }),
            Stop::Text => Err(unended(at)),
            Stop::Else(_, rest) => {
                self.nothing_more(at, &rest)?;
                Ok(Node::Range { at, branch, otherwise: self.last_branch(at)? })
            }
        }
    }

    fn define(&mut self, at: usize, tokens: Vec<Token>) -> Result<(), Fault> {
        let [Token { kind: TokenKind::Text(name), .. }] = &tokens[..] else {
            return Err(Fault::new(at, "`define` takes a name in quotes and nothing else"));
        };
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let body = self.nested(at, |parser| parser.last_branch(at));
        self.variables = outer;
        self.named.insert(name.clone(), body?);
        Ok(())
    }

    fn block(&mut self, at: usize, tokens: Vec<Token>) -> Result<Node, Fault> {
        let Node::Call { at, name, argument: Some(argument) } = self.call(at, tokens)? else {
            return Err(Fault::new(at, "`block` takes a name in quotes and a value"));
        };
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let body = self.last_branch(at);
        self.loops = loops;
        self.variables = outer;
        self.named.insert(name.clone(), body?);
        Ok(Node::Call { at, name, argument: Some(argument) })
    }

    fn call(&mut self, at: usize, tokens: Vec<Token>) -> Result<Node, Fault> {
        let mut rest = tokens.into_iter();
        let Some(Token { kind: TokenKind::Text(name), .. }) = rest.next() else {
            return Err(Fault::new(at, "`template` and `block` take a name in quotes"));
        };
        let rest: Vec<Token> = rest.collect();
        let argument = if rest.is_empty() { None } else { Some(self.pipeline(at, rest)?) };
        self.called.push((at, name.clone()));
        Ok(Node::Call { at, name, argument })
    }

    fn pipeline(&mut self, at: usize, tokens: Vec<Token>) -> Result<Pipeline, Fault> {
        self.whole(at, tokens, false)
    }

    fn ranged(&mut self, at: usize, tokens: Vec<Token>) -> Result<Pipeline, Fault> {
        self.whole(at, tokens, true)
    }

    fn whole(&mut self, at: usize, tokens: Vec<Token>, is_range: bool) -> Result<Pipeline, Fault> {
        let mut reader = Reader { tokens: &tokens, next: 0, variables: &self.variables, depth: self.depth };
        let pipeline = reader.pipeline(at, is_range, false)?;
        if let Some(token) = tokens.get(reader.next) {
            return Err(Fault::new(token.at, "this cannot stand here"));
        }
        if pipeline.declares {
            if self.variables.len() >= VARIABLES_MAX {
                return Err(Fault::new(at, format!("more than {VARIABLES_MAX} variables in one place")));
            }
            self.variables.extend(pipeline.variables.iter().cloned());
        }
        Ok(pipeline)
    }
}

/// Most variables that one place may know of.
const VARIABLES_MAX: usize = 256;

const KEYWORDS: &[&str] =
    &["end", "else", "define", "if", "with", "range", "block", "template", "break", "continue"];

fn unended(at: usize) -> Fault {
    Fault::new(at, "a block without its `end`")
}

/// Reads one pipeline from its tokens.
struct Reader<'t> {
    tokens: &'t [Token],
    next: usize,
    variables: &'t [String],
    depth: usize,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.next)
    }

    fn kind(&self, ahead: usize) -> Option<&'t TokenKind> {
        self.tokens.get(self.next + ahead).map(|token| &token.kind)
    }

    fn pipeline(&mut self, at: usize, is_range: bool, is_inner: bool) -> Result<Pipeline, Fault> {
        let (variables, declares) = self.targets(is_range)?;
        let mut commands = Vec::new();
        loop {
            let begin = self.peek().map_or(at, |token| token.at);
            let command = self.command()?;
            match command.first() {
                None => return Err(Fault::new(begin, "a value is missing here")),
                Some(Operand { at, kind, .. }) if !commands.is_empty() => {
                    if !matches!(kind, OperandKind::Function(_)) {
                        return Err(Fault::new(*at, "only a function can stand behind `|`"));
                    }
                }
                Some(_) => {}
            }
            commands.push(command);
            match self.kind(0) {
                Some(TokenKind::Pipe) => self.next += 1,
                Some(TokenKind::Close) if is_inner => {
                    self.next += 1;
                    break;
                }
                Some(_) => {
                    let at = self.peek().map_or(at, |token| token.at);
                    return Err(Fault::new(at, "this cannot stand here"));
                }
                None => break,
            }
        }
        Ok(Pipeline { at, variables, declares, commands })
    }

    /// `$a :=`, `$a =`, and before a `range` also `$a, $b :=`.
    fn targets(&mut self, is_range: bool) -> Result<(Vec<String>, bool), Fault> {
        let Some(TokenKind::Variable(first)) = self.kind(0) else { return Ok((Vec::new(), false)) };
        let mut names = vec![first.clone()];
        let mut length = 1;
        if let (true, Some(TokenKind::Comma), Some(TokenKind::Variable(second))) =
            (is_range, self.kind(1), self.kind(2))
        {
            names.push(second.clone());
            length = 3;
        }
        let declares = match self.kind(length) {
            Some(TokenKind::Declare) => true,
            Some(TokenKind::Assign) => false,
            _ => return Ok((Vec::new(), false)),
        };
        if !declares {
            for (index, name) in names.iter().enumerate() {
                self.known(name, self.tokens.get(self.next + index * 2).map_or(0, |token| token.at))?;
            }
        }
        self.next += length + 1;
        Ok((names, declares))
    }

    fn known(&self, name: &String, at: usize) -> Result<(), Fault> {
        if self.variables.contains(name) {
            return Ok(());
        }
        Err(Fault::new(at, format!("the variable {} is not declared here", shown(name))))
    }

    fn command(&mut self) -> Result<Vec<Operand>, Fault> {
        let mut operands = Vec::new();
        while let Some(token) = self.peek() {
            if matches!(token.kind, TokenKind::Pipe | TokenKind::Close) {
                break;
            }
            if !token.apart && !operands.is_empty() && !matches!(token.kind, TokenKind::Open) {
                return Err(Fault::new(token.at, "a blank is missing before this"));
            }
            operands.push(self.operand(token)?);
        }
        Ok(operands)
    }

    fn operand(&mut self, token: &'t Token) -> Result<Operand, Fault> {
        self.next += 1;
        let at = token.at;
        let mut fields = Vec::new();
        let kind = match &token.kind {
            TokenKind::Word(word) => match word.as_str() {
                "nil" => OperandKind::Nil,
                "true" => OperandKind::Bool(true),
                "false" => OperandKind::Bool(false),
                name => {
                    OperandKind::Function(functions::find(name).map_err(|reason| Fault::new(at, reason))?)
                }
            },
            TokenKind::Field(name) => {
                fields.push(name.clone());
                OperandKind::Dot
            }
            TokenKind::Variable(name) => {
                self.known(name, at)?;
                OperandKind::Variable(name.clone())
            }
            TokenKind::Dot => OperandKind::Dot,
            TokenKind::Text(text) => OperandKind::Text(Rc::from(text.as_str())),
            TokenKind::Integer(number) => OperandKind::Integer(*number),
            TokenKind::Float(number) => OperandKind::Float(*number),
            TokenKind::Open => {
                if self.depth >= NESTING_MAX {
                    let message = format!("blocks and parentheses nested more than {NESTING_MAX} deep");
                    return Err(Fault::new(at, message));
                }
                self.depth += 1;
                let inner = self.pipeline(at, false, true)?;
                self.depth -= 1;
                if !inner.variables.is_empty() {
                    return Err(Fault::new(at, "no variable can be set within parentheses"));
                }
                OperandKind::Parentheses(Box::new(inner))
            }
            TokenKind::Comma | TokenKind::Declare | TokenKind::Assign => {
                return Err(Fault::new(at, "this cannot stand here"));
            }
            TokenKind::Pipe | TokenKind::Close => return Err(Fault::new(at, "a value is missing here")),
        };
        while let Some(Token { at, apart: false, kind: TokenKind::Field(name) }) = self.peek() {
            if !matches!(kind, OperandKind::Dot | OperandKind::Variable(_) | OperandKind::Parentheses(_)) {
                return Err(Fault::new(*at, "no field can be asked of this"));
            }
            fields.push(name.clone());
            self.next += 1;
        }
        Ok(Operand { at, kind, fields })
    }
}

/// A name, unless it is too long to be one.
pub(super) fn shown(name: &str) -> String {
    if name.chars().count() > 40 { format!("of {} bytes", name.len()) } else { format!("`{name}`") }
}
