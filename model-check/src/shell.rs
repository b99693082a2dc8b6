//! loom over what the control plane's threads share, among themselves and with a proxy of the same process: the shipped files
//! themselves, which bring their checks and their negative controls. Run as those of [the live cell](super::live).

// The checks use a part; the rest has no caller here.
#[allow(dead_code)]
#[path = "../../cluster/src/shell/group.rs"]
mod group;
#[allow(dead_code)]
#[path = "../../cluster/src/shell/raft_lanes.rs"]
mod raft_lanes;
#[allow(dead_code, unreachable_pub)]
#[path = "../../config/src/map/shared.rs"]
mod shared;
