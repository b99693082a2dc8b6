//! The clients of a run: what they ask for, what they were told, and whether the end agrees with it. They must judge
//! only by answers and by the final state, as a person could.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::rngs::StdRng;
use ravelin_cluster::request::{
    ApplyMode, Consistency, Envelope, Objects, Request, RequestId, Response, SourceDocument, SourceFormat,
};
use ravelin_config::ConfigMap;

use super::plan::Plan;
use super::register::{self, Operation};
use super::report::{Mark, Report};

/// What a client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Nothing yet, or that the outcome is unknown, or the asked process died.
    Unknown,
    /// That it is done.
    Done,
    /// That nothing was accepted.
    Nothing,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// That a key be there; large: in more than one entry of the log.
    Put { large: bool },
    /// That it be gone.
    Delete,
    /// What it holds, as of now at least.
    Read,
    /// That a shared key hold this request's number.
    Write,
    /// What a shared key holds.
    See,
}

impl Wish {
    fn changes(self) -> bool {
        !matches!(self, Self::Read | Self::See)
    }

    fn is_shared(self) -> bool {
        matches!(self, Self::Write | Self::See)
    }
}

/// One request.
#[derive(Debug)]
struct Asked {
    key: String,
    wish: Wish,
    told: Told,
    /// The node that said so, if it had that by itself.
    by: Option<usize>,
    begun: u64,
    ended: Option<u64>,
    /// The highest revision that anybody had been told of when it was asked.
    floor: u64,
    /// What was seen of a shared key.
    seen: u64,
}

/// All clients together.
#[derive(Debug, Default)]
pub(super) struct Clients {
    asked: BTreeMap<u64, Asked>,
    /// Keys known to be there that nobody asked to delete, oldest first by name.
    present: BTreeSet<String>,
    /// The highest revision that anybody was told of.
    revision: u64,
}

/// Key of the setup, which is asked for more than once and so promises nothing by itself.
const SETUP: &str = "http/services/s@cluster";
const DEADLINE_MILLIS: u32 = 1500;
/// Keys that everybody writes.
const SHARED_KEYS: u64 = 2;
/// Objects of a large change, and bytes of each: together more than one entry carries, and more than one part of a
/// transfer to a proxy.
const LARGE_OBJECTS: usize = 5;
const LARGE_OBJECT_BYTES: usize = 120_000;

impl Clients {
    /// What every run needs first: the service that the others use, and the provider to run. Asked again until it is done.
    fn setup(&mut self, number: u64) -> Envelope {
        let text = "providers:\n  file:\n    filename: sim.yaml\nhttp:\n  services:\n    s:\n      loadBalancer:\n        servers:\n          - url: http://127.0.0.1:1\n";
        self.ask(number, SETUP.to_owned(), Wish::Put { large: false }, apply(text.to_owned()))
    }

    /// The next request: mostly a new object, sometimes one taken away or read that is known to be there.
    pub(super) fn next(&mut self, dice: &mut StdRng, plan: &Plan) -> Envelope {
        let number = self.last() + 1;
        if !self.is_set_up() {
            return self.setup(number);
        }
        if dice.random_range(0..100) < plan.shared_percent {
            let reads = dice.random_range(0..100) < plan.read_percent;
            return self.shared(number, dice.random_range(0..SHARED_KEYS), reads);
        }
        let known = self.present.iter().nth(dice.random_range(0..self.present.len().max(1))).cloned();
        if let Some(key) = known {
            if dice.random_range(0..100) < plan.read_percent {
                return self.ask(number, key.clone(), Wish::Read, read(key));
            }
            if dice.random_range(0..4) == 0 {
                self.present.remove(&key);
                let keys = all_keys(&key);
                return self.ask(number, key, Wish::Delete, Request::Delete { keys });
            }
        }
        if dice.random_range(0..100) < plan.large_percent {
            return self.ask(number, large_key(number, 0), Wish::Put { large: true }, apply(large(number)));
        }
        self.put(number)
    }

    /// A shared key gets this request's number, which is never written twice, or is looked at.
    fn shared(&mut self, number: u64, place: u64, reads: bool) -> Envelope {
        let key = shared_key(place);
        if reads {
            return self.ask(number, key.clone(), Wish::See, read(key));
        }
        let text = format!(
            "http:\n  routers:\n    shared{place}:\n      rule: Host(`v{number}.sim`)\n      service: s\n"
        );
        self.ask(number, key, Wish::Write, apply(text))
    }

    /// A change that every cluster that works must do.
    pub(super) fn probe(&mut self) -> Envelope {
        self.put(self.last() + 1)
    }

    fn put(&mut self, number: u64) -> Envelope {
        let text = format!(
            "http:\n  routers:\n    c{number}:\n      rule: Host(`c{number}.sim`)\n      service: s\n"
        );
        self.ask(number, format!("http/routers/c{number}@cluster"), Wish::Put { large: false }, apply(text))
    }

