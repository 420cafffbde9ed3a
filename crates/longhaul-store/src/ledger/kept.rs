//! Ready jobs that will be claimed next, as they were when they were committed: a claim need not read them again.
//!
//! Holds only what the window shows, so that a long queue does not fill it with jobs whose turn is far off. Whoever
//! brings a job into a batch takes it from here or forgets it here; so what is here is what is stored.

use std::collections::VecDeque;

use super::{NumberMap, Touched};

/// How many bytes of jobs are kept. That is two thousand of the usual kind, more than a window shows.
const BYTES_MOST: usize = 4 * 1024 * 1024;

/// What a kept job costs besides its input, about.
const OVERHEAD: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Kept {
    entries: NumberMap<i64, Touched>,
    /// In the order of their coming, with what they cost; some may have been taken since.
    order: VecDeque<(i64, usize)>,
    bytes: usize,
}

impl Kept {
    pub(crate) fn put(&mut self, entry: Touched) {
        let size = OVERHEAD + entry.input.as_ref().map_or(0, |input| input.size() as usize);
        self.bytes += size;
        self.order.push_back((entry.no, size));
        self.entries.insert(entry.no, entry);
        while self.bytes > BYTES_MOST
            && let Some((oldest, size)) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
            self.bytes -= size;
        }
    }

    pub(crate) fn take(&mut self, no: i64) -> Option<Touched> {
        let taken = self.entries.remove(&no);
        // The usual case: jobs are taken in the order in which they came.
        while self.order.front().is_some_and(|(no, _)| !self.entries.contains_key(no))
            && let Some((_, size)) = self.order.pop_front()
        {
            self.bytes -= size;
        }
        taken
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
