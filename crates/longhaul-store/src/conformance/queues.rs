//! Queues: pausing, limits, counts.

use std::collections::BTreeMap;

use longhaul_core::{JobSpec, QueueName, RetryPlan, Span, Status};

use super::{LEASE, World, claim, failed, flaky, queue, succeeded, tenant};
use crate::{JobQuery, Outcome, QueueState};

async fn state(w: &World, name: &QueueName) -> QueueState {
    let state = w.store.queues().await.unwrap().into_iter().find(|state| state.name == *name).unwrap();
    assert_eq!(w.store.queue_gate(name).await, Ok(state.gate()));
    state
}

pub async fn a_paused_queue_gives_out_nothing(w: World) {
    let a = queue("a");
    w.store.pause_queue(a.clone(), true).await.unwrap();
    let held_back = w.submit(JobSpec { queue: a.clone(), priority: 9, ..w.spec() }).await;
    let other = w.submit(w.spec()).await;
    assert!(state(&w, &a).await.paused);
    assert_eq!(w.claim_one().await.held.job, other);
    assert!(w.take(claim(9)).await.is_empty());
    assert_eq!(w.store.cancel(&tenant(), other).await, Ok(Status::Running));
    w.store.pause_queue(a.clone(), false).await.unwrap();
    assert_eq!(w.claim_one().await.held.job, held_back);
    assert!(!state(&w, &a).await.paused);
}

pub async fn a_pause_outlasts_a_restart(mut w: World) {
    let (a, b) = (queue("a"), queue("b"));
    for name in [&a, &b] {
        w.store.pause_queue(name.clone(), true).await.unwrap();
    }
    w.store.pause_queue(b.clone(), false).await.unwrap();
    w.submit(JobSpec { queue: a.clone(), ..w.spec() }).await;
    if w.reopen().await {
        assert!(state(&w, &a).await.paused);
        assert!(w.store.queues().await.unwrap().iter().all(|state| state.name != b || !state.paused));
        assert!(w.take(claim(9)).await.is_empty());
    }
}

pub async fn a_queue_runs_no_more_than_its_limit(w: World) {
    let a = queue("a");
    w.store.limit_queue(a.clone(), Some(2)).await.unwrap();
    for _ in 0..6 {
        w.submit(JobSpec { queue: a.clone(), ..w.spec() }).await;
    }
    let first = w.take(claim(9)).await;
    assert_eq!(first.len(), 2);
    assert!(w.take(claim(9)).await.is_empty());
    // Whatever ends a lease makes room.
    w.finish(&first[0].held, succeeded("1")).await.unwrap();
    let second = w.take(claim(9)).await;
    assert_eq!(second.len(), 1);
    w.finish(&second[0].held, failed(flaky(), RetryPlan::After(Span::from_secs(500)))).await.unwrap();
    assert_eq!(w.take(claim(9)).await.len(), 1);
    w.clock.advance(LEASE);
    w.sweep().await;
    assert_eq!(w.take(claim(9)).await.len(), 2);
    w.store.limit_queue(a.clone(), None).await.unwrap();
    assert_eq!(w.take(claim(9)).await.len(), 2);
    assert_eq!((state(&w, &a).await.running, state(&w, &a).await.queued), (4, 1));
}

pub async fn a_queue_at_its_limit_does_not_hold_up_others(w: World) {
    let a = queue("a");
    w.store.limit_queue(a.clone(), Some(1)).await.unwrap();
    for _ in 0..3 {
        w.submit(JobSpec { queue: a.clone(), priority: 50, ..w.spec() }).await;
    }
    let others: Vec<JobSpec> = (0..3).map(|_| w.spec()).collect();
    w.submit_all(others, None).await.unwrap();
    let leased = w.take(claim(9)).await;
    let of_a = leased.iter().filter(|leased| leased.view.job.spec.queue == a).count();
    assert_eq!((of_a, leased.len()), (1, 4));
}

pub async fn a_queue_tells_since_when_its_next_job_could_run(mut w: World) {
    let (a, b) = (queue("a"), queue("b"));
    w.store.pause_queue(a.clone(), true).await.unwrap();
    let (first, soon) = (w.now(), w.now() + Span::from_secs(20));
    w.submit(JobSpec { queue: a.clone(), ..w.spec() }).await;
    let scheduled = JobSpec { queue: b.clone(), run_at: Some(soon), ..w.spec() };
    w.submit(scheduled).await;
    w.advance(7);
    w.submit(JobSpec { queue: a.clone(), ..w.spec() }).await;
    assert_eq!(state(&w, &a).await.first_ready_at, Some(first), "held back, and told all the same");
    assert_eq!(state(&w, &b).await.first_ready_at, None, "it is not due");
    w.reopen().await;
    assert_eq!(state(&w, &a).await.first_ready_at, Some(first), "after a restart too");
    w.advance(20);
    w.sweep().await;
    assert_eq!(state(&w, &b).await.first_ready_at, Some(soon), "late by what it waits beyond its time");
    w.store.pause_queue(a.clone(), false).await.unwrap();
    w.take(claim(9)).await;
    assert_eq!((state(&w, &a).await.first_ready_at, state(&w, &b).await.first_ready_at), (None, None));
}

