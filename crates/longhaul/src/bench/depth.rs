//! Does a job cost more when a million others wait before it?
//!
//! A queue of its own is paused and filled. A round submits a batch to it, then resumes it until a batch of the oldest
//! has ended, then pauses it again and tops it up. Both halves are timed; the median of many rounds is compared between
//! a thousand queued jobs and many.

use std::rc::Rc;

use anyhow::{Context as _, bail};
use tokio::task::{JoinSet, LocalSet};

use super::Plan;
use super::load::JobRequest;
use super::process::usage_of;
use super::report::{Depth, DepthCost};
use super::target::{self, Running};
use super::wire::{Connection, request, text_of};
use crate::client::types::{Page, Queue};
use crate::clock::Stopwatch;
use crate::screen::Screen;

/// The queue that is filled.
const QUEUE: &str = "depth";

/// What "few" means.
const SHALLOW: u64 = 1_000;

/// Jobs of a round. Few enough that the shallow queue stays a queue.
const BATCH: u64 = 500;

/// Rounds at each depth; the median counts.
const ROUNDS: usize = 21;

/// Jobs of a bulk request, the contract's most.
const BULK: u64 = 1_000;

/// Bulk requests under way at once; one, so that the order of the ids is the order of the queue.
const BULK_CLIENTS: usize = 1;

/// Runs the comparison.
pub(super) async fn run(many: u64, plan: &Plan, screen: &mut Screen) -> anyhow::Result<Depth> {
    let running = Rc::new(target::start(plan).await?);
    let mut bench = Bench {
        control: Connection::new(running.address),
        running: running.clone(),
        clients: plan.clients,
        submitted: 0,
        order: Vec::new(),
    };
    let local = LocalSet::new();
    let depth = local
        .run_until(async {
            bench.switch("pause").await?;
            bench.fill_to(SHALLOW, screen).await?;
            let shallow = bench.measure(SHALLOW, screen).await?;
            let clock = Stopwatch::start();
            bench.fill_to(many, screen).await?;
            let preload_s = clock.elapsed().as_secs_f64();
            let deep = bench.measure(many, screen).await?;
            let cost = |depth: &DepthCost| depth.submit_us + depth.run_us;
            Ok(Depth {
                ratio: cost(&deep) / cost(&shallow),
                cpu_ratio: deep.server_cpu_us / shallow.server_cpu_us,
                shallow,
                deep,
                preload_s,
                server_peak_bytes: usage_of(&running.pids).peak_bytes,
            })
        })
        .await;
    // The last of the requests that shared it have ended.
    drop(bench);
    if let Ok(running) = Rc::try_unwrap(running) {
        running.stop().await?;
    }
    depth
}

struct Bench {
    running: Rc<Running>,
    control: Connection,
    clients: usize,
    submitted: u64,
    /// Ids in the order of submission. A million of them take some tens of megabytes of this program, not the server.
    order: Vec<String>,
}

impl Bench {
    async fn switch(&mut self, action: &str) -> anyhow::Result<()> {
        let path = format!("/v1/queues/{QUEUE}/{action}");
        let head = self.control.exchange(&request("POST", &self.running.host, &path, None)).await?;
        if !(200..300).contains(&head.status) {
            bail!("{path} got {}: {}", head.status, String::from_utf8_lossy(self.control.body()));
        }
        Ok(())
    }

    /// How many jobs wait and how many run.
    async fn depths(&mut self) -> anyhow::Result<(u64, u64)> {
        let head = self.control.exchange(&request("GET", &self.running.host, "/v1/queues", None)).await?;
        if head.status != 200 {
            bail!("/v1/queues got {}: {}", head.status, String::from_utf8_lossy(self.control.body()));
        }
        let page: Page<'_> = serde_json::from_slice(self.control.body()).context("/v1/queues")?;
        for item in page.data {
            let queue: Queue = serde_json::from_str(item.get())?;
            if queue.queue == QUEUE {
                return Ok((queue.queued.unwrap_or(0), queue.running.unwrap_or(0)));
            }
        }
        Ok((0, 0))
    }

    /// Submits in bulk until so many jobs wait.
    async fn fill_to(&mut self, depth: u64, screen: &mut Screen) -> anyhow::Result<()> {
        let (queued, _) = self.depths().await?;
        let mut left = depth.saturating_sub(queued);
        let mut tasks = JoinSet::new();
        let clock = Stopwatch::start();
        let mut reported = 0;
        loop {
            while left > 0 && tasks.len() < BULK_CLIENTS {
                let count = left.min(BULK);
                tasks.spawn_local(bulk(self.running.clone(), count));
                left -= count;
            }
            let Some(ids) = tasks.join_next().await else { break };
            let ids = ids.context("a bulk submission broke")??;
            self.submitted += ids.len() as u64;
            self.order.extend(ids);
            if clock.elapsed().as_secs() > reported {
                reported = clock.elapsed().as_secs();
                screen.note(format!("{reported:>5}s  {} jobs submitted", self.submitted));
            }
        }
        Ok(())
    }

