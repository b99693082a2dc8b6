//! What this node saw happen, the newest first to stay: a bounded list with numbers and times.
//! It must not decide or log anything: the shell prints what is reported.

use std::collections::VecDeque;

use ravelin_consensus::Time;

use crate::request::status::{EventKind, EventRecord};

/// Events kept for `Events`; older ones are forgotten.
pub const EVENTS_MAX: usize = 4096;
/// Texts kept of one event.
const REASONS_MAX: usize = 16;
/// Bytes kept of one text.
const REASON_BYTES_MAX: usize = 1024;

/// The node's own event log.
#[derive(Debug)]
pub(crate) struct Journal {
    node: u64,
    number: u64,
    records: VecDeque<EventRecord>,
}

impl Journal {
    pub(crate) fn new(node: u64) -> Self {
        Self { node, number: 0, records: VecDeque::new() }
    }

    /// Notes an event and gives it back for the shell to print.
    pub(crate) fn note(&mut self, now: Time, kind: EventKind) -> EventRecord {
        self.number += 1;
        let record =
            EventRecord { number: self.number, at_micros: now.micros, node: self.node, kind: bounded(kind) };
        if self.records.len() == EVENTS_MAX {
            self.records.pop_front();
        }
        self.records.push_back(record.clone());
        record
    }

    /// What is kept and has a higher number, oldest first.
    pub(crate) fn since(&self, number: u64) -> Vec<EventRecord> {
        self.records.iter().filter(|record| record.number > number).cloned().collect()
    }
}

fn bounded(mut kind: EventKind) -> EventKind {
    if let EventKind::ConfigurationRefused { reasons: texts, .. }
    | EventKind::ProxyRefused { reasons: texts, .. }
    | EventKind::ObjectsInError { objects: texts, .. } = &mut kind
    {
        bound_texts(texts);
    }
    kind
}

/// Cuts a list of texts to what is kept and shown.
pub(crate) fn bound_texts(texts: &mut Vec<String>) {
    if texts.len() > REASONS_MAX {
        let more = texts.len() - REASONS_MAX;
        texts.truncate(REASONS_MAX);
        texts.push(format!("and {more} more"));
    }
    for text in texts {
        if text.len() > REASON_BYTES_MAX {
            let cut = (0..=REASON_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(cut);
            text.push('…');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_events_are_forgotten_and_numbers_go_on() {
        let mut journal = Journal::new(3);
        for term in 0..EVENTS_MAX as u64 + 10 {
            journal.note(Time { micros: term }, EventKind::LeaderLost { term });
        }
        let kept = journal.since(0);
        assert_eq!(kept.len(), EVENTS_MAX);
        assert_eq!(kept.first().map(|record| record.number), Some(11));
        let last = journal.since(EVENTS_MAX as u64 + 9);
        assert_eq!(last.len(), 1);
        assert_eq!(last.first().map(|record| (record.node, record.at_micros)), Some((3, 4105)));
    }

    #[test]
    fn texts_are_bounded_in_number_and_length() {
        let mut texts = vec!["é".repeat(1000); 20];
        bound_texts(&mut texts);
        assert_eq!(texts.len(), REASONS_MAX + 1);
        assert_eq!(texts.last().map(String::as_str), Some("and 4 more"));
        assert!(texts.iter().all(|text| text.len() <= REASON_BYTES_MAX + 3));
    }
}
