//! `ravelin recover`: begins a new recovery epoch from a stopped controller, after the others are lost for good. It must say
//! what is given up before it changes anything, and never works on a running node.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ravelin_cluster::recover::{Survey, Survivor};
use ravelin_cluster::storage::WalLimits;
use ravelin_transport::PeerRole;
use ravelin_transport::identity::Identity;

use crate::cli::RecoverOptions;

/// Shows what a survivor holds; with the cluster's id or `--yes`, lets it go on alone.
///
/// # Errors
/// The node runs, its directory cannot be used, the cluster's id is another one, or nobody has agreed: nothing was changed.
pub(crate) fn run(options: &RecoverOptions) -> anyhow::Result<()> {
    let identity = Identity::load(&options.identity)?;
    if identity.role() != PeerRole::Controller {
        bail!(
            "{}: this identity is for a {}; a cluster is recovered from a controller",
            options.identity.display(),
            identity.role()
        );
    }
    let cluster = identity.cluster().to_string();
    let survivor = Survivor::open(&options.data, &identity)?;
    let survey = survivor.survey()?;
    print!("{}", describe(&identity, &survivor, &survey));
    match &options.cluster {
        Some(named) if *named != cluster => {
            bail!("--cluster {named} is not the cluster of this node, {cluster}: nothing was changed")
        }
        None if !options.yes => {
            bail!("nothing was changed; to go on, say which cluster it is: --cluster {cluster}")
        }
        _ => {}
    }
    let epoch = survivor.recover(WalLimits::default())?;
    let kept = kept(&options.identity, identity.recovery_epoch());
    identity.in_recovery_epoch(epoch).replace(&options.identity, &kept).context(
        "the data directory is recovered, and the identity file is not: run the same command again",
    )?;
    print!("{}", told(&options.identity, &options.data, &kept, identity.node(), epoch));
    Ok(())
}

/// The name under which the identity file of the old epoch stays.
fn kept(identity: &Path, epoch: u32) -> PathBuf {
    let mut name = identity.as_os_str().to_owned();
    name.push(format!(".epoch-{epoch}"));
    PathBuf::from(name)
}

fn describe(identity: &Identity, survivor: &Survivor, survey: &Survey) -> String {
    let node = identity.node();
    let names = |nodes: Vec<String>| if nodes.is_empty() { "none".to_owned() } else { nodes.join(", ") };
    let voters: Vec<u64> =
        survey.members.voters.keys().chain(survey.members.outgoing.keys()).map(|node| node.0).collect();
    let others = voters.iter().filter(|voter| **voter != node).map(|voter| format!("controller-{voter}"));
    let generation = survey.generation.map_or("none".to_owned(), |generation| generation.to_string());
    let mut text = format!(
        "controller-{node} of cluster {}, recovery epoch {}\n\
         last entry             {} of term {}\n\
         known to be committed  up to entry {}\n\
         configuration          generation {generation}\n\
         other voters           {}\n",
        identity.cluster(),
        identity.recovery_epoch(),
        survey.last_index,
        survey.last_term,
        survey.known_index,
        names(others.collect()),
    );
    if survivor.has_passed() {
        text.push_str(
            "The data directory has begun its new epoch already; only the identity file is left to do.\n",
        );
        return text;
    }
    let unacknowledged = survey.last_index.saturating_sub(survey.known_index);
    if unacknowledged > 0 {
        text.push_str(&format!(
            "The last {unacknowledged} of these entries may never have been acknowledged to anybody; they take effect all the same.\n"
        ));
    }
    text.push_str(&format!(
        "Given up for good: whatever the other controllers committed after entry {}, and they themselves: from then on none\n\
         of them is heard again, even if it comes back. If another survivor's log ends in a later term, or in the same term\n\
         at a later entry, recover from that one instead.\n",
        survey.last_index
    ));
    text
}

fn told(identity: &Path, data: &Path, kept: &Path, node: u64, epoch: u32) -> String {
    let (identity, data) = (identity.display(), data.display());
    format!(
        "controller-{node} is the only voter of recovery epoch {epoch} from now on.\n\
         start it      ravelin controller --identity {identity} --data {data}\n\
         more voters   ravelin init --add controller-4=HOST:PORT --like {identity}, then ravelin node add\n\
         kept          the log of before in {data}, the identity in {}: remove them once you are content\n\
         never again   start one of the other controllers with its old data directory\n",
        kept.display()
    )
}
