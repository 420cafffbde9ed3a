//! An audit of a data directory: whether what is on disk keeps the promises that the store makes.
//!
//! Each check is a query for what must not be: it finds nothing in a directory that only this program has written, at
//! whatever instruction it was killed. It reads and changes nothing; the directory must not be in use.
//!
//! What SQL cannot see is checked here: that the database file itself is sound, that each ended job stands in the list of
//! what expires, that blobs are counted right and their bytes are there.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use longhaul_core::{BlobRef, JobId, Tenant};
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use super::{OpenError, open, rows};
use crate::{StoreError, blob::DirBlobs};

/// How many faults are told of one check: with more than that, what is wrong is not a single job.
const TOLD_MOST: usize = 100;

/// The checks that are queries: a name, and what must find nothing.
const CHECKS: &[(&str, &str)] = &[
    ("event_numbers", include_str!("event_numbers.sql")),
    ("ends", include_str!("ends.sql")),
    ("owners", include_str!("owners.sql")),
    ("payloads", include_str!("payloads.sql")),
    ("attempts", include_str!("attempts.sql")),
    ("children", include_str!("children.sql")),
    ("counters", include_str!("counters.sql")),
    ("leftovers", include_str!("leftovers.sql")),
    ("tombstones", include_str!("tombstones.sql")),
];

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// How many jobs there are.
    pub jobs: u64,
    /// How many of them have not ended.
    pub live: u64,
    /// How many events are kept.
    pub events: u64,
    /// How many blobs are referred to.
    pub blobs: u64,
    /// What must not be. None: the directory is sound.
    pub faults: Vec<Fault>,
    /// Checks that found more than was told.
    pub cut: Vec<&'static str>,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The check that found it.
    pub check: &'static str,
    /// Whose job it is about, when it is about a job.
    pub tenant: Option<Tenant>,
    /// Which job.
    pub job: Option<JobId>,
    /// What is wrong, in words.
    pub what: String,
}

/// Audits a data directory that nobody uses. With `deep`, the bytes of all blobs are read and hashed too.
///
/// # Errors
/// When the directory is in use, was written by another version, or cannot be read.
pub fn verify(directory: &Path, deep: bool) -> Result<Verified, OpenError> {
    let (_lock, connection) = open::look(directory)?;
    let mut verified = Verified::default();
    audit(&connection, directory, deep, &mut verified)?;
    Ok(verified)
}

fn audit(connection: &Connection, directory: &Path, deep: bool, verified: &mut Verified) -> Result<(), StoreError> {
    let count = |sql: &str| -> Result<u64, StoreError> { Ok(connection.query_row(sql, [], |row| row.get(0))?) };
    file_is_sound(connection, verified)?;
    verified.jobs = count("SELECT count(*) FROM job")?;
    verified.live = count("SELECT count(*) FROM job WHERE phase < 4")?;
    verified.events = count("SELECT (SELECT count(*) FROM event) + (SELECT count(*) FROM delta)")?;
    for (name, sql) in CHECKS {
        let mut statement = connection.prepare(sql)?;
        let mut found = statement.query([])?;
        let mut told = 0;
        while let Some(row) = found.next()? {
            if told == TOLD_MOST {
                verified.cut.push(name);
                break;
            }
            told += 1;
            let tenant: Option<String> = row.get(0)?;
            let job: Option<[u8; 16]> = row.get(1)?;
            verified.faults.push(Fault {
                check: name,
                tenant: tenant.and_then(|tenant| Tenant::new(&tenant).ok()),
                job: job.map(JobId::from_bytes),
                what: row.get(2)?,
            });
        }
    }
    ended_jobs_expire(connection, verified)?;
    blobs_are_there(connection, directory, deep, verified)
}

fn fault(check: &'static str, what: String) -> Fault {
    Fault { check, tenant: None, job: None, what }
}

fn file_is_sound(connection: &Connection, verified: &mut Verified) -> Result<(), StoreError> {
    let mut statement = connection.prepare("PRAGMA integrity_check(100)")?;
    let mut lines = statement.query([])?;
    while let Some(row) = lines.next()? {
        let line: String = row.get(0)?;
        if line != "ok" {
            verified.faults.push(fault("file", line));
        }
    }
    Ok(())
}

