//! Waiting for children and for answers, and what becomes of a stream when work is done again.

use proptest::prelude::*;

use super::*;

pub(super) fn end_of_child(ended: Ended) -> Step {
    let error = (ended == Ended::Failed).then(|| JobError::permanent("no_paper", "the tray is empty"));
    Step::ChildEnded(Box::new(ChildEnd { job: JobId::fresh(&Ids::seeded(3), T0), index: 1, ended, error }))
}

fn name(text: &str) -> StepName {
    StepName::new(text).unwrap()
}

fn ask(token: LeaseToken) -> Step {
    let wait = Wait::Input { step: name("approval"), prompt: Some("May I?".into()) };
    Step::Wait { token, wait, is_there: false }
}

fn wait_for_children(token: LeaseToken) -> Step {
    Step::Wait { token, wait: Wait::Children, is_there: false }
}

fn stream(token: LeaseToken) -> Step {
    Step::Tell { token, event: EventKind::OutputDelta { data: OutputData::Text("so it goes".into()) } }
}

fn step_done(token: LeaseToken) -> Step {
    Step::Tell { token, event: EventKind::Step { name: "s".into() } }
}

fn parent(on_child_failure: OnChildFailure) -> Job {
    Job::submitted_with(Arc::new(JobSpec { on_child_failure, ..spec() }), 3)
}

/// What holds after every step, however the job came there.
pub(super) fn check(before: &Job, job: &Job, applied: &Applied) -> Result<(), TestCaseError> {
    if let State::Waiting { wait, .. } = &job.state {
        prop_assert!(job.cancel_requested_at.is_none(), "a cancelled job does not wait");
        match wait {
            Wait::Children => prop_assert!(job.children.pending() > 0, "nobody waits for what is there"),
            Wait::Input { .. } => prop_assert_eq!(job.answers, 0, "nobody waits for what is there"),
        }
        if *wait == Wait::Children && job.spec.on_child_failure == OnChildFailure::Fail {
            prop_assert_eq!(job.children.unhappy(), 0);
        }
    }
    prop_assert!(job.answers <= ANSWERS_MOST);
    if applied.answered.is_some() {
        let goes_on = matches!(job.state, State::Queued { why: QueuedFor::Resume, same_attempt: true, .. });
        prop_assert!(goes_on, "whoever is answered goes on");
        let taken = before.answers - job.answers;
        prop_assert_eq!(taken, u32::from(before.wait().is_none()), "a kept answer, or the one that has just come");
    }
    Ok(())
}

/// The job's own numbers against its history.
pub(super) fn check_stream(job: &Job, history: &[EventKind]) -> Result<(), TestCaseError> {
    let (mut last_step, mut last_delta, mut last_reset, mut valid) = (0, 0, 0, Vec::new());
    for (event, seq) in history.iter().zip(1u64..) {
        match event {
            // A call of children keeps nothing: they have not given anything yet.
            EventKind::Step { name } if name != "spawn" => last_step = seq,
            EventKind::OutputDelta { .. } => {
                last_delta = seq;
                valid.push(seq);
            }
            EventKind::OutputReset { keep_through } => {
                prop_assert_eq!(*keep_through, last_step, "what finished steps have streamed stands");
                prop_assert!(valid.last() > Some(keep_through), "there is something that it makes void");
                valid.retain(|seq| seq <= keep_through);
                last_reset = seq;
            }
            _ => {}
        }
    }
    prop_assert_eq!((job.last_step_seq, job.last_delta_seq, job.last_reset_seq), (last_step, last_delta, last_reset));
    if matches!(history.last(), Some(EventKind::Running { .. } | EventKind::OutputReset { .. })) {
        prop_assert!(valid.last().is_none_or(|seq| *seq <= last_step), "an attempt begins behind its last step");
    }
    Ok(())
}

