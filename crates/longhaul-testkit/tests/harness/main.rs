//! The crash harness, tested on a stand-in for the program: it passes a server that keeps its promises and catches one
//! that does not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "a run tells its seed and its figures")]

use longhaul_testkit::history::{Demands, Recorder, Rule, Verdict, check, read};
use longhaul_testkit::load::Witness;
use longhaul_testkit::server::{Launch, Program};
use longhaul_testkit::storm::{Report, Strength, rage};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const STRENGTH: Strength =
    Strength { kills: 6, acknowledged: 400, submitters: 8, observers: 2, life_ms: (50, 250), rest_ms: 4 };

fn fake(home: &TempDir) -> Launch {
    Launch::of(Program::at(Path::new(env!("CARGO_BIN_EXE_longhaul-fake"))), home.path())
}

async fn storm(bug: Option<&str>, seed: u64, demands: Demands) -> (Report, Verdict) {
    let home = tempfile::tempdir().unwrap();
    let mut launch = fake(&home);
    if let Some(bug) = bug {
        launch = launch.env("FAKE_BUG", bug);
    }
    let path = home.path().join("history.ndjson");
    let witness = Witness::new(Recorder::open(&path).unwrap());
    let report = rage(&launch, witness, STRENGTH, seed).await.unwrap();
    let verdict = check(&read(&path).unwrap(), demands);
    println!("{bug:?} seed {seed}: {report}\n{verdict}");
    (report, verdict)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_keeps_its_promises_survives_the_storm() {
    let (report, verdict) = storm(None, 11, Demands::COMPLETE).await;
    assert!(verdict.is_clean(), "{verdict}");
    assert!(verdict.acknowledged >= STRENGTH.acknowledged && verdict.ended >= STRENGTH.acknowledged, "{verdict}");
    assert_eq!((report.starts.len(), verdict.restarts), (STRENGTH.kills + 1, STRENGTH.kills));
}

async fn is_caught(bug: &str, rule: Rule) {
    let (_, verdict) = storm(Some(bug), 12, Demands::COMPLETE).await;
    assert!(verdict.violations.iter().any(|violation| violation.rule == rule), "{bug}: {verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_before_it_commits_is_caught() {
    is_caught("ack_before_commit", Rule::LostJob).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_reuses_event_numbers_is_caught() {
    is_caught("reuse_seq", Rule::IllegalTransition).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_runs_ended_jobs_again_is_caught() {
    is_caught("resurrect", Rule::SecondTerminal).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_keys_is_caught() {
    is_caught("forget_keys", Rule::DuplicateJob).await;
}

#[tokio::test]
async fn a_server_that_does_not_start_is_reported_with_what_it_said() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("data"), "a file where a directory should be").unwrap();
    let error = fake(&home).start().await.unwrap_err().to_string();
    assert!(error.contains("ended before it was ready") && error.contains("error: "), "{error}");
    let exit = fake(&home).refused(Duration::from_secs(10)).await.unwrap();
    assert_eq!(exit.code, Some(2));
    assert!(exit.stderr.contains("data"), "{exit:?}");
}

#[tokio::test]
async fn signals_reach_the_server_and_its_memory_can_be_read() {
    let home = tempfile::tempdir().unwrap();
    let mut server = fake(&home).start().await.unwrap();
    assert!(server.resident_bytes().unwrap() > 100_000);
    server.pause().await.unwrap();
    let held = server.client().get("/readyz").patience(Duration::from_millis(200)).send().await;
    assert!(held.unwrap_err().to_string().contains("unknown"), "a server that is held still gives no answer");
    server.resume().unwrap();
    assert_eq!(server.client().get("/readyz").send().await.unwrap().status, 200);
    server.terminate().unwrap();
    assert_eq!(server.exited(Duration::from_secs(5)).await.unwrap().code(), None, "ended by the signal");
    let gone = server.client().get("/readyz").send().await.unwrap_err().to_string();
    assert!(gone.starts_with("not sent"), "{gone}");
}
