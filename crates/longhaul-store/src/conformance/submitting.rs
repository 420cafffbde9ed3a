//! Taking jobs in, once each.

use futures::future::join_all;
use longhaul_core::{JobSpec, Payload, Span, Status, StatusReason, Tenant};

use super::{World, claim, succeeded, tenant};
use crate::{Idempotency, NewJob, StoreError, Submit, Submitted};

fn key(w: &World, number: u8) -> Idempotency {
    Idempotency {
        route: "POST /v1/jobs",
        key: [number; 32],
        fingerprint: [1; 32],
        keep_until: w.now() + Span::from_secs(86_400),
    }
}

pub async fn a_submitted_job_is_queued_and_tells_so(w: World) {
    let spec = JobSpec { metadata: Some(r#"{"a":"b"}"#.into()), priority: -7, ..w.spec() };
    let id = w.submit(spec.clone()).await;
    let view = w.view(id).await;
    assert_eq!(*view.job.spec, spec);
    assert_eq!((view.job.version, view.job.attempt, view.output.is_none()), (1, 0, true));
    assert_eq!(view.job.status_reason(w.now()), Some(StatusReason::Ready));
    assert_eq!(view.input, Payload::inline(format!("{{\"n\":\"{id}\"}}")));
    assert_eq!(w.history(id).await, ["job.queued"]);
    let told = w.told_of(id).await;
    assert_eq!((told.len(), told[0].status, told[0].version), (1, Status::Queued, 1));
}

pub async fn a_job_for_later_is_scheduled_and_becomes_ready_when_its_time_has_come(w: World) {
    let run_at = Some(w.now() + Span::from_secs(60));
    let id = w.submit(JobSpec { run_at, ..w.spec() }).await;
    assert_eq!(w.job(id).await.status_reason(w.now()), Some(StatusReason::Scheduled));
    w.advance(59);
    w.sweep().await;
    assert!(w.take(claim(1)).await.is_empty());
    w.advance(1);
    w.sweep().await;
    assert_eq!(w.claim_one().await.held.job, id);
}

pub async fn a_bulk_is_taken_in_whole_and_in_order(w: World) {
    let specs: Vec<JobSpec> = (0..1_000).map(|_| w.spec()).collect();
    let ids: Vec<_> = specs.iter().map(|spec| spec.id).collect();
    assert_eq!(w.submit_all(specs, None).await, Ok(Submitted::Created));
    let mut claimed = Vec::new();
    while claimed.len() < 1_000 {
        claimed.extend(w.take(claim(256)).await.into_iter().map(|leased| leased.held.job));
    }
    assert_eq!(claimed, ids);
}

pub async fn a_call_that_is_repeated_after_a_lost_answer_submits_once(w: World) {
    let specs = vec![w.spec(), w.spec()];
    assert_eq!(w.submit_all(specs.clone(), None).await, Ok(Submitted::Created));
    assert_eq!(w.submit_all(specs.clone(), None).await, Ok(Submitted::Created));
    let first = w.claim_one().await;
    assert_eq!(w.submit_all(specs.clone(), None).await, Ok(Submitted::Created));
    assert_eq!(w.take(claim(9)).await.len(), 1);
    assert_eq!(w.history(first.held.job).await.len(), 2);
    let fresh = w.spec();
    let twice = join_all([w.submit_all(vec![fresh.clone()], None), w.submit_all(vec![fresh], None)]).await;
    assert_eq!(twice, [Ok(Submitted::Created), Ok(Submitted::Created)]);
    assert_eq!(w.take(claim(9)).await.len(), 1);
}

pub async fn a_repeated_key_finds_the_first_calls_jobs(w: World) {
    let specs = vec![w.spec(), w.spec()];
    let ids: Vec<_> = specs.iter().map(|spec| spec.id).collect();
    assert_eq!(w.submit_all(specs, Some(key(&w, 1))).await, Ok(Submitted::Created));
    for _ in 0..2 {
        let replay = w.submit_all(vec![w.spec(), w.spec()], Some(key(&w, 1))).await;
        assert_eq!(replay, Ok(Submitted::Replayed(ids.clone())));
    }
    assert_eq!(w.take(claim(9)).await.len(), 2);
}

pub async fn a_key_used_with_another_body_is_refused(w: World) {
    w.submit_all(vec![w.spec()], Some(key(&w, 1))).await.unwrap();
    let other = Idempotency { fingerprint: [2; 32], ..key(&w, 1) };
    assert_eq!(w.submit_all(vec![w.spec()], Some(other)).await, Err(StoreError::IdempotencyMismatch));
    assert_eq!(w.take(claim(9)).await.len(), 1);
}

pub async fn keys_of_tenants_and_routes_are_apart(w: World) {
    let other = Tenant::new("other").unwrap();
    let route = Idempotency { route: "POST /documents", ..key(&w, 1) };
    assert_eq!(w.submit_all(vec![w.spec()], Some(key(&w, 1))).await, Ok(Submitted::Created));
    assert_eq!(w.submit_all(vec![w.spec()], Some(route)).await, Ok(Submitted::Created));
    let spec = JobSpec { tenant: other, ..w.spec() };
    assert_eq!(w.submit_all(vec![spec], Some(key(&w, 1))).await, Ok(Submitted::Created));
}

pub async fn one_of_many_calls_with_one_key_at_once_submits(w: World) {
    let mut wrong = key(&w, 1);
    wrong.fingerprint = [9; 32];
    let mut calls: Vec<_> = (0..20).map(|_| (w.spec(), key(&w, 1))).collect();
    calls.push((w.spec(), wrong));
    let first = calls[0].0.id;
    let mut answers = join_all(calls.into_iter().map(|(spec, key)| w.submit_all(vec![spec], Some(key)))).await;
    assert_eq!(answers.pop(), Some(Err(StoreError::IdempotencyMismatch)));
    assert_eq!(answers[0], Ok(Submitted::Created));
    assert!(answers[1..].iter().all(|answer| *answer == Ok(Submitted::Replayed(vec![first]))));
    assert_eq!(w.take(claim(99)).await.len(), 1);
}

pub async fn a_key_is_forgotten_after_its_time_and_its_job(w: World) {
    w.submit_all(vec![w.spec()], Some(key(&w, 1))).await.unwrap();
    let leased = w.claim_one().await;
    w.finish(&leased.held, succeeded("1")).await.unwrap();
    w.advance(3_602);
    assert_eq!(w.prune().await, 1);
    let replay = w.submit_all(vec![w.spec()], Some(key(&w, 1))).await;
    assert_eq!(replay, Ok(Submitted::Replayed(vec![leased.held.job])), "its day is not over");
    w.advance(86_400);
    w.prune().await;
    assert_eq!(w.submit_all(vec![w.spec()], Some(key(&w, 1))).await, Ok(Submitted::Created));
}

pub async fn a_key_is_kept_as_long_as_its_job(w: World) {
    let days = |days: u64| Span::from_secs(days * 86_400);
    let spec = JobSpec { retention: days(90), ..w.spec() };
    let id = spec.id;
    w.submit_all(vec![spec], Some(key(&w, 1))).await.unwrap();
    for _ in 0..20 {
        w.clock.advance(days(5));
        w.prune().await;
        let replay = w.submit_all(vec![w.spec()], Some(key(&w, 1))).await;
        assert_eq!(replay, Ok(Submitted::Replayed(vec![id])));
    }
    let leased = w.claim_one().await;
    w.finish(&leased.held, succeeded("1")).await.unwrap();
    w.clock.advance(days(89));
    w.prune().await;
    let replay = w.submit_all(vec![w.spec()], Some(key(&w, 1))).await;
    assert_eq!(replay, Ok(Submitted::Replayed(vec![id])));
    w.clock.advance(days(3));
    w.prune().await;
    w.prune().await;
    assert_eq!(w.submit_all(vec![w.spec()], Some(key(&w, 1))).await, Ok(Submitted::Created));
}

pub async fn a_large_payload_is_kept_as_a_reference(w: World) {
    let bytes = vec![b'7'; 100_000];
    let pin = w.store.blobs().put(&bytes).unwrap();
    let spec = w.spec();
    let (id, input) = (spec.id, Payload::Blob(pin.blob()));
    let jobs = vec![NewJob { spec: spec.into(), input: input.clone() }];
    w.store.submit(Submit { jobs, idempotency: None, document: None }).await.unwrap();
    drop(pin);
    let leased = w.claim_one().await;
    assert_eq!(leased.view.input, input);
    let pin = w.store.blobs().put(&bytes[1..]).unwrap();
    let output = Payload::Blob(pin.blob());
    let outcome = crate::Outcome::Succeeded { output: output.clone(), report: Box::default() };
    w.finish(&leased.held, outcome).await.unwrap();
    let view = w.store.job(&tenant(), id).await.unwrap();
    assert_eq!((&view.input, view.output.as_ref()), (&input, Some(&output)));
    assert_eq!(w.store.blobs().get(input.blob().unwrap()).unwrap(), bytes);
}
