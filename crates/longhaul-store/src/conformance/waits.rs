//! Questions to people, and their answers.

use longhaul_core::{
    ANSWERS_MOST, JobId, JobSpec, Payload, Refused, Span, Status, StatusReason, StepName, Tenant, Wait,
};

use super::{World, claim, queue, succeeded, tenant};
use crate::{Held, Outcome, StoreError};

fn step(name: &str) -> StepName {
    StepName::new(name).unwrap()
}

async fn ask(w: &World, held: &Held, name: &str) -> Result<Status, StoreError> {
    let wait = Wait::Input { step: step(name), prompt: Some(format!("{name}?")) };
    w.finish(held, Outcome::Waiting(wait)).await
}

async fn answer(w: &World, job: JobId, said: &str) -> Result<Status, StoreError> {
    w.store.answer(&tenant(), job, None, Payload::inline(said.to_owned())).await
}

async fn steps(w: &World, job: JobId) -> Vec<(StepName, Payload)> {
    w.store.steps(&tenant(), job).await.unwrap().into_iter().map(|step| (step.name, step.output)).collect()
}

pub async fn an_answer_becomes_the_output_of_the_step_that_asks(mut w: World) {
    let leased = w.running().await;
    let job = leased.held.job;
    assert_eq!(ask(&w, &leased.held, "approve").await, Ok(Status::Running));
    w.reopen().await;
    let waiting = w.job(job).await;
    assert_eq!((waiting.status_reason(w.now()), waiting.lease()), (Some(StatusReason::WaitingInput), None));
    let wait = Wait::Input { step: step("approve"), prompt: Some("approve?".into()) };
    assert_eq!(waiting.wait(), Some(&wait));
    assert_eq!(w.events(job).await.pop().unwrap().kind, longhaul_core::EventKind::Waiting { wait });
    w.advance(1_000_000);
    w.sweep().await;
    assert!(w.take(claim(9)).await.is_empty());
    assert_eq!(answer(&w, job, "true").await, Ok(Status::Queued));
    assert_eq!(steps(&w, job).await, [(step("approve"), Payload::inline("true"))]);
    let again = w.claim_one().await;
    assert_eq!((again.view.job.attempt, again.view.job.started_at), (1, leased.view.job.started_at));
    w.finish(&again.held, succeeded("1")).await.unwrap();
    let expected =
        ["job.queued", "job.running", "job.waiting", "job.step", "job.queued", "job.running", "job.succeeded"];
    assert_eq!(w.history(job).await, expected);
}

pub async fn answers_that_come_early_are_kept_in_their_order(mut w: World) {
    let queued = w.submit(w.spec()).await;
    assert_eq!(answer(&w, queued, "1").await, Ok(Status::Queued));
    let leased = w.claim_one().await;
    assert_eq!(answer(&w, queued, "2").await, Ok(Status::Running));
    assert_eq!(w.job(queued).await.answers, 2);
    w.reopen().await;
    let mut held = leased.held;
    for said in ["1", "2"] {
        assert_eq!(ask(&w, &held, &format!("ask{said}")).await, Ok(Status::Queued), "the answer is there");
        held = w.claim_one().await.held;
    }
    let expected = ["1", "2"].map(|said| (step(&format!("ask{said}")), Payload::inline(said)));
    assert_eq!(steps(&w, queued).await, expected);
    assert_eq!(w.job(queued).await.answers, 0);
    assert_eq!(ask(&w, &held, "ask3").await, Ok(Status::Running));
    assert_eq!(answer(&w, queued, "3").await, Ok(Status::Queued));
    // A question that was answered is not asked again.
    let held = w.claim_one().await.held;
    assert_eq!(answer(&w, queued, "4").await, Ok(Status::Running));
    assert_eq!(ask(&w, &held, "ask1").await, Ok(Status::Queued));
    assert_eq!((w.job(queued).await.answers, steps(&w, queued).await.len()), (1, 3));
}

