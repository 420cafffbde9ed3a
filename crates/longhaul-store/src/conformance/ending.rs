//! How attempts and jobs end.

use longhaul_core::{
    CANCEL_GRACE, Ending, Event, EventKind, JobError, JobSpec, Payload, Refused, Report, RetryPlan, Span, Stage, State,
    Status, StatusReason, StepName, Usage, Wait,
};

use super::{LEASE, World, claim, failed, flaky, succeeded, tenant};
use crate::{Beat, Held, Outcome, StoreError};

pub async fn a_success_keeps_output_and_report(w: World) {
    let leased = w.running().await;
    w.advance(3);
    let usage = Usage { input_tokens: 3, output_tokens: 5, cost_microusd: 7 };
    let report = Report { degraded: true, cached: false, model: Some("smart".into()), usage };
    let outcome = Outcome::Succeeded { output: Payload::inline("[1,2]"), report: Box::new(report.clone()) };
    assert_eq!(w.finish(&leased.held, outcome).await, Ok(Status::Succeeded));
    let view = w.view(leased.held.job).await;
    assert_eq!((view.output.as_ref(), &view.job.report), (Some(&Payload::inline("[1,2]")), &report));
    assert_eq!((view.job.finished_at, view.job.status_reason(w.now())), (Some(w.now()), None));
    assert_eq!(w.history(leased.held.job).await, ["job.queued", "job.running", "job.succeeded"]);
}

pub async fn what_calls_took_adds_up_however_attempts_end(w: World) {
    let took = |tokens| Usage { input_tokens: tokens, output_tokens: 2 * tokens, cost_microusd: 3 * tokens };
    let spend = |held: &Held, tokens| w.store.tell(held.clone(), Vec::new(), took(tokens));
    let usage = async |id| w.job(id).await.report.usage;
    let first = w.running().await;
    let id = first.held.job;
    let before = w.job(id).await.version;
    spend(&first.held, 0).await.unwrap();
    assert_eq!(w.job(id).await.version, before, "nothing was told");
    spend(&first.held, 1).await.unwrap();
    assert_eq!((usage(id).await, w.job(id).await.version), (took(1), before + 1), "it counts at once");
    w.finish(&first.held, failed(flaky(), RetryPlan::After(Span::ZERO))).await.unwrap();
    assert_eq!(usage(id).await, took(1));
    assert!(spend(&first.held, 100).await.is_err(), "by a lease that is not held any more");
    let second = w.claim_one().await;
    spend(&second.held, 10).await.unwrap();
    w.advance(LEASE.as_secs() + 1);
    w.sweep().await;
    let third = w.claim_one().await;
    spend(&third.held, 100).await.unwrap();
    let step = StepName::new("paid").unwrap();
    for _ in 0..2 {
        let kept = w.store.checkpoint(third.held.clone(), step.clone(), Payload::inline("1"), took(10_000));
        assert_eq!(kept.await, Ok(()));
    }
    assert_eq!(usage(id).await, took(10_111), "a step that is stored again counts once");
    let report = Report { model: Some("smart".into()), usage: took(1_000), ..Report::default() };
    let outcome = Outcome::Succeeded { output: Payload::inline("1"), report: Box::new(report) };
    for _ in 0..2 {
        w.finish(&third.held, outcome.clone()).await.unwrap();
    }
    assert_eq!(usage(id).await, took(11_111), "a success that is repeated counts once");

    // Each way to end without a result counts what it says, and counts it once.
    let permanent = failed(JobError::permanent("refused", "no"), RetryPlan::Backoff);
    let wait = Outcome::Waiting(Wait::Input { step, prompt: None });
    for (number, outcome) in (1..).zip([permanent, Outcome::Released { ambiguous: true }, wait]) {
        let leased = w.running().await;
        spend(&leased.held, 7).await.unwrap();
        w.store.finish(leased.held.clone(), outcome.clone(), took(10 * number)).await.unwrap();
        assert!(w.store.finish(leased.held.clone(), outcome, took(10 * number)).await.is_err());
        assert_eq!(usage(leased.held.job).await, took(7 + 10 * number));
        w.store.cancel(&tenant(), leased.held.job).await.unwrap();
    }

    let stopping = w.running().await;
    w.store.cancel(&tenant(), stopping.held.job).await.unwrap();
    spend(&stopping.held, 8).await.unwrap();
    w.finish(&stopping.held, Outcome::Released { ambiguous: false }).await.unwrap();
    assert_eq!((w.job(stopping.held.job).await.status(), usage(stopping.held.job).await), (Status::Cancelled, took(8)));
}

