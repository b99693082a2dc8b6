//! `ravelin validate FILE`: prints what is wrong with a configuration file and what works as in Traefik.
//! It must judge nothing by itself.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context;
use ravelin_config::document::Format;
use ravelin_config::draft;
use ravelin_config::template;
use ravelin_config::validate::{self, Report};

use crate::exit::Ended;

/// Prints the report; ends with its status.
///
/// # Errors
/// The file cannot be read; [`Ended`] if it is not good.
pub(crate) fn run(file: &Path) -> anyhow::Result<()> {
    let report = report(file)?;
    // Who reads only the beginning (`| head`) has what they want.
    match write!(std::io::stdout().lock(), "{report}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    match report.exit_status() {
        0 => Ok(()),
        status => Err(Ended(status).into()),
    }
}

/// What is to be said of a file.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn report(file: &Path) -> anyhow::Result<Report> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| format!("{name} could not be read"))?;
    let format = Format::of_path(file);
    let format = format.with_context(|| format!("{name}: the name must end in .yaml, .yml or .toml"))?;
    Ok(validate::validate(&name, &text, format, &draft::read_file, &template::process_environment))
}
