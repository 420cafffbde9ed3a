//! The breaker's decisions against a naive model of them.

use proptest::prelude::*;

use super::*;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(seconds: u64) -> Tick {
    Tick::ZERO.after(secs(seconds))
}

fn go(core: &mut Core, now: Tick) -> Permit {
    match core.admit(now).0 {
        Admission::Go(permit) => permit,
        other => panic!("{other:?}"),
    }
}

fn call(core: &mut Core, verdict: Verdict, now: Tick) -> bool {
    let permit = go(core, now);
    core.settle(permit, verdict, Duration::ZERO, now).0
}

fn opened(settings: Breaker) -> Core {
    let mut core = Core::new(settings.or_consecutive(1));
    call(&mut core, Verdict::Failure, at(0));
    assert_eq!(core.state(), BreakerState::Open);
    core
}

#[test]
fn it_opens_after_so_many_failures_in_a_row_and_not_before() {
    let mut core = Core::new(Breaker::consecutive(3));
    for verdict in [Verdict::Failure, Verdict::Failure, Verdict::Success, Verdict::Failure, Verdict::Failure] {
        call(&mut core, verdict, at(0));
        assert_eq!(core.state(), BreakerState::Closed);
    }
    call(&mut core, Verdict::Failure, at(0));
    assert_eq!(core.state(), BreakerState::Open);
    assert_eq!(core.admit(at(59)).0, Admission::Reject { retry_after: secs(1) });
}

#[test]
fn ten_thousand_successes_do_not_hide_fifty_failures() {
    let mut core = Core::new(Breaker::rate(0.5).window_calls(100).min_calls(100));
    for _ in 0..10_000 {
        call(&mut core, Verdict::Success, at(0));
    }
    let failures = (1..=100).find(|_| {
        call(&mut core, Verdict::Failure, at(0));
        core.state() == BreakerState::Open
    });
    assert_eq!(failures, Some(50));
}

#[test]
fn it_closes_after_so_many_successes_and_one_failure_reopens_it() {
    let mut core = opened(Breaker::rate(1.0).successes(2));
    call(&mut core, Verdict::Success, at(60));
    assert_eq!(core.state(), BreakerState::HalfOpen);
    call(&mut core, Verdict::Failure, at(61));
    assert_eq!(core.state(), BreakerState::Open);
    assert_eq!(core.admit(at(120)).0, Admission::Reject { retry_after: secs(1) });
    call(&mut core, Verdict::Success, at(121));
    call(&mut core, Verdict::Success, at(121));
    assert_eq!(core.state(), BreakerState::Closed);
}

#[test]
fn a_thousand_callers_in_half_open_get_as_many_probes_as_set() {
    let mut core = opened(Breaker::rate(1.0).probes(3));
    let admitted = (0..1000).filter(|_| matches!(core.admit(at(60)).0, Admission::Go(_))).count();
    assert_eq!(admitted, 3);
}

#[test]
fn a_dropped_probe_gives_its_place_back_and_counts_as_nothing() {
    let mut core = opened(Breaker::rate(1.0).successes(1));
    let permit = go(&mut core, at(60));
    assert!(matches!(core.admit(at(60)).0, Admission::Reject { .. }));
    core.settle(permit, Verdict::Nothing, Duration::ZERO, at(60));
    assert_eq!(core.state(), BreakerState::HalfOpen);
    assert!(matches!(core.admit(at(60)).0, Admission::Go(_)));
}

#[test]
fn a_slow_probe_loses_its_place_after_its_time_and_its_late_result_counts() {
    for verdict in [Verdict::Success, Verdict::Failure] {
        let mut core = opened(Breaker::rate(1.0).successes(2).probe_ttl(secs(15)));
        let slow = go(&mut core, at(60));
        assert_eq!(core.admit(at(70)).0, Admission::Reject { retry_after: secs(5) });
        let next = go(&mut core, at(75));
        assert!(matches!(core.admit(at(75)).0, Admission::Reject { .. }), "one at a time");
        assert!(core.settle(slow, verdict, Duration::ZERO, at(76)).0);
        let (counted, _) = core.settle(next, Verdict::Success, Duration::ZERO, at(76));
        let (state, counts) = match verdict {
            Verdict::Failure => (BreakerState::Open, false),
            _ => (BreakerState::Closed, true),
        };
        assert_eq!((core.state(), counted), (state, counts));
    }
}

