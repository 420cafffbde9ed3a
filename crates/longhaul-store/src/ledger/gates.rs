//! Limits of kinds, as the ledger keeps them.
//!
//! A limit over all jobs of a kind closes lanes: while it is full, none of them gives anything out. A limit by key is a
//! *gate* for the jobs with that key. Of each queue no more of those are ready than may start; the others are blocked,
//! which is a phase of its own: they stand in no lane, so ten thousand of them hide nobody and cost no claim anything.
//! When a gate opens, because an attempt has ended or because time has passed, as many as it has room for become ready.
//!
//! Whether something may start is decided once, by [`Bound`], when it is leased. What is counted here beforehand only
//! keeps work down: a count of ready jobs that is too low makes a job ready too early, which is then blocked again.
//!
//! What runs is known from the running jobs. What has started of late ([`Pace`]) is stored with the batch that starts
//! it: a restart forgets nothing. In memory stand the gates with running jobs and [`KEPT_MOST`] others.

use std::collections::{BTreeSet, HashMap, HashSet};

use longhaul_core::{
    Bound, Full, JobSpec, KindName, Limit, LimitKey, Limits, Pace, QueueName, Rate, Tenant, Timestamp,
};

use super::{Backing, Head, LaneKey, Ledger, NumberMap, PaceWrite, Phase, Touched};
use crate::StoreError;

/// How many gates are remembered besides those with running jobs: some ten megabytes.
const KEPT_MOST: usize = 65_536;

/// How many jobs one batch blocks or makes ready: keeps it under some ten milliseconds.
const MOVED_AT_ONCE: usize = 512;

/// How many gates one batch looks at that nothing has happened to: after a start, and after limits have changed.
const REVIEWED_AT_ONCE: usize = 256;

/// How many blocked jobs of a queue are looked at, at a time.
const LOOKED_AT_ONCE: usize = 16;

/// The limits of a kind: a tenant's, or everybody's.
#[derive(Debug)]
struct Rule {
    tenant: Option<Tenant>,
    limits: Limits,
    /// What its overall pace is stored under.
    id: i64,
    running: u32,
    pace: Pace,
}

/// The jobs that have one key.
#[derive(Debug)]
struct Gate {
    running: u32,
    /// How many are ready, by queue. Too low when the gate was forgotten meanwhile, never too high.
    ready: Vec<(QueueName, u32)>,
    /// None: not read since it was forgotten.
    pace: Option<Pace>,
    rate: Option<Rate>,
    /// Whether there may be blocked ones.
    may_have_blocked: bool,
}

impl Default for Gate {
    fn default() -> Self {
        Self { running: 0, ready: Vec::new(), pace: None, rate: None, may_have_blocked: true }
    }
}

impl Gate {
    fn ready_in(&self, queue: &QueueName) -> u32 {
        self.ready.iter().find(|(name, _)| name == queue).map_or(0, |(_, count)| *count)
    }

    fn count_ready(&mut self, queue: &QueueName, is_more: bool) {
        match self.ready.iter().position(|(name, _)| name == queue) {
            Some(at) if is_more => self.ready[at].1 += 1,
            Some(at) if self.ready[at].1 <= 1 => drop(self.ready.swap_remove(at)),
            Some(at) => self.ready[at].1 -= 1,
            None if is_more => self.ready.push((queue.clone(), 1)),
            None => {}
        }
    }
}

/// All limits, and what counts against them.
#[derive(Debug, Default)]
pub(super) struct Gates {
    /// Everybody's limits, which configuration says.
    configured: HashMap<KindName, Limits>,
    /// All that are in force.
    rules: HashMap<KindName, Vec<Rule>>,
    keys: NumberMap<i64, Gate>,
    /// Gates of which blocked jobs may become ready.
    to_open: BTreeSet<i64>,
    /// Whose pace is to be stored.
    changed: HashSet<i64>,
    /// No gate opens by itself before this.
    next_wake: Timestamp,
    /// Where the look at all gates with blocked jobs goes on.
    review: Option<i64>,
    /// How many jobs this batch has blocked or made ready.
    moved: usize,
}

impl Gates {
    fn rule(&self, kind: &KindName, tenant: &Tenant) -> Option<&Rule> {
        let rules = self.rules.get(kind)?;
        let own = rules.iter().find(|rule| rule.tenant.as_ref() == Some(tenant));
        own.or_else(|| rules.iter().find(|rule| rule.tenant.is_none()))
    }

