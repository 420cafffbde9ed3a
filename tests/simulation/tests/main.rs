//! A simulation of the whole: the engine, the ledger, clients and workers on one thread, in virtual time, over a disk
//! that fails. All chance comes from a seed; a run that breaks a promise prints its seed, and the seed replays it.
//!
//! What is real: the engine with its dispatcher, sweeps, beats and admission; the ledger with its batches, claims and
//! grants. What is simulated: time, the disk, the network, the workers and the moments at which the process is killed,
//! which lie between any two polls of its tasks.
//!
//! - [`run`] goes from a seed to a judgement; [`scenario`] says what goes wrong in it.
//! - [`drive`] is the one thread: lives of the process, those outside, virtual time.
//! - [`client`], [`worker`], [`executors`] do the work; [`network`] and [`disk`] hinder it.
//! - [`observed`] holds every answer of the port against earlier ones; [`closing`] looks at everything in the end; the
//!   history checker of the test kit judges what clients saw.
//! - [`bugs`] are put in on purpose, to show that they would be found.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "a run tells its seed and its figures")]

mod book;
mod bugs;
mod client;
mod clock;
mod closing;
mod dice;
mod disk;
mod drive;
mod executors;
mod family;
mod limits;
mod looking;
mod network;
mod observed;
mod process;
mod run;
mod scenario;
mod submitting;
mod trace;
mod worker;
mod world;

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use bugs::Bug;
use run::{Verdict, killed_at, storm};

/// The environment variable that names the seed to replay.
const SEED: &str = "LONGHAUL_SIM_SEED";

/// The environment variable that names a bug to put into it, as [`Bug`] spells it.
const BUG: &str = "LONGHAUL_SIM_BUG";

/// The environment variable that says how many seeds the long night has.
const SEEDS_OF_THE_NIGHT: &str = "LONGHAUL_SIM_SEEDS";

/// How many seeds a storm is run with.
const SEEDS: u64 = 2_000;

/// How many seeds are run twice.
const SEEDS_TWICE: u64 = 60;

/// With how many seeds a bug must be found.
const SEEDS_PER_BUG: u64 = 60;

/// How often a bug is found before the next is put in.
const FOUND_OFTEN_ENOUGH: usize = 3;

/// Runs `each` for all of them, on as many threads as there are processors.
fn for_all(numbers: std::ops::Range<u64>, each: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(numbers.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        return;
                    }
                    each(number);
                }
            });
        }
    });
}

fn report(seed: u64, verdict: &Verdict) -> String {
    let broken: Vec<String> = verdict.broken.iter().map(|broken| format!("  {broken}")).collect();
    let again = format!("{SEED}={seed} cargo nextest run -p longhaul-simulation --no-capture replay");
    format!("seed {seed}, replayed by\n  {again}\n{}", broken.join("\n"))
}

/// Storms from all these seeds. What happened in them, all in all.
fn storms(seeds: std::ops::Range<u64>) -> book::Counts {
    let count = seeds.end - seeds.start;
    let failures = Mutex::new(Vec::new());
    let totals = Mutex::new(book::Counts::default());
    for_all(seeds, |seed| {
        let verdict = storm(seed, None, false);
        totals.lock().unwrap().add(&verdict.counts);
        if !verdict.broken.is_empty() {
            failures.lock().unwrap().push(report(seed, &verdict));
        }
    });
    let totals = totals.into_inner().unwrap();
    println!("{count} seeds: {totals:#?}");
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} seeds broke a promise\n{}", failures.len(), failures.join("\n"));
    totals
}

/// What has to happen somewhere in so many storms: where nothing happens, nothing is proved.
const LIVED: [&str; 18] = [
    "limit reached",
    "job succeeded",
    "job failed",
    "job cancelled",
    "job gone",
    "attempt succeeded",
    "attempt failed",
    "attempt crashed",
    "attempt released",
    "attempt parked",
    "attempt cancelled",
    "attempt deadline_exceeded",
    "attempt waiting",
    "error child_failed",
    "error worker_lost",
    "error worker_crash_loop",
    "error attempt_timeout",
    "error deadline_exceeded",
];

