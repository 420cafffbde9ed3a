//! Clients: they submit, look, wait, cancel, erase, submit again; two tenants, who must not see each other.

use longhaul_core::{JobId, QueueName, Span, Tenant};
use longhaul_engine::{Followed, Rejected, Waited};
use longhaul_store::StoreError;
use longhaul_testkit::history::{Answer, Call};

use crate::{
    book::End,
    looking::{census, look},
    network::Asked,
    submitting::{self, Wanted},
    world::World,
};

pub(crate) const TENANTS: [&str; 2] = ["ada", "bob"];

pub(crate) fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

/// Does one thing after another.
pub(crate) async fn client(world: World, tenant: Tenant, deeds: usize) {
    for _ in 0..deeds {
        world.idle(Span::from_millis(1_500)).await;
        match world.dice.below(100) {
            0..40 => {
                let is_keyed = world.dice.percent(50);
                submitting::submit(&world, &tenant, vec![Wanted::any(&world)], is_keyed).await;
            }
            40..45 => {
                let is_keyed = world.dice.percent(50);
                submitting::submit(&world, &tenant, vec![Wanted::family(&world)], is_keyed).await;
            }
            45..50 => {
                let count = 2 + world.dice.below(4);
                let wanted = (0..count).map(|_| Wanted::one_of_many(&world)).collect();
                let is_keyed = world.dice.percent(50);
                submitting::submit(&world, &tenant, wanted, is_keyed).await;
            }
            50..55 => submitting::replay(&world).await,
            55..57 => submitting::misuse_key(&world).await,
            57..67 => with_any_job(&world, cancel).await,
            67..71 => with_any_job(&world, retry).await,
            71..75 => with_any_job(&world, erase).await,
            75..83 => with_any_job(&world, look_at).await,
            83..85 => with_any_job(&world, explain).await,
            85..87 => with_any_job(&world, answer).await,
            87..89 => with_any_job(&world, wait).await,
            89..92 => with_any_job(&world, read_along).await,
            92..96 => {
                census(&world, &tenant).await;
            }
            _ => pry(&world, &tenant).await,
        }
    }
}

async fn with_any_job(world: &World, deed: impl AsyncFn(&World, &Tenant, JobId)) {
    let any = world.dice.one(world.book().known());
    if let Some((tenant, job)) = any {
        deed(world, &tenant, job).await;
    }
}

async fn look_at(world: &World, tenant: &Tenant, job: JobId) {
    look(world, tenant, job).await;
}

async fn cancel(world: &World, tenant: &Tenant, job: JobId) {
    let op = world.book().invoke(Call::Cancel { tenant: tenant.to_string(), job_id: job.to_string() });
    let owner = tenant.clone();
    let asked = world.ask(None, move |server| async move { server.engine.cancel(&owner, job).await }).await;
    world.note(format_args!("cancel {job}: {asked:?}"));
    let end = match asked {
        Asked::Answered(Ok(status)) if status.is_terminal() && status.as_str() != "cancelled" => {
            End::Ok(Answer::AlreadyEnded { status: status.as_str().to_owned() })
        }
        Asked::Answered(Ok(_)) => End::Ok(Answer::Cancelling),
        Asked::Answered(Err(StoreError::Unavailable(why))) => End::Info(why),
        Asked::Answered(Err(error)) => End::Fail(error.to_string()),
        Asked::Unsent => End::Fail("nobody listens".into()),
        Asked::Lost => End::Info("no answer".into()),
    };
    world.book().end(op, end);
}

/// Asks for another try of an ended job. It is a submit, although its marker is its predecessor's.
async fn retry(world: &World, tenant: &Tenant, job: JobId) {
    let owner = tenant.clone();
    let asked = world.ask(None, move |server| async move { server.engine.retry(&owner, job, None).await }).await;
    if let Asked::Answered(Ok(Some(accepted))) = &asked {
        let mut book = world.book();
        accepted.jobs.iter().for_each(|job| book.learn(tenant, *job));
    }
    if let Asked::Answered(Err(Rejected::Invalid(findings))) = asked {
        world.accuse("retry rejected", format!("{job} was taken in once, and now {findings:?}"));
    }
}

async fn erase(world: &World, tenant: &Tenant, job: JobId) {
    let owner = tenant.clone();
    let asked = world.ask(None, move |server| async move { server.engine.erase(&owner, job).await }).await;
    world.note(format_args!("erase {job}: {asked:?}"));
    if let Asked::Answered(Ok(())) = asked {
        let owner = tenant.clone();
        let again = world.ask(None, move |server| async move { server.engine.job(&owner, job).await }).await;
        if let Asked::Answered(Ok(_)) = again {
            world.accuse("erased and there", job);
        }
    }
}

