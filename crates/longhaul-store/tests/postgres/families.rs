//! Parents, children, waits and explanations, where more than one server takes part.

use std::{pin::pin, sync::Arc};

use futures::future::join_all;
use longhaul_core::{
    JobId, JobSpec, OnChildFailure, OutputData, Payload, Refused, Span, Status, StepName, Usage, Wait,
};
use longhaul_store::{
    Blocker, Held, NewJob, Outcome, StoreError, Submitted,
    conformance::{World, claim, kind, poll_once, succeeded, tenant},
};

use crate::nodes::Servers;

fn child(w: &World, parent: JobId, index: u32) -> JobSpec {
    JobSpec { parent: Some(parent), child_index: index, depth: 1, ..w.spec() }
}

/// A parent with so many children, taken in at once.
async fn family(w: &World, rule: OnChildFailure, children: u32) -> (JobId, Vec<JobId>) {
    let parent = JobSpec { on_child_failure: rule, ..w.spec() };
    let id = parent.id;
    let children: Vec<JobSpec> = (0..children).map(|index| child(w, id, index)).collect();
    let ids = children.iter().map(|child| child.id).collect();
    let all = [vec![parent], children].concat();
    assert_eq!(w.submit_all(all, None).await, Ok(Submitted::Created));
    (id, ids)
}

fn step(name: &str) -> StepName {
    StepName::new(name).unwrap()
}

#[tokio::test]
async fn children_that_end_on_several_servers_at_once_are_each_counted() {
    let servers = Servers::new(3).await;
    let w = &servers.world;
    let (parent, children) = family(w, OnChildFailure::Partial, 60).await;
    let mut held: Vec<Held> = Vec::new();
    while held.len() < children.len() {
        let leased = servers.stores[held.len() % 3].claim(claim(7)).await.unwrap();
        held.extend(leased.into_iter().map(|leased| leased.held));
    }
    assert_eq!(w.status(parent).await, Status::Running);
    let finishes = held
        .iter()
        .enumerate()
        .map(|(number, held)| servers.stores[number % 3].finish(held.clone(), succeeded("1"), Usage::default()));
    assert!(join_all(finishes).await.iter().all(|ended| *ended == Ok(Status::Succeeded)));
    let job = w.job(parent).await;
    assert_eq!((job.children.total, job.children.succeeded), (60, 60));
    let leased = servers.stores[1].claim(claim(9)).await.unwrap();
    assert_eq!((leased.len(), leased[0].held.job, leased[0].view.job.attempt), (1, parent, 1));
    let told = w.store.children(&tenant(), parent, Some(9), 100).await.unwrap();
    assert_eq!(told.iter().map(|child| child.job).collect::<Vec<_>>(), children[10..]);
    assert!(told.iter().all(|child| child.output == Some(Payload::inline("1"))));
}

#[tokio::test]
async fn a_family_that_is_larger_than_a_transaction_is_cancelled_by_whichever_server_sweeps() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    let (parent, children) = family(w, OnChildFailure::Fail, 2_500).await;
    assert_eq!(w.store.cancel(&tenant(), parent).await, Ok(Status::Cancelled));
    let alive = async || w.store.queues().await.unwrap()[0].queued;
    assert_eq!(alive().await, 1_500, "as many as one transaction takes");
    for _ in 0..5 {
        servers.stores[1].sweep().await.unwrap();
    }
    assert_eq!(alive().await, 0);
    let job = w.job(parent).await;
    assert_eq!((job.children.cancelled, job.children.pending()), (2_500, 0));
    for id in [children[0], children[1_700], children[2_499]] {
        assert_eq!(w.history(id).await, ["job.queued", "job.cancelled"]);
    }
}

#[tokio::test]
async fn a_lease_that_runs_out_elsewhere_fails_the_family() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    let (parent, children) = family(w, OnChildFailure::Fail, 2).await;
    for _ in 0..3 {
        let leased = servers.stores[0].claim(claim(1)).await.unwrap();
        assert_eq!(leased[0].held.job, children[0]);
        w.clock.advance(Span::from_secs(30));
        servers.stores[1].sweep().await.unwrap();
    }
    let job = w.job(parent).await;
    assert_eq!((job.status(), job.error.unwrap().code.as_str()), (Status::Failed, "child_failed"));
    assert_eq!(w.status(children[1]).await, Status::Cancelled);
}

