//! What a job tells: numbered lines of its history, gapless from 1, never changed.
//!
//! Life events are kept as typed columns and rendered when they are read. The number `seq` is given by the store, under
//! the job's row, whoever writes.

use crate::{JobError, QueuedFor, Timestamp};

/// One line of a job's history.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// 1, 2, 3 … per job, without gaps.
    pub seq: u64,
    /// When it was recorded.
    pub time: Timestamp,
    /// The attempt it belongs to; 0 before the first.
    pub attempt: u32,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// It waits for its turn: after the submit, a retryable failure, a crash, a release or a park.
    Queued {
        /// What for.
        why: QueuedFor,
        /// When it may run, when that is later than now.
        due_at: Option<Timestamp>,
        /// What the last attempt failed with.
        error: Option<JobError>,
    },
    /// An attempt has begun.
    Running {
        /// Who runs it.
        worker: String,
    },
    /// How far it is.
    Progress {
        /// 0 to 1, when the work can tell.
        fraction: Option<f64>,
        /// In words.
        message: Option<String>,
    },
    /// A step is done and will not be done again.
    Step {
        /// The step's name.
        name: String,
    },
    /// A line that the work wrote.
    Log {
        /// How grave.
        level: LogLevel,
        /// The line.
        message: String,
    },
    /// The end: the output was accepted.
    Succeeded,
    /// The end: no further attempt.
    Failed {
        /// Why.
        error: JobError,
    },
    /// The end: somebody cancelled it.
    Cancelled,
}

/// How grave a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// For the record.
    Info,
    /// Something a person may want to look at.
    Warn,
    /// Something went wrong, though the job goes on.
    Error,
}

impl LogLevel {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        }
    }
}

impl EventKind {
    /// The event's type, as the API spells it.
    pub const fn name(&self) -> &'static str {
        match self {
            EventKind::Queued { .. } => "job.queued",
            EventKind::Running { .. } => "job.running",
            EventKind::Progress { .. } => "job.progress",
            EventKind::Step { .. } => "job.step",
            EventKind::Log { .. } => "job.log",
            EventKind::Succeeded => "job.succeeded",
            EventKind::Failed { .. } => "job.failed",
            EventKind::Cancelled => "job.cancelled",
        }
    }

    /// Whether nothing can follow it.
    pub const fn is_terminal(&self) -> bool {
        matches!(self, EventKind::Succeeded | EventKind::Failed { .. } | EventKind::Cancelled)
    }
}
