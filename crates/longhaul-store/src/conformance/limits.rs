//! Limits of kinds: over all of their jobs, and by a key of the input.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use longhaul_core::{
    Full, IdSource as _, Ids, JobId, JobSpec, KindSpec, Limit, LimitKey, Rate, RetryPlan, Span, Status, Tenant,
    Timestamp,
};

use super::{LEASE, World, claim, failed, flaky, kind, queue, succeeded, tenant};
use crate::{Blocker, Claim, Held, JobQuery, Leased, Outcome};

fn at_once(most: u32) -> Limit {
    Limit { key: None, concurrency: Some(most), rate: None }
}

fn in_time(count: u32, per_s: u32) -> Limit {
    Limit { key: None, concurrency: None, rate: Some(Rate { count, per_s }) }
}

fn by_key(limit: Limit) -> Limit {
    Limit { key: Some("/key".into()), ..limit }
}

async fn limit(w: &World, limits: &[Limit]) {
    w.store.limit_kind(kind("echo"), limits.to_vec()).await.unwrap();
    // What is there already is looked at by the next sweeps.
    w.sweep().await;
}

/// A job of the kind that is limited, with this key.
fn keyed(w: &World, key: &str) -> JobSpec {
    let input = format!("{{\"key\":{key:?}}}");
    let key = LimitKey::of(&tenant(), &kind("echo"), "/key", input.as_bytes());
    JobSpec { limit_key: Some(key), ..w.spec() }
}

async fn submit_keyed(w: &World, key: &str, mut count: usize) -> Vec<JobId> {
    let mut all = Vec::new();
    while count > 0 {
        let specs: Vec<JobSpec> = (0..count.min(1_000)).map(|_| keyed(w, key)).collect();
        count -= specs.len();
        all.extend(specs.iter().map(|spec| spec.id));
        w.submit_all(specs, None).await.unwrap();
    }
    all
}

fn ids(leased: &[Leased]) -> Vec<JobId> {
    leased.iter().map(|leased| leased.held.job).collect()
}

async fn explain(w: &World, job: JobId) -> Option<Blocker> {
    w.store.explain(&tenant(), job).await.unwrap()
}

pub async fn no_more_of_a_kind_run_at_once_than_it_allows(w: World) {
    limit(&w, &[at_once(2)]).await;
    let mut specs: Vec<JobSpec> = (0..3).map(|_| w.spec()).collect();
    specs.extend((0..3).map(|_| JobSpec { queue: queue("a"), tenant: Tenant::new("other").unwrap(), ..w.spec() }));
    for spec in specs {
        w.submit(spec).await;
    }
    let other = w.submit(JobSpec { kind: kind("other"), ..w.spec() }).await;
    let leased = w.take(claim(9)).await;
    let of_kind = leased.iter().filter(|leased| leased.held.job != other).count();
    assert_eq!((of_kind, leased.len()), (2, 3), "two of the kind, and the other kind is not held up");
    assert!(w.take(claim(9)).await.is_empty());
    let held = leased.iter().find(|leased| leased.held.job != other).unwrap();
    w.finish(&held.held, succeeded("1")).await.unwrap();
    assert_eq!(w.take(claim(9)).await.len(), 1);
    limit(&w, &[]).await;
    assert_eq!(w.take(claim(9)).await.len(), 3);
}

pub async fn no_more_of_a_kind_start_in_a_time_than_it_allows(w: World) {
    limit(&w, &[in_time(3, 64)]).await;
    for _ in 0..10 {
        w.submit(w.spec()).await;
    }
    let first = w.take(claim(2)).await;
    assert_eq!(first.len(), 2);
    w.advance(30);
    let second = w.take(claim(9)).await;
    assert_eq!(second.len(), 1);
    // Ends make no room: it is starts that are counted.
    for leased in first.iter().chain(&second) {
        w.finish(&leased.held, succeeded("1")).await.unwrap();
    }
    assert!(w.take(claim(9)).await.is_empty());
    w.advance(33);
    w.sweep().await;
    assert!(w.take(claim(9)).await.is_empty());
    w.advance(2);
    let third = w.take(claim(9)).await;
    assert_eq!(third.len(), 2, "those of the beginning do not count any more");
    w.advance(28);
    assert!(w.take(claim(9)).await.is_empty());
    w.advance(2);
    assert_eq!(w.take(claim(9)).await.len(), 1);
}

