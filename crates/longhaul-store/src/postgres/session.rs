//! A connection as this store uses it: statements prepared once, none waited for without an end, errors in the words of
//! the port.

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use deadpool_postgres::{Object, Pool};
use futures::future::join_all;
use tokio_postgres::{Row, Statement, error::SqlState, types::ToSql};

use crate::StoreError;

pub(super) type Parameter<'a> = &'a (dyn ToSql + Sync);
pub(super) type Parameters<'a> = &'a [Parameter<'a>];

/// A statement under way in a pipeline.
pub(super) type Sent<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + Send + 'a>>;

const COLUMNS: &str = include_str!("queries/job_columns.sql");

/// Fills in the columns of a job.
fn expanded(sql: &str) -> Cow<'_, str> {
    if sql.contains("{job}") { Cow::Owned(sql.replace("{job}", COLUMNS)) } else { Cow::Borrowed(sql) }
}

/// The connections of a store.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) pool: Pool,
    /// How long a statement is waited for.
    pub(super) patience: Duration,
}

impl Connections {
    pub(super) async fn session(&self) -> Result<Session, StoreError> {
        let object = self.pool.get().await?;
        Ok(Session { object: Some(object), patience: self.patience, is_silent: AtomicBool::new(false) })
    }
}

/// A connection that was taken from the pool. One that does not answer is not given back, and takes those with it that
/// wait in the pool: what has silenced it has most likely silenced them.
pub(super) struct Session {
    /// None once it is discarded.
    object: Option<Object>,
    patience: Duration,
    is_silent: AtomicBool,
}

impl Drop for Session {
    fn drop(&mut self) {
        if !*self.is_silent.get_mut() {
            return;
        }
        if let Some(object) = self.object.take() {
            if let Some(pool) = Object::pool(&object) {
                pool.retain(|_, _| false);
            }
            drop(Object::take(object));
        }
    }
}

impl Session {
    /// The same, for statements that take as long as they take.
    pub(super) fn without_hurry(mut self) -> Self {
        self.patience = WITHOUT_HURRY;
        self
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed) || self.object.as_ref().is_none_or(|object| object.is_closed())
    }

    fn object(&self) -> Result<&Object, Error> {
        self.object.as_ref().filter(|_| !self.is_silent.load(Ordering::Relaxed)).ok_or(Error::Silent(self.patience))
    }

    async fn answered<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Error> {
        match tokio::time::timeout(self.patience, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                self.is_silent.store(true, Ordering::Relaxed);
                Err(Error::Silent(self.patience))
            }
        }
    }

    pub(super) async fn statement(&self, sql: &str) -> Result<Statement, Error> {
        self.answered(self.object()?.prepare_cached(&expanded(sql))).await
    }

    pub(super) async fn rows(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Error> {
        let statement = self.statement(sql).await?;
        self.answered(self.object()?.query(&statement, parameters)).await
    }

    pub(super) async fn row(&self, sql: &str, parameters: Parameters<'_>) -> Result<Option<Row>, Error> {
        let statement = self.statement(sql).await?;
        self.answered(self.object()?.query_opt(&statement, parameters)).await
    }

    pub(super) async fn execute(&self, sql: &str, parameters: Parameters<'_>) -> Result<u64, Error> {
        let statement = self.statement(sql).await?;
        self.answered(self.object()?.execute(&statement, parameters)).await
    }

    pub(super) async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.answered(self.object()?.batch_execute(sql)).await
    }

    /// Sends a prepared statement when it is first polled: several that are polled together travel together.
    pub(super) fn send<'a>(&'a self, statement: &'a Statement, parameters: Parameters<'a>) -> Sent<'a> {
        Box::pin(async move { self.answered(self.object()?.query(statement, parameters)).await })
    }

    /// Sends one that takes no parameters and gives no rows.
    pub(super) fn send_plain<'a>(&'a self, sql: &'a str) -> Sent<'a> {
        Box::pin(async move { self.batch(sql).await.map(|()| Vec::new()) })
    }

    /// Gives the connection back to nobody: what state it is in is not known.
    pub(super) fn discard(mut self) {
        if !self.is_closed()
            && let Some(object) = self.object.take()
        {
            drop(Object::take(object));
        }
    }
}

/// How long a migration may take: indexes are made over all that is stored.
const WITHOUT_HURRY: Duration = Duration::from_secs(24 * 3_600);

/// More would not be polled in their order.
const PIPELINED_MOST: usize = 30;

/// Carries out statements in their order, in one trip. The first error is told; those behind it were not carried out.
pub(super) async fn pipelined(statements: Vec<Sent<'_>>) -> Result<Vec<Vec<Row>>, Error> {
    debug_assert!(statements.len() <= PIPELINED_MOST, "they would be sent out of order");
    join_all(statements).await.into_iter().collect()
}

/// Why a statement has no answer.
#[derive(Debug)]
pub(super) enum Error {
    Database(tokio_postgres::Error),
    /// There was none for so long.
    Silent(Duration),
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Error::Database(error)
    }
}

/// What went wrong within a transaction.
#[derive(Debug)]
pub(super) enum Fault {
    Database(Error),
    Store(StoreError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Database(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Fault::Store(error)
    }
}

/// What an error of the database means for what was attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Somebody else was in the way: the same may be done again at once.
    Conflict,
    /// The server is not there, or cannot write at present.
    Away,
    /// It has no room.
    Full,
    /// The statement itself is wrong, or what it was given.
    Wrong,
}

pub(super) fn trouble(error: &Error) -> Trouble {
    let Error::Database(error) = error else { return Trouble::Away };
    let Some(state) = error.code() else { return Trouble::Away };
    if [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        // Another server has taken in the same ids, or the same key, a moment ago.
        SqlState::UNIQUE_VIOLATION,
    ]
    .contains(state)
    {
        return Trouble::Conflict;
    }
    if [SqlState::DISK_FULL, SqlState::INSUFFICIENT_RESOURCES, SqlState::OUT_OF_MEMORY].contains(state) {
        return Trouble::Full;
    }
    let class = state.code().get(..2).unwrap_or_default();
    // Connections, logins, databases, operators, limits of connections, systems; and a standby that is not the primary yet.
    // A login that is refused for a while says nothing of what is stored.
    let is_away = ["08", "28", "3D", "53", "57", "58"].contains(&class)
        || [
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            SqlState::INSUFFICIENT_PRIVILEGE,
        ]
        .contains(state);
    if is_away { Trouble::Away } else { Trouble::Wrong }
}

pub(super) fn store_error(error: &Error) -> StoreError {
    let text = told(error);
    match trouble(error) {
        Trouble::Conflict | Trouble::Away => StoreError::Unavailable(text),
        Trouble::Full => StoreError::StorageFull,
        Trouble::Wrong => StoreError::Corrupt(text),
    }
}

/// What the server said, and not only that it said something.
fn told(error: &Error) -> String {
    let error = match error {
        Error::Database(error) => error,
        Error::Silent(patience) => return format!("the database has not answered for {patience:?}"),
    };
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => error.to_string(),
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        store_error(&error)
    }
}

impl From<deadpool_postgres::PoolError> for StoreError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => store_error(&error.into()),
            other => StoreError::Unavailable(format!("no connection to PostgreSQL: {other}")),
        }
    }
}
