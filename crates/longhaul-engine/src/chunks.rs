//! Output that a worker elsewhere streams, in numbered chunks: each taken once, none left out.
//!
//! A worker numbers the chunks of an attempt from 1 and repeats one whose answer was lost. Each chunk becomes one event
//! under its lease, so the number of the last one is how many of them the lease has written: it is counted once and
//! remembered, and may be forgotten at any time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use longhaul_core::{EventKind, JobId, LeaseToken, OutputData};
use longhaul_store::{Held, StoreError};

use crate::Engine;

/// How many streams are remembered; above it those are forgotten that nobody writes to at the moment.
const REMEMBERED: usize = 4_096;

/// How many events are read at a time to count chunks.
const PAGE: u64 = 500;

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// It is durable: now, or since an earlier call.
    Stored,
    /// One before it is missing.
    Gap {
        /// The number that has to come next.
        expected: u64,
    },
}

/// The last chunk of a lease, once it has been counted. Locked while a chunk is written.
type Last = Arc<tokio::sync::Mutex<Option<(LeaseToken, u64)>>>;

/// What is remembered of streams.
#[derive(Default)]
pub(crate) struct Streams(Mutex<HashMap<JobId, Last>>);

impl Streams {
    fn of(&self, job: JobId) -> Last {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.len() >= REMEMBERED && !streams.contains_key(&job) {
            streams.retain(|_, last| Arc::strong_count(last) > 1);
        }
        streams.entry(job).or_default().clone()
    }
}

impl Engine {
    /// Takes chunk number `seq` of what a worker streams under a lease. Carried to its end whether or not the caller
    /// waits: a chunk that was written is never taken for one that was not.
    pub async fn take_chunk(&self, held: Held, seq: u64, data: OutputData) -> Result<Chunk, StoreError> {
        let engine = self.clone();
        let taking = self.inner.tasks.spawn(async move { engine.take(held, seq, data).await });
        taking.await.map_err(|error| StoreError::Unavailable(error.to_string()))?
    }

    async fn take(&self, held: Held, seq: u64, data: OutputData) -> Result<Chunk, StoreError> {
        let store = &self.inner.store;
        let stream = self.inner.streams.of(held.job);
        let mut last = stream.lock().await;
        let stored = match *last {
            Some((token, stored)) if token == held.token => stored,
            _ => {
                // Only the lease that holds is counted; a lost one ends here.
                store.append(held.clone(), Vec::new()).await?;
                self.count_chunks(&held).await?
            }
        };
        if seq <= stored {
            store.append(held.clone(), Vec::new()).await?;
            *last = Some((held.token, stored));
            return Ok(Chunk::Stored);
        }
        if seq > stored + 1 {
            return Ok(Chunk::Gap { expected: stored + 1 });
        }
        // Whatever this comes to, it is counted again unless it is known.
        *last = None;
        store.append(held.clone(), vec![data]).await?;
        *last = Some((held.token, seq));
        Ok(Chunk::Stored)
    }

    /// How many pieces of output stand after the newest `running` of the job's history.
    async fn count_chunks(&self, held: &Held) -> Result<u64, StoreError> {
        let store = &self.inner.store;
        let mut end = store.job(&held.tenant, held.job).await?.job.last_seq;
        let mut count = 0;
        while end > 0 {
            let after = end.saturating_sub(PAGE);
            let events = store.events(&held.tenant, held.job, after, PAGE as usize).await?;
            for event in events.iter().rev().filter(|event| event.seq <= end) {
                match event.kind {
                    EventKind::OutputDelta { .. } => count += 1,
                    EventKind::Running { .. } => return Ok(count),
                    _ => {}
                }
            }
            end = after;
        }
        Ok(count)
    }
}
