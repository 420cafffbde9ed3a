//! The window onto what is ready.
//!
//! A lane is what a claim can choose by: one queue, one kind, one tenant. Each lane shows its first jobs, at most
//! [`SHOWN_MOST`]; the rest stay on disk and come into the window when it runs empty. So a million queued jobs cost the
//! memory of a thousand, and the cost of a claim does not grow with the queue.

use std::collections::{BTreeSet, HashMap};

use longhaul_core::{JobSpec, KindName, QueueName, Tenant};

use super::Head;

/// How many jobs of a lane are read at once. A claim takes at most 256 or so; reading 512 costs under a millisecond.
pub(crate) const READ_AT_ONCE: usize = 512;

/// How many jobs of a lane the window shows at most.
const SHOWN_MOST: usize = 1_024;

/// What a claim can choose by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LaneKey {
    pub(crate) queue: QueueName,
    pub(crate) kind: KindName,
    pub(crate) tenant: Tenant,
}

impl LaneKey {
    pub(crate) fn of(spec: &JobSpec) -> Self {
        Self { queue: spec.queue.clone(), kind: spec.kind.clone(), tenant: spec.tenant.clone() }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Lane {
    shown: BTreeSet<Head>,
    /// There are ready jobs that are not shown; all of them come after those that are.
    more: bool,
}

impl Lane {
    pub(crate) fn first(&self) -> Option<Head> {
        self.shown.first().copied()
    }

    /// Whether it shows nothing, though there is something.
    pub(crate) fn is_to_be_read(&self) -> bool {
        self.shown.is_empty() && self.more
    }

    fn insert(&mut self, head: Head) {
        if self.more && self.shown.last().is_none_or(|last| head > *last) {
            return;
        }
        self.shown.insert(head);
        if self.shown.len() > SHOWN_MOST {
            self.shown.pop_last();
            self.more = true;
        }
    }

    /// Shows what was read from disk; `all`: there is nothing behind it.
    pub(crate) fn show(&mut self, heads: impl IntoIterator<Item = Head>, all: bool) {
        self.shown.extend(heads);
        self.more = !all;
    }
}

/// All lanes that have had a ready job since the start.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: HashMap<LaneKey, Lane>,
}

impl Lanes {
    /// Lanes of which only the names are known.
    pub(crate) fn of(keys: Vec<(QueueName, KindName, Tenant)>) -> Self {
        let unread =
            |(queue, kind, tenant)| (LaneKey { queue, kind, tenant }, Lane { shown: BTreeSet::new(), more: true });
        Self { lanes: keys.into_iter().map(unread).collect() }
    }

    pub(crate) fn insert(&mut self, key: LaneKey, head: Head) {
        self.lanes.entry(key).or_default().insert(head);
    }

    pub(crate) fn remove(&mut self, key: &LaneKey, head: Head) {
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.shown.remove(&head);
        }
        self.remove_empty(key);
    }

    /// Whether the job's lane shows it at present.
    pub(crate) fn shows(&self, spec: &JobSpec, head: Head) -> bool {
        self.lanes.get(&LaneKey::of(spec)).is_some_and(|lane| lane.shown.contains(&head))
    }

    /// Removes the lane when there is nothing in it, shown or not.
    pub(crate) fn remove_empty(&mut self, key: &LaneKey) {
        if self.lanes.get(key).is_some_and(|lane| lane.shown.is_empty() && !lane.more) {
            self.lanes.remove(key);
        }
    }

    pub(crate) fn get_mut(&mut self, key: &LaneKey) -> Option<&mut Lane> {
        self.lanes.get_mut(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&LaneKey, &Lane)> {
        self.lanes.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}
