//! The life of a job: the one function that decides every change of its state.
//!
//! ```text
//!            submit
//!              │
//!              ▼       claim: attempt + 1, new lease
//!         ┌─ queued ─────────────────────────────► running ── succeed ──► succeeded
//!         │    ▲  ▲                                  │ │ │
//!         │    │  └── retryable failure: backoff ────┘ │ └── not retryable, exhausted,
//!         │    └───── release, park, lease expired ────┘     three crashes, deadline ──► failed
//!         │                                                                 ▲
//!         ├── deadline passed ──────────────────────────────────────────────┘
//!         └── cancel ──► cancelled ◄── gave up, lease expired or 30 s after a cancel ── running
//!
//!    submit with children                          running ── wait: gives the lease up
//!              └───────────────► waiting ◄────────────┘
//!                                  │ │ └── a child failed and that is the parent's failure, deadline ──► failed
//!         queued ◄── all children have ended, the answer came ┘ └── cancel ──► cancelled
//! ```
//!
//! A job that goes on does again what it did after its last finished step. So what streamed after that is void by then,
//! and the next claim says so (`job.output.reset`); what streamed within finished steps stands.
//!
//! Refusal is the default: what is not allowed here does not happen, in no store, no recovery and no simulation. After
//! a cancel has been accepted the only end is `cancelled`. The lease token is compared here and nowhere else.

use std::sync::Arc;

use crate::{
    ANSWERS_MOST, Attempt, CHILDREN_MOST, Ending, EventKind, Job, JobError, JobId, Lease, LeaseToken, LogLevel,
    Progress, QueuedFor, Report, Span, Stage, State, StepName, Timestamp, Usage, Wait,
};

/// So many expired leases fail a job: what kills three workers will kill the fourth.
pub const CRASH_LIMIT: u32 = 3;

/// How long after a cancel an executor may still hold its lease.
pub const CANCEL_GRACE: Span = Span::from_secs(30);

/// Something that happens to a job.
#[derive(Debug, Clone)]
pub enum Step {
    /// A worker takes it.
    Claim {
        /// Who.
        worker: Arc<str>,
        /// Whether that is the server's own process.
        in_process: bool,
        /// For the token.
        random: u64,
        /// How long the lease holds.
        lease_for: Span,
    },
    /// The worker is alive.
    Beat {
        /// Its lease.
        token: LeaseToken,
        /// How long the lease holds from now on.
        lease_for: Span,
        /// How far it is, when it says.
        progress: Option<Progress>,
    },
    /// The worker goes from checking to working, or back.
    Enter {
        /// Its lease.
        token: LeaseToken,
        /// What it is at now.
        stage: Stage,
    },
    /// The worker tells something: progress, a log line, a step that is done.
    Tell {
        /// Its lease.
        token: LeaseToken,
        /// What.
        event: EventKind,
    },
    /// The worker tells what calls of models have taken. It counts from then on, however the attempt ends.
    Spend {
        /// Its lease.
        token: LeaseToken,
        /// What they took.
        usage: Usage,
    },
    /// The worker takes children in, all of them as one step.
    Spawn {
        /// Its lease.
        token: LeaseToken,
        /// The step that this is.
        name: StepName,
        /// How many children.
        children: u32,
    },
    /// The worker gives its lease up until something comes.
    Wait {
        /// Its lease.
        token: LeaseToken,
        /// Until what.
        wait: Wait,
        /// Whether that is there already: the step that an answer would become is stored.
        is_there: bool,
    },
    /// A child has ended. Taken in whatever state the job is, and counted.
    ChildEnded(Box<ChildEnd>),
    /// Somebody answers: a job that waits goes on, any other keeps the answer.
    Answer {
        /// The only step that this answers, when it says so: it is then taken while the job waits with that, or not at all.
        to: Option<StepName>,
    },
    /// The worker is done.
    Succeed {
        /// Its lease.
        token: LeaseToken,
        /// What the answer says of itself.
        report: Box<Report>,
    },
    /// The worker failed.
    Fail {
        /// Its lease.
        token: LeaseToken,
        /// With what.
        error: JobError,
        /// What should follow.
        plan: RetryPlan,
        /// Places the wait within the backoff.
        random: u64,
        /// Whether it cannot be known if its last outside call took effect.
        ambiguous: bool,
    },
    /// The worker gives it back unfinished, at no cost.
    Release {
        /// Its lease.
        token: LeaseToken,
        /// Whether it cannot be known if its last outside call took effect.
        ambiguous: bool,
    },
    /// The lease ran out.
    Expire,
    /// Somebody asks it to stop.
    Cancel,
    /// A cancelled job was not given up in time.
    CancelOverdue,
    /// Its deadline has passed.
    DeadlinePassed,
}

