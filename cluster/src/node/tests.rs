//! Three nodes driven without threads or network: election, change, roles, fencing, feed, restart.

mod applying;
mod boot;
mod changes;
mod chaos;
mod frames;
mod harness;
mod members;
mod providers;
mod roles;
mod secrets;
mod snapshots;
