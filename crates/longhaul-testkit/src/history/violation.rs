//! What the checker says when a promise was broken.

use std::fmt;

/// The promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// An acknowledged job is not there.
    LostJob,
    /// A refused submission made a job all the same.
    GhostJob,
    /// One submission made two jobs.
    DuplicateJob,
    /// A job that nobody submitted.
    ForeignJob,
    /// An acknowledged job was never looked at after its receipt: the history proves nothing about it.
    NeverVerified,
    /// One job was seen to end in two ways.
    SecondTerminal,
    /// A job that had ended was seen alive.
    Resurrected,
    /// A job has not ended although the load waited for all to end.
    Unfinished,
    /// Event numbers do not run 1, 2, 3 ….
    EventGap,
    /// An event was served with two different contents.
    EventChanged,
    /// A later look showed fewer events.
    EventsShrank,
    /// Events that no legal life has in this order.
    IllegalTransition,
    /// The job and its events tell different stories.
    EventsDisagree,
    /// The number of attempts went down, or skipped one.
    AttemptOrder,
    /// A version went down, or was used for two states.
    VersionReused,
    /// A write under a superseded lease was accepted.
    StaleWriteAccepted,
    /// Two leases of one job share a number or a token.
    LeaseReused,
    /// An `echo` job did not return its input.
    WrongOutput,
    /// An accepted output changed.
    OutputChanged,
    /// One idempotency key led to two jobs.
    KeyManyJobs,
    /// A tenant saw another tenant's job.
    TenantLeak,
    /// A job whose cancellation had been accepted ended in another way.
    CancelIgnored,
    /// The history itself is not well formed; nothing can be concluded from it.
    MalformedHistory,
}

/// One broken promise, with what a person needs to look into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub rule: Rule,
    /// Which job, where it is about one.
    pub job_id: Option<String>,
    /// What was seen, in words.
    pub message: String,
    /// The lines of the history that show it, counted from 1.
    pub lines: Vec<usize>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.rule)?;
        if let Some(job_id) = &self.job_id {
            write!(f, " {job_id}")?;
        }
        write!(f, ": {}", self.message)?;
        if !self.lines.is_empty() {
            let lines: Vec<String> = self.lines.iter().map(ToString::to_string).collect();
            write!(f, " (history line {})", lines.join(", "))?;
        }
        Ok(())
    }
}
