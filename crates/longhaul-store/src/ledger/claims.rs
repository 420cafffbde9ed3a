//! Handing out jobs: which of all lanes that a claim may choose from goes first.
//!
//! Queues take turns; within a queue its tenants do, by their weights ([`super::turns`]); within a tenant's part of a queue
//! the order is that of [`longhaul_core::JobSpec::rank`], whatever the kind. A paused queue and a queue at its limit give
//! out nothing; their jobs stand in lanes of their own and so never hide those of another queue behind them. The same goes
//! for a limit over all jobs of a kind; those by key have [`super::gates`].

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
    sync::Arc,
};

use longhaul_core::{QueueName, Refused, Step, Tenant, Timestamp};

use super::{
    Backing, Head, Ledger, Phase, Touched,
    lanes::{LaneKey, READ_AT_ONCE},
};
use crate::{Claim, Held, JobView, Leased, StoreError};

/// How many lanes that nobody has claimed from since the start one look at all queues reads: each takes up to a
/// millisecond of the writer's.
const UNREAD_LOOKED_AT: usize = 8;

/// In how many queues the first job is read at one look: each is one row.
const QUEUES_LOOKED_INTO: usize = 256;

/// The next job of a tenant in a queue. In the order in which they go: whose turn is first, then whose job.
#[derive(Debug, PartialEq, Eq)]
struct Turn<'a> {
    at: u64,
    head: Head,
    tenant: &'a Tenant,
    lane: &'a LaneKey,
}

impl Ord for Turn<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.head).cmp(&(other.at, other.head))
    }
}

