//! A look at random jobs after the run: is everything there that must be?

use std::time::Duration;

use anyhow::{Context as _, bail};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde_json::Value;
use serde_json::value::RawValue;

use super::target::Running;
use super::wire::{Connection, request};
use crate::client::types::{Event, Job, Page};

/// How many jobs are looked at.
const LOOKED_AT: usize = 100;

/// A job younger than its retention by less than this may be deleted while we look.
const MARGIN: Duration = Duration::from_secs(10);

/// A job that came back right.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    pub(super) job_id: String,
    pub(super) number: u64,
    /// When it ended, from the start of the run.
    pub(super) ended: Duration,
}

/// What the look brought.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) looked_at: usize,
    /// What is wrong, with the job's id.
    pub(super) mismatches: Vec<String>,
}

/// Looks at up to a hundred jobs that cannot have been deleted yet.
pub(super) async fn random_jobs(
    mut jobs: Vec<Remembered>,
    now: Duration,
    keeps: Option<Duration>,
    running: &Running,
) -> anyhow::Result<Checked> {
    if let Some(keeps) = keeps {
        let oldest = now.saturating_sub(keeps.saturating_sub(MARGIN));
        jobs.retain(|job| job.ended >= oldest);
    }
    jobs.shuffle(&mut rand::make_rng::<StdRng>());
    jobs.truncate(LOOKED_AT);
    let mut connection = Connection::new(running.address);
    let mut checked = Checked { looked_at: jobs.len(), mismatches: Vec::new() };
    for job in jobs {
        if let Err(error) = look_at(&job, &mut connection, &running.host).await {
            checked.mismatches.push(format!("{}: {error:#}", job.job_id));
        }
    }
    Ok(checked)
}

async fn look_at(remembered: &Remembered, connection: &mut Connection, host: &str) -> anyhow::Result<()> {
    let id = &remembered.job_id;
    let job: Job = serde_json::from_slice(get(&format!("/v1/jobs/{id}"), connection, host).await?)?;
    if job.status != "succeeded" || job.attempt != 1 {
        bail!("it is {} in attempt {}", job.status, job.attempt);
    }
    let parsed = |value: &Option<Box<RawValue>>| value.as_ref().map(|raw| serde_json::from_str::<Value>(raw.get()));
    let (Some(input), Some(output)) = (parsed(&job.input).transpose()?, parsed(&job.output).transpose()?) else {
        bail!("its input or output is missing");
    };
    let text = output["text"].as_str().unwrap_or_default();
    if !text.starts_with(&format!("{:016}", remembered.number)) || output != input {
        bail!("its output is not its input");
    }
    let page = get(&format!("/v1/jobs/{id}/attempts"), connection, host).await?;
    let attempts = serde_json::from_slice::<Page<'_>>(page).context("attempts")?.data.len();
    if attempts != 1 {
        bail!("it has {attempts} attempts in its history");
    }
    let page = get(&format!("/v1/jobs/{id}/events"), connection, host).await?;
    let mut events = Vec::new();
    for item in serde_json::from_slice::<Page<'_>>(page).context("events")?.data {
        let event: Event = serde_json::from_str(item.get())?;
        events.push((event.seq, event.event));
    }
    let expected = [(1, "job.queued"), (2, "job.running"), (3, "job.succeeded")];
    if !events.iter().map(|(seq, event)| (*seq, event.as_str())).eq(expected) {
        bail!("its events are {events:?}");
    }
    Ok(())
}

async fn get<'c>(path: &str, connection: &'c mut Connection, host: &str) -> anyhow::Result<&'c [u8]> {
    let head = connection.exchange(&request("GET", host, path, None)).await?;
    if head.status != 200 {
        bail!("{path} got {}: {}", head.status, String::from_utf8_lossy(connection.body()));
    }
    Ok(connection.body())
}
