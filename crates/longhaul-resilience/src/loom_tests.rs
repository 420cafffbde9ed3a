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
    cache::{FlightForModels, flight_for_models},
    clock::Tick,
    label::Label,
    retry::RetryBudget,
    sync::{AtomicU32, Ordering},
    trail::{Decision, Note, Trail},
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
    loom::model(|| {
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