pub async fn a_key_at_its_limit_holds_up_no_other_key(w: World) {
    limit(&w, &[by_key(at_once(1))]).await;
    let a = submit_keyed(&w, "a", 4).await;
    let b = submit_keyed(&w, "b", 2).await;
    let free = w.submit(w.spec()).await;
    assert_eq!(ids(&w.take(claim(9)).await), [a[0], b[0], free]);
    assert!(w.take(claim(9)).await.is_empty());
    let more = submit_keyed(&w, "c", 1).await;
    assert_eq!(ids(&w.take(claim(9)).await), more);
}

pub async fn whatever_ends_a_lease_makes_room_for_the_next_of_its_key(w: World) {
    limit(&w, &[by_key(at_once(1))]).await;
    let jobs = submit_keyed(&w, "a", 8).await;
    let mut held = w.claim_one().await.held;
    assert_eq!(held.job, jobs[0]);
    w.finish(&held, succeeded("1")).await.unwrap();
    held = w.claim_one().await.held;
    assert_eq!(held.job, jobs[1]);
    w.finish(&held, failed(flaky(), RetryPlan::After(Span::from_secs(5_000)))).await.unwrap();
    held = w.claim_one().await.held;
    assert_eq!(held.job, jobs[2]);
    // It goes back to where it stood, and is the next again.
    w.finish(&held, Outcome::Released { ambiguous: false }).await.unwrap();
    held = w.claim_one().await.held;
    assert_eq!(held.job, jobs[2]);
    w.clock.advance(LEASE);
    w.sweep().await;
    held = w.claim_one().await.held;
    assert_eq!(held.job, jobs[2]);
    w.store.cancel(&tenant(), held.job).await.unwrap();
    assert!(w.take(claim(1)).await.is_empty(), "it runs until it gives up");
    w.finish(&held, Outcome::Released { ambiguous: false }).await.unwrap();
    held = w.claim_one().await.held;
    assert_eq!(held.job, jobs[3]);
    let wait = longhaul_core::Wait::Input { step: longhaul_core::StepName::new("ask").unwrap(), prompt: None };
    w.finish(&held, Outcome::Waiting(wait)).await.unwrap();
    assert_eq!(w.claim_one().await.held.job, jobs[4], "whoever waits holds nothing");
}

pub async fn a_key_opens_by_itself_when_its_time_has_come(w: World) {
    limit(&w, &[by_key(in_time(2, 64))]).await;
    let a = submit_keyed(&w, "a", 5).await;
    for leased in w.take(claim(9)).await {
        w.finish(&leased.held, succeeded("1")).await.unwrap();
    }
    assert_eq!(w.job(a[1]).await.status(), Status::Succeeded);
    assert_eq!(w.job(a[2]).await.status(), Status::Queued);
    w.advance(63);
    w.sweep().await;
    assert!(w.take(claim(9)).await.is_empty());
    let swept = w.store.sweep().await.unwrap();
    assert!(swept.next.is_some_and(|next| next <= w.now() + Span::from_secs(2)), "{swept:?}");
    w.advance(2);
    w.sweep().await;
    for leased in w.take(claim(9)).await {
        w.finish(&leased.held, succeeded("1")).await.unwrap();
    }
    assert_eq!(w.job(a[3]).await.status(), Status::Succeeded);
    w.advance(66);
    w.sweep().await;
    assert_eq!(ids(&w.take(claim(9)).await), a[4..]);
}

pub async fn limits_over_all_and_by_key_hold_together(w: World) {
    limit(&w, &[at_once(3), by_key(Limit { rate: Some(Rate { count: 2, per_s: 60 }), ..at_once(1) })]).await;
    let (mut a, mut b) = (submit_keyed(&w, "a", 4).await, submit_keyed(&w, "b", 4).await);
    let c = submit_keyed(&w, "c", 1).await;
    let d = submit_keyed(&w, "d", 1).await;
    let first = w.take(claim(9)).await;
    assert_eq!(ids(&first), [a.remove(0), b.remove(0), c[0]], "one of each key, three in all");
    w.finish(&first[0].held, succeeded("1")).await.unwrap();
    let second = w.take(claim(9)).await;
    assert_eq!(ids(&second), [a.remove(0)], "the oldest that may: its key has started once");
    w.finish(&second[0].held, succeeded("1")).await.unwrap();
    assert_eq!(ids(&w.take(claim(9)).await), d, "its key has started twice");
}

