//! The bounds of the replicated state. They are part of that state, so that every node refuses the same things
//! whatever version it runs. It must not count anything.

use super::applied::Refusal;

/// The feature level of a new cluster. It must never change: the log is replayed from it.
pub const GENESIS_LEVEL: u16 = 0;

/// The level from which bounds can be raised.
pub const LIMITS_LEVEL: u16 = 1;

/// The highest feature level that this version knows. What apply does may differ between levels, never between versions
/// at one level.
pub const FEATURE_LEVEL: u16 = LIMITS_LEVEL;

/// Bounds that apply enforces. All in bytes or counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Which set of bounds this is: raised by whatever command changes one of them.
    pub version: u32,
    /// Keys and values that are live.
    pub live_bytes_max: u64,
    /// Live keys.
    pub keys_max: u64,
    /// One key, as its full text.
    pub key_bytes_max: u64,
    /// One value.
    pub value_bytes_max: u64,
    /// Keys and values of the changes kept for deltas and watches.
    pub history_bytes_max: u64,
    /// Revisions kept for deltas and watches.
    pub history_revisions_max: u64,
    /// Parts of changes that are not complete.
    pub staged_bytes_max: u64,
    /// Changes that are not complete; beyond, the oldest is dropped.
    pub staged_changes_max: u64,
    /// Parts of one change.
    pub parts_max: u32,
    /// One part of a change.
    pub part_bytes_max: u64,
    /// The kind of an event, as its reporter names it; the rest is cut off.
    pub event_name_bytes_max: u64,
    /// The text of an event; the rest is cut off.
    pub event_text_bytes_max: u64,
    /// Events kept; beyond, the oldest goes.
    pub events_max: u64,
    /// Ids of changes that took effect, kept so that none takes effect twice; beyond, the oldest goes.
    pub recent_max: u64,
    /// Sessions at a time; beyond, the one that was used least recently ends.
    pub sessions_max: u64,
    /// Replies of one session that its client has not acknowledged.
    pub session_replies_max: u64,
}

impl Limits {
    /// The bounds that every cluster begins with. They must never change: a node that replays the log from its
    /// beginning has to decide as the others did. Another choice needs a command of its own.
    pub const GENESIS: Self = Self {
        version: 1,
        live_bytes_max: 256 << 20,
        keys_max: 1_000_000,
        key_bytes_max: 1031,
        value_bytes_max: 768 << 10,
        history_bytes_max: 16 << 20,
        history_revisions_max: 4096,
        staged_bytes_max: 128 << 20,
        staged_changes_max: 8,
        parts_max: 4096,
        part_bytes_max: 800 << 10,
        event_name_bytes_max: 64,
        event_text_bytes_max: 4 << 10,
        events_max: 1024,
        recent_max: 4096,
        sessions_max: 1024,
        session_replies_max: 16,
    };

    /// The most that bounds may be raised to at [`LIMITS_LEVEL`]. They must never change for that level; a higher one may
    /// bring others. One key and one value stay what fits one entry.
    const CEILING: Self = Self {
        version: u32::MAX,
        live_bytes_max: 4 << 30,
        keys_max: 16_000_000,
        key_bytes_max: Self::GENESIS.key_bytes_max,
        value_bytes_max: Self::GENESIS.value_bytes_max,
        history_bytes_max: 256 << 20,
        history_revisions_max: 65_536,
        staged_bytes_max: 1 << 30,
        staged_changes_max: 64,
        parts_max: 65_536,
        part_bytes_max: Self::GENESIS.part_bytes_max,
        event_name_bytes_max: 256,
        event_text_bytes_max: 64 << 10,
        events_max: 65_536,
        recent_max: 1 << 20,
        sessions_max: 65_536,
        session_replies_max: 256,
    };

    /// Whether `next` may follow these: none lower, none above its ceiling.
    ///
    /// # Errors
    /// [`Refusal::LimitsNotNext`], [`Refusal::LimitOutOfRange`] for the first bound that may not be so.
    pub(super) fn check_next(&self, next: &Self) -> Result<(), Refusal> {
        let expected = self.version.saturating_add(1);
        if next.version != expected {
            return Err(Refusal::LimitsNotNext { expected, found: next.version });
        }
        let bounds = self.named().into_iter().zip(next.named()).zip(Self::CEILING.named());
        for (((limit, min), (_, wanted)), (_, max)) in bounds {
            if !(min..=max).contains(&wanted) {
                return Err(Refusal::LimitOutOfRange { limit, wanted, min, max });
            }
        }
        Ok(())
    }

    /// Every bound with its name.
    fn named(&self) -> [(&'static str, u64); 16] {
        [
            ("live_bytes_max", self.live_bytes_max),
            ("keys_max", self.keys_max),
            ("key_bytes_max", self.key_bytes_max),
            ("value_bytes_max", self.value_bytes_max),
            ("history_bytes_max", self.history_bytes_max),
            ("history_revisions_max", self.history_revisions_max),
            ("staged_bytes_max", self.staged_bytes_max),
            ("staged_changes_max", self.staged_changes_max),
            ("parts_max", self.parts_max.into()),
            ("part_bytes_max", self.part_bytes_max),
            ("event_name_bytes_max", self.event_name_bytes_max),
            ("event_text_bytes_max", self.event_text_bytes_max),
            ("events_max", self.events_max),
            ("recent_max", self.recent_max),
            ("sessions_max", self.sessions_max),
            ("session_replies_max", self.session_replies_max),
        ]
    }
}
