//! Several servers on one database.

use std::{
    collections::HashSet,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use futures::future::{join, join_all};
use longhaul_core::{
    Ids, JobId, JobSpec, Limit, LimitKey, Payload, Rate, RetryPlan, Span, Status, Usage, testing::ManualClock,
};
use longhaul_store::{
    Change, Claim, Idempotency, JobStore, NewJob, Observer, Outcome, PostgresStore, StoreClock, StoreError, Submit,
    Submitted, Unobserved,
    conformance::{World, claim, failed, flaky, kind, poll_once, queue, succeeded, tenant},
};
use tokio::sync::Notify;

use crate::{Postgres, options, server::Database};

/// A lease that outlives every test.
pub(crate) const FOR_LONG: Span = Span::from_secs(100_000);

/// Several servers on one database, with one time.
pub(crate) struct Servers {
    /// The first, with what the facts of the suite have around them.
    pub(crate) world: World,
    pub(crate) stores: Vec<Arc<dyn JobStore>>,
    pub(crate) database: Database,
}

async fn open(database: &Database, clock: &ManualClock, seed: u64, observer: Arc<dyn Observer>) -> Arc<dyn JobStore> {
    let time = StoreClock { clock: Arc::new(clock.clone()), ids: Arc::new(Ids::seeded(seed)) };
    PostgresStore::open(&options(database), time, observer).await.unwrap()
}

impl Servers {
    pub(crate) async fn new(count: u64) -> Self {
        let database = Database::new().await;
        let world = World::with(Postgres(database.clone())).await;
        let mut stores = vec![world.store.clone()];
        for seed in 1..count {
            stores.push(open(&database, &world.clock, 100 + seed, Arc::new(Unobserved)).await);
        }
        Self { world, stores, database }
    }

    /// One more server.
    pub(crate) async fn add(&mut self, seed: u64) {
        self.stores.push(open(&self.database, &self.world.clock, seed, Arc::new(Unobserved)).await);
    }

    /// Ends the connections of all servers, as a network or a failing database would.
    async fn cut_connections(&self) {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.database.run(sql).await;
    }

    pub(crate) async fn submit(&self, server: usize, specs: Vec<JobSpec>) -> Result<Submitted, StoreError> {
        submit(&*self.stores[server], specs, None).await
    }
}

pub(crate) async fn submit(
    store: &dyn JobStore,
    specs: Vec<JobSpec>,
    idempotency: Option<Idempotency>,
) -> Result<Submitted, StoreError> {
    let jobs = specs.into_iter().map(|spec| NewJob { spec: Arc::new(spec), input: Payload::inline("{}") }).collect();
    store.submit(Submit { jobs, idempotency, document: None }).await
}

/// Waits to be told of jobs.
#[derive(Default)]
struct Heard {
    changes: Mutex<Vec<Change>>,
    some: Notify,
    elsewhere: Notify,
}

impl Observer for Heard {
    fn changed_elsewhere(&self) {
        self.elsewhere.notify_one();
    }

    fn committed(&self, changes: &[Change]) {
        self.changes.lock().unwrap().extend_from_slice(changes);
        self.some.notify_one();
    }
}

impl Heard {
    async fn of(&self, job: JobId, status: Status) -> Change {
        loop {
            let found = self.changes.lock().unwrap().iter().find(|c| c.job == job && c.status == status).cloned();
            match found {
                Some(change) => return change,
                None => self.some.notified().await,
            }
        }
    }
}

#[tokio::test]
async fn two_servers_never_lease_the_same_job_twice() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    let specs: Vec<JobSpec> = (0..600).map(|_| w.spec()).collect();
    let submits = specs.chunks(20).enumerate().map(|(number, chunk)| servers.submit(number % 2, chunk.to_vec()));
    assert!(join_all(submits).await.iter().all(|submitted| *submitted == Ok(Submitted::Created)));
    let left = AtomicI64::new(600);
    let worker = async |number: usize| {
        let mut leased = Vec::new();
        // What is left may be less than all ask for: the last of them would wait for more.
        while left.fetch_sub(5, Ordering::Relaxed) > 0 {
            let mut wanted = 5;
            while wanted > 0 {
                let got = servers.stores[number % 2].claim(claim(wanted)).await.unwrap();
                wanted -= got.len();
                leased.extend(got);
            }
        }
        leased
    };
    let leased: Vec<_> = join_all((0..16).map(worker)).await.into_iter().flatten().collect();
    assert_eq!(leased.len(), 600);
    assert_eq!(leased.iter().map(|leased| leased.held.job).collect::<HashSet<_>>().len(), 600);
    // A worker may finish at another server than the one that it claimed from.
    let finishes = leased.iter().enumerate().map(|(number, leased)| {
        servers.stores[number % 2].finish(leased.held.clone(), succeeded("1"), Usage::default())
    });
    assert!(join_all(finishes).await.iter().all(|status| *status == Ok(Status::Succeeded)));
    for spec in &specs {
        assert_eq!(w.history(spec.id).await, ["job.queued", "job.running", "job.succeeded"]);
    }
    for store in &servers.stores {
        let state = store.queues().await.unwrap().remove(0);
        assert_eq!((state.queued, state.running), (0, 0));
    }
}

