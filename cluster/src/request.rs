//! What is asked of a control node and what it answers, on lane Forward: the operator's CLI, agents and the
//! controller speak this. It must not hold behaviour: `api` answers, `shell::client` asks.

use std::fmt;

use serde::Serialize;

pub mod name;
pub mod nodes;
pub mod parts;
pub mod status;
mod wire;

pub use name::RequestName;
pub use wire::REQUEST_VERSION;

/// How often a request may be passed on from node to node.
pub const HOPS_MAX: u8 = 3;

/// Most objects in one answer to [`Request::Get`].
pub const GET_OBJECTS_MAX: u32 = 4096;

/// Most events in one answer to [`Request::Events`].
pub const EVENTS_PAGE_MAX: u32 = 1024;

/// Most proxies of one control node in one answer to [`Request::Status`].
pub const PROXIES_PAGE_MAX: u32 = 1024;

/// Names one request for its whole life: retries and hand-overs keep it, so that it takes effect at most once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub [u8; 16]);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

impl Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A request on its way: who asks, how long there is left, how far it may travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Chosen at random by whoever asks first.
    pub id: RequestId,
    /// How many nodes passed it on already; refused above [`HOPS_MAX`].
    pub hops: u8,
    /// Time left for an answer, in milliseconds, when the frame was made.
    pub deadline_millis: u32,
    /// Who asked first, for the record of the change: `operator-1`.
    pub author: String,
    /// What is asked.
    pub request: Request,
    /// It was asked for the first time when a control node had applied up to here; none where nobody will ask again after a while.
    /// Where what came of so old a request may be forgotten, it is not executed anew.
    pub since: Option<u64>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Put the objects of these documents into the configuration, as `name@cluster`, as one change.
    Apply {
        /// Texts in Traefik's formats, static or dynamic or both in one.
        documents: Vec<SourceDocument>,
        /// What happens to objects of `@cluster` that the documents do not name.
        mode: ApplyMode,
    },
    /// Remove objects by key, for example `http/routers/web@cluster`.
    Delete {
        /// Full keys. A key that is not there is no error.
        keys: Vec<String>,
    },
    /// Read objects.
    Get {
        /// Only keys that begin with this.
        prefix: String,
        /// Only keys after this one: how the next page is asked for.
        after: Option<String>,
        /// At most so many objects, itself at most [`GET_OBJECTS_MAX`].
        limit: u32,
        /// Whether the answer must reflect everything that was committed before the question.
        consistency: Consistency,
    },
    /// How the cluster stands.
    Status {
        /// The asked node alone, or all that answer it in time.
        scope: Scope,
        /// Which of the proxies are told of.
        proxies: Page,
    },
    /// What the asked node saw happen.
    Events {
        /// Only events whose number is higher than this; 0 for all that are kept. The next page is asked for with the
        /// last number of this one; an empty page is the end.
        since: u64,
        /// At most so many events, itself at most [`EVENTS_PAGE_MAX`]; an answer may hold fewer, as its bytes are bounded.
        limit: u32,
    },
    /// Who the control nodes are.
    Nodes,
    /// Something else is wanted of a control node. Answered once the members are so.
    ChangeNode(nodes::NodeChange),
    /// Hand leadership over.
    TransferLeader {
        /// To this voter, or to any that has caught up.
        to: Option<u64>,
    },
    /// A command for the log; only control nodes may ask, and only the leader does it.
    Propose {
        /// The encoded command.
        command: Vec<u8>,
    },
}

/// One text in one of Traefik's formats. `Debug` never shows it: keys and passwords may stand in it.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceDocument {
    /// The name that problems are reported under, usually the file's.
    pub name: String,
    /// How to read it.
    pub format: SourceFormat,
    /// The text.
    pub text: String,
}

impl fmt::Debug for SourceDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, format, text } = self;
        f.debug_struct("SourceDocument")
            .field("name", name)
            .field("format", format)
            .field("bytes", &text.len())
            .finish()
    }
}

/// How a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceFormat {
    /// YAML (and so JSON).
    Yaml,
    /// TOML.
    Toml,
}

impl SourceFormat {
    /// The format that a file name's ending tells; `None` for any other.
    pub fn of_name(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "yaml" | "yml" | "json" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// What `Apply` does with objects that its documents do not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    /// They stay.
    Merge,
    /// Those of `@cluster` go; static objects and those of other providers stay.
    Replace,
}

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Reflects everything that was committed before the question was asked.
    Linearizable,
    /// What the asked node has applied.
    Stale,
}

/// How far a status question goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The asked node alone.
    Node,
    /// Every control node that answers in time.
    Cluster,
}

/// One page of a list that is ordered by number. The next one begins after where the answer says that more follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only what has a higher number; 0 for the beginning.
    pub after: u64,
    /// At most so many, of each node that answers.
    pub limit: u32,
}

