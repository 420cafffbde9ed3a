//! What clients ask for, and how they see to it that it is taken in once.

use bytes::Bytes;
use longhaul_core::{JobId, OnChildFailure, QueueName, Span, Tenant};
use longhaul_engine::{Accepted, JobRequest, Rejected};
use longhaul_store::{Idempotency, StoreError};
use longhaul_testkit::history::{Answer, Call};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    book::{End, KeyUse},
    network::Asked,
    world::World,
};

/// A job as a client wants it.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) marker: String,
    pub(crate) kind: &'static str,
    queue: Option<&'static str>,
    priority: i8,
    delay: Option<Span>,
    deadline: Option<Span>,
    retention: Option<Span>,
    max_attempts: u32,
    steps: usize,
    /// Jobs that come first.
    children: Vec<Wanted>,
    on_child_failure: Option<OnChildFailure>,
}

impl Wanted {
    /// Some job or other.
    pub(crate) fn any(world: &World) -> Self {
        let dice = &world.dice;
        let some = |percent, least, most| {
            let (least, most) = (Span::from_millis(least), Span::from_millis(most));
            dice.percent(percent).then(|| dice.between(least, most))
        };
        Self {
            marker: format!("m{}", world.fresh()),
            kind: ["echo", "work", "work", "remote", "remote", "parent", "asker", "stream"][dice.below(8)],
            queue: [None, None, Some("narrow"), Some("other")][dice.below(4)],
            priority: [0, 0, 0, 5, -5][dice.below(5)],
            delay: some(15, 100, 6_000),
            deadline: some(15, 1_000, 15_000),
            retention: some(10, 1_000, 5_000),
            max_attempts: 1 + dice.below(4) as u32,
            steps: dice.below(4),
            children: Vec::new(),
            on_child_failure: None,
        }
    }

    /// A job with children below it.
    pub(crate) fn family(world: &World) -> Self {
        let dice = &world.dice;
        let mut top = Self { retention: None, ..Self::any(world) };
        top.kind = ["flow", "work", "remote"][dice.below(3)];
        top.on_child_failure = dice.percent(40).then_some(OnChildFailure::Partial);
        for _ in 0..1 + dice.below(3) {
            let child = if dice.percent(20) { Self::family(world) } else { Self::any(world) };
            // Kept as long as its parent, which will look at it.
            top.children.push(Self { retention: None, delay: None, ..child });
        }
        top
    }

    /// One of several that are submitted together: kept until the end, so that all or none are there.
    pub(crate) fn one_of_many(world: &World) -> Self {
        Self { retention: None, ..Self::any(world) }
    }

    /// A plain job of `kind`.
    pub(crate) fn plain(world: &World, kind: &'static str) -> Self {
        Self {
            marker: format!("m{}", world.fresh()),
            kind,
            queue: None,
            priority: 0,
            delay: None,
            deadline: None,
            retention: None,
            max_attempts: 4,
            steps: 2,
            children: Vec::new(),
            on_child_failure: None,
        }
    }

    fn input(&self) -> Value {
        json!({"marker": self.marker, "steps": self.steps})
    }

    fn request(&self, world: &World) -> JobRequest {
        let now = world.now();
        JobRequest {
            queue: self.queue.map(|name| QueueName::new(name).unwrap()),
            priority: self.priority,
            run_at: self.delay.map(|delay| now + delay),
            deadline_at: self.deadline.map(|deadline| now + deadline),
            max_attempts: Some(self.max_attempts),
            metadata: Some(json!({"marker": self.marker}).to_string().into()),
            retention: self.retention,
            children: self.children.iter().map(|child| child.unmarked(world)).collect(),
            on_child_failure: self.on_child_failure,
            ..JobRequest::of(self.kind, Bytes::from(self.input().to_string()))
        }
    }

    /// As a child: not submitted by itself, so the history knows nothing of it.
    fn unmarked(&self, world: &World) -> JobRequest {
        JobRequest { metadata: None, ..self.request(world) }
    }

    fn call(&self, tenant: &Tenant, key: Option<String>) -> Call {
        let (marker, kind) = (self.marker.clone(), self.kind.to_owned());
        Call::Submit { tenant: tenant.to_string(), marker, key, kind, input: self.input() }
    }
}

/// A key that nobody has used.
fn fresh_key(world: &World, wanted: &[Wanted]) -> Idempotency {
    let key = Sha256::digest(world.fresh().to_le_bytes()).into();
    let mut body = Sha256::new();
    wanted.iter().for_each(|wanted| body.update(&wanted.marker));
    let keep_until = world.now() + Span::from_secs(86_400);
    Idempotency { route: "jobs", key, fingerprint: body.finalize().into(), keep_until }
}

/// How often a client submits again what it has heard nothing of.
const TRIES: usize = 6;

