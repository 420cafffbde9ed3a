//! Rows to jobs and events, and back.

use std::{borrow::Cow, sync::Arc};

use longhaul_core::{
    Attempt, Backoff, BlobRef, ChildCounts, Ending, Event, EventKind, Job, JobError, JobId, JobSpec, Lease, LeaseToken,
    LimitKey, LogLevel, OnChildFailure, OutputData, Payload, Progress, QueuedFor, Report, Span, Stage, State,
    Timestamp, Wait,
};
use rusqlite::{Row, types::ValueRef};

use crate::{
    Child, StoreError,
    ledger::{Phase, Stored},
};

fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(format!("a stored {what} cannot be read"))
}

// ── small numbers ──

const PHASES: [Phase; 7] =
    [Phase::Ready, Phase::Deferred, Phase::Running, Phase::Waiting, Phase::Succeeded, Phase::Failed, Phase::Cancelled];
const QUEUED_FOR: [QueuedFor; 5] =
    [QueuedFor::Turn, QueuedFor::Schedule, QueuedFor::Retry, QueuedFor::Park, QueuedFor::Resume];
const STAGES: [Stage; 3] = [Stage::Validating, Stage::Executing, Stage::Cancelling];
const LEVELS: [LogLevel; 3] = [LogLevel::Info, LogLevel::Warn, LogLevel::Error];
const ENDINGS: [Ending; 8] = [
    Ending::Succeeded,
    Ending::Failed,
    Ending::Crashed,
    Ending::Released,
    Ending::Parked,
    Ending::Cancelled,
    Ending::DeadlineExceeded,
    Ending::Waiting,
];

fn nth<T: Copy>(table: &[T], number: i64, what: &str) -> Result<T, StoreError> {
    usize::try_from(number).ok().and_then(|index| table.get(index)).copied().ok_or_else(|| damaged(what))
}

/// The number under which a table's entry is stored: its place in the table, which only ever grows at its end.
fn number<T: PartialEq>(table: &[T], entry: &T) -> i64 {
    table.iter().position(|other| other == entry).map_or(-1, |index| index as i64)
}

/// -1 is what is held back: below 4 a job lives, and the queries say so in numbers.
pub(super) fn phase_number(phase: Phase) -> i64 {
    number(&PHASES, &phase)
}

pub(super) fn phase_of(stored: i64) -> Result<Phase, StoreError> {
    if stored == -1 {
        return Ok(Phase::Blocked);
    }
    nth(&PHASES, stored, "phase")
}

pub(super) fn ending_number(ending: Option<Ending>) -> Option<i64> {
    ending.map(|ending| number(&ENDINGS, &ending))
}

pub(super) fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<Timestamp> {
    row.get(index).map(Timestamp::from_micros)
}

pub(super) fn time_or_none(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(Timestamp::from_micros))
}

pub(super) fn span(micros: i64) -> Span {
    Span::from_micros(u64::try_from(micros).unwrap_or(0))
}

pub(super) fn micros(span: Span) -> i64 {
    stored_unsigned(span.as_micros())
}