#[tokio::test]
async fn what_an_attempt_spawned_is_spawned_once_whatever_server_hears_of_it() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    let held = w.running().await.held;
    let spawn = |server: usize| {
        let children = (0..3).map(|_| {
            let spec = JobSpec { kind: kind("other"), ..child(w, held.job, 0) };
            NewJob { spec: Arc::new(spec), input: Payload::inline("{}") }
        });
        servers.stores[server].spawn(held.clone(), step("parts"), children.collect())
    };
    let answers = join_all([spawn(0), spawn(1), spawn(0)]).await;
    let ids = answers[0].clone().unwrap();
    assert!(answers.iter().all(|answer| *answer == Ok(ids.clone())));
    let job = w.job(held.job).await;
    assert_eq!((job.children.total, w.history(held.job).await.len()), (3, 3));
    // The lease is given up at one server, and what was waited for comes at another.
    servers.stores[1].finish(held.clone(), Outcome::Waiting(Wait::Children), Usage::default()).await.unwrap();
    for leased in servers.stores[0].claim(claim(9)).await.unwrap() {
        servers.stores[1].finish(leased.held, succeeded("[]"), Usage::default()).await.unwrap();
    }
    let again = servers.stores[0].claim(claim(9)).await.unwrap();
    assert_eq!((again[0].held.job, again[0].view.job.attempt), (held.job, 1));
}

#[tokio::test]
async fn an_answer_is_given_at_any_server_and_counts_once() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    let held = w.running().await.held;
    let wait = Wait::Input { step: step("approval"), prompt: Some("May I \u{0}?".into()) };
    w.finish(&held, Outcome::Waiting(wait.clone())).await.unwrap();
    assert_eq!(w.job(held.job).await.wait(), Some(&wait));
    let default = tenant();
    let answers = ["1", "2", "3"].map(Payload::inline);
    let given = answers
        .iter()
        .enumerate()
        .map(|(number, answer)| servers.stores[number % 2].answer(&default, held.job, None, answer.clone()));
    assert!(join_all(given).await.iter().all(Result::is_ok));
    let steps = w.store.steps(&tenant(), held.job).await.unwrap();
    assert_eq!(steps.len(), 1);
    assert!(answers.contains(&steps[0].output));
    // The others are kept until somebody asks, the oldest first.
    let mut had = vec![steps[0].output.clone()];
    for name in ["second", "third"] {
        let leased = servers.stores[1].claim(claim(1)).await.unwrap().remove(0);
        let wait = Wait::Input { step: step(name), prompt: None };
        assert_eq!(
            servers.stores[0].finish(leased.held, Outcome::Waiting(wait), Usage::default()).await,
            Ok(Status::Queued)
        );
        had.push(w.store.steps(&tenant(), held.job).await.unwrap().pop().unwrap().output);
    }
    had.sort_unstable_by_key(|answer| format!("{answer:?}"));
    assert_eq!(had, answers);
    let leased = w.claim_one().await;
    w.finish(&leased.held, succeeded("1")).await.unwrap();
    let late = servers.stores[1].answer(&tenant(), held.job, None, Payload::inline("4")).await;
    assert_eq!(late, Err(StoreError::Refused(Refused::Terminal)));
}

#[tokio::test]
async fn what_streams_is_read_at_every_server_and_goes_at_its_time() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    let spec = JobSpec { retention: Span::from_secs(10 * 86_400), ..w.spec() };
    let held = w.running_of(spec).await.held;
    let text = |said: &str| OutputData::Text(said.into());
    servers.stores[1].append(held.clone(), vec![text("so "), text("it\u{0} ")]).await.unwrap();
    w.store.append(held.clone(), vec![text("goes")]).await.unwrap();
    for store in &servers.stores {
        let partial = store.partial(&tenant(), held.job).await.unwrap().unwrap();
        assert_eq!((partial.text.as_deref(), partial.through_seq), (Some("so it\u{0} goes"), 5));
    }
    assert_eq!(w.history(held.job).await[2..], ["job.output.delta"; 3]);
    w.finish(&held, succeeded("1")).await.unwrap();
    w.advance(86_401);
    let pruned = servers.stores[1].prune(9).await.unwrap();
    assert_eq!((pruned.jobs, pruned.streams, pruned.more), (0, 1, false));
    assert_eq!(w.store.partial(&tenant(), held.job).await, Ok(None));
    let left: Vec<u64> = w.events(held.job).await.iter().map(|event| event.seq).collect();
    assert_eq!(left, [1, 2, 6]);
    w.advance(9 * 86_400);
    assert_eq!(servers.stores[0].prune(9).await.unwrap().jobs, 1);
}

#[tokio::test]
async fn somebody_who_claims_at_another_server_is_not_nobody() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    let id = w.submit(JobSpec { kind: kind("third"), ..w.spec() }).await;
    let explain = async || w.store.explain(&tenant(), id).await.unwrap().unwrap();
    assert_eq!(explain().await, Blocker::NobodyClaims { kind: kind("third") });
    {
        // Whoever waits for something else first: it takes only what it is told to.
        let mut waiting = pin!(servers.stores[1].claim(claim(1)));
        assert!(poll_once(waiting.as_mut()).is_pending());
        servers.stores[1].queues().await.unwrap();
        let leased = waiting.await.unwrap();
        servers.stores[1]
            .finish(leased[0].held.clone(), Outcome::Released { ambiguous: false }, Usage::default())
            .await
            .unwrap();
    }
    assert!(matches!(explain().await, Blocker::Turn { ahead: Some(0), queued: 1, .. }));
    w.advance(120);
    assert!(matches!(explain().await, Blocker::NobodyClaims { .. }));
}
