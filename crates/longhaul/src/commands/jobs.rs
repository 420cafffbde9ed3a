//! `longhaul jobs`: looking at jobs and acting on them.

use clap::{Args, Subcommand};
use serde_json::value::RawValue;

use super::Server;
use super::listing::{self, Listing};
use super::submit::pair;
use super::tailing;
use super::waiting::{self, Waiting, took};
use crate::arguments::RemoteArguments;
use crate::client::Request;
use crate::client::types::{Attempt, Event, Job, Page, Receipt};
use crate::clock;
use crate::config::parse_duration;
use crate::exit::{Exit, UsageError};
use crate::screen::{Screen, Table, Tint, clean, pretty, relative};

/// Arguments of `jobs`.
#[derive(Debug, Args)]
#[command(long_about = "\
List, show, follow, cancel, retry and delete jobs.

Examples:
  longhaul jobs list --status failed --kind analysis
  longhaul jobs list --metadata team=search --all --json | jq -r .job_id
  longhaul jobs show job_0192... --wait
  longhaul jobs tail job_0192...
  longhaul jobs events job_0192...
  longhaul jobs cancel job_0192...")]
#[command(after_long_help = crate::exit::HELP)]
pub(crate) struct JobsArguments {
    #[command(subcommand)]
    command: JobsCommand,
    #[command(flatten)]
    pub(crate) remote: RemoteArguments,
}

#[derive(Debug, Subcommand)]
enum JobsCommand {
    /// List jobs, the newest first
    List(ListArguments),
    /// Show one job; with --wait, follow it to its end and print its output
    Show {
        /// The job
        job_id: String,
        /// Follow it to its end and print its output
        #[arg(long)]
        wait: bool,
        /// Stop waiting after this, such as 90s
        #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "wait")]
        timeout: Option<std::time::Duration>,
    },
    /// Print the bare result of a job that has succeeded
    Result {
        /// The job
        job_id: String,
    },
    /// Follow a job's events and output as they come, to its end
    Tail {
        /// The job
        job_id: String,
        /// Only events after this number
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: u64,
    },
    /// Say why a job is not running
    Explain {
        /// The job
        job_id: String,
    },
    /// Print the history of a job
    Events {
        /// The job
        job_id: String,
        /// Only events after this number
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: u64,
    },
    /// List the attempts of a job
    Attempts {
        /// The job
        job_id: String,
    },
    /// Cancel a job that has not ended
    Cancel {
        /// The job
        job_id: String,
    },
    /// Submit a job again as a new one
    Retry {
        /// The job
        job_id: String,
    },
    /// Erase the data of a job that has ended
    Delete {
        /// The job
        job_id: String,
    },
}

#[derive(Debug, Args)]
struct ListArguments {
    /// queued, running, succeeded, failed or cancelled
    #[arg(long, value_parser = ["queued", "running", "succeeded", "failed", "cancelled"])]
    status: Option<String>,
    /// Only this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only this queue
    #[arg(long)]
    queue: Option<String>,
    /// Only jobs made after this time, such as 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    created_after: Option<String>,
    /// Only jobs made before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    created_before: Option<String>,
    /// Only jobs with this label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// How many a page, at most 200
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// Go on where an earlier list ended
    #[arg(long)]
    cursor: Option<String>,
    /// Fetch every page
    #[arg(long)]
    all: bool,
}

/// Checks a time before it is sent.
fn time(text: &str) -> Result<String, String> {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(time.to_string()),
        Err(_) => Err("write it like 2026-01-31T08:00:00Z".to_owned()),
    }
}

