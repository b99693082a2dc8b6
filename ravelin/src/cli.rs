//! The command line: one declaration of every command and flag. It must not do what a command does.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ravelin_cluster::request::RequestName;

/// A clustered ingress that reads Traefik's configuration.
///
/// Without a command, flags are read as Traefik's: `ravelin --configFile=traefik.yml`.
#[derive(Parser)]
#[command(name = "ravelin", version, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Every command.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// One process that does what a single Traefik does; takes Traefik's own flags, file or environment.
    #[command(
        after_help = "Ravelin's own flags among them: --workers=N (threads, one per core if absent) and --log-json \
                            (log lines as JSON).\nSIGHUP reads the files anew, SIGUSR1 reopens the access log and the log's file."
    )]
    Standalone {
        /// Traefik's flags, for example --configFile=traefik.yml.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<String>,
    },
    /// A whole cluster on this machine: three controllers, two proxies, two backends.
    Demo(DemoOptions),
    /// Makes the identities of a new cluster (its CA, one file per node and one for the operator), or of further nodes.
    Init(InitOptions),
    /// Goes on from one stopped controller after the others are lost for good. Shows what is given up, and changes
    /// nothing until the cluster is named.
    Recover(RecoverOptions),
    /// A node of the control plane.
    Controller(ControllerOptions),
    /// A node of the data plane.
    Proxy(ProxyOptions),
    /// Checks a configuration file and tells option by option what works as in Traefik.
    Validate {
        /// The file, static or dynamic or both in one, YAML or TOML.
        file: PathBuf,
    },
    /// Tells which router, middlewares, service and servers a request would take, and why other routers would not get it.
    Explain(ExplainOptions),
    /// Puts the objects of a file into the cluster's configuration, as `name@cluster`.
    Apply(ApplyOptions),
    /// Removes objects from the cluster's configuration.
    Delete(DeleteOptions),
    /// Shows objects of the cluster's configuration.
    Get(GetOptions),
    /// Shows roles, terms, and the generation that each proxy serves.
    Status(StatusOptions),
    /// Shows what happened in the cluster.
    Events(EventsOptions),
    /// Shows and changes who the control nodes are.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Hands leadership over.
    #[command(subcommand)]
    Leader(LeaderCommand),
    /// Gives a fresh consensus core what a controller's was given, as --trace-file recorded it, and compares every answer.
    Replay {
        /// The trace.
        file: PathBuf,
    },
    /// A small backend that answers with what it saw of the request.
    #[command(hide = true)]
    Whoami {
        /// Address to listen on.
        #[arg(long)]
        listen: SocketAddr,
        /// Name to answer with.
        #[arg(long, default_value = "whoami")]
        name: String,
    },
    /// Stands between control nodes and loses and delays packets as it is told on standard input.
    #[command(hide = true)]
    Relay(crate::relay::Options),
    /// Steady load that judges every answer; counts go to standard output.
    #[command(hide = true)]
    Load(crate::load::Options),
}

/// Flags of `ravelin demo`.
#[derive(Args)]
pub(crate) struct DemoOptions {
    /// Runs the checks under load, prints one line each, exits with 0 only if all hold.
    #[arg(long)]
    pub(crate) once: bool,
    /// Routes this file, in Traefik's dynamic format, instead of the built-in example.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Keeps everything in this folder instead of a temporary one.
    #[arg(long)]
    pub(crate) directory: Option<PathBuf>,
    /// Kills, freezes, cuts off and slows down control nodes under load, exits with 0 only if no request failed.
    #[arg(long, conflicts_with = "once")]
    pub(crate) chaos: bool,
    /// How long `--chaos` goes on, in seconds.
    #[arg(long, default_value_t = 60, requires = "chaos", value_parser = clap::value_parser!(u64).range(5..=86_400))]
    pub(crate) seconds: u64,
    /// What the faults of `--chaos` are drawn from: the same seed gives the same plan. Drawn itself if absent.
    #[arg(long, requires = "chaos")]
    pub(crate) seed: Option<u64>,
    /// Requests a second of the load in `--once` and `--chaos`.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
}

/// Flags of `ravelin explain`.
#[derive(Args)]
pub(crate) struct ExplainOptions {
    /// The request's URL, for example `https://shop.example/cart?item=1`.
    pub(crate) url: String,
    /// In place of the cluster, the static configuration of a lone process, as of `ravelin standalone`: what its providers hold now
    /// is read once.
    #[arg(long = "configFile", visible_alias = "config-file", conflicts_with_all = ["api", "node"])]
    pub(crate) config_file: Option<PathBuf>,
    /// Asks the API of a running process in place of the cluster, for example 127.0.0.1:8080 or 127.0.0.1:8080/base.
    #[arg(long, conflicts_with = "node")]
    pub(crate) api: Option<String>,
    /// The request's method.
    #[arg(long, default_value = "GET")]
    pub(crate) method: String,
    /// A field of the request, as `Name: value`. May be given several times.
    #[arg(long = "header")]
    pub(crate) headers: Vec<String>,
    /// The address that the request comes from.
    #[arg(long)]
    pub(crate) client: Option<String>,
    /// The entry point where it comes in; those at the URL's port if absent.
    #[arg(long)]
    pub(crate) entry_point: Option<String>,
    #[command(flatten)]
    pub(crate) operator: OperatorOptions,
}

