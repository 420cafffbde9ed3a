//! Parents and children.

use std::sync::Arc;

use longhaul_core::{
    CHILDREN_MOST, JobId, JobSpec, OnChildFailure, Payload, Refused, Span, Status, StatusReason, StepName, Tenant, Wait,
};

use super::{World, claim, failed, flaky, kind, succeeded, tenant};
use crate::{Child, Held, Idempotency, JobQuery, NewJob, Outcome, StoreError, Submit, Submitted};

/// Children of `parent`, in order.
pub(super) fn below(w: &World, parent: &JobSpec, count: u32) -> Vec<JobSpec> {
    let child = |child_index| JobSpec {
        parent: Some(parent.id),
        child_index,
        depth: parent.depth + 1,
        kind: kind("other"),
        ..w.spec()
    };
    (0..count).map(child).collect()
}

/// A parent with children, as they were submitted.
async fn family(w: &World, on_child_failure: OnChildFailure, count: u32) -> (JobId, Vec<JobId>) {
    let parent = JobSpec { on_child_failure, ..w.spec() };
    let children = below(w, &parent, count);
    let ids = (parent.id, children.iter().map(|child| child.id).collect());
    let specs = std::iter::once(parent).chain(children).collect();
    assert_eq!(w.submit_all(specs, None).await, Ok(Submitted::Created));
    ids
}

fn new_jobs(specs: Vec<JobSpec>) -> Vec<NewJob> {
    specs.into_iter().map(|spec| NewJob { spec: Arc::new(spec), input: Payload::inline("{}") }).collect()
}

fn step(name: &str) -> StepName {
    StepName::new(name).unwrap()
}

async fn children(w: &World, parent: JobId) -> Vec<Child> {
    w.store.children(&tenant(), parent, None, 1_000).await.unwrap()
}

/// Each child with how it stands.
async fn standing(w: &World, parent: JobId) -> Vec<Status> {
    children(w, parent).await.iter().map(|child| child.status).collect()
}

pub async fn a_parent_runs_after_its_children_and_finds_their_outputs(w: World) {
    let (parent, ids) = family(&w, OnChildFailure::Fail, 3).await;
    let job = w.job(parent).await;
    assert_eq!((job.status(), job.attempt, job.lease()), (Status::Running, 0, None));
    assert_eq!(job.status_reason(w.now()), Some(StatusReason::WaitingChildren));
    assert_eq!(w.history(parent).await, ["job.waiting"]);
    let leased = w.take(claim(9)).await;
    assert_eq!(leased.iter().map(|leased| leased.held.job).collect::<Vec<_>>(), ids);
    // In another order than they were submitted in.
    for place in [2, 0, 1] {
        assert!(w.take(claim(9)).await.is_empty(), "the parent waits");
        w.finish(&leased[place].held, succeeded(&format!("{place}"))).await.unwrap();
    }
    let leased = w.claim_one().await;
    let job = &leased.view.job;
    assert_eq!((leased.held.job, job.attempt, job.children.succeeded, job.children.submitted), (parent, 1, 3, 3));
    let outputs: Vec<_> = children(&w, parent).await.into_iter().map(|child| child.output.unwrap()).collect();
    assert_eq!(outputs, ["0", "1", "2"].map(Payload::inline));
    w.finish(&leased.held, succeeded("\"all\"")).await.unwrap();
    assert_eq!(w.history(parent).await, ["job.waiting", "job.queued", "job.running", "job.succeeded"]);
}

pub async fn a_failed_child_fails_its_parent_and_its_siblings_are_cancelled(w: World) {
    let (parent, ids) = family(&w, OnChildFailure::Fail, 4).await;
    let leased = w.take(claim(3)).await;
    w.finish(&leased[0].held, succeeded("1")).await.unwrap();
    let error = longhaul_core::JobError::permanent("no_paper", "the tray is empty");
    w.finish(&leased[1].held, failed(error, longhaul_core::RetryPlan::Backoff)).await.unwrap();
    let job = w.job(parent).await;
    let error = job.error.as_ref().unwrap();
    assert_eq!((job.status(), error.code.as_str()), (Status::Failed, "child_failed"));
    assert!(error.message.contains(&ids[1].to_string()) && error.message.contains("no_paper"), "{}", error.message);
    w.sweep().await;
    // One still runs: it is told, and ends as cancelled.
    assert!(w.told_of(ids[2]).await.last().unwrap().cancelling);
    let expected = [Status::Succeeded, Status::Failed, Status::Running, Status::Cancelled];
    assert_eq!(standing(&w, parent).await, expected);
    w.finish(&leased[2].held, Outcome::Released { ambiguous: false }).await.unwrap();
    let counts = w.job(parent).await.children;
    assert_eq!((counts.succeeded, counts.failed, counts.cancelled, counts.pending()), (1, 1, 2, 0));
    assert_eq!(w.history(parent).await, ["job.waiting", "job.failed"]);
    assert!(w.take(claim(9)).await.is_empty());
}

