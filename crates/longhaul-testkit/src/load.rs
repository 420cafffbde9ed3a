//! A client that writes down everything it does: before it asks, and what became of it.
//!
//! [`Witness`] turns each call into the records of a [`crate::history`]. It decides only one thing: whether a call
//! without an answer was refused (it certainly had no effect) or is unknown. It retries nothing and hides nothing.

use crate::client::{CallError, Client, Reply, refuses};
use crate::history::{
    Answer, AttemptSeen, Call, EventSeen, HistoryError, JobSeen, Listed, Record, Recorder, Sighting, View,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a history while it uses a server.
#[derive(Debug)]
pub struct Witness {
    recorder: Recorder,
    next_op: AtomicU64,
}

/// What became of a call, as far as its caller can know.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<T> {
    /// It was answered.
    Done(T),
    /// It certainly had no effect.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

impl<T> Outcome<T> {
    /// The answer, if there is one.
    #[must_use]
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(answer) => Some(answer),
            Self::Refused(_) | Self::Unknown(_) => None,
        }
    }
}

/// One job to submit.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The tenant of the client's key.
    pub tenant: String,
    /// Unique to this submission; goes into the metadata.
    pub marker: String,
    /// An idempotency key, if one is sent.
    pub key: Option<String>,
    /// The kind of job.
    pub kind: String,
    /// The queue.
    pub queue: String,
    /// The input.
    pub input: Value,
}

impl Submission {
    /// An `echo` job of `padding_bytes` of text, in the queue `default`.
    #[must_use]
    pub fn echo(tenant: &str, marker: &str, padding_bytes: usize) -> Self {
        Self {
            tenant: tenant.to_owned(),
            marker: marker.to_owned(),
            key: None,
            kind: "echo".to_owned(),
            queue: "default".to_owned(),
            input: json!({"marker": marker, "padding": "x".repeat(padding_bytes)}),
        }
    }

    /// The body of the request.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({"kind": self.kind, "queue": self.queue, "input": self.input, "metadata": {"marker": self.marker}})
    }

    fn call(&self) -> Call {
        Call::Submit {
            tenant: self.tenant.clone(),
            marker: self.marker.clone(),
            key: self.key.clone(),
            kind: self.kind.clone(),
            input: self.input.clone(),
        }
    }
}

impl Witness {
    /// Writes to `recorder`.
    #[must_use]
    pub fn new(recorder: Recorder) -> Self {
        Self { recorder, next_op: AtomicU64::new(1) }
    }

    /// Notes that the server was killed or stopped.
    ///
    /// # Errors
    /// When the history cannot be written.
    pub async fn restarted(&self) -> Result<(), HistoryError> {
        self.recorder.record(&Record::Restart).await
    }

    /// Submits one job; the answer is its id.
    ///
    /// # Errors
    /// When the history cannot be written.
    pub async fn submit(&self, client: &Client, job: &Submission) -> Result<Outcome<String>, HistoryError> {
        let op = self.invoke(job.call()).await?;
        let mut call = client.post("/v1/jobs").json(&job.body());
        if let Some(key) = &job.key {
            call = call.header("idempotency-key", key);
        }
        let outcome = judge(call.send().await, |reply| match reply.status {
            200 | 202 => job_id(&reply.json()),
            _ => None,
        });
        self.end(op, &outcome, |job_id| Answer::Submitted { job_id: job_id.clone() }).await?;
        Ok(outcome)
    }

    /// Submits many jobs in one call; the answer is their ids, in order.
    ///
    /// # Errors
    /// When the history cannot be written.
    pub async fn submit_bulk(
        &self,
        client: &Client,
        jobs: &[Submission],
    ) -> Result<Outcome<Vec<String>>, HistoryError> {
        let mut ops = Vec::with_capacity(jobs.len());
        for job in jobs {
            ops.push(self.invoke(job.call()).await?);
        }
        let bodies: Vec<Value> = jobs.iter().map(Submission::body).collect();
        let sent = client.post("/v1/jobs/bulk").json(&json!({"jobs": bodies})).send().await;
        let outcome = judge(sent, |reply| {
            let ids = (reply.status == 202).then(|| receipts(&reply.json()))?;
            (ids.len() == jobs.len()).then_some(ids)
        });
        for (index, op) in ops.into_iter().enumerate() {
            let answer = |ids: &Vec<String>| Answer::Submitted { job_id: ids.get(index).cloned().unwrap_or_default() };
            self.end(op, &outcome, answer).await?;
        }
        Ok(outcome)
    }

