//! What runs within the process. `echo` gives back its input; `work` goes through steps; `parent` takes children in,
//! `asker` asks somebody, `stream` gives its output out piece by piece. All but the first fare as the dice fall.

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::{Backoff, JobError, JobId, KindName, KindSpec, LogLevel, RetryPlan, Span, StepName};
use longhaul_engine::{Check, Completed, Executor, Failure, JobContext, JobRequest, SchemaCompiler};
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
        limits: crate::limits::of_kind(name),
    }
}

pub(crate) fn executors(world: &World) -> Vec<Arc<dyn Executor>> {
    vec![
        Arc::new(Echo { kind: kind("echo"), world: world.clone() }),
        Arc::new(Work { kind: kind("work"), world: world.clone() }),
        Arc::new(Parent { kind: kind("parent"), world: world.clone() }),
        Arc::new(Asker { kind: kind("asker"), world: world.clone() }),
        Arc::new(Stream { kind: kind("stream"), world: world.clone() }),
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
                mishap(world, job).await?;
                Ok(world.fresh())
            };
            given.push(job.step(name, work).await?);
            if world.dice.percent(20) {
                job.progress(0.5, format!("{number} done")).await?;
            }
        }
        world.idle(Span::from_millis(600)).await;
        mishap(world, job).await?;
        Completed::json(&json!({"steps": given, "attempt": job.attempt(), "nonce": world.fresh()}))
    }
}

/// Takes children in and waits for them.
struct Parent {
    kind: KindSpec,
    world: World,
}

#[async_trait]
impl Executor for Parent {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let world = &self.world;
        let count = 1 + world.dice.below(3);
        let child = |number: usize| {
            let kind = ["echo", "remote", "work"][number];
            JobRequest { max_attempts: Some(2), ..JobRequest::of(kind, json!({"steps": 1}).to_string()) }
        };
        let ids = job.spawn(StepName::new("children").unwrap(), (0..count).map(child).collect()).await?;
        mishap(world, job).await?;
        let children = job.wait_for_children().await?;
        let found: Vec<JobId> = children.iter().map(|child| child.job).filter(|child| ids.contains(child)).collect();
        if found != ids {
            world.accuse("children lost", format!("{} took in {ids:?} and finds {found:?}", job.id()));
        }
        mishap(world, job).await?;
        Completed::json(&json!({"children": children.len(), "nonce": world.fresh()}))
    }
}

/// Asks somebody, and gives back what was answered.
struct Asker {
    kind: KindSpec,
    world: World,
}

#[async_trait]
impl Executor for Asker {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        mishap(&self.world, job).await?;
        let answer: u64 = job.ask(StepName::new("answer").unwrap(), Some("which number?".into())).await?;
        mishap(&self.world, job).await?;
        Completed::json(&answer)
    }
}

/// Gives its output out as it comes into being, within steps and after them.
struct Stream {
    kind: KindSpec,
    world: World,
}

/// How many pieces each step of a stream gives out.
const PIECES: usize = 3;

/// All that a stream of so many steps gives out.
pub(crate) fn streamed(steps: u64) -> String {
    let piece = |step: &str| -> String { (0..PIECES).map(|number| format!("{step}.{number};")).collect() };
    let within: String = (0..steps).map(|step| piece(&step.to_string())).collect();
    within + &piece("end")
}

impl Stream {
    async fn give_out(&self, job: &JobContext, step: &str) -> Result<(), Failure> {
        for number in 0..PIECES {
            job.emit_text(&format!("{step}.{number};")).await?;
            self.world.idle(Span::from_millis(120)).await;
        }
        mishap(&self.world, job).await
    }
}

#[async_trait]
impl Executor for Stream {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let input: Value = job.parse_input()?;
        for number in 0..input["steps"].as_u64().unwrap_or(0) {
            let work = async {
                self.give_out(job, &number.to_string()).await?;
                Ok(self.world.fresh())
            };
            let _: u64 = job.step(StepName::new(&format!("s{number}")).unwrap(), work).await?;
        }
        self.give_out(job, "end").await?;
        Completed::json(&self.world.fresh())
    }
}

/// What work meets with, as long as it is not calm.
async fn mishap(world: &World, job: &JobContext) -> Result<(), Failure> {
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