#[tokio::test]
async fn queues_that_ran_empty_are_forgotten_in_the_database_too_and_what_others_hold_is_counted_on() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    let spec = |name: String| JobSpec { queue: queue(&name), ..w.spec() };
    // Taken in by one server and cancelled by the other, so that no row comes to nothing by itself.
    let empty: Vec<JobSpec> = (0..400).map(|number| spec(format!("q{number}"))).collect();
    let ids: Vec<JobId> = empty.iter().map(|spec| spec.id).collect();
    servers.submit(0, empty).await.unwrap();
    let second = &servers.stores[1];
    let cancels = ids.into_iter().map(|id| async move { second.cancel(&tenant(), id).await });
    assert!(join_all(cancels).await.iter().all(|status| *status == Ok(Status::Cancelled)));
    let used: Vec<JobSpec> = (0..20).map(|number| spec(format!("used-{}", number % 4))).collect();
    servers.submit(0, used).await.unwrap();
    second.claim(claim(6)).await.unwrap();
    let before: Vec<(u64, u64)> = used_queues(&servers).await;
    assert_eq!(before.iter().map(|(queued, running)| queued + running).sum::<u64>(), 20);
    w.advance(3_602);
    w.prune().await;
    let names = servers.database.number("SELECT count(DISTINCT queue) FROM queue_tally").await;
    assert!(names <= 256, "{names}");
    assert_eq!(used_queues(&servers).await, before);
}

/// What runs and waits in the queues that are in use.
async fn used_queues(servers: &Servers) -> Vec<(u64, u64)> {
    let states = servers.stores[1].queues().await.unwrap();
    let used = states.iter().filter(|state| state.name.as_str().starts_with("used-"));
    used.map(|state| (state.queued, state.running)).collect()
}

#[tokio::test]
async fn a_queues_limit_holds_for_all_servers_together() {
    let servers = Servers::new(3).await;
    let w = &servers.world;
    for store in &servers.stores {
        store.limit_queue(queue("default"), Some(3)).await.unwrap();
    }
    servers.submit(0, (0..60).map(|_| w.spec()).collect()).await.unwrap();
    let (running, left, most) = (AtomicI64::new(0), AtomicI64::new(60), AtomicI64::new(0));
    let worker = async |number: usize| {
        while left.fetch_sub(1, Ordering::Relaxed) > 0 {
            let store = &servers.stores[number % 3];
            let held = store.claim(claim(1)).await.unwrap().remove(0).held;
            let now = running.fetch_add(1, Ordering::Relaxed) + 1;
            most.fetch_max(now, Ordering::Relaxed);
            store.heartbeat(vec![]).await.unwrap();
            running.fetch_sub(1, Ordering::Relaxed);
            store.finish(held, succeeded("1"), Usage::default()).await.unwrap();
        }
    };
    join_all((0..12).map(worker)).await;
    assert!(most.into_inner() <= 3);
}