    /// Asks for a job to be cancelled; the answer is its status.
    ///
    /// # Errors
    /// When the history cannot be written.
    pub async fn cancel(&self, client: &Client, tenant: &str, job_id: &str) -> Result<Outcome<String>, HistoryError> {
        let op = self.invoke(Call::Cancel { tenant: tenant.to_owned(), job_id: job_id.to_owned() }).await?;
        let sent = client.post(&format!("/v1/jobs/{job_id}/cancel")).send().await;
        let outcome = judge(sent, |reply| match reply.status {
            202 => Some("cancelling".to_owned()),
            200 => Some(text(&reply.json(), "status")),
            _ => None,
        });
        let answer = |status: &String| match status.as_str() {
            "cancelling" | "cancelled" => Answer::Cancelling,
            ended => Answer::AlreadyEnded { status: ended.to_owned() },
        };
        self.end(op, &outcome, answer).await?;
        Ok(outcome)
    }

    /// Reads a job, then its events, then its attempts.
    ///
    /// # Errors
    /// When the history cannot be written.
    pub async fn look(&self, client: &Client, tenant: &str, job_id: &str) -> Result<Outcome<Sighting>, HistoryError> {
        let op = self.invoke(Call::Look { tenant: tenant.to_owned(), job_id: job_id.to_owned() }).await?;
        let outcome = match see(client, job_id).await {
            Ok(sighting) => Outcome::Done(sighting),
            Err(reason) => Outcome::Unknown(reason),
        };
        self.end(op, &outcome, |sighting| Answer::Saw(sighting.clone())).await?;
        Ok(outcome)
    }

    /// Lists every job of the client's tenant.
    ///
    /// # Errors
    /// When the history cannot be written.
    pub async fn census(&self, client: &Client, tenant: &str) -> Result<Outcome<Vec<Listed>>, HistoryError> {
        let op = self.invoke(Call::Census { tenant: tenant.to_owned() }).await?;
        let outcome = match list_all(client).await {
            Ok(jobs) => Outcome::Done(jobs),
            Err(reason) => Outcome::Unknown(reason),
        };
        self.end(op, &outcome, |jobs| Answer::Counted { jobs: jobs.clone() }).await?;
        Ok(outcome)
    }

    async fn invoke(&self, call: Call) -> Result<u64, HistoryError> {
        let op = self.next_op.fetch_add(1, Ordering::Relaxed);
        self.recorder.record(&Record::Invoke { op, call }).await?;
        Ok(op)
    }

    async fn end<T>(
        &self,
        op: u64,
        outcome: &Outcome<T>,
        answer: impl FnOnce(&T) -> Answer,
    ) -> Result<(), HistoryError> {
        let record = match outcome {
            Outcome::Done(done) => Record::Ok { op, answer: answer(done) },
            Outcome::Refused(reason) => Record::Fail { op, reason: reason.clone() },
            Outcome::Unknown(reason) => Record::Info { op, reason: reason.clone() },
        };
        self.recorder.record(&record).await
    }
}

