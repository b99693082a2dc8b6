//! One lane Feed to one control node: opening it, the first word that comes back, and how much that word is worth.
//! It must not keep state between lanes, and never touches what is held or served.

use std::sync::Arc;

use ravelin_config::GenerationId;
use ravelin_config::feed::{FEED_VERSION, FEED_VERSIONS, ToControl, ToControlV1, ToProxy, ToProxyV1};
use ravelin_transport::codec::CodecError;
use ravelin_transport::{
    Connection, Lane, LaneReceiver, LaneSender, Target, Transport, TransportError, codec,
};
use tokio::time::timeout;

use super::{Ended, FeedTimes};

/// Words that may come before the one that says where a control node stands.
const WORDS_MAX: usize = 4;

/// An open lane on which `Hello` was said. Dropping it ends the lane and the connection.
pub(super) struct Attachment {
    /// Which candidate it is.
    pub(super) place: usize,
    /// Held while the lane is.
    pub(super) connection: Arc<dyn Connection>,
    pub(super) sender: LaneSender,
    pub(super) lane: LaneReceiver,
    /// What was heard while the control node was weighed, in order.
    pub(super) heard: Vec<ToProxy>,
}

/// Dials a control node and says hello.
///
/// # Errors
/// [`Ended`]: it was not reached, refused, or took no frame in time.
pub(super) async fn open(
    place: usize,
    transport: Arc<dyn Transport>,
    target: Target,
    hello: ToControl,
    times: FeedTimes,
) -> Result<Attachment, Ended> {
    let attached = timeout(times.attach, async {
        let connection = transport.connect(&target).await?;
        let (sender, lane) = connection.open(Lane::Feed).await?;
        Ok::<_, TransportError>((connection, sender, lane))
    });
    let (connection, mut sender, lane) = attached.await.map_err(|_| Ended::Attach(times.attach))??;
    send(&mut sender, hello, times).await?;
    Ok(Attachment { place, connection, sender, lane, heard: Vec::new() })
}

/// As [`open`], and waits for the word that says where the control node stands, which is kept with the lane.
///
/// # Errors
/// [`Ended`]; [`Ended::Wordless`] if no word came in time.
pub(super) async fn scout(
    place: usize,
    transport: Arc<dyn Transport>,
    target: Target,
    hello: ToControl,
    times: FeedTimes,
) -> Result<Attachment, Ended> {
    let mut attachment = open(place, transport, target, hello, times).await?;
    let heard = timeout(times.word, async {
        for _ in 0..WORDS_MAX {
            let frame = attachment.lane.receive().await?.ok_or(Ended::Closed)?;
            let word = read(&frame)?;
            let says_where_it_stands = is_standing(&word);
            attachment.heard.push(word);
            if says_where_it_stands {
                return Ok(());
            }
        }
        Err(Ended::Wordless(times.word))
    });
    heard.await.map_err(|_| Ended::Wordless(times.word))??;
    Ok(attachment)
}

/// Whether a control node says with this what it feeds, or that it will not.
fn is_standing(word: &ToProxy) -> bool {
    match word {
        ToProxy::UpToDate { .. } | ToProxy::Part(_) | ToProxy::Refused { .. } => true,
        ToProxy::ViewKey(_) | ToProxy::ControlPlane(_) => false,
    }
}

/// A control node's word, of any version that this build reads.
///
/// # Errors
/// It is none, or of another version.
pub(super) fn read(frame: &[u8]) -> Result<ToProxy, CodecError> {
    let version = codec::version_within(FEED_VERSIONS.oldest, FEED_VERSIONS.newest, frame)?;
    codec::decode_into::<ToProxyV1, _>(version, frame)
}

/// Sends one message, or finds that the control node takes none.
///
/// # Errors
/// [`Ended`].
pub(super) async fn send(sender: &mut LaneSender, message: ToControl, times: FeedTimes) -> Result<(), Ended> {
    let frame = codec::encode(FEED_VERSION, &ToControlV1::from(message))?;
    timeout(times.send, sender.send(frame)).await.map_err(|_| Ended::Stuck)??;
    Ok(())
}

/// How much an attachment is worth; more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// Not a word has come: a control node without configuration, or one that does not work.
    Wordless,
    /// No quorum stands behind it; it feeds the last generation that it knows to be committed.
    Stale,
    /// It leads, and has more to do than others.
    Leading,
    /// It feeds, and a quorum stands behind it.
    Fresh,
}

/// What another control node's first word means to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// It has something newer than what is held.
    Newer(GenerationId),
    /// It feeds what is held, and is worth this much.
    Same(Worth),
    /// It is behind, or refuses this proxy.
    Nothing,
}

/// What a control node that spoke is worth.
pub(super) fn worth(stale: bool, leads: bool) -> Worth {
    match (stale, leads) {
        (true, _) => Worth::Stale,
        (false, true) => Worth::Leading,
        (false, false) => Worth::Fresh,
    }
}

/// Weighs what was heard of a control node, for a proxy that takes nothing older than `newest`.
pub(super) fn weigh(heard: &[ToProxy], newest: Option<GenerationId>) -> Offer {
    let Some(word) = heard.last() else { return Offer::Nothing };
    let is_newer = |generation: &GenerationId| newest.is_none_or(|newest| generation.is_newer_than(&newest));
    match word {
        ToProxy::Part(part) if is_newer(&part.content.target()) => Offer::Newer(part.content.target()),
        ToProxy::UpToDate { generation, .. } if is_newer(generation) => Offer::Newer(*generation),
        ToProxy::UpToDate { generation, stale, leads } if newest == Some(*generation) => {
            Offer::Same(worth(*stale, *leads))
        }
        _ => Offer::Nothing,
    }
}