#[tokio::test]
async fn limits_of_a_kind_hold_for_all_servers_together() {
    const JOBS: i64 = 90;
    let servers = Servers::new(3).await;
    let w = &servers.world;
    let by_key = Limit { key: Some("/key".into()), concurrency: Some(2), rate: None };
    let limits = vec![Limit { key: None, concurrency: Some(4), rate: Some(Rate { count: 60, per_s: 3_600 }) }, by_key];
    for store in &servers.stores {
        store.limit_kind(kind("echo"), limits.clone()).await.unwrap();
    }
    let keyed = |number: i64| JobSpec { limit_key: Some(LimitKey(number % 3)), ..w.spec() };
    for server in 0..3 {
        servers.submit(server, (0..JOBS / 3).map(keyed).collect()).await.unwrap();
    }
    let (left, most) = (AtomicI64::new(60), AtomicI64::new(0));
    let running: Mutex<Vec<i64>> = Mutex::default();
    let worker = async |number: usize| {
        while left.fetch_sub(1, Ordering::Relaxed) > 0 {
            let store = &servers.stores[number % 3];
            // Time goes on however long the work takes here.
            let leased = store.claim(Claim { lease_for: FOR_LONG, ..claim(1) }).await.unwrap().remove(0);
            let key = leased.view.job.spec.limit_key.unwrap().0;
            {
                let mut running = running.lock().unwrap();
                running.push(key);
                most.fetch_max(running.len() as i64, Ordering::Relaxed);
                assert!(running.iter().filter(|other| **other == key).count() <= 2);
            }
            store.heartbeat(vec![]).await.unwrap();
            {
                let mut running = running.lock().unwrap();
                let at = running.iter().position(|other| *other == key).unwrap();
                running.swap_remove(at);
            }
            store.finish(leased.held, succeeded("1"), Usage::default()).await.unwrap();
        }
    };
    // Time stands still but for those who wait for a second look.
    let working = join_all((0..12).map(worker));
    let ticking = async {
        loop {
            servers.stores[0].sweep().await.unwrap();
            w.clock.advance(Span::from_millis(100));
        }
    };
    tokio::select! {
        _ = working => {}
        () = ticking => {}
    }
    assert!(most.into_inner() <= 4);
    // Sixty have started in this hour: whoever asks, gets nothing.
    w.sweep().await;
    for store in &servers.stores {
        let mut waiting = pin!(store.claim(claim(9)));
        assert!(poll_once(waiting.as_mut()).is_pending());
        store.queues().await.unwrap();
        store.queues().await.unwrap();
        assert!(poll_once(waiting.as_mut()).is_pending());
    }
    assert_eq!(servers.stores[1].queues().await.unwrap()[0].queued, 30);
}

/// The kind `echo` as a worker registers it.
fn limited_spec(limits: Vec<Limit>) -> longhaul_core::KindSpec {
    longhaul_core::KindSpec { limits, ..longhaul_core::KindSpec::named(kind("echo")) }
}

#[tokio::test]
async fn a_limit_that_one_server_registers_holds_on_all() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    let spec = limited_spec(vec![Limit { key: None, concurrency: Some(2), rate: None }]);
    servers.stores[0].put_kind(&tenant(), spec).await.unwrap();
    servers.submit(0, (0..5).map(|_| w.spec()).collect()).await.unwrap();
    let leased = servers.stores[1].claim(claim(9)).await.unwrap();
    assert_eq!(leased.len(), 2);
    assert!(w.take(claim(9)).await.is_empty());
    let mut waiting = pin!(w.store.claim(claim(9)));
    assert!(poll_once(waiting.as_mut()).is_pending());
    let looks_again = Some(w.now() + Span::from_secs(1));
    while w.clock.next_wake() != looks_again {
        w.store.queues().await.unwrap();
    }
    servers.stores[1].finish(leased[0].held.clone(), succeeded("1"), Usage::default()).await.unwrap();
    // Whoever waits on another server looks by itself. A look that was under way meanwhile is followed by another.
    for _ in 0..20 {
        w.advance(1);
        for _ in 0..5 {
            w.store.queues().await.unwrap();
            if let std::task::Poll::Ready(served) = poll_once(waiting.as_mut()) {
                assert_eq!(served.unwrap().len(), 1);
                return;
            }
        }
    }
    panic!("nobody looked");
}

