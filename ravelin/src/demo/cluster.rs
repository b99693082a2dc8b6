//! The processes of the demo's cluster and what an operator does to them: start, configure, ask. It
//! must talk to the nodes only as a person could: by signals, files and the operator's identity.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::ChildStdin;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::process::Process;
use ravelin_cluster::request::status::{EventRecord, NodeStatus};

use crate::operator::Operator;
use crate::relay::Weather;

const CONTROLLERS: usize = 3;
const PROXIES: usize = 2;
const BACKENDS: usize = 2;
/// Deadline of one step of the start; a hundred times what it usually takes.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// Where free ports are looked for, and how often.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
const PORT_TRIES_MAX: usize = 1000;

/// What to run.
pub(crate) struct Plan {
    /// Folder of everything the demo writes.
    pub(crate) directory: PathBuf,
    /// The file to route, or the built-in example.
    pub(crate) config: Option<PathBuf>,
    /// A relay process stands between the control nodes, with this seed.
    pub(crate) relayed: Option<u64>,
}

/// The demo's cluster.
pub(crate) struct Cluster {
    /// Control nodes 1, 2, 3, and those that were added.
    pub(crate) controllers: Vec<Process>,
    /// Those among them that were removed, by place.
    pub(crate) removed: BTreeSet<usize>,
    /// Proxies 1 and 2.
    pub(crate) proxies: Vec<Process>,
    /// Where each proxy's entry point `web` listens.
    pub(crate) proxy_addresses: Vec<String>,
    /// The file that the controller role's file provider reads.
    pub(crate) dynamic_file: PathBuf,
    /// Whether the file is the demo's own, so that the checks may change it.
    pub(crate) own_file: bool,
    /// The operator's way in.
    pub(crate) operator: Operator,
    /// The value of the generation field that was applied last.
    pub(crate) generation: u64,
    backends: Vec<Process>,
    relay: Option<Relay>,
    directory: PathBuf,
}

/// The relay process, and the way to tell it what it shall do.
struct Relay {
    process: Process,
    input: Option<ChildStdin>,
}

impl Cluster {
    /// Lays out folders, ports and command lines; starts nothing but `ravelin init` and the backends.
    pub(crate) fn prepare(plan: Plan) -> anyhow::Result<Self> {
        let directory = plan.directory;
        let identities = directory.join("identities");
        let mut nodes = Vec::new();
        // Where the nodes are dialled, and where they listen: two places with a relay between them.
        let dialled = free_addresses(CONTROLLERS)?;
        let listened = match plan.relayed {
            Some(_) => free_addresses(CONTROLLERS)?,
            None => dialled.clone(),
        };
        for (node, address) in (1..).zip(&dialled) {
            nodes.push(format!("controller-{node}={address}"));
        }
        nodes.extend((1..=PROXIES).map(|node| format!("proxy-{node}")));
        let out = identities.display().to_string();
        let mut init =
            Process::new("init", words(&["init", "--nodes", &nodes.join(","), "--out", &out]), &directory)?;
        println!("$ {}", init.command_line());
        init.start()?;
        init_ended(&mut init)?;

        let mut controllers = Vec::new();
        for (node, listen) in (1..).zip(&listened) {
            let listen = plan.relayed.map(|_| listen.as_str());
            controllers.push(controller(&directory, node, listen)?);
        }
        let relay = plan.relayed.map(|seed| relay(&directory, seed, &dialled, &listened)).transpose()?;
        let mut proxies = Vec::new();
        let mut proxy_addresses = Vec::new();
        for node in 1..=PROXIES {
            let name = format!("proxy-{node}");
            let folder = directory.join(&name);
            let address = free_addresses(1)?.concat();
            let identity = identities.join(format!("{name}.toml")).display().to_string();
            let data = folder.join("data").display().to_string();
            let place = format!("web={address}");
            let arguments =
                words(&["proxy", "--identity", &identity, "--data", &data, "--entry-point", &place]);
            proxies.push(Process::new(&name, arguments, &folder)?);
            proxy_addresses.push(address);
        }
        let (backends, text) = backends(&directory)?;
        let own_file = plan.config.is_none();
        let dynamic_file = plan.config.unwrap_or_else(|| directory.join("dynamic.yaml"));
        if own_file {
            super::write(&dynamic_file, &text)?;
        }
        let operator = Operator::open(&identities.join("operator.toml"), Duration::from_secs(10))?;
        let generation = 1;
        Ok(Self {
            controllers,
            removed: BTreeSet::new(),
            proxies,
            proxy_addresses,
            dynamic_file,
            own_file,
            operator,
            generation,
            backends,
            relay,
            directory,
        })
    }

