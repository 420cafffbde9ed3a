//! `process`: many small questions at once, each answered from a cache, by the same question of somebody else that is
//! just being asked, or by a model.
//!
//! Items run at the same time and fail alone; an item is tried three times at most, with waits in between: by the stack of
//! a configured model, over all of its targets and all answers that did not fit, or here for a model that has none. The
//! engine therefore tries the job only once: tries do not multiply. When a configured model gives nothing, `local` answers
//! what it can, marked as degraded. Answers are kept per tenant for a time (`answers`), under a key that does not look at
//! differences without a meaning (`key`). What a model outside this process has answered is also a step of the job, so that
//! a crash does not pay for it twice.
//!
//! What a call took is counted once, whatever came of it: by the job that made it or, if that has left, by one that waited for
//! the same answer.
//!
//! When every item has an answer in the cache, [`Process::try_cached`] gives them without any job.

mod answers;
mod input;
mod key;
mod output;
mod schema;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};
use longhaul_core::{Backoff, Clock, KindSpec, Report, Span, StepName, Tenant, Timestamp, Usage};
use longhaul_engine::{Check, Completed, Executor, Failure, FieldError, JobContext};
use longhaul_gateway::{CallOptions, Gateway, Model, ModelError};
use longhaul_resilience::{CacheHandle, CachePolicy, Cx, Dice, How, SharedCx};
use serde::{Deserialize, Serialize};

use crate::{
    TaskError, TaskSettings,
    analysis::unfit,
    calls::{Calls, failure},
    llm::call,
    spec,
};
use answers::{Answer, Answers, EngineTime};
use key::Key;

pub use input::{Item, ProcessInput, Task};
pub use output::{ItemResult, ItemStatus, Json, ProcessOutput, Served};

/// The code of a `process` job of which every item failed.
pub const ALL_ITEMS_FAILED: &str = "all_items_failed";

/// Tries of one item, the first one included, whoever is asked.
const TRIES: u32 = 3;

/// Items that the message of a wholly failed job tells about.
const MAX_TOLD: usize = 10;

/// The executor of `process`, and the way past it when every answer is known.
pub struct Process {
    kind: KindSpec,
    calls: Calls,
    default_model: Option<String>,
    answers: Answers,
    cache: CacheHandle<Key, Answer, ModelError, Answers>,
    time: Arc<EngineTime>,
    asking: Asking,
    concurrency: usize,
}

