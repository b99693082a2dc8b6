//! The feed server alone: sharing, order, bounds, hostile frames.

use ravelin_config::feed::{Content, ControlNode, Receiver, ReceiverLimits, Stage, Step};
use ravelin_config::{Change, Key, Secret, Understands};

use super::*;

mod hostile;
mod known;
mod scale;

const CLUSTER: [u8; 16] = [7; 16];

fn map(entries: &[(&str, &str)]) -> ConfigMap {
    entries.iter().map(|(k, v)| (Key::new(k).expect("a key"), v.as_bytes().into())).collect()
}

fn id(revision: u64, map: &ConfigMap) -> GenerationId {
    GenerationId { cluster: CLUSTER, recovery_epoch: 0, revision, digest: map.digest() }
}

fn at(millis: u64) -> Time {
    Time { micros: millis * 1000 }
}

fn sealing() -> SealingKeys {
    SealingKeys::new(CLUSTER, &[[7; 32]]).expect("one key")
}

/// A configuration with a secret of this value beside it, as it lies in the log.
fn with_secret(entries: &[(&str, &str)], value: &str) -> ConfigMap {
    let (mut map, secret) = (map(entries), Secret::new(value.to_owned()));
    let id = sealing().name(value);
    map.change_secrets([(id, Some(sealing().seal(&id, &secret)))]);
    map
}

/// What process `instance` of a proxy says first.
fn hello(held: Option<GenerationId>, instance: u64) -> ToControl {
    ToControl::Hello(Hello {
        cluster: CLUSTER,
        recovery_epoch: 0,
        generation: held,
        floor: None,
        view: String::new(),
        build: "b".repeat(1000),
        instance,
        understands: Understands::this_build(FEED_VERSIONS),
    })
}

/// A feed over a history of generations; deltas are known from `known` on.
struct Bench {
    feed: Feed,
    history: Vec<(GenerationId, ConfigMap)>,
    known: u64,
    actions: Actions,
    now: Time,
}

impl Bench {
    fn new() -> Self {
        let mut feed = Feed::new(CLUSTER, sealing());
        feed.stale = false;
        Self { feed, history: Vec::new(), known: 0, actions: Actions::new(), now: at(0) }
    }

