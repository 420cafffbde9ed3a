//! Where time comes from.
//!
//! Everything that needs the time takes a [`Clock`]: the machine's in a server, a virtual one in tests and simulation.

use std::{fmt, future::Future, pin::Pin};

use crate::{Span, Timestamp};

/// A source of time that can also be waited on.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Now. Never goes back.
    fn now(&self) -> Timestamp;

    /// Ends at `at`, or at once when that has passed.
    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Ends after `span`.
    fn sleep(&self, span: Span) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.sleep_until(self.now() + span)
    }
}
