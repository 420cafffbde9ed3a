//! A long queue does not make a slow start.

use crate::stage::{Stage, echo, pause, resume, submit, succeeded};
use serde_json::{Value, json};
use std::time::Duration;

const BACKLOG: usize = 100_000;
const PER_CALL: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_with_100_000_queued_jobs_is_ready_within_two_seconds_and_goes_on() {
    let stage = Stage::open().await;
    let client = stage.client();
    pause(&client, "backlog").await;
    let mut first = String::new();
    for part in 0..BACKLOG / PER_CALL {
        let job = |n: usize| json!({"kind": "echo", "queue": "backlog", "input": {"n": part * PER_CALL + n}});
        let jobs: Vec<Value> = (0..PER_CALL).map(job).collect();
        let reply = client.post("/v1/jobs/bulk").json(&json!({"jobs": jobs})).send().await.unwrap();
        assert_eq!(reply.status, 202, "{reply}");
        let ids = longhaul_testkit::load::receipts(&reply.json());
        assert_eq!(ids.len(), PER_CALL);
        if part == 0 {
            first.clone_from(&ids[0]);
        }
    }
    let before = stage.server.resident_bytes().unwrap();
    let stage = stage.crash_and_restart().await;
    let client = stage.client();
    let ready = stage.server.ready_after();
    let after = stage.server.resident_bytes().unwrap();
    println!("{BACKLOG} queued: ready after {ready:?}; {} MiB before, {} MiB after", before >> 20, after >> 20);
    assert!(ready <= Duration::from_secs(2), "ready only after {ready:?}");

    let side = submit(&client, echo(json!("still awake"))).await;
    succeeded(&client, &side).await;
    resume(&client, "backlog").await;
    let job = succeeded(&client, &first).await;
    assert_eq!((&job["attempt"], &job["output"]), (&json!(1), &json!({"n": 0})), "{job}");
}