    fn ask(&mut self, number: u64, key: String, wish: Wish, request: Request) -> Envelope {
        let floor = self.revision;
        self.asked.insert(
            number,
            Asked { key, wish, told: Told::Unknown, by: None, begun: 0, ended: None, floor, seen: 0 },
        );
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        Envelope {
            id: RequestId(id),
            hops: 0,
            deadline_millis: DEADLINE_MILLIS,
            author: "operator-1".to_owned(),
            request,
            since: None,
        }
    }

    /// Only what this node has said and held still counts: the others are lost for good, and with them what only they knew.
    pub(super) fn recovered(&mut self, survivor: usize) {
        self.revision = 0;
        for asked in self.asked.values_mut().filter(|asked| asked.by != Some(survivor)) {
            if asked.told == Told::Done {
                (asked.told, asked.ended) = (Told::Unknown, None);
                self.present.remove(&asked.key);
            }
        }
    }

    /// An answer to request `number`, and the node that gave it if it holds by itself what it said.
    ///
    /// # Errors
    /// A refusal, which no request of a run deserves, a read of something old, or a revision that went back.
    pub(super) fn told(
        &mut self,
        number: u64,
        by: Option<usize>,
        response: &Response,
        now: u64,
        report: &mut Report,
    ) -> Result<(), String> {
        let Some(asked) = self.asked.get(&number) else {
            return Err(format!("an answer to nothing: {number}"));
        };
        let (key, wish, floor) = (asked.key.clone(), asked.wish, asked.floor);
        let mut seen = 0;
        let told = match response {
            Response::Done(change) if wish.changes() => {
                self.not_before(number, floor, change.generation.revision)?;
                self.done(key, wish, report);
                Told::Done
            }
            Response::Objects(found) if !wish.changes() => {
                report.count(Mark::Reads, 1);
                let revision = found.generation.as_ref().map_or(0, |generation| generation.revision);
                self.not_before(number, floor, revision)?;
                seen = found.objects.first().map_or(0, |object| value_in(object.object.as_bytes()));
                // Whoever asks to delete it meanwhile may be first.
                if wish == Wish::Read && !holds(found, &key) && !self.may_be_deleted(&key) {
                    return Err(format!("read {number} does not show {key}, which was done before"));
                }
                Told::Done
            }
            Response::Unavailable { .. } => {
                report.count(Mark::Unavailable, 1);
                Told::Nothing
            }
            Response::Unknown { .. } => {
                report.count(Mark::Unknown, 1);
                Told::Unknown
            }
            other => return Err(format!("request {number} was answered {other:?}")),
        };
        if let Some(asked) = self.asked.get_mut(&number) {
            (asked.told, asked.by, asked.ended, asked.seen) = (told, by, Some(now), seen);
        }
        Ok(())
    }

    /// Whoever asks after an answer is told of nothing older.
    fn not_before(&mut self, number: u64, floor: u64, revision: u64) -> Result<(), String> {
        if revision < floor {
            return Err(format!(
                "request {number} was answered at revision {revision}, and {floor} was known before"
            ));
        }
        self.revision = self.revision.max(revision);
        Ok(())
    }

    fn done(&mut self, key: String, wish: Wish, report: &mut Report) {
        report.count(Mark::Done, 1);
        report.count(Mark::DoneShared, u64::from(wish == Wish::Write));
        if let Wish::Put { large } = wish {
            report.count(Mark::DoneInParts, u64::from(large));
            if key != SETUP && !self.may_be_deleted(&key) {
                self.present.insert(key);
            }
        }
    }

    fn may_be_deleted(&self, key: &str) -> bool {
        self.asked.values().any(|asked| asked.wish == Wish::Delete && asked.key == key)
    }

    fn is_known_to_be_put(&self, key: &str) -> bool {
        let put = |asked: &Asked| matches!(asked.wish, Wish::Put { .. }) && asked.told == Told::Done;
        self.asked.values().any(|asked| put(asked) && asked.key == key)
    }

    /// Notes when the last request was asked; its number.
    pub(super) fn asked_at(&mut self, now: u64) -> u64 {
        let number = self.last();
        if let Some(asked) = self.asked.get_mut(&number) {
            asked.begun = now;
        }
        number
    }

    /// Whether what all others need is known to be done.
    pub(super) fn is_set_up(&self) -> bool {
        self.asked.values().any(|asked| asked.key == SETUP && asked.told == Told::Done)
    }

    /// Whether request `number` is known to be done.
    pub(super) fn is_done(&self, number: u64) -> bool {
        self.asked.get(&number).is_some_and(|asked| asked.told == Told::Done)
    }

