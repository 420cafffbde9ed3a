//! Bringing the tables to this version's format: numbered steps, forward only, one server at a time.

use super::{
    names::Keys,
    session::{Error, Session},
};
use crate::StoreError;

/// The migrations, in order. What has been released is never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_jobs.sql"),
    include_str!("migrations/0002_limits_and_traces.sql"),
    include_str!("migrations/0003_lanes_by_kind.sql"),
];

/// Why a database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresOpenError {
    /// The URL cannot be read.
    #[error("the URL of the database cannot be used: {0}")]
    Url(String),
    /// The server cannot be reached, or refuses us.
    #[error("the database cannot be reached: {0}")]
    Unreachable(StoreError),
    /// It is too old.
    #[error("the database server is PostgreSQL {found}; 15 or later is needed")]
    Old {
        /// What it says that it is.
        found: String,
    },
    /// A newer version wrote it.
    #[error(
        "the database was written by a newer version (format {found}; this one knows up to {known}); \
         start that version again, or restore a backup made before the upgrade"
    )]
    Newer {
        /// Its format.
        found: i64,
        /// The newest format known here.
        known: i64,
    },
    /// There is no place for the tables.
    #[error("the search path of the database user names no schema that exists")]
    NoSchema,
    /// What is stored cannot be used.
    #[error("the database cannot be opened: {0}")]
    Store(#[from] StoreError),
}

impl From<tokio_postgres::Error> for PostgresOpenError {
    fn from(error: tokio_postgres::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<Error> for PostgresOpenError {
    fn from(error: Error) -> Self {
        PostgresOpenError::Store(error.into())
    }
}

/// The oldest server that has what is used here.
const OLDEST: i32 = 150_000;

/// Checks the server and migrates; says under which names its servers meet.
pub(super) async fn migrate(session: &Session) -> Result<Keys, PostgresOpenError> {
    let row = session.row("SELECT current_setting('server_version_num')::int4, version(), current_schema()::text", &[]);
    let row = row.await?.ok_or(PostgresOpenError::NoSchema)?;
    if row.try_get::<_, i32>(0)? < OLDEST {
        return Err(PostgresOpenError::Old { found: row.try_get(1)? });
    }
    let schema = row.try_get::<_, Option<String>>(2)?.ok_or(PostgresOpenError::NoSchema)?;
    let keys = Keys::of_schema(schema);
    session.batch("BEGIN; SET LOCAL statement_timeout = 0").await?;
    session.rows("SELECT pg_advisory_xact_lock($1)", &[&keys.migration()]).await?;
    session.batch("CREATE TABLE IF NOT EXISTS schema_version (version int8 PRIMARY KEY)").await?;
    let row = session.row("SELECT coalesce(max(version), 0) FROM schema_version", &[]).await?;
    let found: i64 = row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        session.batch("ROLLBACK").await?;
        return Err(PostgresOpenError::Newer { found, known });
    }
    for (version, migration) in (1i64..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or_default()) {
        session.batch(migration).await?;
        session.rows("INSERT INTO schema_version (version) VALUES ($1)", &[&version]).await?;
    }
    session.batch("COMMIT").await?;
    Ok(keys)
}
