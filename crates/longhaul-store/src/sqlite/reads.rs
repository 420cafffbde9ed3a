//! Reading for everybody but the ledger: read-only connections, taken from a small pool.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use longhaul_core::{ApiKey, Attempt, DocumentId, Event, JobId, KeyId, KindSpec, Payload, Status, Tenant};
use rusqlite::{Connection, Params, Row, params};

use super::{open, rows};
use crate::{
    Child, Document, JobPage, JobQuery, JobView, Partial, StoreError, StoredStep, Tombstone,
    ledger::{Phase, Reads, Stored, partial_of},
};

/// How many connections wait for the next read. More may be open while more reads run at once.
const KEPT_MOST: usize = 4;

/// How many rows a page of jobs looks at, whatever its filters leave: bounds the time of one request to some tens of
/// milliseconds; the cursor goes on behind them.
const LOOKED_AT: usize = 20_000;

#[derive(Clone)]
pub(super) struct SqliteReads(Arc<Pool>);

struct Pool {
    database: PathBuf,
    idle: Mutex<Vec<Connection>>,
    /// Whoever reads shares it.
    reading: RwLock<()>,
}

impl SqliteReads {
    pub(super) fn new(database: PathBuf) -> Self {
        Self(Arc::new(Pool { database, idle: Mutex::default(), reading: RwLock::default() }))
    }

    /// Waits until nobody reads, and lets nobody begin before `work` is done.
    pub(super) fn while_nobody_reads<T>(&self, work: impl FnOnce() -> T) -> T {
        let _alone = self.0.reading.write().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// Reads within one snapshot.
    pub(super) fn with<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let _reading = self.0.reading.read().unwrap_or_else(PoisonError::into_inner);
        let idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => open::open_reader(&self.0.database)?,
        };
        let transaction = connection.transaction()?;
        let result = read(&transaction);
        transaction.finish()?;
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT_MOST {
            idle.push(connection);
        }
        result
    }
}

fn all<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = db.prepare_cached(sql)?;
    let mut found = statement.query(params)?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}

fn one<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut statement = db.prepare_cached(sql)?;
    let mut found = statement.query(params)?;
    found.next()?.map(read).transpose()
}

/// The number under which a job of this id stands.
fn number(db: &Connection, tenant: &Tenant, id: JobId) -> Result<i64, StoreError> {
    let sql = "SELECT no FROM job WHERE tenant = ?1 AND id = ?2";
    match one(db, sql, params![tenant.as_str(), id.as_bytes()], |row| Ok(row.get(0)?))? {
        Some(no) => Ok(no),
        None => Err(absent(db, tenant, id)?),
    }
}

/// Where a list looks: among all jobs of a tenant, or among the few that an index of their own finds.
pub(super) const ANY: &str = "job INDEXED BY job_id WHERE true";
pub(super) const RUNNING: &str = "job INDEXED BY job_active WHERE phase IN (2, 3)";
pub(super) const UNHAPPY: &str = "job INDEXED BY job_unhappy WHERE phase >= 5";

/// Lists jobs; `window` narrows them to an index of their own.
pub(super) fn list_sql(window: &str) -> String {
    let columns = include_str!("queries/job_by_no.sql");
    let columns = columns.trim_start_matches("SELECT").split("FROM").next().unwrap_or("*");
    include_str!("queries/list.sql").replace("{columns}", columns).replace("{window}", window)
}

fn absent(db: &Connection, tenant: &Tenant, id: JobId) -> Result<StoreError, StoreError> {
    Ok(match tombstone(db, tenant, id)? {
        Some(tombstone) => StoreError::Gone(Box::new(tombstone)),
        None => StoreError::NotFound("job"),
    })
}

pub(super) fn tombstone(db: &Connection, tenant: &Tenant, id: JobId) -> Result<Option<Tombstone>, StoreError> {
    let sql = "SELECT status, finished_at, erased FROM tombstone WHERE tenant = ?1 AND id = ?2";
    one(db, sql, params![tenant.as_str(), id.as_bytes()], |row| {
        let status = match rows::phase_of(row.get(0)?)? {
            Phase::Succeeded => Status::Succeeded,
            Phase::Cancelled => Status::Cancelled,
            Phase::Failed | Phase::Blocked | Phase::Ready | Phase::Deferred | Phase::Running | Phase::Waiting => {
                Status::Failed
            }
        };
        Ok(Tombstone { job: id, status, finished_at: rows::time(row, 1)?, erased: row.get(2)? })
    })
}

