//! From the future that reads the provider to the stream that is read by the caller, within one task.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use longhaul_providers::chat::StreamEvent;

use crate::call::ReplyNotes;
use crate::served::Served;

/// The pieces of an answer that were read and not yet taken.
#[derive(Debug)]
pub(crate) struct Pipe {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<StreamEvent>,
    /// Who answers, once the first token is there.
    opened: Option<(Arc<Served>, Arc<ReplyNotes>)>,
}

impl Pipe {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::default()) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first token is there.
    pub(super) fn open(&self, by: &Arc<Served>, notes: &Arc<ReplyNotes>) {
        self.lock().opened = Some((Arc::clone(by), Arc::clone(notes)));
    }

    pub(super) fn opened(&self) -> Option<(Arc<Served>, Arc<ReplyNotes>)> {
        self.lock().opened.clone()
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().opened.is_some()
    }

    pub(super) fn put(&self, events: &mut Vec<StreamEvent>) {
        self.lock().events.extend(events.drain(..));
    }

    pub(crate) fn take(&self) -> Option<StreamEvent> {
        self.lock().events.pop_front()
    }

    /// Ready when the reader has taken everything. Nobody is woken: the reader polls the writer when it wants more.
    pub(super) async fn emptied(&self) {
        std::future::poll_fn(|_| if self.lock().events.is_empty() { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}