    fn with<T>(&mut self, use_it: impl FnOnce(&mut Feed, Time, &Source<'_>, &mut Actions) -> T) -> T {
        let Self { feed, history, known, actions, now } = self;
        let empty = ConfigMap::new();
        let (target, newest) = history.last().map_or((None, &empty), |(id, map)| (Some(*id), map));
        let delta = |base: &GenerationId| {
            let (_, old) = history.iter().find(|(id, _)| id == base && id.revision >= *known)?;
            let mut delta = Delta {
                base: *base,
                target: target?,
                puts: Vec::new(),
                deletes: Vec::new(),
                secrets: newest.secrets().diff(old.secrets()),
            };
            for (key, change) in newest.diff(old) {
                match change {
                    Change::Put(bytes) => delta.puts.push((key, bytes)),
                    Change::Delete => delta.deletes.push(key),
                }
            }
            Some(delta)
        };
        use_it(feed, *now, &Source { map: newest, delta: &delta }, actions)
    }

    fn publish(&mut self, revision: u64, entries: &[(&str, &str)]) -> GenerationId {
        self.publish_map(revision, map(entries))
    }

    fn publish_map(&mut self, revision: u64, map: ConfigMap) -> GenerationId {
        let generation = id(revision, &map);
        self.history.push((generation, map));
        self.with(|feed, now, source, actions| feed.publish(now, generation, source, actions));
        generation
    }

    fn attach(&mut self, link: u64, held: Option<GenerationId>) {
        self.feed.opened(LinkId(link), link, &mut self.actions);
        self.say(link, &hello(held, link));
    }

    fn say(&mut self, link: u64, message: &ToControl) -> Option<EventKind> {
        let frame = codec::encode(FEED_VERSION, &ToControlV1::from(message.clone())).expect("small");
        self.with(|feed, now, source, actions| feed.frame(now, LinkId(link), &frame, source, actions))
    }

    fn acknowledge(&mut self, link: u64, generation: GenerationId, stage: Stage) -> Option<EventKind> {
        self.say(link, &ToControl::Acknowledge { generation, stage })
    }

    /// The transport takes everything; gives what each link was sent.
    fn sent(&mut self) -> Vec<(u64, Bytes)> {
        let mut all = Vec::new();
        loop {
            let actions: Vec<Action> = self.actions.drain().collect();
            let mut idle = true;
            for action in actions {
                if let Action::SendLink { link, frame } = action {
                    idle = false;
                    all.push((link.0, frame));
                    self.with(|feed, now, source, actions| feed.sent(now, link, source, actions));
                }
            }
            if idle {
                return all;
            }
        }
    }
}

fn read(frame: &Bytes) -> ToProxy {
    codec::decode_into::<ToProxyV1, _>(FEED_VERSION, frame).expect("own encoding")
}

#[test]
fn a_delta_is_encoded_once_and_shared_by_all() {
    let mut bench = Bench::new();
    let first = bench.publish(1, &[("a", "1")]);
    for link in 1..=50 {
        bench.attach(link, Some(first));
    }
    assert!(bench.sent().iter().all(|(_, frame)| matches!(read(frame), ToProxy::UpToDate { .. })));
    bench.publish(2, &[("a", "2")]);
    let sent = bench.sent();
    assert_eq!(sent.len(), 50);
    let same = sent.first().map(|(_, frame)| frame.as_ptr());
    assert!(sent.iter().all(|(_, frame)| Some(frame.as_ptr()) == same), "one encoding for all");
    assert_eq!(bench.feed.transfers.deltas_encoded(), 1);
}

#[test]
fn a_slow_proxy_gets_only_the_latest() {
    let mut bench = Bench::new();
    let first = bench.publish(1, &[("a", "1")]);
    bench.attach(1, Some(first));
    bench.sent();
    let second = bench.publish(2, &[("a", "2")]);
    assert_eq!(bench.sent().len(), 1);
    // It has not answered; meanwhile the configuration changes a hundred times.
    for revision in 3..103 {
        bench.publish(revision, &[("a", &revision.to_string())]);
    }
    assert!(bench.sent().is_empty(), "nothing is queued for it");
    bench.acknowledge(1, second, Stage::Validated);
    let sent = bench.sent();
    let [(_, frame)] = sent.as_slice() else { panic!("{} frames", sent.len()) };
    let ToProxy::Part(part) = read(frame) else { panic!("no part") };
    assert!(
        matches!(part.content, Content::Delta { base, target } if base == second && target.revision == 102)
    );
}

#[test]
fn a_large_generation_goes_in_parts_with_few_on_the_way_and_is_made_in_the_background() {
    let mut bench = Bench::new();
    let text = "x".repeat(10_000);
    let keys: Vec<String> = (0..INLINE_OBJECTS_MAX + 1).map(|number| format!("key{number}")).collect();
    let entries: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), text.as_str())).collect();
    let generation = bench.publish(1, &entries);
    bench.attach(1, None);
    bench.attach(2, None);
    let mut jobs: Vec<Action> = bench.actions.drain().collect();
    assert_eq!(jobs.len(), 1, "one encoding for both: {jobs:?}");
    let Some(Action::EncodeWhole { map, transfer, .. }) = jobs.pop() else { panic!("no job") };
    let frames = encode_whole(generation, &map, transfer, &ViewSealing::new(sealing(), ""))
        .expect("within the limits");
    assert!(frames.len() > 2 * FRAMES_QUEUED_MAX);
    let whole = Transfer { target: generation, frames };
    bench.with(|feed, now, source, actions| feed.encoded(now, whole, source, actions));
    assert_eq!(bench.actions.as_slice().len(), 2 * FRAMES_QUEUED_MAX, "a few frames each");
    let mut receiver = Receiver::new(CLUSTER, ReceiverLimits::default(), None);
    let mut complete = None;
    for (link, frame) in bench.sent() {
        if link == 1
            && let Step::Complete { generation, .. } = receiver.handle(read(&frame))
        {
            complete = Some(generation);
        }
    }
    assert_eq!(complete, Some(generation));
}

#[test]
fn a_whole_that_nobody_needed_for_a_while_is_let_go_and_made_again_for_the_next() {
    let mut bench = Bench::new();
    bench.publish(1, &[("a", "1")]);
    bench.attach(1, None);
    assert!(bench.feed.transfers.whole().is_some());
    let tick = |bench: &mut Bench, now| {
        bench.now = at(now);
        bench.with(|feed, now, source, actions| feed.tick(now, source, actions));
    };
    tick(&mut bench, 1000);
    assert!(bench.feed.transfers.whole().is_some(), "others may come with the first");
    bench.sent();
    tick(&mut bench, 60_000);
    assert!(bench.feed.transfers.whole().is_none());
    bench.attach(2, None);
    let is_whole = |frame: &Bytes| matches!(read(frame), ToProxy::Part(part) if matches!(part.content, Content::Whole { .. }));
    assert!(bench.sent().iter().any(|(link, frame)| *link == 2 && is_whole(frame)));
}

