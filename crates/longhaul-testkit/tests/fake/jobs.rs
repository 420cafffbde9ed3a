//! Jobs as the fold of a log. A line is in the file before anybody hears of it, unless the bug says otherwise.

use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A way to be wrong that only a crash brings to light, or that shows under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Answers before the line is in the file.
    AckBeforeCommit,
    /// Numbers the first event after a restart like the last one before.
    ReuseSeq,
    /// Runs ended jobs again after a restart.
    Resurrect,
    /// Forgets idempotency keys.
    ForgetKeys,
}

impl Bug {
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        match name {
            "ack_before_commit" => Ok(Self::AckBeforeCommit),
            "reuse_seq" => Ok(Self::ReuseSeq),
            "resurrect" => Ok(Self::Resurrect),
            "forget_keys" => Ok(Self::ForgetKeys),
            _ => Err(format!("no bug is called {name}")),
        }
    }
}

#[derive(Default)]
struct Job {
    body: Value,
    status: &'static str,
    attempt: u32,
    events: Vec<Value>,
    /// Ticks that the running attempt still takes.
    remaining: u32,
}

pub(crate) enum Cancelled {
    Now,
    EndedBefore(&'static str),
}

pub(crate) struct Jobs {
    bug: Option<Bug>,
    log: File,
    /// Lines that the bug holds back.
    unwritten: String,
    jobs: BTreeMap<String, Job>,
    open: Vec<String>,
    keys: HashMap<String, String>,
    ticks: u64,
}

/// How many jobs run side by side.
const CONCURRENCY: usize = 64;

impl Jobs {
    pub(crate) fn open(data_dir: &Path, bug: Option<Bug>) -> io::Result<Self> {
        std::fs::create_dir_all(data_dir)?;
        let path = data_dir.join("jobs.ndjson");
        let past = std::fs::read_to_string(&path).unwrap_or_default();
        let log = OpenOptions::new().create(true).append(true).open(&path)?;
        let (jobs, keys) = (BTreeMap::new(), HashMap::new());
        let mut this = Self { bug, log, unwritten: String::new(), jobs, open: Vec::new(), keys, ticks: 0 };
        for line in past.lines() {
            if let Ok(line) = serde_json::from_str(line) {
                this.apply(&line);
            }
        }
        this.recover();
        Ok(this)
    }

    fn recover(&mut self) {
        let ids: Vec<String> = self.jobs.keys().cloned().collect();
        for (index, id) in ids.iter().enumerate() {
            let Some(job) = self.jobs.get_mut(id) else { continue };
            if self.bug == Some(Bug::ReuseSeq) && index % 3 == 0 && job.events.len() > 1 && job.status == "running" {
                job.events.pop();
            }
            match job.status {
                // Without a status: killed between its line and its first event.
                "running" | "" => self.tell(id, "job.queued"),
                "succeeded" if self.bug == Some(Bug::Resurrect) && index % 50 == 0 => self.tell(id, "job.queued"),
                _ => {}
            }
        }
        let is_open = |job: &Job| job.status == "queued";
        self.open = self.jobs.iter().filter(|(_, job)| is_open(job)).map(|(id, _)| id.clone()).collect();
    }

    pub(crate) fn submit(&mut self, body: &Value, key: Option<&str>) -> String {
        if let Some(id) = key.and_then(|key| self.keys.get(key))
            && self.bug != Some(Bug::ForgetKeys)
        {
            return id.clone();
        }
        let id = format!("job_{:08}", self.jobs.len() + 1);
        self.write(&json!({"id": id, "body": body, "key": key}));
        self.tell(&id, "job.queued");
        self.open.push(id.clone());
        id
    }

    pub(crate) fn cancel(&mut self, id: &str) -> Option<Cancelled> {
        let status = self.jobs.get(id)?.status;
        if matches!(status, "succeeded" | "cancelled") {
            return Some(Cancelled::EndedBefore(status));
        }
        self.tell(id, "job.cancelled");
        Some(Cancelled::Now)
    }

