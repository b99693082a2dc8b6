//! Requests in hand: one answer each, the truth at the deadline, bounds.

use super::*;
use crate::request::{ApplyMode, Page, RequestId, Scope, SourceDocument, SourceFormat};

const NOW: Time = Time { micros: 1_000_000 };

fn envelope(request: Request) -> Envelope {
    Envelope {
        id: RequestId([1; 16]),
        hops: 0,
        deadline_millis: 1000,
        author: "x".to_owned(),
        request,
        since: None,
    }
}

fn change(bytes: usize) -> Envelope {
    let text = "x".repeat(bytes);
    let document = SourceDocument { name: "a".to_owned(), format: SourceFormat::Yaml, text };
    envelope(Request::Apply { documents: vec![document], mode: ApplyMode::Merge })
}

fn local(ticket: u64) -> ReplyTo {
    ReplyTo::Local(TicketId(ticket))
}

#[test]
fn the_deadline_tells_what_is_known() {
    let mut api = Api::default();
    let mut actions = Actions::new();
    let waiting = api.accept(NOW, local(1), change(1)).expect("room");
    let passed = api.accept(NOW, local(2), change(1)).expect("room");
    api.pass_on(NOW, passed, NodeId(2), &mut actions).expect("small");
    let again = api.accept(NOW, local(3), change(1)).expect("room");
    api.get_mut(again).expect("in hand").may_take_effect = true;
    let reading = api
        .accept(NOW, local(4), envelope(Request::Status { scope: Scope::Node, proxies: Page::FIRST }))
        .expect("room");
    api.pass_on(NOW, reading, NodeId(2), &mut actions).expect("small");
    assert!(api.overdue(after(NOW, Duration::from_millis(999)), true).is_empty());
    let overdue: BTreeMap<_, _> =
        api.overdue(after(NOW, Duration::from_secs(1)), false).into_iter().collect();
    assert!(matches!(overdue[&waiting], Response::Unavailable { .. }));
    assert!(matches!(overdue[&passed], Response::Unknown { .. }));
    assert!(matches!(overdue[&again], Response::Unknown { .. }));
    assert!(matches!(overdue[&reading], Response::Unavailable { .. }), "a question leaves no trace");
    assert_eq!(api.finish(passed), Some(local(2)));
    assert_eq!(api.finish(passed), None, "one answer");
    assert!(api.call_failed(CallId(1)).is_none(), "and its call is forgotten");
}

#[test]
fn a_question_that_went_to_the_wrong_node_is_recalled() {
    let mut api = Api::default();
    let mut actions = Actions::new();
    let id = api.accept(NOW, local(1), change(1)).expect("room");
    api.pass_on(NOW, id, NodeId(2), &mut actions).expect("small");
    api.recall(NOW, Some(NodeId(3)), None, |_, to| to == NodeId(3));
    assert!(api.waiting(NOW).is_empty());
    api.recall(NOW, Some(NodeId(2)), None, |_, to| to == NodeId(2));
    assert_eq!(api.waiting(NOW), [id]);
    assert!(api.get_mut(id).expect("in hand").may_take_effect, "the other node may have done it");
}

#[test]
fn requests_are_bounded_in_number_and_bytes() {
    let mut api = Api::default();
    let large = 8 << 20;
    for ticket in 0..(REQUEST_BYTES_MAX / large) as u64 {
        api.accept(NOW, local(ticket), change(large)).expect("room");
    }
    let refused = api.accept(NOW, local(99), change(large));
    assert!(matches!(refused, Err(Response::Unavailable { .. })));
    let mut many = Api::default();
    for ticket in 0..REQUESTS_MAX as u64 {
        many.accept(NOW, local(ticket), change(0)).expect("room");
    }
    assert!(many.accept(NOW, local(0), change(0)).is_err());
    let ids: Vec<PendingId> = many.waiting(NOW);
    for id in ids {
        many.finish(id);
    }
    assert!(many.places.is_empty(), "no index keeps what is answered");
    assert!(many.accept(NOW, local(0), change(0)).is_ok(), "answers make room");
}

#[test]
fn an_operator_speaks_in_its_own_name_and_a_controller_in_anybodys() {
    let mut api = Api::default();
    let mut actions = Actions::new();
    for (link, controller) in [(LinkId(1), None), (LinkId(2), Some(NodeId(9)))] {
        api.opened(link, controller, format!("name-{}", link.0), &mut actions);
        let mut envelope = change(1);
        envelope.hops = 1;
        envelope.author = "somebody".to_owned();
        let frames = parts::question(5, None, &envelope).expect("small");
        let question = api.frame(link, &frames[0], &mut actions).expect("whole");
        let said = (question.envelope.author.as_str(), question.envelope.hops, question.controller);
        let expected = match controller {
            Some(node) => ("somebody", 1, Some((node, None))),
            None => ("name-1", 0, None),
        };
        assert_eq!(said, expected);
    }
}

