//! Only the holder of the lease that holds can write.

use futures::future::join_all;
use longhaul_core::{
    EventKind, LeaseToken, LogLevel, Payload, Refused, RetryPlan, Span, Stage, Status, StepName, Usage,
};

use super::{LEASE, World, claim, failed, flaky, succeeded};
use crate::{Beat, Held, Outcome, StoreError};

const LOST: StoreError = StoreError::Refused(Refused::LeaseLost);

/// What every fenced write answers under this lease.
async fn all_writes(w: &World, held: &Held) -> Vec<Result<(), StoreError>> {
    let log = EventKind::Log { level: LogLevel::Info, message: "still here".into() };
    let step = StepName::new("late").unwrap();
    let beat = Beat { held: held.clone(), lease_for: LEASE, progress: None };
    vec![
        w.store.heartbeat(vec![beat]).await.unwrap().remove(0).map(drop),
        w.store.enter(held.clone(), Stage::Validating).await,
        w.store.tell(held.clone(), vec![log], Usage::default()).await,
        w.store.tell(held.clone(), vec![], Usage::default()).await,
        w.store.checkpoint(held.clone(), step, Payload::inline("1"), Usage::default()).await,
        w.finish(held, Outcome::Released { ambiguous: false }).await.map(drop),
        w.finish(held, failed(flaky(), RetryPlan::Backoff)).await.map(drop),
        w.finish(held, succeeded("\"late\"")).await.map(drop),
    ]
}

async fn assert_fenced(w: &World, held: &Held) {
    for (number, answer) in all_writes(w, held).await.into_iter().enumerate() {
        assert_eq!(answer, Err(LOST), "write {number}");
    }
}

pub async fn every_write_under_an_invented_lease_is_refused(w: World) {
    let leased = w.running().await;
    let before = w.view(leased.held.job).await;
    for token in [LeaseToken::new(1, 0), LeaseToken::new(0, 0), LeaseToken::new(2, 77)] {
        assert_fenced(&w, &Held { token, ..leased.held.clone() }).await;
    }
    assert_eq!(*w.view(leased.held.job).await, *before);
    let unknown = Held { job: w.spec().id, ..leased.held };
    assert_eq!(w.finish(&unknown, succeeded("1")).await, Err(StoreError::NotFound("job")));
}

pub async fn every_write_of_a_worker_whose_lease_went_to_another_is_refused(w: World) {
    let first = w.running().await;
    w.clock.advance(LEASE);
    w.sweep().await;
    assert_fenced(&w, &first.held).await;
    let second = w.claim_one().await;
    assert_eq!((second.held.job, second.view.job.attempt), (first.held.job, 2));
    assert_fenced(&w, &first.held).await;
    assert_eq!(w.finish(&second.held, succeeded("\"second\"")).await, Ok(Status::Succeeded));
    assert_fenced(&w, &first.held).await;
    assert_eq!(w.view(first.held.job).await.output, Some(Payload::inline("\"second\"")));
}

pub async fn a_lease_that_ran_out_is_lost_once_that_is_noticed(w: World) {
    let leased = w.running().await;
    w.clock.advance(LEASE);
    // Nobody has noticed yet, and nobody else has the job: the worker may go on.
    let beat = Beat { held: leased.held.clone(), lease_for: LEASE, progress: None };
    assert!(w.store.heartbeat(vec![beat]).await.unwrap().remove(0).is_ok());
    w.sweep().await;
    assert_eq!(w.status(leased.held.job).await, Status::Running);
    w.clock.advance(LEASE);
    w.sweep().await;
    assert_eq!(w.status(leased.held.job).await, Status::Queued);
    assert_fenced(&w, &leased.held).await;
}

pub async fn a_repeated_success_is_a_success(w: World) {
    let leased = w.running().await;
    for _ in 0..3 {
        assert_eq!(w.finish(&leased.held, succeeded("1")).await, Ok(Status::Succeeded));
        w.advance(1);
    }
    // The first answer counts.
    assert_eq!(w.finish(&leased.held, succeeded("2")).await, Ok(Status::Succeeded));
    let at_once = w.running().await;
    let both = join_all([w.finish(&at_once.held, succeeded("1")), w.finish(&at_once.held, succeeded("2"))]).await;
    assert_eq!(both, [Ok(Status::Succeeded), Ok(Status::Succeeded)]);
    for leased in [&leased, &at_once] {
        let view = w.view(leased.held.job).await;
        assert_eq!((view.output.as_ref(), view.job.version), (Some(&Payload::inline("1")), 3));
        assert_eq!(w.history(leased.held.job).await, ["job.queued", "job.running", "job.succeeded"]);
    }
}

pub async fn a_success_after_anothers_end_is_refused(w: World) {
    let leased = w.running().await;
    w.finish(&leased.held, failed(longhaul_core::JobError::permanent("no", "no"), RetryPlan::Backoff)).await.unwrap();
    assert_fenced(&w, &leased.held).await;
    assert_eq!(w.status(leased.held.job).await, Status::Failed);
}

pub async fn a_beat_extends_the_lease(w: World) {
    let leased = w.running().await;
    w.advance(20);
    let beat = Beat { held: leased.held.clone(), lease_for: LEASE, progress: None };
    let answer = w.store.heartbeat(vec![beat]).await.unwrap().remove(0).unwrap();
    assert_eq!((answer.lease_expires_at, answer.cancel_requested), (w.now() + LEASE, false));
    w.advance(29);
    w.sweep().await;
    assert_eq!(w.status(leased.held.job).await, Status::Running);
    w.advance(1);
    w.sweep().await;
    assert_eq!(w.status(leased.held.job).await, Status::Queued);
}

pub async fn beats_are_answered_one_by_one(w: World) {
    let (one, two) = (w.running().await, w.running().await);
    w.store.cancel(&two.held.tenant, two.held.job).await.unwrap();
    let wrong = Held { token: LeaseToken::new(1, 1), ..one.held.clone() };
    let beats = [&one.held, &wrong, &two.held].map(|held| Beat {
        held: held.clone(),
        lease_for: Span::from_secs(99),
        progress: None,
    });
    let answers = w.store.heartbeat(beats.into()).await.unwrap();
    let cancels: Vec<_> = answers.into_iter().map(|answer| answer.map(|answer| answer.cancel_requested)).collect();
    assert_eq!(cancels, [Ok(false), Err(LOST), Ok(true)]);
}

pub async fn a_refused_write_changes_nothing(w: World) {
    let leased = w.running().await;
    let view = w.view(leased.held.job).await;
    let told = w.told_of(leased.held.job).await.len();
    let wrong = Held { token: LeaseToken::new(1, 1), ..leased.held.clone() };
    all_writes(&w, &wrong).await;
    assert!(w.tell(&leased.held, EventKind::Succeeded).await.is_err());
    assert_eq!(*w.view(leased.held.job).await, *view);
    assert_eq!(w.told_of(leased.held.job).await.len(), told);
    assert_eq!(w.history(leased.held.job).await, ["job.queued", "job.running"]);
    assert_eq!(w.store.steps(&leased.held.tenant, leased.held.job).await, Ok(vec![]));
    assert!(w.take(claim(1)).await.is_empty());
}
