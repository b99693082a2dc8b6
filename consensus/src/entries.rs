//! Entries on their way out of a core or into one. They are shared: the disk, the peers and the state machine are given
//! the same memory, which is used again once all of them have let go of it. It knows nothing of what is given to whom.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::entry::Entry;
use crate::types::Index;

/// Successive entries. A copy shares them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Entries<P>(Option<Buffer<P>>);

/// Never empty within [`Entries`].
type Buffer<P> = Arc<Vec<Entry<P>>>;

impl<P> Default for Entries<P> {
    fn default() -> Self {
        Entries(None)
    }
}

impl<P> Deref for Entries<P> {
    type Target = [Entry<P>];

    fn deref(&self) -> &[Entry<P>] {
        self.0.as_ref().map_or(&[], |buffer| buffer.as_slice())
    }
}

impl<P> From<Vec<Entry<P>>> for Entries<P> {
    fn from(entries: Vec<Entry<P>>) -> Self {
        Entries(Some(entries).filter(|entries| !entries.is_empty()).map(Arc::new))
    }
}

impl<P> FromIterator<Entry<P>> for Entries<P> {
    fn from_iter<I: IntoIterator<Item = Entry<P>>>(entries: I) -> Self {
        Entries::from(entries.into_iter().collect::<Vec<_>>())
    }
}

impl<P: Clone> IntoIterator for Entries<P> {
    type Item = Entry<P>;
    type IntoIter = std::vec::IntoIter<Entry<P>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map(Arc::unwrap_or_clone).unwrap_or_default().into_iter()
    }
}

impl<'a, P> IntoIterator for &'a Entries<P> {
    type Item = &'a Entry<P>;
    type IntoIter = std::slice::Iter<'a, Entry<P>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Most views that are kept, and most buffers. Views are of entries that the log holds as well; what a buffer holds
/// until it is filled again is at most [`BUFFER_BYTES_MAX`].
const KEPT_MAX: usize = 4;
const BUFFER_BYTES_MAX: u64 = 1 << 20;

struct View<P> {
    first: Index,
    bytes: u64,
    entries: Entries<P>,
    /// Filled here, not received.
    own: bool,
}

impl<P> View<P> {
    fn last(&self) -> Index {
        self.first.plus(self.entries.len()).previous()
    }
}

/// What was lately given out of a log, for the next who needs the same. It saves time and changes nothing: so a log keeps it
/// aside, and a copy of a log begins without.
pub(crate) struct Views<P> {
    lent: VecDeque<View<P>>,
    buffers: VecDeque<Buffer<P>>,
}

impl<P: Clone> Views<P> {
    /// The entries `first..=last` with their bytes, if these very ones were given out.
    pub(crate) fn find(&self, first: Index, last: Index) -> Option<(Entries<P>, u64)> {
        let view = self.lent.iter().rev().find(|view| view.first == first && view.last() == last)?;
        Some((view.entries.clone(), view.bytes))
    }

    /// Gives out `entries`, which begin at `first`, in a buffer that nobody else holds.
    pub(crate) fn fill(
        &mut self,
        first: Index,
        bytes: u64,
        entries: impl Iterator<Item = Entry<P>>,
    ) -> Entries<P> {
        let free = self.buffers.iter_mut().position(|buffer| Arc::get_mut(buffer).is_some());
        let mut buffer = free.and_then(|at| self.buffers.remove(at)).unwrap_or_default();
        if let Some(buffer) = Arc::get_mut(&mut buffer) {
            buffer.clear();
            buffer.extend(entries);
        }
        let entries = Entries(Some(buffer).filter(|buffer| !buffer.is_empty()));
        self.keep(View { first, bytes, entries: entries.clone(), own: true });
        entries
    }

    /// Takes note of entries that were received and are in the log now, `first` being the first.
    pub(crate) fn note(&mut self, first: Index, bytes: u64, entries: Entries<P>) {
        self.keep(View { first, bytes, entries, own: false });
    }

    fn keep(&mut self, view: View<P>) {
        if self.lent.len() == KEPT_MAX {
            let oldest = self.lent.pop_front();
            self.retire(oldest);
        }
        self.lent.push_back(view);
    }

    fn retire(&mut self, view: Option<View<P>>) {
        let small = view.filter(|view| view.own && view.bytes <= BUFFER_BYTES_MAX);
        if let Some(buffer) = small.and_then(|view| view.entries.0) {
            if self.buffers.len() == KEPT_MAX {
                self.buffers.pop_front();
            }
            self.buffers.push_back(buffer);
        }
    }

    /// Nobody is expected to need entries up to `index` once more.
    pub(crate) fn settle(&mut self, index: Index) {
        while self.lent.front().is_some_and(|view| view.last() <= index) {
            let settled = self.lent.pop_front();
            self.retire(settled);
        }
    }

    /// The entries from `first` on are others now.
    pub(crate) fn cut(&mut self, first: Index) {
        self.lent.retain(|view| view.last() < first);
    }
}

impl<P> Default for Views<P> {
    fn default() -> Self {
        Views { lent: VecDeque::new(), buffers: VecDeque::new() }
    }
}

impl<P> Clone for Views<P> {
    fn clone(&self) -> Self {
        Views::default()
    }
}

impl<P> fmt::Debug for Views<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Views")
    }
}