/// SQLite's integers end where signed ones do; nothing that is counted here comes near.
pub(super) fn stored_unsigned(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

// ── payloads ──

pub(super) fn blob_bytes(blob: &BlobRef) -> Vec<u8> {
    let mut bytes = blob.digest.to_vec();
    bytes.extend_from_slice(&blob.size.to_le_bytes());
    bytes
}

pub(super) fn blob_of(bytes: &[u8]) -> Result<BlobRef, StoreError> {
    let (digest, size) = bytes.split_at_checked(32).ok_or_else(|| damaged("reference to a blob"))?;
    Ok(BlobRef {
        digest: digest.try_into().map_err(|_| damaged("reference to a blob"))?,
        size: u64::from_le_bytes(size.try_into().map_err(|_| damaged("reference to a blob"))?),
    })
}

/// From the columns `data` and `blob`, beginning at `first`.
pub(super) fn payload(row: &Row<'_>, first: usize) -> Result<Payload, StoreError> {
    match (row.get_ref(first)?, row.get_ref(first + 1)?) {
        (ValueRef::Blob(data), _) => Ok(Payload::Inline(data.to_vec().into())),
        (_, ValueRef::Blob(blob)) => blob_of(blob).map(Payload::Blob),
        _ => Err(damaged("payload")),
    }
}

// ── jobs ──

fn json<T: serde::de::DeserializeOwned>(text: Option<String>, what: &str) -> Result<Option<T>, StoreError> {
    text.map(|text| serde_json::from_str(&text).map_err(|_| damaged(what))).transpose()
}

pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Option<String> {
    serde_json::to_string(value).ok()
}

/// From a row of all columns, in the order of `job_by_no.sql`.
pub(super) fn stored(row: &Row<'_>) -> Result<Stored, StoreError> {
    let no: i64 = row.get(0)?;
    let name = |index: usize| -> Result<String, StoreError> { Ok(row.get(index)?) };
    let id = JobId::from_bytes(row.get::<_, [u8; 16]>(2)?);
    let spec = JobSpec {
        id,
        tenant: name(1)?.parse().map_err(|_| damaged("tenant"))?,
        kind: name(3)?.parse().map_err(|_| damaged("kind"))?,
        queue: name(4)?.parse().map_err(|_| damaged("queue"))?,
        priority: row.get(5)?,
        created_at: time(row, 11)?,
        max_attempts: row.get(12)?,
        backoff: Backoff { initial_ms: unsigned(row, 13)?, max_ms: unsigned(row, 14)? },
        retention: span(row.get(15)?),
        run_at: time_or_none(row, 16)?,
        deadline_at: time_or_none(row, 17)?,
        attempt_timeout: row.get::<_, Option<i64>>(18)?.map(span),
        metadata: row.get::<_, Option<String>>(19)?.map(String::into_boxed_str),
        retry_of: row.get::<_, Option<[u8; 16]>>(20)?.map(JobId::from_bytes),
        parent: row.get::<_, Option<[u8; 16]>>(39)?.map(JobId::from_bytes),
        child_index: row.get::<_, Option<u32>>(40)?.unwrap_or(0),
        depth: row.get::<_, Option<u8>>(41)?.unwrap_or(0),
        on_child_failure: match row.get::<_, Option<i64>>(42)? {
            Some(_) => OnChildFailure::Fail,
            None => OnChildFailure::Partial,
        },
        limit_key: row.get::<_, Option<i64>>(55)?.map(LimitKey),
        trace: match row.get_ref(56)?.as_str_or_null().map_err(|_| damaged("trace"))? {
            Some(stored) => Some(stored.parse().map_err(|_| damaged("trace"))?),
            None => None,
        },
    };
    let phase = phase_of(row.get(6)?)?;
    let state = state(row, phase)?;
    let last_token = row.get::<_, Option<i64>>(24)?.map(LeaseToken::from_i64);
    let mut job = Job {
        spec: Arc::new(spec),
        state,
        version: unsigned(row, 7)?,
        attempt: row.get(8)?,
        crashes: row.get(9)?,
        last_token,
        last_seq: unsigned(row, 10)?,
        last_step_seq: unsigned_or_none(row, 49)?,
        last_delta_seq: unsigned_or_none(row, 50)?,
        last_reset_seq: unsigned_or_none(row, 51)?,
        children: children(row)?,
        answers: row.get::<_, Option<u32>>(48)?.unwrap_or(0),
        started_at: time_or_none(row, 30)?,
        finished_at: time_or_none(row, 31)?,
        cancel_requested_at: time_or_none(row, 32)?,
        progress: progress(row)?,
        error: json::<JobError>(row.get(35)?, "error")?,
        last_attempt: None,
        report: json::<Report>(row.get(38)?, "report")?.unwrap_or_default(),
    };
    if let Some(ending) = row.get::<_, Option<i64>>(36)? {
        job.last_attempt = Some(Box::new(Attempt {
            number: job.attempt,
            lease: job.leases(),
            started_at: time(row, 28)?,
            ended_at: job.finished_at,
            worker: row.get(25)?,
            ending: Some(nth(&ENDINGS, ending, "ending")?),
            // A cancelled job may still show the error of an attempt before its last.
            error: job.error.clone().filter(|_| phase == Phase::Failed),
            ambiguous: row.get(37)?,
        }));
    }
    Ok(Stored { no, phase, job })
}

fn state(row: &Row<'_>, phase: Phase) -> Result<State, StoreError> {
    Ok(match phase {
        Phase::Blocked | Phase::Ready | Phase::Deferred => State::Queued {
            why: nth(&QUEUED_FOR, row.get(21)?, "reason to wait")?,
            due_at: time(row, 22)?,
            same_attempt: row.get(23)?,
        },
        Phase::Running => State::Running {
            lease: Lease {
                token: LeaseToken::from_i64(row.get(24)?),
                worker: Arc::from(row.get::<_, String>(25)?),
                in_process: row.get(26)?,
                since: time(row, 28)?,
                expires_at: time(row, 29)?,
            },
            stage: nth(&STAGES, row.get(27)?, "stage")?,
        },
        Phase::Waiting => State::Waiting {
            wait: match row.get::<_, i64>(52)? {
                0 => Wait::Children,
                _ => Wait::Input {
                    step: row.get::<_, String>(53)?.parse().map_err(|_| damaged("step"))?,
                    prompt: row.get(54)?,
                },
            },
            since: time(row, 28)?,
        },
        Phase::Succeeded => State::Succeeded,
        Phase::Failed => State::Failed,
        Phase::Cancelled => State::Cancelled,
    })
}

fn children(row: &Row<'_>) -> Result<ChildCounts, StoreError> {
    let count = |index: usize| Ok::<_, StoreError>(row.get::<_, Option<u32>>(index)?.unwrap_or(0));
    let total = count(43)?;
    if total == 0 {
        return Ok(ChildCounts::default());
    }
    Ok(ChildCounts { total, submitted: count(44)?, succeeded: count(45)?, failed: count(46)?, cancelled: count(47)? })
}

fn progress(row: &Row<'_>) -> Result<Option<Progress>, StoreError> {
    let (fraction, message): (Option<f64>, Option<String>) = (row.get(33)?, row.get(34)?);
    Ok((fraction.is_some() || message.is_some()).then_some(Progress { fraction, message }))
}

pub(super) fn unsigned(row: &Row<'_>, index: usize) -> Result<u64, StoreError> {
    u64::try_from(row.get::<_, i64>(index)?).map_err(|_| damaged("number"))
}

fn unsigned_or_none(row: &Row<'_>, index: usize) -> Result<u64, StoreError> {
    u64::try_from(row.get::<_, Option<i64>>(index)?.unwrap_or(0)).map_err(|_| damaged("number"))
}

/// The columns of a row that change, as they are stored.
pub(super) struct Moving<'a> {
    pub(super) queued_for: Option<i64>,
    pub(super) due_at: Option<i64>,
    pub(super) same_attempt: Option<bool>,
    pub(super) token: Option<i64>,
    pub(super) worker: Option<Arc<str>>,
    pub(super) in_process: Option<bool>,
    pub(super) stage: Option<i64>,
    pub(super) lease_since: Option<i64>,
    pub(super) lease_expires_at: Option<i64>,
    pub(super) error: Option<String>,
    pub(super) ending: Option<i64>,
    pub(super) ambiguous: Option<bool>,
    pub(super) report: Option<String>,
    pub(super) wait: Option<i64>,
    pub(super) wait_step: Option<&'a str>,
    pub(super) wait_prompt: Option<&'a str>,
}