/// Flags of `ravelin init`.
#[derive(Args)]
pub(crate) struct InitOptions {
    /// The nodes of a new cluster: `controller-1=10.0.0.1:7400` (an odd number of controllers, each with
    /// the address where the others reach it) and `proxy-1`, separated by commas.
    #[arg(long, value_delimiter = ',', required_unless_present = "add", conflicts_with = "add")]
    pub(crate) nodes: Vec<String>,
    /// Further nodes of a cluster that stands, written in the same way. A controller takes part only after
    /// `ravelin node add`.
    #[arg(long, value_delimiter = ',')]
    pub(crate) add: Vec<String>,
    /// With --add: the cluster's CA; `cluster-ca.pem` in the folder of --out if absent.
    #[arg(long, requires = "add")]
    pub(crate) ca: Option<PathBuf>,
    /// With --add: any identity of the cluster, which tells where it is; `operator.toml` in the folder of
    /// --out if absent.
    #[arg(long, requires = "add")]
    pub(crate) like: Option<PathBuf>,
    /// With --add: the recovery epoch of the cluster, as `ravelin node list` shows it where there was a recovery; that of
    /// --like if absent.
    #[arg(long, requires = "add")]
    pub(crate) epoch: Option<u32>,
    /// Folder for the identity files; made if it is missing.
    #[arg(long, default_value = ".")]
    pub(crate) out: PathBuf,
}

/// Flags of `ravelin recover`.
#[derive(Args)]
pub(crate) struct RecoverOptions {
    /// The identity file of the controller that survived. It is replaced by one of the new recovery epoch; the old one is
    /// kept beside it.
    #[arg(long)]
    pub(crate) identity: PathBuf,
    /// Folder of its log and snapshots. The node must be stopped.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// The id of the cluster, as shown: agrees to what is given up.
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// Agrees without naming the cluster.
    #[arg(long, conflicts_with = "cluster")]
    pub(crate) yes: bool,
}

