//! Storing a batch: one transaction, prepared statements, rows written once in their last state.

use std::collections::HashMap;

use longhaul_core::{BlobRef, EventKind, Job, JobId, JobSpec, OnChildFailure, Payload, Timestamp};
use rusqlite::{Connection, Statement, ToSql, params};

use super::rows::{self, Moving};
use crate::{
    StoreError,
    ledger::{AnswerWrite, DocumentWrite, Erasure, Forget, NumberMap, Phase, Touched, WriteSet},
};

/// Uses of blobs that a batch adds and takes away.
#[derive(Default)]
struct BlobUses(HashMap<[u8; 32], (u64, i64)>);

impl BlobUses {
    fn add(&mut self, payload: &Payload, uses: i64) {
        if let Some(blob) = payload.blob() {
            self.add_blob(blob, uses);
        }
    }

    fn add_blob(&mut self, blob: &BlobRef, uses: i64) {
        self.0.entry(blob.digest).or_insert((blob.size, 0)).1 += uses;
    }
}

/// Writes everything and says which blobs nothing refers to any more.
pub(super) fn batch(
    db: &Connection,
    touched: &NumberMap<i64, Touched>,
    writes: &WriteSet,
) -> Result<Vec<BlobRef>, StoreError> {
    let mut uses = BlobUses::default();
    // In the order of their numbers, so that rows are appended and not scattered.
    let mut changed: Vec<&Touched> = touched.values().filter(|entry| entry.changed).collect();
    changed.sort_unstable_by_key(|entry| entry.no);
    jobs(db, &changed, &mut uses)?;
    history(db, writes, &mut uses)?;
    if !writes.idempotency.is_empty() {
        idempotency(db, writes)?;
    }
    expiry(db, writes)?;
    if !writes.erasures.is_empty() {
        erase(db, &writes.erasures, &mut uses)?;
    }
    settings(db, writes)?;
    paces(db, writes)?;
    documents(db, &writes.documents, &mut uses)?;
    if let Some(forget) = &writes.forget {
        forget_keys(db, forget)?;
        forget_tombstones(db, forget)?;
        forget_paces(db, forget)?;
    }
    count_uses(db, uses)
}

/// Binds the values of a row one after the other. What is null is not bound at all: most columns of most rows are.
struct Binding<'a, 's> {
    statement: &'a mut Statement<'s>,
    index: usize,
}

impl<'a, 's> Binding<'a, 's> {
    fn of(statement: &'a mut Statement<'s>) -> Self {
        statement.clear_bindings();
        Self { statement, index: 0 }
    }

    fn value(&mut self, value: impl ToSql) -> rusqlite::Result<&mut Self> {
        self.index += 1;
        self.statement.raw_bind_parameter(self.index, value)?;
        Ok(self)
    }

    fn optional(&mut self, value: Option<impl ToSql>) -> rusqlite::Result<&mut Self> {
        match value {
            Some(value) => self.value(value),
            None => {
                self.index += 1;
                Ok(self)
            }
        }
    }

    fn execute(&mut self) -> rusqlite::Result<()> {
        self.statement.raw_execute().map(drop)
    }
}

