//! Between rows and the domain: how jobs, events and attempts are stored as columns, and read back.

use std::{borrow::Cow, sync::Arc};

use longhaul_core::{
    ApiKey, Attempt, Backoff, BlobRef, CANCEL_GRACE, ChildCounts, DocumentId, Ending, Event, EventKind, Job, JobError,
    JobId, JobSpec, KeyId, Lease, LeaseToken, LimitKey, LogLevel, OnChildFailure, OutputData, Payload, Progress,
    QueuedFor, Report, Span, Stage, State, Status, Tenant, Timestamp, Wait,
};
use sha2::{Digest as _, Sha256};
use tokio_postgres::{Row, types::FromSql};
use uuid::Uuid;

use crate::{Child, StoreError, Tombstone, ledger::Phase};

pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(format!("a stored {what} cannot be read"))
}

// ── small numbers ──

const QUEUED_FOR: [QueuedFor; 5] =
    [QueuedFor::Turn, QueuedFor::Schedule, QueuedFor::Retry, QueuedFor::Park, QueuedFor::Resume];
const ON_CHILD_FAILURE: [OnChildFailure; 2] = [OnChildFailure::Fail, OnChildFailure::Partial];
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
fn number<T: PartialEq>(table: &[T], entry: &T) -> i16 {
    table.iter().position(|other| other == entry).and_then(|index| i16::try_from(index).ok()).unwrap_or(-1)
}

/// Below 4 a job lives; the queries say so in numbers.
pub(super) fn phase_number(phase: Phase) -> i16 {
    match phase {
        Phase::Blocked => -1,
        Phase::Ready => 0,
        Phase::Deferred => 1,
        Phase::Waiting => 2,
        Phase::Running => 3,
        Phase::Succeeded => 4,
        Phase::Failed => 5,
        Phase::Cancelled => 6,
    }
}

pub(super) fn phase_of(stored: i16) -> Result<Phase, StoreError> {
    Ok(match stored {
        -1 => Phase::Blocked,
        0 => Phase::Ready,
        1 => Phase::Deferred,
        2 => Phase::Waiting,
        3 => Phase::Running,
        4 => Phase::Succeeded,
        5 => Phase::Failed,
        6 => Phase::Cancelled,
        _ => return Err(damaged("phase")),
    })
}

pub(super) fn terminal_number(status: Status) -> i16 {
    phase_number(match status {
        Status::Succeeded => Phase::Succeeded,
        Status::Failed | Status::Queued | Status::Running => Phase::Failed,
        Status::Cancelled => Phase::Cancelled,
    })
}

pub(super) fn ending_number(ending: Option<Ending>) -> Option<i16> {
    ending.map(|ending| number(&ENDINGS, &ending))
}

/// Nothing that is counted here comes near the end of the signed numbers.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Numbers that have bounds of their own, far below.
pub(super) fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) fn micros(span: Span) -> i64 {
    signed(span.as_micros())
}

pub(super) fn at(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_micros)
}