    fn rule_mut(&mut self, kind: &KindName, tenant: &Tenant) -> Option<&mut Rule> {
        let rules = self.rules.get_mut(kind)?;
        let own = rules.iter().position(|rule| rule.tenant.as_ref() == Some(tenant));
        let at = own.or_else(|| rules.iter().position(|rule| rule.tenant.is_none()))?;
        rules.get_mut(at)
    }

    fn bound_by_key(&self, spec: &JobSpec) -> Option<Bound> {
        self.rule(&spec.kind, &spec.tenant)?.limits.by_key.as_ref().map(|(_, bound)| *bound)
    }

    /// Whether the limit over all jobs of the kind leaves room.
    pub(super) fn has_place(&self, lane: &LaneKey, now: Timestamp) -> bool {
        if self.rules.is_empty() {
            return true;
        }
        let Some(rule) = self.rule(&lane.kind, &lane.tenant) else { return true };
        rule.limits.overall.is_none_or(|bound| bound.room(rule.running, &rule.pace, now) > 0)
    }

    /// Whether this batch has moved as many jobs as one batch does.
    pub(super) fn is_worn_out(&self) -> bool {
        self.moved >= MOVED_AT_ONCE
    }

    /// Whether the next batch has something to do, whatever it is asked.
    pub(super) fn has_to_open(&self) -> bool {
        !self.to_open.is_empty() || self.review.is_some() || self.is_worn_out()
    }

    pub(super) fn begin(&mut self, now: Timestamp) {
        self.moved = 0;
        for rule in self.rules.values_mut().flatten() {
            if let Some(rate) = rule.limits.overall.and_then(|bound| bound.rate)
                && rule.pace.settle(rate, now)
            {
                self.changed.insert(rule.id);
            }
        }
    }

    /// A job counts somewhere else now.
    pub(super) fn moves(&mut self, spec: &JobSpec, from: Option<Phase>, to: Phase) {
        if !self.rules.is_empty()
            && let Some(rule) = self.rule_mut(&spec.kind, &spec.tenant)
        {
            rule.running -= u32::from(from == Some(Phase::Running) && rule.running > 0);
            rule.running += u32::from(to == Phase::Running);
        }
        let Some(LimitKey(key)) = spec.limit_key else { return };
        let gate = self.keys.entry(key).or_default();
        gate.running -= u32::from(from == Some(Phase::Running) && gate.running > 0);
        gate.running += u32::from(to == Phase::Running);
        if from == Some(Phase::Ready) {
            gate.count_ready(&spec.queue, false);
        }
        if to == Phase::Ready {
            gate.count_ready(&spec.queue, true);
        }
        gate.may_have_blocked |= to == Phase::Blocked;
        if matches!(from, Some(Phase::Running | Phase::Ready)) && gate.may_have_blocked {
            self.to_open.insert(key);
        }
    }

    /// How many jobs with this one's key may start now; none: as many as there are.
    fn room<B: Backing>(&mut self, backing: &mut B, spec: &JobSpec, now: Timestamp) -> Result<Option<u32>, StoreError> {
        let (Some(LimitKey(key)), Some(bound)) = (spec.limit_key, self.bound_by_key(spec)) else { return Ok(None) };
        let gate = self.keys.entry(key).or_default();
        gate.rate = bound.rate;
        let pace = match &mut gate.pace {
            Some(pace) => pace,
            // Only a rate asks what has started.
            empty if bound.rate.is_none() => empty.insert(Pace::default()),
            empty => empty.insert(backing.pace(key)?.unwrap_or_default()),
        };
        if bound.rate.is_some_and(|rate| pace.settle(rate, now)) {
            self.changed.insert(key);
        }
        Ok(Some(bound.room(gate.running, pace, now)))
    }

    /// Whether a job that has to wait for its turn may wait among those that are ready.
    pub(super) fn admits<B: Backing>(&mut self, backing: &mut B, spec: &JobSpec, now: Timestamp) -> bool {
        let Some(LimitKey(key)) = spec.limit_key else { return true };
        match self.room(backing, spec, now) {
            Ok(None) => true,
            Ok(Some(room)) => {
                let ready = self.keys.get(&key).map_or(0, |gate| gate.ready_in(&spec.queue));
                if room == 0 {
                    // So that the time at which it opens is stored.
                    self.changed.insert(key);
                }
                room > ready
            }
            Err(error) => {
                // Blocked is safe: whether it may start is looked at once more.
                tracing::error!(%error, "what has started under a limit cannot be read");
                self.to_open.insert(key);
                false
            }
        }
    }

