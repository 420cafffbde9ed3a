//! Following all jobs of a queue, from now on.
//!
//! What one cannot keep up with is left out, and one is told so: whoever needs every event follows the job. Nobody who
//! commits waits for a feed.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use longhaul_core::{Event, JobId, QueueName, Tenant};
use longhaul_store::Change;
use tokio::sync::mpsc;

/// How many changes of jobs wait for one who follows a queue before some are left out.
const CHANGES_MOST: usize = 1_024;

/// Who follows which queues.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    open: Mutex<Vec<Feed>>,
    /// Looked at for every commit, and mostly false.
    is_any: AtomicBool,
}

#[derive(Debug)]
struct Feed {
    tenant: Tenant,
    queue: QueueName,
    sender: mpsc::Sender<(JobId, Arc<[Event]>)>,
    lagged: Arc<AtomicBool>,
}

/// The events of a tenant's jobs in a queue, as they are committed.
#[derive(Debug)]
pub struct QueueFeed {
    receiver: mpsc::Receiver<(JobId, Arc<[Event]>)>,
    lagged: Arc<AtomicBool>,
}

impl Feeds {
    fn lock(&self) -> MutexGuard<'_, Vec<Feed>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Acquire)
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().iter().filter(|feed| !feed.sender.is_closed()).count()
    }

    pub(crate) fn open(&self, tenant: Tenant, queue: QueueName) -> QueueFeed {
        let (sender, receiver) = mpsc::channel(CHANGES_MOST);
        let lagged = Arc::new(AtomicBool::new(false));
        let mut open = self.lock();
        if open.len() == open.capacity() {
            // A commit would do so, but there may be none for a long time.
            open.retain(|feed| !feed.sender.is_closed());
        }
        open.push(Feed { tenant, queue, sender, lagged: lagged.clone() });
        self.is_any.store(true, Ordering::Release);
        QueueFeed { receiver, lagged }
    }

    pub(crate) fn committed(&self, changes: &[Change]) {
        if !self.is_any() {
            return;
        }
        let mut open = self.lock();
        open.retain(|feed| !feed.sender.is_closed());
        self.is_any.store(!open.is_empty(), Ordering::Release);
        for feed in open.iter() {
            for change in changes.iter().filter(|change| change.queue == feed.queue && change.tenant == feed.tenant) {
                let Some(events) = &change.events else { continue };
                if feed.sender.try_send((change.job, events.clone())).is_err() {
                    feed.lagged.store(true, Ordering::Release);
                }
            }
        }
    }
}

impl QueueFeed {
    /// The next events of one of the jobs; none in between when so much happened that some were left out.
    pub async fn next(&mut self) -> Option<(JobId, Arc<[Event]>)> {
        if self.lagged.swap(false, Ordering::AcqRel) {
            return None;
        }
        match self.receiver.recv().await {
            Some(next) => Some(next),
            // The hub lives as long as the engine: whoever still asks then waits for nothing.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use longhaul_core::{EventKind, Ids, Status, Timestamp};

    use super::*;

    fn change(seq: u64) -> Change {
        let event = Event { seq, time: Timestamp::EPOCH, attempt: 1, kind: EventKind::Succeeded };
        Change {
            tenant: Tenant::default_tenant(),
            job: JobId::fresh(&Ids::seeded(1), Timestamp::EPOCH),
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
            events: Some([event].into()),
        }
    }

    #[tokio::test]
    async fn a_feed_gives_what_happens_and_tells_once_that_it_lagged() {
        let feeds = Feeds::default();
        let mut feed = feeds.open(Tenant::default_tenant(), QueueName::default_queue());
        for seq in 1..=2_000 {
            feeds.committed(&[change(seq)]);
        }
        assert!(feed.next().await.is_none());
        for seq in 1..=1_024 {
            assert_eq!(feed.next().await.unwrap().1[0].seq, seq);
        }
        feeds.committed(&[change(7)]);
        assert_eq!(feed.next().await.unwrap().1[0].seq, 7);
    }

    #[test]
    fn nobody_hears_of_other_tenants_or_queues_and_a_closed_feed_costs_nothing() {
        let feeds = Feeds::default();
        let mut feed = feeds.open(Tenant::new("other").unwrap(), QueueName::default_queue());
        feeds.committed(&[change(1)]);
        assert!(feed.receiver.try_recv().is_err());
        drop(feed);
        feeds.committed(&[change(2)]);
        assert!(!feeds.is_any());
    }

    #[test]
    fn feeds_that_are_opened_and_closed_while_nothing_is_committed_do_not_pile_up() {
        let feeds = Feeds::default();
        let kept = feeds.open(Tenant::default_tenant(), QueueName::default_queue());
        for _ in 0..1_000 {
            drop(feeds.open(Tenant::default_tenant(), QueueName::default_queue()));
        }
        assert!(feeds.lock().len() < 10, "{}", feeds.lock().len());
        assert_eq!(feeds.count(), 1);
        drop(kept);
    }
}
