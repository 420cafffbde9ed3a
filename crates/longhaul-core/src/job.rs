//! The job: what was asked for, which never changes, and how it stands, which [`Job::step`] alone changes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Attempt, Backoff, Event, EventKind, JobError, JobId, KindName, LeaseToken, LimitKey, QueueName, Span, StepName,
    Tenant, Timestamp, TraceContext,
};

/// How many children a job can have, and how many jobs a tree that is submitted at once: what a claim of the parent
/// reads of them stays within one page of results, and a cancel that reaches all of them within seconds.
pub const CHILDREN_MOST: u32 = 10_000;

/// How deep a tree of jobs can be; a job without a parent stands at depth 0.
pub const DEPTH_MOST: u8 = 8;

/// How many answers a job keeps that nobody has asked for yet.
pub const ANSWERS_MOST: u32 = 16;

/// What was asked for. Written once, at the submit.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSpec {
    /// Names the job.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// What it does.
    pub kind: KindName,
    /// Where it waits.
    pub queue: QueueName,
    /// −100 to 100, higher first.
    pub priority: i8,
    /// How many attempts may fail before the job does.
    pub max_attempts: u32,
    /// How long it waits after a failure.
    pub backoff: Backoff,
    /// How long payloads and events are kept after the end.
    pub retention: Span,
    /// When it may run at the earliest, when that was asked for.
    pub run_at: Option<Timestamp>,
    /// When it has to be over.
    pub deadline_at: Option<Timestamp>,
    /// How long one attempt may take.
    pub attempt_timeout: Option<Span>,
    /// The user's pairs, as a JSON object.
    pub metadata: Option<Box<str>>,
    /// The job that this one is another try of.
    pub retry_of: Option<JobId>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// The job that it is a part of, of the same tenant.
    pub parent: Option<JobId>,
    /// Its place among its parent's children, from 0; 0 without a parent.
    pub child_index: u32,
    /// How many jobs stand above it, at most [`DEPTH_MOST`].
    pub depth: u8,
    /// What a child that does not succeed means for this job while it waits for its children.
    pub on_child_failure: OnChildFailure,
    /// With which other jobs of its kind it is limited; none: with all of them only.
    pub limit_key: Option<LimitKey>,
    /// The trace of whoever submitted it, when there is one. Tells nothing of what the job does.
    pub trace: Option<TraceContext>,
}

impl JobSpec {
    /// When it could run at the earliest: its submit, or the time that it was submitted for.
    pub fn ready_at(&self) -> Timestamp {
        self.run_at.map_or(self.created_at, |at| at.max(self.created_at))
    }

    /// Its place among jobs of the same tenant and queue that may run: the smaller goes first, and of two alike the older.
    ///
    /// In seconds: the time it was submitted, or submitted for, and for every point of priority ten minutes earlier. So
    /// priority decides among jobs of about the same age, and none waits for ever behind what comes later.
    pub fn rank(&self) -> i64 {
        const HEAD_START_S: i64 = 600;
        self.ready_at().as_millis().div_euclid(1_000) - HEAD_START_S * i64::from(self.priority)
    }
}

/// What a child that fails or is cancelled means for a parent that waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnChildFailure {
    /// The parent fails at once, and its other children are cancelled.
    Fail,
    /// The parent goes on when all have ended, and judges for itself.
    #[default]
    Partial,
}

impl OnChildFailure {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            OnChildFailure::Fail => "fail",
            OnChildFailure::Partial => "partial",
        }
    }
}

/// How a job's children stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChildCounts {
    /// How many there are.
    pub total: u32,
    /// How many of them came with its submit; they have the first places.
    pub submitted: u32,
    /// How many have succeeded.
    pub succeeded: u32,
    /// How many have failed.
    pub failed: u32,
    /// How many were cancelled.
    pub cancelled: u32,
}

impl ChildCounts {
    /// How many have not ended.
    pub const fn pending(self) -> u32 {
        self.total.saturating_sub(self.succeeded + self.failed + self.cancelled)
    }

    /// How many have ended without an output.
    pub const fn unhappy(self) -> u32 {
        self.failed + self.cancelled
    }
}

/// A job: its specification and how it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What was asked for.
    pub spec: Arc<JobSpec>,
    /// Where it is in its life.
    pub state: State,
    /// Counts the changes; behind the ETag.
    pub version: u64,
    /// The number of the current or last attempt; 0 before the first.
    pub attempt: u32,
    /// How many attempts ended because their lease ran out.
    pub crashes: u32,
    /// The last lease that was given; the upper half counts them.
    pub last_token: Option<LeaseToken>,
    /// The `seq` of its newest event.
    pub last_seq: u64,
    /// The `seq` of the newest `job.step` event of a step that is done, or answered; 0 without one. What was told before it
    /// stands.
    pub last_step_seq: u64,
    /// The `seq` of its newest delta; 0 without one.
    pub last_delta_seq: u64,
    /// The `seq` of the newest event that made deltas void; 0 without one.
    pub last_reset_seq: u64,
    /// How its children stand.
    pub children: ChildCounts,
    /// How many answers it keeps that it has not asked for yet.
    pub answers: u32,
    /// When the first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When somebody asked it to stop.
    pub cancel_requested_at: Option<Timestamp>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Why the last attempt, or the job, failed.
    pub error: Option<JobError>,
    /// The attempt that ended the job; earlier ones stand in its history.
    pub last_attempt: Option<Box<Attempt>>,
    /// What the accepted answer says of itself; of the usage, what all attempts have taken.
    pub report: Report,
}

