//! Every interleaving of two or three threads over the atomic shells, by the model checker.
//!
//! `RUSTFLAGS="--cfg longhaul_loom" cargo test -p longhaul-resilience --lib --release --target-dir target/loom loom`

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use loom::thread;

use crate::{
    breaker::{Breaker, BreakerHandle, BreakerState, shell},
    bulkhead::{BulkheadHandle, gate_for_models},
    cache::{CacheHandle, CachePolicy, FlightForModels, Lifetime, Memory, Store, flight_for_models},
    clock::Tick,
    cx::Cx,
    label::Label,
    limit::{Limit, LimitHandle, turns},
    retry::RetryBudget,
    straight::Straight,
    sync::{AtomicU32, Ordering},
    trail::{Decision, Note, Trail},
    virtual_clock::VirtualClock,
};

const NOW: Tick = Tick::from_nanos(1_000_000_000_000);

#[test]
fn loom_of_three_callers_in_half_open_at_most_one_probes() {
    loom::model(|| {
        let breaker = BreakerHandle::new(Breaker::consecutive(1).probes(1).successes(1));
        breaker.half_open();
        let probes = loom::sync::Arc::new(AtomicU32::new(0));
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let (breaker, probes) = (breaker.clone(), loom::sync::Arc::clone(&probes));
                thread::spawn(move || {
                    if shell::admit(&breaker, NOW).is_some() {
                        probes.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        if shell::admit(&breaker, NOW).is_some() {
            probes.fetch_add(1, Ordering::Relaxed);
        }
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert_eq!(probes.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn loom_a_late_success_never_closes_a_breaker_that_opened_meanwhile() {
    loom::model(|| {
        let breaker = BreakerHandle::new(Breaker::consecutive(1).successes(1));
        let late = shell::admit(&breaker, NOW).unwrap();
        let failing = shell::admit(&breaker, NOW).unwrap();
        let other = breaker.clone();
        let opens = thread::spawn(move || shell::settle(&other, failing, false, NOW));
        shell::settle(&breaker, late, true, NOW);
        opens.join().unwrap();
        assert_eq!(breaker.state(), BreakerState::Open);
        // Nor does a caller who comes now slip through on what it read before.
        assert!(shell::admit(&breaker, NOW).is_none());
    });
}

#[test]
fn loom_a_place_is_never_lost_and_never_given_twice() {
    loom::model(|| {
        let gate = BulkheadHandle::new(1, 4);
        let inside = loom::sync::Arc::new(AtomicU32::new(0));
        let run = |gate: BulkheadHandle, inside: loom::sync::Arc<AtomicU32>| {
            move || {
                let entered = match gate_for_models::come(&gate) {
                    gate_for_models::Came::Inside => true,
                    gate_for_models::Came::Full => false,
                    gate_for_models::Came::Waits(id) => {
                        match gate_for_models::poll(&gate, id, &Context::from_waker(Waker::noop())) {
                            Poll::Ready(()) => true,
                            Poll::Pending => {
                                gate_for_models::give_up(&gate, id);
                                false
                            }
                        }
                    }
                };
                if entered {
                    assert_eq!(inside.fetch_add(1, Ordering::AcqRel), 0, "two inside");
                    inside.fetch_sub(1, Ordering::AcqRel);
                    gate_for_models::leave(&gate);
                }
            }
        };
        let other = thread::spawn(run(gate.clone(), loom::sync::Arc::clone(&inside)));
        run(gate.clone(), inside)();
        other.join().unwrap();
        assert_eq!((gate.in_use(), gate.waiting()), (0, 0));
        assert!(matches!(gate_for_models::come(&gate), gate_for_models::Came::Inside), "the place is free again");
    });
}

#[test]
fn loom_whoever_waits_is_woken() {
    loom::model(|| {
        let gate = BulkheadHandle::new(1, 4);
        let run = |gate: BulkheadHandle| {
            move || {
                if let gate_for_models::Came::Waits(id) = gate_for_models::come(&gate) {
                    // A wake-up that is lost is a deadlock, which the checker reports.
                    loom::future::block_on(std::future::poll_fn(|task| gate_for_models::poll(&gate, id, task)));
                }
                gate_for_models::leave(&gate);
            }
        };
        let other = thread::spawn(run(gate.clone()));
        run(gate.clone())();
        other.join().unwrap();
        assert_eq!((gate.in_use(), gate.waiting()), (0, 0));
    });
}

#[test]
fn loom_a_flight_lands_for_all_who_wait() {
    bounded(|| {
        let flight = flight_for_models(7);
        let (first, second) = (flight.join(), flight.join());
        let wait = |flight: FlightForModels, id| move || loom::future::block_on(flight.wait(id));
        let other = thread::spawn(wait(flight.clone(), first));
        assert_eq!(wait(flight, second)(), Some(7));
        assert_eq!(other.join().unwrap(), Some(7));
    });
}

#[test]
fn loom_whoever_leaves_a_flight_in_the_middle_of_a_wake_up_leaves_it_to_the_others() {
    loom::model(|| {
        let flight = flight_for_models(7);
        let (stays, leaves) = (flight.join(), flight.join());
        let other = flight.clone();
        let glance = thread::spawn(move || other.glance(leaves));
        // If the wake-up went to the one who left, and only to that one, this is a deadlock, which the checker reports.
        assert_eq!(loom::future::block_on(flight.wait(stays)), Some(7));
        glance.join().unwrap();
    });
}

fn at_a_standstill() -> Cx<'static> {
    Cx::default().clock(std::sync::Arc::new(VirtualClock::new()))
}

/// For the larger models: all interleavings in which at most three threads are stopped where they would not wait.
fn bounded(check: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(check);
}

#[test]
fn loom_what_one_caller_gives_back_reaches_the_one_who_waits() {
    bounded(|| {
        // One token, and time stands still: without the refund, and the wake-up for it, the second waits for ever.
        let limit = Limit::rpm(1).max_wait(Duration::MAX).handle();
        let inside = loom::sync::Arc::new(AtomicU32::new(0));
        let run = |limit: LimitHandle, inside: loom::sync::Arc<AtomicU32>| {
            move || {
                let once = || {
                    assert_eq!(inside.fetch_add(1, Ordering::AcqRel), 0, "one token let two in");
                    inside.fetch_sub(1, Ordering::AcqRel);
                };
                assert!(loom::future::block_on(turns::pass(&limit, &at_a_standstill(), once)));
            }
        };
        let other = thread::spawn(run(limit.clone(), loom::sync::Arc::clone(&inside)));
        run(limit.clone(), inside)();
        other.join().unwrap();
        assert_eq!(limit.waiting(), 0);
    });
}

#[test]
fn loom_whoever_leaves_the_line_takes_no_turn_along() {
    bounded(|| {
        let limit = Limit::rpm(1).max_wait(Duration::MAX).handle();
        let other = limit.clone();
        let glance = thread::spawn(move || turns::glance(&other, &at_a_standstill()));
        assert!(loom::future::block_on(turns::pass(&limit, &at_a_standstill(), || ())));
        glance.join().unwrap();
        assert!(loom::future::block_on(turns::pass(&limit, &at_a_standstill(), || ())));
        assert_eq!(limit.waiting(), 0);
    });
}

#[test]
fn loom_two_who_miss_at_once_make_one_call() {
    bounded(|| {
        let cache = CacheHandle::<u32, u32, ()>::new(CachePolicy::ttl(Duration::from_secs(60)));
        let calls = loom::sync::Arc::new(AtomicU32::new(0));
        let ask = |cache: CacheHandle<u32, u32, ()>, calls: loom::sync::Arc<AtomicU32>| {
            move || {
                let call = |_| async move {
                    calls.fetch_add(1, Ordering::AcqRel);
                    Ok(7)
                };
                loom::future::block_on(cache.get_or_run(&at_a_standstill(), 1, call)).result
            }
        };
        let other = thread::spawn(ask(cache.clone(), loom::sync::Arc::clone(&calls)));
        assert_eq!(ask(cache.clone(), loom::sync::Arc::clone(&calls))(), Ok(7));
        assert_eq!(other.join().unwrap(), Ok(7));
        assert_eq!((calls.load(Ordering::Acquire), cache.in_flight(), cache.len()), (1, 0, 1));
    });
}

#[test]
fn loom_a_store_of_one_entry_holds_one_entry() {
    loom::model(|| {
        let memory = loom::sync::Arc::new(Memory::new(1));
        let life = Lifetime { fresh: Duration::from_secs(60), grace: Duration::ZERO };
        let put = |memory: loom::sync::Arc<Memory<u32, u32>>, key| {
            move || {
                loom::future::block_on(memory.put(key, key, false, life, NOW));
                let found = loom::future::block_on(memory.get(&key, NOW));
                assert!(found.is_none_or(|found| found.value == key));
            }
        };
        let other = thread::spawn(put(loom::sync::Arc::clone(&memory), 1));
        put(loom::sync::Arc::clone(&memory), 2)();
        other.join().unwrap();
        assert_eq!(memory.len(), 1);
    });
}

#[test]
fn loom_a_layer_that_comes_while_the_first_call_ends_has_a_place_or_knows_that_it_has_none() {
    loom::model(|| {
        let straight = loom::sync::Arc::new(Straight::default());
        straight.enlist();
        let other = loom::sync::Arc::clone(&straight);
        let late = thread::spawn(move || other.enlist());
        let places = straight.places();
        let late = late.join().unwrap();
        assert!(late == Straight::ALONE || late < places);
    });
}

#[test]
fn loom_a_budget_is_never_overdrawn() {
    loom::model(|| {
        let budget = RetryBudget::new(0.0, 0.0);
        for _ in 0..RetryBudget::START_BALANCE - 1 {
            assert!(budget.withdraw(NOW));
        }
        let other = budget.clone();
        let theirs = thread::spawn(move || u32::from(other.withdraw(NOW)));
        let ours = u32::from(budget.withdraw(NOW));
        assert_eq!(ours + theirs.join().unwrap(), 1);
    });
}

#[test]
fn loom_a_note_is_read_whole_or_not_at_all() {
    loom::model(|| {
        let trail = loom::sync::Arc::new(Trail::default());
        let note = |n: u64| Note::new(Tick::from_nanos(n), Label::NONE, Label::RETRY, Decision::RetryScheduled, n);
        let other = loom::sync::Arc::clone(&trail);
        let writer = thread::spawn(move || other.push(&note(7)));
        trail.push(&note(9));
        trail.for_each(|seen| assert!(seen == note(7) || seen == note(9)));
        writer.join().unwrap();
        let mut seen = 0;
        trail.for_each(|_| seen += 1);
        assert_eq!(seen, 2);
    });
}

#[test]
fn loom_every_permit_of_a_probe_comes_home() {
    loom::model(|| {
        let breaker = BreakerHandle::new(Breaker::consecutive(1).probes(1).successes(1).probe_ttl(Duration::MAX));
        breaker.half_open();
        let probe = shell::admit(&breaker, NOW).unwrap();
        let other = breaker.clone();
        let drops = thread::spawn(move || shell::release(&other, probe));
        let early = shell::admit(&breaker, NOW);
        drops.join().unwrap();
        assert!(early.is_some() || shell::admit(&breaker, NOW).is_some());
    });
}