#[test]
fn a_generation_that_cannot_be_encoded_does_not_hold_up_the_next() {
    let mut bench = Bench::new();
    let keys: Vec<String> = (0..INLINE_OBJECTS_MAX + 1).map(|number| format!("key{number}")).collect();
    let all =
        |text: &'static str| -> Vec<(&str, &str)> { keys.iter().map(|key| (key.as_str(), text)).collect() };
    let first = bench.publish(1, &all("a"));
    bench.attach(1, None);
    assert!(
        matches!(bench.actions.drain().next(), Some(Action::EncodeWhole { generation, .. }) if generation == first)
    );
    bench.with(|feed, now, source, actions| feed.not_encoded(now, first, source, actions));
    bench.attach(2, None);
    assert!(bench.actions.as_slice().is_empty(), "another try would end the same way");
    let second = bench.publish(2, &all("b"));
    assert!(
        matches!(bench.actions.drain().next(), Some(Action::EncodeWhole { generation, .. }) if generation == second)
    );
}

#[test]
fn who_holds_something_unknown_or_asks_for_it_gets_the_whole() {
    let mut bench = Bench::new();
    let old = id(1, &map(&[("a", "1")]));
    bench.known = 5;
    bench.publish(9, &[("a", "9")]);
    bench.attach(1, Some(old));
    let is_whole = |frame: &Bytes| matches!(read(frame), ToProxy::Part(part) if matches!(part.content, Content::Whole { .. }));
    assert!(bench.sent().iter().any(|(_, frame)| is_whole(frame)));
    bench.say(1, &ToControl::NeedWhole { reason: "the digest is wrong".to_owned() });
    assert!(bench.sent().is_empty(), "not at once again");
    bench.now = at(1500);
    bench.with(|feed, now, source, actions| feed.tick(now, source, actions));
    assert!(bench.sent().iter().any(|(_, frame)| is_whole(frame)));
}

#[test]
fn a_proxy_that_is_ahead_is_told_so_and_nothing_else() {
    let mut bench = Bench::new();
    let current = bench.publish(3, &[("a", "3")]);
    bench.attach(1, Some(id(8, &map(&[("a", "8")]))));
    let sent = bench.sent();
    let [(_, frame)] = sent.as_slice() else { panic!("{} frames", sent.len()) };
    assert_eq!(read(frame), ToProxy::UpToDate { generation: current, stale: false, leads: false });
}

#[test]
fn signs_of_life_come_once_a_second_and_staleness_at_once() {
    let mut bench = Bench::new();
    let current = bench.publish(1, &[("a", "1")]);
    bench.attach(1, Some(current));
    assert_eq!(bench.sent().len(), 1);
    let tick = |bench: &mut Bench, millis| {
        bench.now = at(millis);
        bench.with(|feed, now, source, actions| feed.tick(now, source, actions));
        bench.sent().len()
    };
    assert_eq!(tick(&mut bench, 900), 0);
    assert_eq!(tick(&mut bench, 1100), 1);
    bench.with(|feed, now, source, actions| feed.set_stale(now, true, source, actions));
    assert_eq!(bench.sent().len(), 1);
    assert_eq!(tick(&mut bench, 1200), 0);
}

#[test]
fn hostile_frames_end_the_lane_and_strangers_are_refused() {
    let mut bench = Bench::new();
    bench.publish(1, &[("a", "1")]);
    bench.feed.opened(LinkId(1), 1, &mut bench.actions);
    bench.with(|feed, now, source, actions| feed.frame(now, LinkId(1), b"\x01\xff\xff", source, actions));
    let said = bench.actions.as_slice();
    assert!(matches!(said, [Action::SendLink { .. }, Action::CloseLink { link: LinkId(1), .. }]), "{said:?}");
    bench.actions.drain();
    let mut foreign = id(1, &map(&[]));
    foreign.cluster = [8; 16];
    bench.attach(2, Some(foreign));
    let said: Vec<Action> = bench.actions.drain().collect();
    assert!(matches!(said.as_slice(), [Action::SendLink { .. }, Action::CloseLink { .. }]), "{said:?}");
    bench.feed.opened(LinkId(3), 3, &mut bench.actions);
    let ToControl::Hello(other) = hello(None, 3) else { panic!("it is") };
    bench.say(3, &ToControl::Hello(Hello { view: "secret".to_owned(), ..other }));
    assert!(!bench.feed.owns(LinkId(3)), "there is one view");
    bench.attach(4, None);
    assert!(bench.feed.proxies(Page::FIRST).0[0].build.len() <= BUILD_BYTES_MAX);
}

