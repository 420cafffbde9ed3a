//! Following a job: everything it tells from some event on, from the store and then as it happens, without a gap and
//! without a repetition, until its end.
//!
//! A follower listens first and reads the store afterwards; what is committed in between it hears of and knows by its
//! number. From then on it lives from the hub's ring of newest events, and goes back to the store whenever that does not
//! reach far enough back. So what it gives is always what is stored, in that order.

use std::{collections::VecDeque, sync::Arc};

use longhaul_core::{Event, JobId, QueueName, Span, Tenant, Timestamp};
use longhaul_store::StoreError;

use crate::{
    Engine, QueueFeed,
    hub::{Following, Taken},
};

/// How many events are read from the store at once: with deltas of 4 KiB, what a reader may hold.
const PAGE: usize = 48;

/// How much is given at once, about.
const BATCH_BYTES: usize = 64 * 1024;

/// How long to trust that nothing has happened, where a notification may be lost.
const LOOK_AGAIN: Span = Span::from_secs(30);

/// What a follower is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// What comes next, at least one.
    Events(Vec<Arc<Event>>),
    /// It was slower than the job by more than is kept for it. What comes next is read from the store, without a gap.
    Lagged,
    /// Events after the first number and before the second are not kept any more: deltas, after their time.
    Trimmed(u64, u64),
    /// The server stops; the job goes on, here or elsewhere.
    Stopping,
}

/// Everything a job tells from some event on.
pub struct Follow {
    engine: Engine,
    tenant: Tenant,
    job: JobId,
    following: Following,
    /// The last event that was given.
    at: u64,
    /// The store is read before the ring is.
    reads_store: bool,
    /// It has caught up with the ring, and so can be said to lag when it does not keep up.
    is_live: bool,
    is_over: bool,
    ready: VecDeque<Followed>,
    /// When the store is looked at again though nothing was heard. Kept when a wait for the next is given up: a reader that
    /// looks up from time to time would never come to it.
    look_at: Option<Timestamp>,
}

impl Engine {
    /// Follows a job from behind event `after` on; 0 gives all of it.
    pub async fn follow(&self, tenant: &Tenant, job: JobId, after: u64) -> Result<Follow, StoreError> {
        let following = self.inner.hub.follow(job);
        let view = self.inner.store.job(tenant, job).await?;
        let is_over = view.job.status().is_terminal() && after >= view.job.last_seq;
        Ok(Follow {
            engine: self.clone(),
            tenant: tenant.clone(),
            job,
            following,
            at: after.min(view.job.last_seq),
            reads_store: true,
            is_live: false,
            is_over,
            ready: VecDeque::new(),
            look_at: None,
        })
    }
}

impl Engine {
    /// All events of a tenant's jobs in a queue, from now on, as far as they can be kept up with.
    pub fn follow_queue(&self, tenant: &Tenant, queue: QueueName) -> QueueFeed {
        self.inner.hub.feed(tenant.clone(), queue)
    }
}

impl Follow {
    /// Whether there is nothing more to come, now or ever.
    pub fn is_over(&self) -> bool {
        self.is_over && self.ready.is_empty()
    }

    /// Which job it follows.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// The number of the last event that was given, or from which it began.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// What comes next, as soon as there is something; none after the terminal event, or when the server stops. May be
    /// dropped at any moment and called again.
    pub async fn next(&mut self) -> Option<Result<Followed, StoreError>> {
        loop {
            if let Some(followed) = self.ready.pop_front() {
                return Some(Ok(followed));
            }
            if self.is_over {
                return None;
            }
            if self.reads_store {
                if let Err(error) = self.read_store().await {
                    self.is_over = true;
                    return Some(Err(error));
                }
                continue;
            }
            if !self.look() {
                self.wait().await;
            }
        }
    }

    /// As a stream, for whoever drives one.
    pub fn into_stream(self) -> impl futures::Stream<Item = Result<Followed, StoreError>> + Send {
        futures::stream::unfold(self, async |mut follow| follow.next().await.map(|next| (next, follow)))
    }

    /// Takes from the ring; false when there is nothing.
    fn look(&mut self) -> bool {
        match self.following.take(self.at, BATCH_BYTES) {
            Taken::Events(events) => {
                self.is_live = true;
                self.give(events);
            }
            Taken::Unseen => self.reads_store = true,
            Taken::Behind => {
                self.reads_store = true;
                if std::mem::take(&mut self.is_live) {
                    self.ready.push_back(Followed::Lagged);
                }
            }
            Taken::Nothing => {
                self.is_live = true;
                return false;
            }
        }
        true
    }

    async fn read_store(&mut self) -> Result<(), StoreError> {
        self.look_at = None;
        let page = self.engine.inner.store.events(&self.tenant, self.job, self.at, PAGE).await?;
        // A page that is not full reaches to where the ring begins, or the ring says that it does not.
        self.reads_store = page.len() >= PAGE;
        if page.is_empty() {
            return Ok(());
        }
        let mut events = Vec::with_capacity(page.len());
        for event in page {
            if event.seq > self.at + 1 {
                self.give(std::mem::take(&mut events));
                self.ready.push_back(Followed::Trimmed(self.at, event.seq));
            }
            self.at = event.seq;
            events.push(Arc::new(event));
        }
        self.give(events);
        Ok(())
    }

    fn give(&mut self, events: Vec<Arc<Event>>) {
        let Some(last) = events.last() else { return };
        self.at = last.seq;
        self.look_at = None;
        self.is_over = last.kind.is_terminal();
        self.ready.push_back(Followed::Events(events));
    }

    async fn wait(&mut self) {
        let listener = self.following.listener();
        let changed = listener.changed();
        tokio::pin!(changed);
        changed.as_mut().enable();
        // Listened first: what came before is there to be taken, what comes from now on is heard.
        if self.look() {
            return;
        }
        let inner = self.engine.inner.clone();
        let now = inner.clock.now();
        let left = self.look_at.get_or_insert(now + LOOK_AGAIN).since(now).min(LOOK_AGAIN);
        let woken = tokio::select! {
            biased;
            () = inner.stop_claiming.cancelled() => Woken::Stopping,
            () = changed => Woken::Changed,
            () = inner.clock.sleep(left) => Woken::Late,
        };
        match woken {
            Woken::Changed => {}
            Woken::Late => self.reads_store = true,
            Woken::Stopping => {
                self.is_over = true;
                self.ready.push_back(Followed::Stopping);
            }
        }
    }
}

enum Woken {
    Changed,
    Late,
    Stopping,
}
