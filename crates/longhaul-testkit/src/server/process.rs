//! A running server: its address, its signals, its memory, its end.

use super::launch::{HarnessError, Output};
use crate::client::Client;
use rustix::process::{Pid, Signal, kill_process};
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use tokio::process::Child;

/// How often a condition is looked at again; the resolution of [`Server::ready_after`].
const POLL: Duration = Duration::from_millis(5);

/// A server that has been ready. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    output: Output,
    client: Client,
    url: String,
    ready_after: Duration,
}

impl Server {
    pub(super) async fn await_ready(mut child: Child, output: Output, within: Duration) -> Result<Self, HarnessError> {
        let begin = instant();
        let mut server: Option<(String, Client)> = None;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                let tail = output.tail();
                return Err(HarnessError::new(format!("the server ended before it was ready ({status})\n{tail}")));
            }
            if begin.elapsed() > within {
                let tail = output.tail();
                return Err(HarnessError::new(format!("the server was not ready within {within:?}\n{tail}")));
            }
            match &server {
                None => server = announced(&output).map(|url| (url.clone(), Client::new(&url))),
                Some((url, client)) => {
                    let probe = client.get("/readyz").patience(Duration::from_secs(1)).send().await;
                    if probe.is_ok_and(|reply| reply.status == 200) {
                        let (url, client) = (url.clone(), client.clone());
                        return Ok(Self { child, output, client, url, ready_after: begin.elapsed() });
                    }
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A client for it, without a credential.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where it listens, like `http://127.0.0.1:41234`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From its start to the first 200 of `/readyz`.
    #[must_use]
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// `kill -9`, and waits until the process is gone.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub async fn kill(mut self) -> Result<(), HarnessError> {
        self.child.kill().await.map_err(|e| HarnessError::new(format!("kill the server: {e}")))
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    /// When it has ended already.
    pub fn terminate(&self) -> Result<(), HarnessError> {
        self.signal(Signal::TERM)
    }

    /// Holds it still (SIGSTOP) until [`Server::resume`]; returns when it has really stopped.
    ///
    /// # Errors
    /// When it has ended already.
    pub async fn pause(&self) -> Result<(), HarnessError> {
        self.signal(Signal::STOP)?;
        while !self.status_field("State:")?.starts_with('T') {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it has ended already.
    pub fn resume(&self) -> Result<(), HarnessError> {
        self.signal(Signal::CONT)
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// When it is still running after `within`.
    pub async fn exited(&mut self, within: Duration) -> Result<ExitStatus, HarnessError> {
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => status.map_err(|e| HarnessError::new(format!("wait for the server: {e}"))),
            Err(_) => Err(HarnessError::new(format!("still running after {within:?}\n{}", self.output.tail()))),
        }
    }

    /// Memory resident now, in bytes.
    ///
    /// # Errors
    /// When it has ended, or where there is no `/proc`.
    pub fn resident_bytes(&self) -> Result<u64, HarnessError> {
        let text = self.status_field("VmRSS:")?;
        let kib: Option<u64> = text.strip_suffix(" kB").and_then(|kib| kib.parse().ok());
        kib.map(|kib| kib * 1_024).ok_or_else(|| HarnessError::new(format!("VmRSS is {text}")))
    }

    /// All it has complained so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.output.read().1
    }

    /// The ends of its output, for a person.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.output.tail()
    }

    /// A line of `/proc/<pid>/status`, without its name.
    fn status_field(&self, name: &str) -> Result<String, HarnessError> {
        let id = self.child.id().ok_or_else(|| HarnessError::new("the server has ended"))?;
        let path = format!("/proc/{id}/status");
        let text = std::fs::read_to_string(&path).map_err(|e| HarnessError::new(format!("read {path}: {e}")))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|line| line.trim().to_owned()).ok_or_else(|| HarnessError::new(format!("no {name} in {path}")))
    }

    fn signal(&self, signal: Signal) -> Result<(), HarnessError> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let id = id.ok_or_else(|| HarnessError::new("the server has ended"))?;
        kill_process(id, signal).map_err(|e| HarnessError::new(format!("signal the server: {e}")))
    }
}

impl Drop for Server {
    #[allow(clippy::print_stderr, reason = "a failing test shows what the server had to say")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server at {} said:\n{}", self.url, self.output.tail());
        }
    }
}

fn announced(output: &Output) -> Option<String> {
    let text = std::fs::read_to_string(&output.stdout).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("listening on "))?;
    // A line without its end may be half an address.
    text.contains(&format!("{line}\n")).then(|| line.trim().to_owned())
}

/// The monotonic clock of the machine: a harness measures the real thing.
#[allow(clippy::disallowed_methods, reason = "measures a real process, which no virtual clock drives")]
fn instant() -> Instant {
    Instant::now()
}