pub(super) fn kinds(db: &Connection) -> Result<Vec<(Tenant, KindSpec)>, StoreError> {
    all(db, "SELECT tenant, spec FROM kind ORDER BY tenant, name", [], |row| {
        let damaged = |_| StoreError::Corrupt("a stored kind cannot be read".into());
        let tenant = Tenant::new(&row.get::<_, String>(0)?).map_err(|_| damaged(()))?;
        let spec = serde_json::from_str(&row.get::<_, String>(1)?).map_err(|_| damaged(()))?;
        Ok((tenant, spec))
    })
}

pub(super) fn keys(db: &Connection) -> Result<Vec<ApiKey>, StoreError> {
    let sql =
        "SELECT id, tenant, name, scopes, secret_hash, created_at, expires_at, revoked_at FROM api_key ORDER BY id";
    let damaged = |_| StoreError::Corrupt("a stored key cannot be read".into());
    all(db, sql, [], |row| {
        let scopes = row.get::<_, String>(3)?;
        Ok(ApiKey {
            id: KeyId::from_bytes(row.get(0)?),
            tenant: Tenant::new(&row.get::<_, String>(1)?).map_err(|e| damaged(e.to_string()))?,
            name: row.get(2)?,
            scopes: scopes.split_whitespace().map(|scope| scope.parse().map_err(damaged)).collect::<Result<_, _>>()?,
            secret_hash: row.get(4)?,
            created_at: rows::time(row, 5)?,
            expires_at: rows::time_or_none(row, 6)?,
            revoked_at: rows::time_or_none(row, 7)?,
        })
    })
}

pub(super) fn document(db: &Connection, tenant: &Tenant, id: DocumentId) -> Result<Option<Document>, StoreError> {
    let sql = "SELECT file_name, content_type, content, job, created_at FROM document WHERE tenant = ?1 AND id = ?2";
    one(db, sql, params![tenant.as_str(), id.as_bytes()], |row| {
        Ok(Document {
            id,
            tenant: tenant.clone(),
            file_name: row.get(0)?,
            content_type: row.get(1)?,
            content: rows::blob_of(&row.get::<_, Vec<u8>>(2)?)?,
            job: JobId::from_bytes(row.get(3)?),
            created_at: rows::time(row, 4)?,
        })
    })
}

impl Reads for SqliteReads {
    const BLOCKS: bool = true;

    fn job(&self, tenant: &Tenant, id: JobId) -> Result<JobView, StoreError> {
        self.with(|db| {
            let sql = include_str!("queries/job_by_id.sql");
            let Some(stored) = one(db, sql, params![tenant.as_str(), id.as_bytes()], rows::stored)? else {
                return Err(absent(db, tenant, id)?);
            };
            let input = one(db, include_str!("queries/input.sql"), [stored.no], |row| rows::payload(row, 0))?;
            let output = match stored.phase {
                Phase::Succeeded => {
                    one(db, include_str!("queries/output.sql"), [stored.no], |row| rows::payload(row, 0))?
                }
                _ => None,
            };
            let input = input.ok_or_else(|| StoreError::Corrupt(format!("{id} has no input")))?;
            Ok(JobView { job: stored.job, input, output })
        })
    }

    fn jobs(&self, query: &JobQuery) -> Result<JobPage, StoreError> {
        // Few jobs run, fail or are cancelled: those are found through indexes of their own.
        let window = match query.status {
            Some(Status::Running) => RUNNING,
            Some(Status::Failed | Status::Cancelled) => UNHAPPY,
            Some(Status::Queued | Status::Succeeded) | None => ANY,
        };
        let phase = query.status.map(|status| match status {
            Status::Queued => 0,
            Status::Running => 2,
            Status::Succeeded => 4,
            Status::Failed => 5,
            Status::Cancelled => 6,
        });
        let metadata = (!query.metadata.is_empty()).then(|| {
            let pairs: serde_json::Map<String, serde_json::Value> =
                query.metadata.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
            serde_json::Value::Object(pairs).to_string()
        });
        let after = query.created_after.map_or([0; 16], |at| *JobId::floor(at).as_bytes());
        let top = [0xff; 16];
        let by_time =
            query.created_before.map_or(top, |at| *JobId::floor(at + longhaul_core::Span::from_millis(1)).as_bytes());
        let before = query.before.map_or(top, |id| *id.as_bytes()).min(by_time);
        self.with(|db| {
            let sql = list_sql(window);
            let found = all(
                db,
                &sql,
                params![
                    query.tenant.as_str(),
                    before,
                    LOOKED_AT,
                    phase,
                    query.kind.as_deref(),
                    query.queue.as_deref(),
                    query.created_after.map_or(i64::MIN, |at| at.as_micros()),
                    query.created_before.map_or(i64::MAX, |at| at.as_micros()),
                    metadata,
                    query.limit + 1,
                    after,
                ],
                rows::stored,
            )?;
            let mut jobs: Vec<_> = found.into_iter().map(|stored| stored.job).collect();
            if jobs.len() > query.limit {
                jobs.truncate(query.limit);
                let next = jobs.last().map(|job| job.spec.id);
                return Ok(JobPage { jobs, next });
            }
            let edge = include_str!("queries/list_edge.sql").replace("{window}", window);
            let next = one(db, &edge, params![query.tenant.as_str(), before, LOOKED_AT - 1, after], |row| {
                Ok(JobId::from_bytes(row.get(0)?))
            })?;
            Ok(JobPage { jobs, next })
        })
    }

