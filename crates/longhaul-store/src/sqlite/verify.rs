//! The audit of a data directory.
//!
//! Each check is a question to the database that has no answer as long as all is well. It trusts nothing that the ledger
//! keeps in memory and nothing that one table says of another. It repairs nothing: what is found is for a person to judge.

use std::{collections::HashSet, fmt, path::Path};

use longhaul_core::JobId;
use rusqlite::Connection;

use super::{OpenError, open};
use crate::StoreError;

/// How many faults of one check are listed; the rest is counted.
const LISTED_MOST: usize = 100;

/// For how long it can be told that a removed parent was there: the default time of tombstones, less a day.
const REMEMBERED_MICROS: i64 = 29 * 86_400 * 1_000_000;

/// What an audit has found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// How many jobs were looked at.
    pub jobs: u64,
    /// How many events, deltas included.
    pub events: u64,
    /// What is wrong: the first of each check.
    pub faults: Vec<Fault>,
    /// How many more there are that are not listed.
    pub unlisted: u64,
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn add(&mut self, check: Check, job: Option<JobId>, what: String) {
        if self.faults.iter().filter(|fault| fault.check == check).count() < LISTED_MOST {
            self.faults.push(Fault { check, job, what });
        } else {
            self.unlisted += 1;
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which check found it.
    pub check: Check,
    /// With which job, when it is one.
    pub job: Option<JobId>,
    /// What, as it follows the job's name in a sentence.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.job {
            Some(job) => write!(f, "{}: {job} {}", self.check.as_str(), self.what),
            None => write!(f, "{}: {}", self.check.as_str(), self.what),
        }
    }
}

/// What is audited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// SQLite's own structures: pages, indexes, types.
    Database,
    /// A job's row agrees with its phase.
    State,
    /// Every live job has an owner, a time or a blocker.
    Owner,
    /// A ready job stands where its priority and age place it.
    Rank,
    /// Events are numbered without a gap.
    Events,
    /// An ended job's history ends once, as the job did; no other's does.
    Ending,
    /// Inputs and outputs are there where they have to be.
    Payloads,
    /// Counters of a row agree with what they count.
    Counters,
    /// A parent's counts agree with its children.
    Children,
    /// A child's parent is there, or was.
    Parents,
    /// No part of a job is left behind.
    Orphans,
    /// Blobs are counted as often as they are referred to, and their files are there.
    Blobs,
    /// Every ended job is listed to expire.
    Retention,
}

impl Check {
    /// As it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Check::Database => "database",
            Check::State => "state",
            Check::Owner => "owner",
            Check::Rank => "rank",
            Check::Events => "events",
            Check::Ending => "ending",
            Check::Payloads => "payloads",
            Check::Counters => "counters",
            Check::Children => "children",
            Check::Parents => "parents",
            Check::Orphans => "orphans",
            Check::Blobs => "blobs",
            Check::Retention => "retention",
        }
    }
}

/// Checks that are one question: each row of an answer names a job, or none, and says what is wrong.
const QUESTIONS: [(Check, &str); 11] = [
    (Check::State, include_str!("queries/verify/state.sql")),
    (Check::Owner, include_str!("queries/verify/owner.sql")),
    (Check::Rank, include_str!("queries/verify/rank.sql")),
    (Check::Events, include_str!("queries/verify/events.sql")),
    (Check::Ending, include_str!("queries/verify/ending.sql")),
    (Check::Payloads, include_str!("queries/verify/outputs.sql")),
    (Check::Counters, include_str!("queries/verify/counters.sql")),
    (Check::Children, include_str!("queries/verify/children.sql")),
    (Check::Parents, include_str!("queries/verify/parents.sql")),
    (Check::Orphans, include_str!("queries/verify/orphans.sql")),
    (Check::Blobs, include_str!("queries/verify/blobs.sql")),
];

pub(super) fn verify(directory: &Path) -> Result<Verification, OpenError> {
    let mut connection = open::open_to_look(directory)?;
    Ok(audit(&mut connection, directory)?)
}

fn audit(connection: &mut Connection, directory: &Path) -> Result<Verification, StoreError> {
    // One snapshot for all questions.
    let db = connection.transaction()?;
    let mut found = Verification::default();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, u64>(0));
    found.jobs = count("SELECT count(*) FROM job")?;
    found.events = count("SELECT count(*) FROM event")? + count("SELECT count(*) FROM delta")?;
    let mut check = db.prepare(&format!("PRAGMA integrity_check({LISTED_MOST})"))?;
    let mut said = check.query([])?;
    while let Some(row) = said.next()? {
        let what: String = row.get(0)?;
        if what != "ok" {
            found.add(Check::Database, None, what);
        }
    }
    for (check, sql) in QUESTIONS {
        let mut statement = db.prepare(sql)?;
        if statement.parameter_count() > 0 {
            statement.raw_bind_parameter(1, REMEMBERED_MICROS)?;
        }
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let job = row.get::<_, Option<[u8; 16]>>(0)?.map(JobId::from_bytes);
            found.add(check, job, row.get(1)?);
        }
    }
    blob_files(&db, directory, &mut found)?;
    retention(&db, &mut found)?;
    Ok(found)
}

fn blob_files(db: &Connection, directory: &Path, found: &mut Verification) -> Result<(), StoreError> {
    let mut statement = db.prepare("SELECT digest, size FROM blob_use")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name = hex::encode(row.get::<_, Vec<u8>>(0)?);
        let size: u64 = row.get(1)?;
        let file = directory.join("blobs").join(name.get(..2).unwrap_or_default()).join(&name);
        match std::fs::metadata(&file) {
            Ok(there) if there.len() == size => {}
            Ok(there) => {
                let what = format!("blob {name} has {} bytes on disk instead of {size}", there.len());
                found.add(Check::Blobs, None, what);
            }
            Err(error) => found.add(Check::Blobs, None, format!("blob {name} cannot be found on disk: {error}")),
        }
    }
    Ok(())
}

/// Blocks of numbers cannot be joined with rows; so they are gathered first, eight bytes a job.
fn retention(db: &Connection, found: &mut Verification) -> Result<(), StoreError> {
    let mut listed: HashSet<i64> = HashSet::new();
    let mut statement = db.prepare("SELECT jobs FROM expiry WHERE deltas IS NULL")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (numbers, rest) = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?.as_chunks::<8>();
        listed.extend(numbers.iter().copied().map(i64::from_le_bytes));
        if !rest.is_empty() {
            found.add(Check::Retention, None, "a block of jobs that expire together is cut off".into());
        }
    }
    let mut statement = db.prepare("SELECT no, id FROM job WHERE phase >= 4")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if !listed.contains(&row.get(0)?) {
            let job = JobId::from_bytes(row.get(1)?);
            found.add(Check::Retention, Some(job), "has ended, but is not listed to expire".into());
        }
    }
    Ok(())
}