pub async fn a_parent_that_takes_parts_runs_when_all_children_have_ended(w: World) {
    let (parent, ids) = family(&w, OnChildFailure::Partial, 3).await;
    w.store.cancel(&tenant(), ids[0]).await.unwrap();
    let leased = w.take(claim(9)).await;
    let error = longhaul_core::JobError::permanent("no_paper", "the tray is empty");
    w.finish(&leased[0].held, failed(error, longhaul_core::RetryPlan::Backoff)).await.unwrap();
    assert_eq!(w.job(parent).await.status_reason(w.now()), Some(StatusReason::WaitingChildren));
    w.finish(&leased[1].held, succeeded("7")).await.unwrap();
    assert_eq!(w.claim_one().await.held.job, parent);
    let seen: Vec<_> = children(&w, parent).await;
    assert_eq!(
        seen.iter().map(|child| (child.index, child.job)).collect::<Vec<_>>(),
        [(0, ids[0]), (1, ids[1]), (2, ids[2])]
    );
    assert_eq!(seen[1].error.as_ref().unwrap().code, "no_paper");
    assert_eq!((&seen[0].error, &seen[0].output, &seen[2].output), (&None, &None, &Some(Payload::inline("7"))));
}

pub async fn a_tree_is_taken_in_whole_or_not_at_all(w: World) {
    let (parent, stranger) = (w.spec(), w.spec());
    let mut specs = below(&w, &parent, 2);
    specs.insert(0, parent.clone());
    specs.push(JobSpec { parent: Some(stranger.id), depth: 1, ..w.spec() });
    assert_eq!(w.submit_all(specs.clone(), None).await, Err(StoreError::NotFound("parent")));
    // A child before its parent is no better.
    specs.swap(0, 1);
    specs.pop();
    assert_eq!(w.submit_all(specs.clone(), None).await, Err(StoreError::NotFound("parent")));
    assert_eq!(w.store.jobs(JobQuery::newest(tenant(), 9)).await.unwrap().jobs, []);
    specs.swap(0, 1);
    assert_eq!(w.submit_all(specs.clone(), None).await, Ok(Submitted::Created));
    assert_eq!(w.submit_all(specs, None).await, Ok(Submitted::Created), "an answer that did not arrive");
    assert_eq!(w.store.jobs(JobQuery::newest(tenant(), 9)).await.unwrap().jobs.len(), 3);
}

pub async fn a_repeated_key_finds_the_job_and_not_its_children(w: World) {
    let key = Idempotency { route: "/v1/jobs", key: [1; 32], fingerprint: [2; 32], keep_until: w.now() };
    let first = w.spec();
    let specs = |parent: &JobSpec| std::iter::once(parent.clone()).chain(below(&w, parent, 2)).collect::<Vec<_>>();
    assert_eq!(w.submit_all(specs(&first), Some(key.clone())).await, Ok(Submitted::Created));
    let again = w.spec();
    assert_eq!(w.submit_all(specs(&again), Some(key)).await, Ok(Submitted::Replayed(vec![first.id])));
    assert_eq!(w.store.jobs(JobQuery::newest(tenant(), 9)).await.unwrap().jobs.len(), 3);
}

pub async fn a_cancel_reaches_the_whole_tree(mut w: World) {
    let root = w.spec();
    let middle = below(&w, &root, 2);
    let leaves: Vec<JobSpec> = middle.iter().flat_map(|above| below(&w, above, 3)).collect();
    let all: Vec<JobSpec> = std::iter::once(root.clone()).chain(middle).chain(leaves).collect();
    let ids: Vec<JobId> = all.iter().map(|spec| spec.id).collect();
    w.submit_all(all, None).await.unwrap();
    let leased = w.take(claim(2)).await;
    assert_eq!(w.store.cancel(&tenant(), root.id).await, Ok(Status::Cancelled));
    w.sweep().await;
    for leased in leased {
        assert_eq!(w.status(leased.held.job).await, Status::Running);
        assert_eq!(w.finish(&leased.held, Outcome::Released { ambiguous: false }).await, Ok(Status::Cancelled));
    }
    for id in &ids {
        assert_eq!(w.status(*id).await, Status::Cancelled);
        assert_eq!(w.job(*id).await.children.pending(), 0);
    }
    assert!(w.take(claim(9)).await.is_empty());
    w.reopen().await;
    assert_eq!(w.job(root.id).await.children.cancelled, 2);
}

