//! What is durable, as far as the driver has reported, and what is on its way there.
//!
//! Batches are written in order, so a completed token completes every earlier one; late, repeated and invented tokens
//! change nothing (B25).

use std::collections::VecDeque;

use crate::durable::HardState;
use crate::types::{Index, Token};

/// A batch on its way to the disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Write {
    token: Token,
    hard_state: HardState,
    /// Entries from here on are replaced by this write.
    first: Index,
    /// The log's last index after it.
    last: Index,
}

/// The durable side of a core.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Persistence {
    issued: Token,
    completed: Token,
    hard_state: HardState,
    index: Index,
    pending: VecDeque<Write>,
}

impl Persistence {
    pub(crate) fn new(hard_state: HardState, index: Index) -> Persistence {
        Persistence { issued: Token(0), completed: Token(0), hard_state, index, pending: VecDeque::new() }
    }

    /// The durable term and vote.
    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// The log in memory is durable up to here.
    pub(crate) fn index(&self) -> Index {
        self.index
    }

    /// The term and vote of the newest batch, durable or not.
    pub(crate) fn written(&self) -> HardState {
        self.pending.back().map_or(self.hard_state, |write| write.hard_state)
    }

    /// The log is durable up to here, or on its way to be.
    pub(crate) fn last(&self) -> Index {
        self.pending.back().map_or(self.index, |write| write.last)
    }

    /// The oldest batch that is not durable.
    pub(crate) fn oldest_pending(&self) -> Option<Token> {
        self.pending.front().map(|write| write.token)
    }

    /// Names a new batch that replaces the entries from `first` on and leaves the log ending at `last`.
    pub(crate) fn issue(&mut self, hard_state: HardState, first: Index, last: Index) -> Token {
        self.issued = Token(self.issued.0.saturating_add(1));
        self.index = self.index.min(first.previous());
        self.pending.push_back(Write { token: self.issued, hard_state, first, last });
        self.issued
    }

    /// Takes note that `token` and all before it are durable. Says whether that was news.
    pub(crate) fn complete(&mut self, token: Token) -> bool {
        if token <= self.completed || token > self.issued {
            return false;
        }
        while let Some(write) = self.pending.front().filter(|write| write.token <= token) {
            self.hard_state = write.hard_state;
            self.index = write.last;
            self.pending.pop_front();
        }
        // What a later write is going to replace is on disk, but is no longer the log in memory (async ABA).
        for later in &self.pending {
            self.index = self.index.min(later.first.previous());
        }
        self.completed = token;
        true
    }

    /// Counts tokens from the last completed one, and returns that one.
    pub(crate) fn renumber(&mut self) -> Token {
        let base = self.completed;
        self.completed = Token(0);
        self.issued = Token(self.issued.0.saturating_sub(base.0));
        for write in &mut self.pending {
            write.token = Token(write.token.0.saturating_sub(base.0));
        }
        base
    }

    /// Replaces every term and vote, for a core under other names.
    pub(crate) fn map_hard_states(&mut self, map: impl Fn(HardState) -> HardState) {
        self.hard_state = map(self.hard_state);
        for write in &mut self.pending {
            write.hard_state = map(write.hard_state);
        }
    }

    /// Whether tokens rise without gap from the completed to the issued one and lead to a log that ends at `last`.
    pub(crate) fn is_coherent(&self, last: Index) -> bool {
        let mut token = self.completed;
        let mut state = self.hard_state;
        for write in &self.pending {
            token = Token(token.0.saturating_add(1));
            if write.token != token || write.hard_state.term < state.term {
                return false;
            }
            state = write.hard_state;
        }
        token == self.issued && self.index <= last && self.last() == last
    }
}
