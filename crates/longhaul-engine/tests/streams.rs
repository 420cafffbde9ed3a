//! Output while it comes into being, and following it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod kit;

use std::sync::Arc;

use kit::{actor, echo, stage};
use longhaul_core::{Event, EventKind, OutputData, Span, Status, StepName};
use longhaul_engine::{Completed, Failure, Followed, JobRequest};
use tokio::sync::{Semaphore, mpsc};

/// Emits what it is sent, piece by piece, until there is no more.
fn speaker() -> (Arc<kit::Actor>, mpsc::UnboundedSender<&'static str>) {
    let (say, said) = mpsc::unbounded_channel::<&'static str>();
    let said = Arc::new(tokio::sync::Mutex::new(said));
    let actor = actor("speaker", move |job, _| {
        let said = said.clone();
        Box::pin(async move {
            let mut said = said.lock().await;
            while let Some(text) = said.recv().await {
                match text {
                    "fail" => return Err(Failure::permanent("told_to", "as told")),
                    "end" => break,
                    _ => job.emit_text(text).await?,
                }
            }
            Completed::json(&1)
        })
    });
    (actor, say)
}

fn text_of(events: &[Event]) -> String {
    events.iter().fold(String::new(), |text, event| match &event.kind {
        EventKind::OutputDelta { data: OutputData::Text(more) } => text + more,
        _ => text,
    })
}

#[tokio::test]
async fn what_is_emitted_is_stored_before_long_and_seen_by_whoever_follows() {
    let (speaker, say) = speaker();
    let stage = stage(vec![speaker]).await;
    let job = stage.submit(JobRequest::of("speaker", "1")).await;
    let mut follow = stage.engine.follow(&stage.tenant, job, 0).await.unwrap();
    say.send("so ").unwrap();
    say.send("it ").unwrap();
    let mut seen = Vec::new();
    while !seen.iter().any(|event: &Event| event.kind.name() == "job.output.delta") {
        tokio::select! {
            biased;
            next = follow.next() => match next {
                Some(Ok(Followed::Events(events))) => seen.extend(events.iter().map(|event| (**event).clone())),
                other => panic!("{other:?}"),
            },
            () = stage.pass() => {}
        }
    }
    // It gathered into one piece, and stands on disk.
    assert_eq!(text_of(&seen), "so it ");
    assert_eq!(stage.store.events(&stage.tenant, job, 0, 99).await.unwrap(), seen);
    let partial = stage.engine.partial(&stage.tenant, job).await.unwrap().unwrap();
    assert_eq!(partial.text.as_deref(), Some("so it "));
    say.send("goes").unwrap();
    say.send("end").unwrap();
    seen.extend(stage.all(follow).await);
    assert_eq!((text_of(&seen), seen.last().unwrap().kind.name()), ("so it goes".into(), "job.succeeded"));
    assert_eq!(stage.store.events(&stage.tenant, job, 0, 99).await.unwrap(), seen);
}

#[tokio::test]
async fn what_was_emitted_last_is_stored_before_the_end_however_the_job_ends() {
    for (last, status) in [("end", Status::Succeeded), ("fail", Status::Failed)] {
        let (speaker, say) = speaker();
        let stage = stage(vec![speaker]).await;
        say.send("half").unwrap();
        say.send(last).unwrap();
        let job = stage.submit(JobRequest::of("speaker", "1")).await;
        assert_eq!(stage.ended(job).await.job.status(), status);
        let partial = stage.engine.partial(&stage.tenant, job).await.unwrap().unwrap();
        assert_eq!(partial.text.as_deref(), Some("half"));
    }
}

#[tokio::test]
async fn a_long_text_comes_in_blocks_and_whole() {
    let long = actor("long", |job, _| {
        Box::pin(async move {
            for _ in 0..50 {
                job.emit_text(&"äb€".repeat(300)).await?;
            }
            job.emit_text(&"x".repeat(10_000)).await?;
            Completed::json(&1)
        })
    });
    let stage = stage(vec![long]).await;
    let job = stage.submit(JobRequest::of("long", "1")).await;
    let events = stage.all(stage.engine.follow(&stage.tenant, job, 0).await.unwrap()).await;
    assert_eq!(text_of(&events), "äb€".repeat(15_000) + &"x".repeat(10_000));
    let sizes: Vec<usize> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::OutputDelta { data } => Some(data.size()),
            _ => None,
        })
        .collect();
    assert!(sizes.iter().all(|size| *size <= 4 * 1024), "{sizes:?}");
    assert!(sizes.len() < 40, "{sizes:?}");
}

#[tokio::test]
async fn what_a_step_emits_stands_before_the_step_and_is_not_emitted_again() {
    let twice = actor("twice", |job, run| {
        Box::pin(async move {
            let step = StepName::new("first").unwrap();
            job.step(step, async {
                job.emit_item(&serde_json::json!({ "n": 1 })).await?;
                Ok(())
            })
            .await?;
            job.emit_text("loose").await?;
            if run == 0 {
                return Err(Failure::Job {
                    error: Box::new(longhaul_core::JobError::transient("again", "once more")),
                    plan: longhaul_core::RetryPlan::Park(longhaul_core::Timestamp::EPOCH),
                    ambiguous: false,
                });
            }
            Completed::json(&1)
        })
    });
    let stage = stage(vec![twice]).await;
    let job = stage.submit(JobRequest::of("twice", "1")).await;
    stage.ended(job).await;
    let events = stage.store.events(&stage.tenant, job, 0, 99).await.unwrap();
    let names: Vec<&str> = events.iter().map(|event| event.kind.name()).collect();
    let delta = "job.output.delta";
    let expected = [
        "job.queued",
        "job.running",
        delta,
        "job.step",
        delta,
        "job.queued",
        "job.running",
        "job.output.reset",
        delta,
        "job.succeeded",
    ];
    assert_eq!(names, expected);
    let partial = stage.engine.partial(&stage.tenant, job).await.unwrap().unwrap();
    assert_eq!((partial.text.as_deref(), partial.items), (Some("loose"), Some(vec!["{\"n\":1}".into()])));
}