/// Waits for a job; when all is calm, news of its end must come at once.
pub(crate) async fn wait(world: &World, tenant: &Tenant, job: JobId) {
    let owner = tenant.clone();
    let most = Span::from_secs(5);
    let (was_calm, asked_at) = (world.is_calm(), world.now());
    let asked = world.ask(None, move |server| async move { server.engine.wait(&owner, job, most, None).await }).await;
    if let Asked::Answered(Ok(Waited::Now(view))) = asked
        && was_calm
        && let Some(finished_at) = view.job.finished_at.filter(|at| *at > asked_at)
    {
        let late = world.now().since(finished_at);
        if late > Span::from_secs(1) && late < most {
            world.accuse("late news", format!("of {job}, by {late:?}"));
        }
    }
}

/// Answers a job, whether or not it has asked.
pub(crate) async fn answer(world: &World, tenant: &Tenant, job: JobId) {
    let value = world.fresh();
    world.book().give_answer(job, value);
    let owner = tenant.clone();
    let asked = world.ask(None, move |server| async move {
        server.engine.answer(&owner, job, None, value.to_string().into()).await
    });
    let asked = asked.await;
    world.note(format_args!("answer {value} to {job}: {asked:?}"));
    if let Asked::Answered(Ok(_)) = asked {
        let at = world.fresh();
        world.book().acknowledge_answer(job, value, at);
    }
}

/// Asks why a job is not running: there is an answer, unless it runs or has ended.
pub(crate) async fn explain(world: &World, tenant: &Tenant, job: JobId) {
    let owner = tenant.clone();
    let asked = world.ask(None, move |server| async move {
        let before = server.engine.job(&owner, job).await?;
        let blocker = server.engine.explain(&owner, job).await?;
        let after = server.engine.job(&owner, job).await?;
        Ok::<_, StoreError>((before.job.clone(), blocker, after.job.version))
    });
    let Asked::Answered(Ok((job, blocker, version))) = asked.await else { return };
    let is_idle = !job.status().is_terminal() && job.lease().is_none();
    if job.version == version && is_idle && blocker.is_none() {
        world.accuse("unexplained", format!("{} is {:?}, and nothing says why", job.spec.id, job.state));
    }
}

/// Reads a job's events as they come, from where the last reader has left off.
async fn read_along(world: &World, tenant: &Tenant, job: JobId) {
    for _ in 0..3 {
        let after = world.book().read_so_far(job);
        let (owner, inner) = (tenant.clone(), world.clone());
        let asked = world.ask(None, move |server| async move {
            let mut follow = server.engine.follow(&owner, job, after).await?;
            let mut read = Vec::new();
            for _ in 0..6 {
                let next = tokio::select! {
                    biased;
                    next = follow.next() => next,
                    () = inner.sleep(Span::from_millis(1_500)) => None,
                };
                match next.transpose()? {
                    Some(Followed::Events(events)) => read.extend(events),
                    Some(Followed::Lagged) => {}
                    Some(Followed::Trimmed(..) | Followed::Stopping) | None => break,
                }
            }
            Ok::<_, StoreError>(read)
        });
        if let Asked::Answered(Ok(read)) = asked.await {
            let wrong = world.book().hear_read(job, read);
            if let Some(wrong) = wrong {
                world.accuse("transcript torn", format!("of {job}: {wrong}"));
            }
        }
    }
}

/// Looks for the other tenant's jobs.
async fn pry(world: &World, tenant: &Tenant) {
    let others: Vec<JobId> = {
        let book = world.book();
        book.known().iter().filter(|(owner, _)| owner != tenant).map(|(_, job)| *job).collect()
    };
    if let Some(job) = world.dice.one(&others) {
        look(world, tenant, job).await;
    }
}

/// Pauses queues and resumes them, until it is calm.
pub(crate) async fn operator(world: World) {
    while !world.is_calm() {
        world.idle(Span::from_secs(6)).await;
        let name = world.dice.one(&["default", "narrow", "other"]).unwrap();
        let paused = world.dice.percent(60);
        pause(&world, &QueueName::new(name).unwrap(), paused).await;
        world.ask(None, |server| async move { server.engine.queues().await }).await;
    }
}

pub(crate) async fn pause(world: &World, queue: &QueueName, paused: bool) -> bool {
    let named = queue.clone();
    let asked = world.ask(None, move |server| async move { server.engine.pause_queue(named, paused).await }).await;
    world.note(format_args!("pause {queue} {paused}: {asked:?}"));
    matches!(asked, Asked::Answered(Ok(())))
}
