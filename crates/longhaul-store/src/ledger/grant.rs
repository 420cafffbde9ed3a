//! Leases on their way from the writer to whoever claimed.
//!
//! A claim's future can be dropped at any moment, also when its answer has been sent and nobody has looked at it. So a
//! grant that is dropped before it is taken goes back to the writer, which releases the jobs at no cost to them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::{Backing, writer::Message};
use crate::{Held, Leased};

/// Leases that nobody has taken yet.
pub(crate) struct Grant<B: Backing> {
    leased: Vec<Leased>,
    way_back: WayBack<B>,
}

impl<B: Backing> Grant<B> {
    pub(crate) fn new(leased: Vec<Leased>, way_back: WayBack<B>) -> Self {
        Self { leased, way_back }
    }

    pub(crate) fn take(mut self) -> Vec<Leased> {
        std::mem::take(&mut self.leased)
    }
}

impl<B: Backing> Drop for Grant<B> {
    fn drop(&mut self) {
        if !self.leased.is_empty() {
            self.way_back.put(self.leased.drain(..).map(|leased| leased.held));
        }
    }
}

/// How leases come back to the writer. Does not keep the writer alive.
pub(crate) struct WayBack<B: Backing> {
    returned: Arc<Mutex<Vec<Held>>>,
    writer: mpsc::WeakSender<Message<B>>,
}

impl<B: Backing> Clone for WayBack<B> {
    fn clone(&self) -> Self {
        Self { returned: self.returned.clone(), writer: self.writer.clone() }
    }
}

impl<B: Backing> WayBack<B> {
    pub(crate) fn to(writer: &mpsc::Sender<Message<B>>) -> Self {
        Self { returned: Arc::default(), writer: writer.downgrade() }
    }

    fn put(&self, held: impl Iterator<Item = Held>) {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).extend(held);
        if let Some(writer) = self.writer.upgrade() {
            // When the mailbox is full the writer comes by without being told.
            let _ = writer.try_send(Message::Returned);
        }
    }

    /// Leases whose release could not be committed. Goes with the next batch, whatever that is for; none is made for
    /// it, as it would fail in the same way.
    pub(crate) fn put_again(&self, held: Vec<Held>) {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).extend(held);
    }

    pub(crate) fn take(&self) -> Vec<Held> {
        std::mem::take(&mut self.returned.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
