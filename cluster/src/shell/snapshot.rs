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
        let reason =
            format!("this node is of recovery epoch {}, and who asks is not", own.recovery_epoch);
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
    use ravelin_consensus::{Configuration, Incarnation, Index, NodeId, Term};

    use super::*;

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
}
