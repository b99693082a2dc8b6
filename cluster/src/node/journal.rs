//! What this node saw happen, the newest first to stay: a bounded list with numbers and times.
//! It must not decide or log anything: the shell prints what is reported.

use std::collections::VecDeque;

use ravelin_consensus::Time;

use crate::request::status::{EventKind, EventRecord};

/// Events kept for `Events`; older ones are forgotten.
pub const EVENTS_MAX: usize = 4096;
/// Bytes of events kept for `Events`; older ones are forgotten.
const JOURNAL_BYTES_MAX: usize = 8 << 20;
/// What an event weighs beside its texts.
const RECORD_BYTES: usize = 128;
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
    bytes: usize,
}

impl Journal {
    pub(crate) fn new(node: u64) -> Self {
        Self { node, number: 0, records: VecDeque::new(), bytes: 0 }
    }

    /// Notes an event and gives it back for the shell to print.
    pub(crate) fn note(&mut self, now: Time, kind: EventKind) -> EventRecord {
        self.number += 1;
        let record =
            EventRecord { number: self.number, at_micros: now.micros, node: self.node, kind: bounded(kind) };
        self.bytes += size_bytes(&record);
        self.records.push_back(record.clone());
        while self.records.len() > EVENTS_MAX || self.bytes > JOURNAL_BYTES_MAX {
            let Some(forgotten) = self.records.pop_front() else { break };
            self.bytes -= size_bytes(&forgotten);
        }
        record
    }

    /// What is kept and has a higher number, oldest first: at most so many, and as far as they fit into so many bytes,
    /// but one at least.
    pub(crate) fn since(&self, number: u64, limit: usize, bytes_max: usize) -> Vec<EventRecord> {
        let mut page = Vec::new();
        let mut bytes = 0usize;
        // Numbers follow each other without a gap.
        let first = self.records.front().map_or(0, |record| record.number);
        let skipped = usize::try_from(number.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        for record in self.records.iter().skip(skipped).take(limit) {
            bytes += size_bytes(record);
            if bytes > bytes_max && !page.is_empty() {
                break;
            }
            page.push(record.clone());
        }
        page
    }
}

fn size_bytes(record: &EventRecord) -> usize {
    let all = |texts: &[String]| texts.iter().map(|text| text.len() + size_of::<String>()).sum::<usize>();
    let texts = match &record.kind {
        EventKind::ConfigurationRefused { provider: name, reasons: texts }
        | EventKind::ObjectsInError { provider: name, objects: texts }
        | EventKind::ProxyRefused { generation: name, reasons: texts, .. } => name.len() + all(texts),
        EventKind::ProxyLacks { kinds: texts, .. } => all(texts),
        EventKind::GenerationCommitted { generation: text, .. }
        | EventKind::Halted { reason: text }
        | EventKind::FramesUnreadable { reason: text, .. }
        | EventKind::ProxyTurnedAway { reason: text, .. } => text.len(),
        _ => 0,
    };
    RECORD_BYTES + texts
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
        let kept = journal.since(0, usize::MAX, usize::MAX);
        assert_eq!(kept.len(), EVENTS_MAX);
        assert_eq!(kept.first().map(|record| record.number), Some(11));
        let last = journal.since(EVENTS_MAX as u64 + 9, usize::MAX, usize::MAX);
        assert_eq!(last.len(), 1);
        assert_eq!(last.first().map(|record| (record.node, record.at_micros)), Some((3, 4105)));
    }

    #[test]
    fn the_journal_and_a_page_of_it_are_bounded_in_bytes_and_pages_follow_each_other() {
        let mut journal = Journal::new(3);
        let reasons = vec!["x".repeat(REASON_BYTES_MAX); REASONS_MAX];
        for _ in 0..1000 {
            let kind =
                EventKind::ConfigurationRefused { provider: "file".to_owned(), reasons: reasons.clone() };
            journal.note(Time { micros: 1 }, kind);
        }
        let weight = |records: &[EventRecord]| records.iter().map(size_bytes).sum::<usize>();
        let all = journal.since(0, usize::MAX, usize::MAX);
        assert!(all.len() < 1000 && weight(&all) <= JOURNAL_BYTES_MAX);
        assert_eq!((weight(&all), all.last().map(|record| record.number)), (journal.bytes, Some(1000)));
        let mut pages = Vec::new();
        let mut since = 0;
        loop {
            let page = journal.since(since, 70, 1 << 20);
            assert!(page.len() <= 70 && weight(&page) <= 1 << 20);
            let Some(last) = page.last() else { break };
            since = last.number;
            pages.extend(page);
        }
        assert_eq!(pages, all);
        assert_eq!(journal.since(998, 70, 1).len(), 1, "a page goes on");
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
