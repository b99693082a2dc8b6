//! The replicated store on any bytes: a snapshot's chunk is taken or refused, and what was taken goes on; any command is
//! applied by two nodes alike.

use ravelin_cluster::storage::CommandBytes;
use ravelin_cluster::store::{Applied, Command, Store, fuzz_restore};
use ravelin_consensus::{Entry, EntryKind, Term};

/// The first byte says what the rest is: `c` a list of commands, each after its length (two bytes, little endian); anything
/// else the only chunk of a snapshot.
pub fn run(input: &[u8]) {
    takes(input);
}

/// As [`run`]; the store that came of it.
pub fn takes(input: &[u8]) -> Option<Store> {
    let (letter, rest) = input.split_first()?;
    if *letter == b'c' { Some(applied(rest)) } else { fuzz_restore(rest) }
}

fn applied(mut commands: &[u8]) -> Store {
    let (mut one, mut other) = (Store::new([7; 16]), Store::new([7; 16]));
    while let Some((length, rest)) = commands.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (command, rest) = rest.split_at(length);
        commands = rest;
        let command = CommandBytes(command.to_vec().into());
        let foretold = Command::decode(&command).ok().and_then(|command| one.check(&command).err());
        let entry = Entry { term: Term(1), kind: EntryKind::Command(command) };
        let index = one.applied_index().next();
        let result = one.apply(index, &entry);
        let again = other.apply(index, &entry);
        assert_eq!(format!("{result:?}"), format!("{again:?}"), "two nodes apply one command to two ends");
        let refused = match &result {
            Ok(Applied::Refused { refusal, .. }) => Some(refusal),
            Ok(_) => None,
            Err(_) => break,
        };
        if foretold.is_some() {
            assert_eq!(refused, foretold.as_ref(), "the leader was told another reason than the log");
        }
    }
    assert_eq!(one.generation(), other.generation());
    assert_eq!((one.revision(), one.live_bytes()), (other.revision(), other.live_bytes()));
    let chunks: Vec<_> =
        one.snapshot_chunks().map(|chunk| chunk.expect("what is held can be encoded")).collect();
    if let [only] = chunks.as_slice() {
        let restored = fuzz_restore(only).expect("a store's own snapshot is taken back");
        assert_eq!(restored.generation(), one.generation());
    }
    one
}
