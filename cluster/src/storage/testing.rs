//! What the tests of storage share: owners, batches, golden files. It must not be part of any shipped code.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ravelin_consensus::{
    Batch, Configuration, Durable, Entry, EntryKind, HardState, Incarnation, Index, NodeId, SnapshotMeta,
    Term, Token,
};

use super::{CommandBytes, DataDirectory, Disk, Owner, Recovered};

pub(crate) const OWNER: Owner =
    Owner { cluster: *b"ravelin-cluster!", recovery_epoch: 5, node: 7, incarnation: 0x0102_0304 };

pub(crate) fn directory(disk: impl Disk) -> DataDirectory {
    DataDirectory::open(Arc::new(disk), OWNER).expect("the directory is fresh or this owner's")
}

pub(crate) fn members() -> Configuration {
    Configuration::of_voters([1, 2, 7].map(|node| (NodeId(node), Incarnation(node * 100))))
}

pub(crate) fn meta(index: u64, term: u64) -> SnapshotMeta {
    SnapshotMeta { index: Index(index), term: Term(term), digest: [0xd1; 32], configuration: members() }
}

pub(crate) fn command(term: u64, bytes: &[u8]) -> Entry<CommandBytes> {
    Entry { term: Term(term), kind: EntryKind::Command(CommandBytes(Bytes::copy_from_slice(bytes))) }
}

pub(crate) fn batch(
    token: u64,
    term: u64,
    first: u64,
    entries: Vec<Entry<CommandBytes>>,
) -> Batch<CommandBytes> {
    let hard_state = HardState { term: Term(term), vote: Some(NodeId(2)) };
    Batch { token: Token(token), hard_state, snapshot: None, first: Index(first), entries: entries.into() }
}

/// Where a segment of the tests' owner lies.
pub(crate) fn segment_path(number: u64) -> String {
    super::segment::segment_path(&OWNER, number)
}

/// One batch with one command that names its index.
pub(crate) fn numbered(index: u64) -> Batch<CommandBytes> {
    batch(index, 1, index, vec![command(1, format!("command {index}").as_bytes())])
}

pub(crate) fn durable(recovered: &Recovered) -> Durable<CommandBytes> {
    Durable {
        hard_state: recovered.hard_state,
        snapshot: recovered.snapshot.clone(),
        configuration: recovered.genesis.clone(),
        entries: recovered.entries.clone(),
    }
}

/// Compares bytes with a committed file of hexadecimal digits. Lines that begin with `#` explain it. With
/// `RAVELIN_REWRITE` set, the digits are written instead: a format that was released must never change that way.
pub(crate) fn assert_golden(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"));
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let comments: String =
        text.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    if std::env::var_os("RAVELIN_REWRITE").is_some() {
        std::fs::write(&path, comments + &hex(bytes))
            .expect("the source tree is writable when golden files are made");
        return;
    }
    let digits: String =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    assert_eq!(digits, hex(bytes), "{} no longer matches: a disk or wire form has changed", path.display());
}

/// Sixteen bytes a line, in groups of four.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(16) {
        let groups: Vec<String> = line
            .chunks(4)
            .map(|group| {
                group.iter().fold(String::new(), |mut digits, byte| {
                    write!(digits, "{byte:02x}").expect("writing to a string cannot fail");
                    digits
                })
            })
            .collect();
        text.push_str(&groups.join(" "));
        text.push('\n');
    }
    text
}
