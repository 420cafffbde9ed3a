//! Every row of the table of transitions as a fact, and what must hold whatever happens in whatever order.

use proptest::prelude::*;

use super::*;
use crate::{
    Backoff, Ids, JobId, JobSpec, KindName, OnChildFailure, OutputData, QueueName, Status, StatusReason, Tenant,
    testing::ManualClock,
};

mod waits;

const T0: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
const LEASE: Span = Span::from_secs(30);

fn at(secs: u64) -> Timestamp {
    T0 + Span::from_secs(secs)
}

fn spec() -> JobSpec {
    JobSpec {
        id: JobId::fresh(&Ids::seeded(7), T0),
        tenant: Tenant::default_tenant(),
        kind: KindName::new("echo").unwrap(),
        queue: QueueName::default_queue(),
        priority: 0,
        max_attempts: 3,
        backoff: Backoff::default(),
        retention: Span::from_secs(3_600),
        run_at: None,
        deadline_at: None,
        attempt_timeout: None,
        metadata: None,
        retry_of: None,
        created_at: T0,
        parent: None,
        child_index: 0,
        depth: 0,
        on_child_failure: OnChildFailure::default(),
        limit_key: None,
        trace: None,
    }
}

fn submitted(spec: JobSpec) -> Job {
    Job::submitted(Arc::new(spec))
}

fn claim() -> Step {
    Step::Claim { worker: "w".into(), in_process: true, random: 9, lease_for: LEASE }
}

fn claimed(job: &mut Job, now: Timestamp) -> LeaseToken {
    job.step(claim(), now).unwrap();
    job.lease().unwrap().token
}

/// A job that runs since `at(0)`.
fn running(spec: JobSpec) -> (Job, LeaseToken) {
    let mut job = submitted(spec);
    let token = claimed(&mut job, at(0));
    (job, token)
}

fn fail(token: LeaseToken, error: JobError, plan: RetryPlan) -> Step {
    Step::Fail { token, error, plan, random: u64::MAX, ambiguous: false }
}

fn flaky() -> JobError {
    JobError::transient("flaky", "it did not answer")
}

fn succeed(token: LeaseToken) -> Step {
    Step::Succeed { token, report: Box::default() }
}

// ── queued → running ──

#[test]
fn a_claim_begins_the_first_attempt_under_a_lease() {
    let mut job = submitted(spec());
    assert_eq!(job.status_reason(at(0)), Some(StatusReason::Ready));
    let applied = job.step(claim(), at(5)).unwrap();
    assert_eq!(applied.events, [EventKind::Running { worker: "w".into() }]);
    assert_eq!((job.status(), job.attempt, job.started_at), (Status::Running, 1, Some(at(5))));
    assert_eq!(job.lease().unwrap().expires_at, at(35));
    assert_eq!(job.status_reason(at(5)), Some(StatusReason::Executing));
}

#[test]
fn a_job_is_not_claimed_before_its_time() {
    let mut job = submitted(JobSpec { run_at: Some(at(60)), ..spec() });
    assert_eq!(job.status_reason(at(0)), Some(StatusReason::Scheduled));
    assert_eq!(job.step(claim(), at(59)), Err(Refused::NotDue));
    assert!(job.step(claim(), at(60)).is_ok());
}

#[test]
fn a_job_that_waits_for_its_turn_is_due_also_when_the_clock_was_set_back() {
    let mut job = submitted(spec());
    assert!(job.step(claim(), Timestamp::from_micros(1)).is_ok());
}

#[test]
fn neither_a_running_nor_an_ended_job_is_claimed() {
    let (mut job, token) = running(spec());
    assert_eq!(job.step(claim(), at(1)), Err(Refused::NotQueued));
    job.step(succeed(token), at(1)).unwrap();
    assert_eq!(job.step(claim(), at(2)), Err(Refused::Terminal));
}

// ── running → queued ──

