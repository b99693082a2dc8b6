//! `ravelin relay`: a process between control nodes that loses and delays what they send each other, as it is told on
//! standard input. It must not look into packets; the nodes do not know of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};
use ravelin_transport::Lane;
use ravelin_transport::memory::{Faults, Network};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// Larger than any packet.
const PACKET_BYTES_MAX: usize = 65_535;
/// Packets that wait to be looked at; further ones are lost.
const WAITING_MAX: usize = 4096;
/// Ways that are kept: one for each address that ever sent something here. Further ones get none.
const WAYS_MAX: usize = 4096;

/// Flags of the command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// A place to listen on and the node behind it, for example 127.0.0.1:7401=127.0.0.1:7501; the first is node 1.
    #[arg(long = "node", required = true, value_parser = pair)]
    nodes: Vec<(SocketAddr, SocketAddr)>,
    /// Seed of the delays.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// What lies between the nodes from now on: one line of JSON on standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Weather {
    /// Nothing gets from the first node to the second.
    pub(crate) cut: Vec<(u64, u64)>,
    /// What goes from the first node to the second takes so many milliseconds, and up to half as many more.
    pub(crate) delayed: Vec<(u64, u64, u64)>,
}

fn pair(text: &str) -> Result<(SocketAddr, SocketAddr), String> {
    let (front, node) = text.split_once('=').ok_or("write LISTEN=NODE, two addresses")?;
    let address = |text: &str| text.parse().map_err(|error| format!("{text}: {error}"));
    Ok((address(front)?, address(node)?))
}

/// One packet on its way: which way, which direction, and its bytes.
struct Packet {
    way: usize,
    forth: bool,
    bytes: Bytes,
}

/// The way of one sender through one place.
struct Way {
    front: Arc<UdpSocket>,
    sender: SocketAddr,
    back: Arc<UdpSocket>,
    /// Numbers of sender and receiver; a sender that is no node has one of its own.
    ends: (u64, u64),
}

/// Relays until standard input closes.
///
/// # Errors
/// A place to listen on is taken.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let (packets, mut arrived) = mpsc::channel(WAITING_MAX);
    let (firsts, mut new) = mpsc::channel::<(usize, SocketAddr, Bytes)>(WAITING_MAX);
    let mut fronts = Vec::new();
    for (place, (front, _)) in options.nodes.iter().enumerate() {
        let socket =
            UdpSocket::bind(front).await.with_context(|| format!("{front} cannot be listened on"))?;
        let socket = Arc::new(socket);
        tokio::spawn(listen(place, Arc::clone(&socket), firsts.clone()));
        fronts.push(socket);
    }
    let mut relay = Relay {
        nodes: options.nodes,
        fronts,
        ways: Vec::new(),
        by_sender: BTreeMap::new(),
        packets,
        network: Network::new(options.seed, Faults::default()),
        begun: Instant::now(),
    };
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let next = relay.network.next_at().map(|at| relay.begun + at);
        tokio::select! {
            line = lines.next_line() => match line.context("standard input")? {
                Some(line) => relay.set(&serde_json::from_str(&line).context("what lies between the nodes")?),
                None => return Ok(()),
            },
            Some((place, sender, bytes)) = new.recv() => relay.forth(place, sender, bytes).await,
            Some(packet) = arrived.recv() => relay.send(&packet),
            () = until(next) => {}
        }
        relay.deliver();
    }
}

async fn listen(place: usize, front: Arc<UdpSocket>, packets: mpsc::Sender<(usize, SocketAddr, Bytes)>) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    while !packets.is_closed() {
        // Nobody behind an address at the moment is an error of the socket and no end of it.
        let Ok((length, sender)) = front.recv_from(&mut buffer).await else { continue };
        let bytes = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
        drop(packets.try_send((place, sender, bytes)));
    }
}

struct Relay {
    nodes: Vec<(SocketAddr, SocketAddr)>,
    fronts: Vec<Arc<UdpSocket>>,
    ways: Vec<Way>,
    by_sender: BTreeMap<(usize, SocketAddr), usize>,
    packets: mpsc::Sender<Packet>,
    network: Network,
    begun: Instant,
}