fn jobs(db: &Connection, changed: &[&Touched], uses: &mut BlobUses) -> Result<(), StoreError> {
    let mut insert = db.prepare_cached(include_str!("queries/insert_job.sql"))?;
    let mut update = db.prepare_cached(include_str!("queries/update_job.sql"))?;
    let mut input = db.prepare_cached("INSERT INTO input (no, data, blob) VALUES (?1, ?2, ?3)")?;
    let mut output = db.prepare_cached("INSERT INTO output (no, data, blob) VALUES (?1, ?2, ?3)")?;
    for entry in changed {
        let phase = entry.phase.ok_or_else(|| StoreError::Corrupt("a job without a phase".into()))?;
        if entry.fresh {
            let mut row = Binding::of(&mut insert);
            row.value(entry.no)?;
            bind_spec(&mut row, &entry.job.spec)?;
            let limit_key = entry.job.spec.limit_key.map(|key| key.0);
            bind_state(&mut row, &entry.job, phase)?.optional(limit_key)?.execute()?;
            let payload = entry.input.as_ref().ok_or_else(|| StoreError::Corrupt("a new job without input".into()))?;
            put_payload(&mut input, entry.no, payload)?;
            uses.add(payload, 1);
        } else {
            let mut row = Binding::of(&mut update);
            row.value(entry.no)?;
            bind_state(&mut row, &entry.job, phase)?.execute()?;
        }
        if entry.output_is_new
            && let Some(payload) = &entry.output
        {
            put_payload(&mut output, entry.no, payload)?;
            uses.add(payload, 1);
        }
    }
    Ok(())
}

/// The columns of a job that are written once, in the order of `insert_job.sql`.
fn bind_spec(row: &mut Binding<'_, '_>, spec: &JobSpec) -> rusqlite::Result<()> {
    row.value(spec.tenant.as_str())?
        .value(spec.id.as_bytes().as_slice())?
        .value(spec.kind.as_str())?
        .value(spec.queue.as_str())?
        .value(spec.rank())?
        .value(spec.priority)?
        .value(spec.created_at.as_micros())?
        .value(spec.max_attempts)?
        .value(rows::stored_unsigned(spec.backoff.initial_ms))?
        .value(rows::stored_unsigned(spec.backoff.max_ms))?
        .value(rows::micros(spec.retention))?
        .optional(spec.run_at.map(Timestamp::as_micros))?
        .optional(spec.deadline_at.map(Timestamp::as_micros))?
        .optional(spec.attempt_timeout.map(rows::micros))?
        .optional(spec.metadata.as_deref())?
        .optional(spec.retry_of.as_ref().map(|id| id.as_bytes().as_slice()))?
        .optional(spec.parent.as_ref().map(|id| id.as_bytes().as_slice()))?
        .optional(spec.parent.map(|_| spec.child_index))?
        .optional((spec.depth > 0).then_some(spec.depth))?
        .optional((spec.on_child_failure == OnChildFailure::Fail).then_some(1))?
        .optional(spec.trace.map(|trace| trace.to_string()))?;
    Ok(())
}

/// The columns of a job that change, in the order of `update_job.sql`.
fn bind_state<'r, 'a, 's>(
    row: &'r mut Binding<'a, 's>,
    job: &Job,
    phase: Phase,
) -> rusqlite::Result<&'r mut Binding<'a, 's>> {
    let moving = Moving::of(job);
    let (fraction, message) = match &job.progress {
        Some(progress) => (progress.fraction, progress.message.as_deref()),
        None => (None, None),
    };
    row.value(rows::phase_number(phase))?
        .value(job.version as i64)?
        .value(job.attempt)?
        .value(job.crashes)?
        .value(job.last_seq as i64)?
        .optional(moving.queued_for)?
        .optional(moving.due_at)?
        .optional(moving.same_attempt)?
        .optional(moving.token)?
        .optional(moving.worker.as_deref())?
        .optional(moving.in_process)?
        .optional(moving.stage)?
        .optional(moving.lease_since)?
        .optional(moving.lease_expires_at)?
        .optional(job.started_at.map(Timestamp::as_micros))?
        .optional(job.finished_at.map(Timestamp::as_micros))?
        .optional(job.cancel_requested_at.map(Timestamp::as_micros))?
        .optional(fraction)?
        .optional(message)?
        .optional(moving.error.as_deref())?
        .optional(moving.ending)?
        .optional(moving.ambiguous)?
        .optional(moving.report.as_deref())?
        .optional(some(job.children.total))?
        .optional(some(job.children.submitted))?
        .optional(some(job.children.succeeded))?
        .optional(some(job.children.failed))?
        .optional(some(job.children.cancelled))?
        .optional(some(job.answers))?
        .optional(some(job.last_step_seq as i64))?
        .optional(some(job.last_delta_seq as i64))?
        .optional(some(job.last_reset_seq as i64))?
        .optional(moving.wait)?
        .optional(moving.wait_step)?
        .optional(moving.wait_prompt)
}

