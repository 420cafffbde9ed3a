//! What there is to hand out: the first jobs of every lane that claims may choose from, read without a lock, together with
//! what the batch itself has made ready.
//!
//! Of each lane only so many are shown as may be asked for, and a few more; one that runs empty is read on. So what is read
//! grows with the number of lanes and with what is asked for, and not with how much waits.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{
    batch::Batch,
    gates,
    rows::Cells,
    session::{Fault, Session},
};
use crate::{
    Claim,
    ledger::{LaneKey, NumberMap},
};

/// How many jobs of a lane are shown at most. Most claims ask for less.
const SHOWN_MOST: i64 = 256;

/// How many more of each lane are shown than are asked for: some are lost to other servers, and some tenants get more than
/// their share because others have less.
const SPARE: i64 = 4;

/// How many more are read of a lane that runs empty.
const READ_AT_ONCE: i64 = 512;

/// How many jobs one batch takes out of the way that a limit holds back.
pub(super) const BLOCKED_AT_ONCE: usize = 512;

/// A job's place in its lane: its score, and its number.
pub(super) type Head = (i64, i64);

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

    fn is_over(&self) -> bool {
        self.stored.is_empty() && self.in_batch.is_empty() && self.read_to.is_none()
    }

    fn remove(&mut self, head: &Head) {
        if !self.stored.remove(head) {
            self.in_batch.remove(head);
        }
    }
}

/// What limits by key have to do with the window.
#[derive(Default)]
struct Limited {
    /// The keys of jobs of kinds that are limited by key.
    keys: NumberMap<i64, i64>,
    /// Keys that have been counted under the lock of their kind. What was counted before it may be old.
    counted: HashSet<i64>,
    /// What is chosen and not yet leased, by what limits it.
    chosen: HashMap<i64, i64>,
}

impl Limited {
    fn chosen_of(&self, gate: i64) -> i64 {
        self.chosen.get(&gate).copied().unwrap_or_default()
    }

    /// Whether the limit by its key leaves room for a job.
    fn may_start(&self, batch: &Batch, lane: &LaneKey, head: Head) -> bool {
        let Some(key) = self.keys.get(&head.1) else { return true };
        let room = batch.gates.room_by_key(&lane.kind, &lane.tenant, *key, batch.now);
        room.is_none_or(|room| room > self.chosen_of(*key))
    }

    /// Counts keys that have not been counted under the lock yet.
    async fn count(&mut self, session: &Session, batch: &mut Batch, keys: BTreeSet<i64>) -> Result<(), Fault> {
        let unknown: BTreeSet<i64> = keys.into_iter().filter(|key| self.counted.insert(*key)).collect();
        gates::read_keys(session, batch, &unknown, &BTreeSet::new()).await
    }
}

/// What there is to hand out.
#[derive(Default)]
pub(super) struct Window {
    lanes: Vec<(LaneKey, Lane)>,
    limited: Limited,
    /// Ready jobs that a limit by key holds back: they are in others' way.
    pub(super) held_back: BTreeSet<Head>,
}

impl Window {
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// All lanes, by their places.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &LaneKey> {
        self.lanes.iter().map(|(key, _)| key)
    }

    /// Those in which something is left.
    pub(super) fn lanes_left(&self) -> impl Iterator<Item = &LaneKey> {
        self.lanes.iter().filter(|(_, lane)| !lane.is_over()).map(|(key, _)| key)
    }

    /// The lane at a place.
    pub(super) fn lane(&self, place: usize) -> &LaneKey {
        &self.lanes[place].0
    }

    /// Whether the limit over all jobs of the lane's kind leaves room.
    pub(super) fn has_place(&self, batch: &Batch, place: usize) -> bool {
        let lane = self.lane(place);
        let room = batch.gates.room_overall(&lane.kind, &lane.tenant, batch.now);
        room.is_none_or(|(id, room)| room > self.limited.chosen_of(id))
    }

    /// Takes a job out of its lane and counts it as about to be leased.
    pub(super) fn choose(&mut self, batch: &Batch, place: usize, head: Head) {
        let (key, lane) = &mut self.lanes[place];
        lane.remove(&head);
        let chosen = &mut self.limited.chosen;
        if let Some((id, _)) = batch.gates.room_overall(&key.kind, &key.tenant, batch.now) {
            *chosen.entry(id).or_default() += 1;
        }
        if let Some(key) = self.limited.keys.get(&head.1) {
            *chosen.entry(*key).or_default() += 1;
        }
    }

    /// What was chosen is leased, or lost: from here on it counts where it is.
    pub(super) fn forget_chosen(&mut self) {
        self.limited.chosen.clear();
    }

    /// Counts the keys of all that it shows. The locks of their kinds are held.
    pub(super) async fn count_keys(&mut self, session: &Session, batch: &mut Batch) -> Result<(), Fault> {
        let keys: BTreeSet<i64> = self.limited.keys.values().copied().collect();
        self.limited.count(session, batch, keys).await
    }

    /// The first job of a lane that no limit by key holds back. Those that one does are taken out of the lane.
    pub(super) async fn first_that_may_start(
        &mut self,
        session: &Session,
        batch: &mut Batch,
        place: usize,
    ) -> Result<Option<Head>, Fault> {
        let (key, lane) = &mut self.lanes[place];
        loop {
            if lane.is_to_be_read() {
                if self.held_back.len() >= BLOCKED_AT_ONCE {
                    // There is enough to clear away; the next batch looks further.
                    return Ok(None);
                }
                read_on(session, batch, key, lane, &mut self.limited).await?;
            }
            let Some(head) = lane.first() else { return Ok(None) };
            if self.limited.may_start(batch, key, head) {
                return Ok(Some(head));
            }
            lane.remove(&head);
            self.held_back.insert(head);
        }
    }
}

