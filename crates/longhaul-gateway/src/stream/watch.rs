//! Streams that nobody reads.
//!
//! A stream keeps its own time, but only while its reader polls it. A reader that stops (a client of HTTP/2 that takes
//! nothing more and does not hang up) would keep the provider's connection, the target's place and the breaker's permit
//! for ever. So every live stream is entered in a list, and one task goes through the list every now and then while it is
//! not empty: a stream that is past its time, and whose reader has not come, is given up on its behalf. The reader hears of
//! it when it comes back.
//!
//! A reader that does come is never overtaken: it notices its limits itself, a grace period before the list does. While the
//! next target is asked to go on there is nothing to come for; the limit is then how long that may take.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use longhaul_providers::chat::StreamEvent;
use longhaul_resilience::{Clock, Cx, Tick};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::handle::Live;
use crate::record::CallRecord;
use crate::settings::StreamSettings;

/// How often the list is gone through.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a reader has, beyond the stream's own limits, to notice by itself.
const GRACE: Duration = Duration::from_secs(2);

/// The live streams of a gateway.
pub(crate) struct Watch {
    clock: Arc<dyn Clock>,
    tracker: TaskTracker,
    streams: Mutex<Streams>,
    emptied: Notify,
}

#[derive(Default)]
struct Streams {
    next_id: u64,
    entries: HashMap<u64, Entry>,
    is_swept: bool,
}

struct Entry {
    slot: Arc<Slot>,
    limits: StreamSettings,
    /// How often the reader had come when the list was last gone through with something new.
    polls: u64,
    since: Tick,
}

/// A stream, shared by its reader and the list.
struct Slot(Mutex<State>);

struct State {
    /// Gone when it has been given up, or is over.
    live: Option<Box<Live>>,
    /// How often the reader has come.
    polls: u64,
    /// What it is told when it comes back.
    given_up: Option<(StreamEvent, Option<Box<CallRecord>>)>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    pub(crate) fn new(clock: Arc<dyn Clock>, tracker: TaskTracker) -> Arc<Self> {
        Arc::new(Self { clock, tracker, streams: Mutex::default(), emptied: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a stream; whoever reads it holds what is returned.
    pub(super) fn over(self: &Arc<Self>, live: Live) -> Watched {
        let limits = live.limits();
        let slot = Arc::new(Slot(Mutex::new(State { live: Some(Box::new(live)), polls: 0, given_up: None })));
        let (id, begins) = {
            let mut streams = self.lock();
            let id = streams.next_id;
            streams.next_id += 1;
            let entry = Entry { slot: Arc::clone(&slot), limits, polls: 0, since: self.clock.now() };
            streams.entries.insert(id, entry);
            (id, !std::mem::replace(&mut streams.is_swept, true))
        };
        if begins {
            self.tracker.spawn(Arc::clone(self).sweep_until_empty());
        }
        Watched { watch: Arc::clone(self), slot, id }
    }

    async fn sweep_until_empty(self: Arc<Self>) {
        let cx = Cx::default().clock(Arc::clone(&self.clock));
        loop {
            tokio::select! {
                biased;
                () = self.emptied.notified() => {}
                () = cx.sleep(SWEEP) => {}
            }
            for (slot, limits) in self.overdue(cx.renew()) {
                slot.lock().give_up(limits);
            }
            let mut streams = self.lock();
            if streams.entries.is_empty() {
                streams.is_swept = false;
                return;
            }
        }
    }

    /// The streams that are past their time.
    fn overdue(&self, now: Tick) -> Vec<(Arc<Slot>, StreamSettings)> {
        let mut overdue = Vec::new();
        for entry in self.lock().entries.values_mut() {
            // Locked: the reader is there at this moment.
            let Ok(state) = entry.slot.0.try_lock() else {
                entry.since = now;
                continue;
            };
            let Some(live) = &state.live else { continue };
            if state.polls != entry.polls {
                (entry.polls, entry.since) = (state.polls, now);
            }
            let StreamSettings { idle, total, .. } = entry.limits;
            let is_beyond = |since: Tick, limit: Duration| now.since(since) >= limit.saturating_add(GRACE);
            let is_overdue = match live.reopening_limit() {
                Some(limit) => is_beyond(live.part_began(), limit),
                None => is_beyond(entry.since, idle) || is_beyond(live.part_began(), total),
            };
            if is_overdue {
                overdue.push((Arc::clone(&entry.slot), entry.limits));
            }
        }
        overdue
    }

    fn leave(&self, id: u64) {
        let (left, is_empty) = {
            let mut streams = self.lock();
            (streams.entries.remove(&id), streams.entries.is_empty())
        };
        drop(left);
        if is_empty {
            self.emptied.notify_one();
        }
    }
}

impl State {
    fn give_up(&mut self, limits: StreamSettings) {
        let Some(mut live) = self.live.take() else { return };
        let event = live.give_up(limits);
        self.given_up = Some((event, live.take_record()));
    }
}

/// A stream that is watched, in the hands of its reader. Dropping it gives the call up.
pub(super) struct Watched {
    watch: Arc<Watch>,
    slot: Arc<Slot>,
    id: u64,
}

impl Watched {
    /// The next piece, and with the last one the record.
    pub(super) fn poll_event(&self, task: &mut Context<'_>) -> Poll<(StreamEvent, Option<Box<CallRecord>>)> {
        let mut state = self.slot.lock();
        state.polls = state.polls.wrapping_add(1);
        let Some(live) = &mut state.live else {
            let given_up = state.given_up.take();
            return Poll::Ready(given_up.unwrap_or_else(|| unreachable!("a stream is not read beyond its end")));
        };
        match live.poll_event(task) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(event) => {
                let record = if event.is_end() { live.take_record() } else { None };
                Poll::Ready((event, record))
            }
        }
    }

    pub(super) fn record_so_far(&self) -> CallRecord {
        let state = self.slot.lock();
        match (&state.live, &state.given_up) {
            (Some(live), _) => live.record_so_far(),
            (None, Some((_, Some(record)))) => (**record).clone(),
            (None, _) => CallRecord::default(),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.leave(self.id);
        // Here and now, although the list may be holding on to the slot for a moment.
        let live = self.slot.lock().live.take();
        drop(live);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("streams", &self.lock().entries.len()).finish_non_exhaustive()
    }
}
