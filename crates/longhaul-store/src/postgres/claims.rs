//! Handing out jobs: the best of all lanes that a claim may choose from, leased to nobody else.
//!
//! The first jobs of every lane are read without a lock ([`Window`]), and chosen from in memory together with what the
//! batch itself has made ready. Only what was chosen is locked then, past whatever another server holds: a job that is lost to
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
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
    sync::Arc,
};

use longhaul_core::{KindName, QueueName, Refused, Step, Tenant, Timestamp};

use super::{
    batch::Batch,
    gates,
    names::Keys,
    rows::{self, Cells},
    session::{Fault, Session},
    window::{self, BLOCKED_AT_ONCE, Head, Window},
};
use crate::{
    Claim, Held, JobView, Leased, StoreError,
    ledger::{LaneKey, QUEUES_KEPT_LEAST, Turns},
};

/// How many jobs are leased in one batch, about: bounds the time that everybody in it waits.
const LEASED_MOST: usize = 1_024;

/// How often is chosen again in a batch after jobs were lost to other servers; then the claims wait for the next.
const ROUNDS_MOST: usize = 4;

/// Whose turn it is, as this server has handed jobs out.
#[derive(Clone, Default)]
pub(super) struct Shares {
    pub(super) weights: HashMap<Tenant, u32>,
    queues: Turns<QueueName>,
    tenants: HashMap<QueueName, Turns<Tenant>>,
    /// From so many queues on, it is looked for those that need not be remembered.
    tidy_at: usize,
}

impl Shares {
    /// When the next turn of a tenant begins in a queue.
    fn next_of(&self, key: &LaneKey) -> u64 {
        self.tenants.get(&key.queue).map_or(0, |turns| turns.next_of(&key.tenant))
    }

    fn take(&mut self, key: &LaneKey) {
        let weight = self.weights.get(&key.tenant).copied().unwrap_or(1);
        self.queues.take(&key.queue, 1);
        if let Some(turns) = self.tenants.get_mut(&key.queue) {
            turns.take(&key.tenant, weight);
            return;
        }
        if self.tenants.len() >= self.tidy_at.max(QUEUES_KEPT_LEAST) {
            // Of a queue that has not had a turn lately, nobody has either: its tenants may as well begin anew.
            let Self { queues, tenants, .. } = self;
            tenants.retain(|queue, _| queues.is_ahead(queue));
            self.tidy_at = 2 * self.tenants.len();
        }
        let mut turns = Turns::default();
        turns.take(&key.tenant, weight);
        self.tenants.insert(key.queue.clone(), turns);
    }
}

/// What one claim gets.
pub(super) struct Served {
    /// Which of the claims.
    pub(super) index: usize,
    pub(super) leased: Vec<Leased>,
}

/// What came of claims.
#[derive(Default)]
pub(super) struct Handed {
    pub(super) served: Vec<Served>,
    /// There may be more for them than fits into this batch.
    pub(super) more: bool,
    /// When time opens a limit over all jobs of a kind that holds something back.
    pub(super) opens_at: Option<Timestamp>,
}

