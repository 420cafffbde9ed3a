//! Handing out jobs: the best of all lanes that a claim may choose from, leased to nobody else.
//!
//! The first jobs of every lane are read without a lock, and chosen from in memory together with what the batch itself
//! has made ready. Only what was chosen is locked then, past whatever another server holds: a job that is lost to
//! another server in between is replaced by the next. So no lane hides another, and nothing is locked that is not taken.
//!
//! Queues take turns; within a queue its tenants do, by their weights; within a tenant's part of a queue the order is that of
//! [`longhaul_core::JobSpec::rank`], whatever the kind. Each server takes turns by itself: when each is fair, so are all.
//!
//! Limits of kinds are counted under locks in the same way ([`gates`]); what a limit by key holds back is taken out of its
//! lane.
//!
//! A queue with a limit is counted under a lock of its own, which is held until the commit: no two servers fill the same
//! place.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use longhaul_core::{KindName, QueueName, Refused, Step, Tenant};

use super::{
    batch::Batch,
    gates,
    names::Keys,
    rows::{self, Cells},
    session::{Fault, Session},
};
use crate::{
    Claim, Held, JobView, Leased, StoreError,
    ledger::{LaneKey, NumberMap, Turns},
};

/// How many jobs are leased in one batch, about: bounds the time that everybody in it waits.
const LEASED_MOST: usize = 1_024;

/// How many jobs one batch takes out of the way that a limit holds back.
const BLOCKED_AT_ONCE: usize = 512;

/// How many jobs of each lane are read at first. Most claims ask for less.
const SHOWN_FIRST: i64 = 256;

/// How many more are read of a lane that runs empty.
const READ_AT_ONCE: i64 = 512;

/// How often is chosen again in a batch after jobs were lost to other servers; then the claims wait for the next.
const ROUNDS_MOST: usize = 4;

/// A job's place in its lane: its score, and its number.
type Head = (i64, i64);

/// What a lane shows.
#[derive(Default)]
struct Lane {
    stored: BTreeSet<Head>,
    /// The last that was read, when there may be more behind it.
    read_to: Option<Head>,
    /// What this batch has made ready: not stored yet.
    in_batch: BTreeSet<Head>,
}

impl Lane {
    fn first(&self) -> Option<Head> {
        match (self.stored.first(), self.in_batch.first()) {
            (Some(a), Some(b)) => Some(*a.min(b)),
            (a, b) => a.or(b).copied(),
        }
    }

    /// Whether it cannot be said which is its first before more is read.
    fn is_to_be_read(&self) -> bool {
        self.stored.is_empty() && self.read_to.is_some()
    }

    fn remove(&mut self, head: &Head) {
        if !self.stored.remove(head) {
            self.in_batch.remove(head);
        }
    }
}

/// What there is to hand out.
#[derive(Default)]
struct Window {
    lanes: HashMap<LaneKey, Lane>,
    /// The keys of jobs of kinds that are limited by key.
    keys: NumberMap<i64, i64>,
    /// What is chosen and not yet leased, by what limits it.
    chosen: HashMap<i64, i64>,
    /// Ready jobs that a limit by key holds back: they are in others' way.
    held_back: BTreeSet<Head>,
}

impl Window {
    /// Whether the limit over all jobs of the lane's kind leaves room.
    fn has_place(&self, batch: &Batch, lane: &LaneKey) -> bool {
        let room = batch.gates.room_overall(&lane.kind, &lane.tenant, batch.now);
        room.is_none_or(|(id, room)| room > self.chosen_of(id))
    }

    /// Whether the limit by its key leaves room for a job.
    fn may_start(&self, batch: &Batch, lane: &LaneKey, head: Head) -> bool {
        let Some(key) = self.keys.get(&head.1) else { return true };
        let room = batch.gates.room_by_key(&lane.kind, &lane.tenant, *key, batch.now);
        room.is_none_or(|room| room > self.chosen_of(*key))
    }

    fn chosen_of(&self, gate: i64) -> i64 {
        self.chosen.get(&gate).copied().unwrap_or_default()
    }

    fn choose(&mut self, batch: &Batch, lane: &LaneKey, head: Head) {
        if let Some((id, _)) = batch.gates.room_overall(&lane.kind, &lane.tenant, batch.now) {
            *self.chosen.entry(id).or_default() += 1;
        }
        if let Some(key) = self.keys.get(&head.1) {
            *self.chosen.entry(*key).or_default() += 1;
        }
    }
}