pub async fn ten_thousand_jobs_of_one_key_hide_nobody(w: World) {
    limit(&w, &[by_key(at_once(2))]).await;
    let crowd = submit_keyed(&w, "crowd", 10_000).await;
    let first = w.take(claim(50)).await;
    assert_eq!(ids(&first), crowd[..2]);
    for round in 0..20 {
        let single = submit_keyed(&w, &format!("single-{round}"), 1).await;
        assert_eq!(ids(&w.take(claim(50)).await), single);
    }
    // The crowd itself goes on, in its order.
    w.finish(&first[1].held, succeeded("1")).await.unwrap();
    assert_eq!(ids(&w.take(claim(50)).await), crowd[2..3]);
    assert_eq!(w.store.queues().await.unwrap()[0].queued, 9_997);
}

pub async fn a_restart_forgets_nothing_that_has_started(mut w: World) {
    let limits = [in_time(4, 640), by_key(Limit { rate: Some(Rate { count: 2, per_s: 64 }), ..at_once(5) })];
    limit(&w, &limits).await;
    let a = submit_keyed(&w, "a", 5).await;
    let leased = w.take(claim(9)).await;
    assert_eq!(ids(&leased), a[..2]);
    w.finish(&leased[0].held, succeeded("1")).await.unwrap();
    if !w.reopen().await {
        return;
    }
    limit(&w, &limits).await;
    w.sweep().await;
    assert!(w.take(claim(9)).await.is_empty(), "two have started in this minute");
    w.advance(66);
    w.sweep().await;
    assert_eq!(ids(&w.take(claim(1)).await), a[1..2], "its lease ran out meanwhile, and it is the oldest again");
    let b = submit_keyed(&w, "b", 2).await;
    assert_eq!(w.take(claim(9)).await.len(), 1, "four of the kind have started");
    assert_eq!(w.status(b[1]).await, Status::Queued);
}

pub async fn what_runs_counts_after_a_restart(mut w: World) {
    limit(&w, &[at_once(3), by_key(at_once(1))]).await;
    let a = submit_keyed(&w, "a", 3).await;
    submit_keyed(&w, "b", 1).await;
    let leased = w.take(claim(9)).await;
    assert_eq!(leased.len(), 2);
    if !w.reopen().await {
        return;
    }
    limit(&w, &[at_once(3), by_key(at_once(1))]).await;
    let c = submit_keyed(&w, "c", 2).await;
    assert_eq!(ids(&w.take(claim(9)).await), c[..1], "two ran, and a third is all that may");
    w.finish(&leased[0].held, succeeded("1")).await.unwrap();
    assert_eq!(ids(&w.take(claim(9)).await), a[1..2]);
}

pub async fn a_limit_that_changes_counts_from_then_on(w: World) {
    // Jobs that were there before it.
    let a = submit_keyed(&w, "a", 6).await;
    limit(&w, &[by_key(at_once(1))]).await;
    assert_eq!(ids(&w.take(claim(9)).await), a[..1]);
    assert!(w.take(claim(9)).await.is_empty());
    limit(&w, &[by_key(at_once(3))]).await;
    let mut leased = w.take(claim(9)).await;
    assert_eq!(ids(&leased), a[1..3]);
    // Lowered: what runs goes on, and nothing starts until less of it does.
    limit(&w, &[by_key(at_once(1))]).await;
    w.finish(&leased.remove(0).held, succeeded("1")).await.unwrap();
    assert!(w.take(claim(9)).await.is_empty());
    limit(&w, &[]).await;
    assert_eq!(ids(&w.take(claim(9)).await), a[3..]);
}