#[test]
fn a_second_lane_of_one_proxy_replaces_the_first() {
    let mut bench = Bench::new();
    for link in 1..=2 {
        bench.feed.opened(LinkId(link), 9, &mut bench.actions);
        assert!(bench.feed.owns(LinkId(1)), "until the other one says hello");
        bench.say(link, &hello(None, link));
    }
    let said = bench.actions.as_slice();
    assert!(matches!(said, [Action::SendLink { .. }, Action::CloseLink { link: LinkId(1), .. }]), "{said:?}");
    assert!(bench.feed.owns(LinkId(2)) && !bench.feed.owns(LinkId(1)));
}

#[test]
fn secrets_are_sealed_anew_for_the_view_whose_key_goes_over_each_lane_once() {
    let mut bench = Bench::new();
    let first = bench.publish_map(1, with_secret(&[("a", "1")], "one"));
    bench.attach(1, None);
    bench.attach(2, None);
    let sent = bench.sent();
    let mut receiver = Receiver::new(CLUSTER, ReceiverLimits::default(), None);
    let steps: Vec<Step> =
        sent.iter().filter(|(link, _)| *link == 1).map(|(_, frame)| receiver.handle(read(frame))).collect();
    let [Step::Nothing, Step::Complete { map, .. }] = steps.as_slice() else { panic!("{steps:?}") };
    let opens = |map: &ConfigMap, value: &str| map.secrets().open(&sealing().name(value)).is_ok();
    assert!(opens(map, "one"));
    let parts = sent.iter().filter(|(_, frame)| matches!(read(frame), ToProxy::Part(_)));
    let places: Vec<_> = parts.map(|(_, frame)| frame.as_ptr()).collect();
    assert!(matches!(places.as_slice(), [one, two] if one == two), "one encoding for all");
    let view = sealing().view_key("").id();
    let in_log = bench.history[0].1.secrets().iter().next().expect("one").1.clone();
    for (_, frame) in &sent {
        assert!(!frame.windows(in_log.len()).any(|window| window == &in_log[..]), "the log's envelope stays");
    }

    // A delta brings what is new and drops what is gone; the key is there already.
    bench.acknowledge(1, first, Stage::Serving);
    bench.sent();
    let second = bench.publish_map(2, with_secret(&[("a", "2")], "two"));
    let sent = bench.sent();
    let of_one: Vec<ToProxy> = sent.iter().filter(|(link, _)| *link == 1).map(|(_, f)| read(f)).collect();
    let [ToProxy::Part(part)] = of_one.as_slice() else { panic!("one part: {of_one:?}") };
    assert_eq!(part.content, Content::Delta { base: first, target: second });
    assert_eq!(part.secret_deletes, [sealing().name("one")]);
    let [(id, envelope)] = part.secret_puts.as_slice() else { panic!("one secret") };
    assert_eq!(sealing().view_key("").open(id, envelope).expect("sealed for the view").expose(), "two");
    assert_eq!(envelope.get(1..9), Some(view.0.as_slice()), "the envelope names its key");
}

#[test]
fn a_secret_that_does_not_open_here_is_left_out_and_no_proxy_without_secrets_gets_a_key() {
    let mut bench = Bench::new();
    bench.publish(1, &[("a", "1")]);
    bench.attach(1, None);
    assert!(bench.sent().iter().all(|(_, frame)| matches!(read(frame), ToProxy::Part(_))));
    let mut map = map(&[("a", "2")]);
    let foreign = SealingKeys::new(CLUSTER, &[[8; 32]]).expect("one key");
    let id = foreign.name("x");
    map.change_secrets([(id, Some(foreign.seal(&id, &Secret::new("x".to_owned()))))]);
    bench.publish_map(2, map);
    bench.attach(2, None);
    let sent = bench.sent();
    let parts = sent.iter().filter_map(|(_, frame)| match read(frame) {
        ToProxy::Part(part) => Some(part),
        _ => None,
    });
    assert!(parts.flat_map(|part| part.secret_puts).next().is_none(), "the proxy says what it lacks");
}