/// Reads the first jobs of every lane that these claims may choose from.
pub(super) async fn look(
    session: &Session,
    batch: &mut Batch,
    claims: &[&Claim],
    most: usize,
) -> Result<Window, Fault> {
    let kinds = named(claims, |claim| Some(claim.kinds.iter().map(|kind| kind.as_str()).collect())).unwrap_or_default();
    let queues = named(claims, |claim| Some(claim.queues.as_ref()?.iter().map(|queue| queue.as_str()).collect()));
    let tenants = named(claims, |claim| Some(vec![claim.tenant.as_ref()?.as_str()]));
    let wanted: usize = claims.iter().fold(0, |sum: usize, claim| sum.saturating_add(claim.limit)).min(most);
    let wanted = i64::try_from(wanted).unwrap_or(SHOWN_MOST);
    gates::read_rules(session, batch, &kinds).await?;
    let pauses = session.rows(include_str!("queries/pauses.sql"), &[]).await?;
    for row in &pauses {
        let mut cells = Cells::of(row);
        let queue = cells.name()?;
        batch.found.paused.insert(queue, cells.next()?);
    }
    let known = batch.found.paused.keys().chain(batch.writes.pauses.iter().map(|(queue, _)| queue));
    let paused: Vec<&str> = known.filter(|queue| batch.is_paused(queue)).map(|queue| queue.as_str()).collect();
    let sql = include_str!("queries/lanes.sql");
    let found = session.rows(sql, &[&kinds, &paused, &queues, &tenants, &SHOWN_MOST, &wanted, &SPARE]).await?;
    let mut lanes: HashMap<LaneKey, Lane> = HashMap::new();
    let mut limited = Limited::default();
    // Those of a lane come one after the other.
    let mut in_lane: (Option<LaneKey>, i64) = (None, 0);
    for row in &found {
        let mut cells = Cells::of(row);
        let key = LaneKey { queue: cells.name()?, kind: cells.name()?, tenant: cells.name()? };
        let shown: i64 = cells.next()?;
        let head: Head = (cells.next()?, cells.next()?);
        if let Some(limit_key) = cells.next::<Option<i64>>()?
            && batch.gates.rules.has_key(&key.kind, &key.tenant)
        {
            limited.keys.insert(head.1, limit_key);
        }
        in_lane = if in_lane.0.as_ref() == Some(&key) { (in_lane.0, in_lane.1 + 1) } else { (Some(key.clone()), 1) };
        let lane = lanes.entry(key).or_default();
        if in_lane.1 == shown {
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
                limited.keys.insert(no, limit_key.0);
            }
            lanes.entry(key).or_default().in_batch.insert((score, no));
        }
    }
    Ok(Window { lanes: lanes.into_iter().collect(), limited, held_back: BTreeSet::new() })
}

/// What the claims name, each once; none: one of them does not say.
fn named<'c>(claims: &[&'c Claim], of: impl Fn(&'c Claim) -> Option<Vec<&'c str>>) -> Option<Vec<&'c str>> {
    let names = claims.iter().copied().map(of).collect::<Option<Vec<_>>>()?;
    let names: BTreeSet<&str> = names.into_iter().flatten().collect();
    Some(names.into_iter().collect())
}

async fn read_on(
    session: &Session,
    batch: &mut Batch,
    key: &LaneKey,
    lane: &mut Lane,
    limited: &mut Limited,
) -> Result<(), Fault> {
    let mut found_keys = BTreeSet::new();
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
                    limited.keys.insert(head.1, limit_key);
                    found_keys.insert(limit_key);
                }
            }
        }
        lane.read_to = last.filter(|_| is_full);
    }
    limited.count(session, batch, found_keys).await
}
