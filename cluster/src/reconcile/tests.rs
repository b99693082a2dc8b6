//! One piece of work at a time, every answer exactly once, nothing said that is not true.

use bytes::Bytes;
use ravelin_config::Digest;
use ravelin_consensus::{Index, NodeId};

use super::*;

const ID: RequestId = RequestId([1; 16]);

/// A reconciler with the applied state that it sees.
struct Bench {
    reconcile: Reconcile,
    store: Store,
    revision: u64,
    taken_effect: Vec<RequestId>,
    since: u64,
    now: Time,
    actions: Actions,
}

impl Bench {
    fn new() -> Self {
        let mut reconcile = Reconcile::default();
        reconcile.begin(Author::Controller { node: NodeId(1), epoch: 4 });
        Self {
            reconcile,
            store: Store::new([7; 16]),
            revision: 7,
            taken_effect: Vec::new(),
            since: 0,
            now: Time { micros: 1_000_000 },
            actions: Actions::new(),
        }
    }

    /// One request was asked for and judged, and comes to so many parts.
    fn judged(parts: u8) -> Self {
        let mut bench = Self::new();
        bench.ask(ID).expect("there is room");
        let jobs = bench.advance();
        bench.judge(&jobs, parts);
        bench.advance();
        bench
    }

    fn generation(&self) -> GenerationId {
        GenerationId {
            cluster: [7; 16],
            recovery_epoch: 0,
            revision: self.revision,
            digest: Digest::of(&self.revision.to_le_bytes()),
        }
    }

