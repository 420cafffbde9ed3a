//! Nanoseconds per call, beside the peers, in one run: `cargo bench -p longhaul-resilience --bench peers`.
//!
//! One thread, a service that does nothing, every call in a context of its own. Two hundred short rounds go through all
//! subjects in turn, so that a disturbance by other work on the machine hits each of them and quiet moments are found;
//! the best round and the median are printed.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a program to be read on a terminal")]

mod subjects;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use longhaul_resilience::{Cache, CacheHandle, CachePolicy, Cx, Stack, Step, cache::normalised};
use subjects::*;

const ROUNDS: usize = 200;
const CALLS: u64 = 2_000;

struct Subject<'a> {
    name: &'a str,
    run: Box<dyn FnMut() -> Duration + 'a>,
    rounds: Vec<f64>,
}

fn subject<'a>(name: &'a str, run: impl FnMut() -> Duration + 'a) -> Subject<'a> {
    Subject { name, run: Box::new(run), rounds: vec![] }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let runtime = &runtime;
    macro_rules! timed {
        ($n:ident, $call:expr) => {
            runtime.block_on(async {
                let start = Instant::now();
                for $n in 0..CALLS {
                    black_box($call);
                }
                start.elapsed()
            })
        };
    }
    macro_rules! ours {
        ($name:literal, $make:expr) => {{
            let step = $make;
            subject($name, move || {
                timed!(n, step.call(&Cx::new("00000000-0000-4000-8000-000000000000"), n).await.unwrap())
            })
        }};
    }
    macro_rules! theirs {
        ($name:literal, $make:expr) => {{
            let mut service = $make;
            subject($name, move || timed!(n, call(&mut service, n).await))
        }};
    }

    let hit = ours_cache();
    let tower_hit = tower_resilience_cache();
    let prompts = Stack::named("bench-prompts")
        .cache(Cache::keyed(|q: &&'static str| normalised(q)).ttl(HOUR))
        .around(async |q: &'static str| Ok::<usize, ServiceError>(q.len()));
    let question: &'static str = Box::leak(prompt().into_boxed_str());
    let plain = CacheHandle::<u64, u64, ServiceError>::new(CachePolicy::ttl(HOUR).max_entries(1000));
    let moka = moka::sync::Cache::<u64, u64>::builder().max_capacity(1000).time_to_live(HOUR).build();
    let quick = quick_cache::sync::Cache::<u64, u64>::new(1000);
    for n in 0..100 {
        moka.insert(n, n);
        quick.insert(n, n);
    }
    let recloser = recloser::Recloser::custom().error_rate(0.5).closed_len(100).build();

    let mut subjects = vec![
        subject("the service alone", || timed!(n, service(n).await.unwrap())),
        subject("Instant::now", || timed!(_n, Instant::now())),
        subject("Cx::new", || timed!(_n, Cx::new("00000000-0000-4000-8000-000000000000"))),
        ours!("stack without layers", ours_bare()),
        ours!("deadline", ours_deadline()),
        ours!("retry", ours_retry()),
        ours!("limit (requests)", ours_limit()),
        ours!("bulkhead", ours_bulkhead()),
        ours!("breaker, consecutive", ours_breaker()),
        ours!("breaker, 100 calls", ours_breaker_window()),
        ours!("breaker, 10 s", ours_breaker_time()),
        ours!("attempt timeout", ours_timeout()),
        ours!("our seven layers", ours_seven()),
        ours!("our recommended seven, cache missed", ours_recommended()),
        subject("cache hit, u64 key", || timed!(n, hit.call(&Cx::new("id"), n % 100).await.unwrap())),
        subject("cache hit, prompt of 200 bytes", || timed!(_n, prompts.call(&Cx::new("id"), question).await.unwrap())),
        subject("cache hit, plain handle", || {
            timed!(n, plain.get_or_run(&Cx::new("id"), n % 100, |_| async { Ok(1) }).await.result.unwrap())
        }),
        theirs!("tower: shed, limit, retry, timeout", tower_four()),
        theirs!("tower-resilience: breaker", tower_resilience_breaker()),
        subject("tower-resilience: cache hit", {
            let mut service = tower_hit;
            move || timed!(n, call(&mut service, n % 100).await)
        }),
        theirs!("tower-resilience: seven layers", tower_resilience_seven()),
        subject("recloser: breaker", || {
            timed!(n, recloser.call(|| if n == u64::MAX { Err(()) } else { Ok(black_box(n)) }).unwrap())
        }),
        subject("moka: hit", || timed!(n, moka.get(&(n % 100)).unwrap())),
        subject("quick_cache: hit", || timed!(n, quick.get(&(n % 100)).unwrap())),
    ];
    // `-- NAME` measures only the subjects whose name contains it.
    if let Some(part) = std::env::args().skip(1).find(|arg| !arg.starts_with('-')) {
        subjects.retain(|subject| subject.name.contains(&part));
    }
    for round in 0..=ROUNDS {
        for subject in &mut subjects {
            let per_call = (subject.run)().as_secs_f64() * 1e9 / CALLS as f64;
            // The first round only warms up.
            if round > 0 {
                subject.rounds.push(per_call);
            }
        }
    }
    println!("| subject | best ns | median ns |\n|---|---:|---:|");
    for Subject { name, rounds, .. } in &mut subjects {
        rounds.sort_by(f64::total_cmp);
        println!("| {name} | {:.0} | {:.0} |", rounds[0], rounds[ROUNDS / 2]);
    }
}