#[test]
fn probes_that_all_take_longer_than_their_places_close_it() {
    let mut core = opened(Breaker::rate(1.0).successes(2));
    let (mut under_way, mut now) = (Vec::new(), 60);
    while core.state() != BreakerState::Closed {
        assert!(now < 60 + 3 * 60, "half-open for ever");
        if let Admission::Go(permit) = core.admit(at(now)).0 {
            under_way.push((permit, now + 70));
        }
        let ended = under_way.extract_if(.., |(_, ends)| *ends <= now).collect::<Vec<_>>();
        for (permit, _) in ended {
            core.settle(permit, Verdict::Success, secs(70), at(now));
        }
        now += 2;
    }
}

#[test]
fn a_late_result_moves_nothing() {
    let mut core = Core::new(Breaker::consecutive(1).successes(1));
    let (late_failure, late_success) = (go(&mut core, at(0)), go(&mut core, at(0)));
    call(&mut core, Verdict::Failure, at(0));
    assert_eq!(core.settle(late_success, Verdict::Success, Duration::ZERO, at(1)), (false, None));
    assert_eq!(core.state(), BreakerState::Open);
    let probe = go(&mut core, at(60));
    assert_eq!(core.settle(late_failure, Verdict::Failure, Duration::ZERO, at(60)), (false, None));
    assert_eq!(core.state(), BreakerState::HalfOpen);
    core.settle(probe, Verdict::Success, Duration::ZERO, at(60));
    assert_eq!(core.settle(late_failure, Verdict::Failure, Duration::ZERO, at(61)), (false, None));
    assert_eq!(core.state(), BreakerState::Closed);
}

#[test]
fn slow_calls_open_it_though_they_succeed() {
    let mut core = Core::new(Breaker::rate(1.0).slow_calls(secs(5), 0.75).window_calls(4).min_calls(4));
    for took in [secs(6), secs(5), secs(1)] {
        let permit = go(&mut core, at(0));
        core.settle(permit, Verdict::Success, took, at(0));
    }
    assert_eq!(core.state(), BreakerState::Closed);
    let permit = go(&mut core, at(0));
    core.settle(permit, Verdict::Success, secs(5), at(0));
    assert_eq!(core.state(), BreakerState::Open);
}

#[test]
fn every_change_of_state_is_told_once() {
    use BreakerState::{Closed, HalfOpen, Open};
    let mut core = Core::new(Breaker::consecutive(2).successes(1));
    let mut told = vec![];
    for (verdict, now) in [
        (Verdict::Failure, 0),
        (Verdict::Failure, 0),
        (Verdict::Nothing, 60),
        (Verdict::Failure, 61),
        (Verdict::Success, 121),
        (Verdict::Success, 122),
    ] {
        let (admission, moved) = core.admit(at(now));
        told.extend(moved);
        if let Admission::Go(permit) = admission {
            told.extend(core.settle(permit, verdict, Duration::ZERO, at(now)).1);
        }
    }
    assert_eq!(told, [(Closed, Open), (Open, HalfOpen), (HalfOpen, Open), (Open, HalfOpen), (HalfOpen, Closed)]);
}

#[test]
fn the_open_time_doubles_with_every_failed_probe_up_to_its_maximum_and_starts_over_once_closed() {
    let mut core = opened(Breaker::rate(1.0).open_for(secs(10)).open_for_growing_to(secs(30)).successes(1));
    let mut now = 0;
    for open_for in [10, 20, 30, 30] {
        assert_eq!(core.admit(at(now)).0, Admission::Reject { retry_after: secs(open_for) });
        now += open_for;
        call(&mut core, Verdict::Failure, at(now));
    }
    now += 30;
    call(&mut core, Verdict::Success, at(now));
    call(&mut core, Verdict::Failure, at(now));
    assert_eq!(core.admit(at(now)).0, Admission::Reject { retry_after: secs(10) });
}

#[test]
fn how_long_it_stays_open_grows_in_whatever_order_that_was_said() {
    let growing = Breaker::default().open_for_growing_to(secs(30)).open_for(secs(10));
    assert_eq!(growing, Breaker::default().open_for(secs(10)).open_for_growing_to(secs(30)));
    let mut core = opened(growing);
    call(&mut core, Verdict::Failure, at(10));
    assert_eq!(core.admit(at(10)).0, Admission::Reject { retry_after: secs(20) });
    let mut core = opened(Breaker::default().open_for(secs(10)));
    call(&mut core, Verdict::Failure, at(10));
    assert_eq!(core.admit(at(10)).0, Admission::Reject { retry_after: secs(10) });
}

