//! Limits of kinds, enforced for all servers together.
//!
//! Whether an attempt may start is decided under a lock that each limited kind has, held from the claim to the commit: no
//! two servers fill the same place. An end needs no lock, because it only makes room. What runs is counted from the rows;
//! what has started of late under a rate ([`Pace`]) is a row that the claim writes, and nobody writes without the lock.
//! Two things about that row are written without it: when it is to be looked at ([`Gates::wakes`]), and what makes good
//! for a clock that was set back ([`Settled`]), which is dropped when somebody has written meanwhile.
//!
//! Jobs that a limit by key holds back are in a phase of their own, and so in nobody's way. They become ready in the
//! transaction that makes room for them, or when time does, at the next sweep. Two servers that make room at the same
//! moment as a third takes jobs in may overlook each other: so each sweep looks at some of all keys with blocked jobs,
//! whatever has happened.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use longhaul_core::{
    Bound, Full, JobSpec, KindName, Limit, LimitKey, Limits, Pace, QueueName, Rate, Tenant, Timestamp,
};

use super::{
    batch::Batch,
    rows::{self, Cells},
    session::{Fault, Session},
};
use crate::{
    StoreError,
    ledger::{PaceWrite, Phase},
};

/// How many jobs one batch makes ready.
const MOVED_AT_ONCE: i64 = 512;

/// How many keys a sweep looks at that nothing has happened to.
pub(super) const REVIEWED_AT_ONCE: i64 = 64;

/// Limits by kind and tenant; without a tenant they are everybody's.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules(HashMap<KindName, Vec<(Option<Tenant>, Limits)>>);

impl Rules {
    pub(super) fn set(&mut self, tenant: Option<Tenant>, kind: KindName, limits: Limits) {
        let of_kind = self.0.entry(kind.clone()).or_default();
        of_kind.retain(|(whose, _)| *whose != tenant);
        if !limits.is_empty() {
            of_kind.push((tenant, limits));
        } else if of_kind.is_empty() {
            self.0.remove(&kind);
        }
    }

    fn of(&self, kind: &KindName, tenant: &Tenant) -> Option<&(Option<Tenant>, Limits)> {
        let of_kind = self.0.get(kind)?;
        let own = of_kind.iter().find(|(whose, _)| whose.as_ref() == Some(tenant));
        own.or_else(|| of_kind.iter().find(|(whose, _)| whose.is_none()))
    }

    pub(super) fn limits(&self, kind: &KindName) -> bool {
        self.0.contains_key(kind)
    }

    pub(super) fn has_key(&self, kind: &KindName, tenant: &Tenant) -> bool {
        self.by_key(kind, tenant).is_some()
    }

    fn by_key(&self, kind: &KindName, tenant: &Tenant) -> Option<&(Box<str>, Bound)> {
        self.of(kind, tenant)?.1.by_key.as_ref()
    }

    /// What a kind's overall limit is counted under, and the limit.
    fn overall(&self, kind: &KindName, tenant: &Tenant) -> Option<(i64, Option<&Tenant>, Bound)> {
        let (whose, limits) = self.of(kind, tenant)?;
        Some((LimitKey::of_kind(whose.as_ref(), kind).0, whose.as_ref(), limits.overall?))
    }
}

/// What counts against a limit, as the batch has it so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    running: i64,
    /// How many are ready, by queue, where that was asked.
    ready: HashMap<QueueName, i64>,
    pace: Pace,
    /// What is stored of it.
    stored: Vec<u8>,
    /// When it is to be looked at, as it is stored.
    wakes_at: Option<Timestamp>,
}

impl Standing {
    fn room(&self, bound: Bound, now: Timestamp) -> i64 {
        bound.room(u32::try_from(self.running.max(0)).unwrap_or(u32::MAX), &self.pace, now).into()
    }

    fn full(&self, bound: Bound, now: Timestamp) -> Option<Full> {
        bound.full(u32::try_from(self.running.max(0)).unwrap_or(u32::MAX), &self.pace, now)
    }

    fn started(&mut self, rate: Rate, now: Timestamp) -> PaceWrite {
        self.pace.start(rate, now);
        self.to_be_stored(rate, now)
    }

    fn to_be_stored(&self, rate: Rate, now: Timestamp) -> PaceWrite {
        let wakes_at = self.pace.opens_at(rate, now);
        PaceWrite { starts: self.pace.to_bytes(), over_at: self.pace.over_at(rate), wakes_at }
    }

