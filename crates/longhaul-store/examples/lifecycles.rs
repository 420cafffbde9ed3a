//! What a job costs: submit, claim and finish through the port, each durable before its answer.
//!
//! ```text
//! cargo run --release -p longhaul-store --example lifecycles -- [--memory] [--tasks 256] [--jobs 100000] [--dir D]
//! cargo run --release -p longhaul-store --example lifecycles -- --depth 1000000
//! cargo run --release -p longhaul-store --example lifecycles -- --depth 300000 --tenants 1000 --claim 256
//! PRIVATE_POSTGRES_DURABLE=1 scripts/private-postgres run sh -c \
//!   'cargo run --release -p longhaul-store --example lifecycles -- --postgres $LONGHAUL_TEST_POSTGRES'
//! ```
//!
//! Without `--depth`: `--tasks` tasks, each of which submits a job with 1 KB of input, and as many that claim and finish.
//! With `--depth`: that many jobs are queued first, of so many tenants as `--tenants` says (one), and then the cost of one
//! more submit is measured, and that of one more claim of up to `--claim` jobs (one), `--rounds` times (4,000).
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a program for people")]

use std::{
    collections::HashMap,
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use longhaul_core::{
    Backoff, Clock, IdSource, Ids, JobId, JobSpec, KindName, Payload, QueueName, Span, Tenant, Timestamp, Usage,
};
use longhaul_store::{
    Claim, JobStore, MemoryStore, NewJob, Outcome, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore,
    StoreClock, Submit, Unobserved,
};
use tokio::task::JoinSet;

#[derive(Debug)]
struct Machine(Instant, Timestamp);

impl Machine {
    #[allow(clippy::disallowed_methods, reason = "a program that measures has to look at the clock")]
    fn new() -> Self {
        let epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970");
        Self(Instant::now(), Timestamp::EPOCH + Span::from(epoch))
    }
}

impl Clock for Machine {
    fn now(&self) -> Timestamp {
        self.1 + Span::from(self.0.elapsed())
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(at.since(self.now()).into()))
    }
}

#[allow(clippy::disallowed_methods, reason = "a program that measures has to look at the clock")]
fn now() -> Instant {
    Instant::now()
}

struct Options {
    tasks: u64,
    jobs: u64,
    depth: Option<u64>,
    directory: PathBuf,
    in_memory: bool,
    /// The URL of a database: keep the jobs there.
    postgres: Option<String>,
    /// Let the queue stay this deep while it runs: jobs wait, instead of being taken by a waiting claim.
    backlog: u64,
    /// Of how many tenants the jobs are that are queued first.
    tenants: u64,
    /// How many jobs a claim takes with many queued.
    claim: usize,
    rounds: usize,
}

