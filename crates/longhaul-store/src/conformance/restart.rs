//! Being closed and opened again. A store that keeps nothing has nothing to show here.

use longhaul_core::{JobSpec, RetryPlan, Span, Status};

use super::{World, claim, failed, flaky, succeeded, tenant};
use crate::{Claim, JobQuery, JobView};

async fn all(w: &World) -> Vec<JobView> {
    let mut views = Vec::new();
    for job in w.store.jobs(JobQuery::newest(tenant(), 200)).await.unwrap().jobs {
        views.push((*w.view(job.spec.id).await).clone());
    }
    views
}

pub async fn everything_survives_a_restart(mut w: World) {
    let soon = Some(w.now() + Span::from_secs(60));
    for number in 0..12 {
        w.submit(JobSpec { priority: number % 3, metadata: Some("{}".into()), ..w.spec() }).await;
    }
    w.submit(JobSpec { run_at: soon, deadline_at: soon, attempt_timeout: Some(Span::from_secs(3)), ..w.spec() }).await;
    let leased = w.take(claim(6)).await;
    w.finish(&leased[0].held, succeeded("[1]")).await.unwrap();
    w.finish(&leased[1].held, failed(flaky(), RetryPlan::After(Span::from_secs(60)))).await.unwrap();
    w.finish(&leased[2].held, failed(longhaul_core::JobError::permanent("n", "n"), RetryPlan::Backoff)).await.unwrap();
    w.store.cancel(&tenant(), leased[3].held.job).await.unwrap();
    let before = all(&w).await;
    assert_eq!(before.len(), 13);
    if !w.reopen().await {
        return;
    }
    assert_eq!(all(&w).await, before);
    for view in &before {
        w.history(view.job.spec.id).await;
    }
    // And on it goes.
    assert_eq!(w.finish(&leased[4].held, succeeded("1")).await, Ok(Status::Succeeded));
    w.advance(60);
    w.sweep().await;
    let next = w.submit(w.spec()).await;
    let rest = w.take(claim(99)).await;
    assert!(rest.iter().any(|leased| leased.held.job == next));
    assert_eq!(rest.len(), 9, "six that waited, one that had failed, one whose lease ran out, and the new one");
}

pub async fn leases_of_the_process_end_with_it_and_those_of_others_do_not(mut w: World) {
    let (own, remote) = (w.submit(w.spec()).await, w.submit(w.spec()).await);
    let own_claim = Claim { in_process: true, worker: "server".into(), ..claim(1) };
    assert_eq!(w.take(own_claim).await[0].held.job, own);
    let held = w.claim_one().await.held;
    w.advance(29);
    if !w.reopen().await {
        return;
    }
    if w.grace_after_start() > Span::ZERO {
        // Nobody could hear the worker elsewhere meanwhile: it gets time for a sign of life.
        w.advance(20);
        w.sweep().await;
    }
    let (own, remote) = (w.job(own).await, w.job(remote).await);
    assert_eq!((own.status(), own.crashes, own.attempt), (Status::Queued, 1, 1));
    assert_eq!((remote.status(), remote.crashes), (Status::Running, 0));
    assert_eq!(w.history(own.spec.id).await, ["job.queued", "job.running", "job.queued"]);
    assert_eq!(w.finish(&held, succeeded("1")).await, Ok(Status::Succeeded));
    assert_eq!(w.claim_one().await.view.job.attempt, 2);
}

pub async fn what_was_planned_for_an_erased_job_does_not_befall_another(mut w: World) {
    let leased = w.running_of(JobSpec { retention: Span::from_secs(100), ..w.spec() }).await;
    w.finish(&leased.held, succeeded("1")).await.unwrap();
    w.store.erase(&tenant(), leased.held.job).await.unwrap();
    w.reopen().await;
    // The newest job is gone, so this one might be taken for it.
    let leased = w.running().await;
    w.finish(&leased.held, succeeded("2")).await.unwrap();
    let queued = w.submit(w.spec()).await;
    w.advance(102);
    assert_eq!(w.prune().await, 0);
    assert_eq!((w.status(leased.held.job).await, w.status(queued).await), (Status::Succeeded, Status::Queued));
}

pub async fn a_clock_that_was_set_back_holds_up_no_job(mut w: World) {
    w.submit(w.spec()).await;
    let parked = w.submit(JobSpec { run_at: Some(w.now() + Span::from_secs(5)), ..w.spec() }).await;
    w.advance(5);
    w.sweep().await;
    w.clock.set(w.now() - Span::from_secs(3_600));
    if !w.reopen().await {
        return;
    }
    let leased = w.take(claim(9)).await;
    assert_eq!(leased.len(), 1, "what waits for its turn is due, what waits for a time is not");
    w.finish(&leased[0].held, succeeded("1")).await.unwrap();
    w.advance(3_600);
    w.sweep().await;
    assert_eq!(w.claim_one().await.held.job, parked);
}