pub(super) fn uuid(id: &JobId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

pub(super) fn document_uuid(id: &DocumentId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

pub(super) fn key_uuid(id: &KeyId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

// ── free text ──

/// Begins a text that had to be written as JSON.
const ESCAPE: char = '\u{1b}';

/// PostgreSQL keeps no zero bytes in text. A text with one is stored as a JSON string behind an escape character.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') || text.starts_with(ESCAPE) {
        let json = serde_json::Value::from(text).to_string();
        Cow::Owned(format!("{ESCAPE}{json}"))
    } else {
        Cow::Borrowed(text)
    }
}

pub(super) fn text_of(stored: String) -> Result<String, StoreError> {
    match stored.strip_prefix(ESCAPE) {
        Some(json) => serde_json::from_str(json).map_err(|_| damaged("text")),
        None => Ok(stored),
    }
}

/// What a pair of metadata is found by.
pub(super) fn pair_hash(key: &str, value: &str) -> i64 {
    let mut hash = Sha256::new();
    hash.update(signed(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(value);
    let digest: [u8; 32] = hash.finalize().into();
    let (first, _) = digest.as_chunks::<8>();
    first.first().copied().map_or(0, i64::from_le_bytes)
}

/// The pairs of a job's metadata as the text of an array.
pub(super) fn metadata_pairs(metadata: &str) -> Option<String> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(metadata).ok()?;
    let hashes = object.iter().filter_map(|(key, value)| Some(pair_hash(key, value.as_str()?).to_string()));
    Some(format!("{{{}}}", hashes.collect::<Vec<_>>().join(",")))
}

// ── reading a row ──

/// Reads a row's columns one after the other.
pub(super) struct Cells<'r> {
    row: &'r Row,
    index: usize,
}

impl<'r> Cells<'r> {
    pub(super) fn of(row: &'r Row) -> Self {
        Self { row, index: 0 }
    }

    pub(super) fn next<T: FromSql<'r>>(&mut self) -> Result<T, StoreError> {
        let cell = self.row.try_get(self.index);
        self.index += 1;
        cell.map_err(|error| StoreError::Corrupt(error.to_string()))
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.next().map(Timestamp::from_micros)
    }

    pub(super) fn time_or_none(&mut self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.next::<Option<i64>>()?.map(Timestamp::from_micros))
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, StoreError> {
        u64::try_from(self.next::<i64>()?).map_err(|_| damaged("number"))
    }

    pub(super) fn count(&mut self) -> Result<u32, StoreError> {
        u32::try_from(self.next::<i64>()?).map_err(|_| damaged("number"))
    }

    fn small_count(&mut self) -> Result<u32, StoreError> {
        u32::try_from(self.next::<i32>()?).map_err(|_| damaged("number"))
    }

    pub(super) fn span(&mut self) -> Result<Span, StoreError> {
        self.unsigned().map(Span::from_micros)
    }

    pub(super) fn name<T: std::str::FromStr>(&mut self) -> Result<T, StoreError> {
        self.next::<&str>()?.parse().map_err(|_| damaged("name"))
    }

    pub(super) fn job_id(&mut self) -> Result<JobId, StoreError> {
        Ok(JobId::from_bytes(self.next::<Uuid>()?.into_bytes()))
    }

    pub(super) fn text_or_none(&mut self) -> Result<Option<String>, StoreError> {
        self.next::<Option<String>>()?.map(text_of).transpose()
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        text_of(self.next()?)
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self, what: &str) -> Result<Option<T>, StoreError> {
        let text = self.next::<Option<&str>>()?;
        text.map(|text| serde_json::from_str(text).map_err(|_| damaged(what))).transpose()
    }

    /// From the columns `digest` and `size`.
    pub(super) fn blob(&mut self) -> Result<Option<BlobRef>, StoreError> {
        let (digest, size) = (self.next::<Option<&[u8]>>()?, self.next::<Option<i64>>()?);
        let (Some(digest), Some(size)) = (digest, size) else { return Ok(None) };
        Ok(Some(BlobRef {
            digest: digest.try_into().map_err(|_| damaged("reference to a blob"))?,
            size: u64::try_from(size).map_err(|_| damaged("reference to a blob"))?,
        }))
    }

    /// From the columns `data`, `digest` and `size`; none when there is no such row.
    pub(super) fn payload_or_none(&mut self) -> Result<Option<Payload>, StoreError> {
        let data = self.next::<Option<&[u8]>>()?.map(|data| Payload::Inline(data.to_vec().into()));
        Ok(match (data, self.blob()?) {
            (Some(data), _) => Some(data),
            (None, blob) => blob.map(Payload::Blob),
        })
    }

    pub(super) fn payload(&mut self) -> Result<Payload, StoreError> {
        self.payload_or_none()?.ok_or_else(|| damaged("payload"))
    }
}

pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Option<String> {
    serde_json::to_string(value).ok()
}

// ── jobs ──

/// A job's row as it was read.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) no: i64,
    pub(super) phase: Phase,
    /// The server in whose process it is held.
    pub(super) node: Option<i64>,
    pub(super) parent_no: Option<i64>,
    /// What it has streamed is removed.
    pub(super) trimmed: bool,
    pub(super) job: Job,
}

/// The columns of a row that change, as they are stored.
#[derive(Default)]
struct Moving {
    queued_for: Option<i16>,
    due_at: Option<Timestamp>,
    same_attempt: Option<bool>,
    token: Option<LeaseToken>,
    worker: Option<String>,
    in_process: Option<bool>,
    stage: Option<i16>,
    lease_since: Option<Timestamp>,
    lease_expires_at: Option<Timestamp>,
    wait: Option<i16>,
    wait_step: Option<String>,
    wait_prompt: Option<String>,
    wait_since: Option<Timestamp>,
}

/// From the columns of `job_columns.sql`.
pub(super) fn stored(cells: &mut Cells<'_>) -> Result<Stored, StoreError> {
    let no = cells.next()?;
    let id = cells.job_id()?;
    let (tenant, kind, queue) = (cells.name()?, cells.name()?, cells.name()?);
    let priority = i8::try_from(cells.next::<i16>()?).map_err(|_| damaged("priority"))?;
    let (created_at, max_attempts) = (cells.time()?, cells.count()?);
    let backoff = Backoff { initial_ms: cells.unsigned()?, max_ms: cells.unsigned()? };
    let (retention, run_at, deadline_at) = (cells.span()?, cells.time_or_none()?, cells.time_or_none()?);
    let attempt_timeout = cells.time_or_none()?.map(|micros| micros.since(Timestamp::EPOCH));
    let metadata = cells.next::<Option<String>>()?.map(String::into_boxed_str);
    let retry_of = cells.next::<Option<Uuid>>()?.map(|id| JobId::from_bytes(id.into_bytes()));
    let phase = phase_of(cells.next()?)?;
    let (version, attempt, crashes, last_seq) = (cells.unsigned()?, cells.count()?, cells.count()?, cells.unsigned()?);
    let mut moving = Moving {
        queued_for: cells.next()?,
        due_at: cells.time_or_none()?,
        same_attempt: cells.next()?,
        token: cells.next::<Option<i64>>()?.map(LeaseToken::from_i64),
        worker: cells.text_or_none()?,
        in_process: cells.next()?,
        ..Moving::default()
    };
    let node = cells.next()?;
    moving.stage = cells.next()?;
    moving.lease_since = cells.time_or_none()?;
    moving.lease_expires_at = cells.time_or_none()?;
    let (started_at, finished_at, cancel_requested_at) =
        (cells.time_or_none()?, cells.time_or_none()?, cells.time_or_none()?);
    let (fraction, message) = (cells.next::<Option<f64>>()?, cells.text_or_none()?);
    let error: Option<JobError> = cells.json("error")?;
    let (ending, ambiguous) = (cells.next::<Option<i16>>()?, cells.next::<Option<bool>>()?);
    let report = cells.json::<Report>("report")?.unwrap_or_default();
    let parent = cells.next::<Option<Uuid>>()?.map(|id| JobId::from_bytes(id.into_bytes()));
    let parent_no = cells.next()?;
    let (child_index, depth) = (cells.small_count()?, cells.next::<i16>()?);
    let on_child_failure = nth(&ON_CHILD_FAILURE, cells.next::<i16>()?.into(), "rule for children")?;
    let children = ChildCounts {
        total: cells.small_count()?,
        submitted: cells.small_count()?,
        succeeded: cells.small_count()?,
        failed: cells.small_count()?,
        cancelled: cells.small_count()?,
    };
    let answers = cells.small_count()?;
    let (last_step_seq, last_delta_seq, last_reset_seq) = (cells.unsigned()?, cells.unsigned()?, cells.unsigned()?);
    (moving.wait, moving.wait_step) = (cells.next()?, cells.next()?);
    (moving.wait_prompt, moving.wait_since) = (cells.text_or_none()?, cells.time_or_none()?);
    let trimmed = cells.next()?;
    let limit_key = cells.next::<Option<i64>>()?.map(LimitKey);
    let trace = cells.next::<Option<&str>>()?.map(str::parse).transpose().map_err(|_| damaged("trace"))?;
    let spec = JobSpec {
        id,
        tenant,
        kind,
        queue,
        priority,
        max_attempts,
        backoff,
        retention,
        run_at,
        deadline_at,
        attempt_timeout,
        metadata,
        retry_of,
        created_at,
        parent,
        child_index,
        depth: u8::try_from(depth).map_err(|_| damaged("depth"))?,
        on_child_failure,
        limit_key,
        trace,
    };
    let last_attempt = match ending {
        None => None,
        Some(ending) => Some(Box::new(Attempt {
            number: attempt,
            lease: moving.token.map_or(0, LeaseToken::count),
            started_at: moving.lease_since.ok_or_else(|| damaged("attempt"))?,
            ended_at: finished_at,
            worker: moving.worker.clone().unwrap_or_default(),
            ending: Some(nth(&ENDINGS, ending.into(), "ending")?),
            // A cancelled job may still show the error of an attempt before its last.
            error: error.clone().filter(|_| phase == Phase::Failed),
            ambiguous: ambiguous.unwrap_or_default(),
        })),
    };
    let job = Job {
        spec: Arc::new(spec),
        version,
        attempt,
        crashes,
        last_token: moving.token,
        last_seq,
        last_step_seq,
        last_delta_seq,
        last_reset_seq,
        children,
        answers,
        started_at,
        finished_at,
        cancel_requested_at,
        progress: (fraction.is_some() || message.is_some()).then_some(Progress { fraction, message }),
        error,
        last_attempt,
        report,
        state: state(moving, phase)?,
    };
    Ok(Stored { no, phase, node, parent_no, trimmed, job })
}

