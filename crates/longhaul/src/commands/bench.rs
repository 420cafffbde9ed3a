//! `longhaul bench`: measures a server on this machine.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::bench::{self, DocumentsPlan, GatewayPlan, Plan, QuestionsPlan, StreamsPlan, Target, Until, WorkersPlan};
use crate::config::{Environment, Setting, StoreUrl, parse_duration};
use crate::exit::{Exit, UsageError};
use crate::screen::{Screen, Table};

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    #[command(about = "Submit echo jobs over HTTP, follow each to its result, report rates and latencies")]
    Jobs(Box<JobsArguments>),
    #[command(about = "Measure how fast jobs get to workers and back over HTTP")]
    Workers(Box<WorkersArguments>),
    #[command(about = "Measure how fast what jobs stream reaches those who follow them")]
    Streams(StreamsArguments),
    #[command(about = "Measure how fast POST /process answers what is in its cache")]
    Process(ProcessArguments),
    #[command(about = "Measure what the gateway adds to a call: directly, through nginx, through Longhaul")]
    Gateway(GatewayArguments),
    #[command(about = "Measure how fast documents are read, with what memory, and how many words come out right")]
    Documents(DocumentsArguments),
    #[command(hide = true, about = "The provider that `bench gateway` measures with")]
    GatewayUpstream,
}

#[derive(Debug, Args)]
#[command(long_about = "\
Measure how fast jobs get to workers and back over HTTP.

A server is started for the purpose, in a temporary directory. First a claim waits and one job at a time is submitted: \
the time from sending the submission to the claim's answer is what a worker adds to an idle server. Then raw clients \
work off a backlog in batches of 64. With --command a worker in any language is started, which serves the kind \
`bench.noop` and finds the server through LONGHAUL_URL, and works off a backlog of its own.

Examples:
  longhaul bench workers
  longhaul bench workers --command 'python sdk/python/bench/noop_worker.py'")]
struct WorkersArguments {
    /// Rounds of one job against an idle server
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..))]
    rounds: u64,
    /// Jobs that the raw clients work off
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    jobs: u64,
    /// How many raw clients there are, each with a connection of its own
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    clients: u16,
    /// A command that starts a worker; its words are separated by blanks
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// Jobs that this worker works off
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    command_jobs: u64,
    /// Where the server's temporary directory is made; a sync means nothing on tmpfs [default: the system's]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(long_about = "\
Submit echo jobs over HTTP, follow each to its result, report rates and latencies.

A server is started for the purpose, in a temporary directory, with everything on that a server has on. Each client \
keeps one connection and has one request under way: it submits a job with an input of 1 KiB, waits for the 202, waits \
for the result, compares it with what it sent, and begins again. Afterwards a hundred random jobs are looked at: one \
attempt, three events, the output in place. The driver runs on the same machine and takes its share of the processor; \
its cost is reported beside the server's.

With --for the server deletes ended jobs after a short retention, so that deleting is part of what is measured.

With --preload a queue is filled with that many jobs, and the cost of a job is compared with that at 1,000.

Ends with 1 if a job is not as it must be, or if a request went wrong.

Examples:
  longhaul bench jobs --clients 64 --jobs 100000
  longhaul bench jobs --clients 64 --for 5m --json
  longhaul bench jobs --preload 1000000
  longhaul bench jobs --store postgres://longhaul@localhost/bench
  longhaul bench jobs --target http://127.0.0.1:9000 --for 20s --warm-up 5s --no-check")]
