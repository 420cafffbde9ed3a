//! The exit codes, which scripts may rely on.

use std::process::ExitCode;

use crate::client::ClientError;
use crate::config::Problems;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The job failed or was cancelled; a benchmark's check found something wrong; or the command itself broke.
    Failed = 1,
    /// The command line, the configuration or a local file is wrong. Nothing was sent.
    Usage = 2,
    /// The server did not answer.
    Unreachable = 3,
    /// The server refused the request: a 4xx answer.
    Refused = 4,
    /// The server broke or is overloaded: a 5xx answer, or one that is not understood.
    ServerError = 5,
    /// `--timeout` passed before the job ended. The job goes on.
    TimedOut = 6,
}

/// What `--help` says of them.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  the job failed or was cancelled
  2  wrong usage, configuration or local file; nothing was sent
  3  the server cannot be reached
  4  the server refused the request (4xx)
  5  the server failed or is overloaded (5xx)
  6  --timeout passed while waiting; the job goes on

Environment:
  LONGHAUL_URL      the server (default http://127.0.0.1:8080)
  LONGHAUL_API_KEY  the key to send; not needed on loopback while no key exists
  NO_COLOR          no colours";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Something the person at the keyboard can put right.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The exit code that belongs to an error.
#[must_use]
pub fn of_error(error: &anyhow::Error) -> Exit {
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return match error {
            ClientError::Unreachable { .. } => Exit::Unreachable,
            ClientError::Refused(_) => Exit::Refused,
            ClientError::Broken(_) | ClientError::NotUnderstood { .. } => Exit::ServerError,
        };
    }
    if error.is::<UsageError>() || error.is::<Problems>() {
        return Exit::Usage;
    }
    Exit::Failed
}

/// Whether the reader of our output went away, as `head` does; that is not an error.
#[must_use]
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