    /// The number of the request asked last.
    pub(super) fn last(&self) -> u64 {
        self.asked.keys().next_back().copied().unwrap_or(0)
    }

    /// Holds the state of `now` against everything that clients were told.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub(super) fn judge(&self, map: &ConfigMap, now: u64) -> Result<(), String> {
        self.judge_puts(map)?;
        for key in (0..SHARED_KEYS).map(shared_key) {
            let held = map.get(&key).map_or(0, |bytes| value_in(bytes));
            let mut operations = self.operations(&key);
            operations.push(Operation { begun: now, ended: Some(now), value: held, writes: false });
            register::judge(&operations).map_err(|what| format!("{key}: {what}"))?;
        }
        Ok(())
    }

    /// What clients did with a shared key, without writes of which they were told that they failed.
    fn operations(&self, key: &str) -> Vec<Operation> {
        let of_key = self.asked.iter().filter(|(_, asked)| asked.wish.is_shared() && asked.key == key);
        let operation = |(number, asked): (&u64, &Asked)| {
            let writes = asked.wish == Wish::Write;
            let ended = asked.ended.filter(|_| asked.told == Told::Done);
            match asked.told {
                Told::Nothing => None,
                Told::Unknown if !writes => None,
                _ => Some(Operation {
                    begun: asked.begun,
                    ended,
                    value: if writes { *number } else { asked.seen },
                    writes,
                }),
            }
        };
        of_key.filter_map(operation).collect()
    }

    /// A change takes effect whole: of a large one every object is there, or none.
    ///
    /// # Errors
    /// The first that did not.
    pub(super) fn judge_whole(&self, map: &ConfigMap) -> Result<(), String> {
        let large = self.asked.iter().filter(|(_, asked)| asked.wish == Wish::Put { large: true });
        for (number, asked) in large {
            let there = all_keys(&asked.key).iter().filter(|key| map.get(key).is_some()).count();
            if there != 0 && there != LARGE_OBJECTS {
                return Err(format!("of request {number} there are {there} of {LARGE_OBJECTS} objects"));
            }
        }
        Ok(())
    }

    fn judge_puts(&self, map: &ConfigMap) -> Result<(), String> {
        self.judge_whole(map)?;
        let changes = |asked: &Asked| asked.wish.changes() && !asked.wish.is_shared();
        for (number, asked) in self.asked.iter().filter(|(_, asked)| changes(asked)) {
            let there = map.get(&asked.key).is_some();
            let deletion =
                self.asked.values().find(|other| other.wish == Wish::Delete && other.key == asked.key);
            let broken = match (asked.told, asked.wish) {
                (Told::Done, Wish::Delete) => there,
                // The setup was asked for more than once.
                (Told::Nothing, Wish::Put { .. }) if asked.key == SETUP => false,
                // A key whose deletion may have taken effect can be there or not.
                (Told::Done, _) => !there && deletion.is_none_or(|other| other.told == Told::Nothing),
                // After a recovery it may never have been there.
                (Told::Nothing, Wish::Delete) => !there && self.is_known_to_be_put(&asked.key),
                (Told::Nothing, _) => there,
                (Told::Unknown, _) => false,
            };
            if broken {
                return Err(format!(
                    "request {number}, {:?} of {}, was told {:?}, there: {there}",
                    asked.wish, asked.key, asked.told
                ));
            }
        }
        Ok(())
    }
}

fn apply(text: String) -> Request {
    let document = SourceDocument { name: "client".to_owned(), format: SourceFormat::Yaml, text };
    Request::Apply { documents: vec![document], mode: ApplyMode::Merge }
}

fn read(prefix: String) -> Request {
    Request::Get { prefix, after: None, limit: 1, consistency: Consistency::Linearizable }
}

fn shared_key(place: u64) -> String {
    format!("http/routers/shared{place}@cluster")
}

/// The number in what a shared key holds.
fn value_in(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let number = text.split_once("Host(`v").and_then(|(_, rest)| rest.split_once(".sim"));
    number.and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
}

fn holds(found: &Objects, key: &str) -> bool {
    found.objects.iter().any(|object| object.key == key)
}

const LARGE_PREFIX: &str = "http/middlewares/m";

fn large_key(number: u64, place: usize) -> String {
    format!("{LARGE_PREFIX}{number}-{place}@cluster")
}

/// The keys of all objects that came with this one.
fn all_keys(key: &str) -> Vec<String> {
    let number = key.strip_prefix(LARGE_PREFIX).and_then(|rest| rest.split_once('-')?.0.parse().ok());
    match number {
        Some(number) => (0..LARGE_OBJECTS).map(|place| large_key(number, place)).collect(),
        None => vec![key.to_owned()],
    }
}