fn state(moving: Moving, phase: Phase) -> Result<State, StoreError> {
    let lacking = || damaged("state");
    Ok(match phase {
        Phase::Blocked | Phase::Ready | Phase::Deferred => State::Queued {
            why: nth(&QUEUED_FOR, moving.queued_for.unwrap_or(-1).into(), "reason to wait")?,
            due_at: moving.due_at.ok_or_else(lacking)?,
            same_attempt: moving.same_attempt.ok_or_else(lacking)?,
        },
        Phase::Running => State::Running {
            lease: Lease {
                token: moving.token.ok_or_else(lacking)?,
                worker: moving.worker.ok_or_else(lacking)?.into(),
                in_process: moving.in_process.ok_or_else(lacking)?,
                since: moving.lease_since.ok_or_else(lacking)?,
                expires_at: moving.lease_expires_at.ok_or_else(lacking)?,
            },
            stage: nth(&STAGES, moving.stage.unwrap_or(-1).into(), "stage")?,
        },
        Phase::Waiting => State::Waiting {
            wait: wait_of(moving.wait.unwrap_or(-1).into(), moving.wait_step, moving.wait_prompt)?,
            since: moving.wait_since.ok_or_else(lacking)?,
        },
        Phase::Succeeded => State::Succeeded,
        Phase::Failed => State::Failed,
        Phase::Cancelled => State::Cancelled,
    })
}

fn wait_of(number: i64, step: Option<String>, prompt: Option<String>) -> Result<Wait, StoreError> {
    match (number, step) {
        (0, _) => Ok(Wait::Children),
        (1, Some(step)) => Ok(Wait::Input { step: step.parse().map_err(|_| damaged("step"))?, prompt }),
        _ => Err(damaged("wait")),
    }
}

