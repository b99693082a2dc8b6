//! Who may begin a handshake, and who may keep a connection: counts by source address and by peer, with places kept free for
//! control nodes. Plain state; it must not know packets or wait for anything.

use crate::error::Refusal;
use crate::peer::{PeerId, PeerRole};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// One part in so many of all places is kept for control nodes.
const RESERVED_PART: usize = 8;

/// How many of what.
#[derive(Debug, Clone, Copy)]
pub(super) struct DoorLimits {
    pub(super) handshakes_max: usize,
    pub(super) handshakes_before_retry: usize,
    pub(super) handshakes_per_source_max: usize,
    pub(super) connections_max: usize,
    pub(super) connections_per_peer_max: usize,
}

/// What to do with somebody who knocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Knock {
    /// Begin a handshake.
    Admit,
    /// Let it prove first that it is where it says it is: costs neither memory nor cryptography here.
    Retry,
    /// Turn it away.
    Refuse,
}

#[derive(Debug, Default)]
struct Counts {
    handshakes: usize,
    by_source: BTreeMap<IpAddr, usize>,
    connections: usize,
    by_peer: BTreeMap<(PeerRole, u64), usize>,
    /// Where control nodes are dialled; their handshakes come first.
    controllers: BTreeSet<IpAddr>,
}

/// The counts. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Door {
    limits: DoorLimits,
    counts: Arc<Mutex<Counts>>,
}

/// A handshake under way; dropping it ends its count.
#[derive(Debug)]
pub(super) struct Handshake {
    door: Door,
    source: IpAddr,
}

/// A connection that stands; dropping it ends its count.
#[derive(Debug)]
pub(super) struct Seat {
    door: Door,
    peer: (PeerRole, u64),
}

impl Door {
    pub(super) fn new(limits: DoorLimits) -> Self {
        Self { limits, counts: Arc::default() }
    }

