//! After the storm: everything must come to its end, and be as it was promised.

use std::collections::{BTreeMap, BTreeSet};

use longhaul_core::{Ending, Job, JobId, QueueName, Span, State, Status, Tenant, Timestamp, Wait};
use longhaul_store::StoreError;

use crate::{
    client::{self, TENANTS, pause, tenant},
    family,
    limits::Runs,
    looking::{self, Seen, census, look, marker},
    network::Asked,
    submitting,
    world::World,
};

/// How long queues stay paused in the calm: deadlines pass there all the same.
const STILL_PAUSED_FOR: Span = Span::from_secs(5);

/// How long after its deadline a job may be found to have missed it.
const DEADLINE_GRACE: Span = Span::from_secs(3);

/// For how long after its commit a lease may be on its way to whoever claimed it, or back: whoever dies then takes it
/// along.
const ON_ITS_WAY_FOR: Span = Span::from_secs(3);

/// How many seconds it may take until everything has ended: two graces of a cancel, and then some.
const SETTLED_IN_S: usize = 90;

/// Waits for the calm and for the clients, sees everything come to its end, and looks at all of it.
pub(crate) async fn close(world: World) {
    while !world.is_calm() || world.clients_left() > 0 {
        world.sleep(Span::from_millis(500)).await;
    }
    // What was still on its way has arrived by then.
    world.sleep(Span::from_secs(3)).await;
    world.note(format_args!("closing"));
    while world.server().is_none() {
        world.sleep(Span::from_millis(100)).await;
    }
    if !world.book().paused_queues().is_empty() {
        world.sleep(STILL_PAUSED_FOR).await;
        let jobs = all_jobs(&world).await;
        jobs.iter().for_each(|job| judge_deadline(&world, job));
    }
    for name in ["default", "narrow", "other"] {
        while !pause(&world, &QueueName::new(name).unwrap(), false).await {
            world.sleep(Span::from_millis(100)).await;
        }
    }
    for _ in 0..3 {
        submitting::replay(&world).await;
    }
    wait_for_one_more(&world).await;
    settle(&world).await;
    let tallies = world.ask(None, |server| async move { server.engine.queues().await }).await;
    if let Asked::Answered(Ok(queues)) = tallies {
        for queue in queues.iter().filter(|queue| queue.queued > 0 || queue.running > 0) {
            world.accuse("tally wrong", format!("all have ended, and {queue:?}"));
        }
    }
    audit(&world).await;
}

async fn all_jobs(world: &World) -> Vec<Job> {
    let mut all = Vec::new();
    for name in TENANTS {
        let owner = tenant(name);
        let listed = world.ask(None, move |server| async move { looking::list(&server.engine, &owner).await }).await;
        match listed {
            Asked::Answered(Ok(jobs)) => all.extend(jobs),
            other => world.accuse("no answer in the calm", format!("to a list: {other:?}")),
        }
    }
    all
}

fn judge_deadline(world: &World, job: &Job) {
    let is_over = |deadline: Timestamp| deadline + DEADLINE_GRACE < world.now();
    if !job.status().is_terminal() && job.spec.deadline_at.is_some_and(is_over) {
        world.accuse("deadline missed", format!("{} is {:?}", job.spec.id, job.state));
    }
}

/// Sees to it that every job comes to its end: none is without somebody or something that will end it.
async fn settle(world: &World) {
    // Nobody asks after any of them: a question brings a job to the store's mind.
    let mut live = Vec::new();
    for _ in 0..SETTLED_IN_S {
        live = all_jobs(world).await;
        live.retain(|job| !job.status().is_terminal());
        if live.is_empty() {
            return;
        }
        for job in &live {
            judge_deadline(world, job);
            if matches!(job.state, State::Waiting { wait: Wait::Input { .. }, .. }) {
                client::answer(world, &job.spec.tenant, job.spec.id).await;
            }
        }
        world.sleep(Span::from_secs(1)).await;
    }
    for job in live {
        world.accuse("unfinished", format!("{} is {:?}", job.spec.id, job.state));
    }
}

/// A job that is submitted now is done, and whoever waits for it hears of it at once.
async fn wait_for_one_more(world: &World) {
    let owner = tenant(TENANTS[0]);
    submitting::submit(world, &owner, vec![submitting::Wanted::plain(world, "echo")], true).await;
    let last = world.book().known().last().cloned();
    if let Some((owner, job)) = last {
        client::wait(world, &owner, job).await;
    }
}