/// Whose turn it is, as this server has handed jobs out.
#[derive(Clone, Default)]
pub(super) struct Shares {
    pub(super) weights: HashMap<Tenant, u32>,
    queues: Turns<QueueName>,
    tenants: HashMap<QueueName, Turns<Tenant>>,
}

impl Shares {
    /// When the next turn of a tenant begins in a queue.
    fn next_of(&self, key: &LaneKey) -> u64 {
        self.tenants.get(&key.queue).map_or(0, |turns| turns.next_of(&key.tenant))
    }

    fn take(&mut self, key: &LaneKey) {
        let weight = self.weights.get(&key.tenant).copied().unwrap_or(1);
        self.queues.take(&key.queue, 1);
        self.tenants.entry(key.queue.clone()).or_default().take(&key.tenant, weight);
    }
}

/// What one claim gets.
pub(super) struct Served {
    /// Which of the claims.
    pub(super) index: usize,
    pub(super) leased: Vec<Leased>,
}

/// Serves claims in their order; says as well whether there may be more for them than fits into this batch.
pub(super) async fn serve(
    session: &Session,
    batch: &mut Batch,
    claims: &[&Claim],
    shares: &mut Arc<Shares>,
    names: &Keys,
) -> Result<(Vec<Served>, bool), Fault> {
    if claims.is_empty() {
        return Ok((Vec::new(), false));
    }
    let mut window = look(session, batch, claims).await?;
    if window.lanes.is_empty() {
        return Ok((Vec::new(), false));
    }
    count_limited(session, batch, &window, |queue| names.limit(queue)).await?;
    count_gates(session, batch, &window, names).await?;
    let mut served: Vec<Served> = Vec::new();
    let mut more = false;
    for _ in 0..ROUNDS_MOST {
        let chosen;
        (chosen, more) = choose(session, batch, &mut window, claims, shares, &served).await?;
        if chosen.is_empty() {
            break;
        }
        lock(session, batch, &chosen).await?;
        // From here on they count where they are.
        window.chosen.clear();
        let mut is_short = false;
        for Chosen { index, head } in chosen {
            match lease(batch, claims[index], head.1)? {
                Some(leased) => match served.iter_mut().find(|served| served.index == index) {
                    Some(served) => served.leased.push(leased),
                    None => served.push(Served { index, leased: vec![leased] }),
                },
                None => is_short = true,
            }
        }
        if !is_short {
            break;
        }
    }
    more |= block(session, batch, window.held_back).await?;
    Ok((served, more))
}

/// Takes ready jobs out of the way that a limit by key holds back; says whether there are more than one batch moves.
async fn block(session: &Session, batch: &mut Batch, held_back: BTreeSet<Head>) -> Result<bool, Fault> {
    let more = held_back.len() > BLOCKED_AT_ONCE;
    let held_back: Vec<Chosen> =
        held_back.into_iter().take(BLOCKED_AT_ONCE).map(|head| Chosen { index: 0, head }).collect();
    if !held_back.is_empty() {
        lock(session, batch, &held_back).await?;
        for Chosen { head, .. } in held_back {
            // What somebody holds is met again.
            if batch.entries.contains_key(&head.1) {
                batch.block(head.1, true)?;
            }
        }
    }
    Ok(more)
}

