//! The server that is measured: one of our own in a temporary directory, or one that runs already.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::process::usage_of;
use super::{Plan, Target};
use crate::config::format_duration;
use crate::exit::UsageError;

/// How long our own server may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The line that `serve` prints when it is ready.
const READY: &str = "listening on http://";

/// A server under measurement. Should it be dropped without [`Running::stop`], it is killed all the same; the order of
/// the fields sees to it that its directory goes after it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) address: SocketAddr,
    /// For the `host` header.
    pub(super) host: String,
    /// Its processes.
    pub(super) pids: Vec<u32>,
    /// The memory it held when it was ready, in bytes.
    pub(super) idle_bytes: u64,
    child: Option<Child>,
    directory: Option<TempDir>,
    /// Its data lie in the directory.
    has_data: bool,
}

impl Running {
    /// Its data, if they are ours.
    pub(super) fn data(&self) -> Option<&Path> {
        self.directory.as_ref().filter(|_| self.has_data).map(TempDir::path)
    }

    /// Ends our own server and removes its data. What it would do at a proper end is not measured here.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(child) = &mut self.child {
            child.kill().await.context("cannot stop the server")?;
        }
        if let Some(directory) = self.directory.take() {
            directory.close().context("cannot remove the server's directory")?;
        }
        Ok(())
    }
}

/// Starts or finds the server.
pub(super) async fn start(plan: &Plan) -> anyhow::Result<Running> {
    match &plan.target {
        Target::Url(url) => existing(url, &plan.watch),
        Target::Longhaul { retention, concurrency, store } => {
            own(plan, *retention, *concurrency, store.as_deref()).await
        }
    }
}

fn existing(url: &str, watch: &[u32]) -> anyhow::Result<Running> {
    let refuse = |why: &str| UsageError(format!("--target {url}: {why}"));
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(refuse("only http:// addresses can be measured").into());
    };
    let host = rest.trim_end_matches('/');
    if host.contains('/') {
        return Err(refuse("give the address without a path").into());
    }
    let with_port = if host.rsplit_once(':').is_some() { host.to_owned() } else { format!("{host}:80") };
    let address = with_port
        .to_socket_addrs()
        .map_err(|error| refuse(&error.to_string()))?
        .next()
        .ok_or_else(|| refuse("the name has no address"))?;
    let (pids, idle_bytes) = (watch.to_vec(), usage_of(watch).resident_bytes);
    Ok(Running { address, host: host.to_owned(), pids, idle_bytes, child: None, directory: None, has_data: false })
}

async fn own(
    plan: &Plan,
    retention: Option<Duration>,
    concurrency: Option<usize>,
    store: Option<&str>,
) -> anyhow::Result<Running> {
    let directory = tempfile::Builder::new()
        .prefix("longhaul-bench-")
        .tempdir_in(&plan.directory)
        .with_context(|| format!("cannot make a directory in {}", plan.directory.display()))?;
    let log = directory.path().join("server.log");
    let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        // No configuration file of the directory we happen to be in, and no key that would be asked for.
        .current_dir(directory.path())
        .env_remove("LONGHAUL_CONFIG")
        .env_remove("LONGHAUL_BOOTSTRAP_KEY")
        .env_remove("LONGHAUL_BOOTSTRAP_KEY_FILE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log)?)
        .kill_on_drop(true);
    match store {
        // In the environment: it may hold a password, and the arguments of a program can be read by everybody.
        Some(url) => command.env("LONGHAUL__STORE__URL", url),
        None => command.arg("--data-dir").arg(directory.path().join("data")),
    };
    if let Some(retention) = retention {
        command.env("LONGHAUL__STORE__RETENTION", format_duration(retention));
    }
    if let Some(concurrency) = concurrency {
        command.env("LONGHAUL__QUEUES__DEFAULT__CONCURRENCY", concurrency.to_string());
    }
    let mut child = command.spawn().context("cannot start the server")?;
    let stdout = child.stdout.take().context("the server has no standard output")?;
    let mut line = String::new();
    let read = tokio::time::timeout(READY_WITHIN, BufReader::new(stdout).read_line(&mut line)).await;
    let host = match (read, line.trim().strip_prefix(READY)) {
        (Ok(Ok(_)), Some(host)) => host.to_owned(),
        (read, _) => {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let why = if read.is_err() { "was not ready in 30 s" } else { "did not start" };
            bail!("the server {why}; it said:\n{}{}", line, said.trim_end());
        }
    };
    let address = host.parse().with_context(|| format!("the server listens on `{host}`, which is no address"))?;
    let pids: Vec<u32> = child.id().into_iter().chain(plan.watch.iter().copied()).collect();
    let idle_bytes = usage_of(&pids).resident_bytes;
    Ok(Running {
        address,
        host,
        pids,
        idle_bytes,
        child: Some(child),
        directory: Some(directory),
        has_data: store.is_none(),
    })
}
