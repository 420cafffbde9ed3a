//! Looking at jobs, and writing down what was seen in the words of the history.

use std::sync::Arc;

use longhaul_core::{Attempt, Event, Job, JobId, Payload, Status, Tenant};
use longhaul_engine::Engine;
use longhaul_store::{JobQuery, JobView, StoreError};
use longhaul_testkit::history::{Answer, AttemptSeen, Call, EventSeen, JobSeen, Listed, Sighting, View};
use serde_json::Value;

use crate::{book::End, network::Asked, world::World};

/// How many events and jobs a page holds: few, so that pages are turned.
const PAGE: usize = 7;

/// All that there is to see of a job. The job is read first.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) view: Arc<JobView>,
    pub(crate) events: Vec<Event>,
    pub(crate) attempts: Vec<Attempt>,
}

/// Reads a job, its events and its attempts, as three requests would.
pub(crate) async fn see(engine: &Engine, tenant: &Tenant, job: JobId) -> Result<Seen, StoreError> {
    let view = engine.job(tenant, job).await?;
    let mut events = Vec::new();
    loop {
        let after = events.last().map_or(0, |event: &Event| event.seq);
        let page = engine.events(tenant, job, after, PAGE).await?;
        let is_last = page.len() < PAGE;
        events.extend(page);
        if is_last {
            break;
        }
    }
    let attempts = engine.attempts(tenant, job).await?;
    Ok(Seen { view, events, attempts })
}

/// Looks at a job and writes it down. What was seen, when it was there.
pub(crate) async fn look(world: &World, tenant: &Tenant, job: JobId) -> Option<Seen> {
    let call = Call::Look { tenant: tenant.to_string(), job_id: job.to_string() };
    let op = world.book().invoke(call);
    let owner = tenant.clone();
    let asked = world.ask(None, move |server| async move { see(&server.engine, &owner, job).await }).await;
    let (end, seen) = match asked {
        Asked::Answered(Ok(seen)) => (End::Ok(Answer::Saw(sighting(&seen))), Some(seen)),
        Asked::Answered(Err(StoreError::NotFound(_))) => (End::Ok(Answer::Saw(nothing(View::Missing))), None),
        Asked::Answered(Err(StoreError::Gone(_))) => (End::Ok(Answer::Saw(nothing(View::Tombstone))), None),
        Asked::Answered(Err(error)) => (End::Fail(error.to_string()), None),
        Asked::Unsent => (End::Fail("nobody listens".into()), None),
        Asked::Lost => (End::Info("no answer".into()), None),
    };
    world.book().end(op, end);
    seen
}

/// Lists all jobs of a tenant and writes them down.
pub(crate) async fn census(world: &World, tenant: &Tenant) -> Option<Vec<Job>> {
    let op = world.book().invoke(Call::Census { tenant: tenant.to_string() });
    let owner = tenant.clone();
    let asked = world.ask(None, move |server| async move { list(&server.engine, &owner).await }).await;
    let (end, jobs) = match asked {
        Asked::Answered(Ok(jobs)) => {
            let listed = jobs.iter().map(|job| Listed { job_id: job.spec.id.to_string(), marker: marker(job) });
            (End::Ok(Answer::Counted { jobs: listed.collect() }), Some(jobs))
        }
        Asked::Answered(Err(error)) => (End::Fail(error.to_string()), None),
        Asked::Unsent => (End::Fail("nobody listens".into()), None),
        Asked::Lost => (End::Info("no answer".into()), None),
    };
    world.book().end(op, end);
    jobs
}

/// All jobs of a tenant, newest first.
pub(crate) async fn list(engine: &Engine, tenant: &Tenant) -> Result<Vec<Job>, StoreError> {
    let mut query = JobQuery::newest(tenant.clone(), PAGE);
    let mut jobs = Vec::new();
    loop {
        let page = engine.jobs(query.clone()).await?;
        jobs.extend(page.jobs);
        match page.next {
            Some(next) => query.before = Some(next),
            None => return Ok(jobs),
        }
    }
}

fn nothing(view: View) -> Sighting {
    Sighting { view, events: None, attempts: None }
}

fn sighting(seen: &Seen) -> Sighting {
    let job = &seen.view.job;
    let view = View::Present(JobSeen {
        marker: marker(job),
        status: job.status().as_str().to_owned(),
        version: job.version,
        attempt: job.attempt,
        last_event_seq: job.last_seq,
        output: seen.view.output.as_ref().filter(|_| job.status() == Status::Succeeded).map(value),
        error_code: job.error.as_ref().map(|error| error.code.clone()),
    });
    let event = |event: &Event| EventSeen {
        seq: event.seq,
        kind: event.kind.name().to_owned(),
        attempt: Some(event.attempt),
        raw: format!("{event:?}"),
    };
    Sighting {
        view,
        events: Some(seen.events.iter().map(event).collect()),
        attempts: Some(seen.attempts.iter().map(|attempt| AttemptSeen { attempt: attempt.number }).collect()),
    }
}

/// The marker of a job's submit. Another try of a job carries its predecessor's and counts as unmarked.
pub(crate) fn marker(job: &Job) -> Option<String> {
    let pairs: Value = serde_json::from_str(job.spec.metadata.as_deref()?).ok()?;
    pairs["marker"].as_str().filter(|_| job.spec.retry_of.is_none()).map(str::to_owned)
}

pub(crate) fn value(payload: &Payload) -> Value {
    match payload {
        Payload::Inline(json) => serde_json::from_slice(json).unwrap_or(Value::Null),
        Payload::Blob(_) => Value::Null,
    }
}
