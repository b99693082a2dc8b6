//! The bounds of the replicated state. They are part of that state, so that every node refuses the same things
//! whatever version it runs. It must not count anything.

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
    };
}
