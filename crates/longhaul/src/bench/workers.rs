//! How fast jobs get to workers and back, over the worker protocol.
//!
//! Three figures: how long a waiting worker waits for a job that is submitted to an idle server; how many jobs a second
//! raw clients claim and complete in batches; and the same for one worker process in any language, which is started
//! for the purpose. Every completion is looked at: a result that is not accepted is an error.

use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use memchr::memmem;
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio::task::{JoinSet, LocalSet};

use super::process::usage_of;
use super::report::Latency;
use super::target::{self, Running};
use super::wire::{Connection, request, text_of};
use super::{Plan, Target};
use crate::clock::Stopwatch;
use crate::screen::{Screen, Table};

/// The kind that is measured.
const KIND: &str = "bench.noop";

/// Jobs of a claim and of a batch of results: the contract's most for a claim.
const BATCH: usize = 64;

/// Jobs of a bulk submission, the contract's most.
const BULK: u64 = 1_000;

/// What to measure.
#[derive(Debug, Clone)]
pub struct WorkersPlan {
    /// Rounds of one job against an idle server.
    pub rounds: u64,
    /// Jobs that raw clients work off.
    pub jobs: u64,
    /// How many raw clients there are.
    pub clients: usize,
    /// A command that starts one worker for the kind `bench.noop`, found through `LONGHAUL_URL`.
    pub command: Option<Vec<String>>,
    /// Jobs that this worker works off.
    pub command_jobs: u64,
    /// Where the server's temporary directory is made.
    pub directory: std::path::PathBuf,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Workers {
    /// From sending a submission to a waiting worker's answer.
    pub idle_claim: Latency,
    /// How many raw clients there were.
    pub raw_clients: usize,
    /// What they worked off.
    pub raw_jobs: u64,
    /// The same per second.
    pub raw_jobs_per_s: f64,
    /// The server's processor time for each, in microseconds.
    pub raw_server_cpu_us_per_job: f64,
    /// What the worker that was started worked off.
    pub command_jobs: Option<u64>,
    /// The same per second.
    pub command_jobs_per_s: Option<f64>,
}

/// Runs all three.
pub(super) async fn run(plan: &WorkersPlan, screen: &mut Screen) -> anyhow::Result<Workers> {
    let server_plan = Plan {
        clients: plan.clients,
        until: super::Until::Jobs(plan.jobs),
        warm_up: Duration::ZERO,
        submit_only: false,
        check: false,
        target: Target::Longhaul { retention: None, concurrency: None, store: None },
        watch: Vec::new(),
        directory: plan.directory.clone(),
        progress: false,
    };
    let running = Rc::new(target::start(&server_plan).await?);
    let found = LocalSet::new().run_until(measure(plan, running.clone(), screen)).await;
    if let Ok(running) = Rc::try_unwrap(running) {
        running.stop().await?;
    }
    found
}

async fn measure(plan: &WorkersPlan, running: Rc<Running>, screen: &mut Screen) -> anyhow::Result<Workers> {
    let mut control = Connection::new(running.address);
    expect(&mut control, &request("PUT", &running.host, &format!("/v1/kinds/{KIND}"), Some(b"{}")), 200).await?;
    screen.note(format!("{} single jobs against an idle server", plan.rounds));
    let idle_claim = idle(&running, plan.rounds).await?;
    screen.note(format!("{} jobs through {} raw clients", plan.jobs, plan.clients));
    submit(&mut control, &running.host, plan.jobs).await?;
    let (seconds, cpu) = raw(&running, plan.clients, plan.jobs).await?;
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let per_second = |jobs: u64, seconds: f64| jobs as f64 / seconds;
    let mut workers = Workers {
        idle_claim,
        raw_clients: plan.clients,
        raw_jobs: plan.jobs,
        raw_jobs_per_s: per_second(plan.jobs, seconds),
        raw_server_cpu_us_per_job: cpu * 1e6 / per_second(plan.jobs, 1.0),
        command_jobs: None,
        command_jobs_per_s: None,
    };
    if let Some(command) = &plan.command {
        screen.note(format!("{} jobs through `{}`", plan.command_jobs, command.join(" ")));
        let seconds = worker(&running, &mut control, command, plan.command_jobs).await?;
        workers.command_jobs = Some(plan.command_jobs);
        workers.command_jobs_per_s = Some(per_second(plan.command_jobs, seconds));
    }
    Ok(workers)
}

async fn expect(connection: &mut Connection, request: &[u8], status: u16) -> anyhow::Result<()> {
    let head = connection.exchange(request).await?;
    if head.status != status {
        bail!("the server answered {}: {}", head.status, String::from_utf8_lossy(connection.body()));
    }
    Ok(())
}

async fn submit(connection: &mut Connection, host: &str, count: u64) -> anyhow::Result<()> {
    let mut left = count;
    while left > 0 {
        let now = left.min(BULK);
        let jobs: Vec<String> = (0..now).map(|number| format!("{{\"kind\":\"{KIND}\",\"input\":{number}}}")).collect();
        let body = format!("{{\"jobs\":[{}]}}", jobs.join(","));
        expect(connection, &request("POST", host, "/v1/jobs/bulk", Some(body.as_bytes())), 202).await?;
        left -= now;
    }
    Ok(())
}

fn claim(host: &str, max: usize) -> Vec<u8> {
    let body = format!("{{\"worker_id\":\"bench\",\"kinds\":[\"{KIND}\"],\"max\":{max},\"wait_s\":10}}");
    request("POST", host, "/v1/worker/claims", Some(body.as_bytes()))
}

/// One job at a time: submitted while a claim waits, and timed until the claim is answered.
async fn idle(running: &Running, rounds: u64) -> anyhow::Result<Latency> {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 120_000_000, 3).context("a histogram cannot be made")?;
    let (mut waiting, mut submitting) = (Connection::new(running.address), Connection::new(running.address));
    let (claim, host) = (claim(&running.host, 1), running.host.clone());
    let body = format!("{{\"kind\":\"{KIND}\",\"input\":1}}");
    let submission = request("POST", &host, "/v1/jobs", Some(body.as_bytes()));
    for _ in 0..rounds {
        let elapsed = {
            let mut claimed = std::pin::pin!(waiting.exchange(&claim));
            // Long enough that the claim waits in the server, and that the server has nothing left to do.
            tokio::select! {
                early = &mut claimed => bail!("a claim was answered before there was a job: {early:?}"),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
            let clock = Stopwatch::start();
            let timed = async { claimed.await.map(|head| (head, clock.elapsed())) };
            let (claimed, submitted) = tokio::join!(timed, expect(&mut submitting, &submission, 202));
            submitted?;
            let (head, elapsed) = claimed?;
            if head.status != 200 {
                bail!("a claim got {}", head.status);
            }
            elapsed
        };
        histogram.record(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1))?;
        hand_in(&mut waiting, &host).await?;
    }
    Ok(Latency::of(&histogram))
}

