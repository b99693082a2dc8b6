//! The clients of a run: what they ask for, what they were told, and whether the end agrees with it. They must judge
//! only by answers and by the final state, as a person could.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;
use ravelin_cluster::request::{
    ApplyMode, Envelope, Request, RequestId, Response, SourceDocument, SourceFormat,
};
use ravelin_config::ConfigMap;

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

/// One change that was asked for.
#[derive(Debug)]
struct Asked {
    /// The key that it puts, or deletes.
    key: String,
    deletes: bool,
    told: Told,
}

/// All clients together.
#[derive(Debug, Default)]
pub(super) struct Clients {
    asked: BTreeMap<u64, Asked>,
    pub(super) done: u64,
    pub(super) unavailable: u64,
    pub(super) unknown: u64,
}

/// Key of the setup, which is asked for more than once and so promises nothing by itself.
const SETUP: &str = "http/services/s@cluster";
const DEADLINE_MILLIS: u32 = 1500;

impl Clients {
    /// What every run needs first: the service that the others use, and the provider to run. Asked again until it is done.
    fn setup(&mut self, number: u64) -> Envelope {
        let text = "providers:\n  file:\n    filename: sim.yaml\nhttp:\n  services:\n    s:\n      loadBalancer:\n        servers:\n          - url: http://127.0.0.1:1\n";
        self.ask(number, SETUP.to_owned(), false, apply(text.to_owned()))
    }

    /// The next change: mostly a new router, sometimes one taken away that is known to be there.
    pub(super) fn next(&mut self, dice: &mut StdRng) -> Envelope {
        let number = self.asked.len() as u64 + 1;
        if !self.asked.values().any(|asked| asked.key == SETUP && asked.told == Told::Done) {
            return self.setup(number);
        }
        let there = self.asked.values().find(|asked| {
            asked.told == Told::Done
                && !asked.deletes
                && asked.key.starts_with("http/routers/")
                && !self.asked.values().any(|other| other.deletes && other.key == asked.key)
        });
        if let Some(key) = there.map(|asked| asked.key.clone())
            && dice.random_range(0..4) == 0
        {
            return self.ask(number, key.clone(), true, Request::Delete { keys: vec![key] });
        }
        let text = format!(
            "http:\n  routers:\n    c{number}:\n      rule: Host(`c{number}.sim`)\n      service: s\n"
        );
        self.ask(number, format!("http/routers/c{number}@cluster"), false, apply(text))
    }

    fn ask(&mut self, number: u64, key: String, deletes: bool, request: Request) -> Envelope {
        self.asked.insert(number, Asked { key, deletes, told: Told::Unknown });
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

    /// An answer to change `number`.
    ///
    /// # Errors
    /// A refusal, which no change of a run deserves.
    pub(super) fn told(&mut self, number: u64, response: &Response) -> Result<(), String> {
        let Some(asked) = self.asked.get_mut(&number) else {
            return Err(format!("an answer to nothing: {number}"));
        };
        match response {
            Response::Done(_) => {
                self.done += 1;
                asked.told = Told::Done;
            }
            Response::Unavailable { .. } => {
                self.unavailable += 1;
                asked.told = Told::Nothing;
            }
            Response::Unknown { .. } => self.unknown += 1,
            other => return Err(format!("change {number} was answered {other:?}")),
        }
        Ok(())
    }

    /// Whether change `number` is known to be done.
    pub(super) fn is_done(&self, number: u64) -> bool {
        self.asked.get(&number).is_some_and(|asked| asked.told == Told::Done)
    }

    /// The number of the change asked for last.
    pub(super) fn last(&self) -> u64 {
        self.asked.keys().next_back().copied().unwrap_or(0)
    }

    /// Holds a final state against everything that clients were told.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub(super) fn judge(&self, map: &ConfigMap) -> Result<(), String> {
        for (number, asked) in &self.asked {
            let there = map.get(&asked.key).is_some();
            let deleted_by = self.asked.values().find(|other| other.deletes && other.key == asked.key);
            let broken = match (asked.told, asked.deletes) {
                (Told::Done, true) => there,
                // A key whose deletion may have taken effect can be there or not.
                (Told::Nothing, false) if asked.key == SETUP => false,
                (Told::Done, false) => !there && deleted_by.is_none_or(|other| other.told == Told::Nothing),
                (Told::Nothing, false) => there,
                (Told::Nothing, true) => !there,
                (Told::Unknown, _) => false,
            };
            if broken {
                return Err(format!(
                    "change {number} of {} was told {:?}, there: {there}",
                    asked.key, asked.told
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
}
