//! Wakes whoever waits for a job, and keeps what those who follow one are about to read.
//!
//! The store tells of every commit; the hub passes it on to those who watch the job. A notification is a hint: whoever
//! is woken looks again, and whoever is never woken has a time-out of its own. To miss nothing, watch first and look
//! afterwards.
//!
//! For every job that is followed there is one [`Ring`], however many follow it: its newest events, at most
//! [`RING_BYTES`] of them. Readers take from it at their own pace, and whoever comes too late for it reads from the store.
//! So a slow reader costs whoever writes nothing, and the memory of a follower is a cursor.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use longhaul_core::{Event, EventKind, JobId, QueueName, Tenant};
use longhaul_store::{Change, JobView, Observer};
use tokio::sync::{Notify, watch};

use crate::{
    feed::{Feeds, QueueFeed},
    running::Running,
    stats::Stats,
};

/// How much of a job's newest events is kept for those who follow it. A reader that is further behind has lagged.
pub(crate) const RING_BYTES: usize = 256 * 1024;

/// What an event costs besides its text, about.
const OVERHEAD: usize = 160;

/// Passes changes of jobs on to those who watch them.
#[derive(Default)]
pub struct Hub {
    watchers: Mutex<HashMap<JobId, Arc<Cell>>>,
    rings: Mutex<HashMap<JobId, Arc<Ring>>>,
    /// How many rings there are: looked at for every change, and mostly none.
    ring_count: AtomicUsize,
    feeds: Feeds,
    running: Arc<Running>,
    stats: Stats,
    /// Told when another server has changed what is kept here.
    elsewhere: watch::Sender<()>,
}

#[derive(Default)]
struct Cell {
    notify: Notify,
    /// Told of the end only: whoever waits for that is not woken by every piece of output.
    over: Notify,
    /// How many watch; changed only while the map is locked.
    watched_by: AtomicUsize,
    /// The ended job, when the store had it at hand.
    ended: Mutex<Option<Arc<JobView>>>,
}

/// Who is here at one moment. Counting them costs as much as there are of them, not of jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Present {
    /// Jobs that run in this process.
    pub running: usize,
    /// Readers that follow one job's events.
    pub followers: usize,
    /// Readers that follow all jobs of a queue.
    pub feeds: usize,
    /// Calls that wait for a job's end, or its next change.
    pub watchers: usize,
}

/// The newest events of a followed job.
#[derive(Default)]
pub(crate) struct Ring {
    kept: Mutex<Kept>,
    notify: Notify,
    /// How many follow; changed only while the map is locked.
    followed_by: AtomicUsize,
}

#[derive(Default)]
struct Kept {
    /// Without a gap.
    events: VecDeque<(Arc<Event>, usize)>,
    bytes: usize,
    /// Counts what came without its events, so that there is something to read in the store.
    unseen: u64,
}

/// What a ring has for a reader.
pub(crate) enum Taken {
    /// These come next.
    Events(Vec<Arc<Event>>),
    /// Nothing that it has not seen.
    Nothing,
    /// What comes next is not kept here any more: the reader was too slow.
    Behind,
    /// Something came without its events, because nobody followed when it was committed or another server made it: it is
    /// in the store.
    Unseen,
}