    /// Makes good for a clock that was set back; says what is to be stored then.
    fn settle(&mut self, rate: Rate, now: Timestamp) -> Option<Settled> {
        let is_ahead = self.pace.settle(rate, now);
        is_ahead.then(|| Settled { was: self.stored.clone(), write: self.to_be_stored(rate, now) })
    }
}

/// A pace that was ahead of the time: stored in the place of what it was made from, if that is still there.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) was: Vec<u8>,
    pub(super) write: PaceWrite,
}

/// All that a batch knows of limits.
#[derive(Debug, Default)]
pub(super) struct Gates {
    pub(super) rules: Rules,
    keys: HashMap<i64, Standing>,
    kinds: HashMap<i64, Standing>,
    /// Keys of which blocked jobs may become ready.
    pub(super) to_open: BTreeSet<i64>,
    /// What has started, of gates whose kind's lock is held.
    pub(super) paces: BTreeMap<i64, PaceWrite>,
    pub(super) settled: BTreeMap<i64, Settled>,
    /// When gates are to be looked at.
    pub(super) wakes: BTreeMap<i64, Timestamp>,
    /// Gates whose time to be looked at has come.
    pub(super) awake: Vec<i64>,
}

impl Gates {
    pub(super) fn under(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Whether something about limits is to be written.
    pub(super) fn is_changed(&self) -> bool {
        !(self.paces.is_empty() && self.settled.is_empty() && self.wakes.is_empty() && self.awake.is_empty())
    }

    /// When time opens the first of these kinds' limits over all of their jobs, of those that are closed by a rate.
    pub(super) fn opens_at<'a>(
        &self,
        kinds: impl Iterator<Item = (&'a KindName, &'a Tenant)>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let opens_at = |(kind, tenant): (&KindName, &Tenant)| {
            let (id, _, bound) = self.rules.overall(kind, tenant)?;
            self.kinds.get(&id)?.pace.opens_at(bound.rate?, now)
        };
        kinds.filter_map(opens_at).min()
    }

    /// A job counts somewhere else now.
    pub(super) fn moves(&mut self, spec: &JobSpec, from: Option<Phase>, to: Phase) {
        let running = i64::from(to == Phase::Running) - i64::from(from == Some(Phase::Running));
        if let Some((id, ..)) = self.rules.overall(&spec.kind, &spec.tenant)
            && let Some(standing) = self.kinds.get_mut(&id)
        {
            standing.running += running;
        }
        let Some(LimitKey(key)) = spec.limit_key else { return };
        if let Some(standing) = self.keys.get_mut(&key) {
            standing.running += running;
            if let Some(ready) = standing.ready.get_mut(&spec.queue) {
                *ready += i64::from(to == Phase::Ready) - i64::from(from == Some(Phase::Ready));
            }
        }
        if matches!(from, Some(Phase::Running | Phase::Ready)) {
            self.to_open.insert(key);
        }
    }

    /// How many jobs with this one's key may start; none: as many as there are, as far as is known here.
    fn room(&self, spec: &JobSpec, now: Timestamp) -> Option<i64> {
        let (_, bound) = self.rules.by_key(&spec.kind, &spec.tenant)?;
        Some(self.keys.get(&spec.limit_key?.0)?.room(*bound, now))
    }

    /// Whether a job that has to wait for its turn may wait among those that are ready.
    pub(super) fn admits(&self, spec: &JobSpec, now: Timestamp) -> bool {
        let Some(room) = self.room(spec, now) else { return true };
        let standing = spec.limit_key.and_then(|key| self.keys.get(&key.0));
        room > standing.and_then(|standing| standing.ready.get(&spec.queue)).copied().unwrap_or_default()
    }

    /// How many more of a kind may start, whatever their keys; none: as many as there are.
    pub(super) fn room_overall(&self, kind: &KindName, tenant: &Tenant, now: Timestamp) -> Option<(i64, i64)> {
        let (id, _, bound) = self.rules.overall(kind, tenant)?;
        Some((id, self.kinds.get(&id).map_or(0, |standing| standing.room(bound, now))))
    }

