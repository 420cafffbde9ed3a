//! The store on disk, held to the suite.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use futures::future::join_all;
use longhaul_core::{Ids, JobId, JobSpec, Payload, Span, Status, testing::ManualClock};
use longhaul_store::{
    JobQuery, JobStore, NewJob, Observer, OpenError, Outcome, SqliteOptions, SqliteStore, StoreClock, StoreError,
    Submit, Unobserved,
    conformance::{Harness, World, claim, model, succeeded, tenant},
};
use rusqlite::Connection;
use tempfile::TempDir;

struct Sqlite(TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }
}

#[async_trait]
impl Harness for Sqlite {
    async fn open(&self, time: StoreClock, observer: Arc<dyn Observer>) -> Arc<dyn JobStore> {
        SqliteStore::open(&SqliteOptions::at(self.0.path()), time, observer).unwrap()
    }

    fn is_durable(&self) -> bool {
        true
    }
}

longhaul_store::conformance!(Sqlite::new());

#[tokio::test]
async fn many_random_lives_agree_with_a_naive_model() {
    for seed in 200..205 {
        model::agrees(World::with(Sqlite::new()).await, seed, 300).await;
    }
}

fn clock() -> StoreClock {
    StoreClock { clock: Arc::new(ManualClock::default()), ids: Arc::new(Ids::seeded(1)) }
}

fn open(options: &SqliteOptions) -> Result<Arc<dyn JobStore>, OpenError> {
    SqliteStore::open(options, clock(), Arc::new(Unobserved))
}

#[tokio::test]
async fn a_directory_in_use_is_refused_and_says_by_whom() {
    let directory = TempDir::new().unwrap();
    let options = SqliteOptions::at(directory.path());
    let store = open(&options).unwrap();
    let Err(OpenError::Locked { process, .. }) = open(&options) else { panic!("not refused") };
    assert_eq!(process, Some(std::process::id().to_string()));
    store.close().await;
    drop(store);
    open(&options).unwrap().close().await;
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_as_it_is() {
    let written = TempDir::new().unwrap();
    open(&SqliteOptions::at(written.path())).unwrap().close().await;
    let newer = Connection::open(written.path().join("longhaul.db")).unwrap();
    newer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    newer.execute_batch("CREATE TABLE future (x); INSERT INTO future VALUES (1); PRAGMA user_version = 999").unwrap();
    // As a crash leaves it: what is newer stands in the log, and only there.
    let crashed = TempDir::new().unwrap();
    let files = ["longhaul.db", "longhaul.db-wal"];
    for file in files {
        std::fs::copy(written.path().join(file), crashed.path().join(file)).unwrap();
    }
    let bytes = || files.map(|file| std::fs::read(crashed.path().join(file)).unwrap());
    let before = bytes();
    assert!(!before[1].is_empty());
    let Err(OpenError::Newer { found: 999, known, .. }) = open(&SqliteOptions::at(crashed.path())) else {
        panic!("not refused")
    };
    assert!(known < 999);
    assert!(bytes() == before, "the files have changed");
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("longhaul.db"), vec![7; 8_192]).unwrap();
    assert!(matches!(open(&SqliteOptions::at(directory.path())), Err(OpenError::Store(StoreError::Corrupt(_)))));
}

/// Fills a store until it says that it is full, and returns what it has acknowledged.
async fn fill_up(w: &World) -> Vec<JobId> {
    let mut acknowledged = Vec::new();
    // Many at once while that goes, then one at a time into the last corner.
    for at_once in [40, 1] {
        for round in 0.. {
            assert!(round < 500, "it never fills");
            let specs: Vec<JobSpec> = (0..at_once).map(|_| w.spec()).collect();
            let ids: Vec<JobId> = specs.iter().map(|spec| spec.id).collect();
            let answers = join_all(specs.into_iter().map(|spec| w.store.submit(fat(spec)))).await;
            let mut full = false;
            for (id, answer) in ids.into_iter().zip(answers) {
                match answer {
                    Ok(_) => acknowledged.push(id),
                    Err(error) => {
                        assert_eq!(error, StoreError::StorageFull);
                        assert_eq!(w.store.job(&tenant(), id).await.err(), Some(StoreError::NotFound("job")));
                        full = true;
                    }
                }
            }
            if full {
                break;
            }
        }
    }
    acknowledged
}

/// With an input of 40 KB, so that files fill before patience ends.
fn fat(spec: JobSpec) -> Submit {
    let input = Payload::inline(format!("\"{}\"", "x".repeat(40_000)));
    Submit { jobs: vec![NewJob { spec: spec.into(), input }], idempotency: None, document: None }
}

async fn assert_exactly(w: &World, expected: &[JobId]) {
    let mut listed = Vec::new();
    let mut query = JobQuery::newest(tenant(), 200);
    loop {
        let page = w.store.jobs(query.clone()).await.unwrap();
        listed.extend(page.jobs.iter().map(|job| job.spec.id));
        match page.next {
            Some(next) => query.before = Some(next),
            None => break,
        }
    }
    listed.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(listed, expected);
}