/// Completes what the last answer of this connection has leased; says how many.
async fn hand_in(connection: &mut Connection, host: &str) -> anyhow::Result<usize> {
    let mut results = Vec::with_capacity(BATCH);
    let mut rest = connection.body();
    while let Some(at) = memmem::find(rest, b"\"job_id\"") {
        rest = &rest[at..];
        let (Some(job), Some(lease)) = (text_of(rest, "job_id"), text_of(rest, "lease_token")) else {
            bail!("a claimed job has no id or no lease");
        };
        results.push(format!("{{\"job_id\":\"{job}\",\"lease_token\":\"{lease}\",\"output\":null}}"));
        rest = &rest[8..];
    }
    let body = format!("{{\"jobs\":[{}]}}", results.join(","));
    let request = request("POST", host, "/v1/worker/complete", Some(body.as_bytes()));
    expect(connection, &request, 200).await?;
    let accepted = memmem::find_iter(connection.body(), b"\"status\":\"succeeded\"").count();
    if accepted != results.len() {
        bail!("{accepted} of {} results were accepted: {}", results.len(), String::from_utf8_lossy(connection.body()));
    }
    Ok(accepted)
}

/// Works off `jobs` jobs; gives the seconds that it took, and the server's processor seconds.
async fn raw(running: &Rc<Running>, clients: usize, jobs: u64) -> anyhow::Result<(f64, f64)> {
    let cpu_before = usage_of(&running.pids).cpu_s;
    let left = Rc::new(std::cell::Cell::new(jobs));
    let clock = Stopwatch::start();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (running, left) = (running.clone(), left.clone());
        tasks.spawn_local(async move {
            let mut connection = Connection::new(running.address);
            let claim = claim(&running.host, BATCH);
            while left.get() > 0 {
                let head = connection.exchange(&claim).await?;
                match head.status {
                    200 => {
                        let done = hand_in(&mut connection, &running.host).await?;
                        left.set(left.get().saturating_sub(done as u64));
                    }
                    204 => {}
                    status => bail!("a claim got {status}: {}", String::from_utf8_lossy(connection.body())),
                }
                if left.get() == 0 {
                    break;
                }
            }
            Ok(())
        });
    }
    // The first to see that nothing is left ends the measurement: the others wait for jobs that do not come.
    while left.get() > 0 {
        match tasks.join_next().await {
            Some(ended) => ended.context("a client broke")??,
            None => break,
        }
    }
    let seconds = clock.elapsed().as_secs_f64();
    let cpu = usage_of(&running.pids).cpu_s - cpu_before;
    tasks.shutdown().await;
    Ok((seconds, cpu))
}