#[test]
fn a_retryable_failure_waits_for_its_backoff_and_begins_another_attempt() {
    let (mut job, token) = running(spec());
    let applied = job.step(fail(token, flaky(), RetryPlan::Backoff), at(10)).unwrap();
    let attempt = applied.attempt.unwrap();
    assert_eq!((attempt.number, attempt.ending, attempt.ended_at), (1, Some(Ending::Failed), Some(at(10))));
    assert_eq!(job.status_reason(at(10)), Some(StatusReason::RetryWait));
    let State::Queued { due_at, .. } = job.state else { panic!("{:?}", job.state) };
    assert!(due_at > at(10) && due_at <= at(11), "the first wait is at most a second");
    assert_eq!(job.error.as_ref().map(|error| error.attempt), Some(1));
    assert_eq!(claimed(&mut job, at(11)).count(), 2);
    assert_eq!(job.attempt, 2);
}

#[test]
fn a_failure_that_says_when_waits_until_then() {
    let (mut job, token) = running(spec());
    job.step(fail(token, flaky(), RetryPlan::After(Span::from_secs(90))), at(10)).unwrap();
    assert_eq!(job.step(claim(), at(99)), Err(Refused::NotDue));
    assert!(job.step(claim(), at(100)).is_ok());
}

#[test]
fn an_expired_lease_puts_the_job_back_and_counts_as_a_crash_not_as_a_failure() {
    let (mut job, token) = running(spec());
    assert_eq!(job.step(Step::Expire, at(29)), Err(Refused::NoOccasion));
    let attempt = job.step(Step::Expire, at(30)).unwrap().attempt.unwrap();
    assert_eq!((attempt.ending, attempt.ambiguous), (Some(Ending::Crashed), true));
    assert_eq!((job.crashes, job.status_reason(at(30))), (1, Some(StatusReason::Ready)));
    assert_eq!(job.step(succeed(token), at(31)), Err(Refused::LeaseLost));
    claimed(&mut job, at(31));
    assert_eq!(job.attempt, 2);
}

#[test]
fn crashes_do_not_use_up_attempts() {
    let (mut job, _) = running(JobSpec { max_attempts: 2, ..spec() });
    job.step(Step::Expire, at(30)).unwrap();
    job.step(claim(), at(31)).unwrap();
    job.step(Step::Expire, at(61)).unwrap();
    let token = claimed(&mut job, at(62));
    assert_eq!(job.step(fail(token, flaky(), RetryPlan::Backoff), at(63)).unwrap().ended, None, "the first failure");
    let token = claimed(&mut job, at(500));
    let ended = job.step(fail(token, flaky(), RetryPlan::Backoff), at(501)).unwrap().ended;
    assert_eq!((ended, job.attempt, job.crashes), (Some(Ended::Failed), 4, 2));
    assert_eq!(job.error.unwrap().code, "flaky");
}

#[test]
fn a_release_costs_nothing() {
    let (mut job, token) = running(spec());
    let attempt = job.step(Step::Release { token, ambiguous: false }, at(3)).unwrap().attempt.unwrap();
    assert_eq!((attempt.number, attempt.ending, attempt.error), (1, Some(Ending::Released), None));
    assert_eq!(job.status_reason(at(3)), Some(StatusReason::Ready));
    assert_eq!(claimed(&mut job, at(3)).count(), 2);
    assert_eq!((job.attempt, job.started_at), (1, Some(at(0))));
}

#[test]
fn spending_adds_up_under_the_lease_also_while_the_job_is_being_cancelled() {
    let (mut job, token) = running(spec());
    let spend = |tokens| Step::Spend { token, usage: Usage { input_tokens: tokens, ..Usage::default() } };
    let version = job.version;
    assert!(job.step(spend(0), at(1)).unwrap().repeated);
    assert_eq!(job.version, version);
    job.step(spend(3), at(1)).unwrap();
    assert_eq!((job.report.usage.input_tokens, job.version), (3, version + 1));
    job.step(Step::Cancel, at(2)).unwrap();
    job.step(spend(u64::MAX), at(2)).unwrap();
    job.step(Step::Release { token, ambiguous: false }, at(2)).unwrap();
    assert_eq!((job.status(), job.report.usage.input_tokens), (Status::Cancelled, u64::MAX));
    assert_eq!(job.step(spend(1), at(2)), Err(Refused::LeaseLost));
}