    /// An attempt has started.
    pub(super) fn started(&mut self, spec: &JobSpec, now: Timestamp) {
        if self.rules.is_empty() {
            return;
        }
        let Some(rule) = self.rule_mut(&spec.kind, &spec.tenant) else { return };
        let by_key = rule.limits.by_key.as_ref().and_then(|(_, bound)| bound.rate);
        if let Some(rate) = rule.limits.overall.and_then(|bound| bound.rate) {
            rule.pace.start(rate, now);
            let id = rule.id;
            self.changed.insert(id);
        }
        if let (Some(LimitKey(key)), Some(rate)) = (spec.limit_key, by_key) {
            let gate = self.keys.entry(key).or_default();
            gate.rate = Some(rate);
            gate.pace.get_or_insert_default().start(rate, now);
            self.changed.insert(key);
        }
    }

    /// Which limit over all jobs of its kind holds a job back, if one does.
    pub(super) fn full_overall(&self, spec: &JobSpec, now: Timestamp) -> Option<Full> {
        let rule = self.rule(&spec.kind, &spec.tenant)?;
        rule.limits.overall?.full(rule.running, &rule.pace, now)
    }

    /// Which limit by key holds a job back, and where the key stands in its input.
    pub(super) fn full_by_key<B: Backing>(
        &mut self,
        backing: &mut B,
        spec: &JobSpec,
        now: Timestamp,
    ) -> Result<Option<(Box<str>, Full)>, StoreError> {
        self.room(backing, spec, now)?;
        let rule = self.rule(&spec.kind, &spec.tenant);
        let Some((pointer, bound)) = rule.and_then(|rule| rule.limits.by_key.as_ref()) else { return Ok(None) };
        let gate = spec.limit_key.and_then(|key| self.keys.get(&key.0));
        let Some((gate, pace)) = gate.and_then(|gate| Some((gate, gate.pace.as_ref()?))) else { return Ok(None) };
        Ok(bound.full(gate.running, pace, now).map(|full| (pointer.clone(), full)))
    }

    /// When something opens by itself.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let overall = self.rules.values().flatten().filter_map(|rule| {
            let rate = rule.limits.overall?.rate?;
            rule.pace.opens_at(rate, now)
        });
        // Before it was looked for the first time, nothing is known of it.
        let known = Timestamp::from_micros(1)..Timestamp::from_micros(i64::MAX);
        let by_key = Some(self.next_wake).filter(|at| known.contains(at));
        overall.chain(by_key).min()
    }

    /// What is to be stored of what has started.
    pub(super) fn paces(&mut self, now: Timestamp) -> Vec<(i64, PaceWrite)> {
        let mut writes = Vec::with_capacity(self.changed.len());
        for rule in self.rules.values().flatten() {
            if self.changed.remove(&rule.id)
                && let Some(rate) = rule.limits.overall.and_then(|bound| bound.rate)
            {
                let (starts, over_at) = (rule.pace.to_bytes(), rule.pace.over_at(rate));
                writes.push((rule.id, PaceWrite { starts, over_at, wakes_at: None }));
            }
        }
        for key in self.changed.drain() {
            let Some(gate) = self.keys.get(&key) else { continue };
            if let (Some(rate), Some(pace)) = (gate.rate, &gate.pace) {
                let wakes_at = pace.opens_at(rate, now);
                self.next_wake = wakes_at.map_or(self.next_wake, |at| at.min(self.next_wake));
                writes.push((key, PaceWrite { starts: pace.to_bytes(), over_at: pace.over_at(rate), wakes_at }));
            }
        }
        writes.sort_unstable_by_key(|(key, _)| *key);
        writes
    }

    /// Comes after a commit: everything that is known is stored.
    pub(super) fn tidy(&mut self) {
        if self.keys.len() > KEPT_MOST {
            self.keys.retain(|_, gate| gate.running > 0);
        }
    }
}