/// What is waited for as a number, a step, and a prompt.
fn wait_columns(wait: &Wait) -> (i16, Option<&str>, Option<Cow<'_, str>>) {
    match wait {
        Wait::Children => (0, None, None),
        Wait::Input { step, prompt } => (1, Some(step), prompt.as_deref().map(text)),
    }
}

/// When a sweep has to look at a job; once it has ended, when something of it goes: what it has streamed, which is kept
/// for `deltas_for`, or all of it.
pub(super) fn timer(job: &Job, phase: Phase, trimmed: bool, deltas_for: Span) -> Option<Timestamp> {
    let of_state = match &job.state {
        State::Queued { due_at, .. } => (phase == Phase::Deferred).then_some(*due_at),
        State::Running { lease, .. } => {
            let cancel = job.cancel_requested_at.map(|at| at + CANCEL_GRACE);
            Some(cancel.map_or(lease.expires_at, |at| at.min(lease.expires_at)))
        }
        State::Waiting { .. } => None,
        State::Succeeded | State::Failed | State::Cancelled => {
            let streamed = job.finished_at.filter(|_| job.last_delta_seq > 0 && !trimmed).map(|at| at + deltas_for);
            return [job.expires_at(), streamed].into_iter().flatten().min();
        }
    };
    [of_state, job.spec.deadline_at].into_iter().flatten().min()
}

/// A job's place in its lane: smaller goes first, and of two that are alike the older.
pub(super) fn score(job: &Job) -> i64 {
    job.spec.rank()
}

/// The columns of a job that change.
pub(super) struct Changing<'a> {
    pub(super) queued_for: Option<i16>,
    pub(super) due_at: Option<i64>,
    pub(super) same_attempt: Option<bool>,
    pub(super) worker: Option<Cow<'a, str>>,
    pub(super) in_process: Option<bool>,
    pub(super) stage: Option<i16>,
    pub(super) lease_since: Option<i64>,
    pub(super) lease_expires_at: Option<i64>,
    pub(super) ending: Option<i16>,
    pub(super) ambiguous: Option<bool>,
    pub(super) wait: Option<i16>,
    pub(super) wait_step: Option<&'a str>,
    pub(super) wait_prompt: Option<Cow<'a, str>>,
    pub(super) wait_since: Option<i64>,
}

impl<'a> Changing<'a> {
    pub(super) fn of(job: &'a Job) -> Self {
        let mut changing = Self {
            queued_for: None,
            due_at: None,
            same_attempt: None,
            worker: None,
            in_process: None,
            stage: None,
            lease_since: None,
            lease_expires_at: None,
            ending: None,
            ambiguous: None,
            wait: None,
            wait_step: None,
            wait_prompt: None,
            wait_since: None,
        };
        match &job.state {
            State::Queued { why, due_at, same_attempt } => {
                changing.queued_for = Some(number(&QUEUED_FOR, why));
                changing.due_at = Some(due_at.as_micros());
                changing.same_attempt = Some(*same_attempt);
            }
            State::Running { lease, stage } => {
                changing.worker = Some(text(&lease.worker));
                changing.in_process = Some(lease.in_process);
                changing.stage = Some(number(&STAGES, stage));
                changing.lease_since = Some(lease.since.as_micros());
                changing.lease_expires_at = Some(lease.expires_at.as_micros());
            }
            State::Waiting { wait, since } => {
                let (number, step, prompt) = wait_columns(wait);
                (changing.wait, changing.wait_step, changing.wait_prompt) = (Some(number), step, prompt);
                changing.wait_since = Some(since.as_micros());
            }
            State::Succeeded | State::Failed | State::Cancelled => {
                if let Some(last) = &job.last_attempt {
                    changing.worker = Some(text(&last.worker));
                    changing.lease_since = Some(last.started_at.as_micros());
                    changing.ending = ending_number(last.ending);
                    changing.ambiguous = Some(last.ambiguous);
                }
            }
        }
        changing
    }
}

