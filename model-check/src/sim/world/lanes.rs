//! What goes between processes besides lane Raft: calls, feeds, snapshots, the provided file. Lanes keep order and
//! break as a whole, by crash or partition. It must not lose a frame of a lane that stands.

use std::sync::Arc;

use super::*;
use crate::sim::report::Mark;
use ravelin_cluster::provider::ProviderUpdate;
use ravelin_config::document::{self, Format};
use ravelin_config::draft_from_documents;

/// Mean time until a silent lane is given up.
const SILENCE_MICROS: u64 = 1_500_000;

/// How long a proxy stays with a member that was given up.
const STRAY_MICROS: u64 = 400_000;

impl World {
    /// Whether two control nodes can talk now, as far as crashes and cuts go. A node that came back under a new identity
    /// is no member, and nobody takes it for its predecessor; nor do members of two recovery epochs talk. Only on lane Raft
    /// it is left to the core to see that.
    fn reachable(&self, one: usize, other: usize) -> bool {
        let (from, to) = (&self.stations[one], &self.stations[other]);
        let strange = |held: &Station| held.is_lost() || self.oracle.is_former(held.identity());
        let members = !strange(from) && !strange(to) && from.given_up == to.given_up;
        to.machine.is_some() && members && !self.is_cut(one, other)
    }

    pub(super) fn fetch(&mut self, station: usize, from: NodeId, meta: SnapshotMeta) {
        let life = self.stations[station].life;
        let source = from.0 as usize - 1;
        let chunks = match &self.stations[source].machine {
            Some(machine) if self.reachable(station, source) => machine.give_snapshot(&meta),
            _ => None,
        };
        let wait = self.dice.random_range(500..50_000);
        self.after(wait, Happening::Fetched { station, life, meta, chunks });
    }

    pub(super) fn call(&mut self, station: usize, to: NodeId, call: CallId, frames: Vec<Bytes>) {
        let life = self.stations[station].life;
        let server = to.0 as usize - 1;
        if !self.reachable(station, server) {
            let event = Event::CallFailed { call, may_have_arrived: false, reason: "unreachable".to_owned() };
            self.after(LINK_MICROS, Happening::Node { station, life, event });
            return;
        }
        let server_life = self.stations[server].life;
        let link = self.links.forward(station, server).unwrap_or_else(|| {
            let link = self.links.open(server, Opener::Station(station));
            let node = self.stations[station].number;
            let event = Event::LinkOpened { link, lane: Lane::Forward, role: PeerRole::Controller, node };
            self.after(LINK_MICROS, Happening::Node { station: server, life: server_life, event });
            link
        });
        self.links.call(station, call, link);
        if !self.links.carries(link) {
            return;
        }
        for frame in frames {
            let event = Event::LinkFrame { link, frame };
            self.after(LINK_MICROS, Happening::Node { station: server, life: server_life, event });
        }
    }

    pub(super) fn send_link(&mut self, station: usize, link: LinkId, frame: Bytes) {
        let Some(found) = self.links.find(link) else { return };
        let life = self.stations[station].life;
        self.after(LINK_MICROS, Happening::Node { station, life, event: Event::LinkSent(link) });
        if !self.links.carries(link) {
            return;
        }
        match found.opener {
            Opener::Station(caller) => {
                let Some((call, last)) = parts::head(&frame) else { return };
                let call = CallId(call);
                if last {
                    self.links.answered(caller, call);
                }
                let life = self.stations[caller].life;
                self.after(
                    LINK_MICROS,
                    Happening::Node { station: caller, life, event: Event::CallFrame { call, frame } },
                );
            }
            Opener::Proxy(proxy) => self.after(LINK_MICROS, Happening::ToProxy { proxy, link, frame }),
        }
    }

    /// Ends lanes that a cut goes through: some at once, some only after a silence that nobody can tell from slowness.
    pub(super) fn cut(&mut self, links: Vec<LinkId>) {
        for link in links {
            if self.dice.random_range(0..100) >= self.plan.silent_percent {
                self.close(link, None);
            } else if self.links.carries(link) {
                self.report.count(Mark::SilentLanes, 1);
                self.links.silence(link);
                let wait = self.about(SILENCE_MICROS);
                self.after(wait, Happening::LaneBreaks { link });
            }
        }
    }

    /// Another process of a proxy, on what it held (0), on nothing (1) or on what was tampered with (2).
    pub(super) fn restart_proxy(&mut self, number: u64, disk: u64) {
        let proxy = (number.max(1) as usize - 1) % self.proxies.len();
        self.report.count(Mark::ProxyRestarts, 1);
        if let Some(link) = self.proxies[proxy].link {
            self.close(link, None);
        }
        let disk = match disk {
            1 => Kept::Nothing,
            2 => Kept::Tampered,
            _ => Kept::All,
        };
        if disk == Kept::Nothing {
            self.oracle.forgot(proxy as u64 + 1);
        }
        self.proxies[proxy].restart(disk);
    }

