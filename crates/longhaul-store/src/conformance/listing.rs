//! Finding jobs.

use std::collections::BTreeSet;

use longhaul_core::{JobId, JobSpec, Span, Status, Tenant};

use super::{World, claim, failed, flaky, kind, queue, succeeded, tenant};
use crate::JobQuery;

fn newest(limit: usize) -> JobQuery {
    JobQuery::newest(tenant(), limit)
}

/// Every job that a query finds, page by page.
async fn all(w: &World, query: JobQuery) -> Vec<JobId> {
    let (mut found, mut query) = (Vec::new(), query);
    loop {
        let page = w.store.jobs(query.clone()).await.unwrap();
        assert!(page.jobs.len() <= query.limit);
        found.extend(page.jobs.iter().map(|job| job.spec.id));
        match page.next {
            Some(next) => query.before = Some(next),
            None => return found,
        }
    }
}

pub async fn jobs_are_listed_newest_first_each_once_over_all_pages(w: World) {
    let mut submitted = Vec::new();
    for _ in 0..57 {
        submitted.push(w.submit(w.spec()).await);
        w.clock.advance(Span::from_millis(3));
    }
    submitted.reverse();
    for limit in [1, 10, 19, 57, 58, 200] {
        assert_eq!(all(&w, newest(limit)).await, submitted);
    }
    // What comes in meanwhile does not move what a reader has before it.
    let page = w.store.jobs(newest(10)).await.unwrap();
    w.submit(w.spec()).await;
    let rest = all(&w, JobQuery { before: page.next, ..newest(10) }).await;
    assert_eq!(rest, submitted[10..]);
    let job = &w.store.jobs(newest(1)).await.unwrap().jobs[0];
    assert_eq!(*job, w.job(job.spec.id).await);
}

pub async fn jobs_of_the_same_millisecond_are_listed_each_once(w: World) {
    let specs: Vec<JobSpec> = (0..101).map(|_| w.spec()).collect();
    let mut expected: Vec<JobId> = specs.iter().map(|spec| spec.id).collect();
    w.submit_all(specs, None).await.unwrap();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    for limit in [1, 7, 100, 101] {
        assert_eq!(all(&w, newest(limit)).await, expected);
    }
}

pub async fn filters_leave_what_fits(w: World) {
    let begin = w.now();
    let mut specs = Vec::new();
    for number in 0..60 {
        let spec = JobSpec {
            kind: kind(["echo", "other", "third"][number % 3]),
            queue: queue(["a", "b"][number % 2]),
            max_attempts: 1,
            ..w.spec()
        };
        w.submit(spec.clone()).await;
        specs.push(spec);
        w.clock.advance(Span::from_micros(1_700));
    }
    // Ten succeed, ten fail, ten are cancelled, ten run, twenty stay.
    for (number, leased) in w.take(claim(30)).await.into_iter().enumerate() {
        match number % 3 {
            0 => drop(w.finish(&leased.held, succeeded("1")).await.unwrap()),
            1 => drop(w.finish(&leased.held, failed(flaky(), longhaul_core::RetryPlan::Backoff)).await.unwrap()),
            _ => {}
        }
    }
    for spec in &specs[50..] {
        w.store.cancel(&tenant(), spec.id).await.unwrap();
    }
    let mut jobs = Vec::new();
    for spec in specs.iter().rev() {
        jobs.push(w.job(spec.id).await);
    }
    let at = |millis: u64| Some(begin + Span::from_micros(millis * 1_000 + 300));
    let mut queries = vec![newest(200)];
    queries.extend(Status::ALL.map(|status| JobQuery { status: Some(status), ..newest(200) }));
    queries.push(JobQuery { kind: Some(kind("other")), ..newest(200) });
    queries.push(JobQuery { kind: Some(kind("unheard")), ..newest(200) });
    queries.push(JobQuery { queue: Some(queue("b")), ..newest(4) });
    queries.push(JobQuery { created_after: at(30), ..newest(200) });
    queries.push(JobQuery { created_before: at(30), ..newest(5) });
    queries.push(JobQuery { created_after: Some(jobs[7].spec.created_at), ..newest(200) });
    queries.push(JobQuery { created_before: Some(jobs[7].spec.created_at), ..newest(200) });
    queries.push(JobQuery { created_after: at(20), created_before: at(70), ..newest(3) });
    for status in Status::ALL {
        let (queue, kind) = (Some(queue("a")), Some(kind("echo")));
        queries.push(JobQuery { status: Some(status), queue, kind, created_after: at(10), ..newest(2) });
    }
    for query in queries {
        let fits = jobs.iter().filter(|job| {
            query.status.is_none_or(|status| job.status() == status)
                && query.kind.as_ref().is_none_or(|kind| job.spec.kind == *kind)
                && query.queue.as_ref().is_none_or(|queue| job.spec.queue == *queue)
                && query.created_after.is_none_or(|after| job.spec.created_at >= after)
                && query.created_before.is_none_or(|before| job.spec.created_at < before)
        });
        let expected: Vec<JobId> = fits.map(|job| job.spec.id).collect();
        assert_eq!(all(&w, query.clone()).await, expected, "{query:?}");
    }
}

