//! Wakes whoever waits for a job, and hands its newest events to those who follow it.
//!
//! The store tells of every commit; the hub passes it on to those who watch the job. A notification is a hint: whoever
//! is woken looks again, and whoever is never woken has a time-out of its own. To miss nothing, watch first and look
//! afterwards.
//!
//! Those who follow a job's events share one ring of its newest ones, so that a thousand readers of one stream cost one
//! copy and no disk. The ring is bounded and nobody waits for it: a reader that was overtaken reads from storage.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use longhaul_core::{Event, EventKind, JobId, QueueName, Tenant, Timestamp};
use longhaul_store::{Change, JobView, Observer};
use tokio::sync::{Notify, mpsc};

use crate::{
    running::Running,
    stats::{EndedJob, Stats},
};

/// How many bytes of a job's newest events are kept for its followers: how far one can lag behind before it is told so.
pub(crate) const RING_BYTES: usize = 256 * 1024;

/// How many changes of jobs wait for one who follows a queue before it is told that it lags.
const FEED_CHANGES: usize = 1_024;

/// Passes changes of jobs on to those who watch them.
#[derive(Default)]
pub struct Hub {
    watchers: Mutex<HashMap<JobId, Arc<Cell>>>,
    /// How many follow events of single jobs; while nobody does, no commit looks for them.
    followers: AtomicUsize,
    feeds: Mutex<Vec<Feed>>,
    has_feeds: AtomicBool,
    running: Arc<Running>,
    stats: Stats,
}

#[derive(Default)]
struct Cell {
    notify: Notify,
    /// How many watch; changed only while the map is locked.
    watched_by: AtomicUsize,
    /// How many of them follow the events.
    followed_by: AtomicUsize,
    /// The ended job, when the store had it at hand.
    ended: Mutex<Option<Arc<JobView>>>,
    live: Mutex<Live>,
}

/// The newest events of a job that somebody follows.
#[derive(Default)]
struct Live {
    batches: VecDeque<Arc<[Event]>>,
    bytes: usize,
    /// Counts commits whose events did not come with them: they have to be read.
    unread: u64,
}

/// Who follows all jobs of a tenant in a queue.
struct Feed {
    tenant: Tenant,
    queue: QueueName,
    sender: mpsc::Sender<(JobId, Arc<[Event]>)>,
    lagged: Arc<AtomicBool>,
}

impl Hub {
    pub(crate) fn running(&self) -> &Arc<Running> {
        &self.running
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Cell>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(self: &Arc<Self>, job: JobId) -> Watch {
        self.watch_as(job, false)
    }

    /// Watches, and has the job's events of every later commit kept for itself.
    pub(crate) fn follow(self: &Arc<Self>, job: JobId) -> Watch {
        self.watch_as(job, true)
    }

    fn watch_as(self: &Arc<Self>, job: JobId, follows: bool) -> Watch {
        let mut watchers = self.lock();
        let cell = watchers.entry(job).or_default().clone();
        cell.watched_by.fetch_add(1, Ordering::Relaxed);
        if follows {
            cell.followed_by.fetch_add(1, Ordering::SeqCst);
            self.followers.fetch_add(1, Ordering::SeqCst);
        }
        drop(watchers);
        Watch { hub: self.clone(), job, cell, follows }
    }

    /// All events of a tenant's jobs in a queue, from now on.
    pub(crate) fn feed(&self, tenant: Tenant, queue: QueueName) -> QueueFeed {
        let (sender, receiver) = mpsc::channel(FEED_CHANGES);
        let lagged = Arc::new(AtomicBool::new(false));
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.retain(|feed| !feed.sender.is_closed());
        feeds.push(Feed { tenant, queue, sender, lagged: lagged.clone() });
        self.has_feeds.store(true, Ordering::SeqCst);
        QueueFeed { receiver, lagged }
    }

    fn tell_feeds(&self, changes: &[Change]) {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.retain(|feed| !feed.sender.is_closed());
        for feed in feeds.iter() {
            let theirs = changes.iter().filter(|change| change.queue == feed.queue && change.tenant == feed.tenant);
            for change in theirs {
                let Some(events) = &change.events else { continue };
                if feed.sender.try_send((change.job, events.clone())).is_err() {
                    feed.lagged.store(true, Ordering::Release);
                }
            }
        }
        if feeds.is_empty() {
            self.has_feeds.store(false, Ordering::SeqCst);
        }
    }

    fn count(&self, changes: &[Change]) {
        let submitted = changes.iter().filter(|change| change.fresh).count() as u64;
        let ended = changes.iter().filter_map(|change| {
            let timing = change.ended.as_ref()?;
            Some(EndedJob {
                status: change.status,
                created_at: timing.created_at,
                started_at: timing.started_at,
                finished_at: timing.finished_at,
                degraded: timing.degraded,
                cached: timing.cached,
                usage: timing.usage,
            })
        });
        let now = changes.iter().filter_map(|change| change.ended.as_ref()).map(|timing| timing.finished_at).max();
        let now = now.or_else(|| changes.first().map(|change| change.at)).unwrap_or(Timestamp::EPOCH);
        self.stats.committed(now, submitted, ended);
    }
}

impl Observer for Hub {
    fn committed(&self, changes: &[Change]) {
        self.running.committed(changes);
        self.count(changes);
        if self.has_feeds.load(Ordering::Relaxed) {
            self.tell_feeds(changes);
        }
        let watchers = self.lock();
        if watchers.is_empty() {
            return;
        }
        for change in changes {
            if let Some(cell) = watchers.get(&change.job) {
                if let Some(view) = &change.view {
                    *cell.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(view.clone());
                }
                if cell.followed_by.load(Ordering::Relaxed) > 0 {
                    cell.live.lock().unwrap_or_else(PoisonError::into_inner).take_in(change);
                }
                cell.notify.notify_waiters();
            }
        }
    }

