//! Reading what a batch needs, and locking what it will change: few statements, whatever the number of operations.

use std::{collections::BTreeSet, sync::Arc};

use longhaul_core::{Clock, JobSpec, QueueName, Span, Timestamp};
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

use super::{
    batch::{Batch, Due, Found, Needs, Tally},
    explain::{self, Elsewhere},
    family, gates,
    nodes::ALIVE_FOR,
    rows::{self, Cells, Stored},
    session::{Error, Fault, Parameter, Parameters, Session, pipelined},
};
use crate::{
    StoreError,
    ledger::{KeptKey, Phase},
};

/// How long the lease of a worker elsewhere holds at least after the first server has started, and every lease after the
/// database was away.
pub(super) const AFTER_START: Span = Span::from_secs(30);

/// How much of one sort a sweep carries out at once; what is left waits for the next, which follows immediately.
const SWEPT_AT_ONCE: i64 = 1_000;

/// Where a store gets the time from.
#[derive(Debug, Clone)]
pub(super) enum TimeSource {
    /// The database: the same for all servers.
    Database,
    /// A clock that was handed in.
    Clock(Arc<dyn Clock>),
}

impl TimeSource {
    pub(super) async fn now(&self, session: &Session) -> Result<Timestamp, StoreError> {
        match self {
            TimeSource::Clock(clock) => Ok(clock.now()),
            TimeSource::Database => {
                let row = session.row(include_str!("queries/database_time.sql"), &[]).await?;
                let row = row.ok_or_else(|| rows::damaged("time"))?;
                Cells::of(&row).time()
            }
        }
    }
}

/// Begins a transaction. Claims take their turn with whoever pauses a queue, so that a paused queue gives out nothing
/// once the pause has been answered.
pub(super) async fn begin(session: &Session, needs: &Needs, claims: bool, key: i64) -> Result<(), Error> {
    let turn = if needs.pauses {
        Some("SELECT pg_advisory_xact_lock($1)")
    } else {
        claims.then_some("SELECT pg_advisory_xact_lock_shared($1)")
    };
    let Some(turn) = turn else { return session.batch("BEGIN").await };
    let turn = session.statement(turn).await?;
    pipelined(vec![session.send_plain("BEGIN"), session.send(&turn, &[&key])]).await.map(drop)
}

/// Reads the time and all that the operations need into the batch. Says what this server's own clock showed when the time
/// was asked for: what is to happen a while after the batch's time happens that much after this.
pub(super) async fn fill(
    session: &Session,
    time: &TimeSource,
    own: &dyn Clock,
    needs: &Needs,
    batch: &mut Batch,
) -> Result<Timestamp, Fault> {
    lock_jobs(session, needs, batch).await?;
    let asked_at = own.now();
    // After the locks: whoever held them before is done, and nothing that follows happened before.
    batch.now = time.now(session).await?;
    batch.in_touch_since.get_or_insert(batch.now);
    other_needs(session, needs, &mut batch.found).await?;
    look_at(session, needs, batch).await?;
    if needs.due {
        due(session, batch).await?;
        batch.found.due.review_after = gates::due(session, batch, needs.review_after).await?;
    }
    if let Some(after) = needs.unheard_after {
        // Nobody could hear a sign of life while there was no server; whoever still lives gives one soon.
        let (now, heard_by) = (batch.now.as_micros(), (batch.now + AFTER_START).as_micros());
        let unheard =
            session.rows(include_str!("queries/unheard.sql"), &[&batch.node, &now, &heard_by, &after]).await?;
        batch.found.unheard = take_all(batch, &unheard)?;
    }
    if !needs.limited.is_empty() {
        let kinds: BTreeSet<&str> = needs.limited.iter().map(|(kind, ..)| kind.as_str()).collect();
        gates::read_rules(session, batch, &Vec::from_iter(kinds)).await?;
        let places = needs.limited.iter().filter(|(kind, ..)| batch.gates.rules.limits(kind));
        let places: BTreeSet<(i64, QueueName)> = places.map(|(_, key, queue)| (*key, queue.clone())).collect();
        let keys = places.iter().map(|(key, _)| *key).collect();
        gates::read_keys(session, batch, &keys, &places).await?;
    }
    if let Some(limit) = needs.expired {
        let most = rows::signed(limit as u64).saturating_add(1);
        let expired = session.rows(include_str!("queries/expired.sql"), &[&batch.now.as_micros(), &most]).await?;
        batch.found.expired = take_all(batch, &expired)?;
        let above = batch.found.expired.iter().filter_map(|no| batch.entries.get(no)?.parent_no).collect();
        let above = family::phases(session, above).await?;
        let lives = |phase: &Phase| !phase.status().is_terminal();
        batch.found.living = above.into_iter().filter(|(_, phase)| lives(phase)).map(|(no, _)| no).collect();
    }
    Ok(asked_at)
}

