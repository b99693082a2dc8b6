//! Carries a template out: writes its text, computes its actions, and counts what that takes. It must not know what a single
//! function does.

use std::rc::Rc;

use super::functions::{Call, Context, Function};
use super::nesting::Nesting;
use super::origin::Segment;
use super::parse::{Branch, Node, Operand, OperandKind, Parsed, Pipeline, shown};
use super::value::Value;
use super::{CALLS_MAX, Environment, Fault, OUTPUT_BYTES_MAX};

/// What a template gave.
pub(super) struct Outcome {
    pub(super) text: String,
    pub(super) segments: Vec<Segment>,
    pub(super) unset: Vec<(String, usize)>,
}

/// Carries a parsed text out. Its dot is `false`, as in Traefik.
pub(super) fn run(parsed: &Parsed, text: &str, environment: &Environment<'_>) -> Result<Outcome, Fault> {
    let mut run = Run {
        parsed,
        text,
        out: String::new(),
        segments: Vec::new(),
        variables: vec![("$", Value::Bool(false))],
        depth: 0,
        context: Context::new(environment),
    };
    run.list(&parsed.root, &Value::Bool(false))?;
    Ok(Outcome { text: run.out, segments: run.segments, unset: run.context.into_unset() })
}

/// How to go on behind a part.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Run<'t> {
    parsed: &'t Parsed,
    text: &'t str,
    out: String,
    segments: Vec<Segment>,
    variables: Vec<(&'t str, Value)>,
    depth: usize,
    context: Context<'t>,
}

