//! What every test stands on: a home, a running server, and the few questions that all tests ask it.

use longhaul_testkit::client::{Client, Reply};
use longhaul_testkit::server::{Launch, Server};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

/// A server with a home of its own, both gone when the test is over.
pub(crate) struct Stage {
    pub(crate) launch: Launch,
    pub(crate) server: Server,
    home: TempDir,
}

impl Stage {
    /// A server without a configuration, without keys.
    pub(crate) async fn open() -> Self {
        Self::with(|launch| launch).await
    }

    /// A server that is started as `arrange` says.
    pub(crate) async fn with(arrange: impl FnOnce(Launch) -> Launch) -> Self {
        let home = tempfile::tempdir().unwrap();
        let launch = arrange(Launch::new(home.path()).unwrap());
        let server = launch.start().await.unwrap();
        Self { launch, server, home }
    }

    pub(crate) fn client(&self) -> Client {
        self.server.client()
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where the server keeps its data.
    pub(crate) fn data_dir(&self) -> std::path::PathBuf {
        self.home.path().join("data")
    }

    /// `kill -9`, then a new process on the same data.
    pub(crate) async fn crash_and_restart(self) -> Self {
        let Self { launch, server, home } = self;
        server.kill().await.unwrap();
        let server = launch.start().await.unwrap();
        Self { launch, server, home }
    }
}

/// Submits a job and returns its id; any other answer than 202 fails the test.
pub(crate) async fn submit(client: &Client, body: Value) -> String {
    let reply = client.post("/v1/jobs").json(&body).send().await.unwrap();
    assert_eq!(reply.status, 202, "{reply}");
    job_id(&reply)
}

/// An `echo` job with this input.
pub(crate) fn echo(input: Value) -> Value {
    json!({"kind": "echo", "input": input})
}

/// The id in a receipt.
pub(crate) fn job_id(reply: &Reply) -> String {
    let id = reply.json()["job_id"].as_str().map(str::to_owned);
    id.unwrap_or_else(|| panic!("no receipt: {reply}"))
}

/// The job as it is now.
pub(crate) async fn job(client: &Client, job_id: &str) -> Value {
    let reply = client.get(&format!("/v1/jobs/{job_id}")).send().await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    reply.json()
}

/// The job once it has ended, waiting at most two minutes.
pub(crate) async fn ended(client: &Client, job_id: &str) -> Value {
    let mut last = Value::Null;
    for _ in 0..4 {
        let reply = client.get(&format!("/v1/jobs/{job_id}?wait=30")).send().await.unwrap();
        assert_eq!(reply.status, 200, "{reply}");
        last = reply.json();
        if matches!(last["status"].as_str(), Some("succeeded" | "failed" | "cancelled")) {
            return last;
        }
    }
    panic!("{job_id} has not ended after two minutes: {last}");
}

/// The job, which must have succeeded.
pub(crate) async fn succeeded(client: &Client, job_id: &str) -> Value {
    let job = ended(client, job_id).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    job
}

/// Checks that an answer is a problem of this status and code, complete in every member, and returns it.
pub(crate) fn problem(reply: &Reply, status: u16, code: &str) -> Value {
    assert_eq!(reply.status, status, "{reply}");
    assert_eq!(reply.header("content-type"), "application/problem+json", "{reply}");
    let problem = reply.json();
    assert_eq!(problem["code"], code, "{reply}");
    assert_eq!(problem["status"], status, "{reply}");
    for member in ["type", "title", "detail", "request_id"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "no {member}: {reply}");
    }
    assert!(problem["retryable"].is_boolean(), "{reply}");
    assert_eq!(problem["request_id"], reply.header("x-request-id"), "{reply}");
    if matches!(status, 429 | 503 | 507) {
        assert!(reply.header("retry-after").parse::<u64>().is_ok(), "no Retry-After: {reply}");
    }
    problem
}

/// The `errors` of a problem as `pointer` and `message`.
pub(crate) fn field_errors(problem: &Value) -> Vec<(String, String)> {
    let text = |error: &Value, member: &str| error[member].as_str().unwrap_or_default().to_owned();
    let errors = problem["errors"].as_array().into_iter().flatten();
    errors.map(|error| (text(error, "pointer"), text(error, "message"))).collect()
}

/// An id that has the form of a job's and names none.
pub(crate) const UNKNOWN_JOB: &str = "job_01920000000070008000000000000000";

/// Stops jobs of a queue from being taken, so that a test can look at them while they wait.
pub(crate) async fn pause(client: &Client, queue: &str) {
    let reply = client.post(&format!("/v1/queues/{queue}/pause")).send().await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
}

/// Lets a paused queue go on.
pub(crate) async fn resume(client: &Client, queue: &str) {
    let reply = client.post(&format!("/v1/queues/{queue}/resume")).send().await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
}
