//! Storing a batch: a statement for each table, whatever the number of rows, all of them in one trip with the commit.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
};

use longhaul_core::{Attempt, BlobRef, Event, EventKind, Job, JobSpec, OutputData, Payload, Span, StepName, Tenant};
use sha2::{Digest as _, Sha256};
use tokio_postgres::Statement;
use uuid::Uuid;

use super::{
    batch::{AnswerWrite, Batch, Entry, NewTimer, Tally},
    columns::columns,
    gates::{Gates, Settled},
    load::LOOK_AGAIN,
    rows::{self, Cells, Changing},
    session::{Fault, Parameter, Session, pipelined},
};
use crate::{
    Claim, Idempotency, StoreError,
    ledger::{DocumentWrite, Erasure, PaceWrite, Phase, QUEUES_KEPT_LEAST},
};

columns!(States of StateRow {
    no: i64,
    score: i64,
    phase: i16,
    timer_at: Option<i64>,
    version: i64,
    attempt: i64,
    crashes: i64,
    last_seq: i64,
    queued_for: Option<i16>,
    due_at: Option<i64>,
    same_attempt: Option<bool>,
    token: Option<i64>,
    worker: Option<Cow<'a, str>>,
    in_process: Option<bool>,
    node: Option<i64>,
    stage: Option<i16>,
    lease_since: Option<i64>,
    lease_expires_at: Option<i64>,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    cancel_requested_at: Option<i64>,
    progress_fraction: Option<f64>,
    progress_message: Option<Cow<'a, str>>,
    error: Option<String>,
    ending: Option<i16>,
    ambiguous: Option<bool>,
    report: Option<String>,
    children: i32,
    children_submitted: i32,
    children_succeeded: i32,
    children_failed: i32,
    children_cancelled: i32,
    answers: i32,
    last_step_seq: i64,
    last_delta_seq: i64,
    last_reset_seq: i64,
    wait: Option<i16>,
    wait_step: Option<&'a str>,
    wait_prompt: Option<Cow<'a, str>>,
    wait_since: Option<i64>,
    trimmed: bool,
});

columns!(Specs of SpecRow {
    id: Uuid,
    tenant: &'a str,
    kind: &'a str,
    queue: &'a str,
    priority: i16,
    created_at: i64,
    max_attempts: i64,
    backoff_initial_ms: i64,
    backoff_max_ms: i64,
    retention: i64,
    run_at: Option<i64>,
    deadline_at: Option<i64>,
    attempt_timeout: Option<i64>,
    metadata: Option<&'a str>,
    metadata_pairs: Option<String>,
    retry_of: Option<Uuid>,
    parent: Option<Uuid>,
    parent_no: Option<i64>,
    child_index: i32,
    depth: i16,
    on_child_failure: i16,
    limit_key: Option<i64>,
    trace: Option<String>,
});

columns!(Payloads of PayloadRow {
    no: i64,
    data: Option<&'a [u8]>,
    digest: Option<&'a [u8]>,
    size: Option<i64>,
});

columns!(Events of EventRow {
    no: i64,
    seq: i64,
    sort: i16,
    time: i64,
    attempt: i64,
    number: Option<i64>,
    at: Option<i64>,
    real: Option<f64>,
    text: Option<Cow<'a, str>>,
    error: Option<Cow<'a, str>>,
});

columns!(Deltas of DeltaRow {
    no: i64,
    seq: i64,
    time: i64,
    attempt: i64,
    kind: i16,
    data: Cow<'a, str>,
});

columns!(Attempts of AttemptRow {
    no: i64,
    lease: i64,
    number: i64,
    started_at: i64,
    ended_at: i64,
    ending: Option<i16>,
    ambiguous: bool,
    worker: Cow<'a, str>,
    error: Option<String>,
});

columns!(Steps of StepRow {
    no: i64,
    name: &'a str,
    data: Option<&'a [u8]>,
    digest: Option<&'a [u8]>,
    size: Option<i64>,
});