    async fn measure(&mut self, depth: u64, screen: &mut Screen) -> anyhow::Result<DepthCost> {
        let mut submit_us = Vec::new();
        let mut run_us = Vec::new();
        let cpu_before = usage_of(&self.running.pids).cpu_s;
        let mut jobs = 0.0;
        let batch = u32::try_from(BATCH).map_or(1.0, f64::from);
        for round in 0..ROUNDS {
            self.fill_to(depth, screen).await?;
            let clock = Stopwatch::start();
            self.submit_batch().await?;
            submit_us.push(clock.elapsed().as_secs_f64() * 1e6 / batch);
            let (queued, _) = self.depths().await?;
            let first = usize::try_from(self.submitted - queued)?;
            let last = first + usize::try_from(BATCH)? - 1;
            let awaited = self.order.get(last).context("the server has lost jobs")?.clone();
            let clock = Stopwatch::start();
            self.switch("resume").await?;
            self.wait_for(&awaited).await?;
            self.switch("pause").await?;
            let took_us = clock.elapsed().as_secs_f64() * 1e6;
            while self.depths().await?.1 > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            // Counted and not assumed: more than the batch may have ended before the pause took hold, and the order in
            // which requests side by side were stored is not ours to know.
            let ended = u32::try_from(self.submitted - self.depths().await?.0 - first as u64).map_or(1.0, f64::from);
            run_us.push(took_us / ended);
            jobs += f64::midpoint(batch, ended);
            screen.note(format!(
                "depth {depth}, round {}: submit {:.1} µs, claim+run+finish {:.1} µs",
                round + 1,
                submit_us[round],
                run_us[round]
            ));
        }
        let usage = usage_of(&self.running.pids);
        Ok(DepthCost {
            queued: depth,
            submit_us: median(&mut submit_us),
            run_us: median(&mut run_us),
            server_cpu_us: (usage.cpu_s - cpu_before) * 1e6 / jobs,
            resident_bytes: usage.resident_bytes,
        })
    }

    /// Submits a batch, each job in a request of its own, all clients at once.
    async fn submit_batch(&mut self) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        let clients = self.clients as u64;
        for client in 0..clients {
            let jobs = BATCH / clients + u64::from(client < BATCH % clients);
            tasks.spawn_local(submit(self.running.clone(), jobs, self.submitted));
        }
        while let Some(ids) = tasks.join_next().await {
            let ids = ids.context("a client of the benchmark broke")??;
            self.submitted += ids.len() as u64;
            self.order.extend(ids);
        }
        Ok(())
    }

    async fn wait_for(&mut self, job_id: &str) -> anyhow::Result<()> {
        let look = request("GET", &self.running.host, &format!("/v1/jobs/{job_id}?wait=30"), None);
        for _ in 0..20 {
            let head = self.control.exchange(&look).await?;
            if head.status == 200 && text_of(self.control.body(), "status") == Some("succeeded") {
                return Ok(());
            }
        }
        bail!("{job_id} has not ended in ten minutes: {}", String::from_utf8_lossy(self.control.body()))
    }
}

async fn submit(running: Rc<Running>, jobs: u64, number: u64) -> anyhow::Result<Vec<String>> {
    let mut connection = Connection::new(running.address);
    let mut job = JobRequest::new(&running.host, Some(QUEUE));
    let mut ids = Vec::new();
    for _ in 0..jobs {
        let head = connection.exchange(job.numbered(number)).await?;
        if head.status != 202 {
            bail!("a submission got {}: {}", head.status, String::from_utf8_lossy(connection.body()));
        }
        ids.push(text_of(connection.body(), "job_id").context("the receipt names no job")?.to_owned());
    }
    Ok(ids)
}

async fn bulk(running: Rc<Running>, jobs: u64) -> anyhow::Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Receipts {
        #[serde(alias = "data")]
        jobs: Vec<crate::client::types::Receipt>,
    }
    let filler = "x".repeat(super::load::INPUT_BYTES - 11);
    let one = format!("{{\"kind\":\"echo\",\"queue\":\"{QUEUE}\",\"input\":{{\"text\":\"{filler}\"}}}}");
    let all = vec![one.as_str(); usize::try_from(jobs)?].join(",");
    let body = format!("{{\"jobs\":[{all}]}}");
    let mut connection = Connection::new(running.address);
    let head = connection.exchange(&request("POST", &running.host, "/v1/jobs/bulk", Some(body.as_bytes()))).await?;
    if head.status != 202 {
        bail!("a bulk submission got {}: {}", head.status, String::from_utf8_lossy(connection.body()));
    }
    let receipts: Receipts = serde_json::from_slice(connection.body()).context("the receipts are not understood")?;
    Ok(receipts.jobs.into_iter().map(|receipt| receipt.job_id).collect())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
