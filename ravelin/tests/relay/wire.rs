//! A process between two sockets: takes packets, loses, doubles, delays and reorders them by a seed, and can be cut. It must
//! not look into packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ravelin_transport::Lane;
use ravelin_transport::memory::{Counters, Faults, Network};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Larger than any packet.
const PACKET_BYTES_MAX: usize = 65_535;

/// The way to one place, through faults. Dropping it ends the way.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    cut: watch::Sender<bool>,
    counters: watch::Receiver<Counters>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn start(to: SocketAddr, seed: u64, faults: Faults) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = front.local_addr().expect("bound");
        let (cut, is_cut) = watch::channel(false);
        let (told, counters) = watch::channel(Counters::default());
        let way = Way {
            front,
            to,
            network: Network::new(seed, faults),
            clients: Vec::new(),
            start: Instant::now(),
            is_cut,
            told,
        };
        Self { address, cut, counters, task: tokio::spawn(way.run()) }
    }

    /// Loses everything from now on, or nothing but what the faults say.
    pub(crate) fn set_cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    pub(crate) fn counters(&self) -> Counters {
        *self.counters.borrow()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Way {
    front: UdpSocket,
    to: SocketAddr,
    network: Network,
    /// Who dialled through here, each with a socket of its own; client n is node n + 1 of the network, the target node 0.
    clients: Vec<(SocketAddr, Arc<UdpSocket>)>,
    start: Instant,
    is_cut: watch::Receiver<bool>,
    told: watch::Sender<Counters>,
}

impl Way {
    async fn run(mut self) {
        let (back_sender, mut back) = mpsc::channel::<(u64, Bytes)>(4096);
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        loop {
            let next = self.network.next_at().map(|at| self.start + at);
            tokio::select! {
                received = self.front.recv_from(&mut buffer) => {
                    let Ok((length, from)) = received else { continue };
                    let client = self.client(from, &back_sender).await;
                    let packet = Bytes::copy_from_slice(buffer.get(..length).expect("what was received"));
                    self.send(client, 0, packet);
                }
                Some((client, packet)) = back.recv() => self.send(0, client, packet),
                () = until(next) => {}
            }
            for delivery in self.network.deliveries(self.start.elapsed()) {
                self.deliver(delivery.from, delivery.to, &delivery.frame).await;
            }
            self.told.send_replace(self.network.counters());
        }
    }

    fn send(&mut self, from: u64, to: u64, packet: Bytes) {
        if !*self.is_cut.borrow() {
            self.network.send(self.start.elapsed(), from, to, Lane::Feed, packet);
        }
    }

    async fn deliver(&self, from: u64, to: u64, packet: &[u8]) {
        let client = |node: u64| self.clients.get(usize::try_from(node - 1).expect("few clients"));
        // A packet that the system does not take is one more that is lost.
        if to == 0 {
            let (_, socket) = client(from).expect("it sent something");
            drop(socket.send(packet).await);
        } else {
            let (address, _) = client(to).expect("it was sent something");
            drop(self.front.send_to(packet, address).await);
        }
    }

    async fn client(&mut self, from: SocketAddr, back: &mpsc::Sender<(u64, Bytes)>) -> u64 {
        if let Some(place) = self.clients.iter().position(|(address, _)| *address == from) {
            return place as u64 + 1;
        }
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        socket.connect(self.to).await.expect("loopback");
        let socket = Arc::new(socket);
        self.clients.push((from, Arc::clone(&socket)));
        let (node, back) = (self.clients.len() as u64, back.clone());
        tokio::spawn(async move {
            let mut buffer = vec![0; PACKET_BYTES_MAX];
            loop {
                // Nobody there at the moment is an error of the socket and no end of the way.
                let Ok(length) = socket.recv(&mut buffer).await else {
                    if back.is_closed() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                };
                let packet = Bytes::copy_from_slice(buffer.get(..length).expect("what was received"));
                if back.send((node, packet)).await.is_err() {
                    return;
                }
            }
        });
        node
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