    fn with<T>(&mut self, use_it: impl FnOnce(&mut Reconcile, Time, Ground<'_>, &mut Actions) -> T) -> T {
        let generation = self.generation();
        let taken = self.taken_effect.clone();
        let outcome = |id: RequestId| {
            let (index, revision, put, deleted) = (Index(1), generation.revision, 1, 0);
            taken.contains(&id).then_some(Outcome { index, revision, generation, put, deleted })
        };
        let ground = Ground {
            store: &self.store,
            revision: self.revision,
            generation: Some(generation),
            outcome: &outcome,
        };
        use_it(&mut self.reconcile, self.now, ground, &mut self.actions)
    }

    /// Goes on, and gives the jobs that follow.
    fn advance(&mut self) -> Vec<Job> {
        self.with(|reconcile, now, ground, actions| {
            reconcile.advance(now, ground, || RequestId([9; 16]), actions);
        });
        let jobs = self.actions.drain().map(|action| match action {
            Action::Check(job) => job,
            other => panic!("not a job: {other:?}"),
        });
        jobs.collect()
    }

    fn ask(&mut self, id: RequestId) -> Result<(), Response> {
        let work = Work::Delete { keys: vec!["http/routers/a@cluster".to_owned()] };
        self.reconcile.request(
            PendingId(u64::from(id.0[0])),
            (id, Some(self.since)),
            "operator-1".to_owned(),
            work,
        )
    }

    /// Judges the running job: `parts` commands.
    fn judge(&mut self, jobs: &[Job], parts: u8) {
        let Some(Job { number, .. }) = jobs.last() else { panic!("nothing to judge: {jobs:?}") };
        let commands = (0..parts).map(|part| CommandBytes(Bytes::from(vec![part]))).collect();
        let prepared = Prepared { commands, deleted: 1, ..Prepared::default() };
        let verdict = Verdict { number: *number, outcome: Ok(prepared) };
        self.with(|reconcile, now, ground, _| reconcile.judged(now, verdict, ground));
    }

    fn decide(&mut self, id: RequestId, decision: Decision) {
        self.with(|reconcile, now, ground, _| reconcile.decided(now, id, &decision, ground));
    }

    fn attempt(&self) -> u64 {
        self.reconcile.jobs
    }

    fn turned_away(&mut self, part: u32) {
        self.reconcile.turned_away(self.now, self.attempt(), part);
    }

    fn refuse(&mut self, attempt: u64, part: u32) {
        let refusal = Refusal::new(RefusalReason::TooLarge, "too much; make it smaller");
        self.with(|reconcile, _, ground, _| reconcile.refused(attempt, part, refusal, ground));
    }

    /// The changes whose parts are to be forgotten.
    fn dropped(&mut self) -> Vec<RequestId> {
        let outputs = self.reconcile.outputs.iter().filter_map(|output| match output {
            Output::Propose { command, attempt: NO_ATTEMPT, .. } => match Command::decode(command) {
                Ok(Command::DropStaged { id }) => Some(RequestId(id.0)),
                other => panic!("not that: {other:?}"),
            },
            _ => None,
        });
        outputs.collect()
    }

    fn proposed(&mut self) -> Vec<u32> {
        let outputs = self.reconcile.outputs().into_iter();
        outputs
            .filter_map(|output| if let Output::Propose { part, .. } = output { Some(part) } else { None })
            .collect()
    }

    fn answers(&mut self) -> Vec<(u64, Response)> {
        let outputs = self.reconcile.outputs().into_iter();
        let answers = outputs.filter_map(|output| match output {
            Output::Answer { request, response } => Some((request.0, response)),
            _ => None,
        });
        answers.collect()
    }
}

#[test]
fn a_request_goes_from_the_check_to_the_log_to_its_answer() {
    let mut bench = Bench::new();
    bench.ask(ID).expect("there is room");
    let jobs = bench.advance();
    let [Job { stamp, .. }] = jobs.as_slice() else { panic!("{jobs:?}") };
    assert_eq!((stamp.id, stamp.base, stamp.at_unix_ms), (ID, 7, 1000));
    assert_eq!(stamp.author, Author::Operator { name: "operator-1".to_owned() });
    bench.judge(&jobs, 1);
    bench.advance();
    assert_eq!(bench.proposed(), [0]);
    bench.revision = 8;
    let generation = bench.generation();
    bench.decide(ID, Decision::Committed { generation });
    let answers = bench.answers();
    assert!(matches!(answers.as_slice(), [(1, Response::Done(change))] if change.generation.revision == 8));
}

#[test]
fn parts_go_a_few_at_a_time_and_again_where_they_were_lost() {
    let mut bench = Bench::judged(20);
    assert_eq!(bench.proposed(), (0..8).collect::<Vec<_>>());
    for part in 0..3 {
        bench.decide(ID, Decision::Staged { part });
    }
    bench.advance();
    assert_eq!(bench.proposed(), [8, 9, 10]);
    bench.turned_away(9);
    bench.advance();
    assert!(bench.proposed().is_empty(), "not at once again");
    bench.now = Time { micros: bench.now.micros + 60_000 };
    bench.advance();
    assert_eq!(bench.proposed(), [9], "the others are on their way");
    bench.now = Time { micros: bench.now.micros + 1_000_000 };
    bench.advance();
    assert_eq!(bench.proposed(), (3..11).collect::<Vec<_>>(), "nothing moved for a second");
}

#[test]
fn a_part_that_was_turned_away_goes_again_though_later_ones_are_applied() {
    let mut bench = Bench::judged(3);
    assert_eq!(bench.proposed(), [0, 1, 2]);
    bench.turned_away(0);
    bench.decide(ID, Decision::Staged { part: 1 });
    bench.decide(ID, Decision::Staged { part: 2 });
    bench.now = Time { micros: bench.now.micros + 60_000 };
    bench.advance();
    assert_eq!(bench.proposed(), [0], "the first one that is missing, and no other");
    bench.now = Time { micros: bench.now.micros + 1_100_000 };
    bench.advance();
    assert_eq!(bench.proposed(), [0], "and again where it was lost");
    bench.decide(ID, Decision::Staged { part: 0 });
    bench.now = Time { micros: bench.now.micros + 1_100_000 };
    bench.advance();
    assert_eq!(bench.proposed(), [0, 1, 2], "complete without a decision: the store dropped what it had");
    let generation = bench.generation();
    bench.decide(ID, Decision::Committed { generation });
    assert!(matches!(bench.answers().as_slice(), [(1, Response::Done(_))]));
}

#[test]
fn what_was_proposed_once_may_take_effect_whatever_was_turned_away_since() {
    let mut bench = Bench::judged(1);
    assert_eq!(bench.proposed(), [0]);
    bench.turned_away(0);
    bench.reconcile.end(5);
    let outputs = bench.reconcile.outputs();
    let admits = |output: &Output| matches!(output, Output::Orphaned { request: PendingId(1) });
    assert!(outputs.iter().any(admits), "the refusal may have come after an earlier copy: {outputs:?}");
}

#[test]
fn a_conflict_is_judged_anew_and_an_earlier_attempt_does_not_count() {
    let mut bench = Bench::judged(1);
    bench.revision = 9;
    bench.decide(ID, Decision::Conflict { base: 7 });
    let jobs = bench.advance();
    assert_eq!(jobs.len(), 1, "it is judged anew: {jobs:?}");
    bench.judge(&jobs, 1);
    bench.advance();
    // The first attempt was proposed twice: its second copy says nothing about the second attempt.
    bench.decide(ID, Decision::Conflict { base: 7 });
    assert!(bench.advance().is_empty(), "the second attempt is still on its way");
    bench.reconcile.outputs();
    let generation = bench.generation();
    bench.decide(ID, Decision::Committed { generation });
    assert!(matches!(bench.answers().as_slice(), [(1, Response::Done(_))]));
}

#[test]
fn endless_conflicts_end_in_a_refusal() {
    let mut bench = Bench::new();
    bench.ask(ID).expect("there is room");
    for _ in 0..CONFLICTS_MAX {
        let jobs = bench.advance();
        bench.judge(&jobs, 1);
        bench.advance();
        let base = bench.revision;
        bench.revision += 1;
        bench.decide(ID, Decision::Conflict { base });
        assert!(bench.answers().is_empty());
    }
    let jobs = bench.advance();
    bench.judge(&jobs, 1);
    bench.advance();
    let base = bench.revision;
    bench.decide(ID, Decision::Conflict { base });
    let answers = bench.answers();
    assert!(
        matches!(answers.as_slice(), [(1, Response::Refused(refusal))] if refusal.reason == RefusalReason::Conflict)
    );
}

#[test]
fn a_configuration_that_changed_while_it_was_judged_leads_to_another_look() {
    let mut bench = Bench::new();
    bench.ask(ID).expect("there is room");
    let jobs = bench.advance();
    bench.revision = 8;
    bench.judge(&jobs, 1);
    assert!(bench.proposed().is_empty());
    let jobs = bench.advance();
    assert_eq!(jobs.len(), 1, "it is judged anew: {jobs:?}");
}

#[test]
fn a_change_that_took_effect_before_is_answered_and_not_done_again() {
    let mut bench = Bench::new();
    bench.taken_effect.push(ID);
    bench.ask(ID).expect("there is room");
    assert!(bench.advance().is_empty(), "nothing to judge");
    assert!(matches!(bench.answers().as_slice(), [(1, Response::Done(_))]));
}

#[test]
fn drafts_wait_for_requests_and_only_the_newest_of_a_provider_counts() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.reconcile.draft(Arc::new(Draft { provider: "file".to_owned(), ..Draft::default() }));
    }
    bench.ask(ID).expect("there is room");
    let jobs = bench.advance();
    assert!(matches!(jobs.last(), Some(Job { work: Work::Delete { .. }, .. })), "{jobs:?}");
    bench.judge(&jobs, 0);
    let jobs = bench.advance();
    let [Job { stamp, work: Work::Draft(_), .. }] = jobs.as_slice() else { panic!("{jobs:?}") };
    assert_eq!(stamp.author, Author::Controller { node: NodeId(1), epoch: 4 });
    bench.judge(&jobs, 0);
    assert!(bench.advance().is_empty(), "one of three drafts is enough");
}