struct JobsArguments {
    /// How many clients, each with a connection of its own
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// Stop after so many jobs [default: 50000]
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    jobs: Option<u64>,
    /// Stop after this time, such as 5m
    #[arg(long = "for", id = "duration", value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Leave this time at the beginning out of the figures
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    warm_up: Duration,
    /// How long the server keeps ended jobs [default: 60s with --for, else as configured]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    retention: Option<Duration>,
    /// Submit only, do not wait for results
    #[arg(long)]
    submit_only: bool,
    /// Do not look at random jobs in the end
    #[arg(long)]
    no_check: bool,
    /// Compare the cost of a job with so many queued to that with 1,000
    #[arg(long, value_name = "N", conflicts_with_all = ["jobs", "duration", "submit_only"], value_parser = clap::value_parser!(u64).range(10_000..))]
    preload: Option<u64>,
    /// What to measure: longhaul, or the http:// address of a server with the same two routes
    #[arg(long, default_value = "longhaul", value_name = "TARGET")]
    target: String,
    /// Keep the jobs in this PostgreSQL database, whose tables are made where they are missing, and stay
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Count this process as the server's in CPU and memory; may be repeated
    #[arg(long, value_name = "PID")]
    watch: Vec<u32>,
    /// Where the server's temporary directory is made; a sync means nothing on tmpfs [default: the system's]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// No line of progress each second
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Args)]
#[command(long_about = "\
Measure how fast POST /process answers what is in its cache.

A server is started in a temporary directory and its cache filled with 64 questions. Then as many clients as asked for, each \
on a connection of its own, ask at a steady rate over all of them; a latency counts from the moment at which the question was \
due, so what a stall holds back is in the figures. Afterwards all of them ask as fast as they can. Every answer must have come \
from the cache.

Examples:
  longhaul bench process
  longhaul bench process --clients 1000 --rate 5000 --items 10 --turn 30s --json")]
struct ProcessArguments {
    /// How many clients, each with a connection of its own
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// Questions a second, over all clients
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Items of each question
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    items: u16,
    /// How long each of the two parts takes
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    turn: Duration,
    /// What to measure: longhaul, or the http:// address of a server that runs already
    #[arg(long, default_value = "longhaul", value_name = "TARGET")]
    target: String,
    /// Where the server's temporary directory is made [default: the system's]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(long_about = "\
Measure what the gateway adds to a call.

The same chat completions are asked for directly at a provider, through nginx as a plain proxy, and through Longhaul with \
its whole stack on: cache looked up, time-outs, retry, breaker, limits, prices, the record of each call. The provider is \
a process of this program that answers at once from memory. The three take turns of a few seconds, so that whatever else \
the machine does meets them alike; figures are medians over the rounds. Without nginx on this machine it is left out, \
and that is said.

Examples:
  longhaul bench gateway
  longhaul bench gateway --rounds 7 --turn 3s --json")]
struct GatewayArguments {
    /// How many connections at saturation
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    clients: u16,
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// How long a turn takes
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    turn: Duration,
    /// The nginx program [default: the one on the PATH]
    #[arg(long, value_name = "FILE")]
    nginx: Option<PathBuf>,
    /// Where temporary directories are made [default: the system's]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Do not say what is being measured
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Args)]
#[command(long_about = "\
Measure how fast what jobs stream reaches those who follow them.

For each number of streams a server is started in a temporary directory. Each stream has a writer, which brings chunks over \
the worker protocol at a steady rate, and a reader, which follows the job's events. Reported are the time from sending a \
chunk to the answer that it is on disk, from sending it to the reader, and what following adds to the former. Ends with an \
error if a chunk was not read.

Examples:
  longhaul bench streams
  longhaul bench streams --streams 1,100,1000 --rate 5 --turn 20s --json
  longhaul bench streams --streams 100 --readers 0,10 --rate 10 --rounds 5")]
struct StreamsArguments {
    /// How many streams at once, one figure after the other
    #[arg(long, value_delimiter = ',', default_value = "1,100,1000", value_parser = clap::value_parser!(u16).range(1..=5_000))]
    streams: Vec<u16>,
    /// How many follow each stream, one figure after the other; 0 for nobody
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u16).range(0..=1_000))]
    readers: Vec<u16>,
    /// How many rounds of all figures there are; what is compared is measured in turn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How many bytes of text a chunk has
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(16..=16_384))]
    chunk: u16,
    /// How many chunks a second each stream writes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// How long each figure takes
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    turn: Duration,
    /// Where the server's temporary directory is made; a sync means nothing on tmpfs [default: the system's]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(long_about = "\
