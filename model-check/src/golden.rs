//! The languages of the golden scripts, as the tests of core and storage speak them: their very sources. They serve to show
//! what a search has found as a script that can be committed, and to run the committed ones on sources with a slip.

#[path = "../../consensus/tests/support/cluster.rs"]
#[allow(dead_code)] // walks use more of it
pub(crate) mod cluster;
#[path = "../../consensus/tests/support/render.rs"]
pub(crate) mod render;
#[path = "../../consensus/tests/support/script.rs"]
pub(crate) mod script;
#[path = "../../consensus/tests/support/stanza.rs"]
#[allow(dead_code)] // tests use more of it
mod stanza;
#[cfg(feature = "cluster")]
#[path = "../../cluster/tests/support/storage.rs"]
mod storage;

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use script::Script;

/// Whose scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// The core's.
    Core,
    /// Those of log and snapshots.
    #[cfg(feature = "cluster")]
    Storage,
}

impl Language {
    /// Where the committed scripts are.
    #[must_use]
    pub fn folder(self) -> PathBuf {
        let folder = match self {
            Self::Core => "../consensus/tests/scripts",
            #[cfg(feature = "cluster")]
            Self::Storage => "../cluster/tests/storage_scripts",
        };
        Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
    }

    /// Runs every committed script; each that does not answer as written, in a line.
    ///
    /// # Errors
    /// The folder or a script could not be read.
    pub fn check(self) -> io::Result<Vec<String>> {
        match self {
            Self::Core => stanza::broken(&self.folder(), script::answered),
            #[cfg(feature = "cluster")]
            Self::Storage => stanza::broken(&self.folder(), storage::answered),
        }
    }

    /// Checks and prints what [`Language::check`] finds. Says whether every script answers as written.
    ///
    /// # Errors
    /// In words: the folder or a script could not be read.
    pub fn tell(self) -> Result<bool, String> {
        // What panics here is part of the answer.
        std::panic::set_hook(Box::new(|_| {}));
        let broken = self.check().map_err(|error| format!("{}: {error}", self.folder().display()))?;
        broken.iter().for_each(|line| println!("BROKEN: {line}"));
        println!("scripts: {} do not answer as written", broken.len());
        Ok(broken.is_empty())
    }

    /// Prints one script with the answers of this run; with `step` stanza by stanza, each at a line of input. Says whether
    /// nothing broke.
    ///
    /// # Errors
    /// In words: the script could not be read.
    pub fn show(self, file: &Path, step: bool) -> Result<bool, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        if step {
            let broken = self.step_through(&text, &mut io::stdin().lock(), &mut io::stdout());
            return broken.map(|broken| !broken).map_err(|error| error.to_string());
        }
        let answer = self.answered(&text);
        print!("{answer}");
        Ok(!answer.contains("BROKEN: "))
    }

    /// A run that takes command after command, and goes on whatever breaks.
    fn run(self) -> Box<dyn FnMut(&str) -> String> {
        match self {
            Self::Core => {
                let mut script = Script::lenient();
                Box::new(move |line| script.run(line))
            }
            #[cfg(feature = "cluster")]
            Self::Storage => {
                let mut storage = storage::Storage::default();
                Box::new(move |line| storage.run(line))
            }
        }
    }

    /// Runs a script on and on, whatever breaks; returns it with the answers of this run.
    #[must_use]
    pub fn answered(self, text: &str) -> String {
        stanza::answered(text, &mut *self.run())
    }

    /// Runs a script stanza by stanza, each printed when a line comes in. Says whether something broke.
    ///
    /// # Errors
    /// Lines could not be read or written.
    pub fn step_through(
        self,
        text: &str,
        input: &mut dyn BufRead,
        output: &mut dyn Write,
    ) -> io::Result<bool> {
        let mut run = self.run();
        let mut broken = false;
        let mut answer_follows = false;
        for line in text.lines() {
            match line {
                "" => answer_follows = false,
                comment if comment.starts_with('#') && !answer_follows => writeln!(output, "{comment}")?,
                command if !answer_follows => {
                    answer_follows = true;
                    write!(output, "{command}")?;
                    output.flush()?;
                    let mut waited = String::new();
                    if input.read_line(&mut waited)? == 0 {
                        writeln!(output)?;
                    }
                    let answer = run(command);
                    broken |= answer.lines().any(|line| line.starts_with("BROKEN"));
                    writeln!(output, "----\n{answer}")?;
                }
                _ => {}
            }
        }
        Ok(broken)
    }
}