impl Hub {
    pub(crate) fn running(&self) -> &Arc<Running> {
        &self.running
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Told, from now on, when another server has changed what is kept here.
    pub(crate) fn elsewhere(&self) -> watch::Receiver<()> {
        self.elsewhere.subscribe()
    }

    /// All events of a tenant's jobs in a queue, from now on.
    pub(crate) fn feed(&self, tenant: Tenant, queue: QueueName) -> QueueFeed {
        self.feeds.open(tenant, queue)
    }

    fn watchers(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Cell>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rings(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Ring>>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(self: &Arc<Self>, job: JobId) -> Watch {
        let mut watchers = self.watchers();
        let cell = watchers.entry(job).or_default().clone();
        cell.watched_by.fetch_add(1, Ordering::Relaxed);
        drop(watchers);
        Watch { hub: self.clone(), job, cell }
    }

    /// From now on the job's events are kept. What was committed before is in the store.
    pub(crate) fn follow(self: &Arc<Self>, job: JobId) -> Following {
        let mut rings = self.rings();
        let ring = rings.entry(job).or_default().clone();
        ring.followed_by.fetch_add(1, Ordering::Relaxed);
        self.ring_count.store(rings.len(), Ordering::Release);
        drop(rings);
        Following { hub: self.clone(), job, ring, unseen: 0 }
    }

    /// Who is here at this moment.
    pub(crate) fn present(&self) -> Present {
        let followers = self.rings().values().map(|ring| ring.followed_by.load(Ordering::Relaxed)).sum();
        let watchers = self.watchers().values().map(|cell| cell.watched_by.load(Ordering::Relaxed)).sum();
        Present { running: self.running.count(), followers, feeds: self.feeds.count(), watchers }
    }

    fn keep(&self, changes: &[Change]) {
        let rings = self.rings();
        for change in changes {
            if let Some(ring) = rings.get(&change.job) {
                ring.keep(change.events.as_deref());
            }
        }
    }
}

impl Observer for Hub {
    fn committed(&self, changes: &[Change]) {
        self.running.committed(changes);
        self.stats.committed(changes);
        self.feeds.committed(changes);
        if self.ring_count.load(Ordering::Acquire) > 0 {
            self.keep(changes);
        }
        let watchers = self.watchers();
        if watchers.is_empty() {
            return;
        }
        for change in changes {
            if let Some(cell) = watchers.get(&change.job) {
                if let Some(view) = &change.view {
                    *cell.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(view.clone());
                }
                cell.notify.notify_waiters();
                if change.status.is_terminal() {
                    cell.over.notify_waiters();
                }
            }
        }
    }

    fn changed_elsewhere(&self) {
        self.elsewhere.send_replace(());
    }

    fn wants(&self, job: JobId) -> bool {
        self.feeds.is_any() || (self.ring_count.load(Ordering::Acquire) > 0 && self.rings().contains_key(&job))
    }
}

impl Ring {
    fn keep(&self, events: Option<&[Event]>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match events {
            Some(events) => {
                for event in events {
                    kept.push(event);
                }
            }
            None => kept.unseen += 1,
        }
        drop(kept);
        self.notify.notify_waiters();
    }
}

impl Kept {
    fn push(&mut self, event: &Event) {
        if self.events.back().is_some_and(|(last, _)| last.seq + 1 != event.seq) {
            // Something has come without its events: what is kept has no gap.
            self.events.clear();
            self.bytes = 0;
        }
        let size = OVERHEAD + size_of(&event.kind);
        self.events.push_back((Arc::new(event.clone()), size));
        self.bytes += size;
        while self.bytes > RING_BYTES
            && let Some((_, size)) = self.events.pop_front()
        {
            self.bytes -= size;
        }
    }
}

fn size_of(kind: &EventKind) -> usize {
    match kind {
        EventKind::OutputDelta { data } => data.size(),
        EventKind::Log { message, .. } => message.len(),
        EventKind::Layer { data } => data.len(),
        EventKind::Progress { message, .. } => message.as_ref().map_or(0, String::len),
        EventKind::Queued { error: Some(error), .. } | EventKind::Failed { error } => error.message.len(),
        _ => 0,
    }
}

/// A view onto the events of one job, from the moment it was made.
pub(crate) struct Following {
    hub: Arc<Hub>,
    job: JobId,
    ring: Arc<Ring>,
    unseen: u64,
}

impl Following {
    pub(crate) fn listener(&self) -> Listener {
        Listener(self.ring.clone())
    }

    /// What comes after `seq`, at most some `bytes` of it.
    pub(crate) fn take(&mut self, seq: u64, bytes: usize) -> Taken {
        let kept = self.ring.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = kept.events.front().zip(kept.events.back());
        let Some(((first, _), _)) = ends.filter(|(_, (last, _))| last.seq > seq) else {
            let has_unseen = std::mem::replace(&mut self.unseen, kept.unseen) != kept.unseen;
            return if has_unseen { Taken::Unseen } else { Taken::Nothing };
        };
        let Some(skip) = (seq + 1).checked_sub(first.seq) else {
            let has_unseen = std::mem::replace(&mut self.unseen, kept.unseen) != kept.unseen;
            return if has_unseen { Taken::Unseen } else { Taken::Behind };
        };
        let mut size = 0;
        let next = kept.events.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)).take_while(|(_, own)| {
            let is_room = size == 0 || size + own <= bytes;
            size += own;
            is_room
        });
        Taken::Events(next.map(|(event, _)| event.clone()).collect())
    }
}

/// Hears when there is something to take.
pub(crate) struct Listener(Arc<Ring>);

impl Listener {
    /// Begins to listen. What is committed after this call is not missed.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.notify.notified()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut rings = self.hub.rings();
        // Counted apart from the reference counts: those fall only after this has returned.
        if self.ring.followed_by.fetch_sub(1, Ordering::Relaxed) == 1 {
            rings.remove(&self.job);
            self.hub.ring_count.store(rings.len(), Ordering::Release);
        }
    }
}

/// A view onto the changes of one job, from the moment it was made.
pub(crate) struct Watch {
    hub: Arc<Hub>,
    job: JobId,
    cell: Arc<Cell>,
}