    fn counts<T>(&self, use_it: impl FnOnce(&mut Counts) -> T) -> T {
        use_it(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where control nodes are dialled, as far as it is known.
    pub(super) fn set_controllers(&self, controllers: impl IntoIterator<Item = IpAddr>) {
        let controllers = controllers.into_iter().map(source_of).collect();
        self.counts(|counts| counts.controllers = controllers);
    }

    /// Judges somebody who knocks. `is_proven`: that it is where it says it is.
    pub(super) fn knock(&self, source: IpAddr, is_proven: bool) -> Knock {
        let limits = self.limits;
        let source = source_of(source);
        self.counts(|counts| {
            // An address may be forged until it is proven: nobody gets the places of control nodes by claiming one.
            let is_controller = is_proven && counts.controllers.contains(&source);
            let open = |max: usize| if is_controller { max } else { max - max / RESERVED_PART };
            let here = counts.by_source.get(&source).copied().unwrap_or(0);
            let is_full = counts.handshakes >= open(limits.handshakes_max)
                || counts.connections >= open(limits.connections_max);
            let is_busy = counts.handshakes >= limits.handshakes_before_retry
                || here >= limits.handshakes_per_source_max / 4;
            match (is_full || here >= limits.handshakes_per_source_max, is_busy, is_proven) {
                // One of the control nodes, perhaps: it shows when it has proven its address.
                (true, _, false) if counts.controllers.contains(&source) => Knock::Retry,
                (true, _, _) => Knock::Refuse,
                (false, true, false) => Knock::Retry,
                (false, _, _) => Knock::Admit,
            }
        })
    }

    /// Counts a handshake that begins.
    pub(super) fn begin(&self, source: IpAddr) -> Handshake {
        let source = source_of(source);
        self.counts(|counts| {
            counts.handshakes += 1;
            *counts.by_source.entry(source).or_default() += 1;
        });
        Handshake { door: self.clone(), source }
    }

    /// A place for a connection of this peer.
    ///
    /// # Errors
    /// [`Refusal::Crowded`].
    pub(super) fn seat(&self, peer: &PeerId) -> Result<Seat, Refusal> {
        let limits = self.limits;
        let key = (peer.role(), peer.node());
        let max = match peer.role() {
            PeerRole::Controller => limits.connections_max,
            PeerRole::Proxy | PeerRole::Operator => {
                limits.connections_max - limits.connections_max / RESERVED_PART
            }
        };
        self.counts(|counts| {
            let own = counts.by_peer.get(&key).copied().unwrap_or(0);
            if own >= limits.connections_per_peer_max {
                return Err(Refusal::Crowded { connections: own, of_this_peer: true });
            }
            if counts.connections >= max {
                return Err(Refusal::Crowded { connections: counts.connections, of_this_peer: false });
            }
            counts.connections += 1;
            counts.by_peer.insert(key, own + 1);
            Ok(Seat { door: self.clone(), peer: key })
        })
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let source = self.source;
        self.door.counts(|counts| {
            counts.handshakes = counts.handshakes.saturating_sub(1);
            take_one(&mut counts.by_source, &source);
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let peer = self.peer;
        self.door.counts(|counts| {
            counts.connections = counts.connections.saturating_sub(1);
            take_one(&mut counts.by_peer, &peer);
        });
    }
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Addresses that one sender has at will count as one: IPv6 by its /64.
fn source_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::ClusterId;
    use std::net::Ipv4Addr;

    fn door() -> Door {
        Door::new(DoorLimits {
            handshakes_max: 16,
            handshakes_before_retry: 8,
            handshakes_per_source_max: 4,
            connections_max: 16,
            connections_per_peer_max: 3,
        })
    }

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    fn peer(role: PeerRole, node: u64) -> PeerId {
        PeerId::new(ClusterId([1; 16]), role, node)
    }

    #[test]
    fn one_source_takes_only_its_share_and_soon_has_to_prove_itself() {
        let door = door();
        assert_eq!(door.knock(ip(1), false), Knock::Admit);
        let mut held = vec![door.begin(ip(1))];
        assert_eq!(door.knock(ip(1), false), Knock::Retry);
        assert_eq!(door.knock(ip(1), true), Knock::Admit);
        held.extend((0..3).map(|_| door.begin(ip(1))));
        assert_eq!(door.knock(ip(1), true), Knock::Refuse);
        assert_eq!(door.knock(ip(2), false), Knock::Admit, "others are not concerned");
        held.pop();
        assert_eq!(door.knock(ip(1), true), Knock::Admit, "ended ones do not count");
    }

    #[test]
    fn a_crowd_leaves_places_for_control_nodes_that_proved_their_address() {
        let door = door();
        door.set_controllers([ip(200)]);
        let held: Vec<Handshake> = (0..14).map(|last| door.begin(ip(last))).collect();
        assert_eq!(door.knock(ip(100), true), Knock::Refuse);
        assert_eq!(door.knock(ip(200), false), Knock::Retry, "anybody could say so");
        assert_eq!(door.knock(ip(200), true), Knock::Admit);
        drop(held);
        assert_eq!(door.knock(ip(100), false), Knock::Admit);
        assert!(door.counts(|counts| counts.by_source.is_empty()), "nothing is kept of who has gone");
    }

    #[test]
    fn no_peer_takes_all_connections_and_some_are_kept_for_control_nodes() {
        let door = door();
        let mut seats: Vec<Seat> =
            (0..3).map(|_| door.seat(&peer(PeerRole::Proxy, 1)).expect("its share")).collect();
        let refusal = door.seat(&peer(PeerRole::Proxy, 1)).expect_err("more than its share");
        assert_eq!(refusal, Refusal::Crowded { connections: 3, of_this_peer: true });
        seats.extend((2..13).map(|node| door.seat(&peer(PeerRole::Proxy, node)).expect("there is room")));
        let refusal = door.seat(&peer(PeerRole::Operator, 1)).expect_err("the rest is kept");
        assert_eq!(refusal, Refusal::Crowded { connections: 14, of_this_peer: false });
        let controller = door.seat(&peer(PeerRole::Controller, 1)).expect("kept for it");
        drop((seats, controller));
        assert!(door.counts(|counts| counts.by_peer.is_empty() && counts.connections == 0));
    }

    #[test]
    fn a_sender_with_a_whole_network_of_addresses_is_one_source() {
        let one = "2001:db8:1:2::1".parse().expect("an address");
        let two = "2001:db8:1:2:ffff::9".parse().expect("an address");
        let other = "2001:db8:1:3::1".parse().expect("an address");
        assert_eq!(source_of(one), source_of(two));
        assert_ne!(source_of(one), source_of(other));
        assert_eq!(source_of("::ffff:192.0.2.7".parse().expect("an address")), ip(7));
    }
}
