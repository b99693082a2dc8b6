//! The copy of the sources with every mutant woven in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use crate::mutant::Mutant;

/// The crates that are copied: what `model-check` builds.
const CRATES: [&str; 5] = ["consensus", "config", "transport", "cluster", "model-check"];

/// The chooser that every copied crate with mutants gets as its own module.
const CHOOSER: &str = "//! Which mutant this process shows.
use std::sync::OnceLock;
pub(crate) fn chosen(mutant: usize) -> bool {
    static CHOICE: OnceLock<usize> = OnceLock::new();
    *CHOICE.get_or_init(|| {
        std::env::var(\"RAVELIN_MUTANT\").ok().and_then(|choice| choice.parse().ok()).unwrap_or(0)
    }) == mutant
}
";

/// Writes the copy under `home`. Files that would not change are left alone, so that the next build is short.
pub(crate) fn write(root: &Path, home: &Path, mutants: &[&Mutant]) -> Result<(), CopyError> {
    let mut by_file: BTreeMap<PathBuf, Vec<(usize, &Mutant)>> = BTreeMap::new();
    for (at, mutant) in mutants.iter().enumerate() {
        by_file.entry(root.join(mutant.file)).or_default().push((at + 1, mutant));
    }
    put(&home.join("Cargo.toml"), &workspace(&text(&root.join("Cargo.toml"))?))?;
    put(&home.join("Cargo.lock"), &text(&root.join("Cargo.lock"))?)?;
    for part in CRATES {
        let (from, to) = (root.join(part), home.join(part));
        let manifest = text(&from.join("Cargo.toml"))?;
        put(&to.join("Cargo.toml"), &if part == "model-check" { programs(&manifest) } else { manifest })?;
        let mutated = by_file.keys().any(|file| file.starts_with(&from));
        copy_folder(&from.join("src"), &to.join("src"), &mut by_file, mutated)?;
    }
    // The golden scripts and their languages, which the copied model check includes by path.
    for tests in ["consensus/tests", "cluster/tests"] {
        copy_folder(&root.join(tests), &home.join(tests), &mut by_file, false)?;
    }
    match by_file.into_keys().next() {
        Some(file) => Err(CopyError::NoSuchFile(file)),
        None => Ok(()),
    }
}

fn copy_folder(
    from: &Path,
    to: &Path,
    mutants: &mut BTreeMap<PathBuf, Vec<(usize, &Mutant)>>,
    crate_root: bool,
) -> Result<(), CopyError> {
    let at = |source| CopyError::Io { path: from.to_owned(), source };
    fs::create_dir_all(to).map_err(at)?;
    let mut present = Vec::new();
    for file in fs::read_dir(from).map_err(at)? {
        let path = file.map_err(at)?.path();
        let Some(name) = path.file_name() else { continue };
        let target = to.join(name);
        present.push(target.clone());
        if path.is_dir() {
            copy_folder(&path, &target, mutants, false)?;
            continue;
        }
        let mut source = text(&path)?;
        if let Some(slips) = mutants.remove(&path) {
            source = weave(&source, &slips)?;
        }
        if crate_root && name == "lib.rs" {
            source.push_str("\nmod mutant_choice;\n");
        }
        put(&target, &source)?;
    }
    if crate_root {
        put(&to.join("mutant_choice.rs"), CHOOSER)?;
        present.push(to.join("mutant_choice.rs"));
    }
    sweep(to, &present)
}

/// Removes what an earlier copy held and the sources no longer do.
fn sweep(folder: &Path, present: &[PathBuf]) -> Result<(), CopyError> {
    let at = |source| CopyError::Io { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        if !present.contains(&path) {
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.map_err(at)?;
        }
    }
    Ok(())
}

/// Replaces each mutant's original by a choice between it and the wrong one. Mutants of the very same place share it.
///
/// # Errors
/// An original does not occur exactly once, or two overlap without being the same.
pub fn weave(source: &str, slips: &[(usize, &Mutant)]) -> Result<String, CopyError> {
    let mut places: BTreeMap<(usize, usize), Vec<(usize, &Mutant)>> = BTreeMap::new();
    for (choice, mutant) in slips {
        places.entry(place(source, mutant)?).or_default().push((*choice, mutant));
    }
    let mut woven = String::with_capacity(source.len() * 2);
    let mut done = 0;
    for ((from, to), sharing) in places {
        if let Some((_, mutant)) = sharing.first().filter(|_| from < done) {
            return Err(CopyError::Overlap { id: mutant.id, file: mutant.file });
        }
        woven.push_str(&source[done..from]);
        woven.push('(');
        for (choice, mutant) in &sharing {
            woven
                .push_str(&format!("if crate::mutant_choice::chosen({choice}) {{ {} }} else ", mutant.wrong));
        }
        woven.push_str(&format!("{{ {} }})", &source[from..to]));
        done = to;
    }
    woven.push_str(&source[done..]);
    Ok(woven)
}

/// Where the expression that a mutant replaces begins and ends.
pub(crate) fn place(source: &str, mutant: &Mutant) -> Result<(usize, usize), CopyError> {
    let (before, rest) = mutant.original.split_once('«').unwrap_or(("", mutant.original));
    let (expression, after) = rest.split_once('»').unwrap_or((rest, ""));
    let whole = format!("{before}{expression}{after}");
    let found: Vec<usize> = source.match_indices(&whole).map(|(at, _)| at + before.len()).collect();
    match found.as_slice() {
        [from] => Ok((*from, from + expression.len())),
        _ => Err(CopyError::NotOnce { id: mutant.id, file: mutant.file, found: found.len() }),
    }
}

/// The name of a copied program: it lies beside the shipped one.
pub(crate) fn name(program: &str) -> String {
    format!("mutated-{program}")
}

/// The manifest of the model check with only the programs that probes are, under names of their own.
fn programs(manifest: &str) -> String {
    let renamed = |program: &str| format!("name = \"{}\"\npath = \"src/bin/{program}.rs\"\n", name(program));
    let manifest = manifest.replacen("[package]\n", "[package]\nautobins = false\n", 1);
    let manifest = manifest.replacen("name = \"sim\"\n", &renamed("sim"), 1);
    format!("{manifest}\n[[bin]]\n{}", renamed("model"))
}

/// The workspace's manifest with only the copied crates as members, in a version of their own: both workspaces are built in
/// one folder, where cargo takes packages of one name and version for the same, and what is mutated for what is shipped.
fn workspace(manifest: &str) -> String {
    let members = CRATES.map(|part| format!("\"{part}\"")).join(", ");
    let keep = |line: &&str| !line.starts_with("default-members");
    let lines = manifest.lines().filter(keep).map(|line| {
        if line.starts_with("members") {
            format!("members = [{members}]\n")
        } else if let Some(version) = line.strip_prefix("version = ") {
            format!("version = {}-mutated\"\n", version.trim_end_matches('"'))
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

pub(crate) fn text(path: &Path) -> Result<String, CopyError> {
    fs::read_to_string(path).map_err(|source| CopyError::Io { path: path.to_owned(), source })
}

fn put(path: &Path, content: &str) -> Result<(), CopyError> {
    let at = |source| CopyError::Io { path: path.to_owned(), source };
    if fs::read_to_string(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(at)?;
    }
    fs::write(path, content).map_err(at)
}

/// Why no copy could be written.
#[derive(Debug)]
pub enum CopyError {
    /// An original occurs not at all, or more than once: the table is out of date.
    NotOnce {
        /// Of which mutant.
        id: &'static str,
        /// In which file.
        file: &'static str,
        /// How often.
        found: usize,
    },
    /// Two originals overlap.
    Overlap {
        /// One of the mutants.
        id: &'static str,
        /// In which file.
        file: &'static str,
    },
    /// The table names a file that is not copied.
    NoSuchFile(PathBuf),
    /// A file could not be read or written.
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CopyError::NotOnce { id, file, found } => {
                write!(f, "the original of {id} occurs {found} times in {file}, not once")
            }
            CopyError::Overlap { id, file } => write!(f, "{id} overlaps another mutant in {file}"),
            CopyError::NoSuchFile(path) => write!(f, "no copied source is {}", path.display()),
            CopyError::Io { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for CopyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CopyError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_of_another_version_so_that_cargo_never_takes_it_for_the_shipped_sources() {
        let manifest =
            "[workspace]\nmembers = [\"consensus\", \"xtask\"]\n[workspace.package]\nversion = \"0.1.0\"\n";
        let copied = workspace(manifest);
        assert!(copied.contains("version = \"0.1.0-mutated\"\n"), "{copied}");
        assert!(!copied.contains("xtask"), "{copied}");
    }
}