/// Nothing is stored for none.
fn some<T: Default + PartialEq>(number: T) -> Option<T> {
    (number != T::default()).then_some(number)
}

fn put_payload(statement: &mut Statement<'_>, no: i64, payload: &Payload) -> Result<(), StoreError> {
    let (data, blob) = columns(payload);
    Ok(Binding::of(statement).value(no)?.optional(data)?.optional(blob)?.execute()?)
}

fn history(db: &Connection, writes: &WriteSet, uses: &mut BlobUses) -> Result<(), StoreError> {
    let mut insert = db.prepare_cached(include_str!("queries/insert_event.sql"))?;
    for (no, event) in &writes.events {
        if let EventKind::OutputDelta { data } = &event.kind {
            let (kind, data) = rows::delta_row(data);
            let (seq, time) = (event.seq as i64, event.time.as_micros());
            db.prepare_cached(
                "INSERT INTO delta (no, seq, time, attempt, kind, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![no, seq, time, event.attempt, kind, data])?;
            continue;
        }
        let (sort, row) = rows::event_row(&event.kind);
        Binding::of(&mut insert)
            .value(no)?
            .value(event.seq as i64)?
            .value(sort)?
            .value(event.time.as_micros())?
            .value(event.attempt)?
            .optional(row.number)?
            .optional(row.at)?
            .optional(row.real)?
            .optional(row.text)?
            .optional(row.error)?
            .execute()?;
    }
    let mut insert = db.prepare_cached(include_str!("queries/insert_attempt.sql"))?;
    for (no, attempt) in &writes.attempts {
        insert.execute(params![
            no,
            attempt.lease,
            attempt.number,
            attempt.started_at.as_micros(),
            attempt.ended_at.unwrap_or(attempt.started_at).as_micros(),
            attempt.worker,
            rows::ending_number(attempt.ending),
            attempt.error.as_ref().and_then(rows::to_json),
            attempt.ambiguous,
        ])?;
    }
    let mut insert = db.prepare_cached("INSERT INTO step (no, name, data, blob) VALUES (?1, ?2, ?3, ?4)")?;
    for (no, name, output) in &writes.steps {
        uses.add(output, 1);
        let (data, blob) = columns(output);
        insert.execute(params![no, name.as_str(), data, blob])?;
    }
    for (no, change) in &writes.answers {
        match change {
            AnswerWrite::Keep(answer) => {
                uses.add(answer, 1);
                let (data, blob) = columns(answer);
                db.prepare_cached("INSERT INTO answer (no, data, blob) VALUES (?1, ?2, ?3)")?
                    .execute(params![no, data, blob])?;
            }
            AnswerWrite::TakeOldest => {
                let mut oldest = db.prepare_cached(
                    "DELETE FROM answer WHERE id = (SELECT min(id) FROM answer WHERE no = ?1) RETURNING blob",
                )?;
                for blob in oldest.query_map([no], |row| row.get::<_, Option<Vec<u8>>>(0))? {
                    blob?.map(|blob| rows::blob_of(&blob).map(|blob| uses.add_blob(&blob, -1))).transpose()?;
                }
            }
        }
    }
    Ok(())
}

/// A payload as its columns `data` and `blob`.
fn columns(payload: &Payload) -> (Option<&[u8]>, Option<Vec<u8>>) {
    match payload {
        Payload::Inline(data) => (Some(&data[..]), None),
        Payload::Blob(blob) => (None, Some(rows::blob_bytes(blob))),
    }
}

fn idempotency(db: &Connection, writes: &WriteSet) -> Result<(), StoreError> {
    // Replaces: a key whose time was over may be used again.
    let mut insert = db.prepare_cached(
        "INSERT OR REPLACE INTO idempotency (tenant, route, key, fingerprint, jobs, keep_until)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (tenant, key, jobs) in &writes.idempotency {
        let ids: Vec<u8> = jobs.iter().flat_map(|id| *id.as_bytes()).collect();
        let keep_until = key.keep_until.as_micros();
        insert.execute(params![tenant.as_str(), key.route, key.key, key.fingerprint, ids, keep_until])?;
    }
    Ok(())
}

/// Blocks are cut at whole seconds, so that jobs of one commit mostly share one.
fn expiry(db: &Connection, writes: &WriteSet) -> Result<(), StoreError> {
    let mut blocks: HashMap<(i64, Option<bool>), Vec<u8>> = HashMap::new();
    let ended = writes.ended.iter().map(|ended| (ended, None));
    for ((at, no), deltas) in ended.chain(writes.deltas_ended.iter().map(|ended| (ended, Some(true)))) {
        let second = at.as_micros().div_euclid(1_000_000) + 1;
        blocks.entry((second * 1_000_000, deltas)).or_default().extend_from_slice(&no.to_le_bytes());
    }
    let mut insert = db.prepare_cached("INSERT INTO expiry (at, jobs, deltas) VALUES (?1, ?2, ?3)")?;
    for ((at, deltas), jobs) in blocks {
        insert.execute(params![at, jobs, deltas])?;
    }
    for no in &writes.trimmed {
        let removed = db.prepare_cached("DELETE FROM delta WHERE no = ?1")?.execute([no])?;
        if removed > 0 {
            db.prepare_cached("UPDATE job SET trimmed = coalesce(trimmed, 0) + ?2 WHERE no = ?1")?
                .execute(params![no, removed])?;
        }
    }
    for id in &writes.expiry_done {
        db.prepare_cached("DELETE FROM expiry WHERE id = ?1")?.execute([id])?;
    }
    for block in &writes.expiry_left {
        let jobs: Vec<u8> = block.jobs.iter().flat_map(|no| no.to_le_bytes()).collect();
        db.prepare_cached("UPDATE expiry SET jobs = ?2 WHERE id = ?1")?.execute(params![block.id, jobs])?;
    }
    Ok(())
}

fn erase(db: &Connection, erasures: &[Erasure], uses: &mut BlobUses) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO counter (name, value) VALUES ('next_no', (SELECT max(no) + 1 FROM job))
         ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
    )?
    .execute([])?;
    let mut tombstone = db.prepare_cached(
        "INSERT OR REPLACE INTO tombstone (tenant, id, status, finished_at, erased, gone_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut numbers = Vec::with_capacity(erasures.len());
    for Erasure { no, tenant, tombstone: left, gone_at } in erasures {
        tombstone.execute(params![
            tenant.as_str(),
            left.job.as_bytes(),
            crate::ledger::terminal_number(left.status),
            left.finished_at.as_micros(),
            left.erased,
            gone_at.as_micros(),
        ])?;
        numbers.push(*no);
    }
    numbers.sort_unstable();
    // Jobs that ended together were mostly submitted together: neighbours are removed as one range.
    for run in numbers.chunk_by(|a, b| a + 1 == *b) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        for table in ["input", "output", "step", "answer"] {
            let sql = format!("SELECT blob FROM {table} WHERE no BETWEEN ?1 AND ?2 AND blob IS NOT NULL");
            let mut statement = db.prepare_cached(&sql)?;
            let mut found = statement.query([first, last])?;
            while let Some(row) = found.next()? {
                uses.add_blob(&rows::blob_of(&row.get::<_, Vec<u8>>(0)?)?, -1);
            }
        }
        for table in ["input", "output", "event", "delta", "attempt", "step", "answer", "job"] {
            let sql = format!("DELETE FROM {table} WHERE no BETWEEN ?1 AND ?2");
            db.prepare_cached(&sql)?.execute([first, last])?;
        }
    }
    Ok(())
}

