//! What a client says on the WebSocket, what it names by it, and the words that answer.

use std::str::FromStr as _;

use longhaul_core::{JobId, QueueName};
use longhaul_engine::store::StoreError;
use serde::Deserialize;
use serde_json::{Value, json};

/// What a client sends.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Said {
    Subscribe {
        job_id: Option<String>,
        queue: Option<String>,
        topic: Option<String>,
        after: Option<u64>,
    },
    Unsubscribe {
        job_id: Option<String>,
        queue: Option<String>,
        topic: Option<String>,
    },
    Cancel {
        job_id: String,
    },
    /// Is anybody there? A page in a browser sees no pings of the protocol itself.
    Ping {},
}

/// What somebody follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Topic {
    Job(JobId),
    Queue(QueueName),
    Stats,
}

/// What is named: one of a job, a queue and a topic.
pub(super) fn name(job_id: Option<String>, queue: Option<String>, topic: Option<String>) -> Result<Topic, Value> {
    match (job_id, queue, topic) {
        (Some(job), None, None) => JobId::from_str(&job).map(Topic::Job).map_err(|_| bad_job_id(&job)),
        (None, Some(queue), None) => QueueName::new(&queue).map(Topic::Queue).map_err(
            |why| json!({ "type": "error", "code": "invalid_request", "queue": queue, "message": why.to_string() }),
        ),
        (None, None, Some(topic)) if topic == "stats" => Ok(Topic::Stats),
        (None, None, Some(topic)) => {
            let message = "there is no such topic; known is `stats`";
            Err(json!({ "type": "error", "code": "invalid_request", "topic": topic, "message": message }))
        }
        _ => {
            let message = "name exactly one of `job_id`, `queue` and `topic`";
            Err(json!({ "type": "error", "code": "invalid_request", "message": message }))
        }
    }
}

pub(super) fn bad_job_id(job_id: &str) -> Value {
    let shown: String = job_id.chars().take(80).collect();
    json!({ "type": "error", "code": "not_found", "job_id": shown, "message": "there is no such job" })
}

pub(super) fn error(code: &str, message: &str, topic: &Topic) -> Value {
    with_topic(json!({ "type": "error", "code": code, "message": message }), topic)
}

/// `unavailable` may pass: whoever is told so asks again. The others stay.
pub(super) fn store_error(why: &StoreError, topic: &Topic) -> Value {
    match why {
        StoreError::NotFound(_) => error("not_found", "there is no such job", topic),
        StoreError::Gone(_) => error("gone", "the job's data is gone: its retention is over, or it was erased", topic),
        other => {
            tracing::warn!(error = %other, "a subscription failed");
            error("unavailable", "the store cannot answer now; try again", topic)
        }
    }
}

pub(super) fn with_topic(mut value: Value, topic: &Topic) -> Value {
    match topic {
        Topic::Job(job) => value["job_id"] = json!(job),
        Topic::Queue(queue) => value["queue"] = json!(queue.to_string()),
        Topic::Stats => value["topic"] = json!("stats"),
    }
    value
}
