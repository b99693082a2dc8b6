//! Identity files: one TOML document per node, readable by its owner only, written once and whole.
//!
//! Errors must name the file and the mend, and never quote the file: a line of it may be part of the private key.

use super::{Controller, Founder, Identity, IdentityError, Parts, SealingKey};
use crate::peer::{ClusterId, PeerId, PeerRole, hex_bytes};
use serde::Deserialize;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The one format that this version writes and reads. Format 1 told no founders from controllers and was never released.
const FORMAT: u32 = 2;

/// The largest file that is read, in bytes: thousands of controllers would fit.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityV2 {
    #[serde(rename = "format")]
    _format: u32,
    cluster: String,
    recovery_epoch: u32,
    role: String,
    node: u64,
    incarnation: u64,
    certificate: String,
    private_key: String,
    authority: String,
    #[serde(default)]
    founders: Vec<FounderV2>,
    controllers: Vec<ControllerV2>,
    #[serde(default)]
    sealing_keys: Vec<SealingKeyV1>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SealingKeyV1 {
    /// How the key is protected in this file. Only [`UNPROTECTED`] is known; a key that has to be unlocked will say so here.
    protection: String,
    key: String,
}

/// The key stands as it is; the file's mode is its protection.
const UNPROTECTED: &str = "none";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FounderV2 {
    node: u64,
    incarnation: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ControllerV2 {
    node: u64,
    address: String,
    public_key_sha256: String,
}

impl Identity {
    /// Reads an identity file. Refuses one that others may read, is not whole, or whose parts do not belong together.
    ///
    /// # Errors
    /// [`IdentityError`] naming the file, what is wrong with it, and what to do.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let text = read_secret(path)?;
        let malformed = |reason: String| IdentityError::Malformed { path: path.to_owned(), reason };
        let at_line = |error: &toml::de::Error| {
            let line = error
                .span()
                .map_or(1, |span| text.bytes().take(span.start).filter(|c| *c == b'\n').count() + 1);
            malformed(format!("line {line}: {}", without_quotes(error.message())))
        };
        let FormatOnly { format } = toml::from_str(&text).map_err(|error| at_line(&error))?;
        if format > FORMAT {
            return Err(IdentityError::NewerFormat { path: path.to_owned(), found: format, known: FORMAT });
        }
        if format == 0 {
            return Err(malformed("format 0 does not exist".to_owned()));
        }
        if format < FORMAT {
            return Err(IdentityError::OlderFormat { path: path.to_owned(), found: format, known: FORMAT });
        }
        let file: IdentityV2 = toml::from_str(&text).map_err(|error| at_line(&error))?;
        file.parts().and_then(Self::checked).map_err(malformed)
    }

    /// Writes a new identity file of mode 0600: whole or not at all, never over another.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] or [`IdentityError::Write`].
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        write_secret(path, &self.to_toml())
    }

    /// Puts this identity in the place of the one in a file, whole or not at all; that one stays beside it under the name `kept`.
    ///
    /// # Errors
    /// [`IdentityError::Write`]; the file is as it was then, unless only the directory's sync failed.
    pub fn replace(&self, path: &Path, kept: &Path) -> Result<(), IdentityError> {
        let failed = |source: io::Error| IdentityError::Write { path: path.to_owned(), source };
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let _ = fs::remove_file(&beside);
        self.save(&beside)?;
        match fs::hard_link(path, kept) {
            // A replacement that was cut short has kept it already.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        fs::rename(&beside, path).and_then(|()| sync_parent(path)).map_err(failed)
    }

    pub(super) fn to_toml(&self) -> String {
        let mut text = format!(
            "# Identity of {} in a Ravelin cluster. Whoever can read this file can be this node: keep it secret, mode 0600.\n\
             format = {FORMAT}\ncluster = \"{}\"\nrecovery_epoch = {}\nrole = \"{}\"\nnode = {}\nincarnation = {}\n",
            self.peer,
            self.cluster(),
            self.recovery_epoch,
            self.role(),
            self.node(),
            self.incarnation
        );
        for (name, pem) in [
            ("certificate", &self.certificate_pem),
            ("private_key", &self.private_key_pem),
            ("authority", &self.authority_pem),
        ] {
            let pem = pem.replace("\r\n", "\n");
            let _ = writeln!(text, "{name} = \"\"\"\n{}\n\"\"\"", pem.trim_end());
        }
        for Founder { node, incarnation } in &self.founders {
            let _ = write!(text, "\n[[founders]]\nnode = {node}\nincarnation = {incarnation}\n");
        }
        for controller in &self.controllers {
            let key: String = controller.public_key_sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = write!(
                text,
                "\n[[controllers]]\nnode = {}\naddress = \"{}\"\npublic_key_sha256 = \"{key}\"\n",
                controller.node, controller.address
            );
        }
        for SealingKey(key) in &self.sealing_keys {
            let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = write!(text, "\n[[sealing_keys]]\nprotection = \"{UNPROTECTED}\"\nkey = \"{key}\"\n");
        }
        text
    }
}

