//! Events as they lie in the store: a kind and its numbers. The words are made when an event is read.
//!
//! It must not put words of its own into what is replicated: another version of Ravelin may word them differently, and
//! the nodes would no longer hold the same bytes.

use ravelin_consensus::NodeId;

use super::applied::Refusal;
use super::command::{Author, ChangeId, Event};

/// What the store keeps of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded {
    /// The proposer's wall clock, in milliseconds since 1970.
    pub(super) at_unix_ms: u64,
    /// The node it is about, or that reported it.
    pub(super) node: NodeId,
    /// What happened.
    pub(super) kind: Kind,
}

/// What happened, without words, except those that lay in the command itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// As a proposer put it: the same bytes for every node.
    Reported { name: String, text: String },
    /// The node became the controller.
    ControllerAppointed { epoch: u64 },
    /// The node wrote as the controller of an epoch that is over, or never was.
    StaleWriteRefused { change: ChangeId, epoch: u64, current: Option<(NodeId, u64)> },
}

impl From<&Event> for Recorded {
    fn from(event: &Event) -> Self {
        let Event { at_unix_ms, node, name, text } = event.clone();
        Self { at_unix_ms, node, kind: Kind::Reported { name, text } }
    }
}

impl From<Recorded> for Event {
    fn from(recorded: Recorded) -> Self {
        let Recorded { at_unix_ms, node, kind } = recorded;
        let (name, text) = match kind {
            Kind::Reported { name, text } => (name, text),
            Kind::ControllerAppointed { epoch } => (
                "controller-appointed".to_owned(),
                format!("node {node} is the controller, of epoch {epoch}"),
            ),
            Kind::StaleWriteRefused { change, epoch, current } => {
                let refusal = Refusal::StaleEpoch { author: Author::Controller { node, epoch }, current };
                ("stale-write-refused".to_owned(), format!("change {change}: {refusal}"))
            }
        };
        Self { at_unix_ms, node, name, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::assert_golden;
    use crate::store::wire::{decode_event, encode_event};

    #[test]
    fn what_is_kept_has_golden_bytes_and_gets_its_words_when_read() {
        let refused = |current| Kind::StaleWriteRefused { change: ChangeId([0xab; 16]), epoch: 3, current };
        let reported = Kind::Reported { name: "seen".to_owned(), text: "by someone".to_owned() };
        let id = "ab".repeat(16);
        for (golden, kind, name, text) in [
            ("event-reported", reported, "seen", "by someone".to_owned()),
            (
                "event-controller-appointed",
                Kind::ControllerAppointed { epoch: 3 },
                "controller-appointed",
                "node 2 is the controller, of epoch 3".to_owned(),
            ),
            (
                "event-stale-write-refused",
                refused(Some((NodeId(5), 4))),
                "stale-write-refused",
                format!(
                    "change {id}: controller 2 of epoch 3 is not the controller: that is node 5, of epoch 4"
                ),
            ),
            (
                "event-stale-write-refused-without-controller",
                refused(None),
                "stale-write-refused",
                format!("change {id}: controller 2 of epoch 3 is not the controller: there is none"),
            ),
        ] {
            let recorded = Recorded { at_unix_ms: 9, node: NodeId(2), kind };
            let bytes = encode_event(&recorded).expect("small");
            assert_golden(golden, &bytes);
            let read = decode_event(&bytes).expect("just encoded");
            assert_eq!(read, recorded);
            let event = Event { at_unix_ms: 9, node: NodeId(2), name: name.to_owned(), text };
            assert_eq!(Event::from(read), event);
        }
    }
}
