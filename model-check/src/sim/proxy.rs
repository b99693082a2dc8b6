//! A proxy of a run: the shipped receiving half of the feed, and nothing behind it. It must take what comes as a real
//! one does: adopt, acknowledge, ask for the whole, or leave for another node.

use std::collections::BTreeMap;

use bytes::Bytes;
use ravelin_cluster::node::event::LinkId;
use ravelin_config::feed::{
    Content, FEED_VERSION, FEED_VERSIONS, Hello, Part, Receiver, ReceiverLimits, Stage, Step, ToControl,
    ToControlV1, ToProxy, ToProxyV1,
};
use ravelin_config::{Change, ConfigMap, Digest, GenerationId, Understands};
use ravelin_transport::codec;

use super::report::{Mark, Report};
use super::station::CLUSTER;

/// Number of proxies.
pub(super) const PROXIES: u64 = 2;

/// One proxy.
pub(super) struct Proxy {
    /// Its number, from 1.
    pub(super) number: u64,
    /// The lane it holds.
    pub(super) link: Option<LinkId>,
    receiver: Receiver,
    /// What lies on its disk: the last generation it took.
    kept: Option<(GenerationId, ConfigMap)>,
    /// What it holds is not what its name says, until a whole generation was taken.
    tampered: bool,
}

/// What becomes of a proxy's disk between two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// All stays.
    All,
    /// It is lost.
    Nothing,
    /// An object is missing from what lies there, and nobody has noticed.
    Tampered,
}

/// What a frame led to.
#[derive(Debug)]
pub(super) enum Took {
    /// Nothing to tell.
    Nothing,
    /// A newer generation, adopted; the digest is that of the content received.
    Adopted(GenerationId, Digest),
    /// The node is behind or will not feed it: go elsewhere.
    Leave,
    /// Bytes that make no sense, or a transfer that is of no use.
    Broken(String),
}

impl Proxy {
    /// A proxy that holds nothing.
    pub(super) fn new(number: u64) -> Self {
        Self { number, link: None, receiver: receiver(None), kept: None, tampered: false }
    }

    /// What it took last.
    pub(super) fn kept_map(&self) -> Option<&ConfigMap> {
        self.kept.as_ref().map(|(_, map)| map)
    }

    /// Another process.
    pub(super) fn restart(&mut self, disk: Kept) {
        match (disk, &mut self.kept) {
            (Kept::Tampered, Some((_, map))) => {
                let first = map.iter().next().map(|(key, _)| key.clone());
                if let Some(key) = first {
                    map.change(BTreeMap::from([(key, Change::Delete)]));
                    self.tampered = true;
                }
            }
            (Kept::Nothing, _) => (self.kept, self.tampered) = (None, false),
            (Kept::All | Kept::Tampered, _) => {}
        }
        self.receiver = receiver(self.kept.clone());
    }

    /// The first frame of a new lane.
    pub(super) fn hello(&mut self) -> Bytes {
        self.receiver.reconnected();
        frame(ToControl::Hello(Hello {
            cluster: CLUSTER,
            recovery_epoch: 0,
            generation: self.receiver.held(),
            floor: self.receiver.floor(),
            view: String::new(),
            build: "simulated".to_owned(),
            instance: self.number,
            understands: Understands::this_build(FEED_VERSIONS),
        }))
    }

    /// Asks for the whole, whatever is held.
    pub(super) fn doubt() -> Bytes {
        frame(ToControl::NeedWhole { reason: "simulated doubt".to_owned() })
    }

    /// Takes a frame; what it says back, and what came of it.
    pub(super) fn take(&mut self, bytes: &[u8], report: &mut Report) -> (Vec<Bytes>, Took) {
        let message: ToProxy = match codec::decode_into::<ToProxyV1, _>(FEED_VERSION, bytes) {
            Ok(message) => message,
            Err(error) => return (Vec::new(), Took::Broken(error.to_string())),
        };
        let is_delta = matches!(&message, ToProxy::Part(Part { content: Content::Delta { .. }, .. }));
        let in_parts = matches!(&message, ToProxy::Part(Part { of: 2.., .. }));
        match self.receiver.handle(message) {
            Step::Nothing => (Vec::new(), Took::Nothing),
            Step::Complete { generation, map } => {
                report.count(Mark::Adopted, 1);
                self.tampered &= is_delta;
                report.count(Mark::Deltas, u64::from(is_delta));
                report.count(Mark::PartedTransfers, u64::from(in_parts));
                let digest = map.digest();
                self.kept = Some((generation, map.clone()));
                self.receiver.adopt(generation, map);
                let stages = [Stage::Received, Stage::Validated, Stage::Serving];
                let told = stages.map(|stage| frame(ToControl::Acknowledge { generation, stage }));
                (told.to_vec(), Took::Adopted(generation, digest))
            }
            Step::Held { generation } => {
                (vec![frame(ToControl::Acknowledge { generation, stage: Stage::Serving })], Took::Nothing)
            }
            // Lanes keep order, so whatever comes fits, unless what is held is not what it is called.
            Step::NeedWhole { reason } if !self.tampered => (Vec::new(), Took::Broken(reason)),
            Step::NeedWhole { reason } => {
                report.count(Mark::Repaired, 1);
                (vec![frame(ToControl::NeedWhole { reason })], Took::Nothing)
            }
            Step::GoesBackwards { .. } | Step::Refused { .. } => {
                report.count(Mark::Left, 1);
                (Vec::new(), Took::Leave)
            }
        }
    }
}

fn receiver(held: Option<(GenerationId, ConfigMap)>) -> Receiver {
    Receiver::new(CLUSTER, ReceiverLimits::default(), held)
}

fn frame(message: ToControl) -> Bytes {
    codec::encode(FEED_VERSION, &ToControlV1::from(message))
        .expect("a feed message without records is far below the codec's limits")
}