#[test]
fn a_park_waits_until_the_named_time_at_no_cost() {
    let (mut job, token) = running(JobSpec { max_attempts: 1, ..spec() });
    job.step(fail(token, flaky(), RetryPlan::Park(at(500))), at(3)).unwrap();
    assert_eq!(job.status_reason(at(3)), Some(StatusReason::Parked));
    let token = claimed(&mut job, at(500));
    assert_eq!(job.attempt, 1);
    assert_eq!(job.step(fail(token, flaky(), RetryPlan::Backoff), at(501)).unwrap().ended, Some(Ended::Failed));
}

// ── running → running ──

#[test]
fn a_beat_extends_the_lease_and_never_shortens_it() {
    let (mut job, token) = running(spec());
    job.step(Step::Beat { token, lease_for: LEASE, progress: None }, at(20)).unwrap();
    assert_eq!(job.lease().unwrap().expires_at, at(50));
    job.step(Step::Beat { token, lease_for: Span::from_secs(5), progress: None }, at(21)).unwrap();
    assert_eq!(job.lease().unwrap().expires_at, at(50));
}

#[test]
fn progress_is_told_once() {
    let (mut job, token) = running(spec());
    let progress = Some(Progress { fraction: Some(0.5), message: None });
    let beat = Step::Beat { token, lease_for: LEASE, progress };
    assert_eq!(job.step(beat.clone(), at(1)).unwrap().events.len(), 1);
    assert_eq!(job.step(beat, at(2)).unwrap().events.len(), 0);
}

#[test]
fn a_worker_moves_between_checking_and_working_but_cannot_declare_a_cancel() {
    let (mut job, token) = running(spec());
    job.step(Step::Enter { token, stage: Stage::Validating }, at(1)).unwrap();
    assert_eq!(job.status_reason(at(1)), Some(StatusReason::Validating));
    assert!(job.step(Step::Enter { token, stage: Stage::Validating }, at(1)).unwrap().repeated);
    assert_eq!(job.step(Step::Enter { token, stage: Stage::Cancelling }, at(1)), Err(Refused::NoOccasion));
    job.step(Step::Cancel, at(2)).unwrap();
    job.step(Step::Enter { token, stage: Stage::Executing }, at(3)).unwrap();
    assert_eq!(job.status_reason(at(3)), Some(StatusReason::Cancelling));
}

#[test]
fn a_worker_cannot_write_the_jobs_life_into_its_history() {
    let (mut job, token) = running(spec());
    let before = job.clone();
    for event in [EventKind::Succeeded, EventKind::Cancelled, EventKind::Failed { error: flaky() }] {
        assert_eq!(job.step(Step::Tell { token, event }, at(1)), Err(Refused::NoOccasion));
    }
    assert_eq!(job, before);
}

// ── running → succeeded / failed ──

#[test]
fn a_success_ends_the_job_and_may_be_repeated_under_its_lease_only() {
    let (mut job, token) = running(spec());
    let applied = job.step(succeed(token), at(4)).unwrap();
    assert_eq!((applied.ended, applied.events), (Some(Ended::Succeeded), vec![EventKind::Succeeded]));
    assert_eq!((job.finished_at, job.expires_at()), (Some(at(4)), Some(at(3_604))));
    assert_eq!(job.last_attempt.as_ref().unwrap().ending, Some(Ending::Succeeded));
    let before = job.clone();
    assert!(job.step(succeed(token), at(5)).unwrap().repeated);
    assert_eq!(job.step(succeed(LeaseToken::new(1, 8)), at(5)), Err(Refused::LeaseLost));
    assert_eq!(job, before);
}

#[test]
fn a_success_takes_the_error_of_an_earlier_attempt_away() {
    let (mut job, token) = running(spec());
    job.step(fail(token, flaky(), RetryPlan::After(Span::ZERO)), at(1)).unwrap();
    let token = claimed(&mut job, at(1));
    job.step(succeed(token), at(2)).unwrap();
    assert_eq!(job.error, None);
}

#[test]
fn what_is_not_retryable_fails_at_once() {
    let (mut job, token) = running(spec());
    let step = Step::Fail {
        token,
        error: JobError::permanent("bad_input", "no"),
        plan: RetryPlan::Backoff,
        random: 0,
        ambiguous: true,
    };
    assert_eq!(job.step(step, at(1)).unwrap().ended, Some(Ended::Failed));
    assert_eq!((job.status(), job.error.as_ref().unwrap().attempt), (Status::Failed, 1));
    assert!(job.last_attempt.unwrap().ambiguous);
}

