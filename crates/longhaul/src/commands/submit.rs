//! `longhaul submit`: puts a job in, exactly once even if the connection breaks, and waits for it if asked to.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::value::RawValue;

use super::Server;
use super::waiting::{self, Waiting};
use crate::arguments::RemoteArguments;
use crate::client::Request;
use crate::client::types::{NewJob, Receipt};
use crate::config::parse_duration;
use crate::exit::{Exit, UsageError};
use crate::screen::{Screen, clean};

/// The largest input that is read from a file or from standard input, in bytes. Servers take less by default.
const MAX_INPUT_BYTES: u64 = 64 << 20;

/// Arguments of `submit`.
#[derive(Debug, Args)]
#[command(long_about = "\
Submit a job. The server answers once the job is on disk; its id is printed on standard output.

The input is JSON: on the command line (--input), in a file (--file), or on standard input (--file -, or a lone -). \
Without any it is an empty object. With --document a file is uploaded and taken apart by `document.ingest`.

Every submission carries an idempotency key, made up when none is given: if the connection breaks and the request is \
sent again, the server still has one job. Give your own key to make a whole script safe to run twice.

With --wait the command follows the job (a progress bar where a terminal watches) and prints its output. Ctrl-C stops \
the waiting, not the job.

Examples:
  longhaul submit echo --input '{\"a\": 1}' --wait
  longhaul submit analysis --file request.json --queue slow --priority 10
  jq -n '{query: \"hi\"}' | longhaul submit process - --wait --timeout 30s
  longhaul submit document.ingest --document report.pdf --wait --json
  longhaul submit echo --delay 10m --metadata team=search --idempotency-key nightly-2026-01-31")]
#[command(after_long_help = crate::exit::HELP)]
pub(crate) struct SubmitArguments {
    /// The kind of job; `longhaul kinds` lists them
    kind: String,
    /// Read the input from standard input
    #[arg(value_name = "-", value_parser = ["-"], conflicts_with_all = ["input", "file"])]
    stdin: Option<String>,
    /// The input as JSON; beside --document, the options of the upload
    #[arg(long, value_name = "JSON", conflicts_with = "file")]
    input: Option<String>,
    /// A file with the input as JSON; - is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A file to upload; the kind must be document.ingest
    #[arg(long, value_name = "FILE", conflicts_with_all = ["queue", "priority", "delay", "deadline", "max_attempts", "retention", "metadata"])]
    document: Option<PathBuf>,
    /// The queue [default: the kind's]
    #[arg(long)]
    queue: Option<String>,
    /// From -100 to 100, higher first
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-100..=100))]
    priority: Option<i32>,
    /// Run it no sooner than this from now, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    delay: Option<Duration>,
    /// Fail it if it has not ended after this, such as 2h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    deadline: Option<Duration>,
    /// How often it may be tried
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,
    /// How long it is kept after its end, such as 30d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    retention: Option<Duration>,
    /// A label to find it by; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Submissions with the same key and input are one job
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Follow the job and print its output
    #[arg(long)]
    wait: bool,
    /// Stop waiting after this, such as 90s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "wait")]
    timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) remote: RemoteArguments,
}

/// Reads `key=value`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

pub(crate) async fn run(arguments: SubmitArguments, server: &Server, screen: &mut Screen) -> anyhow::Result<Exit> {
    let waiting = arguments.wait.then_some(Waiting { timeout: arguments.timeout });
    let key = arguments.idempotency_key.clone().unwrap_or_else(|| server.client.new_idempotency_key());
    let request = request(arguments)?.idempotent(key);
    let answer = server.client.send(request).await?;
    let receipt: Receipt = answer.read()?;
    if answer.header("idempotency-replayed").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        screen.note("this idempotency key was used before; the job is the one made then");
    }
    match waiting {
        Some(waiting) => waiting::for_job(&receipt.job_id, waiting, server, screen).await,
        None if server.json => {
            screen.raw(&answer.body)?;
            Ok(Exit::Ok)
        }
        None => {
            screen.line(clean(&receipt.job_id))?;
            screen.hint(format!("{}; follow it with: longhaul jobs show {} --wait", receipt.status, receipt.job_id));
            Ok(Exit::Ok)
        }
    }
}

fn request(arguments: SubmitArguments) -> anyhow::Result<Request> {
    let input = input(&arguments)?;
    if let Some(document) = arguments.document {
        if arguments.kind != "document.ingest" {
            let message = format!("--document goes with the kind document.ingest, not `{}`", arguments.kind);
            return Err(UsageError(message).into());
        }
        let options = input.map(|input| input.get().to_owned());
        return Ok(Request::post(&["v1", "documents"]).upload(document, options));
    }
    let mut metadata = BTreeMap::new();
    for (key, value) in arguments.metadata {
        if metadata.insert(key.clone(), value).is_some() {
            return Err(UsageError(format!("--metadata names `{key}` twice")).into());
        }
    }
    let input = match input {
        Some(input) => input,
        None => RawValue::from_string("{}".to_owned())?,
    };
    Ok(Request::post(&["v1", "jobs"]).json(&NewJob {
        kind: arguments.kind,
        input,
        queue: arguments.queue,
        priority: arguments.priority,
        delay_s: arguments.delay.map(|delay| delay.as_secs_f64()),
        deadline_s: arguments.deadline.map(|deadline| deadline.as_secs_f64()),
        max_attempts: arguments.max_attempts,
        retention_s: arguments.retention.map(|retention| retention.as_secs_f64()),
        metadata,
    }))
}

/// The input as the person wrote it, known to be JSON.
fn input(arguments: &SubmitArguments) -> anyhow::Result<Option<Box<RawValue>>> {
    let (origin, text) = match (&arguments.input, &arguments.file, &arguments.stdin) {
        (Some(text), _, _) => ("--input".to_owned(), text.clone()),
        (None, Some(file), _) if file.as_path() != Path::new("-") => {
            let name = file.display().to_string();
            let opened =
                std::fs::File::open(file).map_err(|error| UsageError(format!("cannot read {name}: {error}")))?;
            (name.clone(), read_text(&name, opened)?)
        }
        (None, None, None) => return Ok(None),
        _ => ("standard input".to_owned(), read_text("standard input", std::io::stdin())?),
    };
    match serde_json::from_str(&text) {
        Ok(input) => Ok(Some(input)),
        Err(error) => Err(UsageError(format!("{origin} is not JSON: {error}")).into()),
    }
}

fn read_text(name: &str, source: impl std::io::Read) -> Result<String, UsageError> {
    let mut text = String::new();
    let read = source.take(MAX_INPUT_BYTES + 1).read_to_string(&mut text);
    match read {
        Err(error) => Err(UsageError(format!("cannot read {name}: {error}"))),
        Ok(_) if text.len() as u64 > MAX_INPUT_BYTES => {
            Err(UsageError(format!("{name} is larger than {} MiB", MAX_INPUT_BYTES >> 20)))
        }
        Ok(_) => Ok(text),
    }
}