pub async fn answers_are_refused_where_nobody_will_ask(w: World) {
    let leased = w.running().await;
    let job = leased.held.job;
    for _ in 0..ANSWERS_MOST {
        answer(&w, job, "1").await.unwrap();
    }
    let before = w.view(job).await;
    assert_eq!(answer(&w, job, "1").await, Err(StoreError::Refused(Refused::AnswersFull)));
    assert_eq!(w.view(job).await, before);
    let other = Tenant::new("other").unwrap();
    assert_eq!(w.store.answer(&other, job, None, Payload::inline("1")).await, Err(StoreError::NotFound("job")));
    w.store.cancel(&tenant(), job).await.unwrap();
    assert_eq!(answer(&w, job, "1").await, Err(StoreError::Refused(Refused::Cancelling)));
    assert_eq!(ask(&w, &leased.held, "approve").await, Ok(Status::Cancelled), "it is given up");
    assert_eq!(answer(&w, job, "1").await, Err(StoreError::Refused(Refused::Terminal)));
}

pub async fn a_waiting_job_counts_against_no_limit(w: World) {
    let a = queue("a");
    w.store.limit_queue(a.clone(), Some(1)).await.unwrap();
    let specs: Vec<JobSpec> = (0..2).map(|_| JobSpec { queue: a.clone(), ..w.spec() }).collect();
    let first = specs[0].id;
    w.submit_all(specs, None).await.unwrap();
    let leased = w.claim_one().await;
    assert!(w.take(claim(9)).await.is_empty());
    ask(&w, &leased.held, "approve").await.unwrap();
    let state = w.store.queues().await.unwrap().into_iter().find(|state| state.name == a).unwrap();
    assert_eq!((state.queued, state.running, state.waiting), (1, 0, 1));
    let second = w.claim_one().await;
    assert_ne!(second.held.job, first);
    answer(&w, first, "1").await.unwrap();
    assert!(w.take(claim(9)).await.is_empty(), "it waits for its turn again");
    w.finish(&second.held, succeeded("1")).await.unwrap();
    assert_eq!(w.claim_one().await.held.job, first);
}

pub async fn a_waiting_job_is_cancelled_at_once_and_fails_at_its_deadline(w: World) {
    let leased = w.running().await;
    ask(&w, &leased.held, "approve").await.unwrap();
    assert_eq!(w.store.cancel(&tenant(), leased.held.job).await, Ok(Status::Cancelled));
    let deadline_at = Some(w.now() + Span::from_secs(60));
    let leased = w.running_of(JobSpec { deadline_at, ..w.spec() }).await;
    ask(&w, &leased.held, "approve").await.unwrap();
    assert_eq!(w.store.sweep().await.unwrap().next, deadline_at);
    w.advance(60);
    w.sweep().await;
    let error = w.job(leased.held.job).await.error.unwrap();
    assert_eq!(error.code, "deadline_exceeded");
    assert_eq!(w.history(leased.held.job).await, ["job.queued", "job.running", "job.waiting", "job.failed"]);
}

pub async fn waiting_jobs_are_listed_as_running(w: World) {
    let leased = w.running().await;
    ask(&w, &leased.held, "approve").await.unwrap();
    let running = w.running().await;
    let query = crate::JobQuery { status: Some(Status::Running), ..crate::JobQuery::newest(tenant(), 9) };
    let mut listed: Vec<JobId> = w.store.jobs(query).await.unwrap().jobs.iter().map(|job| job.spec.id).collect();
    let mut expected = vec![leased.held.job, running.held.job];
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
}

pub async fn a_large_answer_lives_as_long_as_its_job(w: World) {
    let leased = w.running().await;
    let stored = w.store.blobs().put(&vec![b'7'; 100_000]).unwrap();
    let blob = stored.blob();
    let kept = w.submit(w.spec()).await;
    for job in [leased.held.job, kept] {
        w.store.answer(&tenant(), job, None, Payload::Blob(blob)).await.unwrap();
    }
    drop(stored);
    ask(&w, &leased.held, "approve").await.unwrap();
    assert_eq!(steps(&w, leased.held.job).await, [(step("approve"), Payload::Blob(blob))]);
    for job in [kept, leased.held.job] {
        assert_eq!(w.store.blobs().get(&blob).unwrap().len(), 100_000);
        w.store.cancel(&tenant(), job).await.unwrap();
        w.store.erase(&tenant(), job).await.unwrap();
    }
    assert!(w.store.blobs().get(&blob).is_err(), "nothing refers to it any more");
}
