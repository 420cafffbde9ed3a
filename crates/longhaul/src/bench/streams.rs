//! How fast what a job streams reaches whoever follows it.
//!
//! Each stream has a writer, which brings numbered chunks over the worker protocol at a steady rate, and a reader, which
//! follows the job's events. A chunk carries its number; both sides write down when. Three times come out: from sending a
//! chunk to the answer that it is on disk, from sending it to the reader, and the difference, which is what following adds.
//! With more readers of each stream, or with none, the first of the three says what readers cost who writes.

use std::{cell::RefCell, rc::Rc, time::Duration};

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use memchr::memmem;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::{JoinSet, LocalSet},
};

use super::process::usage_of;
use super::report::Latency;
use super::target::{self, Running};
use super::wire::{Connection, request, text_of};
use super::{Plan, Target};
use crate::clock::Stopwatch;
use crate::screen::{Screen, Table};

/// The kind that is streamed.
const KIND: &str = "bench.stream";

/// What marks a chunk's number in its text.
const MARK: &str = "chunk ";

/// What to measure.
#[derive(Debug, Clone)]
pub struct StreamsPlan {
    /// How many streams there are at once, one figure after the other.
    pub streams: Vec<usize>,
    /// How many follow each of them, one figure after the other; 0 for nobody.
    pub readers: Vec<usize>,
    /// How many rounds of all figures there are, in turn: what is compared is measured side by side.
    pub rounds: u32,
    /// How many chunks a second each of them writes.
    pub rate: u32,
    /// How many bytes of text a chunk has, at least.
    pub chunk: usize,
    /// How long each figure takes.
    pub turn: Duration,
    /// Where the server's temporary directory is made.
    pub directory: std::path::PathBuf,
}

/// What was found with so many streams.
#[derive(Debug, Clone, Serialize)]
pub struct StreamsFigure {
    /// How many streams there were.
    pub streams: usize,
    /// How many followed each.
    pub readers: usize,
    /// How many chunks were written.
    pub chunks: u64,
    /// The same per second, over all streams.
    pub chunks_per_s: f64,
    /// From sending a chunk to the answer that it is on disk.
    pub committed: Latency,
    /// From sending a chunk to its reader.
    pub seen: Latency,
    /// From that answer to the reader: nothing where the reader was first.
    pub added: Latency,
    /// The server's memory, in bytes.
    pub server_bytes: u64,
}

/// All figures.
#[derive(Debug, Clone, Serialize)]
pub struct StreamsReport {
    /// How many chunks a second each stream wrote.
    pub rate: u32,
    /// One for each number of streams and of readers, over all rounds.
    pub figures: Vec<StreamsFigure>,
}

impl StreamsReport {
    /// For people.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let mut table = Table::new(&[
            ">STREAMS",
            ">READERS EACH",
            ">CHUNKS/S",
            ">COMMITTED P50, ms",
            ">P99",
            ">SEEN P50, ms",
            ">P99",
            ">ADDED P50, ms",
            ">P99",
            ">SERVER, MiB",
        ]);
        for figure in &self.figures {
            let ms = |value: f64| format!("{value:.2}");
            let row = [
                figure.streams.to_string(),
                figure.readers.to_string(),
                format!("{:.0}", figure.chunks_per_s),
                ms(figure.committed.p50_ms),
                ms(figure.committed.p99_ms),
                ms(figure.seen.p50_ms),
                ms(figure.seen.p99_ms),
                ms(figure.added.p50_ms),
                ms(figure.added.p99_ms),
                (figure.server_bytes >> 20).to_string(),
            ];
            table.row(row.iter().map(String::as_str));
        }
        vec![table]
    }
}

/// When chunks were sent, committed and seen, in microseconds from the beginning.
#[derive(Default)]
struct Times {
    sent: Vec<u64>,
    committed: Vec<u64>,
    /// By each reader.
    seen: Vec<Vec<u64>>,
}

type Shared = Rc<RefCell<Times>>;