    /// How many more with a key may start; none: as many as there are.
    pub(super) fn room_by_key(&self, kind: &KindName, tenant: &Tenant, key: i64, now: Timestamp) -> Option<i64> {
        let (_, bound) = self.rules.by_key(kind, tenant)?;
        Some(self.keys.get(&key).map_or(0, |standing| standing.room(*bound, now)))
    }

    /// An attempt has started.
    pub(super) fn started(&mut self, spec: &JobSpec, now: Timestamp) {
        if let Some((id, _, bound)) = self.rules.overall(&spec.kind, &spec.tenant)
            && let (Some(rate), Some(standing)) = (bound.rate, self.kinds.get_mut(&id))
        {
            let pace = standing.started(rate, now);
            self.paces.insert(id, PaceWrite { wakes_at: None, ..pace });
        }
        if let (Some(LimitKey(key)), Some((_, bound))) = (spec.limit_key, self.rules.by_key(&spec.kind, &spec.tenant))
            && let (Some(rate), Some(standing)) = (bound.rate, self.keys.get_mut(&key))
        {
            let pace = standing.started(rate, now);
            self.paces.insert(key, pace);
        }
    }

    /// What holds a job back, with where its key stands in its input.
    pub(super) fn full(&self, spec: &JobSpec, is_blocked: bool, now: Timestamp) -> Option<(Option<Box<str>>, Full)> {
        if let Some((id, _, bound)) = self.rules.overall(&spec.kind, &spec.tenant)
            && let Some(full) = self.kinds.get(&id).and_then(|standing| standing.full(bound, now))
        {
            return Some((None, full));
        }
        let (pointer, bound) = self.rules.by_key(&spec.kind, &spec.tenant).filter(|_| is_blocked)?;
        let full = self.keys.get(&spec.limit_key?.0)?.full(*bound, now)?;
        Some((Some(pointer.clone()), full))
    }
}

/// Reads the limits that tenants have registered for these kinds.
pub(super) async fn read_rules(session: &Session, batch: &mut Batch, kinds: &[&str]) -> Result<(), Fault> {
    for row in session.rows(include_str!("queries/limits.sql"), &[&kinds]).await? {
        let mut cells = Cells::of(&row);
        let (tenant, kind) = (cells.name()?, cells.name()?);
        let limits: Vec<Limit> =
            serde_json::from_str(cells.next::<&str>()?).map_err(|_| rows::damaged("limit of a kind"))?;
        batch.gates.rules.set(Some(tenant), kind, Limits::of(&limits));
    }
    Ok(())
}

/// Counts what the batch does not know yet of these keys, and, in these queues, what of them is ready.
pub(super) async fn read_keys(
    session: &Session,
    batch: &mut Batch,
    keys: &BTreeSet<i64>,
    ready_in: &BTreeSet<(i64, QueueName)>,
) -> Result<(), Fault> {
    if keys.is_empty() {
        return Ok(());
    }
    // What this batch has changed is not in the rows that are counted.
    let mut running: HashMap<i64, i64> = HashMap::new();
    let mut ready: HashMap<(i64, &QueueName), i64> = HashMap::new();
    for entry in batch.entries.values() {
        let Some(LimitKey(key)) = entry.job.spec.limit_key else { continue };
        let more = |phase| i64::from(entry.phase == Some(phase)) - i64::from(entry.was == Some(phase));
        *running.entry(key).or_default() += more(Phase::Running);
        *ready.entry((key, &entry.job.spec.queue)).or_default() += more(Phase::Ready);
    }
    let wanted: Vec<i64> = keys.iter().copied().collect();
    let mut counted: HashMap<i64, Standing> = HashMap::new();
    for row in session.rows(include_str!("queries/gates.sql"), &[&wanted]).await? {
        let mut cells = Cells::of(&row);
        let (key, count) = (cells.next::<i64>()?, cells.next::<i64>()?);
        let stored = cells.next::<Option<&[u8]>>()?.unwrap_or_default().to_vec();
        let (pace, wakes_at) = (pace_of(&stored)?, cells.time_or_none()?);
        let running = count + running.get(&key).copied().unwrap_or_default();
        counted.insert(key, Standing { running, ready: HashMap::new(), pace, stored, wakes_at });
    }
    if !ready_in.is_empty() {
        let (keys, queues): (Vec<i64>, Vec<&str>) = ready_in.iter().map(|(key, queue)| (*key, queue.as_str())).unzip();
        for row in session.rows(include_str!("queries/gates_ready.sql"), &[&keys, &queues]).await? {
            let mut cells = Cells::of(&row);
            let (key, queue, count) = (cells.next::<i64>()?, cells.name::<QueueName>()?, cells.next::<i64>()?);
            let count = count + ready.get(&(key, &queue)).copied().unwrap_or_default();
            if let Some(standing) = counted.get_mut(&key) {
                standing.ready.insert(queue, count);
            }
        }
    }
    for (key, mut standing) in counted {
        if let Some(known) = batch.gates.keys.remove(&key) {
            for (queue, count) in known.ready {
                standing.ready.entry(queue).or_insert(count);
            }
        }
        // What has started in this batch is not stored yet. That was under the lock: nobody else has stored anything since.
        let Gates { paces, settled, .. } = &batch.gates;
        let settled = settled.get(&key).filter(|settled| settled.was == standing.stored).map(|settled| &settled.write);
        if let Some(write) = paces.get(&key).or(settled) {
            standing.pace = pace_of(&write.starts)?;
        }
        batch.gates.keys.insert(key, standing);
    }
    Ok(())
}

