//! Limits of kinds while another server does something at the worst moment: between a batch's look and its lock.
//!
//! The other server is played by a connection that holds the lock of the kind, and changes the rows that a claim would.

use std::pin::pin;

use futures::future::join;
use longhaul_core::{JobSpec, Limit, LimitKey, Rate, Span, Tenant, Timestamp, Usage};
use longhaul_store::{
    Claim, NewJob, Submit,
    conformance::{World, claim, kind, poll_once, queue, succeeded},
};
use sha2::{Digest as _, Sha256};
use tokio_postgres::Client;

use crate::nodes::{FOR_LONG, Servers};

fn by_key(concurrency: Option<u32>, rate: Option<Rate>) -> Limit {
    Limit { key: Some("/key".into()), concurrency, rate }
}

fn keyed(w: &World, key: i64) -> JobSpec {
    JobSpec { limit_key: Some(LimitKey(key)), ..w.spec() }
}

/// The advisory lock that a claim takes before it counts what runs of `echo`.
fn lock_of_kind() -> i64 {
    let digest: [u8; 32] = Sha256::digest("longhaul\npublic\nkind\necho").into();
    i64::from_le_bytes(digest[..8].try_into().unwrap())
}

/// Begins a transaction that holds the lock.
async fn hold(client: &Client) {
    client.batch_execute("BEGIN").await.unwrap();
    client.query("SELECT pg_advisory_xact_lock($1)", &[&lock_of_kind()]).await.unwrap();
}

/// Waits until `count` transactions wait for an advisory lock.
async fn waiting_for_locks(client: &Client, count: i64) {
    let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) != count {}
}

#[tokio::test]
async fn a_look_at_a_full_rate_takes_back_no_start_of_another_server() {
    let servers = Servers::new(1).await;
    let (w, store) = (&servers.world, &servers.stores[0]);
    let rate = Rate { count: 2, per_s: 64 };
    let overall = Limit { key: None, concurrency: Some(2), rate: None };
    store.limit_kind(kind("echo"), vec![overall, by_key(None, Some(rate))]).await.unwrap();
    servers.submit(0, (0..4).map(|_| keyed(w, 1)).collect()).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..2 {
        let leased = w.take(Claim { lease_for: FOR_LONG, ..claim(1) }).await.remove(0);
        held.push(leased.held);
        w.advance(10);
    }
    let other = w.submit(keyed(w, 2)).await;
    let mut waiting = pin!(store.claim(claim(9)));
    assert!(poll_once(waiting.as_mut()).is_pending());
    store.queues().await.unwrap();
    w.advance(43);

    let (rival, watch) = (servers.database.connect().await, servers.database.connect().await);
    hold(&rival).await;
    // This looks at the key, which is full, and then waits for the lock, because a claim waits with it.
    let sweep = store.sweep();
    let meanwhile = async {
        waiting_for_locks(&watch, 1).await;
        // The first start does not count any more, so the other server starts one.
        w.advance(3);
        let end_of_slice = (w.now().as_micros() / 1_000_000 + 1) * 1_000_000;
        let start = [&end_of_slice.to_le_bytes()[..], &1_u32.to_le_bytes()].concat();
        rival.execute("UPDATE pace SET starts = starts || $1 WHERE gate = 1", &[&start]).await.unwrap();
        rival.batch_execute("COMMIT").await.unwrap();
    };
    let (swept, ()) = join(sweep, meanwhile).await;
    swept.unwrap();

    store.finish(held.remove(0), succeeded("1"), Usage::default()).await.unwrap();
    let leased = waiting.await.unwrap();
    assert_eq!(leased.iter().map(|leased| leased.held.job).collect::<Vec<_>>(), [other], "two have started");
    store.finish(held.remove(0), succeeded("1"), Usage::default()).await.unwrap();
    w.sweep().await;
    assert!(w.take(claim(9)).await.is_empty(), "two have started in this window");
    w.advance(10);
    w.sweep().await;
    assert_eq!(w.take(claim(9)).await.len(), 1, "the second does not count any more");
}

