//! Identities for nodes that join a cluster later, made by whoever keeps its authority. None of them is a founder: a control
//! node made here knows of no members until the cluster tells it.

use super::file::make_directory;
use super::init::FIRST_INCARNATION;
use super::{Authority, Controller, Identity, IdentityError, Parts, check_address};
use crate::certificate;
use crate::peer::{PeerId, PeerRole};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Most nodes that are added at once.
const NODES_MAX: usize = 10_000;

/// A node that shall get an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNode {
    /// What it is.
    pub role: PeerRole,
    /// Its number within its role.
    pub node: u64,
    /// `host:port` at which others dial it: of a controller only.
    pub address: Option<String>,
}

impl NewNode {
    /// The name of its identity file: `controller-4.toml`.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}-{}.toml", self.role, self.node)
    }
}

/// Makes identities for nodes of a cluster that stands. `like` is any identity of it: the new ones are of the same cluster and recovery
/// epoch, and look for it at the same controllers. A controller's incarnation is the second at which it is made, so that a node which
/// replaces another of its number is a later one.
///
/// # Errors
/// [`IdentityError::Plan`] for nodes that make no sense or another cluster's `like`, [`IdentityError::Certificate`].
pub fn add(
    authority: &Authority,
    like: &Identity,
    nodes: &[NewNode],
    issued_at: SystemTime,
    validity: Duration,
) -> Result<Vec<Identity>, IdentityError> {
    let refuse = |reason: String| IdentityError::Plan { reason };
    if like.authority_pem() != authority.certificate_pem() {
        return Err(refuse("the identity was made by another authority".to_owned()));
    }
    check(nodes).map_err(refuse)?;
    let mut controllers: BTreeMap<u64, Controller> =
        like.controllers().iter().map(|controller| (controller.node, controller.clone())).collect();
    let mut keys = Vec::new();
    for NewNode { role, node, address } in nodes {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        if let Some(address) = address {
            let public_key_sha256 = certificate::sha256(&key.subject_public_key_info());
            let controller = Controller { node: *node, address: address.clone(), public_key_sha256 };
            controllers.insert(*node, controller);
        }
        keys.push((PeerId::new(like.cluster(), *role, *node), key));
    }
    let since = issued_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let life = since.as_secs().max(FIRST_INCARNATION + 1);
    let identity = |(peer, key): (PeerId, KeyPair)| {
        let is_controller = peer.role() == PeerRole::Controller;
        authority.identity(Parts {
            sealing_keys: if is_controller { authority.sealing_keys().to_vec() } else { Vec::new() },
            founders: Vec::new(),
            certificate_pem: authority.sign(&peer, &key, issued_at, validity)?,
            peer,
            recovery_epoch: like.recovery_epoch(),
            incarnation: if is_controller { life } else { FIRST_INCARNATION },
            private_key_pem: key.serialize_pem(),
            authority_pem: String::new(),
            controllers: controllers.values().cloned().collect(),
        })
    };
    keys.into_iter().map(identity).collect()
}

/// Writes them into a directory (made with mode 0700 if absent), each as a new file of mode 0600. If any of the files exists, none is written.
///
/// # Errors
/// [`IdentityError::Exists`] or [`IdentityError::Write`], naming the file.
pub fn save(
    nodes: &[NewNode],
    identities: &[Identity],
    directory: &Path,
) -> Result<Vec<PathBuf>, IdentityError> {
    make_directory(directory)?;
    let paths: Vec<PathBuf> = nodes.iter().map(|node| directory.join(node.file_name())).collect();
    if let Some(path) = paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(IdentityError::Exists { path: path.clone() });
    }
    for (identity, path) in identities.iter().zip(&paths) {
        identity.save(path)?;
    }
    Ok(paths)
}

fn check(nodes: &[NewNode]) -> Result<(), String> {
    if nodes.is_empty() || nodes.len() > NODES_MAX {
        return Err(format!("{} nodes; add 1 to {NODES_MAX} at once", nodes.len()));
    }
    let mut named = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    for new in nodes {
        let name = format!("{}-{}", new.role, new.node);
        if new.node == 0 {
            return Err(format!("{name}: nodes are numbered from 1"));
        }
        if !named.insert(name.clone()) {
            return Err(format!("{name} is named twice"));
        }
        match (&new.address, new.role) {
            (Some(address), PeerRole::Controller) => {
                check_address(address)?;
                if !addresses.insert(address) {
                    return Err("two controllers have the same address".to_owned());
                }
            }
            (None, PeerRole::Controller) => return Err(format!("{name}: a controller needs an address")),
            (Some(_), _) => return Err(format!("{name}: only a controller has an address")),
            (None, _) => {}
        }
    }
    Ok(())
}
