//! `longhaul verify`: audits a data directory on this machine.

use std::path::PathBuf;

use clap::Args;
use longhaul_store::{Fault, SqliteStore, Verification};
use serde_json::json;

use crate::config::Environment;
use crate::exit::{Exit, UsageError};
use crate::screen::{Screen, Tint, clean};

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(long_about = "\
Audit a data directory: whether what is on disk keeps the promises that the server makes.

Checked are, for every job: that it has an owner, a timer or something that it waits for while it has not ended; events \
numbered without gaps, one end and no more; its payloads, its children and its counters; and that the database is sound, \
that what ended will expire, and that blobs are counted right and are there.

It reads and changes nothing; what it sees is one committed moment, so the server may be running. Works on a copy or a \
backup as well.

Examples:
  longhaul verify longhaul-data
  longhaul verify longhaul-data --json")]
#[command(after_long_help = "\
Exit codes:
  0  sound
  1  faults were found
  2  the directory is none of ours, or cannot be read")]
pub(crate) struct VerifyArguments {
    /// The data directory
    directory: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &VerifyArguments, _: &Environment, screen: &mut Screen) -> anyhow::Result<Exit> {
    let found =
        SqliteStore::verify(&arguments.directory).map_err(|error| UsageError(format!("cannot verify: {error}")))?;
    if arguments.json {
        screen.line(in_json(&found).to_string())?;
    } else {
        in_words(&found, screen)?;
    }
    Ok(if found.is_sound() { Exit::Ok } else { Exit::Failed })
}

fn in_json(found: &Verification) -> serde_json::Value {
    let faults = found
        .faults
        .iter()
        .map(|Fault { check, job, what }| json!({ "check": check.as_str(), "job_id": job, "message": what }));
    json!({
        "sound": found.is_sound(), "jobs": found.jobs, "events": found.events,
        "faults": faults.collect::<Vec<_>>(), "unlisted": found.unlisted,
    })
}

fn in_words(found: &Verification, screen: &mut Screen) -> anyhow::Result<()> {
    for Fault { check, job, what } in &found.faults {
        let check = screen.tinted(Tint::of_status("failed"), check.as_str());
        let job = job.map(|job| format!("{job} ")).unwrap_or_default();
        screen.line(format!("{check}  {job}{}", clean(what)))?;
    }
    screen.line(format!("{} jobs, {} events", found.jobs, found.events))?;
    match found.faults.len() as u64 + found.unlisted {
        0 => screen.line("sound")?,
        faults => screen.line(format!("{faults} faults"))?,
    }
    Ok(())
}
