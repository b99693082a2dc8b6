//! The clients of a run: what they ask for, what they were told, and whether the end agrees with it. They must judge
//! only by answers and by the final state, as a person could.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::rngs::StdRng;
use ravelin_cluster::request::{
    ApplyMode, Consistency, Envelope, Objects, Request, RequestId, Response, SourceDocument, SourceFormat,
};
use ravelin_config::ConfigMap;

use super::Plan;
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
}

/// One request.
#[derive(Debug)]
struct Asked {
    key: String,
    wish: Wish,
    told: Told,
}

/// All clients together.
#[derive(Debug, Default)]
pub(super) struct Clients {
    asked: BTreeMap<u64, Asked>,
    /// Keys known to be there that nobody asked to delete, oldest first by name.
    present: BTreeSet<String>,
}

/// Key of the setup, which is asked for more than once and so promises nothing by itself.
const SETUP: &str = "http/services/s@cluster";
const DEADLINE_MILLIS: u32 = 1500;
/// Texts of a large change, and bytes of each: together more than one entry carries.
const LARGE_TEXTS: usize = 10;
const LARGE_TEXT_BYTES: usize = 60_000;

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
        let known = self.present.iter().nth(dice.random_range(0..self.present.len().max(1))).cloned();
        if let Some(key) = known {
            if dice.random_range(0..100) < plan.read_percent {
                return self.ask(number, key.clone(), Wish::Read, read(key));
            }
            if dice.random_range(0..4) == 0 {
                self.present.remove(&key);
                return self.ask(number, key.clone(), Wish::Delete, Request::Delete { keys: vec![key] });
            }
        }
        if dice.random_range(0..100) < plan.large_percent {
            let key = format!("http/middlewares/m{number}@cluster");
            return self.ask(number, key, Wish::Put { large: true }, apply(large(number)));
        }
        self.put(number)
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
        self.asked.insert(number, Asked { key, wish, told: Told::Unknown });
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        Envelope {
            id: RequestId(id),
            hops: 0,
            deadline_millis: DEADLINE_MILLIS,
            author: "operator-1".to_owned(),
            request,
        }
    }

    /// An answer to request `number`.
    ///
    /// # Errors
    /// A refusal, which no request of a run deserves, or a read of something old.
    pub(super) fn told(
        &mut self,
        number: u64,
        response: &Response,
        report: &mut Report,
    ) -> Result<(), String> {
        let deleted = |key: &str, all: &BTreeMap<u64, Asked>| {
            all.values().any(|asked| asked.wish == Wish::Delete && asked.key == key)
        };
        let Some(asked) = self.asked.get(&number) else {
            return Err(format!("an answer to nothing: {number}"));
        };
        let (key, wish) = (asked.key.clone(), asked.wish);
        let told = match response {
            Response::Done(_) if wish != Wish::Read => {
                report.count(Mark::Done, 1);
                if let Wish::Put { large } = wish {
                    report.count(Mark::DoneInParts, u64::from(large));
                    if key != SETUP && !deleted(&key, &self.asked) {
                        self.present.insert(key);
                    }
                }
                Told::Done
            }
            Response::Objects(found) if wish == Wish::Read => {
                report.count(Mark::Reads, 1);
                // Whoever asks to delete it meanwhile may be first.
                if !holds(found, &key) && !deleted(&key, &self.asked) {
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
            asked.told = told;
        }
        Ok(())
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

    /// Holds a final state against everything that clients were told.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub(super) fn judge(&self, map: &ConfigMap) -> Result<(), String> {
        for (number, asked) in self.asked.iter().filter(|(_, asked)| asked.wish != Wish::Read) {
            let there = map.get(&asked.key).is_some();
            let deletion =
                self.asked.values().find(|other| other.wish == Wish::Delete && other.key == asked.key);
            let broken = match (asked.told, asked.wish) {
                (Told::Done, Wish::Delete) => there,
                // The setup was asked for more than once.
                (Told::Nothing, Wish::Put { .. }) if asked.key == SETUP => false,
                // A key whose deletion may have taken effect can be there or not.
                (Told::Done, _) => !there && deletion.is_none_or(|other| other.told == Told::Nothing),
                (Told::Nothing, Wish::Delete) => !there,
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

fn holds(found: &Objects, key: &str) -> bool {
    found.objects.iter().any(|object| object.key == key)
}

/// A middleware that is larger than one entry of the log.
fn large(number: u64) -> String {
    let mut text =
        format!("http:\n  middlewares:\n    m{number}:\n      headers:\n        customRequestHeaders:\n");
    for place in 0..LARGE_TEXTS {
        let value = char::from(b'a' + u8::try_from(place).unwrap_or(0)).to_string().repeat(LARGE_TEXT_BYTES);
        text.push_str(&format!("          X-{place}: {value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_told_done_must_be_there_at_the_end() {
        let mut clients = Clients::default();
        let _asked = clients.setup(1);
        assert_eq!(clients.judge(&ConfigMap::default()), Ok(()), "nothing was promised yet");
        clients.asked.get_mut(&1).expect("just asked").told = Told::Done;
        assert!(clients.judge(&ConfigMap::default()).is_err());
    }

    #[test]
    fn a_read_must_show_what_was_done_before_it_was_asked() {
        let mut clients = Clients::default();
        let mut report = Report::default();
        let key = "http/routers/c1@cluster".to_owned();
        let _asked = clients.ask(1, key.clone(), Wish::Read, read(key));
        let nothing = Objects { generation: None, stale: false, objects: Vec::new(), next: None };
        assert!(clients.told(1, &Response::Objects(nothing), &mut report).is_err());
    }
}