/// Where a job is in its life.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Waits for its turn.
    Queued {
        /// What it was put back, or in, for.
        why: QueuedFor,
        /// When it may run.
        due_at: Timestamp,
        /// Whether the next claim goes on with the same attempt number.
        same_attempt: bool,
    },
    /// Somebody works on it.
    Running {
        /// The right to.
        lease: Lease,
        /// What it is at.
        stage: Stage,
    },
    /// An attempt has given its lease up until something comes; or none has begun, and its children come first. Counts
    /// as running, but holds neither a lease nor a worker.
    Waiting {
        /// For what.
        wait: Wait,
        /// Since when.
        since: Timestamp,
    },
    /// Ended with an output.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Ended because somebody asked.
    Cancelled,
}

/// What a job waits for without a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The end of all its children.
    Children,
    /// Somebody's answer, which becomes the output of `step`.
    Input {
        /// The step that the answer is stored as.
        step: StepName,
        /// What is asked, in words for a person.
        prompt: Option<String>,
    },
}

impl Wait {
    /// As the API spells what is waited for.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Wait::Children => "children",
            Wait::Input { .. } => "input",
        }
    }
}

/// Why a job is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueuedFor {
    /// Its turn.
    Turn,
    /// The time it was submitted for.
    Schedule,
    /// The end of its backoff.
    Retry,
    /// The time that a provider named.
    Park,
    /// Its turn, after a wait that is over.
    Resume,
}

/// What a running job is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// What could not be checked before the submit was acknowledged is checked.
    Validating,
    /// The work itself.
    Executing,
    /// It was asked to stop and has not yet.
    Cancelling,
}

/// The right to run one attempt for a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    /// Fences every write.
    pub token: LeaseToken,
    /// Who holds it.
    pub worker: Arc<str>,
    /// Whether the holder lives in the server's own process and dies with it.
    pub in_process: bool,
    /// Since when.
    pub since: Timestamp,
    /// Until when, unless it is extended.
    pub expires_at: Timestamp,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 1, when the work can tell.
    #[serde(default)]
    pub fraction: Option<f64>,
    /// In words.
    #[serde(default)]
    pub message: Option<String>,
}

/// What an answer says of itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Report {
    /// It did not come from the first target.
    #[serde(default)]
    pub degraded: bool,
    /// It came from a cache.
    #[serde(default)]
    pub cached: bool,
    /// The model that gave it.
    #[serde(default)]
    pub model: Option<String>,
    /// What it took, beyond what was told before ([`crate::Step::Spend`]).
    #[serde(default)]
    pub usage: Usage,
}

/// What calls of models took.
///
/// ```
/// use longhaul_core::Usage;
///
/// let one = Usage { input_tokens: 12, output_tokens: 40, cost_microusd: 90 };
/// assert_eq!(one.and(one).output_tokens, 80);
/// assert!(Usage::default().is_nothing());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Millionths of a US dollar.
    pub cost_microusd: u64,
}

impl Usage {
    /// The sum of two.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost_microusd: self.cost_microusd.saturating_add(other.cost_microusd),
        }
    }

    /// Whether nothing was taken.
    pub const fn is_nothing(&self) -> bool {
        matches!(self, Self { input_tokens: 0, output_tokens: 0, cost_microusd: 0 })
    }
}

/// The five states that a client acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not begun, or waiting for another attempt.
    Queued,
    /// Somebody works on it.
    Running,
    /// Ended with an output.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Ended because somebody asked.
    Cancelled,
}

impl Status {
    /// All of them, in the order of a life.
    pub const ALL: [Status; 5] =
        [Status::Queued, Status::Running, Status::Succeeded, Status::Failed, Status::Cancelled];

    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Running => "running",
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }

    /// Whether nothing follows.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Status::Succeeded | Status::Failed | Status::Cancelled)
    }
}

/// Why a job stands where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusReason {
    /// Its turn comes next.
    Ready,
    /// It waits for `run_at`.
    Scheduled,
    /// It waits for the end of its backoff.
    RetryWait,
    /// It waits for the time that a provider named.
    Parked,
    /// A limit holds it back.
    Blocked,
    /// Its queue is paused.
    Paused,
    /// What could not be checked earlier is checked.
    Validating,
    /// The work itself.
    Executing,
    /// It was asked to stop and has not yet.
    Cancelling,
    /// It waits for its children, without a worker.
    WaitingChildren,
    /// It waits for an answer, without a worker.
    WaitingInput,
}