/// What an item is asked with.
#[derive(Clone)]
struct Asking {
    calls: Calls,
    clock: Arc<dyn Clock>,
    dice: Arc<Dice>,
    backoff: Backoff,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Process {
    pub(crate) fn new(calls: Calls, settings: &TaskSettings) -> Self {
        let description = "Up to 100 small questions (chat, embeddings, analyses) answered at the same time, each from \
                           the cache when it was answered before.";
        let mut kind = spec::kind("process", description, schema::input(), schema::output());
        // Items have tries of their own.
        kind.max_attempts = Some(1);
        let answers = Answers::new(settings.cache_entries, settings.cache_bytes);
        let policy = CachePolicy::ttl(settings.cache_ttl.into()).max_entries(settings.cache_entries);
        Self {
            kind,
            default_model: settings.process_model.clone(),
            cache: CacheHandle::with_store(policy, answers.clone()),
            answers,
            time: Arc::new(EngineTime(settings.clock.clone())),
            asking: Asking {
                calls: calls.clone(),
                clock: settings.clock.clone(),
                dice: settings.dice.clone(),
                backoff: settings.process_backoff,
            },
            calls,
            concurrency: settings.process_concurrency.max(1),
        }
    }

    /// Reads an input, or names everything that is wrong with it; an item that its model cannot answer is wrong, too.
    pub fn read(&self, input: &str) -> Result<ProcessInput, Vec<FieldError>> {
        ProcessInput::read(input, &self.calls, self.default_model.as_deref())
    }

    /// The whole answer, when every item of it is in the cache and the cache may be used. Waits for nothing.
    pub fn try_cached(&self, tenant: &Tenant, input: &ProcessInput) -> Option<ProcessOutput> {
        if !input.cache {
            return None;
        }
        let now = longhaul_resilience::Clock::now(&*self.time);
        let model = self.calls.model(input.model.as_deref(), self.default_model.as_deref()).ok()?;
        let hit = |item: &Item| {
            let answer = self.answers.fresh(&Key::of(tenant, model.name(), &item.task), now)?;
            Some(ItemResult::answered(&item.id, answer, Served::Hit, Span::ZERO))
        };
        let results: Vec<ItemResult> = input.items.iter().map(hit).collect::<Option<_>>()?;
        Some(ProcessOutput::of(results, model.name(), Span::ZERO))
    }

    /// Forgets every answer; says how many there were.
    pub async fn purge(&self) -> usize {
        self.cache.purge().await
    }

    /// How many answers are kept, and how many bytes they take.
    pub fn cached(&self) -> (usize, usize) {
        self.answers.held()
    }

    async fn answer(
        &self,
        job: &JobContext,
        model: &Arc<dyn Model>,
        use_cache: bool,
        number: usize,
        item: &Item,
    ) -> Result<ItemResult, Failure> {
        let started = self.asking.clock.now();
        let key = Key::of(job.tenant(), model.name(), &item.task);
        let done = if model.capabilities().cpu_bound {
            self.ask(job, model, use_cache, key, item).await?.map_err(|error| TaskError::from(&error))
        } else {
            self.ask_once(job, model, use_cache, key, number, item).await?
        };
        let took = self.asking.clock.now().since(started);
        Ok(match done {
            Ok((answer, served)) => ItemResult::answered(&item.id, answer, served, took),
            Err(error) => ItemResult::failed(&item.id, error, took),
        })
    }

    /// As a step of the job.
    async fn ask_once(
        &self,
        job: &JobContext,
        model: &Arc<dyn Model>,
        use_cache: bool,
        key: Key,
        number: usize,
        item: &Item,
    ) -> Result<Result<(Answer, Served), TaskError>, Failure> {
        let step = StepName::new(&format!("item:{number}"))
            .map_err(|error| Failure::permanent("internal", error.to_string()))?;
        let kept = job
            .step(step, async {
                let asked = self.ask(job, model, use_cache, key, item).await?;
                let (Answer { output, degraded, .. }, served) = asked.map_err(|error| failure(model, error))?;
                Ok(Kept { output, degraded, served })
            })
            .await;
        match kept {
            Ok(Kept { output, degraded, served }) => Ok(Ok((Answer::free(output, degraded), served))),
            Err(Failure::Job { error, .. }) => Ok(Err(TaskError::from(&*error))),
            Err(given_up @ (Failure::Waiting(_) | Failure::Interrupted)) => Err(given_up),
        }
    }

    async fn ask(
        &self,
        job: &JobContext,
        model: &Arc<dyn Model>,
        use_cache: bool,
        key: Key,
        item: &Item,
    ) -> Result<Result<(Answer, Served), ModelError>, Failure> {
        let cx = Cx::new(job.id().to_string().as_str()).clock(self.time.clone());
        let cx = if use_cache { cx } else { cx.skip_cache() };
        // The call belongs to all who wait for it, so it takes along whatever it needs.
        let (asking, model, task) = (self.asking.clone(), model.clone(), item.task.clone());
        let bill = Bill::default();
        let given = bill.clone();
        let options = CallOptions::for_tenant(job.tenant().as_str()).correlation(job.id().to_string().as_str());
        // Answers are kept here; what is not to be from a cache is not to be from the model's either.
        let options = options.max_attempts(TRIES).skip_cache(!use_cache).trace(call::trace(job));
        let run = |own: SharedCx| async move {
            let mut answer = asking.ask(&model, task, &options, &given).await?;
            answer.bill = given;
            if answer.degraded {
                // A lesser answer is not kept for those who ask when the model is well again.
                own.mark_degraded();
            }
            Ok(answer)
        };
        let got = self.cache.get_or_run(&cx, key, run).await;
        let mut spent = bill.take();
        if let (Ok(answer), How::Miss | How::Coalesced | How::Bypassed) = (&got.result, got.how) {
            // Who asked may have left meanwhile: the first to hear the answer pays for it.
            spent = spent.and(answer.bill.take());
        }
        job.spend(spent).await?;
        let served = match got.how {
            How::Hit | How::Stale | How::StaleOnError => Served::Hit,
            How::Miss => Served::Miss,
            How::Coalesced => Served::Coalesced,
            How::Bypassed => Served::Bypass,
        };
        Ok(got.result.map(|answer| (answer, served)))
    }
}

/// An answer as a step keeps it.
#[derive(Serialize, Deserialize)]
struct Kept {
    output: Json,
    degraded: bool,
    served: Served,
}

/// What the calls for an item have taken, also those that gave nothing. Clones share it.
#[derive(Debug, Clone, Default)]
struct Bill(Arc<Mutex<Usage>>);

impl Bill {
    fn add(&self, usage: Usage) {
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *sum = sum.and(usage);
    }