pub async fn a_failure_waits_within_its_backoff_and_runs_again(w: World) {
    for _ in 0..20 {
        let leased = w.running().await;
        assert_eq!(w.finish(&leased.held, failed(flaky(), RetryPlan::Backoff)).await, Ok(Status::Queued));
        let job = w.job(leased.held.job).await;
        let State::Queued { due_at, .. } = job.state else { panic!("{:?}", job.state) };
        assert!(due_at.since(w.now()) <= Span::from_secs(1), "{due_at}");
        assert_eq!(job.error, Some(JobError { attempt: 1, ..flaky() }));
        w.clock.set(due_at);
        w.sweep().await;
        let again = w.claim_one().await;
        assert_eq!((again.held.job, again.view.job.attempt), (leased.held.job, 2));
        w.finish(&again.held, succeeded("1")).await.unwrap();
        let history = ["job.queued", "job.running", "job.queued", "job.running", "job.succeeded"];
        assert_eq!(w.history(leased.held.job).await, history);
        assert_eq!(w.job(leased.held.job).await.error, None);
    }
}

pub async fn a_failure_that_is_final_ends_the_job(w: World) {
    let leased = w.running().await;
    let error = JobError::permanent("document_encrypted", "the document is protected by a password");
    let outcome = Outcome::Failed { error: error.clone(), plan: RetryPlan::Backoff, ambiguous: true };
    assert_eq!(w.finish(&leased.held, outcome).await, Ok(Status::Failed));
    let view = w.view(leased.held.job).await;
    assert_eq!((view.job.error.clone(), view.output.as_ref()), (Some(JobError { attempt: 1, ..error }), None));
    assert!(view.job.last_attempt.as_ref().unwrap().ambiguous);
    assert_eq!(w.history(leased.held.job).await, ["job.queued", "job.running", "job.failed"]);
    assert!(w.take(claim(1)).await.is_empty());
}

pub async fn attempts_are_exhausted(w: World) {
    let id = w.submit(JobSpec { max_attempts: 3, ..w.spec() }).await;
    for attempt in 1..=3 {
        let leased = w.claim_one().await;
        assert_eq!(leased.view.job.attempt, attempt);
        let status = w.finish(&leased.held, failed(flaky(), RetryPlan::After(Span::from_secs(1)))).await;
        assert_eq!(status, Ok(if attempt < 3 { Status::Queued } else { Status::Failed }));
        w.advance(1);
        w.sweep().await;
    }
    assert_eq!(w.job(id).await.error, Some(JobError { attempt: 3, ..flaky() }));
}

pub async fn a_park_waits_until_its_time_and_costs_no_attempt(w: World) {
    let leased = w.running_of(JobSpec { max_attempts: 1, ..w.spec() }).await;
    let until = w.now() + Span::from_secs(500);
    assert_eq!(w.finish(&leased.held, failed(flaky(), RetryPlan::Park(until))).await, Ok(Status::Queued));
    assert_eq!(w.job(leased.held.job).await.status_reason(w.now()), Some(StatusReason::Parked));
    w.advance(499);
    w.sweep().await;
    assert!(w.take(claim(1)).await.is_empty());
    w.advance(1);
    w.sweep().await;
    let again = w.claim_one().await;
    assert_eq!((again.view.job.attempt, again.held.token.count()), (1, 2));
    w.finish(&again.held, succeeded("1")).await.unwrap();
    let endings: Vec<_> = w.store.attempts(&tenant(), leased.held.job).await.unwrap();
    let endings: Vec<_> = endings.into_iter().map(|attempt| (attempt.number, attempt.ending)).collect();
    assert_eq!(endings, [(1, Some(Ending::Parked)), (1, Some(Ending::Succeeded))]);
}

pub async fn a_park_beyond_the_deadline_fails_at_once(w: World) {
    let deadline_at = Some(w.now() + Span::from_secs(60));
    let leased = w.running_of(JobSpec { deadline_at, ..w.spec() }).await;
    let plan = RetryPlan::Park(w.now() + Span::from_secs(61));
    assert_eq!(w.finish(&leased.held, failed(flaky(), plan)).await, Ok(Status::Failed));
    assert_eq!(w.job(leased.held.job).await.error.unwrap().code, "flaky");
}

pub async fn a_release_keeps_the_attempts_number(w: World) {
    let leased = w.running().await;
    assert_eq!(w.finish(&leased.held, Outcome::Released { ambiguous: false }).await, Ok(Status::Queued));
    let again = w.claim_one().await;
    assert_eq!((again.held.job, again.view.job.attempt, again.view.job.crashes), (leased.held.job, 1, 0));
    assert!(again.held.token > leased.held.token);
}