/// Starts one worker and lets it work off `jobs` jobs, once it has shown that it works.
async fn worker(running: &Running, control: &mut Connection, command: &[String], jobs: u64) -> anyhow::Result<f64> {
    let Some((program, arguments)) = command.split_first() else { bail!("the command is empty") };
    let mut child: Child = Command::new(program)
        .args(arguments)
        .env("LONGHAUL_URL", format!("http://{}", running.host))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    submit(control, &running.host, 200).await?;
    until_none_left(running, control, &mut child).await?;
    let switch = |action: &str| request("POST", &running.host, &format!("/v1/queues/default/{action}"), None);
    expect(control, &switch("pause"), 200).await?;
    submit(control, &running.host, jobs).await?;
    let clock = Stopwatch::start();
    expect(control, &switch("resume"), 200).await?;
    until_none_left(running, control, &mut child).await?;
    let seconds = clock.elapsed().as_secs_f64();
    child.kill().await.context("cannot stop the worker")?;
    Ok(seconds)
}

/// Waits until no job is queued or runs.
async fn until_none_left(running: &Running, control: &mut Connection, child: &mut Child) -> anyhow::Result<()> {
    loop {
        expect(control, &request("GET", &running.host, "/v1/queues", None), 200).await?;
        let body = control.body();
        let is_done = |name: &[u8]| memmem::find_iter(body, name).all(|at| body.get(at + name.len()) == Some(&b'0'));
        if is_done(b"\"queued\":") && is_done(b"\"running\":") {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            bail!("the worker ended by itself: {status}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Workers {
    /// The figures as tables.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let mut latencies = Table::new(&["LATENCY, ms", ">p50", ">p90", ">p99", ">p99.9", ">max"]);
        let cell = |ms: f64| format!("{ms:.2}");
        let idle = self.idle_claim;
        let quantiles = [idle.p50_ms, idle.p90_ms, idle.p99_ms, idle.p999_ms, idle.max_ms];
        let mut row = vec!["submit to claimed, idle".to_owned()];
        row.extend(quantiles.map(cell));
        latencies.row(row);
        let mut figures = Table::new(&["", ">"]);
        figures.row([format!("jobs/s, {} raw clients", self.raw_clients), format!("{:.0}", self.raw_jobs_per_s)]);
        figures.row(["server CPU".to_owned(), format!("{:.0} µs a job", self.raw_server_cpu_us_per_job)]);
        if let Some(rate) = self.command_jobs_per_s {
            figures.row(["jobs/s, the worker that was started".to_owned(), format!("{rate:.0}")]);
        }
        vec![figures, latencies]
    }
}