/// What the rounds of one figure add up to.
struct Tally {
    streams: usize,
    readers: usize,
    chunks: u64,
    micros: u64,
    committed: Histogram<u64>,
    seen: Histogram<u64>,
    added: Histogram<u64>,
    server_bytes: u64,
}

impl Tally {
    fn new(streams: usize, readers: usize) -> anyhow::Result<Self> {
        Ok(Self {
            streams,
            readers,
            chunks: 0,
            micros: 0,
            committed: histogram()?,
            seen: histogram()?,
            added: histogram()?,
            server_bytes: 0,
        })
    }

    fn round(&mut self, all: &[Shared]) -> anyhow::Result<()> {
        let (mut first, mut last) = (u64::MAX, 0);
        for times in all {
            let times = times.borrow();
            for (sent, answered) in times.sent.iter().zip(&times.committed) {
                self.committed.record(answered.saturating_sub(*sent).max(1))?;
                first = first.min(*sent);
                last = last.max(*answered);
                self.chunks += 1;
            }
            for seen in &times.seen {
                if seen.len() != times.sent.len() {
                    bail!("{} chunks were written and {} were read", times.sent.len(), seen.len());
                }
                for ((sent, answered), read) in times.sent.iter().zip(&times.committed).zip(seen) {
                    self.seen.record(read.saturating_sub(*sent).max(1))?;
                    self.added.record(read.saturating_sub(*answered).max(1))?;
                }
            }
        }
        self.micros += last.saturating_sub(first);
        Ok(())
    }

    fn figure(&self) -> StreamsFigure {
        #[allow(clippy::cast_precision_loss, reason = "figures for people")]
        let chunks_per_s = self.chunks as f64 / (self.micros.max(1) as f64 / 1e6);
        StreamsFigure {
            streams: self.streams,
            readers: self.readers,
            chunks: self.chunks,
            chunks_per_s,
            committed: Latency::of(&self.committed),
            seen: Latency::of(&self.seen),
            added: Latency::of(&self.added),
            server_bytes: self.server_bytes,
        }
    }
}

/// Measures each number of streams and of readers on a server of its own, round after round.
pub(super) async fn run(plan: &StreamsPlan, screen: &mut Screen) -> anyhow::Result<StreamsReport> {
    let mut tallies = Vec::new();
    for &streams in &plan.streams {
        for &readers in &plan.readers {
            tallies.push(Tally::new(streams, readers)?);
        }
    }
    for round in 1..=plan.rounds {
        for tally in &mut tallies {
            screen.note(format!("{} streams, {} readers each, round {round}", tally.streams, tally.readers));
            let server_plan = Plan {
                clients: tally.streams,
                until: super::Until::For(plan.turn),
                warm_up: Duration::ZERO,
                submit_only: false,
                check: false,
                // All streams run at once: none of them may wait for its turn in the queue.
                target: Target::Longhaul { retention: None, concurrency: Some(tally.streams), store: None },
                watch: Vec::new(),
                directory: plan.directory.clone(),
                progress: false,
            };
            let running = Rc::new(target::start(&server_plan).await?);
            let measured = LocalSet::new().run_until(measure(plan, tally, running.clone())).await;
            if let Ok(running) = Rc::try_unwrap(running) {
                running.stop().await?;
            }
            measured?;
        }
    }
    Ok(StreamsReport { rate: plan.rate, figures: tallies.iter().map(Tally::figure).collect() })
}