#[test]
fn a_job_with_children_waits_for_them_and_then_begins_its_first_attempt() {
    let mut job = parent(OnChildFailure::Fail);
    assert_eq!((job.status(), job.status_reason(at(0))), (Status::Running, Some(StatusReason::WaitingChildren)));
    assert_eq!(job.first_event().kind, EventKind::Waiting { wait: Wait::Children });
    assert_eq!(job.step(claim(), at(0)), Err(Refused::NotQueued));
    for _ in 0..2 {
        assert_eq!(job.step(end_of_child(Ended::Succeeded), at(1)).unwrap().events, []);
    }
    let events = job.step(end_of_child(Ended::Succeeded), at(2)).unwrap().events;
    assert_eq!(events, [EventKind::Queued { why: QueuedFor::Resume, due_at: None, error: None }]);
    assert_eq!((job.status_reason(at(2)), job.children.succeeded), (Some(StatusReason::Ready), 3));
    claimed(&mut job, at(2));
    assert_eq!((job.attempt, job.started_at), (1, Some(at(2))));
}

#[test]
fn a_job_with_children_that_is_for_later_still_waits_for_its_time() {
    let spec = JobSpec { run_at: Some(at(60)), ..spec() };
    let mut job = Job::submitted_with(Arc::new(spec), 1);
    job.step(end_of_child(Ended::Succeeded), at(2)).unwrap();
    assert_eq!(job.status_reason(at(2)), Some(StatusReason::Scheduled));
    assert_eq!(job.step(claim(), at(59)), Err(Refused::NotDue));
    claimed(&mut job, at(60));
    assert_eq!(job.attempt, 1);
}

#[test]
fn a_child_that_fails_fails_a_parent_that_asked_for_that_and_is_named() {
    for (ended, said) in [(Ended::Failed, "failed: no_paper: the tray is empty"), (Ended::Cancelled, "was cancelled")] {
        let mut job = parent(OnChildFailure::Fail);
        let applied = job.step(end_of_child(ended), at(1)).unwrap();
        assert_eq!(applied.ended, Some(Ended::Failed));
        let error = job.error.clone().unwrap();
        assert_eq!(error.code, "child_failed");
        assert!(error.message.contains("child 1 (job_") && error.message.ends_with(said), "{}", error.message);
        assert!(job.abandons_children());
        job.step(end_of_child(Ended::Cancelled), at(2)).unwrap();
        job.step(end_of_child(Ended::Cancelled), at(2)).unwrap();
        assert!(!job.abandons_children());
        assert_eq!((job.children.pending(), job.status()), (0, Status::Failed));
    }
}

#[test]
fn a_parent_that_takes_parts_goes_on_when_all_children_have_ended() {
    let mut job = parent(OnChildFailure::Partial);
    for ended in [Ended::Failed, Ended::Cancelled] {
        assert_eq!(job.step(end_of_child(ended), at(1)).unwrap().ended, None);
    }
    job.step(end_of_child(Ended::Succeeded), at(1)).unwrap();
    assert_eq!(job.status(), Status::Queued);
    assert_eq!(job.children, crate::ChildCounts { total: 3, submitted: 3, succeeded: 1, failed: 1, cancelled: 1 });
}

#[test]
fn an_attempt_that_waits_gives_its_lease_up_at_no_cost() {
    let (mut job, token) = running(JobSpec { max_attempts: 1, ..spec() });
    job.step(Step::Spawn { token, name: name("parts"), children: 2 }, at(1)).unwrap();
    let applied = job.step(wait_for_children(token), at(2)).unwrap();
    assert_eq!(applied.attempt.unwrap().ending, Some(Ending::Waiting));
    assert_eq!(applied.events, [EventKind::Waiting { wait: Wait::Children }]);
    assert_eq!((job.lease(), job.status()), (None, Status::Running));
    assert_eq!(job.step(succeed(token), at(3)), Err(Refused::LeaseLost));
    assert_eq!(job.step(Step::Expire, at(999)), Err(Refused::NoOccasion));
    for _ in 0..2 {
        job.step(end_of_child(Ended::Failed), at(4)).unwrap();
    }
    let token = claimed(&mut job, at(5));
    assert_eq!((job.attempt, job.crashes), (1, 0));
    assert_eq!(job.step(succeed(token), at(6)).unwrap().ended, Some(Ended::Succeeded));
}