/// Submits jobs together: under a key again and again until there is an answer, without one until it may have been
/// taken in.
pub(crate) async fn submit(world: &World, tenant: &Tenant, wanted: Vec<Wanted>, is_keyed: bool) {
    let idempotency = is_keyed.then(|| fresh_key(world, &wanted));
    if let Some(idempotency) = &idempotency {
        let (tenant, idempotency, wanted) = (tenant.clone(), idempotency.clone(), wanted.clone());
        world.book().keys.push(KeyUse { tenant, idempotency, wanted, jobs: None });
    }
    if wanted.len() > 1 {
        let markers = wanted.iter().map(|wanted| wanted.marker.clone()).collect();
        world.book().bulks.push(markers);
    }
    for _ in 0..TRIES {
        match submit_once(world, tenant, &wanted, idempotency.as_ref()).await {
            Try::Taken => return,
            Try::Unknown if !is_keyed => return,
            Try::Unknown | Try::Refused => world.idle(Span::from_secs(2)).await,
        }
    }
}

/// Submits what was submitted before, under the same key: the answer must be the same.
pub(crate) async fn replay(world: &World) {
    let keys = world.book().keys.clone();
    if let Some(used) = world.dice.one(&keys) {
        submit_once(world, &used.tenant, &used.wanted, Some(&used.idempotency)).await;
    }
}

/// Another request under a key that was used: refused, when the first one is known to have been taken in.
pub(crate) async fn misuse_key(world: &World) {
    let keys = world.book().keys.clone();
    let Some(used) = world.dice.one(&keys).filter(|used| used.jobs.is_some()) else { return };
    let other = Wanted::plain(world, "echo").request(world);
    let idempotency = Idempotency { fingerprint: [7; 32], ..used.idempotency };
    let asked = world.ask(None, move |server| async move {
        server.engine.submit(&used.tenant, vec![other], Some(idempotency)).await
    });
    if let Asked::Answered(Ok(_)) = asked.await {
        world.accuse("key misused", "a key was taken for two different requests");
    }
}

enum Try {
    Taken,
    Refused,
    Unknown,
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

async fn submit_once(world: &World, tenant: &Tenant, wanted: &[Wanted], key: Option<&Idempotency>) -> Try {
    let named = key.map(|key| hexadecimal(&key.key));
    let operations: Vec<u64> = {
        let mut book = world.book();
        let call = |(index, wanted): (usize, &Wanted)| {
            wanted.call(tenant, named.as_ref().map(|named| format!("{named}-{index}")))
        };
        wanted.iter().enumerate().map(call).map(|call| book.invoke(call)).collect()
    };
    let requests: Vec<JobRequest> = wanted.iter().map(|wanted| wanted.request(world)).collect();
    let (owner, idempotency) = (tenant.clone(), key.cloned());
    let asked = world.ask(None, move |server| async move { server.engine.submit(&owner, requests, idempotency).await });
    let (ends, tried) = judge(asked.await, operations.len());
    if let Try::Taken = tried {
        receipts(world, tenant, key, wanted, &ends);
    }
    let mut book = world.book();
    for (op, end) in operations.into_iter().zip(ends) {
        match end {
            Ok(job) => book.end(op, End::Ok(Answer::Submitted { job_id: job.to_string() })),
            Err(end) => book.end(op, *end),
        }
    }
    tried
}

type Receipt = Result<JobId, Box<End>>;

fn judge(asked: Asked<Result<Accepted, Rejected>>, count: usize) -> (Vec<Receipt>, Try) {
    let all = |end: fn(String) -> End, why: String| -> Vec<Receipt> {
        let mut receipts = Vec::with_capacity(count);
        receipts.resize_with(count, || Err(Box::new(end(why.clone()))));
        receipts
    };
    match asked {
        Asked::Answered(Ok(accepted)) => (accepted.jobs.into_iter().map(Ok).collect(), Try::Taken),
        Asked::Answered(Err(Rejected::Store(StoreError::Unavailable(why)))) => (all(End::Info, why), Try::Unknown),
        Asked::Answered(Err(error)) => (all(End::Fail, error.to_string()), Try::Refused),
        Asked::Unsent => (all(End::Fail, "nobody listens".into()), Try::Refused),
        Asked::Lost => (all(End::Info, "no answer".into()), Try::Unknown),
    }
}

fn receipts(world: &World, tenant: &Tenant, key: Option<&Idempotency>, wanted: &[Wanted], receipts: &[Receipt]) {
    let jobs: Vec<JobId> = receipts.iter().filter_map(|receipt| receipt.as_ref().ok().copied()).collect();
    world.note(format_args!("submitted {jobs:?}"));
    let mut book = world.book();
    for (job, wanted) in jobs.iter().zip(wanted) {
        book.learn(tenant, *job);
        book.marked(*job, &wanted.marker);
    }
    let Some(key) = key else { return };
    let Some(used) = book.keys.iter_mut().find(|used| used.idempotency.key == key.key && used.tenant == *tenant) else {
        return;
    };
    match &used.jobs {
        Some(before) if *before != jobs => {
            let what = format!("{before:?}, then {jobs:?}");
            book.accuse("key answered twice", what);
        }
        _ => used.jobs = Some(jobs),
    }
}