pub async fn queues_that_ran_empty_are_told_while_they_are_few_and_all_others_always(w: World) {
    let (idle, held, limited, used) = (queue("idle"), queue("held"), queue("limited"), queue("used"));
    let ran_empty = async |name: QueueName| {
        let job = w.submit(JobSpec { queue: name, ..w.spec() }).await;
        assert_eq!(w.store.cancel(&tenant(), job).await, Ok(Status::Cancelled));
    };
    ran_empty(idle.clone()).await;
    assert_eq!(state(&w, &idle).await.queued, 0, "who used it a moment ago finds it");
    w.store.pause_queue(held.clone(), true).await.unwrap();
    w.store.limit_queue(limited.clone(), Some(3)).await.unwrap();
    let waiting = w.submit(JobSpec { queue: used.clone(), ..w.spec() }).await;
    // A client that thinks of another name each time.
    for round in 0..12 {
        let specs: Vec<JobSpec> =
            (0..100).map(|number| JobSpec { queue: queue(&format!("q{round}-{number}")), ..w.spec() }).collect();
        let ids: Vec<_> = specs.iter().map(|spec| spec.id).collect();
        w.submit_all(specs, None).await.unwrap();
        for id in ids {
            w.store.cancel(&tenant(), id).await.unwrap();
        }
    }
    let told = w.store.queues().await.unwrap();
    assert!(told.len() <= 512, "{}", told.len());
    assert!(state(&w, &held).await.paused);
    assert_eq!(state(&w, &limited).await.concurrency, Some(3));
    assert_eq!(state(&w, &used).await.queued, 1);
    // Forgotten or not, they work as before.
    let again = w.submit(JobSpec { queue: idle.clone(), ..w.spec() }).await;
    assert_eq!(state(&w, &idle).await.queued, 1);
    let mut taken: Vec<_> = w.take(claim(9)).await.iter().map(|leased| leased.held.job).collect();
    taken.sort_unstable();
    assert_eq!(taken, [waiting, again]);
}

/// How many of each queue are queued and running, by listing all jobs.
async fn listed(w: &World) -> BTreeMap<QueueName, (u64, u64)> {
    let mut counts: BTreeMap<QueueName, (u64, u64)> = BTreeMap::new();
    for job in w.store.jobs(JobQuery::newest(tenant(), 200)).await.unwrap().jobs {
        let count = counts.entry(job.spec.queue.clone()).or_default();
        match job.status() {
            Status::Queued => count.0 += 1,
            Status::Running => count.1 += 1,
            Status::Succeeded | Status::Failed | Status::Cancelled => {}
        }
    }
    counts
}

async fn assert_counts(w: &World, after: &str) {
    let counted: BTreeMap<QueueName, (u64, u64)> =
        w.store.queues().await.unwrap().into_iter().map(|state| (state.name, (state.queued, state.running))).collect();
    assert_eq!(counted, listed(w).await, "after {after}");
}

pub async fn counts_agree_with_the_jobs_after_every_change(mut w: World) {
    let spec = |name: &str| JobSpec { queue: queue(name), ..w.spec() };
    let soon = |secs| Some(w.now() + Span::from_secs(secs));
    let mut specs: Vec<JobSpec> = (0..10).map(|_| spec("a")).collect();
    specs.push(JobSpec { run_at: soon(100), ..spec("b") });
    specs.push(JobSpec { run_at: soon(20), ..spec("b") });
    specs.push(JobSpec { deadline_at: soon(20), queue: queue("b"), priority: -50, ..w.spec() });
    let scheduled = specs[10].id;
    w.submit_all(specs, None).await.unwrap();
    assert_counts(&w, "submit").await;
    let leased = w.take(claim(8)).await;
    assert_counts(&w, "claim").await;
    w.finish(&leased[0].held, succeeded("1")).await.unwrap();
    assert_counts(&w, "success").await;
    w.finish(&leased[1].held, failed(flaky(), RetryPlan::After(Span::from_secs(20)))).await.unwrap();
    assert_counts(&w, "failure with another attempt").await;
    w.finish(&leased[2].held, failed(longhaul_core::JobError::permanent("n", "n"), RetryPlan::Backoff)).await.unwrap();
    assert_counts(&w, "final failure").await;
    w.finish(&leased[3].held, Outcome::Released { ambiguous: false }).await.unwrap();
    assert_counts(&w, "release").await;
    let until = w.now() + Span::from_secs(20);
    w.finish(&leased[4].held, failed(flaky(), RetryPlan::Park(until))).await.unwrap();
    assert_counts(&w, "park").await;
    w.store.cancel(&tenant(), leased[5].held.job).await.unwrap();
    assert_counts(&w, "cancel of a running job").await;
    w.finish(&leased[5].held, Outcome::Released { ambiguous: false }).await.unwrap();
    assert_counts(&w, "its release").await;
    w.store.cancel(&tenant(), scheduled).await.unwrap();
    assert_counts(&w, "cancel of a scheduled job").await;
    w.advance(20);
    w.sweep().await;
    assert_counts(&w, "delays that are over and a deadline").await;
    w.clock.advance(LEASE);
    w.sweep().await;
    assert_counts(&w, "expired leases").await;
    w.store.erase(&tenant(), leased[0].held.job).await.unwrap();
    assert_counts(&w, "erasure").await;
    w.advance(3_602);
    w.prune().await;
    assert_counts(&w, "pruning").await;
    w.take(claim(2)).await;
    w.reopen().await;
    assert_counts(&w, "a restart").await;
}