/// The commands of a script that it takes to break the same invariant, with their answers, up to where it breaks.
#[must_use]
pub fn shrunk(text: &str, id: &str) -> String {
    let mut commands = commands(text);
    let broken = format!("BROKEN: {id} ");
    // A command less may lead to a state that the cluster of scripts refuses: that one is needed then.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let run = |commands: &[&str]| {
        let text: String = commands.iter().map(|line| format!("{line}\n\n")).collect();
        std::panic::catch_unwind(|| Language::Core.answered(&text)).ok()
    };
    let breaks = |commands: &[&str]| run(commands).is_some_and(|answer| answer.contains(&broken));
    let mut at = commands.len();
    while at > 1 && breaks(&commands) {
        at -= 1;
        let fewer: Vec<&str> =
            commands.iter().enumerate().filter(|(place, _)| *place != at).map(|(_, line)| *line).collect();
        if breaks(&fewer) {
            commands = fewer;
        }
    }
    let answer = run(&commands).filter(|answer| answer.contains(&broken));
    std::panic::set_hook(hook);
    answer.unwrap_or_else(|| text.to_owned())
}

/// The command lines of a script.
fn commands(text: &str) -> Vec<&str> {
    let stanzas = text.split("\n\n").filter_map(|stanza| stanza.lines().find(|line| !line.starts_with('#')));
    stanzas.filter(|line| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_committed_script_answers_as_written() {
        assert_eq!(Language::Core.check().expect("the folder is committed"), Vec::<String>::new());
    }

    #[test]
    fn a_script_is_stepped_through_line_by_line() {
        let text = "# A title.\ncluster voters=1\n----\nold\n\npropose 1 a\n----\nold\n";
        let mut shown = Vec::new();
        let broken = Language::Core.step_through(text, &mut "\n\n".as_bytes(), &mut shown).expect("memory");
        let shown = String::from_utf8(shown).expect("text");
        assert!(!broken);
        assert!(shown.starts_with("# A title.\ncluster voters=1----\nok\n\npropose 1 a----\n"), "{shown}");
        assert!(shown.contains("rejected: NotLeader"), "{shown}");
    }

    #[test]
    fn what_is_shrunk_keeps_only_what_breaks() {
        // Votes that nobody gave, called honest, make two leaders of one term.
        let lines = [
            "cluster voters=1,2,3",
            "election 1",
            "heartbeat 3",
            "persist 1",
            "inject 3 1 vote-yes term=1 honest=yes",
            "election 2",
            "persist 2",
            "inject 3 2 vote-yes term=1 honest=yes",
            "persist 2",
        ];
        let (text, id) = (&lines.join("\n\n"), "I1");
        let shrunk = shrunk(text, id);
        assert!(shrunk.contains(&format!("BROKEN: {id}")), "{shrunk}");
        assert_eq!(commands(&shrunk), [&lines[..2], &lines[3..8]].concat());
        assert_eq!(Language::Core.answered(&shrunk), shrunk, "it is a script itself");
    }

    #[test]
    fn a_difference_names_its_line() {
        assert_eq!(stanza::difference("a\nb\n", "a\nb\n"), None);
        let what = stanza::difference("a\nb\n", "a\n").expect("one is shorter");
        assert_eq!(what, "line 2: expected \"b\", the answer is \"\"");
    }
}
