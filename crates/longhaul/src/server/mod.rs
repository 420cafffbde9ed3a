//! From settings to a running server, and from a signal to a clean end.
//!
//! Start: open the store, see to the keys, bind, start the engine, say so. The engine comes after all that may fail: it
//! leases jobs at once, and a process that ends without a drain leaves them as if it had crashed over them. End: unready at
//! once, running jobs may end within `server.drain`, the rest is released, then the listener stops and the store is closed.

mod process;
mod reload;
mod telemetry;
mod wiring;

use std::{io::Write as _, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use longhaul_core::{Clock, IdSource, Ids, Span};
use longhaul_engine::{Engine, Hub, SystemClock};
use longhaul_server::{
    App, Schemas, ServeOptions, application,
    auth::{self, KeyRing},
    listener::{EventLoops, Listener},
    metrics::{Beside, Telemetry},
    spans::SpanSink,
};
use longhaul_store::JobStore;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::reload::Reload;
use crate::config::{Settings, Sources, refuse_if_exposed};

/// How long connections may take to end after the engine has.
const LISTENER_DRAIN: std::time::Duration = std::time::Duration::from_secs(3);

/// Runs the server until it is told to stop, then drains it. Unless it `runs_built_in` kinds, it only takes jobs in and
/// keeps them: workers run them.
///
/// # Errors
/// When the store cannot be opened, the address cannot be bound or must not be, or a setting cannot be used.
pub(crate) fn run(
    settings: &Settings,
    sources: Sources,
    file: Option<PathBuf>,
    runs_built_in: bool,
) -> anyhow::Result<()> {
    telemetry::start(&settings.telemetry)?;
    // What jobs are given and give is for nobody else on this machine: directories 0700, files 0600.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    allow_open_files();
    // First, so that they end last: whatever runs elsewhere may use a connection that was opened there.
    let event_loops = Arc::new(EventLoops::one_per_core().context("starting the threads of the connections")?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(serve(settings, sources, file, runs_built_in, event_loops.clone()))
}

/// Every connection is an open file: takes as many as the system lets this process have.
fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

async fn serve(
    settings: &Settings,
    sources: Sources,
    file: Option<PathBuf>,
    runs_built_in: bool,
    event_loops: Arc<EventLoops>,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let ids: Arc<dyn IdSource> = Arc::new(Ids::from_system());
    let hub = Arc::new(Hub::default());
    let exporter = telemetry::traces();
    let telemetry = Arc::new(Telemetry::new(exporter.clone().map(|exporter| exporter as Arc<dyn SpanSink>)));
    telemetry.reserve(wiring::queues_named(settings), settings.kinds.keys().map(String::as_str));
    let observer = Arc::new(Beside { telemetry: telemetry.clone(), first: hub.clone() });
    let store = wiring::store(settings, &clock, &ids, observer).await?;
    let keys = open_keys(settings, &*store, &*clock).await?;
    refuse_if_exposed(settings.server.listen, !keys.is_empty())?;
    let tracker = TaskTracker::new();
    let gateway = wiring::gateway(settings, &tracker, &telemetry)?;
    let tls = wiring::tls_identity(settings)?;
    let listening = wiring::listener_options(settings, tls.as_ref(), LISTENER_DRAIN)?;
    let reload = Reload::new(sources, gateway.clone(), tls, settings.clone(), file).context("listening for SIGHUP")?;
    let (mut executors, tasks) = wiring::tasks(settings, &tracker, &gateway, &store, &clock)?;
    executors.extend(longhaul_tasks::llm::executors(&gateway));
    let options = wiring::engine_options(settings, runs_built_in, telemetry.records_traces())?;
    let listener = Listener::bind(settings.server.listen, listening)?.on(event_loops);
    let address = listener.local_addr();
    let engine = Engine::start(options, store, hub, executors, Arc::new(Schemas), clock, ids).await?;
    wiring::name_built_in(&engine, &telemetry);
    telemetry.add(Arc::new(listener.stats()));
    let exported = CancellationToken::new();
    let exporting = exporter.map(|exporter| {
        telemetry.add(exporter.clone());
        tracker.spawn(exporter.run(exported.clone()))
    });
    telemetry.add(Arc::new(process::Process::of(&settings.store.url)));
    let cors = wiring::cors(settings);
    let app = App::new(engine.clone(), gateway, keys, wiring::limits(settings), tasks, cors.origins.clone())
        .secured(settings.server.tls_cert.is_some())
        .observed(telemetry);
    let serve_options = ServeOptions { open_documents: address.ip().is_loopback(), cors };
    let stopping = app.stopping().clone();
    let stop = CancellationToken::new();
    tracker.spawn(app.clone().keep_keys(stop.clone()));
    let router = match application(app, &serve_options) {
        Ok(router) => router,
        Err(error) => {
            engine.drain(Span::ZERO).await;
            engine.close().await;
            return Err(error.into());
        }
    };
    tracker.spawn(reload.run(stop.clone()));
    let serving = tracker.spawn(listener.serve(router, stop.clone()));
    if let Err(error) = announce(settings, address) {
        tracing::warn!(%error, "nobody reads the address");
    }

    signals.next().await;
    tracing::info!("stopping: no more work is taken in");
    stopping.cancel();
    let drain = Span::from(settings.server.drain);
    tokio::select! {
        () = engine.drain(drain) => {}
        () = signals.next() => {
            tracing::warn!("told twice: not waiting for what runs");
            engine.drain(Span::ZERO).await;
        }
    }
    stop.cancel();
    let drained = serving.await.context("the listener failed")?;
    if drained.cut_connections > 0 {
        tracing::warn!(connections = drained.cut_connections, "connections were cut");
    }
    engine.close().await;
    exported.cancel();
    if let Some(exporting) = exporting {
        // What went wrong on the way stands in the log.
        let _ = exporting.await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Reads the keys, and adds the one for the first start when it is not there yet.
async fn open_keys(settings: &Settings, store: &dyn JobStore, clock: &dyn Clock) -> anyhow::Result<KeyRing> {
    let mut keys = store.keys().await?;
    if let Some(secret) = &settings.bootstrap_key {
        let key = auth::bootstrap(secret.expose(), clock.now())
            .map_err(|why| anyhow::anyhow!("the bootstrap key cannot be used: {why}"))?;
        match keys.iter().find(|known| known.id == key.id) {
            None => {
                store.put_key(key.clone()).await?;
                keys.push(key);
            }
            Some(known) if known.secret_hash != key.secret_hash => anyhow::bail!(
                "the bootstrap key names a key that exists with another secret; give it another id (lh_<id>_<secret>), \
                 and revoke the old one"
            ),
            Some(known) if !known.is_valid(clock.now()) => {
                tracing::warn!(key = %known.id, "the bootstrap key was revoked and opens nothing; it need not be given any more");
            }
            Some(_) => {}
        }
    }
    Ok(KeyRing::of(keys))
}

/// One line on standard output, for people and for programs that wait for it.
fn announce(settings: &Settings, address: std::net::SocketAddr) -> anyhow::Result<()> {
    let scheme = if settings.server.tls_cert.is_some() { "https" } else { "http" };
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {scheme}://{address}").context("writing to standard output")?;
    out.flush().context("writing to standard output")
}

/// The signals that stop a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they stop the process in good order only.
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
