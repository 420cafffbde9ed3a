//! An audit finds nothing in a directory that a store has written, and every fault that is put into one.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use longhaul_core::{JobError, JobId, JobSpec, OnChildFailure, OutputData, Payload, RetryPlan, Span, StepName, Wait};
use longhaul_store::{
    Check, JobStore, NewJob, Observer, OpenError, Outcome, SqliteOptions, SqliteStore, StoreClock, Submit,
    Verification,
    conformance::{Harness, World, claim, failed, flaky, kind, model, succeeded, tenant},
};
use rusqlite::Connection;
use tempfile::TempDir;

struct Sqlite(Arc<TempDir>);

#[async_trait]
impl Harness for Sqlite {
    async fn open(&self, time: StoreClock, observer: Arc<dyn Observer>) -> Arc<dyn JobStore> {
        SqliteStore::open(&SqliteOptions::at(self.0.path()), time, observer).unwrap()
    }

    fn is_durable(&self) -> bool {
        true
    }
}

fn verify(directory: &TempDir) -> Verification {
    SqliteStore::verify(directory.path()).unwrap()
}

/// Jobs in every state, with everything that a job can have.
struct Written {
    directory: Arc<TempDir>,
    ready: JobId,
    deferred: JobId,
    running: JobId,
    parent: JobId,
    asking: JobId,
    succeeded: JobId,
    failed: JobId,
    child: JobId,
    trimmed: JobId,
}

async fn written() -> Written {
    let directory = Arc::new(TempDir::new().unwrap());
    let w = World::with(Sqlite(directory.clone())).await;
    let step = |name: &str| StepName::new(name).unwrap();
    let streamed = async |text: &str| {
        let held = w.running().await.held;
        w.store.append(held.clone(), vec![OutputData::Text(text.into()); 2]).await.unwrap();
        held
    };
    let trimmed = streamed("gone").await;
    w.finish(&trimmed, succeeded("1")).await.unwrap();
    w.advance(86_400 + 5);
    let spec = JobSpec { retention: Span::from_secs(3_600), ..w.spec() };
    let trimmed_late = w.running_of(JobSpec { retention: Span::from_secs(864_000), ..spec }).await.held;
    w.store.append(trimmed_late.clone(), vec![OutputData::Text("gone".into())]).await.unwrap();
    w.finish(&trimmed_late, succeeded("1")).await.unwrap();
    w.advance(86_400 + 5);
    w.prune().await;

    let succeeded_job = streamed("a").await;
    w.store
        .checkpoint(succeeded_job.clone(), step("one"), Payload::inline("1"), longhaul_core::Usage::default())
        .await
        .unwrap();
    w.store.append(succeeded_job.clone(), vec![OutputData::Items(vec!["1".into()])]).await.unwrap();
    w.finish(&succeeded_job, Outcome::Released { ambiguous: false }).await.unwrap();
    let again = w.claim_one().await.held;
    w.finish(&again, succeeded("1")).await.unwrap();
    let failed_job = w.running().await.held;
    w.finish(&failed_job, failed(JobError::permanent("no", "no"), RetryPlan::Backoff)).await.unwrap();
    let deferred = w.running().await.held;
    let later = RetryPlan::After(Span::from_secs(900));
    w.finish(&deferred, failed(flaky(), later)).await.unwrap();
    let asking = w.running().await.held;
    let wait = Wait::Input { step: step("ok"), prompt: None };
    w.finish(&asking, Outcome::Waiting(wait)).await.unwrap();
    let running = w.running().await.held;
    w.store.answer(&tenant(), running.job, None, Payload::inline("7")).await.unwrap();
    let family = JobSpec { on_child_failure: OnChildFailure::Partial, kind: kind("far"), ..w.spec() };
    let child = |child_index| JobSpec { parent: Some(family.id), child_index, depth: 1, ..w.spec() };
    let children = [child(0), child(1)];
    w.submit_all([vec![family.clone()], children.to_vec()].concat(), None).await.unwrap();
    let first = w.claim_one().await.held;
    w.finish(&first, succeeded("1")).await.unwrap();
    let stored = w.store.blobs().put(&vec![b'7'; 100_000]).unwrap();
    let ready = JobSpec { kind: kind("far"), ..w.spec() };
    let input = Payload::Blob(stored.blob());
    let job = NewJob { spec: Arc::new(ready.clone()), input };
    w.store.submit(Submit { jobs: vec![job], idempotency: None, document: None }).await.unwrap();
    assert_eq!(w.take(claim(9)).await.len(), 1);
    w.store.close().await;
    Written {
        directory,
        ready: ready.id,
        deferred: deferred.job,
        running: running.job,
        parent: family.id,
        asking: asking.job,
        succeeded: succeeded_job.job,
        failed: failed_job.job,
        child: children[1].id,
        trimmed: trimmed_late.job,
    }
}