pub async fn limits_of_tenants_are_apart(w: World) {
    let spec = |most| KindSpec { limits: vec![at_once(most)], ..KindSpec::named(kind("echo")) };
    let tenants = ["one", "two", "three"].map(|name| Tenant::new(name).unwrap());
    for (whose, most) in tenants.iter().zip([1, 2]) {
        w.store.put_kind(whose, spec(most)).await.unwrap();
    }
    for whose in &tenants {
        for _ in 0..4 {
            w.submit(JobSpec { tenant: whose.clone(), ..w.spec() }).await;
        }
    }
    let mut running: BTreeMap<String, usize> = BTreeMap::new();
    for leased in w.take(claim(20)).await {
        *running.entry(leased.held.tenant.to_string()).or_default() += 1;
    }
    assert_eq!(running, BTreeMap::from([("one".into(), 1), ("two".into(), 2), ("three".into(), 4)]));
    w.store.put_kind(&tenants[0], spec(3)).await.unwrap();
    assert_eq!(w.take(claim(20)).await.len(), 2);
}

pub async fn a_paused_queue_holds_no_key_up_elsewhere(w: World) {
    limit(&w, &[by_key(at_once(1))]).await;
    let a = queue("a");
    w.store.pause_queue(a.clone(), true).await.unwrap();
    let paused: Vec<JobSpec> = (0..3).map(|_| JobSpec { queue: a.clone(), ..keyed(&w, "k") }).collect();
    let first = paused[0].id;
    w.submit_all(paused, None).await.unwrap();
    let jobs = submit_keyed(&w, "k", 2).await;
    let held = w.claim_one().await.held;
    assert_eq!(held.job, jobs[0]);
    w.store.pause_queue(a, false).await.unwrap();
    assert!(w.take(claim(9)).await.is_empty());
    w.finish(&held, succeeded("1")).await.unwrap();
    let held = w.claim_one().await.held;
    w.finish(&held, succeeded("1")).await.unwrap();
    let mut ended = BTreeSet::from([held.job]);
    for _ in 0..3 {
        let held = w.claim_one().await.held;
        w.finish(&held, succeeded("1")).await.unwrap();
        ended.insert(held.job);
    }
    assert!(ended.contains(&first) && ended.contains(&jobs[1]) && ended.len() == 4);
}

pub async fn a_job_that_is_held_back_says_by_what(w: World) {
    let rate = Rate { count: 1, per_s: 64 };
    limit(&w, &[by_key(at_once(1))]).await;
    let a = submit_keyed(&w, "a", 2).await;
    let held = w.claim_one().await.held;
    let blocker =
        |key: Option<&str>, full| Some(Blocker::KindFull { kind: kind("echo"), key: key.map(Into::into), full });
    let full = Full::Concurrency { running: 1, limit: 1 };
    assert_eq!(explain(&w, a[1]).await, blocker(Some("/key"), full));
    limit(&w, &[at_once(1)]).await;
    w.sweep().await;
    assert_eq!(explain(&w, a[1]).await, blocker(None, full));
    w.finish(&held, succeeded("1")).await.unwrap();
    assert!(matches!(explain(&w, a[1]).await, Some(Blocker::Turn { .. })));
    for (limits, key) in [([in_time(1, 64)], None), ([by_key(in_time(1, 64))], Some("/key"))] {
        limit(&w, &limits).await;
        let b = submit_keyed(&w, &format!("{key:?}"), 2).await;
        let claimed = w.take(claim(9)).await;
        assert!(!claimed.is_empty());
        let Some(Blocker::KindFull { key: named, full: Full::Rate { rate: told, until }, .. }) =
            explain(&w, b[1]).await
        else {
            panic!("{:?}", explain(&w, b[1]).await);
        };
        assert_eq!((named.as_deref(), told), (key, rate));
        assert!(until > w.now() + Span::from_secs(63) && until <= w.now() + Span::from_secs(66), "{until}");
        for leased in claimed {
            w.finish(&leased.held, succeeded("1")).await.unwrap();
        }
        w.advance(66);
        w.sweep().await;
        for leased in w.take(claim(9)).await {
            w.finish(&leased.held, succeeded("1")).await.unwrap();
        }
        w.advance(66);
        w.sweep().await;
    }
}

