//! What a job tells: numbered lines of its history, gapless from 1, never changed.
//!
//! Life events are kept as typed columns and rendered when they are read. The number `seq` is given by the store, under
//! the job's row, whoever writes.

use crate::{JobError, QueuedFor, Timestamp, Wait};

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
    /// It has given its lease up until something comes.
    Waiting {
        /// What it waits for.
        wait: Wait,
    },
    /// A piece of the output, while it comes into being.
    OutputDelta {
        /// The piece.
        data: OutputData,
    },
    /// The output starts over: deltas after `keep_through` and before this event are void.
    OutputReset {
        /// The last `seq` whose deltas stand; 0: none do.
        keep_through: u64,
    },
    /// What a layer of the work decided: a retry inside a stack, a fallback, an open breaker.
    Layer {
        /// A JSON object, at most [`LAYER_MOST`] bytes of text.
        data: Box<str>,
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

/// How large what a layer tells can be: it is a note for people, and one comes with every retry.
pub const LAYER_MOST: usize = 4 * 1024;

/// A piece of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputData {
    /// The next characters of a text.
    Text(String),
    /// The next items of a list, each a JSON text.
    Items(Vec<Box<str>>),
}

impl OutputData {
    /// How many bytes it carries.
    pub fn size(&self) -> usize {
        match self {
            OutputData::Text(text) => text.len(),
            OutputData::Items(items) => items.iter().map(|item| item.len() + 1).sum(),
        }
    }

    /// As the API shows it: `{"text":"…"}` or `{"items":[…]}`.
    pub fn to_json(&self) -> String {
        match self {
            OutputData::Text(text) => format!("{{\"text\":{}}}", serde_json::Value::from(text.as_str())),
            OutputData::Items(items) => format!("{{\"items\":{}}}", Self::array(items)),
        }
    }

    /// Items as one JSON array.
    pub fn array(items: &[Box<str>]) -> String {
        let mut array = String::with_capacity(2 + items.iter().map(|item| item.len() + 1).sum::<usize>());
        array.push('[');
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                array.push(',');
            }
            array.push_str(item);
        }
        array.push(']');
        array
    }

    /// The items of a JSON array, each as its own text; none when `json` is no array.
    pub fn items_of(json: &str) -> Option<Vec<Box<str>>> {
        let items: Vec<Box<serde_json::value::RawValue>> = serde_json::from_str(json).ok()?;
        Some(items.into_iter().map(Into::into).collect())
    }
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
            EventKind::Waiting { .. } => "job.waiting",
            EventKind::OutputDelta { .. } => "job.output.delta",
            EventKind::OutputReset { .. } => "job.output.reset",
            EventKind::Layer { .. } => "job.layer",
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
