//! `ravelin node` and `ravelin leader`: who the control nodes are, who joins and goes, who leads. They must not decide
//! anything: the leader judges, and says what came of it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use ravelin_cluster::request::nodes::{Leadership, NodeChange, NodeContact, NodeList};
use ravelin_cluster::request::{Request, Response};
use ravelin_transport::PeerRole;
use ravelin_transport::identity::Identity;

use super::{Operator, show, with_operator};
use crate::cli::{LeaderCommand, NodeCommand, OperatorOptions};

impl Operator {
    /// The control nodes, as the leader knows them.
    ///
    /// # Errors
    /// Nobody answers, or there is no leader.
    pub(crate) async fn nodes(&self) -> anyhow::Result<NodeList> {
        listed(self.ask(None, Request::Nodes).await?)
    }

    /// Makes a control node a member, by its identity file, and returns once it is one.
    ///
    /// # Errors
    /// It was refused, or not made, or the outcome is unknown: the text tells which.
    pub(crate) async fn add_node(&self, identity: &Path, votes: bool) -> anyhow::Result<NodeList> {
        let contact = contact(identity)?;
        listed(self.ask(None, Request::ChangeNode(NodeChange::Add { contact, votes })).await?)
    }

    /// Removes a control node, and returns once it is gone.
    ///
    /// # Errors
    /// As [`Self::add_node`].
    pub(crate) async fn remove_node(&self, node: u64, force: bool) -> anyhow::Result<NodeList> {
        listed(self.ask(None, Request::ChangeNode(NodeChange::Remove { node, force })).await?)
    }

    /// Hands leadership over; the answer says who leads, whether or not it is the one that was wanted.
    ///
    /// # Errors
    /// It was refused, or the outcome is unknown.
    pub(crate) async fn transfer_leader(&self, to: Option<u64>) -> anyhow::Result<Leadership> {
        match self.ask(None, Request::TransferLeader { to }).await? {
            Response::Leads(leadership) => Ok(leadership),
            other => Err(show::not_done(other)),
        }
    }
}

fn listed(response: Response) -> anyhow::Result<NodeList> {
    match response {
        Response::Nodes(list) => Ok(list),
        other => Err(show::not_done(other)),
    }
}

/// What the cluster must know of a node, from its identity file. Its private key stays where it is.
fn contact(path: &Path) -> anyhow::Result<NodeContact> {
    let shown = path.display();
    let identity = Identity::load(path)?;
    if identity.role() != PeerRole::Controller {
        bail!("{shown}: this identity is for a {}; only controllers are added", identity.role());
    }
    let node = identity.node();
    let own = identity.controllers().iter().find(|controller| controller.node == node);
    let own = own.with_context(|| format!("{shown}: does not say where controller {node} is dialled"))?;
    Ok(NodeContact {
        node,
        recovery_epoch: identity.recovery_epoch(),
        incarnation: identity.incarnation(),
        address: own.address.clone(),
        public_key_sha256: own.public_key_sha256.to_vec(),
    })
}

/// `ravelin node …`.
///
/// # Errors
/// The cluster could not answer, or did not do it.
pub(crate) fn node(command: &NodeCommand) -> anyhow::Result<()> {
    let (options, list) = match command {
        NodeCommand::List { operator } => {
            (operator, with_operator(operator, async |cluster| cluster.nodes().await)?)
        }
        NodeCommand::Add { identity_file, spare, operator } => {
            let asked = async |cluster: &Operator| cluster.add_node(identity_file, !spare).await;
            (operator, with_operator(operator, asked)?)
        }
        NodeCommand::Remove { controller: node, force, operator } => {
            (operator, with_operator(operator, async |cluster| cluster.remove_node(*node, *force).await)?)
        }
        NodeCommand::Promote { controller: node, operator } => {
            (operator, changed(operator, NodeChange::Promote { node: *node })?)
        }
        NodeCommand::Demote { controller: node, operator } => {
            (operator, changed(operator, NodeChange::Demote { node: *node })?)
        }
    };
    show::nodes(&list, options.json)
}

fn changed(options: &OperatorOptions, change: NodeChange) -> anyhow::Result<NodeList> {
    let request = Request::ChangeNode(change);
    listed(with_operator(options, async |cluster| cluster.ask(None, request).await)?)
}

/// `ravelin leader transfer [NODE]`.
///
/// # Errors
/// The wanted node does not lead, or it is not known who does: the text tells which.
pub(crate) fn leader(command: &LeaderCommand) -> anyhow::Result<()> {
    let LeaderCommand::Transfer { controller: node, operator } = command;
    let leads = with_operator(operator, async |cluster| cluster.transfer_leader(*node).await)?;
    let Leadership { leader, term, wanted } = leads;
    if leader != wanted {
        let limit = Duration::from_secs(1);
        bail!(
            "not handed over: controller-{wanted} did not take over within {limit:?}; controller-{leader} leads, term {term}"
        );
    }
    show::leads(&leads, operator.json)
}