pub async fn a_queued_and_a_scheduled_job_are_cancelled_at_once(w: World) {
    let run_at = Some(w.now() + Span::from_secs(60));
    for spec in [w.spec(), JobSpec { run_at, ..w.spec() }] {
        let id = w.submit(spec).await;
        assert_eq!(w.store.cancel(&tenant(), id).await, Ok(Status::Cancelled));
        assert_eq!(w.history(id).await, ["job.queued", "job.cancelled"]);
    }
    w.advance(60);
    w.sweep().await;
    assert!(w.take(claim(9)).await.is_empty());
}

pub async fn a_running_job_is_told_and_then_cancelled(w: World) {
    for outcome in [Outcome::Released { ambiguous: false }, failed(flaky(), RetryPlan::Backoff)] {
        let leased = w.running().await;
        assert_eq!(w.store.cancel(&tenant(), leased.held.job).await, Ok(Status::Running));
        assert_eq!(w.store.cancel(&tenant(), leased.held.job).await, Ok(Status::Running));
        let job = w.job(leased.held.job).await;
        assert_eq!(job.status_reason(w.now()), Some(StatusReason::Cancelling));
        assert_eq!(job.cancel_requested_at, Some(w.now()));
        assert!(w.told_of(leased.held.job).await.last().unwrap().cancelling);
        let beat = Beat { held: leased.held.clone(), lease_for: LEASE, progress: None };
        assert!(w.store.heartbeat(vec![beat]).await.unwrap().remove(0).unwrap().cancel_requested);
        w.store.enter(leased.held.clone(), Stage::Executing).await.unwrap();
        assert_eq!(w.finish(&leased.held, outcome).await, Ok(Status::Cancelled));
        assert_eq!(w.history(leased.held.job).await, ["job.queued", "job.running", "job.log", "job.cancelled"]);
    }
}

pub async fn a_cancelled_job_takes_no_result(w: World) {
    let leased = w.running().await;
    w.store.cancel(&tenant(), leased.held.job).await.unwrap();
    let refused = w.finish(&leased.held, succeeded("1")).await;
    assert_eq!(refused, Err(StoreError::Refused(Refused::Cancelling)));
    w.clock.advance(LEASE);
    w.sweep().await;
    let view = w.view(leased.held.job).await;
    assert_eq!((view.job.status(), view.output.as_ref(), view.job.crashes), (Status::Cancelled, None, 0));
}

pub async fn a_cancel_is_carried_out_after_thirty_seconds(w: World) {
    let leased = w.running().await;
    w.store.cancel(&tenant(), leased.held.job).await.unwrap();
    let keep_alive = || Beat { held: leased.held.clone(), lease_for: Span::from_secs(600), progress: None };
    w.store.heartbeat(vec![keep_alive()]).await.unwrap();
    w.advance(CANCEL_GRACE.as_secs() - 1);
    w.sweep().await;
    assert_eq!(w.status(leased.held.job).await, Status::Running);
    w.advance(1);
    w.sweep().await;
    assert_eq!(w.status(leased.held.job).await, Status::Cancelled);
    assert!(w.store.heartbeat(vec![keep_alive()]).await.unwrap().remove(0).is_err());
}

pub async fn a_cancel_of_an_ended_job_says_how_it_ended(w: World) {
    let leased = w.running().await;
    w.finish(&leased.held, succeeded("1")).await.unwrap();
    assert_eq!(w.store.cancel(&tenant(), leased.held.job).await, Ok(Status::Succeeded));
    assert_eq!(w.job(leased.held.job).await.cancel_requested_at, None);
    let unknown = w.spec().id;
    assert_eq!(w.store.cancel(&tenant(), unknown).await, Err(StoreError::NotFound("job")));
}

pub async fn a_deadline_fails_a_queued_job(w: World) {
    let deadline_at = Some(w.now() + Span::from_secs(10));
    let run_at = Some(w.now() + Span::from_secs(60));
    let ready = w.submit(JobSpec { deadline_at, ..w.spec() }).await;
    let scheduled = w.submit(JobSpec { deadline_at, run_at, ..w.spec() }).await;
    w.advance(9);
    w.sweep().await;
    assert_eq!(w.status(ready).await, Status::Queued);
    w.advance(1);
    w.sweep().await;
    for id in [ready, scheduled] {
        let job = w.job(id).await;
        assert_eq!((job.status(), job.error.as_ref().unwrap().code.as_str()), (Status::Failed, "deadline_exceeded"));
        assert_eq!(w.history(id).await, ["job.queued", "job.failed"]);
    }
    assert!(w.take(claim(9)).await.is_empty());
}