fn settings(db: &Connection, writes: &WriteSet) -> Result<(), StoreError> {
    for (queue, paused) in &writes.pauses {
        db.prepare_cached("INSERT OR REPLACE INTO queue (name, paused) VALUES (?1, ?2)")?
            .execute(params![queue.as_str(), paused])?;
    }
    for (tenant, kind) in &writes.kinds {
        db.prepare_cached("INSERT OR REPLACE INTO kind (tenant, name, spec) VALUES (?1, ?2, ?3)")?.execute(params![
            tenant.as_str(),
            kind.name.as_str(),
            rows::to_json(kind)
        ])?;
    }
    for key in &writes.keys {
        let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
        db.prepare_cached(
            "INSERT OR REPLACE INTO api_key (id, tenant, name, scopes, secret_hash, created_at, expires_at, revoked_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            key.id.as_bytes(),
            key.tenant.as_str(),
            key.name,
            scopes.join(" "),
            key.secret_hash,
            key.created_at.as_micros(),
            key.expires_at.map(Timestamp::as_micros),
            key.revoked_at.map(Timestamp::as_micros),
        ])?;
    }
    Ok(())
}

fn paces(db: &Connection, writes: &WriteSet) -> Result<(), StoreError> {
    for gate in &writes.awake {
        db.prepare_cached("UPDATE pace SET wakes_at = NULL WHERE gate = ?1")?.execute([gate])?;
    }
    for (gate, pace) in &writes.paces {
        db.prepare_cached("INSERT OR REPLACE INTO pace (gate, starts, over_at, wakes_at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![gate, pace.starts, pace.over_at.as_micros(), pace.wakes_at.map(Timestamp::as_micros)])?;
    }
    Ok(())
}

/// What has started so long ago that it limits nothing any more.
fn forget_paces(db: &Connection, forget: &Forget) -> Result<(), StoreError> {
    db.prepare_cached(
        "DELETE FROM pace WHERE gate IN (
           SELECT gate FROM pace WHERE over_at < ?1 AND wakes_at IS NULL ORDER BY over_at LIMIT ?2)",
    )?
    .execute(params![forget.now.as_micros(), forget.limit])?;
    Ok(())
}