impl<'t> Nesting for Run<'t> {
    type Variable = (&'t str, Value);
    const WHAT: &'static str = "templates and blocks";
    const DEPTH_MAX: usize = CALLS_MAX;

    fn scope(&mut self) -> (&mut usize, &mut Vec<Self::Variable>) {
        (&mut self.depth, &mut self.variables)
    }
}

impl<'t> Run<'t> {
    fn list(&mut self, nodes: &'t [Node], dot: &Value) -> Result<Flow, Fault> {
        for node in nodes {
            match self.node(node, dot)? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'t Node, dot: &Value) -> Result<Flow, Fault> {
        match node {
            Node::Text { start, end } => {
                self.step(*start, 1)?;
                let text = self.text;
                let piece = text.get(*start..*end).unwrap_or_default();
                self.begin_segment(*start, true, piece.len())?;
                self.out.push_str(piece);
            }
            Node::Write { at, pipeline } => self.write(*at, pipeline, dot)?,
            Node::Choice { with, branches, otherwise } => {
                return self.choice(*with, branches, otherwise, dot);
            }
            Node::Range { at, branch, otherwise } => return self.range(*at, branch, otherwise, dot),
            Node::Call { at, name, argument } => self.call(*at, name, argument.as_ref(), dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn step(&mut self, at: usize, count: u64) -> Result<(), Fault> {
        self.context.steps(count).map_err(|message| Fault::new(at, message))
    }

    /// Notes where what is written next comes from.
    fn begin_segment(&mut self, source: usize, verbatim: bool, bytes: usize) -> Result<(), Fault> {
        if bytes > OUTPUT_BYTES_MAX - self.out.len() {
            return Err(Fault::new(source, format!("it gives more than {OUTPUT_BYTES_MAX} bytes")));
        }
        if bytes > 0 {
            self.segments.push(Segment { output: self.out.len(), source, verbatim });
        }
        Ok(())
    }

    fn write(&mut self, at: usize, pipeline: &'t Pipeline, dot: &Value) -> Result<(), Fault> {
        let value = self.pipeline(pipeline, dot)?;
        if pipeline.variables.is_empty() {
            self.step(at, value.weight())?;
            let before = self.out.len();
            self.segments.push(Segment { output: before, source: at, verbatim: false });
            if !value.print(&mut self.out, OUTPUT_BYTES_MAX) {
                return Err(Fault::new(at, format!("it gives more than {OUTPUT_BYTES_MAX} bytes")));
            }
            if self.out.len() == before {
                self.segments.pop();
            }
        }
        Ok(())
    }

    fn choice(
        &mut self,
        with: bool,
        branches: &'t [Branch],
        otherwise: &'t [Node],
        dot: &Value,
    ) -> Result<Flow, Fault> {
        let at = branches.first().map_or(0, |branch| branch.pipeline.at);
        self.nested(at, |run| {
            for branch in branches {
                let value = run.pipeline(&branch.pipeline, dot)?;
                if value.is_true() {
                    return run.list(&branch.body, if with { &value } else { dot });
                }
            }
            run.list(otherwise, dot)
        })
    }

    fn range(
        &mut self,
        at: usize,
        branch: &'t Branch,
        otherwise: &'t [Node],
        dot: &Value,
    ) -> Result<Flow, Fault> {
        self.nested(at, |run| {
            let value = run.quietly(&branch.pipeline, dot)?;
            let scope = run.variables.len();
            let mut any = false;
            let mut each = |run: &mut Self, key: Value, element: Value| {
                any = true;
                run.step(at, 1)?;
                run.variables.truncate(scope);
                run.element(&branch.pipeline, key, &element, at)?;
                run.list(&branch.body, &element).map(|flow| flow == Flow::Break)
            };
            match value {
                Value::Nil => {}
                Value::Integer(count) => {
                    for number in 0..count {
                        if each(run, Value::Integer(number), Value::Integer(number))? {
                            break;
                        }
                    }
                }
                Value::List(list) => {
                    for (index, item) in list.items.iter().enumerate() {
                        if each(run, Value::count(index), item.clone())? {
                            break;
                        }
                    }
                }
                Value::Map(map) => {
                    for (key, item) in &map.entries {
                        if each(run, Value::text(key.as_str()), item.clone())? {
                            break;
                        }
                    }
                }
                other => return Err(Fault::new(at, format!("`range` over {}", other.kind()))),
            }
            run.variables.truncate(scope);
            if any { Ok(Flow::Next) } else { run.list(otherwise, dot) }
        })
    }

    /// Gives the variables of a `range` what they stand for in this turn.
    fn element(
        &mut self,
        pipeline: &'t Pipeline,
        key: Value,
        element: &Value,
        at: usize,
    ) -> Result<(), Fault> {
        match &pipeline.variables[..] {
            [] => {}
            [one] => self.set(one, element.clone(), pipeline.declares, at)?,
            [first, second, ..] => {
                self.set(first, key, pipeline.declares, at)?;
                self.set(second, element.clone(), pipeline.declares, at)?;
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        at: usize,
        name: &str,
        argument: Option<&'t Pipeline>,
        dot: &Value,
    ) -> Result<(), Fault> {
        let argument = argument.map_or(Ok(Value::Nil), |pipeline| self.pipeline(pipeline, dot))?;
        let parsed = self.parsed;
        let body = parsed.named.get(name).ok_or_else(|| Fault::new(at, "no such template"))?;
        self.step(at, 1)?;
        self.nested(at, |run| {
            // It knows nothing of the caller's variables.
            let outer = std::mem::replace(&mut run.variables, vec![("$", argument.clone())]);
            let flow = run.list(body, &argument);
            run.variables = outer;
            flow.map(drop)
        })
    }

    fn set(&mut self, name: &'t str, value: Value, declares: bool, at: usize) -> Result<(), Fault> {
        if declares {
            self.variables.push((name, value));
            return Ok(());
        }
        let place = self.variables.iter_mut().rev().find(|(known, _)| *known == name);
        let (_, place) = place.ok_or_else(|| Fault::new(at, "the variable is not declared here"))?;
        *place = value;
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &'t Pipeline, dot: &Value) -> Result<Value, Fault> {
        let value = self.quietly(pipeline, dot)?;
        for name in &pipeline.variables {
            self.set(name, value.clone(), pipeline.declares, pipeline.at)?;
        }
        Ok(value)
    }

    /// Computes a pipeline without setting its variables.
    fn quietly(&mut self, pipeline: &'t Pipeline, dot: &Value) -> Result<Value, Fault> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn command(&mut self, command: &'t [Operand], dot: &Value, last: Option<Value>) -> Result<Value, Fault> {
        let Some((first, rest)) = command.split_first() else { return Ok(Value::Nil) };
        self.step(first.at, 1)?;
        match (&first.kind, rest.first()) {
            (OperandKind::Function(function), _) => {
                let function: &'static Function = function;
                self.function(first.at, function, rest, dot, last)
            }
            (OperandKind::Nil, _) => {
                Err(Fault::new(first.at, "`nil` stands for nothing that could be written"))
            }
            (_, Some(second)) => Err(Fault::new(second.at, "an argument of something that is no function")),
            (_, None) => self.operand(first, dot),
        }
    }

    fn function(
        &mut self,
        at: usize,
        function: &'static Function,
        arguments: &'t [Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, Fault> {
        let told = |message: String| Fault::new(at, format!("`{}`: {message}", function.name));
        let count = arguments.len() + usize::from(last.is_some());
        function.takes(count).map_err(told)?;
        if let Call::First { until } = function.call {
            // `and` and `or` compute no further than they must.
            let mut value = Value::Nil;
            for argument in arguments {
                value = self.operand(argument, dot)?;
                if value.is_true() == until {
                    return Ok(value);
                }
            }
            return Ok(last.unwrap_or(value));
        }
        let mut values = Vec::with_capacity(count);
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(last);
        self.context.at = at;
        let value = function.run(&mut self.context, &values).map_err(told)?;
        // Dictionaries never change here: the variable gets the new one, so that what Go's users write does what they mean.
        if let (true, Some(Operand { kind: OperandKind::Variable(name), fields, .. })) =
            (function.changes_first, arguments.first())
            && fields.is_empty()
        {
            self.set(name, value.clone(), false, at)?;
        }
        Ok(value)
    }

    fn operand(&mut self, operand: &'t Operand, dot: &Value) -> Result<Value, Fault> {
        let value = match &operand.kind {
            OperandKind::Nil => Value::Nil,
            OperandKind::Bool(flag) => Value::Bool(*flag),
            OperandKind::Integer(number) => Value::Integer(*number),
            OperandKind::Float(number) => Value::Float(*number),
            OperandKind::Text(text) => Value::Text(Rc::clone(text)),
            OperandKind::Dot => dot.clone(),
            OperandKind::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map(|(_, value)| value.clone()).ok_or_else(|| {
                    Fault::new(operand.at, format!("the variable {} is not declared here", shown(name)))
                })?
            }
            OperandKind::Function(function) => {
                self.step(operand.at, 1)?;
                self.function(operand.at, function, &[], dot, None)?
            }
            OperandKind::Parentheses(inner) => self.nested(operand.at, |run| run.pipeline(inner, dot))?,
        };
        operand.fields.iter().try_fold(value, |value, field| match value {
            Value::Map(map) => Ok(map.entries.get(field).cloned().unwrap_or(Value::Nil)),
            other => {
                let message = format!("the field {} asked of {}", shown(field), other.kind());
                Err(Fault::new(operand.at, message))
            }
        })
    }
}
