//! The steps that have to do with waiting: taking children in, giving a lease up, and what brings a job back.

use super::{Applied, ChildEnd, Ended, Refused};
use crate::{
    ANSWERS_MOST, CHILDREN_MOST, Ending, EventKind, Job, JobError, LeaseToken, OnChildFailure, QueuedFor, State,
    StepName, Timestamp, Wait,
};

impl Job {
    pub(super) fn spawn(&mut self, token: LeaseToken, name: &StepName, children: u32) -> Result<Applied, Refused> {
        self.held(token)?;
        if self.cancel_requested_at.is_some() {
            return Err(Refused::Cancelling);
        }
        let total = self.children.total.saturating_add(children);
        if total > CHILDREN_MOST {
            return Err(Refused::TooManyChildren);
        }
        self.children.total = total;
        Ok(Applied { events: vec![EventKind::Step { name: name.to_string() }], ..Applied::default() })
    }

    pub(super) fn give_up_to_wait(
        &mut self,
        token: LeaseToken,
        wait: Wait,
        is_there: bool,
        now: Timestamp,
    ) -> Result<Applied, Refused> {
        self.held(token)?;
        if self.cancel_requested_at.is_some() {
            return Ok(self.end_cancelled(false, now));
        }
        if wait == Wait::Children && self.spec.on_child_failure == OnChildFailure::Fail && self.children.unhappy() > 0 {
            let (unhappy, total) = (self.children.unhappy(), self.children.total);
            let message = format!("{unhappy} of {total} children did not succeed");
            return Ok(self.end(Ending::Failed, Some(self.child_failed(message)), false, now));
        }
        let attempt = self.finish_attempt(Ending::Waiting, None, false, now);
        let is_over = match &wait {
            Wait::Children => self.children.pending() == 0,
            Wait::Input { .. } => is_there || self.answers > 0,
        };
        if !is_over {
            let event = EventKind::Waiting { wait: wait.clone() };
            self.state = State::Waiting { wait, since: now };
            return Ok(Applied { events: vec![event], attempt, ..Applied::default() });
        }
        let applied = match wait {
            Wait::Input { step, .. } if !is_there => {
                self.answers -= 1;
                self.go_on_with_answer(step, now)
            }
            Wait::Input { .. } | Wait::Children => self.go_on(now),
        };
        Ok(Applied { attempt, ..applied })
    }

    pub(super) fn child_ended(&mut self, end: ChildEnd, now: Timestamp) -> Applied {
        match end.ended {
            Ended::Succeeded => self.children.succeeded += 1,
            Ended::Failed => self.children.failed += 1,
            Ended::Cancelled => self.children.cancelled += 1,
        }
        if !matches!(self.state, State::Waiting { wait: Wait::Children, .. }) {
            return Applied::default();
        }
        if end.ended != Ended::Succeeded && self.spec.on_child_failure == OnChildFailure::Fail {
            let how = if end.ended == Ended::Failed { "failed" } else { "was cancelled" };
            let mut message = format!("child {} ({}) {how}", end.index, end.job);
            if let Some(error) = end.error {
                message.push_str(&format!(": {}: {}", error.code, error.message));
            }
            return self.end(Ending::Failed, Some(self.child_failed(message)), false, now);
        }
        if self.children.pending() == 0 { self.go_on(now) } else { Applied::default() }
    }

    fn child_failed(&self, message: String) -> JobError {
        JobError { attempt: self.attempt, ..JobError::permanent("child_failed", message) }
    }

    pub(super) fn answer(&mut self, to: Option<&StepName>, now: Timestamp) -> Result<Applied, Refused> {
        if self.status().is_terminal() {
            return Err(Refused::Terminal);
        }
        if self.cancel_requested_at.is_some() {
            return Err(Refused::Cancelling);
        }
        match &self.state {
            State::Waiting { wait: Wait::Input { step, .. }, .. } if to.is_none_or(|to| to == step) => {
                let step = step.clone();
                return Ok(self.go_on_with_answer(step, now));
            }
            _ if to.is_some() => return Err(Refused::NotAsked),
            _ => {}
        }
        if self.answers >= ANSWERS_MOST {
            return Err(Refused::AnswersFull);
        }
        self.answers += 1;
        Ok(Applied::default())
    }

    /// What it waited for has come: it waits for its turn, or for the time that it was submitted for.
    fn go_on(&mut self, now: Timestamp) -> Applied {
        let later = self.spec.run_at.filter(|at| *at > now && self.attempt == 0);
        let why = if later.is_some() { QueuedFor::Schedule } else { QueuedFor::Resume };
        self.state = State::Queued { why, due_at: later.unwrap_or(now), same_attempt: true };
        Applied { events: vec![EventKind::Queued { why, due_at: later, error: None }], ..Applied::default() }
    }

    fn go_on_with_answer(&mut self, step: StepName, now: Timestamp) -> Applied {
        // The step stands behind what streamed without one, and must not keep it: that will be streamed again.
        let mut events: Vec<EventKind> = self.reset().into_iter().collect();
        events.push(EventKind::Step { name: step.to_string() });
        let mut applied = self.go_on(now);
        events.append(&mut applied.events);
        Applied { events, answered: Some(step), ..applied }
    }
}
