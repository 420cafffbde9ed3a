//! The store for several servers: PostgreSQL, 15 or later.
//!
//! The rows are the truth, and their locks decide who may change them: each change locks a job's row, takes the step
//! that [`longhaul_core::Job::step`] allows, and writes it in the same transaction. Nothing is kept in memory between
//! transactions but what configuration says. What makes it fast is what makes the ledger fast: operations that gather
//! while a transaction is under way share the next, and it costs a few statements whatever their number.
//!
//! - [`writer`] collects operations into batches, repeats and answers them; [`batch`] is what a transaction works on,
//!   [`operations`], [`sweep`] and [`claims`] (which choose from a [`window`]) what it does, [`load`] and [`write`] its two ends.
//! - [`reads`] answers everybody else, [`blobs`] keeps large payloads, [`rows`] turns rows into jobs and back.
//! - [`nodes`] and [`doorbell`] are for the other servers: who lives, and what has changed.
//!
//! Time is the database's, unless a clock is handed in for tests: two servers agree on when a lease ends.

mod batch;
mod blobs;
mod claims;
mod columns;
mod doorbell;
mod explain;
mod family;
mod gates;
mod grant;
mod load;
mod migrate;
mod names;
mod nodes;
mod operations;
mod reads;
mod rows;
mod session;
mod store;
mod sweep;
mod tls;
mod window;
mod write;
mod writer;

