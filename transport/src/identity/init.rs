//! The birth of a cluster: its id, its authority, and one identity for each node planned. Done once, by an explicit command.

use super::file::make_directory;
use super::{Authority, Controller, Founder, Identity, IdentityError, Parts, SealingKey, check_address};
use crate::certificate;
use crate::peer::{ClusterId, PeerId, PeerRole};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The first life of every data directory.
pub(super) const FIRST_INCARNATION: u64 = 1;

/// Most proxies that one `init` makes identities for; more join later.
const PROXIES_MAX: u64 = 10_000;

/// Most operators that one `init` makes identities for.
const OPERATORS_MAX: u64 = 100;

/// What a new cluster shall consist of.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// `host:port` of each controller: the first is controller 1, and so on. One, three, five or seven.
    pub controllers: Vec<String>,
    /// How many proxies: proxy 1, 2, …
    pub proxies: u64,
    /// How many operators (people and tools that use the API): operator 1, 2, …
    pub operators: u64,
    /// The time of birth. Certificates begin an hour earlier, for clocks that are behind.
    pub issued_at: SystemTime,
    /// How long certificates are valid from then on.
    pub validity: Duration,
}

/// A cluster that was just born. Nothing of it is on disk until [`NewCluster::save`].
#[derive(Debug)]
pub struct NewCluster {
    /// Its id.
    pub cluster: ClusterId,
    /// One identity per node: controllers, proxies, operators, each by number.
    pub identities: Vec<Identity>,
    /// Its authority, to be kept offline.
    pub authority: Authority,
}

impl ClusterPlan {
    /// A plan with one operator and certificates valid for a year from now.
    #[must_use]
    pub fn new(controllers: Vec<String>, proxies: u64) -> Self {
        Self {
            controllers,
            proxies,
            operators: 1,
            issued_at: SystemTime::now(),
            validity: Duration::from_secs(365 * 86_400),
        }
    }

    fn check(&self) -> Result<(), IdentityError> {
        let refuse = |reason: String| Err(IdentityError::Plan { reason });
        if !matches!(self.controllers.len(), 1 | 3 | 5 | 7) {
            return refuse(format!("{} controllers; plan 1, 3, 5 or 7", self.controllers.len()));
        }
        for address in &self.controllers {
            check_address(address).map_err(|reason| IdentityError::Plan { reason })?;
        }
        if self.controllers.iter().collect::<BTreeSet<_>>().len() < self.controllers.len() {
            return refuse("two controllers have the same address".to_owned());
        }
        if self.proxies > PROXIES_MAX || self.operators > OPERATORS_MAX {
            return refuse(format!(
                "at most {PROXIES_MAX} proxies and {OPERATORS_MAX} operators can be planned"
            ));
        }
        Ok(())
    }
}

/// Makes a cluster: a random id, an authority, a sealing key for its controllers, and for every planned node a key and a certificate with exactly one name.
///
/// # Errors
/// [`IdentityError::Plan`] for a plan that makes no sense, [`IdentityError::Certificate`] if a key or certificate cannot be made.
pub fn init(plan: &ClusterPlan) -> Result<NewCluster, IdentityError> {
    plan.check()?;
    let (mut id, mut sealing_key) = ([0; 16], [0; 32]);
    aws_lc_rs::rand::fill(&mut id)
        .and_then(|()| aws_lc_rs::rand::fill(&mut sealing_key))
        .map_err(|_| IdentityError::Plan { reason: "the system has no random numbers".to_owned() })?;
    let cluster = ClusterId(id);
    let sealing_keys = vec![SealingKey(sealing_key)];
    let authority = Authority::create(cluster, plan.issued_at, sealing_keys.clone())?;

    let (mut founders, mut controllers) = (Vec::new(), Vec::new());
    let mut keys = Vec::new();
    for (node, address) in (1..).zip(&plan.controllers) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        founders.push(Founder { node, incarnation: FIRST_INCARNATION });
        controllers.push(Controller {
            node,
            address: address.clone(),
            public_key_sha256: certificate::sha256(&key.subject_public_key_info()),
        });
        keys.push((PeerId::new(cluster, PeerRole::Controller, node), key));
    }
    for (role, count) in [(PeerRole::Proxy, plan.proxies), (PeerRole::Operator, plan.operators)] {
        for node in 1..=count {
            keys.push((PeerId::new(cluster, role, node), KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?));
        }
    }

    let identity = |(peer, key): (PeerId, KeyPair)| {
        let is_controller = peer.role() == PeerRole::Controller;
        authority.identity(Parts {
            sealing_keys: if is_controller { sealing_keys.clone() } else { Vec::new() },
            founders: if is_controller { founders.clone() } else { Vec::new() },
            certificate_pem: authority.sign(&peer, &key, plan.issued_at, plan.validity)?,
            peer,
            recovery_epoch: 0,
            incarnation: FIRST_INCARNATION,
            private_key_pem: key.serialize_pem(),
            authority_pem: String::new(),
            controllers: controllers.clone(),
        })
    };
    let identities = keys.into_iter().map(identity).collect::<Result<_, _>>()?;
    Ok(NewCluster { cluster, identities, authority })
}

impl NewCluster {
    /// The file name of an identity: `controller-1.toml`, `proxy-2.toml`; a single operator is `operator.toml`.
    #[must_use]
    pub fn file_name(&self, identity: &Identity) -> String {
        let operators = self.identities.iter().filter(|other| other.role() == PeerRole::Operator).count();
        match identity.role() {
            PeerRole::Operator if operators == 1 => "operator.toml".to_owned(),
            role => format!("{role}-{}.toml", identity.node()),
        }
    }

    /// Writes every identity, and the authority as `cluster-ca.pem`, into a directory (made with mode 0700 if absent), each as a new
    /// file of mode 0600. If any of the files exists, none is written.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] or [`IdentityError::Write`], naming the file.
    pub fn save(&self, directory: &Path) -> Result<Vec<PathBuf>, IdentityError> {
        make_directory(directory)?;
        let authority_path = directory.join("cluster-ca.pem");
        let mut paths: Vec<PathBuf> =
            self.identities.iter().map(|identity| directory.join(self.file_name(identity))).collect();
        paths.push(authority_path.clone());
        if let Some(path) = paths.iter().find(|path| path.symlink_metadata().is_ok()) {
            return Err(IdentityError::Exists { path: path.clone() });
        }
        self.authority.save(&authority_path)?;
        for (identity, path) in self.identities.iter().zip(&paths) {
            identity.save(path)?;
        }
        Ok(paths)
    }
}