pub async fn metadata_finds_jobs(w: World) {
    let mut ids = Vec::new();
    for metadata in [None, Some(r#"{"user":"ann","run":"7"}"#), Some(r#"{"user":"ann"}"#), Some(r#"{"user":"bob"}"#)] {
        ids.push(w.submit(JobSpec { metadata: metadata.map(Into::into), ..w.spec() }).await);
        w.advance(1);
    }
    let find = async |pairs: &[(&str, &str)]| {
        let metadata = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        all(&w, JobQuery { metadata, ..newest(200) }).await
    };
    assert_eq!(find(&[("user", "ann")]).await, [ids[2], ids[1]]);
    assert_eq!(find(&[("user", "ann"), ("run", "7")]).await, [ids[1]]);
    assert_eq!(find(&[("user", "ann"), ("run", "8")]).await, []);
    assert_eq!(find(&[("user'; --", "\"")]).await, []);
}

pub async fn a_place_in_the_queue_is_counted(w: World) {
    let place = async |id| w.store.queue_position(&tenant(), id).await.unwrap();
    let first = w.submit(w.spec()).await;
    let specs: Vec<JobSpec> = (0..1_000).map(|_| w.spec()).collect();
    let ids: BTreeSet<JobId> = specs.iter().map(|spec| spec.id).collect();
    let (before_last, last) = (specs[998].id, specs[999].id);
    w.submit_all(specs, None).await.unwrap();
    assert_eq!((place(first).await, place(before_last).await, place(last).await), (Some(0), Some(999), None));
    let urgent = w.submit(JobSpec { priority: 1, ..w.spec() }).await;
    assert_eq!((place(urgent).await, place(first).await, place(before_last).await), (Some(0), Some(1), None));
    // Other lanes do not count.
    w.submit(JobSpec { priority: 9, tenant: Tenant::new("other").unwrap(), ..w.spec() }).await;
    w.submit(JobSpec { priority: 9, kind: kind("other"), ..w.spec() }).await;
    w.submit(JobSpec { priority: 9, queue: queue("far"), ..w.spec() }).await;
    assert_eq!(place(first).await, Some(1));
    let scheduled = w.submit(JobSpec { run_at: Some(w.now() + Span::from_secs(9)), ..w.spec() }).await;
    assert_eq!(place(scheduled).await, None, "it does not stand in line yet");
    let leased = w.take(claim(5)).await;
    assert!(leased.iter().any(|leased| leased.held.job == first));
    assert_eq!(place(first).await, None, "it does not stand in line any more");
    let claimed = leased.iter().filter(|leased| ids.contains(&leased.held.job)).count();
    assert_eq!(place(last).await, Some(999 - u32::try_from(claimed).unwrap()));
}