/// Looks at everything once more.
async fn audit(world: &World) {
    let mut jobs: BTreeMap<JobId, Tenant> = world.book().promised().clone();
    let mut markers: BTreeSet<String> = BTreeSet::new();
    for name in TENANTS {
        let listed = census(world, &tenant(name)).await.unwrap_or_default();
        markers.extend(listed.iter().filter_map(marker));
        jobs.extend(listed.into_iter().map(|job| (job.spec.id, job.spec.tenant.clone())));
    }
    jobs.extend(world.book().known().iter().map(|(tenant, job)| (*job, tenant.clone())));
    world.book().counts.jobs = jobs.len();
    let mut runs = Runs::default();
    for (job, owner) in jobs {
        match look(world, &owner, job).await {
            Some(seen) => {
                markers.extend(marker(&seen.view.job));
                judge_job(world, &seen);
                runs.hear(&seen);
                family::judge(world, &seen.view).await;
            }
            None => {
                markers.extend(world.book().marker_of(job));
                world.book().counts.lived("job gone");
                judge_absence(world, &owner, job).await;
            }
        }
    }
    runs.judge(world);
    let bulks = world.book().bulks.clone();
    for bulk in bulks {
        let there = bulk.iter().filter(|marker| markers.contains(*marker)).count();
        if there > 0 && there < bulk.len() {
            world.accuse("taken in in part", format!("{there} of {bulk:?}"));
        }
    }
}

async fn judge_absence(world: &World, owner: &Tenant, job: JobId) {
    let owner = owner.clone();
    let asked = world.ask(None, move |server| async move { server.engine.job(&owner, job).await }).await;
    let is_gone = matches!(asked, Asked::Answered(Err(StoreError::Gone(_))));
    if !is_gone {
        world.accuse("promised and lost", format!("{job}: {asked:?}"));
    }
}

fn count(world: &World, Seen { view, attempts, .. }: &Seen) {
    let counts = &mut world.book().counts;
    counts.lived(format!("job {}", view.job.status().as_str()));
    for ending in attempts.iter().filter_map(|attempt| attempt.ending) {
        counts.lived(format!("attempt {}", ending.as_str()));
    }
    for error in attempts.iter().filter_map(|attempt| attempt.error.as_ref()).chain(&view.job.error) {
        counts.lived(format!("error {}", error.code));
    }
}

/// An answer is used once, and before any that was given after it was acknowledged.
fn judge_answer(world: &World, Seen { view, .. }: &Seen) {
    let job = &view.job;
    if job.spec.kind.as_str() != "asker" || job.status() != Status::Succeeded {
        return;
    }
    let Some(used) = view.output.as_ref().and_then(|output| looking::value(output).as_u64()) else { return };
    let given = world.book().answers_to(job.spec.id).to_vec();
    if !given.iter().any(|given| given.value == used) {
        world.accuse("answer invented", format!("{} goes on with {used}", job.spec.id));
    }
    if let Some(passed_over) = given.iter().find(|given| given.acknowledged.is_some_and(|at| at < used)) {
        let what = format!("{} goes on with {used}, and was answered {} before", job.spec.id, passed_over.value);
        world.accuse("answer lost", what);
    }
}

fn judge_job(world: &World, seen: &Seen) {
    count(world, seen);
    let Seen { view, events, attempts } = seen;
    let job = &view.job;
    let id = job.spec.id;
    if events.last().map(|event| event.seq) != Some(job.last_seq) || events.len() as u64 != job.last_seq {
        world.accuse("events miscounted", format!("{id} counts {}, and has {}", job.last_seq, events.len()));
    }
    let ends = events.iter().filter(|event| event.kind.is_terminal()).count();
    if ends != 1 || !events.last().is_some_and(|event| event.kind.is_terminal()) {
        world.accuse("ends miscounted", format!("{id} has {ends} terminal events"));
    }
    let starts = events.iter().filter(|event| event.kind.name() == "job.running").count();
    let differs = world.book().transcript(id).iter().zip(events).any(|(read, event)| **read != *event);
    if differs || world.book().read_so_far(id) > job.last_seq {
        world.accuse("transcript torn", format!("of {id}: readers were given what is not stored"));
    }
    judge_answer(world, seen);
    if starts != job.leases() as usize || starts != attempts.len() {
        let (leases, attempts) = (job.leases(), attempts.len());
        world.accuse("leases miscounted", format!("{id}: {starts} starts, {leases} leases, {attempts} attempts"));
    }
    for attempt in attempts.iter().filter(|attempt| attempt.ending == Some(Ending::Crashed)) {
        let from = attempt.started_at;
        // Nobody was told of a lease whose batch was in doubt, though it may hold.
        if world.trouble.was_in_doubt(from) {
            continue;
        }
        let mut book = world.book();
        let has_died = book.may_have_died(from, ON_ITS_WAY_FOR);
        // Where the clock was corrected, times of two lives cannot be compared.
        if !book.was_taken(id, attempt.lease) && !has_died && book.counts.clock_sets == 0 {
            let what = format!("lease {} of {id} reached nobody, was not given back, and ran out", attempt.lease);
            book.accuse("grant dropped", what);
        }
    }
}