pub(crate) async fn run(arguments: JobsArguments, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    match arguments.command {
        JobsCommand::List(arguments) => list(arguments, server, screen).await,
        JobsCommand::Show { job_id, wait: true, timeout } => {
            waiting::for_job(&job_id, Waiting { timeout }, server, screen).await
        }
        JobsCommand::Show { job_id, .. } => show(&job_id, server, screen).await,
        JobsCommand::Result { job_id } => result(&job_id, server, screen).await,
        JobsCommand::Explain { job_id } => explain(&job_id, server, screen).await,
        JobsCommand::Tail { job_id, after } => tailing::tail(&job_id, after, server, screen).await,
        JobsCommand::Events { job_id, after } => events(&job_id, after, server, screen).await,
        JobsCommand::Attempts { job_id } => attempts(&job_id, server, screen).await,
        JobsCommand::Cancel { job_id } => {
            let request = Request::post(&["v1", "jobs", &job_id, "cancel"]).repeatable();
            act(request, server, screen).await
        }
        JobsCommand::Retry { job_id } => {
            let key = server.client.new_idempotency_key();
            act(Request::post(&["v1", "jobs", &job_id, "retry"]).idempotent(key), server, screen).await
        }
        JobsCommand::Delete { job_id } => {
            let answer = server.client.send(Request::delete(&["v1", "jobs", &job_id])).await?;
            if server.json && !answer.body.is_empty() {
                screen.raw(&answer.body)?;
            } else if !server.json {
                screen.line(format!("{} erased", clean(&job_id)))?;
            }
            Ok(Exit::Ok)
        }
    }
}

async fn list(arguments: ListArguments, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let page = |cursor: Option<&str>| {
        let mut request = Request::get(&["v1", "jobs"])
            .query_opt("status", arguments.status.clone())
            .query_opt("kind", arguments.kind.clone())
            .query_opt("queue", arguments.queue.clone())
            .query_opt("created_after", arguments.created_after.clone())
            .query_opt("created_before", arguments.created_before.clone())
            .query("limit", arguments.limit.to_string())
            .query_opt("cursor", cursor.map(str::to_owned).or_else(|| arguments.cursor.clone()));
        for (key, value) in &arguments.metadata {
            request = request.query_named(format!("metadata.{key}"), value.clone());
        }
        request
    };
    let now = clock::now();
    let mut table = Table::new(&["JOB", "KIND", "QUEUE", "STATUS", "REASON", ">TRY", "CREATED", "TOOK"]);
    let left = listing::print(
        Listing { page: &page, all: arguments.all, next: listing::given_cursor },
        server,
        screen,
        |item, _| {
            let job: Job = serde_json::from_str(item.get())?;
            let tint = Tint::of_status(&job.status);
            table.tinted([
                (job.job_id.as_str(), Tint::Plain),
                (&job.kind, Tint::Plain),
                (&job.queue, Tint::Plain),
                (&job.status, tint),
                (job.status_reason.as_deref().unwrap_or("-"), Tint::Dim),
                (&job.attempt.to_string(), Tint::Plain),
                (&job.created_at.as_deref().map_or("-".to_owned(), |time| relative(time, now)), Tint::Plain),
                (took(job.started_at.as_deref(), job.finished_at.as_deref()).as_deref().unwrap_or("-"), Tint::Plain),
            ]);
            Ok(())
        },
    )
    .await?;
    if !server.json {
        if table.is_empty() {
            screen.note("no jobs");
        } else {
            screen.table(&table)?;
        }
        if let Some(cursor) = left {
            screen.note(format!("there are more: --cursor {cursor}, or --all"));
        }
    }
    Ok(Exit::Ok)
}