fn judge<T>(sent: Result<Reply, CallError>, read: impl FnOnce(&Reply) -> Option<T>) -> Outcome<T> {
    match sent {
        Ok(reply) if refuses(reply.status) => Outcome::Refused(reply.to_string()),
        Ok(reply) => match read(&reply) {
            Some(answer) => Outcome::Done(answer),
            None => Outcome::Unknown(reply.to_string()),
        },
        Err(CallError::NotSent(reason)) => Outcome::Refused(reason),
        Err(CallError::Unknown(reason)) => Outcome::Unknown(reason),
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn job_id(receipt: &Value) -> Option<String> {
    receipt["job_id"].as_str().map(str::to_owned)
}

/// The ids in the answer to a bulk submission.
#[must_use]
pub fn receipts(answer: &Value) -> Vec<String> {
    let list = if answer["jobs"].is_array() { &answer["jobs"] } else { &answer["data"] };
    list.as_array().into_iter().flatten().filter_map(job_id).collect()
}

/// One look at a job, without a history.
///
/// # Errors
/// When any of the three answers is missing or cannot be read.
pub async fn see(client: &Client, job_id: &str) -> Result<Sighting, String> {
    let reply = client.get(&format!("/v1/jobs/{job_id}")).send().await.map_err(|e| e.to_string())?;
    let nothing = |view| Ok(Sighting { view, events: None, attempts: None });
    match reply.status {
        200 => {}
        404 => return nothing(View::Missing),
        410 => return nothing(View::Tombstone),
        _ => return Err(reply.to_string()),
    }
    let job = read_job(&reply.json()).ok_or_else(|| format!("not a job: {reply}"))?;
    let events = events(client, job_id).await?;
    let attempts = attempts(client, job_id).await?;
    Ok(Sighting { view: View::Present(job), events: Some(events), attempts: Some(attempts) })
}

fn read_job(job: &Value) -> Option<JobSeen> {
    Some(JobSeen {
        marker: job["metadata"]["marker"].as_str().map(str::to_owned),
        status: job["status"].as_str()?.to_owned(),
        version: job["version"].as_u64()?,
        attempt: u32::try_from(job["attempt"].as_u64()?).ok()?,
        last_event_seq: job["last_event_seq"].as_u64()?,
        output: (!job["output"].is_null()).then(|| job["output"].clone()),
        error_code: job["error"]["code"].as_str().map(str::to_owned),
    })
}

#[derive(Deserialize)]
struct RawPage {
    data: Vec<Box<RawValue>>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct EventHead {
    seq: u64,
    #[serde(rename = "type")]
    kind: String,
    attempt: Option<u32>,
}

/// All events of a job, page after page, each with its text exactly as served.
///
/// # Errors
/// When a page is missing or cannot be read.
pub async fn events(client: &Client, job_id: &str) -> Result<Vec<EventSeen>, String> {
    let mut events: Vec<EventSeen> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.seq);
        let path = format!("/v1/jobs/{job_id}/events?after={after}");
        let call = client.get(&path).header("accept", "application/json");
        let reply = call.send().await.map_err(|e| e.to_string())?;
        if reply.status != 200 {
            return Err(reply.to_string());
        }
        let page: RawPage = serde_json::from_slice(&reply.body).map_err(|e| format!("events: {e}: {reply}"))?;
        let more = page.has_more && !page.data.is_empty();
        for raw in page.data {
            let head: EventHead = serde_json::from_str(raw.get()).map_err(|e| format!("event: {e}: {}", raw.get()))?;
            let (seq, kind, attempt) = (head.seq, head.kind, head.attempt);
            events.push(EventSeen { seq, kind, attempt, raw: raw.get().to_owned() });
        }
        if !more {
            return Ok(events);
        }
    }
}

async fn attempts(client: &Client, job_id: &str) -> Result<Vec<AttemptSeen>, String> {
    let reply = client.get(&format!("/v1/jobs/{job_id}/attempts")).send().await.map_err(|e| e.to_string())?;
    let page = reply.json();
    let list = page["data"].as_array().ok_or_else(|| reply.to_string())?;
    let number = |attempt: &Value| {
        let number = attempt["attempt"].as_u64().and_then(|number| u32::try_from(number).ok());
        number.map(|attempt| AttemptSeen { attempt }).ok_or_else(|| format!("no number: {attempt}"))
    };
    list.iter().map(number).collect()
}

async fn list_all(client: &Client) -> Result<Vec<Listed>, String> {
    let mut jobs = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let from = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let reply = client.get(&format!("/v1/jobs?limit=200{from}")).send().await.map_err(|e| e.to_string())?;
        let page = reply.json();
        let list = page["data"].as_array().ok_or_else(|| reply.to_string())?;
        jobs.extend(list.iter().map(|job| Listed {
            job_id: text(job, "job_id"),
            marker: job["metadata"]["marker"].as_str().map(str::to_owned),
        }));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if page["has_more"] != Value::Bool(true) || cursor.is_none() {
            return Ok(jobs);
        }
    }
}
