//! Runs the configurations of the Raft model and prints what each found.
//!
//! `model check [NAME…] [key=value…]`: the configurations that every change must pass, or with other bounds. `model probe`:
//! the same breadth-first, until something breaks; `model harm`: the same, watching only what nodes have done to each other
//! and to clients; `model reach`: whether all rare things were seen. `model bounds key=value…`: bounds by hand, `threads=N` among them. `model deep SECONDS`: each with
//! a bound raised, for so long, and the page about it. `model explore NAME [ADDRESS]`:
//! stateright's explorer, in a browser. `model scripts`: the committed golden scripts. `model script FILE [--step]`: one,
//! whatever breaks, with `--step` stanza by stanza, each at a line of input.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ravelin_model_check::golden::Language;
use ravelin_model_check::raft::{self, Bounds, Order, Report, Watch, deep, step};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) =
        arguments.split_first().map_or(("check", &[][..]), |(first, rest)| (first.as_str(), rest));
    let outcome = match command {
        "check" => named(rest, Order::DepthFirst, Watch::Everything),
        "probe" => named(rest, Order::BreadthFirst, Watch::Everything),
        "reach" => reach(rest),
        "harm" => named(rest, Order::BreadthFirst, Watch::Harm),
        "bounds" => by_hand(rest),
        "deep" => deep(rest),
        "explore" => explore(rest),
        "scripts" => Language::Core.tell(),
        "script" => script(rest),
        other => Err(format!(
            "unknown command {other}: check, probe, harm, reach, bounds, deep, explore, scripts or script"
        )),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn configuration(name: &str) -> Result<Bounds, String> {
    Bounds::named(name).ok_or_else(|| {
        let names: Vec<&str> = raft::CONFIGURATIONS.iter().map(|bounds| bounds.name).collect();
        format!("there is no configuration {name}, only {}", names.join(", "))
    })
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn print(report: &Report) -> bool {
    println!("{report}");
    report.holds()
}

/// The configurations that are named, or all; with `key=value` among the words they have other bounds, of which it is not
/// known what must be found.
fn chosen(words: &[String]) -> Result<Vec<Bounds>, String> {
    let (settings, names): (Vec<&String>, Vec<&String>) = words.iter().partition(|word| word.contains('='));
    let mut chosen = match names.as_slice() {
        [] => raft::CONFIGURATIONS.to_vec(),
        names => names.iter().map(|name| configuration(name)).collect::<Result<_, _>>()?,
    };
    for bounds in chosen.iter_mut().filter(|_| !settings.is_empty()) {
        settings.iter().try_for_each(|setting| bounds.set(setting))?;
        (bounds.states, bounds.witnesses) = (None, &[]);
    }
    Ok(chosen)
}

fn named(words: &[String], order: Order, watch: Watch) -> Result<bool, String> {
    let chosen = chosen(words)?;
    let mut holds = true;
    let (count, mut states, mut exhaustive) = (chosen.len(), 0, true);
    raft::check_all(&chosen, order, watch, threads(), |report| {
        let complete = print(report);
        states += report.states;
        exhaustive &= report.exhaustive;
        // A probe asks only whether something breaks: a slip may well change the size of the search.
        holds &= if order == Order::DepthFirst { complete } else { report.is_unbroken() };
    });
    let how = match (holds, exhaustive) {
        (false, _) => "broken",
        (true, true) => "exhaustive",
        (true, false) => "not exhaustive",
    };
    println!("model: {count} configurations, {states} unique states, {how}");
    Ok(holds)
}

/// Complete searches that ask only whether everything that should be possible was seen.
fn reach(words: &[String]) -> Result<bool, String> {
    let (mut whole, mut states) = (true, 0);
    // Of other bounds it is asked as well what they cannot show.
    let mut chosen = chosen(words)?;
    for bounds in &mut chosen {
        bounds.witnesses = Bounds::named(bounds.name).map_or(&[], |named| named.witnesses);
    }
    let count = chosen.len();
    for bounds in chosen {
        let report = raft::check(bounds, Order::DepthFirst, Watch::Harm, threads());
        println!("{report}");
        for unseen in &report.unseen {
            println!("BROKEN: never seen: {unseen}");
        }
        whole &= report.is_unbroken() && report.unseen.is_empty();
        states += report.states;
    }
    println!("model: {count} configurations, {states} unique states");
    Ok(whole)
}

fn by_hand(settings: &[String]) -> Result<bool, String> {
    let mut bounds = Bounds::default();
    let mut threads = 1;
    for setting in settings {
        match setting.strip_prefix("threads=") {
            Some(count) => threads = count.parse().map_err(|_| "threads must be a number".to_owned())?,
            None => bounds.set(setting)?,
        }
    }
    Ok(print(&raft::check(bounds, Order::DepthFirst, Watch::Everything, threads)))
}

/// Searches with raised bounds until the time is used, and writes what was found into the page.
fn deep(words: &[String]) -> Result<bool, String> {
    let seconds = words.first().and_then(|word| word.parse().ok()).ok_or("how many seconds?")?;
    let threads = threads();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("this crate has no workspace")?;
    let path = deep::path(root);
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let (mut found, machine) = deep::found(&old);
    let (mut count, mut states, mut complete) = (0, 0, true);
    let (holds, last) =
        deep::run(deep::resume(&machine), Duration::from_secs(seconds), threads, |name, report| {
            println!("{name}: {report}");
            found.insert(name.to_owned(), deep::cells(report));
            count += 1;
            states += report.states;
            complete &= report.exhaustive;
        })?;
    let written =
        std::fs::write(&path, deep::page(&found, &deep::machine(threads, &last), &step::shown(&old)));
    written.map_err(|error| format!("{}: {error}", path.display()))?;
    let how = match (holds, complete) {
        (false, _) => "broken",
        (true, true) => "exhaustive",
        (true, false) => "out of time, the next run goes on with the next",
    };
    println!("model: {count} configurations, {states} unique states, {how}");
    Ok(holds)
}

/// Serves the explorer until the process is ended.
fn explore(words: &[String]) -> Result<bool, String> {
    let [name, rest @ ..] = words else { return Err("explore which configuration?".to_owned()) };
    let bounds = configuration(name)?;
    let address = rest.first().map_or("127.0.0.1:3000", String::as_str);
    let address: SocketAddr = address.parse().map_err(|_| format!("{address} is no address"))?;
    // The explorer does not say which port it got, so a free one is found before.
    let free = TcpListener::bind(address).and_then(|listener| listener.local_addr());
    let address = free.map_err(|error| format!("{address}: {error}"))?;
    println!("{bounds}\nhttp://{address}/ shows its states until this is ended");
    raft::explore(bounds, address);
    Ok(true)
}

/// One golden script of the core.
fn script(words: &[String]) -> Result<bool, String> {
    let [file, rest @ ..] = words else { return Err("which script?".to_owned()) };
    Language::Core.show(Path::new(file), rest.iter().any(|word| word == "--step"))
}
