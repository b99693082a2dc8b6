//! What a campaign found: libFuzzer's figures, and the reports for people and for programs. It must not run anything.

use std::fmt::Write as _;

/// What libFuzzer says of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Inputs run.
    pub(super) executions: u64,
    /// Places of the program reached, of all there are.
    pub(super) covered: u64,
    /// All of them.
    pub(super) places: u64,
    /// Inputs kept because each reaches something of its own.
    pub(super) corpus: u64,
}

impl Figures {
    /// Reads them from what a run printed.
    pub(super) fn of(text: &str) -> Self {
        let mut figures = Self::default();
        for line in text.lines() {
            if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
                figures.executions = count.trim().parse().unwrap_or(0);
            } else if line.starts_with("INFO: Loaded ") && line.contains(" PC tables (") {
                let places = line.split_once(" PC tables (").and_then(|(_, rest)| rest.split(' ').next());
                figures.places = places.and_then(|places| places.parse().ok()).unwrap_or(0);
            } else if line.starts_with('#') {
                let after = |name: &str| {
                    let mut words = line.split_whitespace().skip_while(|word| *word != name).skip(1);
                    words.next().and_then(|word| word.split('/').next()?.parse().ok())
                };
                figures.covered = after("cov:").unwrap_or(figures.covered);
                figures.corpus = after("corp:").unwrap_or(figures.corpus);
            }
        }
        figures
    }

    /// Adds another run of the same target.
    pub(super) fn add(&mut self, later: Self) {
        self.executions += later.executions;
        self.covered = self.covered.max(later.covered);
        self.places = self.places.max(later.places);
        self.corpus = later.corpus;
    }
}

/// A crash, made small and kept where it is replayed for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crash {
    /// The file to commit, from the workspace's root.
    pub(super) reproducer: String,
    /// The one command that replays it.
    pub(super) replay: String,
    /// The line that says what happened.
    pub(super) said: String,
}

/// What became of one target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) seconds: u64,
    pub(super) figures: Figures,
    pub(super) crashes: Vec<Crash>,
}

/// The whole, for people: a line for each target, crashes below theirs, and one last line for scripts.
pub(super) fn text(targets: &[Target]) -> String {
    let mut text = String::new();
    for target in targets {
        let Figures { executions, covered, places, corpus } = target.figures;
        let percent = covered as f64 * 100.0 / places.max(1) as f64;
        let _ = writeln!(
            text,
            "{:<12} {:>7} s {executions:>12} executions, coverage {covered} of {places} places ({percent:.1} %), {corpus} inputs kept",
            target.name, target.seconds
        );
        for crash in &target.crashes {
            let _ = writeln!(
                text,
                "  CRASH: {}\n  commit: {}\n  replay: {}",
                crash.said, crash.reproducer, crash.replay
            );
        }
    }
    let executions: u64 = targets.iter().map(|target| target.figures.executions).sum();
    let crashes: usize = targets.iter().map(|target| target.crashes.len()).sum();
    let _ = write!(text, "fuzz: {} targets, {executions} executions, {crashes} crashes", targets.len());
    text
}

/// The whole as JUnit reads it: a test case for each target.
pub(super) fn junit(targets: &[Target]) -> String {
    let failures = targets.iter().filter(|target| !target.crashes.is_empty()).count();
    let seconds: u64 = targets.iter().map(|target| target.seconds).sum();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"fuzz\" tests=\"{}\" failures=\"{failures}\" \
         errors=\"0\" time=\"{seconds}\">\n",
        targets.len()
    );
    for target in targets {
        let Figures { executions, covered, places, corpus } = target.figures;
        let name = escape(&target.name);
        let _ = writeln!(text, "  <testcase classname=\"fuzz\" name=\"{name}\" time=\"{}\">", target.seconds);
        for crash in &target.crashes {
            let (said, whole) =
                (escape(&crash.said), escape(&format!("{}\n{}", crash.reproducer, crash.replay)));
            let _ = writeln!(text, "    <failure message=\"{said}\">{whole}</failure>");
        }
        let _ = writeln!(
            text,
            "    <system-out>{executions} executions, coverage {covered} of {places}, {corpus} inputs</system-out>\n  </testcase>"
        );
    }
    text.push_str("</testsuite>\n");
    text
}

/// Text as XML takes it, in attributes too; what no XML may hold is left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            letter if letter.is_control() => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "INFO: Seed: 1\nINFO: Loaded 1 modules   (5000 inline 8-bit counters): 5000\n\
        INFO: Loaded 1 PC tables (5000 PCs): 5000 [0x1,0x2)\n#2\tINITED cov: 100 ft: 200 corp: 1/1b exec/s: 0\n\
        #512\tNEW    cov: 120 ft: 260 corp: 7/90b lim: 4 exec/s: 0 rss: 40Mb\n#900\tDONE   cov: 121 ft: 261 corp: 8/91b\n\
        stat::number_of_executed_units: 900\nstat::new_units_added:         8\n";

    fn target(crashes: Vec<Crash>) -> Target {
        Target { name: "wal".to_owned(), seconds: 7, figures: Figures::of(PRINTED), crashes }
    }

    #[test]
    fn figures_are_read_and_added() {
        let mut figures = Figures::of(PRINTED);
        assert_eq!(figures, Figures { executions: 900, covered: 121, places: 5000, corpus: 8 });
        figures.add(Figures { executions: 5, covered: 90, places: 5000, corpus: 6 });
        assert_eq!(figures, Figures { executions: 905, covered: 121, places: 5000, corpus: 6 });
    }

    #[test]
    fn the_last_line_counts_targets_executions_and_crashes() {
        let whole = text(&[target(Vec::new()), target(Vec::new())]);
        assert_eq!(whole.lines().last(), Some("fuzz: 2 targets, 1800 executions, 0 crashes"));
        assert!(whole.contains("coverage 121 of 5000 places (2.4 %), 8 inputs kept"), "{whole}");
    }

    #[test]
    fn a_crash_is_a_failure_of_its_target_in_words_that_xml_takes() {
        let crash = Crash {
            reproducer: "fuzz/corpus/wal/crash-1".to_owned(),
            replay: "cargo test".to_owned(),
            said: "left: \"a\" < 'b' & \u{7}\nmore".to_owned(),
        };
        let xml = junit(&[target(vec![crash]), target(Vec::new())]);
        assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
        assert!(xml.contains("<failure message=\"left: &quot;a&quot; &lt; 'b' &amp; &#10;more\">"), "{xml}");
        assert_eq!((xml.matches("<testcase ").count(), xml.matches("</testcase>").count()), (2, 2));
    }
}
