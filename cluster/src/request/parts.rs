//! Requests and answers as frames: one message is cut into parts that fit a frame and put together again, bounded.
//! It must not look into messages beyond encoding them.
//!
//! Question and answer begin with who speaks, as far as the connection does not prove it: a control node says it in every message,
//! and an operator, who belongs to no recovery epoch, does not.
//!
//! The texts of an `apply` do not go through the codec, which is made for smaller things: a question is the length of its
//! head (four bytes, little-endian), the encoded head, which holds the request without its texts and their lengths, and
//! the texts one after another.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use bytes::Bytes;
use ravelin_config::State;
use ravelin_consensus::{ClusterId, Incarnation, RecoveryEpoch};
use ravelin_transport::codec::{self, CodecError};

use super::wire::{EnvelopeV1, ResponseV1, Wire};
use super::{Change, Envelope, REQUEST_VERSION, Refusal, Request, Response, SourceDocument, Verdict};
use crate::node::wire::Sender;

/// Bytes of content in one part. The rest of a frame is room for the part's own fields.
pub const PART_BYTES_MAX: usize = 512 << 10;
/// Bytes of all texts of one question: what one `apply` may carry. As much as the file provider reads.
pub const TEXT_BYTES_MAX: usize = ravelin_config::document::DOCUMENT_BYTES_MAX;
/// Bytes of one whole message, put together.
pub const MESSAGE_BYTES_MAX: usize = TEXT_BYTES_MAX + codec::ENCODED_BYTES_MAX;
/// Messages that one lane may have unfinished at a time.
pub const UNFINISHED_MAX: usize = 4;

/// One frame of lane Forward.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct PartV1 {
    /// Pairs an answer with its question; chosen by the asking side, unique on the lane while unanswered.
    call: u64,
    /// The place of this part, from 0.
    part: u32,
    /// How many parts the message has.
    of: u32,
    /// This part of the encoded message.
    bytes: Vec<u8>,
}

/// Why a frame or message is not taken. The lane is of no further use after any of them.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// Not a part, or not the message that belongs here.
    #[error("not a message of lane forward")]
    Codec(#[from] CodecError),
    /// A part that does not follow the one before.
    #[error("part {part} of {of} of call {call} does not follow")]
    OutOfOrder {
        /// The call.
        call: u64,
        /// The part.
        part: u32,
        /// The announced number of parts.
        of: u32,
    },
    /// The texts of a question are larger than [`TEXT_BYTES_MAX`].
    #[error(
        "{bytes} bytes of text are more than the {TEXT_BYTES_MAX} that one request may carry: split the file and apply the parts one after another"
    )]
    TextTooLarge {
        /// The size of all texts.
        bytes: usize,
    },
    /// Larger than [`MESSAGE_BYTES_MAX`], or too many at once.
    #[error(
        "more than {MESSAGE_BYTES_MAX} bytes in a message, or more than {UNFINISHED_MAX} messages at once"
    )]
    TooLarge,
    /// The texts of a question are not as long as its head says, or no texts.
    #[error("the texts of the question are not what its head says")]
    Texts,
}

/// Which control node speaks.
#[derive(Debug, Clone, Copy, Encode, Decode)]
struct SpeakerV1 {
    cluster: [u8; 16],
    recovery_epoch: u32,
    incarnation: u64,
}

impl From<Sender> for SpeakerV1 {
    fn from(sender: Sender) -> Self {
        let Sender { cluster, recovery_epoch, incarnation } = sender;
        Self { cluster: cluster.0, recovery_epoch: recovery_epoch.0, incarnation: incarnation.0 }
    }
}

impl From<SpeakerV1> for Sender {
    fn from(wire: SpeakerV1) -> Self {
        let SpeakerV1 { cluster, recovery_epoch, incarnation } = wire;
        Self {
            cluster: ClusterId(cluster),
            recovery_epoch: RecoveryEpoch(recovery_epoch),
            incarnation: Incarnation(incarnation),
        }
    }
}

