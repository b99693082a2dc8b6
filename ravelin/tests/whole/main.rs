//! Whole behaviour, by driving the real binary as a person would. One test binary; a module per subject.

mod bad_input;
mod cli;
mod damage;
mod demo;
mod driver;
mod followers;
mod guides;
mod load;
mod members;
mod names;
mod nodes;
mod recover;
mod replay;
mod secrets;
mod standalone;