pub async fn a_cancel_reaches_more_children_than_one_commit_takes(mut w: World) {
    let (parent, ids) = family(&w, OnChildFailure::Fail, 2_500).await;
    w.store.cancel(&tenant(), parent).await.unwrap();
    // Whatever was not reached when the process ended is reached by its successor.
    w.reopen().await;
    w.sweep().await;
    assert_eq!(w.job(parent).await.children.cancelled, 2_500);
    for id in ids {
        assert_eq!(w.status(id).await, Status::Cancelled);
    }
    let queues = w.store.queues().await.unwrap();
    assert!(queues.iter().all(|queue| (queue.queued, queue.running, queue.waiting) == (0, 0, 0)), "{queues:?}");
}

pub async fn a_deadline_ends_a_parent_that_waits_and_its_children(w: World) {
    let parent = JobSpec { deadline_at: Some(w.now() + Span::from_secs(10)), ..w.spec() };
    let children = below(&w, &parent, 2);
    let ids: Vec<JobId> = children.iter().map(|child| child.id).collect();
    w.submit_all(std::iter::once(parent.clone()).chain(children).collect(), None).await.unwrap();
    assert_eq!(w.store.sweep().await.unwrap().next, Some(w.now() + Span::from_secs(10)));
    w.advance(10);
    w.sweep().await;
    let job = w.job(parent.id).await;
    assert_eq!((job.status(), job.error.unwrap().code.as_str()), (Status::Failed, "deadline_exceeded"));
    for id in ids {
        assert_eq!(w.status(id).await, Status::Cancelled);
    }
}

pub async fn children_are_spawned_once_and_only_under_the_lease(mut w: World) {
    let leased = w.running().await;
    let parent = leased.view.job.spec.clone();
    let specs = below(&w, &parent, 2);
    let ids: Vec<JobId> = specs.iter().map(|spec| spec.id).collect();
    let stale = Held { token: longhaul_core::LeaseToken::new(9, 9), ..leased.held.clone() };
    let lost = Err(StoreError::Refused(Refused::LeaseLost));
    assert_eq!(w.store.spawn(stale, step("parts"), new_jobs(specs.clone())).await, lost);
    assert_eq!(w.store.spawn(leased.held.clone(), step("parts"), new_jobs(specs)).await, Ok(ids.clone()));
    // Others by the same name are the same: a later attempt asks again.
    let others = below(&w, &parent, 5);
    assert_eq!(w.store.spawn(leased.held.clone(), step("parts"), new_jobs(others)).await, Ok(ids.clone()));
    let more = below(&w, &parent, 1);
    let last = more[0].id;
    assert_eq!(w.store.spawn(leased.held.clone(), step("more"), new_jobs(more)).await, Ok(vec![last]));
    let seen: Vec<_> = children(&w, parent.id).await.into_iter().map(|child| (child.index, child.job)).collect();
    assert_eq!(seen, [(0, ids[0]), (1, ids[1]), (2, last)]);
    let job = w.job(parent.id).await;
    assert_eq!((job.children.total, job.children.submitted, job.last_seq), (3, 0, 4));
    assert_eq!(w.job(last).await.spec.depth, 1);
    let names: Vec<_> = w.store.steps(&tenant(), parent.id).await.unwrap().into_iter().map(|step| step.name).collect();
    assert_eq!(names, [step("parts"), step("more")]);
    let strangers = new_jobs(vec![w.spec()]);
    let refused = w.store.spawn(leased.held.clone(), step("x"), strangers).await;
    assert_eq!(refused, Err(StoreError::NotFound("parent")));
    if w.reopen().await {
        let job = w.job(parent.id).await;
        assert_eq!((job.children.total, job.last_seq), (3, 4));
        let again = w.store.spawn(leased.held.clone(), step("parts"), Vec::new()).await;
        assert_eq!(again, Ok(ids));
    }
}

pub async fn a_job_has_no_more_children_than_it_can_have(w: World) {
    let leased = w.running().await;
    let too_many = below(&w, &leased.view.job.spec, CHILDREN_MOST + 1);
    let refused = Err(StoreError::Refused(Refused::TooManyChildren));
    assert_eq!(w.store.spawn(leased.held.clone(), step("parts"), new_jobs(too_many)).await, refused);
    assert_eq!(w.job(leased.held.job).await.children.total, 0);
    let parent = w.spec();
    let mut jobs = new_jobs(below(&w, &parent, CHILDREN_MOST + 1));
    jobs.splice(0..0, new_jobs(vec![parent]));
    let submit = Submit { jobs, idempotency: None, document: None };
    assert_eq!(w.store.submit(submit).await, Err(StoreError::Refused(Refused::TooManyChildren)));
}