columns!(Tombstones of TombstoneRow {
    tenant: &'a str,
    id: Uuid,
    status: i16,
    erased: bool,
    finished_at: i64,
    gone_at: i64,
});

columns!(Counts of CountRow {
    queue: &'a str,
    queued: i64,
    running: i64,
    waiting: i64,
});

columns!(Paces of PaceRow {
    gate: i64,
    starts: &'a [u8],
    over_at: i64,
    wakes_at: Option<i64>,
});

columns!(Timers of TimerRow {
    no: i64,
    timer_at: i64,
    trimmed: bool,
});

/// Uses of blobs that a batch adds and takes away, by digest.
#[derive(Default)]
pub(super) struct BlobUses(BTreeMap<[u8; 32], i64>);

impl BlobUses {
    fn add(&mut self, payload: &Payload, uses: i64) {
        if let Some(blob) = payload.blob() {
            self.add_blob(blob, uses);
        }
    }

    fn add_blob(&mut self, blob: &BlobRef, uses: i64) {
        *self.0.entry(blob.digest).or_default() += uses;
    }
}

/// Where a batch is counted: one of a few slots, so that servers seldom wait for each other to count.
pub(super) const SLOTS: i64 = 16;

fn slot_of(node: i64) -> i16 {
    i16::try_from(node.rem_euclid(SLOTS)).unwrap_or_default()
}

/// Writes everything; committing is left to the caller.
pub(super) async fn batch(
    session: &Session,
    batch: &Batch,
    unpinned: &BTreeMap<[u8; 32], i64>,
) -> Result<String, Fault> {
    let mut uses = BlobUses::default();
    let transaction = rows_of(session, batch, &mut uses).await?;
    answers(session, &batch.writes.answers, &mut uses).await?;
    keyed(session, batch).await?;
    paces(session, batch).await?;
    documents(session, &batch.writes.documents, &mut uses).await?;
    if !batch.writes.erasures.is_empty() {
        erase(session, &batch.writes.erasures, &mut uses).await?;
    }
    let dropped = forget_nodes(session, &batch.writes.dead_nodes).await?;
    blobs(session, batch.node, uses, unpinned, &dropped).await?;
    forget(session, batch).await?;
    Ok(transaction)
}

