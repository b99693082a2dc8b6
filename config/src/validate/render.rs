//! The report as text.

use std::fmt;

use super::{OptionUse, Report};
use crate::options::Support;
use crate::problem::{Position, Severity};

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count =
            |severity: Severity| self.problems.iter().filter(|problem| problem.severity == severity).count();
        let (errors, later, warnings) =
            (count(Severity::Error), count(Severity::NotYet), count(Severity::Warning));
        write!(out, "{}: ", self.file)?;
        if self.problems.is_empty() {
            writeln!(out, "good")?;
        } else {
            writeln!(
                out,
                "{}, {}, {}",
                plural(errors, "error"),
                format_args!("{later} not working yet"),
                plural(warnings, "warning")
            )?;
        }
        for problem in &self.problems {
            let word = match problem.severity {
                Severity::Error => "error",
                Severity::NotYet => "not yet",
                Severity::Warning => "warning",
            };
            write!(out, "\n{}", problem.file)?;
            if problem.at != Position::NONE {
                write!(out, ":{}:{}", problem.at.line, problem.at.column)?;
            }
            writeln!(out, ": {word}: {}", problem.message)?;
            if !problem.path.is_empty() {
                writeln!(out, "    at    {}", problem.path)?;
            }
            if let Some(mend) = &problem.mend {
                writeln!(out, "    mend  {mend}")?;
            }
        }
        self.options(out)?;
        self.differences(out)
    }
}

impl Report {
    fn options(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.options.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nOptions used:")?;
        let rank = |used: &OptionUse| match used.support {
            Support::Same => 0,
            Support::Different(_) => 1,
            Support::NotYet(_) => 2,
        };
        let titles = ["same as in Traefik", "different from Traefik", "not working yet"];
        for (number, title) in titles.into_iter().enumerate() {
            let group: Vec<&OptionUse> = self.options.iter().filter(|used| rank(used) == number).collect();
            if group.is_empty() {
                continue;
            }
            writeln!(out, "\n  {title}")?;
            for used in group {
                write!(out, "    {}", used.option)?;
                if used.at != Position::NONE {
                    write!(out, "  {}:{}", used.at.line, used.at.column)?;
                }
                if used.times > 1 {
                    write!(out, " and {} more", used.times - 1)?;
                }
                match used.support {
                    Support::Same => writeln!(out)?,
                    Support::Different(reason) | Support::NotYet(reason) => {
                        writeln!(out, "\n      {reason}")?
                    }
                }
            }
        }
        Ok(())
    }

    fn differences(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.differences.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nDeliberate differences from Traefik that concern this file:")?;
        for difference in &self.differences {
            writeln!(out, "\n  {}", difference.title)?;
            writeln!(out, "    Traefik  {}", difference.traefik)?;
            writeln!(out, "    Ravelin  {}", difference.ravelin)?;
            writeln!(out, "    why      {}", difference.reason)?;
            if let Some(restore) = difference.restore {
                writeln!(out, "    Traefik's way: {restore}")?;
            }
        }
        Ok(())
    }
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
