//! The numbers of a run, all of them, each with a calm value: what a seed draws, what a script states, and what shrinking
//! turns off. It must hold nothing that is not a number, so that a script can state every run.

use std::time::Duration;

use ravelin_transport::memory::Faults;

macro_rules! knobs {
    ($($(#[doc = $doc:literal])* $name:ident = $calm:expr;)*) => {
        /// The numbers of one run.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(super) struct Plan {
            $($(#[doc = $doc])* pub(super) $name: u64,)*
        }

        impl Plan {
            /// A run in which nothing goes wrong.
            pub(super) const fn calm() -> Self {
                Self { $($name: $calm,)* }
            }

            /// Every number under its name.
            pub(super) fn numbers(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            /// The number of this name.
            pub(super) fn number(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

knobs! {
    /// What every chance in the run follows from.
    seed = 0;
    /// Control nodes, all of them voters at first.
    nodes = 3;
    /// Control nodes that nobody has asked to be members yet.
    spares = 0;
    /// Shortest way of a frame of lane Raft.
    delay_min_micros = 100;
    /// Longest way of one that takes no detour.
    delay_max_micros = 1_000;
    /// How often one is lost, while faults last.
    loss_per_million = 0;
    /// How often one arrives twice.
    duplicate_per_million = 0;
    /// How often one takes a detour and is overtaken.
    reorder_per_million = 0;
    /// Longest detour.
    detour_max_micros = 1_000;
    /// Longest time that a sync of the log takes.
    sync_max_micros = 500;
    /// How many lanes in a hundred are silent for a while before a cut breaks them.
    silent_percent = 0;
    /// How far the clocks of nodes are apart at most.
    skew_max_micros = 0;
    /// Mean time between requests of clients.
    ask_micros = 100_000;
    /// How many requests in a hundred are reads.
    read_percent = 0;
    /// How many requests in a hundred go to the few keys that everybody writes.
    shared_percent = 0;
    /// How many changes in a hundred are larger than one entry of the log.
    large_percent = 0;
    /// Mean time between changes of the file that the provider reads.
    file_micros = 1_000_000;
    /// Bytes of log in memory that force a snapshot at half.
    log_bytes_max = 8 << 20;
    /// Space reserved for each segment of a log.
    segment_bytes = 64 << 10;
    /// From so many bytes on a change is applied beside the node.
    heavy_bytes = 1 << 20;
    /// How long a leader may answer reads alone after it sent what a quorum has answered. 0: never.
    lease_micros = 0;
    /// Shortest time without a leader after which a node campaigns. The longest is twice as long, and a leader is heard at
    /// least twice within the shortest.
    election_micros = 500_000;
    /// How long a leader that hears no quorum goes on, at least; at most twice as long.
    check_quorum_micros = 1_000_000;
    /// 0: nothing. Else all nodes but one are lost for good at the end, and that one is recovered: on the first try it
    /// loses power after so many changing calls to its disk.
    recover_calls = 0;
    /// Virtual time with faults.
    faults_micros = 8_000_000;
}

impl Plan {
    /// Lane Raft while faults last.
    pub(super) fn network(&self) -> Faults {
        let rate = |per_million: u64| u32::try_from(per_million).unwrap_or(u32::MAX);
        Faults {
            delay_min: Duration::from_micros(self.delay_min_micros),
            delay_max: Duration::from_micros(self.delay_max_micros),
            loss_per_million: rate(self.loss_per_million),
            duplicate_per_million: rate(self.duplicate_per_million),
            reorder_per_million: rate(self.reorder_per_million),
            detour_max: Duration::from_micros(self.detour_max_micros),
            ..Faults::default()
        }
    }
}