pub(super) fn on_child_failure(rule: OnChildFailure) -> i16 {
    number(&ON_CHILD_FAILURE, &rule)
}

// ── events and attempts ──

/// The columns `kind` and `data` of a delta.
pub(super) fn delta_row(data: &OutputData) -> (i16, Cow<'_, str>) {
    match data {
        OutputData::Text(said) => (0, text(said)),
        OutputData::Items(items) => (1, OutputData::array(items).into()),
    }
}

/// From the columns `kind` and `data` of a delta.
pub(super) fn delta_of(kind: i64, data: String) -> Result<OutputData, StoreError> {
    match kind {
        0 => Ok(OutputData::Text(data)),
        1 => OutputData::items_of(&data).map(OutputData::Items).ok_or_else(|| damaged("delta")),
        _ => Err(damaged("delta")),
    }
}

/// The columns of an event, as they are stored.
#[derive(Default)]
pub(super) struct EventRow<'a> {
    pub(super) number: Option<i64>,
    pub(super) at: Option<i64>,
    pub(super) real: Option<f64>,
    pub(super) text: Option<Cow<'a, str>>,
    pub(super) error: Option<Cow<'a, str>>,
}

pub(super) fn event_row(kind: &EventKind) -> (i16, EventRow<'_>) {
    let none = EventRow::default();
    match kind {
        EventKind::Queued { why, due_at, error } => (
            1,
            EventRow {
                number: Some(number(&QUEUED_FOR, why).into()),
                at: at(*due_at),
                error: error.as_ref().and_then(to_json).map(Cow::Owned),
                ..none
            },
        ),
        EventKind::Running { worker } => (2, EventRow { text: Some(text(worker)), ..none }),
        EventKind::Progress { fraction, message } => {
            (3, EventRow { real: *fraction, text: message.as_deref().map(text), ..none })
        }
        EventKind::Step { name } => (4, EventRow { text: Some(text(name)), ..none }),
        EventKind::Log { level, message } => {
            (5, EventRow { number: Some(number(&LEVELS, level).into()), text: Some(text(message)), ..none })
        }
        EventKind::Succeeded => (6, none),
        EventKind::Failed { error } => (7, EventRow { error: to_json(error).map(Cow::Owned), ..none }),
        EventKind::Cancelled => (8, none),
        EventKind::Waiting { wait } => {
            let (number, step, prompt) = wait_columns(wait);
            (9, EventRow { number: Some(number.into()), text: step.map(Cow::Borrowed), error: prompt, ..none })
        }
        // Stands in a table of its own.
        EventKind::OutputDelta { .. } => (10, none),
        EventKind::OutputReset { keep_through } => (11, EventRow { number: Some(signed(*keep_through)), ..none }),
        EventKind::Layer { data } => (12, EventRow { error: Some(text(data)), ..none }),
    }
}

