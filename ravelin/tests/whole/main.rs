//! Whole behaviour, by driving the real binary as a person would. One test binary; a module per subject.

mod bad_input;
mod cli;
#[cfg(feature = "clients")]
mod clients;
mod damage;
mod demo;
mod driver;
mod explain;
mod followers;
mod guides;
mod health;
mod internal;
mod load;
mod members;
mod metrics;
mod names;
mod nodes;
mod recover;
mod replay;
mod secrets;
mod standalone;
mod static_config;