#[test]
fn no_promise_is_broken_in_any_storm() {
    let totals = storms(0..SEEDS);
    for what in LIVED {
        assert!(totals.lived.get(what).is_some_and(|times| *times >= 10), "{what} hardly ever happens");
    }
}

/// The same with other seeds, for a night.
#[test]
#[ignore = "takes an hour"]
fn no_promise_is_broken_in_a_long_night_of_storms() {
    let seeds = std::env::var(SEEDS_OF_THE_NIGHT).map_or(100_000, |seeds| seeds.parse().expect("a number of seeds"));
    storms(SEEDS..SEEDS + seeds);
}

/// Two runs of a seed are the same in every event, time and answer: a printed seed is worth something.
#[test]
fn a_seed_gives_the_same_run_to_the_last_event() {
    for_all(0..SEEDS_TWICE, |seed| {
        let (one, other) = (storm(seed, None, true), storm(seed, None, true));
        let parting = one.told.iter().zip(&other.told).find(|(one, other)| one != other);
        assert!(parting.is_none(), "seed {seed} parts at {parting:?}");
        assert_eq!(one.digest, other.digest, "seed {seed}");
        assert_eq!(one.counts.polls, other.counts.polls, "seed {seed}");
    });
}

/// A small run is killed after its first poll, after its second, and so on to its last.
#[test]
fn a_crash_at_any_await_breaks_no_promise() {
    let polls = killed_at(u64::MAX, false).counts.polls;
    assert!(polls > 200, "only {polls} polls: this proves little");
    for_all(0..polls, |at| {
        let verdict = killed_at(at, false);
        assert_eq!(verdict.counts.crashes, 1, "not killed at {at}");
        assert!(verdict.broken.is_empty(), "killed after {at} polls: {:#?}", verdict.broken);
    });
    println!("killed at each of {polls} polls");
}

/// What must be said of a bug: one of these rules.
fn accusations(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::AcksBeforeCommit => &["promised and lost", "history"],
        Bug::ReusesSeq => &["events miscounted", "history"],
        Bug::ForgetsRetries => &["unfinished"],
        Bug::ForgetsRunning => &["unfinished"],
        Bug::ForgetsKeys => &["key answered twice", "history"],
        Bug::ForgetsSteps => &["step changed"],
        Bug::ForgetsDeadlines => &["deadline missed"],
        Bug::DoesNotFence => &["stale write accepted"],
        Bug::DropsGrants => &["grant dropped"],
        Bug::IgnoresCancels => &["history"],
        Bug::ForgetsChildren => &["child outlived"],
        Bug::IgnoresAnswers => &["answer lost"],
        Bug::AppendsTwice => &["stream torn"],
        Bug::IgnoresPauses => &["pause ignored"],
        Bug::ForgetsStarts => &["limit exceeded"],
        Bug::ForgetsBlocked => &["unfinished"],
    }
}

#[test]
fn every_bug_that_is_put_in_is_found() {
    for bug in Bug::ALL {
        let found = Mutex::new(Vec::new());
        for_all(0..SEEDS_PER_BUG, |seed| {
            if found.lock().unwrap().len() >= FOUND_OFTEN_ENOUGH {
                return;
            }
            let verdict = storm(seed, Some(bug), false);
            if verdict.broken.iter().any(|broken| accusations(bug).contains(&broken.rule.as_str())) {
                found.lock().unwrap().push(seed);
            }
        });
        let mut found = found.into_inner().unwrap();
        found.sort_unstable();
        println!("{bug:?}: found with the seeds {found:?} of at most {SEEDS_PER_BUG}");
        assert!(!found.is_empty(), "{bug:?} is not found with any of {SEEDS_PER_BUG} seeds");
    }
}

#[test]
fn replay() {
    let Some(seed) = std::env::var(SEED).ok() else { return };
    let seed: u64 = seed.parse().expect("the seed is a number");
    let named = std::env::var(BUG).ok();
    let bug = named.map(|named| Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == named).expect("a bug"));
    let verdict = storm(seed, bug, true);
    verdict.told.iter().for_each(|line| println!("{line}"));
    println!("{:?}", verdict.counts);
    assert!(verdict.broken.is_empty(), "{}", report(seed, &verdict));
}