pub async fn an_attempt_waits_for_its_children_without_a_lease(w: World) {
    let leased = w.running().await;
    let parent = leased.held.job;
    let specs = below(&w, &leased.view.job.spec, 2);
    w.store.spawn(leased.held.clone(), step("parts"), new_jobs(specs)).await.unwrap();
    assert_eq!(w.finish(&leased.held, Outcome::Waiting(Wait::Children)).await, Ok(Status::Running));
    let lost = Err(StoreError::Refused(Refused::LeaseLost));
    assert_eq!(w.finish(&leased.held, succeeded("1")).await, lost);
    // No lease: nothing runs out.
    w.advance(100_000);
    w.sweep().await;
    for child in w.take(claim(9)).await {
        w.finish(&child.held, succeeded("1")).await.unwrap();
    }
    let again = w.claim_one().await;
    let job = &again.view.job;
    assert_eq!((again.held.job, job.attempt, job.crashes, again.held.token.count()), (parent, 1, 0, 2));
    let endings: Vec<_> = w.store.attempts(&tenant(), parent).await.unwrap();
    assert_eq!(endings[0].ending, Some(longhaul_core::Ending::Waiting));
    w.finish(&again.held, succeeded("1")).await.unwrap();
    let expected =
        ["job.queued", "job.running", "job.step", "job.waiting", "job.queued", "job.running", "job.succeeded"];
    assert_eq!(w.history(parent).await, expected);
}

pub async fn children_of_a_job_that_succeeded_go_on(w: World) {
    let leased = w.running().await;
    let specs = below(&w, &leased.view.job.spec, 2);
    w.store.spawn(leased.held.clone(), step("parts"), new_jobs(specs)).await.unwrap();
    w.finish(&leased.held, succeeded("1")).await.unwrap();
    w.sweep().await;
    let children = w.take(claim(9)).await;
    assert_eq!(children.len(), 2);
    w.finish(&children[0].held, succeeded("1")).await.unwrap();
    let job = w.job(leased.held.job).await;
    assert_eq!((job.status(), job.children.succeeded, job.children.pending()), (Status::Succeeded, 1, 1));
    // Whoever is not there any more hears of nothing.
    w.store.erase(&tenant(), leased.held.job).await.unwrap();
    assert_eq!(w.finish(&children[1].held, succeeded("1")).await, Ok(Status::Succeeded));
}

pub async fn children_are_listed_in_pages(w: World) {
    let (parent, ids) = family(&w, OnChildFailure::Fail, 25).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = w.store.children(&tenant(), parent, after, 10).await.unwrap();
        assert!(page.len() <= 10);
        let Some(last) = page.last() else { break };
        after = Some(last.index);
        seen.extend(page.into_iter().map(|child| child.job));
    }
    assert_eq!(seen, ids);
    assert_eq!(w.store.children(&tenant(), ids[0], None, 10).await, Ok(vec![]));
    let other = Tenant::new("other").unwrap();
    assert_eq!(w.store.children(&other, parent, None, 10).await, Err(StoreError::NotFound("job")));
    let unknown = w.spec().id;
    assert_eq!(w.store.children(&tenant(), unknown, None, 10).await, Err(StoreError::NotFound("job")));
}

pub async fn a_child_is_kept_as_long_as_its_parent_lives(w: World) {
    let parent = w.spec();
    let children: Vec<JobSpec> =
        below(&w, &parent, 2).into_iter().map(|child| JobSpec { retention: Span::ZERO, ..child }).collect();
    let ids: Vec<JobId> = children.iter().map(|child| child.id).collect();
    w.submit_all(std::iter::once(parent.clone()).chain(children).collect(), None).await.unwrap();
    let leased = w.take(claim(9)).await;
    w.finish(&leased[0].held, succeeded("\"kept\"")).await.unwrap();
    for _ in 0..3 {
        w.advance(10_000);
        assert_eq!(w.prune().await, 0);
    }
    w.finish(&leased[1].held, failed(flaky(), longhaul_core::RetryPlan::Backoff)).await.unwrap();
    let view = w.view(ids[0]).await;
    assert_eq!(view.output, Some(Payload::inline("\"kept\"")));
    w.store.cancel(&tenant(), parent.id).await.unwrap();
    w.advance(10_000);
    assert_eq!(w.prune().await, 3, "the parent's time is over too");
    assert!(matches!(w.store.job(&tenant(), ids[0]).await, Err(StoreError::Gone(_))));
}