Measure how fast documents are read, with what memory, and how many words come out right.

A server is started for the purpose, in a temporary directory. Documents of known words are made and uploaded: many with a \
text layer, one with very many pages, one whose pages are pictures, for which Tesseract must be on this machine; without it \
they are left out, and that is said. The memory of the server and of the processes that read for it is looked at ten times \
a second: it should be the same in the last quarter as in the first. Words that come out are compared with those that went \
in: of pages as they are, and as a scanner would give them, with noise, askew and lying on their side.

Examples:
  longhaul bench documents
  longhaul bench documents --documents 40 --scanned 32 --json")]
struct DocumentsArguments {
    /// How many documents with a text layer
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    documents: u16,
    /// Pages of each
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    pages: u16,
    /// Pages of the one long document
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    long: u16,
    /// Pages that are pictures
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    scanned: u16,
    /// Where the server's temporary directory is made; a sync means nothing on tmpfs [default: the system's]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Do not say what is being measured
    #[arg(long)]
    quiet: bool,
}

fn documents(arguments: DocumentsArguments, screen: &mut Screen) -> anyhow::Result<Exit> {
    let plan = DocumentsPlan {
        documents: usize::from(arguments.documents),
        pages: usize::from(arguments.pages),
        long: usize::from(arguments.long),
        scanned: usize::from(arguments.scanned),
        directory: arguments.directory.unwrap_or_else(std::env::temp_dir),
        progress: !arguments.quiet,
    };
    let report = bench::documents(&plan, screen)?;
    print(&report, &report.tables(), arguments.json, screen)?;
    Ok(Exit::Ok)
}

fn streams(arguments: StreamsArguments, screen: &mut Screen) -> anyhow::Result<Exit> {
    let plan = StreamsPlan {
        streams: arguments.streams.iter().map(|&streams| usize::from(streams)).collect(),
        readers: arguments.readers.iter().map(|&readers| usize::from(readers)).collect(),
        rounds: arguments.rounds,
        rate: arguments.rate,
        chunk: usize::from(arguments.chunk),
        turn: arguments.turn,
        directory: arguments.directory.unwrap_or_else(std::env::temp_dir),
    };
    let report = bench::streams(&plan, screen)?;
    print(&report, &report.tables(), arguments.json, screen)?;
    Ok(Exit::Ok)
}

fn process(arguments: ProcessArguments, screen: &mut Screen) -> anyhow::Result<Exit> {
    let plan = QuestionsPlan {
        clients: usize::from(arguments.clients),
        rate: arguments.rate,
        items: usize::from(arguments.items),
        turn: arguments.turn,
        target: match arguments.target.as_str() {
            "longhaul" => Target::Longhaul { retention: None, concurrency: None, store: None },
            url => Target::Url(url.to_owned()),
        },
        directory: arguments.directory.unwrap_or_else(std::env::temp_dir),
    };
    let report = bench::questions(&plan, screen)?;
    print(&report, &report.tables(), arguments.json, screen)?;
    Ok(Exit::Ok)
}

pub(crate) fn run(arguments: BenchArguments, _: &Environment, screen: &mut Screen) -> anyhow::Result<Exit> {
    let arguments = match arguments.command {
        BenchCommand::Jobs(arguments) => arguments,
        BenchCommand::Workers(arguments) => return workers(*arguments, screen),
        BenchCommand::Streams(arguments) => return streams(arguments, screen),
        BenchCommand::Process(arguments) => return process(arguments, screen),
        BenchCommand::Gateway(arguments) => return gateway(arguments, screen),
        BenchCommand::Documents(arguments) => return documents(arguments, screen),
        BenchCommand::GatewayUpstream => {
            let mut said = Ok(());
            bench::gateway::serve_upstream(|address| said = screen.line(format!("listening on http://{address}")))?;
            said?;
            return Ok(Exit::Ok);
        }
    };
    let plan = plan(&arguments)?;
    if let Some(many) = arguments.preload {
        let depth = bench::depth(many, &plan, screen)?;
        print(&depth, &depth.tables(), arguments.json, screen)?;
        return Ok(Exit::Ok);
    }
    let report = bench::jobs(&plan, screen)?;
    print(&report, &report.tables(), arguments.json, screen)?;
    for mismatch in &report.mismatches {
        screen.note(format!("wrong: {mismatch}"));
    }
    Ok(if report.mismatches.is_empty() && report.errors == 0 { Exit::Ok } else { Exit::Failed })
}

