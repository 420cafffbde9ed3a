//! A job server in a page: a durable half that a crash leaves alone, a volatile half that it takes, and switchable bugs.

use longhaul_testkit::history::{AttemptSeen, EventSeen, JobSeen, LeaseSeen, Listed, Sighting, View};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    AckBeforeCommit,
    NoFence,
    ReusesSeq,
    LosesJobs,
    DoubleTerminal,
    SkipsEvent,
    Resurrects,
    StuckAfterCrash,
    IgnoresCancel,
    ForgetsKeys,
    MixesTenants,
    MixesOutputs,
    ReusesLease,
    KeepsRefused,
    SkipsAttempt,
    RunsWithoutQueueing,
}

impl Bug {
    pub(crate) const ALL: &[Self] = &[
        Self::AckBeforeCommit,
        Self::NoFence,
        Self::ReusesSeq,
        Self::LosesJobs,
        Self::DoubleTerminal,
        Self::SkipsEvent,
        Self::Resurrects,
        Self::StuckAfterCrash,
        Self::IgnoresCancel,
        Self::ForgetsKeys,
        Self::MixesTenants,
        Self::MixesOutputs,
        Self::ReusesLease,
        Self::KeepsRefused,
        Self::SkipsAttempt,
        Self::RunsWithoutQueueing,
    ];
}

#[derive(Clone, Debug)]
struct Row {
    tenant: String,
    marker: String,
    input: Value,
    status: &'static str,
    attempt: u32,
    version: u64,
    token: Option<String>,
    cancelling: bool,
    stuck: bool,
    output: Option<Value>,
    events: Vec<EventSeen>,
    /// The sequence number of the next event is one too low.
    counter_short: bool,
    /// What a client has seen of it: how many events, and whether it had ended.
    shown_events: usize,
    shown_ended: bool,
}

/// The server.
pub(crate) struct Model {
    bug: Option<Bug>,
    /// How often the bug made a difference.
    pub(crate) acted: u64,
    /// How often it made one that a client could see by then.
    pub(crate) visible: u64,
    rows: BTreeMap<String, Row>,
    keys: BTreeMap<(String, String), String>,
    /// Acknowledged by a server that acknowledges before it commits.
    unsynced: Vec<String>,
    issued: u64,
}

pub(crate) enum Cancelled {
    Cancelling,
    AlreadyEnded(String),
}

