//! Why a job is not running.

use longhaul_core::{JobId, JobSpec, Refused, RetryPlan, Span, StepName, Tenant, Wait};

use super::{World, claim, failed, families::below, flaky, kind, queue, succeeded, tenant};
use crate::{Blocker, Outcome, StoreError};

async fn explain(w: &World, job: JobId) -> Option<Blocker> {
    w.store.explain(&tenant(), job).await.unwrap()
}

pub async fn a_job_that_runs_or_has_ended_needs_no_explanation(w: World) {
    let leased = w.running().await;
    assert_eq!(explain(&w, leased.held.job).await, None);
    w.finish(&leased.held, succeeded("1")).await.unwrap();
    assert_eq!(explain(&w, leased.held.job).await, None);
    let unknown = w.spec().id;
    assert_eq!(w.store.explain(&tenant(), unknown).await, Err(StoreError::NotFound("job")));
    let other = Tenant::new("other").unwrap();
    assert_eq!(w.store.explain(&other, leased.held.job).await, Err(StoreError::NotFound("job")));
    w.store.erase(&tenant(), leased.held.job).await.unwrap();
    assert!(matches!(w.store.explain(&tenant(), leased.held.job).await, Err(StoreError::Gone(_))));
}

pub async fn a_delay_says_until_when(w: World) {
    let at = |secs| w.now() + Span::from_secs(secs);
    let scheduled = w.submit(JobSpec { run_at: Some(at(60)), ..w.spec() }).await;
    assert_eq!(explain(&w, scheduled).await, Some(Blocker::Scheduled { until: at(60) }));
    let leased = w.running().await;
    w.finish(&leased.held, failed(flaky(), RetryPlan::After(Span::from_secs(7)))).await.unwrap();
    assert_eq!(explain(&w, leased.held.job).await, Some(Blocker::Backoff { until: at(7) }));
    let leased = w.running().await;
    w.finish(&leased.held, failed(flaky(), RetryPlan::Park(at(9)))).await.unwrap();
    assert_eq!(explain(&w, leased.held.job).await, Some(Blocker::Parked { until: at(9) }));
}

pub async fn a_queue_that_holds_a_job_back_is_named(w: World) {
    let a = queue("a");
    w.store.limit_queue(a.clone(), Some(1)).await.unwrap();
    let specs: Vec<JobSpec> = (0..3).map(|_| JobSpec { queue: a.clone(), ..w.spec() }).collect();
    let last = specs[2].id;
    w.submit_all(specs, None).await.unwrap();
    w.claim_one().await;
    assert_eq!(explain(&w, last).await, Some(Blocker::QueueFull { queue: a.clone(), running: 1, limit: 1 }));
    w.store.pause_queue(a.clone(), true).await.unwrap();
    assert_eq!(explain(&w, last).await, Some(Blocker::QueuePaused { queue: a.clone() }));
    w.store.pause_queue(a.clone(), false).await.unwrap();
    w.store.limit_queue(a.clone(), None).await.unwrap();
    assert_eq!(explain(&w, last).await, Some(Blocker::Turn { queue: a, ahead: Some(1), queued: 2 }));
}

pub async fn a_kind_that_nobody_claims_is_named(w: World) {
    let lonely = w.submit(JobSpec { kind: kind("lonely"), ..w.spec() }).await;
    assert_eq!(explain(&w, lonely).await, Some(Blocker::NobodyClaims { kind: kind("lonely") }));
    // Somebody who takes it was here a moment ago.
    let interested = crate::Claim { kinds: [kind("lonely")].into(), ..claim(1) };
    let leased = w.take(interested.clone()).await;
    w.finish(&leased[0].held, Outcome::Released { ambiguous: false }).await.unwrap();
    assert!(matches!(explain(&w, lonely).await, Some(Blocker::Turn { ahead: Some(0), queued: 1, .. })));
    w.advance(3_600);
    assert_eq!(explain(&w, lonely).await, Some(Blocker::NobodyClaims { kind: kind("lonely") }));
}

pub async fn whoever_is_busy_is_waited_for(w: World) {
    w.running().await;
    let next = w.submit(w.spec()).await;
    w.advance(3_600);
    assert!(matches!(explain(&w, next).await, Some(Blocker::Turn { .. })), "its lease has not been found out yet");
}

pub async fn a_wait_says_for_what(w: World) {
    let parent = w.spec();
    let specs: Vec<JobSpec> = std::iter::once(parent.clone()).chain(below(&w, &parent, 3)).collect();
    w.submit_all(specs, None).await.unwrap();
    let leased = w.claim_one().await;
    w.finish(&leased.held, succeeded("1")).await.unwrap();
    assert_eq!(explain(&w, parent.id).await, Some(Blocker::Children { pending: 2, total: 3 }));
    w.store.cancel(&tenant(), parent.id).await.unwrap();
    w.sweep().await;
    let leased = w.running().await;
    let (step, prompt) = (StepName::new("approve").unwrap(), Some("May I?".to_owned()));
    let wait = Wait::Input { step: step.clone(), prompt: prompt.clone() };
    w.finish(&leased.held, Outcome::Waiting(wait)).await.unwrap();
    assert_eq!(explain(&w, leased.held.job).await, Some(Blocker::Input { step, prompt }));
    let refused = w.finish(&leased.held, succeeded("1")).await;
    assert_eq!(refused, Err(StoreError::Refused(Refused::LeaseLost)));
}