impl PartialOrd for Turn<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

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
                    && self.gates.has_place(key, self.now)
                    && claim.tenant.as_ref().is_none_or(|tenant| *tenant == key.tenant)
                    && claim.queues.as_ref().is_none_or(|queues| queues.contains(&key.queue))
            })
            .map(|(key, _)| key.clone())
            .collect();
        match open.as_slice() {
            [] => {}
            // The usual case, in which nobody has to take turns.
            [lane] => self.take_from(claim, lane, &mut taken)?,
            lanes => self.take_in_turn(claim, lanes, &mut taken)?,
        }
        Ok(taken)
    }

    fn take_from(&mut self, claim: &Claim, lane: &LaneKey, taken: &mut Vec<Leased>) -> Result<(), StoreError> {
        while taken.len() < claim.limit
            && self.queues.get(&lane.queue).is_some_and(super::queues::QueueTally::gives_out)
            && self.gates.has_place(lane, self.now)
            && !self.gates.is_worn_out()
        {
            match self.next_head(lane, taken.is_empty())? {
                Some(head) => drop(self.lease_one(claim, lane, head, taken)?),
                None => break,
            }
        }
        Ok(())
    }

    fn take_in_turn(&mut self, claim: &Claim, lanes: &[LaneKey], taken: &mut Vec<Leased>) -> Result<(), StoreError> {
        let mut parts: HashMap<(&QueueName, &Tenant), Vec<&LaneKey>> = HashMap::new();
        for lane in lanes {
            parts.entry((&lane.queue, &lane.tenant)).or_default().push(lane);
        }
        let mut queues: HashMap<&QueueName, BinaryHeap<Reverse<Turn<'_>>>> = HashMap::new();
        for ((queue, tenant), lanes) in &parts {
            if let Some(turn) = self.turn_of(queue, tenant, lanes, true)? {
                queues.entry(queue).or_default().push(Reverse(turn));
            }
        }
        let mut order: BinaryHeap<Reverse<(u64, Head, &QueueName)>> = queues
            .iter()
            .filter_map(|(queue, turns)| Some(Reverse((self.turns.next_of(queue), turns.peek()?.0.head, *queue))))
            .collect();
        while taken.len() < claim.limit
            && !self.gates.is_worn_out()
            && let Some(Reverse((_, _, queue))) = order.pop()
        {
            let Some(turns) = queues.get_mut(queue) else { continue };
            if !self.queues.get(queue).is_some_and(super::queues::QueueTally::gives_out) {
                continue;
            }
            let Some(Reverse(turn)) = turns.pop() else { continue };
            // Another tenant's job of the kind may have taken the last place.
            if self.gates.has_place(turn.lane, self.now) && self.lease_one(claim, turn.lane, turn.head, taken)? {
                let weight = self.weights.get(turn.tenant).copied().unwrap_or(1);
                if let Some(tally) = self.queues.get_mut(queue) {
                    tally.turns.take(turn.tenant, weight);
                }
                self.turns.take(queue, 1);
            }
            let lanes = parts.get(&(queue, turn.tenant)).map(Vec::as_slice).unwrap_or_default();
            turns.extend(self.turn_of(queue, turn.tenant, lanes, taken.is_empty())?.map(Reverse));
            if let Some(Reverse(next)) = turns.peek() {
                order.push(Reverse((self.turns.next_of(queue), next.head, queue)));
            }
        }
        Ok(())
    }

    /// The next job of a tenant's part of a queue, and when its turn is.
    fn turn_of<'a>(
        &mut self,
        queue: &QueueName,
        tenant: &'a Tenant,
        lanes: &[&'a LaneKey],
        is_first: bool,
    ) -> Result<Option<Turn<'a>>, StoreError> {
        if !self.queues.get(queue).is_some_and(super::queues::QueueTally::gives_out) {
            return Ok(None);
        }
        let mut best: Option<(Head, &LaneKey)> = None;
        for lane in lanes {
            if self.gates.has_place(lane, self.now)
                && let Some(head) = self.next_head(lane, is_first)?
                && best.is_none_or(|(other, _)| head < other)
            {
                best = Some((head, lane));
            }
        }
        let at = self.queues.get(queue).map_or(0, |tally| tally.turns.next_of(tenant));
        Ok(best.map(|(head, lane)| Turn { at, head, tenant, lane }))
    }

    /// The first job of a lane. Once something has been leased it is given out, and a lane that cannot be read is left.
    fn next_head(&mut self, lane: &LaneKey, is_first: bool) -> Result<Option<Head>, StoreError> {
        match self.first_of(lane) {
            Err(error) if !is_first => {
                tracing::error!(%error, "a lane cannot be read");
                Ok(None)
            }
            other => other,
        }
    }

    /// Leases a job for the claim; false when it is not to be had after all.
    fn lease_one(
        &mut self,
        claim: &Claim,
        lane: &LaneKey,
        head: Head,
        taken: &mut Vec<Leased>,
    ) -> Result<bool, StoreError> {
        match self.lease(claim, head) {
            Ok(Some(leased)) => {
                taken.push(leased);
                return Ok(true);
            }
            Ok(None) => {}
            Err(StoreError::Corrupt(why)) => {
                // One row that cannot be read must not keep everybody else's from being worked on.
                tracing::error!(no = head.no, why, "a ready job cannot be leased and is passed over");
                self.lanes.remove(lane, head);
            }
            // What has been leased already is given out: it is part of this batch.
            Err(error) if !taken.is_empty() => {
                tracing::error!(%error, "a job is not leased now");
                self.lanes.remove(lane, head);
            }
            Err(error) => return Err(error),
        }
        Ok(false)
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

    /// When the job that goes next in each queue could have run, whether or not its queue gives out anything now.
    pub(super) fn first_in_line(&mut self) -> HashMap<QueueName, Timestamp> {
        let unread = self.lanes.iter().filter(|(_, lane)| lane.is_to_be_read()).map(|(key, _)| key.clone());
        for key in unread.take(UNREAD_LOOKED_AT).collect::<Vec<_>>() {
            if let Err(error) = self.first_of(&key) {
                tracing::warn!(%error, "a lane cannot be read");
                break;
            }
        }
        let mut first: HashMap<&QueueName, Head> = HashMap::new();
        for (key, head) in self.lanes.iter().filter_map(|(key, lane)| Some((key, lane.first()?))) {
            first.entry(&key.queue).and_modify(|known| *known = head.min(*known)).or_insert(head);
        }
        let mut first: Vec<(Head, QueueName)> = first.into_iter().map(|(queue, head)| (head, queue.clone())).collect();
        // Those that have stood longest, should there be more queues than are looked into.
        first.sort_unstable();
        first.truncate(QUEUES_LOOKED_INTO);
        first.into_iter().filter_map(|(head, queue)| Some((queue, self.ready_at(head.no)?))).collect()
    }

    fn ready_at(&mut self, no: i64) -> Option<Timestamp> {
        if let Some(entry) = self.touched.get(&no) {
            return Some(entry.job.spec.ready_at());
        }
        match self.backing.load_no(no) {
            Ok(stored) => stored.map(|stored| stored.job.spec.ready_at()),
            Err(error) => {
                tracing::warn!(%error, no, "a ready job cannot be read");
                None
            }
        }
    }

    fn lease(&mut self, claim: &Claim, head: Head) -> Result<Option<Leased>, StoreError> {
        self.touch_ready(head.no)?;
        if self.is_held_back(head.no)? {
            self.block(head.no, true);
            return Ok(None);
        }
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
        self.gates.started(spec, self.now);
        let held = Held { tenant: spec.tenant.clone(), job: spec.id, token };
        Ok(Some(Leased { view: Arc::new(JobView { job: entry.job.clone(), input, output: None }), held }))
    }
}