/// Reads the first jobs of every lane that these claims may choose from.
async fn look(session: &Session, batch: &mut Batch, claims: &[&Claim]) -> Result<Window, Fault> {
    let mut kinds: Vec<&str> = claims.iter().flat_map(|claim| claim.kinds.iter().map(|kind| kind.as_str())).collect();
    kinds.sort_unstable();
    kinds.dedup();
    gates::read_rules(session, batch, &kinds).await?;
    let pauses = session.rows(include_str!("queries/pauses.sql"), &[]).await?;
    for row in &pauses {
        let mut cells = Cells::of(row);
        let queue = cells.name()?;
        batch.found.paused.insert(queue, cells.next()?);
    }
    let known = batch.found.paused.keys().chain(batch.writes.pauses.iter().map(|(queue, _)| queue));
    let paused: Vec<&str> = known.filter(|queue| batch.is_paused(queue)).map(|queue| queue.as_str()).collect();
    let found = session.rows(include_str!("queries/lanes.sql"), &[&kinds, &paused, &SHOWN_FIRST]).await?;
    let mut window = Window::default();
    let mut counts: HashMap<LaneKey, i64> = HashMap::new();
    for row in &found {
        let mut cells = Cells::of(row);
        let key = LaneKey { queue: cells.name()?, kind: cells.name()?, tenant: cells.name()? };
        let head: Head = (cells.next()?, cells.next()?);
        if let Some(limit_key) = cells.next::<Option<i64>>()?
            && batch.gates.rules.has_key(&key.kind, &key.tenant)
        {
            window.keys.insert(head.1, limit_key);
        }
        let count = counts.entry(key.clone()).or_default();
        *count += 1;
        let lane = window.lanes.entry(key).or_default();
        if *count == SHOWN_FIRST {
            lane.read_to = Some(head);
        }
        // What the batch has touched is not any more as it is stored.
        if !batch.entries.contains_key(&head.1) {
            lane.stored.insert(head);
        }
    }
    for (key, score, no) in batch.ready() {
        if !batch.is_paused(&key.queue) {
            let limit_key = batch.entries.get(&no).and_then(|entry| entry.job.spec.limit_key);
            if let Some(limit_key) = limit_key.filter(|_| batch.gates.rules.has_key(&key.kind, &key.tenant)) {
                window.keys.insert(no, limit_key.0);
            }
            window.lanes.entry(key).or_default().in_batch.insert((score, no));
        }
    }
    Ok(window)
}

async fn read_on(
    session: &Session,
    batch: &mut Batch,
    key: &LaneKey,
    lane: &mut Lane,
    keys: &mut NumberMap<i64, i64>,
) -> Result<(), Fault> {
    let mut unknown = BTreeSet::new();
    while let (true, Some((score, no))) = (lane.stored.is_empty(), lane.read_to) {
        let (queue, kind, tenant) = (key.queue.as_str(), key.kind.as_str(), key.tenant.as_str());
        let sql = include_str!("queries/lane_after.sql");
        let found = session.rows(sql, &[&queue, &kind, &tenant, &score, &no, &READ_AT_ONCE]).await?;
        let is_full = found.len() >= usize::try_from(READ_AT_ONCE).unwrap_or(usize::MAX);
        let mut last = None;
        for row in &found {
            let mut cells = Cells::of(row);
            let head: Head = (cells.next()?, cells.next()?);
            last = Some(head);
            if !batch.entries.contains_key(&head.1) {
                lane.stored.insert(head);
                if let Some(limit_key) = cells.next::<Option<i64>>()?
                    && batch.gates.rules.has_key(&key.kind, &key.tenant)
                {
                    keys.insert(head.1, limit_key);
                    unknown.insert(limit_key);
                }
            }
        }
        lane.read_to = last.filter(|_| is_full);
    }
    unknown.retain(|key| !batch.gates.knows(*key));
    gates::read_keys(session, batch, &unknown, &BTreeSet::new()).await
}

/// Waits for its turn to count each queue that has a limit and something to hand out, and counts it.
async fn count_limited(
    session: &Session,
    batch: &mut Batch,
    window: &Window,
    limit_key: impl Fn(&QueueName) -> i64,
) -> Result<(), Fault> {
    let limited = |queue: &&QueueName| batch.limits.get(*queue).copied().flatten().is_some();
    let queues: BTreeSet<&QueueName> = window.lanes.keys().map(|key| &key.queue).filter(limited).collect();
    if queues.is_empty() {
        return Ok(());
    }
    let mut keys: Vec<i64> = queues.iter().map(|queue| limit_key(queue)).collect();
    keys.sort_unstable();
    for key in keys {
        session.rows("SELECT pg_advisory_xact_lock($1)", &[&key]).await?;
    }
    let names: Vec<&str> = queues.iter().map(|queue| queue.as_str()).collect();
    let counted = session.rows(include_str!("queries/tallies_of.sql"), &[&names]).await?;
    let mut running: HashMap<QueueName, i64> = HashMap::new();
    for row in &counted {
        let mut cells = Cells::of(row);
        running.insert(cells.name()?, cells.next()?);
    }
    let counted: Vec<(QueueName, i64)> =
        queues.into_iter().map(|queue| (queue.clone(), running.get(queue).copied().unwrap_or_default())).collect();
    for (queue, running) in counted {
        let tally = batch.found.tallies.entry(queue).or_default();
        tally.running = running;
    }
    Ok(())
}

