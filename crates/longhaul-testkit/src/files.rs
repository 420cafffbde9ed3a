//! The limit of open files of this process: every connection is one.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as the system lets this process; returns it.
///
/// # Errors
/// When it is below `needed` even so.
pub fn allow_open_files(needed: u64) -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let raised = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if raised < needed {
        let why = format!("{needed} open files are needed and the system allows {raised}; raise it with `ulimit -n`");
        return Err(io::Error::other(why));
    }
    Ok(raised)
}
