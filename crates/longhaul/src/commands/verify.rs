//! `longhaul verify`: audits a data directory on this machine.

use std::path::PathBuf;

use clap::Args;
use longhaul_store::{Fault, Verified, verify};
use serde_json::json;

use crate::config::Environment;
use crate::exit::{Exit, UsageError};
use crate::screen::{Screen, Tint, clean};

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(long_about = "\
Audit a data directory: whether what is on disk keeps the promises that the server makes.

Checked are, for every job: events numbered without gaps, one end and no more, an owner, a timer or something to wait for \
while it has not ended, its payloads, its attempts, its children, its counters; and that the database file is sound, that \
what ended will expire, and that blobs are counted right and are there.

It reads and changes nothing. The server must not be running on the directory. Works on a copy or a backup as well.

Examples:
  longhaul verify longhaul-data
  longhaul verify longhaul-data --deep --json")]
#[command(after_long_help = "\
Exit codes:
  0  sound
  1  faults were found
  2  the directory is in use, is none of ours, or cannot be read")]
pub(crate) struct VerifyArguments {
    /// The data directory
    directory: PathBuf,
    /// Read and hash the bytes of every blob too
    #[arg(long)]
    deep: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &VerifyArguments, _: &Environment, screen: &mut Screen) -> anyhow::Result<Exit> {
    let verified =
        verify(&arguments.directory, arguments.deep).map_err(|error| UsageError(format!("cannot verify: {error}")))?;
    if arguments.json {
        screen.line(in_json(&verified).to_string())?;
    } else {
        in_words(&verified, screen)?;
    }
    Ok(if verified.faults.is_empty() { Exit::Ok } else { Exit::Failed })
}

fn in_json(verified: &Verified) -> serde_json::Value {
    let faults = verified.faults.iter().map(|Fault { check, tenant, job, what }| {
        json!({ "check": check, "tenant": tenant.as_ref().map(ToString::to_string), "job_id": job, "message": what })
    });
    json!({
        "jobs": verified.jobs, "live": verified.live, "events": verified.events, "blobs": verified.blobs,
        "faults": faults.collect::<Vec<_>>(), "cut": verified.cut,
    })
}

fn in_words(verified: &Verified, screen: &mut Screen) -> anyhow::Result<()> {
    for Fault { check, tenant, job, what } in &verified.faults {
        let check = screen.tinted(Tint::of_status("failed"), check);
        let whose = match (tenant, job) {
            (Some(tenant), Some(job)) => format!("{job} of {tenant}: "),
            (None, Some(job)) => format!("{job}: "),
            _ => String::new(),
        };
        screen.line(format!("{check}  {whose}{}", clean(what)))?;
    }
    for check in &verified.cut {
        screen.line(format!("{check}  and more of the same"))?;
    }
    let Verified { jobs, live, events, blobs, .. } = verified;
    screen.line(format!("{jobs} jobs ({live} not ended), {events} events, {blobs} blobs"))?;
    match verified.faults.len() {
        0 => screen.line("sound")?,
        faults => screen.line(format!("{faults} faults"))?,
    }
    Ok(())
}
