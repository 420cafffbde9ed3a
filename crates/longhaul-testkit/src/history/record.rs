//! The vocabulary of a history: calls, answers and sightings, one JSON object per line on disk.
//!
//! Every submission carries a `marker` of its own, in its metadata and in its input. The marker is how a job is
//! recognised when the answer to its submission was lost, and how a leak between tenants is seen.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// About to be sent.
    Invoke {
        /// Number of the operation, unique in the history.
        op: u64,
        /// What is asked.
        call: Call,
    },
    /// Answered with success.
    Ok {
        /// The operation answered.
        op: u64,
        /// What was answered.
        answer: Answer,
    },
    /// Certainly without effect: refused by the server, or never sent.
    Fail {
        /// The operation refused.
        op: u64,
        /// In words, for the reader of a violation.
        reason: String,
    },
    /// Nobody knows whether it had an effect.
    Info {
        /// The operation in doubt.
        op: u64,
        /// In words, for the reader of a violation.
        reason: String,
    },
    /// The server process was killed or stopped, and is about to be started again.
    Restart,
}

/// What is asked of the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// Submits one job.
    Submit {
        /// Whose job it is.
        tenant: String,
        /// Unique to the submission; repeats under the same idempotency key share it.
        marker: String,
        /// The idempotency key, if one is sent.
        key: Option<String>,
        /// The kind; `echo` jobs are held to return their input.
        kind: String,
        /// The input, as sent.
        input: Value,
    },
    /// Asks for a job to be cancelled.
    Cancel {
        /// Who asks.
        tenant: String,
        /// Which job.
        job_id: String,
    },
    /// Asks for work, as a worker.
    Claim {
        /// Who asks.
        worker: String,
    },
    /// Ends an attempt with an output, under a lease.
    Finish {
        /// Which job.
        job_id: String,
        /// The attempt that ends.
        attempt: u32,
        /// The fencing token it holds.
        lease_token: String,
        /// What it made.
        output: Value,
    },
    /// Reads a job, then its events, then its attempts.
    Look {
        /// Who looks.
        tenant: String,
        /// Which job.
        job_id: String,
    },
    /// Lists all jobs of a tenant, page after page to the end.
    Census {
        /// Whose.
        tenant: String,
    },
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// A receipt: from here on the job must exist.
    Submitted {
        /// The id in the receipt.
        job_id: String,
    },
    /// The cancellation was accepted; from here on the only end is `cancelled`.
    Cancelling,
    /// The job had ended before; nothing was changed.
    AlreadyEnded {
        /// The status it ended with.
        status: String,
    },
    /// Leases handed out.
    Claimed {
        /// One per job.
        leases: Vec<LeaseSeen>,
    },
    /// The output was accepted.
    Finished,
    /// What a look showed.
    Saw(Sighting),
    /// What a census found.
    Counted {
        /// Every job listed, in the order of the pages.
        jobs: Vec<Listed>,
    },
}

/// A lease as the worker got it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseSeen {
    /// Which job.
    pub job_id: String,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// The fencing token.
    pub lease_token: String,
}

/// A job in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Which job.
    pub job_id: String,
    /// Its marker, when its metadata has one.
    pub marker: Option<String>,
}

/// All that one look showed. The job is read first, so its events are at least as new as the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// The job, or its absence.
    pub view: View,
    /// All events from 1, when they were read.
    pub events: Option<Vec<EventSeen>>,
    /// All attempts, when they were read.
    pub attempts: Option<Vec<AttemptSeen>>,
}

/// What `GET /v1/jobs/{id}` said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "view", rename_all = "snake_case")]
pub enum View {
    /// 200.
    Present(JobSeen),
    /// 404.
    Missing,
    /// 410: erased or expired, a tombstone stands.
    Tombstone,
}

/// The part of a job that rules look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSeen {
    /// The marker in its metadata.
    pub marker: Option<String>,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    pub status: String,
    /// Counts up with every change.
    pub version: u64,
    /// The latest attempt, 0 before the first.
    pub attempt: u32,
    /// The latest event at the time of reading.
    pub last_event_seq: u64,
    /// The output, once there is one.
    pub output: Option<Value>,
    /// The code of the error, once there is one.
    pub error_code: Option<String>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventSeen {
    /// Its number in the job.
    pub seq: u64,
    /// Its type, `job.queued` for one.
    #[serde(rename = "type")]
    pub kind: String,
    /// The attempt it belongs to.
    pub attempt: Option<u32>,
    /// The event exactly as served.
    pub raw: String,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptSeen {
    /// Its number, from 1.
    pub attempt: u32,
}