fn take_all(batch: &mut Batch, found: &[Row]) -> Result<Vec<i64>, StoreError> {
    found.iter().map(|row| Ok(batch.take_stored(rows::stored(&mut Cells::of(row))?))).collect()
}

async fn lock_jobs(session: &Session, needs: &Needs, batch: &mut Batch) -> Result<(), Fault> {
    if needs.jobs.is_empty() {
        return Ok(());
    }
    let (tenants, ids) = columns(needs.jobs.iter());
    let found = session.rows(include_str!("queries/lock_jobs.sql"), &[&tenants, &ids]).await?;
    for row in &found {
        match rows::stored(&mut Cells::of(row)) {
            Ok(stored) => drop(batch.take_stored(stored)),
            // One row that cannot be read must not keep everybody else from theirs: it reads as not there.
            Err(error) => tracing::error!(%error, "a job's row cannot be read"),
        }
    }
    if found.len() < needs.jobs.len() {
        let gone = session.rows(include_str!("queries/tombstones.sql"), &[&tenants, &ids]).await?;
        for row in &gone {
            let mut cells = Cells::of(row);
            let (tenant, id) = rows::tenant_and_id(&mut cells)?;
            batch.found.tombstones.insert((tenant, id), rows::tombstone(id, &mut cells)?);
        }
    }
    Ok(())
}

/// What is looked at without a lock.
async fn look_at(session: &Session, needs: &Needs, batch: &mut Batch) -> Result<(), Fault> {
    if !needs.looked_at.is_empty() {
        let (tenants, ids) = columns(needs.looked_at.iter());
        for row in session.rows(include_str!("queries/look_at_jobs.sql"), &[&tenants, &ids]).await? {
            let Stored { phase, job, .. } = rows::stored(&mut Cells::of(&row))?;
            if phase == Phase::Blocked {
                batch.found.blocked.insert(job.spec.id);
            }
            batch.found.looked_at.insert((job.spec.tenant.clone(), job.spec.id), job);
        }
        let specs: Vec<Arc<JobSpec>> = batch.found.looked_at.values().map(|job| job.spec.clone()).collect();
        let kinds: BTreeSet<&str> = specs.iter().map(|spec| spec.kind.as_str()).collect();
        gates::read_rules(session, batch, &Vec::from_iter(kinds)).await?;
        let kinds = specs.iter().map(|spec| (spec.kind.clone(), spec.tenant.clone())).collect();
        gates::read_kinds(session, batch, &kinds).await?;
        let keys = specs.iter().filter_map(|spec| Some(spec.limit_key?.0)).collect();
        gates::read_keys(session, batch, &keys, &BTreeSet::new()).await?;
    }
    if !needs.answers.is_empty() {
        let (tenants, ids) = columns(needs.answers.iter());
        for row in session.rows(include_str!("queries/kept_answers.sql"), &[&tenants, &ids]).await? {
            let mut cells = Cells::of(&row);
            let no = cells.next()?;
            batch.found.answers.entry(no).or_default().push(cells.payload()?);
        }
    }
    if needs.claimants {
        let lately = explain::lately_elsewhere(batch.now).as_micros();
        for row in session.rows(include_str!("queries/claimants.sql"), &[&batch.node, &lately]).await? {
            let mut cells = Cells::of(&row);
            let _worker: String = cells.next()?;
            let claim = Elsewhere { kinds: cells.next()?, tenant: cells.next()?, queues: cells.next()? };
            batch.found.elsewhere.push(claim);
        }
        for row in session.rows(include_str!("queries/busy.sql"), &[]).await? {
            batch.found.busy.insert(Cells::of(&row).text()?);
        }
    }
    Ok(())
}