fn gateway(arguments: GatewayArguments, screen: &mut Screen) -> anyhow::Result<Exit> {
    let plan = GatewayPlan {
        clients: usize::from(arguments.clients),
        rounds: arguments.rounds,
        turn: arguments.turn,
        nginx: arguments.nginx,
        directory: arguments.directory.unwrap_or_else(std::env::temp_dir),
        progress: !arguments.quiet,
    };
    let report = bench::gateway(&plan, screen)?;
    print(&report, &report.tables(), arguments.json, screen)?;
    Ok(Exit::Ok)
}

fn workers(arguments: WorkersArguments, screen: &mut Screen) -> anyhow::Result<Exit> {
    let found = bench::workers(
        &WorkersPlan {
            rounds: arguments.rounds,
            jobs: arguments.jobs,
            clients: usize::from(arguments.clients),
            command: arguments.command.map(|line| line.split_whitespace().map(str::to_owned).collect()),
            command_jobs: arguments.command_jobs,
            directory: arguments.directory.unwrap_or_else(std::env::temp_dir),
        },
        screen,
    )?;
    print(&found, &found.tables(), arguments.json, screen)?;
    Ok(Exit::Ok)
}

fn plan(arguments: &JobsArguments) -> Result<Plan, UsageError> {
    let until = match (arguments.jobs, arguments.duration) {
        (Some(jobs), _) => Until::Jobs(jobs),
        (None, Some(duration)) if duration.is_zero() => {
            return Err(UsageError("--for must be longer than zero".to_owned()));
        }
        (None, Some(duration)) => Until::For(duration),
        (None, None) => Until::Jobs(50_000),
    };
    let short = matches!(until, Until::For(_)).then_some(Duration::from_secs(60));
    let target = match arguments.target.as_str() {
        "longhaul" => {
            if let Some(url) = &arguments.store
                && !matches!(StoreUrl::from_text(url), Ok(StoreUrl::Postgres(_)))
            {
                // Not repeated: it may hold a password.
                return Err(UsageError("--store: write a URL such as postgres://user@host:5432/database".to_owned()));
            }
            Target::Longhaul {
                retention: arguments.retention.or(short),
                concurrency: None,
                store: arguments.store.clone(),
            }
        }
        _ if arguments.store.is_some() => {
            return Err(UsageError(
                "--store is for a server that is started for the purpose, not for --target".to_owned(),
            ));
        }
        url if url.starts_with("http://") => Target::Url(url.to_owned()),
        url => return Err(UsageError(format!("--target {url}: write `longhaul` or an http:// address"))),
    };
    Ok(Plan {
        clients: usize::from(arguments.clients),
        until,
        warm_up: arguments.warm_up,
        submit_only: arguments.submit_only,
        check: !arguments.no_check,
        target,
        watch: arguments.watch.clone(),
        directory: arguments.directory.clone().unwrap_or_else(std::env::temp_dir),
        progress: !arguments.quiet,
    })
}

fn print(figures: &impl Serialize, tables: &[Table], json: bool, screen: &mut Screen) -> anyhow::Result<()> {
    if json {
        screen.line(serde_json::to_string(figures)?)?;
        return Ok(());
    }
    for table in tables {
        screen.table(table)?;
        screen.line("")?;
    }
    Ok(())
}