    /// Starts every process and returns once both proxies answer a routed request.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        if let Some(Relay { process, input }) = &mut self.relay {
            println!("$ {}", process.command_line());
            *input = process.start_piped()?.stdin.take();
        }
        for process in self.controllers.iter_mut().chain(&mut self.proxies) {
            println!("$ {}", process.command_line());
            process.start()?;
        }
        let begun = Instant::now();
        let leader = self.leader(START_TIME_MAX).await?;
        println!("controller-{} leads after {} ms", leader + 1, begun.elapsed().as_millis());
        let file = self.directory.join("cluster.yaml");
        super::write(&file, &self.cluster_document())?;
        println!("$ ravelin apply --identity {} {}", self.identity_path().display(), file.display());
        self.operator.apply(&self.cluster_document()).await.context("the demo's own configuration")?;
        println!("the file provider reads {}", self.dynamic_file.display());
        self.until(START_TIME_MAX, "both proxies route requests", async |cluster: &mut Self| {
            cluster.routed().await
        })
        .await
    }

    /// The operator's identity file.
    pub(crate) fn identity_path(&self) -> PathBuf {
        self.directory.join("identities/operator.toml")
    }

    /// The folder of everything.
    pub(crate) fn directory(&self) -> &PathBuf {
        &self.directory
    }

    /// The demo's static configuration and its generation field, in Traefik's format.
    fn cluster_document(&self) -> String {
        format!(
            "entryPoints:\n  web:\n    address: 127.0.0.1:8000\n    http:\n      middlewares: [generation@cluster]\n\
             providers:\n  file:\n    filename: {}\n    watch: true\n\
             accessLog:\n  filePath: access.log\n  format: json\n  fields:\n    headers:\n      names:\n        X-Ravelin-Generation: keep\n\
             {}",
            self.dynamic_file.display(),
            generation_document(self.generation)
        )
    }

    /// Applies the next value of the generation field.
    pub(crate) async fn apply_next(&mut self) -> anyhow::Result<u64> {
        let (text, generation) = self.next_document();
        self.operator.apply(&text).await?;
        self.generation = generation;
        Ok(generation)
    }

    /// What raises the generation field by one, and the number that it will show.
    pub(crate) fn next_document(&self) -> (String, u64) {
        (generation_document(self.generation + 1), self.generation + 1)
    }

    /// Whether both proxies answer a request with the generation field.
    async fn routed(&self) -> bool {
        for address in &self.proxy_addresses {
            let client = crate::load::Client::new(address);
            let crate::load::Attempt::Answered(answer) = client.request("whoami.localhost", "/").await else {
                return false;
            };
            // A file of one's own may route nothing at `/`: any routed generation will do there.
            let routed = !self.own_file && answer.status == 404;
            let answered = answer.status == 200 && answer.headers.contains_key("x-ravelin-generation");
            if !(routed || answered) {
                return false;
            }
        }
        true
    }

    /// The index of the controller that leads, once exactly one claims it in the newest term.
    pub(crate) async fn leader(&mut self, limit: Duration) -> anyhow::Result<usize> {
        let mut found = None;
        self.until(limit, "a leader is known", async |cluster: &mut Self| {
            found = cluster.leader_now().await;
            found.is_some()
        })
        .await?;
        found.context("a leader")
    }

    async fn leader_now(&self) -> Option<usize> {
        let mut newest: Option<(u64, usize)> = None;
        for index in self.present() {
            let Some(status) = self.status(index).await else { continue };
            if status.role == "leader" && newest.is_none_or(|(term, _)| status.term > term) {
                newest = Some((status.term, index));
            }
        }
        newest.map(|(_, index)| index)
    }

    /// What a controller says of itself, or nothing if it does not answer at once.
    pub(crate) async fn status(&self, index: usize) -> Option<NodeStatus> {
        let node = index as u64 + 1;
        let asked = self.operator.status(node);
        tokio::time::timeout(Duration::from_millis(500), asked).await.ok()?.ok()
    }

    /// The node index and epoch of the controller role, as the newest of the answering nodes says.
    pub(crate) async fn controller_role(&self) -> Option<(usize, u64)> {
        let mut newest: Option<(u64, usize)> = None;
        for index in self.present() {
            let Some(status) = self.status(index).await else { continue };
            let Some(node) = status.controller_node else { continue };
            if newest.is_none_or(|(known, _)| status.controller_epoch > known) {
                newest = Some((status.controller_epoch, node as usize - 1));
            }
        }
        newest.map(|(epoch, index)| (index, epoch))
    }

    /// All events that the answering controllers know, oldest first.
    pub(crate) async fn events(&self) -> Vec<EventRecord> {
        let mut all = Vec::new();
        for index in self.present() {
            let asked = self.operator.events(index as u64 + 1);
            if let Ok(Ok(events)) = tokio::time::timeout(Duration::from_millis(500), asked).await {
                all.extend(events);
            }
        }
        all.sort_by_key(|event| event.at_micros);
        all
    }

    /// Waits until `holds`, asking every 20 ms; an error with `what` after `limit`, or when a process
    /// that should run has ended by itself.
    pub(crate) async fn until(
        &mut self,
        limit: Duration,
        what: &str,
        mut holds: impl AsyncFnMut(&mut Self) -> bool,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !holds(self).await {
            self.check_alive()?;
            if begun.elapsed() > limit {
                bail!("not within {limit:?}: {what}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // other processes can only be asked again
        }
        Ok(())
    }

    /// The places of the control nodes that were not removed.
    pub(crate) fn present(&self) -> impl Iterator<Item = usize> {
        let removed = self.removed.clone();
        (0..self.controllers.len()).filter(move |place| !removed.contains(place))
    }

    /// Fails where a process that should run has ended by itself. One that was removed may.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        self.wanted().try_for_each(Process::check_alive)
    }

    /// The processes that should run.
    fn wanted(&mut self) -> impl Iterator<Item = &mut Process> {
        let controllers = (0..).zip(&mut self.controllers);
        let removed = &self.removed;
        let present = controllers.filter(|(place, _)| !removed.contains(place)).map(|(_, process)| process);
        self.backends.iter_mut().chain(present).chain(&mut self.proxies)
    }

    /// What has ended since this was asked last, though it should run: a person may have killed it. One line each.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Vec<String>> {
        let mut lines = Vec::new();
        for process in self.wanted() {
            if let Some(status) = process.ended()? {
                let name = process.name();
                lines.push(format!("{name} has ended ({status}); to start it again, type:  start {name}"));
            }
        }
        Ok(lines)
    }

    /// Starts a process again that has ended.
    pub(crate) fn start_again(&mut self, name: &str) -> anyhow::Result<()> {
        let process = self.wanted().find(|process| process.name() == name);
        let process = process.with_context(|| format!("there is no {name}"))?;
        if process.pid().is_some() {
            bail!("{name} runs");
        }
        process.start()
    }

    /// Makes an identity for one more control node, starts it and makes it a member; its place.
    pub(crate) async fn add_controller(&mut self) -> anyhow::Result<usize> {
        let node = self.controllers.len() as u64 + 1;
        let new = format!("controller-{node}={}", free_addresses(1)?.concat());
        let out = self.directory.join("identities").display().to_string();
        let words = words(&["init", "--add", &new, "--out", &out]);
        let mut init =
            Process::new(&format!("init-{node}"), words, &self.directory.join(format!("init-{node}")))?;
        println!("$ {}", init.command_line());
        init.start()?;
        init_ended(&mut init)?;
        let mut process = controller(&self.directory, node, None)?;
        println!("$ {}", process.command_line());
        process.start()?;
        self.controllers.push(process);
        let identity = self.directory.join(format!("identities/controller-{node}.toml"));
        println!("$ ravelin node add --identity {} {}", self.identity_path().display(), identity.display());
        self.operator.add_node(&identity, true).await?;
        Ok(self.controllers.len() - 1)
    }

    /// Removes a control node; its process is told and ends by itself.
    pub(crate) async fn remove_controller(&mut self, place: usize, limit: Duration) -> anyhow::Result<()> {
        let node = place as u64 + 1;
        println!("$ ravelin node remove --identity {} {node}", self.identity_path().display());
        self.operator.remove_node(node, false).await?;
        self.removed.insert(place);
        let process = self.controllers.get_mut(place).context("a node of the demo")?;
        process.wait(limit).context("the removed node does not end")
    }

    /// Tells the relay what lies between the control nodes from now on.
    pub(crate) fn weather(&mut self, weather: &Weather) -> anyhow::Result<()> {
        let input = self.relay.as_mut().and_then(|relay| relay.input.as_mut()).context("no relay runs")?;
        let line = serde_json::to_string(weather).context("plain numbers")?;
        writeln!(input, "{line}").context("the relay has ended")
    }

    /// Ends every process as a person would: SIGTERM, proxies first.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        for process in self.proxies.iter_mut().chain(&mut self.controllers) {
            process.terminate(Duration::from_secs(20))?;
        }
        for process in &mut self.backends {
            process.kill()?;
        }
        if let Some(relay) = &mut self.relay {
            relay.process.kill()?;
        }
        Ok(())
    }
}

