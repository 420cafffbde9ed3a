//! A load under which the server is killed again and again, and which writes down everything it does.
//!
//! Submitters, observers and a killer work on one server and its successors. When the last job has ended, or patience
//! has, every acknowledged job is looked at once more. What it all means is for [`crate::history::check`] to say.

use crate::client::Client;
use crate::history::{HistoryError, View};
use crate::load::{Outcome, Submission, Witness};
use crate::server::{HarnessError, Launch, Server};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The tenant of a server without keys.
const TENANT: &str = "default";
/// Looks at the end, side by side.
const INSPECTORS: usize = 16;
/// Rounds of looks at what has not ended yet, half a second apart: a lease, its backoff, and room.
const PATIENCE_ROUNDS: usize = 120;

/// How hard it blows.
#[derive(Clone, Copy, Debug)]
pub struct Strength {
    /// How often the server is killed.
    pub kills: usize,
    /// It goes on until so many jobs are acknowledged.
    pub acknowledged: usize,
    /// Clients that submit, side by side.
    pub submitters: u64,
    /// Clients that look at jobs meanwhile.
    pub observers: u64,
    /// Shortest and longest life of a server, in milliseconds.
    pub life_ms: (u64, u64),
    /// Longest rest of a submitter between two calls, in milliseconds; the rest is spread evenly from 0.
    pub rest_ms: u64,
}

/// What it has brought.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// From each start to the first 200 of `/readyz`.
    pub starts: Vec<Duration>,
    /// Jobs that were acknowledged.
    pub acknowledged: usize,
    /// Jobs that failed because several leases of theirs had expired.
    pub crash_looped: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} jobs acknowledged; {} starts, slowest ready after {:?}; {} given up as crash loops",
            self.acknowledged,
            self.starts.len(),
            self.slowest_start(),
            self.crash_looped
        )
    }
}

impl Report {
    /// The longest time that a start took.
    #[must_use]
    pub fn slowest_start(&self) -> Duration {
        self.starts.iter().max().copied().unwrap_or_default()
    }
}

/// Why the storm could not go on. Never a verdict on the server's promises: those are judged from the history.
#[derive(Debug)]
pub enum StormError {
    /// A server could not be started or killed.
    Server(HarnessError),
    /// The history could not be written.
    History(HistoryError),
    /// A server that should be up did not answer.
    NoAnswer(String),
}

impl fmt::Display for StormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => error.fmt(f),
            Self::History(error) => error.fmt(f),
            Self::NoAnswer(what) => write!(f, "no answer: {what}"),
        }
    }
}

impl std::error::Error for StormError {}

impl From<HarnessError> for StormError {
    fn from(error: HarnessError) -> Self {
        Self::Server(error)
    }
}

impl From<HistoryError> for StormError {
    fn from(error: HistoryError) -> Self {
        Self::History(error)
    }
}

/// What all taking part share.
struct Sky {
    witness: Witness,
    /// The server to speak to; none while it is down.
    now: watch::Sender<Option<Client>>,
    acknowledged: Mutex<Vec<String>>,
    /// The same, to find repeats; locked after `acknowledged`.
    known: Mutex<BTreeSet<String>>,
    count: AtomicUsize,
    over: AtomicBool,
}

impl Sky {
    /// The server, once there is one; none when the storm is over.
    async fn client(&self) -> Option<Client> {
        let mut now = self.now.subscribe();
        let client = now.wait_for(|client| client.is_some() || self.is_over()).await.ok()?.clone();
        client.filter(|_| !self.is_over())
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.now.send_modify(|_| {});
    }

    fn acknowledge(&self, ids: &[String]) {
        let mut all = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        // A repeat under its key is acknowledged a second time, and is no second job.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(ids.iter().filter(|id| known.insert((*id).clone())).cloned());
        self.count.store(all.len(), Ordering::Relaxed);
    }

    fn any(&self, rng: &mut StdRng) -> Option<String> {
        let all = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() { None } else { all.get(rng.random_range(0..all.len())).cloned() }
    }

