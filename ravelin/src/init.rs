//! `ravelin init`: makes the identities of a new cluster, and later of nodes that join it. It must never overwrite an
//! identity, nor speak to a cluster.

use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use ravelin_transport::PeerRole;
use ravelin_transport::identity::{self, Authority, ClusterPlan, Identity, NewNode};

use crate::cli::InitOptions;

/// How long the identity of a node that joins is valid, until renewal exists.
const VALIDITY: Duration = Duration::from_secs(365 * 86_400);

/// Makes a new cluster and writes one identity file per node, one for the operator, and the cluster's CA; or, with
/// `--add`, identities for further nodes.
///
/// # Errors
/// The nodes make no plan, or a file exists already or cannot be written.
pub(crate) fn run(options: &InitOptions) -> anyhow::Result<()> {
    if !options.add.is_empty() {
        return add(options);
    }
    let plan = plan(&options.nodes)?;
    let cluster = identity::init(&plan)?;
    let files = cluster.save(&options.out)?;
    println!(
        "cluster {}: {} controller(s), {} proxy(s)",
        cluster.cluster,
        plan.controllers.len(),
        plan.proxies
    );
    for file in files {
        println!("  {}", file.display());
    }
    println!("Each node needs its own file and no other. Keep the CA's file offline; it makes identities.");
    Ok(())
}

/// Identities for nodes that join a cluster.
fn add(options: &InitOptions) -> anyhow::Result<()> {
    let beside =
        |given: &Option<std::path::PathBuf>, name| given.clone().unwrap_or_else(|| options.out.join(name));
    let authority = Authority::load(&beside(&options.ca, "cluster-ca.pem")).context("the cluster's CA")?;
    let like =
        Identity::load(&beside(&options.like, "operator.toml")).context("an identity of the cluster")?;
    // The files of proxies and operators outlive a recovery, and do not know of it.
    let like = like.in_recovery_epoch(options.epoch.unwrap_or(like.recovery_epoch()));
    let nodes = options.add.iter().map(|text| Ok(node(text)?.added())).collect::<anyhow::Result<Vec<_>>>()?;
    let identities = identity::add(&authority, &like, &nodes, SystemTime::now(), VALIDITY)?;
    let files = identity::save_added(&nodes, &identities, &options.out)?;
    println!("cluster {}: {} further node(s)", like.cluster(), nodes.len());
    for (file, new) in files.iter().zip(&nodes) {
        println!("  {}", file.display());
        if new.role == PeerRole::Controller {
            println!("    takes part after: ravelin node add {}", file.display());
        }
    }
    Ok(())
}

/// The nodes of the command line as a plan: controllers and proxies are numbered from 1 without a gap.
fn plan(nodes: &[String]) -> anyhow::Result<ClusterPlan> {
    let mut controllers = std::collections::BTreeMap::new();
    let mut proxies = std::collections::BTreeSet::new();
    for text in nodes {
        let new = match node(text)? {
            Node::Controller { number, address } => controllers.insert(number, address).is_none(),
            Node::Proxy { number } => proxies.insert(number),
        };
        if !new {
            bail!("node {text:?} is named twice");
        }
    }
    if controllers.keys().copied().ne(1..=controllers.len() as u64) {
        bail!("controllers must be numbered 1, 2, 3 … without a gap");
    }
    if proxies.iter().copied().ne(1..=proxies.len() as u64) {
        bail!("proxies must be numbered 1, 2, 3 … without a gap");
    }
    Ok(ClusterPlan::new(controllers.into_values().collect(), proxies.len() as u64))
}

/// One node as written on the command line.
#[derive(Debug, PartialEq, Eq)]
enum Node {
    Controller { number: u64, address: String },
    Proxy { number: u64 },
}

impl Node {
    fn added(self) -> NewNode {
        match self {
            Self::Controller { number, address } => {
                NewNode { role: PeerRole::Controller, node: number, address: Some(address) }
            }
            Self::Proxy { number } => NewNode { role: PeerRole::Proxy, node: number, address: None },
        }
    }
}

/// `controller-1=ADDRESS` or `proxy-1`.
fn node(text: &str) -> anyhow::Result<Node> {
    let (name, address) = text.split_once('=').map_or((text, None), |(name, address)| (name, Some(address)));
    let form = || format!("node {text:?}: write controller-1=HOST:PORT or proxy-1");
    let (role, number) = name.rsplit_once('-').with_context(form)?;
    let number: u64 = number.parse().ok().filter(|number| *number > 0).with_context(form)?;
    match (role, address) {
        ("controller", Some(address)) => Ok(Node::Controller { number, address: address.to_owned() }),
        ("proxy", None) => Ok(Node::Proxy { number }),
        _ => bail!(form()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_no_gaps_and_no_doubles() {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let good = plan(&words(&["proxy-1", "controller-1=a:1", "proxy-2"])).expect("a plan");
        assert_eq!((good.controllers, good.proxies), (vec!["a:1".to_owned()], 2));
        assert!(plan(&words(&["controller-2=a:1"])).is_err());
        assert!(plan(&words(&["controller-1=a:1", "controller-1=b:1"])).is_err());
        assert!(plan(&words(&["controller-1=a:1", "proxy-2"])).is_err());
    }

    #[test]
    fn nodes_are_read_and_slips_are_named() {
        let controller = Node::Controller { number: 1, address: "127.0.0.1:7400".to_owned() };
        assert_eq!(node("controller-1=127.0.0.1:7400").expect("a controller"), controller);
        assert_eq!(node("proxy-2").expect("a proxy"), Node::Proxy { number: 2 });
        for wrong in ["proxy", "proxy-0", "proxy-x", "proxy-1=127.0.0.1:1", "controller-1", "edge-1"] {
            let error = node(wrong).expect_err("a wrong node").to_string();
            assert!(error.contains("controller-1=HOST:PORT"), "{error}");
        }
    }
}