#[test]
fn the_last_attempt_that_fails_fails_the_job() {
    let mut job = submitted(spec());
    for attempt in 1..=3 {
        let token = claimed(&mut job, at(attempt * 1_000));
        let ended = job.step(fail(token, flaky(), RetryPlan::Backoff), at(attempt * 1_000)).unwrap().ended;
        assert_eq!(ended.is_some(), attempt == 3);
    }
    assert_eq!((job.status(), job.attempt), (Status::Failed, 3));
}

#[test]
fn a_third_crash_fails_the_job_as_a_crash_loop() {
    let mut job = submitted(spec());
    for crash in 1..=3 {
        job.step(claim(), at(crash * 100)).unwrap();
        let ended = job.step(Step::Expire, at(crash * 100 + 30)).unwrap().ended;
        assert_eq!(ended, (crash == 3).then_some(Ended::Failed));
    }
    assert_eq!(job.error.as_ref().unwrap().code, "worker_crash_loop");
    assert_eq!((job.crashes, job.last_attempt.unwrap().ambiguous), (CRASH_LIMIT, true));
}

#[test]
fn a_passed_deadline_fails_a_running_job() {
    let (mut job, token) = running(JobSpec { deadline_at: Some(at(10)), ..spec() });
    assert_eq!(job.step(Step::DeadlinePassed, at(9)), Err(Refused::NoOccasion));
    assert_eq!(job.step(Step::DeadlinePassed, at(10)).unwrap().ended, Some(Ended::Failed));
    assert_eq!(job.error.as_ref().unwrap().code, "deadline_exceeded");
    assert_eq!(job.last_attempt.as_ref().unwrap().ending, Some(Ending::DeadlineExceeded));
    assert_eq!(job.step(succeed(token), at(10)), Err(Refused::LeaseLost));
}

#[test]
fn a_park_or_a_wait_beyond_the_deadline_fails_at_once_with_the_last_real_error() {
    for plan in [RetryPlan::Park(at(10)), RetryPlan::After(Span::from_secs(8)), RetryPlan::Park(at(99))] {
        let (mut job, token) = running(JobSpec { deadline_at: Some(at(10)), ..spec() });
        assert_eq!(job.step(fail(token, flaky(), plan), at(2)).unwrap().ended, Some(Ended::Failed));
        assert_eq!((job.error.unwrap().code.as_str(), job.finished_at), ("flaky", Some(at(2))));
    }
}

// ── queued → failed ──

#[test]
fn a_passed_deadline_fails_a_queued_job_and_names_its_last_error() {
    let (mut job, token) = running(JobSpec { deadline_at: Some(at(100)), ..spec() });
    job.step(fail(token, flaky(), RetryPlan::Park(at(50))), at(1)).unwrap();
    assert_eq!(job.step(Step::DeadlinePassed, at(100)).unwrap().ended, Some(Ended::Failed));
    let error = job.error.unwrap();
    assert_eq!(error.code, "deadline_exceeded");
    assert!(error.message.contains("flaky"), "{}", error.message);
    assert_eq!(job.last_attempt, None);
}

// ── → cancelled ──

#[test]
fn an_attempt_that_was_given_back_in_the_middle_of_a_call_says_so_however_the_job_goes_on() {
    let (mut job, token) = running(spec());
    let attempt = job.step(Step::Release { token, ambiguous: true }, at(3)).unwrap().attempt.unwrap();
    assert_eq!((attempt.ending, attempt.ambiguous), (Some(Ending::Released), true));

    let (mut job, token) = running(spec());
    job.step(Step::Cancel, at(1)).unwrap();
    job.step(Step::Release { token, ambiguous: true }, at(3)).unwrap();
    let last = job.last_attempt.unwrap();
    assert_eq!((last.ending, last.ambiguous), (Some(Ending::Cancelled), true));
}

