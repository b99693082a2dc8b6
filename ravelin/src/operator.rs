//! The operator's commands against a running cluster: apply, delete, get, status, events, and what `explain` reads. They speak
//! lane Forward under the operator's identity; they must not know which node leads.

mod members;
mod remembered;
mod show;

pub(crate) use members::{leader, node};
pub(crate) use show::role;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use ravelin_cluster::request::status::{ClusterStatus, EventRecord, NodeStatus};
use ravelin_cluster::request::{
    ApplyMode, Change, Consistency, EVENTS_PAGE_MAX, GET_OBJECTS_MAX, Objects, Page, Request, RequestName,
    Response, Scope, SourceDocument, SourceFormat,
};
use ravelin_cluster::shell::client::Client;
use ravelin_config::document::Format;
use ravelin_config::template;
use ravelin_transport::identity::Identity;
use ravelin_transport::{ClusterId, PeerRole};

use self::remembered::{Places, Remembered};
use crate::cli::{ApplyOptions, DeleteOptions, EventsOptions, GetOptions, OperatorOptions, StatusOptions};
use crate::exit::{self, CheckFailed};

/// Longest wait, behind a command, for the cluster to say where its controllers are.
const TELL_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a configuration of several pages is read that changes between them.
const READINGS_MAX: u32 = 8;

/// A way into a cluster, under an operator's identity. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Operator {
    client: Arc<Client>,
    cluster: ClusterId,
    /// Where the identity file says that controllers are.
    named: Arc<BTreeMap<u64, String>>,
    timeout: Duration,
}

impl Operator {
    /// Reads the identity; connects when asked. Needs a runtime.
    ///
    /// # Errors
    /// The identity cannot be read or is not an operator's.
    pub(crate) fn open(identity: &Path, timeout: Duration) -> anyhow::Result<Self> {
        let path = identity;
        let identity = Identity::load(path)?;
        if identity.role() != PeerRole::Operator {
            bail!("{}: this identity is for a {}, not for an operator", path.display(), identity.role());
        }
        let cluster = identity.cluster();
        let named = identity.controllers().iter();
        let named = named.map(|controller| (controller.node, controller.address.clone())).collect();
        let client = Client::open(identity)?;
        if let Some(remembered) = Remembered::read(&Places::of(path, cluster), cluster) {
            client.follow(remembered.controllers, remembered.answered);
        }
        Ok(Self { client: Arc::new(client), cluster, named: Arc::new(named), timeout })
    }

    /// The same way in, with another longest wait for an answer.
    pub(crate) fn waiting(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// Keeps where the controllers are, if the cluster says so: for the next command.
    async fn remember(&self, identity: &Path) {
        let Ok(told) = self.client.told(self.timeout.min(TELL_TIMEOUT)).await else { return };
        let places = Places::of(identity, self.cluster);
        let now = Remembered::new(self.cluster, self.client.answered(), told);
        if Remembered::read(&places, self.cluster).as_ref() == Some(&now) {
            return;
        }
        // What the identity file says does without being remembered.
        if let Err(reason) = now.write(&places)
            && now.controllers != *self.named
        {
            eprintln!("ravelin: the next command will not know that controllers have moved: {reason}");
        }
    }

    async fn ask(&self, node: Option<u64>, request: Request) -> anyhow::Result<Response> {
        let response = match node {
            Some(node) => self.client.ask_node(node, request, self.timeout).await,
            None => self.client.ask(request, self.timeout).await,
        };
        response.context("the cluster could not be asked")
    }

    /// Applies a YAML document.
    ///
    /// # Errors
    /// It was refused, or the cluster said that nothing was accepted, or the outcome is unknown: the text
    /// tells which.
    pub(crate) async fn apply(&self, text: &str) -> anyhow::Result<Change> {
        self.apply_document("standard input", SourceFormat::Yaml, text, None).await
    }

    /// Asks once for a YAML document to be applied, under the name of an earlier time if it was asked for before; the name, and what
    /// was answered.
    ///
    /// # Errors
    /// Nothing was asked for.
    pub(crate) async fn apply_named(
        &self,
        text: &str,
        again: Option<RequestName>,
    ) -> anyhow::Result<(RequestName, Response)> {
        let request = applying("standard input", SourceFormat::Yaml, text);
        let name = match again {
            Some(name) => name,
            None => self.client.name(&request, None, self.timeout).await?,
        };
        Ok((name, self.client.ask_named(name, None, request, self.timeout).await?))
    }

    /// Applies a YAML document through one node.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub(crate) async fn apply_through(&self, node: u64, text: &str) -> anyhow::Result<Change> {
        self.apply_document("standard input", SourceFormat::Yaml, text, Some(node)).await
    }