#[test]
fn an_ended_run_gives_back_what_it_did_not_begin_and_admits_what_it_did() {
    let mut bench = Bench::new();
    bench.ask(ID).expect("there is room");
    bench.ask(RequestId([2; 16])).expect("there is room");
    let jobs = bench.advance();
    bench.judge(&jobs, 1);
    bench.advance();
    assert_eq!(bench.proposed(), [0]);
    bench.reconcile.end(5);
    let outputs = bench.reconcile.outputs();
    let gives_back = |output: &Output| {
        matches!(output, Output::Answer { request: PendingId(2), response: Response::Redirect { .. } })
    };
    let admits = |output: &Output| matches!(output, Output::Orphaned { request: PendingId(1) });
    assert!(outputs.iter().any(gives_back) && outputs.iter().any(admits), "{outputs:?}");
    let late = |output: &Output| {
        matches!(
            output,
            Output::Note(EventKind::StaleWriteRefused { epoch: 4, current: 5, decided_by_log: false })
        )
    };
    assert!(outputs.iter().any(late), "work of an ended epoch was under way: {outputs:?}");
    assert!(matches!(bench.ask(ID), Err(Response::Redirect { .. })));
}

#[test]
fn the_queue_is_bounded_and_says_so() {
    let mut bench = Bench::new();
    for number in 0..REQUESTS_MAX {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        bench.ask(RequestId(id)).expect("there is room");
    }
    assert!(matches!(bench.ask(ID), Err(Response::Unavailable { reason }) if reason.contains("wait")));
}