    /// One tick: begins what is queued, ends what has run long enough, now and then lets one fail and try again.
    pub(crate) fn work(&mut self) {
        self.ticks += 1;
        if self.ticks.is_multiple_of(100) {
            let held_back = std::mem::take(&mut self.unwritten);
            let _ = self.log.write_all(held_back.as_bytes());
        }
        let open = std::mem::take(&mut self.open);
        let (now, later) = open.split_at(open.len().min(CONCURRENCY));
        let mut still_open = Vec::new();
        for (index, id) in now.iter().enumerate() {
            let Some(job) = self.jobs.get_mut(id) else { continue };
            match job.status {
                "queued" => {
                    job.remaining = u32::try_from(index % 5).unwrap_or(0);
                    self.tell(id, "job.running");
                    still_open.push(id.clone());
                }
                "running" if job.remaining > 0 => {
                    job.remaining -= 1;
                    still_open.push(id.clone());
                }
                "running" if job.attempt == 1 && id.ends_with("77") => {
                    self.tell(id, "job.queued");
                    still_open.push(id.clone());
                }
                "running" => self.tell(id, "job.succeeded"),
                _ => {}
            }
        }
        still_open.extend_from_slice(later);
        // What came in meanwhile stands behind.
        still_open.append(&mut self.open);
        self.open = still_open;
    }

    pub(crate) fn job(&self, id: &str) -> Option<Value> {
        let job = self.jobs.get(id)?;
        let output = if job.status == "succeeded" { job.body["input"].clone() } else { Value::Null };
        Some(json!({
            "job_id": id, "status": job.status, "version": job.events.len(), "attempt": job.attempt,
            "last_event_seq": job.events.len(), "metadata": job.body["metadata"], "output": output, "error": null,
        }))
    }

    pub(crate) fn page(&self, after: &str, limit: usize) -> Vec<Value> {
        let rest = self.jobs.range(format!("{after}\u{1}")..);
        rest.take(limit).map(|(id, job)| json!({"job_id": id, "metadata": job.body["metadata"]})).collect()
    }

    pub(crate) fn events(&self, id: &str, after: usize) -> Option<Vec<Value>> {
        Some(self.jobs.get(id)?.events.iter().skip(after).cloned().collect())
    }

    pub(crate) fn attempts(&self, id: &str) -> Option<Vec<Value>> {
        Some((1..=self.jobs.get(id)?.attempt).map(|attempt| json!({"attempt": attempt})).collect())
    }

    /// Adds an event to a job.
    fn tell(&mut self, id: &str, kind: &str) {
        let Some(job) = self.jobs.get(id) else { return };
        let seq = job.events.len() + 1;
        let attempt = job.attempt + u32::from(kind == "job.running");
        self.write(&json!({"id": id, "event": {"seq": seq, "type": kind, "attempt": attempt, "tick": self.ticks}}));
    }

    fn write(&mut self, line: &Value) {
        if self.bug == Some(Bug::AckBeforeCommit) {
            self.unwritten.push_str(&line.to_string());
            self.unwritten.push('\n');
        } else {
            // A full disk is not what this program is about.
            let _ = self.log.write_all(format!("{line}\n").as_bytes());
        }
        self.apply(line);
    }

    fn apply(&mut self, line: &Value) {
        let Some(id) = line["id"].as_str() else { return };
        if line["body"].is_object() {
            self.jobs.insert(id.to_owned(), Job { body: line["body"].clone(), ..Job::default() });
            if let Some(key) = line["key"].as_str() {
                self.keys.insert(key.to_owned(), id.to_owned());
            }
            return;
        }
        let Some(job) = self.jobs.get_mut(id) else { return };
        let event = &line["event"];
        job.attempt = event["attempt"].as_u64().and_then(|attempt| u32::try_from(attempt).ok()).unwrap_or(0);
        job.status = match event["type"].as_str() {
            Some("job.running") => "running",
            Some("job.succeeded") => "succeeded",
            Some("job.cancelled") => "cancelled",
            _ => "queued",
        };
        job.events.push(event.clone());
    }
}
