//! What runs within the process: `echo` gives back its input; `work` goes through steps and fares as the dice fall.

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::{Backoff, JobError, KindName, KindSpec, LogLevel, RetryPlan, Span, StepName};
use longhaul_engine::{Check, Completed, Executor, Failure, JobContext, SchemaCompiler};
use serde_json::{Value, json};

use crate::world::World;

/// A kind of the simulation, with waits that are over within it.
pub(crate) fn kind(name: &str) -> KindSpec {
    KindSpec {
        name: KindName::new(name).unwrap(),
        description: None,
        input_schema: None,
        output_schema: None,
        queue: None,
        max_attempts: None,
        backoff: Some(Backoff { initial_ms: 300, max_ms: 4_000 }),
        timeout_s: (name == "work").then_some(7),
    }
}

pub(crate) fn executors(world: &World) -> Vec<Arc<dyn Executor>> {
    vec![
        Arc::new(Echo { kind: kind("echo"), world: world.clone() }),
        Arc::new(Work { kind: kind("work"), world: world.clone() }),
    ]
}

pub(crate) struct NoSchemas;

impl SchemaCompiler for NoSchemas {
    fn compile(&self, _: &Value) -> Result<Arc<dyn Check>, String> {
        Err("no kind of the simulation has one".into())
    }
}

struct Echo {
    kind: KindSpec,
    world: World,
}

#[async_trait]
impl Executor for Echo {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        if self.world.dice.percent(50) {
            self.world.idle(Span::from_millis(300)).await;
        }
        Ok(Completed::with(job.input().clone()))
    }
}

struct Work {
    kind: KindSpec,
    world: World,
}

#[async_trait]
impl Executor for Work {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let world = &self.world;
        let input: Value = job.parse_input()?;
        let mut given = Vec::new();
        for number in 0..input["steps"].as_u64().unwrap_or(0) {
            let name = StepName::new(&format!("s{number}")).unwrap();
            let work = async {
                world.idle(Span::from_millis(400)).await;
                self.mishap(job).await?;
                Ok(world.fresh())
            };
            given.push(job.step(name, work).await?);
            if world.dice.percent(20) {
                job.progress(0.5, format!("{number} done")).await?;
            }
        }
        world.idle(Span::from_millis(600)).await;
        self.mishap(job).await?;
        Completed::json(&json!({"steps": given, "attempt": job.attempt(), "nonce": world.fresh()}))
    }
}

impl Work {
    /// What work meets with, as long as it is not calm.
    async fn mishap(&self, job: &JobContext) -> Result<(), Failure> {
        let world = &self.world;
        if !world.mishap(30) {
            return Ok(());
        }
        match world.dice.below(10) {
            0..4 => Err(Failure::transient("told", "as the dice fell")),
            4 => Err(Failure::permanent("told", "as the dice fell")),
            5 => {
                let plan = RetryPlan::Park(world.now() + world.dice.up_to(Span::from_secs(4)));
                let error = Box::new(JobError::transient("busy", "come back later"));
                Err(Failure::Job { error, plan, ambiguous: false })
            }
            6 => {
                let plan = RetryPlan::After(world.dice.up_to(Span::from_secs(2)));
                let error = Box::new(JobError::transient("busy", "come back later"));
                Err(Failure::Job { error, plan, ambiguous: false })
            }
            7 => {
                job.log(LogLevel::Warn, "this takes long").await?;
                world.idle(Span::from_secs(9)).await;
                Ok(())
            }
            _ => {
                // Until somebody ends it, or the storm is over.
                while !world.is_calm() {
                    world.sleep(Span::from_millis(700)).await;
                }
                Ok(())
            }
        }
    }
}
