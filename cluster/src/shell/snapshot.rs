//! Lane Snapshot: a node that lags asks for a snapshot by name and gets it in chunks; a broken transfer goes on where it
//! stopped. It must not decide when a snapshot is needed or what follows from one.

use std::sync::Arc;
use std::time::Duration;

use bincode::{Decode, Encode};
use bytes::Bytes;
use ravelin_consensus::SnapshotMeta;
use ravelin_transport::codec;
use ravelin_transport::{Connection, Lane, LaneReceiver, LaneSender};

use crate::node::boot::Snapshots;
use crate::node::event::Event;
use crate::node::wire::SnapshotMetaV2;
use crate::storage::{Owner, SnapshotReader, SnapshotWriter, chain};

/// The version byte of every frame on lane Snapshot.
const SNAPSHOT_VERSION: u8 = 2;
/// How often a transfer is taken up again before it counts as failed.
const TRIES_MAX: u32 = 5;
/// Pause between two tries.
const TRY_INTERVAL: Duration = Duration::from_millis(300);
/// Longest wait for the next chunk.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);

/// What the asking side sends, once.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Ask {
    /// Who asks: a node of another recovery epoch gets nothing.
    cluster: [u8; 16],
    recovery_epoch: u32,
    incarnation: u64,
    meta: SnapshotMetaV2,
    /// The first chunk wanted.
    from: u64,
}

/// What the answering side sends, in order; after `End` or `Refused` nothing follows.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
enum Answer {
    Chunk { number: u64, bytes: Vec<u8> },
    End { chunks: u64 },
    Refused { reason: String },
}

/// Serves one lane that a control node opened. Ends with the lane.
pub(super) async fn serve(snapshots: Snapshots, mut sender: LaneSender, mut receiver: LaneReceiver) {
    let Ok(Some(frame)) = receiver.receive().await else { return };
    let Ok(ask) = codec::decode::<Ask>(SNAPSHOT_VERSION, &frame) else { return };
    let own = *snapshots.files().owner();
    if (ask.cluster, ask.recovery_epoch) != (own.cluster, own.recovery_epoch) {
        let reason = format!("this node is of recovery epoch {}, and who asks is not", own.recovery_epoch);
        if let Ok(frame) = codec::encode(SNAPSHOT_VERSION, &Answer::Refused { reason }) {
            drop(sender.send(frame).await);
        }
        return;
    }
    let meta = SnapshotMeta::from(ask.meta);
    let opened = tokio::task::spawn_blocking(move || {
        let mut reader = snapshots.files().open(&meta)?;
        reader.skip_to(ask.from)?;
        Ok::<_, crate::storage::SnapshotError>(reader)
    });
    let mut number = ask.from;
    let refusal = match opened.await {
        Ok(Ok(reader)) => match chunks(reader, &mut number, &mut sender).await {
            Ok(()) => return,
            Err(reason) => reason,
        },
        Ok(Err(error)) => chain(&error),
        Err(error) => error.to_string(),
    };
    let refused = Answer::Refused { reason: refusal };
    if let Ok(frame) = codec::encode(SNAPSHOT_VERSION, &refused) {
        drop(sender.send(frame).await);
    }
}

/// Sends what the reader holds; gives a reason to tell the other side, where it can still be told.
async fn chunks(mut reader: SnapshotReader, number: &mut u64, sender: &mut LaneSender) -> Result<(), String> {
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let chunk = reader.next_chunk();
            (reader, chunk)
        });
        let (back, chunk) = read.await.map_err(|error| error.to_string())?;
        reader = back;
        let answer = match chunk.map_err(|error| chain(&error))? {
            Some(bytes) => Answer::Chunk { number: *number, bytes: bytes.to_vec() },
            None => Answer::End { chunks: *number },
        };
        let ended = matches!(answer, Answer::End { .. });
        let frame = codec::encode(SNAPSHOT_VERSION, &answer).map_err(|error| error.to_string())?;
        if sender.send(frame).await.is_err() || ended {
            return Ok(());
        }
        *number += 1;
    }
}