impl IdentityV2 {
    fn parts(self) -> Result<Parts, String> {
        let cluster: ClusterId = self.cluster.parse().map_err(|error| format!("cluster: {error}"))?;
        let role: PeerRole = self.role.parse().map_err(|error| format!("role: {error}"))?;
        let controller = |controller: ControllerV2| {
            Ok(Controller {
                node: controller.node,
                public_key_sha256: hex_bytes(&controller.public_key_sha256).ok_or_else(|| {
                    format!("controller {}: public_key_sha256 is not 64 hexadecimal digits", controller.node)
                })?,
                address: controller.address,
            })
        };
        let sealing_key = |key: SealingKeyV1| {
            if key.protection != UNPROTECTED {
                return Err("sealing_keys: protected in a way that this version does not know".to_owned());
            }
            let bytes = hex_bytes(&key.key).ok_or("sealing_keys: a key is not 64 hexadecimal digits")?;
            Ok(SealingKey(bytes))
        };
        let founder = |FounderV2 { node, incarnation }| Founder { node, incarnation };
        Ok(Parts {
            founders: self.founders.into_iter().map(founder).collect(),
            sealing_keys: self.sealing_keys.into_iter().map(sealing_key).collect::<Result<_, String>>()?,
            peer: PeerId::new(cluster, role, self.node),
            recovery_epoch: self.recovery_epoch,
            incarnation: self.incarnation,
            certificate_pem: self.certificate,
            private_key_pem: self.private_key,
            authority_pem: self.authority,
            controllers: self.controllers.into_iter().map(controller).collect::<Result<_, String>>()?,
        })
    }
}

/// A parser's message without what it quotes from the file: all from the first quotation mark to the last.
fn without_quotes(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    match (line.split_once('"'), line.rsplit_once('"')) {
        (Some((before, _)), Some((_, after))) => format!("{before}…{after}"),
        _ => line.to_owned(),
    }
}

/// Makes a directory of mode 0700 for secrets, if it is not there.
pub(super) fn make_directory(directory: &Path) -> Result<(), IdentityError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|source| IdentityError::Write { path: directory.to_owned(), source })
}

/// Reads a file that only its owner may read. The open file is judged, not its name, so it cannot be exchanged in between.
pub(super) fn read_secret(path: &Path) -> Result<String, IdentityError> {
    let read = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => IdentityError::Missing { path: path.to_owned() },
        _ => IdentityError::Read { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Permissions { path: path.to_owned(), mode });
    }
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        let reason = format!("not a regular file of at most {FILE_BYTES_MAX} bytes");
        return Err(IdentityError::Malformed { path: path.to_owned(), reason });
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(read)?;
    String::from_utf8(bytes).map_err(|_| {
        let reason = "not UTF-8 text, so not an identity file".to_owned();
        IdentityError::Malformed { path: path.to_owned(), reason }
    })
}

/// Writes a new file of mode 0600. It is written under a temporary name and then linked to its own: the link fails if the name is
/// taken, and a crash leaves no half file under it.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<(), IdentityError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => IdentityError::Exists { path: path.to_owned() },
        _ => IdentityError::Write { path: path.to_owned(), source },
    };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let _ = fs::remove_file(&temporary);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::hard_link(&temporary, path));
    let _ = fs::remove_file(&temporary);
    written.and_then(|()| sync_parent(path)).map_err(failed)
}

/// Makes names in the folder of this file durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}