/// Flags of `ravelin controller`.
#[derive(Args)]
pub(crate) struct ControllerOptions {
    /// This node's identity file, from `ravelin init`.
    #[arg(long)]
    pub(crate) identity: PathBuf,
    /// Folder of this node's log and snapshots; made if it is missing.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Address to listen on; the one in the identity file if absent.
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    /// Records what the consensus core is given and answers, for `ravelin replay`: at most 256 MiB, with the commands of
    /// the cluster's log in it. The trace of the run before is kept as NAME.1.
    #[arg(long)]
    pub(crate) trace_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

/// Flags of `ravelin proxy`.
#[derive(Args)]
pub(crate) struct ProxyOptions {
    /// This node's identity file, from `ravelin init`.
    #[arg(long)]
    pub(crate) identity: PathBuf,
    /// Folder of this proxy's last good generations; made if it is missing.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Worker threads; one per core if absent.
    #[arg(long)]
    pub(crate) workers: Option<NonZeroUsize>,
    /// Where an entry point listens in this process, for example web=127.0.0.1:8001, instead of the
    /// address in the cluster's configuration. May be given several times.
    #[arg(long = "entry-point", value_parser = entry_point)]
    pub(crate) entry_points: Vec<(String, String)>,
    /// Where `/live` and `/ready` are answered, for example 127.0.0.1:8081: the first while the process
    /// runs, the second while requests should be sent to it. Absent: nowhere.
    #[arg(long)]
    pub(crate) health_address: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

/// Flags of a process's own log.
#[derive(Args, Clone)]
pub(crate) struct LogOptions {
    /// Least severe level shown: error, warn, info, debug or trace.
    #[arg(long = "log-level", default_value = "info")]
    pub(crate) level: String,
    /// Writes the log as JSON, one object a line.
    #[arg(long = "log-json")]
    pub(crate) json: bool,
}

/// How the operator reaches the cluster.
#[derive(Args)]
pub(crate) struct OperatorOptions {
    /// The operator's identity file, from `ravelin init`.
    #[arg(long, default_value = "operator.toml", env = "RAVELIN_IDENTITY")]
    pub(crate) identity: PathBuf,
    /// Asks only this controller, by its number.
    #[arg(long)]
    pub(crate) node: Option<u64>,
    /// Seconds to wait for an answer.
    #[arg(long, default_value_t = 10)]
    pub(crate) timeout: u64,
    /// Prints JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `ravelin apply`.
#[derive(Args)]
pub(crate) struct ApplyOptions {
    /// The file, static or dynamic or both in one, YAML or TOML; `-` is standard input (YAML).
    pub(crate) file: PathBuf,
    /// Asks again for a change whose outcome was unknown, under the name that was shown then: it takes effect once at most, and
    /// the answer is that of the first time.
    #[arg(long, value_name = "NAME")]
    pub(crate) request: Option<RequestName>,
    #[command(flatten)]
    pub(crate) operator: OperatorOptions,
}

/// Flags of `ravelin delete`.
#[derive(Args)]
pub(crate) struct DeleteOptions {
    /// Keys, for example http/routers/web@cluster.
    #[arg(required = true)]
    pub(crate) keys: Vec<String>,
    /// Asks again for a change whose outcome was unknown, under the name that was shown then.
    #[arg(long, value_name = "NAME")]
    pub(crate) request: Option<RequestName>,
    #[command(flatten)]
    pub(crate) operator: OperatorOptions,
}

/// Flags of `ravelin get`.
#[derive(Args)]
pub(crate) struct GetOptions {
    /// Only keys that begin with this.
    #[arg(default_value = "")]
    pub(crate) prefix: String,
    /// Answers from the asked node's own state, which may be old.
    #[arg(long)]
    pub(crate) stale: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorOptions,
}

/// Flags of `ravelin status`.
#[derive(Args)]
pub(crate) struct StatusOptions {
    #[command(flatten)]
    pub(crate) operator: OperatorOptions,
}

/// Flags of `ravelin events`.
#[derive(Args)]
pub(crate) struct EventsOptions {
    #[command(flatten)]
    pub(crate) operator: OperatorOptions,
}

/// Commands of `ravelin node`.
#[derive(Subcommand)]
pub(crate) enum NodeCommand {
    /// Lists the control nodes: voters, spares, those that join or leave.
    List {
        #[command(flatten)]
        operator: OperatorOptions,
    },
    /// Makes a control node a member. It follows without a vote until it has caught up and another makes a pair
    /// with it, so that the number of voters stays odd; until then it is a hot spare.
    Add {
        /// The node's identity file, from `ravelin init --add`; only its public part is sent.
        identity_file: PathBuf,
        /// It stays a spare until `ravelin node promote`.
        #[arg(long)]
        spare: bool,
        #[command(flatten)]
        operator: OperatorOptions,
    },
    /// Removes a control node for good. A spare takes the place of a voter.
    Remove {
        /// Its number, for example 4 or controller-4.
        #[arg(value_name = "NODE", value_parser = controller)]
        controller: u64,
        /// Even if a single voter is left then, or the spare that shall take the place has not caught up.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        operator: OperatorOptions,
    },
    /// Lets a control node vote once it has caught up and another makes a pair with it.
    Promote {
        /// Its number, for example 4 or controller-4.
        #[arg(value_name = "NODE", value_parser = controller)]
        controller: u64,
        #[command(flatten)]
        operator: OperatorOptions,
    },
    /// Lets a control node follow without a vote. A spare takes its place.
    Demote {
        /// Its number, for example 4 or controller-4.
        #[arg(value_name = "NODE", value_parser = controller)]
        controller: u64,
        #[command(flatten)]
        operator: OperatorOptions,
    },
}

/// Commands of `ravelin leader`.
#[derive(Subcommand)]
pub(crate) enum LeaderCommand {
    /// Hands leadership to a voter that has caught up; a second later either it leads or the old leader goes on.
    Transfer {
        /// To whom, for example 2 or controller-2; any that has caught up if absent.
        #[arg(value_name = "NODE", value_parser = controller)]
        controller: Option<u64>,
        #[command(flatten)]
        operator: OperatorOptions,
    },
}

fn controller(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix("controller-").unwrap_or(text);
    number.parse().map_err(|_| "write the number of a controller, for example 4 or controller-4".to_owned())
}

fn entry_point(text: &str) -> Result<(String, String), String> {
    let (name, address) = text.split_once('=').ok_or("write NAME=ADDRESS, for example web=127.0.0.1:8001")?;
    Ok((name.to_owned(), address.to_owned()))
}

/// The flags of a Traefik command line, or `None` where the words are one of our own commands.
pub(crate) fn traefik_words(words: &[String]) -> Option<Vec<String>> {
    match words.first().map(String::as_str) {
        None => Some(Vec::new()),
        Some("standalone" | "traefik") if !words.iter().any(|word| word == "--help" || word == "-h") => {
            Some(words[1..].to_vec())
        }
        Some("version" | "healthcheck") => Some(words.to_vec()),
        Some("--help" | "-h" | "--version" | "-V") => None,
        Some(word) if word.starts_with('-') => Some(words.to_vec()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_declaration_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_traefik_command_line_is_told_from_our_own() {
        assert_eq!(traefik_words(&words("--configFile=a.yml")), Some(words("--configFile=a.yml")));
        assert_eq!(traefik_words(&words("standalone --ping")), Some(words("--ping")));
        assert_eq!(traefik_words(&[]), Some(Vec::new()));
        assert_eq!(traefik_words(&words("demo --once")), None);
        assert_eq!(traefik_words(&words("--version")), None);
    }
}