fn pace_of(stored: &[u8]) -> Result<Pace, StoreError> {
    Pace::from_bytes(stored).ok_or_else(|| rows::damaged("pace of a limit"))
}

/// Counts what runs of these kinds, and reads what has started.
pub(super) async fn read_kinds(
    session: &Session,
    batch: &mut Batch,
    kinds: &BTreeSet<(KindName, Tenant)>,
) -> Result<(), Fault> {
    let rules = batch.gates.rules.clone();
    let mut seen = BTreeSet::new();
    for (kind, tenant) in kinds {
        let Some((id, whose, bound)) = rules.overall(kind, tenant) else { continue };
        if !seen.insert(id) {
            continue;
        }
        let mut standing = Standing::default();
        if bound.concurrency.is_some() {
            let whose_name = whose.map(Tenant::as_str);
            let row = session.row(include_str!("queries/kind_running.sql"), &[&kind.as_str(), &whose_name]).await?;
            standing.running = row.map(|row| Cells::of(&row).next()).transpose()?.unwrap_or_default();
            let own = batch.entries.values().filter(|entry| {
                let spec = &entry.job.spec;
                spec.kind == *kind && whose.is_none_or(|whose| *whose == spec.tenant)
            });
            standing.running += own
                .map(|entry| {
                    i64::from(entry.phase == Some(Phase::Running)) - i64::from(entry.was == Some(Phase::Running))
                })
                .sum::<i64>();
        }
        if let Some(rate) = bound.rate {
            let row = session.row("SELECT starts FROM pace WHERE gate = $1", &[&id]).await?;
            let stored = row.as_ref().map(|row| Cells::of(row).next::<&[u8]>()).transpose()?;
            standing.stored = stored.unwrap_or_default().to_vec();
            standing.pace = pace_of(&standing.stored)?;
            if let Some(Settled { was, write }) = standing.settle(rate, batch.now) {
                let write = PaceWrite { wakes_at: None, ..write };
                batch.gates.settled.insert(id, Settled { was, write });
            }
        }
        batch.gates.kinds.insert(id, standing);
    }
    Ok(())
}