#[tokio::test]
async fn a_pause_holds_on_every_server_once_it_is_answered() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    servers.submit(0, (0..20).map(|_| w.spec()).collect()).await.unwrap();
    servers.stores[0].pause_queue(queue("default"), true).await.unwrap();
    let mut waiting = pin!(servers.stores[1].claim(claim(3)));
    assert!(poll_once(waiting.as_mut()).is_pending());
    for _ in 0..3 {
        assert!(servers.stores[1].queues().await.unwrap()[0].paused);
        assert!(poll_once(waiting.as_mut()).is_pending());
    }
    // And is over on every server, without anybody looking.
    servers.stores[0].pause_queue(queue("default"), false).await.unwrap();
    assert_eq!(waiting.await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_waiting_claim_is_served_by_a_submit_to_another_server() {
    let servers = Servers::new(2).await;
    for _ in 0..3 {
        let mut waiting = pin!(servers.stores[1].claim(claim(5)));
        assert!(poll_once(waiting.as_mut()).is_pending());
        servers.stores[1].queues().await.unwrap();
        let id = servers.world.submit(servers.world.spec()).await;
        assert_eq!(waiting.await.unwrap()[0].held.job, id);
    }
}

#[tokio::test]
async fn a_waiting_claim_looks_for_itself_when_nobody_rings() {
    let servers = Servers::new(1).await;
    let w = &servers.world;
    let id = w.running().await.held.job;
    let mut waiting = pin!(w.store.claim(claim(1)));
    assert!(poll_once(waiting.as_mut()).is_pending());
    let looks_again = Some(w.now() + Span::from_secs(1));
    while w.clock.next_wake() != looks_again {
        w.store.queues().await.unwrap();
    }
    // Silently, as a server would give it back that dies before it can ring.
    let sql = "UPDATE job SET phase = 0, queued_for = 0, due_at = 0, same_attempt = false";
    servers.database.run(sql).await;
    w.advance(1);
    assert_eq!(waiting.await.unwrap()[0].held.job, id);
}

#[tokio::test]
async fn an_observer_hears_of_changes_on_other_servers() {
    let servers = Servers::new(1).await;
    let w = &servers.world;
    let heard = Arc::new(Heard::default());
    let other = open(&servers.database, &w.clock, 9, heard.clone()).await;
    let id = w.submit(w.spec()).await;
    assert_eq!(heard.of(id, Status::Queued).await.version, 1);
    let held = w.claim_one().await.held;
    w.store.cancel(&tenant(), id).await.unwrap();
    loop {
        if heard.of(id, Status::Running).await.cancelling {
            break;
        }
        heard.changes.lock().unwrap().clear();
        heard.some.notified().await;
    }
    w.finish(&held, Outcome::Released { ambiguous: false }).await.unwrap();
    let change = heard.of(id, Status::Cancelled).await;
    assert_eq!((change.tenant, change.version), (tenant(), 4));
    assert_eq!(other.job(&tenant(), id).await.unwrap().job.version, 4);
}

#[tokio::test]
async fn an_observer_hears_that_kinds_and_keys_were_changed_on_other_servers() {
    let servers = Servers::new(1).await;
    let heard = Arc::new(Heard::default());
    let other = open(&servers.database, &servers.world.clock, 9, heard.clone()).await;
    // What was told before it listened may have been missed.
    heard.elsewhere.notified().await;
    let store = &servers.stores[0];
    let key = longhaul_core::ApiKey {
        id: longhaul_core::KeyId::fresh(&Ids::seeded(5), servers.world.now()),
        tenant: tenant(),
        name: "ci".into(),
        scopes: vec![longhaul_core::Scope::Admin],
        secret_hash: [7; 32],
        created_at: servers.world.now(),
        expires_at: None,
        revoked_at: None,
    };
    store.put_key(key.clone()).await.unwrap();
    heard.elsewhere.notified().await;
    assert_eq!(other.keys().await.unwrap(), std::slice::from_ref(&key));
    store.revoke_key(&tenant(), key.id).await.unwrap();
    heard.elsewhere.notified().await;
    assert!(other.keys().await.unwrap()[0].revoked_at.is_some());
    store.put_kind(&tenant(), limited_spec(Vec::new())).await.unwrap();
    heard.elsewhere.notified().await;
    assert_eq!(other.kinds().await.unwrap().len(), 1);
    // And again once a lost connection is there again.
    servers.cut_connections().await;
    heard.elsewhere.notified().await;
    assert!(servers.stores.iter().all(|store| store.is_shared()));
}

#[tokio::test]
async fn a_lease_that_ran_out_on_one_server_is_noticed_by_another() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    let held = w.running().await.held;
    let other = &servers.stores[1];
    w.advance(29);
    assert_eq!(other.sweep().await.unwrap().changed, 0);
    w.advance(1);
    assert_eq!(other.sweep().await.unwrap().changed, 1);
    assert!(w.finish(&held, succeeded("1")).await.is_err());
    let again = other.claim(claim(1)).await.unwrap().remove(0);
    assert_eq!((again.held.job, again.view.job.attempt), (held.job, 2));
    assert_eq!(w.finish(&again.held, succeeded("2")).await, Ok(Status::Succeeded));
}

