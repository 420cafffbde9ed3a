//! Streams: the layers around an answer that comes in pieces.
//!
//! A stream has two lives. Until its first token it is a call like any other: what fails is tried again, here or at
//! another target, and nobody sees it. From its first token on nothing may be repeated, but everything that it holds (the
//! breaker's permit, the reserved tokens, the place, the connection) must be held until it ends.
//!
//! So the layers are cut in two. The inner half (breaker, limits, the exchange itself) is one future that lives as long as
//! the stream. The outer half (deadline, fallback, retry) waits for it only until the first token: [`OpenStep`] stands
//! between, and hands the inner future out in [`Opened`] when it has come that far. Dropping the stream drops that future, and
//! with it everything that is held.
//!
//! Pieces go through a [`Pipe`]: reader and writer are polled by one task, so it needs no waking, and the writer goes on
//! only when the reader has taken everything, so it needs no bound beyond one read from the socket.

mod echo;
mod handle;
mod open;
mod pace;
mod pipe;
mod step;
mod watch;

pub use handle::ChatStream;
pub(crate) use handle::{Live, Session};
pub(crate) use open::{OpenStep, Opened};
pub(crate) use pipe::Pipe;
pub(crate) use step::{StreamEnd, StreamStep};
pub(crate) use watch::Watch;

use std::sync::Arc;

use longhaul_resilience::Tick;

use crate::call::Ask;
use crate::target::Asking;

/// What the inner half is asked.
#[derive(Debug, Clone)]
pub(crate) struct StreamAsk {
    pub(crate) ask: Arc<Ask>,
    pub(crate) pipe: Arc<Pipe>,
    /// When the call ends that waits for the first token.
    pub(crate) deadline: Tick,
}

impl Asking for StreamAsk {
    fn ask(&self) -> &Arc<Ask> {
        &self.ask
    }
}
