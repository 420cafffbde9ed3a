//! What a job tells of itself: events, attempts, progress, steps.

use longhaul_core::{
    Attempt, Ending, Event, EventKind, JobError, JobSpec, LogLevel, Payload, Progress, QueuedFor, Refused, RetryPlan,
    Span, Stage, StatusReason, StepName, Usage,
};

use super::{LEASE, World, failed, flaky, succeeded, tenant};
use crate::{Beat, Outcome, StoreError, StoredStep};

pub async fn events_are_numbered_from_one_without_a_gap(w: World) {
    let leased = w.running().await;
    for number in 0..50 {
        let message = format!("line {number}");
        let log = |level| EventKind::Log { level, message: message.clone() };
        w.store
            .tell(leased.held.clone(), vec![log(LogLevel::Info), log(LogLevel::Warn)], Usage::default())
            .await
            .unwrap();
    }
    w.finish(&leased.held, succeeded("1")).await.unwrap();
    assert_eq!(w.history(leased.held.job).await.len(), 103);
}

pub async fn events_come_in_pages(w: World) {
    let leased = w.running().await;
    for _ in 0..8 {
        w.tell(&leased.held, EventKind::Step { name: "s".into() }).await.unwrap();
    }
    let all = w.events(leased.held.job).await;
    assert_eq!(all.len(), 10);
    let mut paged = Vec::new();
    while paged.len() < 10 {
        let after = paged.last().map_or(0, |event: &Event| event.seq);
        let page = w.store.events(&tenant(), leased.held.job, after, 3).await.unwrap();
        assert!(!page.is_empty() && page.len() <= 3);
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(w.store.events(&tenant(), leased.held.job, 10, 3).await, Ok(vec![]));
    assert_eq!(w.store.events(&tenant(), leased.held.job, u64::MAX, 3).await, Ok(vec![]));
}

pub async fn attempts_are_kept_in_order_and_the_running_one_is_shown(w: World) {
    let spec = w.spec();
    let id = w.submit(spec).await;
    assert_eq!(w.store.attempts(&tenant(), id).await, Ok(vec![]));
    let begun = w.now();
    let leased = w.claim_one().await;
    w.advance(2);
    w.finish(&leased.held, failed(flaky(), RetryPlan::After(Span::from_secs(1)))).await.unwrap();
    w.advance(1);
    w.sweep().await;
    let leased = w.claim_one().await;
    w.finish(&leased.held, Outcome::Released { ambiguous: true }).await.unwrap();
    let again = w.now();
    w.claim_one().await;
    let worker = || "worker-1".to_owned();
    let mut expected = vec![
        Attempt {
            number: 1,
            lease: 1,
            started_at: begun,
            ended_at: Some(begun + Span::from_secs(2)),
            worker: worker(),
            ending: Some(Ending::Failed),
            error: Some(JobError { attempt: 1, ..flaky() }),
            ambiguous: false,
        },
        Attempt {
            number: 2,
            lease: 2,
            started_at: again,
            ended_at: Some(again),
            worker: worker(),
            ending: Some(Ending::Released),
            error: None,
            ambiguous: true,
        },
        Attempt {
            number: 2,
            lease: 3,
            started_at: again,
            ended_at: None,
            worker: worker(),
            ending: None,
            error: None,
            ambiguous: false,
        },
    ];
    assert_eq!(w.store.attempts(&tenant(), id).await, Ok(expected.clone()));
    w.clock.advance(LEASE);
    w.sweep().await;
    expected[2].ended_at = Some(w.now());
    expected[2].ending = Some(Ending::Crashed);
    expected[2].ambiguous = true;
    expected[2].error = w.job(id).await.error;
    assert_eq!(w.store.attempts(&tenant(), id).await, Ok(expected.clone()));
    let leased = w.claim_one().await;
    w.finish(&leased.held, succeeded("1")).await.unwrap();
    let attempts = w.store.attempts(&tenant(), id).await.unwrap();
    assert_eq!(attempts[..3], expected);
    assert_eq!((attempts.len(), attempts[3].number, attempts[3].ending), (4, 3, Some(Ending::Succeeded)));
}

pub async fn a_cancelled_attempt_does_not_show_an_earlier_ones_error(mut w: World) {
    let leased = w.running().await;
    w.finish(&leased.held, failed(flaky(), RetryPlan::After(Span::ZERO))).await.unwrap();
    let again = w.claim_one().await;
    w.store.cancel(&tenant(), again.held.job).await.unwrap();
    w.finish(&again.held, Outcome::Released { ambiguous: false }).await.unwrap();
    for _ in 0..2 {
        let last = w.store.attempts(&tenant(), again.held.job).await.unwrap().pop().unwrap();
        assert_eq!((last.ending, last.error), (Some(Ending::Cancelled), None));
        let view = w.view(again.held.job).await;
        assert_eq!(view.job.last_attempt.as_ref().unwrap().error, None);
        w.reopen().await;
    }
}

pub async fn progress_is_shown_and_told(w: World) {
    let leased = w.running().await;
    let progress = |fraction, message: &str| Progress { fraction: Some(fraction), message: Some(message.into()) };
    let half = progress(0.5, "page 1/2");
    for _ in 0..2 {
        let beat = Beat { held: leased.held.clone(), lease_for: LEASE, progress: Some(half.clone()) };
        w.store.heartbeat(vec![beat]).await.unwrap().remove(0).unwrap();
    }
    assert_eq!(w.job(leased.held.job).await.progress, Some(half));
    let done = EventKind::Progress { fraction: Some(1.0), message: None };
    w.tell(&leased.held, done.clone()).await.unwrap();
    assert_eq!(w.job(leased.held.job).await.progress, Some(Progress { fraction: Some(1.0), message: None }));
    let told = w.history(leased.held.job).await;
    assert_eq!(told, ["job.queued", "job.running", "job.progress", "job.progress"], "what is no news is not told");
    assert_eq!(w.events(leased.held.job).await[3].kind, done);
}

pub async fn a_step_is_stored_once(w: World) {
    let leased = w.running().await;
    let step = StepName::new("extract").unwrap();
    let store = |output: &'static str| {
        w.store.checkpoint(leased.held.clone(), step.clone(), Payload::inline(output), Usage::default())
    };
    assert_eq!(store("1").await, Ok(()));
    assert_eq!(store("1").await, Ok(()));
    assert_eq!(store("2").await, Err(StoreError::StepExists));
    let stored = StoredStep { name: step.clone(), output: Payload::inline("1") };
    assert_eq!(w.store.steps(&tenant(), leased.held.job).await, Ok(vec![stored]));
    assert_eq!(w.history(leased.held.job).await, ["job.queued", "job.running", "job.step"]);
    let at_once = StepName::new("page:2").unwrap();
    let twice = futures::future::join_all(["3", "3", "4"].map(|output| {
        w.store.checkpoint(leased.held.clone(), at_once.clone(), Payload::inline(output), Usage::default())
    }));
    assert_eq!(twice.await, [Ok(()), Ok(()), Err(StoreError::StepExists)]);
    assert_eq!(w.history(leased.held.job).await.len(), 4);
}

