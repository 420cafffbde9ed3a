//! When a job runs: delays, fixed times, priorities, deadlines, attempts.

use crate::stage::{Stage, ended, job, pause, resume, submit, succeeded};
use serde_json::{Value, json};

fn time(job: &Value, field: &str) -> String {
    job[field].as_str().unwrap_or_else(|| panic!("no {field}: {job}")).to_owned()
}

#[tokio::test]
async fn a_delayed_job_starts_when_its_time_has_come_and_not_before() {
    let stage = Stage::open().await;
    let client = stage.client();
    let id = submit(&client, json!({"kind": "echo", "input": 1, "delay_s": 1})).await;
    let waiting = job(&client, &id).await;
    assert_eq!((&waiting["status"], &waiting["status_reason"]), (&json!("queued"), &json!("scheduled")), "{waiting}");
    let done = succeeded(&client, &id).await;
    assert!(time(&done, "started_at") >= time(&done, "run_at"), "{done}");
}

#[tokio::test]
async fn a_job_for_a_fixed_time_survives_a_crash_and_keeps_its_time() {
    let stage = Stage::open().await;
    let id = submit(&stage.client(), json!({"kind": "echo", "input": 1, "run_at": "2099-12-31T23:59:59Z"})).await;
    let stage = stage.crash_and_restart().await;
    let waiting = job(&stage.client(), &id).await;
    assert_eq!(waiting["status_reason"], "scheduled", "{waiting}");
    assert!(time(&waiting, "run_at").starts_with("2099-12-31T23:59:59"), "{waiting}");

    let past = submit(&stage.client(), json!({"kind": "echo", "input": 1, "run_at": "2001-01-01T00:00:00Z"})).await;
    succeeded(&stage.client(), &past).await;
}

#[tokio::test]
async fn higher_priority_runs_first() {
    let stage = Stage::with(|launch| launch.config("[queues.narrow]\nconcurrency = 1\n").unwrap()).await;
    let client = stage.client();
    pause(&client, "narrow").await;
    let mut submitted = Vec::new();
    for (place, priority) in [-100, 5, 0, 100, -3, 5].into_iter().enumerate() {
        let body = json!({"kind": "echo", "input": priority, "queue": "narrow", "priority": priority});
        submitted.push((-priority, place, submit(&client, body).await));
    }
    resume(&client, "narrow").await;
    // In the order in which they should have started; two may have started within the same millisecond.
    submitted.sort();
    let mut started = Vec::new();
    for (_, _, id) in &submitted {
        started.push(time(&succeeded(&client, id).await, "started_at"));
    }
    assert!(started.is_sorted(), "{submitted:?} started at {started:?}");
}

#[tokio::test]
async fn a_job_whose_deadline_passes_in_the_queue_fails_and_says_so() {
    let stage = Stage::open().await;
    let client = stage.client();
    pause(&client, "default").await;
    let id = submit(&client, json!({"kind": "echo", "input": 1, "deadline_s": 1})).await;
    let failed = ended(&client, &id).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(failed["error"]["code"].as_str().unwrap().contains("deadline"), "{failed}");
    assert_eq!((&failed["attempt"], &failed["error"]["retryable"]), (&json!(0), &json!(false)), "{failed}");
    let result = client.get(&format!("/v1/jobs/{id}/result")).send().await.unwrap();
    crate::stage::problem(&result, 409, "job_failed");
}

#[tokio::test]
async fn the_number_of_attempts_is_kept_and_bounded() {
    let stage = Stage::open().await;
    let client = stage.client();
    let id = submit(&client, json!({"kind": "echo", "input": 1, "max_attempts": 2})).await;
    assert_eq!(succeeded(&client, &id).await["max_attempts"], 2);
    let reply = client.post("/v1/jobs").json(&json!({"kind": "echo", "input": 1, "max_attempts": 0})).send().await;
    let reply = reply.unwrap();
    let problem = crate::stage::problem(&reply, 422, "invalid_request");
    assert_eq!(crate::stage::field_errors(&problem)[0].0, "/max_attempts", "{problem}");
}

#[tokio::test]
async fn a_waiting_job_knows_its_place() {
    let stage = Stage::open().await;
    let client = stage.client();
    pause(&client, "default").await;
    let first = submit(&client, json!({"kind": "echo", "input": 1})).await;
    let second = submit(&client, json!({"kind": "echo", "input": 2})).await;
    let (first, second) = (job(&client, &first).await, job(&client, &second).await);
    let (first, second) = (first["queue_position"].as_u64(), second["queue_position"].as_u64());
    assert!(first.is_some() && second == first.map(|place| place + 1), "{first:?} {second:?}");
}