#[test]
fn a_lane_that_ends_takes_its_requests_along_and_garbage_ends_it() {
    let mut api = Api::default();
    let mut actions = Actions::new();
    api.opened(LinkId(1), None, "operator-1".to_owned(), &mut actions);
    let id = api.accept(NOW, ReplyTo::Link { link: LinkId(1), call: 1 }, change(1)).expect("room");
    assert!(api.frame(LinkId(1), b"garbage", &mut actions).is_none());
    assert!(matches!(actions.as_slice(), [Action::CloseLink { link: LinkId(1), .. }]));
    assert!(api.get_mut(id).is_none());
    assert!(api.places.is_empty() && api.unfinished == 0);
    for link in 0..LINKS_MAX as u64 {
        api.opened(LinkId(100 + link), None, String::new(), &mut actions);
    }
    actions.drain();
    api.opened(LinkId(9), None, String::new(), &mut actions);
    assert!(matches!(actions.as_slice(), [Action::CloseLink { link: LinkId(9), .. }]));
}

#[test]
fn answers_wait_for_the_transport_and_a_lane_that_is_not_read_is_cut() {
    let mut api = Api::default();
    let mut actions = Actions::new();
    api.opened(LinkId(1), None, String::new(), &mut actions);
    let reply = ReplyTo::Link { link: LinkId(1), call: 1 };
    for _ in 0..10 {
        api.reply(reply, Response::Proposed, &mut actions);
    }
    assert_eq!(actions.drain().count(), FRAMES_QUEUED_MAX);
    api.sent(LinkId(1), &mut actions);
    assert_eq!(actions.drain().count(), 1);
    for _ in 0..ANSWER_FRAMES_MAX {
        api.reply(reply, Response::Proposed, &mut actions);
    }
    assert!(matches!(actions.as_slice().last(), Some(Action::CloseLink { link: LinkId(1), .. })));
}

#[test]
fn one_operator_takes_only_its_share_and_control_nodes_always_find_room() {
    let mut api = Api::default();
    let mut actions = Actions::new();
    let mut number = 0;
    let mut open = |api: &mut Api, controller: bool, name: &str| {
        number += 1;
        let mut actions = Actions::new();
        let controller = controller.then_some(NodeId(2));
        api.opened(LinkId(number), controller, name.to_owned(), &mut actions);
        actions.as_slice().is_empty().then_some(LinkId(number))
    };
    let greedy: Vec<LinkId> = (0..LINKS_MAX).filter_map(|_| open(&mut api, false, "operator-1")).collect();
    assert_eq!(greedy.len(), 64, "a third of three quarters");
    let others = (0..LINKS_MAX).filter_map(|place| open(&mut api, false, &format!("operator-{}", place + 2)));
    assert_eq!(others.count(), 128);
    let controllers: Vec<LinkId> =
        (0..LINKS_MAX).filter_map(|_| open(&mut api, true, "controller-2")).collect();
    assert_eq!(controllers.len(), 64, "what was kept for them");

    let over = |link: &LinkId, call| ReplyTo::Link { link: *link, call };
    let (own, relay) = (greedy.first().expect("open"), controllers.first().expect("open"));
    let taken: Vec<PendingId> =
        (0..5000).filter_map(|call| api.accept(NOW, over(own, call), change(1)).ok()).collect();
    assert_eq!(taken.len(), 1024);
    assert!(
        matches!(api.accept(NOW, over(own, 1), change(1)), Err(Response::Unavailable { reason }) if reason.contains("operator-1"))
    );
    api.accept(NOW, over(relay, 1), change(1)).expect("others are not concerned");
    for id in taken {
        api.finish(id).expect("in hand");
    }
    assert!(api.operators.is_empty(), "nothing is kept of what was answered");
    let large = 9 << 20;
    let taken = (0..9).filter(|call| api.accept(NOW, over(own, *call), change(large)).is_ok()).count();
    assert_eq!(taken, 1, "a third of three quarters of the bytes");
    api.closed(*own);
    assert!(api.operators.is_empty(), "nor of whom has gone");
    api.accept(NOW, local(1), change(large)).expect("room");
    drop(actions.drain());
}
