//! The process: engine and store on a runtime of their own, which ends when they are killed.

use std::{collections::BTreeMap, sync::Arc};

use longhaul_core::{Clock, IdSource as _, Ids, QueueName, Span};
use longhaul_engine::{Engine, EngineOptions, Hub};
use longhaul_store::{JobStore, StoreClock, StoreError};
use tokio::runtime::Handle;

use crate::{
    client::{TENANTS, tenant},
    executors::{NoSchemas, executors, kind},
    observed::Observed,
    world::World,
};

/// What those outside can talk to.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) engine: Engine,
    /// The port, for what workers say.
    pub(crate) store: Arc<dyn JobStore>,
    pub(crate) runtime: Handle,
}

/// Jobs of a queue of this name run two at a time.
const NARROW: &str = "narrow";

/// Starts as the program does: opens the store, starts the engine, then listens.
pub(crate) async fn start(world: &World) -> Result<Server, StoreError> {
    let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
    let ids = Arc::new(Ids::seeded(world.dice.random()));
    let hub = Arc::new(Hub::default());
    let time = StoreClock { clock: clock.clone(), ids: ids.clone() };
    let (trouble, is_stormy) = (world.trouble.clone(), world.scenario.is_stormy);
    let pace = Arc::new(move || trouble.pace(is_stormy));
    let (store, writer) = world.disk.open(time, hub.clone(), Span::from_secs(86_400), pace)?;
    let runtime = Handle::current();
    runtime.spawn(writer);
    let store: Arc<dyn JobStore> = Arc::new(Observed { inner: store, world: world.clone() });
    for name in TENANTS {
        store.put_kind(&tenant(name), kind("remote")).await?;
    }
    let options = EngineOptions {
        concurrency: 6,
        lease_for: Span::from_secs(6),
        beat_every: Span::from_secs(2),
        queues: BTreeMap::from([(QueueName::new(NARROW).unwrap(), 2)]),
        worker: "inside".into(),
        ..EngineOptions::default()
    };
    let executors = executors(world);
    let engine = Engine::start(options, store.clone(), hub, executors, Arc::new(NoSchemas), clock, ids).await?;
    Ok(Server { engine, store, runtime })
}