/// How a child ended, as its parent hears of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildEnd {
    /// Which.
    pub job: JobId,
    /// Its place among its siblings.
    pub index: u32,
    /// How it ended.
    pub ended: Ended,
    /// With what error, when it failed.
    pub error: Option<JobError>,
}

/// What should follow a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryPlan {
    /// As the error says: when it is retryable, again after the backoff.
    Backoff,
    /// Again after at least this long.
    After(Span),
    /// Put aside until then, at no cost.
    Park(Timestamp),
}

/// What a step brought about.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Applied {
    /// To be recorded, in order.
    pub events: Vec<EventKind>,
    /// The attempt that this ended, when the job goes on after it. The last attempt stays with the job.
    pub attempt: Option<Attempt>,
    /// How the job ended, when it did.
    pub ended: Option<Ended>,
    /// The step had been taken before, by the same lease: nothing has changed.
    pub repeated: bool,
    /// An answer becomes the output of this step: the one that has just come, or the oldest that was kept.
    pub answered: Option<StepName>,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With an output.
    Succeeded,
    /// With an error.
    Failed,
    /// Because somebody asked.
    Cancelled,
}

/// Why a step was not taken. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The token is not that of the lease that holds.
    #[error("the lease is no longer held: the job is not running under it")]
    LeaseLost,
    /// A cancel was accepted: the only end left is `cancelled`.
    #[error("the job is being cancelled and takes no result")]
    Cancelling,
    /// The job has ended.
    #[error("the job has ended")]
    Terminal,
    /// It is not queued, so nobody can take it.
    #[error("the job is not queued")]
    NotQueued,
    /// It is queued for later.
    #[error("the job is not due yet")]
    NotDue,
    /// The answer is to a question that the job does not ask: not yet, or not any more.
    #[error("the job does not wait with that question; it may have been answered meanwhile")]
    NotAsked,
    /// So many answers are kept already that nobody has asked for.
    #[error("the job keeps {ANSWERS_MOST} answers already that it has not asked for")]
    AnswersFull,
    /// It would have more children than a job can have.
    #[error("a job can have at most {CHILDREN_MOST} children")]
    TooManyChildren,
    /// The step does not apply: no lease has run out, no deadline passed, no cancel is overdue.
    #[error("there is no occasion for this")]
    NoOccasion,
}

impl Job {
    /// Takes `step` at `now`, or refuses and leaves the job as it was. The events that it tells have been counted: the
    /// last of them is [`Job::last_seq`].
    pub fn step(&mut self, step: Step, now: Timestamp) -> Result<Applied, Refused> {
        // Children are called, and nothing is done yet: what streamed before, outside of steps, is streamed again by whoever
        // comes back for what they gave.
        let keeps_what_streamed = !matches!(step, Step::Spawn { .. });
        let applied = match step {
            Step::Claim { worker, in_process, random, lease_for } => {
                self.claim(worker, in_process, random, lease_for, now)?
            }
            Step::Beat { token, lease_for, progress } => self.beat(token, lease_for, progress, now)?,
            Step::Enter { token, stage } => self.enter(token, stage)?,
            Step::Tell { token, event } => self.tell(token, event)?,
            Step::Spend { token, usage } => self.spend(token, usage)?,
            Step::Spawn { token, name, children } => self.spawn(token, &name, children)?,
            Step::Wait { token, wait, is_there } => self.give_up_to_wait(token, wait, is_there, now)?,
            Step::ChildEnded(end) => self.child_ended(*end, now),
            Step::Answer { to } => self.answer(to.as_ref(), now)?,
            Step::Succeed { token, report } => self.succeed(token, *report, now)?,
            Step::Fail { token, error, plan, random, ambiguous } => {
                self.fail(token, error, plan, random, ambiguous, now)?
            }
            Step::Release { token, ambiguous } => self.release(token, ambiguous, now)?,
            Step::Expire => self.expire(now)?,
            Step::Cancel => self.cancel(now)?,
            Step::CancelOverdue => self.cancel_overdue(now)?,
            Step::DeadlinePassed => self.deadline_passed(now)?,
        };
        if !applied.repeated {
            self.version += 1;
        }
        for event in &applied.events {
            self.last_seq += 1;
            match event {
                EventKind::Step { .. } if keeps_what_streamed => self.last_step_seq = self.last_seq,
                EventKind::OutputDelta { .. } => self.last_delta_seq = self.last_seq,
                EventKind::OutputReset { .. } => self.last_reset_seq = self.last_seq,
                _ => {}
            }
        }
        Ok(applied)
    }