    fn events(&self, tenant: &Tenant, id: JobId, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        self.with(|db| {
            let no = number(db, tenant, id)?;
            all(db, include_str!("queries/events.sql"), params![no, after, limit], rows::event)
        })
    }

    fn attempts(&self, tenant: &Tenant, id: JobId) -> Result<Vec<Attempt>, StoreError> {
        self.with(|db| {
            let no = number(db, tenant, id)?;
            all(db, include_str!("queries/attempts.sql"), [no], rows::attempt)
        })
    }

    fn steps(&self, tenant: &Tenant, id: JobId) -> Result<Vec<StoredStep>, StoreError> {
        self.with(|db| {
            let no = number(db, tenant, id)?;
            all(db, "SELECT name, data, blob FROM step WHERE no = ?1 ORDER BY id", [no], |row| {
                let name = row.get::<_, String>(0)?;
                let name = name.parse().map_err(|_| StoreError::Corrupt(format!("step {name:?}")))?;
                Ok(StoredStep { name, output: rows::payload(row, 1)? })
            })
        })
    }

    fn partial(&self, tenant: &Tenant, id: JobId) -> Result<Option<Partial>, StoreError> {
        self.with(|db| {
            let sql = "SELECT no, last_delta_seq, last_reset_seq FROM job WHERE tenant = ?1 AND id = ?2";
            let found = one(db, sql, params![tenant.as_str(), id.as_bytes()], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, Option<i64>>(2)?))
            })?;
            let Some((no, last_delta, last_reset)) = found else { return Err(absent(db, tenant, id)?) };
            if last_delta.is_none() {
                return Ok(None);
            }
            let resets = match last_reset {
                Some(_) => all(db, "SELECT number, seq FROM event WHERE no = ?1 AND type = 11", [no], |row| {
                    Ok((rows::unsigned(row, 0)?, rows::unsigned(row, 1)?))
                })?,
                None => Vec::new(),
            };
            let mut statement = db.prepare_cached(include_str!("queries/deltas.sql"))?;
            let deltas = statement
                .query_and_then([no], |row| Ok((rows::unsigned(row, 0)?, rows::delta_of(row.get(1)?, row.get(2)?)?)))?;
            partial_of(deltas, &resets)
        })
    }

    fn children(
        &self,
        tenant: &Tenant,
        parent: JobId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<Child>, StoreError> {
        self.with(|db| {
            number(db, tenant, parent)?;
            let after = after.map_or(-1, i64::from);
            all(db, include_str!("queries/children.sql"), params![parent.as_bytes(), after, limit], rows::child)
        })
    }

    fn position(&self, tenant: &Tenant, id: JobId, most: u32) -> Result<Option<u32>, StoreError> {
        self.with(|db| {
            let sql = include_str!("queries/job_by_id.sql");
            let found = one(db, sql, params![tenant.as_str(), id.as_bytes()], rows::stored)?;
            let Some(Stored { no, phase, job }) = found else { return Err(absent(db, tenant, id)?) };
            if phase != Phase::Ready {
                return Ok(None);
            }
            let spec = &job.spec;
            let (queue, kind, rank) = (spec.queue.as_str(), spec.kind.as_str(), spec.rank());
            let place = params![queue, kind, tenant.as_str(), rank, no, most];
            let before = one(db, include_str!("queries/position.sql"), place, |row| Ok(row.get(0)?))?.unwrap_or(0);
            Ok((before < most).then_some(before))
        })
    }

    fn kinds(&self) -> Result<Vec<(Tenant, KindSpec)>, StoreError> {
        self.with(kinds)
    }

    fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.with(keys)
    }

    fn document(&self, tenant: &Tenant, id: DocumentId) -> Result<Option<Document>, StoreError> {
        self.with(|db| document(db, tenant, id))
    }

    fn document_part(&self, tenant: &Tenant, id: DocumentId, part: &str) -> Result<Option<Payload>, StoreError> {
        self.with(|db| {
            let sql = "SELECT data, blob FROM document_part WHERE tenant = ?1 AND id = ?2 AND part = ?3";
            one(db, sql, params![tenant.as_str(), id.as_bytes(), part], |row| rows::payload(row, 0))
        })
    }
}
