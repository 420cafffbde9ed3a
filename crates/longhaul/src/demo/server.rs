//! The server of the demonstration: this program as `longhaul serve`, in a temporary directory, started, killed with
//! SIGKILL and started again.
//!
//! It sees nothing of the surroundings: no configuration file, no `LONGHAUL…` variable, so that it never meets the data of
//! a server that somebody uses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::ladder;
use super::{Plan, Scale};
use crate::client::{Client, Retries};
use crate::clock::Stopwatch;
use crate::config::Environment;

/// How long it may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long a process may take to be gone after its connections are.
const DYING: Duration = Duration::from_millis(500);

/// The line that it prints when it is.
const READY: &str = "listening on http://";

/// Room that its directory must have, in bytes. What it writes is less than a tenth of that.
const ROOM: u64 = 128 << 20;

/// The model that makes vectors while a naive API does.
pub(super) const VECTORS: &str = "vectors";
/// The same at few desks, for the server that is killed.
pub(super) const BATCHES: &str = "batches";

/// A directory, and the server in it.
#[derive(Debug)]
pub(super) struct Stage {
    listen: SocketAddr,
    child: Option<Child>,
    directory: TempDir,
}

impl Stage {
    /// Makes the directory with the configuration in it.
    ///
    /// # Errors
    /// When there is no place for it.
    pub(super) fn open(plan: &Plan, provider: SocketAddr, scale: &Scale) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("longhaul-demo-")
            .tempdir_in(&plan.directory)
            .with_context(|| format!("cannot make a directory in {}", plan.directory.display()))?;
        enough_room_in(directory.path())?;
        let config = directory.path().join("longhaul.toml");
        std::fs::write(&config, configuration(provider, scale))
            .with_context(|| format!("cannot write {}", config.display()))?;
        Ok(Self { listen: plan.listen, child: None, directory })
    }

    /// Starts the server, and waits until it is ready. After the first start it listens where it did then.
    ///
    /// # Errors
    /// When it does not start, with what it said.
    pub(super) async fn start(&mut self) -> anyhow::Result<Duration> {
        let clock = Stopwatch::start();
        let log = self.path().join("server.log");
        let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LONGHAUL")) {
            command.env_remove(name);
        }
        command
            .args(["serve", "--listen", &self.listen.to_string(), "--config", "longhaul.toml", "--data-dir", "data"])
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?)
            .kill_on_drop(true);
        let child = self.child.insert(command.spawn().context("cannot start the server")?);
        let stdout = child.stdout.take().context("the server has no standard output")?;
        let mut line = String::new();
        let read = tokio::time::timeout(READY_WITHIN, BufReader::new(stdout).read_line(&mut line)).await;
        match (read, line.trim().strip_prefix(READY)) {
            (Ok(Ok(_)), Some(address)) => {
                self.listen = address.parse().with_context(|| format!("`{address}` is no address"))?;
                Ok(clock.elapsed())
            }
            (read, _) => {
                let why = if read.is_err() { "was not ready in 30 s" } else { "did not start" };
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                if let Some(mut child) = self.child.take() {
                    let _ = child.kill().await;
                }
                bail!("the server {why}; it said:\n{}", said.trim_end())
            }
        }
    }

    /// Kills it as `kill -9` does, and says which process it was.
    ///
    /// # Errors
    /// When it is not running, as after a crash of its own.
    pub(super) async fn kill(&mut self) -> anyhow::Result<u32> {
        let mut child = self.child.take().context("the server does not run")?;
        let process = child.id().context("the server ended by itself")?;
        child.kill().await.context("cannot kill the server")?;
        Ok(process)
    }

    /// Adds to an error what the server said last, if it is gone.
    pub(super) async fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        let Some(child) = &mut self.child else { return error };
        // Its connections are gone a moment before it is.
        let Ok(Ok(status)) = tokio::time::timeout(DYING, child.wait()).await else { return error };
        let said = std::fs::read_to_string(self.path().join("server.log")).unwrap_or_default();
        error.context(format!("the server ended by itself ({status}); it said:\n{}", said.trim_end()))
    }

    /// Waits for it to end, which it should not.
    pub(super) async fn ended(&mut self) -> anyhow::Result<()> {
        let Some(child) = &mut self.child else { bail!("the server does not run") };
        let status = child.wait().await?;
        bail!("the server ended by itself: {status}")
    }

    /// Ends it and removes its directory.
    ///
    /// # Errors
    /// When the directory cannot be removed.
    pub(super) async fn close(mut self) -> anyhow::Result<()> {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill().await;
        }
        let path = self.path().to_owned();
        self.directory.close().with_context(|| format!("cannot remove {}", path.display()))
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file that is to be uploaded.
    pub(super) fn file(&self, name: &str, content: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.path().join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// A client as it should be: what was refused for the moment is tried again, under the same key.
    pub(super) fn careful_client(&self) -> anyhow::Result<Client> {
        Client::new(&self.url(), &Environment::default(), Retries::default())
    }

    /// A client that tries no request twice.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        client(&self.url())
    }
}

/// A full disk in the middle would look like a fault of what is shown.
fn enough_room_in(directory: &Path) -> anyhow::Result<()> {
    let disk = rustix::fs::statvfs(directory).with_context(|| format!("cannot look at {}", directory.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < ROOM {
        let (free, room, place) = (free >> 20, ROOM >> 20, directory.parent().unwrap_or(directory).display());
        bail!("{place} has room for {free} MiB, and {room} MiB are wanted; name another place with --directory");
    }
    Ok(())
}

/// A client that tries no request twice.
pub(super) fn client(url: &str) -> anyhow::Result<Client> {
    let mut retries = Retries::default();
    retries.tries = 1;
    Client::new(url, &Environment::default(), retries)
}

fn configuration(provider: SocketAddr, scale: &Scale) -> String {
    let workers = scale.workers;
    let mut text = format!(
        "[telemetry]\nlevel = \"warn\"\n\n\
         [providers.simulated]\nprotocol = \"openai\"\nbase_url = \"http://{provider}/v1\"\nmax_connections = 1024\n\n\
         # As many documents at once as the naive API has workers.\n\
         [queues.documents]\nconcurrency = {workers}\n[kinds.\"document.ingest\"]\nqueue = \"documents\"\n"
    );
    for (model, upstream) in [(VECTORS, "sim-vectors"), (BATCHES, "sim-vectors-few")] {
        text.push_str(&format!(
            "\n[models.{model}]\nserves = \"embeddings\"\n\
             targets = [{{ provider = \"simulated\", model = \"{upstream}\", attempt_timeout = \"60s\" }}]\n"
        ));
    }
    text.push_str(&ladder::configuration());
    text
}