#[test]
fn whoever_waits_for_what_is_there_is_queued_at_once() {
    let (mut job, token) = running(spec());
    assert_eq!(job.step(wait_for_children(token), at(1)).unwrap().answered, None);
    assert_eq!(job.status_reason(at(1)), Some(StatusReason::Ready));
    let token = claimed(&mut job, at(1));
    let wait = Wait::Input { step: name("approval"), prompt: None };
    let applied = job.step(Step::Wait { token, wait, is_there: true }, at(2)).unwrap();
    assert_eq!((applied.answered, job.status()), (None, Status::Queued));
}

#[test]
fn a_parent_that_waits_after_a_child_has_failed_fails_if_it_asked_for_that() {
    let (mut job, token) = running(JobSpec { on_child_failure: OnChildFailure::Fail, ..spec() });
    job.step(Step::Spawn { token, name: name("parts"), children: 2 }, at(1)).unwrap();
    assert_eq!(job.step(end_of_child(Ended::Failed), at(2)).unwrap().ended, None, "it is not asked yet");
    assert_eq!(job.step(wait_for_children(token), at(3)).unwrap().ended, Some(Ended::Failed));
    assert_eq!(job.last_attempt.as_ref().unwrap().ending, Some(Ending::Failed));
    assert!(job.abandons_children());
}

#[test]
fn an_answer_becomes_the_output_of_the_step_that_waits_for_it() {
    let (mut job, token) = running(spec());
    job.step(ask(token), at(1)).unwrap();
    assert_eq!(job.status_reason(at(1)), Some(StatusReason::WaitingInput));
    let applied = job.step(Step::Answer { to: None }, at(2)).unwrap();
    assert_eq!(applied.answered, Some(name("approval")));
    let names: Vec<_> = applied.events.iter().map(EventKind::name).collect();
    assert_eq!((names, job.answers), (vec!["job.step", "job.queued"], 0));
}

#[test]
fn an_answer_to_a_question_that_is_not_asked_is_refused() {
    let (mut job, token) = running(spec());
    let named = |step: &str| Step::Answer { to: Some(name(step)) };
    assert_eq!(job.step(named("approval"), at(1)), Err(Refused::NotAsked), "not asked yet");
    job.step(ask(token), at(1)).unwrap();
    assert_eq!(job.step(named("another"), at(2)), Err(Refused::NotAsked));
    assert_eq!(job.step(named("approval"), at(2)).unwrap().answered, Some(name("approval")));
    assert_eq!(job.step(named("approval"), at(3)), Err(Refused::NotAsked), "said twice");
    assert_eq!(job.answers, 0, "none is kept");
}

#[test]
fn an_answer_that_comes_early_is_kept() {
    let (mut job, token) = running(spec());
    for kept in 1..=ANSWERS_MOST {
        assert_eq!(job.step(Step::Answer { to: None }, at(1)).unwrap().answered, None);
        assert_eq!(job.answers, kept);
    }
    assert_eq!(job.step(Step::Answer { to: None }, at(1)), Err(Refused::AnswersFull));
    let applied = job.step(ask(token), at(2)).unwrap();
    assert_eq!((applied.answered, job.answers), (Some(name("approval")), ANSWERS_MOST - 1));
    assert_eq!(applied.attempt.unwrap().ending, Some(Ending::Waiting));
    assert_eq!(job.status_reason(at(2)), Some(StatusReason::Ready));
}

#[test]
fn nobody_answers_a_job_that_has_ended_or_is_to_end() {
    let (mut job, token) = running(spec());
    job.step(Step::Cancel, at(1)).unwrap();
    assert_eq!(job.step(Step::Answer { to: None }, at(1)), Err(Refused::Cancelling));
    assert_eq!(job.step(ask(token), at(2)).unwrap().ended, Some(Ended::Cancelled));
    assert_eq!(job.step(Step::Answer { to: None }, at(3)), Err(Refused::Terminal));
}

