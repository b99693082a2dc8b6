//! The reliable lanes of a run (Forward, Feed): which exist, between whom, and which calls run over them. A lane keeps
//! order and breaks as a whole. It must not deliver anything; the world does.

use std::collections::{BTreeMap, BTreeSet};

use ravelin_cluster::node::event::{CallId, LinkId};

/// Who opened a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opener {
    /// A control node: lane Forward.
    Station(usize),
    /// A proxy: lane Feed.
    Proxy(usize),
}

/// One lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    /// The control node that accepted it.
    pub(super) server: usize,
    /// Who opened it.
    pub(super) opener: Opener,
}

/// All lanes.
#[derive(Debug, Default)]
pub(super) struct Links {
    next: u64,
    links: BTreeMap<LinkId, Link>,
    /// Calls without their last frame: whose, and over which lane.
    calls: BTreeMap<(usize, CallId), LinkId>,
    /// Lanes over which nothing comes any more, although nobody knows yet.
    silent: BTreeSet<LinkId>,
}

impl Links {
    /// A new lane.
    pub(super) fn open(&mut self, server: usize, opener: Opener) -> LinkId {
        self.next += 1;
        let link = LinkId(self.next);
        self.links.insert(link, Link { server, opener });
        link
    }

    /// A lane that still stands.
    pub(super) fn find(&self, link: LinkId) -> Option<Link> {
        self.links.get(&link).copied()
    }

    /// Lets nothing through any more; whoever holds an end learns it when the lane is closed.
    pub(super) fn silence(&mut self, link: LinkId) {
        self.silent.insert(link);
    }

    /// Whether frames still come through.
    pub(super) fn carries(&self, link: LinkId) -> bool {
        self.links.contains_key(&link) && !self.silent.contains(&link)
    }

    /// The Forward lane from one node to another, if it stands.
    pub(super) fn forward(&self, caller: usize, server: usize) -> Option<LinkId> {
        let wanted = |link: &Link| link.server == server && link.opener == Opener::Station(caller);
        self.links.iter().find(|(_, link)| wanted(link)).map(|(id, _)| *id)
    }

    /// Notes a call that waits for its answer.
    pub(super) fn call(&mut self, caller: usize, call: CallId, link: LinkId) {
        self.calls.insert((caller, call), link);
    }

    /// The call has its last frame.
    pub(super) fn answered(&mut self, caller: usize, call: CallId) {
        self.calls.remove(&(caller, call));
    }

    /// Ends a lane; the calls that die with it.
    pub(super) fn close(&mut self, link: LinkId) -> Vec<(usize, CallId)> {
        self.links.remove(&link);
        self.silent.remove(&link);
        let dead: Vec<_> =
            self.calls.iter().filter(|(_, over)| **over == link).map(|(key, _)| *key).collect();
        for key in &dead {
            self.calls.remove(key);
        }
        dead
    }

    /// The lanes that touch a control node.
    pub(super) fn touching(&self, station: usize) -> Vec<LinkId> {
        let touches = |link: &Link| link.server == station || link.opener == Opener::Station(station);
        self.links.iter().filter(|(_, link)| touches(link)).map(|(id, _)| *id).collect()
    }

    /// The lanes that proxies hold to a control node.
    pub(super) fn feeds(&self, station: usize) -> Vec<LinkId> {
        let feeds = |link: &Link| link.server == station && matches!(link.opener, Opener::Proxy(_));
        self.links.iter().filter(|(_, link)| feeds(link)).map(|(id, _)| *id).collect()
    }

    /// The lanes between two control nodes, either way.
    pub(super) fn between(&self, one: usize, other: usize) -> Vec<LinkId> {
        [self.forward(one, other), self.forward(other, one)].into_iter().flatten().collect()
    }
}
