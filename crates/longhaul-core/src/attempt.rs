//! One try at a job, as its history keeps it.

use serde::{Deserialize, Serialize};

use crate::{JobError, Timestamp};

/// One try at a job that has ended, or that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// From 1. An attempt that was given back unfinished goes on under its number, so a number may stand twice.
    pub number: u32,
    /// Which of the job's leases it ran under, from 1: unlike the number never twice.
    pub lease: u32,
    /// When a worker took it.
    pub started_at: Timestamp,
    /// When it ended; none while it runs.
    pub ended_at: Option<Timestamp>,
    /// Who ran it.
    pub worker: String,
    /// How it ended; none while it runs.
    pub ending: Option<Ending>,
    /// Why it failed, when it did.
    pub error: Option<JobError>,
    /// Whether it ended where it cannot be known if its last outside call took effect: it died, it was cut off in the
    /// middle of a call, or somebody else ended it.
    pub ambiguous: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Its output was accepted.
    Succeeded,
    /// It reported a failure.
    Failed,
    /// Its lease ran out: the worker died or lost its way.
    Crashed,
    /// It gave the job back unfinished; the next claim continues this attempt's number.
    Released,
    /// It gave the job back until a time that a provider named.
    Parked,
    /// The job was cancelled under it.
    Cancelled,
    /// The job's deadline passed under it.
    DeadlineExceeded,
    /// It gave the job back until its children have ended or an answer comes; the next claim goes on under its number.
    Waiting,
}

impl Ending {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ending::Succeeded => "succeeded",
            Ending::Failed => "failed",
            Ending::Crashed => "crashed",
            Ending::Released => "released",
            Ending::Parked => "parked",
            Ending::Cancelled => "cancelled",
            Ending::DeadlineExceeded => "deadline_exceeded",
            Ending::Waiting => "waiting",
        }
    }
}