impl<B: Backing> Ledger<B> {
    /// Begins anew with these limits of tenants, and with those that were configured.
    pub(super) fn reset_gates(&mut self, limits: Vec<(Tenant, KindName, Vec<Limit>)>) -> Result<(), StoreError> {
        let configured = std::mem::take(&mut self.gates.configured);
        self.gates = Gates { configured: configured.clone(), next_wake: Timestamp::EPOCH, ..Gates::default() };
        for (kind, limits) in configured {
            self.limit(None, kind, limits)?;
        }
        for (tenant, kind, limits) in limits {
            self.limit(Some(tenant), kind, Limits::of(&limits))?;
        }
        for entry in self.running.values() {
            if let Some(LimitKey(key)) = entry.job.spec.limit_key {
                self.gates.keys.entry(key).or_default().running += 1;
            }
        }
        self.gates.review = Some(i64::MIN);
        Ok(())
    }

    /// Sets everybody's limits of a kind.
    pub(crate) fn limit_kind(&mut self, kind: KindName, limits: &[Limit]) -> Result<(), StoreError> {
        let limits = Limits::of(limits);
        self.gates.configured.insert(kind.clone(), limits.clone());
        self.limit(None, kind, limits)
    }

    /// Puts limits in force in the place of those before.
    pub(super) fn limit(&mut self, tenant: Option<Tenant>, kind: KindName, limits: Limits) -> Result<(), StoreError> {
        self.gates.review = Some(i64::MIN);
        let rules = self.gates.rules.entry(kind.clone()).or_default();
        let before = rules.iter().position(|rule| rule.tenant == tenant).map(|at| rules.swap_remove(at));
        let is_last = rules.is_empty();
        // Read anew: it was not, as long as nothing asked what has started.
        let Gates { keys, changed, .. } = &mut self.gates;
        keys.iter_mut().filter(|(key, _)| !changed.contains(key)).for_each(|(_, gate)| gate.pace = None);
        if !limits.is_empty() {
            let (id, rule_of) = (LimitKey::of_kind(tenant.as_ref(), &kind).0, kind.clone());
            let pace = match before {
                Some(before) => before.pace,
                None => self.backing.pace(id)?.unwrap_or_default(),
            };
            let is_own =
                |spec: &JobSpec| spec.kind == kind && tenant.as_ref().is_none_or(|whose| *whose == spec.tenant);
            let running = self.running.values().chain(self.touched.values());
            let running =
                running.filter(|entry| entry.phase == Some(Phase::Running) && is_own(&entry.job.spec)).count();
            let running = u32::try_from(running).unwrap_or(u32::MAX);
            let rule = Rule { tenant, limits, id, running, pace };
            self.gates.rules.entry(rule_of).or_default().push(rule);
        } else if is_last {
            self.gates.rules.remove(&kind);
        }
        Ok(())
    }

    /// Whether the limit by its key holds a ready job back.
    pub(super) fn is_held_back(&mut self, no: i64) -> Result<bool, StoreError> {
        if self.gates.rules.is_empty() {
            return Ok(false);
        }
        let Some(entry) = self.touched.get(&no) else { return Ok(false) };
        Ok(self.gates.room(&mut self.backing, &entry.job.spec, self.now)? == Some(0))
    }

    /// Moves a ready job among the blocked ones, or the other way.
    pub(super) fn block(&mut self, no: i64, is_blocked: bool) {
        let Some(entry) = self.touched.get_mut(&no) else { return };
        let (from, to) = if is_blocked { (Phase::Ready, Phase::Blocked) } else { (Phase::Blocked, Phase::Ready) };
        if entry.phase != Some(from) {
            return;
        }
        entry.phase = Some(to);
        entry.changed = true;
        let (spec, head) = (&entry.job.spec, entry.head());
        self.gates.moves(spec, Some(from), to);
        self.gates.moved += 1;
        if is_blocked {
            if let Some(LimitKey(key)) = spec.limit_key {
                // So that the time at which it opens is stored.
                self.gates.changed.insert(key);
            }
            self.lanes.remove(&LaneKey::of(spec), head);
        } else {
            self.lanes.insert(LaneKey::of(spec), head);
        }
    }

