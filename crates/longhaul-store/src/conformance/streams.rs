//! Output while it comes into being.

use longhaul_core::{
    Event, EventKind, JobError, JobSpec, OutputData, Payload, Refused, RetryPlan, Span, StepName, Tenant, Usage,
};

use super::{LEASE, World, failed, succeeded, tenant};
use crate::{Held, Outcome, PARTIAL_MOST, Partial, StoreError};

fn text(text: &str) -> OutputData {
    OutputData::Text(text.into())
}

async fn append(w: &World, held: &Held, said: &str) {
    w.store.append(held.clone(), vec![text(said)]).await.unwrap();
}

async fn partial(w: &World, held: &Held) -> Option<Partial> {
    w.store.partial(&tenant(), held.job).await.unwrap()
}

async fn partial_text(w: &World, held: &Held) -> Option<String> {
    partial(w, held).await.and_then(|partial| partial.text)
}

pub async fn deltas_are_events_among_others(mut w: World) {
    let leased = w.running().await;
    let held = &leased.held;
    assert_eq!(partial(&w, held).await, None);
    let items = OutputData::Items(vec!["{\"a\": [1,2]}".into(), "\"ü\"".into()]);
    w.store.append(held.clone(), vec![text("so "), items.clone(), text("it goes\n\u{0}")]).await.unwrap();
    w.tell(held, EventKind::Layer { data: "{\"retry\":1}".into() }).await.unwrap();
    append(&w, held, ".").await;
    w.finish(held, succeeded("1")).await.unwrap();
    let expected = [
        "job.queued",
        "job.running",
        "job.output.delta",
        "job.output.delta",
        "job.output.delta",
        "job.layer",
        "job.output.delta",
        "job.succeeded",
    ];
    for _ in 0..2 {
        assert_eq!(w.history(held.job).await, expected);
        let events = w.events(held.job).await;
        assert_eq!(events[3].kind, EventKind::OutputDelta { data: items.clone() });
        assert_eq!(events[4].kind, EventKind::OutputDelta { data: text("it goes\n\u{0}") });
        assert_eq!(events[5].kind, EventKind::Layer { data: "{\"retry\":1}".into() });
        assert_eq!((events[6].attempt, w.job(held.job).await.last_delta_seq), (1, 7));
        let items = vec!["{\"a\": [1,2]}".into(), "\"ü\"".into()];
        let whole = Partial { text: Some("so it goes\n\u{0}.".into()), items: Some(items), through_seq: 7, cut: false };
        assert_eq!(partial(&w, held).await, Some(whole));
        // A page can begin and end anywhere among them.
        for after in 0..8 {
            let page = w.store.events(&tenant(), held.job, after, 3).await.unwrap();
            let numbers: Vec<u64> = page.iter().map(|event| event.seq).collect();
            assert_eq!(numbers, (after + 1..=8).take(3).collect::<Vec<_>>());
        }
        w.reopen().await;
    }
}

pub async fn deltas_are_written_under_the_lease_only(w: World) {
    let leased = w.running().await;
    append(&w, &leased.held, "mine").await;
    w.clock.advance(LEASE);
    w.sweep().await;
    let again = w.claim_one().await;
    let refused = w.store.append(leased.held.clone(), vec![text("late")]).await;
    assert_eq!(refused, Err(StoreError::Refused(Refused::LeaseLost)));
    append(&w, &again.held, "yours").await;
    assert_eq!(partial_text(&w, &again.held).await.as_deref(), Some("yours"));
    let other = Tenant::new("other").unwrap();
    assert_eq!(w.store.partial(&other, again.held.job).await, Err(StoreError::NotFound("job")));
}

pub async fn work_that_is_done_again_starts_its_output_over(mut w: World) {
    let mut leased = w.running().await;
    append(&w, &leased.held, "a").await;
    let ways: [fn() -> Outcome; 2] =
        [|| Outcome::Released { ambiguous: false }, || failed(super::flaky(), RetryPlan::After(Span::ZERO))];
    for way in ways {
        append(&w, &leased.held, "b").await;
        w.finish(&leased.held, way()).await.unwrap();
        w.sweep().await;
        leased = w.claim_one().await;
        let last = w.events(leased.held.job).await.pop().unwrap();
        assert_eq!(last.kind, EventKind::OutputReset { keep_through: 0 });
        assert_eq!(partial(&w, &leased.held).await, None);
    }
    // Nothing has streamed since: there is nothing to start over.
    w.finish(&leased.held, Outcome::Released { ambiguous: false }).await.unwrap();
    leased = w.claim_one().await;
    assert_eq!(w.events(leased.held.job).await.pop().unwrap().kind.name(), "job.running");
    append(&w, &leased.held, "c").await;
    w.reopen().await;
    assert_eq!(partial_text(&w, &leased.held).await.as_deref(), Some("c"));
}