impl Watch {
    /// Begins to listen. What is committed after this call is not missed.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.cell.notify.notified()
    }

    /// Begins to listen for the job's end alone.
    pub(crate) fn over(&self) -> tokio::sync::futures::Notified<'_> {
        self.cell.over.notified()
    }

    /// The job as it ended, when that has happened under this watch and was at hand.
    pub(crate) fn ended(&self) -> Option<Arc<JobView>> {
        self.cell.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watchers = self.hub.watchers();
        // Counted apart from the reference counts: those fall only after this has returned.
        if self.cell.watched_by.fetch_sub(1, Ordering::Relaxed) == 1 {
            watchers.remove(&self.job);
        }
    }
}

#[cfg(test)]
mod tests {
    use longhaul_core::{Ids, OutputData, Status, Tenant, Timestamp};

    use super::*;

    fn delta(seq: u64, bytes: usize) -> Event {
        let kind = EventKind::OutputDelta { data: OutputData::Text("x".repeat(bytes)) };
        Event { seq, time: Timestamp::EPOCH, attempt: 1, kind }
    }

    fn change(job: JobId, events: Option<Vec<Event>>) -> Change {
        Change {
            tenant: Tenant::default_tenant(),
            job,
            queue: QueueName::default_queue(),
            kind: None,
            status: Status::Running,
            version: 1,
            view: None,
            cancelling: false,
            fresh: false,
            at: Timestamp::EPOCH,
            ended: None,
            attempt: None,
            trace: None,
            events: events.map(Into::into),
        }
    }

    fn numbers(taken: Taken) -> Option<Vec<u64>> {
        match taken {
            Taken::Events(events) => Some(events.iter().map(|event| event.seq).collect()),
            Taken::Nothing => Some(Vec::new()),
            Taken::Behind | Taken::Unseen => None,
        }
    }

    fn job() -> JobId {
        JobId::fresh(&Ids::seeded(1), Timestamp::EPOCH)
    }

    #[test]
    fn nothing_is_wanted_of_a_job_that_nobody_follows() {
        let hub = Arc::new(Hub::default());
        assert!(!hub.wants(job()));
        let (one, two) = (hub.follow(job()), hub.follow(job()));
        assert!(hub.wants(job()));
        drop(one);
        assert!(hub.wants(job()));
        drop(two);
        assert!(!hub.wants(job()) && hub.ring_count.load(Ordering::Relaxed) == 0);
    }

    #[test]
    fn readers_take_from_the_same_events_each_at_its_own_place() {
        let hub = Arc::new(Hub::default());
        let (mut slow, mut quick) = (hub.follow(job()), hub.follow(job()));
        hub.committed(&[change(job(), Some((3..=6).map(|seq| delta(seq, 10)).collect()))]);
        assert_eq!(numbers(quick.take(2, 10_000)), Some(vec![3, 4, 5, 6]));
        assert_eq!(numbers(quick.take(6, 10_000)), Some(vec![]));
        assert_eq!(numbers(slow.take(3, 400)), Some(vec![4, 5]), "no more than it can take");
        assert_eq!(numbers(slow.take(5, 1)), Some(vec![6]), "but at least one");
    }

    #[test]
    fn whoever_is_further_behind_than_is_kept_is_told_so_and_memory_is_bounded() {
        let hub = Arc::new(Hub::default());
        let mut reader = hub.follow(job());
        for seq in 1..=1_000 {
            hub.committed(&[change(job(), Some(vec![delta(seq, 4_096)]))]);
        }
        assert_eq!(numbers(reader.take(0, 1)), None);
        assert_eq!(numbers(reader.take(999, 1)), Some(vec![1_000]));
        assert!(reader.ring.kept.lock().unwrap().bytes <= RING_BYTES);
    }

    #[test]
    fn a_change_that_came_without_its_events_sends_readers_to_the_store() {
        let hub = Arc::new(Hub::default());
        let mut reader = hub.follow(job());
        hub.committed(&[change(job(), Some(vec![delta(1, 1)]))]);
        hub.committed(&[change(job(), None)]);
        assert_eq!(numbers(reader.take(0, 99)), Some(vec![1]));
        assert_eq!(numbers(reader.take(1, 99)), None);
        assert_eq!(numbers(reader.take(1, 99)), Some(vec![]), "it has been told");
        let mut other = hub.follow(job());
        assert_eq!(numbers(other.take(1, 99)), None);
        hub.committed(&[change(job(), Some(vec![delta(3, 1)]))]);
        assert_eq!(numbers(reader.take(1, 99)), None, "2 is missing here");
        assert_eq!(numbers(reader.take(2, 99)), Some(vec![3]));
    }
}