/// Gets a snapshot, keeps it, loads it, and says what to tell the node. `connect` gives a connection to whoever has it.
pub(super) async fn fetch<F, C>(snapshots: Snapshots, meta: SnapshotMeta, connect: F) -> Event
where
    F: Fn() -> C,
    C: Future<Output = Option<Arc<dyn Connection>>>,
{
    match fetched(&snapshots, &meta, connect).await {
        Ok(()) => {}
        Err(reason) => return Event::SnapshotNotFetched { meta, reason },
    }
    let named = meta.clone();
    match tokio::task::spawn_blocking(move || snapshots.load(&named)).await {
        Ok(Ok(store)) => Event::SnapshotFetched { meta, store },
        Ok(Err(error)) => Event::SnapshotNotFetched { meta, reason: chain(&error) },
        Err(error) => Event::SnapshotNotFetched { meta, reason: error.to_string() },
    }
}

async fn fetched<F, C>(snapshots: &Snapshots, meta: &SnapshotMeta, connect: F) -> Result<(), String>
where
    F: Fn() -> C,
    C: Future<Output = Option<Arc<dyn Connection>>>,
{
    let held = snapshots.files().list().map_err(|error| chain(&error))?;
    if held.contains(&crate::storage::SnapshotName::from(meta)) {
        return Ok(());
    }
    let begun = snapshots.files().begin(meta.index, meta.term, meta.configuration.clone());
    let mut writer = begun.map_err(|error| chain(&error))?;
    let mut reason = String::new();
    for attempt in 0..TRIES_MAX {
        if attempt > 0 {
            tokio::time::sleep(TRY_INTERVAL).await;
        }
        let Some(connection) = connect().await else {
            reason = "no connection to the node that has it".to_owned();
            continue;
        };
        match receive(&*connection, snapshots.files().owner(), meta, writer).await {
            Ok(whole) => {
                let meta = meta.clone();
                let finished = tokio::task::spawn_blocking(move || whole.finish(Some(&meta))).await;
                return match finished {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(chain(&error)),
                    Err(error) => Err(error.to_string()),
                };
            }
            Err(Broken::Transfer(partial, why)) => (writer, reason) = (partial, why),
            Err(Broken::Disk(why)) => return Err(why),
        }
    }
    Err(reason)
}

enum Broken {
    /// The transfer ended early; the writer holds what came.
    Transfer(SnapshotWriter, String),
    /// This node cannot keep it.
    Disk(String),
}

fn ask(own: &Owner, meta: &SnapshotMeta, from: u64) -> Ask {
    let Owner { cluster, recovery_epoch, incarnation, .. } = *own;
    Ask { cluster, recovery_epoch, incarnation, meta: SnapshotMetaV2::from(meta), from }
}

