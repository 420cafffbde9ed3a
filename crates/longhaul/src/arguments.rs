//! The command line as a whole: the list of commands, and what they share.

use clap::{Args, Parser, Subcommand};

use crate::client::DEFAULT_URL;
use crate::commands::{bench, config, demo, documents, jobs, keys, kinds, models, queues, serve, submit, verify};
use crate::exit;

/// `longhaul`.
#[derive(Debug, Parser)]
#[command(name = "longhaul", version, max_term_width = 100, arg_required_else_help = true)]
#[command(about = "Durable, resumable, cancellable asynchronous AI work in one binary")]
#[command(long_about = "\
Durable, resumable, cancellable asynchronous AI work in one binary.

`longhaul serve` takes work over HTTP, answers with a job id once the work is on disk, and runs it. \
`serve`, `config`, `models`, `verify`, `bench` and `demo` act on this machine; every other command talks to a \
running server.

A first look: longhaul demo

Or, in two terminals:

  longhaul serve
  longhaul submit echo --input '{\"hello\": \"world\"}' --wait")]
#[command(after_long_help = exit::HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do. The texts are attributes and not doc comments, which would take the place of the long help that each
/// command's arguments bring.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(about = "Run the server on this machine")]
    Serve(serve::ServeArguments),
    #[command(about = "Look at the configuration without starting anything")]
    Config(config::ConfigArguments),
    #[command(about = "Ask the configured models whether they answer")]
    Models(models::ModelsArguments),
    #[command(about = "Submit a job, and wait for its result if asked to")]
    Submit(Box<submit::SubmitArguments>),
    #[command(about = "List, show, follow, cancel, retry and delete jobs")]
    Jobs(jobs::JobsArguments),
    #[command(about = "List the kinds of job that the server knows")]
    Kinds(kinds::KindsArguments),
    #[command(about = "List, pause and resume queues")]
    Queues(queues::QueuesArguments),
    #[command(about = "Create, list and revoke API keys")]
    Keys(keys::KeysArguments),
    #[command(about = "Show uploaded documents")]
    Documents(documents::DocumentsArguments),
    #[command(about = "Audit a data directory on this machine")]
    Verify(verify::VerifyArguments),
    #[command(about = "Measure a server on this machine")]
    Bench(bench::BenchArguments),
    #[command(about = "See what goes wrong with AI work, and what becomes of it here: about a minute, no key")]
    Demo(demo::DemoArguments),
}

/// How to reach the server, and how to print.
#[derive(Debug, Clone, Args)]
pub(crate) struct RemoteArguments {
    /// The server's address
    #[arg(long, env = "LONGHAUL_URL", default_value = DEFAULT_URL, value_name = "URL", global = true)]
    pub(crate) url: String,
    /// Print the server's JSON as it came; lists one item a line, `jobs list` without --all as one page
    #[arg(long, global = true)]
    pub(crate) json: bool,
}