    /// Makes blocked jobs ready whose gates have room. Runs in every batch before its claims are served.
    pub(crate) fn open_gates(&mut self) -> Result<(), StoreError> {
        let now = self.now;
        if self.gates.next_wake <= now {
            let (awake, next) = self.backing.waking(now, REVIEWED_AT_ONCE)?;
            self.gates.next_wake = next.unwrap_or(Timestamp::from_micros(i64::MAX));
            self.gates.to_open.extend(&awake);
            self.writes.awake.extend(awake);
        }
        if let Some(after) = self.gates.review {
            let found = self.backing.blocked_keys(after, REVIEWED_AT_ONCE)?;
            self.gates.review = if found.len() < REVIEWED_AT_ONCE { None } else { found.last().copied() };
            self.gates.to_open.extend(found);
        }
        if self.gates.to_open.is_empty() {
            return Ok(());
        }
        // What this batch has blocked is not on disk yet.
        let mut here: HashMap<i64, Vec<(QueueName, Head)>> = HashMap::new();
        for entry in self.touched.values().filter(|entry| entry.phase == Some(Phase::Blocked)) {
            if let Some(LimitKey(key)) = entry.job.spec.limit_key {
                here.entry(key).or_default().push((entry.job.spec.queue.clone(), entry.head()));
            }
        }
        // Each is looked at once in a batch: what it does to itself is for the next.
        let mut to_open = std::mem::take(&mut self.gates.to_open);
        let mut result = Ok(());
        while result.is_ok()
            && !self.gates.is_worn_out()
            && let Some(key) = to_open.pop_first()
        {
            result = self.open_gate(key, here.remove(&key).unwrap_or_default());
            if result.is_err() {
                to_open.insert(key);
            }
        }
        self.gates.to_open.append(&mut to_open);
        result
    }

    fn open_gate(&mut self, key: i64, here: Vec<(QueueName, Head)>) -> Result<(), StoreError> {
        let mut queues: BTreeSet<QueueName> = self.backing.blocked_queues(key)?.into_iter().collect();
        queues.extend(here.iter().map(|(queue, _)| queue.clone()));
        let mut has_blocked = false;
        for queue in queues {
            let (mut after, mut is_all) = (None, false);
            // Page by page, as long as there is room for all of a page.
            'pages: while !is_all {
                let stored = self.backing.blocked(key, &queue, after, LOOKED_AT_ONCE)?;
                is_all = stored.len() < LOOKED_AT_ONCE;
                let (since, end) = (after, stored.last().copied());
                after = end;
                let own = here.iter().filter(|(name, _)| *name == queue).map(|(_, head)| *head);
                let own = own.filter(|head| since.is_none_or(|since| *head > since));
                let own = own.filter(|head| is_all || end.is_some_and(|end| *head <= end));
                let stored = stored.into_iter().filter(|head| !self.touched.contains_key(&head.no));
                let mut heads: Vec<Head> = stored.chain(own).collect();
                heads.sort_unstable();
                has_blocked |= !heads.is_empty();
                for head in heads {
                    if self.gates.is_worn_out() {
                        self.gates.to_open.insert(key);
                        return Ok(());
                    }
                    self.touch_ready(head.no)?;
                    let Some(spec) = self.touched.get(&head.no).map(|entry| entry.job.spec.clone()) else { continue };
                    if !self.gates.admits(&mut self.backing, &spec, self.now) {
                        break 'pages;
                    }
                    self.block(head.no, false);
                }
            }
        }
        if let Some(gate) = self.gates.keys.get_mut(&key) {
            gate.may_have_blocked = has_blocked;
        }
        Ok(())
    }

    /// From time to time all gates are looked at, whatever has been noticed.
    pub(super) fn review_gates(&mut self) {
        if !self.gates.rules.is_empty() {
            self.gates.review.get_or_insert(i64::MIN);
        }
    }
}

impl Touched {
    /// Where a job counts that its state makes ready: a blocked one stays blocked until its gate opens.
    pub(super) fn stands<B: Backing>(&self, gates: &mut Gates, backing: &mut B, now: Timestamp) -> Phase {
        let to = Phase::of(&self.job, now);
        if to != Phase::Ready || self.job.spec.limit_key.is_none() || self.phase == Some(Phase::Ready) {
            return to;
        }
        if self.phase == Some(Phase::Blocked) || !gates.admits(backing, &self.job.spec, now) {
            return Phase::Blocked;
        }
        to
    }
}