    fn all(&self) -> BTreeSet<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Kills servers started by `launch` until `strength` is reached, waits for all jobs and looks at all of them.
///
/// `seed` decides what is sent and when it is killed; how it all interleaves is the machine's.
///
/// # Errors
/// When a server does not start or answer, or the history cannot be written.
pub async fn rage(launch: &Launch, witness: Witness, strength: Strength, seed: u64) -> Result<Report, StormError> {
    let sky = Arc::new(Sky {
        witness,
        now: watch::Sender::new(None),
        acknowledged: Mutex::new(Vec::new()),
        known: Mutex::default(),
        count: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    });
    let mut load = JoinSet::new();
    for number in 0..strength.submitters {
        load.spawn(submitter(Arc::clone(&sky), number, seed, strength.rest_ms));
    }
    for number in 0..strength.observers {
        load.spawn(observer(Arc::clone(&sky), StdRng::seed_from_u64(seed ^ (1_000_000 + number))));
    }
    let mut report = Report::default();
    let killing = kill_again_and_again(launch, &sky, strength, seed, &mut report).await;
    sky.end();
    for outcome in load.join_all().await {
        outcome?;
    }
    let server = killing?;

    let ids = sky.all();
    report.acknowledged = ids.len();
    report.crash_looped = inspect(&sky, &server.client(), ids).await?;
    match sky.witness.census(&server.client(), TENANT).await? {
        Outcome::Done(_) => Ok(report),
        Outcome::Refused(reason) | Outcome::Unknown(reason) => Err(StormError::NoAnswer(reason)),
    }
}

async fn kill_again_and_again(
    launch: &Launch,
    sky: &Sky,
    strength: Strength,
    seed: u64,
    report: &mut Report,
) -> Result<Server, StormError> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (shortest, longest) = strength.life_ms;
    let mut server = launch.start().await?;
    report.starts.push(server.ready_after());
    for _ in 0..strength.kills {
        sky.now.send_replace(Some(server.client()));
        tokio::time::sleep(Duration::from_millis(rng.random_range(shortest..=longest))).await;
        sky.now.send_replace(None);
        server.kill().await?;
        sky.witness.restarted().await?;
        server = launch.start().await?;
        report.starts.push(server.ready_after());
    }
    sky.now.send_replace(Some(server.client()));
    while sky.count.load(Ordering::Relaxed) < strength.acknowledged {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(server)
}

async fn submitter(sky: Arc<Sky>, number: u64, seed: u64, rest_ms: u64) -> Result<(), StormError> {
    let mut rng = StdRng::seed_from_u64(seed ^ (1_000 + number));
    let mut count = 0_u64;
    let mut fresh = |rng: &mut StdRng| {
        count += 1;
        let mut job = Submission::echo(TENANT, &format!("s{number}-{count}"), rng.random_range(10..1_000));
        // Every fourth carries a key, and is sent again until its fate is known.
        job.key = rng.random_bool(0.25).then(|| format!("key-{}", job.marker));
        job
    };
    let mut in_doubt: Option<Submission> = None;
    while let Some(client) = sky.client().await {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..=rest_ms))).await;
        if in_doubt.is_none() && rng.random_bool(0.03) {
            let size = rng.random_range(2..20);
            let jobs: Vec<Submission> = (0..size).map(|_| Submission { key: None, ..fresh(&mut rng) }).collect();
            if let Outcome::Done(ids) = sky.witness.submit_bulk(&client, &jobs).await? {
                sky.acknowledge(&ids);
            }
            continue;
        }
        let job = in_doubt.take().unwrap_or_else(|| fresh(&mut rng));
        match sky.witness.submit(&client, &job).await? {
            Outcome::Done(id) => {
                if job.key.is_some() && rng.random_bool(0.2) {
                    // As if the receipt had been lost on the way.
                    in_doubt = Some(job);
                }
                if rng.random_bool(0.02) {
                    sky.witness.cancel(&client, TENANT, &id).await?;
                }
                sky.acknowledge(&[id]);
            }
            Outcome::Unknown(_) if job.key.is_some() => in_doubt = Some(job),
            // The server is down or full: a moment, so that the history is not all refusals.
            Outcome::Refused(_) | Outcome::Unknown(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    Ok(())
}

async fn observer(sky: Arc<Sky>, mut rng: StdRng) -> Result<(), StormError> {
    while let Some(client) = sky.client().await {
        match sky.any(&mut rng) {
            Some(id) => {
                if let Outcome::Unknown(_) = sky.witness.look(&client, TENANT, &id).await? {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    Ok(())
}

/// Looks at all jobs until all have ended; returns how many were given up as crash loops. What is still open when
/// patience ends is for the checker to say.
async fn inspect(sky: &Arc<Sky>, client: &Client, ids: BTreeSet<String>) -> Result<usize, StormError> {
    let mut open: Vec<String> = ids.into_iter().collect();
    let mut crash_looped = 0;
    for _ in 0..PATIENCE_ROUNDS {
        let mut inspectors = JoinSet::new();
        for part in open.chunks(open.len().div_ceil(INSPECTORS).max(1)) {
            inspectors.spawn(look_at_each(Arc::clone(sky), client.clone(), part.to_vec()));
        }
        open = Vec::new();
        for outcome in inspectors.join_all().await {
            let (left, looped) = outcome?;
            open.extend(left);
            crash_looped += looped;
        }
        if open.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(crash_looped)
}

/// The jobs among `ids` that have not ended, and how many of the others were crash loops.
async fn look_at_each(sky: Arc<Sky>, client: Client, ids: Vec<String>) -> Result<(Vec<String>, usize), StormError> {
    let mut left = Vec::new();
    let mut looped = 0;
    for id in ids {
        let sighting = match sky.witness.look(&client, TENANT, &id).await? {
            Outcome::Done(sighting) => sighting,
            Outcome::Refused(reason) | Outcome::Unknown(reason) => {
                return Err(StormError::NoAnswer(format!("looking at {id}: {reason}")));
            }
        };
        match sighting.view {
            View::Present(job) if matches!(job.status.as_str(), "queued" | "running") => left.push(id),
            View::Present(job) => looped += usize::from(job.error_code.as_deref() == Some("worker_crash_loop")),
            View::Missing | View::Tombstone => {}
        }
    }
    Ok((left, looped))
}
