//! Why a job is not running, as the ledger sees it: the job itself, then its queue, then whoever claims.

use std::{collections::VecDeque, sync::Arc};

use longhaul_core::{JobId, JobSpec, KindName, QueueName, QueuedFor, Span, State, Tenant, Timestamp, Wait};

use super::{Backing, Ledger};
use crate::{Blocker, Claim, StoreError};

/// How many different claims are remembered: workers of a kind mostly ask for the same.
const SEEN_MOST: usize = 256;

/// Whoever has not claimed for so long, and runs nothing, is not waited for.
const LATELY: Span = Span::from_secs(60);

/// Who has claimed, and what, last first.
#[derive(Debug, Default)]
pub(super) struct Seen(VecDeque<Claimant>);

#[derive(Debug)]
struct Claimant {
    worker: Arc<str>,
    kinds: Arc<[KindName]>,
    tenant: Option<Tenant>,
    queues: Option<Arc<[QueueName]>>,
    at: Timestamp,
}

impl Claimant {
    fn asks_as(&self, claim: &Claim) -> bool {
        self.worker == claim.worker
            && (Arc::ptr_eq(&self.kinds, &claim.kinds) || self.kinds == claim.kinds)
            && self.tenant == claim.tenant
            && self.queues == claim.queues
    }

    fn takes(&self, spec: &JobSpec) -> bool {
        self.kinds.contains(&spec.kind)
            && self.tenant.as_ref().is_none_or(|tenant| *tenant == spec.tenant)
            && self.queues.as_ref().is_none_or(|queues| queues.contains(&spec.queue))
    }
}

impl<B: Backing> Ledger<B> {
    /// Remembers that somebody claims.
    pub(crate) fn saw(&mut self, claim: &Claim) {
        let seen = &mut self.seen.0;
        if let Some(place) = seen.iter().position(|claimant| claimant.asks_as(claim)) {
            if let Some(claimant) = seen.get_mut(place) {
                claimant.at = self.now;
            }
            seen.swap(0, place);
            return;
        }
        seen.push_front(Claimant {
            worker: claim.worker.clone(),
            kinds: claim.kinds.clone(),
            tenant: claim.tenant.clone(),
            queues: claim.queues.clone(),
            at: self.now,
        });
        seen.truncate(SEEN_MOST);
    }

    /// Whether somebody who takes such jobs is there: has asked lately, or is busy.
    fn is_claimed(&self, spec: &JobSpec) -> bool {
        let fitting = || self.seen.0.iter().filter(|claimant| claimant.takes(spec));
        fitting().any(|claimant| claimant.at + LATELY > self.now)
            || (self.running.values().chain(self.touched.values()))
                .filter_map(|entry| entry.job.lease())
                .any(|lease| fitting().any(|claimant| claimant.worker == lease.worker))
    }

    pub(crate) fn explain(
        &mut self,
        tenant: &Tenant,
        id: JobId,
        ahead: Option<u32>,
    ) -> Result<Option<Blocker>, StoreError> {
        let no = self.touch(tenant, id)?;
        let Some(entry) = self.touched.get(&no) else { return Err(StoreError::NotFound("job")) };
        let (job, spec) = (&entry.job, &entry.job.spec);
        let (why, until) = match &job.state {
            State::Waiting { wait: Wait::Children, .. } => {
                let (pending, total) = (job.children.pending(), job.children.total);
                return Ok(Some(Blocker::Children { pending, total }));
            }
            State::Waiting { wait: Wait::Input { step, prompt }, .. } => {
                return Ok(Some(Blocker::Input { step: step.clone(), prompt: prompt.clone() }));
            }
            State::Running { .. } | State::Succeeded | State::Failed | State::Cancelled => return Ok(None),
            State::Queued { why, due_at, .. } => (*why, *due_at),
        };
        if !job.is_due(self.now) {
            return Ok(Some(match why {
                QueuedFor::Retry => Blocker::Backoff { until },
                QueuedFor::Park => Blocker::Parked { until },
                QueuedFor::Schedule | QueuedFor::Turn | QueuedFor::Resume => Blocker::Scheduled { until },
            }));
        }
        let is_blocked = entry.phase == Some(super::Phase::Blocked);
        let (spec, kind, queue) = (&spec.clone(), spec.kind.clone(), spec.queue.clone());
        let mut full = self.gates.full_overall(spec, self.now).map(|full| (None, full));
        if full.is_none() && is_blocked {
            let by_key = self.gates.full_by_key(&mut self.backing, spec, self.now)?;
            full = by_key.map(|(key, full)| (Some(key), full));
        }
        let unknown = super::queues::QueueTally::default();
        let tally = self.queues.get(&queue).unwrap_or(&unknown);
        Ok(Some(if tally.paused {
            Blocker::QueuePaused { queue }
        } else if let Some(limit) = tally.concurrency.filter(|limit| tally.running >= u64::from(*limit)) {
            Blocker::QueueFull { queue, running: tally.running, limit }
        } else if let Some((key, full)) = full {
            Blocker::KindFull { kind, key, full }
        } else if !self.is_claimed(spec) {
            Blocker::NobodyClaims { kind: spec.kind.clone() }
        } else {
            Blocker::Turn { queue, ahead, queued: tally.queued }
        }))
    }

    pub(crate) fn weigh(&mut self, tenant: Tenant, weight: u32) {
        self.weights.insert(tenant, weight.max(1));
    }
}
