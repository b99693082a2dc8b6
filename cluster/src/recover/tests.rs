//! What a person is told of a survivor before and after it goes on alone.

use ravelin_consensus::{
    Batch, Entry, EntryKind, HardState, Incarnation, NodeId, RecoveryEpoch, Term, Token,
};

use super::*;
use crate::node::NodeOptions;
use crate::node::boot::{BootError, Booted, Member, boot};
use crate::storage::{CommandBytes, DirectoryError, SimDisk};
use crate::store::{Author, Change, ChangeId, Command, Put, StoreKey};
use ravelin_config::SealingKeys;

const OWNER: Owner = Owner { cluster: [0xc1; 16], recovery_epoch: 0, node: 1, incarnation: 1 };
const SMALL: WalLimits = WalLimits { segment_bytes: 4096 };

fn start(disk: &SimDisk, recovery_epoch: u32) -> Result<Booted, BootError> {
    let voters = vec![(1, 1), (2, 1), (3, 1)];
    let member = Member { cluster: OWNER.cluster, recovery_epoch, node: 1, incarnation: 1, voters };
    let sealing = SealingKeys::new(member.cluster, &[[7; 32]]).expect("one key");
    let options = NodeOptions::new(member.params(), sealing);
    boot(Arc::new(disk.clone()), SMALL, &member, options, 1)
}

fn change(byte: u8) -> CommandBytes {
    let put = Put::new(StoreKey::new(&format!("config/{byte}")).expect("a key"), Arc::from([byte]));
    let author = Author::Operator { name: "operator-1".to_owned() };
    let id = ChangeId([byte; 16]);
    let change = Change { id, author, at_unix_ms: 0, base: None, puts: vec![put], deletes: Vec::new() };
    Command::Change(change).encode().expect("small")
}

/// Three entries, of which two are known to be committed.
fn used() -> SimDisk {
    let disk = SimDisk::new(1);
    let mut booted = start(&disk, 0).expect("fresh");
    let command = |byte| Entry { term: Term(2), kind: EntryKind::Command(change(byte)) };
    let entries = vec![Entry { term: Term(2), kind: EntryKind::Empty }, command(1), command(2)];
    let hard_state = HardState { term: Term(2), vote: Some(NodeId(3)) };
    let batch =
        Batch { token: Token(1), hard_state, snapshot: None, first: Index(1), entries: entries.into() };
    booted.log.persist(&[batch]).expect("something was written");
    booted.log.note_known(Known { index: 2, term: 2 });
    booted.log.close().expect("no fault");
    disk
}

fn survivor(disk: &SimDisk) -> Survivor {
    Survivor::of(Arc::new(disk.clone()), OWNER).expect("its own")
}

#[test]
fn a_survey_says_where_the_log_ends_and_what_was_never_acknowledged_for_certain() {
    let disk = used();
    let survey = survivor(&disk).survey().expect("whole");
    assert_eq!((survey.last_index, survey.last_term, survey.known_index), (3, 2, 2));
    assert_eq!(survey.members.voters.len(), 3);
    assert_eq!((survey.revision, survey.generation.map(|generation| generation.revision)), (2, Some(2)));
    assert_eq!(survivor(&disk).survey().expect("whole"), survey, "a look changes nothing");
}

#[test]
fn after_the_step_the_node_starts_in_the_new_epoch_only_and_all_that_it_held_is_there() {
    let disk = used();
    assert_eq!(survivor(&disk).recover(SMALL).expect("no fault"), 1);
    let again = survivor(&disk);
    assert!(again.has_passed(), "only the identity is left to do");
    assert_eq!(again.recover(SMALL).expect("nothing to do"), 1);
    let survey = again.survey().expect("whole");
    assert_eq!((survey.last_index, survey.last_term, survey.known_index), (4, 3, 2));
    assert_eq!(survey.members.recovery_epoch, RecoveryEpoch(1));
    assert!(survey.members.voters.keys().eq([&NodeId(1)]));
    let generation = survey.generation.expect("two objects");
    assert_eq!((generation.recovery_epoch, generation.revision), (1, 2), "newer than any before");

    let error = start(&disk, 0).expect_err("the identity of before");
    assert!(matches!(error, BootError::Directory(DirectoryError::AfterRecovery { .. })), "{error}");
    let booted = start(&disk, 1).expect("the identity of the new epoch");
    assert_eq!(booted.node.core().configuration(), &survey.members);
    assert_eq!(booted.node.core().params().incarnation, Incarnation(1));
}

#[test]
fn only_the_directory_of_the_identity_is_taken() {
    let disk = used();
    for other in [Owner { node: 2, ..OWNER }, Owner { recovery_epoch: 4, ..OWNER }] {
        let error = Survivor::of(Arc::new(disk.clone()), other).expect_err("not its own");
        assert!(matches!(error, RecoverError::NextEpoch(NextEpochError::Directory(_))), "{error}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let identity = ravelin_transport::identity::init(&ravelin_transport::identity::ClusterPlan::new(
        vec!["127.0.0.1:1".to_owned()],
        0,
    ));
    let cluster = identity.expect("a plan");
    let identity = cluster.identities.first().expect("one controller");
    let error = Survivor::open(folder.path(), identity).expect_err("nothing there");
    assert!(matches!(error, RecoverError::NoDirectory { .. }), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing was made");
}
