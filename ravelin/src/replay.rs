//! `ravelin replay`: a trace from the field, done again here. It must not start a node.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use ravelin_cluster::trace;

/// Replays a trace and prints what was compared.
///
/// # Errors
/// The trace cannot be read, or a fresh core answers otherwise: then with the step and both answers.
pub(crate) fn run(file: &Path) -> anyhow::Result<()> {
    let source = File::open(file).with_context(|| file.display().to_string())?;
    let replayed = trace::replay(source).with_context(|| file.display().to_string())?;
    if replayed.cut {
        println!("the trace breaks off within a record, as that of a killed process may");
    }
    println!("replay: {} steps, {} effects, all the same", replayed.steps, replayed.effects);
    Ok(())
}
