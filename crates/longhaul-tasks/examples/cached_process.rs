//! Measures what a `process` request costs when every item is in the cache: reading the input, looking the answers up,
//! writing the output.
//!
//! `cargo run --release -p longhaul-tasks --example cached_process [items]`

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement prints and reads the clock")]

use std::{error::Error, sync::Arc, time::Instant};

use longhaul_core::{Ids, Span, Tenant};
use longhaul_engine::{Check, Engine, EngineOptions, Hub, JobRequest, SchemaCompiler, SystemClock};
use longhaul_store::{MemoryStore, StoreClock};
use longhaul_tasks::{TaskSettings, built_in};

const ROUNDS: u32 = 2_000;

struct NoSchemas;

impl SchemaCompiler for NoSchemas {
    fn compile(&self, _: &serde_json::Value) -> Result<Arc<dyn Check>, String> {
        Err("no kind is registered here".into())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let items: usize = std::env::args().nth(1).map_or(Ok(10), |items| items.parse())?;
    let clock = Arc::new(SystemClock::start());
    let kinds = built_in(Arc::default(), TaskSettings { clock: clock.clone(), ..TaskSettings::default() });
    let (hub, ids) = (Arc::new(Hub::default()), Arc::new(Ids::from_system()));
    let store = MemoryStore::open(StoreClock { clock: clock.clone(), ids: ids.clone() }, hub.clone())?;
    let (options, schemas) = (EngineOptions::default(), Arc::new(NoSchemas));
    let engine = Engine::start(options, store, hub, kinds.executors.clone(), schemas, clock, ids).await?;

    let text = "The lantern in the lighthouse burns all night, and the ships are glad of it. ".repeat(12);
    let item = |n: usize| serde_json::json!({"task": "keywords", "input": format!("{n} {text}")});
    let input = serde_json::json!({"items": (0..items).map(item).collect::<Vec<_>>()}).to_string();
    let tenant = Tenant::default_tenant();
    let started = Instant::now();
    let request = JobRequest::of("process", input.clone());
    let accepted = engine.submit(&tenant, vec![request], None).await?;
    engine.wait(&tenant, accepted.jobs[0], Span::from_secs(60), None).await?;
    println!("{items} items of {} characters as a job, all missed: {:?}", text.len(), started.elapsed());

    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let read = kinds.process.read(&input).map_err(|errors| format!("{errors:?}"))?;
        let output = kinds.process.try_cached(&tenant, &read).ok_or("not all answers are cached")?;
        let json = serde_json::to_vec(&output)?;
        took.push(started.elapsed());
        assert!(json.len() > items);
    }
    took.sort();
    println!("from the cache: median {:?}, 99 of 100 within {:?}", took[took.len() / 2], took[took.len() * 99 / 100]);
    Ok(())
}