#[tokio::test]
async fn leases_held_in_a_server_that_died_end_before_they_run_out() {
    let servers = Servers::new(1).await;
    let w = &servers.world;
    let dying = open(&servers.database, &w.clock, 9, Arc::new(Unobserved)).await;
    let (own, remote) = (w.submit(w.spec()).await, w.submit(w.spec()).await);
    let in_process = Claim { in_process: true, ..claim(1) };
    assert_eq!(dying.claim(in_process).await.unwrap()[0].held.job, own);
    assert_eq!(dying.claim(claim(1)).await.unwrap()[0].held.job, remote);
    drop(dying);
    w.advance(14);
    w.sweep().await;
    assert_eq!(w.status(own).await, Status::Running, "it may be alive");
    w.advance(1);
    w.sweep().await;
    let (own, remote) = (w.job(own).await, w.job(remote).await);
    assert_eq!((own.status(), own.crashes), (Status::Queued, 1));
    assert_eq!((remote.status(), remote.crashes), (Status::Running, 0), "its worker lives elsewhere");
}

#[tokio::test]
async fn connections_that_are_lost_cost_nothing_but_time() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    let mut all = Vec::new();
    for round in 0..6 {
        let specs: Vec<JobSpec> = (0..40).map(|_| w.spec()).collect();
        all.extend(specs.iter().map(|spec| spec.id));
        let submits = join_all(specs.into_iter().map(|spec| servers.submit(round % 2, vec![spec])));
        let (submits, ()) = join(submits, servers.cut_connections()).await;
        assert!(submits.iter().all(|submitted| *submitted == Ok(Submitted::Created)), "{submits:?}");
    }
    let mut held = Vec::new();
    while held.len() < all.len() {
        let (leased, ()) = join(servers.stores[held.len() % 2].claim(claim(37)), servers.cut_connections()).await;
        held.extend(leased.unwrap().into_iter().map(|leased| leased.held));
    }
    let finishes =
        join_all(held.iter().map(|held| servers.stores[0].finish(held.clone(), succeeded("1"), Usage::default())));
    let (finishes, ()) = join(finishes, servers.cut_connections()).await;
    assert!(finishes.iter().all(|status| *status == Ok(Status::Succeeded)), "{finishes:?}");
    for id in all {
        assert_eq!(w.history(id).await, ["job.queued", "job.running", "job.succeeded"]);
    }
    // And the doorbell is heard again.
    let mut waiting = pin!(servers.stores[1].claim(claim(1)));
    assert!(poll_once(waiting.as_mut()).is_pending());
    let id = w.submit(w.spec()).await;
    assert_eq!(waiting.await.unwrap()[0].held.job, id);
}

#[tokio::test]
async fn one_of_two_calls_with_one_key_at_two_servers_submits() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    for number in 0..20 {
        let key = Idempotency {
            route: "POST /v1/jobs",
            key: [number; 32],
            fingerprint: [1; 32],
            keep_until: w.now() + Span::from_secs(86_400),
        };
        let (one, two) = (w.spec(), w.spec());
        let ids = [one.id, two.id];
        let calls = [(0, one), (1, two)].map(|(server, spec)| {
            let (store, key) = (servers.stores[server].clone(), key.clone());
            async move { submit(&*store, vec![spec], Some(key)).await.unwrap() }
        });
        let answers = join_all(calls).await;
        let created = answers.iter().position(|answer| *answer == Submitted::Created).unwrap();
        assert_eq!(answers[1 - created], Submitted::Replayed(vec![ids[created]]));
    }
    assert_eq!(w.take(claim(99)).await.len(), 20);
}