impl<'a> Moving<'a> {
    pub(super) fn of(job: &'a Job) -> Self {
        let mut moving = Self {
            queued_for: None,
            due_at: None,
            same_attempt: None,
            token: job.last_token.map(LeaseToken::as_i64),
            worker: None,
            in_process: None,
            stage: None,
            lease_since: None,
            lease_expires_at: None,
            error: job.error.as_ref().and_then(to_json),
            ending: None,
            ambiguous: None,
            report: (job.report != Report::default()).then(|| to_json(&job.report)).flatten(),
            wait: None,
            wait_step: None,
            wait_prompt: None,
        };
        match &job.state {
            State::Queued { why, due_at, same_attempt } => {
                moving.queued_for = Some(number(&QUEUED_FOR, why));
                moving.due_at = Some(due_at.as_micros());
                moving.same_attempt = Some(*same_attempt);
            }
            State::Running { lease, stage } => {
                moving.worker = Some(lease.worker.clone());
                moving.in_process = Some(lease.in_process);
                moving.stage = Some(number(&STAGES, stage));
                moving.lease_since = Some(lease.since.as_micros());
                moving.lease_expires_at = Some(lease.expires_at.as_micros());
            }
            State::Waiting { wait, since } => {
                moving.lease_since = Some(since.as_micros());
                let (number, step, prompt) = wait_columns(wait);
                (moving.wait, moving.wait_step, moving.wait_prompt) = (Some(number), step, prompt);
            }
            State::Succeeded | State::Failed | State::Cancelled => {
                if let Some(last) = &job.last_attempt {
                    moving.worker = Some(Arc::from(last.worker.as_str()));
                    moving.lease_since = Some(last.started_at.as_micros());
                    moving.ending = ending_number(last.ending);
                    moving.ambiguous = Some(last.ambiguous);
                }
            }
        }
        moving
    }
}

fn wait_columns(wait: &Wait) -> (i64, Option<&str>, Option<&str>) {
    match wait {
        Wait::Children => (0, None, None),
        Wait::Input { step, prompt } => (1, Some(step), prompt.as_deref()),
    }
}

// ── events and attempts ──

/// The columns `kind` and `data` of a delta.
pub(super) fn delta_row(data: &OutputData) -> (i64, Cow<'_, str>) {
    match data {
        OutputData::Text(text) => (0, text.into()),
        OutputData::Items(items) => (1, OutputData::array(items).into()),
    }
}

pub(super) fn delta_of(kind: i64, data: String) -> Result<OutputData, StoreError> {
    match kind {
        0 => Ok(OutputData::Text(data)),
        _ => OutputData::items_of(&data).map(OutputData::Items).ok_or_else(|| damaged("delta")),
    }
}

