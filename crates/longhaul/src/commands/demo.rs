//! `longhaul demo`: what goes wrong with AI work, and what becomes of it here.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::demo::{self, Plan};
use crate::exit::{Exit, UsageError};
use crate::screen::Screen;

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(long_about = "\
See what goes wrong with AI work, and what becomes of it here: about a minute, on this machine, without a key.

First an API that works within the request meets more clients than it has workers, and then Longhaul meets the same. \
Then one flaky provider is asked behind one more layer at a time: retry, timeout, fallback, cache; how many questions are \
answered, how fast and at what cost is measured at each step. Then documents are read by a server that is killed with \
SIGKILL in the middle and started again. In the end the dashboard of that server can be looked at.

The server is this program, in a temporary directory that is removed afterwards; it is spoken to over HTTP and measured \
as it runs. Only the AI at the far end is simulated. The exit code is 1 if what is promised was not seen.

Examples:
  longhaul demo
  longhaul demo --no-wait --json | jq .ladder
  longhaul demo --listen 127.0.0.1:8080")]
pub(crate) struct DemoArguments {
    /// Which question meets which fault; the same seed, the same faults
    #[arg(long, default_value_t = 7, value_name = "NUMBER")]
    seed: u64,
    /// Less of everything: some seconds instead of a minute, and coarser figures
    #[arg(long)]
    quick: bool,
    /// End when all is shown, even if a terminal watches
    #[arg(long)]
    no_wait: bool,
    /// Print the figures as one JSON object, and the story on standard error
    #[arg(long)]
    json: bool,
    /// Where the server listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where the temporary directory is made [default: the system's]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub(crate) fn run(arguments: DemoArguments, screen: &mut Screen) -> anyhow::Result<Exit> {
    if !arguments.listen.ip().is_loopback() {
        let message =
            format!("--listen {}: the demonstration has no keys, so it listens on loopback only", arguments.listen);
        return Err(UsageError(message).into());
    }
    let plan = Plan {
        seed: arguments.seed,
        quick: arguments.quick,
        json: arguments.json,
        listen: arguments.listen,
        directory: arguments.directory.unwrap_or_else(std::env::temp_dir),
        stay: !arguments.no_wait && !arguments.json && std::io::stdout().is_terminal(),
    };
    let report = demo::run(&plan, screen)?;
    if plan.json {
        screen.line(serde_json::to_string(&report)?)?;
    }
    Ok(if report.broken.is_empty() { Exit::Ok } else { Exit::Failed })
}