pub async fn what_a_finished_step_has_streamed_stands(w: World) {
    let mut leased = w.running().await;
    append(&w, &leased.held, "one ").await;
    let step = StepName::new("first").unwrap();
    w.store.checkpoint(leased.held.clone(), step, Payload::inline("1"), Usage::default()).await.unwrap();
    for _ in 0..2 {
        append(&w, &leased.held, "two").await;
        w.finish(&leased.held, Outcome::Released { ambiguous: false }).await.unwrap();
        leased = w.claim_one().await;
        let last = w.events(leased.held.job).await.pop().unwrap();
        assert_eq!(last.kind, EventKind::OutputReset { keep_through: 4 });
        assert_eq!(partial_text(&w, &leased.held).await.as_deref(), Some("one "));
    }
    append(&w, &leased.held, "and two").await;
    assert_eq!(partial_text(&w, &leased.held).await.as_deref(), Some("one and two"));
}

pub async fn a_job_that_fails_keeps_what_it_has_given_out(w: World) {
    let leased = w.running().await;
    append(&w, &leased.held, "half of it").await;
    let error = JobError::permanent("cut_off", "no more");
    w.finish(&leased.held, failed(error, RetryPlan::Backoff)).await.unwrap();
    assert_eq!(partial_text(&w, &leased.held).await.as_deref(), Some("half of it"));
    w.store.erase(&tenant(), leased.held.job).await.unwrap();
    assert!(matches!(w.store.partial(&tenant(), leased.held.job).await, Err(StoreError::Gone(_))));
}

pub async fn a_partial_output_is_bounded(w: World) {
    let leased = w.running().await;
    let block = "x".repeat(64 * 1024);
    for _ in 0..PARTIAL_MOST / block.len() / 8 + 1 {
        w.store.append(leased.held.clone(), vec![text(&block); 8]).await.unwrap();
    }
    let partial = partial(&w, &leased.held).await.unwrap();
    assert!(partial.cut);
    let size = partial.text.unwrap().len();
    assert!(size <= PARTIAL_MOST && size > PARTIAL_MOST - 2 * block.len(), "{size}");
}

pub async fn deltas_go_after_a_day_and_the_rest_of_the_history_stays(mut w: World) {
    const DAY: u64 = 86_400;
    let spec = || JobSpec { retention: Span::from_secs(7 * DAY), ..w.spec() };
    let (streamed, silent) = (w.running_of(spec()).await.held, w.running_of(spec()).await.held);
    append(&w, &streamed, "a").await;
    append(&w, &streamed, "b").await;
    for held in [&streamed, &silent] {
        w.finish(held, succeeded("1")).await.unwrap();
    }
    w.advance(DAY - 5);
    let pruned = w.store.prune(100).await.unwrap();
    assert_eq!((pruned.jobs, pruned.streams), (0, 0));
    w.advance(10);
    let pruned = w.store.prune(100).await.unwrap();
    assert_eq!((pruned.jobs, pruned.streams), (0, 1));
    let numbers = async |w: &World| {
        let events = w.events(streamed.job).await;
        events.iter().map(|event: &Event| event.seq).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&w).await, [1, 2, 5], "their numbers are missing");
    assert_eq!((partial(&w, &streamed).await, w.job(streamed.job).await.last_seq), (None, 5));
    w.reopen().await;
    assert_eq!(numbers(&w).await, [1, 2, 5]);
    w.advance(7 * DAY);
    assert_eq!(w.prune().await, 2);
}

pub async fn an_observer_gets_the_events_of_what_it_wants_and_of_nothing_else(w: World) {
    let (wanted, other) = (w.running().await.held, w.running().await.held);
    w.told.want(wanted.job);
    for held in [&wanted, &other] {
        w.store.append(held.clone(), vec![text("a"), text("b")]).await.unwrap();
        w.finish(held, succeeded("1")).await.unwrap();
    }
    let told = w.told_of(wanted.job).await;
    let seen: Vec<Event> = told.iter().filter_map(|change| change.events.as_deref()).flatten().cloned().collect();
    assert_eq!(seen, w.events(wanted.job).await[2..]);
    assert!(w.told_of(other.job).await.iter().all(|change| change.events.is_none()));
}