#[tokio::test]
async fn an_ended_job_is_followed_from_any_event_and_has_nothing_behind_its_last() {
    let stage = stage(vec![echo()]).await;
    let job = stage.submit(JobRequest::of("echo", "1")).await;
    let last = stage.ended(job).await.job.last_seq;
    let all = stage.store.events(&stage.tenant, job, 0, 99).await.unwrap();
    for after in 0..=last + 2 {
        let follow = stage.engine.follow(&stage.tenant, job, after).await.unwrap();
        assert_eq!(follow.is_over(), after >= last);
        assert_eq!(stage.all(follow).await, all[usize::try_from(after.min(last)).unwrap()..]);
    }
}

#[tokio::test]
async fn a_reader_that_lags_is_told_so_and_misses_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let (gated, flood) = (gate.clone(), "y".repeat(4_000));
    let chatty = actor("chatty", move |job, _| {
        let (gate, flood) = (gated.clone(), flood.clone());
        Box::pin(async move {
            job.emit_text("first").await?;
            gate.acquire().await.unwrap().forget();
            for _ in 0..200 {
                job.emit_text(&flood).await?;
            }
            Completed::json(&1)
        })
    });
    let stage = stage(vec![chatty]).await;
    let job = stage.submit(JobRequest::of("chatty", "1")).await;
    let mut slow = stage.engine.follow(&stage.tenant, job, 0).await.unwrap();
    let (mut seen, mut lagged) = (Vec::new(), 0);
    // It has kept up with the beginning, live.
    while !text_of(&seen).contains("first") {
        tokio::select! {
            biased;
            next = slow.next() => match next {
                Some(Ok(Followed::Events(events))) => seen.extend(events.iter().map(|event| (**event).clone())),
                other => panic!("{other:?}"),
            },
            () = stage.pass() => {}
        }
    }
    tokio::select! {
        biased;
        next = slow.next() => panic!("{next:?}"),
        () = stage.pass() => {}
    }
    gate.add_permits(1);
    let quick = stage.all(stage.engine.follow(&stage.tenant, job, 0).await.unwrap()).await;
    while let Some(next) = slow.next().await {
        match next.unwrap() {
            Followed::Events(events) => seen.extend(events.iter().map(|event| (**event).clone())),
            Followed::Lagged => lagged += 1,
            other => panic!("{other:?}"),
        }
    }
    let stored = stage.store.events(&stage.tenant, job, 0, 9_999).await.unwrap();
    assert!(seen == stored && quick == stored, "every reader has read what is stored");
    assert_eq!(lagged, 1);
}

#[tokio::test]
async fn many_readers_of_one_job_from_anywhere_read_the_same() {
    let (speaker, say) = speaker();
    let stage = stage(vec![speaker]).await;
    let job = stage.submit(JobRequest::of("speaker", "1")).await;
    let mut readers = Vec::new();
    for word in ["a", "b", "c", "d", "e", "f"] {
        for after in [0, 1, 3] {
            readers.push((after, stage.engine.follow(&stage.tenant, job, after).await.unwrap()));
        }
        say.send(word).unwrap();
        let before = stage.look(job).await.job.last_seq;
        stage.until(async || (stage.look(job).await.job.last_seq > before).then_some(())).await;
    }
    say.send("end").unwrap();
    stage.ended(job).await;
    let stored = stage.store.events(&stage.tenant, job, 0, 99).await.unwrap();
    for (after, reader) in readers {
        // One that began behind what there was, began at the end.
        let read = stage.all(reader).await;
        assert_eq!(read, stored[stored.len() - read.len()..]);
        assert!(read[0].seq <= after + 1, "{after}: {}", read[0].seq);
    }
}

#[tokio::test]
async fn nobody_follows_what_is_not_theirs() {
    let stage = stage(vec![echo()]).await;
    let job = stage.submit(JobRequest::of("echo", "1")).await;
    let other = longhaul_core::Tenant::new("other").unwrap();
    assert!(stage.engine.follow(&other, job, 0).await.is_err());
}

#[tokio::test]
async fn followers_are_let_go_when_the_server_stops() {
    let stuck = actor("stuck", |_, _| Box::pin(std::future::pending()));
    let stage = stage(vec![stuck]).await;
    let job = stage.submit(JobRequest::of("stuck", "1")).await;
    stage.until(async || stage.look(job).await.job.lease().is_some().then_some(())).await;
    let mut follow = stage.engine.follow(&stage.tenant, job, 2).await.unwrap();
    stage.engine.drain(Span::ZERO).await;
    let mut last = None;
    while let Some(next) = follow.next().await {
        last = Some(next.unwrap());
    }
    assert_eq!(last, Some(Followed::Stopping));
}
