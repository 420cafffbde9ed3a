//! Allocations per call, beside the peers: `cargo bench -p longhaul-resilience --bench allocations`.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a program to be read on a terminal")]

mod subjects;

use std::alloc::System;

use longhaul_resilience::{Cx, Step};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use subjects::*;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CALLS: u64 = 10_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    macro_rules! counted {
        ($name:literal, $n:ident, $call:expr) => {
            runtime.block_on(async {
                for $n in 0..100 {
                    std::hint::black_box($call);
                }
                let region = Region::new(ALLOCATOR);
                for $n in 0..CALLS {
                    std::hint::black_box($call);
                }
                println!("| {} | {:.2} |", $name, region.change().allocations as f64 / CALLS as f64);
            })
        };
    }
    println!("| subject | allocations per call |\n|---|---:|");
    let ours = ours_seven();
    counted!("our seven layers", n, ours.call(&Cx::new("id"), n).await.unwrap());
    let ours = ours_cache();
    counted!("our cache hit", n, ours.call(&Cx::new("id"), n % 100).await.unwrap());
    let ours = ours_recommended();
    counted!("our recommended seven, cache missed", n, ours.call(&Cx::new("id"), n << 32).await.unwrap());
    let mut theirs = tower_resilience_seven();
    counted!("tower-resilience: seven layers", n, call(&mut theirs, n).await);
    let mut theirs = tower_resilience_breaker();
    counted!("tower-resilience: breaker", n, call(&mut theirs, n).await);
    let mut theirs = tower_resilience_cache();
    counted!("tower-resilience: cache hit", n, call(&mut theirs, n % 100).await);
    let mut theirs = tower_four();
    counted!("tower: shed, limit, retry, timeout", n, call(&mut theirs, n).await);
}
