//! What has to be done again and again: what time makes due, the leases of running jobs, retention, and what other servers
//! register.

use longhaul_core::{Span, Timestamp};
use longhaul_store::Beat;

use crate::Engine;

/// How often is looked for what has fallen due. A delay or a backoff ends at most this much too late.
const SWEEP_EVERY: Span = Span::from_millis(100);

/// How many jobs one pruning removes: it adds some three milliseconds to the commit that it shares, so that nobody waits
/// long behind it.
const PRUNE_AT_ONCE: usize = 128;

/// How long to rest between prunings that left something.
const PRUNE_REST: Span = Span::from_millis(2);

/// How often is looked for something to prune.
const PRUNE_EVERY: Span = Span::from_secs(1);

/// How soon leases are extended again when they could not be.
const BEAT_AGAIN: Span = Span::from_secs(1);

/// How often is looked for leases that are over while the store does not answer.
const LOOK_AT_LEASES_EVERY: Span = Span::from_secs(1);

impl Engine {
    pub(crate) fn start_maintenance(&self) {
        let engine = self.clone();
        self.inner.tasks.spawn(async move { engine.until_stopped(engine.sweep()).await });
        let engine = self.clone();
        self.inner.tasks.spawn(async move { engine.until_stopped(engine.keep_leases()).await });
        let engine = self.clone();
        self.inner.tasks.spawn(async move { engine.until_stopped(engine.prune()).await });
        if self.is_shared() {
            let engine = self.clone();
            self.inner.tasks.spawn(async move { engine.until_stopped(engine.keep_kinds()).await });
            let engine = self.clone();
            self.inner.tasks.spawn(async move { engine.until_stopped(engine.stop_what_is_over()).await });
        }
    }

    async fn until_stopped(&self, work: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = work => {}
            () = self.inner.stop.cancelled() => {}
        }
    }

    async fn sweep(&self) {
        loop {
            let pause = match self.inner.store.sweep().await {
                Ok(swept) => {
                    let now = self.inner.clock.now();
                    swept.next.map_or(SWEEP_EVERY, |next| next.since(now).min(SWEEP_EVERY))
                }
                Err(error) => {
                    tracing::error!(%error, "a sweep failed");
                    Span::from_secs(1)
                }
            };
            self.inner.clock.sleep(pause.max(Span::from_millis(1))).await;
        }
    }

    /// Keeps the leases of what runs here, and stops what has lost its lease.
    async fn keep_leases(&self) {
        let inner = &*self.inner;
        let mut pause = inner.options.beat_every;
        loop {
            inner.clock.sleep(pause).await;
            pause = inner.options.beat_every;
            let young = Timestamp::from_micros(
                inner.clock.now().as_micros().saturating_sub_unsigned(inner.options.beat_every.as_micros() / 2),
            );
            let held = inner.hub.running().held_since(young);
            if held.is_empty() {
                continue;
            }
            let beat = |held: &longhaul_store::Held| Beat {
                held: held.clone(),
                lease_for: inner.options.lease_for,
                progress: None,
            };
            let over_at = inner.clock.now() + inner.options.lease_for;
            match inner.store.heartbeat(held.iter().map(beat).collect()).await {
                Ok(answers) => {
                    for (held, answer) in held.iter().zip(answers) {
                        match answer {
                            Ok(answer) if !answer.cancel_requested => inner.hub.running().extend(held, over_at),
                            Ok(_) | Err(_) => inner.hub.running().cancel(held.job),
                        }
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "leases could not be extended");
                    pause = pause.min(BEAT_AGAIN);
                }
            }
        }
    }

    /// Stops what runs here under a lease that is over by this process's own clock: other servers on the same store may
    /// have it by now. A store that nobody shares gives no job away that runs here.
    async fn stop_what_is_over(&self) {
        let inner = &*self.inner;
        loop {
            inner.clock.sleep(LOOK_AT_LEASES_EVERY).await;
            let stopped = inner.hub.running().stop_what_is_over(inner.clock.now());
            if stopped > 0 {
                tracing::error!(stopped, "attempts are stopped: their leases could not be extended in time");
            }
        }
    }

    async fn prune(&self) {
        loop {
            let pause = match self.inner.store.prune(PRUNE_AT_ONCE).await {
                Ok(pruned) if pruned.more => PRUNE_REST,
                Ok(_) => PRUNE_EVERY,
                Err(error) => {
                    tracing::error!(%error, "old jobs could not be removed");
                    Span::from_secs(5)
                }
            };
            self.inner.clock.sleep(pause).await;
        }
    }
}
