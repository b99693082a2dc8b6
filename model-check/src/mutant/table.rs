//! The mutants. Each is a slip in one place, with what it stands for and what must catch it.

use std::sync::LazyLock;

use crate::mutant::Mutant;

mod cluster;
mod lease;
mod pre_vote;
mod raft;
mod sessions;
mod storage;

/// What the copy without any mutant must pass, for each layer that is asked.
pub(crate) const MODEL_CONTROL: &[&str] = &["model", "check", "pair"];
/// The same of the simulation. A seed that a mutant breaks must hold without it besides.
pub(crate) const SIMULATION_CONTROL: &[&str] = &["sim", "--seeds", "20", "--probe"];

/// The golden scripts of the core.
pub(crate) const SCRIPTS: &[&str] = &["model", "scripts"];
/// The golden scripts of log and snapshots.
pub(crate) const STORAGE: &[&str] = &["sim", "storage-scripts"];
/// The whole cluster is simulated, until a seed breaks. The rarest slip needs one of some hundred, and which one moves with
/// every change of what a seed draws.
pub(crate) const SIMULATION: &[&str] = &["sim", "--seeds", "3000", "--probe"];
/// Apart from CI it is also asked which slips of core and storage a few seeds catch.
pub(crate) const SHORT_SIMULATION: &[&str] = &["sim", "--seeds", "40", "--probe"];

/// All mutants. A probe chooses one by its place, counted from 1.
pub static MUTANTS: LazyLock<Vec<Mutant>> = LazyLock::new(|| {
    [raft::MUTANTS, pre_vote::MUTANTS, lease::MUTANTS, sessions::MUTANTS, storage::MUTANTS, cluster::MUTANTS]
        .concat()
});