async fn measure(plan: &StreamsPlan, tally: &mut Tally, running: Rc<Running>) -> anyhow::Result<()> {
    let mut control = Connection::new(running.address);
    let head = control.exchange(&request("PUT", &running.host, &format!("/v1/kinds/{KIND}"), Some(b"{}"))).await?;
    if head.status >= 300 {
        bail!("the kind could not be registered: {}", head.status);
    }
    let begun = Rc::new(Stopwatch::start());
    let mut at_work = JoinSet::new();
    let mut all = Vec::new();
    for number in 0..tally.streams {
        let body = format!("{{\"kind\":\"{KIND}\",\"input\":{number}}}");
        control.exchange(&request("POST", &running.host, "/v1/jobs", Some(body.as_bytes()))).await?;
        let job = text_of(control.body(), "job_id").context("no receipt")?.to_owned();
        let times = Shared::default();
        times.borrow_mut().seen = vec![Vec::new(); tally.readers];
        for reader in 0..tally.readers {
            at_work.spawn_local(follow(running.clone(), job.clone(), reader, times.clone(), begun.clone()));
        }
        let share = Duration::from_secs(1) / plan.rate.max(1) * u32::try_from(number).unwrap_or(0)
            / u32::try_from(tally.streams).unwrap_or(1).max(1);
        at_work.spawn_local(write(plan.clone(), running.clone(), times.clone(), begun.clone(), share));
        all.push(times);
    }
    while let Some(ended) = at_work.join_next().await {
        ended??;
    }
    tally.server_bytes = tally.server_bytes.max(usage_of(&running.pids).resident_bytes);
    tally.round(&all)
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 120_000_000, 3)?)
}

fn micros(begun: &Stopwatch) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Takes one of the jobs and streams into it at the plan's rate, for the plan's time.
async fn write(
    plan: StreamsPlan,
    running: Rc<Running>,
    times: Shared,
    begun: Rc<Stopwatch>,
    first_after: Duration,
) -> anyhow::Result<()> {
    let mut connection = Connection::new(running.address);
    let claim = format!("{{\"worker_id\":\"bench\",\"kinds\":[\"{KIND}\"],\"max\":1,\"lease_s\":600}}");
    let head =
        connection.exchange(&request("POST", &running.host, "/v1/worker/claims", Some(claim.as_bytes()))).await?;
    if head.status != 200 {
        bail!("no job was claimed: {}", head.status);
    }
    let job = text_of(connection.body(), "job_id").context("no job was claimed")?.to_owned();
    let lease = text_of(connection.body(), "lease_token").context("the claim has no lease")?.to_owned();
    tokio::time::sleep(first_after).await;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / plan.rate.max(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let running_for = Stopwatch::start();
    let mut number = 0_u64;
    while running_for.elapsed() < plan.turn {
        ticks.tick().await;
        number += 1;
        let body = format!("{{\"chunk_seq\":{number},\"data\":\"{MARK}{number}. {:width$}\"}}", "", width = plan.chunk);
        let sent = micros(&begun);
        let head = connection.exchange(&held(&running.host, &job, "output", &lease, &body)).await?;
        if head.status != 200 {
            bail!("a chunk was refused: {}", head.status);
        }
        let mut times = times.borrow_mut();
        times.sent.push(sent);
        times.committed.push(micros(&begun));
    }
    let head = connection.exchange(&held(&running.host, &job, "complete", &lease, "{\"output\":null}")).await?;
    if head.status != 200 {
        bail!("a job could not be completed: {}", head.status);
    }
    Ok(())
}

fn held(host: &str, job: &str, verb: &str, lease: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /v1/worker/jobs/{job}/{verb} HTTP/1.1\r\nhost: {host}\r\nlonghaul-lease: {lease}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Follows a job to its end and notes when each chunk came.
async fn follow(
    running: Rc<Running>,
    job: String,
    reader: usize,
    times: Shared,
    begun: Rc<Stopwatch>,
) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(running.address).await?;
    let ask =
        format!("GET /v1/jobs/{job}/events HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n\r\n", running.host);
    socket.write_all(ask.as_bytes()).await?;
    let (mut buffer, mut rest) = (vec![0; 16 << 10], Vec::new());
    loop {
        let read = socket.read(&mut buffer).await?;
        if read == 0 {
            bail!("the stream of {job} ended before the job did");
        }
        let now = micros(&begun);
        rest.extend_from_slice(&buffer[..read]);
        let mut from = 0;
        while let Some(at) = memmem::find(&rest[from..], b"\n\n") {
            let event = &rest[from..from + at];
            from += at + 2;
            if memmem::find(event, b"event: job.succeeded").is_some() {
                return Ok(());
            }
            if memmem::find(event, MARK.as_bytes()).is_some() {
                times.borrow_mut().seen[reader].push(now);
            }
        }
        rest.drain(..from);
    }
}