/// Waits for its turn to count each limited kind that has something to hand out, and counts it.
async fn count_gates(session: &Session, batch: &mut Batch, window: &Window, names: &Keys) -> Result<(), Fault> {
    let limited = window.lanes.keys().filter(|lane| batch.gates.rules.limits(&lane.kind));
    let kinds: BTreeSet<(KindName, Tenant)> = limited.map(|lane| (lane.kind.clone(), lane.tenant.clone())).collect();
    if kinds.is_empty() {
        return Ok(());
    }
    let locks: BTreeSet<i64> = kinds.iter().map(|(kind, _)| names.kind(kind)).collect();
    for lock in locks {
        session.rows("SELECT pg_advisory_xact_lock($1)", &[&lock]).await?;
    }
    gates::read_kinds(session, batch, &kinds).await?;
    let keys: BTreeSet<i64> = window.keys.values().copied().collect();
    gates::read_keys(session, batch, &keys, &BTreeSet::new()).await
}

struct Chosen {
    index: usize,
    head: Head,
}

/// Chooses for each claim what it still lacks, and takes it out of the window.
async fn choose(
    session: &Session,
    batch: &mut Batch,
    window: &mut Window,
    claims: &[&Claim],
    shares: &mut Arc<Shares>,
    served: &[Served],
) -> Result<(Vec<Chosen>, bool), Fault> {
    let mut chosen: Vec<Chosen> = Vec::new();
    let mut chosen_of: HashMap<QueueName, i64> = HashMap::new();
    let mut in_all: usize = served.iter().map(|served| served.leased.len()).sum();
    for (index, claim) in claims.iter().enumerate() {
        let has = served.iter().find(|served| served.index == index).map_or(0, |served| served.leased.len());
        if in_all >= LEASED_MOST {
            return Ok((chosen, true));
        }
        for _ in has..claim.limit {
            let Some(Best { key, head, had_rivals }) = best(session, batch, window, claim, shares, &chosen_of).await?
            else {
                break;
            };
            // In the usual case nobody has to take turns.
            if had_rivals {
                Arc::make_mut(shares).take(&key);
            }
            window.choose(batch, &key, head);
            if let Some(lane) = window.lanes.get_mut(&key) {
                lane.remove(&head);
            }
            *chosen_of.entry(key.queue).or_default() += 1;
            chosen.push(Chosen { index, head });
            in_all += 1;
        }
    }
    Ok((chosen, false))
}

/// The job that a claim gets next.
struct Best {
    key: LaneKey,
    head: Head,
    /// There were other lanes that it could have come from.
    had_rivals: bool,
}

/// The first of a queue: whose turn it is, when that begins, and which job.
type First = (u64, Head, LaneKey);

async fn best(
    session: &Session,
    batch: &mut Batch,
    window: &mut Window,
    claim: &Claim,
    shares: &Shares,
    chosen_of: &HashMap<QueueName, i64>,
) -> Result<Option<Best>, Fault> {
    let mut firsts: HashMap<QueueName, First> = HashMap::new();
    let mut fitting = 0;
    let mut lanes = std::mem::take(&mut window.lanes);
    let mut result = Ok(());
    for (key, lane) in &mut lanes {
        let fits = claim.kinds.contains(&key.kind)
            && claim.tenant.as_ref().is_none_or(|tenant| *tenant == key.tenant)
            && claim.queues.as_ref().is_none_or(|queues| queues.contains(&key.queue));
        if !fits || !gives_out(batch, &key.queue, chosen_of) || !window.has_place(batch, key) {
            continue;
        }
        let head = match first_that_may_start(session, batch, window, key, lane).await {
            Ok(Some(head)) => head,
            Ok(None) => continue,
            Err(fault) => {
                result = Err(fault);
                break;
            }
        };
        fitting += 1;
        let first = (shares.next_of(key), head, key.clone());
        match firsts.get_mut(&key.queue) {
            Some(known) if (known.0, known.1) <= (first.0, first.1) => {}
            Some(known) => *known = first,
            None => drop(firsts.insert(key.queue.clone(), first)),
        }
    }
    window.lanes = lanes;
    result?;
    let turn = |(queue, (_, head, _)): &(QueueName, First)| (shares.queues.next_of(queue), *head);
    let best = firsts.into_iter().min_by_key(turn);
    Ok(best.map(|(_, (_, head, key))| Best { key, head, had_rivals: fitting > 1 }))
}

