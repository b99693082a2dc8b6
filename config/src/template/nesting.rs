//! How deep parts of a template may lie within one another, while it is parsed and while it is carried out. It must not know what they
//! are.

use super::Fault;

/// Who goes deeper: the stack is bounded, and what is declared there ends there.
pub(super) trait Nesting: Sized {
    /// What is declared.
    type Variable;
    /// What lies within what, for people.
    const WHAT: &'static str;
    /// How deep it may.
    const DEPTH_MAX: usize;

    /// How deep it is, and what is declared.
    fn scope(&mut self) -> (&mut usize, &mut Vec<Self::Variable>);

    /// One level deeper.
    fn nested<T>(
        &mut self,
        at: usize,
        inner: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let (depth, variables) = self.scope();
        if *depth >= Self::DEPTH_MAX {
            return Err(Fault::new(at, format!("{} nested more than {} deep", Self::WHAT, Self::DEPTH_MAX)));
        }
        *depth += 1;
        let declared = variables.len();
        let found = inner(self);
        let (depth, variables) = self.scope();
        variables.truncate(declared);
        *depth -= 1;
        found
    }
}
