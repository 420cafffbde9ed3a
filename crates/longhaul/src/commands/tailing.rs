//! Following a job's events as they happen.
//!
//! The stream is begun again after the last event that was shown, as often as it breaks: nothing is shown twice and
//! nothing is left out, whether the connection broke or the server was killed and started again.

use std::time::Duration;

use serde_json::value::RawValue;

use super::Server;
use super::waiting::{may_pass, took};
use crate::client::types::{Event, Job};
use crate::client::{EventStream, Request, StreamedEvent};
use crate::clock::Stopwatch;
use crate::exit::Exit;
use crate::screen::{Screen, Tint, clean};

/// How long a server may be away before the tail is given up.
const AWAY_AT_MOST: Duration = Duration::from_secs(300);

/// How the tail has come out.
enum Shown {
    /// The job has ended, and so has its stream.
    AllOf,
    /// The stream ended before the job did.
    Part,
}

/// What is on the screen.
struct Tail<'a> {
    screen: &'a mut Screen,
    json: bool,
    /// The last event that was shown.
    last: u64,
    /// The status that the last event told of.
    ended: Option<String>,
    /// Output is being written, and its line has not ended.
    in_output: bool,
}

/// Shows a job's events after `after`, until its last one.
pub(super) async fn tail(job_id: &str, after: u64, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let mut tail = Tail { screen, json: server.json, last: after, ended: None, in_output: false };
    let followed = tokio::select! {
        followed = follow(job_id, server, &mut tail) => followed,
        _ = tokio::signal::ctrl_c() => {
            let last = tail.last;
            tail.end_output()?;
            tail.screen.note(format!("stopped; the job goes on: longhaul jobs tail {job_id} --after {last}"));
            return Ok(Exit::TimedOut);
        }
    };
    tail.end_output()?;
    followed?;
    let status = match tail.ended.take() {
        Some(status) => status,
        // It had ended before `after`: there was nothing to show.
        None => {
            let answer = server.client.send(Request::get(&["v1", "jobs", job_id])).await?;
            let job: Job = answer.read()?;
            if let Some(took) = took(job.started_at.as_deref(), job.finished_at.as_deref()) {
                tail.screen.note(format!("{} {}, after {took}", clean(&job.job_id), clean(&job.status)));
            }
            job.status
        }
    };
    Ok(if status == "succeeded" { Exit::Ok } else { Exit::Failed })
}

async fn follow(job_id: &str, server: &Server, tail: &mut Tail<'_>) -> anyhow::Result<()> {
    let mut away: Option<Stopwatch> = None;
    let mut failures = 0;
    loop {
        let shown = match server.client.stream_events(job_id, tail.last).await {
            Ok(None) => return Ok(()),
            Ok(Some(stream)) => {
                let before = tail.last;
                let shown = show_all(stream, tail).await;
                if tail.last > before {
                    (away, failures) = (None, 0);
                }
                shown
            }
            Err(error) => Err(error.into()),
        };
        match shown {
            Ok(Shown::AllOf) => return Ok(()),
            Ok(Shown::Part) => {}
            Err(error) if may_pass(&error) && away.get_or_insert_with(Stopwatch::start).elapsed() < AWAY_AT_MOST => {}
            Err(error) => return Err(error),
        }
        failures += 1;
        server.client.pause(failures).await;
    }
}

async fn show_all(mut stream: EventStream, tail: &mut Tail<'_>) -> anyhow::Result<Shown> {
    while let Some(event) = stream.next().await? {
        tail.show(&event)?;
    }
    Ok(if tail.ended.is_some() { Shown::AllOf } else { Shown::Part })
}

impl Tail<'_> {
    fn show(&mut self, streamed: &StreamedEvent) -> anyhow::Result<()> {
        let Some(seq) = streamed.id else {
            // A word of the stream: what it means is done by beginning again.
            if streamed.name == "stream.trimmed" && !self.json {
                self.end_output()?;
                self.screen.note("earlier output is no longer kept");
            }
            return Ok(());
        };
        if seq <= self.last {
            return Ok(());
        }
        self.last = seq;
        if let Some(status) = streamed.name.strip_prefix("job.")
            && matches!(status, "succeeded" | "failed" | "cancelled")
        {
            self.ended = Some(status.to_owned());
        }
        if self.json {
            self.screen.raw(streamed.data.get().as_bytes())?;
            return Ok(());
        }
        let event: Event = serde_json::from_str(streamed.data.get())?;
        if event.event == "job.output.delta" {
            return self.show_output(event.data.as_deref());
        }
        self.end_output()?;
        let data = event.data.as_deref().map(RawValue::get).filter(|data| *data != "{}").unwrap_or_default();
        let name =
            self.screen.tinted(Tint::of_status(event.event.strip_prefix("job.").unwrap_or_default()), &event.event);
        let time = self.screen.tinted(Tint::Dim, &clean(&event.time));
        self.screen.line(format!("{seq:>6}  {time}  {name}  {}", clean(data)).trim_end())?;
        Ok(())
    }

    /// Text is written as it comes; anything else as a line.
    fn show_output(&mut self, data: Option<&RawValue>) -> anyhow::Result<()> {
        #[derive(serde::Deserialize)]
        struct Delta<'a> {
            #[serde(default)]
            text: Option<String>,
            #[serde(default, borrow)]
            items: Vec<&'a RawValue>,
        }
        let Some(data) = data else { return Ok(()) };
        let delta: Delta<'_> = serde_json::from_str(data.get())?;
        if let Some(text) = delta.text.filter(|text| !text.is_empty()) {
            self.screen.part(clean(&text))?;
            self.in_output = true;
        }
        for item in delta.items {
            self.end_output()?;
            self.screen.line(clean(item.get()))?;
        }
        Ok(())
    }

    fn end_output(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.in_output) {
            self.screen.line("")?;
        }
        Ok(())
    }
}