/// Middlewares that are together larger than one entry of the log.
fn large(number: u64) -> String {
    let mut text = "http:\n  middlewares:\n".to_owned();
    for place in 0..LARGE_OBJECTS {
        let value =
            char::from(b'a' + u8::try_from(place).unwrap_or(0)).to_string().repeat(LARGE_OBJECT_BYTES);
        text.push_str(&format!(
            "    m{number}-{place}:\n      headers:\n        customRequestHeaders:\n          X-Large: {value}\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use ravelin_cluster::request::status::Generation;
    use ravelin_cluster::request::{Change, ObjectView};

    use super::*;

    #[test]
    fn a_change_told_done_must_be_there_at_the_end() {
        let mut clients = Clients::default();
        let _asked = clients.setup(1);
        assert_eq!(clients.judge(&ConfigMap::default(), 9), Ok(()), "nothing was promised yet");
        clients.asked.get_mut(&1).expect("just asked").told = Told::Done;
        assert!(clients.judge(&ConfigMap::default(), 9).is_err());
    }

    #[test]
    fn a_large_change_of_which_some_objects_are_there_is_found() {
        let mut clients = Clients::default();
        let _asked = clients.ask(7, large_key(7, 0), Wish::Put { large: true }, apply(large(7)));
        assert_eq!(clients.judge_whole(&ConfigMap::default()), Ok(()), "none is there");
        let put = |keys: &[String]| {
            let mut map = ConfigMap::default();
            let object = ravelin_config::Change::Put(std::sync::Arc::from(&b"{}"[..]));
            map.change(
                keys.iter()
                    .map(|key| (ravelin_config::Key::new(key).expect("a key"), object.clone()))
                    .collect(),
            );
            map
        };
        assert_eq!(clients.judge_whole(&put(&all_keys(&large_key(7, 3)))), Ok(()), "all are there");
        assert!(clients.judge_whole(&put(&[large_key(7, 4)])).is_err(), "one is there");
    }

    #[test]
    fn a_read_must_show_what_was_done_before_it_was_asked() {
        let mut clients = Clients::default();
        let mut report = Report::default();
        let key = "http/routers/c1@cluster".to_owned();
        let _asked = clients.ask(1, key.clone(), Wish::Read, read(key));
        let nothing = Objects { generation: None, stale: false, objects: Vec::new(), next: None };
        assert!(clients.told(1, Some(0), &Response::Objects(nothing), 5, &mut report).is_err());
    }

    fn generation(revision: u64) -> Generation {
        Generation { revision, recovery_epoch: 0, digest: String::new(), name: String::new() }
    }

    fn done(number: u64, revision: u64) -> Response {
        Response::Done(Change {
            id: RequestId([u8::try_from(number).expect("few"); 16]),
            generation: generation(revision),
            put: 1,
            deleted: 0,
            verdicts: Vec::new(),
        })
    }

    fn see(value: u64, revision: u64) -> Response {
        let object = ObjectView {
            key: shared_key(0),
            state: "enabled".to_owned(),
            errors: Vec::new(),
            object: format!("{{\"rule\":\"Host(`v{value}.sim`)\"}}"),
            last_good: None,
        };
        let objects = if value > 0 { vec![object] } else { Vec::new() };
        Response::Objects(Objects {
            generation: Some(generation(revision)),
            stale: false,
            objects,
            next: None,
        })
    }

    #[test]
    fn a_write_that_was_said_to_have_failed_must_never_be_seen() {
        let mut clients = Clients::default();
        let mut report = Report::default();
        let _write = clients.shared(1, 0, false);
        clients.asked_at(1);
        let failed = Response::Unavailable { reason: "no leader".to_owned() };
        assert_eq!(clients.told(1, Some(0), &failed, 2, &mut report), Ok(()));
        let _look = clients.shared(2, 0, true);
        clients.asked_at(3);
        assert_eq!(clients.told(2, Some(0), &see(1, 4), 4, &mut report), Ok(()));
        let broken = clients.judge(&ConfigMap::default(), 9).expect_err("it was seen");
        assert!(broken.contains("nobody wrote it"), "{broken}");
    }

    #[test]
    fn an_accepted_write_is_not_lost_and_revisions_do_not_go_back() {
        let mut clients = Clients::default();
        let mut report = Report::default();
        let _write = clients.shared(1, 0, false);
        clients.asked_at(1);
        assert_eq!(clients.told(1, Some(0), &done(1, 7), 2, &mut report), Ok(()));
        let broken = clients.judge(&ConfigMap::default(), 9).expect_err("the final state has lost it");
        assert!(broken.contains("seen again after") || broken.contains("was there while"), "{broken}");
        let _look = clients.shared(2, 0, true);
        assert!(clients.told(2, Some(0), &see(1, 6), 5, &mut report).is_err(), "revision 7 was told before");
    }
}