/// Each job that has ended stands in a block of what expires; else it would be kept for ever.
fn ended_jobs_expire(connection: &Connection, verified: &mut Verified) -> Result<(), StoreError> {
    let mut listed: HashSet<i64> = HashSet::new();
    let mut statement = connection.prepare("SELECT jobs FROM expiry WHERE coalesce(deltas, 0) = 0")?;
    let mut blocks = statement.query([])?;
    while let Some(row) = blocks.next()? {
        let jobs: Vec<u8> = row.get(0)?;
        let (numbers, rest) = jobs.as_chunks::<8>();
        if !rest.is_empty() {
            verified.faults.push(fault("expiry", "a list of what expires is cut".to_owned()));
        }
        listed.extend(numbers.iter().map(|number| i64::from_le_bytes(*number)));
    }
    let mut statement = connection.prepare("SELECT no, tenant, id FROM job WHERE phase >= 4")?;
    let mut ended = statement.query([])?;
    let mut told = 0;
    while let Some(row) = ended.next()? {
        if listed.contains(&row.get::<_, i64>(0)?) {
            continue;
        }
        if told == TOLD_MOST {
            verified.cut.push("expiry");
            break;
        }
        told += 1;
        verified.faults.push(Fault {
            check: "expiry",
            tenant: Tenant::new(&row.get::<_, String>(1)?).ok(),
            job: Some(JobId::from_bytes(row.get(2)?)),
            what: "it has ended, but nothing says when it goes".to_owned(),
        });
    }
    Ok(())
}

/// References are counted right, and what they name is on disk, whole.
fn blobs_are_there(
    connection: &Connection,
    directory: &Path,
    deep: bool,
    verified: &mut Verified,
) -> Result<(), StoreError> {
    let mut used: HashMap<[u8; 32], (BlobRef, u64)> = HashMap::new();
    let mut statement = connection.prepare(include_str!("references.sql"))?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let blob = rows::blob_of(&row.get::<_, Vec<u8>>(0)?)?;
        used.entry(blob.digest).or_insert((blob, 0)).1 += 1;
    }
    verified.blobs = used.len() as u64;
    let mut statement = connection.prepare("SELECT digest, uses FROM blob_use")?;
    let mut counted: HashMap<[u8; 32], u64> = HashMap::new();
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        counted.insert(row.get(0)?, row.get(1)?);
    }
    for (digest, uses) in &counted {
        if !used.contains_key(digest) && *uses > 0 {
            let what =
                format!("blob {} is counted as used {uses} times, and nothing refers to it", hex::encode(digest));
            verified.faults.push(fault("blobs", what));
        }
    }
    for (blob, uses) in used.values() {
        let name = hex::encode(blob.digest);
        let told = counted.get(&blob.digest).copied().unwrap_or(0);
        if told != *uses {
            let what = format!("blob {name} is referred to {uses} times, but counted {told} times");
            verified.faults.push(fault("blobs", what));
        }
        if let Some(what) = missing(directory, blob, &name, deep) {
            verified.faults.push(fault("blobs", what));
        }
    }
    Ok(())
}

/// What is wrong with a blob's file.
fn missing(directory: &Path, blob: &BlobRef, name: &str, deep: bool) -> Option<String> {
    let path = DirBlobs::file_in(&directory.join("blobs"), &blob.digest);
    let size = match std::fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) => return Some(format!("blob {name} cannot be read: {error}")),
    };
    if size != blob.size {
        return Some(format!("blob {name} has {size} bytes instead of {}", blob.size));
    }
    if !deep {
        return None;
    }
    match std::fs::read(&path) {
        Ok(bytes) if Sha256::digest(&bytes)[..] == blob.digest => None,
        Ok(_) => Some(format!("blob {name} holds other bytes than its name says")),
        Err(error) => Some(format!("blob {name} cannot be read: {error}")),
    }
}