#[tokio::test]
async fn a_key_that_was_counted_before_the_lock_is_counted_again_under_it() {
    let servers = Servers::new(1).await;
    let (w, store) = (&servers.world, &servers.stores[0]);
    // Before there is a limit all of them are ready: as many of one key as are shown, and behind them another key.
    servers.submit(0, (0..6).map(|_| keyed(w, 1)).collect()).await.unwrap();
    w.advance(1);
    let late = [JobSpec { queue: queue("elsewhere"), ..keyed(w, 2) }, keyed(w, 2)];
    servers.submit(0, late.to_vec()).await.unwrap();
    let stranger = Tenant::new("stranger").unwrap();
    servers.submit(0, vec![JobSpec { tenant: stranger.clone(), ..w.spec() }]).await.unwrap();
    let of = |name| Claim { queues: Some([queue(name)].into()), tenant: Some(w.spec().tenant), ..claim(1) };
    store.limit_kind(kind("echo"), vec![by_key(Some(1), None)]).await.unwrap();
    assert_eq!(w.take(of("default")).await.len(), 1);

    let (first, rival, watch) =
        (servers.database.connect().await, servers.database.connect().await, servers.database.connect().await);
    hold(&first).await;
    // While this batch waits for the lock, the next gathers: a submit, which counts the second key, and a claim.
    let mut before = pin!(store.claim(Claim { tenant: Some(stranger), ..claim(1) }));
    assert!(poll_once(before.as_mut()).is_pending());
    waiting_for_locks(&watch, 1).await;
    let jobs = vec![NewJob { spec: keyed(w, 2).into(), input: longhaul_core::Payload::inline("{}") }];
    let mut submit = pin!(store.submit(Submit { jobs, idempotency: None, document: None }));
    let mut waiting = pin!(store.claim(of("default")));
    assert!(poll_once(submit.as_mut()).is_pending() && poll_once(waiting.as_mut()).is_pending());
    let turns = async {
        let next = async {
            hold(&rival).await;
            waiting_for_locks(&watch, 1).await;
            // The other server leases the job of the second key in the other queue.
            rival.batch_execute("UPDATE job SET phase = 3 WHERE queue = 'elsewhere'; COMMIT").await.unwrap();
        };
        let begin = async {
            let watch = servers.database.connect().await;
            waiting_for_locks(&watch, 2).await;
            first.batch_execute("COMMIT").await.unwrap();
        };
        join(next, begin).await;
    };
    let ((submitted, ()), leased) = join(join(submit.as_mut(), turns), before.as_mut()).await;
    submitted.unwrap();
    assert_eq!(leased.unwrap().len(), 1);
    store.queues().await.unwrap();
    store.queues().await.unwrap();
    assert!(poll_once(waiting.as_mut()).is_pending(), "one with the key runs at the other server");
}

/// A store whose kind `echo` may start one job a second, with two jobs of which one has started; and 0.9 s later.
async fn paced() -> Servers {
    let servers = Servers::new(1).await;
    let (w, store) = (&servers.world, &servers.stores[0]);
    let rate = Rate { count: 1, per_s: 1 };
    store.limit_kind(kind("echo"), vec![Limit { key: None, concurrency: None, rate: Some(rate) }]).await.unwrap();
    servers.submit(0, (0..2).map(|_| w.spec()).collect()).await.unwrap();
    assert_eq!(w.take(claim(9)).await.len(), 1);
    w.clock.advance(Span::from_millis(900));
    servers
}

/// When the writer looks for a waiting claim because time opens a rate: far before it would look by itself.
async fn looks_at(servers: &Servers) -> Timestamp {
    let clock = &servers.world.clock;
    for _ in 0..1_000 {
        servers.stores[0].queues().await.unwrap();
        if let Some(at) = clock.next_wake().filter(|at| *at < servers.world.now() + Span::from_millis(200)) {
            return at;
        }
    }
    panic!("it does not look before it would by itself: {:?}", clock.next_wake());
}

#[tokio::test]
async fn a_waiting_claim_looks_when_time_opens_the_rate_of_a_kind() {
    let servers = paced().await;
    let w = &servers.world;
    let mut waiting = pin!(servers.stores[0].claim(claim(1)));
    assert!(poll_once(waiting.as_mut()).is_pending());
    // It looks when a start does not count any more.
    w.clock.set(looks_at(&servers).await);
    assert_eq!(waiting.await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_rate_that_opens_during_a_batch_is_looked_at_after_it() {
    let servers = paced().await;
    let (w, store) = (&servers.world, &servers.stores[0]);
    let mut waiting = pin!(store.claim(claim(1)));
    assert!(poll_once(waiting.as_mut()).is_pending());
    let opens_at = looks_at(&servers).await;
    let (rival, watch) = (servers.database.connect().await, servers.database.connect().await);
    hold(&rival).await;
    // This reads the time, and then waits for the lock, because a claim waits with it.
    let sweep = store.sweep();
    let meanwhile = async {
        waiting_for_locks(&watch, 1).await;
        w.clock.set(opens_at);
        rival.batch_execute("COMMIT").await.unwrap();
    };
    let (swept, ()) = join(sweep, meanwhile).await;
    swept.unwrap();
    assert_eq!(waiting.await.unwrap().len(), 1);
}