#[test]
fn what_the_log_has_no_room_for_goes_again_later_and_later() {
    let mut bench = Bench::new();
    bench.ask(ID).expect("there is room");
    let jobs = bench.advance();
    bench.judge(&jobs, 1);
    let begun = bench.now.micros;
    let mut tries = 0;
    while bench.now.micros < begun + 10_000_000 {
        bench.advance();
        for part in bench.proposed() {
            tries += 1;
            bench.turned_away(part);
        }
        bench.now.micros += 1000;
    }
    assert!((8..=14).contains(&tries), "{tries} tries in ten seconds");
}

#[test]
fn a_part_that_can_never_be_taken_ends_the_change_at_once() {
    let mut bench = Bench::judged(2);
    assert_eq!(bench.proposed(), [0, 1]);
    bench.refuse(bench.attempt() + 1, 1);
    assert!(bench.answers().is_empty(), "of another attempt");
    bench.refuse(bench.attempt(), 1);
    assert_eq!(bench.dropped(), [ID], "the part that was taken is of no use to anybody");
    let answers = bench.answers();
    let [(1, Response::Refused(refusal))] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!(refusal.problems, ["too much; make it smaller"]);
    bench.now.micros += 10_000_000;
    assert!(bench.advance().is_empty() && bench.proposed().is_empty(), "it is over");
}

#[test]
fn a_refused_copy_of_a_part_that_may_be_in_the_log_leaves_the_outcome_open() {
    let mut bench = Bench::judged(1);
    assert_eq!(bench.proposed(), [0]);
    bench.turned_away(0);
    bench.now.micros += 60_000;
    bench.advance();
    assert_eq!(bench.proposed(), [0]);
    bench.refuse(bench.attempt(), 0);
    assert!(bench.dropped().is_empty(), "it has no parts");
    let answers = bench.answers();
    assert!(matches!(answers.as_slice(), [(1, Response::Unknown { .. })]), "{answers:?}");
}

#[test]
fn a_request_whose_outcome_may_be_forgotten_is_not_done_anew() {
    let mut bench = Bench::new();
    let change = |number: u64| {
        let command = Command::Change(crate::store::Change {
            id: ChangeId(u128::from(number).to_le_bytes()),
            author: Author::Operator { name: "operator-1".to_owned() },
            at_unix_ms: 0,
            base: None,
            puts: Vec::new(),
            deletes: Vec::new(),
        });
        ravelin_consensus::EntryKind::Command(command.encode().expect("small"))
    };
    let max = bench.store.limits().recent_max;
    for number in 1..=max + 10 {
        let entry = ravelin_consensus::Entry { term: ravelin_consensus::Term(1), kind: change(number) };
        assert!(!bench.store.may_have_forgotten(number - 1), "what was asked just now is known");
        bench.store.apply(Index(number), &entry).expect("the next entry");
    }
    for (since, is_done) in [(0, false), (9, false), (10, true), (max, true)] {
        bench.since = since;
        bench.ask(ID).expect("there is room");
        let jobs = bench.advance();
        assert_eq!(jobs.len(), usize::from(is_done), "since {since}");
        let answers = bench.answers();
        match is_done {
            true => bench.reconcile.begin(Author::Controller { node: NodeId(1), epoch: 5 }),
            false => assert!(matches!(answers.as_slice(), [(1, Response::Unknown { .. })]), "{answers:?}"),
        }
    }
}

#[test]
fn a_provider_hears_of_its_draft_object_by_object() {
    let mut bench = Bench::new();
    bench.reconcile.draft(Arc::new(Draft { provider: "file".to_owned(), ..Draft::default() }));
    bench.advance();
    let key = Key::new("http/routers/bad@file").expect("a key");
    let refused = Arc::new(BTreeMap::from([(key, vec!["why".to_owned()])]));
    let prepared = Prepared { refused: Arc::clone(&refused), ..Prepared::default() };
    let verdict = Verdict { number: bench.attempt(), outcome: Ok(prepared) };
    bench.with(|reconcile, now, ground, _| reconcile.judged(now, verdict, ground));
    let outputs = bench.reconcile.outputs();
    let [Output::Outcome { provider, outcome }] = outputs.as_slice() else { panic!("{outputs:?}") };
    let generation = bench.generation();
    let expected = DraftOutcome::Accepted { generation, refused, serving: false };
    assert_eq!((provider.as_str(), outcome), ("file", &expected));
}