#[tokio::test]
async fn what_a_store_has_written_is_sound() {
    let w = written().await;
    let found = verify(&w.directory);
    assert_eq!(found.faults, []);
    assert!(found.jobs >= 9 && found.events > 30, "{found:?}");
}

#[tokio::test]
async fn random_lives_leave_a_sound_directory() {
    for seed in 300..303 {
        let directory = Arc::new(TempDir::new().unwrap());
        model::agrees(World::with(Sqlite(directory.clone())).await, seed, 250).await;
        assert_eq!(verify(&directory).faults, [], "seed {seed}");
    }
}

#[tokio::test]
async fn a_directory_that_a_server_works_on_can_be_audited() {
    let directory = Arc::new(TempDir::new().unwrap());
    let w = World::with(Sqlite(directory.clone())).await;
    w.running().await;
    let found = verify(&directory);
    assert_eq!((found.jobs, found.events, found.is_sound()), (1, 2, true));
    w.submit(w.spec()).await;
    assert_eq!(verify(&directory).jobs, 2);
}

#[test]
fn what_is_no_data_directory_is_refused() {
    let directory = TempDir::new().unwrap();
    assert!(matches!(SqliteStore::verify(directory.path()), Err(OpenError::Directory { .. })));
    assert!(!directory.path().join("longhaul.db").exists());
    let db = Connection::open(directory.path().join("longhaul.db")).unwrap();
    db.execute_batch("PRAGMA user_version = 999").unwrap();
    assert!(matches!(SqliteStore::verify(directory.path()), Err(OpenError::Newer { .. })));
}

/// Puts one fault in and looks whether the check finds it, with its job; other checks may find it too.
#[track_caller]
fn assert_found(w: &Written, check: Check, job: Option<JobId>, sql: &str) {
    let copy = TempDir::new().unwrap();
    copy_all(w.directory.path(), copy.path());
    let db = Connection::open(copy.path().join("longhaul.db")).unwrap();
    let id = job.map_or_else(String::new, |job| format!("x'{}'", hex::encode(job.as_bytes())));
    let sql = sql.replace("{id}", &id).replace("{no}", &format!("(SELECT no FROM job WHERE id = {id})"));
    db.execute_batch(&sql).unwrap();
    drop(db);
    let found = verify(&copy);
    let seen = found.faults.iter().any(|fault| fault.check == check && (fault.job == job || fault.job.is_none()));
    assert!(seen, "{check:?} did not find {sql}: {:#?}", found.faults);
}