/// An answer, and which control node gives it.
#[derive(Debug, Encode, Decode)]
struct AnswerV1 {
    speaker: Option<SpeakerV1>,
    response: ResponseV1,
}

/// What comes before the texts of a question.
#[derive(Debug, Encode, Decode)]
struct HeadV1 {
    /// The control node that asks or passes on; none if it is no control node.
    speaker: Option<SpeakerV1>,
    /// With empty texts.
    envelope: EnvelopeV1,
    /// The length of each text in bytes, in order.
    texts: Vec<u32>,
}

/// A question as frames, from this control node if it is one that asks.
///
/// # Errors
/// [`PartsError::TextTooLarge`], or that it cannot be encoded.
pub fn question(call: u64, speaker: Option<Sender>, envelope: &Envelope) -> Result<Vec<Bytes>, PartsError> {
    let (request, texts) = without_texts(&envelope.request);
    let bytes = texts.iter().map(|text| text.len()).sum();
    if bytes > TEXT_BYTES_MAX {
        return Err(PartsError::TextTooLarge { bytes });
    }
    // The bound above is below what four bytes hold.
    let lengths = texts.iter().map(|text| u32::try_from(text.len()).unwrap_or(u32::MAX)).collect();
    let envelope = Envelope { author: envelope.author.clone(), request, ..*envelope };
    let (speaker, envelope) = (speaker.map(SpeakerV1::from), envelope.to_wire());
    let head = codec::encode(REQUEST_VERSION, &HeadV1 { speaker, envelope, texts: lengths })?;
    let length = u32::try_from(head.len()).map_err(|_| PartsError::TooLarge)?;
    let mut message = Vec::with_capacity(4 + head.len() + bytes);
    message.extend_from_slice(&length.to_le_bytes());
    message.extend_from_slice(&head);
    texts.iter().for_each(|text| message.extend_from_slice(text.as_bytes()));
    cut(call, message.into())
}

/// A request as its head has it, and its texts.
fn without_texts(request: &Request) -> (Request, Vec<&str>) {
    let Request::Apply { documents, mode } = request else { return (request.clone(), Vec::new()) };
    let texts = documents.iter().map(|document| document.text.as_str()).collect();
    let empty = |document: &SourceDocument| SourceDocument {
        name: document.name.clone(),
        format: document.format,
        text: String::new(),
    };
    (Request::Apply { documents: documents.iter().map(empty).collect(), mode: *mode }, texts)
}

/// What a form means.
fn meant<T: Wire<Form>, Form>(form: Form) -> Result<T, PartsError> {
    T::of_wire(form).map_err(|error| PartsError::Codec(CodecError::Meaning(Box::new(error))))
}

fn read_question(message: &[u8]) -> Result<(Option<Sender>, Envelope), PartsError> {
    let (length, rest) = message.split_first_chunk::<4>().ok_or(PartsError::Texts)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (head, mut rest) = rest.split_at_checked(length).ok_or(PartsError::Texts)?;
    let HeadV1 { speaker, envelope, texts } = codec::decode(REQUEST_VERSION, head)?;
    let mut envelope: Envelope = meant(envelope)?;
    let mut texts = texts.into_iter();
    if let Request::Apply { documents, .. } = &mut envelope.request {
        for document in documents {
            let length = texts.next().and_then(|length| usize::try_from(length).ok());
            let text = length.and_then(|length| rest.split_at_checked(length)).ok_or(PartsError::Texts)?;
            document.text = std::str::from_utf8(text.0).map_err(|_| PartsError::Texts)?.to_owned();
            rest = text.1;
        }
    }
    if texts.next().is_some() || !rest.is_empty() {
        return Err(PartsError::Texts);
    }
    Ok((speaker.map(Sender::from), envelope))
}

