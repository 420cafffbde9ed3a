//! Workers of other processes: they claim over the network, fall silent, come back late, and say things twice.

use std::sync::Arc;

use longhaul_core::{
    EventKind, JobError, KindName, LogLevel, OutputData, Payload, Progress, RetryPlan, Span, Stage, Status, StepName,
    Tenant, Usage, Wait,
};
use longhaul_engine::{Completion, RemoteClaim, RemoteJob};
use longhaul_store::{Beat, Held, JobView, Outcome, StoreError};
use longhaul_testkit::history::{Answer, Call, LeaseSeen};
use serde_json::json;

use crate::{book::End, network::Asked, process::Server, world::World};

/// How often a worker repeats what was not answered.
const TRIES: usize = 3;

/// Serves the kind `remote` of a tenant until the world ends.
pub(crate) async fn worker(world: World, name: &'static str, tenant: Tenant) {
    loop {
        let claim = RemoteClaim {
            worker: name.into(),
            tenant: tenant.clone(),
            kinds: Arc::from([KindName::new("remote").unwrap()]),
            queues: None,
            limit: 1 + world.dice.below(3),
            lease_for: world.dice.between(Span::from_secs(2), Span::from_secs(8)),
        };
        let op = world.book().invoke(Call::Claim { worker: name.to_owned() });
        let patience = world.dice.between(Span::from_millis(200), Span::from_secs(5));
        let (at_most, heard) = (world.dice.between(Span::from_millis(200), Span::from_secs(5)), world.clone());
        let asked = world.ask(Some(patience), move |server| async move {
            let jobs = server.engine.claim(claim, at_most).await?;
            let mut book = heard.book();
            jobs.iter().for_each(|job| book.take_lease(job.held.job, job.held.token.count()));
            drop(book);
            Ok::<_, StoreError>(jobs)
        });
        let asked = asked.await;
        let (end, leased) = match asked {
            Asked::Answered(Ok(leased)) => {
                let leases = leased.iter().map(lease_seen).collect();
                (End::Ok(Answer::Claimed { leases }), leased)
            }
            Asked::Answered(Err(error)) => (End::Fail(error.to_string()), Vec::new()),
            Asked::Unsent => (End::Fail("nobody listens".into()), Vec::new()),
            Asked::Lost => (End::Info("no answer".into()), Vec::new()),
        };
        world.book().end(op, end);
        world.idle(Span::from_millis(if leased.is_empty() { 800 } else { 100 })).await;
        for leased in leased {
            work(&world, leased).await;
        }
        if world.mishap(50) {
            haunt(&world).await;
        }
    }
}

fn lease_seen(leased: &RemoteJob) -> LeaseSeen {
    LeaseSeen {
        job_id: leased.held.job.to_string(),
        attempt: leased.view.job.attempt,
        lease_token: leased.held.token.to_string(),
    }
}

async fn work(world: &World, RemoteJob { view, held, steps, .. }: RemoteJob) {
    if world.mishap(10) {
        world.note(format_args!("the worker of {} falls silent", held.job));
        world.book().stale.push(held);
        return;
    }
    if world.mishap(15) {
        // Longer than any lease of these: what it says afterwards is late.
        world.idle(Span::from_secs(10)).await;
    }
    for number in 0..world.dice.below(4) {
        world.idle(Span::from_millis(400)).await;
        let is_held = match world.dice.below(5) {
            4 => append(world, &held).await,
            0 => enter(world, &held, number).await,
            1 => beat(world, &held, number).await,
            2 => tell(world, &held, number).await,
            _ => checkpoint(world, &held).await,
        };
        if !is_held && !world.mishap(40) {
            return;
        }
    }
    world.idle(Span::from_millis(500)).await;
    if steps.is_empty() && world.mishap(8) {
        // It asks somebody; whoever goes on with the job afterwards finds the answer as a step.
        let step = StepName::new("answer").unwrap();
        let wait = Wait::Input { step, prompt: None };
        let ask = move |server: Server, held| {
            let completion = Completion::Waiting(wait.clone());
            async move { server.engine.complete(held, completion, Usage::default()).await }
        };
        write(world, &held, ask).await;
        return;
    }
    end(world, &view, &held).await;
    if world.mishap(15) {
        world.book().stale.push(held);
    }
}

/// Writes under a lease, and again when there was no answer. False: the lease is lost, as far as was heard.
async fn write<T, F>(world: &World, held: &Held, request: impl Fn(Server, Held) -> F) -> bool
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    for _ in 0..TRIES {
        let (request, own) = (&request, held.clone());
        match world.ask(None, move |server| request(server, own)).await {
            Asked::Answered(Err(StoreError::Refused(_) | StoreError::NotFound(_) | StoreError::Gone(_))) => {
                return false;
            }
            Asked::Answered(Ok(_)) if !world.mishap(10) => return true,
            Asked::Answered(_) | Asked::Unsent | Asked::Lost => world.idle(Span::from_secs(1)).await,
        }
    }
    true
}

async fn enter(world: &World, held: &Held, number: usize) -> bool {
    let stage = if number == 0 { Stage::Validating } else { Stage::Executing };
    write(world, held, move |server, held| async move { server.store.enter(held, stage).await }).await
}

