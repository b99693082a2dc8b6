//! Asks a cluster from outside, over lane Forward: what the command line uses.
//! It must not know which node leads: any control node finds the right one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Shared, PoisonError};
use std::time::Duration;

use ravelin_transport::backoff::{Backoff, BackoffOptions};
use ravelin_transport::identity::Identity;
use ravelin_transport::quic::{QuicOptions, QuicTransport};
use ravelin_transport::{Connection, Expected, Lane, PeerRole, Target, Transport, TransportError};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::request::parts::{self, Assembler, PartsError};
use crate::request::{Envelope, Page, Request, RequestId, RequestName, Response, Scope};

/// Longest wait for the answer of one node while there are others to try: it may be frozen. No node gets more than its share of a
/// shorter time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Added to it for each MiB of text in the request.
const MEBIBYTE_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for one node to take a connection.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pauses before all nodes are tried once more.
const ROUNDS: BackoffOptions = BackoffOptions {
    first: Duration::from_millis(100),
    max: Duration::from_millis(500),
    stable_after: Duration::MAX,
};
/// Time beyond its own deadline that a node has to say so.
const ANSWER_GRACE: Duration = Duration::from_millis(200);

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The identity names no controllers.
    #[error("the identity names no controllers")]
    NoControllers,
    /// There is no such controller.
    #[error("neither the identity nor the cluster names a controller {node}")]
    UnknownNode {
        /// The number asked for.
        node: u64,
    },
    /// The transport cannot be used at all.
    #[error("cannot open a way to the cluster")]
    Transport(#[from] TransportError),
    /// The question is too large to send.
    #[error("the request cannot be sent")]
    Request(#[source] PartsError),
    /// No controller could be reached; nothing was asked.
    #[error("no controller could be reached in time: {reason}")]
    Unreachable {
        /// What the last one said.
        reason: String,
    },
    /// A controller was asked something that changes nothing, and did not answer.
    #[error("no answer in time: {reason}")]
    Unanswered {
        /// What happened last.
        reason: String,
    },
}

/// A way into a cluster. Connections are kept and shared.
pub struct Client {
    transport: Arc<dyn Transport>,
    /// Where controllers are: first as the identity says, whose way there may be one that the cluster does not know, then where the
    /// cluster says.
    controllers: Shared<BTreeMap<u64, Vec<String>>>,
    /// What the cluster said last, if it was asked.
    told: Shared<Option<BTreeMap<u64, String>>>,
    /// The controller that answered last: asked first.
    answered: AtomicU64,
    connections: Mutex<BTreeMap<u64, Arc<dyn Connection>>>,
}

impl Client {
    /// A client over QUIC under an operator's (or controller's) identity. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Transport`], [`ClientError::NoControllers`].
    pub fn open(identity: Identity) -> Result<Self, ClientError> {
        let transport = Arc::new(QuicTransport::dial_only(&identity, QuicOptions::default())?);
        let controllers =
            identity.controllers().iter().map(|controller| (controller.node, controller.address.clone()));
        Self::over(transport, controllers)
    }

    /// A client over any transport, to these controllers by number and address.
    ///
    /// # Errors
    /// [`ClientError::NoControllers`].
    pub fn over(
        transport: Arc<dyn Transport>,
        controllers: impl IntoIterator<Item = (u64, String)>,
    ) -> Result<Self, ClientError> {
        let client = Self {
            transport,
            controllers: Shared::default(),
            told: Shared::default(),
            answered: AtomicU64::new(0),
            connections: Mutex::default(),
        };
        client.also_at(controllers);
        if client.known().is_empty() { Err(ClientError::NoControllers) } else { Ok(client) }
    }

    /// Controllers may be here as well; what is known already is tried first.
    pub fn also_at(&self, controllers: impl IntoIterator<Item = (u64, String)>) {
        let mut known = self.controllers.lock().unwrap_or_else(PoisonError::into_inner);
        for (node, address) in controllers {
            let addresses = known.entry(node).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }

    /// Takes over what a process before this one was told, and which controller answered it: that one is asked first, and those last
    /// that the cluster did not name any more.
    pub fn follow(&self, told: BTreeMap<u64, String>, answered: u64) {
        self.also_at(told.clone());
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        self.answered.store(answered, Ordering::Relaxed);
    }

    /// The controller that answered last; 0 if none did.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Where the cluster says that its controllers are, asked anew.
    ///
    /// # Errors
    /// [`ClientError`]: nobody says so in time.
    pub async fn told(&self, timeout: Duration) -> Result<BTreeMap<u64, String>, ClientError> {
        let told = self.learn(timeout).await?;
        told.ok_or_else(|| ClientError::Unanswered {
            reason: "nobody knows the members at present".to_owned(),
        })
    }

    /// Asks the cluster: any node that can be reached. A request that may have arrived is repeated under the same id
    /// only, so that it takes effect at most once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask(&self, request: Request, timeout: Duration) -> Result<Response, ClientError> {
        self.ask_any(&self.nodes(), Id::Drawn(rand::random()), request, timeout).await
    }

    /// A name under which a request can be asked for, once and again, until somebody says what came of it. This node is asked for
    /// it, or any.
    ///
    /// # Errors
    /// [`ClientError`]; nothing was asked for then.
    pub async fn name(
        &self,
        request: &Request,
        node: Option<u64>,
        timeout: Duration,
    ) -> Result<RequestName, ClientError> {
        let question = Request::Status { scope: Scope::Node, proxies: Page::NONE };
        let answer = match node {
            Some(node) => self.ask_node(node, question, timeout).await?,
            None => self.ask(question, timeout).await?,
        };
        match answer {
            Response::Status(status) => {
                // Any node's word will do: one that is behind only makes the request older than it is.
                let since = status.nodes.first().map_or(0, |node| node.applied_index);
                Ok(RequestName::new(request, since, rand::random()))
            }
            _ => Err(ClientError::Unreachable { reason: "no node says how it stands".to_owned() }),
        }
    }

    /// As [`Self::ask`], or as [`Self::ask_node`], under a name that was made before.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask_named(
        &self,
        name: RequestName,
        node: Option<u64>,
        request: Request,
        timeout: Duration,
    ) -> Result<Response, ClientError> {
        let nodes = match node {
            Some(node) => vec![self.find(node, timeout).await?],
            None => self.nodes(),
        };
        self.ask_any(&nodes, Id::Named(name), request, timeout).await
    }

    /// Ends every connection, and returns once the controllers have been told (bounded). A process that ends without it leaves them to
    /// find out by its silence, and each of its connections takes one of the operator's places at that node till then.
    pub async fn close(&self) {
        let connections = std::mem::take(&mut *self.connections.lock().await);
        self.transport.shutdown().await;
        drop(connections);
    }

    /// Every known node: the one that answered last first, and last those that the cluster did not name.
    fn nodes(&self) -> Vec<u64> {
        let mut nodes: Vec<u64> = self.known().keys().copied().collect();
        let first = self.answered();
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unnamed = |node: &u64| told.as_ref().is_some_and(|told| !told.contains_key(node));
        nodes.sort_by_key(|node| (*node != first, is_unnamed(node)));
        nodes
    }

    /// Asks one node; the cluster is asked where it is if the identity does not say.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ask_node(
        &self,
        node: u64,
        request: Request,
        timeout: Duration,
    ) -> Result<Response, ClientError> {
        let node = self.find(node, timeout).await?;
        self.ask_any(&[node], Id::Drawn(rand::random()), request, timeout).await
    }

    /// A node by its number, once it is known where it is.
    async fn find(&self, node: u64, timeout: Duration) -> Result<u64, ClientError> {
        if !self.known().contains_key(&node) {
            self.learn(timeout).await?;
        }
        if self.known().contains_key(&node) { Ok(node) } else { Err(ClientError::UnknownNode { node }) }
    }

    /// Asks the cluster where its controllers are. `None` if nobody knows at present.
    async fn learn(&self, timeout: Duration) -> Result<Option<BTreeMap<u64, String>>, ClientError> {
        let Response::Nodes(list) = self.ask(Request::Nodes, timeout).await? else { return Ok(None) };
        let told = list.nodes.into_iter().filter(|node| !node.address.is_empty());
        let told: BTreeMap<u64, String> = told.map(|node| (node.node, node.address)).collect();
        self.also_at(told.clone());
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told.clone());
        Ok(Some(told))
    }

    fn known(&self) -> BTreeMap<u64, Vec<String>> {
        self.controllers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask_any(
        &self,
        nodes: &[u64],
        id: Id,
        request: Request,
        timeout: Duration,
    ) -> Result<Response, ClientError> {
        let deadline = Instant::now() + timeout;
        let (id, since) = match id {
            Id::Drawn(id) => (RequestId(id), None),
            Id::Named(name) => (name.id, Some(name.since)),
        };
        let mut rounds = Backoff::new(ROUNDS, rand::random());
        let mut so_far =
            SoFar { changes: request.changes_state(), in_doubt: None, answered: None, missed: None };
        while Instant::now() < deadline {
            for &node in nodes {
                // Where there are others to try, one that is frozen must not take all the time.
                let patience = patience_for(&request, nodes.len(), timeout);
                let by = deadline.min(Instant::now() + patience);
                let left = by.saturating_duration_since(Instant::now());
                let envelope = Envelope {
                    id,
                    hops: 0,
                    deadline_millis: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
                    author: String::new(),
                    request: request.clone(),
                    since,
                };
                let frames = parts::question(1, None, &envelope).map_err(ClientError::Request)?;
                let mut asked = false;
                let answer = self.ask_once(node, frames, by, &mut asked).await;
                // Another try may have taken effect, or may still: what this one was told is not all.
                let is_in_doubt = so_far.changes && so_far.in_doubt.is_some();
                match answer.map(|response| if is_in_doubt { response.after_doubt() } else { response }) {
                    Ok(Response::Unavailable { reason }) => so_far.answered = Some(reason),
                    Ok(Response::Unknown { reason }) => so_far.in_doubt = Some(reason),
                    Ok(response) => {
                        self.answered.store(node, Ordering::Relaxed);
                        return Ok(response);
                    }
                    Err(reason) if asked => so_far.in_doubt = Some(reason),
                    Err(reason) => so_far.missed = Some(reason),
                }
            }
            let pause = rounds.failed(Duration::ZERO);
            tokio::time::sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
        }
        so_far.conclude()
    }

    async fn ask_once(
        &self,
        node: u64,
        frames: Vec<bytes::Bytes>,
        deadline: Instant,
        asked: &mut bool,
    ) -> Result<Response, String> {
        let connection = self.connection(node, deadline).await?;
        let answer = async {
            let (mut sender, mut receiver) =
                connection.open(Lane::Forward).await.map_err(|error| error.to_string())?;
            for frame in frames {
                *asked = true;
                sender.send(frame).await.map_err(|error| error.to_string())?;
            }
            let mut assembler = Assembler::default();
            loop {
                let frame = receiver.receive().await.map_err(|error| error.to_string())?;
                let frame = frame.ok_or_else(|| format!("controller {node} ended the conversation"))?;
                if let Some((_, _, response)) =
                    assembler.take_answer(&frame).map_err(|error| error.to_string())?
                {
                    return Ok(response);
                }
            }
        };
        // A little longer than the node has: its own word on the deadline is better than none.
        let answer = timeout_at(deadline + ANSWER_GRACE, answer).await;
        let answer = answer.unwrap_or_else(|_| Err(too_slow(node)));
        if answer.is_err() {
            self.connections.lock().await.remove(&node);
        }
        answer
    }

    async fn connection(&self, node: u64, deadline: Instant) -> Result<Arc<dyn Connection>, String> {
        if let Some(connection) = self.connections.lock().await.get(&node) {
            return Ok(Arc::clone(connection));
        }
        let expect = Expected { role: PeerRole::Controller, node: Some(node) };
        let mut missed = too_slow(node);
        for address in self.known().remove(&node).unwrap_or_default() {
            let dial_by = deadline.min(Instant::now() + NODE_TIMEOUT);
            let target = Target { address, expect };
            match timeout_at(dial_by, self.transport.connect(&target)).await {
                Ok(Ok(connection)) => {
                    self.connections.lock().await.insert(node, Arc::clone(&connection));
                    return Ok(connection);
                }
                Ok(Err(error)) => missed = error.to_string(),
                Err(_) => missed = too_slow(node),
            }
        }
        Err(missed)
    }
}

