//! The ledger's side of the database: its one writing connection.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use longhaul_core::{
    ApiKey, BlobRef, DocumentId, JobId, KeyId, KindName, Limit, Pace, Payload, QueueName, StepName, Tenant, Timestamp,
};
use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};

use super::{
    open::{LOG_MOST, Opened},
    reads::{self, SqliteReads},
    rows, write,
};
use crate::{
    Document, StoreError, Tombstone,
    blob::{BlobStore, DirBlobs},
    ledger::{Backing, ExpiryBlock, Head, KeptKey, LaneKey, NumberMap, QueueCount, Start, Stored, Touched, WriteSet},
};

/// How long the writer waits for another process that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct SqliteBacking {
    connection: Connection,
    reads: SqliteReads,
    blobs: Arc<DirBlobs>,
    log: PathBuf,
    log_most: u64,
    /// The log is cut off when it is this large.
    cut_log_at: u64,
    _lock: File,
}

impl SqliteBacking {
    pub(super) fn new(opened: Opened, blobs: Arc<DirBlobs>) -> Result<Self, StoreError> {
        let log = opened.database.with_extension("db-wal");
        let reads = SqliteReads::new(opened.database);
        let backing = Self {
            connection: opened.writer,
            reads,
            blobs,
            log,
            log_most: LOG_MOST,
            cut_log_at: LOG_MOST,
            _lock: opened.lock,
        };
        backing.remove_unreferenced_blobs()?;
        Ok(backing)
    }

    /// What a crash left between writing a blob and committing the row that refers to it.
    fn remove_unreferenced_blobs(&self) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare("SELECT 1 FROM blob_use WHERE digest = ?1")?;
        let statement = std::cell::RefCell::new(&mut statement);
        let is_referred_to = |digest: &[u8; 32]| {
            // When the database cannot say, the file stays.
            statement.borrow_mut().exists([digest.as_slice()]).unwrap_or(true)
        };
        match self.blobs.retain(&is_referred_to) {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed blobs that nothing refers to"),
            Err(error) => tracing::warn!(%error, "could not look for blobs that nothing refers to"),
        }
        Ok(())
    }

    /// A batch reads and writes within one transaction: taking the locks anew for every row would cost more than the
    /// rows.
    fn begin(&self) -> Result<(), StoreError> {
        if self.connection.is_autocommit() {
            self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        }
        Ok(())
    }

    fn write_batch(&self, touched: &NumberMap<i64, Touched>, writes: &WriteSet) -> Result<Vec<BlobRef>, StoreError> {
        self.begin()?;
        let unused = write::batch(&self.connection, touched, writes)?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(unused)
    }

    /// Writes the log back and cuts it off when it has grown too large, for which nobody may read. Who reads in another
    /// process, a backup for one, is not waited for: then it is tried again when the log has grown by as much again.
    fn bound_log(&mut self) {
        let size = fs::metadata(&self.log).map_or(0, |file| file.len());
        if size < self.cut_log_at {
            return;
        }
        let connection = &self.connection;
        let cut = self.reads.while_nobody_reads(|| {
            connection.busy_timeout(Duration::ZERO)?;
            let is_busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
            connection.busy_timeout(BUSY_TIMEOUT)?;
            is_busy
        });
        match cut {
            Ok(false) => self.cut_log_at = self.log_most,
            Ok(true) => {
                self.cut_log_at = size + self.log_most;
                tracing::warn!(size, "another process reads the database: its log grows meanwhile");
            }
            Err(error) => {
                self.cut_log_at = size + self.log_most;
                tracing::warn!(%error, size, "the log could not be written back");
            }
        }
    }

    fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.begin()?;
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut found = statement.query(params)?;
        let mut all = Vec::new();
        while let Some(row) = found.next()? {
            all.push(read(row)?);
        }
        Ok(all)
    }

    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.begin()?;
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut found = statement.query(params)?;
        found.next()?.map(read).transpose()
    }

    /// The limits that tenants have registered with their kinds.
    fn limits(&self) -> Result<Vec<(Tenant, KindName, Vec<Limit>)>, StoreError> {
        let kinds = reads::kinds(&self.connection)?;
        let limited = kinds.into_iter().filter(|(_, kind)| !kind.limits.is_empty());
        Ok(limited.map(|(tenant, kind)| (tenant, kind.name, kind.limits)).collect())
    }

    fn next_time(&self, sql: &str, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.one(sql, [now.as_micros()], |row| Ok(rows::time_or_none(row, 0)?))?.flatten())
    }
}

impl Backing for SqliteBacking {
    type Reads = SqliteReads;