    fn wants(&self, job: JobId) -> bool {
        if self.has_feeds.load(Ordering::Relaxed) {
            return true;
        }
        if self.followers.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.lock().get(&job).is_some_and(|cell| cell.followed_by.load(Ordering::Relaxed) > 0)
    }
}

impl Live {
    fn take_in(&mut self, change: &Change) {
        let Some(events) = &change.events else {
            self.unread += 1;
            return;
        };
        let Some(first) = events.first() else { return };
        if self.batches.back().and_then(|last| last.last()).is_some_and(|last| last.seq + 1 != first.seq) {
            // Commits in between were not told to us: what is before them helps nobody.
            self.batches.clear();
            self.bytes = 0;
        }
        self.bytes += size(events);
        self.batches.push_back(events.clone());
        while self.bytes > RING_BYTES
            && let Some(oldest) = self.batches.pop_front()
        {
            self.bytes -= size(&oldest);
        }
    }
}

/// About what a batch takes in memory.
fn size(events: &[Event]) -> usize {
    let data = |event: &Event| match &event.kind {
        EventKind::OutputDelta { data } => data.size(),
        EventKind::Layer { data } => data.len(),
        EventKind::Log { message, .. } => message.len(),
        _ => 0,
    };
    events.iter().map(|event| size_of::<Event>() + data(event)).sum()
}

/// What the ring has for a reader.
#[derive(Debug)]
pub(crate) enum Newest {
    /// What follows on the reader's last event.
    Next(Arc<[Event]>),
    /// Nothing new.
    Nothing,
    /// The reader has been overtaken: what it needs next is not in the ring any more.
    Overtaken,
}

/// A view onto the changes of one job, from the moment it was made.
pub(crate) struct Watch {
    hub: Arc<Hub>,
    job: JobId,
    cell: Arc<Cell>,
    follows: bool,
}

impl Watch {
    /// Begins to listen. What is committed after this call is not missed.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.cell.notify.notified()
    }