async fn beat(world: &World, held: &Held, number: usize) -> bool {
    let progress = Progress { fraction: Some(number as f64 / 4.0), message: None };
    let lease_for = world.dice.between(Span::from_secs(2), Span::from_secs(6));
    write(world, held, move |server, held| {
        let beat = Beat { held, lease_for, progress: Some(progress.clone()) };
        async move {
            match server.store.heartbeat(vec![beat]).await?.pop() {
                Some(answer) => answer.map(drop),
                None => Ok(()),
            }
        }
    })
    .await
}

async fn tell(world: &World, held: &Held, number: usize) -> bool {
    write(world, held, move |server, held| {
        let line = EventKind::Log { level: LogLevel::Info, message: format!("at {number}") };
        async move { server.store.tell(held, vec![line], Usage::default()).await }
    })
    .await
}

async fn checkpoint(world: &World, held: &Held) -> bool {
    let step = StepName::new(&format!("s{}", world.dice.below(2))).unwrap();
    let output = Payload::inline(world.fresh().to_string());
    write(world, held, move |server, held| {
        let (step, output) = (step.clone(), output.clone());
        async move { server.store.checkpoint(held, step, output, Usage::default()).await }
    })
    .await
}

async fn append(world: &World, held: &Held) -> bool {
    let piece = OutputData::Text(format!("{};", world.fresh()));
    write(world, held, move |server, held| {
        let piece = piece.clone();
        async move { server.engine.append(held, vec![piece]).await }
    })
    .await
}

async fn end(world: &World, view: &JobView, held: &Held) {
    let sort = if world.is_calm() { 0 } else { world.dice.below(100) };
    let (plan, is_permanent) = match sort {
        0..60 => return succeed(world, view, held).await,
        60..75 => (RetryPlan::Backoff, false),
        75..80 => (RetryPlan::Backoff, true),
        80..85 => (RetryPlan::After(world.dice.up_to(Span::from_secs(2))), false),
        85..92 => (RetryPlan::Park(world.now() + world.dice.up_to(Span::from_secs(4))), false),
        _ => {
            let release = move |server: Server, held| async move {
                server.store.finish(held, Outcome::Released { ambiguous: false }, Usage::default()).await
            };
            write(world, held, release).await;
            return;
        }
    };
    let told = || "as the dice fell";
    let error = if is_permanent { JobError::permanent("told", told()) } else { JobError::transient("told", told()) };
    write(world, held, move |server, held| {
        let outcome = Outcome::Failed { error: error.clone(), plan, ambiguous: false };
        async move { server.store.finish(held, outcome, Usage::default()).await }
    })
    .await;
}

async fn succeed(world: &World, view: &JobView, held: &Held) {
    let output = json!({"by": held.token.to_string(), "nonce": world.fresh()});
    for _ in 0..TRIES {
        let call = Call::Finish {
            job_id: held.job.to_string(),
            attempt: view.job.attempt,
            lease_token: held.token.to_string(),
            output: output.clone(),
        };
        let op = world.book().invoke(call);
        let (own, payload) = (held.clone(), Payload::inline(output.to_string()));
        let asked = world.ask(None, move |server| async move {
            let outcome = Outcome::Succeeded { output: payload, report: Box::default() };
            server.store.finish(own, outcome, Usage::default()).await
        });
        let (end, again) = match asked.await {
            Asked::Answered(Ok(Status::Succeeded)) => (End::Ok(Answer::Finished), world.mishap(15)),
            Asked::Answered(Ok(status)) => {
                world.accuse("wrong answer", format!("{} finished well and is {}", held.job, status.as_str()));
                (End::Fail("not finished".into()), false)
            }
            Asked::Answered(Err(StoreError::Unavailable(why))) => (End::Info(why), true),
            Asked::Answered(Err(StoreError::Refused(refused))) => (End::Fail(refused.to_string()), false),
            Asked::Answered(Err(error)) => (End::Fail(error.to_string()), true),
            Asked::Unsent => (End::Fail("nobody listens".into()), true),
            Asked::Lost => (End::Info("no answer".into()), true),
        };
        world.book().end(op, end);
        if !again {
            return;
        }
        world.idle(Span::from_secs(1)).await;
    }
}

/// Comes back with a lease that was let go of long ago.
async fn haunt(world: &World) {
    let mut stale = world.book().stale.clone();
    stale.retain(|held| world.book().newest_lease(held.job) > Some(held.token));
    let Some(held) = world.dice.one(&stale) else { return };
    world.note(format_args!("a dead worker of {} comes back", held.job));
    match world.dice.below(4) {
        0 => beat(world, &held, 1).await,
        1 => tell(world, &held, 1).await,
        2 => checkpoint(world, &held).await,
        _ => {
            let told = JobError::permanent("late", "a word from the dead");
            write(world, &held, move |server, held| {
                let outcome = Outcome::Failed { error: told.clone(), plan: RetryPlan::Backoff, ambiguous: false };
                async move { server.store.finish(held, outcome, Usage::default()).await }
            })
            .await
        }
    };
}