/// An answer of this control node as frames. An answer too large to send becomes one that says so, and the same of the outcome.
pub fn answer(call: u64, speaker: Option<Sender>, response: &Response) -> Vec<Bytes> {
    let speaker = speaker.map(SpeakerV1::from);
    let encode = |response: Response| {
        codec::encode(REQUEST_VERSION, &AnswerV1 { speaker, response: response.to_wire() })
    };
    let encoded = encode(response.clone()).or_else(|error| encode(shortened(response, &error)));
    encoded.map_err(PartsError::from).and_then(|bytes| cut(call, bytes)).unwrap_or_default()
}

/// What is said in the place of an answer that is too large.
fn shortened(response: &Response, error: &CodecError) -> Response {
    match response {
        Response::Done(change) => {
            let errors =
                vec![format!("{} objects are not well; `ravelin get` shows them", change.verdicts.len())];
            let verdict = Verdict { key: String::new(), state: State::Warning.as_str().to_owned(), errors };
            Response::Done(Change { verdicts: vec![verdict], ..change.clone() })
        }
        Response::Refused(refusal) => {
            let problem = format!("{} problems, with texts too long to send", refusal.problems.len());
            Response::Refused(Refusal::new(refusal.reason, problem))
        }
        _ => Response::Unavailable { reason: format!("the answer cannot be sent: {error}; ask for less") },
    }
}

/// The call that a frame belongs to, and whether it ends the message; `None` if it is no frame of this lane.
pub fn head(frame: &[u8]) -> Option<(u64, bool)> {
    let part: PartV1 = codec::decode(REQUEST_VERSION, frame).ok()?;
    Some((part.call, part.part.saturating_add(1) >= part.of))
}

fn cut(call: u64, message: Bytes) -> Result<Vec<Bytes>, PartsError> {
    let chunks: Vec<&[u8]> = message.chunks(PART_BYTES_MAX).collect();
    let of = u32::try_from(chunks.len()).map_err(|_| PartsError::TooLarge)?;
    (0..of)
        .zip(chunks)
        .map(|(part, bytes)| {
            let part = PartV1 { call, part, of, bytes: bytes.to_vec() };
            Ok(codec::encode(REQUEST_VERSION, &part)?)
        })
        .collect()
}

/// Puts the messages of one lane together. Memory is bounded by [`UNFINISHED_MAX`] × [`MESSAGE_BYTES_MAX`].
#[derive(Debug, Default)]
pub struct Assembler {
    unfinished: BTreeMap<u64, Unfinished>,
}

#[derive(Debug)]
struct Unfinished {
    next: u32,
    of: u32,
    bytes: Vec<u8>,
}

impl Assembler {
    /// Takes one frame; gives call and encoded message once the message is whole.
    ///
    /// # Errors
    /// [`PartsError`]; the lane should then be closed.
    pub fn take(&mut self, frame: &[u8]) -> Result<Option<(u64, Vec<u8>)>, PartsError> {
        let PartV1 { call, part, of, bytes } = codec::decode(REQUEST_VERSION, frame)?;
        if part == 0 {
            self.unfinished.remove(&call);
            if self.unfinished.len() >= UNFINISHED_MAX {
                return Err(PartsError::TooLarge);
            }
            self.unfinished.insert(call, Unfinished { next: 0, of, bytes: Vec::new() });
        }
        let out_of_order = PartsError::OutOfOrder { call, part, of };
        let Some(message) = self.unfinished.get_mut(&call) else { return Err(out_of_order) };
        if part != message.next || of != message.of || part >= of {
            return Err(out_of_order);
        }
        if message.bytes.len() + bytes.len() > MESSAGE_BYTES_MAX {
            return Err(PartsError::TooLarge);
        }
        message.bytes.extend_from_slice(&bytes);
        message.next += 1;
        if message.next < message.of {
            return Ok(None);
        }
        Ok(self.unfinished.remove(&call).map(|message| (call, message.bytes)))
    }

    /// Bytes of messages that are not whole yet.
    pub fn bytes(&self) -> usize {
        self.unfinished.values().map(|message| message.bytes.len()).sum()
    }