    /// The job as it ended, when that has happened under this watch and was at hand.
    pub(crate) fn ended(&self) -> Option<Arc<JobView>> {
        self.cell.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The batch that holds the event after `seq`.
    pub(crate) fn after(&self, seq: u64) -> Newest {
        let live = self.cell.live.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(newest) = live.batches.back().and_then(|last| last.last()) else { return Newest::Nothing };
        if newest.seq <= seq {
            return Newest::Nothing;
        }
        // Numbers are without gaps within the ring: the first batch whose end lies behind `seq`.
        let at = live.batches.partition_point(|batch| batch.last().is_none_or(|last| last.seq <= seq));
        match live.batches.get(at) {
            Some(batch) if batch.first().is_some_and(|first| first.seq <= seq + 1) => Newest::Next(batch.clone()),
            _ => Newest::Overtaken,
        }
    }

    /// How many commits there were whose events have to be read.
    pub(crate) fn unread(&self) -> u64 {
        self.cell.live.lock().unwrap_or_else(PoisonError::into_inner).unread
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watchers = self.hub.lock();
        if self.follows {
            self.hub.followers.fetch_sub(1, Ordering::SeqCst);
            if self.cell.followed_by.fetch_sub(1, Ordering::SeqCst) == 1 {
                // Nobody keeps the ring going: the next who follows begins from storage.
                *self.cell.live.lock().unwrap_or_else(PoisonError::into_inner) = Live::default();
            }
        }
        // Counted apart from the reference counts: those fall only after this has returned.
        if self.cell.watched_by.fetch_sub(1, Ordering::Relaxed) == 1 {
            watchers.remove(&self.job);
        }
    }
}

/// The events of a tenant's jobs in a queue, as they are committed.
#[derive(Debug)]
pub struct QueueFeed {
    receiver: mpsc::Receiver<(JobId, Arc<[Event]>)>,
    lagged: Arc<AtomicBool>,
}

impl QueueFeed {
    /// The next events of one of the jobs; or none once, when so much happened that some were left out. Ends with the
    /// server.
    pub async fn next(&mut self) -> Option<Option<(JobId, Arc<[Event]>)>> {
        if self.lagged.swap(false, Ordering::Acquire) {
            return Some(None);
        }
        self.receiver.recv().await.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use longhaul_core::{Ids, OutputData, Status};

    use super::*;

    fn delta(seq: u64, bytes: usize) -> Event {
        let data = OutputData::Text("x".repeat(bytes));
        Event { seq, time: Timestamp::EPOCH, attempt: 1, kind: EventKind::OutputDelta { data } }
    }

    fn change(job: JobId, events: Option<Vec<Event>>) -> Change {
        Change {
            tenant: Tenant::default_tenant(),
            job,
            queue: QueueName::default_queue(),
            status: Status::Running,
            version: 2,
            view: None,
            cancelling: false,
            events: events.map(Into::into),
            fresh: false,
            ended: None,
            at: Timestamp::EPOCH,
        }
    }

    fn job() -> JobId {
        JobId::fresh(&Ids::seeded(1), Timestamp::from_micros(1))
    }

    fn next(watch: &Watch, after: u64) -> Option<(u64, u64)> {
        match watch.after(after) {
            Newest::Next(batch) => Some((batch.first().unwrap().seq, batch.last().unwrap().seq)),
            Newest::Nothing | Newest::Overtaken => None,
        }
    }

    #[test]
    fn a_follower_gets_the_batch_that_holds_its_next_event() {
        let hub = Arc::new(Hub::default());
        let watch = hub.follow(job());
        hub.committed(&[change(job(), Some(vec![delta(3, 1), delta(4, 1)]))]);
        hub.committed(&[change(job(), Some(vec![delta(5, 1)]))]);
        assert_eq!(next(&watch, 2), Some((3, 4)));
        assert_eq!(next(&watch, 3), Some((3, 4)));
        assert_eq!(next(&watch, 4), Some((5, 5)));
        assert!(matches!(watch.after(5), Newest::Nothing));
        assert!(matches!(watch.after(1), Newest::Overtaken));
    }

    #[test]
    fn the_ring_is_bounded_and_who_lags_is_overtaken() {
        let hub = Arc::new(Hub::default());
        let watch = hub.follow(job());
        for seq in 1..=100 {
            hub.committed(&[change(job(), Some(vec![delta(seq, 4_096)]))]);
        }
        assert!(matches!(watch.after(10), Newest::Overtaken));
        assert_eq!(next(&watch, 99), Some((100, 100)));
        assert!(watch.cell.live.lock().unwrap().bytes <= RING_BYTES);
    }

    #[test]
    fn events_that_did_not_come_along_are_read_and_nothing_is_pieced_together_over_a_gap() {
        let hub = Arc::new(Hub::default());
        let watch = hub.follow(job());
        hub.committed(&[change(job(), Some(vec![delta(1, 1)]))]);
        hub.committed(&[change(job(), None)]);
        assert_eq!(watch.unread(), 1);
        hub.committed(&[change(job(), Some(vec![delta(4, 1)]))]);
        assert!(matches!(watch.after(1), Newest::Overtaken));
        assert_eq!(next(&watch, 3), Some((4, 4)));
    }

    #[test]
    fn events_are_wanted_only_while_somebody_follows() {
        let hub = Arc::new(Hub::default());
        let waits = hub.watch(job());
        assert!(!hub.wants(job()));
        let follows = hub.follow(job());
        assert!(hub.wants(job()));
        drop(follows);
        assert!(!hub.wants(job()));
        drop(waits);
        assert!(hub.lock().is_empty());
        let feed = hub.feed(Tenant::default_tenant(), QueueName::default_queue());
        assert!(hub.wants(job()));
        drop(feed);
        hub.committed(&[change(job(), None)]);
        assert!(!hub.wants(job()));
    }

    #[test]
    fn who_follows_a_queue_is_told_once_that_it_lags() {
        let hub = Arc::new(Hub::default());
        let mut feed = hub.feed(Tenant::default_tenant(), QueueName::default_queue());
        for seq in 1..=2_000 {
            hub.committed(&[change(job(), Some(vec![delta(seq, 1)]))]);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(matches!(runtime.block_on(feed.next()), Some(None)));
        let Some(Some((_, first))) = runtime.block_on(feed.next()) else { panic!("the first change is kept") };
        assert_eq!(first[0].seq, 1);
    }
}