/// A full store, from there on: nothing lost, nothing invented; `make_room` lets it go on.
async fn survives_being_full(mut w: World, make_room: impl AsyncFnOnce(&World)) {
    let early = w.submit(w.spec()).await;
    let leased = w.claim_one().await;
    let mut there = fill_up(&w).await;
    there.push(early);
    assert!(there.len() > 10, "{}", there.len());
    assert_exactly(&w, &there).await;
    // Reads go on.
    assert_eq!(w.status(early).await, Status::Running);
    assert_eq!(w.history(early).await, ["job.queued", "job.running"]);
    let big = Outcome::Succeeded { output: Payload::inline(vec![b'1'; 60_000]), report: Box::default() };
    assert_eq!(w.finish(&leased.held, big).await, Err(StoreError::StorageFull));
    make_room(&w).await;
    // What was refused may be repeated, and memory agrees with the disk.
    assert_eq!(w.finish(&leased.held, succeeded("1")).await, Ok(Status::Succeeded));
    let queued = there.iter().filter(|id| **id != early).count() as u64;
    let counted = w.store.queues().await.unwrap().remove(0);
    assert_eq!((counted.queued, counted.running), (queued, 0));
    for _ in 0..2 {
        assert_exactly(&w, &there).await;
        let mut claimed = HashSet::new();
        let leased = w.take(claim(2_000)).await;
        for leased in &leased {
            assert!(claimed.insert(leased.held.job));
        }
        assert!(there.iter().all(|id| *id == early || claimed.contains(id)), "each of them, once");
        for leased in leased {
            w.finish(&leased.held, Outcome::Released { ambiguous: false }).await.unwrap();
        }
        w.reopen().await;
    }
}

struct Limited(TempDir);

#[async_trait]
impl Harness for Limited {
    async fn open(&self, time: StoreClock, observer: Arc<dyn Observer>) -> Arc<dyn JobStore> {
        let options = SqliteOptions { database_bytes_max: Some(2 << 20), ..SqliteOptions::at(self.0.path()) };
        SqliteStore::open(&options, time, observer).unwrap()
    }

    fn is_durable(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_full_database_refuses_writes_and_goes_on_when_there_is_room() {
    let w = World::with(Limited(TempDir::new().unwrap())).await;
    // Room is kept by jobs whose time is over by then.
    let mut old = Vec::new();
    for _ in 0..6 {
        let spec = JobSpec { retention: Span::from_secs(1), ..w.spec() };
        old.push(spec.id);
        w.store.submit(fat(spec)).await.unwrap();
        w.store.cancel(&tenant(), *old.last().unwrap()).await.unwrap();
    }
    w.advance(5);
    let early = w.submit(w.spec()).await;
    let leased = w.claim_one().await;
    let filled = fill_up(&w).await;
    assert!(filled.len() > 10);
    let there: Vec<JobId> = filled.iter().chain(&old).chain([&early]).copied().collect();
    assert_exactly(&w, &there).await;
    // Retention makes room, and on it goes.
    assert_eq!(w.prune().await, 6);
    assert_eq!(w.finish(&leased.held, succeeded("1")).await, Ok(Status::Succeeded));
    let late = w.spec();
    let late_id = late.id;
    w.store.submit(fat(late)).await.unwrap();
    let there: Vec<JobId> = filled.iter().chain([&early, &late_id]).copied().collect();
    assert_exactly(&w, &there).await;
    let claimed: Vec<JobId> = w.take(claim(200)).await.into_iter().map(|leased| leased.held.job).collect();
    let expected: Vec<JobId> = filled.iter().chain([&late_id]).copied().collect();
    assert_eq!(claimed, expected, "each of them, once, in their order");
}

struct Mounted {
    directory: TempDir,
}

impl Mounted {
    /// A disk of forty megabytes, where the tests may mount one.
    fn new() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=40m", "longhaul-test"])
            .arg(directory.path())
            .output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self { directory })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: the store's last file may still be open.
        let _ = std::process::Command::new("umount").arg("-l").arg(self.directory.path()).output();
    }
}

#[async_trait]
impl Harness for Mounted {
    async fn open(&self, time: StoreClock, observer: Arc<dyn Observer>) -> Arc<dyn JobStore> {
        SqliteStore::open(&SqliteOptions::at(self.directory.path()), time, observer).unwrap()
    }

    fn is_durable(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_goes_on_when_there_is_room() {
    let Some(mounted) = Mounted::new() else { return };
    let ballast = mounted.directory.path().join("ballast");
    std::fs::write(&ballast, vec![0; 16 << 20]).unwrap();
    let w = World::with(mounted).await;
    survives_being_full(w, async |_| std::fs::remove_file(&ballast).unwrap()).await;
}
