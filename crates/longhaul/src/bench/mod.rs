//! Measuring a server over HTTP, from the outside, as a client would.
//!
//! The driver shares the machine with the server it measures, so it is built to cost little: one thread, prebuilt
//! requests, no JSON parsing on the way ([`wire`]). It opens one connection a client and keeps it; each client has one
//! request under way. What it reports it has seen: a job counts when its result came back and equals what was sent.
//!
//! Real time is the subject here, so this module reads the clock; nothing else in it is taken from the air.

mod check;
mod depth;
pub mod documents;
mod files;
pub(crate) mod gateway;
mod load;
mod process;
mod questions;
mod report;
mod streams;
mod target;
mod wire;
mod workers;

use std::path::PathBuf;
use std::time::Duration;

pub use documents::{DocumentsPlan, DocumentsReport};
pub use gateway::{GatewayPlan, GatewayReport, gateway};
pub use questions::{QuestionsFigure, QuestionsPlan, QuestionsReport};
pub use report::{Depth, Latency, Report};
pub use streams::{StreamsFigure, StreamsPlan, StreamsReport};
pub use workers::{Workers, WorkersPlan};

use crate::screen::Screen;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many clients there are, each with a connection of its own.
    pub clients: usize,
    /// When to stop.
    pub until: Until,
    /// What is left out of the figures at the beginning.
    pub warm_up: Duration,
    /// Whether jobs are only submitted and not followed.
    pub submit_only: bool,
    /// Whether random jobs are looked at in the end.
    pub check: bool,
    /// What is measured.
    pub target: Target,
    /// Further processes whose processor time and memory count as the server's.
    pub watch: Vec<u32>,
    /// Where the server's temporary directory is made.
    pub directory: PathBuf,
    /// Prints a line a second on standard error.
    pub progress: bool,
}

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// After so many jobs.
    Jobs(u64),
    /// After so long, the warm-up not counted.
    For(Duration),
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A server of this program's own, started for the purpose.
    Longhaul {
        /// How long it keeps ended jobs, if not as configured.
        retention: Option<Duration>,
        /// How many jobs run at once in it, if not as configured.
        concurrency: Option<usize>,
        /// The PostgreSQL database that it keeps jobs in, as a URL; none: a directory of its own.
        store: Option<String>,
    },
    /// A server that runs already.
    Url(String),
}

/// Runs a closed loop of submissions and waits.
///
/// # Errors
/// When the server cannot be started or reached, or answers what the contract does not have.
pub fn jobs(plan: &Plan, screen: &mut Screen) -> anyhow::Result<Report> {
    runtime()?.block_on(unless_interrupted(load::run(plan, screen)))
}

/// Compares the cost of a job with few jobs queued and with `many`.
///
/// # Errors
/// As [`jobs`].
pub fn depth(many: u64, plan: &Plan, screen: &mut Screen) -> anyhow::Result<Depth> {
    runtime()?.block_on(unless_interrupted(depth::run(many, plan, screen)))
}

/// Measures how fast jobs get to workers and back.
///
/// # Errors
/// As [`jobs`]; and when the worker that was to be started ends by itself.
pub fn workers(plan: &WorkersPlan, screen: &mut Screen) -> anyhow::Result<Workers> {
    runtime()?.block_on(unless_interrupted(workers::run(plan, screen)))
}

/// Measures how fast what jobs stream reaches those who follow them.
///
/// # Errors
/// As [`jobs`]; and when a chunk that was written was not read.
pub fn streams(plan: &StreamsPlan, screen: &mut Screen) -> anyhow::Result<StreamsReport> {
    runtime()?.block_on(unless_interrupted(streams::run(plan, screen)))
}

/// Measures how fast documents are read, what memory that takes, and how many words come out right.
///
/// # Errors
/// As [`jobs`]; and when a document is not read.
pub fn documents(plan: &DocumentsPlan, screen: &mut Screen) -> anyhow::Result<DocumentsReport> {
    runtime()?.block_on(unless_interrupted(documents::run(plan, screen)))
}

/// Measures how fast `POST /process` answers what is in its cache.
///
/// # Errors
/// As [`jobs`]; and when an answer did not come from the cache.
pub fn questions(plan: &QuestionsPlan, screen: &mut Screen) -> anyhow::Result<QuestionsReport> {
    runtime()?.block_on(unless_interrupted(questions::run(plan, screen)))
}

/// Ends with an error at Ctrl-C or SIGTERM, so that the server and its directory are cleared away.
async fn unless_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = work => outcome,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("terminated"),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