    async fn apply_document(
        &self,
        name: &str,
        format: SourceFormat,
        text: &str,
        node: Option<u64>,
    ) -> anyhow::Result<Change> {
        match self.ask(node, applying(name, format, text)).await? {
            Response::Done(change) => Ok(change),
            other => Err(show::not_done(other)),
        }
    }

    /// Asks for a change, under the name of an earlier time if it was asked for before. Where the outcome stays unknown, the name is
    /// told under which it can be asked for again.
    async fn change(
        &self,
        request: Request,
        node: Option<u64>,
        again: Option<RequestName>,
    ) -> anyhow::Result<Change> {
        let name = match again {
            Some(name) if !name.is_of(&request) => {
                bail!("{name} is the name of another request: the file or the keys are not those of before")
            }
            Some(name) => name,
            None => {
                let name = self.client.name(&request, node, self.timeout).await;
                name.context("nothing was asked for: the cluster cannot be reached")?
            }
        };
        match self.client.ask_named(name, node, request, self.timeout).await {
            Ok(Response::Done(change)) => Ok(change),
            Ok(Response::Unknown { reason }) => Err(show::unknown(&reason, Some(name))),
            Ok(other) => Err(show::not_done(other)),
            Err(error) => Err(error).context("the cluster could not be asked"),
        }
    }

    /// What one controller says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn status(&self, node: u64) -> anyhow::Result<NodeStatus> {
        match self.ask(Some(node), Request::Status { scope: Scope::Node, proxies: Page::FIRST }).await? {
            Response::Status(status) => status
                .nodes
                .into_iter()
                .find(|status| status.node == node)
                .context("an answer of another node"),
            other => Err(show::not_done(other)),
        }
    }

    /// What one controller saw happen, oldest first.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn events(&self, node: u64) -> anyhow::Result<Vec<EventRecord>> {
        let mut all: Vec<EventRecord> = Vec::new();
        loop {
            let since = all.last().map_or(0, |event| event.number);
            match self.ask(Some(node), Request::Events { since, limit: EVENTS_PAGE_MAX }).await? {
                Response::Events(page) if page.is_empty() => return Ok(all),
                Response::Events(page) => all.extend(page),
                other => return Err(show::not_done(other)),
            }
        }
    }

    async fn cluster_status(&self, node: Option<u64>) -> anyhow::Result<ClusterStatus> {
        let mut all: Option<ClusterStatus> = None;
        loop {
            let after = all.as_ref().and_then(|all| all.next_proxy).unwrap_or_default();
            let request = Request::Status { scope: Scope::Cluster, proxies: Page { after, ..Page::FIRST } };
            let page = match self.ask(node, request).await? {
                Response::Status(page) => page,
                other => return Err(show::not_done(other)),
            };
            let joined = match all.take() {
                Some(before) => join(before, page),
                None => page,
            };
            match joined.next_proxy {
                Some(next) if next > after => all = Some(joined),
                _ => return Ok(joined),
            }
        }
    }

    /// All objects whose keys begin so, page by page, and whether every page is of the same generation.
    async fn objects(
        &self,
        node: Option<u64>,
        prefix: &str,
        consistency: Consistency,
    ) -> anyhow::Result<(Objects, bool)> {
        let (mut all, mut is_one): (Option<Objects>, bool) = (None, true);
        loop {
            let request = Request::Get {
                prefix: prefix.to_owned(),
                after: all.as_ref().and_then(|objects| objects.next.clone()),
                limit: GET_OBJECTS_MAX,
                consistency,
            };
            let page = match self.ask(node, request).await? {
                Response::Objects(page) => page,
                other => return Err(show::not_done(other)),
            };
            let next = page.next.clone();
            match &mut all {
                None => all = Some(page),
                Some(objects) => {
                    is_one &= objects.generation == page.generation;
                    objects.objects.extend(page.objects);
                    objects.next = page.next;
                }
            }
            if let (None, Some(objects)) = (next, all.take_if(|objects| objects.next.is_none())) {
                return Ok((objects, is_one));
            }
        }
    }

    /// The whole configuration, as it was at one time.
    async fn configuration(&self, node: Option<u64>) -> anyhow::Result<Objects> {
        for _ in 0..READINGS_MAX {
            if let (objects, true) = self.objects(node, "", Consistency::Linearizable).await? {
                return Ok(objects);
            }
        }
        bail!(
            "the configuration changed each of {READINGS_MAX} times while it was read; asking again is safe"
        )
    }
}

/// What `apply` asks for.
fn applying(name: &str, format: SourceFormat, text: &str) -> Request {
    let document = SourceDocument { name: name.to_owned(), format, text: text.to_owned() };
    Request::Apply { documents: vec![document], mode: ApplyMode::Merge }
}