    /// As [`Assembler::take`], for questions.
    ///
    /// # Errors
    /// As [`Assembler::take`].
    pub fn take_question(
        &mut self,
        frame: &[u8],
    ) -> Result<Option<(u64, Option<Sender>, Envelope)>, PartsError> {
        let Some((call, message)) = self.take(frame)? else { return Ok(None) };
        let (speaker, envelope) = read_question(&message)?;
        Ok(Some((call, speaker, envelope)))
    }

    /// As [`Assembler::take`], for answers.
    ///
    /// # Errors
    /// As [`Assembler::take`].
    pub fn take_answer(
        &mut self,
        frame: &[u8],
    ) -> Result<Option<(u64, Option<Sender>, Response)>, PartsError> {
        let Some((call, message)) = self.take(frame)? else { return Ok(None) };
        let AnswerV1 { speaker, response } = codec::decode(REQUEST_VERSION, &message)?;
        Ok(Some((call, speaker.map(Sender::from), meant(response)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ApplyMode, RefusalReason, RequestId, SourceFormat};
    use super::*;

    const SPEAKER: Option<Sender> = Some(Sender {
        cluster: ClusterId([0xc1; 16]),
        recovery_epoch: RecoveryEpoch(2),
        incarnation: Incarnation(3),
    });

    fn envelope(text: String) -> Envelope {
        let document = SourceDocument { name: "a.yml".to_owned(), format: SourceFormat::Yaml, text };
        Envelope {
            id: RequestId([7; 16]),
            hops: 0,
            deadline_millis: 5000,
            author: "operator-1".to_owned(),
            request: Request::Apply { documents: vec![document], mode: ApplyMode::Merge },
            since: Some(5),
        }
    }

    #[test]
    fn a_message_larger_than_a_frame_comes_back_whole_between_others() {
        let (large, small) = (envelope("x".repeat(PART_BYTES_MAX * 2)), envelope("y".to_owned()));
        let large_frames = question(1, None, &large).expect("below the bound");
        let small_frames = question(2, SPEAKER, &small).expect("below the bound");
        assert_eq!((large_frames.len(), small_frames.len()), (3, 1));
        let mut lane = Assembler::default();
        let mut got = Vec::new();
        for frame in [&large_frames[0], &small_frames[0], &large_frames[1], &large_frames[2]] {
            assert!(frame.len() <= ravelin_transport::FRAME_BYTES_MAX);
            got.extend(lane.take_question(frame).expect("in order"));
        }
        assert_eq!(got, [(2, SPEAKER, small), (1, None, large)]);
        assert!(lane.unfinished.is_empty());
    }

    #[test]
    fn what_is_out_of_order_or_beyond_the_bounds_is_refused() {
        let frames = question(1, None, &envelope("x".repeat(PART_BYTES_MAX))).expect("below the bound");
        let mut lane = Assembler::default();
        assert!(matches!(lane.take(&frames[1]), Err(PartsError::OutOfOrder { part: 1, .. })));
        for call in 0..UNFINISHED_MAX as u64 {
            let frames =
                question(call, None, &envelope("x".repeat(PART_BYTES_MAX))).expect("below the bound");
            assert!(lane.take(&frames[0]).expect("in order").is_none());
        }
        let frames = question(99, None, &envelope("x".repeat(PART_BYTES_MAX))).expect("below the bound");
        assert!(matches!(lane.take(&frames[0]), Err(PartsError::TooLarge)));
        assert!(matches!(lane.take(b"\x01nonsense"), Err(PartsError::Codec(_))));
        let error = question(1, None, &envelope("x".repeat(TEXT_BYTES_MAX + 1))).expect_err("too much");
        assert!(error.to_string().contains("split the file"), "{error}");
    }

    #[test]
    fn texts_far_beyond_what_the_codec_takes_come_back_each_in_its_place() {
        let mut large = envelope("é".repeat(codec::ENCODED_BYTES_MAX));
        let Request::Apply { documents, .. } = &mut large.request else { panic!("it is") };
        for (name, text) in [("empty.yml", ""), ("last.toml", "last")] {
            let (name, text) = (name.to_owned(), text.to_owned());
            documents.push(SourceDocument { name, format: SourceFormat::Toml, text });
        }
        let mut lane = Assembler::default();
        let mut got = None;
        for frame in question(1, None, &large).expect("below the bound") {
            got = lane.take_question(&frame).expect("in order");
        }
        assert_eq!(got, Some((1, None, large)));
    }

    #[test]
    fn a_question_whose_texts_are_not_what_its_head_says_is_refused() {
        let whole = question(1, None, &envelope("é".to_owned())).expect("small");
        let part: PartV1 = codec::decode(REQUEST_VERSION, &whole[0]).expect("own encoding");
        assert!(read_question(&part.bytes).is_ok());
        for end in 0..part.bytes.len() {
            assert!(read_question(&part.bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(read_question(&[&part.bytes[..], b"x"].concat()).is_err(), "more than it says");
        let mut other = part.bytes.clone();
        *other.last_mut().expect("a text") = 0xff;
        assert!(matches!(read_question(&other), Err(PartsError::Texts)), "not UTF-8");
    }

    #[test]
    fn the_wire_form_of_a_question_is_fixed() {
        let mut envelope = envelope("ab".to_owned());
        envelope.author = "o".to_owned();
        let frames = question(3, SPEAKER, &envelope).expect("below the bound");
        let hex: String = frames[0].iter().map(|byte| format!("{byte:02x}")).collect();
        if std::env::var_os("RAVELIN_REWRITE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/request/golden.txt");
            std::fs::write(path, hex + "\n").expect("the source tree is writable then");
            return;
        }
        assert_eq!(hex, include_str!("golden.txt").trim_end());
    }

    #[test]
    fn an_answer_that_is_too_large_says_the_same_of_the_outcome() {
        let far_too_long = "x".repeat(codec::ENCODED_BYTES_MAX);
        let read = |response: &Response| {
            let mut lane = Assembler::default();
            let frames = answer(3, SPEAKER, response);
            let got = frames.iter().filter_map(|frame| lane.take_answer(frame).expect("in order")).next();
            let (call, speaker, told) = got.expect("whole");
            assert_eq!((call, speaker), (3, SPEAKER));
            told
        };
        let verdict =
            Verdict { key: "a".to_owned(), state: "warning".to_owned(), errors: vec![far_too_long.clone()] };
        let generation = ravelin_config::GenerationId {
            cluster: [1; 16],
            recovery_epoch: 0,
            revision: 3,
            digest: ravelin_config::Digest([0; 32]),
        };
        let id = RequestId([7; 16]);
        let change =
            Change { id, generation: generation.into(), put: 2, deleted: 1, verdicts: vec![verdict] };
        let Response::Done(told) = read(&Response::Done(change.clone())) else { panic!("it was done") };
        assert_eq!(
            Change { verdicts: Vec::new(), ..told.clone() },
            Change { verdicts: Vec::new(), ..change }
        );
        assert!(told.verdicts[0].errors[0].starts_with("1 objects are not well"), "{told:?}");
        let refused = Response::Refused(Refusal::new(RefusalReason::InError, far_too_long.clone()));
        assert!(matches!(read(&refused), Response::Refused(told) if told.reason == RefusalReason::InError));
        let unknown = Response::Unknown { reason: far_too_long };
        assert!(matches!(read(&unknown), Response::Unavailable { .. }), "no reason is so long");
    }

    #[test]
    fn the_wire_form_of_a_redirect_is_fixed() {
        let frames = answer(3, SPEAKER, &Response::Redirect { node: Some(2), may_take_effect: true });
        let hex: String = frames[0].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            concat!(
                "01030000000000000000000000010000002c00000000000000",
                "0101c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1020000000300000000000000",
                "0400000001020000000000000001"
            )
        );
    }
}
