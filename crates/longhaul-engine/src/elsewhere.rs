//! What other servers change.
//!
//! Several servers may share a store ([`longhaul_store::JobStore::is_shared`]). Jobs are read from it whenever they are
//! needed; kinds and keys are not, because every request asks for them: each server keeps them as it has read them. They
//! are read again when another server says that it has changed some, a few seconds after the last time in any case, and
//! when somebody names one that is not known here, which may have been made elsewhere a moment ago.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use longhaul_core::{Clock, Span, Timestamp};
use tokio::sync::{Mutex, watch};

use crate::Engine;

/// How long what is kept is used at most before it is read again: bounds what a lost notification costs, such as the time
/// for which a revoked key goes on to open another server.
const READ_AGAIN: Span = Span::from_secs(3);

/// How often is looked for what is not known here: bounds the reads that somebody causes who makes names up.
const LOOK_EVERY: Span = Span::from_secs(1);

/// How often what was read is read again when this server has changed something meanwhile.
const TRIES_MOST: usize = 4;

/// Tells when what is kept of a shared store is to be read again.
pub struct Elsewhere {
    told: watch::Receiver<()>,
    clock: Arc<dyn Clock>,
}

impl Elsewhere {
    /// Waits until another server has said that it changed kinds or keys, and a few seconds at most.
    pub async fn changed(&mut self) {
        tokio::select! {
            biased;
            told = self.told.changed() => if told.is_err() {
                // The engine has gone, and nobody will say anything any more.
                self.clock.sleep(READ_AGAIN).await;
            },
            () = self.clock.sleep(READ_AGAIN) => {}
        }
    }
}

/// Looks for what is not known here: once for all who miss something at the same time, and not too often.
#[derive(Debug, Default)]
pub struct Lookout {
    /// Not before then is looked again.
    next: Mutex<Timestamp>,
    looks: AtomicU64,
}

impl Lookout {
    /// Looks with `read`, which says whether it has read anything, unless that was done a moment ago. Who comes while
    /// somebody looks waits for that look and has it for an own one. True: what was not known before may be known now.
    pub async fn look(&self, clock: &dyn Clock, read: impl Future<Output = bool> + Send) -> bool {
        let looks = self.looks.load(Ordering::Acquire);
        let mut next = self.next.lock().await;
        if self.looks.load(Ordering::Acquire) != looks {
            return true;
        }
        if clock.now() < *next {
            return false;
        }
        *next = clock.now() + LOOK_EVERY;
        let has_read = read.await;
        if has_read {
            self.looks.fetch_add(1, Ordering::Release);
        }
        has_read
    }
}

impl Engine {
    /// Whether other servers may change kinds and keys.
    pub fn is_shared(&self) -> bool {
        self.inner.store.is_shared()
    }

    /// Tells when kinds and keys are to be read again, from now on.
    pub fn elsewhere(&self) -> Elsewhere {
        Elsewhere { told: self.inner.hub.elsewhere(), clock: self.inner.clock.clone() }
    }

    /// Looks whether another server has registered a kind that is not known here, unless that was done a moment ago. True:
    /// more may be known than before.
    pub async fn look_for_kinds(&self) -> bool {
        if !self.is_shared() {
            return false;
        }
        let inner = &*self.inner;
        inner.unknown_kinds.look(&*inner.clock, self.read_kinds()).await
    }

    /// Keeps the kinds that other servers register, for as long as it is polled.
    pub(crate) async fn keep_kinds(&self) {
        let mut elsewhere = self.elsewhere();
        loop {
            self.read_kinds().await;
            elsewhere.changed().await;
        }
    }

    /// Reads all registered kinds again.
    async fn read_kinds(&self) -> bool {
        for _ in 0..TRIES_MOST {
            let before = self.inner.kinds.changes();
            let read = match self.inner.store.kinds().await {
                Ok(read) => read,
                Err(error) => {
                    tracing::warn!(%error, "the kinds that other servers have registered cannot be read");
                    return false;
                }
            };
            let engine = self.clone();
            // Compiling the schemas of new ones may take a while.
            let replaced = tokio::task::spawn_blocking(move || engine.inner.kinds.replace(read, before)).await;
            match replaced {
                Ok(true) => return true,
                // One was registered here while the others were being read: it must not be taken back.
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "the kinds that other servers have registered cannot be kept");
                    return false;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use longhaul_core::testing::ManualClock;

    use super::*;

    #[tokio::test]
    async fn who_makes_names_up_causes_one_look_a_second() {
        let (clock, lookout, reads) = (ManualClock::default(), Lookout::default(), AtomicUsize::new(0));
        let read = async || {
            reads.fetch_add(1, Ordering::Relaxed);
            true
        };
        assert!(lookout.look(&clock, read()).await);
        for _ in 0..100 {
            assert!(!lookout.look(&clock, read()).await);
        }
        clock.advance(LOOK_EVERY);
        assert!(lookout.look(&clock, read()).await);
        assert_eq!(reads.into_inner(), 2);
    }

    #[tokio::test]
    async fn who_comes_while_somebody_looks_has_that_look() {
        let (clock, lookout) = (ManualClock::default(), Lookout::default());
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let first = lookout.look(&clock, async move { wait.await.is_ok() });
        let second = lookout.look(&clock, async { panic!("one look is enough") });
        let then = async {
            tokio::task::yield_now().await;
            go.send(()).unwrap();
        };
        let (first, second, ()) = futures::join!(first, second, then);
        assert!(first && second);
    }
}
