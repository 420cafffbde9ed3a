//! Following one job to its end.
//!
//! The server holds each request until the job has changed (`?wait=`, `If-None-Match`), so the job is seen to move at
//! once and nothing is polled in a hurry. A server that goes away for a moment, to be restarted for one, does not end
//! the wait: the job is on its disk.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::StatusCode;

use super::Server;
use crate::client::types::Job;
use crate::client::{Answer, ClientError, Request};
use crate::clock::Stopwatch;
use crate::exit::Exit;
use crate::screen::{Screen, Tint, clean, pretty, span};

/// How long the server is asked to hold a request, in seconds; the contract allows 60.
const HOLD_S: u64 = 30;

/// How long a server may be away before the wait is given up.
const AWAY_AT_MOST: Duration = Duration::from_secs(60);

/// How to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    /// For how long; without an end if there is none.
    pub(super) timeout: Option<Duration>,
}

/// Follows a job, prints its result, and turns its end into an exit code.
pub(super) async fn for_job(
    job_id: &str,
    waiting: Waiting,
    server: &Server,
    screen: &mut Screen,
) -> anyhow::Result<Exit> {
    let bar = Bar::new(screen);
    let followed = tokio::select! {
        followed = follow(job_id, waiting, server, &bar) => followed,
        _ = tokio::signal::ctrl_c() => Ok(None),
    };
    bar.finish();
    match followed {
        Ok(Some((answer, job))) => show_end(&answer, &job, server, screen),
        Ok(None) => {
            screen.note(format!("stopped waiting; the job goes on: longhaul jobs show {job_id} --wait"));
            Ok(Exit::TimedOut)
        }
        Err(error) => {
            screen.note(format!("the job was accepted: {job_id}"));
            Err(error)
        }
    }
}

/// The ended job, or nothing when the time was over.
async fn follow(job_id: &str, waiting: Waiting, server: &Server, bar: &Bar) -> anyhow::Result<Option<(Answer, Job)>> {
    let started = Stopwatch::start();
    let mut away: Option<Stopwatch> = None;
    let mut known: Option<String> = None;
    let mut failures = 0;
    loop {
        let left = waiting.timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
        if left == Some(Duration::ZERO) {
            return Ok(None);
        }
        let hold_s = left.map_or(HOLD_S, |left| left.as_secs().clamp(1, HOLD_S));
        let mut request = Request::get(&["v1", "jobs", job_id]);
        // The first look is answered at once, so that the bar shows the job as it stands.
        if failures == 0 && (known.is_some() || !bar.is_live()) {
            request = request.wait(hold_s, known.clone());
        }
        let sent = server.client.send(request);
        let outcome = match left {
            Some(left) => match tokio::time::timeout(left, sent).await {
                Ok(outcome) => outcome,
                Err(_) => return Ok(None),
            },
            None => sent.await,
        };
        match outcome {
            Ok(answer) => {
                away = None;
                failures = 0;
                if answer.status == StatusCode::NOT_MODIFIED {
                    continue;
                }
                let job: Job = answer.read()?;
                bar.show(&job);
                if job.is_terminal() {
                    return Ok(Some((answer, job)));
                }
                known = answer.header("etag").map(str::to_owned);
                if known.is_none() {
                    // Without a version to compare, hold until the end instead of asking in a circle.
                    known = Some("\"\"".to_owned());
                }
            }
            Err(error) if may_pass(&error) && away.get_or_insert_with(Stopwatch::start).elapsed() < AWAY_AT_MOST => {
                failures += 1;
                bar.say("the server is away; waiting for it");
                server.client.pause(failures).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether an error may be over soon.
pub(super) fn may_pass(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Unreachable { .. }) => true,
        Some(ClientError::Broken(problem)) => problem.status == 503,
        _ => false,
    }
}

fn show_end(answer: &Answer, job: &Job, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    if server.json {
        screen.raw(&answer.body)?;
    } else if job.status == "succeeded" {
        let output = job.output.as_ref().map_or("null", |output| output.get());
        screen.line(clean(&pretty(output)))?;
    }
    if job.status == "succeeded" {
        return Ok(Exit::Ok);
    }
    let mut text = format!("{} {}", job.job_id, job.status);
    if let Some(error) = &job.error {
        text.push_str(&format!(": {} ({})", error.message, error.code));
    }
    if job.attempt > 1 {
        text.push_str(&format!(", after {} attempts", job.attempt));
    }
    screen.note(screen.tinted(Tint::Plain, &clean(&text)));
    Ok(Exit::Failed)
}

/// The progress bar; nothing at all unless a terminal watches.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(screen: &Screen) -> Self {
        if !screen.is_live() {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(Some(1_000), ProgressDrawTarget::stderr());
        bar.set_style(spinner_style());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(Some(bar))
    }

    fn is_live(&self) -> bool {
        self.0.is_some()
    }

    fn say(&self, text: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(text.to_owned());
        }
    }

    fn show(&self, job: &Job) {
        let Some(bar) = &self.0 else { return };
        let fraction = job.progress.as_ref().and_then(|progress| progress.fraction);
        if let Some(fraction) = fraction {
            bar.set_style(bar_style());
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 … 1,000")]
            bar.set_position((fraction.clamp(0.0, 1.0) * 1_000.0) as u64);
        }
        bar.set_message(in_words(job));
    }

    fn finish(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

fn spinner_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {elapsed} [{bar:30}] {percent:>3}% {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// What a job is doing, in a line.
fn in_words(job: &Job) -> String {
    let mut words = match job.status_reason.as_deref() {
        Some(reason) if !job.is_terminal() => format!("{} ({})", job.status, reason.replace('_', " ")),
        _ => job.status.clone(),
    };
    if let Some(position) = job.queue_position {
        words.push_str(&format!(", {position} before it"));
    }
    if job.attempt > 1 {
        words.push_str(&format!(", attempt {} of {}", job.attempt, job.max_attempts.unwrap_or(job.attempt)));
    }
    if let Some(message) = job.progress.as_ref().and_then(|progress| progress.message.as_deref()) {
        words.push_str(&format!(", {message}"));
    }
    clean(&words).replace('\n', " ")
}

/// How long a job took, if it says.
pub(super) fn took(started: Option<&str>, finished: Option<&str>) -> Option<String> {
    let started: jiff::Timestamp = started?.parse().ok()?;
    let finished: jiff::Timestamp = finished?.parse().ok()?;
    let ms = finished.as_millisecond().saturating_sub(started.as_millisecond());
    Some(span(Duration::from_millis(u64::try_from(ms).ok()?)))
}
