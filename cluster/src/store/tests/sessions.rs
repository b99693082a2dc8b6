//! Commands of sessions: executed once, answered as recorded, whatever stands in the log twice.

use ravelin_consensus::SessionId;

use super::*;

fn open(log: &mut Log) -> SessionId {
    match log.apply(&Command::OpenSession { author: operator(), at_unix_ms: 1 }) {
        Applied::SessionOpened { session } => session,
        other => panic!("not opened: {other:?}"),
    }
}

/// A change under a new id each time: only the session tells that it is the same command.
fn put(id: u8, value: &str) -> Command {
    Command::Change(change(id, operator(), &[("user/counter", value)], &[]))
}

fn tagged(log: &mut Log, session: SessionId, sequence: u64, acknowledged: u64, command: Command) -> Applied {
    let session = Some(SessionTag { session, sequence, acknowledged });
    log.apply_bytes(Envelope { session, command }.encode().expect("small"))
}

fn value(log: &Log) -> Option<Arc<[u8]>> {
    log.store.get("user/counter").map(|value| value.bytes)
}

#[test]
fn a_command_that_stands_in_the_log_twice_is_executed_once_and_answered_as_it_was() {
    let mut log = Log::new(Limits::GENESIS);
    let session = open(&mut log);
    assert!(matches!(tagged(&mut log, session, 1, 0, put(1, "first")), Applied::Changed { revision: 1, .. }));
    log.apply(&put(2, "somebody else's"));
    let again = tagged(&mut log, session, 1, 0, put(3, "first"));
    let reply = Reply { revision: 1, refused: None };
    assert_eq!(again, Applied::Answered { session, sequence: 1, reply });
    assert_eq!(value(&log).as_deref(), Some(b"somebody else's".as_slice()), "it did not take effect again");

    // A refusal is an answer too, and stays one although the same command would be taken by now.
    let mut stale = change(4, operator(), &[("config/a", "1")], &[]);
    stale.base = Some(7);
    let refused = tagged(&mut log, session, 2, 0, Command::Change(stale.clone()));
    let code = refusal(refused).code();
    stale.base = None;
    let again = tagged(&mut log, session, 2, 0, Command::Change(stale));
    let reply = Reply { revision: 2, refused: Some(code) };
    assert_eq!(again, Applied::Answered { session, sequence: 2, reply });
    assert_eq!(log.store.get("config/a"), None);
}

#[test]
fn sessions_and_their_replies_survive_a_snapshot_and_leave_the_bytes_the_same() {
    let mut log = Log::new(Limits::GENESIS);
    let (first, second) = (open(&mut log), open(&mut log));
    tagged(&mut log, first, 5, 0, put(1, "1"));
    tagged(&mut log, second, 0, 0, put(2, "2"));
    let restored = restore(&log.store).expect("whole");
    assert_eq!(restored.sessions(), log.store.sessions());
    let mut log = Log { store: restored };
    let again = tagged(&mut log, first, 5, 0, put(3, "3"));
    assert!(matches!(again, Applied::Answered { sequence: 5, .. }), "{again:?}");
    assert_eq!(value(&log).as_deref(), Some(b"2".as_slice()));
    let before = log.store.clone();
    tagged(&mut log, first, 6, 6, put(4, "4"));
    assert_ne!(before.sessions(), log.store.sessions(), "a clone is independent");
}