#[test]
fn an_attempt_that_somebody_else_ended_is_ambiguous_because_nobody_asked_what_it_was_at() {
    for (step, when) in [(Step::DeadlinePassed, at(20)), (Step::CancelOverdue, at(32))] {
        let (mut job, _) = running(JobSpec { deadline_at: Some(at(20)), ..spec() });
        if matches!(step, Step::CancelOverdue) {
            job.step(Step::Cancel, at(1)).unwrap();
        }
        job.step(step, when).unwrap();
        assert!(job.last_attempt.unwrap().ambiguous);
    }
}

#[test]
fn a_queued_job_is_cancelled_at_once() {
    let mut job = submitted(JobSpec { run_at: Some(at(60)), ..spec() });
    let applied = job.step(Step::Cancel, at(1)).unwrap();
    assert_eq!((applied.ended, applied.events), (Some(Ended::Cancelled), vec![EventKind::Cancelled]));
    assert_eq!((job.status(), job.cancel_requested_at), (Status::Cancelled, Some(at(1))));
}

#[test]
fn a_running_job_is_cancelled_by_whatever_ends_its_lease() {
    let ways: [fn(LeaseToken) -> Step; 5] = [
        |token| Step::Release { token, ambiguous: false },
        |token| fail(token, flaky(), RetryPlan::Backoff),
        |_| Step::Expire,
        |_| Step::CancelOverdue,
        |_| Step::DeadlinePassed,
    ];
    for way in ways {
        let (mut job, token) = running(JobSpec { deadline_at: Some(at(20)), ..spec() });
        assert_eq!(job.step(Step::Cancel, at(1)).unwrap().ended, None);
        assert!(job.step(Step::Cancel, at(2)).unwrap().repeated);
        assert_eq!(job.step(succeed(token), at(3)), Err(Refused::Cancelling));
        assert_eq!(job.step(Step::CancelOverdue, at(30)), Err(Refused::NoOccasion));
        assert_eq!(job.step(way(token), at(31)).unwrap().ended, Some(Ended::Cancelled));
        assert_eq!((job.status(), &job.error), (Status::Cancelled, &None));
        assert_eq!(job.last_attempt.unwrap().ending, Some(Ending::Cancelled));
    }
}

#[test]
fn an_ended_job_cannot_be_cancelled() {
    let (mut job, token) = running(spec());
    job.step(succeed(token), at(1)).unwrap();
    assert_eq!(job.step(Step::Cancel, at(2)), Err(Refused::Terminal));
    assert_eq!(job.status(), Status::Succeeded);
}

// ── whatever happens, in whatever order ──

/// Which of the tokens that the job has ever had, or one that it never had.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Current,
    Earlier(usize),
    Invented(u32),
}

#[derive(Debug, Clone)]
enum Act {
    Claim,
    Beat(Whose, u64),
    Enter(Whose, Stage),
    Tell(Whose),
    Succeed(Whose),
    Fail(Whose, bool, u8, u64),
    Release(Whose),
    Expire,
    Cancel,
    CancelOverdue,
    DeadlinePassed,
    Stream(Whose),
    StepDone(Whose),
    Spawn(Whose, u32),
    WaitForChildren(Whose),
    Ask(Whose, bool),
    ChildEnded(Ended),
    Answer,
}

