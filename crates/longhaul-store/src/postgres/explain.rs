//! Why a job is not running: the job itself, then its queue, then whoever claims, at this server or at another.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use longhaul_core::{JobId, JobSpec, KindName, QueueName, QueuedFor, Span, State, Tenant, Timestamp, Wait};

use super::batch::Batch;
use crate::{Blocker, Claim, StoreError, ledger::Phase};

/// How many different claims are remembered: workers of a kind mostly ask for the same.
const SEEN_MOST: usize = 256;

/// Whoever has not claimed for so long, and runs nothing, is not waited for.
const LATELY: Span = Span::from_secs(60);

/// How often other servers are told that somebody still claims here.
const TOLD_EVERY: Span = Span::from_secs(20);

/// When others must have claimed since, to have claimed lately: what they tell may be that much older than it is.
pub(super) fn lately_elsewhere(now: Timestamp) -> Timestamp {
    now - LATELY - TOLD_EVERY
}

/// Who has claimed at this server, and what, last first.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<VecDeque<Claimant>>);

#[derive(Debug)]
struct Claimant {
    claim: Claim,
    at: Timestamp,
    told_at: Timestamp,
}

/// Who claims at another server.
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) kinds: Vec<String>,
    pub(super) tenant: Option<String>,
    pub(super) queues: Option<Vec<String>>,
}

fn asks_as(one: &Claim, other: &Claim) -> bool {
    one.worker == other.worker && one.kinds == other.kinds && one.tenant == other.tenant && one.queues == other.queues
}

fn takes(claim: &Claim, spec: &JobSpec) -> bool {
    claim.kinds.contains(&spec.kind)
        && claim.tenant.as_ref().is_none_or(|tenant| *tenant == spec.tenant)
        && claim.queues.as_ref().is_none_or(|queues| queues.contains(&spec.queue))
}

impl Elsewhere {
    fn takes(&self, spec: &JobSpec) -> bool {
        let kind = |kind: &KindName| self.kinds.iter().any(|other| *other == **kind);
        let queue =
            |queue: &QueueName| self.queues.as_ref().is_none_or(|queues| queues.iter().any(|other| *other == **queue));
        kind(&spec.kind) && self.tenant.as_ref().is_none_or(|tenant| *tenant == *spec.tenant) && queue(&spec.queue)
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Claimant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that somebody claims, or still waits; true when other servers are to be told.
    pub(super) fn saw(&self, claim: &Claim, now: Timestamp) -> bool {
        let mut seen = self.lock();
        if let Some(place) = seen.iter().position(|claimant| asks_as(&claimant.claim, claim)) {
            seen.swap(0, place);
        } else {
            seen.push_front(Claimant { claim: claim.clone(), at: now, told_at: Timestamp::EPOCH });
            seen.truncate(SEEN_MOST);
        }
        let Some(claimant) = seen.front_mut() else { return false };
        claimant.at = now;
        let is_to_be_told = claimant.told_at + TOLD_EVERY <= now;
        if is_to_be_told {
            claimant.told_at = now;
        }
        is_to_be_told
    }

    /// Whether somebody who takes such jobs is there: has asked lately, or is busy.
    fn takes(&self, spec: &JobSpec, now: Timestamp, busy: &HashSet<String>) -> bool {
        let is_there = |claimant: &Claimant| claimant.at + LATELY > now || busy.contains(&*claimant.claim.worker);
        self.lock().iter().any(|claimant| takes(&claimant.claim, spec) && is_there(claimant))
    }
}

impl Batch {
    pub(super) fn explain(
        &self,
        tenant: &Tenant,
        id: JobId,
        ahead: Option<u32>,
        seen: &Seen,
    ) -> Result<Option<Blocker>, StoreError> {
        let job = match self.find(tenant, id) {
            Ok(no) => &self.entry(no)?.job,
            Err(error) => self.found.looked_at.get(&(tenant.clone(), id)).ok_or(error)?,
        };
        let spec = &job.spec;
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
        let (queue, tally) = (spec.queue.clone(), self.tally(&spec.queue));
        let count = |jobs: i64| u64::try_from(jobs).unwrap_or(0);
        let (running, queued) = (count(tally.running), count(tally.queued));
        let limit = self.limits.get(&queue).copied().flatten().filter(|limit| running >= u64::from(*limit));
        let is_claimed = || {
            seen.takes(spec, self.now, &self.found.busy) || self.found.elsewhere.iter().any(|claim| claim.takes(spec))
        };
        let entry = self.find(tenant, id).ok().and_then(|no| self.entry(no).ok());
        let is_blocked = entry.map_or(self.found.blocked.contains(&id), |entry| entry.phase == Some(Phase::Blocked));
        let full = self.gates.full(spec, is_blocked, self.now);
        Ok(Some(if self.is_paused(&queue) {
            Blocker::QueuePaused { queue }
        } else if let Some(limit) = limit {
            Blocker::QueueFull { queue, running, limit }
        } else if let Some((key, full)) = full {
            Blocker::KindFull { kind: spec.kind.clone(), key, full }
        } else if !is_claimed() {
            Blocker::NobodyClaims { kind: spec.kind.clone() }
        } else {
            Blocker::Turn { queue, ahead, queued }
        }))
    }
}