/// The rows of jobs and their histories, in one trip.
async fn rows_of(session: &Session, batch: &Batch, uses: &mut BlobUses) -> Result<String, Fault> {
    let mut changed: Vec<&Entry> = batch.entries.values().filter(|entry| entry.changed).collect();
    changed.sort_unstable_by_key(|entry| entry.no);
    let (mut fresh, mut specs, mut updates) = (States::default(), Specs::default(), States::default());
    let (mut inputs, mut outputs) = (Payloads::default(), Payloads::default());
    for entry in changed {
        let phase = entry.phase.ok_or_else(|| StoreError::Corrupt("a job without a phase".into()))?;
        if entry.fresh {
            fresh.push(state_row(entry, phase, batch.deltas_for));
            specs.push(spec_row(entry));
            let input = entry.input.as_ref().ok_or_else(|| StoreError::Corrupt("a new job without input".into()))?;
            inputs.push(payload_row(entry.no, input));
            uses.add(input, 1);
        } else {
            updates.push(state_row(entry, phase, batch.deltas_for));
        }
        if let Some(output) = entry.output.as_ref().filter(|_| entry.output_is_new) {
            outputs.push(payload_row(entry.no, output));
            uses.add(output, 1);
        }
    }
    let (mut events, mut attempts, mut steps) = (Events::default(), Attempts::default(), Steps::default());
    let mut deltas = Deltas::default();
    for (no, event) in &batch.writes.events {
        match &event.kind {
            EventKind::OutputDelta { data } => deltas.push(delta_row(*no, event, data)),
            _ => events.push(event_row(*no, event)),
        }
    }
    batch.writes.attempts.iter().for_each(|(no, attempt)| attempts.push(attempt_row(*no, attempt)));
    for (no, name, output) in &batch.writes.steps {
        steps.push(step_row(*no, name, output));
        uses.add(output, 1);
    }
    let mut counts = Counts::default();
    for (queue, tally) in batch.writes.counts.iter().filter(|(_, tally)| **tally != Default::default()) {
        let Tally { queued, running, waiting } = *tally;
        counts.push(CountRow { queue: queue.as_str(), queued, running, waiting, lifetime: PhantomData });
    }
    let slot = slot_of(batch.node);

    let mut new_jobs = fresh.parameters();
    new_jobs.extend(specs.parameters());
    let mut counted = counts.parameters();
    counted.push(&slot);
    let all: [(&str, usize, Vec<Parameter<'_>>); 10] = [
        (include_str!("queries/insert_job.sql"), specs.rows(), new_jobs),
        (include_str!("queries/update_job.sql"), updates.rows(), updates.parameters()),
        (include_str!("queries/insert_input.sql"), inputs.rows(), inputs.parameters()),
        (include_str!("queries/insert_output.sql"), outputs.rows(), outputs.parameters()),
        (include_str!("queries/insert_event.sql"), events.rows(), events.parameters()),
        (include_str!("queries/insert_delta.sql"), deltas.rows(), deltas.parameters()),
        (include_str!("queries/insert_attempt.sql"), attempts.rows(), attempts.parameters()),
        (include_str!("queries/insert_step.sql"), steps.rows(), steps.parameters()),
        (include_str!("queries/count.sql"), counts.rows(), counted),
        (include_str!("queries/transaction.sql"), 1, Vec::new()),
    ];
    send_all(session, &all).await
}

/// Sends what has rows, in order, in one trip; the last names the transaction.
async fn send_all(session: &Session, all: &[(&str, usize, Vec<Parameter<'_>>)]) -> Result<String, Fault> {
    let mut prepared: Vec<(Statement, &[Parameter<'_>])> = Vec::with_capacity(all.len());
    for (sql, _, parameters) in all.iter().filter(|(_, rows, _)| *rows > 0) {
        prepared.push((session.statement(sql).await?, parameters));
    }
    let sent = prepared.iter().map(|(statement, parameters)| session.send(statement, parameters)).collect();
    let answers = pipelined(sent).await?;
    let named = answers.last().and_then(|rows| rows.first()).ok_or_else(|| rows::damaged("transaction"))?;
    Ok(Cells::of(named).next()?)
}

fn state_row(entry: &Entry, phase: Phase, deltas_for: Span) -> StateRow<'_> {
    let job: &Job = &entry.job;
    let changing = Changing::of(job);
    let (fraction, message) = match &job.progress {
        Some(progress) => (progress.fraction, progress.message.as_deref()),
        None => (None, None),
    };
    StateRow {
        no: entry.no,
        score: rows::score(job),
        phase: rows::phase_number(phase),
        timer_at: rows::at(rows::timer(job, phase, entry.trimmed, deltas_for)),
        version: rows::signed(job.version),
        attempt: job.attempt.into(),
        crashes: job.crashes.into(),
        last_seq: rows::signed(job.last_seq),
        queued_for: changing.queued_for,
        due_at: changing.due_at,
        same_attempt: changing.same_attempt,
        token: job.last_token.map(longhaul_core::LeaseToken::as_i64),
        worker: changing.worker,
        in_process: changing.in_process,
        node: entry.node,
        stage: changing.stage,
        lease_since: changing.lease_since,
        lease_expires_at: changing.lease_expires_at,
        started_at: rows::at(job.started_at),
        finished_at: rows::at(job.finished_at),
        cancel_requested_at: rows::at(job.cancel_requested_at),
        progress_fraction: fraction,
        progress_message: message.map(rows::text),
        error: job.error.as_ref().and_then(rows::to_json),
        ending: changing.ending,
        ambiguous: changing.ambiguous,
        report: (job.report != longhaul_core::Report::default()).then(|| rows::to_json(&job.report)).flatten(),
        children: rows::small(job.children.total),
        children_submitted: rows::small(job.children.submitted),
        children_succeeded: rows::small(job.children.succeeded),
        children_failed: rows::small(job.children.failed),
        children_cancelled: rows::small(job.children.cancelled),
        answers: rows::small(job.answers),
        last_step_seq: rows::signed(job.last_step_seq),
        last_delta_seq: rows::signed(job.last_delta_seq),
        last_reset_seq: rows::signed(job.last_reset_seq),
        wait: changing.wait,
        wait_step: changing.wait_step,
        wait_prompt: changing.wait_prompt,
        wait_since: changing.wait_since,
        trimmed: entry.trimmed,
        lifetime: PhantomData,
    }
}

fn spec_row(entry: &Entry) -> SpecRow<'_> {
    let spec: &JobSpec = &entry.job.spec;
    SpecRow {
        id: rows::uuid(&spec.id),
        tenant: spec.tenant.as_str(),
        kind: spec.kind.as_str(),
        queue: spec.queue.as_str(),
        priority: spec.priority.into(),
        created_at: spec.created_at.as_micros(),
        max_attempts: spec.max_attempts.into(),
        backoff_initial_ms: rows::signed(spec.backoff.initial_ms),
        backoff_max_ms: rows::signed(spec.backoff.max_ms),
        retention: rows::micros(spec.retention),
        run_at: rows::at(spec.run_at),
        deadline_at: rows::at(spec.deadline_at),
        attempt_timeout: spec.attempt_timeout.map(rows::micros),
        metadata: spec.metadata.as_deref(),
        metadata_pairs: spec.metadata.as_deref().and_then(rows::metadata_pairs),
        retry_of: spec.retry_of.as_ref().map(rows::uuid),
        parent: spec.parent.as_ref().map(rows::uuid),
        parent_no: entry.parent_no,
        child_index: rows::small(spec.child_index),
        depth: spec.depth.into(),
        on_child_failure: rows::on_child_failure(spec.on_child_failure),
        limit_key: spec.limit_key.map(|key| key.0),
        trace: spec.trace.map(|trace| trace.to_string()),
        lifetime: PhantomData,
    }
}

/// A payload as its columns `data`, `digest` and `size`.
fn payload_columns(payload: &Payload) -> (Option<&[u8]>, Option<&[u8]>, Option<i64>) {
    match payload {
        Payload::Inline(data) => (Some(data), None, None),
        Payload::Blob(blob) => (None, Some(&blob.digest), Some(rows::signed(blob.size))),
    }
}

fn payload_row(no: i64, payload: &Payload) -> PayloadRow<'_> {
    let (data, digest, size) = payload_columns(payload);
    PayloadRow { no, data, digest, size, lifetime: PhantomData }
}

fn step_row<'a>(no: i64, name: &'a StepName, output: &'a Payload) -> StepRow<'a> {
    let (data, digest, size) = payload_columns(output);
    StepRow { no, name: name.as_str(), data, digest, size, lifetime: PhantomData }
}

fn event_row(no: i64, event: &Event) -> EventRow<'_> {
    let (sort, row) = rows::event_row(&event.kind);
    EventRow {
        no,
        seq: rows::signed(event.seq),
        sort,
        time: event.time.as_micros(),
        attempt: event.attempt.into(),
        number: row.number,
        at: row.at,
        real: row.real,
        text: row.text,
        error: row.error,
        lifetime: PhantomData,
    }
}

fn delta_row<'a>(no: i64, event: &'a Event, data: &'a OutputData) -> DeltaRow<'a> {
    let (kind, data) = rows::delta_row(data);
    let (seq, time) = (rows::signed(event.seq), event.time.as_micros());
    DeltaRow { no, seq, time, attempt: event.attempt.into(), kind, data, lifetime: PhantomData }
}

fn attempt_row(no: i64, attempt: &Attempt) -> AttemptRow<'_> {
    AttemptRow {
        no,
        lease: attempt.lease.into(),
        number: attempt.number.into(),
        started_at: attempt.started_at.as_micros(),
        ended_at: attempt.ended_at.unwrap_or(attempt.started_at).as_micros(),
        ending: rows::ending_number(attempt.ending),
        ambiguous: attempt.ambiguous,
        worker: rows::text(&attempt.worker),
        error: attempt.error.as_ref().and_then(rows::to_json),
        lifetime: PhantomData,
    }
}