impl StatusReason {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            StatusReason::Ready => "ready",
            StatusReason::Scheduled => "scheduled",
            StatusReason::RetryWait => "retry_wait",
            StatusReason::Parked => "parked",
            StatusReason::Blocked => "blocked",
            StatusReason::Paused => "paused",
            StatusReason::Validating => "validating",
            StatusReason::Executing => "executing",
            StatusReason::Cancelling => "cancelling",
            StatusReason::WaitingChildren => "waiting_children",
            StatusReason::WaitingInput => "waiting_input",
        }
    }
}

impl Job {
    /// A job as it stands at the moment of its submit, without children.
    pub fn submitted(spec: Arc<JobSpec>) -> Self {
        let due_at = spec.run_at.unwrap_or(spec.created_at);
        let why = if due_at > spec.created_at { QueuedFor::Schedule } else { QueuedFor::Turn };
        let state = State::Queued { why, due_at, same_attempt: false };
        Self::new(spec, state, 0)
    }

    /// A job that is submitted together with `children`: they come first, then it runs. None: it is as if it had none.
    pub fn submitted_with(spec: Arc<JobSpec>, children: u32) -> Self {
        if children == 0 {
            return Self::submitted(spec);
        }
        let state = State::Waiting { wait: Wait::Children, since: spec.created_at };
        Self::new(spec, state, children)
    }

    fn new(spec: Arc<JobSpec>, state: State, children: u32) -> Self {
        Self {
            spec,
            state,
            version: 1,
            attempt: 0,
            crashes: 0,
            last_token: None,
            last_seq: 1,
            last_step_seq: 0,
            last_delta_seq: 0,
            last_reset_seq: 0,
            children: ChildCounts { total: children, submitted: children, ..ChildCounts::default() },
            answers: 0,
            started_at: None,
            finished_at: None,
            cancel_requested_at: None,
            progress: None,
            error: None,
            last_attempt: None,
            report: Report::default(),
        }
    }

    /// The first line of a history, which comes with the submit.
    pub fn first_event(&self) -> Event {
        let kind = match &self.state {
            State::Waiting { wait, .. } => EventKind::Waiting { wait: wait.clone() },
            State::Queued { why: why @ QueuedFor::Schedule, due_at, .. } => {
                EventKind::Queued { why: *why, due_at: Some(*due_at), error: None }
            }
            _ => EventKind::Queued { why: QueuedFor::Turn, due_at: None, error: None },
        };
        Event { seq: 1, time: self.spec.created_at, attempt: 0, kind }
    }

    /// Which of the five states it is in.
    pub fn status(&self) -> Status {
        match self.state {
            State::Queued { .. } => Status::Queued,
            State::Running { .. } | State::Waiting { .. } => Status::Running,
            State::Succeeded => Status::Succeeded,
            State::Failed => Status::Failed,
            State::Cancelled => Status::Cancelled,
        }
    }

    /// Whether it may be claimed. What waits for its turn only is always due, also when a clock was set back after
    /// the submit.
    pub fn is_due(&self, now: Timestamp) -> bool {
        match self.state {
            State::Queued { why: QueuedFor::Turn | QueuedFor::Resume, .. } => true,
            State::Queued { due_at, .. } => due_at <= now,
            State::Running { .. } | State::Waiting { .. } | State::Succeeded | State::Failed | State::Cancelled => {
                false
            }
        }
    }

    /// Why it stands there, as far as the job itself can tell: a pause or a limit of its queue is not its own.
    pub fn status_reason(&self, now: Timestamp) -> Option<StatusReason> {
        match &self.state {
            State::Queued { .. } if self.is_due(now) => Some(StatusReason::Ready),
            State::Queued { why, .. } => Some(match why {
                QueuedFor::Turn | QueuedFor::Resume => StatusReason::Ready,
                QueuedFor::Schedule => StatusReason::Scheduled,
                QueuedFor::Retry => StatusReason::RetryWait,
                QueuedFor::Park => StatusReason::Parked,
            }),
            State::Running { stage, .. } => Some(match stage {
                Stage::Validating => StatusReason::Validating,
                Stage::Executing => StatusReason::Executing,
                Stage::Cancelling => StatusReason::Cancelling,
            }),
            State::Waiting { wait: Wait::Children, .. } => Some(StatusReason::WaitingChildren),
            State::Waiting { wait: Wait::Input { .. }, .. } => Some(StatusReason::WaitingInput),
            State::Succeeded | State::Failed | State::Cancelled => None,
        }
    }

    /// The lease that holds, when one does.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Running { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// What it waits for without a lease, when it does.
    pub fn wait(&self) -> Option<&Wait> {
        match &self.state {
            State::Waiting { wait, .. } => Some(wait),
            _ => None,
        }
    }

    /// Whether the children that it still has are to be cancelled: it has ended without an output, or has been asked to
    /// stop. Children of a job that succeeded go on.
    pub fn abandons_children(&self) -> bool {
        let is_given_up = self.cancel_requested_at.is_some() || matches!(self.state, State::Failed | State::Cancelled);
        is_given_up && self.children.pending() > 0
    }

    /// When its payloads and events go: its end plus its retention.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.finished_at.map(|at| at + self.spec.retention)
    }

    /// How many leases it has been given.
    pub fn leases(&self) -> u32 {
        self.last_token.map_or(0, LeaseToken::count)
    }
}