#[test]
fn what_is_acknowledged_over_or_too_much_does_nothing_and_says_so() {
    let mut log = Log::new(Limits { sessions_max: 2, session_replies_max: 2, ..Limits::GENESIS });
    let session = open(&mut log);
    for sequence in 0..2 {
        tagged(&mut log, session, sequence, 0, put(sequence as u8, "kept"));
    }
    let full = refusal(tagged(&mut log, session, 2, 0, put(9, "lost")));
    assert_eq!(full, Refusal::SessionFull { max: 2 });
    assert!(matches!(tagged(&mut log, session, 2, 2, put(10, "taken")), Applied::Changed { .. }));
    let acknowledged = refusal(tagged(&mut log, session, 1, 2, put(11, "lost")));
    assert_eq!(acknowledged, Refusal::SessionAcknowledged { sequence: 1 });
    // The one that was used least recently ends when there are too many.
    let other = open(&mut log);
    tagged(&mut log, session, 3, 3, put(12, "taken"));
    open(&mut log);
    let over = refusal(tagged(&mut log, other, 0, 0, put(13, "lost")));
    assert_eq!(over, Refusal::SessionOver { session: other });
    assert!(over.to_string().contains("whether the command took effect before is not known"), "{over}");
    assert_eq!(log.apply(&Command::CloseSession { session }), Applied::SessionClosed { session });
    let closed = refusal(tagged(&mut log, session, 3, 3, put(14, "lost")));
    assert_eq!(closed, Refusal::SessionOver { session });
    assert_eq!(value(&log).as_deref(), Some(b"taken".as_slice()));
}

#[test]
fn sessions_are_opened_and_closed_whatever_they_are_part_of_and_by_who_may() {
    let mut log = Log::new(Limits::GENESIS);
    let former = log.appoint(1);
    log.appoint(2);
    let late = refusal(log.apply(&Command::OpenSession { author: former, at_unix_ms: 1 }));
    assert!(matches!(late, Refusal::StaleEpoch { .. }), "{late}");
    let session = open(&mut log);
    let opened = tagged(&mut log, session, 0, 0, Command::OpenSession { author: operator(), at_unix_ms: 1 });
    let Applied::SessionOpened { session: second } = opened else { panic!("not opened: {opened:?}") };
    assert_eq!(log.store.sessions().len(), 2);
    tagged(&mut log, session, 0, 0, Command::CloseSession { session: second });
    assert_eq!(log.store.sessions().len(), 1);
}

#[test]
fn a_command_that_cannot_be_applied_leaves_the_session_as_it_was() {
    let mut log = Log::new(Limits::GENESIS);
    let session = open(&mut log);
    let unknown = Command::RaiseFeatureLevel { author: operator(), at_unix_ms: 1, level: FEATURE_LEVEL + 1 };
    for level in 1..=FEATURE_LEVEL {
        log.apply(&Command::RaiseFeatureLevel { author: operator(), at_unix_ms: 1, level });
    }
    let before = log.store.clone();
    let tag = SessionTag { session, sequence: 0, acknowledged: 0 };
    let bytes = Envelope { session: Some(tag), command: unknown }.encode().expect("small");
    let entry = Entry { term: Term(1), kind: EntryKind::Command(bytes) };
    let error = log.store.apply(log.store.applied_index().next(), &entry).expect_err("newer nodes take it");
    assert!(matches!(error, ApplyError::FeatureLevel { .. }), "{error}");
    assert_eq!(log.store.sessions(), before.sessions());
    assert_eq!(log.store.applied_index(), before.applied_index());
}

#[test]
fn the_forms_of_sessions_are_fixed() {
    let session = SessionId(Index(7));
    let open = Command::OpenSession { author: operator(), at_unix_ms: 9 };
    let tag = SessionTag { session, sequence: 3, acknowledged: 2 };
    let drop = Command::DropStaged { id: ChangeId([0xcc; 16]) };
    for (name, envelope) in [
        ("command-open-session", Envelope { session: None, command: open }),
        ("command-close-session", Envelope { session: None, command: Command::CloseSession { session } }),
        ("command-of-a-session", Envelope { session: Some(tag), command: drop }),
    ] {
        let bytes = envelope.encode().expect("small");
        assert_golden(name, &bytes.0);
        assert_eq!(Envelope::decode(&bytes).expect("just encoded"), envelope);
    }
    let mut log = Log::new(Limits::GENESIS);
    let session = self::open(&mut log);
    tagged(&mut log, session, 1, 1, put(1, "1"));
    let chunks: Result<Vec<_>, _> = log.store.snapshot_chunks().collect();
    assert_golden("store-snapshot-with-session", &chunks.expect("small").concat());
}