#[test]
fn a_waiting_job_is_cancelled_at_once_and_fails_at_its_deadline() {
    let mut job = parent(OnChildFailure::Fail);
    assert_eq!(job.step(Step::Cancel, at(1)).unwrap().ended, Some(Ended::Cancelled));
    assert!(job.abandons_children());
    let (mut job, token) = running(JobSpec { deadline_at: Some(at(9)), ..spec() });
    job.step(ask(token), at(1)).unwrap();
    assert_eq!(job.step(Step::DeadlinePassed, at(9)).unwrap().ended, Some(Ended::Failed));
    assert!(job.error.unwrap().message.contains("waited for input"));
}

#[test]
fn a_job_has_no_more_children_than_it_can_have() {
    let (mut job, token) = running(spec());
    let spawn = |children| Step::Spawn { token, name: name("parts"), children };
    job.step(spawn(CHILDREN_MOST), at(1)).unwrap();
    assert_eq!(job.step(spawn(1), at(1)), Err(Refused::TooManyChildren));
    job.step(Step::Cancel, at(1)).unwrap();
    assert_eq!(job.step(spawn(0), at(1)), Err(Refused::Cancelling));
}

#[test]
fn children_of_a_job_that_succeeded_go_on_and_those_of_a_cancelled_one_do_not() {
    let (mut job, token) = running(spec());
    job.step(Step::Spawn { token, name: name("parts"), children: 2 }, at(1)).unwrap();
    let mut cancelled = job.clone();
    job.step(succeed(token), at(2)).unwrap();
    assert!(!job.abandons_children());
    cancelled.step(Step::Cancel, at(2)).unwrap();
    assert!(cancelled.abandons_children(), "already when the cancel is accepted");
}

#[test]
fn what_streamed_after_the_last_step_is_void_when_the_work_is_done_again() {
    let (mut job, token) = running(spec());
    job.step(stream(token), at(1)).unwrap();
    job.step(step_done(token), at(1)).unwrap();
    job.step(stream(token), at(1)).unwrap();
    assert_eq!((job.last_seq, job.last_step_seq, job.last_delta_seq), (5, 4, 5));
    job.step(Step::Expire, at(30)).unwrap();
    let events = job.step(claim(), at(31)).unwrap().events;
    assert_eq!(events, [EventKind::Running { worker: "w".into() }, EventKind::OutputReset { keep_through: 4 }]);
    job.step(Step::Expire, at(61)).unwrap();
    assert_eq!(job.step(claim(), at(62)).unwrap().events.len(), 1, "nothing has streamed since");
}

#[test]
fn a_call_of_children_does_not_keep_what_streamed_outside_of_steps_before_it() {
    let (mut job, token) = running(spec());
    job.step(stream(token), at(1)).unwrap();
    job.step(Step::Spawn { token, name: name("parts"), children: 1 }, at(1)).unwrap();
    job.step(wait_for_children(token), at(1)).unwrap();
    job.step(end_of_child(Ended::Succeeded), at(2)).unwrap();
    let events = job.step(claim(), at(3)).unwrap().events;
    assert_eq!(events, [EventKind::Running { worker: "w".into() }, EventKind::OutputReset { keep_through: 0 }]);
}

#[test]
fn an_answer_does_not_keep_what_streamed_outside_of_steps_before_it() {
    let (mut job, token) = running(spec());
    job.step(stream(token), at(1)).unwrap();
    job.step(ask(token), at(1)).unwrap();
    let names: Vec<_> =
        job.step(Step::Answer { to: None }, at(2)).unwrap().events.iter().map(EventKind::name).collect();
    assert_eq!(names, ["job.output.reset", "job.step", "job.queued"]);
    assert_eq!(job.step(claim(), at(3)).unwrap().events.len(), 1);
}