/// Answers that are kept, and that have become steps, one after the other.
async fn answers(session: &Session, changes: &[(i64, AnswerWrite)], uses: &mut BlobUses) -> Result<(), Fault> {
    for (no, change) in changes {
        match change {
            AnswerWrite::Keep(answer) => {
                uses.add(answer, 1);
                let (data, digest, size) = payload_columns(answer);
                let row: [Parameter<'_>; 4] = [no, &data, &digest, &size];
                session.rows(include_str!("queries/keep_answer.sql"), &row).await?;
            }
            AnswerWrite::TakeOldest => {
                let taken = session.rows(include_str!("queries/take_answer.sql"), &[no]).await?;
                release(&taken, uses)?;
            }
        }
    }
    Ok(())
}

/// What comes seldom, a row at a time.
async fn keyed(session: &Session, batch: &Batch) -> Result<(), Fault> {
    let writes = &batch.writes;
    if !writes.idempotency.is_empty() {
        let mut used: (Vec<&str>, Vec<&str>, Vec<&[u8]>) = Default::default();
        // Those alone that were found, and locked: what another server has taken in since stands.
        let found = &batch.found.idempotency;
        let is_found =
            |tenant: &Tenant, key: &Idempotency| found.contains_key(&(tenant.clone(), key.route.to_owned(), key.key));
        for (tenant, key, _) in writes.idempotency.iter().filter(|(tenant, key, _)| is_found(tenant, key)) {
            used.0.push(tenant.as_str());
            used.1.push(key.route);
            used.2.push(&key.key);
        }
        let jobs: Vec<Vec<Uuid>> =
            writes.idempotency.iter().map(|(.., jobs)| jobs.iter().map(rows::uuid).collect()).collect();
        let insert = session.statement(include_str!("queries/insert_idempotency.sql")).await?;
        if !used.0.is_empty() {
            let forgotten: [Parameter<'_>; 3] = [&used.0, &used.1, &used.2];
            session.rows(include_str!("queries/forget_key.sql"), &forgotten).await?;
        }
        let keys: Vec<KeyColumns<'_>> = (writes.idempotency.iter().zip(&jobs))
            .map(|((tenant, key, _), jobs)| {
                (
                    tenant.as_str(),
                    key.route,
                    key.key.as_slice(),
                    key.fingerprint.as_slice(),
                    jobs,
                    key.keep_until.as_micros(),
                )
            })
            .collect();
        let parameters: Vec<[Parameter<'_>; 6]> =
            keys.iter().map(|key| -> [Parameter<'_>; 6] { [&key.0, &key.1, &key.2, &key.3, key.4, &key.5] }).collect();
        for parameters in parameters.chunks(16) {
            pipelined(parameters.iter().map(|key| session.send(&insert, key)).collect()).await?;
        }
    }
    for claim in &writes.claimants {
        claimant(session, batch, claim).await?;
    }
    for (queue, paused) in &writes.pauses {
        session.execute(include_str!("queries/pause_queue.sql"), &[&queue.as_str(), paused]).await?;
    }
    for (tenant, kind) in &writes.kinds {
        let spec = rows::to_json(kind).ok_or_else(|| rows::damaged("kind"))?;
        let limits = (!kind.limits.is_empty()).then(|| rows::to_json(&kind.limits)).flatten();
        let row: [Parameter<'_>; 4] = [&tenant.as_str(), &kind.name.as_str(), &spec, &limits];
        session.execute(include_str!("queries/put_kind.sql"), &row).await?;
    }
    for key in &writes.keys {
        let scopes = key.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let row: [Parameter<'_>; 8] = [
            &rows::key_uuid(&key.id),
            &key.tenant.as_str(),
            &rows::text(&key.name),
            &scopes,
            &key.secret_hash.as_slice(),
            &key.created_at.as_micros(),
            &rows::at(key.expires_at),
            &rows::at(key.revoked_at),
        ];
        session.execute(include_str!("queries/put_key.sql"), &row).await?;
    }
    Ok(())
}

/// Tells other servers who claims here.
async fn claimant(session: &Session, batch: &Batch, claim: &Claim) -> Result<(), Fault> {
    let kinds: Vec<&str> = claim.kinds.iter().map(|kind| kind.as_str()).collect();
    let queues: Option<Vec<&str>> =
        claim.queues.as_ref().map(|queues| queues.iter().map(|queue| queue.as_str()).collect());
    let (worker, tenant) = (rows::text(&claim.worker), claim.tenant.as_deref());
    let digest: [u8; 32] = Sha256::digest(format!("{worker:?}{kinds:?}{tenant:?}{queues:?}")).into();
    let row: [Parameter<'_>; 7] =
        [&batch.node, &digest.as_slice(), &worker, &kinds, &tenant, &queues, &batch.now.as_micros()];
    session.rows(include_str!("queries/put_claimant.sql"), &row).await?;
    Ok(())
}

/// An idempotency key's columns, but for its time.
type KeyColumns<'a> = (&'a str, &'a str, &'a [u8], &'a [u8], &'a Vec<Uuid>, i64);

async fn documents(session: &Session, changes: &[DocumentWrite], uses: &mut BlobUses) -> Result<(), Fault> {
    for change in changes {
        match change {
            DocumentWrite::Put(document) => {
                uses.add_blob(&document.content, 1);
                let row: [Parameter<'_>; 8] = [
                    &document.tenant.as_str(),
                    &rows::document_uuid(&document.id),
                    &rows::text(&document.file_name),
                    &document.content_type.as_deref().map(rows::text),
                    &document.content.digest.as_slice(),
                    &rows::signed(document.content.size),
                    &rows::uuid(&document.job),
                    &document.created_at.as_micros(),
                ];
                session.execute(include_str!("queries/insert_document.sql"), &row).await?;
            }
            DocumentWrite::Part(tenant, id, part, content) => {
                let (tenant, id) = (tenant.as_str(), rows::document_uuid(id));
                let old = session.rows(include_str!("queries/drop_part.sql"), &[&tenant, &id, part]).await?;
                release(&old, uses)?;
                uses.add(content, 1);
                let (data, digest, size) = payload_columns(content);
                let row: [Parameter<'_>; 6] = [&tenant, &id, part, &data, &digest, &size];
                session.execute(include_str!("queries/put_part.sql"), &row).await?;
            }
            DocumentWrite::Delete(tenant, id) => {
                let key: [Parameter<'_>; 2] = [&tenant.as_str(), &rows::document_uuid(id)];
                let old = session.rows(include_str!("queries/drop_document.sql"), &key).await?;
                release(&old, uses)?;
            }
        }
    }
    Ok(())
}

/// Rows that are gone referred to these.
fn release(gone: &[tokio_postgres::Row], uses: &mut BlobUses) -> Result<(), StoreError> {
    for row in gone {
        if let Some(blob) = Cells::of(row).blob()? {
            uses.add_blob(&blob, -1);
        }
    }
    Ok(())
}

async fn erase(session: &Session, erasures: &[Erasure], uses: &mut BlobUses) -> Result<(), Fault> {
    let numbers: Vec<i64> = erasures.iter().map(|erasure| erasure.no).collect();
    let gone = session.rows(include_str!("queries/erase.sql"), &[&numbers]).await?;
    release(&gone, uses)?;
    let mut tombstones = Tombstones::default();
    for Erasure { tenant, tombstone, gone_at, .. } in erasures {
        tombstones.push(TombstoneRow {
            tenant: tenant.as_str(),
            id: rows::uuid(&tombstone.job),
            status: rows::terminal_number(tombstone.status),
            erased: tombstone.erased,
            finished_at: tombstone.finished_at.as_micros(),
            gone_at: gone_at.as_micros(),
            lifetime: PhantomData,
        });
    }
    debug_assert_eq!(tombstones.rows(), numbers.len(), "each job that goes leaves one");
    session.rows(include_str!("queries/insert_tombstone.sql"), &tombstones.parameters()).await?;
    Ok(())
}

/// Counts the uses of blobs, and removes those that have none left and that nobody is about to refer to. `dropped`: those
/// whose pins went with their servers.
async fn blobs(
    session: &Session,
    node: i64,
    uses: BlobUses,
    unpinned: &BTreeMap<[u8; 32], i64>,
    dropped: &BTreeSet<Vec<u8>>,
) -> Result<(), Fault> {
    if uses.0.is_empty() && unpinned.is_empty() && dropped.is_empty() {
        return Ok(());
    }
    let dropped = dropped.iter().map(Vec::as_slice);
    let mut digests: Vec<&[u8]> =
        uses.0.keys().chain(unpinned.keys()).map(<[u8; 32]>::as_slice).chain(dropped.clone()).collect();
    digests.sort_unstable();
    digests.dedup();
    session.rows(include_str!("queries/lock_blobs.sql"), &[&digests]).await?;
    if !uses.0.is_empty() {
        let (used, by): (Vec<&[u8]>, Vec<i64>) = uses.0.iter().map(|(digest, uses)| (digest.as_slice(), *uses)).unzip();
        let counted = session.rows(include_str!("queries/count_blob_uses.sql"), &[&used, &by]).await?;
        let counted: BTreeSet<&[u8]> =
            counted.iter().map(|row| Cells::of(row).next::<&[u8]>()).collect::<Result<_, _>>()?;
        if uses.0.iter().any(|(digest, uses)| *uses > 0 && !counted.contains(digest.as_slice())) {
            // Its pin went with this server, which another has taken for dead. Who sends the bytes again is served.
            return Err(StoreError::Unavailable("a payload that was stored a moment ago has gone".into()).into());
        }
    }
    if !unpinned.is_empty() {
        let (pins, by): (Vec<&[u8]>, Vec<i64>) =
            unpinned.iter().map(|(digest, pins)| (digest.as_slice(), *pins)).unzip();
        session.rows(include_str!("queries/unpin_blobs.sql"), &[&pins, &by, &node]).await?;
        session.rows(include_str!("queries/drop_pins.sql"), &[&pins, &node]).await?;
    }
    let gone = uses.0.iter().filter(|(_, uses)| **uses <= 0).map(|(digest, _)| digest);
    let gone: Vec<&[u8]> = gone.chain(unpinned.keys()).map(<[u8; 32]>::as_slice).chain(dropped).collect();
    if !gone.is_empty() {
        session.rows(include_str!("queries/drop_blobs.sql"), &[&gone]).await?;
    }
    Ok(())
}

/// What has started under limits, and when they are to be looked at.
async fn paces(session: &Session, batch: &Batch) -> Result<(), Fault> {
    let Gates { paces: started, settled, wakes, awake, .. } = &batch.gates;
    if !(settled.is_empty() && wakes.is_empty() && awake.is_empty()) {
        // All at once and in their order: what follows writes the same rows in several statements, as others do.
        let gates = started.keys().chain(settled.keys()).chain(wakes.keys()).chain(awake);
        let gates: Vec<i64> = gates.copied().collect::<BTreeSet<i64>>().into_iter().collect();
        session.rows(include_str!("queries/lock_paces.sql"), &[&gates]).await?;
    }
    if !awake.is_empty() {
        session.rows(include_str!("queries/awake.sql"), &[awake, &batch.now.as_micros()]).await?;
    }
    if !settled.is_empty() {
        let mut was: Vec<&[u8]> = Vec::with_capacity(settled.len());
        let mut paces = Paces::default();
        for (gate, Settled { was: stored, write: PaceWrite { starts, over_at, wakes_at } }) in settled {
            was.push(stored);
            let (over_at, wakes_at) = (over_at.as_micros(), rows::at(*wakes_at));
            paces.push(PaceRow { gate: *gate, starts, over_at, wakes_at, lifetime: PhantomData });
        }
        let mut parameters = paces.parameters();
        parameters.push(&was);
        session.rows(include_str!("queries/settle_paces.sql"), &parameters).await?;
    }
    if !wakes.is_empty() {
        let (gates, times): (Vec<i64>, Vec<i64>) = wakes.iter().map(|(gate, at)| (*gate, at.as_micros())).unzip();
        session.rows(include_str!("queries/wake_paces.sql"), &[&gates, &times]).await?;
    }
    let mut paces = Paces::default();
    for (gate, PaceWrite { starts, over_at, wakes_at }) in started {
        let (over_at, wakes_at) = (over_at.as_micros(), rows::at(*wakes_at));
        paces.push(PaceRow { gate: *gate, starts, over_at, wakes_at, lifetime: PhantomData });
    }
    if paces.rows() > 0 {
        session.rows(include_str!("queries/put_paces.sql"), &paces.parameters()).await?;
    }
    Ok(())
}

/// Lets go of what servers that are dead were taking in, or about to refer to; says which blobs they had pinned.
async fn forget_nodes(session: &Session, dead: &[i64]) -> Result<BTreeSet<Vec<u8>>, Fault> {
    if dead.is_empty() {
        return Ok(BTreeSet::new());
    }
    let gone = session.rows(include_str!("queries/forget_nodes.sql"), &[&dead]).await?;
    let gone: Vec<i64> = gone.iter().map(|row| Cells::of(row).next()).collect::<Result<_, _>>()?;
    let bodies = session.rows(include_str!("queries/forget_uploads.sql"), &[&gone]).await?;
    let bodies: Vec<i64> = bodies.iter().map(|row| Cells::of(row).next()).collect::<Result<_, _>>()?;
    // Once nobody can add to them: a statement sees what was there when it began.
    session.execute(include_str!("queries/drop_chunks.sql"), &[&bodies]).await?;
    let unpinned = session.rows(include_str!("queries/forget_pins.sql"), &[&gone]).await?;
    Ok(unpinned.iter().map(|row| Cells::of(row).next()).collect::<Result<_, _>>()?)
}

/// What goes of ended jobs that stay, whose children are to be cancelled, and what nobody has to remember.
async fn forget(session: &Session, batch: &Batch) -> Result<(), Fault> {
    let writes = &batch.writes;
    if !writes.trims.is_empty() {
        session.rows(include_str!("queries/trim.sql"), &[&writes.trims]).await?;
    }
    let mut timers = Timers::default();
    for NewTimer { no, at, trimmed } in &writes.timers {
        timers.push(TimerRow { no: *no, timer_at: at.as_micros(), trimmed: *trimmed, lifetime: PhantomData });
    }
    if timers.rows() > 0 {
        session.rows(include_str!("queries/set_timers.sql"), &timers.parameters()).await?;
    }
    if !writes.abandoned_done.is_empty() {
        session.rows(include_str!("queries/forget_abandoned.sql"), &[&writes.abandoned_done]).await?;
    }
    if !writes.abandoned_left.is_empty() {
        session.rows(include_str!("queries/abandon.sql"), &[&writes.abandoned_left]).await?;
    }
    if let Some(forget) = &batch.writes.forget {
        let (now, limit) = (forget.now.as_micros(), rows::signed(forget.limit as u64));
        let again = (forget.now + LOOK_AGAIN).as_micros();
        session.rows(include_str!("queries/forget_keys.sql"), &[&now, &limit, &again]).await?;
        let before = forget.tombstones_before.as_micros();
        session.rows(include_str!("queries/forget_tombstones.sql"), &[&before, &limit]).await?;
        session.rows(include_str!("queries/forget_paces.sql"), &[&now, &limit]).await?;
        let (slot, kept) = (slot_of(batch.node), rows::signed(QUEUES_KEPT_LEAST as u64));
        session.rows(include_str!("queries/forget_tallies.sql"), &[&slot, &kept, &limit]).await?;
        let silent = (forget.now - LOOK_AGAIN).as_micros();
        session.rows("DELETE FROM claimant WHERE at < $1", &[&silent]).await?;
    }
    Ok(())
}