#[test]
fn a_person_can_hold_it_open_or_closed_and_hand_back() {
    let mut core = Core::new(Breaker::consecutive(1));
    assert_eq!(core.set_mode(BreakerMode::ForcedOpen), Some((BreakerState::Closed, BreakerState::Open)));
    assert!(matches!(core.admit(at(1_000_000)).0, Admission::Reject { .. }));
    core.set_mode(BreakerMode::ForcedClosed);
    for _ in 0..10 {
        call(&mut core, Verdict::Failure, at(0));
    }
    core.set_mode(BreakerMode::Auto);
    assert_eq!(core.state(), BreakerState::Closed, "what happened by hand does not count");
    core.force(BreakerState::HalfOpen, at(0));
    call(&mut core, Verdict::Failure, at(0));
    assert_eq!(core.state(), BreakerState::Open);
    core.force(BreakerState::Closed, at(0));
    assert_eq!(core.state(), BreakerState::Closed);
}

#[test]
fn what_was_under_way_when_a_person_took_over_counts_no_longer() {
    let mut core = Core::new(Breaker::consecutive(1));
    let permit = go(&mut core, at(0));
    core.set_mode(BreakerMode::ForcedOpen);
    core.set_mode(BreakerMode::Auto);
    assert_eq!(core.settle(permit, Verdict::Failure, Duration::ZERO, at(0)), (false, None));
    let permit = go(&mut core, at(0));
    assert_eq!(core.set_mode(BreakerMode::Auto), None, "nothing new");
    assert!(core.settle(permit, Verdict::Failure, Duration::ZERO, at(0)).0);
}

#[test]
fn a_person_is_told_what_moved() {
    use BreakerState::{Closed, HalfOpen, Open};
    let mut core = Core::new(Breaker::consecutive(1));
    assert_eq!(core.force(Closed, at(0)), None);
    assert_eq!(core.force(Open, at(0)), Some((Closed, Open)));
    assert_eq!(core.force(HalfOpen, at(0)), Some((Open, HalfOpen)));
    assert_eq!(core.set_mode(BreakerMode::ForcedOpen), Some((HalfOpen, Open)));
    assert_eq!(core.set_mode(BreakerMode::Shadow), Some((Open, HalfOpen)));
}

#[test]
fn a_window_that_settings_took_away_does_not_come_back_with_what_it_held() {
    let mut core = Core::new(Breaker::rate(0.5).window_calls(10).min_calls(5));
    for _ in 0..4 {
        call(&mut core, Verdict::Failure, at(0));
    }
    core.reload(Breaker::consecutive(100));
    core.reload(Breaker::rate(0.5).window_calls(10).min_calls(5));
    call(&mut core, Verdict::Success, at(0));
    assert_eq!(core.state(), BreakerState::Closed);
}

#[test]
fn in_shadow_nothing_is_turned_away_but_the_state_moves() {
    let mut core = Core::new(Breaker::consecutive(1).successes(1));
    core.set_mode(BreakerMode::Shadow);
    call(&mut core, Verdict::Failure, at(0));
    assert_eq!(core.state(), BreakerState::Open);
    let Admission::WouldReject(permit) = core.admit(at(1)).0 else { panic!() };
    assert_eq!(core.settle(permit, Verdict::Failure, Duration::ZERO, at(1)), (false, None));
    call(&mut core, Verdict::Success, at(60));
    assert_eq!(core.state(), BreakerState::Closed);
}

#[test]
fn new_settings_keep_the_state_and_the_window() {
    let mut core = Core::new(Breaker::consecutive(5));
    for _ in 0..4 {
        call(&mut core, Verdict::Failure, at(0));
    }
    core.reload(Breaker::consecutive(6));
    call(&mut core, Verdict::Failure, at(0));
    assert_eq!(core.state(), BreakerState::Closed);
    call(&mut core, Verdict::Failure, at(0));
    assert_eq!(core.state(), BreakerState::Open);
    core.reload(Breaker::consecutive(6).open_for(secs(1)));
    assert_eq!(core.admit(at(59)).0, Admission::Reject { retry_after: secs(1) });

    let mut core = Core::new(Breaker::rate(0.5).window_calls(10).min_calls(10));
    for _ in 0..4 {
        call(&mut core, Verdict::Failure, at(0));
    }
    core.reload(Breaker::rate(0.5).window_calls(8).min_calls(5));
    call(&mut core, Verdict::Success, at(0));
    assert_eq!(core.state(), BreakerState::Open, "four of five");
}