/// From a row of `events.sql`.
pub(super) fn event(row: &Row) -> Result<Event, StoreError> {
    let mut cells = Cells::of(row);
    let (seq, sort, time, attempt) = (cells.unsigned()?, cells.next::<i16>()?, cells.time()?, cells.count()?);
    let (number, at) = (cells.next::<Option<i64>>()?, cells.time_or_none()?);
    let (fraction, text) = (cells.next()?, cells.text_or_none()?);
    let last = cells.text_or_none()?;
    let number = |what: &str| number.ok_or_else(|| damaged(what));
    let error = || last.as_deref().map(serde_json::from_str::<JobError>).transpose().map_err(|_| damaged("error"));
    let kind = match sort {
        1 => {
            let why = nth(&QUEUED_FOR, number("reason to wait")?, "reason to wait")?;
            EventKind::Queued { why, due_at: at, error: error()? }
        }
        2 => EventKind::Running { worker: text.ok_or_else(|| damaged("event"))? },
        3 => EventKind::Progress { fraction, message: text },
        4 => EventKind::Step { name: text.ok_or_else(|| damaged("event"))? },
        5 => EventKind::Log {
            level: nth(&LEVELS, number("level")?, "level")?,
            message: text.ok_or_else(|| damaged("event"))?,
        },
        6 => EventKind::Succeeded,
        7 => EventKind::Failed { error: error()?.ok_or_else(|| damaged("error"))? },
        8 => EventKind::Cancelled,
        9 => EventKind::Waiting { wait: wait_of(number("wait")?, text, last)? },
        10 => EventKind::OutputDelta { data: delta_of(number("delta")?, text.ok_or_else(|| damaged("delta"))?)? },
        11 => EventKind::OutputReset { keep_through: u64::try_from(number("reset")?).map_err(|_| damaged("reset"))? },
        12 => EventKind::Layer { data: last.ok_or_else(|| damaged("layer"))?.into_boxed_str() },
        _ => return Err(damaged("event")),
    };
    Ok(Event { seq, time, attempt, kind })
}

/// From a row of `attempts.sql`.
pub(super) fn attempt(row: &Row) -> Result<Attempt, StoreError> {
    let mut cells = Cells::of(row);
    Ok(Attempt {
        lease: cells.count()?,
        number: cells.count()?,
        started_at: cells.time()?,
        ended_at: cells.time_or_none()?,
        worker: cells.text()?,
        ending: Some(nth(&ENDINGS, cells.next::<i16>()?.into(), "ending")?),
        error: cells.json("error")?,
        ambiguous: cells.next()?,
    })
}

// ── the rest ──

/// From a row of `keys.sql`.
pub(super) fn api_key(row: &Row) -> Result<ApiKey, StoreError> {
    let mut cells = Cells::of(row);
    let id = KeyId::from_bytes(cells.next::<Uuid>()?.into_bytes());
    let tenant = cells.name()?;
    let (name, scopes) = (cells.text()?, cells.next::<String>()?);
    Ok(ApiKey {
        id,
        tenant,
        name,
        scopes: scopes
            .split_whitespace()
            .map(|scope| scope.parse().map_err(|_| damaged("key")))
            .collect::<Result<_, _>>()?,
        secret_hash: cells.next::<&[u8]>()?.try_into().map_err(|_| damaged("key"))?,
        created_at: cells.time()?,
        expires_at: cells.time_or_none()?,
        revoked_at: cells.time_or_none()?,
    })
}

/// From the columns `status`, `finished_at` and `erased`.
pub(super) fn tombstone(job: JobId, cells: &mut Cells<'_>) -> Result<Tombstone, StoreError> {
    let status = match phase_of(cells.next()?)? {
        Phase::Succeeded => Status::Succeeded,
        Phase::Cancelled => Status::Cancelled,
        Phase::Failed | Phase::Blocked | Phase::Ready | Phase::Deferred | Phase::Running | Phase::Waiting => {
            Status::Failed
        }
    };
    Ok(Tombstone { job, status, finished_at: cells.time()?, erased: cells.next()? })
}

/// Whose, and which: what a job is found by.
pub(super) fn tenant_and_id(cells: &mut Cells<'_>) -> Result<(Tenant, JobId), StoreError> {
    Ok((cells.name()?, cells.job_id()?))
}

/// From a row of `children.sql`.
pub(super) fn child(row: &Row) -> Result<Child, StoreError> {
    let mut cells = Cells::of(row);
    let (index, job, kind) = (cells.small_count()?, cells.job_id()?, cells.name()?);
    let phase = phase_of(cells.next()?)?;
    let error = cells.json::<JobError>("error")?.filter(|_| phase == Phase::Failed);
    let output = cells.payload_or_none()?.filter(|_| phase == Phase::Succeeded);
    Ok(Child { index, job, kind, status: phase.status(), error, output })
}
