//! The embedded store: SQLite in a directory.
//!
//! WAL with `synchronous = FULL`, so that a commit is on disk when it returns; one writing connection, owned by the
//! ledger's thread; read-only connections for everybody else. The directory is locked, so that two processes never
//! write to it, and its format is numbered: a directory that a newer version wrote is refused.
//!
//! - [`open`] makes the directory, takes the lock, migrates.
//! - [`backing`] finds rows for the ledger, [`write`] stores its batches, [`reads`] answers everybody else.
//! - [`rows`] turns rows into jobs and events and back.
//! - [`verify`] audits a directory, and repairs nothing.

mod backing;
mod open;
#[cfg(test)]
mod plans;
mod reads;
mod rows;
mod verify;
mod write;

use std::{path::PathBuf, sync::Arc};

use longhaul_core::Span;
pub use open::OpenError;
use rusqlite::ffi::ErrorCode;
pub use verify::{Check, Fault, Verification};

use crate::{
    JobStore, Observer, StoreClock, StoreError,
    blob::DirBlobs,
    ledger::{LedgerStore, Retention},
};

/// Where and how to keep jobs.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The data directory. Made when it is not there.
    pub directory: PathBuf,
    /// How long what is left of an erased or expired job is remembered.
    pub tombstones_for: Span,
    /// How long what a job has streamed is kept after its end, when the job itself is kept longer.
    pub deltas_for: Span,
    /// The database grows no larger than this and then counts as full; none: as large as the disk allows.
    pub database_bytes_max: Option<u64>,
}

impl SqliteOptions {
    /// In `directory`, with tombstones kept for thirty days and deltas for one.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        let Retention { tombstones, deltas } = Retention::default();
        let directory = directory.into();
        Self { directory, tombstones_for: tombstones, deltas_for: deltas, database_bytes_max: None }
    }
}

/// Opens stores on disk.
pub struct SqliteStore;

impl SqliteStore {
    /// Opens the directory, brings it to this version's format and ends the leases of whoever wrote here last.
    /// Blocks; may take seconds on a large directory that another version wrote.
    pub fn open(
        options: &SqliteOptions,
        time: StoreClock,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<dyn JobStore>, OpenError> {
        let opened = open::open(&options.directory)?;
        let blobs = DirBlobs::open(&options.directory.join("blobs"))
            .map_err(|error| OpenError::Directory { directory: options.directory.clone(), error })?;
        if let Some(most) = options.database_bytes_max {
            opened.limit(most).map_err(StoreError::from)?;
        }
        let keep = Retention { tombstones: options.tombstones_for, deltas: options.deltas_for };
        let backing = backing::SqliteBacking::new(opened, Arc::new(blobs))?;
        Ok(Arc::new(LedgerStore::start(backing, time, observer, keep)?))
    }
}

impl SqliteStore {
    /// Audits what the directory holds, without changing it: every live job has an owner, a time or a blocker, histories
    /// are whole and end once, and everything that is counted is there. Also while a server works on it: what is seen is
    /// one committed moment. Blocks, for about as long as reading the whole database takes.
    pub fn verify(directory: &std::path::Path) -> Result<Verification, OpenError> {
        verify::verify(directory)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::StorageFull,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt(error.to_string()),
            // SQLite reports a full disk as an input/output error where it meets it outside of its own files' growth.
            Some(ErrorCode::SystemIoFailure) if is_out_of_space(&error) => StoreError::StorageFull,
            // Somebody else holds the database, a backup for one: nothing was begun.
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Overloaded,
            Some(_) => StoreError::Unavailable(error.to_string()),
            None => StoreError::Corrupt(error.to_string()),
        }
    }
}

fn is_out_of_space(error: &rusqlite::Error) -> bool {
    // SQLITE_IOERR_SHMSIZE and SQLITE_IOERR_WRITE: growing the index of the log, or writing, found no room.
    // A failed fsync (SQLITE_IOERR_FSYNC) is another matter: nothing is known then, and nothing is tried again.
    const SHM_SIZE: i32 = 10 | (19 << 8);
    const WRITE: i32 = 10 | (3 << 8);
    matches!(error, rusqlite::Error::SqliteFailure(failure, _) if [SHM_SIZE, WRITE].contains(&failure.extended_code))
}
