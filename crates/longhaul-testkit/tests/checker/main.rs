//! Who checks the checker: a model server that is right until told to be wrong in one of a dozen ways.
//!
//! Over many seeds the right model must never be accused, and each wrong one must be caught in nearly every run in
//! which its bug could be seen at all. A failing run prints its seed; the same seed replays it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]

mod model;
mod workload;

use longhaul_testkit::history::{Demands, Rule, check};
use model::Bug;
use proptest::prelude::*;
use std::collections::BTreeMap;
use workload::run;

/// Runs per bug, each of a few hundred operations.
const SEEDS: u64 = 60;
/// Part of the runs with a visible bug in which it must be caught. What is missing to 100 are answers that got lost: a
/// cancellation that nobody knows to be accepted cannot be seen to be broken.
const CAUGHT_PERCENT: u64 = 80;

#[test]
fn a_right_server_is_never_accused() {
    for seed in 0..SEEDS * 6 {
        let outcome = run(seed, None);
        let verdict = check(&outcome.history, Demands::COMPLETE);
        assert!(verdict.is_clean(), "seed {seed}: {verdict}");
        assert!(verdict.acknowledged > 10, "seed {seed} proves little: {verdict}");
        assert!(verdict.ended > 10, "seed {seed} proves little: {verdict}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_history_cut_off_anywhere_accuses_nobody(seed in any::<u64>(), part in 0.0..1.0f64) {
        let history = run(seed, None).history;
        let cut = (history.len() as f64 * part) as usize;
        let verdict = check(&history[..cut], Demands::PARTIAL);
        prop_assert!(verdict.is_clean(), "seed {}, cut at {}: {}", seed, cut, verdict);
    }
}

/// Every bug, and the rules of which at least one must speak.
fn accusations(bug: Bug) -> &'static [Rule] {
    match bug {
        Bug::AckBeforeCommit | Bug::LosesJobs => &[Rule::LostJob],
        Bug::NoFence => &[Rule::StaleWriteAccepted],
        Bug::ReusesSeq => &[Rule::EventChanged],
        Bug::SkipsEvent => &[Rule::EventGap],
        Bug::DoubleTerminal => &[Rule::SecondTerminal],
        Bug::Resurrects => &[Rule::Resurrected, Rule::EventsShrank, Rule::EventChanged],
        Bug::StuckAfterCrash => &[Rule::Unfinished],
        Bug::IgnoresCancel => &[Rule::CancelIgnored],
        Bug::ForgetsKeys => &[Rule::KeyManyJobs, Rule::DuplicateJob],
        Bug::MixesTenants => &[Rule::TenantLeak],
        Bug::MixesOutputs => &[Rule::WrongOutput],
        Bug::ReusesLease => &[Rule::LeaseReused],
        Bug::KeepsRefused => &[Rule::GhostJob],
        Bug::SkipsAttempt => &[Rule::AttemptOrder],
        Bug::RunsWithoutQueueing => &[Rule::IllegalTransition],
    }
}

#[test]
fn every_seeded_bug_is_caught() {
    let mut table = BTreeMap::new();
    for &bug in Bug::ALL {
        let (mut visible, mut caught, mut escaped) = (0, 0, Vec::new());
        for seed in 0..SEEDS {
            let outcome = run(seed, Some(bug));
            let verdict = check(&outcome.history, Demands::COMPLETE);
            let named = verdict.violations.iter().any(|v| accusations(bug).contains(&v.rule));
            if outcome.visible > 0 {
                visible += 1;
                caught += u64::from(named);
                if !named {
                    escaped.push(seed);
                }
            }
            if outcome.acted == 0 {
                assert!(verdict.is_clean(), "{bug:?} did not act under seed {seed}, yet: {verdict}");
            }
        }
        table.insert(format!("{bug:?}"), (visible, caught, escaped));
    }
    for (bug, (visible, caught, escaped)) in &table {
        println!("{bug}: acted in {visible} of {SEEDS} runs, caught in {caught}, escaped with seeds {escaped:?}");
        assert!(*visible >= SEEDS / 4, "{bug} hardly ever acts");
        assert!(caught * 100 >= visible * CAUGHT_PERCENT, "{bug} escapes with seeds {escaped:?}");
    }
}

#[test]
fn a_violation_reads_like_a_sentence() {
    let outcome = run(1, Some(Bug::LosesJobs));
    let verdict = check(&outcome.history, Demands::COMPLETE);
    let first = verdict.violations.first().expect("the bug acts under this seed").to_string();
    assert!(first.starts_with("LostJob job_"), "{first}");
    assert!(first.contains("acknowledged, later"), "{first}");
    assert!(first.contains("history line"), "{first}");
}
