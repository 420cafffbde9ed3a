//! Handing jobs out: which, to whom, and what happens when nobody takes them.

use std::{collections::HashSet, pin::pin};

use futures::{
    future::join_all,
    stream::{FuturesUnordered, StreamExt as _},
};
use longhaul_core::{JobId, JobSpec, Status};

use super::{LEASE, World, claim, kind, poll_once, queue};
use crate::{Claim, Leased};

fn ids(leased: &[Leased]) -> Vec<JobId> {
    leased.iter().map(|leased| leased.held.job).collect()
}

pub async fn the_higher_priority_goes_first_and_then_the_older(w: World) {
    let mut submitted = Vec::new();
    for priority in [0, 5, -100, 100, 5, 0] {
        submitted.push(w.submit(JobSpec { priority, ..w.spec() }).await);
        w.advance(1);
    }
    let order = [3, 1, 4, 0, 5, 2].map(|index: usize| submitted[index]);
    assert_eq!(ids(&w.take(claim(10)).await), order);
}

pub async fn the_order_holds_across_kinds_within_a_queue(w: World) {
    let mut expected = [Vec::new(), Vec::new()];
    for number in 0..60i8 {
        let place = usize::from(number.unsigned_abs());
        let spec = JobSpec {
            kind: kind(["echo", "other", "third"][place % 3]),
            queue: queue(["a", "b"][place % 2]),
            priority: number % 7,
            ..w.spec()
        };
        expected[place % 2].push((-spec.priority, number, spec.id));
        w.submit(spec).await;
    }
    let (mut claimed, mut count) = ([Vec::new(), Vec::new()], 0);
    while count < 60 {
        for leased in w.take(claim(7)).await {
            claimed[usize::from(leased.view.job.spec.queue == queue("b"))].push(leased.held.job);
            count += 1;
        }
    }
    for (claimed, mut expected) in claimed.into_iter().zip(expected) {
        expected.sort_unstable();
        assert_eq!(claimed, expected.into_iter().map(|(_, _, id)| id).collect::<Vec<_>>());
    }
}

pub async fn priority_is_a_head_start_and_not_a_wall(w: World) {
    let old = w.submit(w.spec()).await;
    w.advance(9 * 60);
    let soon = w.submit(JobSpec { priority: 1, ..w.spec() }).await;
    w.advance(2 * 60);
    let late = w.submit(JobSpec { priority: 1, ..w.spec() }).await;
    let urgent = w.submit(JobSpec { priority: 100, ..w.spec() }).await;
    assert_eq!(ids(&w.take(claim(9)).await), [urgent, soon, old, late]);
}

pub async fn a_claim_takes_only_what_it_asked_for(w: World) {
    let echo = w.submit(w.spec()).await;
    let other = w.submit(JobSpec { kind: kind("other"), ..w.spec() }).await;
    let far = w.submit(JobSpec { queue: queue("far"), ..w.spec() }).await;
    assert!(w.take(Claim { kinds: [kind("unheard")].into(), ..claim(9) }).await.is_empty());
    assert_eq!(ids(&w.take(Claim { queues: Some([queue("far")].into()), ..claim(9) }).await), [far]);
    assert_eq!(ids(&w.take(Claim { kinds: [kind("other")].into(), ..claim(9) }).await), [other]);
    assert_eq!(ids(&w.take(claim(9)).await), [echo]);
}

pub async fn a_waiting_claim_is_served_by_a_later_submit(w: World) {
    let mut waiting = pin!(w.store.claim(claim(5)));
    assert!(poll_once(waiting.as_mut()).is_pending());
    let id = w.submit(w.spec()).await;
    assert_eq!(ids(&waiting.await.unwrap()), [id]);
    assert_eq!(w.status(id).await, Status::Running);
}

pub async fn waiting_claims_are_served_in_their_order(w: World) {
    let mut first = pin!(w.store.claim(claim(1)));
    let mut second = pin!(w.store.claim(claim(1)));
    assert!(poll_once(first.as_mut()).is_pending() && poll_once(second.as_mut()).is_pending());
    let a = w.submit(w.spec()).await;
    assert_eq!(ids(&first.await.unwrap()), [a]);
    assert!(poll_once(second.as_mut()).is_pending());
    let b = w.submit(w.spec()).await;
    assert_eq!(ids(&second.await.unwrap()), [b]);
}

pub async fn a_dropped_waiting_claim_takes_nothing(w: World) {
    {
        let mut waiting = pin!(w.store.claim(claim(5)));
        assert!(poll_once(waiting.as_mut()).is_pending());
        w.store.queues().await.unwrap();
    }
    let id = w.submit(w.spec()).await;
    assert_eq!(w.status(id).await, Status::Queued);
    assert_eq!(w.claim_one().await.held.token.count(), 1);
}

pub async fn a_grant_that_nobody_takes_comes_back_at_no_cost(w: World) {
    let id = {
        let mut waiting = pin!(w.store.claim(claim(5)));
        assert!(poll_once(waiting.as_mut()).is_pending());
        let id = w.submit(w.spec()).await;
        assert_eq!(w.status(id).await, Status::Running, "granted, and never looked at");
        id
    };
    let again = w.store.claim(claim(5)).await.unwrap();
    assert_eq!(ids(&again), [id]);
    let job = &again[0].view.job;
    assert_eq!((job.attempt, job.crashes, again[0].held.token.count()), (1, 0, 2));
    assert_eq!(w.history(id).await, ["job.queued", "job.running", "job.queued", "job.running"]);
}

pub async fn no_job_is_leased_twice(w: World) {
    let specs: Vec<JobSpec> = (0..200).map(|_| w.spec()).collect();
    let mut claims: FuturesUnordered<_> = (0..200).map(|number| w.store.claim(claim(1 + number % 3))).collect();
    assert!(poll_once(pin!(claims.next())).is_pending());
    let submits = join_all(specs.chunks(7).map(|chunk| w.submit_all(chunk.to_vec(), None))).await;
    assert!(submits.iter().all(Result::is_ok));
    let mut leased = HashSet::new();
    while leased.len() < specs.len() {
        for one in claims.next().await.unwrap().unwrap() {
            assert!(leased.insert(one.held.job), "leased twice");
        }
    }
    for spec in specs {
        assert_eq!(w.history(spec.id).await, ["job.queued", "job.running"]);
    }
}

pub async fn more_claims_than_one_batch_can_serve_are_all_served(w: World) {
    let paused = queue("default");
    w.store.pause_queue(paused.clone(), true).await.unwrap();
    for _ in 0..4 {
        let specs: Vec<JobSpec> = (0..1_000).map(|_| w.spec()).collect();
        w.submit_all(specs, None).await.unwrap();
    }
    // All of these wait, and one operation makes everything ready at once.
    let mut claims = pin!(join_all((0..16).map(|_| w.store.claim(claim(250)))));
    assert!(poll_once(claims.as_mut()).is_pending());
    w.store.pause_queue(paused, false).await.unwrap();
    let all: Vec<JobId> = claims.await.into_iter().flat_map(|leased| ids(&leased.unwrap())).collect();
    assert_eq!(all.len(), 4_000);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 4_000);
}

pub async fn a_leased_job_shows_its_input_and_its_lease(w: World) {
    let leased = w.running().await;
    let stored = w.view(leased.held.job).await;
    assert_eq!(*leased.view, *stored);
    let lease = stored.job.lease().unwrap();
    assert_eq!((lease.token, lease.expires_at), (leased.held.token, w.now() + LEASE));
    assert_eq!((&*lease.worker, lease.in_process), ("worker-1", false));
}
