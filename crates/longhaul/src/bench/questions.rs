//! How fast `POST /process` answers what is in its cache.
//!
//! So many clients each keep a connection, and ask at a steady rate over all of them: an open load, as users are. A
//! latency counts from the moment at which the question was due, so a stall that holds questions back is in the figures.
//! Afterwards all clients ask as fast as they can, which says how much of the machine was left.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use memchr::memmem;
use serde::Serialize;
use tokio::task::{JoinSet, LocalSet};

use super::process::{own_usage, usage_of};
use super::report::Latency;
use super::target::{self, Running};
use super::wire::{Connection, request};
use super::{Plan, Target, Until};
use crate::clock::Stopwatch;
use crate::screen::{Screen, Table};

/// Different questions that are asked.
const QUESTIONS: usize = 64;

/// What to measure.
#[derive(Debug, Clone)]
pub struct QuestionsPlan {
    /// How many clients, each with a connection of its own.
    pub clients: usize,
    /// Questions a second, over all clients.
    pub rate: u32,
    /// Items of a question.
    pub items: usize,
    /// How long each of the two parts takes.
    pub turn: Duration,
    /// What is measured.
    pub target: Target,
    /// Where the server's temporary directory is made.
    pub directory: std::path::PathBuf,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct QuestionsReport {
    /// How many clients there were.
    pub clients: usize,
    /// Items of a question.
    pub items: usize,
    /// At the steady rate.
    pub steady: QuestionsFigure,
    /// As fast as all clients can.
    pub flat_out: QuestionsFigure,
    /// The server's memory in the end, in bytes.
    pub server_bytes: u64,
}

/// The figures of one part.
#[derive(Debug, Clone, Serialize)]
pub struct QuestionsFigure {
    /// Questions that were answered.
    pub answered: u64,
    /// The same per second.
    pub per_s: f64,
    /// From the moment at which a question was due to its answer; flat out, from sending it.
    pub latency: Latency,
    /// Processor time of the server for each, in microseconds.
    pub server_cpu_us: f64,
    /// Processor time of this program for each, in microseconds.
    pub driver_cpu_us: f64,
}

impl QuestionsReport {
    /// For people.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let mut table = Table::new(&[
            "LOAD",
            ">CLIENTS",
            ">ANSWERS/S",
            ">P50, ms",
            ">P90",
            ">P99",
            ">P99.9",
            ">MAX",
            ">SERVER CPU, µs",
            ">DRIVER CPU, µs",
        ]);
        for (name, figure) in [("steady", &self.steady), ("flat out", &self.flat_out)] {
            let latency = &figure.latency;
            let cells = [latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms];
            let mut row = vec![name.to_owned(), self.clients.to_string(), format!("{:.0}", figure.per_s)];
            row.extend(cells.iter().map(|ms| format!("{ms:.2}")));
            row.extend([figure.server_cpu_us, figure.driver_cpu_us].iter().map(|us| format!("{us:.0}")));
            table.row(row);
        }
        vec![table]
    }
}

/// Fills the cache and measures both parts.
pub(super) async fn run(plan: &QuestionsPlan, screen: &mut Screen) -> anyhow::Result<QuestionsReport> {
    let server_plan = Plan {
        clients: plan.clients,
        until: Until::For(plan.turn),
        warm_up: Duration::ZERO,
        submit_only: false,
        check: false,
        target: plan.target.clone(),
        watch: Vec::new(),
        directory: plan.directory.clone(),
        progress: false,
    };
    let running = target::start(&server_plan).await?;
    let questions: Rc<Vec<Vec<u8>>> = Rc::new((0..QUESTIONS).map(|n| question(&running.host, n, plan.items)).collect());
    let mut control = Connection::new(running.address);
    for question in questions.iter() {
        let head = control.exchange(question).await?;
        if head.status != 200 {
            bail!("a question got {}: {}", head.status, String::from_utf8_lossy(control.body()));
        }
    }
    let local = LocalSet::new();
    screen.note(format!("{} clients, {} questions a second", plan.clients, plan.rate));
    let steady = local.run_until(part(plan, &running, &questions, Some(plan.rate))).await?;
    screen.note(format!("{} clients, as fast as they can", plan.clients));
    let flat_out = local.run_until(part(plan, &running, &questions, None)).await?;
    let server_bytes = usage_of(&running.pids).resident_bytes;
    drop(local);
    running.stop().await?;
    Ok(QuestionsReport { clients: plan.clients, items: plan.items, steady, flat_out, server_bytes })
}