/// Serves claims in their order.
pub(super) async fn serve(
    session: &Session,
    batch: &mut Batch,
    claims: &[&Claim],
    shares: &mut Arc<Shares>,
    names: &Keys,
) -> Result<Handed, Fault> {
    if claims.is_empty() {
        return Ok(Handed::default());
    }
    let mut window = window::look(session, batch, claims, LEASED_MOST).await?;
    if window.is_empty() {
        return Ok(Handed::default());
    }
    count_limited(session, batch, &window, |queue| names.limit(queue)).await?;
    count_gates(session, batch, &mut window, names).await?;
    let mut served: Vec<Served> = Vec::new();
    let mut more = false;
    for _ in 0..ROUNDS_MOST {
        let chosen;
        (chosen, more) = choose(session, batch, &mut window, claims, shares, &served).await?;
        if chosen.is_empty() {
            break;
        }
        lock(session, batch, &chosen).await?;
        window.forget_chosen();
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
    more |= block(session, batch, std::mem::take(&mut window.held_back)).await?;
    let left = window.lanes_left().map(|lane| (&lane.kind, &lane.tenant));
    let opens_at = batch.gates.opens_at(left, batch.now);
    Ok(Handed { served, more, opens_at })
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

/// Waits for its turn to count each queue that has a limit and something to hand out, and counts it.
async fn count_limited(
    session: &Session,
    batch: &mut Batch,
    window: &Window,
    limit_key: impl Fn(&QueueName) -> i64,
) -> Result<(), Fault> {
    let limited = |queue: &&QueueName| batch.limits.get(*queue).copied().flatten().is_some();
    let queues: BTreeSet<&QueueName> = window.lanes().map(|key| &key.queue).filter(limited).collect();
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
async fn count_gates(session: &Session, batch: &mut Batch, window: &mut Window, names: &Keys) -> Result<(), Fault> {
    let limited = window.lanes().filter(|lane| batch.gates.rules.limits(&lane.kind));
    let kinds: BTreeSet<(KindName, Tenant)> = limited.map(|lane| (lane.kind.clone(), lane.tenant.clone())).collect();
    if kinds.is_empty() {
        return Ok(());
    }
    let locks: BTreeSet<i64> = kinds.iter().map(|(kind, _)| names.kind(kind)).collect();
    for lock in locks {
        session.rows("SELECT pg_advisory_xact_lock($1)", &[&lock]).await?;
    }
    gates::read_kinds(session, batch, &kinds).await?;
    window.count_keys(session, batch).await
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
    // Claims that may choose from the same lanes stand before the same lines.
    let mut lines: Vec<(&Claim, Lines)> = Vec::new();
    let mut in_all: usize = served.iter().map(|served| served.leased.len()).sum();
    for (index, claim) in claims.iter().copied().enumerate() {
        let has = served.iter().find(|served| served.index == index).map_or(0, |served| served.leased.len());
        if in_all >= LEASED_MOST {
            return Ok((chosen, true));
        }
        if has >= claim.limit {
            continue;
        }
        let at = lines.iter().position(|(other, _)| asks_for_the_same(other, claim)).unwrap_or_else(|| {
            lines.push((claim, Lines::before(claim, window)));
            lines.len() - 1
        });
        let lines = &mut lines[at].1;
        for _ in has..claim.limit {
            let Some(Best { place, head, had_rivals }) = lines.best(session, batch, window, shares, &chosen_of).await?
            else {
                break;
            };
            let key = window.lane(place);
            // In the usual case nobody has to take turns.
            if had_rivals {
                Arc::make_mut(shares).take(key);
            }
            *chosen_of.entry(key.queue.clone()).or_default() += 1;
            window.choose(batch, place, head);
            chosen.push(Chosen { index, head });
            in_all += 1;
        }
    }
    Ok((chosen, false))
}

fn asks_for_the_same(one: &Claim, other: &Claim) -> bool {
    one.tenant == other.tenant && one.kinds == other.kinds && one.queues == other.queues
}

/// The job that a claim gets next.
struct Best {
    /// Of which lane.
    place: usize,
    head: Head,
    /// There may be other lanes that it could have come from.
    had_rivals: bool,
}

/// The lanes of a queue in the order of their turns: when a turn begins, then its first job. As they stood when they were
/// last looked at, which is never later than they stand: turns move on, and jobs are taken.
type Line = BinaryHeap<Reverse<(u64, Head, usize)>>;

/// The lanes that a claim may choose from.
struct Lines {
    queues: Vec<(QueueName, Line)>,
    /// How many lanes stand in all of them.
    lanes: usize,
}

impl Lines {
    fn before(claim: &Claim, window: &Window) -> Self {
        let mut queues: HashMap<&QueueName, Line> = HashMap::new();
        for (place, key) in window.lanes().enumerate() {
            let fits = claim.kinds.contains(&key.kind)
                && claim.tenant.as_ref().is_none_or(|tenant| *tenant == key.tenant)
                && claim.queues.as_ref().is_none_or(|queues| queues.contains(&key.queue));
            if fits {
                // Not looked at yet.
                queues.entry(&key.queue).or_default().push(Reverse((0, (i64::MIN, i64::MIN), place)));
            }
        }
        let lanes = queues.values().map(BinaryHeap::len).sum();
        Self { queues: queues.into_iter().map(|(queue, line)| (queue.clone(), line)).collect(), lanes }
    }

    /// The first of the queue whose turn it is.
    async fn best(
        &mut self,
        session: &Session,
        batch: &mut Batch,
        window: &mut Window,
        shares: &Shares,
        chosen_of: &HashMap<QueueName, i64>,
    ) -> Result<Option<Best>, Fault> {
        let mut best: Option<(u64, Head, usize)> = None;
        for (queue, line) in &mut self.queues {
            let before = line.len();
            if !gives_out(batch, queue, chosen_of) {
                line.clear();
            }
            if let Some((head, place)) = first_in(line, session, batch, window, shares).await? {
                let turn = (shares.queues.next_of(queue), head, place);
                best = Some(best.map_or(turn, |best| best.min(turn)));
            }
            self.lanes -= before - line.len();
        }
        let had_rivals = self.lanes > 1;
        Ok(best.map(|(_, head, place)| Best { place, head, had_rivals }))
    }
}

/// The first job of the lane whose turn it is. Lanes that have nothing to give out leave the line.
async fn first_in(
    line: &mut Line,
    session: &Session,
    batch: &mut Batch,
    window: &mut Window,
    shares: &Shares,
) -> Result<Option<(Head, usize)>, Fault> {
    while let Some(Reverse((_, _, place))) = line.peek() {
        let place = *place;
        let head = if window.has_place(batch, place) {
            window.first_that_may_start(session, batch, place).await?
        } else {
            None
        };
        let Some(head) = head else {
            line.pop();
            continue;
        };
        let stands = Reverse((shares.next_of(window.lane(place)), head, place));
        if line.peek() == Some(&stands) {
            return Ok(Some((head, place)));
        }
        if let Some(mut first) = line.peek_mut() {
            *first = stands;
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_that_have_had_no_turn_lately_are_forgotten() {
        let mut shares = Shares::default();
        let lane = |queue: &str| LaneKey {
            queue: QueueName::new(queue).unwrap(),
            kind: KindName::new("echo").unwrap(),
            tenant: Tenant::default_tenant(),
        };
        let busy = lane("busy");
        for number in 0..4 * QUEUES_KEPT_LEAST {
            shares.take(&lane(&format!("q-{number}")));
            // So that time goes on for all of them.
            shares.take(&busy);
            shares.take(&busy);
        }
        assert!(shares.tenants.len() <= QUEUES_KEPT_LEAST, "{}", shares.tenants.len());
        assert!(shares.next_of(&busy) > 0);
    }
}
