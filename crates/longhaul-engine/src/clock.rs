//! The machine's clock.
//!
//! Within a process time is monotonic: [`SystemClock`] reads the wall clock once and counts on from there, so that a
//! wall clock that jumps neither ends leases early nor starts a rush.

use std::{future::Future, pin::Pin, time::Instant};

use longhaul_core::{Clock, Span, Timestamp};

/// The machine's time: the wall clock read at the start, the monotonic clock from there on.
#[derive(Debug, Clone)]
pub struct SystemClock {
    wall: Timestamp,
    started: Instant,
}

impl SystemClock {
    /// Reads the wall clock once.
    #[allow(clippy::disallowed_methods, reason = "the one place where the machine's clocks are read")]
    pub fn start() -> Self {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { wall: Timestamp::EPOCH + Span::from(since_epoch), started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.wall + Span::from(self.started.elapsed())
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let left = at.since(self.now());
        Box::pin(tokio::time::sleep(left.into()))
    }
}