pub async fn a_deadline_fails_a_running_job(w: World) {
    let deadline_at = Some(w.now() + Span::from_secs(10));
    let leased = w.running_of(JobSpec { deadline_at, ..w.spec() }).await;
    w.advance(10);
    w.sweep().await;
    let job = w.job(leased.held.job).await;
    assert_eq!(job.error.unwrap().code, "deadline_exceeded");
    assert_eq!(job.last_attempt.unwrap().ending, Some(Ending::DeadlineExceeded));
    assert_eq!(w.finish(&leased.held, succeeded("1")).await, Err(StoreError::Refused(Refused::LeaseLost)));
}

pub async fn an_expired_lease_requeues_and_a_third_one_fails(w: World) {
    let id = w.submit(JobSpec { max_attempts: 1, ..w.spec() }).await;
    for crash in 1..=3 {
        let leased = w.claim_one().await;
        assert_eq!(leased.view.job.attempt, crash);
        w.clock.advance(LEASE);
        w.sweep().await;
        let job = w.job(id).await;
        assert_eq!((job.crashes, job.status().is_terminal()), (crash, crash == 3));
    }
    let job = w.job(id).await;
    assert_eq!((job.status(), job.error.unwrap().code.as_str()), (Status::Failed, "worker_crash_loop"));
    let attempts = w.store.attempts(&tenant(), id).await.unwrap();
    let endings: Vec<_> = attempts.iter().map(|attempt| (attempt.number, attempt.ending, attempt.ambiguous)).collect();
    assert_eq!(endings, [1, 2, 3].map(|number| (number, Some(Ending::Crashed), true)));
    let Some(Event { kind: EventKind::Failed { error }, .. }) = w.events(id).await.pop() else { panic!() };
    assert_eq!(error.code, "worker_crash_loop");
}

pub async fn a_sweep_says_when_the_next_thing_falls_due(w: World) {
    assert_eq!(w.store.sweep().await.unwrap().next, None);
    let at = |secs| w.now() + Span::from_secs(secs);
    w.submit(JobSpec { run_at: Some(at(500)), ..w.spec() }).await;
    assert_eq!(w.store.sweep().await.unwrap().next, Some(at(500)));
    w.submit(JobSpec { deadline_at: Some(at(400)), ..w.spec() }).await;
    assert_eq!(w.store.sweep().await.unwrap().next, Some(at(400)));
    let leased = w.claim_one().await;
    assert_eq!(w.store.sweep().await.unwrap().next, Some(w.now() + LEASE));
    w.store.cancel(&tenant(), leased.held.job).await.unwrap();
    w.finish(&leased.held, Outcome::Released { ambiguous: false }).await.unwrap();
    w.advance(500);
    let swept = w.store.sweep().await.unwrap();
    assert_eq!((swept.changed, swept.next), (1, None));
}

pub async fn each_end_of_an_attempt_is_told_once_with_the_change_that_made_it(w: World) {
    let id = w.submit(w.spec()).await;
    let begun = w.now();
    let first = w.claim_one().await;
    w.advance(2);
    w.finish(&first.held, failed(flaky(), RetryPlan::After(Span::from_secs(1)))).await.unwrap();
    w.advance(1);
    w.sweep().await;
    let second = w.claim_one().await;
    w.finish(&second.held, Outcome::Released { ambiguous: false }).await.unwrap();
    let third = w.claim_one().await;
    w.finish(&third.held, succeeded("1")).await.unwrap();
    let told = w.told_of(id).await;
    assert!(told.iter().all(|change| change.kind.as_ref() == Some(&w.spec().kind) && change.trace == w.spec().trace));
    let ended: Vec<_> = told.into_iter().filter_map(|change| change.attempt).collect();
    let endings: Vec<_> = ended.iter().map(|attempt| (attempt.number, attempt.lease, attempt.ending)).collect();
    assert_eq!(endings, [(1, 1, Ending::Failed), (2, 2, Ending::Released), (2, 3, Ending::Succeeded)]);
    assert_eq!((ended[0].started_at, ended[0].ended_at), (begun, begun + Span::from_secs(2)));
    assert_eq!(ended[0].error.as_deref(), Some(flaky().code.as_str()));
    assert!(ended.iter().all(|attempt| attempt.worker.is_some()));
}
