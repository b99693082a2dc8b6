//! Runs the configurations of the Raft model and prints what each found.

use std::process::ExitCode;

use ravelin_model_check::raft;

fn main() -> ExitCode {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let mut holds = true;
    for bounds in raft::CONFIGURATIONS {
        if only.is_empty() || only.iter().any(|name| name == bounds.name) {
            let report = raft::check(*bounds, 1);
            println!("{report}");
            holds &= report.holds();
        }
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
