//! What is kept after the end, and what is left after that.

use longhaul_core::{EventKind, JobId, JobSpec, LogLevel, Payload, Refused, RetryPlan, Span, Status, StepName, Usage};

use super::{World, failed, succeeded, tenant};
use crate::{Held, StoreError, Tombstone};

async fn ended(w: &World, spec: JobSpec) -> Held {
    let leased = w.running_of(spec).await;
    w.finish(&leased.held, succeeded("1")).await.unwrap();
    leased.held
}

/// Nothing but the tombstone is left of it, whoever asks for whatever.
async fn assert_gone(w: &World, held: &Held, tombstone: &Tombstone) {
    let gone = StoreError::Gone(Box::new(tombstone.clone()));
    let (job, t) = (held.job, tenant());
    assert_eq!(w.store.job(&t, job).await.err(), Some(gone.clone()));
    assert_eq!(w.store.events(&t, job, 0, 9).await.err(), Some(gone.clone()));
    assert_eq!(w.store.attempts(&t, job).await.err(), Some(gone.clone()));
    assert_eq!(w.store.steps(&t, job).await.err(), Some(gone.clone()));
    assert_eq!(w.store.queue_position(&t, job).await.err(), Some(gone.clone()));
    assert_eq!(w.store.cancel(&t, job).await.err(), Some(gone.clone()));
    assert_eq!(w.store.erase(&t, job).await.err(), Some(gone));
    let late = w.finish(held, succeeded("2")).await;
    assert_eq!(late, Err(StoreError::Refused(Refused::LeaseLost)));
    let page = w.store.jobs(crate::JobQuery::newest(t, 200)).await.unwrap();
    assert!(page.jobs.iter().all(|other| other.spec.id != job));
}

pub async fn a_job_is_erased_only_after_its_end(w: World) {
    let leased = w.running().await;
    let refused = Err(StoreError::Refused(Refused::NoOccasion));
    assert_eq!(w.store.erase(&tenant(), leased.held.job).await, refused);
    let queued = w.submit(w.spec()).await;
    assert_eq!(w.store.erase(&tenant(), queued).await, refused);
    assert_eq!(w.store.erase(&tenant(), w.spec().id).await, Err(StoreError::NotFound("job")));
    assert_eq!((w.status(queued).await, w.status(leased.held.job).await), (Status::Queued, Status::Running));
}

pub async fn an_erased_job_leaves_a_tombstone(w: World) {
    let leased = w.running().await;
    let step = StepName::new("one").unwrap();
    w.store.checkpoint(leased.held.clone(), step, Payload::inline("1"), Usage::default()).await.unwrap();
    w.tell(&leased.held, EventKind::Log { level: LogLevel::Info, message: "secret".into() }).await.unwrap();
    let error = longhaul_core::JobError::permanent("no", "no");
    w.finish(&leased.held, failed(error, RetryPlan::Backoff)).await.unwrap();
    let finished_at = w.now();
    w.view(leased.held.job).await;
    w.advance(5);
    assert_eq!(w.store.erase(&tenant(), leased.held.job).await, Ok(()));
    let left = Tombstone { job: leased.held.job, status: Status::Failed, finished_at, erased: true };
    assert_gone(&w, &leased.held, &left).await;
    // Those before and after it stay.
    let other = ended(&w, w.spec()).await;
    assert_eq!(w.status(other.job).await, Status::Succeeded);
}

pub async fn an_expired_job_leaves_a_tombstone(w: World) {
    let short = ended(&w, JobSpec { retention: Span::from_secs(10), ..w.spec() }).await;
    let long = ended(&w, JobSpec { retention: Span::from_secs(1_000), ..w.spec() }).await;
    let finished_at = w.now();
    w.advance(9);
    assert_eq!(w.prune().await, 0);
    assert_eq!(w.status(short.job).await, Status::Succeeded);
    w.advance(3);
    assert_eq!(w.prune().await, 1);
    let left = Tombstone { job: short.job, status: Status::Succeeded, finished_at, erased: false };
    assert_gone(&w, &short, &left).await;
    assert_eq!(w.history(long.job).await.len(), 3);
    // Tombstones are forgotten in their turn, after a month.
    w.advance(29 * 86_400);
    w.prune().await;
    assert!(matches!(w.store.job(&tenant(), short.job).await, Err(StoreError::Gone(_))));
    w.advance(2 * 86_400);
    w.prune().await;
    w.prune().await;
    assert_eq!(w.store.job(&tenant(), short.job).await.err(), Some(StoreError::NotFound("job")));
}

pub async fn pruning_goes_in_steps_and_says_when_there_is_more(w: World) {
    let specs: Vec<JobSpec> = (0..25).map(|_| JobSpec { retention: Span::from_secs(10), ..w.spec() }).collect();
    let ids: Vec<JobId> = specs.iter().map(|spec| spec.id).collect();
    w.submit_all(specs, None).await.unwrap();
    // Some end together, some one by one.
    futures::future::join_all(ids[..13].iter().map(|id| w.store.cancel(&super::TENANT, *id))).await;
    for id in &ids[13..] {
        w.store.cancel(&tenant(), *id).await.unwrap();
    }
    w.advance(12);
    let mut steps = Vec::new();
    loop {
        let pruned = w.store.prune(5).await.unwrap();
        steps.push(pruned.jobs);
        assert_eq!(w.store.jobs(crate::JobQuery::newest(tenant(), 99)).await.unwrap().jobs.len(), 25 - 5 * steps.len());
        if !pruned.more {
            break;
        }
    }
    assert_eq!(steps, [5, 5, 5, 5, 5]);
    assert_eq!(w.store.prune(5).await.unwrap(), crate::Pruned { jobs: 0, streams: 0, more: false });
    for id in ids {
        assert!(matches!(w.store.job(&tenant(), id).await, Err(StoreError::Gone(_))));
    }
}

pub async fn what_was_erased_by_hand_is_not_pruned_again(w: World) {
    let spec = || JobSpec { retention: Span::from_secs(10), ..w.spec() };
    let (one, two) = (ended(&w, spec()).await, ended(&w, spec()).await);
    w.store.erase(&tenant(), one.job).await.unwrap();
    w.advance(12);
    assert_eq!(w.prune().await, 1);
    for (held, by_hand) in [(one, true), (two, false)] {
        let Err(StoreError::Gone(left)) = w.store.job(&tenant(), held.job).await else { panic!() };
        assert_eq!(left.erased, by_hand);
    }
}

pub async fn a_job_that_has_not_ended_is_never_pruned(w: World) {
    let spec = || JobSpec { retention: Span::ZERO, ..w.spec() };
    let running = w.running_of(spec()).await;
    let queued = w.submit(spec()).await;
    w.advance(1_000_000);
    assert_eq!(w.prune().await, 0);
    assert_eq!((w.status(queued).await, w.status(running.held.job).await), (Status::Queued, Status::Running));
    w.finish(&running.held, succeeded("1")).await.unwrap();
    w.advance(2);
    assert_eq!(w.prune().await, 1);
}
