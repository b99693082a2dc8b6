//! The ravelin binary: reads the command line and hands over to one file per command. Whatever is not
//! one of its own commands is taken as a `traefik` command line, so that the binary can stand in for it.

mod cli;
mod controller;
mod demo;
mod exit;
mod explain;
mod health;
mod healthcheck;
mod init;
mod load;
mod logging;
mod operator;
mod proxy;
mod recover;
mod relay;
mod replay;
mod standalone;
mod validate;
mod whoami;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use cli::{Arguments, Command};

/// A large configuration passes through many threads; the system's allocator keeps what each of them once held, and is slower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words: Result<Vec<String>, OsString> =
        std::env::args_os().skip(1).map(OsString::into_string).collect();
    let words = match words {
        Ok(words) => words,
        Err(word) => return exit::code(Err(anyhow::anyhow!("{word:?} on the command line is no UTF-8"))),
    };
    if let Some(traefik) = cli::traefik_words(&words) {
        return exit::code(standalone::run(&traefik));
    }
    exit::code(run(Arguments::parse().command))
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Standalone { .. } => standalone::run(&[]),
        Command::Demo(options) => demo::run(options),
        Command::Init(options) => init::run(&options),
        Command::Recover(options) => recover::run(&options),
        Command::Controller(options) => controller::run(options),
        Command::Proxy(options) => proxy::run(options),
        Command::Validate { file } => validate::run(&file),
        Command::Explain(options) => explain::run(&options),
        Command::Replay { file } => replay::run(&file),
        Command::Apply(options) => operator::apply(&options),
        Command::Delete(options) => operator::delete(&options),
        Command::Get(options) => operator::get(&options),
        Command::Status(options) => operator::status(&options),
        Command::Events(options) => operator::events(&options),
        Command::Node(command) => operator::node(&command),
        Command::Leader(command) => operator::leader(&command),
        Command::Whoami { listen, name } => exit::runtime()?.block_on(whoami::serve(listen, &name)),
        Command::Relay(options) => exit::runtime()?.block_on(relay::run(options)),
        Command::Load(options) => exit::runtime()?.block_on(load::run(options)),
    }
}