/// A question that is like no other of them.
fn question(host: &str, number: usize, items: usize) -> Vec<u8> {
    let item = |item: usize| {
        format!("{{\"task\":\"sentiment\",\"input\":\"Lantern {number} of harbour {item} is a wonderful sight.\"}}")
    };
    let items: Vec<String> = (0..items).map(item).collect();
    request("POST", host, "/process", Some(format!("{{\"items\":[{}]}}", items.join(",")).as_bytes()))
}

struct Tally {
    latency: RefCell<Histogram<u64>>,
    clock: Stopwatch,
}

async fn part(
    plan: &QuestionsPlan,
    running: &Running,
    questions: &Rc<Vec<Vec<u8>>>,
    rate: Option<u32>,
) -> anyhow::Result<QuestionsFigure> {
    let mut connections = Vec::with_capacity(plan.clients);
    for number in 0..plan.clients {
        let mut connection = Connection::new(running.address);
        // Connected before the clock runs: a thousand handshakes are not what is measured.
        connection.exchange(&questions[number % QUESTIONS]).await?;
        connections.push(connection);
    }
    let latency = RefCell::new(Histogram::new_with_bounds(1, 120_000_000, 3).context("a histogram cannot be made")?);
    let before = (usage_of(&running.pids).cpu_s, own_usage().cpu_s);
    let tally = Rc::new(Tally { latency, clock: Stopwatch::start() });
    let mut clients = JoinSet::new();
    for (number, connection) in connections.into_iter().enumerate() {
        let pace = rate.map(|rate| {
            let gap = Duration::from_secs_f64(plan.clients as f64 / f64::from(rate.max(1)));
            // The clients take turns, so that questions come evenly and not all at once.
            (gap.mul_f64(number as f64 / plan.clients as f64), gap)
        });
        clients.spawn_local(client(connection, questions.clone(), number, pace, plan.turn, tally.clone()));
    }
    while let Some(ended) = clients.join_next().await {
        ended.context("a client of the benchmark broke")??;
    }
    let seconds = tally.clock.elapsed().as_secs_f64();
    let after = (usage_of(&running.pids).cpu_s, own_usage().cpu_s);
    let latency = tally.latency.borrow();
    let answered = latency.len();
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let each = |seconds: f64| seconds * 1e6 / (answered.max(1)) as f64;
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let per_s = answered as f64 / seconds;
    Ok(QuestionsFigure {
        answered,
        per_s,
        latency: Latency::of(&latency),
        server_cpu_us: each(after.0 - before.0),
        driver_cpu_us: each(after.1 - before.1),
    })
}

async fn client(
    mut connection: Connection,
    questions: Rc<Vec<Vec<u8>>>,
    number: usize,
    pace: Option<(Duration, Duration)>,
    turn: Duration,
    tally: Rc<Tally>,
) -> anyhow::Result<()> {
    let mut asked = 0_u32;
    loop {
        let due = match pace {
            Some((first, gap)) => first + gap * asked,
            None => tally.clock.elapsed(),
        };
        if due >= turn {
            return Ok(());
        }
        let now = tally.clock.elapsed();
        if due > now {
            tokio::time::sleep(due - now).await;
        }
        let head = connection.exchange(&questions[(number + asked as usize) % QUESTIONS]).await?;
        let took = tally.clock.elapsed().saturating_sub(due);
        let body = connection.body();
        if head.status != 200 || memmem::find(body, b"\"cached\":false").is_some() {
            bail!(
                "an answer that should have been in the cache was {}: {}",
                head.status,
                String::from_utf8_lossy(body)
            );
        }
        tally.latency.borrow_mut().saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        asked += 1;
    }
}