pub async fn steps_survive_attempts(w: World) {
    let first = w.running().await;
    let names = ["b", "a", "page:2/x"].map(|name| StepName::new(name).unwrap());
    for (number, name) in names.iter().enumerate() {
        let output = Payload::inline(number.to_string());
        w.store.checkpoint(first.held.clone(), name.clone(), output, Usage::default()).await.unwrap();
    }
    w.clock.advance(LEASE);
    w.sweep().await;
    let second = w.claim_one().await;
    let late = w.store.checkpoint(first.held.clone(), names[0].clone(), Payload::inline("0"), Usage::default()).await;
    assert_eq!(late, Err(StoreError::Refused(Refused::LeaseLost)));
    assert_eq!(
        w.store.checkpoint(second.held.clone(), names[0].clone(), Payload::inline("0"), Usage::default()).await,
        Ok(())
    );
    let steps = w.store.steps(&tenant(), first.held.job).await.unwrap();
    assert_eq!(steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>(), names, "in the order of their making");
}

pub async fn every_sort_of_event_reads_back_as_it_was_told(w: World) {
    let run_at = w.now() + Span::from_secs(9);
    let id = w.submit(JobSpec { run_at: Some(run_at), ..w.spec() }).await;
    w.advance(9);
    w.sweep().await;
    let leased = w.claim_one().await;
    let told = vec![
        EventKind::Progress { fraction: None, message: None },
        EventKind::Progress { fraction: Some(0.25), message: Some("a quarter".into()) },
        EventKind::Step { name: "one".into() },
        EventKind::Log { level: LogLevel::Info, message: "i".into() },
        EventKind::Log { level: LogLevel::Warn, message: "w".into() },
        EventKind::Log { level: LogLevel::Error, message: "é 漢 \u{0}".into() },
    ];
    w.store.tell(leased.held.clone(), told.clone(), Usage::default()).await.unwrap();
    let parked_until = w.now() + Span::from_secs(5);
    w.finish(&leased.held, failed(flaky(), RetryPlan::Park(parked_until))).await.unwrap();
    w.advance(5);
    w.sweep().await;
    let leased = w.claim_one().await;
    let provider = longhaul_core::ProviderError {
        name: "openai".into(),
        http_status: Some(400),
        request_id: Some("req_1".into()),
    };
    let fatal = JobError { provider: Some(provider), attempt: 1, ..JobError::permanent("bad", "it is bad") };
    w.finish(&leased.held, failed(fatal.clone(), RetryPlan::Backoff)).await.unwrap();
    let why = |why, due_at, error| EventKind::Queued { why, due_at, error };
    let running = || EventKind::Running { worker: "worker-1".into() };
    let mut expected = vec![why(QueuedFor::Schedule, Some(run_at), None), running()];
    expected.extend(told);
    expected.push(why(QueuedFor::Park, Some(parked_until), Some(JobError { attempt: 1, ..flaky() })));
    expected.extend([running(), EventKind::Failed { error: fatal }]);
    let events = w.events(id).await;
    assert_eq!(events.iter().map(|event| event.kind.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(events.iter().map(|event| event.attempt).collect::<Vec<_>>(), [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(events.last().map(|event| event.time), Some(w.now()));
    assert_eq!(w.job(id).await.error, Some(expected.pop().and_then(error_of).unwrap()));
}

fn error_of(kind: EventKind) -> Option<JobError> {
    match kind {
        EventKind::Failed { error } => Some(error),
        _ => None,
    }
}

pub async fn a_stage_is_shown(w: World) {
    let leased = w.running().await;
    let shown = async || w.job(leased.held.job).await.status_reason(w.now());
    assert_eq!(shown().await, Some(StatusReason::Executing));
    w.store.enter(leased.held.clone(), Stage::Validating).await.unwrap();
    assert_eq!(shown().await, Some(StatusReason::Validating));
    w.store.enter(leased.held.clone(), Stage::Executing).await.unwrap();
    assert_eq!(shown().await, Some(StatusReason::Executing));
}
