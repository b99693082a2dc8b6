//! The grammar of a chunked body, byte by byte: CRLF only, plain hexadecimal sizes, bounded extensions and trailers.
//! It passes data through and keeps none of it.

use super::bytes::{is_token, value_prefix};
use super::refusal::Refusal;
use super::scanner::Limits;

/// 16 hexadecimal digits hold every size below 2^64; more are only ever padding.
const SIZE_DIGITS_MAX: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    /// Blanks behind a size.
    Padding,
    SizeLf,
    Extension,
    Quoted,
    Escaped,
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
}

/// Where in a chunked body the scan stands. A few words, no buffer.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    state: State,
    /// Of an answer: blanks may stand behind a size, and the limit of extensions holds for each chunk.
    of_a_server: bool,
    size: u64,
    digits: u8,
    extension_bytes: usize,
    trailer_bytes: usize,
    trailer_fields: usize,
    name_bytes: usize,
}

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Took this many bytes (at least one), the body goes on.
    Taken(usize),
    /// Took this many bytes, the last of which ends the body.
    Ended(usize),
}

impl Chunks {
    /// At the first byte of a body.
    pub(crate) fn new() -> Self {
        Self {
            state: State::Size,
            of_a_server: false,
            size: 0,
            digits: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            trailer_fields: 0,
            name_bytes: 0,
        }
    }

    /// At the first byte of an answer's body: old servers pad their sizes with blanks, which every reader skips, and an answer
    /// may have chunks without end, each with an extension.
    pub(crate) fn of_a_server() -> Self {
        Self { of_a_server: true, ..Self::new() }
    }

    /// What comes next is content.
    pub(crate) fn is_in_data(&self) -> bool {
        matches!(self.state, State::Data(_))
    }

    /// What comes next belongs to the trailer section.
    pub(crate) fn is_in_trailers(&self) -> bool {
        matches!(
            self.state,
            State::Trailer | State::TrailerName | State::TrailerValue | State::TrailerLf | State::EndLf
        )
    }

    /// Takes a run of `input`, which must not be empty. An error names the fault of its first byte.
    pub(crate) fn feed(&mut self, input: &[u8], limits: &Limits) -> Result<Progress, Refusal> {
        let Some(&byte) = input.first() else { return Ok(Progress::Taken(0)) };
        match self.state {
            State::Size => self.size_byte(byte)?,
            State::Padding => {
                self.extension_bytes += 1;
                self.state = match byte {
                    b' ' | b'\t' if self.extension_bytes <= limits.chunk_extension_bytes_max => {
                        State::Padding
                    }
                    b';' => State::Extension,
                    b'\r' => State::SizeLf,
                    _ => return Err(Refusal::Chunk),
                };
            }
            State::SizeLf => {
                expect(byte, b'\n', Refusal::Chunk)?;
                self.state = if self.size == 0 { State::Trailer } else { State::Data(self.size) };
                (self.size, self.digits) = (0, 0);
                if self.of_a_server {
                    self.extension_bytes = 0;
                }
            }
            State::Extension | State::Quoted | State::Escaped => self.extension_byte(byte, limits)?,
            State::Data(left) => {
                let length = u64::try_from(input.len()).unwrap_or(u64::MAX).min(left);
                self.state = if length == left { State::DataCr } else { State::Data(left - length) };
                return Ok(Progress::Taken(usize::try_from(length).unwrap_or(input.len())));
            }
            State::DataCr => {
                expect(byte, b'\r', Refusal::Chunk)?;
                self.state = State::DataLf;
            }
            State::DataLf => {
                expect(byte, b'\n', Refusal::Chunk)?;
                self.state = State::Size;
            }
            State::EndLf => {
                expect(byte, b'\n', Refusal::Trailer)?;
                return Ok(Progress::Ended(1));
            }
            State::Trailer | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                return self.trailer(input, byte, limits).map(Progress::Taken);
            }
        }
        Ok(Progress::Taken(1))
    }

    fn size_byte(&mut self, byte: u8) -> Result<(), Refusal> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.digits > 0 => {
                self.state = State::SizeLf;
                return Ok(());
            }
            b';' if self.digits > 0 => {
                self.state = State::Extension;
                return Ok(());
            }
            b' ' | b'\t' if self.digits > 0 && self.of_a_server => {
                self.state = State::Padding;
                return Ok(());
            }
            _ => return Err(Refusal::Chunk),
        };
        if self.digits == SIZE_DIGITS_MAX {
            return Err(Refusal::Chunk);
        }
        self.digits += 1;
        self.size = (self.size << 4) | u64::from(digit);
        if self.size > i64::MAX as u64 {
            return Err(Refusal::Chunk);
        }
        Ok(())
    }

    /// An extension means nothing to us, but a line end inside its quotes means different things to different readers.
    fn extension_byte(&mut self, byte: u8, limits: &Limits) -> Result<(), Refusal> {
        self.state = match (self.state, byte) {
            (State::Extension, b'\r') => {
                self.state = State::SizeLf;
                return Ok(());
            }
            (State::Extension, b'"') => State::Quoted,
            (State::Quoted, b'"') => State::Extension,
            (State::Quoted, b'\\') => State::Escaped,
            (State::Escaped, _) => State::Quoted,
            (state, _) => state,
        };
        if !super::bytes::is_value(byte) {
            return Err(Refusal::Chunk);
        }
        self.extension_bytes += 1;
        if self.extension_bytes > limits.chunk_extension_bytes_max {
            return Err(Refusal::ChunkExtensions);
        }
        Ok(())
    }

    fn trailer(&mut self, input: &[u8], byte: u8, limits: &Limits) -> Result<usize, Refusal> {
        let mut taken = 1;
        match self.state {
            State::Trailer if byte == b'\r' => {
                self.state = State::EndLf;
                return Ok(1);
            }
            State::Trailer => {
                if !is_token(byte) {
                    return Err(Refusal::Trailer);
                }
                self.trailer_fields += 1;
                if self.trailer_fields > limits.trailer_fields_max {
                    return Err(Refusal::TrailerTooLarge);
                }
                self.name_bytes = 1;
                self.state = State::TrailerName;
            }
            State::TrailerName if byte == b':' => self.state = State::TrailerValue,
            State::TrailerName => {
                if !is_token(byte) {
                    return Err(Refusal::Trailer);
                }
                self.name_bytes += 1;
                if self.name_bytes > limits.field_name_bytes_max {
                    return Err(Refusal::TrailerTooLarge);
                }
            }
            State::TrailerValue if byte == b'\r' => self.state = State::TrailerLf,
            State::TrailerLf => {
                expect(byte, b'\n', Refusal::Trailer)?;
                self.state = State::Trailer;
            }
            _ => {
                let left = limits.trailer_bytes_max.saturating_sub(self.trailer_bytes).max(1);
                taken = value_prefix(input.get(..left).unwrap_or(input));
                if taken == 0 {
                    return Err(Refusal::Trailer);
                }
            }
        }
        self.trailer_bytes += taken;
        if self.trailer_bytes > limits.trailer_bytes_max {
            return Err(Refusal::TrailerTooLarge);
        }
        Ok(taken)
    }
}

fn expect(byte: u8, wanted: u8, otherwise: Refusal) -> Result<(), Refusal> {
    if byte == wanted { Ok(()) } else { Err(otherwise) }
}