impl Relay {
    fn set(&mut self, weather: &Weather) {
        self.network.mend_all();
        let numbers = 1..=self.nodes.len() as u64;
        for (from, to) in numbers.clone().flat_map(|from| numbers.clone().map(move |to| (from, to))) {
            self.network.set_link_faults(from, to, None);
        }
        for &(from, to) in &weather.cut {
            self.network.cut_one_way(from, to);
        }
        for &(from, to, millis) in &weather.delayed {
            let delay_min = Duration::from_millis(millis);
            let faults = Faults { delay_min, delay_max: delay_min * 3 / 2, ..Faults::default() };
            self.network.set_link_faults(from, to, Some(faults));
        }
    }

    /// A packet came to a place from outside.
    async fn forth(&mut self, place: usize, sender: SocketAddr, bytes: Bytes) {
        let way = match self.by_sender.get(&(place, sender)) {
            Some(way) => *way,
            None => match self.begin(place, sender).await {
                Some(way) => way,
                None => return,
            },
        };
        self.send(&Packet { way, forth: true, bytes });
    }

    async fn begin(&mut self, place: usize, sender: SocketAddr) -> Option<usize> {
        let (front, (_, node)) = (self.fronts.get(place)?, self.nodes.get(place)?);
        if self.ways.len() >= WAYS_MAX {
            return None;
        }
        let back = UdpSocket::bind("127.0.0.1:0").await.ok()?;
        back.connect(node).await.ok()?;
        let (back, way) = (Arc::new(back), self.ways.len());
        let known = self.nodes.iter().position(|(_, address)| *address == sender);
        // Whoever is no node has a number that no fault names.
        let from = known.map_or(1_000_000 + way as u64, |known| known as u64 + 1);
        tokio::spawn(answers(way, Arc::clone(&back), self.packets.clone()));
        self.ways.push(Way { front: Arc::clone(front), sender, back, ends: (from, place as u64 + 1) });
        self.by_sender.insert((place, sender), way);
        Some(way)
    }

    fn send(&mut self, packet: &Packet) {
        let Some(way) = self.ways.get(packet.way) else { return };
        let (from, to) = if packet.forth { way.ends } else { (way.ends.1, way.ends.0) };
        let mut frame = BytesMut::with_capacity(packet.bytes.len() + 9);
        frame.put_u64(packet.way as u64);
        frame.put_u8(u8::from(packet.forth));
        frame.extend_from_slice(&packet.bytes);
        self.network.send(self.begun.elapsed(), from, to, Lane::Raft, frame.freeze());
    }

    /// Hands over what has arrived by now. What the system does not take is one more packet that is lost.
    fn deliver(&mut self) {
        for delivery in self.network.deliveries(self.begun.elapsed()) {
            let Some((head, packet)) = delivery.frame.split_first_chunk::<9>() else { continue };
            let [number @ .., forth] = *head;
            let Some(way) = usize::try_from(u64::from_be_bytes(number)).ok().and_then(|at| self.ways.get(at))
            else {
                continue;
            };
            if forth == 1 {
                drop(way.back.try_send(packet));
            } else {
                drop(way.front.try_send_to(packet, way.sender));
            }
        }
    }
}

async fn answers(way: usize, back: Arc<UdpSocket>, packets: mpsc::Sender<Packet>) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    while !packets.is_closed() {
        let Ok(length) = back.recv(&mut buffer).await else {
            // Nobody is there at the moment; the socket tells it once for each packet that went.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let bytes = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
        drop(packets.try_send(Packet { way, forth: false, bytes }));
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_weather_are_read() {
        let (front, node) = pair("127.0.0.1:1=127.0.0.1:2").expect("two addresses");
        assert_eq!((front.port(), node.port()), (1, 2));
        assert!(pair("127.0.0.1:1").is_err() && pair("x=127.0.0.1:2").is_err());
        let weather = Weather { cut: vec![(1, 2)], delayed: vec![(2, 3, 80)] };
        let line = serde_json::to_string(&weather).expect("plain numbers");
        assert_eq!(line, r#"{"cut":[[1,2]],"delayed":[[2,3,80]]}"#);
        assert_eq!(serde_json::from_str::<Weather>(&line).expect("its own"), weather);
    }
}