#[test]
fn it_says_when_a_success_would_change_nothing() {
    let mut core = Core::new(Breaker::consecutive(3));
    assert!(core.ignores_success());
    call(&mut core, Verdict::Failure, at(0));
    assert!(!core.ignores_success(), "a failure in a row is to be forgotten");
    call(&mut core, Verdict::Success, at(0));
    assert!(core.ignores_success());

    let mut core = Core::new(Breaker::rate(0.5).window_calls(4));
    for n in 0..4 {
        assert!(!core.ignores_success(), "{n} calls do not fill the window");
        call(&mut core, Verdict::Success, at(0));
    }
    assert!(core.ignores_success());
    call(&mut core, Verdict::Failure, at(0));
    for _ in 0..4 {
        assert!(!core.ignores_success(), "the failure is still in the window");
        call(&mut core, Verdict::Success, at(0));
    }
    assert!(core.ignores_success());
    core.reload(Breaker::rate(0.5).window_calls(4).slow_calls(secs(1), 0.5));
    assert!(!core.ignores_success(), "it may be slow");

    let mut core = Core::new(Breaker::rate(0.5).window(secs(60)));
    call(&mut core, Verdict::Success, at(0));
    assert!(!core.ignores_success(), "time pushes others out");
    core.set_mode(BreakerMode::ForcedClosed);
    assert!(core.ignores_success());
    core.set_mode(BreakerMode::ForcedOpen);
    assert!(!core.ignores_success());
}

#[test]
fn it_admits_all_while_closed_and_not_forced_or_by_force() {
    let mut core = Core::new(Breaker::consecutive(1));
    let admits = |core: &mut Core| {
        [BreakerMode::Auto, BreakerMode::Shadow, BreakerMode::ForcedClosed, BreakerMode::ForcedOpen].map(|mode| {
            core.set_mode(mode);
            assert_eq!(core.mode(), mode);
            core.admits_all()
        })
    };
    assert_eq!(admits(&mut core), [true, true, true, false]);
    core.force(BreakerState::Open, at(0));
    assert_eq!(admits(&mut core), [false, false, true, false]);
    core.force(BreakerState::HalfOpen, at(0));
    assert_eq!(admits(&mut core), [false, false, true, false]);
    core.reload(Breaker::consecutive(7));
    assert_eq!(core.settings(), &Breaker::consecutive(7));
}

/// The naive breaker: remembers every result with its time, and looks at all of them each time.
struct Model {
    settings: Breaker,
    state: BreakerState,
    history: Vec<(bool, u64)>,
    opened_at: u64,
    successes: u32,
}

impl Model {
    fn step(&mut self, verdict: Verdict, now: u64, width: u64) -> bool {
        if self.state == BreakerState::Open && now >= self.opened_at + 60 {
            (self.state, self.successes) = (BreakerState::HalfOpen, 0);
        }
        match (self.state, verdict) {
            (BreakerState::Open, _) => return false,
            (_, Verdict::Nothing) => {}
            (BreakerState::HalfOpen, Verdict::Success) => {
                self.successes += 1;
                if self.successes == self.settings.successes {
                    self.state = BreakerState::Closed;
                    self.history.clear();
                }
            }
            (BreakerState::HalfOpen, Verdict::Failure) => (self.state, self.opened_at) = (BreakerState::Open, now),
            (BreakerState::Closed, verdict) => {
                self.history.push((verdict == Verdict::Failure, now / width));
                let in_window: Vec<bool> = match self.settings.window {
                    crate::breaker::Window::Calls(n) => {
                        self.history.iter().rev().take(n as usize).map(|h| h.0).collect()
                    }
                    crate::breaker::Window::Time(_) => {
                        self.history.iter().filter(|h| h.1 + 60 > now / width).map(|h| h.0).collect()
                    }
                };
                let failed = in_window.iter().filter(|f| **f).count();
                let row = self.history.iter().rev().take_while(|h| h.0).count() as u32;
                let by_rate = self.settings.rate.is_some_and(|rate| {
                    in_window.len() >= self.settings.min_calls as usize
                        && failed > 0
                        && failed as f64 >= rate * in_window.len() as f64
                });
                if by_rate || self.settings.consecutive.is_some_and(|n| row >= n) {
                    (self.state, self.opened_at) = (BreakerState::Open, now);
                }
            }
        }
        true
    }
}

