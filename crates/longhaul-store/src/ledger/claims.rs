//! Handing out jobs: the best of all lanes that a claim may choose from.
//!
//! Order: the higher priority first, then the older. A paused queue and a queue at its limit give out nothing; their
//! jobs stand in lanes of their own and so never hide those of another queue behind them.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use longhaul_core::{Refused, Step};

use super::{
    Backing, Head, Ledger, Phase, Touched,
    lanes::{LaneKey, READ_AT_ONCE},
};
use crate::{Claim, Held, JobView, Leased, StoreError};

impl<B: Backing> Ledger<B> {
    /// Leases what is due for this claim now, which may be nothing.
    pub(crate) fn take(&mut self, claim: &Claim) -> Result<Vec<Leased>, StoreError> {
        let mut taken = Vec::new();
        if self.lanes.is_empty() {
            return Ok(taken);
        }
        let open: Vec<LaneKey> = (self.lanes.iter())
            .filter(|(key, _)| {
                claim.kinds.contains(&key.kind)
                    && claim.tenant.as_ref().is_none_or(|tenant| *tenant == key.tenant)
                    && claim.queues.as_ref().is_none_or(|queues| queues.contains(&key.queue))
            })
            .map(|(key, _)| key.clone())
            .collect();
        let mut firsts = BinaryHeap::with_capacity(open.len());
        for (index, key) in open.iter().enumerate() {
            if let Some(head) = self.first_of(key)? {
                firsts.push(Reverse((head, index)));
            }
        }
        while taken.len() < claim.limit
            && let Some(Reverse((head, index))) = firsts.pop()
        {
            let key = &open[index];
            if !self.queues.get(&key.queue).is_some_and(super::QueueTally::gives_out) {
                continue;
            }
            match self.lease(claim, head) {
                Ok(leased) => taken.extend(leased),
                Err(StoreError::Corrupt(why)) => {
                    // One row that cannot be read must not keep everybody else's from being worked on.
                    tracing::error!(no = head.no, why, "a ready job cannot be leased and is passed over");
                    self.lanes.remove(key, head);
                }
                // What has been leased already is given out: it is part of this batch.
                Err(error) if !taken.is_empty() => {
                    tracing::error!(%error, "a claim is served in part");
                    return Ok(taken);
                }
                Err(error) => return Err(error),
            }
            match self.first_of(key) {
                Ok(Some(next)) => firsts.push(Reverse((next, index))),
                Ok(None) => {}
                Err(error) if taken.is_empty() => return Err(error),
                Err(error) => tracing::error!(%error, "a lane cannot be read"),
            }
        }
        Ok(taken)
    }

    /// The first job of a lane, which is read from disk when the window onto it has run empty.
    fn first_of(&mut self, key: &LaneKey) -> Result<Option<Head>, StoreError> {
        let Some(lane) = self.lanes.get_mut(key) else { return Ok(None) };
        if !lane.is_to_be_read() {
            return Ok(lane.first());
        }
        let (mut heads, all) = self.read_lane(key)?;
        // What this batch has made ready is not on disk yet. Behind a partial view only what comes before its end counts.
        let last = heads.last().copied();
        let in_batch = self
            .touched
            .values()
            .filter(|entry| entry.phase == Some(Phase::Ready) && LaneKey::of(&entry.job.spec) == *key);
        heads.extend(in_batch.map(Touched::head).filter(|head| all || last.is_some_and(|last| *head < last)));
        let Some(lane) = self.lanes.get_mut(key) else { return Ok(None) };
        lane.show(heads, all);
        let first = lane.first();
        self.lanes.remove_empty(key);
        Ok(first)
    }

    /// The first jobs of a lane on disk that this batch has not touched, and whether those are all. A batch can have
    /// leased more jobs than are read at once, so it is read on until one is found that still stands as it is stored.
    fn read_lane(&mut self, key: &LaneKey) -> Result<(Vec<Head>, bool), StoreError> {
        let mut after = None;
        loop {
            let stored = self.backing.ready(key, after, READ_AT_ONCE)?;
            let all = stored.len() < READ_AT_ONCE;
            after = stored.last().copied();
            let heads: Vec<Head> = stored.into_iter().filter(|head| !self.touched.contains_key(&head.no)).collect();
            if all || !heads.is_empty() {
                return Ok((heads, all));
            }
        }
    }

    fn lease(&mut self, claim: &Claim, head: Head) -> Result<Option<Leased>, StoreError> {
        self.touch_ready(head.no)?;
        // Read before anything is changed: what cannot be read is not leased.
        let needs_input = self.touched.get(&head.no).is_some_and(|entry| entry.input.is_none());
        let read = if needs_input { Some(self.backing.input(head.no)?) } else { None };
        let deadline = self.touched.get(&head.no).and_then(|entry| entry.job.spec.deadline_at);
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            self.apply(head.no, Step::DeadlinePassed)?;
            return Ok(None);
        }
        let random = self.time.ids.random();
        let step = Step::Claim {
            worker: claim.worker.clone(),
            in_process: claim.in_process,
            random,
            lease_for: claim.lease_for,
        };
        match self.apply(head.no, step) {
            Ok(_) => {}
            Err(StoreError::Refused(Refused::NotDue)) => {
                // It was due, and the clock has been set back since: it waits once more.
                self.touched.entry(head.no).and_modify(|entry| entry.changed = true);
                self.place(head.no);
                return Ok(None);
            }
            Err(other) => return Err(other),
        }
        let Some(entry) = self.touched.get_mut(&head.no) else { return Ok(None) };
        let input = entry.input.get_or_insert_with(|| read.unwrap_or_else(|| longhaul_core::Payload::inline("null")));
        let (Some(token), input) = (entry.job.last_token, input.clone()) else { return Ok(None) };
        let spec = &entry.job.spec;
        let held = Held { tenant: spec.tenant.clone(), job: spec.id, token };
        Ok(Some(Leased { view: Arc::new(JobView { job: entry.job.clone(), input, output: None }), held }))
    }
}
