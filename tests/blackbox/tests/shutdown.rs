//! SIGTERM: unready at once, running work is finished or given back unharmed, and the process ends with code 0.

use crate::stage::{Stage, ended, job_id};
use longhaul_testkit::client::{CallError, Part};
use longhaul_testkit::fixture;
use serde_json::{Value, json};
use std::time::Duration;

/// The drain's default deadline, and room to stop after it.
const DEADLINE: Duration = Duration::from_secs(35);
const DOCUMENTS: u64 = 6;
const WORDS: usize = 60_000;

/// Sends documents that keep the server busy for a while.
async fn heavy_work(stage: &Stage) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..DOCUMENTS {
        let text = fixture::prose(number, WORDS);
        let file = Part::file("long.txt", "text/plain", text.as_bytes());
        let receipt = stage.client().post("/v1/documents").multipart(&[file]).send().await.unwrap();
        assert_eq!(receipt.status, 202, "{receipt}");
        ids.push(job_id(&receipt));
    }
    ids
}

#[tokio::test]
async fn an_idle_server_stops_at_once_with_code_0() {
    let mut stage = Stage::open().await;
    stage.server.terminate().unwrap();
    let status = stage.server.exited(Duration::from_secs(5)).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", stage.server.log_tail());
}

#[tokio::test]
async fn a_stopping_server_is_unready_at_once_and_costs_running_jobs_no_attempt() {
    let mut stage = Stage::open().await;
    let client = stage.client();
    let ids = heavy_work(&stage).await;
    stage.server.terminate().unwrap();

    let mut unready = None;
    while unready.is_none() {
        match client.get("/readyz").patience(Duration::from_secs(5)).send().await {
            Ok(reply) if reply.status == 200 => {}
            Ok(reply) => unready = Some(reply.status),
            Err(CallError::NotSent(_) | CallError::Unknown(_)) => break,
        }
    }
    assert!(matches!(unready, None | Some(503)), "{unready:?}");
    if unready.is_some() {
        let late = client.post("/v1/jobs").json(&json!({"kind": "echo", "input": 1})).send().await;
        if let Ok(reply) = late {
            assert!(matches!(reply.status, 202 | 503), "{reply}");
        }
    }
    let status = stage.server.exited(DEADLINE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", stage.server.log_tail());

    let server = stage.launch.start().await.unwrap();
    for id in &ids {
        let job = ended(&server.client(), id).await;
        assert_eq!(job["status"], "succeeded", "{job}");
        assert_eq!(job["attempt"], 1, "a stop cost an attempt: {job}");
        let attempts = server.client().get(&format!("/v1/jobs/{id}/attempts")).send().await.unwrap().json();
        let crashed = |attempt: &Value| attempt.to_string().contains("crash");
        assert!(!attempts["data"].as_array().unwrap().iter().any(crashed), "{attempts}");
    }
}

#[tokio::test]
async fn work_that_outlasts_the_drain_is_released_and_finished_by_the_next_process() {
    let mut stage = Stage::with(|launch| launch.config("[server]\ndrain = \"0s\"\n").unwrap()).await;
    let ids = heavy_work(&stage).await;
    stage.server.terminate().unwrap();
    let status = stage.server.exited(DEADLINE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", stage.server.log_tail());
    let server = stage.launch.start().await.unwrap();
    for id in &ids {
        let job = ended(&server.client(), id).await;
        assert_eq!((&job["status"], &job["attempt"]), (&json!("succeeded"), &json!(1)), "{job}");
    }
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_the_drain() {
    let mut stage = Stage::open().await;
    heavy_work(&stage).await;
    stage.server.terminate().unwrap();
    // Refused only when the first signal has done its work already.
    let _ = stage.server.terminate();
    stage.server.exited(DEADLINE).await.unwrap();
    let server = stage.launch.start().await.unwrap();
    assert_eq!(server.client().get("/readyz").send().await.unwrap().status, 200);
}