fn whose() -> impl Strategy<Value = Whose> {
    prop_oneof![
        6 => Just(Whose::Current),
        1 => (0usize..4).prop_map(Whose::Earlier),
        1 => any::<u32>().prop_map(Whose::Invented),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let stage = prop_oneof![Just(Stage::Validating), Just(Stage::Executing), Just(Stage::Cancelling)];
    prop_oneof![
        8 => Just(Act::Claim),
        2 => (whose(), 1u64..60).prop_map(|(whose, secs)| Act::Beat(whose, secs)),
        1 => (whose(), stage).prop_map(|(whose, stage)| Act::Enter(whose, stage)),
        1 => whose().prop_map(Act::Tell),
        1 => whose().prop_map(Act::Succeed),
        4 => (whose(), any::<bool>(), 0u8..3, any::<u64>()).prop_map(|(w, r, plan, n)| Act::Fail(w, r, plan, n)),
        3 => whose().prop_map(Act::Release),
        3 => Just(Act::Expire),
        1 => Just(Act::Cancel),
        1 => Just(Act::CancelOverdue),
        1 => Just(Act::DeadlinePassed),
        2 => whose().prop_map(Act::Stream),
        1 => whose().prop_map(Act::StepDone),
        2 => (whose(), 1u32..4).prop_map(|(whose, children)| Act::Spawn(whose, children)),
        2 => whose().prop_map(Act::WaitForChildren),
        2 => (whose(), any::<bool>()).prop_map(|(whose, is_there)| Act::Ask(whose, is_there)),
        4 => prop_oneof![4 => Just(Ended::Succeeded), 1 => Just(Ended::Failed), 1 => Just(Ended::Cancelled)]
            .prop_map(Act::ChildEnded),
        2 => Just(Act::Answer),
    ]
}

fn step_of(act: &Act, tokens: &[LeaseToken], now: Timestamp) -> (Step, Option<LeaseToken>) {
    let token = |whose: &Whose| match whose {
        Whose::Current => tokens.last().copied().unwrap_or(LeaseToken::new(1, 1)),
        Whose::Earlier(back) => tokens.iter().rev().nth(back + 1).copied().unwrap_or(LeaseToken::new(1, 1)),
        Whose::Invented(random) => LeaseToken::new(random % 4, u64::from(*random) | 1 << 31),
    };
    match act {
        Act::Claim => {
            let random = tokens.len() as u64 * 77;
            (Step::Claim { worker: "w".into(), in_process: false, random, lease_for: LEASE }, None)
        }
        Act::Beat(whose, secs) => {
            let token = token(whose);
            (Step::Beat { token, lease_for: Span::from_secs(*secs), progress: None }, Some(token))
        }
        Act::Enter(whose, stage) => (Step::Enter { token: token(whose), stage: *stage }, Some(token(whose))),
        Act::Tell(whose) => {
            let event = EventKind::Log { level: LogLevel::Info, message: "here".into() };
            (Step::Tell { token: token(whose), event }, Some(token(whose)))
        }
        Act::Succeed(whose) => (succeed(token(whose)), Some(token(whose))),
        Act::Fail(whose, retryable, plan, random) => {
            let plan = match plan {
                0 => RetryPlan::Backoff,
                1 => RetryPlan::After(Span::from_secs(random % 40)),
                _ => RetryPlan::Park(now + Span::from_secs(random % 40)),
            };
            let error = JobError { retryable: *retryable, ..flaky() };
            let token = token(whose);
            (Step::Fail { token, error, plan, random: *random, ambiguous: false }, Some(token))
        }
        Act::Release(whose) => (Step::Release { token: token(whose), ambiguous: false }, Some(token(whose))),
        Act::Expire => (Step::Expire, None),
        Act::Cancel => (Step::Cancel, None),
        Act::CancelOverdue => (Step::CancelOverdue, None),
        Act::DeadlinePassed => (Step::DeadlinePassed, None),
        Act::Stream(whose) => {
            let event = EventKind::OutputDelta { data: OutputData::Text("so".into()) };
            (Step::Tell { token: token(whose), event }, Some(token(whose)))
        }
        Act::StepDone(whose) => {
            let event = EventKind::Step { name: "s".into() };
            (Step::Tell { token: token(whose), event }, Some(token(whose)))
        }
        Act::Spawn(whose, children) => {
            let name = StepName::new("spawn").unwrap();
            (Step::Spawn { token: token(whose), name, children: *children }, Some(token(whose)))
        }
        Act::WaitForChildren(whose) => {
            (Step::Wait { token: token(whose), wait: Wait::Children, is_there: false }, Some(token(whose)))
        }
        Act::Ask(whose, is_there) => {
            let wait = Wait::Input { step: StepName::new("ask").unwrap(), prompt: None };
            (Step::Wait { token: token(whose), wait, is_there: *is_there }, Some(token(whose)))
        }
        Act::ChildEnded(ended) => (waits::end_of_child(*ended), None),
        Act::Answer => (Step::Answer { to: None }, None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_breaks_a_jobs_life(
        acts in prop::collection::vec((act(), 0u64..25), 1..60),
        deadline in prop::option::of(1u64..600),
        max_attempts in 1u32..5,
        (children, fails) in (0u32..4, any::<bool>()),
    ) {
        let clock = ManualClock::at(T0);
        let on_child_failure = if fails { OnChildFailure::Fail } else { OnChildFailure::Partial };
        let spec = JobSpec { deadline_at: deadline.map(at), max_attempts, on_child_failure, ..spec() };
        let mut job = Job::submitted_with(Arc::new(spec), children);
        let mut tokens: Vec<LeaseToken> = Vec::new();
        let mut history = vec![job.first_event().kind];
        let (mut failed, mut same_attempt) = (0u32, false);
        for (act, wait) in acts {
            clock.advance(Span::from_secs(wait));
            let now = crate::Clock::now(&clock);
            let before = job.clone();
            if matches!(act, Act::ChildEnded(_)) && job.children.pending() == 0 {
                continue;
            }
            let (step, token) = step_of(&act, &tokens, now);
            let outcome = job.step(step, now);
            let Ok(applied) = outcome else {
                prop_assert_eq!(&job, &before, "a refused step changes nothing: {:?}", act);
                continue;
            };
            prop_assert_eq!(job.version, before.version + u64::from(!applied.repeated));
            if applied.repeated {
                prop_assert_eq!(&job, &before);
                continue;
            }
            if matches!(act, Act::ChildEnded(_)) {
                prop_assert_eq!(job.children.pending(), before.children.pending() - 1, "every child is counted, once");
            }
            if before.status().is_terminal() {
                prop_assert!(matches!(act, Act::ChildEnded(_)), "terminal is final: {:?} after {:?}", act, before.state);
                prop_assert!(applied.events.is_empty() && job.state == before.state);
                continue;
            }
            if let Some(token) = token {
                prop_assert_eq!(before.lease().map(|lease| lease.token), Some(token), "only who holds it writes");
            }
            if matches!(act, Act::Claim) {
                let token = job.lease().unwrap().token;
                prop_assert!(tokens.iter().all(|earlier| *earlier < token), "tokens grow");
                tokens.push(token);
                let expected = if same_attempt { before.attempt } else { before.attempt + 1 };
                prop_assert_eq!(job.attempt, expected);
            } else {
                prop_assert_eq!(job.attempt, before.attempt, "only a claim counts attempts");
            }
            if let Some(attempt) = &applied.attempt {
                prop_assert_eq!(attempt.lease, tokens.last().unwrap().count());
                same_attempt = matches!(attempt.ending, Some(Ending::Released | Ending::Parked | Ending::Waiting));
                failed += u32::from(attempt.ending == Some(Ending::Failed));
            }
            prop_assert!(failed < max_attempts, "what has failed so often does not go on");
            prop_assert!(job.crashes <= CRASH_LIMIT);
            prop_assert_eq!(job.crashes == CRASH_LIMIT,
                job.error.as_ref().is_some_and(|error| error.code == "worker_crash_loop"));
            if job.status().is_terminal() {
                prop_assert_eq!(applied.ended.is_some(), true);
                prop_assert_eq!(job.finished_at, Some(now));
                if job.cancel_requested_at.is_some() {
                    prop_assert_eq!(job.status(), Status::Cancelled);
                }
            } else {
                prop_assert!(applied.ended.is_none() && job.finished_at.is_none());
            }
            if let State::Queued { due_at, .. } = job.state
                && job.state != before.state
            {
                prop_assert!(job.cancel_requested_at.is_none(), "a cancelled job does not wait again");
                prop_assert!(due_at >= now && job.spec.deadline_at.is_none_or(|end| due_at < end || due_at == now));
            }
            prop_assert_eq!(
                matches!(job.state, State::Running { stage: Stage::Cancelling, .. }),
                job.cancel_requested_at.is_some() && job.lease().is_some()
            );
            waits::check(&before, &job, &applied)?;
            history.extend(applied.events);
            prop_assert_eq!(job.last_seq, history.len() as u64, "every event has been counted");
            if matches!(act, Act::Claim | Act::Answer) {
                waits::check_stream(&job, &history)?;
            }
        }
        waits::check_stream(&job, &history)?;
        let terminals = history.iter().filter(|event| event.is_terminal()).count();
        prop_assert_eq!(terminals, usize::from(job.status().is_terminal()));
        prop_assert!(history.iter().rev().skip(1).all(|event| !event.is_terminal()), "nothing follows the end");
    }
}
