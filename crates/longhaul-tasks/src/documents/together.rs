//! Calls that are made some at a time and belong together.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream::{self, StreamExt as _};
use longhaul_core::RetryPlan;
use longhaul_engine::Failure;

/// Makes calls, so many at once, and gives what came of them in their order.
///
/// When one fails no other is begun; those that are under way are waited for, because they are paid for: a step that is
/// finished is not paid for again.
///
/// # Errors
/// The failure that says most about what should follow, [`weightiest`].
pub(super) async fn together<T, F>(at_once: usize, calls: Vec<F>) -> Result<Vec<T>, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let has_failed = &AtomicBool::new(false);
    let guarded = calls.into_iter().map(|call| async move {
        if has_failed.load(Ordering::Relaxed) {
            return None;
        }
        let ended = call.await;
        has_failed.fetch_or(ended.is_err(), Ordering::Relaxed);
        Some(ended)
    });
    // Collected, so that no closure with a lifetime of its own is held across an await.
    let guarded: Vec<_> = guarded.collect();
    let ended: Vec<_> = stream::iter(guarded).buffered(at_once.max(1)).collect().await;
    let (mut done, mut failed) = (Vec::with_capacity(ended.len()), Vec::new());
    for ended in ended.into_iter().flatten() {
        match ended {
            Ok(value) => done.push(value),
            Err(failure) => failed.push(failure),
        }
    }
    weightiest(failed).map_or(Ok(done), Err)
}

/// Of several failures the one to report: that there is nothing left to say; then one that no further attempt can mend;
/// then one that says when to come again; then any. It is ambiguous if one of them is.
fn weightiest(failures: Vec<Failure>) -> Option<Failure> {
    let weight = |failure: &Failure| match failure {
        Failure::Interrupted => 4,
        Failure::Waiting(_) => 3,
        Failure::Job { plan: RetryPlan::Park(_), .. } => 1,
        Failure::Job { error, .. } if !error.retryable => 2,
        Failure::Job { .. } => 0,
    };
    let is_ambiguous = failures.iter().any(|failure| matches!(failure, Failure::Job { ambiguous: true, .. }));
    // The first of those that weigh most.
    let worst = failures.into_iter().rev().max_by_key(weight)?;
    Some(match worst {
        Failure::Job { error, plan, ambiguous } => Failure::Job { error, plan, ambiguous: ambiguous || is_ambiguous },
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use longhaul_core::{JobError, Timestamp};
    use tokio::sync::Notify;

    use super::*;

    fn failure(code: &str, retryable: bool, plan: RetryPlan, ambiguous: bool) -> Failure {
        let error = Box::new(JobError { retryable, ..JobError::permanent(code, "") });
        Failure::Job { error, plan, ambiguous }
    }

    fn code(failure: Option<Failure>) -> (String, bool) {
        match failure {
            Some(Failure::Job { error, ambiguous, .. }) => (error.code, ambiguous),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_under_way_is_finished_and_what_is_not_is_not_begun() {
        let (begun, finished, go) = (&Mutex::new(Vec::new()), &Mutex::new(Vec::new()), &Notify::new());
        let calls: Vec<_> = (0..6)
            .map(|number| async move {
                begun.lock().unwrap().push(number);
                match number {
                    1 => {
                        // All that fit in at once have begun; they are let go when this one fails.
                        tokio::task::yield_now().await;
                        go.notify_waiters();
                        return Err(failure("broken", true, RetryPlan::Backoff, false));
                    }
                    _ => go.notified().await,
                }
                finished.lock().unwrap().push(number);
                Ok(number)
            })
            .collect();
        let ended = together(3, calls).await;
        assert_eq!(code(ended.err()).0, "broken");
        assert_eq!(*begun.lock().unwrap(), [0, 1, 2]);
        let mut finished = finished.lock().unwrap().clone();
        finished.sort_unstable();
        assert_eq!(finished, [0, 2], "what was under way has been paid for, and is kept");
    }

    #[test]
    fn the_failure_that_decides_what_follows_is_reported() {
        let park = RetryPlan::Park(Timestamp::from_micros(1));
        let passing = || failure("passing", true, RetryPlan::Backoff, true);
        let parked = || failure("parked", true, park, false);
        let final_one = || failure("final", false, RetryPlan::Backoff, false);
        assert_eq!(code(weightiest(vec![passing(), parked()])), ("parked".into(), true));
        assert_eq!(code(weightiest(vec![parked(), final_one(), passing()])), ("final".into(), true));
        assert_eq!(code(weightiest(vec![final_one()])), ("final".into(), false));
        assert!(matches!(weightiest(vec![final_one(), Failure::Interrupted]), Some(Failure::Interrupted)));
        assert!(weightiest(Vec::new()).is_none());
    }
}
