//! The table against a naive memory of everything that ever ran.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Executed, SessionBounds, SessionId, Sessions};
use crate::types::Index;

#[derive(Clone, Copy, Debug)]
enum Entry {
    Open,
    /// A command of one of the sessions opened so far.
    Command {
        session: usize,
        sequence: u64,
        acknowledged: u64,
    },
    Close(usize),
}

fn entry() -> impl Strategy<Value = Entry> {
    let command = (0..5usize, 0..6u64, 0..6u64)
        .prop_map(|(session, sequence, acknowledged)| Entry::Command { session, sequence, acknowledged });
    prop_oneof![2 => Just(Entry::Open), 12 => command, 1 => (0..5usize).prop_map(Entry::Close)]
}

proptest! {
    /// I42: whatever a client repeats, in whatever order, each command runs at most once, and every reply that is
    /// given is that of its one run.
    #[test]
    fn commands_run_once_and_replies_are_replayed(
        entries in proptest::collection::vec(entry(), 0..80),
        sessions_max in 1..4usize,
        replies_max in 1..4usize,
    ) {
        let mut sessions: Sessions<u64> = Sessions::new(SessionBounds { sessions_max, replies_max });
        let mut opened: Vec<SessionId> = Vec::new();
        let mut ran: BTreeMap<(SessionId, u64), u64> = BTreeMap::new();
        let mut done: BTreeSet<(SessionId, u64)> = BTreeSet::new();
        for (at, entry) in entries.into_iter().enumerate() {
            let index = Index(at as u64 + 1);
            match entry {
                Entry::Open => opened.push(sessions.open(index)),
                Entry::Close(of) => {
                    if let Some(session) = opened.get(of) {
                        sessions.close(*session);
                    }
                }
                Entry::Command { session, sequence, acknowledged } => {
                    let Some(session) = opened.get(session).copied() else { continue };
                    let key = (session, sequence);
                    let mut runs = 0;
                    let outcome = sessions.execute(index, session, sequence, acknowledged, || {
                        runs += 1;
                        index.0
                    });
                    let reply = match outcome {
                        Executed::Reply(reply) => Some(*reply),
                        _ => None,
                    };
                    prop_assert!(runs == 0 || reply == Some(index.0));
                    if runs == 1 {
                        prop_assert!(done.insert(key), "{key:?} ran twice");
                        ran.insert(key, index.0);
                    }
                    prop_assert!(reply.is_none_or(|reply| ran.get(&key) == Some(&reply)), "{key:?}: another reply");
                }
            }
            prop_assert!(sessions.len() <= sessions_max);
            prop_assert_eq!(sessions.sessions.len(), sessions.used.len());
            for (used, session) in &sessions.used {
                let replies = &sessions.sessions[session].replies;
                prop_assert!(sessions.sessions[session].used == *used && replies.len() <= replies_max);
            }
        }
    }
}

#[test]
fn the_session_used_least_recently_ends_first() {
    let mut sessions: Sessions<()> = Sessions::new(SessionBounds { sessions_max: 2, replies_max: 1 });
    let (one, two) = (sessions.open(Index(1)), sessions.open(Index(2)));
    assert_eq!(sessions.execute(Index(3), one, 1, 1, || ()), Executed::Reply(&()));
    let three = sessions.open(Index(4));
    assert_eq!(sessions.execute(Index(5), two, 1, 1, || panic!("it has ended")), Executed::NoSession);
    assert_eq!(sessions.execute(Index(6), three, 1, 1, || ()), Executed::Reply(&()));
    assert_eq!(sessions.execute(Index(7), one, 1, 1, || panic!("it ran before")), Executed::Reply(&()));
}

#[test]
fn a_client_has_so_many_commands_under_way_and_no_more() {
    let mut sessions: Sessions<u8> = Sessions::new(SessionBounds { sessions_max: 1, replies_max: 2 });
    let client = sessions.open(Index(1));
    assert_eq!(sessions.execute(Index(2), client, 2, 1, || 2), Executed::Reply(&2));
    assert_eq!(sessions.execute(Index(3), client, 1, 1, || 1), Executed::Reply(&1));
    assert_eq!(sessions.execute(Index(4), client, 3, 1, || panic!("not yet")), Executed::TooMany);
    assert_eq!(sessions.execute(Index(5), client, 3, 2, || 3), Executed::Reply(&3));
    assert_eq!(sessions.execute(Index(6), client, 1, 1, || panic!("it ran before")), Executed::Acknowledged);
}