fn documents(db: &Connection, changes: &[DocumentWrite], uses: &mut BlobUses) -> Result<(), StoreError> {
    for change in changes {
        match change {
            DocumentWrite::Put(document) => {
                uses.add_blob(&document.content, 1);
                db.prepare_cached(
                    "INSERT INTO document (tenant, id, file_name, content_type, content, job, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    document.tenant.as_str(),
                    document.id.as_bytes(),
                    document.file_name,
                    document.content_type,
                    rows::blob_bytes(&document.content),
                    document.job.as_bytes(),
                    document.created_at.as_micros(),
                ])?;
            }
            DocumentWrite::Part(tenant, id, part, content) => {
                let key = params![tenant.as_str(), id.as_bytes(), part];
                let mut old = db.prepare_cached(
                    "DELETE FROM document_part WHERE tenant = ?1 AND id = ?2 AND part = ?3 RETURNING blob",
                )?;
                for blob in old.query_map(key, |row| row.get::<_, Option<Vec<u8>>>(0))? {
                    blob?.map(|blob| rows::blob_of(&blob).map(|blob| uses.add_blob(&blob, -1))).transpose()?;
                }
                uses.add(content, 1);
                let (data, blob) = columns(content);
                db.prepare_cached(
                    "INSERT INTO document_part (tenant, id, part, data, blob) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![tenant.as_str(), id.as_bytes(), part, data, blob])?;
            }
            DocumentWrite::Delete(tenant, id) => {
                for sql in [
                    "DELETE FROM document_part WHERE tenant = ?1 AND id = ?2 RETURNING blob",
                    "DELETE FROM document WHERE tenant = ?1 AND id = ?2 RETURNING content",
                ] {
                    let mut statement = db.prepare_cached(sql)?;
                    let key = params![tenant.as_str(), id.as_bytes()];
                    for blob in statement.query_map(key, |row| row.get::<_, Option<Vec<u8>>>(0))? {
                        blob?.map(|blob| rows::blob_of(&blob).map(|blob| uses.add_blob(&blob, -1))).transpose()?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Keys whose time is over go with their jobs; those whose job is still there are kept on until that goes.
fn forget_keys(db: &Connection, forget: &Forget) -> Result<(), StoreError> {
    let mut over = db.prepare_cached(
        "SELECT tenant, route, key, jobs FROM idempotency WHERE keep_until < ?1 ORDER BY keep_until LIMIT ?2",
    )?;
    let mut job = db.prepare_cached(include_str!("queries/job_by_id.sql"))?;
    let mut delete = db.prepare_cached("DELETE FROM idempotency WHERE tenant = ?1 AND route = ?2 AND key = ?3")?;
    let mut keep =
        db.prepare_cached("UPDATE idempotency SET keep_until = ?4 WHERE tenant = ?1 AND route = ?2 AND key = ?3")?;
    let keys = over.query_map(params![forget.now.as_micros(), forget.limit], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?, row.get::<_, Vec<u8>>(3)?))
    })?;
    // Collected first: what is being read must not be changed meanwhile.
    for (tenant, route, key, jobs) in keys.collect::<Result<Vec<_>, _>>()? {
        let mut keep_until = None;
        for id in jobs.as_chunks::<16>().0 {
            let mut found = job.query(params![tenant, id])?;
            if let Some(row) = found.next()? {
                keep_until = keep_until.max(Some(forget.keep_until(&rows::stored(row)?.job)));
            }
        }
        match keep_until {
            Some(until) => keep.execute(params![tenant, route, key, until.as_micros()])?,
            None => delete.execute(params![tenant, route, key])?,
        };
    }
    Ok(())
}

/// Ids hold the time of the submit, so a tenant's old tombstones stand first; those of jobs that were submitted long
/// ago and went lately wait for their own time.
fn forget_tombstones(db: &Connection, forget: &Forget) -> Result<(), StoreError> {
    let oldest_kept = JobId::floor(forget.tombstones_before);
    let mut next_tenant = db.prepare_cached("SELECT min(tenant) FROM tombstone WHERE tenant > ?1")?;
    let mut delete = db.prepare_cached(
        "DELETE FROM tombstone WHERE tenant = ?1 AND gone_at < ?3 AND id IN (
           SELECT id FROM tombstone WHERE tenant = ?1 AND id < ?2 ORDER BY id LIMIT ?4)",
    )?;
    let mut tenant = String::new();
    while let Some(next) = next_tenant.query_row([&tenant], |row| row.get::<_, Option<String>>(0))? {
        tenant = next;
        let gone_before = forget.tombstones_before.as_micros();
        delete.execute(params![tenant, oldest_kept.as_bytes(), gone_before, forget.limit])?;
    }
    Ok(())
}

fn count_uses(db: &Connection, uses: BlobUses) -> Result<Vec<BlobRef>, StoreError> {
    let mut unused = Vec::new();
    for (digest, (size, delta)) in uses.0 {
        db.prepare_cached(
            "INSERT INTO blob_use (digest, size, uses) VALUES (?1, ?2, ?3)
             ON CONFLICT (digest) DO UPDATE SET uses = uses + excluded.uses",
        )?
        .execute(params![digest, size as i64, delta])?;
        let gone =
            db.prepare_cached("DELETE FROM blob_use WHERE digest = ?1 AND uses <= 0")?.execute([digest.as_slice()])?;
        if gone > 0 {
            unused.push(BlobRef { digest, size });
        }
    }
    Ok(unused)
}