    /// What its parent hears of its end; none: it has no parent, or has not ended.
    pub fn child_end(&self) -> Option<Step> {
        self.spec.parent?;
        let ended = match self.state {
            State::Succeeded => Ended::Succeeded,
            State::Failed => Ended::Failed,
            State::Cancelled => Ended::Cancelled,
            State::Queued { .. } | State::Running { .. } | State::Waiting { .. } => return None,
        };
        let error = self.error.clone().filter(|_| ended == Ended::Failed);
        let end = ChildEnd { job: self.spec.id, index: self.spec.child_index, ended, error };
        Some(Step::ChildEnded(Box::new(end)))
    }

    /// What streamed after the last step is void now.
    fn reset(&self) -> Option<EventKind> {
        let is_void = self.last_delta_seq > self.last_step_seq.max(self.last_reset_seq);
        is_void.then_some(EventKind::OutputReset { keep_through: self.last_step_seq })
    }

    fn claim(
        &mut self,
        worker: Arc<str>,
        in_process: bool,
        random: u64,
        lease_for: Span,
        now: Timestamp,
    ) -> Result<Applied, Refused> {
        let State::Queued { same_attempt, .. } = self.state else {
            return Err(if self.status().is_terminal() { Refused::Terminal } else { Refused::NotQueued });
        };
        if !self.is_due(now) {
            return Err(Refused::NotDue);
        }
        if !same_attempt || self.attempt == 0 {
            self.attempt += 1;
        }
        let token = LeaseToken::new(self.leases() + 1, random);
        self.last_token = Some(token);
        self.started_at.get_or_insert(now);
        let mut events = vec![EventKind::Running { worker: worker.to_string() }];
        events.extend(self.reset());
        let lease = Lease { token, worker, in_process, since: now, expires_at: now + lease_for };
        self.state = State::Running { lease, stage: Stage::Executing };
        Ok(Applied { events, ..Applied::default() })
    }

    fn beat(
        &mut self,
        token: LeaseToken,
        lease_for: Span,
        progress: Option<Progress>,
        now: Timestamp,
    ) -> Result<Applied, Refused> {
        let lease = self.held(token)?;
        lease.expires_at = lease.expires_at.max(now + lease_for);
        let mut events = Vec::new();
        if let Some(progress) = progress.filter(|new| self.progress.as_ref() != Some(new)) {
            events.push(EventKind::Progress { fraction: progress.fraction, message: progress.message.clone() });
            self.progress = Some(progress);
        }
        Ok(Applied { events, ..Applied::default() })
    }

    fn enter(&mut self, token: LeaseToken, to: Stage) -> Result<Applied, Refused> {
        self.held(token)?;
        match &mut self.state {
            // Only a cancel makes a job cancelling, and nothing takes it out of that.
            _ if to == Stage::Cancelling => Err(Refused::NoOccasion),
            State::Running { stage, .. } if *stage != to && *stage != Stage::Cancelling => {
                *stage = to;
                Ok(Applied::default())
            }
            _ => Ok(Applied { repeated: true, ..Applied::default() }),
        }
    }

    fn tell(&mut self, token: LeaseToken, event: EventKind) -> Result<Applied, Refused> {
        self.held(token)?;
        match &event {
            EventKind::Progress { fraction, message } => {
                self.progress = Some(Progress { fraction: *fraction, message: message.clone() });
            }
            EventKind::Step { .. }
            | EventKind::Log { .. }
            | EventKind::OutputDelta { .. }
            | EventKind::Layer { .. } => {}
            // What a job lives through is told by the steps that bring it about, and by nobody else.
            EventKind::Queued { .. }
            | EventKind::Running { .. }
            | EventKind::Waiting { .. }
            | EventKind::OutputReset { .. }
            | EventKind::Succeeded
            | EventKind::Failed { .. }
            | EventKind::Cancelled => return Err(Refused::NoOccasion),
        }
        Ok(Applied { events: vec![event], ..Applied::default() })
    }

    fn spend(&mut self, token: LeaseToken, usage: Usage) -> Result<Applied, Refused> {
        self.held(token)?;
        self.report.usage = self.report.usage.and(usage);
        Ok(Applied { repeated: usage.is_nothing(), ..Applied::default() })
    }