/// What a request goes by.
enum Id {
    /// Nobody will ask for it again.
    Drawn([u8; 16]),
    /// Whoever knows the name may.
    Named(RequestName),
}

/// What the tries so far came to.
struct SoFar {
    changes: bool,
    /// A try may have been heard, and nobody said what came of it.
    in_doubt: Option<String>,
    /// A node said that it did nothing.
    answered: Option<String>,
    /// A node was not reached.
    missed: Option<String>,
}

impl SoFar {
    /// The truth once the time is over.
    fn conclude(self) -> Result<Response, ClientError> {
        match (self.in_doubt, self.answered) {
            (Some(reason), _) if self.changes => Ok(Response::Unknown { reason }),
            (_, Some(reason)) => Ok(Response::Unavailable { reason }),
            (Some(reason), None) => Err(ClientError::Unanswered { reason }),
            (None, None) => {
                let reason = self.missed.unwrap_or_else(|| "there was no time".to_owned());
                Err(ClientError::Unreachable { reason })
            }
        }
    }
}

/// How long one of `nodes` may take for its answer. A large change takes its time on the way, in the check and in the log.
fn patience_for(request: &Request, nodes: usize, timeout: Duration) -> Duration {
    if nodes < 2 {
        return timeout;
    }
    let texts = match request {
        Request::Apply { documents, .. } => documents.iter().map(|document| document.text.len()).sum(),
        _ => 0,
    };
    let share = timeout / u32::try_from(nodes).unwrap_or(u32::MAX);
    let patience =
        ANSWER_TIMEOUT.min(share) + MEBIBYTE_TIMEOUT * u32::try_from(texts >> 20).unwrap_or(u32::MAX);
    patience.min(timeout)
}