#[tokio::test]
async fn a_call_that_is_repeated_at_another_server_submits_once() {
    let servers = Servers::new(2).await;
    for _ in 0..20 {
        let specs = vec![servers.world.spec(), servers.world.spec()];
        let answers = join(servers.submit(0, specs.clone()), servers.submit(1, specs)).await;
        assert_eq!(answers, (Ok(Submitted::Created), Ok(Submitted::Created)));
    }
    assert_eq!(servers.world.take(claim(99)).await.len(), 40);
}

#[tokio::test]
async fn one_of_many_writes_under_one_lease_at_two_servers_ends_the_attempt() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    for _ in 0..10 {
        let held = w.running().await.held;
        let ends = (0..6).map(|number| {
            let outcome = failed(flaky(), RetryPlan::After(Span::from_secs(500)));
            servers.stores[number % 2].finish(held.clone(), outcome, Usage::default())
        });
        let ended = join_all(ends).await.into_iter().filter(Result::is_ok).count();
        assert_eq!(ended, 1);
        assert_eq!(w.history(held.job).await, ["job.queued", "job.running", "job.queued"]);
    }
}

#[tokio::test]
async fn a_blob_is_read_everywhere_and_stays_while_any_server_pins_it() {
    let servers = Servers::new(2).await;
    let (one, two) = (servers.stores[0].blobs(), servers.stores[1].blobs());
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let (pin, other) = (one.put(&bytes).unwrap(), two.put(&bytes).unwrap());
    assert_eq!(pin.blob(), other.blob());
    drop(pin);
    servers.stores[0].queues().await.unwrap();
    assert_eq!(one.get(&other.blob()).unwrap(), bytes, "the other server is about to refer to it");
    let blob = other.blob();
    drop(other);
    servers.stores[1].queues().await.unwrap();
    assert!(one.get(&blob).is_err() && two.get(&blob).is_err());
    assert_eq!(one.get(&one.put(b"").unwrap().blob()).unwrap(), b""[..]);
}

/// Pages that are looked at for what a claim of the kind `echo` may choose from.
async fn pages_for_lanes(servers: &Servers) -> u64 {
    let client = servers.database.connect().await;
    let sql = include_str!("../../src/postgres/queries/lanes.sql");
    client.batch_execute(&format!("SET enable_seqscan = off; PREPARE lanes AS {sql}")).await.unwrap();
    let explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE lanes ('{echo}', '{}', NULL, NULL, 256, 256, 4)";
    let plan: serde_json::Value = client
        .simple_query(explain)
        .await
        .unwrap()
        .iter()
        .find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(serde_json::from_str(row.get(0).unwrap()).unwrap()),
            _ => None,
        })
        .unwrap();
    let plan = &plan[0]["Plan"];
    plan["Shared Hit Blocks"].as_u64().unwrap() + plan["Shared Read Blocks"].as_u64().unwrap()
}

#[tokio::test]
async fn what_a_claim_looks_at_does_not_depend_on_lanes_of_other_kinds() {
    let servers = Servers::new(1).await;
    let w = &servers.world;
    w.submit(w.spec()).await;
    let alone = pages_for_lanes(&servers).await;
    let spec = |number: i32| JobSpec { queue: queue(&format!("q{number}")), kind: kind("nobodys"), ..w.spec() };
    servers.submit(0, (0..2_000).map(spec).collect()).await.unwrap();
    let among_others = pages_for_lanes(&servers).await;
    assert!(among_others < alone + 50, "{among_others} pages, and {alone} where there is nothing else");
}

#[tokio::test]
async fn what_a_server_said_before_it_left_does_not_count_when_it_comes_behind() {
    let servers = Servers::new(1).await;
    servers.world.store.close().await;
    let late = include_str!("../../src/postgres/queries/node_lives.sql");
    let late = late.replace("$1", "left_by").replace("$2", "'late'").replace("$3", "9223372036854775807");
    let sql = format!(
        "DO $$ DECLARE left_by int8 := (SELECT id FROM node);
         BEGIN
           {late};
           ASSERT (SELECT alive_until FROM node) = 0, 'it lives again';
         END $$"
    );
    servers.database.run(&sql).await;
}
