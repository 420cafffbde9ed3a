//! The parts of the HTTP contract that the command line reads and writes.
//!
//! Reading is tolerant: fields that are not known are passed over and fields that are missing have defaults, so that a
//! newer server can be used. `--json` shows what came, not what was understood.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The body of `POST /v1/jobs`.
#[derive(Debug, Clone, Serialize)]
pub struct NewJob {
    /// What to do.
    pub kind: String,
    /// With what, as the person wrote it.
    pub input: Box<RawValue>,
    /// Where to stand in line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// −100 … 100, higher first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Not before so many seconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_s: Option<f64>,
    /// Failed if not ended within so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_s: Option<f64>,
    /// How many attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Kept so many seconds after the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_s: Option<f64>,
    /// The user's own labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// What a submission or a cancellation is answered with.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Receipt {
    /// The job.
    pub job_id: String,
    /// The document that was uploaded, if one was.
    pub document_id: Option<String>,
    /// Its status.
    pub status: String,
}

/// A job.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Job {
    /// Its id.
    pub job_id: String,
    /// What it does.
    pub kind: String,
    /// Where it stands in line.
    pub queue: String,
    /// `queued`, `running`, `succeeded`, `failed`, `cancelled`.
    pub status: String,
    /// The rest of the status.
    pub status_reason: Option<String>,
    /// −100 … 100.
    pub priority: i64,
    /// How far it is.
    pub progress: Option<Progress>,
    /// How many jobs are before it.
    pub queue_position: Option<u64>,
    /// Why it is not running.
    pub waiting_for: Option<WaitingFor>,
    /// Which attempt this is.
    pub attempt: u64,
    /// How many there may be.
    pub max_attempts: Option<u64>,
    /// The input.
    pub input: Option<Box<RawValue>>,
    /// The result.
    pub output: Option<Box<RawValue>>,
    /// The last error.
    pub error: Option<JobError>,
    /// Whether the answer came from a fallback.
    pub degraded: bool,
    /// The model that answered.
    pub model: Option<String>,
    /// The job that this one repeats.
    pub retry_of: Option<String>,
    /// The user's labels.
    pub metadata: BTreeMap<String, String>,
    /// Times, RFC 3339.
    pub created_at: Option<String>,
    /// Not before.
    pub run_at: Option<String>,
    /// First attempt.
    pub started_at: Option<String>,
    /// The end.
    pub finished_at: Option<String>,
    /// Failed if not ended by then.
    pub deadline_at: Option<String>,
    /// Data is deleted then.
    pub expires_at: Option<String>,
}

impl Job {
    /// Whether it has ended.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self.status.as_str(), "succeeded" | "failed" | "cancelled")
    }
}

/// How far a job is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// 0 … 1.
    pub fraction: Option<f64>,
    /// In words.
    pub message: Option<String>,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct JobError {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Whether another attempt may help.
    pub retryable: bool,
}

/// Why a job is not running.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct WaitingFor {
    /// A word for programs.
    pub what: String,
    /// A sentence for people.
    pub message: String,
    /// What is asked of a person.
    pub prompt: Option<String>,
}

/// A line of a job's history.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Event {
    /// 1, 2, 3 …
    pub seq: u64,
    /// What happened.
    #[serde(rename = "type")]
    pub event: String,
    /// In which attempt.
    pub attempt: Option<u64>,
    /// When.
    pub time: String,
    /// Details.
    pub data: Option<Box<RawValue>>,
}

/// A try at a job.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// From 1.
    #[serde(alias = "number")]
    pub attempt: u64,
    /// How it ended, if the server says.
    #[serde(alias = "outcome")]
    pub status: Option<String>,
    /// When it began.
    #[serde(alias = "start")]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(alias = "end", alias = "ended_at")]
    pub finished_at: Option<String>,
    /// Who ran it.
    #[serde(alias = "worker")]
    pub worker_id: Option<String>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// Whether it died while a provider was being called.
    pub ambiguous: bool,
}

/// A kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Kind {
    /// Its name.
    #[serde(alias = "name")]
    pub kind: String,
    /// What it does.
    pub description: Option<String>,
    /// Its queue.
    pub queue: Option<String>,
    /// How many attempts its jobs have.
    pub max_attempts: Option<u64>,
    /// How long an attempt may run.
    pub timeout_s: Option<f64>,
    /// What it takes.
    pub input_schema: Option<Box<RawValue>>,
    /// What it gives.
    pub output_schema: Option<Box<RawValue>>,
}

/// A queue.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Its name.
    #[serde(alias = "name")]
    pub queue: String,
    /// Whether it hands out no jobs.
    pub paused: bool,
    /// How many of its jobs may run at once.
    pub concurrency: Option<u64>,
    /// How many wait.
    pub queued: Option<u64>,
    /// How many run.
    pub running: Option<u64>,
}

/// An API key, without its secret.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ApiKey {
    /// Its public part.
    #[serde(alias = "key_id")]
    pub id: String,
    /// What its owner calls it.
    pub name: Option<String>,
    /// Whose data it opens.
    pub tenant: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Option<String>,
    /// The whole key; only in the answer to its creation.
    #[serde(alias = "api_key", alias = "secret")]
    pub key: Option<String>,
}

/// The body of `POST /v1/api_keys`.
#[derive(Debug, Clone, Serialize)]
pub struct NewApiKey {
    /// What to call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Whose data it opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// A page of a list. The items stay as they came.
#[derive(Debug, Deserialize)]
pub struct Page<'a> {
    /// The items.
    #[serde(borrow)]
    pub data: Vec<&'a RawValue>,
    /// Whether there are more.
    #[serde(default)]
    pub has_more: bool,
    /// Where they begin.
    #[serde(default)]
    pub next_cursor: Option<String>,
}
