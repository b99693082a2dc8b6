//! How a worker reaches its connections from outside their tasks: to drain them, or to end them at a deadline.
//! It knows nothing of protocols.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

/// How far a connection may still go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// As usual.
    Open,
    /// Finish what runs, then close.
    Draining,
    /// Close now.
    Closing,
}

/// One connection's ear. On one thread with it.
#[derive(Debug)]
pub struct Control {
    stage: Cell<Stage>,
    waker: RefCell<Option<Waker>>,
}

impl Control {
    /// At the first stage.
    pub fn new() -> Rc<Self> {
        Rc::new(Self { stage: Cell::new(Stage::Open), waker: RefCell::new(None) })
    }

    /// How far the connection may go.
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Moves on to `stage`, never back, and wakes the connection.
    pub fn advance(&self, stage: Stage) {
        if stage > self.stage.get() {
            self.stage.set(stage);
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    /// Wakes this task at the next change of stage.
    pub fn listen(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }
}

/// A connection by the name of its entry point.
type Entry = (Arc<str>, Rc<Control>);

/// All connections of one worker. Bounded by the connections themselves.
#[derive(Debug, Default)]
pub struct Registry {
    next: Cell<u64>,
    open: RefCell<BTreeMap<u64, Entry>>,
}

impl Registry {
    /// Enters a connection until the returned place is dropped.
    pub fn enter(self: &Rc<Self>, entry_point: Arc<str>, control: Rc<Control>) -> Place {
        let key = self.next.get();
        self.next.set(key + 1);
        self.open.borrow_mut().insert(key, (entry_point, control));
        Place { registry: Rc::clone(self), key }
    }

    /// Open connections.
    pub fn count(&self) -> usize {
        self.open.borrow().len()
    }

    /// Moves all connections, or those of one entry point, to `stage`.
    pub fn advance(&self, entry_point: Option<&str>, stage: Stage) {
        let controls: Vec<Rc<Control>> = self
            .open
            .borrow()
            .values()
            .filter(|(name, _)| entry_point.is_none_or(|wanted| wanted == &**name))
            .map(|(_, control)| Rc::clone(control))
            .collect();
        for control in controls {
            control.advance(stage);
        }
    }
}

/// A connection's entry in its worker's registry.
#[derive(Debug)]
pub struct Place {
    registry: Rc<Registry>,
    key: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.open.borrow_mut().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_reaches_the_named_entry_point_only_and_never_goes_back() {
        let registry = Rc::new(Registry::default());
        let (web, other) = (Control::new(), Control::new());
        let place = registry.enter("web".into(), Rc::clone(&web));
        let _other = registry.enter("other".into(), Rc::clone(&other));
        registry.advance(Some("web"), Stage::Closing);
        registry.advance(None, Stage::Draining);
        assert_eq!((web.stage(), other.stage()), (Stage::Closing, Stage::Draining));
        drop(place);
        assert_eq!(registry.count(), 1);
    }
}
