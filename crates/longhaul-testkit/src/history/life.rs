//! The published life of a job, as a reader of its events may hold the server to it.
//!
//! Written from the contract and on purpose not shared with the engine: two statements of one table catch a slip in
//! either.

/// Where a job stands after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Waits for a lease, or for its time.
    Queued,
    /// Some executor holds a lease.
    Running,
    /// Waits for children or for a person, without a lease.
    Waiting,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Ended on request.
    Cancelled,
}

impl Phase {
    /// The phase that a `status` of the API names; waiting jobs say `running` there.
    #[must_use]
    pub fn of_status(status: &str) -> Option<Self> {
        match status {
            "queued" => Some(Self::Queued),
            "running" => Some(Self::Running),
            "succeeded" => Some(Self::Succeeded),
            "failed" => Some(Self::Failed),
            "cancelled" => Some(Self::Cancelled),
            _ => None,
        }
    }

    /// Whether nothing may follow.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// The phase after `event`, or why the event may not come here. `from` is `None` before the first event.
pub(super) fn step(from: Option<Phase>, event: &str) -> Result<Phase, String> {
    use Phase::{Cancelled, Failed, Queued, Running, Succeeded, Waiting};
    match (from, event) {
        (None | Some(Running | Waiting), "job.queued") => Ok(Queued),
        // It was submitted with children, which come first.
        (None, "job.waiting") => Ok(Waiting),
        (Some(Queued), "job.running") => Ok(Running),
        (Some(Running), "job.waiting") => Ok(Waiting),
        // What was waited for has come, and is kept as a step; what was streamed since the last one is void.
        (Some(Waiting), "job.step" | "job.output.reset") => Ok(Waiting),
        (Some(Running), "job.succeeded") => Ok(Succeeded),
        (Some(Queued | Running | Waiting), "job.failed") => Ok(Failed),
        (Some(Queued | Running | Waiting), "job.cancelled") => Ok(Cancelled),
        (
            Some(Running),
            "job.progress" | "job.layer" | "job.step" | "job.output.delta" | "job.output.reset" | "job.log",
        ) => Ok(Running),
        (None, other) => Err(format!("the first event is {other}, not job.queued or job.waiting")),
        (Some(phase), other) => Err(format!("{other} while {phase:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(events: &[&str]) -> Result<Phase, String> {
        let mut phase = None;
        for event in events {
            phase = Some(step(phase, event)?);
        }
        phase.ok_or_else(|| "no event".to_owned())
    }

    #[test]
    fn the_plain_life_is_legal() {
        assert_eq!(walk(&["job.queued", "job.running", "job.progress", "job.succeeded"]), Ok(Phase::Succeeded));
    }

    #[test]
    fn a_retry_and_a_wait_are_legal() {
        let life = [
            "job.queued",
            "job.running",
            "job.queued",
            "job.running",
            "job.waiting",
            "job.queued",
            "job.running",
            "job.failed",
        ];
        assert_eq!(walk(&life), Ok(Phase::Failed));
    }

    #[test]
    fn nothing_follows_an_end() {
        for end in ["job.succeeded", "job.failed", "job.cancelled"] {
            for next in ["job.queued", "job.running", "job.succeeded", "job.log"] {
                assert!(walk(&["job.queued", "job.running", end, next]).is_err(), "{end} then {next}");
            }
        }
    }

    #[test]
    fn success_needs_a_run() {
        assert!(walk(&["job.queued", "job.succeeded"]).is_err());
        assert!(walk(&["job.running"]).is_err());
    }
}