use std::{
    sync::{Arc, Mutex, atomic::AtomicI64},
    time::Duration,
};

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod};
use longhaul_core::Span;
pub use migrate::PostgresOpenError;
use tokio::{
    runtime::Runtime,
    sync::{Notify, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_postgres::Config;

use self::{
    blobs::PgBlobs,
    doorbell::{Doorbell, Listener},
    explain::Seen,
    grant::WayBack,
    load::TimeSource,
    names::Keys,
    reads::Reads,
    session::Connections,
    store::Store,
    tls::Tls,
    writer::{MAILBOX, Tools, Writer},
};
use crate::{JobStore, Observer, StoreClock, StoreError, ledger::Retention};

/// How many reads run at once. Each holds a connection.
const READS_AT_ONCE: usize = 8;

/// Connections for the writer, the doorbell, the sign of life and uploads.
const OTHER_CONNECTIONS: usize = 8;

/// How every connection is set up. The statements are few and each walks an index that was made for it: a planner that
/// has not yet counted the rows of a table that grew a moment ago must not choose otherwise. Whoever freezes in the
/// middle of a transaction lets go of its locks; a statement that nobody waits for any more has ended by itself.
fn settings(patience: Duration) -> String {
    format!(
        "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; \
         SET lock_timeout = {}; SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}",
        patience.as_millis() / 2,
        patience.as_millis() * 4 / 5,
        patience.as_millis()
    )
}

/// How long it may take to open a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How often a connection on which nothing is said is tried, and after how many times without an answer it is lost,
/// where the URL does not say otherwise.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(3);
const KEEPALIVES_MOST: u32 = 3;

/// What the driver takes for said where the URL says nothing.
const KEEPALIVE_IDLE_UNSAID: Duration = Duration::from_secs(2 * 3_600);

/// Where and how to keep jobs.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`, with whatever libpq's URLs may carry. `sslmode=require` encrypts
    /// and verifies, against the system's roots and those of the PEM file that `sslrootcert` names.
    pub url: String,
    /// What this server is called in the database, for people.
    pub name: String,
    /// How long what is left of an erased or expired job is remembered.
    pub tombstones_for: Span,
    /// How long what a job has streamed is kept after its end, when the job itself is kept longer.
    pub deltas_for: Span,
    /// How long a database that does not answer is waited for: a statement, and a whole transaction with its repetitions.
    pub patience: Span,
    /// Take the time from the clock that the store is given, instead of from the database. For tests: servers whose
    /// clocks disagree would end each other's leases.
    pub own_time: bool,
}

impl PostgresOptions {
    /// In the database of this URL, with tombstones kept for thirty days and deltas for one.
    pub fn at(url: impl Into<String>) -> Self {
        let Retention { tombstones, deltas } = Retention::default();
        Self {
            url: url.into(),
            name: format!("process {}", std::process::id()),
            tombstones_for: tombstones,
            deltas_for: deltas,
            patience: Span::from_secs(10),
            own_time: false,
        }
    }
}

/// Opens stores on PostgreSQL.
pub struct PostgresStore;

impl PostgresStore {
    /// Connects, brings the tables to this version's format, and joins the other servers on the database. Leases that
    /// servers which have ended have left are ended.
    pub async fn open(
        options: &PostgresOptions,
        time: StoreClock,
        observer: Arc<dyn Observer>,
    ) -> Result<Arc<dyn JobStore>, PostgresOpenError> {
        let unusable = |error: &dyn std::fmt::Display| StoreError::Unavailable(format!("no threads: {error}"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("store-postgres")
            .enable_all()
            .build()
            .map_err(|error| unusable(&error))?;
        let opening = runtime.spawn(open(options.clone(), time, observer, runtime.handle().clone()));
        match opening.await {
            Ok(Ok(mut store)) => {
                store.runtime = Some(runtime);
                Ok(Arc::new(store))
            }
            Ok(Err(error)) => Err(end(runtime, error)),
            Err(error) => Err(end(runtime, unusable(&error).into())),
        }
    }
}

fn end(runtime: Runtime, error: PostgresOpenError) -> PostgresOpenError {
    runtime.shutdown_background();
    error
}

fn pool(config: &Config, tls: &Tls, patience: Duration) -> Result<Pool, PostgresOpenError> {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(config.clone(), tls.clone(), recycling);
    let settings = settings(patience);
    let set_up = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
        let settings = settings.clone();
        Box::pin(async move {
            let set = tokio::time::timeout(CONNECT_WITHIN.min(patience), client.batch_execute(&settings));
            let silent = |_| HookError::message("the database has not answered");
            set.await.map_err(silent)?.map_err(HookError::Backend)
        })
    });
    Pool::builder(manager)
        .max_size(READS_AT_ONCE + OTHER_CONNECTIONS)
        .post_create(set_up)
        .runtime(deadpool_postgres::Runtime::Tokio1)
        .create_timeout(Some(CONNECT_WITHIN.min(patience)))
        .wait_timeout(Some(patience * 3))
        .build()
        .map_err(|error| PostgresOpenError::Url(error.to_string()))
}

async fn open(
    options: PostgresOptions,
    time: StoreClock,
    observer: Arc<dyn Observer>,
    runtime: tokio::runtime::Handle,
) -> Result<Store, PostgresOpenError> {
    let (mut config, tls) = tls::configured(&options.url)?;
    let patience = Duration::from(options.patience);
    config.connect_timeout(CONNECT_WITHIN);
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(patience);
    }
    let says_nothing = config.get_keepalives_idle() == KEEPALIVE_IDLE_UNSAID
        && config.get_keepalives_interval().is_none()
        && config.get_keepalives_retries().is_none();
    if says_nothing {
        config.keepalives_idle(patience).keepalives_interval(KEEPALIVE_EVERY).keepalives_retries(KEEPALIVES_MOST);
    }
    if config.get_application_name().is_none() {
        config.application_name("longhaul");
    }
    let connections = Connections { pool: pool(&config, &tls, patience)?, patience };
    let session = connections.session().await.map_err(PostgresOpenError::Unreachable)?.without_hurry();
    let keys: Keys = migrate::migrate(&session).await?;
    let source = if options.own_time { TimeSource::Clock(time.clock.clone()) } else { TimeSource::Database };
    let node = time.ids.random().cast_signed();
    nodes::say(&session, &source, node, &options.name).await?;
    drop(session);

    let (way_back, rung, doorbell) = (Arc::<WayBack>::default(), Arc::<Notify>::default(), Arc::<Doorbell>::default());
    let seen = Arc::<Seen>::default();
    let (writer, mailbox) = mpsc::channel(MAILBOX);
    let tools = Tools {
        connections: connections.clone(),
        time: time.clone(),
        source: source.clone(),
        node,
        keys: keys.clone(),
        deltas_for: options.deltas_for,
        seen: seen.clone(),
        observer: observer.clone(),
        doorbell: doorbell.clone(),
        way_back: way_back.clone(),
        rung: rung.clone(),
    };
    let mut beside = JoinSet::new();
    beside.spawn({
        let (connections, channel) = (connections.clone(), keys.channel());
        async move { doorbell.keep_ringing(&connections, &channel, node).await }
    });
    let listening = Arc::new(Notify::new());
    let listener = Listener { config, tls, channel: keys.channel(), node, observer, rung, patience };
    beside.spawn({
        let listening = listening.clone();
        async move { listener.keep_listening(listening).await }
    });
    beside.spawn({
        let (connections, clock, name) = (connections.clone(), time.clock.clone(), options.name.clone());
        async move { nodes::keep_saying(&connections, &source, &*clock, node, &name).await }
    });
    // What is told from now on is heard.
    listening.notified().await;
    // It ends by itself, once it is told to or nobody is left to tell it.
    runtime.spawn(Writer::new(tools, mailbox).run());
    let store = Store {
        writer,
        reads: Reads { connections: connections.clone(), places: Arc::new(Semaphore::new(READS_AT_ONCE)) },
        blobs: PgBlobs { connections: connections.clone(), runtime, node, way_back },
        connections,
        node,
        tombstones_for: options.tombstones_for,
        limits: Mutex::default(),
        seen,
        next_forget: Arc::new(AtomicI64::new(0)),
        review_after: Arc::new(AtomicI64::new(i64::MIN)),
        beside: Mutex::new(beside),
        runtime: None,
    };
    store.extend_unheard().await?;
    store.sweep().await?;
    if let Err(error) = store.blobs.drop_unused().await {
        tracing::warn!(%error, "blobs that nothing refers to could not be removed");
    }
    Ok(store)
}
