//! The framing of HTTP/1 requests as a pure, incremental machine over bytes: where each message begins and ends, and
//! which are refused. It edits nothing, keeps a few dozen bytes besides the current target, and knows no routes, time or
//! sockets. However its input is cut into pieces, it tells the same events at the same offsets.

use super::bytes::{Breaks, FieldLine, TargetPart, is_token, letter_prefix, token_prefix, value_prefix};
use super::chunk::{Chunks, Progress};
use super::head::{After, Draft, Framing, Head, Known};
use super::refusal::Refusal;
use crate::forwarded::Present;

/// Bounds of one connection's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head from its first byte to the end of its empty line.
    pub head_bytes_max: usize,
    /// Bytes of a request target.
    pub target_bytes_max: usize,
    /// Fields of a head.
    pub fields_max: usize,
    /// Bytes of a field's name.
    pub field_name_bytes_max: usize,
    /// Bytes of chunk extensions in one body.
    pub chunk_extension_bytes_max: usize,
    /// Bytes of the trailer section of one body.
    pub trailer_bytes_max: usize,
    /// Fields of the trailer section of one body.
    pub trailer_fields_max: usize,
}

impl Limits {
    /// Traefik reads this many bytes beyond `maxHeaderBytes` before it refuses a head.
    pub const HEAD_SLACK_BYTES: usize = 4096;
    /// What `http::Uri` holds.
    pub const TARGET_BYTES_MAX: usize = 65_534;

    /// The limits of an entry point whose `maxHeaderBytes` is given.
    pub fn with_header_bytes(max_header_bytes: usize) -> Self {
        Self {
            head_bytes_max: max_header_bytes.saturating_add(Self::HEAD_SLACK_BYTES),
            target_bytes_max: Self::TARGET_BYTES_MAX,
            fields_max: 100,
            field_name_bytes_max: 1024,
            chunk_extension_bytes_max: 4096,
            trailer_bytes_max: 8192,
            trailer_fields_max: 32,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::with_header_bytes(1 << 20)
    }
}

/// What a scan came upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A head is complete and accepted. Unless its framing is [`Framing::Empty`], [`Event::End`] will follow.
    Head(Head),
    /// The body is complete.
    End(After),
    /// The message is refused at the byte that was not taken. Nothing further is taken, ever.
    Refused(Refusal),
}

/// The outcome of one [`Scanner::feed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes taken from the front of the input.
    pub taken: usize,
    /// What was found at their end. `None`: nothing, and either all was taken or the scanner takes no more for now.
    pub event: Option<Event>,
}

/// Values of fields that matter are kept up to this length; a longer one refuses the head.
const VALUE_BYTES_MAX: usize = 4096;
/// The longest registered method has 17 bytes.
const METHOD_BYTES_MAX: usize = 32;
/// Capacity of the target's buffer that is kept between messages.
const TARGET_KEPT_BYTES_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a message; one empty line may come first, as some clients send one after a body.
    Start {
        blank_seen: bool,
    },
    BlankLf,
    Method,
    Target(TargetPart),
    Version,
    RequestLineLf,
    /// At the start of a field line, or of the empty one. A field before it is judged only now, as this line may fold it.
    FieldStart(Option<Known>),
    FieldName,
    FieldValue(Option<Known>),
    FieldLf(Option<Known>),
    HeadLf,
    Length(u64),
    Chunked,
    Hold,
    Closed,
    Refused(Refusal),
}

/// The machine. See the module.
#[derive(Clone, Debug)]
pub struct Scanner {
    limits: Limits,
    state: State,
    after: After,
    draft: Draft,
    head_bytes: usize,
    fields: usize,
    /// Method, version, or the first bytes of a field's name in lower case.
    word: [u8; METHOD_BYTES_MAX],
    word_bytes: usize,
    target: Vec<u8>,
    value: Vec<u8>,
    chunks: Chunks,
}