/// Makes blocked jobs ready whose keys have room; says how many.
pub(super) async fn open(session: &Session, batch: &mut Batch) -> Result<usize, Fault> {
    let keys = std::mem::take(&mut batch.gates.to_open);
    if keys.is_empty() {
        return Ok(0);
    }
    let wanted: Vec<i64> = keys.iter().copied().collect();
    let mut places: BTreeMap<(i64, QueueName), (KindName, Tenant)> = BTreeMap::new();
    for row in session.rows(include_str!("queries/blocked_places.sql"), &[&wanted]).await? {
        let mut cells = Cells::of(&row);
        places.insert((cells.next()?, cells.name()?), (cells.name()?, cells.name()?));
    }
    // What this batch has blocked is not stored yet.
    for entry in batch.entries.values().filter(|entry| entry.phase == Some(Phase::Blocked)) {
        let spec = &entry.job.spec;
        if let Some(LimitKey(key)) = spec.limit_key.filter(|key| keys.contains(&key.0)) {
            places.insert((key, spec.queue.clone()), (spec.kind.clone(), spec.tenant.clone()));
        }
    }
    if places.is_empty() {
        return Ok(0);
    }
    let mut kinds: Vec<&str> = places.values().map(|(kind, _)| kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    read_rules(session, batch, &kinds).await?;
    let keys: BTreeSet<i64> = places.keys().map(|(key, _)| *key).collect();
    read_keys(session, batch, &keys, &places.keys().cloned().collect()).await?;
    let mut room: BTreeMap<(i64, QueueName), i64> = BTreeMap::new();
    for ((key, queue), (kind, tenant)) in &places {
        let Some((_, bound)) = batch.gates.rules.by_key(kind, tenant).cloned() else {
            room.insert((*key, queue.clone()), MOVED_AT_ONCE);
            continue;
        };
        let now = batch.now;
        let Some(standing) = batch.gates.keys.get_mut(key) else { continue };
        if let Some(settled) = bound.rate.and_then(|rate| standing.settle(rate, now)) {
            batch.gates.settled.insert(*key, settled);
        }
        let ready = standing.ready.get(queue).copied().unwrap_or_default();
        let most = standing.room(bound, now) - ready;
        let opens_at = bound.rate.filter(|_| most <= 0).and_then(|rate| standing.pace.opens_at(rate, now));
        // A look that is due already, and that this batch is not, sees to the next.
        let is_told = standing.wakes_at.is_some_and(|at| opens_at.is_some_and(|opens_at| at <= opens_at));
        if let Some(opens_at) = opens_at.filter(|_| !is_told || batch.gates.awake.contains(key)) {
            batch.gates.wakes.insert(*key, opens_at);
        }
        if most > 0 {
            room.insert((*key, queue.clone()), most.min(MOVED_AT_ONCE));
        }
    }
    if room.is_empty() {
        return Ok(0);
    }
    unblock(session, batch, room).await
}

async fn unblock(
    session: &Session,
    batch: &mut Batch,
    mut room: BTreeMap<(i64, QueueName), i64>,
) -> Result<usize, Fault> {
    let (mut keys, mut queues, mut most) = (Vec::new(), Vec::new(), Vec::new());
    for ((key, queue), room) in &room {
        keys.push(*key);
        queues.push(queue.as_str());
        most.push(*room);
    }
    for row in session.rows(include_str!("queries/lock_blocked.sql"), &[&keys, &queues, &most]).await? {
        batch.take_stored(rows::stored(&mut Cells::of(&row))?);
    }
    let mut blocked: Vec<(i64, i64, i64)> = (batch.entries.values())
        .filter(|entry| entry.phase == Some(Phase::Blocked))
        .filter_map(|entry| Some((entry.job.spec.limit_key?.0, rows::score(&entry.job), entry.no)))
        .collect();
    blocked.sort_unstable();
    let mut opened = 0;
    for (key, _, no) in blocked {
        let queue = batch.entry(no)?.job.spec.queue.clone();
        if let Some(room) = room.get_mut(&(key, queue)).filter(|room| **room > 0) {
            *room -= 1;
            batch.block(no, false)?;
            opened += 1;
        }
    }
    Ok(opened)
}

/// What a sweep has to look at: what time opens, and some of all that is blocked.
pub(super) async fn due(session: &Session, batch: &mut Batch, after: i64) -> Result<i64, Fault> {
    let now = batch.now.as_micros();
    for row in session.rows(include_str!("queries/waking.sql"), &[&now, &REVIEWED_AT_ONCE]).await? {
        let key = Cells::of(&row).next()?;
        batch.gates.to_open.insert(key);
        batch.gates.awake.push(key);
    }
    let next = session.row(include_str!("queries/next_wake.sql"), &[&now]).await?;
    if let Some(next) = next.map(|row| Cells::of(&row).time_or_none()).transpose()?.flatten() {
        let due = &mut batch.found.due.next;
        *due = Some(due.map_or(next, |at| at.min(next)));
    }
    let mut last = i64::MIN;
    let found = session.rows(include_str!("queries/blocked_keys.sql"), &[&after, &REVIEWED_AT_ONCE]).await?;
    let is_full = i64::try_from(found.len()).unwrap_or_default() >= REVIEWED_AT_ONCE;
    for row in &found {
        let key = Cells::of(row).next()?;
        batch.gates.to_open.insert(key);
        last = key;
    }
    Ok(if is_full { last } else { i64::MIN })
}