fn columns<'a>(
    jobs: impl Iterator<Item = &'a (longhaul_core::Tenant, longhaul_core::JobId)>,
) -> (Vec<&'a str>, Vec<Uuid>) {
    jobs.map(|(tenant, id)| (tenant.as_str(), rows::uuid(id))).unzip()
}

/// All of them in one trip.
async fn other_needs(session: &Session, needs: &Needs, found: &mut Found) -> Result<(), Fault> {
    let (id_tenants, ids) = columns(needs.ids.iter());
    let numbers = rows::signed(needs.numbers as u64);
    let mut kept: (Vec<&str>, Vec<&str>, Vec<&[u8]>) = Default::default();
    for (tenant, route, key) in &needs.idempotency {
        kept.0.push(tenant.as_str());
        kept.1.push(*route);
        kept.2.push(key.as_slice());
    }
    let mut steps: (Vec<&str>, Vec<Uuid>, Vec<&str>) = Default::default();
    for (tenant, id, name) in &needs.steps {
        steps.0.push(tenant.as_str());
        steps.1.push(rows::uuid(id));
        steps.2.push(name.as_str());
    }
    let (document_tenants, documents): (Vec<&str>, Vec<Uuid>) =
        needs.documents.iter().map(|(tenant, id)| (tenant.as_str(), rows::document_uuid(id))).unzip();
    let keys: Vec<Uuid> = needs.keys.iter().map(rows::key_uuid).collect();

    let by_id: [Parameter<'_>; 2] = [&id_tenants, &ids];
    let by_count: [Parameter<'_>; 1] = [&numbers];
    let by_key: [Parameter<'_>; 3] = [&kept.0, &kept.1, &kept.2];
    let by_step: [Parameter<'_>; 3] = [&steps.0, &steps.1, &steps.2];
    let by_document: [Parameter<'_>; 2] = [&document_tenants, &documents];
    let by_key_id: [Parameter<'_>; 1] = [&keys];
    let parts: [(Part, bool, &str, Parameters<'_>); 9] = [
        (Part::Ids, !ids.is_empty(), include_str!("queries/existing_jobs.sql"), &by_id),
        (Part::Numbers, numbers > 0, include_str!("queries/numbers.sql"), &by_count),
        (Part::Idempotency, !kept.0.is_empty(), include_str!("queries/lock_idempotency.sql"), &by_key),
        (Part::Steps, !steps.0.is_empty(), include_str!("queries/stored_steps.sql"), &by_step),
        (Part::Documents, !documents.is_empty(), include_str!("queries/lock_documents.sql"), &by_document),
        (Part::Keys, !keys.is_empty(), include_str!("queries/lock_keys.sql"), &by_key_id),
        (Part::Tallies, needs.tallies, include_str!("queries/tallies.sql"), &[]),
        (Part::Pauses, needs.tallies, include_str!("queries/pauses.sql"), &[]),
        (Part::FirstInLine, needs.first_in_line, include_str!("queries/first_in_line.sql"), &[]),
    ];
    let mut wanted: Vec<(Part, Statement, Parameters<'_>)> = Vec::new();
    for (part, is_needed, sql, parameters) in parts {
        if is_needed {
            wanted.push((part, session.statement(sql).await?, parameters));
        }
    }
    let sent = wanted.iter().map(|(_, statement, parameters)| session.send(statement, parameters)).collect();
    let answers = pipelined(sent).await?;
    for ((part, ..), answer) in wanted.iter().zip(&answers) {
        found.take(*part, answer)?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Part {
    Ids,
    Numbers,
    Idempotency,
    Steps,
    Documents,
    Keys,
    Tallies,
    Pauses,
    FirstInLine,
}

impl Found {
    fn take(&mut self, part: Part, answer: &[Row]) -> Result<(), StoreError> {
        if let Part::Numbers = part {
            self.numbers = answer.iter().map(|row| Cells::of(row).next()).collect::<Result<_, _>>()?;
            self.numbers.sort_unstable_by(|a, b| b.cmp(a));
            return Ok(());
        }
        for row in answer {
            let mut cells = Cells::of(row);
            match part {
                Part::Numbers => {}
                Part::Ids => drop(self.ids.insert(rows::tenant_and_id(&mut cells)?)),
                Part::Idempotency => {
                    let place = (cells.name()?, cells.next()?, digest(&mut cells)?);
                    let fingerprint = digest(&mut cells)?;
                    let jobs = cells.next::<Vec<Uuid>>()?;
                    let jobs = jobs.into_iter().map(|id| longhaul_core::JobId::from_bytes(id.into_bytes())).collect();
                    let kept = KeptKey { fingerprint, jobs, keep_until: cells.time()? };
                    self.idempotency.insert(place, (kept, cells.next()?));
                }
                Part::Steps => {
                    let place = (cells.next()?, cells.name()?);
                    self.steps.insert(place, cells.payload()?);
                }
                Part::Documents => {
                    let tenant = cells.name()?;
                    let id = longhaul_core::DocumentId::from_bytes(cells.next::<Uuid>()?.into_bytes());
                    self.documents.insert((tenant, id));
                }
                Part::Keys => {
                    let key = rows::api_key(row)?;
                    self.keys.insert(key.id, key);
                }
                Part::Tallies => {
                    let queue = cells.name()?;
                    self.tallies
                        .insert(queue, Tally { queued: cells.next()?, running: cells.next()?, waiting: cells.next()? });
                }
                Part::Pauses => {
                    let queue = cells.name()?;
                    self.paused.insert(queue, cells.next()?);
                }
                Part::FirstInLine => {
                    let queue = cells.name()?;
                    self.first_ready_at.insert(queue, cells.time()?);
                }
            }
        }
        Ok(())
    }
}

fn digest(cells: &mut Cells<'_>) -> Result<[u8; 32], StoreError> {
    cells.next::<&[u8]>()?.try_into().map_err(|_| rows::damaged("hash"))
}

/// What time has made due, and what a dead server has left.
async fn due(session: &Session, batch: &mut Batch) -> Result<(), Fault> {
    let now = batch.now.as_micros();
    let due = session.rows(include_str!("queries/due.sql"), &[&now, &SWEPT_AT_ONCE]).await?;
    let is_full = due.len() >= usize::try_from(SWEPT_AT_ONCE).unwrap_or(usize::MAX);
    let jobs = take_all(batch, &due)?;
    let next = if is_full {
        Some(batch.now)
    } else {
        let row = session.row(include_str!("queries/next_due.sql"), &[&now]).await?;
        row.map(|row| Cells::of(&row).time_or_none()).transpose()?.flatten()
    };
    // Where the database was away nobody could say that he lives. Who has left has said so.
    let alive_until = if batch.has_listened_for(ALIVE_FOR) { now } else { 0 };
    let dead = session.rows(include_str!("queries/dead_nodes.sql"), &[&alive_until, &batch.node]).await?;
    let dead: Vec<i64> = dead.iter().map(|row| Cells::of(row).next()).collect::<Result<_, _>>()?;
    let mut orphans = Vec::new();
    if !dead.is_empty() {
        let held = session.rows(include_str!("queries/held_by.sql"), &[&dead, &SWEPT_AT_ONCE]).await?;
        orphans = take_all(batch, &held)?;
    }
    let abandoned = session.rows(include_str!("queries/abandoned.sql"), &[]).await?;
    let abandoned: Vec<i64> = abandoned.iter().map(|row| Cells::of(row).next()).collect::<Result<_, _>>()?;
    if !abandoned.is_empty() {
        for row in session.rows(include_str!("queries/lock_above.sql"), &[&abandoned]).await? {
            batch.take_stored(rows::stored(&mut Cells::of(&row))?);
        }
    }
    let held = family::phases(session, abandoned.clone()).await?;
    // One that somebody holds is for the next sweep.
    let abandoned: Vec<i64> =
        abandoned.into_iter().filter(|no| batch.entries.contains_key(no) || !held.contains_key(no)).collect();
    let jobs = family::with_all_above(session, batch, jobs).await?;
    let orphans = family::with_all_above(session, batch, orphans).await?;
    batch.found.due = Due { jobs, orphans, dead, abandoned, review_after: i64::MIN, next };
    Ok(())
}

/// How much longer a key is kept whose job is still there.
pub(super) const LOOK_AGAIN: Span = Span::from_secs(3_600);