impl Scanner {
    /// At the first byte of a connection.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Start { blank_seen: false },
            after: After::Next,
            draft: Draft::default(),
            head_bytes: 0,
            fields: 0,
            word: [0; METHOD_BYTES_MAX],
            word_bytes: 0,
            target: Vec::new(),
            value: Vec::new(),
            chunks: Chunks::new(),
        }
    }

    /// Takes bytes up to the next event or the end of `input`. Total: no input panics.
    pub fn feed(&mut self, input: &[u8]) -> Step {
        let mut taken = 0;
        while let Some(rest) = input.get(taken..)
            && !rest.is_empty()
            && !self.is_stopped()
        {
            match self.advance(rest) {
                Ok((bytes, event)) => {
                    taken += bytes;
                    if event.is_some() {
                        return Step { taken, event };
                    }
                }
                Err(refusal) => {
                    self.state = State::Refused(refusal);
                    return Step { taken, event: Some(Event::Refused(refusal)) };
                }
            }
        }
        Step { taken, event: None }
    }

    /// Takes nothing more: refused, closed, or held until [`Scanner::release`].
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, State::Hold | State::Closed | State::Refused(_))
    }

    /// After the last message of a connection: whatever follows is no message.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// After a message whose answer may open a tunnel.
    pub fn is_held(&self) -> bool {
        self.state == State::Hold
    }

    /// Between messages: no byte of a next one was taken, save a whole empty line.
    pub fn is_at_start(&self) -> bool {
        matches!(self.state, State::Start { .. })
    }

    /// Inside an accepted message's body.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Length(_) | State::Chunked)
    }

    /// Which fields the head has that was accepted last, where they were noted.
    pub(crate) fn seen(&self) -> Option<Present> {
        self.draft.seen()
    }

    /// The held message opened no tunnel: the connection goes on as HTTP. Does nothing in any other state.
    pub fn release(&mut self) {
        if self.state == State::Hold {
            self.state = if self.draft.closes() { State::Closed } else { State::Start { blank_seen: false } };
        }
    }

    fn advance(&mut self, rest: &[u8]) -> Result<(usize, Option<Event>), Refusal> {
        match self.state {
            State::Length(left) => {
                let bytes = u64::try_from(rest.len()).unwrap_or(u64::MAX).min(left);
                let taken = usize::try_from(bytes).unwrap_or(rest.len());
                if bytes == left {
                    return Ok((taken, Some(self.end_body())));
                }
                self.state = State::Length(left - bytes);
                Ok((taken, None))
            }
            State::Chunked => match self.chunks.feed(rest, &self.limits)? {
                Progress::Taken(bytes) => Ok((bytes, None)),
                Progress::Ended(bytes) => Ok((bytes, Some(self.end_body()))),
            },
            State::Hold | State::Closed => Ok((0, None)),
            State::Refused(refusal) => Err(refusal),
            State::Start { .. } => match self.whole_head(rest) {
                Some((bytes, head)) => Ok((bytes, Some(Event::Head(head)))),
                None => self.head(rest),
            },
            _ => self.head(rest),
        }
    }

    /// Takes a head that is whole, plain and without a fault in one go, as nearly all are. `None`: nothing was taken; the steps
    /// below go through it and know at which byte it is refused, if it is.
    fn whole_head(&mut self, rest: &[u8]) -> Option<(usize, Head)> {
        let left = self.limits.head_bytes_max.saturating_sub(self.head_bytes);
        let rest = rest.get(..left).unwrap_or(rest);
        let mut draft = Draft::default();
        let (method, behind) =
            rest.split_at_checked(token_prefix(rest)).filter(|(method, _)| !method.is_empty())?;
        draft.method(method).ok().filter(|()| method.len() <= METHOD_BYTES_MAX)?;
        let behind = behind.strip_prefix(b" ")?;
        let (target, part) = plain_target(behind);
        draft.target(target, part).ok().filter(|()| target.len() <= self.limits.target_bytes_max)?;
        let lines = behind.get(target.len()..)?.strip_prefix(b" HTTP/1.1\r\n")?;
        draft.version(b"HTTP/1.1").ok()?;
        let end = self.whole_lines(lines, &mut draft)?;
        let head = draft.finish(target).ok()?;
        self.draft = draft;
        self.end_head(&head);
        Some((rest.len() - lines.len() + end, head))
    }

    /// The bytes of these field lines with the empty one behind them, all of them plain. One pass finds where lines end and
    /// whether their values are legal. A function of its own, so that what it keeps stays in registers.
    #[inline(never)]
    fn whole_lines(&self, lines: &[u8], draft: &mut Draft) -> Option<usize> {
        let (mut start, mut fields, mut seen) = (0, 0, Present::default());
        let mut breaks = Breaks::of(lines);
        loop {
            let end = breaks.next()?;
            if !lines.get(end..)?.starts_with(b"\r\n") {
                return None;
            }
            breaks.next(); // the line feed
            if end == start {
                draft.saw(seen);
                return Some(end + 2);
            }
            let line = lines.get(start..end)?;
            let mut name_bytes = letter_prefix(lines.get(start..)?);
            if line.get(name_bytes) != Some(&b':') {
                name_bytes = token_prefix(line);
                line.get(name_bytes).filter(|&&byte| byte == b':')?;
                seen = seen.and(Present::underscored(line.get(..name_bytes)?));
            }
            let name = line.get(..name_bytes).filter(|name| !name.is_empty())?;
            fields += 1;
            if fields > self.limits.fields_max || name_bytes > self.limits.field_name_bytes_max {
                return None;
            }
            let found = Present::named(name);
            seen = seen.and(found);
            if let Some(known) = Known::among(found) {
                let value = line.get(name_bytes + 1..).filter(|value| value.len() <= VALUE_BYTES_MAX)?;
                draft.field(known, value).ok()?;
            }
            start = end + 2;
        }
    }

    fn head(&mut self, rest: &[u8]) -> Result<(usize, Option<Event>), Refusal> {
        let left = self.limits.head_bytes_max.saturating_sub(self.head_bytes);
        let rest = rest.get(..left).unwrap_or(rest);
        let Some(&byte) = rest.first() else { return Err(Refusal::HeadTooLarge) };
        let taken = match self.state {
            State::Start { blank_seen } => self.start(byte, blank_seen)?,
            State::BlankLf => {
                expect(byte, b'\n', Refusal::RequestLine)?;
                self.state = State::Start { blank_seen: true };
                1
            }
            State::Method => self.method(rest)?,
            State::Target(part) => self.target(rest, part)?,
            State::Version => self.version(rest)?,
            State::RequestLineLf => {
                expect(byte, b'\n', Refusal::RequestLine)?;
                self.state = State::FieldStart(None);
                1
            }
            State::FieldStart(known) => match self.whole_fields(rest, known)? {
                0 => self.field_start(byte, known)?,
                taken => taken,
            },
            State::FieldName => self.field_name(rest)?,
            State::FieldValue(known) => self.field_value(rest, known)?,
            State::FieldLf(known) => {
                expect(byte, b'\n', Refusal::Field)?;
                self.state = State::FieldStart(known);
                1
            }
            State::HeadLf => {
                expect(byte, b'\n', Refusal::Field)?;
                let head = self.draft.finish(&self.target)?;
                self.end_head(&head);
                return Ok((1, Some(Event::Head(head))));
            }
            State::Length(_) | State::Chunked | State::Hold | State::Closed | State::Refused(_) => 0,
        };
        self.head_bytes += taken;
        Ok((taken, None))
    }

    fn start(&mut self, byte: u8, blank_seen: bool) -> Result<usize, Refusal> {
        if byte == b'\r' && !blank_seen {
            self.state = State::BlankLf;
            return Ok(1);
        }
        if !is_token(byte) {
            return Err(Refusal::RequestLine);
        }
        self.draft = Draft::default();
        self.fields = 0;
        self.word_bytes = 0;
        self.target.clear();
        self.target.shrink_to(TARGET_KEPT_BYTES_MAX);
        self.state = State::Method;
        Ok(0)
    }

    fn method(&mut self, rest: &[u8]) -> Result<usize, Refusal> {
        let run = token_prefix(rest).min(METHOD_BYTES_MAX - self.word_bytes);
        if run > 0 {
            self.remember(rest.get(..run).unwrap_or_default(), false);
            return Ok(run);
        }
        let byte = rest.first().copied().unwrap_or_default();
        if is_token(byte) {
            return Err(Refusal::MethodTooLong);
        }
        expect(byte, b' ', Refusal::RequestLine)?;
        self.draft.method(self.word.get(..self.word_bytes).unwrap_or_default())?;
        self.word_bytes = 0;
        self.state = State::Target(TargetPart::Path);
        Ok(1)
    }

    fn target(&mut self, rest: &[u8], part: TargetPart) -> Result<usize, Refusal> {
        let room = self.limits.target_bytes_max.saturating_sub(self.target.len());
        let run = part.prefix(rest).min(room);
        if run > 0 {
            self.target.extend_from_slice(rest.get(..run).unwrap_or_default());
            return Ok(run);
        }
        let byte = rest.first().copied().unwrap_or_default();
        if byte == b' ' {
            if self.target.is_empty() {
                return Err(Refusal::RequestLine);
            }
            self.draft.target(&self.target, part)?;
            self.state = State::Version;
            return Ok(1);
        }
        if room == 0 {
            return Err(Refusal::TargetTooLong);
        }
        let next = match (byte, part) {
            (b'?', TargetPart::Path) => TargetPart::Query,
            (b'#', TargetPart::Path | TargetPart::Query) => TargetPart::Fragment,
            _ => return Err(Refusal::RequestLine),
        };
        self.target.push(byte);
        self.state = State::Target(next);
        Ok(1)
    }

    fn version(&mut self, rest: &[u8]) -> Result<usize, Refusal> {
        const USUAL: &[u8] = b"HTTP/1.1\r\n";
        if self.word_bytes == 0 && rest.starts_with(USUAL) {
            self.draft.version(b"HTTP/1.1")?;
            self.state = State::FieldStart(None);
            return Ok(USUAL.len());
        }
        let byte = rest.first().copied().unwrap_or_default();
        if self.word_bytes < 8 {
            if byte.is_ascii_control() || byte == b' ' {
                return Err(Refusal::RequestLine);
            }
            self.remember(&[byte], false);
            return Ok(1);
        }
        expect(byte, b'\r', Refusal::RequestLine)?;
        self.draft.version(self.word.get(..self.word_bytes).unwrap_or_default())?;
        self.state = State::RequestLineLf;
        Ok(1)
    }

    /// Takes the field lines that are whole and plain, in one go. What is not (a line cut short, a fault, a limit reached) is
    /// left for the steps below; 0 if that is the first line. A field that matters ends the run: it is judged at the
    /// beginning of the line behind it, so that whatever is refused is refused at the same byte as there.
    fn whole_fields(&mut self, rest: &[u8], mut before: Option<Known>) -> Result<usize, Refusal> {
        let mut taken = 0;
        while (taken == 0 || before.is_none())
            && self.fields < self.limits.fields_max
            && let Some(line) = rest.get(taken..).and_then(FieldLine::of)
            && line.name.len() <= self.limits.field_name_bytes_max
        {
            let known = Known::of(line.name);
            if known.is_some() && line.value.len() > VALUE_BYTES_MAX {
                break;
            }
            if let Some(before) = before {
                self.draft.field(before, &self.value)?;
            }
            if known.is_some() {
                self.value.clear();
                self.value.extend_from_slice(line.value);
            }
            before = known;
            self.fields += 1;
            taken += line.bytes;
            self.state = State::FieldStart(known);
        }
        Ok(taken)
    }

    fn field_start(&mut self, byte: u8, before: Option<Known>) -> Result<usize, Refusal> {
        // A blank here would be a folded line.
        if byte != b'\r' && !is_token(byte) {
            return Err(Refusal::Field);
        }
        if let Some(before) = before {
            self.draft.field(before, &self.value)?;
        }
        if byte == b'\r' {
            self.state = State::HeadLf;
            return Ok(1);
        }
        if self.fields == self.limits.fields_max {
            return Err(Refusal::TooManyFields);
        }
        self.fields += 1;
        self.word_bytes = 0;
        self.state = State::FieldName;
        Ok(0)
    }

    fn field_name(&mut self, rest: &[u8]) -> Result<usize, Refusal> {
        let run = token_prefix(rest).min(self.limits.field_name_bytes_max.saturating_sub(self.word_bytes));
        if run > 0 {
            self.remember(rest.get(..run).unwrap_or_default(), true);
            return Ok(run);
        }
        let byte = rest.first().copied().unwrap_or_default();
        if is_token(byte) {
            return Err(Refusal::HeadTooLarge);
        }
        expect(byte, b':', Refusal::Field)?;
        // A name that is longer than the word is none that matters.
        let known = self.word.get(..self.word_bytes).and_then(Known::of);
        self.value.clear();
        self.state = State::FieldValue(known);
        Ok(1)
    }

    fn field_value(&mut self, rest: &[u8], known: Option<Known>) -> Result<usize, Refusal> {
        let run = value_prefix(rest);
        if run == 0 {
            expect(rest.first().copied().unwrap_or_default(), b'\r', Refusal::Field)?;
            self.state = State::FieldLf(known);
            return Ok(1);
        }
        if known.is_none() {
            return Ok(run);
        }
        let run = run.min(VALUE_BYTES_MAX - self.value.len());
        if run == 0 {
            return Err(Refusal::HeadTooLarge);
        }
        self.value.extend_from_slice(rest.get(..run).unwrap_or_default());
        Ok(run)
    }

    /// Appends to `word` what fits; the count goes on.
    fn remember(&mut self, bytes: &[u8], lower: bool) {
        for (offset, &byte) in bytes.iter().enumerate() {
            if let Some(place) = self.word.get_mut(self.word_bytes + offset) {
                *place = if lower { byte.to_ascii_lowercase() } else { byte };
            }
        }
        self.word_bytes += bytes.len();
    }

    fn end_head(&mut self, head: &Head) {
        self.head_bytes = 0;
        self.after = head.after;
        match head.framing {
            Framing::Empty => self.end_message(),
            Framing::Length(length) => self.state = State::Length(length),
            Framing::Chunked => {
                self.chunks = Chunks::new();
                self.state = State::Chunked;
            }
        }
    }

    fn end_body(&mut self) -> Event {
        self.end_message();
        Event::End(self.after)
    }

    fn end_message(&mut self) {
        self.state = match self.after {
            After::Next => State::Start { blank_seen: false },
            After::Hold => State::Hold,
            After::Close => State::Closed,
        };
    }
}

/// The target that these bytes begin with, up to what stands in neither path nor query, and the part that it ends in.
fn plain_target(bytes: &[u8]) -> (&[u8], TargetPart) {
    let path = TargetPart::Path.prefix(bytes);
    let (end, part) = match bytes.get(path + 1..) {
        Some(query) if bytes.get(path) == Some(&b'?') => {
            (path + 1 + TargetPart::Query.prefix(query), TargetPart::Query)
        }
        _ => (path, TargetPart::Path),
    };
    (bytes.get(..end).unwrap_or_default(), part)
}

fn expect(byte: u8, wanted: u8, otherwise: Refusal) -> Result<(), Refusal> {
    if byte == wanted { Ok(()) } else { Err(otherwise) }
}

#[cfg(test)]
mod tests;
