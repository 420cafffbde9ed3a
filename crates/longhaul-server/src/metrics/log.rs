//! What an operator must hear of without looking at figures: providers that refuse this installation's account, models that
//! give no answer, breakers that open and close, jobs that fail for good. Told where it is counted, so that whoever does
//! the work needs no words for it.
//!
//! A provider that is down fails thousands of calls a minute: of each sort a few lines are written a minute, and the next
//! one says how many were left out. Codes and names are written, never a provider's words: some repeat the key.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use longhaul_core::{Span, Status, Timestamp};
use longhaul_engine::store::Change;
use longhaul_gateway::CallRecord;

/// Lines about models are filtered by the name of the crate that does the work: `level = "info,longhaul_gateway=debug"`.
const MODELS: &str = "longhaul_gateway";
const JOBS: &str = "longhaul_engine";

const MINUTE: Span = Span::from_secs(60);

/// Lines of one sort in a minute: a breaker's moves belong together, a refusal is the same every time.
const REFUSALS_A_MINUTE: u32 = 1;
const UNANSWERED_A_MINUTE: u32 = 1;
const MOVES_A_MINUTE: u32 = 10;
/// Of all jobs together: enough to see what fails, and nothing that a commit would wait for.
const JOBS_A_MINUTE: u32 = 60;

/// What the account at a provider is to blame for: nothing but the operator's doing helps.
const OF_THE_ACCOUNT: [&str; 3] = ["provider_authentication", "provider_permission", "provider_quota_exhausted"];

/// A sort of lines. Its names are those of the configuration and of the program, so that there are not many.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Sort {
    Refused { model: Arc<str>, target: Arc<str>, code: &'static str },
    Unanswered { model: Arc<str>, code: &'static str },
    Moved { stack: &'static str },
    Failed,
}

/// The lines of one sort in the minute that began then.
#[derive(Debug, Default)]
struct Written {
    since: Timestamp,
    lines: u32,
    left_out: u64,
}

/// What was written of late.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<HashMap<Sort, Written>>);

impl Log {
    /// How many lines of this sort were left out since the last one, when another may be written.
    fn admit(&self, sort: Sort, now: Timestamp, most: u32) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = all.entry(sort).or_default();
        if now.since(written.since) >= MINUTE {
            (written.since, written.lines) = (now, 0);
        }
        if written.lines >= most {
            written.left_out += 1;
            return None;
        }
        written.lines += 1;
        Some(std::mem::take(&mut written.left_out))
    }

    /// Calls that went well cost a look at their notes, and no lock.
    pub(super) fn called(&self, record: &CallRecord) {
        let now = Timestamp::EPOCH + Span::from(record.began_at) + Span::from(record.took);
        let model = &*record.model;
        for call in &record.calls {
            let Some(code) = call.error else { continue };
            let (target, provider, http_status) = (&*call.target, &*call.provider, call.http_status);
            tracing::debug!(target: MODELS, model, target, provider, code, http_status, "a call of a provider failed");
            if OF_THE_ACCOUNT.contains(&code) {
                let sort = Sort::Refused { model: record.model.clone(), target: call.target.clone(), code };
                if let Some(left_out) = self.admit(sort, now, REFUSALS_A_MINUTE) {
                    tracing::warn!(
                        target: MODELS, model, target, provider, code, http_status, left_out,
                        "a provider refuses this installation's account; `longhaul models check` shows its words"
                    );
                }
            }
        }
        for note in record.layers() {
            let opened = match note.decision {
                "breaker.opened" => true,
                "breaker.closed" => false,
                _ => continue,
            };
            let stack = note.stack;
            let Some(left_out) = self.admit(Sort::Moved { stack }, now, MOVES_A_MINUTE) else { continue };
            if opened {
                tracing::warn!(target: MODELS, stack, left_out, "a breaker opened: its target is not asked for now");
            } else {
                tracing::warn!(target: MODELS, stack, left_out, "a breaker closed: its target is asked again");
            }
        }
        if let Some(error) = record.error.as_ref().filter(|error| !error.is_refusal()) {
            let sort = Sort::Unanswered { model: record.model.clone(), code: error.code };
            if let Some(left_out) = self.admit(sort, now, UNANSWERED_A_MINUTE) {
                tracing::warn!(target: MODELS, model, code = error.code, left_out, "a call of a model got no answer");
            }
        }
    }

    /// Of what this process has committed: other servers write of their own.
    pub(super) fn committed(&self, changes: &[Change]) {
        for change in changes.iter().filter(|change| change.ended.is_some() && change.status == Status::Failed) {
            let Some(kind) = &change.kind else { continue };
            let Some(left_out) = self.admit(Sort::Failed, change.at, JOBS_A_MINUTE) else { continue };
            let attempt = change.attempt.as_ref();
            let of_job = || Some(change.view.as_ref()?.job.error.as_ref()?.code.as_str());
            let code = attempt.and_then(|attempt| attempt.error.as_deref()).or_else(of_job);
            let code = code.or(attempt.map(|attempt| attempt.ending.as_str())).unwrap_or("failed");
            let trace_id = change.trace.map(|trace| tracing::field::display(format!("{:032x}", trace.trace_id)));
            tracing::info!(
                target: JOBS, job_id = %change.job, %kind, queue = %change.queue, code,
                attempt = attempt.map(|attempt| attempt.number), trace_id, left_out, "a job failed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_sort_so_many_lines_are_written_a_minute_and_the_next_says_what_was_left_out() {
        let log = Log::default();
        let sort = |code| Sort::Unanswered { model: "smart".into(), code };
        let at = |seconds: u64| Timestamp::EPOCH + Span::from_secs(1_000 + seconds);
        assert_eq!(log.admit(sort("a"), at(0), 2), Some(0));
        assert_eq!(log.admit(sort("a"), at(1), 2), Some(0));
        assert_eq!(log.admit(sort("a"), at(2), 2), None);
        assert_eq!(log.admit(sort("a"), at(59), 2), None);
        assert_eq!(log.admit(sort("b"), at(59), 2), Some(0));
        assert_eq!(log.admit(sort("a"), at(60), 2), Some(2));
        assert_eq!(log.admit(sort("a"), at(61), 2), Some(0));
    }
}