    /// What is not paid yet. It is now.
    fn take(&self) -> Usage {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Asking {
    /// Asks up to three times while the failure may pass: by the model's stack, or here where there is none.
    async fn ask(
        &self,
        model: &Arc<dyn Model>,
        task: Task,
        options: &CallOptions,
        bill: &Bill,
    ) -> Result<Answer, ModelError> {
        if let Some(gateway) = self.calls.models.gateway_of(model.name()) {
            return self.ask_configured(gateway, model, task, options, bill).await;
        }
        let mut tries = 1;
        loop {
            match task.clone().ask(&self.calls, model).await {
                Err(error) if error.class.is_retryable() && tries < TRIES => {
                    let wait = self.backoff.wait(tries, self.dice.next_u64());
                    tracing::debug!(code = error.code, tries, "an item is tried again");
                    self.clock.sleep(wait).await;
                    tries += 1;
                }
                done => return done.map(|output| Answer::free(output, false)),
            }
        }
    }
}

impl Asking {
    async fn ask_configured(
        &self,
        gateway: &Gateway,
        model: &Arc<dyn Model>,
        task: Task,
        options: &CallOptions,
        bill: &Bill,
    ) -> Result<Answer, ModelError> {
        match task {
            Task::Chat(request) => {
                let answer = gateway.chat(model.name(), request, options).await?;
                bill.add(call::spent(&answer.record));
                Ok(Answer::free(Json::of(&answer.response.text())?, answer.record.degraded))
            }
            Task::Embed(texts) => {
                let (embeddings, record) = self.calls.embed_configured(gateway, model, texts, options).await?;
                bill.add(call::spent(&record));
                Ok(Answer::free(Json::of(&embeddings)?, record.degraded))
            }
            Task::Analyse(text, analysis) => {
                let asked = self.calls.ask_configured(gateway, model.name(), text, &analysis, options).await;
                if let Some(why) = &asked.stood_in_for {
                    tracing::debug!(code = why.code(), "an item is answered by `local`");
                }
                bill.add(asked.spent());
                Ok(Answer::free(Json::of(&asked.answer?)?, asked.degraded))
            }
        }
    }
}

impl Check for Process {
    fn check(&self, input: &str) -> Vec<FieldError> {
        self.read(input).err().unwrap_or_default()
    }
}

#[async_trait]
impl Executor for Process {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    fn check(&self) -> Option<&dyn Check> {
        Some(self)
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let started: Timestamp = self.asking.clock.now();
        let input = self.read(&String::from_utf8_lossy(job.input())).map_err(unfit)?;
        let model = self
            .calls
            .model(input.model.as_deref(), self.default_model.as_deref())
            .map_err(|error| Failure::permanent("unknown_model", error.to_string()))?;
        // Collected, so that no closure with a lifetime of its own is held across an await.
        let items = input.items.iter().enumerate();
        let asked: Vec<_> = items.map(|(number, item)| self.answer(job, &model, input.cache, number, item)).collect();
        let results: Vec<_> = stream::iter(asked).buffered(self.concurrency).collect().await;
        let results: Vec<ItemResult> = results.into_iter().collect::<Result<_, _>>()?;
        let output = ProcessOutput::of(results, model.name(), self.asking.clock.now().since(started));
        if output.succeeded == 0 {
            return Err(Failure::permanent(ALL_ITEMS_FAILED, said_of(&output)));
        }
        let mut completed = Completed::json(&output)?;
        completed.report = Report {
            cached: output.results.iter().all(|result| result.cached),
            degraded: output.results.iter().any(|result| result.degraded),
            model: Some(model.name().to_owned()),
            ..Report::default()
        };
        Ok(completed)
    }
}

fn said_of(output: &ProcessOutput) -> String {
    let said = |(index, result): (usize, &ItemResult)| {
        let error = result.error.as_ref();
        format!("/items/{index}: {}", error.map(|error| error.message.as_str()).unwrap_or_default())
    };
    let told: Vec<String> = output.results.iter().enumerate().take(MAX_TOLD).map(said).collect();
    let more = output.results.len().saturating_sub(MAX_TOLD);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    match output.results.len() {
        1 => format!("the only item failed: {}", told.join("")),
        count => format!("all {count} items failed: {}{more}", told.join("; ")),
    }
}

/// How long a request waits for its answer unless it says otherwise.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
