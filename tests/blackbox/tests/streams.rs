//! Streams of events: many readers, cut off at random and by `kill -9`, read what is stored, byte for byte.
//!
//! Workers of the test's own write numbered chunks over the worker protocol and repeat those whose answer was lost, so
//! that what has to be stored is known beforehand.

mod reader;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use longhaul_testkit::client::Client;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::stage::{self, Stage};
use reader::{Reader, Transcript};

const KIND: &str = "stream.test";

/// How often a producer writes, and how much: a kibibyte a second.
const CHUNK_EVERY: Duration = Duration::from_millis(250);
const CHUNK_BYTES: usize = 256;

async fn register(client: &Client) {
    let kind = client.call(http::Method::PUT, &format!("/v1/kinds/{KIND}")).json(&json!({ "max_attempts": 1 }));
    let reply = kind.send().await.unwrap();
    assert!(reply.status < 300, "{reply}");
}

/// What the chunk of this number says.
fn chunk(job: usize, number: u64) -> String {
    let head = format!("[{job}:{number}] é ");
    format!("{head:·<width$}", width = CHUNK_BYTES - 16)
}

/// Calls until the server, this one or its successor, has answered.
async fn call(
    now: &watch::Sender<String>,
    path: &str,
    lease: Option<&str>,
    body: &Value,
) -> longhaul_testkit::client::Reply {
    for _ in 0..600 {
        let client = Client::new(&now.borrow());
        let mut request = client.post(path).json(body).patience(Duration::from_secs(20));
        if let Some(lease) = lease {
            request = request.header("longhaul-lease", lease);
        }
        match request.send().await {
            Ok(reply) if reply.status < 500 => return reply,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("no answer from {path}");
}

/// Works on one job of the kind: streams until it is told to stop, then completes. How many chunks it wrote.
async fn produce(now: watch::Sender<String>, number: usize, every: Duration, stop: Arc<AtomicBool>) -> (String, u64) {
    let claim =
        json!({ "worker_id": format!("producer-{number}"), "kinds": [KIND], "max": 1, "wait_s": 30, "lease_s": 600 });
    let claimed = call(&now, "/v1/worker/claims", None, &claim).await;
    assert_eq!(claimed.status, 200, "{claimed}");
    let job = claimed.json()["jobs"][0].clone();
    let (id, lease) = (job["job_id"].as_str().unwrap().to_owned(), job["lease_token"].as_str().unwrap().to_owned());
    let slot = usize::try_from(job["input"]["slot"].as_u64().unwrap()).unwrap();
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let body = json!({ "chunk_seq": written + 1, "data": chunk(slot, written + 1) });
        let reply = call(&now, &format!("/v1/worker/jobs/{id}/output"), Some(&lease), &body).await;
        assert_eq!(reply.status, 200, "{reply}");
        written += 1;
        tokio::time::sleep(every).await;
    }
    let done = json!({ "output": { "chunks": written } });
    let reply = call(&now, &format!("/v1/worker/jobs/{id}/complete"), Some(&lease), &done).await;
    assert_eq!(reply.status, 200, "{reply}");
    (id, written)
}

/// `readers` follow `jobs` streams while the server is killed `kills` times.
async fn survive(jobs: usize, readers: usize, kills: usize) {
    let mut stage = Stage::open().await;
    register(&stage.client()).await;
    let mut ids = Vec::new();
    for slot in 0..jobs {
        ids.push(stage::submit(&stage.client(), json!({ "kind": KIND, "input": { "slot": slot } })).await);
    }
    let (now, stop) = (watch::Sender::new(stage.server.url().to_owned()), Arc::new(AtomicBool::new(false)));
    let mut producers = JoinSet::new();
    for number in 0..jobs {
        producers.spawn(produce(now.clone(), number, CHUNK_EVERY, stop.clone()));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let alone = stage.server.resident_bytes().unwrap();
    let cuts = Arc::new(AtomicUsize::new(0));
    let mut reading = JoinSet::new();
    for number in 0..readers {
        let mut reader = Reader::new(&ids[number % jobs], now.subscribe(), number as u64, cuts.clone());
        reading.spawn(async move { reader.read_to_the_end(true).await });
    }
    let mut most = alone;
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        most = most.max(stage.server.resident_bytes().unwrap());
        stage = stage.crash_and_restart().await;
        now.send_replace(stage.server.url().to_owned());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    let mut written = std::collections::BTreeMap::new();
    while let Some(produced) = producers.join_next().await {
        let (id, chunks) = produced.unwrap();
        written.insert(id, chunks);
    }
    let transcripts: Vec<Transcript> = reading.join_all().await;
    // What is stored is read once more, from the first event to the last, by somebody whom nobody disturbs.
    let mut stored = std::collections::BTreeMap::new();
    for (slot, id) in ids.iter().enumerate() {
        let whole = Reader::new(id, now.subscribe(), 0, cuts.clone()).read_to_the_end(false).await;
        let text: String = (1..=written[id]).map(|number| chunk(slot, number)).collect();
        assert_eq!(whole.text(), text, "what is stored of {id} is what was written");
        stored.insert(id.clone(), whole);
    }
    for transcript in &transcripts {
        assert!(
            *transcript == stored[&transcript.job],
            "a transcript of {} differs from what is stored",
            transcript.job
        );
    }
    let chunks: u64 = written.values().sum();
    let per_reader = most.saturating_sub(alone) / readers.max(1) as u64;
    println!(
        "{readers} readers of {jobs} streams, {kills} kills, {} connections cut, {chunks} chunks: every transcript is what \
         is stored; {} KiB a reader",
        cuts.load(Ordering::Relaxed),
        per_reader / 1024
    );
    assert!(per_reader <= 256 * 1024, "{per_reader} bytes a reader");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_are_cut_off_at_random_read_what_is_stored() {
    survive(5, 100, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: a thousand readers and ten kills take about a minute"]
async fn a_thousand_readers_read_what_is_stored_over_ten_kills() {
    survive(20, 1_000, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: opens ten thousand connections"]
async fn ten_thousand_open_streams_fit_into_a_gibibyte_and_are_resumed_after_a_restart() {
    const STREAMS: usize = 10_000;
    let files = longhaul_testkit::files::allow_open_files(STREAMS as u64 + 1_000).unwrap();
    println!("this test has raised its own limit of open files to {files}");
    let mut stage = Stage::open().await;
    register(&stage.client()).await;
    let mut ids = Vec::new();
    for _ in 0..STREAMS / 1_000 {
        let jobs: Vec<Value> = (0..1_000).map(|slot| json!({ "kind": KIND, "input": { "slot": slot } })).collect();
        let reply = stage.client().post("/v1/jobs/bulk").json(&json!({ "jobs": jobs })).send().await.unwrap();
        assert_eq!(reply.status, 202, "{reply}");
        let receipts = reply.json();
        let list = receipts["data"].as_array().or_else(|| receipts["jobs"].as_array()).unwrap().clone();
        ids.extend(list.iter().map(|receipt| receipt["job_id"].as_str().unwrap().to_owned()));
    }
    let now = watch::Sender::new(stage.server.url().to_owned());
    let (open, all_open) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(0));
    let mut reading = JoinSet::new();
    for (number, id) in ids.iter().enumerate() {
        let mut reader = Reader::new(id, now.subscribe(), number as u64, Arc::default());
        let (open, all_open) = (open.clone(), all_open.clone());
        reading.spawn(async move { reader.hold_open(&open, &all_open).await });
    }
    let all = async |generation: usize| {
        let mut opened = all_open.subscribe();
        #[allow(clippy::disallowed_methods, reason = "how long it takes is what is measured")]
        let begun = Instant::now();
        while open.load(Ordering::Relaxed) < STREAMS * generation {
            let _ = tokio::time::timeout(Duration::from_millis(100), opened.changed()).await;
            assert!(begun.elapsed() < Duration::from_secs(120), "{} streams are open", open.load(Ordering::Relaxed));
        }
        begun.elapsed()
    };
    let opened = all(1).await;
    let resident = stage.server.resident_bytes().unwrap();
    println!("{STREAMS} streams opened in {opened:?}; the server holds {} MiB", resident >> 20);
    assert!(resident <= 1 << 30);
    stage = stage.crash_and_restart().await;
    now.send_replace(stage.server.url().to_owned());
    let resumed = all(2).await;
    let resident = stage.server.resident_bytes().unwrap();
    println!("all resumed {resumed:?} after the restart; the server holds {} MiB", resident >> 20);
    assert!(resumed <= Duration::from_secs(30));
    reading.abort_all();
}