    fn succeed(&mut self, token: LeaseToken, report: Report, now: Timestamp) -> Result<Applied, Refused> {
        if self.state == State::Succeeded && self.last_token == Some(token) {
            return Ok(Applied { repeated: true, ended: Some(Ended::Succeeded), ..Applied::default() });
        }
        self.held(token)?;
        if self.cancel_requested_at.is_some() {
            return Err(Refused::Cancelling);
        }
        self.error = None;
        self.report = Report { usage: self.report.usage.and(report.usage), ..report };
        Ok(self.end(Ending::Succeeded, None, false, now))
    }

    fn fail(
        &mut self,
        token: LeaseToken,
        mut error: JobError,
        plan: RetryPlan,
        random: u64,
        ambiguous: bool,
        now: Timestamp,
    ) -> Result<Applied, Refused> {
        self.held(token)?;
        if self.cancel_requested_at.is_some() {
            return Ok(self.end_cancelled(ambiguous, now));
        }
        error.attempt = self.attempt;
        let failures = self.attempt.saturating_sub(self.crashes);
        let (why, due_at, ending) = match plan {
            RetryPlan::Park(until) => (QueuedFor::Park, until.max(now), Ending::Parked),
            RetryPlan::After(span) => (QueuedFor::Retry, now + span, Ending::Failed),
            RetryPlan::Backoff => (QueuedFor::Retry, now + self.spec.backoff.wait(failures, random), Ending::Failed),
        };
        let exhausted = ending == Ending::Failed && (!error.retryable || failures >= self.spec.max_attempts);
        let too_late = self.spec.deadline_at.is_some_and(|deadline| due_at >= deadline);
        if exhausted || too_late {
            return Ok(self.end(Ending::Failed, Some(error), ambiguous, now));
        }
        let attempt = self.finish_attempt(ending, Some(error.clone()), ambiguous, now);
        self.state = State::Queued { why, due_at, same_attempt: ending == Ending::Parked };
        Ok(self.requeued(why, Some(due_at), Some(error), attempt))
    }

    fn release(&mut self, token: LeaseToken, ambiguous: bool, now: Timestamp) -> Result<Applied, Refused> {
        self.held(token)?;
        if self.cancel_requested_at.is_some() {
            return Ok(self.end_cancelled(ambiguous, now));
        }
        let attempt = self.finish_attempt(Ending::Released, None, ambiguous, now);
        self.state = State::Queued { why: QueuedFor::Turn, due_at: now, same_attempt: true };
        Ok(self.requeued(QueuedFor::Turn, None, None, attempt))
    }

    fn expire(&mut self, now: Timestamp) -> Result<Applied, Refused> {
        match self.lease() {
            None => return Err(Refused::NoOccasion),
            Some(lease) if lease.expires_at > now => return Err(Refused::NoOccasion),
            Some(_) => {}
        }
        if self.cancel_requested_at.is_some() {
            return Ok(self.end_cancelled(true, now));
        }
        self.crashes += 1;
        if self.crashes >= CRASH_LIMIT {
            let message =
                format!("{} workers stopped responding while they ran this job; it is not tried again", self.crashes);
            let error = JobError { attempt: self.attempt, ..JobError::permanent("worker_crash_loop", message) };
            return Ok(self.end(Ending::Crashed, Some(error), true, now));
        }
        let error = JobError {
            attempt: self.attempt,
            ..JobError::transient("worker_lost", "the worker stopped responding and its lease ran out")
        };
        let attempt = self.finish_attempt(Ending::Crashed, Some(error.clone()), true, now);
        self.state = State::Queued { why: QueuedFor::Turn, due_at: now, same_attempt: false };
        Ok(self.requeued(QueuedFor::Turn, None, Some(error), attempt))
    }

    fn cancel(&mut self, now: Timestamp) -> Result<Applied, Refused> {
        match &mut self.state {
            State::Queued { .. } | State::Waiting { .. } => {
                self.cancel_requested_at = Some(now);
                Ok(self.end_cancelled(false, now))
            }
            State::Running { stage, .. } => {
                if self.cancel_requested_at.is_some() {
                    return Ok(Applied { repeated: true, ..Applied::default() });
                }
                *stage = Stage::Cancelling;
                self.cancel_requested_at = Some(now);
                let told = EventKind::Log { level: LogLevel::Info, message: "cancel requested".into() };
                Ok(Applied { events: vec![told], ..Applied::default() })
            }
            State::Succeeded | State::Failed | State::Cancelled => Err(Refused::Terminal),
        }
    }