async fn show(job_id: &str, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let answer = server.client.send(Request::get(&["v1", "jobs", job_id])).await?;
    if server.json {
        screen.raw(&answer.body)?;
        return Ok(Exit::Ok);
    }
    let job: Job = answer.read()?;
    let now = clock::now();
    let mut lines: Vec<(&str, String)> = vec![("job", job.job_id.clone()), ("kind", job.kind.clone())];
    lines.push(("queue", job.queue.clone()));
    let status = screen.tinted(Tint::of_status(&job.status), &clean(&job.status));
    let mut push = |name: &'static str, value: Option<String>| {
        if let Some(value) = value {
            lines.push((name, value));
        }
    };
    push("reason", job.status_reason.clone());
    push("position", job.queue_position.map(|position| position.to_string()));
    push("priority", (job.priority != 0).then(|| job.priority.to_string()));
    push("attempt", Some(format!("{} of {}", job.attempt, job.max_attempts.unwrap_or(job.attempt))));
    push("progress", job.progress.as_ref().map(progress));
    push("model", job.model.clone());
    push("degraded", job.degraded.then(|| "yes: the answer came from a fallback".to_owned()));
    push("retry of", job.retry_of.clone());
    let time = |time: &Option<String>| time.as_deref().map(|time| format!("{time} ({})", relative(time, now)));
    push("created", time(&job.created_at));
    push("not before", time(&job.run_at));
    push("started", time(&job.started_at));
    push("finished", time(&job.finished_at));
    push("took", took(job.started_at.as_deref(), job.finished_at.as_deref()));
    push("deadline", time(&job.deadline_at));
    push("kept until", time(&job.expires_at));
    for (key, value) in &job.metadata {
        lines.push(("metadata", format!("{key}={value}")));
    }
    screen.line(format!("{:<12}{status}", "status"))?;
    for (name, value) in lines {
        screen.line(format!("{name:<12}{}", clean(&value)))?;
    }
    if let Some(error) = &job.error {
        let again = if error.retryable { "may pass" } else { "final" };
        screen.line(format!("{:<12}{} ({}, {again})", "error", clean(&error.message), clean(&error.code)))?;
    }
    for (name, value) in [("input", &job.input), ("output", &job.output)] {
        if let Some(value) = value {
            screen.line(format!("{name}:"))?;
            screen.line(clean(&pretty(value.get())))?;
        }
    }
    Ok(Exit::Ok)
}

/// One sentence: what a job waits for, or that it does not wait.
async fn explain(job_id: &str, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let answer = server.client.send(Request::get(&["v1", "jobs", job_id])).await?;
    let job: Job = answer.read()?;
    if server.json {
        #[derive(serde::Deserialize)]
        struct Only<'a> {
            #[serde(borrow)]
            waiting_for: Option<&'a RawValue>,
        }
        let only: Only<'_> = answer.read()?;
        screen.raw(only.waiting_for.map_or("null", RawValue::get).as_bytes())?;
        return Ok(Exit::Ok);
    }
    match &job.waiting_for {
        Some(waiting) => {
            screen.line(clean(&waiting.message))?;
            if let Some(prompt) = &waiting.prompt {
                screen.line(format!("It asks: {}", clean(prompt)))?;
            }
        }
        None if job.is_terminal() => screen.line(format!("It has ended: {}.", clean(&job.status)))?,
        None => screen.line("It is running.")?,
    }
    Ok(Exit::Ok)
}