/// Runs one question under the common flags.
fn with_operator<T>(
    options: &OperatorOptions,
    question: impl AsyncFnOnce(&Operator) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    exit::runtime()?.block_on(async {
        let operator = Operator::open(&options.identity, Duration::from_secs(options.timeout))?;
        let answer = question(&operator).await;
        if answer.is_ok() {
            operator.remember(&options.identity).await;
        }
        // Told before the process ends: else the nodes count its connections until they time out, and refuse those of the commands
        // that follow once there are too many.
        operator.client.close().await;
        answer
    })
}

/// `ravelin apply FILE`.
///
/// # Errors
/// The file cannot be read, or the change was not made.
pub(crate) fn apply(options: &ApplyOptions) -> anyhow::Result<()> {
    let name = options.file.display().to_string();
    let mut text = String::new();
    let format = if name == "-" {
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        SourceFormat::Yaml
    } else {
        text = std::fs::read_to_string(&options.file).with_context(|| format!("{name} could not be read"))?;
        let format = SourceFormat::of_name(&name);
        format.with_context(|| format!("{name}: the name must end in .yaml, .yml, .json or .toml"))?
    };
    // A template is carried out here, with the environment of who asks.
    let read_as = match format {
        SourceFormat::Yaml => Format::Yaml,
        SourceFormat::Toml => Format::Toml,
    };
    let rendered = template::render_dynamic(&name, &text, read_as, &template::process_environment);
    let rendered = rendered.map_err(|problem| CheckFailed(problem.to_string()))?;
    let text = rendered.map_or(text, |rendered| rendered.text);
    let node = options.operator.node;
    let change = with_operator(&options.operator, async |operator| {
        operator.change(applying(&name, format, &text), node, options.request).await
    })?;
    show::change(&change, options.operator.json)
}

/// `ravelin delete KEY...`.
///
/// # Errors
/// The change was not made.
pub(crate) fn delete(options: &DeleteOptions) -> anyhow::Result<()> {
    let request = Request::Delete { keys: options.keys.clone() };
    let change = with_operator(&options.operator, async |operator| {
        operator.change(request, options.operator.node, options.request).await
    })?;
    show::change(&change, options.operator.json)
}

/// `ravelin get [PREFIX]`.
///
/// # Errors
/// The cluster could not answer.
pub(crate) fn get(options: &GetOptions) -> anyhow::Result<()> {
    let consistency = if options.stale { Consistency::Stale } else { Consistency::Linearizable };
    let (objects, _) = with_operator(&options.operator, async |operator| {
        operator.objects(options.operator.node, &options.prefix, consistency).await
    })?;
    show::objects(&objects, options.operator.json)
}

/// What the cluster has committed, whole: for `ravelin explain`.
///
/// # Errors
/// The cluster could not answer, or it changes faster than it can be read.
pub(crate) fn configuration(options: &OperatorOptions) -> anyhow::Result<Objects> {
    with_operator(options, async |operator| operator.configuration(options.node).await)
}

/// `ravelin status`.
///
/// # Errors
/// The cluster could not answer.
pub(crate) fn status(options: &StatusOptions) -> anyhow::Result<()> {
    let node = options.operator.node;
    let status = with_operator(&options.operator, async |operator| operator.cluster_status(node).await)?;
    show::status(&status, options.operator.json)
}

/// `ravelin events`: of one node, or of all that answer, oldest first.
///
/// # Errors
/// No node answers.
pub(crate) fn events(options: &EventsOptions) -> anyhow::Result<()> {
    let node = options.operator.node;
    let events = with_operator(&options.operator, async |operator| {
        let nodes = match node {
            Some(node) => vec![node],
            None => operator.cluster_status(None).await?.nodes.iter().map(|status| status.node).collect(),
        };
        let mut all = Vec::new();
        for node in nodes {
            all.extend(operator.events(node).await?);
        }
        if all.is_empty() {
            bail!("no node has kept an event");
        }
        all.sort_by_key(|event| (event.at_micros, event.node, event.number));
        Ok(all)
    })?;
    show::events(&events, options.operator.json)
}

/// The next page of proxies laid to those before it; all else is as it was first said.
fn join(mut before: ClusterStatus, page: ClusterStatus) -> ClusterStatus {
    for node in page.nodes {
        if let Some(known) = before.nodes.iter_mut().find(|known| known.node == node.node) {
            known.proxies.extend(node.proxies);
            known.next_proxy = node.next_proxy;
        }
    }
    before.twins.extend(page.twins);
    before.next_proxy = page.next_proxy;
    before
}