    fn cancel_overdue(&mut self, now: Timestamp) -> Result<Applied, Refused> {
        match (&self.state, self.cancel_requested_at) {
            (State::Running { .. }, Some(at)) if at + CANCEL_GRACE <= now => Ok(self.end_cancelled(true, now)),
            _ => Err(Refused::NoOccasion),
        }
    }

    fn deadline_passed(&mut self, now: Timestamp) -> Result<Applied, Refused> {
        if self.status().is_terminal() || self.spec.deadline_at.is_none_or(|deadline| deadline > now) {
            return Err(Refused::NoOccasion);
        }
        if self.cancel_requested_at.is_some() {
            return Ok(self.end_cancelled(true, now));
        }
        let mut message = match self.state {
            State::Running { .. } => format!("the deadline passed while attempt {} ran", self.attempt),
            State::Waiting { wait: Wait::Children, .. } => {
                "the deadline passed while the job waited for its children".into()
            }
            State::Waiting { wait: Wait::Input { .. }, .. } => {
                "the deadline passed while the job waited for input".into()
            }
            _ if self.attempt == 0 => "the deadline passed before the job could start".to_owned(),
            _ => "the deadline passed while the job waited for another attempt".to_owned(),
        };
        if let Some(last) = &self.error {
            message.push_str(&format!("; the last error was {}: {}", last.code, last.message));
        }
        let error = JobError {
            attempt: self.attempt,
            provider: self.error.as_ref().and_then(|last| last.provider.clone()),
            ..JobError::permanent("deadline_exceeded", message)
        };
        // Whoever runs it is not asked what it was at.
        Ok(self.end(Ending::DeadlineExceeded, Some(error), true, now))
    }

    /// Whether `token` is that of the lease that holds: for what is fenced without being a step.
    pub fn check_lease(&self, token: LeaseToken) -> Result<(), Refused> {
        match self.lease() {
            Some(lease) if lease.token == token => Ok(()),
            _ => Err(Refused::LeaseLost),
        }
    }

    /// The lease, when `token` is the one that holds.
    fn held(&mut self, token: LeaseToken) -> Result<&mut Lease, Refused> {
        match &mut self.state {
            State::Running { lease, .. } if lease.token == token => Ok(lease),
            _ => Err(Refused::LeaseLost),
        }
    }

    /// Ends the job. The running attempt, when there is one, becomes its last.
    fn end(&mut self, ending: Ending, error: Option<JobError>, ambiguous: bool, now: Timestamp) -> Applied {
        self.last_attempt = self.finish_attempt(ending, error.clone(), ambiguous, now).map(Box::new);
        self.finished_at = Some(now);
        let (state, event, ended) = match (ending, error) {
            (Ending::Succeeded, _) => (State::Succeeded, EventKind::Succeeded, Ended::Succeeded),
            (_, Some(error)) => {
                self.error = Some(error.clone());
                (State::Failed, EventKind::Failed { error }, Ended::Failed)
            }
            (_, None) => (State::Cancelled, EventKind::Cancelled, Ended::Cancelled),
        };
        self.state = state;
        Applied { events: vec![event], ended: Some(ended), ..Applied::default() }
    }

    fn end_cancelled(&mut self, ambiguous: bool, now: Timestamp) -> Applied {
        self.end(Ending::Cancelled, None, ambiguous, now)
    }

    /// Tells of a job that waits again after `attempt`.
    fn requeued(
        &mut self,
        why: QueuedFor,
        due_at: Option<Timestamp>,
        error: Option<JobError>,
        attempt: Option<Attempt>,
    ) -> Applied {
        if error.is_some() {
            self.error.clone_from(&error);
        }
        Applied { events: vec![EventKind::Queued { why, due_at, error }], attempt, ..Applied::default() }
    }

    fn finish_attempt(
        &self,
        ending: Ending,
        error: Option<JobError>,
        ambiguous: bool,
        now: Timestamp,
    ) -> Option<Attempt> {
        let lease = self.lease()?;
        Some(Attempt {
            number: self.attempt,
            lease: lease.token.count(),
            started_at: lease.since,
            ended_at: Some(now),
            worker: lease.worker.to_string(),
            ending: Some(ending),
            error,
            ambiguous,
        })
    }
}

#[cfg(test)]
mod tests;
mod waits;
