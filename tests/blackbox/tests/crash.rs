//! `kill -9` at random moments under load: nothing acknowledged is lost, nothing ends twice, no event is missing.
//!
//! The seed of a run is printed; `LONGHAUL_SEED` repeats its choices.

mod backlog;

use longhaul_testkit::history::{Demands, Recorder, check, read};
use longhaul_testkit::load::Witness;
use longhaul_testkit::server::Launch;
use longhaul_testkit::storm::{Strength, rage};
use std::time::Duration;

/// How soon a killed server must answer again.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// The seed of this run: `LONGHAUL_SEED`, else one from the clock.
fn seed() -> u64 {
    let given = std::env::var("LONGHAUL_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        #[allow(clippy::disallowed_methods, reason = "a fresh run needs a fresh seed, and prints it")]
        let now = std::time::SystemTime::now();
        now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()) + since.as_secs())
    })
}

async fn survives(kills: usize, acknowledged: usize) {
    let seed = seed();
    println!("seed {seed}: {kills} kills, at least {acknowledged} acknowledged jobs");
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("history.ndjson");
    let witness = Witness::new(Recorder::open(&path).unwrap());
    let launch = Launch::new(home.path()).unwrap();
    let strength = Strength { kills, acknowledged, submitters: 24, observers: 4, life_ms: (100, 900), rest_ms: 50 };
    let report = rage(&launch, witness, strength, seed).await.unwrap();
    println!("{report}");

    let verdict = check(&read(&path).unwrap(), Demands::COMPLETE);
    println!("{verdict}");
    if !verdict.is_clean() {
        let kept = std::env::temp_dir().join(format!("longhaul-history-{seed}.ndjson"));
        std::fs::copy(&path, &kept).unwrap();
        panic!("seed {seed}, history kept at {}: {verdict}", kept.display());
    }
    assert!(verdict.acknowledged >= acknowledged, "{verdict}");
    assert_eq!(verdict.restarts, kills);
    assert!(report.slowest_start() <= READY_WITHIN, "{report}");
    assert_eq!(report.crash_looped, 0, "a job was given up although the work never killed anybody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_under_load_lose_nothing() {
    survives(20, 5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: 200 kills and 100,000 jobs take many minutes"]
async fn two_hundred_kills_under_load_lose_nothing() {
    survives(200, 100_000).await;
}