fn any_settings() -> impl Strategy<Value = Breaker> {
    let window =
        prop_oneof![(5u32..30).prop_map(crate::breaker::Window::Calls), Just(crate::breaker::Window::Time(secs(120)))];
    (window, prop::option::of(1u32..6), prop::option::of(1u32..10), 1u32..6, 1u32..4).prop_map(
        |(window, row, rate, min_calls, successes)| Breaker {
            window,
            consecutive: row,
            rate: rate.map(|tenths| f64::from(tenths) / 10.0),
            ..Breaker::rate(0.5).min_calls(min_calls).successes(successes)
        },
    )
}

proptest! {
    #[test]
    fn it_agrees_with_the_naive_breaker(
        settings in any_settings(),
        calls in prop::collection::vec((0u64..40, prop_oneof![3 => Just(Verdict::Success), 4 => Just(Verdict::Failure), 1 => Just(Verdict::Nothing)]), 1..250),
    ) {
        let mut core = Core::new(settings.clone());
        let mut model = Model { settings, state: BreakerState::Closed, history: vec![], opened_at: 0, successes: 0 };
        let mut now = 0;
        for (wait, verdict) in calls {
            now += wait;
            let went = match core.admit(at(now)).0 {
                Admission::Go(permit) => {
                    core.settle(permit, verdict, Duration::ZERO, at(now));
                    true
                }
                _ => false,
            };
            prop_assert_eq!(went, model.step(verdict, now, 2));
            prop_assert_eq!(core.state(), model.state);
        }
    }

    /// The shell leaves out what it is told it may: that must never show.
    #[test]
    fn successes_left_out_when_it_says_so_are_not_missed(
        settings in any_settings(), slow in prop::option::of(1u64..3),
        calls in prop::collection::vec((0u64..40, 0u8..8, 0u64..4), 1..250),
    ) {
        let settings = match slow {
            Some(slower_than) => settings.slow_calls(secs(slower_than), 0.6),
            None => settings,
        };
        let (mut whole, mut sparing) = (Core::new(settings.clone()), Core::new(settings));
        let mut now = 0;
        for (wait, kind, took) in calls {
            now += wait;
            let admissions = [&mut whole, &mut sparing].map(|core| core.admit(at(now)).0);
            prop_assert_eq!(admissions[0], admissions[1]);
            if let Admission::Go(permit) = admissions[0] {
                let verdict = if kind < 3 { Verdict::Failure } else { Verdict::Success };
                whole.settle(permit, verdict, secs(took), at(now));
                if !(verdict == Verdict::Success && sparing.ignores_success()) {
                    sparing.settle(permit, verdict, secs(took), at(now));
                }
            }
            prop_assert_eq!(whole.state(), sparing.state());
            prop_assert_eq!(whole.generation(), sparing.generation());
        }
    }

    /// Calls overlap, end late or never: probes stay bounded, and only results of the current generation count.
    #[test]
    fn overlapping_calls_never_break_the_bounds(
        probes in 1u32..4,
        steps in prop::collection::vec((0u64..30, any::<bool>(), 0u8..3, any::<prop::sample::Index>()), 1..300),
    ) {
        let settings = Breaker::consecutive(2).probes(probes).probe_ttl(secs(1_000_000)).successes(2);
        let mut core = Core::new(settings);
        let mut under_way: Vec<Permit> = vec![];
        let mut now = 0;
        for (wait, begin, verdict, which) in steps {
            now += wait;
            if begin || under_way.is_empty() {
                if let Admission::Go(permit) = core.admit(at(now)).0 {
                    under_way.push(permit);
                }
            } else {
                let permit = under_way.swap_remove(which.index(under_way.len()));
                let verdict = [Verdict::Success, Verdict::Failure, Verdict::Nothing][usize::from(verdict)];
                let (before, generation) = (core.state(), core.generation());
                let (counted, moved) = core.settle(permit, verdict, Duration::ZERO, at(now));
                prop_assert_eq!(counted, permit.generation == generation && before != BreakerState::Open);
                prop_assert!(counted || (moved.is_none() && core.state() == before));
            }
            let generation = core.generation();
            let probing = under_way.iter().filter(|p| p.probe.is_some() && p.generation == generation).count();
            prop_assert!(probing <= probes as usize);
        }
    }
}