impl Model {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        let (rows, keys) = (BTreeMap::new(), BTreeMap::new());
        Self { bug, acted: 0, visible: 0, rows, keys, unsynced: Vec::new(), issued: 0 }
    }

    /// Whether the bug is this one; counts it as acting.
    fn acts(&mut self, bug: Bug) -> bool {
        let acts = self.bug == Some(bug);
        self.acted += u64::from(acts);
        self.visible += u64::from(acts);
        acts
    }

    pub(crate) fn submit(&mut self, tenant: &str, key: Option<&str>, marker: &str, input: &Value) -> String {
        let key = key.map(|key| (tenant.to_owned(), key.to_owned()));
        if let Some(job_id) = key.as_ref().and_then(|key| self.keys.get(key)) {
            let job_id = job_id.clone();
            if !self.acts(Bug::ForgetsKeys) {
                return job_id;
            }
        }
        self.issued += 1;
        let job_id = format!("job_{:04}", self.issued);
        let row = Row {
            tenant: tenant.to_owned(),
            marker: marker.to_owned(),
            input: input.clone(),
            status: "queued",
            attempt: 0,
            version: 1,
            token: None,
            cancelling: false,
            stuck: false,
            output: None,
            events: Vec::new(),
            counter_short: false,
            shown_events: 0,
            shown_ended: false,
        };
        self.rows.insert(job_id.clone(), row);
        self.append(&job_id, "job.queued");
        if let Some(key) = key {
            self.keys.insert(key, job_id.clone());
        }
        if self.bug == Some(Bug::AckBeforeCommit) {
            self.unsynced.push(job_id.clone());
        }
        job_id
    }

    /// A submission that is refused, and leaves nothing behind unless the server is wrong.
    pub(crate) fn refuse(&mut self, tenant: &str, marker: &str, input: &Value) {
        if self.acts(Bug::KeepsRefused) {
            self.submit(tenant, None, marker, input);
        }
    }

    /// What was unsynced reaches the disk.
    pub(crate) fn sync(&mut self) {
        self.unsynced.clear();
    }

    pub(crate) fn claim(&mut self, pick: usize) -> Option<LeaseSeen> {
        let ready: Vec<String> = self
            .rows
            .iter()
            .filter(|(_, row)| row.status == "queued" && !row.stuck)
            .map(|(id, _)| id.clone())
            .collect();
        let job_id = ready.get(pick % ready.len().max(1))?.clone();
        let reuse = self.rows[&job_id].token.is_some() && self.acts(Bug::ReusesLease);
        let skip = self.rows[&job_id].attempt == 0 && pick.is_multiple_of(3) && self.acts(Bug::SkipsAttempt);
        self.issued += 1;
        let fresh = format!("lease_{}", self.issued);
        let row = self.rows.get_mut(&job_id)?;
        row.attempt += 1 + u32::from(skip);
        row.status = "running";
        row.version += 1;
        row.token = if reuse { row.token.take() } else { Some(fresh) };
        let lease = LeaseSeen {
            job_id: job_id.clone(),
            attempt: row.attempt,
            lease_token: row.token.clone().unwrap_or_default(),
        };
        self.append(&job_id, "job.running");
        Some(lease)
    }

    /// Whether the result was accepted.
    pub(crate) fn finish(&mut self, lease: &LeaseSeen, output: &Value) -> bool {
        let Some(row) = self.rows.get(&lease.job_id) else { return false };
        let ended = is_ended(row.status);
        let current = row.token.as_deref() == Some(&lease.lease_token) && row.status == "running";
        let cancelling = row.cancelling;
        if ended {
            return self.finish_ended(lease);
        }
        if !current {
            // A stale result taken while a successor holds the lease: the bug at its plainest.
            let superseded = row.attempt > lease.attempt && row.status == "running";
            return superseded && self.acts(Bug::NoFence) && self.end(&lease.job_id, "succeeded", Some(output));
        }
        if cancelling && !self.acts(Bug::IgnoresCancel) {
            self.end(&lease.job_id, "cancelled", None);
            return false;
        }
        let swapped = json!({"not": "yours"});
        let output = if lease.job_id.ends_with('3') && self.acts(Bug::MixesOutputs) { &swapped } else { output };
        self.end(&lease.job_id, "succeeded", Some(output))
    }

    /// A second result for a job that has ended.
    fn finish_ended(&mut self, lease: &LeaseSeen) -> bool {
        if self.rows[&lease.job_id].status == "succeeded" && self.acts(Bug::DoubleTerminal) {
            self.end(&lease.job_id, "failed", None);
        }
        false
    }

    pub(crate) fn cancel(&mut self, job_id: &str) -> Option<Cancelled> {
        let row = self.rows.get_mut(job_id)?;
        match row.status {
            "queued" => {
                self.end(job_id, "cancelled", None);
            }
            "running" => row.cancelling = true,
            ended => return Some(Cancelled::AlreadyEnded(ended.to_owned())),
        }
        Some(Cancelled::Cancelling)
    }

    /// The lease of one running job expires.
    pub(crate) fn expire(&mut self, pick: usize) {
        let running: Vec<String> =
            self.rows.iter().filter(|(_, row)| row.status == "running").map(|(id, _)| id.clone()).collect();
        if let Some(job_id) = running.get(pick % running.len().max(1)).cloned() {
            self.requeue(&job_id);
        }
    }

    pub(crate) fn crash(&mut self) {
        for job_id in std::mem::take(&mut self.unsynced) {
            if self.rows.remove(&job_id).is_some() {
                self.acted += 1;
                self.visible += 1;
                self.keys.retain(|_, value| *value != job_id);
            }
        }
        let ids: Vec<String> = self.rows.keys().cloned().collect();
        for (index, job_id) in ids.iter().enumerate() {
            let status = self.rows[job_id].status;
            if status == "running" {
                if index % 2 == 0 && self.acts(Bug::StuckAfterCrash) {
                    self.rows.get_mut(job_id).unwrap().stuck = true;
                    continue;
                }
                self.requeue(job_id);
            }
            if status == "queued" && index % 5 == 0 && self.acts(Bug::LosesJobs) {
                self.rows.remove(job_id);
                continue;
            }
            if is_ended(status) && index % 5 == 0 && self.bug == Some(Bug::Resurrects) {
                let row = self.rows.get_mut(job_id).unwrap();
                self.acted += 1;
                self.visible += u64::from(row.shown_ended);
                (row.status, row.output) = ("queued", None);
                row.version += 1;
                row.events.pop();
            }
            if index % 4 == 0 && self.bug == Some(Bug::ReusesSeq) {
                self.rows.get_mut(job_id).unwrap().counter_short = true;
            }
        }
    }

    pub(crate) fn look(&mut self, tenant: &str, job_id: &str) -> Sighting {
        let nothing = Sighting { view: View::Missing, events: None, attempts: None };
        let Some(row) = self.rows.get(job_id) else { return nothing };
        if row.tenant != tenant && !self.acts(Bug::MixesTenants) {
            return nothing;
        }
        let Some(row) = self.rows.get_mut(job_id) else { return nothing };
        row.shown_events = row.events.len();
        row.shown_ended = is_ended(row.status);
        let job = JobSeen {
            marker: Some(row.marker.clone()),
            status: row.status.to_owned(),
            version: row.version,
            attempt: row.attempt,
            last_event_seq: row.events.last().map_or(0, |event| event.seq),
            output: row.output.clone(),
            error_code: None,
        };
        let attempts = (1..=row.attempt).map(|attempt| AttemptSeen { attempt }).collect();
        Sighting { view: View::Present(job), events: Some(row.events.clone()), attempts: Some(attempts) }
    }

    pub(crate) fn census(&self, tenant: &str) -> Vec<Listed> {
        let own = self.rows.iter().filter(|(_, row)| row.tenant == tenant);
        own.map(|(id, row)| Listed { job_id: id.clone(), marker: Some(row.marker.clone()) }).collect()
    }

    pub(crate) fn input(&self, job_id: &str) -> Value {
        self.rows.get(job_id).map_or(Value::Null, |row| row.input.clone())
    }

    pub(crate) fn has_work(&self) -> bool {
        self.rows.values().any(|row| !is_ended(row.status) && !row.stuck)
    }

    fn requeue(&mut self, job_id: &str) {
        let Some(row) = self.rows.get_mut(job_id) else { return };
        row.version += 1;
        if row.cancelling {
            self.end(job_id, "cancelled", None);
            return;
        }
        row.status = "queued";
        if !self.acts(Bug::RunsWithoutQueueing) {
            self.append(job_id, "job.queued");
        }
    }

    fn end(&mut self, job_id: &str, status: &'static str, output: Option<&Value>) -> bool {
        if let Some(row) = self.rows.get_mut(job_id) {
            row.status = status;
            row.version += 1;
            row.output = output.cloned();
        }
        self.append(job_id, &format!("job.{status}"));
        true
    }

    fn append(&mut self, job_id: &str, kind: &str) {
        let skip = kind == "job.succeeded" && job_id.ends_with('7') && self.acts(Bug::SkipsEvent);
        self.issued += 1;
        let stamp = self.issued;
        let Some(row) = self.rows.get_mut(job_id) else { return };
        if std::mem::take(&mut row.counter_short) && row.events.len() > 1 {
            // The counter was rebuilt one short: this event takes the number, and the place, of the one before.
            self.acted += 1;
            self.visible += u64::from(row.shown_events >= row.events.len());
            row.events.pop();
        }
        let seq = row.events.last().map_or(0, |event| event.seq) + 1 + u64::from(skip);
        let raw = format!(r#"{{"seq":{seq},"type":"{kind}","attempt":{},"time":{stamp}}}"#, row.attempt);
        row.events.push(EventSeen { seq, kind: kind.to_owned(), attempt: Some(row.attempt), raw });
    }
}

fn is_ended(status: &str) -> bool {
    matches!(status, "succeeded" | "failed" | "cancelled")
}