impl Page {
    /// The first page, as large as pages are.
    pub const FIRST: Self = Self { after: 0, limit: PROXIES_PAGE_MAX };
    /// Nothing of the list.
    pub const NONE: Self = Self { after: 0, limit: 0 };
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Response {
    /// The change is committed (or there was nothing to change) and applied on the answering node.
    Done(Change),
    /// The request was judged and nothing was changed.
    Refused(Refusal),
    /// Nothing was done, and nothing will be: asking again is safe and may succeed.
    Unavailable {
        /// Why, for people.
        reason: String,
    },
    /// No answer in time. The change may still take effect, once; ask again under the same id, or look.
    Unknown {
        /// Why, for people.
        reason: String,
    },
    /// The asked node is not the one to do it; ask again where this points. Only control nodes see this.
    Redirect {
        /// The node that is, as far as known.
        node: Option<u64>,
        /// Whether the asked node has let the change go towards the log: it may take effect whatever comes after.
        may_take_effect: bool,
    },
    /// Objects, by key in order.
    Objects(Objects),
    /// How the cluster stands.
    Status(status::ClusterStatus),
    /// Events of the asked node, oldest first.
    Events(Vec<status::EventRecord>),
    /// The control nodes.
    Nodes(nodes::NodeList),
    /// Who leads after a hand-over was asked for.
    Leads(nodes::Leadership),
    /// A proposed command stands in the leader's log; whether it is committed shows when it is applied.
    Proposed,
}

impl Response {
    /// The answer to an attempt where an earlier one may have reached the log: "nothing was done" is not known then.
    pub fn after_doubt(self) -> Self {
        let last = match self {
            Self::Unavailable { reason } => format!("the last one did not: {reason}"),
            // Another attempt was judged by another state.
            Self::Refused(Refusal {
                reason: RefusalReason::Conflict | RefusalReason::InError | RefusalReason::StaleEpoch,
                problems,
            }) => format!("the last one was refused: {}", problems.join("; ")),
            Self::Redirect { node, .. } => return Self::Redirect { node, may_take_effect: true },
            certain => return certain,
        };
        Self::Unknown { reason: format!("an earlier attempt may have reached the log; {last}") }
    }
}

/// A committed change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The request that led to it.
    pub id: RequestId,
    /// The generation that holds it.
    pub generation: status::Generation,
    /// Records that were put.
    pub put: u64,
    /// Records that were deleted.
    pub deleted: u64,
    /// Objects of the change that are in error or carry a warning, at most [`VERDICTS_MAX`].
    pub verdicts: Vec<Verdict>,
}

/// Most verdicts in one answer; the rest is found with `Get`.
pub const VERDICTS_MAX: usize = 256;

/// The verdict of the check on one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The object's key.
    pub key: String,
    /// `enabled`, `warning` or `disabled`.
    pub state: String,
    /// Why, one text each.
    pub errors: Vec<String>,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// What kind of refusal.
    pub reason: RefusalReason,
    /// What is wrong and, where known, where: at most [`VERDICTS_MAX`] texts.
    pub problems: Vec<String>,
}

impl Refusal {
    /// A refusal with one text.
    pub fn new(reason: RefusalReason, problem: impl Into<String>) -> Self {
        Self { reason, problems: vec![problem.into()] }
    }
}

/// What kind of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RefusalReason {
    /// A document cannot be read.
    Unreadable,
    /// The request itself makes no sense: a bad key, too many hops, the wrong lane's role.
    BadRequest,
    /// Larger than a bound.
    TooLarge,
    /// The write came from a controller whose epoch is over.
    StaleEpoch,
    /// The state changed under the request again and again.
    Conflict,
    /// An object of the request would be in error.
    InError,
}

/// An answer to [`Request::Get`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Objects {
    /// The generation that was read.
    pub generation: Option<status::Generation>,
    /// Whether the answer may be behind.
    pub stale: bool,
    /// The objects, by key in order.
    pub objects: Vec<ObjectView>,
    /// The key to continue after, if there is more.
    pub next: Option<String>,
}

/// One object as `Get` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectView {
    /// The object's key.
    pub key: String,
    /// `enabled`, `warning` or `disabled`.
    pub state: String,
    /// Why, one text each.
    pub errors: Vec<String>,
    /// The wanted object, as canonical JSON.
    pub object: String,
    /// The last good object where the wanted one is in error, as canonical JSON.
    pub last_good: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_attempt_in_doubt_only_what_holds_for_every_attempt_is_certain() {
        let refused = |reason| Response::Refused(Refusal::new(reason, "why"));
        for response in [
            Response::Unavailable { reason: "why".to_owned() },
            refused(RefusalReason::Conflict),
            refused(RefusalReason::InError),
        ] {
            let Response::Unknown { reason } = response.after_doubt() else { panic!("said to be certain") };
            assert!(reason.ends_with("why"), "{reason}");
        }
        let redirect = Response::Redirect { node: Some(2), may_take_effect: false };
        assert_eq!(redirect.after_doubt(), Response::Redirect { node: Some(2), may_take_effect: true });
        let unreadable = refused(RefusalReason::Unreadable);
        assert_eq!(unreadable.clone().after_doubt(), unreadable, "no attempt can read it");
    }
}