    fn reads(&self) -> SqliteReads {
        self.reads.clone()
    }

    fn blobs(&self) -> Arc<dyn BlobStore> {
        self.blobs.clone()
    }

    fn start(&mut self) -> Result<Start, StoreError> {
        let mut counts: HashMap<String, (u64, u64)> = HashMap::new();
        let counted = |sql| self.all(sql, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?)));
        for sql in [
            include_str!("queries/count_blocked.sql"),
            include_str!("queries/count_ready.sql"),
            include_str!("queries/count_deferred.sql"),
        ] {
            for (queue, count) in counted(sql)? {
                counts.entry(queue).or_default().0 += count;
            }
        }
        for (queue, count) in counted(include_str!("queries/count_waiting.sql"))? {
            counts.entry(queue).or_default().1 += count;
        }
        let name = |text: String| QueueName::new(&text).map_err(|_| StoreError::Corrupt(format!("queue {text:?}")));
        let counts = (counts.into_iter())
            .map(|(queue, (queued, waiting))| Ok(QueueCount { queue: name(queue)?, queued, waiting }));
        let abandoned = self.all(include_str!("queries/abandoned.sql"), [], |row| {
            let tenant = row.get::<_, String>(0)?.parse().map_err(|_| StoreError::Corrupt("a tenant".into()))?;
            Ok((JobId::from_bytes(row.get(1)?), tenant))
        })?;
        let lanes = self.all(include_str!("queries/lanes.sql"), [], |row| {
            let damaged = |_| StoreError::Corrupt("the name of a lane".into());
            Ok((
                row.get::<_, String>(0)?.parse().map_err(damaged)?,
                row.get::<_, String>(1)?.parse().map_err(damaged)?,
                row.get::<_, String>(2)?.parse().map_err(damaged)?,
            ))
        })?;
        let paused = self.all("SELECT name FROM queue WHERE paused", [], |row| name(row.get(0)?))?;
        let last: Option<i64> = self.one("SELECT max(no) FROM job", [], |row| Ok(row.get(0)?))?.flatten();
        // Rows of removed jobs may still be listed to expire under higher numbers; no number is given twice.
        let listed: Option<i64> =
            self.one("SELECT value FROM counter WHERE name = 'next_no'", [], |row| Ok(row.get(0)?))?.flatten();
        Ok(Start {
            next_no: last.map_or(1, |last| last + 1).max(listed.unwrap_or(1)),
            running: self.all(include_str!("queries/jobs_running.sql"), [], rows::stored)?,
            lanes,
            counts: counts.collect::<Result<_, StoreError>>()?,
            paused,
            limits: self.limits()?,
            abandoned,
        })
    }

    fn load(&mut self, tenant: &Tenant, id: JobId) -> Result<Option<Stored>, StoreError> {
        self.one(include_str!("queries/job_by_id.sql"), params![tenant.as_str(), id.as_bytes()], rows::stored)
    }

    fn exists(&mut self, tenant: &Tenant, id: JobId) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM job WHERE tenant = ?1 AND id = ?2";
        Ok(self.one(sql, params![tenant.as_str(), id.as_bytes()], |_| Ok(()))?.is_some())
    }

    fn load_no(&mut self, no: i64) -> Result<Option<Stored>, StoreError> {
        self.one(include_str!("queries/job_by_no.sql"), [no], rows::stored)
    }

    fn input(&mut self, no: i64) -> Result<Payload, StoreError> {
        let input = self.one(include_str!("queries/input.sql"), [no], |row| rows::payload(row, 0))?;
        input.ok_or_else(|| StoreError::Corrupt(format!("job {no} has no input")))
    }

    fn step(&mut self, no: i64, name: &StepName) -> Result<Option<Payload>, StoreError> {
        let sql = "SELECT data, blob FROM step WHERE no = ?1 AND name = ?2";
        self.one(sql, params![no, name.as_str()], |row| rows::payload(row, 0))
    }

    fn answers(&mut self, no: i64) -> Result<Vec<Payload>, StoreError> {
        self.all("SELECT data, blob FROM answer WHERE no = ?1 ORDER BY id", [no], |row| rows::payload(row, 0))
    }

    fn live_children(&mut self, parent: JobId, limit: usize) -> Result<Vec<Stored>, StoreError> {
        self.all(include_str!("queries/children_live.sql"), params![parent.as_bytes(), limit], rows::stored)
    }

    fn tombstone(&mut self, tenant: &Tenant, id: JobId) -> Result<Option<Tombstone>, StoreError> {
        reads::tombstone(&self.connection, tenant, id)
    }

    fn ready(&mut self, lane: &LaneKey, after: Option<Head>, limit: usize) -> Result<Vec<Head>, StoreError> {
        let after = after.unwrap_or(Head { rank: i64::MIN, no: i64::MIN });
        let names = params![lane.queue.as_str(), lane.kind.as_str(), lane.tenant.as_str(), after.rank, after.no, limit];
        self.all(include_str!("queries/ready.sql"), names, |row| Ok(Head { rank: row.get(0)?, no: row.get(1)? }))
    }

    fn due(&mut self, now: Timestamp, limit: usize) -> Result<(Vec<Stored>, Option<Timestamp>), StoreError> {
        let due = self.all(include_str!("queries/jobs_due.sql"), params![now.as_micros(), limit], rows::stored)?;
        let next =
            if due.len() == limit { Some(now) } else { self.next_time(include_str!("queries/next_due.sql"), now)? };
        Ok((due, next))
    }

    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<(Vec<Stored>, Option<Timestamp>), StoreError> {
        let sql = include_str!("queries/jobs_overdue.sql");
        let due = self.all(sql, params![now.as_micros(), limit], rows::stored)?;
        let next = if due.len() == limit {
            Some(now)
        } else {
            self.next_time(include_str!("queries/next_deadline.sql"), now)?
        };
        Ok((due, next))
    }

    fn idempotency(&mut self, tenant: &Tenant, route: &str, key: &[u8; 32]) -> Result<Option<KeptKey>, StoreError> {
        let sql = "SELECT fingerprint, jobs, keep_until FROM idempotency WHERE tenant = ?1 AND route = ?2 AND key = ?3";
        self.one(sql, params![tenant.as_str(), route, key], |row| {
            let jobs: Vec<u8> = row.get(1)?;
            let (ids, _) = jobs.as_chunks::<16>();
            Ok(KeptKey {
                fingerprint: row.get(0)?,
                jobs: ids.iter().copied().map(JobId::from_bytes).collect(),
                keep_until: rows::time(row, 2)?,
            })
        })
    }

    fn expired(&mut self, now: Timestamp, limit: usize) -> Result<Vec<ExpiryBlock>, StoreError> {
        self.begin()?;
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, jobs, deltas IS NOT NULL FROM expiry WHERE at <= ?1 ORDER BY at, id")?;
        let mut found = statement.query([now.as_micros()])?;
        let (mut blocks, mut jobs) = (Vec::new(), 0);
        while jobs <= limit
            && let Some(row) = found.next()?
        {
            let (numbers, _) = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?.as_chunks::<8>();
            let jobs_of_block = numbers.iter().copied().map(i64::from_le_bytes).collect();
            let block = ExpiryBlock { id: row.get(0)?, jobs: jobs_of_block, of_deltas: row.get(2)? };
            jobs += block.jobs.len();
            blocks.push(block);
        }
        Ok(blocks)
    }

    fn key(&mut self, tenant: &Tenant, id: KeyId) -> Result<Option<ApiKey>, StoreError> {
        let keys = reads::keys(&self.connection)?;
        Ok(keys.into_iter().find(|key| key.id == id && key.tenant == *tenant))
    }

    fn document(&mut self, tenant: &Tenant, id: DocumentId) -> Result<Option<Document>, StoreError> {
        reads::document(&self.connection, tenant, id)
    }

    fn pace(&mut self, gate: i64) -> Result<Option<Pace>, StoreError> {
        self.one("SELECT starts FROM pace WHERE gate = ?1", [gate], |row| {
            let starts = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            Pace::from_bytes(starts).ok_or_else(|| StoreError::Corrupt("what has started under a limit".into()))
        })
    }

    fn waking(&mut self, now: Timestamp, limit: usize) -> Result<(Vec<i64>, Option<Timestamp>), StoreError> {
        let sql = "SELECT gate FROM pace WHERE wakes_at IS NOT NULL AND wakes_at <= ?1 ORDER BY wakes_at LIMIT ?2";
        let due = self.all(sql, params![now.as_micros(), limit], |row| Ok(row.get(0)?))?;
        if due.len() >= limit {
            return Ok((due, Some(now)));
        }
        let next = "SELECT min(wakes_at) FROM pace WHERE wakes_at IS NOT NULL AND wakes_at > ?1";
        Ok((due, self.next_time(next, now)?))
    }

    fn blocked_keys(&mut self, after: i64, limit: usize) -> Result<Vec<i64>, StoreError> {
        let (mut keys, mut last) = (Vec::new(), after);
        while keys.len() < limit
            && let Some(Some(key)) =
                self.one(include_str!("queries/blocked_next_key.sql"), [last], |row| Ok(row.get::<_, Option<i64>>(0)?))?
        {
            keys.push(key);
            last = key;
        }
        Ok(keys)
    }

    fn blocked_queues(&mut self, key: i64) -> Result<Vec<QueueName>, StoreError> {
        let (mut queues, mut last) = (Vec::new(), String::new());
        while let Some(Some(queue)) =
            self.one(include_str!("queries/blocked_next_queue.sql"), params![key, last], |row| {
                Ok(row.get::<_, Option<String>>(0)?)
            })?
        {
            queues.push(QueueName::new(&queue).map_err(|_| StoreError::Corrupt(format!("queue {queue:?}")))?);
            last = queue;
        }
        Ok(queues)
    }

    fn blocked(
        &mut self,
        key: i64,
        queue: &QueueName,
        after: Option<Head>,
        limit: usize,
    ) -> Result<Vec<Head>, StoreError> {
        let Head { rank, no } = after.unwrap_or(Head { rank: i64::MIN, no: i64::MIN });
        let place = params![key, queue.as_str(), rank, no, limit];
        self.all(include_str!("queries/blocked.sql"), place, |row| Ok(Head { rank: row.get(0)?, no: row.get(1)? }))
    }

    fn write(&mut self, touched: &NumberMap<i64, Touched>, writes: &WriteSet) -> Result<(), StoreError> {
        let written = self.write_batch(touched, writes);
        // Undoes what was not committed; where SQLite has done so itself there is nothing left to undo.
        self.done();
        self.blobs.remove(&written?);
        self.bound_log();
        Ok(())
    }

    fn done(&mut self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be ended");
        }
    }

    fn close(&mut self) {
        // The log is written back, so that the directory is left as one file; failing that, the next start does it.
        let done = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).optional();
        if let Err(error) = done {
            tracing::warn!(%error, "the log could not be written back at the end");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::{super::open, *};

    /// Takes a snapshot of the jobs, and then takes a while.
    const SLOW: &str =
        "WITH RECURSIVE n (n) AS (SELECT count(*) FROM job UNION ALL SELECT n + 1 FROM n WHERE n < 20000)
                        SELECT count(*) FROM n";

    #[test]
    fn the_log_stays_small_however_reads_overlap() {
        let directory = tempfile::TempDir::new().unwrap();
        let opened = open::open(directory.path()).unwrap();
        let blobs = Arc::new(DirBlobs::open(&directory.path().join("blobs")).unwrap());
        let mut backing = SqliteBacking::new(opened, blobs).unwrap();
        (backing.log_most, backing.cut_log_at) = (4 << 20, 4 << 20);
        backing.connection.execute_batch("CREATE TABLE ballast (bytes)").unwrap();
        let (is_over, mut largest) = (AtomicBool::new(false), 0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (reads, is_over) = (backing.reads.clone(), &is_over);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        reads.with(|db| Ok(db.query_row(SLOW, [], |row| row.get::<_, i64>(0))?)).unwrap();
                    }
                });
            }
            for _ in 0..40 {
                backing.connection.execute("INSERT INTO ballast VALUES (zeroblob(1000000))", []).unwrap();
                backing.bound_log();
                largest = largest.max(fs::metadata(&backing.log).unwrap().len());
            }
            is_over.store(true, Ordering::Relaxed);
        });
        assert!(largest < 6 << 20, "{largest} bytes");
    }

    #[test]
    fn a_reader_elsewhere_is_not_waited_for_and_the_log_is_cut_off_when_it_has_gone() {
        let directory = tempfile::TempDir::new().unwrap();
        let opened = open::open(directory.path()).unwrap();
        let blobs = Arc::new(DirBlobs::open(&directory.path().join("blobs")).unwrap());
        let mut backing = SqliteBacking::new(opened, blobs).unwrap();
        (backing.log_most, backing.cut_log_at) = (1 << 20, 1 << 20);
        backing.connection.execute_batch("CREATE TABLE ballast (bytes)").unwrap();
        let elsewhere = open::open_reader(&directory.path().join("longhaul.db")).unwrap();
        elsewhere.execute_batch("BEGIN; SELECT count(*) FROM job").unwrap();
        let mut write = |mib: usize| -> u64 {
            for _ in 0..mib {
                backing.connection.execute("INSERT INTO ballast VALUES (zeroblob(1000000))", []).unwrap();
                backing.bound_log();
            }
            fs::metadata(&backing.log).unwrap().len()
        };
        assert!(write(4) > 3 << 20);
        elsewhere.execute_batch("COMMIT").unwrap();
        assert!(write(3) < 2 << 20);
    }
}