fn too_slow(node: u64) -> String {
    format!("controller {node} did not answer in time")
}

#[cfg(test)]
mod tests {
    use ravelin_transport::ClusterId;
    use ravelin_transport::memory::{MemoryHub, MemoryTransport};

    use super::*;
    use crate::request::nodes::NodeList;
    use crate::request::{ApplyMode, Refusal, RefusalReason};

    /// Far above what any answer in memory takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Answers every question of a client, or ends its lane without an answer. Gives the names that it was asked under.
    async fn answer(transport: MemoryTransport, with: Option<Response>, asked: Arc<Shared<Vec<RequestId>>>) {
        loop {
            let Ok(connection) = transport.accept().await else { return };
            while let Ok((_, mut sender, mut receiver)) = connection.accept().await {
                let mut assembler = Assembler::default();
                let Ok(Some(frame)) = receiver.receive().await else { continue };
                let question = assembler.take_question(&frame).expect("a question").expect("in one part");
                asked.lock().expect("nobody panics").push(question.2.id);
                for frame in with.iter().flat_map(|response| parts::answer(question.0, None, response)) {
                    sender.send(frame).await.expect("the client listens");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_is_asked_where_the_identity_says_and_where_it_was_told_to_be_if_that_fails() {
        let hub = MemoryHub::new();
        let endpoint =
            |name: &str, role, node| hub.endpoint(name, ClusterId([1; 16]), role, node).expect("a free name");
        let asked = Arc::new(Shared::new(Vec::new()));
        let list = NodeList { leader: 4, term: 1, recovery_epoch: 0, nodes: Vec::new() };
        let says = Response::Nodes(list);
        let moved = endpoint("moved", PeerRole::Controller, 1);
        tokio::spawn(answer(moved, Some(says.clone()), Arc::clone(&asked)));
        let later = endpoint("later", PeerRole::Controller, 4);
        tokio::spawn(answer(later, Some(says.clone()), Arc::clone(&asked)));
        let own = [(1, "gone".to_owned())];
        let client = Client::over(Arc::new(endpoint("o1", PeerRole::Operator, 1)), own).expect("one");
        let alone = client.ask(Request::Nodes, Duration::from_millis(300)).await;
        assert!(matches!(alone, Err(ClientError::Unreachable { .. })), "{alone:?}");
        client.also_at([(1, "moved".to_owned()), (4, "later".to_owned())]);
        assert_eq!(client.nodes(), [1, 4]);
        assert_eq!(client.known()[&1], ["gone", "moved"], "the identity's comes first");
        assert_eq!(client.ask(Request::Nodes, PATIENCE).await.expect("an answer"), says);
        assert_eq!(client.answered(), 1);
        let asking = Client::over(Arc::new(endpoint("o2", PeerRole::Operator, 2)), [(1, "gone".to_owned())]);
        let asking = asking.expect("one");
        let told = [(3, "frozen".to_owned()), (4, "later".to_owned())];
        asking.follow(told.into(), 4);
        assert_eq!(asking.nodes(), [4, 3, 1], "who answered, who is named, who is not any more");
        assert_eq!(asking.told(PATIENCE).await.expect("it is said"), BTreeMap::new());
        assert_eq!(asking.answered(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn frozen_nodes_leave_time_for_one_that_answers_however_short_it_is() {
        let hub = MemoryHub::new();
        let endpoint =
            |name: &str, role, node| hub.endpoint(name, ClusterId([1; 16]), role, node).expect("a free name");
        // They take connections and questions, and say nothing.
        let frozen = [1, 2].map(|node| endpoint(&format!("c{node}"), PeerRole::Controller, node));
        let held: Vec<_> = frozen
            .into_iter()
            .map(|transport| {
                tokio::spawn(async move {
                    let mut held = Vec::new();
                    while let Ok(connection) = transport.accept().await {
                        held.push((connection.accept().await, connection));
                    }
                })
            })
            .collect();
        let asked = Arc::new(Shared::new(Vec::new()));
        let says = Response::Nodes(NodeList { leader: 3, term: 1, recovery_epoch: 0, nodes: Vec::new() });
        tokio::spawn(answer(endpoint("c3", PeerRole::Controller, 3), Some(says.clone()), asked));
        let at = |node: u64| (node, format!("c{node}"));
        let transport = Arc::new(endpoint("o1", PeerRole::Operator, 1));
        let client = Client::over(transport, [1, 2, 3].map(at)).expect("three");
        let answered = client.ask(Request::Nodes, Duration::from_secs(2)).await;
        assert_eq!(answered.expect("the third answers"), says);
        assert_eq!(client.answered(), 3);
        held.into_iter().for_each(|task| task.abort());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_after_a_try_in_doubt_is_unknown_and_never_a_failure() {
        let hub = MemoryHub::new();
        let endpoint =
            |name: &str, role, node| hub.endpoint(name, ClusterId([1; 16]), role, node).expect("a free name");
        let asked = Arc::new(Shared::new(Vec::new()));
        let refused =
            Response::Refused(Refusal::new(RefusalReason::InError, "it is judged by another state"));
        for (node, with) in [(1, None), (2, Some(refused.clone()))] {
            let transport = endpoint(&format!("c{node}"), PeerRole::Controller, node);
            tokio::spawn(answer(transport, with, Arc::clone(&asked)));
        }
        let at = |node: u64| (node, format!("c{node}"));
        let client = |name: &str, nodes: &[u64]| {
            let transport = Arc::new(endpoint(name, PeerRole::Operator, 1));
            Client::over(transport, nodes.iter().copied().map(at)).expect("there are some")
        };
        let apply = Request::Apply { documents: Vec::new(), mode: ApplyMode::Merge };
        let both = client("o1", &[1, 2]).ask(apply.clone(), Duration::from_millis(500)).await;
        let Ok(Response::Unknown { .. }) = both else { panic!("said to be certain: {both:?}") };
        {
            let asked = asked.lock().expect("nobody panics");
            assert!(asked.len() > 2 && asked.iter().all(|id| id == &asked[0]), "one id: {asked:?}");
        }
        let second = client("o2", &[2]).ask(apply.clone(), Duration::from_millis(500)).await;
        assert_eq!(second.expect("an answer"), refused);
        let first = client("o3", &[1]).ask(apply, Duration::from_millis(300)).await;
        assert!(matches!(first, Ok(Response::Unknown { .. })), "{first:?}");
        let get = client("o4", &[1]).ask(Request::Nodes, Duration::from_millis(300)).await;
        assert!(matches!(get, Err(ClientError::Unanswered { .. })), "it changes nothing: {get:?}");
    }
}
