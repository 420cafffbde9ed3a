//! `longhaul demo`: what goes wrong with AI work, and what becomes of it here, measured as it happens.
//!
//! Three acts on one machine, without a key. A naive API that works within the request meets a load, and the same load
//! meets Longhaul ([`uploads`]). One flaky provider is asked behind one more layer at a time ([`ladder`]). Documents are
//! taken in by a server that is killed in the middle ([`recovery`]).
//!
//! Nothing shown is made up: the server is this program, started as `longhaul serve` and spoken to over HTTP as by anybody
//! else ([`server`]), with a configuration that a reader can copy. What is simulated is the AI at the far end
//! ([`provider`]), which is a server of its own, reached over sockets, with a ledger of what it was asked for: what a
//! provider would bill is read there and not guessed here. Its temper is drawn from a seed for each question and try, so
//! that neither threads nor time decide who meets which fault.
//!
//! Real time is the subject, so this module measures it; randomness comes from the seed alone.

mod figures;
mod http;
mod ladder;
mod naive;
mod provider;
mod questions;
mod recovery;
mod server;
mod teller;
mod uploads;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::figures::Report;
use self::provider::Provider;
use self::server::Stage;
use self::teller::Teller;
use crate::clock::Stopwatch;
use crate::screen::Screen;

/// How to run it.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Decides which question meets which fault.
    pub(crate) seed: u64,
    /// Less of everything.
    pub(crate) quick: bool,
    /// Tells everything in figures at the end; what is told on the way goes to standard error.
    pub(crate) json: bool,
    /// Where the server listens.
    pub(crate) listen: SocketAddr,
    /// Where its temporary directory is made.
    pub(crate) directory: PathBuf,
    /// Leaves the server up at the end, until Ctrl-C.
    pub(crate) stay: bool,
}

/// How much of everything, and how fast. About ten times as fast as life, so that minutes of it fit into seconds.
#[derive(Debug, Clone, Copy)]
struct Scale {
    /// Clients that upload a document each.
    clients: u32,
    /// Within this time.
    spread: Duration,
    /// Workers of the naive API, and places of the queue that does the same work.
    workers: u32,
    /// What reading a document takes.
    work: Duration,
    /// After so long the client of an upload gives up.
    patience: Duration,
    /// Questions on each rung of the ladder.
    questions: u32,
    /// Between two of them.
    apart: Duration,
    /// After so long whoever asked gives up.
    question_patience: Duration,
    /// What making the vectors of a batch of pieces takes, while the server is killed.
    batch: Duration,
}

impl Scale {
    const fn of(quick: bool) -> Self {
        if quick {
            Self {
                clients: 40,
                spread: Duration::from_millis(200),
                workers: 4,
                work: Duration::from_millis(300),
                patience: Duration::from_secs(2),
                questions: 150,
                apart: Duration::from_millis(10),
                question_patience: Duration::from_secs(4),
                batch: Duration::from_millis(300),
            }
        } else {
            Self {
                clients: 96,
                spread: Duration::from_secs(1),
                workers: 8,
                work: Duration::from_millis(500),
                patience: Duration::from_secs(2),
                questions: 1_000,
                apart: Duration::from_millis(6),
                question_patience: Duration::from_secs(2),
                batch: Duration::from_millis(600),
            }
        }
    }
}

/// Plays it to its end, or until a signal. Either way the server is ended and its directory removed.
///
/// # Errors
/// When the server cannot be started or reached, when the machine has no place for it, or when told to stop.
pub(crate) fn run(plan: &Plan, screen: &mut Screen) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Box::pin(perform(plan, screen)))
}

async fn perform(plan: &Plan, screen: &mut Screen) -> anyhow::Result<Report> {
    let mut signals = Signals::listen()?;
    let scale = Scale::of(plan.quick);
    let provider = Arc::new(Provider::new(plan.seed, &scale));
    let upstream = http::serve(provider.clone()).await?;
    let mut stage = Stage::open(plan, upstream.address, &scale)?;
    let mut teller = Teller::new(screen, plan.json);
    let played = tokio::select! {
        played = play(plan, &scale, &provider, &mut stage, &mut teller) => played,
        signal = signals.next() => Err(anyhow::anyhow!("{signal}: the server was ended and its data removed")),
    };
    let played = match played {
        Err(error) => Err(stage.explain(error).await),
        played => played,
    };
    let stayed = match &played {
        Ok(_) if plan.stay => stay(&mut stage, &mut signals, &mut teller).await,
        _ => Ok(()),
    };
    stage.close().await?;
    stayed?;
    played
}

/// The three acts.
async fn play(
    plan: &Plan,
    scale: &Scale,
    provider: &Arc<Provider>,
    stage: &mut Stage,
    teller: &mut Teller<'_>,
) -> anyhow::Result<Report> {
    let clock = Stopwatch::start();
    stage.start().await?;
    teller.opening(plan)?;
    let naive = uploads::run(scale, provider, stage, teller).await?;
    let ladder = ladder::run(plan.seed, scale, provider, stage, teller).await?;
    let documents = recovery::run(provider, stage, teller).await?;
    let report = Report {
        seed: plan.seed,
        quick: plan.quick,
        seconds: clock.elapsed().as_secs_f64(),
        naive: naive.naive,
        longhaul: naive.longhaul,
        ladder,
        documents,
        broken: Vec::new(),
    };
    let report = report.judged();
    teller.closing(&report, stage)?;
    Ok(report)
}

/// Leaves the server up for whoever wants to look at it.
async fn stay(stage: &mut Stage, signals: &mut Signals, teller: &mut Teller<'_>) -> anyhow::Result<()> {
    teller.say("Ctrl-C ends it and removes its data.")?;
    tokio::select! {
        _ = signals.next() => Ok(()),
        ended = stage.ended() => ended,
    }
}

/// What ends the demonstration from outside. A terminal that is closed counts too: else the server would be left behind.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupted",
            _ = self.terminate.recv() => "terminated",
            _ = self.hangup.recv() => "the terminal was closed",
        }
    }
}