/// The first job of a lane that no limit by key holds back. Those that one does are taken out of the lane.
async fn first_that_may_start(
    session: &Session,
    batch: &mut Batch,
    window: &mut Window,
    key: &LaneKey,
    lane: &mut Lane,
) -> Result<Option<Head>, Fault> {
    loop {
        if lane.is_to_be_read() {
            if window.held_back.len() >= BLOCKED_AT_ONCE {
                // There is enough to clear away; the next batch looks further.
                return Ok(None);
            }
            read_on(session, batch, key, lane, &mut window.keys).await?;
        }
        let Some(head) = lane.first() else { return Ok(None) };
        if window.may_start(batch, key, head) {
            return Ok(Some(head));
        }
        lane.remove(&head);
        window.held_back.insert(head);
    }
}

/// Whether a queue's limit leaves room. What is paused is not in the window.
fn gives_out(batch: &Batch, queue: &QueueName, chosen_of: &HashMap<QueueName, i64>) -> bool {
    let Some(Some(most)) = batch.limits.get(queue) else { return true };
    batch.tally(queue).running + chosen_of.get(queue).copied().unwrap_or_default() < i64::from(*most)
}

/// Locks what was chosen, and reads it with its inputs.
async fn lock(session: &Session, batch: &mut Batch, chosen: &[Chosen]) -> Result<(), Fault> {
    let is_here = |no: &i64| batch.entries.contains_key(no);
    let (here, stored): (Vec<i64>, Vec<i64>) = chosen.iter().map(|chosen| chosen.head.1).partition(is_here);
    if !stored.is_empty() {
        for row in session.rows(include_str!("queries/lock_for_claim.sql"), &[&stored]).await? {
            let mut cells = Cells::of(&row);
            let read = rows::stored(&mut cells).and_then(|stored| Ok((stored, cells.payload()?)));
            match read {
                Ok((stored, input)) => {
                    let no = batch.take_stored(stored);
                    batch.entry_mut(no)?.input = Some(input);
                }
                // One row that cannot be read must not keep everybody else's from being worked on.
                Err(error) => tracing::error!(%error, "a ready job cannot be leased and is passed over"),
            }
        }
    }
    let without: Vec<i64> =
        here.into_iter().filter(|no| batch.entries.get(no).is_some_and(|entry| entry.input.is_none())).collect();
    if !without.is_empty() {
        for row in session.rows(include_str!("queries/inputs.sql"), &[&without]).await? {
            let mut cells = Cells::of(&row);
            let no = cells.next()?;
            let input = cells.payload()?;
            batch.entry_mut(no)?.input = Some(input);
        }
    }
    Ok(())
}

/// None: it was lost to another server, its deadline has passed, or it is not due after all.
fn lease(batch: &mut Batch, claim: &Claim, no: i64) -> Result<Option<Leased>, StoreError> {
    let Some(entry) = batch.entries.get(&no) else { return Ok(None) };
    let Some(input) = entry.input.clone() else { return Ok(None) };
    if entry.job.spec.deadline_at.is_some_and(|deadline| deadline <= batch.now) {
        // Those above have to hear of it. Where they are not here, the next sweep sees to it.
        if batch.missing_above(no).is_none() {
            batch.apply(no, Step::DeadlinePassed)?;
        }
        return Ok(None);
    }
    let random = batch.ids.random();
    let step =
        Step::Claim { worker: claim.worker.clone(), in_process: claim.in_process, random, lease_for: claim.lease_for };
    match batch.apply(no, step) {
        Ok(_) => {}
        Err(StoreError::Refused(Refused::NotDue)) => {
            // It was due, and the clock has been set back since: it waits once more.
            batch.place(no);
            return Ok(None);
        }
        Err(StoreError::Refused(_)) => return Ok(None),
        Err(other) => return Err(other),
    }
    let node = claim.in_process.then_some(batch.node);
    let entry = batch.entry_mut(no)?;
    entry.node = node;
    let spec = entry.job.spec.clone();
    batch.gates.started(&spec, batch.now);
    let entry = batch.entry_mut(no)?;
    let Some(token) = entry.job.last_token else { return Ok(None) };
    let held = Held { tenant: entry.job.spec.tenant.clone(), job: entry.job.spec.id, token };
    let view = JobView { job: entry.job.clone(), input, output: None };
    Ok(Some(Leased { view: view.into(), held }))
}
