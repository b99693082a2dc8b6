//! The step `clients` of `verify`: the tests against clients and servers that others wrote, where those are installed below
//! `target/clients`, as `.ci/run` does. It installs nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::bail;

use super::process;
use super::verify::{Outcome, tests_passed};

/// What must be there: a program below `target/clients`, and with which arguments it tells that it works.
const TOOLS: [(&str, &[&str]); 2] = [
    ("bin/h2spec", &["--version"]),
    (
        "python/bin/python",
        &[
            "-c",
            "import grpc, grpc_health.v1.health, websockets.sync.server, sseclient, spiffe, cryptography",
        ],
    ),
];

pub(crate) fn run(root: &Path, log: &Path) -> anyhow::Result<Outcome> {
    let folder = root.join("target/clients");
    for (tool, arguments) in TOOLS {
        if !process::answers(&folder.join(tool).to_string_lossy(), arguments) {
            return Ok(Outcome::Skipped(format!("target/clients/{tool} is not installed, or not whole")));
        }
    }
    let mut command = Command::new(process::cargo_program());
    // `--workspace` so that the dependencies' features, and with them what was built, are those of the step `test`.
    command.args(
        "test --locked --workspace --features ravelin/clients --test whole clients::".split_whitespace(),
    );
    process::quietly(command.current_dir(root), log)?;
    let tests: u64 = fs::read_to_string(log).unwrap_or_default().lines().filter_map(tests_passed).sum();
    if tests == 0 {
        bail!("no test ran");
    }
    Ok(Outcome::Passed(format!("{tests} tests with clients of others passed")))
}