    /// A proxy that does not trust what it holds asks for the whole.
    pub(super) fn doubt(&mut self, number: u64) {
        let proxy = (number.max(1) as usize - 1) % self.proxies.len();
        let Some(link) = self.proxies[proxy].link.filter(|link| self.links.carries(*link)) else { return };
        let Some(found) = self.links.find(link) else { return };
        self.report.count(Mark::NeedWhole, 1);
        let life = self.stations[found.server].life;
        let event = Event::LinkFrame { link, frame: Proxy::doubt() };
        self.after(LINK_MICROS, Happening::Node { station: found.server, life, event });
    }

    /// Ends a lane; both ends hear of it, except whoever ended it.
    pub(super) fn close(&mut self, link: LinkId, by: Option<usize>) {
        let Some(found) = self.links.find(link) else { return };
        if by != Some(found.server) {
            let life = self.stations[found.server].life;
            let event = Event::LinkClosed(link);
            self.after(LINK_MICROS, Happening::Node { station: found.server, life, event });
        }
        for (caller, call) in self.links.close(link) {
            let life = self.stations[caller].life;
            let event =
                Event::CallFailed { call, may_have_arrived: true, reason: "the lane broke".to_owned() };
            self.after(LINK_MICROS, Happening::Node { station: caller, life, event });
        }
        if let Opener::Proxy(proxy) = found.opener {
            self.proxies[proxy].link = None;
            let wait = self.dice.random_range(20_000..200_000);
            self.after(wait, Happening::ProxyConnect { proxy });
        }
    }

    pub(super) fn connect_proxy(&mut self, proxy: usize) {
        if self.proxies[proxy].link.is_some() {
            return;
        }
        let server = self.dice.random_range(0..self.stations.len());
        let held = &self.stations[server];
        if held.machine.is_none() || held.is_lost() || !self.oracle.is_member(held.identity()) {
            self.after(100_000, Happening::ProxyConnect { proxy });
            return;
        }
        // A real proxy finds out that others offer what is newer; here it is a cut that parts it from an old member.
        let strays = held.given_up;
        let life = self.stations[server].life;
        let link = self.links.open(server, Opener::Proxy(proxy));
        let node = self.proxies[proxy].number;
        self.proxies[proxy].link = Some(link);
        if strays {
            self.after(STRAY_MICROS, Happening::LaneBreaks { link });
        }
        let opened = Event::LinkOpened { link, lane: Lane::Feed, role: PeerRole::Proxy, node };
        self.after(LINK_MICROS, Happening::Node { station: server, life, event: opened });
        let frame = self.proxies[proxy].hello();
        self.after(
            LINK_MICROS,
            Happening::Node { station: server, life, event: Event::LinkFrame { link, frame } },
        );
    }

    pub(super) fn reach_proxy(&mut self, proxy: usize, link: LinkId, frame: &Bytes) -> Result<(), String> {
        if self.proxies[proxy].link != Some(link) {
            return Ok(());
        }
        let (answers, took) = self.proxies[proxy].take(frame, &mut self.report);
        if let Some(found) = self.links.find(link).filter(|_| self.links.carries(link)) {
            let life = self.stations[found.server].life;
            for frame in answers {
                let event = Event::LinkFrame { link, frame };
                self.after(LINK_MICROS, Happening::Node { station: found.server, life, event });
            }
        }
        match took {
            Took::Nothing => Ok(()),
            Took::Adopted(generation, content) => {
                self.proxies[proxy].kept_map().map_or(Ok(()), |map| self.clients.judge_whole(map))?;
                self.oracle.adopted(proxy as u64 + 1, generation, content)
            }
            Took::Leave => {
                self.close(link, None);
                Ok(())
            }
            Took::Broken(why) => Err(format!("proxy {} got a frame that makes no sense: {why}", proxy + 1)),
        }
    }

    pub(super) fn file_changed(&mut self) {
        if self.faults_over {
            return;
        }
        self.file_version += 1;
        for station in 0..self.stations.len() {
            let life = self.stations[station].life;
            if let Some(epoch) = self.stations[station].provider_epoch {
                let wait = self.dice.random_range(500..20_000);
                self.after(wait, Happening::ProviderRead { station, life, epoch });
            }
        }
        let wait = self.about(self.plan.file_micros);
        self.after(wait, Happening::FileChange);
    }

    /// The name of the router that the file of this version holds.
    fn file_router(&self) -> String {
        format!("f{}", self.file_version)
    }

    /// The key that must be in the end state, and no other of the file's routers.
    pub(super) fn file_key(&self) -> String {
        format!("http/routers/{}@file", self.file_router())
    }

    pub(super) fn provider_read(&mut self, station: usize, life: u64, epoch: u64) -> Result<(), String> {
        let name = self.file_router();
        let text = format!(
            "http:\n  routers:\n    {name}:\n      rule: Host(`{name}.sim`)\n      service: s@cluster\n"
        );
        let document =
            document::parse("sim.yaml", &text, Format::Yaml).map_err(|problems| format!("{problems:?}"))?;
        let draft = draft_from_documents("file", &[document]).map_err(|problems| format!("{problems:?}"))?;
        let update = ProviderUpdate::Draft { draft: Arc::new(draft), read: Duration::ZERO };
        self.node(station, life, Event::Provider { epoch, update })
    }
}
