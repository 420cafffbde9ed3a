//! Output while it comes into being: collected into blocks, stored, and only then seen by readers.
//!
//! A block is what has gathered since the last one: 50 ms of it when the disk is quick, up to 500 ms when it is not, or
//! 4 KiB. Whoever emits more than that waits for the disk; so the memory of a stream is bounded, and a slow disk slows
//! the producer and nobody else.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhaul_core::{Clock, OutputData, Span};
use longhaul_store::{Held, JobStore, StoreError};
use tokio::sync::Notify;

use crate::Failure;

/// How long what is emitted waits for more, when the disk is quick.
const SOON: Span = Span::from_millis(50);

/// How long it waits at most.
const LATE: Span = Span::from_millis(500);

/// How much is stored at once, about, and how much a piece of text carries at most.
const BLOCK: usize = 4 * 1024;

/// How large an item can be: it cannot be cut, and a reader is shown it whole.
const ITEM_MOST: usize = 64 * 1024;

/// How long to wait before asking a store again that could not take more.
const AFTER_ERROR: Span = Span::from_millis(500);

/// Collects what an attempt emits. [`Emitter::run`] stores it, for as long as it is polled beside the attempt; so a call
/// that its executor drops half way loses nothing of what it has handed in.
pub(crate) struct Emitter {
    store: Arc<dyn JobStore>,
    clock: Arc<dyn Clock>,
    held: Held,
    buffer: Mutex<Buffer>,
    /// There is something to store.
    filled: Notify,
    /// Somebody waits for it.
    urgent: Notify,
    /// Something has been stored, or will never be.
    done: Notify,
}

#[derive(Default)]
struct Buffer {
    pieces: Vec<OutputData>,
    size: usize,
    /// How many pieces have been handed in, and how many of those are durable.
    taken: u64,
    stored: u64,
    is_urgent: bool,
    failed: Option<Failure>,
}

impl Buffer {
    fn push(&mut self, data: OutputData) {
        self.taken += 1;
        self.size += data.size();
        match (self.pieces.last_mut(), data) {
            (Some(OutputData::Text(last)), OutputData::Text(more)) if last.len() + more.len() <= BLOCK => {
                last.push_str(&more);
            }
            (Some(OutputData::Items(last)), OutputData::Items(more)) if self.size <= BLOCK => last.extend(more),
            (_, data) => self.pieces.push(data),
        }
    }
}

impl Emitter {
    pub(crate) fn new(store: Arc<dyn JobStore>, clock: Arc<dyn Clock>, held: Held) -> Self {
        let (filled, urgent, done) = (Notify::new(), Notify::new(), Notify::new());
        Self { store, clock, held, buffer: Mutex::default(), filled, urgent, done }
    }

    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes text in pieces that fit a block.
    pub(crate) async fn emit_text(&self, mut text: &str) -> Result<(), Failure> {
        while !text.is_empty() {
            let (piece, rest) = text.split_at(text.floor_char_boundary(BLOCK));
            text = rest;
            self.emit(OutputData::Text(piece.to_owned())).await?;
        }
        Ok(())
    }

    pub(crate) async fn emit(&self, data: OutputData) -> Result<(), Failure> {
        if matches!(data, OutputData::Items(_)) && data.size() > ITEM_MOST {
            let message = format!("an item of the output is larger than {} KiB", ITEM_MOST >> 10);
            return Err(Failure::permanent("output_item_too_large", message));
        }
        let is_full = {
            let mut buffer = self.buffer();
            buffer.push(data);
            buffer.size >= BLOCK
        };
        self.filled.notify_one();
        if is_full { self.flush().await } else { Ok(()) }
    }

    /// Waits until all that has been handed in is durable.
    pub(crate) async fn flush(&self) -> Result<(), Failure> {
        let target = self.buffer().taken;
        loop {
            let done = self.done.notified();
            tokio::pin!(done);
            done.as_mut().enable();
            {
                let mut buffer = self.buffer();
                if buffer.stored >= target {
                    return Ok(());
                }
                if let Some(failure) = &buffer.failed {
                    return Err(failure.clone());
                }
                buffer.is_urgent = true;
            }
            self.urgent.notify_one();
            done.await;
        }
    }

    /// Stores what gathers, for as long as the attempt runs. Ends only with a failure.
    pub(crate) async fn run(&self) -> Failure {
        let mut pause = SOON;
        loop {
            while self.buffer().pieces.is_empty() {
                self.filled.notified().await;
            }
            if !self.buffer().is_urgent {
                tokio::select! {
                    biased;
                    () = self.clock.sleep(pause) => {}
                    () = self.urgent.notified() => {}
                }
            }
            match self.store_block().await {
                Ok(took) => pause = next_pause(pause, took),
                Err(failure) => {
                    self.buffer().failed = Some(failure.clone());
                    self.done.notify_waiters();
                    return failure;
                }
            }
        }
    }

    async fn store_block(&self) -> Result<Span, Failure> {
        let (pieces, taken) = {
            let mut buffer = self.buffer();
            (buffer.size, buffer.is_urgent) = (0, false);
            (std::mem::take(&mut buffer.pieces), buffer.taken)
        };
        loop {
            let begun = self.clock.now();
            match self.store.append(self.held.clone(), pieces.clone()).await {
                Ok(()) => {
                    self.buffer().stored = taken;
                    self.done.notify_waiters();
                    return Ok(self.clock.now().since(begun));
                }
                Err(error @ (StoreError::StorageFull | StoreError::Overloaded)) => {
                    tracing::warn!(job_id = %self.held.job, %error, "a piece of output is written again");
                    self.clock.sleep(AFTER_ERROR).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Blocks grow while storing one takes longer than a quarter of the time in which the next gathers.
fn next_pause(pause: Span, took: Span) -> Span {
    let (pause, took) = (pause.as_micros(), took.as_micros());
    let next = if took > pause / 4 { pause * 2 } else { pause / 2 };
    Span::from_micros(next.clamp(SOON.as_micros(), LATE.as_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_grow_while_the_disk_is_slow_and_shrink_again() {
        let mut pause = SOON;
        let mut seen = Vec::new();
        for took in [5, 40, 40, 40, 200, 200, 5, 5, 5, 5, 5] {
            pause = next_pause(pause, Span::from_millis(took));
            seen.push(pause.as_millis());
        }
        assert_eq!(seen, [50, 100, 200, 100, 200, 400, 200, 100, 50, 50, 50]);
    }

    #[test]
    fn pieces_of_a_kind_gather_into_one() {
        let mut buffer = Buffer::default();
        for text in ["so", " it", " goes"] {
            buffer.push(OutputData::Text(text.into()));
        }
        for item in ["1", "2"] {
            buffer.push(OutputData::Items(vec![item.into()]));
        }
        buffer.push(OutputData::Text("end".into()));
        let expected = [
            OutputData::Text("so it goes".into()),
            OutputData::Items(vec!["1".into(), "2".into()]),
            OutputData::Text("end".into()),
        ];
        assert_eq!(buffer.pieces, expected);
    }
}
