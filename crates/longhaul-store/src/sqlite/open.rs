//! Opening the directory: the lock, the pragmas, the migrations.

use std::{
    cmp::Ordering,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use crate::StoreError;

/// The migrations, in order. Forward only: what has been released is never edited.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001_jobs.sql"), include_str!("migrations/0002_limits_and_traces.sql")];

/// After how many pages the log is written back into the database. 2,000 pages are 8 MiB: small enough that the commit
/// which does it stays within ten milliseconds or so, large enough that a hot page is written back once for many changes.
const CHECKPOINT_PAGES: u32 = 2_000;

/// How large the log may grow. Writing it back does not shorten it while somebody reads, and reads may overlap without an
/// end: from this size on they are held up for once. Several times what it usually has.
pub(super) const LOG_MOST: u64 = 64 * 1024 * 1024;

/// Page cache of the writer, in KiB. It holds the right edges of all tables and indexes many times over.
const WRITER_CACHE_KIB: i32 = 16 * 1024;

/// Page cache of each reading connection, in KiB.
const READER_CACHE_KIB: i32 = 2 * 1024;

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the data directory {} is in use by another process{}", .directory.display(), holder(.process.as_deref()))]
    Locked {
        /// Which directory.
        directory: PathBuf,
        /// The other's process id, as it has written it down.
        process: Option<String>,
    },
    /// A newer version wrote it.
    #[error(
        "the data directory {} was written by a newer version (format {found}; this one knows up to {known}); \
         start that version again, or restore a backup made before the upgrade",
        .directory.display()
    )]
    Newer {
        /// Which directory.
        directory: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// An older version wrote it, and nobody has opened it with this one.
    #[error(
        "the data directory {} was written by an older version (format {found}; this one reads {known}); start the \
         server on it once, which brings it up to date",
        .directory.display()
    )]
    Older {
        /// Which directory.
        directory: PathBuf,
        /// Its format.
        found: u32,
        /// The format known here.
        known: u32,
    },
    /// The directory cannot be used.
    #[error("the data directory {} cannot be used: {error}", .directory.display())]
    Directory {
        /// Which directory.
        directory: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The database in it cannot.
    #[error("the database cannot be opened: {0}")]
    Store(#[from] StoreError),
}

fn holder(process: Option<&str>) -> String {
    process.map(|process| format!(" (process {process})")).unwrap_or_default()
}

/// A directory that is ours.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) database: PathBuf,
    /// Held as long as the store lives; the lock ends with the process, however that ends.
    pub(super) lock: File,
}

impl Opened {
    /// Lets the database grow no larger than `bytes`.
    pub(super) fn limit(&self, bytes: u64) -> rusqlite::Result<()> {
        let page: u64 = self.writer.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = bytes / page.max(1);
        self.writer.pragma_update_and_check(None, "max_page_count", pages as i64, |_| Ok(()))
    }
}

/// A connection to a directory's database that can only read, whoever has the directory open; refused when its format is
/// not this version's.
pub(super) fn open_to_look(directory: &Path) -> Result<Connection, OpenError> {
    let database = directory.join("longhaul.db");
    if !database.exists() {
        let error = io::Error::new(io::ErrorKind::NotFound, "there is no longhaul.db in it");
        return Err(OpenError::Directory { directory: directory.to_owned(), error });
    }
    let connection = open_reader(&database).map_err(StoreError::from)?;
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(StoreError::from)?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    match found.cmp(&known) {
        Ordering::Equal => Ok(connection),
        Ordering::Greater => Err(OpenError::Newer { directory: directory.to_owned(), found, known }),
        Ordering::Less => Err(OpenError::Older { directory: directory.to_owned(), found, known }),
    }
}

pub(super) fn open(directory: &Path) -> Result<Opened, OpenError> {
    let refuse = |error| OpenError::Directory { directory: directory.to_owned(), error };
    fs::create_dir_all(directory).map_err(refuse)?;
    let lock = lock(directory)?;
    let database = directory.join("longhaul.db");
    let found = format_of(&database).map_err(StoreError::from)?;
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(OpenError::Newer { directory: directory.to_owned(), found, known });
    }
    let mut writer = Connection::open(&database).map_err(StoreError::from)?;
    configure_writer(&writer).map_err(StoreError::from)?;
    migrate(&mut writer, found).map_err(StoreError::from)?;
    Ok(Opened { writer, database, lock })
}

/// Looked at before anything is changed, and through a connection that cannot change anything, not even write back
/// what a crash has left in the log: a newer version's file stays exactly as it is.
fn format_of(database: &Path) -> rusqlite::Result<u32> {
    if !database.exists() {
        return Ok(0);
    }
    open_reader(database)?.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let refuse = |error| OpenError::Directory { directory: directory.to_owned(), error };
    let path = directory.join("lock");
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(refuse)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(refuse)?;
            // For the message that the next process prints; the lock itself does not need it.
            io::Write::write_all(&mut &file, std::process::id().to_string().as_bytes()).map_err(refuse)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            directory: directory.to_owned(),
            process: fs::read_to_string(&path).ok().filter(|text| !text.is_empty()),
        }),
        Err(TryLockError::Error(error)) => Err(refuse(error)),
    }
}

fn configure_writer(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_MOST as i64, |_| Ok(()))?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

fn migrate(connection: &mut Connection, found: u32) -> rusqlite::Result<()> {
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", index + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// A connection that can only read.
pub(super) fn open_reader(database: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}