fn options() -> Options {
    let mut given: HashMap<String, String> = HashMap::new();
    let mut arguments = std::env::args().skip(1).peekable();
    while let Some(name) = arguments.next() {
        let value = arguments.next_if(|next| !next.starts_with("--")).unwrap_or_default();
        given.insert(name, value);
    }
    let number = |name: &str, otherwise: u64| {
        given.get(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
    };
    Options {
        tasks: number("--tasks", 256),
        jobs: number("--jobs", 100_000),
        depth: given.contains_key("--depth").then(|| number("--depth", 0)),
        directory: given.get("--dir").map_or_else(std::env::temp_dir, PathBuf::from),
        in_memory: given.contains_key("--memory"),
        postgres: given.get("--postgres").cloned(),
        backlog: number("--backlog", 0),
        tenants: number("--tenants", 1).max(1),
        claim: usize::try_from(number("--claim", 1)).expect("a number of jobs"),
        rounds: usize::try_from(number("--rounds", 4_000)).expect("a number of rounds"),
    }
}

fn tenant(number: u64) -> Tenant {
    if number == 0 { Tenant::default_tenant() } else { Tenant::new(&format!("tenant-{number}")).expect("a name") }
}

fn new_job(ids: &Ids, at: Timestamp, tenant: Tenant) -> NewJob {
    let spec = JobSpec {
        id: JobId::fresh(ids, at),
        tenant,
        kind: KindName::new("echo").expect("a name"),
        queue: QueueName::default_queue(),
        priority: 0,
        max_attempts: 5,
        backoff: Backoff::default(),
        retention: Span::from_secs(7 * 86_400),
        run_at: None,
        deadline_at: None,
        attempt_timeout: None,
        metadata: None,
        retry_of: None,
        created_at: at,
        parent: None,
        child_index: 0,
        depth: 0,
        on_child_failure: longhaul_core::OnChildFailure::default(),
        limit_key: None,
        trace: None,
    };
    NewJob { spec: Arc::new(spec), input: Payload::inline(format!("{{\"text\":\"{}\"}}", "x".repeat(1_000))) }
}

fn claim(limit: usize) -> Claim {
    Claim {
        worker: "probe".into(),
        in_process: true,
        tenant: None,
        kinds: [KindName::new("echo").expect("a name")].into(),
        queues: None,
        limit,
        lease_for: Span::from_secs(30),
    }
}

fn percentiles(mut all: Vec<Duration>) -> String {
    all.sort_unstable();
    let at = |share: f64| all.get(((all.len() - 1) as f64 * share) as usize).copied().unwrap_or_default();
    format!("p50 {:.2?}  p99 {:.2?}  p99.9 {:.2?}", at(0.5), at(0.99), at(0.999))
}

#[tokio::main]
async fn main() {
    let options = options();
    let directory = options.directory.join(format!("longhaul-lifecycles-{}", std::process::id()));
    let ids = Arc::new(Ids::seeded(1));
    let clock = Arc::new(Machine::new());
    let time = StoreClock { clock: clock.clone(), ids: Arc::new(Ids::seeded(2)) as Arc<dyn IdSource> };
    let store = if let Some(url) = &options.postgres {
        let options = PostgresOptions::at(url.as_str());
        PostgresStore::open(&options, time, Arc::new(Unobserved)).await.expect("a store on PostgreSQL")
    } else if options.in_memory {
        MemoryStore::open(time, Arc::new(Unobserved)).expect("a store in memory")
    } else {
        SqliteStore::open(&SqliteOptions::at(&directory), time, Arc::new(Unobserved)).expect("a store on disk")
    };
    match options.depth {
        Some(depth) => at_depth(&store, &ids, &clock, depth, &options).await,
        None => lifecycles(store.clone(), ids, clock.clone(), &options).await,
    }
    if options.postgres.is_some() {
        store.close().await;
    } else if !options.in_memory {
        store.close().await;
        drop(store);
        let asked = now();
        let time = StoreClock { clock, ids: Arc::new(Ids::seeded(3)) };
        let again = SqliteStore::open(&SqliteOptions::at(&directory), time, Arc::new(Unobserved)).expect("a store");
        println!("opened again in {:.1?}", asked.elapsed());
        again.close().await;
        let bytes = std::fs::metadata(directory.join("longhaul.db")).map_or(0, |file| file.len());
        let jobs = options.depth.unwrap_or(options.jobs).max(1);
        println!("database {:.1} MB, {} bytes a job", bytes as f64 / 1e6, bytes / jobs);
        std::fs::remove_dir_all(&directory).expect("the probe's own directory");
    }
}

async fn lifecycles(store: Arc<dyn JobStore>, ids: Arc<Ids>, clock: Arc<Machine>, options: &Options) {
    if options.backlog > 0 {
        fill(&store, &ids, &clock, options.backlog, options.tenants).await;
    }
    let (begun, left) = (now(), Arc::new(AtomicU64::new(options.jobs)));
    let mut submitters = JoinSet::new();
    let mut workers = JoinSet::new();
    for _ in 0..options.tasks {
        let (store, ids, clock, left) = (store.clone(), ids.clone(), clock.clone(), left.clone());
        submitters.spawn(async move {
            let mut waits = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let submit =
                    Submit { jobs: vec![new_job(&ids, clock.now(), tenant(0))], idempotency: None, document: None };
                let asked = now();
                store.submit(submit).await.expect("a submit");
                waits.push(asked.elapsed());
            }
            waits
        });
    }
    let done = Arc::new(AtomicU64::new(0));
    for _ in 0..options.tasks {
        let (store, done) = (store.clone(), done.clone());
        workers.spawn(async move {
            loop {
                for leased in store.claim(claim(1)).await.expect("a claim") {
                    let output = leased.view.input.clone();
                    let outcome = Outcome::Succeeded { output, report: Box::default() };
                    store.finish(leased.held, outcome, Usage::default()).await.expect("a finish");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    let waits: Vec<Duration> = submitters.join_all().await.into_iter().flatten().collect();
    while done.load(Ordering::Relaxed) < options.jobs {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = begun.elapsed();
    workers.shutdown().await;
    println!("{:.0} lifecycles/s", options.jobs as f64 / took.as_secs_f64());
    println!("submit {}", percentiles(waits));
}

async fn fill(store: &Arc<dyn JobStore>, ids: &Ids, clock: &Machine, depth: u64, tenants: u64) {
    for number in 0..tenants {
        // All jobs of a call are one tenant's.
        let mut left = depth / tenants + u64::from(number < depth % tenants);
        while left > 0 {
            let many = left.min(1_000);
            let jobs = (0..many).map(|_| new_job(ids, clock.now(), tenant(number))).collect();
            store.submit(Submit { jobs, idempotency: None, document: None }).await.expect("a bulk");
            left -= many;
        }
    }
}

/// The cost of one more submit, and of one more claim, with `depth` jobs queued.
async fn at_depth(store: &Arc<dyn JobStore>, ids: &Arc<Ids>, clock: &Machine, depth: u64, options: &Options) {
    fill(store, ids, clock, depth, options.tenants).await;
    println!("{depth} queued; resident {} MB", resident_kib() / 1_024);
    let (mut submits, mut claims) = (Vec::with_capacity(options.rounds), Vec::with_capacity(options.rounds));
    for _ in 0..options.rounds {
        let submit = Submit { jobs: vec![new_job(ids, clock.now(), tenant(0))], idempotency: None, document: None };
        let asked = now();
        store.submit(submit).await.expect("a submit");
        submits.push(asked.elapsed());
        let asked = now();
        let leased = store.claim(claim(options.claim)).await.expect("a claim");
        claims.push(asked.elapsed());
        for leased in leased {
            let outcome = Outcome::Succeeded { output: Payload::inline("1"), report: Box::default() };
            store.finish(leased.held, outcome, Usage::default()).await.expect("a finish");
        }
    }
    let mean = |all: &[Duration]| all.iter().sum::<Duration>() / u32::try_from(all.len()).expect("a count");
    println!("submit mean {:.1?}  {}", mean(&submits), percentiles(submits));
    println!("claim  mean {:.1?}  {}", mean(&claims), percentiles(claims));
    println!("resident {} MB", resident_kib() / 1_024);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