async fn receive(
    connection: &dyn Connection,
    own: &Owner,
    meta: &SnapshotMeta,
    mut writer: SnapshotWriter,
) -> Result<SnapshotWriter, Broken> {
    let ask = ask(own, meta, writer.chunks());
    let (mut sender, mut receiver) = match connection.open(Lane::Snapshot).await {
        Ok(lane) => lane,
        Err(error) => return Err(Broken::Transfer(writer, error.to_string())),
    };
    let asked = match codec::encode(SNAPSHOT_VERSION, &ask) {
        Ok(frame) => sender.send(frame).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(reason) = asked {
        return Err(Broken::Transfer(writer, reason));
    }
    loop {
        let answer = match next_answer(&mut receiver).await {
            Ok(answer) => answer,
            Err(reason) => return Err(Broken::Transfer(writer, reason)),
        };
        match answer {
            Answer::Chunk { number, bytes } if number == writer.chunks() => {
                let pushed = tokio::task::spawn_blocking(move || {
                    let pushed = writer.push(&bytes);
                    (writer, pushed)
                });
                let (back, pushed) = pushed.await.map_err(|error| Broken::Disk(error.to_string()))?;
                writer = back;
                pushed.map_err(|error| Broken::Disk(chain(&error)))?;
            }
            Answer::End { chunks } if chunks == writer.chunks() => return Ok(writer),
            Answer::Chunk { .. } | Answer::End { .. } => {
                return Err(Broken::Transfer(writer, "chunks came out of order".to_owned()));
            }
            Answer::Refused { reason } => return Err(Broken::Transfer(writer, reason)),
        }
    }
}

async fn next_answer(receiver: &mut LaneReceiver) -> Result<Answer, String> {
    let frame: Bytes = match tokio::time::timeout(CHUNK_TIMEOUT, receiver.receive()).await {
        Ok(Ok(Some(frame))) => frame,
        Ok(Ok(None)) => return Err("the lane ended early".to_owned()),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no chunk for {} s", CHUNK_TIMEOUT.as_secs())),
    };
    codec::decode(SNAPSHOT_VERSION, &frame).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use ravelin_config::SealingKeys;
    use ravelin_consensus::{Configuration, Entry, EntryKind, Incarnation, Index, NodeId, Term};
    use ravelin_transport::memory::{MemoryHub, MemoryTransport};
    use ravelin_transport::{ClusterId, Expected, PeerRole, Target, Transport as _};

    use super::*;
    use crate::node::NodeOptions;
    use crate::node::boot::{Member, boot};
    use crate::storage::{MemoryDisk, WalLimits};
    use crate::store::{Author, Change, ChangeId, Command, Put, Store, StoreKey};

    #[test]
    fn the_wire_form_is_fixed() {
        let meta = SnapshotMeta {
            index: Index(9),
            term: Term(3),
            digest: [0xd1; 32],
            configuration: Configuration::of_voters([(NodeId(1), Incarnation(11))]),
        };
        let own = Owner { cluster: [0xc1; 16], recovery_epoch: 2, node: 1, incarnation: 3 };
        let ask = codec::encode(SNAPSHOT_VERSION, &ask(&own, &meta, 2));
        let answers = [
            Answer::Chunk { number: 2, bytes: vec![0xaa, 0xbb] },
            Answer::End { chunks: 3 },
            Answer::Refused { reason: "no".to_owned() },
        ];
        let answers = answers.iter().map(|answer| codec::encode(SNAPSHOT_VERSION, answer));
        let hex = |bytes: Bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let now: Vec<String> =
            std::iter::once(ask).chain(answers).map(|frame| hex(frame.expect("small"))).collect();
        if std::env::var_os("RAVELIN_REWRITE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/shell/golden.txt");
            std::fs::write(path, now.join("\n") + "\n").expect("the source tree is writable then");
            return;
        }
        assert_eq!(now, include_str!("golden.txt").lines().collect::<Vec<_>>());
    }

    const CLUSTER: [u8; 16] = [0xc1; 16];

    /// The snapshots of a node with an empty directory.
    fn snapshots(node: u64) -> Snapshots {
        let voters = vec![(1, 1), (2, 1)];
        let member = Member { cluster: CLUSTER, recovery_epoch: 0, node, incarnation: 1, voters };
        let sealing = SealingKeys::new(CLUSTER, &[[7; 32]]).expect("one key");
        let options = NodeOptions::new(member.params(), sealing);
        let disk = Arc::new(MemoryDisk::new());
        boot(disk, WalLimits { segment_bytes: 4096 }, &member, options, 1).expect("fresh").snapshots
    }

    /// A state of several chunks, written by the node that has it.
    fn written(by: &Snapshots) -> (Store, SnapshotMeta) {
        let mut state = Store::new(CLUSTER);
        for number in 1..=6_u8 {
            let key = StoreKey::new(&format!("user/{number}")).expect("a key");
            let put = Put::new(key, Arc::from(vec![number; 300 << 10]));
            let author = Author::Operator { name: "operator-1".to_owned() };
            let id = ChangeId([number; 16]);
            let change =
                Change { id, author, at_unix_ms: 0, base: None, puts: vec![put], deletes: Vec::new() };
            let kind = EntryKind::Command(Command::Change(change).encode().expect("it fits an entry"));
            state.apply(Index(number.into()), &Entry { term: Term(1), kind }).expect("the next entry");
        }
        let members = Configuration::of_voters([(NodeId(1), Incarnation(1)), (NodeId(2), Incarnation(1))]);
        match by.write(Index(6), Term(1), members, &state) {
            Event::SnapshotWritten(meta) => (state, meta),
            other => panic!("not written: {other:?}"),
        }
    }

    /// Takes one connection and its lane, and answers with so many chunks before the connection breaks.
    async fn answer(transport: &MemoryTransport, from: &Snapshots, chunks_max: u64) -> u64 {
        let connection = transport.accept().await.expect("somebody dials");
        let (_, mut sender, mut receiver) = connection.accept().await.expect("it opens a lane");
        let frame = receiver.receive().await.expect("a frame").expect("what is wanted");
        let ask: Ask = codec::decode(SNAPSHOT_VERSION, &frame).expect("its own form");
        let mut reader = from.files().open(&ask.meta.into()).expect("it is there");
        reader.skip_to(ask.from).expect("there are more");
        for number in ask.from.. {
            if number == chunks_max {
                drop(sender);
                // What was sent arrives, and then the lane ends too early.
                drop(receiver.receive().await);
                return ask.from;
            }
            let answer = match reader.next_chunk().expect("whole") {
                Some(bytes) => Answer::Chunk { number, bytes: bytes.to_vec() },
                None => Answer::End { chunks: number },
            };
            let ended = matches!(answer, Answer::End { .. });
            let frame = codec::encode(SNAPSHOT_VERSION, &answer).expect("it fits a frame");
            sender.send(frame).await.expect("somebody listens");
            if ended {
                break;
            }
        }
        // The receiver ends the lane once it has all.
        drop(receiver.receive().await);
        ask.from
    }

    #[tokio::test]
    async fn a_broken_transfer_goes_on_where_it_stopped_and_a_node_of_another_epoch_gets_nothing() {
        let hub = MemoryHub::new();
        let endpoint = |name: &str, node| {
            hub.endpoint(name, ClusterId(CLUSTER), PeerRole::Controller, node).expect("free")
        };
        let (has, wants) = (endpoint("has", 1), endpoint("wants", 2));
        let (own, target) = (snapshots(1), snapshots(2));
        let (state, meta) = written(&own);
        let expect = Expected { role: PeerRole::Controller, node: Some(1) };
        let at = Target { address: "has".to_owned(), expect };
        let served = async {
            let mut begins = Vec::new();
            for chunks_max in [2, 2, 5, u64::MAX] {
                begins.push(answer(&has, &own, chunks_max).await);
            }
            begins
        };
        let fetching = fetch(target.clone(), meta.clone(), || async { wants.connect(&at).await.ok() });
        let (begins, event) = tokio::join!(served, fetching);
        let Event::SnapshotFetched { meta: fetched, store } = event else { panic!("not fetched: {event:?}") };
        assert_eq!((fetched, store.applied_index()), (meta.clone(), state.applied_index()));
        assert_eq!(store.generation(), state.generation());
        assert_eq!(begins, [0, 2, 2, 5], "what had come is not asked for again");

        // Whoever is of another epoch is told so, whatever it asks for.
        let other = Owner { cluster: CLUSTER, recovery_epoch: 1, node: 2, incarnation: 1 };
        let serving = async {
            let connection = has.accept().await.expect("somebody dials");
            let (_, sender, receiver) = connection.accept().await.expect("it opens a lane");
            serve(own.clone(), sender, receiver).await;
            connection
        };
        let asking = async {
            let connection = wants.connect(&at).await.expect("it listens");
            let (mut sender, mut receiver) = connection.open(Lane::Snapshot).await.expect("a lane");
            let frame = codec::encode(SNAPSHOT_VERSION, &ask(&other, &meta, 0)).expect("small");
            sender.send(frame).await.expect("it listens");
            next_answer(&mut receiver).await
        };
        let (connection, answer) = tokio::join!(serving, asking);
        drop(connection);
        let Ok(Answer::Refused { reason }) = answer else { panic!("it was served: {answer:?}") };
        assert!(reason.contains("recovery epoch 0"), "{reason}");
    }
}