/// The object whose header field counts the demo's own changes.
pub(crate) fn generation_document(generation: u64) -> String {
    format!(
        "http:\n  middlewares:\n    generation:\n      headers:\n        customResponseHeaders:\n          X-Ravelin-Generation: \"{generation}\"\n"
    )
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

/// The two backends, running, and the example with their addresses if its own ports are taken.
fn backends(directory: &std::path::Path) -> anyhow::Result<(Vec<Process>, String)> {
    let mut text = super::EXAMPLE.to_owned();
    let mut processes = Vec::new();
    for number in 1..=BACKENDS {
        let wanted = format!("127.0.0.1:{}", 18080 + number);
        // Another demo may take it a moment later: what counts is that the backend listens there.
        let usual = TcpListener::bind(&wanted).ok().map(drop).map(|()| backend(directory, number, &wanted));
        processes.push(match usual {
            Some(Ok(process)) => process,
            _ => {
                let free = free_addresses(1)?.concat();
                println!("{wanted} is taken; backend {number} listens on {free}");
                text = text.replace(&wanted, &free);
                backend(directory, number, &free)?
            }
        });
    }
    Ok((processes, text))
}

/// A backend that listens.
fn backend(directory: &std::path::Path, number: usize, address: &str) -> anyhow::Result<Process> {
    let name = format!("whoami-{number}");
    let arguments = words(&["whoami", "--listen", address, "--name", &name]);
    let mut process = Process::new(&name, arguments, &directory.join(&name))?;
    println!("$ {}", process.command_line());
    process.start()?;
    let begun = Instant::now();
    while !std::fs::read_to_string(process.log()).unwrap_or_default().contains("listens on") {
        process.check_alive()?;
        if begun.elapsed() > START_TIME_MAX {
            bail!("{name} does not listen on {address}");
        }
        std::thread::sleep(Duration::from_millis(2)); // another process's log can only be read again
    }
    Ok(process)
}

/// Addresses where nobody listens, for TCP and UDP, no two the same. Their ports are below those that the system gives to whoever asks
/// for any, so that nobody takes one while a node is away.
fn free_addresses(count: usize) -> anyhow::Result<Vec<String>> {
    let mut held = Vec::new();
    for _ in 0..PORT_TRIES_MAX {
        if held.len() == count {
            break;
        }
        let address = format!("127.0.0.1:{}", rand::random_range(PORTS));
        if let (Ok(tcp), Ok(udp)) = (TcpListener::bind(&address), UdpSocket::bind(&address)) {
            held.push((address, tcp, udp));
        }
    }
    if held.len() < count {
        bail!("no free ports among {PORTS:?}");
    }
    Ok(held.into_iter().map(|(address, ..)| address).collect())
}

/// A control node that is not running yet; it listens where its identity says, or elsewhere.
fn controller(directory: &std::path::Path, node: u64, listen: Option<&str>) -> anyhow::Result<Process> {
    let name = format!("controller-{node}");
    let folder = directory.join(&name);
    let identity = directory.join(format!("identities/{name}.toml")).display().to_string();
    let data = folder.join("data").display().to_string();
    let mut arguments = words(&["controller", "--identity", &identity, "--data", &data]);
    arguments.extend(listen.into_iter().flat_map(|listen| words(&["--listen", listen])));
    Process::new(&name, arguments, &folder)
}

fn relay(
    directory: &std::path::Path,
    seed: u64,
    dialled: &[String],
    listened: &[String],
) -> anyhow::Result<Relay> {
    let mut arguments = words(&["relay", "--seed", &seed.to_string()]);
    for (front, node) in dialled.iter().zip(listened) {
        arguments.extend(words(&["--node", &format!("{front}={node}")]));
    }
    Ok(Relay { process: Process::new("relay", arguments, &directory.join("relay"))?, input: None })
}

/// Waits for `ravelin init`, which must succeed.
fn init_ended(init: &mut Process) -> anyhow::Result<()> {
    let status = init.join()?;
    if !status.success() {
        let text = std::fs::read_to_string(init.log()).unwrap_or_default();
        bail!("ravelin init ended with {status}:\n{text}");
    }
    Ok(())
}