/// The columns of an event, as they are stored.
#[derive(Default)]
pub(super) struct EventRow<'a> {
    pub(super) number: Option<i64>,
    pub(super) at: Option<i64>,
    pub(super) real: Option<f64>,
    pub(super) text: Option<&'a str>,
    pub(super) error: Option<Cow<'a, str>>,
}

pub(super) fn event_row(kind: &EventKind) -> (i64, EventRow<'_>) {
    let none = EventRow::default();
    match kind {
        EventKind::Queued { why, due_at, error } => (
            1,
            EventRow {
                number: Some(number(&QUEUED_FOR, why)),
                at: due_at.map(Timestamp::as_micros),
                error: error.as_ref().and_then(to_json).map(Into::into),
                ..none
            },
        ),
        EventKind::Running { worker } => (2, EventRow { text: Some(worker), ..none }),
        EventKind::Progress { fraction, message } => {
            (3, EventRow { real: *fraction, text: message.as_deref(), ..none })
        }
        EventKind::Step { name } => (4, EventRow { text: Some(name), ..none }),
        EventKind::Log { level, message } => {
            (5, EventRow { number: Some(number(&LEVELS, level)), text: Some(message), ..none })
        }
        EventKind::Succeeded => (6, none),
        EventKind::Failed { error } => (7, EventRow { error: to_json(error).map(Into::into), ..none }),
        EventKind::Cancelled => (8, none),
        EventKind::Waiting { wait } => {
            let (number, text, prompt) = wait_columns(wait);
            (9, EventRow { number: Some(number), text, error: prompt.map(Into::into), ..none })
        }
        // Stands in a table of its own, and comes here only to be named.
        EventKind::OutputDelta { .. } => (10, none),
        EventKind::OutputReset { keep_through } => {
            (11, EventRow { number: Some(stored_unsigned(*keep_through)), ..none })
        }
        EventKind::Layer { data } => (12, EventRow { text: Some(data), ..none }),
    }
}

/// From a row of `events.sql`.
pub(super) fn event(row: &Row<'_>) -> Result<Event, StoreError> {
    let text =
        || -> Result<String, StoreError> { row.get::<_, Option<String>>(7)?.ok_or_else(|| damaged("event's text")) };
    let kind = match row.get::<_, i64>(1)? {
        1 => EventKind::Queued {
            why: nth(&QUEUED_FOR, row.get(4)?, "reason to wait")?,
            due_at: time_or_none(row, 5)?,
            error: json(row.get(8)?, "error")?,
        },
        2 => EventKind::Running { worker: text()? },
        3 => EventKind::Progress { fraction: row.get(6)?, message: row.get(7)? },
        4 => EventKind::Step { name: text()? },
        5 => EventKind::Log { level: nth(&LEVELS, row.get(4)?, "level")?, message: text()? },
        6 => EventKind::Succeeded,
        7 => EventKind::Failed { error: json(row.get(8)?, "error")?.ok_or_else(|| damaged("error"))? },
        8 => EventKind::Cancelled,
        9 => EventKind::Waiting {
            wait: match row.get::<_, i64>(4)? {
                0 => Wait::Children,
                _ => Wait::Input { step: text()?.parse().map_err(|_| damaged("step"))?, prompt: row.get(8)? },
            },
        },
        10 => EventKind::OutputDelta { data: delta_of(row.get(4)?, text()?)? },
        11 => EventKind::OutputReset { keep_through: unsigned(row, 4)? },
        12 => EventKind::Layer { data: text()?.into_boxed_str() },
        _ => return Err(damaged("event")),
    };
    Ok(Event { seq: unsigned(row, 0)?, time: time(row, 2)?, attempt: row.get(3)?, kind })
}

/// From a row of `attempts.sql`.
pub(super) fn attempt(row: &Row<'_>) -> Result<Attempt, StoreError> {
    Ok(Attempt {
        lease: row.get(0)?,
        number: row.get(1)?,
        started_at: time(row, 2)?,
        ended_at: time_or_none(row, 3)?,
        worker: row.get(4)?,
        ending: Some(nth(&ENDINGS, row.get(5)?, "ending")?),
        error: json(row.get(6)?, "error")?,
        ambiguous: row.get(7)?,
    })
}

/// From a row of `children.sql`.
pub(super) fn child(row: &Row<'_>) -> Result<Child, StoreError> {
    let phase = phase_of(row.get(3)?)?;
    Ok(Child {
        index: row.get(0)?,
        job: JobId::from_bytes(row.get(1)?),
        kind: row.get::<_, String>(2)?.parse().map_err(|_| damaged("kind"))?,
        status: phase.status(),
        error: json::<JobError>(row.get(4)?, "error")?.filter(|_| phase == Phase::Failed),
        output: if phase == Phase::Succeeded { Some(payload(row, 5)?) } else { None },
    })
}