fn progress(progress: &crate::client::types::Progress) -> String {
    let percent = progress.fraction.map(|fraction| format!("{:.0}%", fraction * 100.0));
    [percent, progress.message.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

async fn result(job_id: &str, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let answer = server.client.send(Request::get(&["v1", "jobs", job_id, "result"])).await?;
    if answer.status == reqwest::StatusCode::ACCEPTED {
        screen.note(format!("the job has not ended; wait for it with: longhaul jobs show {job_id} --wait"));
        return Ok(Exit::TimedOut);
    }
    if server.json {
        screen.raw(&answer.body)?;
    } else {
        let value: &RawValue = answer.read()?;
        screen.line(clean(&pretty(value.get())))?;
    }
    Ok(Exit::Ok)
}

async fn events(job_id: &str, after: u64, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    /// The number of the last event: the next page begins after it.
    fn last_seq(page: &Page<'_>) -> Option<String> {
        let last: Event = serde_json::from_str(page.data.last()?.get()).ok()?;
        Some(last.seq.to_string())
    }
    let page = |cursor: Option<&str>| {
        let after = cursor.map_or_else(|| after.to_string(), str::to_owned);
        Request::get(&["v1", "jobs", job_id, "events"]).query("after", after)
    };
    let mut table = Table::new(&[">SEQ", "TIME", "EVENT", ">TRY", "DATA"]);
    listing::print(Listing { page: &page, all: true, next: last_seq }, server, screen, |item, _| {
        let event: Event = serde_json::from_str(item.get())?;
        let data = event.data.filter(|data| data.get() != "{}");
        table.tinted([
            (event.seq.to_string().as_str(), Tint::Plain),
            (&event.time, Tint::Dim),
            (&event.event, event_tint(&event.event)),
            (&event.attempt.map_or("-".to_owned(), |attempt| attempt.to_string()), Tint::Plain),
            (&data.map(|data| shortened(data.get())).unwrap_or_default(), Tint::Plain),
        ]);
        Ok(())
    })
    .await?;
    if !server.json {
        screen.table(&table)?;
    }
    Ok(Exit::Ok)
}

fn event_tint(event: &str) -> Tint {
    Tint::of_status(event.strip_prefix("job.").unwrap_or_default())
}

/// A text cut to what fits a line; `--json` has it whole.
fn shortened(text: &str) -> String {
    const CHARACTERS: usize = 100;
    if text.chars().count() <= CHARACTERS {
        return text.to_owned();
    }
    text.chars().take(CHARACTERS).chain(['…']).collect()
}

async fn attempts(job_id: &str, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let page = |cursor: Option<&str>| {
        Request::get(&["v1", "jobs", job_id, "attempts"]).query_opt("cursor", cursor.map(str::to_owned))
    };
    let now = clock::now();
    let mut table = Table::new(&[">TRY", "ENDED", "STARTED", "TOOK", "WORKER", "ERROR"]);
    let listing = Listing { page: &page, all: true, next: listing::given_cursor };
    listing::print(listing, server, screen, |item, _| {
        let attempt: Attempt = serde_json::from_str(item.get())?;
        let mut error = attempt.error.map(|error| format!("{} ({})", error.message, error.code)).unwrap_or_default();
        if attempt.ambiguous {
            error.push_str(" [ambiguous: it died during a call]");
        }
        let status = attempt
            .status
            .unwrap_or_else(|| if attempt.finished_at.is_some() { "ended".to_owned() } else { "running".to_owned() });
        table.tinted([
            (attempt.attempt.to_string().as_str(), Tint::Plain),
            (&status, Tint::of_status(&status)),
            (&attempt.started_at.as_deref().map_or("-".to_owned(), |time| relative(time, now)), Tint::Plain),
            (
                took(attempt.started_at.as_deref(), attempt.finished_at.as_deref()).as_deref().unwrap_or("-"),
                Tint::Plain,
            ),
            (attempt.worker_id.as_deref().unwrap_or("-"), Tint::Dim),
            (&error, Tint::Plain),
        ]);
        Ok(())
    })
    .await?;
    if !server.json {
        if table.is_empty() {
            screen.note("no attempts yet");
        } else {
            screen.table(&table)?;
        }
    }
    Ok(Exit::Ok)
}

/// An action that is answered with a job or a receipt.
async fn act(request: Request, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let answer = server.client.send(request).await?;
    if server.json {
        screen.raw(&answer.body)?;
        return Ok(Exit::Ok);
    }
    let receipt: Receipt = answer.read()?;
    if receipt.job_id.is_empty() {
        return Err(
            UsageError("the server's answer names no job; is LONGHAUL_URL a Longhaul server?".to_owned()).into()
        );
    }
    screen.line(format!("{} {}", clean(&receipt.job_id), clean(&receipt.status)))?;
    Ok(Exit::Ok)
}
