//! Following a job's events: from storage first, then as they are committed, without a gap and without an end but the
//! job's own.
//!
//! A follower pulls. Nothing is queued for it, so that one who reads slowly holds no memory and no producer up: what it
//! has not taken stands in storage. One that kept up and then fell further behind than the ring of newest events is
//! told so, once, and reads on from storage when it comes again.

use std::sync::Arc;

use longhaul_core::{Event, JobId, QueueName, Span, Tenant};
use longhaul_store::StoreError;

use crate::{
    Engine, QueueFeed, Window,
    hub::{Newest, Watch},
};

/// How many events one read from storage takes: with deltas of 4 KiB, half of what a reader may hold.
const PAGE: usize = 32;

/// How long a follower that hears nothing waits before it looks into storage by itself: a hint can be lost.
const LOOK_EVERY: Span = Span::from_secs(30);

/// What a follower is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// The next events, in order.
    Events(Arc<[Event]>),
    /// Events from this `seq` to that are no longer kept: deltas have a retention of their own.
    Trimmed {
        /// The first that is gone.
        from: u64,
        /// The last that is gone.
        to: u64,
    },
    /// It fell too far behind what is being committed. Whoever wants the rest asks again, after [`Follower::position`].
    Lagged,
    /// The server shuts down. Whoever wants the rest asks the next one, after [`Follower::position`].
    Stopping,
}

/// Reads a job's events in order, for as long as there are any to come.
pub struct Follower {
    engine: Engine,
    tenant: Tenant,
    job: JobId,
    watch: Watch,
    /// The last event that was given.
    position: u64,
    /// Read from storage and not given yet.
    page: std::collections::VecDeque<Event>,
    mode: Mode,
    /// Whether it had given all there was when it last looked: to be overtaken after that means to be slow.
    level: bool,
    /// Commits without their events that had been seen when storage was last read.
    unread: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Behind: the next events are in storage.
    Storage,
    /// Level with what is committed: the next events come by the ring.
    Live,
    /// Everything has been given.
    Over,
}

impl Engine {
    /// Follows a job's events after `after`. None: the job has ended and nothing comes after that.
    pub async fn follow(&self, tenant: &Tenant, job: JobId, after: u64) -> Result<Option<Follower>, StoreError> {
        // Watched first: what is committed from here on is not missed.
        let watch = self.inner.hub.follow(job);
        let view = self.inner.store.job(tenant, job).await?;
        if view.job.status().is_terminal() && after >= view.job.last_seq {
            return Ok(None);
        }
        Ok(Some(Follower {
            engine: self.clone(),
            tenant: tenant.clone(),
            job,
            watch,
            position: after.min(view.job.last_seq),
            page: std::collections::VecDeque::new(),
            mode: if after < view.job.last_seq { Mode::Storage } else { Mode::Live },
            level: false,
            unread: 0,
        }))
    }

    /// All events of a tenant's jobs in a queue, from now on, as far as they can be kept up with.
    pub fn follow_queue(&self, tenant: &Tenant, queue: QueueName) -> QueueFeed {
        self.inner.hub.feed(tenant.clone(), queue)
    }

    /// The figures of about the last `span`, at most five minutes, of this process.
    pub fn window(&self, span: Span) -> Window {
        self.inner.hub.stats().window(self.inner.clock.now(), span)
    }
}

impl Follower {
    /// The last event that was given; where a later follower goes on.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What comes next. None: the job's last event has been given. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Followed, StoreError>> {
        loop {
            if !self.page.is_empty() {
                return Some(Ok(self.from_page()));
            }
            match self.mode {
                Mode::Over => return None,
                Mode::Storage => {
                    // Noted before the read: what is committed meanwhile makes another one.
                    let unread = self.watch.unread();
                    match self.engine.inner.store.events(&self.tenant, self.job, self.position, PAGE).await {
                        Ok(events) if events.is_empty() => {
                            self.unread = unread;
                            self.mode = Mode::Live;
                        }
                        Ok(events) => self.page.extend(events),
                        Err(error) => return Some(Err(error)),
                    }
                }
                Mode::Live => {
                    if let Some(given) = self.live().await {
                        return Some(given);
                    }
                }
            }
        }
    }

    /// Takes from the ring, or waits for it. None: look again.
    async fn live(&mut self) -> Option<Result<Followed, StoreError>> {
        let changed = self.watch.changed();
        tokio::pin!(changed);
        changed.as_mut().enable();
        match self.watch.after(self.position) {
            Newest::Next(batch) => {
                self.level = true;
                return Some(Ok(self.from_batch(batch)));
            }
            Newest::Overtaken if self.level && self.unread == self.watch.unread() => {
                self.mode = Mode::Over;
                return Some(Ok(Followed::Lagged));
            }
            Newest::Overtaken => self.mode = Mode::Storage,
            Newest::Nothing if self.unread != self.watch.unread() => self.mode = Mode::Storage,
            Newest::Nothing => self.level = true,
        }
        if self.mode == Mode::Storage {
            self.level = false;
            return None;
        }
        let inner = &self.engine.inner;
        tokio::select! {
            () = changed => {}
            () = inner.clock.sleep(LOOK_EVERY) => self.mode = Mode::Storage,
            () = inner.stop_claiming.cancelled() => {
                self.mode = Mode::Over;
                return Some(Ok(Followed::Stopping));
            }
        }
        None
    }

    fn from_page(&mut self) -> Followed {
        let next = self.page.front().map_or(self.position + 1, |event| event.seq);
        if next > self.position + 1 {
            let trimmed = Followed::Trimmed { from: self.position + 1, to: next - 1 };
            self.position = next - 1;
            return trimmed;
        }
        let events: Vec<Event> = std::mem::take(&mut self.page).into();
        // A page can have a gap further in.
        let whole = events.iter().zip(next..).take_while(|(event, seq)| event.seq == *seq).count();
        let (now, later) = events.split_at(whole);
        self.page.extend(later.iter().cloned());
        self.given(now.into())
    }

    fn from_batch(&mut self, batch: Arc<[Event]>) -> Followed {
        let known = batch.iter().take_while(|event| event.seq <= self.position).count();
        let rest = if known == 0 { batch } else { batch[known..].into() };
        self.given(rest)
    }

    fn given(&mut self, events: Arc<[Event]>) -> Followed {
        if let Some(last) = events.last() {
            self.position = last.seq;
            if last.kind.is_terminal() {
                self.mode = Mode::Over;
            }
        }
        Followed::Events(events)
    }
}