pub async fn a_job_that_is_held_back_is_queued_like_any_other(w: World) {
    limit(&w, &[by_key(at_once(1))]).await;
    let a = submit_keyed(&w, "a", 3).await;
    let late = JobSpec { deadline_at: Some(w.now() + Span::from_secs(10)), ..keyed(&w, "a") };
    let late = w.submit(late).await;
    let held = w.claim_one().await.held;
    let queued = JobQuery { status: Some(Status::Queued), ..JobQuery::newest(tenant(), 10) };
    let listed: BTreeSet<JobId> = w.store.jobs(queued).await.unwrap().jobs.iter().map(|job| job.spec.id).collect();
    assert_eq!(listed, BTreeSet::from([late, a[2], a[1]]));
    assert_eq!(w.store.cancel(&tenant(), a[1]).await, Ok(Status::Cancelled));
    assert_eq!(w.history(a[1]).await, ["job.queued", "job.cancelled"]);
    w.advance(11);
    w.sweep().await;
    assert_eq!(w.job(late).await.error.unwrap().code, "deadline_exceeded");
    assert_eq!(w.store.queues().await.unwrap()[0].queued, 1);
    w.finish(&held, succeeded("1")).await.unwrap();
    assert_eq!(w.claim_one().await.held.job, a[2]);
    assert_eq!(w.history(a[2]).await, ["job.queued", "job.running"]);
}

/// Random lives under limits: nothing is ever above one, and everything ends.
pub async fn no_limit_is_exceeded_in_a_random_life_and_everything_ends(mut w: World) {
    let random = Ids::seeded(21);
    let below = |most: u64| usize::try_from(random.random() % most).unwrap();
    let (rate, of_key) = (Rate { count: 9, per_s: 20 }, Rate { count: 3, per_s: 30 });
    let limits = [
        Limit { key: None, concurrency: Some(5), rate: Some(rate) },
        Limit { key: Some("/key".into()), concurrency: Some(2), rate: Some(of_key) },
    ];
    limit(&w, &limits).await;
    let keys = ["a", "b", "c", "d", "e", "f"];
    let mut running: Vec<(Held, Option<LimitKey>)> = Vec::new();
    let mut starts: VecDeque<(Timestamp, Option<LimitKey>)> = VecDeque::new();
    let (mut ended, mut taken) = (0, 0);
    let mut submitted = 0;
    for round in 0..600 {
        let is_late = round >= 80;
        for _ in 0..if is_late { 0 } else { below(4) } {
            let priority = i8::try_from(below(3)).unwrap();
            let queue = queue(["default", "a"][below(2)]);
            w.submit(JobSpec { priority, queue, ..keyed(&w, keys[below(6)]) }).await;
            submitted += 1;
        }
        let only = (below(3) == 0).then(|| [queue("a")].into());
        for leased in w.take(Claim { queues: only, ..claim(1 + below(6)) }).await {
            let key = leased.view.job.spec.limit_key;
            running.push((leased.held, key));
            starts.push_back((w.now(), key));
            taken += 1;
        }
        assert!(running.len() <= 5, "round {round}");
        let within = |per_s: u32| {
            let since = w.now() - Span::from_secs(per_s.into());
            starts.iter().filter(move |(at, _)| *at > since)
        };
        assert!(within(rate.per_s).count() <= rate.count as usize, "round {round}");
        for (_, key) in &running {
            assert!(running.iter().filter(|(_, other)| other == key).count() <= 2, "round {round}");
            assert!(within(of_key.per_s).filter(|(_, other)| other == key).count() <= of_key.count as usize);
        }
        for _ in 0..below(4).min(running.len()) {
            let (held, _) = running.swap_remove(below(running.len() as u64));
            let outcome = match below(6) {
                0 if !is_late => Outcome::Released { ambiguous: false },
                1 if !is_late => failed(flaky(), RetryPlan::After(Span::from_secs(below(20) as u64))),
                _ => succeeded("1"),
            };
            ended += usize::from(w.finish(&held, outcome).await.unwrap().is_terminal());
        }
        if !is_late && below(40) == 0 && w.reopen().await {
            limit(&w, &limits).await;
        }
        w.advance(below(4) as u64);
        w.sweep().await;
        if is_late && ended == submitted {
            break;
        }
    }
    assert_eq!(ended, submitted, "{taken} starts; {} still run", running.len());
}
