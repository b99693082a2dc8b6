//! Slips of reads under a lease.

use super::{SCRIPTS, SIMULATION};
use crate::mutant::Mutant;

const LEASE: &[&str] = &["model", "harm", "lease"];
const LEASE_TRANSFER: &[&str] = &["model", "harm", "lease-transfer"];

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        id: "lease-over-transfer",
        stands_for: "I33, B12, B21",
        slip: "keeps the lease after it has told another to take over",
        file: "consensus/src/role/transfer.rs",
        original: "leader.lease.given_up = «self.params.lease.is_some()»;",
        wrong: "false",
        probe: LEASE_TRANSFER,
    },
    Mutant {
        id: "commits-beside-a-lease",
        stands_for: "I33, B12",
        slip: "commits as soon as it is elected, while its predecessor still answers alone",
        file: "consensus/src/role/lease.rs",
        original: "«now < leader.lease.others»",
        wrong: "false",
        probe: LEASE,
    },
    Mutant {
        id: "lease-kept-too-long",
        stands_for: "I33, B12: a lease is counted from the sending",
        slip: "counts the lease from when the answers came",
        file: "consensus/src/role/lease.rs",
        original: "«sent.after(span)», None",
        wrong: "now.after(span)",
        probe: SCRIPTS,
    },
    // In the model time passes for all alike: only where clocks run apart can be seen that it was not allowed for.
    Mutant {
        id: "clocks-taken-for-equal",
        stands_for: "I33, B12: the stated bound of clocks",
        slip: "waits for older leases as long as they last by its own clock, though theirs may be slower",
        file: "consensus/src/role/lease.rs",
        original: "let wait = «span + span / 8»;",
        wrong: "span",
        probe: SIMULATION,
    },
];