fn copy_all(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn faults_of_single_jobs_are_found_and_named() {
    let w = written().await;
    let faults = [
        (Check::State, w.running, "UPDATE job SET phase = 9 WHERE id = {id}"),
        (Check::State, w.failed, "UPDATE job SET finished_at = NULL WHERE id = {id}"),
        (Check::State, w.ready, "UPDATE job SET finished_at = 1 WHERE id = {id}"),
        (Check::State, w.running, "UPDATE job SET started_at = NULL WHERE id = {id}"),
        (Check::State, w.deferred, "UPDATE job SET attempt = 7 WHERE id = {id}"),
        (Check::Owner, w.ready, "UPDATE job SET queued_for = NULL WHERE id = {id}"),
        (Check::Owner, w.ready, "DELETE FROM input WHERE no = {no}"),
        (Check::Owner, w.deferred, "UPDATE job SET due_at = NULL WHERE id = {id}"),
        (Check::Owner, w.running, "UPDATE job SET lease_expires_at = NULL WHERE id = {id}"),
        (Check::Owner, w.parent, "UPDATE job SET wait = NULL WHERE id = {id}"),
        (Check::Owner, w.parent, "UPDATE job SET phase = 6, finished_at = 1 WHERE parent = {id}"),
        (Check::Owner, w.asking, "UPDATE job SET wait_step = NULL WHERE id = {id}"),
        (Check::Owner, w.asking, "UPDATE job SET answers = 1 WHERE id = {id}"),
        (Check::Owner, w.asking, "INSERT INTO step (no, name, data) VALUES ({no}, 'ok', x'31')"),
        (Check::Rank, w.ready, "UPDATE job SET rank = rank + 1 WHERE id = {id}"),
        (Check::Rank, w.ready, "UPDATE job SET priority = 7 WHERE id = {id}"),
        (Check::Events, w.succeeded, "DELETE FROM event WHERE no = {no} AND seq = 2"),
        (Check::Events, w.succeeded, "DELETE FROM delta WHERE no = {no} AND seq = 4"),
        (Check::Events, w.succeeded, "UPDATE event SET seq = 50 WHERE no = {no} AND seq = 2"),
        (Check::Events, w.succeeded, "UPDATE delta SET seq = 2 WHERE no = {no} AND seq = 3"),
        (Check::Events, w.ready, "UPDATE job SET last_seq = 2 WHERE id = {id}"),
        (Check::Events, w.trimmed, "UPDATE job SET trimmed = NULL WHERE id = {id}"),
        (Check::Ending, w.failed, "UPDATE event SET type = 8 WHERE no = {no} AND type = 7"),
        (Check::Ending, w.failed, "UPDATE event SET type = 5 WHERE no = {no} AND type = 7"),
        (Check::Ending, w.failed, "UPDATE event SET type = 7 WHERE no = {no} AND type = 2"),
        (Check::Ending, w.running, "UPDATE event SET type = 6 WHERE no = {no} AND type = 2"),
        (Check::Payloads, w.succeeded, "DELETE FROM output WHERE no = {no}"),
        (Check::Payloads, w.failed, "INSERT INTO output (no, data) VALUES ({no}, x'31')"),
        (Check::Counters, w.succeeded, "UPDATE job SET last_step_seq = 1 WHERE id = {id}"),
        (Check::Counters, w.succeeded, "UPDATE job SET last_delta_seq = NULL WHERE id = {id}"),
        (Check::Counters, w.succeeded, "UPDATE job SET last_reset_seq = NULL WHERE id = {id}"),
        (Check::Counters, w.running, "DELETE FROM answer WHERE no = {no}"),
        (Check::Counters, w.ready, "UPDATE job SET answers = 2 WHERE id = {id}"),
        (Check::Children, w.parent, "UPDATE job SET children_total = 5 WHERE id = {id}"),
        (Check::Children, w.parent, "UPDATE job SET children_succeeded = NULL, children_failed = 1 WHERE id = {id}"),
        (Check::Parents, w.child, "UPDATE job SET parent = randomblob(16) WHERE id = {id}"),
        (Check::Parents, w.child, "UPDATE job SET tenant = 'other' WHERE id = {id}"),
        (Check::Parents, w.child, "UPDATE job SET depth = 4 WHERE id = {id}"),
        (Check::Retention, w.failed, "DELETE FROM expiry"),
    ];
    for (check, job, sql) in faults {
        assert_found(&w, check, Some(job), sql);
    }
}

#[tokio::test]
async fn faults_of_the_whole_are_found() {
    let w = written().await;
    let orphan = "INSERT INTO event (no, seq, type, time, attempt) VALUES (9999, 1, 6, 0, 1)";
    let faults = [
        (Check::Orphans, "INSERT INTO input (no, data) VALUES (9999, x'31')"),
        (Check::Orphans, "INSERT INTO step (no, name, data) VALUES (9999, 'x', x'31')"),
        (Check::Orphans, orphan),
        (Check::Blobs, "UPDATE blob_use SET uses = 3"),
        (Check::Blobs, "DELETE FROM blob_use"),
        (Check::Blobs, "UPDATE blob_use SET size = 3"),
        (Check::Blobs, "UPDATE blob_use SET digest = randomblob(32)"),
        (Check::Retention, "UPDATE expiry SET jobs = x'0102'"),
    ];
    for (check, sql) in faults {
        assert_found(&w, check, None, sql);
    }
}

#[tokio::test]
async fn an_index_that_has_lost_its_rows_is_found() {
    let w = written().await;
    let copy = TempDir::new().unwrap();
    copy_all(w.directory.path(), copy.path());
    let redefine = |from: &str, to: &str| {
        let db = Connection::open(copy.path().join("longhaul.db")).unwrap();
        db.execute_batch(&format!(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}') WHERE name = 'job_ready';"
        ))
        .unwrap();
    };
    // Rebuilt as if nothing were ready, and then called by its old name again: nobody would ever find what is.
    redefine("phase = 0", "phase = 9");
    Connection::open(copy.path().join("longhaul.db")).unwrap().execute_batch("REINDEX job_ready").unwrap();
    redefine("phase = 9", "phase = 0");
    let found = verify(&copy);
    let fault = found.faults.iter().find(|fault| fault.check == Check::Database).unwrap();
    assert!(fault.what.contains("job_ready"), "{fault}");
}

#[tokio::test]
async fn many_faults_are_counted_and_the_first_of_them_listed() {
    let directory = Arc::new(TempDir::new().unwrap());
    let w = World::with(Sqlite(directory.clone())).await;
    w.submit_all((0..250).map(|_| w.spec()).collect(), None).await.unwrap();
    w.store.close().await;
    let db = Connection::open(directory.path().join("longhaul.db")).unwrap();
    db.execute_batch("UPDATE job SET rank = rank + 1").unwrap();
    let found = verify(&directory);
    assert_eq!((found.faults.len(), found.unlisted, found.is_sound()), (100, 150, false));
    assert!(found.faults[0].to_string().starts_with("rank: job_"), "{}", found.faults[0]);
}
