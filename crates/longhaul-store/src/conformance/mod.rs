//! The suite that every store is held to, written against the port alone.
//!
//! A store is made known by a [`Harness`], and [`conformance!`](crate::conformance) turns every fact into a test of it:
//!
//! ```ignore
//! longhaul_store::conformance!(MemoryHarness::default());
//! ```
//!
//! Time stands still until a fact moves it, ids come from a seed, nothing sleeps and nothing leaves the machine. A fact
//! that needs to know how a store does something is no fact of this suite, and stands with that store's own tests.

#![allow(clippy::unwrap_used, reason = "these are tests, which happen to live in a library")]
#![allow(missing_docs, reason = "the name of a fact says what it is")]

pub mod claiming;
pub mod documents;
pub mod ending;
pub mod explaining;
pub mod fairness;
pub mod families;
pub mod fencing;
pub mod history;
pub mod keys;
pub mod limits;
pub mod listing;
pub mod model;
pub mod queues;
pub mod restart;
pub mod retention;
pub mod streams;
pub mod submitting;
pub mod tenants;
pub mod waits;
pub mod window;

use std::{
    collections::HashSet,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use longhaul_core::{
    Backoff, Clock as _, Event, EventKind, Job, JobError, JobId, JobSpec, KindName, Payload, QueueName, RetryPlan,
    Span, Status, Tenant, Timestamp, TraceContext, Usage, testing::ManualClock,
};

use crate::{
    Change, Claim, Held, Idempotency, JobStore, JobView, Leased, NewJob, Observer, Outcome, StoreClock, StoreError,
    Submit, Submitted,
};

/// How long the leases of this suite hold.
pub const LEASE: Span = Span::from_secs(30);

/// Makes the store that is tested.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// Opens the store: empty the first time, and from then on with what it held, when it can keep anything.
    async fn open(&self, time: StoreClock, observer: Arc<dyn Observer>) -> Arc<dyn JobStore>;

    /// Whether what it holds survives being closed and opened.
    fn is_durable(&self) -> bool;

    /// How long the leases of workers elsewhere hold at least after it was opened: while it was closed nobody could hear a
    /// sign of life. None for a store that other servers keep open.
    fn grace_after_start(&self) -> Span {
        Span::from_secs(30)
    }

    /// Whether it shares queues among tenants, and leases among queues. One that does not is held to the order within a
    /// tenant's part of a queue only.
    fn shares(&self) -> bool {
        true
    }
}

/// Remembers what it was told.
#[derive(Debug, Default)]
pub struct Told {
    changes: Mutex<Vec<Change>>,
    wanted: Mutex<HashSet<JobId>>,
}

impl Observer for Told {
    fn committed(&self, changes: &[Change]) {
        self.changes.lock().unwrap().extend_from_slice(changes);
    }

    fn wants(&self, job: JobId) -> bool {
        self.wanted.lock().unwrap().contains(&job)
    }
}

impl Told {
    /// What it was told of this job, in order.
    pub fn of(&self, job: JobId) -> Vec<Change> {
        self.changes.lock().unwrap().iter().filter(|change| change.job == job).cloned().collect()
    }

    /// From now on the events of this job are wanted.
    pub fn want(&self, job: JobId) {
        self.wanted.lock().unwrap().insert(job);
    }
}

/// A store under test, and what a fact needs around it.
pub struct World {
    pub store: Arc<dyn JobStore>,
    pub clock: ManualClock,
    pub ids: Arc<longhaul_core::Ids>,
    pub told: Arc<Told>,
    harness: Box<dyn Harness>,
}

/// The tenant of most facts.
pub static TENANT: std::sync::LazyLock<Tenant> = std::sync::LazyLock::new(Tenant::default_tenant);

pub fn tenant() -> Tenant {
    Tenant::default_tenant()
}

pub fn kind(name: &str) -> KindName {
    KindName::new(name).unwrap()
}

pub fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

pub fn flaky() -> JobError {
    JobError::transient("flaky", "it did not answer")
}

/// Whether it is done, without waiting for it.
pub fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Everything of any kind that these facts use, one job at a time, by a worker of its own.
pub fn claim(limit: usize) -> Claim {
    Claim {
        worker: "worker-1".into(),
        in_process: false,
        tenant: None,
        kinds: ["echo", "other", "third"].map(kind).into(),
        queues: None,
        limit,
        lease_for: LEASE,
    }
}

pub fn succeeded(output: &str) -> Outcome {
    Outcome::Succeeded { output: Payload::inline(output.to_owned()), report: Box::default() }
}

pub fn failed(error: JobError, plan: RetryPlan) -> Outcome {
    Outcome::Failed { error, plan, ambiguous: false }
}

impl World {
    pub async fn with(harness: impl Harness) -> Self {
        let (clock, ids) = (ManualClock::default(), Arc::new(longhaul_core::Ids::seeded(7)));
        let told = Arc::new(Told::default());
        let time = StoreClock { clock: Arc::new(clock.clone()), ids: ids.clone() };
        let store = harness.open(time, told.clone()).await;
        Self { store, clock, ids, told, harness: Box::new(harness) }
    }

    /// Whether the store shares queues among tenants.
    pub fn shares(&self) -> bool {
        self.harness.shares()
    }

    /// Closes the store and opens it again. False: it keeps nothing, so there is nothing to see.
    pub async fn reopen(&mut self) -> bool {
        if !self.harness.is_durable() {
            return false;
        }
        self.store.close().await;
        let time = StoreClock { clock: Arc::new(self.clock.clone()), ids: self.ids.clone() };
        self.store = self.harness.open(time, self.told.clone()).await;
        true
    }

    /// How long the leases of workers elsewhere hold at least after it was opened.
    pub fn grace_after_start(&self) -> Span {
        self.harness.grace_after_start()
    }

    /// What the observer was told of this job up to now, in order.
    pub async fn told_of(&self, job: JobId) -> Vec<Change> {
        // It may be told after the caller is answered, but before the next batch begins.
        self.store.queues().await.unwrap();
        self.told.of(job)
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn advance(&self, secs: u64) {
        self.clock.advance(Span::from_secs(secs));
    }

    /// A job to be, of the kind `echo` in the default queue.
    pub fn spec(&self) -> JobSpec {
        JobSpec {
            id: JobId::fresh(&*self.ids, self.now()),
            tenant: tenant(),
            kind: kind("echo"),
            queue: QueueName::default_queue(),
            priority: 0,
            max_attempts: 5,
            backoff: Backoff::default(),
            retention: Span::from_secs(3_600),
            run_at: None,
            deadline_at: None,
            attempt_timeout: None,
            metadata: None,
            retry_of: None,
            created_at: self.now(),
            parent: None,
            child_index: 0,
            depth: 0,
            on_child_failure: longhaul_core::OnChildFailure::default(),
            limit_key: None,
            // Every job of the conformance tests has one: a store that loses it is found by all that compare jobs.
            trace: TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        }
    }

    pub async fn submit(&self, spec: JobSpec) -> JobId {
        let id = spec.id;
        assert_eq!(self.submit_all(vec![spec], None).await, Ok(Submitted::Created));
        id
    }

    pub async fn submit_all(
        &self,
        specs: Vec<JobSpec>,
        idempotency: Option<Idempotency>,
    ) -> Result<Submitted, StoreError> {
        let jobs = specs
            .into_iter()
            .map(|spec| NewJob { input: Payload::inline(format!("{{\"n\":\"{}\"}}", spec.id)), spec: Arc::new(spec) });
        self.store.submit(Submit { jobs: jobs.collect(), idempotency, document: None }).await
    }

    /// Submits a plain job and claims it.
    pub async fn running(&self) -> Leased {
        self.running_of(self.spec()).await
    }

    pub async fn running_of(&self, spec: JobSpec) -> Leased {
        let id = self.submit(spec).await;
        let leased = self.claim_one().await;
        assert_eq!(leased.held.job, id);
        leased
    }

    /// Claims the next job, which is there.
    pub async fn claim_one(&self) -> Leased {
        self.take(claim(1)).await.into_iter().next().unwrap()
    }

    /// Claims what is there now, which may be nothing.
    pub async fn take(&self, claim: Claim) -> Vec<Leased> {
        let mut claim = pin!(self.store.claim(claim));
        if let Poll::Ready(leased) = poll_once(claim.as_mut()) {
            return leased.unwrap();
        }
        // Once a second call after the claim is answered, the claim has been looked at, and answered if it can be.
        self.store.queues().await.unwrap();
        self.store.queues().await.unwrap();
        match poll_once(claim.as_mut()) {
            Poll::Ready(leased) => leased.unwrap(),
            Poll::Pending => Vec::new(),
        }
    }

    pub async fn finish(&self, held: &Held, outcome: Outcome) -> Result<Status, StoreError> {
        self.store.finish(held.clone(), outcome, Usage::default()).await
    }

    pub async fn view(&self, id: JobId) -> Arc<JobView> {
        self.store.job(&tenant(), id).await.unwrap()
    }

    pub async fn job(&self, id: JobId) -> Job {
        self.view(id).await.job.clone()
    }

    pub async fn status(&self, id: JobId) -> Status {
        self.job(id).await.status()
    }

    pub async fn events(&self, id: JobId) -> Vec<Event> {
        self.store.events(&tenant(), id, 0, 10_000).await.unwrap()
    }

    /// The names of a job's events, which are numbered without a gap and end with the job.
    pub async fn history(&self, id: JobId) -> Vec<&'static str> {
        let (events, job) = (self.events(id).await, self.job(id).await);
        let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
        assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
        assert_eq!(job.last_seq, events.len() as u64);
        let terminals: Vec<bool> = events.iter().map(|event| event.kind.is_terminal()).collect();
        let ends = terminals.iter().filter(|terminal| **terminal).count();
        assert_eq!(ends, usize::from(job.status().is_terminal()));
        assert_eq!(terminals.last(), Some(&job.status().is_terminal()));
        events.iter().map(|event| event.kind.name()).collect()
    }

    /// Lets everything happen that has fallen due.
    pub async fn sweep(&self) {
        for _ in 0..1_000 {
            let swept = self.store.sweep().await.unwrap();
            if swept.next.is_none_or(|next| next > self.now()) {
                return;
            }
        }
        panic!("what falls due is never done with");
    }

    /// Removes whatever its retention no longer keeps; says how many.
    pub async fn prune(&self) -> usize {
        let mut removed = 0;
        for _ in 0..1_000 {
            let pruned = self.store.prune(100).await.unwrap();
            removed += pruned.jobs;
            if !pruned.more {
                return removed;
            }
        }
        panic!("there is always more to remove");
    }

    pub async fn tell(&self, held: &Held, event: EventKind) -> Result<(), StoreError> {
        self.store.tell(held.clone(), vec![event], Usage::default()).await
    }
}

/// Makes a test of every fact of the suite, for the store that the harness makes.
#[macro_export]
macro_rules! conformance {
    ($harness:expr) => {
        $crate::conformance_facts! { $harness;
            submitting: [
                a_submitted_job_is_queued_and_tells_so,
                a_job_for_later_is_scheduled_and_becomes_ready_when_its_time_has_come,
                a_bulk_is_taken_in_whole_and_in_order,
                a_call_that_is_repeated_after_a_lost_answer_submits_once,
                a_repeated_key_finds_the_first_calls_jobs,
                a_key_used_with_another_body_is_refused,
                keys_of_tenants_and_routes_are_apart,
                one_of_many_calls_with_one_key_at_once_submits,
                a_key_is_forgotten_after_its_time_and_its_job,
                a_key_is_kept_as_long_as_its_job,
                a_large_payload_is_kept_as_a_reference,
            ]
            claiming: [
                the_higher_priority_goes_first_and_then_the_older,
                the_order_holds_across_kinds_within_a_queue,
                priority_is_a_head_start_and_not_a_wall,
                a_claim_takes_only_what_it_asked_for,
                a_waiting_claim_is_served_by_a_later_submit,
                waiting_claims_are_served_in_their_order,
                a_dropped_waiting_claim_takes_nothing,
                a_grant_that_nobody_takes_comes_back_at_no_cost,
                no_job_is_leased_twice,
                more_claims_than_one_batch_can_serve_are_all_served,
                a_leased_job_shows_its_input_and_its_lease,
            ]
            fencing: [
                every_write_under_an_invented_lease_is_refused,
                every_write_of_a_worker_whose_lease_went_to_another_is_refused,
                a_lease_that_ran_out_is_lost_once_that_is_noticed,
                a_repeated_success_is_a_success,
                a_success_after_anothers_end_is_refused,
                a_beat_extends_the_lease,
                beats_are_answered_one_by_one,
                a_refused_write_changes_nothing,
            ]
            ending: [
                a_success_keeps_output_and_report,
                what_calls_took_adds_up_however_attempts_end,
                a_failure_waits_within_its_backoff_and_runs_again,
                a_failure_that_is_final_ends_the_job,
                attempts_are_exhausted,
                a_park_waits_until_its_time_and_costs_no_attempt,
                a_park_beyond_the_deadline_fails_at_once,
                a_release_keeps_the_attempts_number,
                a_queued_and_a_scheduled_job_are_cancelled_at_once,
                a_running_job_is_told_and_then_cancelled,
                a_cancelled_job_takes_no_result,
                a_cancel_is_carried_out_after_thirty_seconds,
                a_cancel_of_an_ended_job_says_how_it_ended,
                a_deadline_fails_a_queued_job,
                a_deadline_fails_a_running_job,
                an_expired_lease_requeues_and_a_third_one_fails,
                each_end_of_an_attempt_is_told_once_with_the_change_that_made_it,
                a_sweep_says_when_the_next_thing_falls_due,
            ]
            history: [
                events_are_numbered_from_one_without_a_gap,
                events_come_in_pages,
                attempts_are_kept_in_order_and_the_running_one_is_shown,
                a_cancelled_attempt_does_not_show_an_earlier_ones_error,
                progress_is_shown_and_told,
                a_step_is_stored_once,
                steps_survive_attempts,
                every_sort_of_event_reads_back_as_it_was_told,
                a_stage_is_shown,
            ]
            fairness: [
                one_tenants_ten_thousand_jobs_do_not_hold_up_anothers_one,
                tenants_share_a_queue_by_their_weights,
                whoever_was_idle_has_no_credit,
                a_full_queue_does_not_hold_up_another,
            ]
            families: [
                a_parent_runs_after_its_children_and_finds_their_outputs,
                a_failed_child_fails_its_parent_and_its_siblings_are_cancelled,
                a_parent_that_takes_parts_runs_when_all_children_have_ended,
                a_tree_is_taken_in_whole_or_not_at_all,
                a_repeated_key_finds_the_job_and_not_its_children,
                a_cancel_reaches_the_whole_tree,
                a_cancel_reaches_more_children_than_one_commit_takes,
                a_deadline_ends_a_parent_that_waits_and_its_children,
                children_are_spawned_once_and_only_under_the_lease,
                a_job_has_no_more_children_than_it_can_have,
                an_attempt_waits_for_its_children_without_a_lease,
                children_of_a_job_that_succeeded_go_on,
                children_are_listed_in_pages,
                a_child_is_kept_as_long_as_its_parent_lives,
            ]
            waits: [
                an_answer_becomes_the_output_of_the_step_that_asks,
                answers_that_come_early_are_kept_in_their_order,
                answers_are_refused_where_nobody_will_ask,
                a_waiting_job_counts_against_no_limit,
                a_waiting_job_is_cancelled_at_once_and_fails_at_its_deadline,
                waiting_jobs_are_listed_as_running,
                a_large_answer_lives_as_long_as_its_job,
            ]
            streams: [
                deltas_are_events_among_others,
                deltas_are_written_under_the_lease_only,
                work_that_is_done_again_starts_its_output_over,
                what_a_finished_step_has_streamed_stands,
                a_job_that_fails_keeps_what_it_has_given_out,
                a_partial_output_is_bounded,
                deltas_go_after_a_day_and_the_rest_of_the_history_stays,
                an_observer_gets_the_events_of_what_it_wants_and_of_nothing_else,
            ]
            explaining: [
                a_job_that_runs_or_has_ended_needs_no_explanation,
                a_delay_says_until_when,
                a_queue_that_holds_a_job_back_is_named,
                a_kind_that_nobody_claims_is_named,
                whoever_is_busy_is_waited_for,
                a_wait_says_for_what,
            ]
            retention: [
                a_job_is_erased_only_after_its_end,
                an_erased_job_leaves_a_tombstone,
                an_expired_job_leaves_a_tombstone,
                pruning_goes_in_steps_and_says_when_there_is_more,
                what_was_erased_by_hand_is_not_pruned_again,
                a_job_that_has_not_ended_is_never_pruned,
            ]
            listing: [
                jobs_are_listed_newest_first_each_once_over_all_pages,
                jobs_of_the_same_millisecond_are_listed_each_once,
                filters_leave_what_fits,
                metadata_finds_jobs,
                a_place_in_the_queue_is_counted,
            ]
            queues: [
                a_paused_queue_gives_out_nothing,
                a_pause_outlasts_a_restart,
                a_queue_tells_since_when_its_next_job_could_run,
                a_queue_runs_no_more_than_its_limit,
                a_queue_at_its_limit_does_not_hold_up_others,
                queues_that_ran_empty_are_told_while_they_are_few_and_all_others_always,
                counts_agree_with_the_jobs_after_every_change,
            ]
            limits: [
                no_more_of_a_kind_run_at_once_than_it_allows,
                no_more_of_a_kind_start_in_a_time_than_it_allows,
                a_key_at_its_limit_holds_up_no_other_key,
                whatever_ends_a_lease_makes_room_for_the_next_of_its_key,
                a_key_opens_by_itself_when_its_time_has_come,
                limits_over_all_and_by_key_hold_together,
                ten_thousand_jobs_of_one_key_hide_nobody,
                a_restart_forgets_nothing_that_has_started,
                what_runs_counts_after_a_restart,
                a_limit_that_changes_counts_from_then_on,
                limits_of_tenants_are_apart,
                a_paused_queue_holds_no_key_up_elsewhere,
                a_job_that_is_held_back_says_by_what,
                a_job_that_is_held_back_is_queued_like_any_other,
                no_limit_is_exceeded_in_a_random_life_and_everything_ends,
            ]
            tenants: [
                a_tenant_sees_nothing_of_another,
                a_claim_can_be_for_one_tenant,
            ]
            documents: [
                a_document_and_its_parts_read_back,
                a_blob_goes_with_its_last_reference,
                a_blob_that_is_pinned_stays,
                a_replaced_part_lets_its_blob_go,
                parts_are_stored_by_who_has_the_lease_and_by_nobody_else,
                a_deleted_document_takes_no_parts,
            ]
            keys: [
                keys_are_kept_changed_and_revoked,
                kinds_are_kept_and_replaced,
            ]
            window: [
                a_long_lane_is_handed_out_in_order,
                a_long_lane_is_handed_out_in_order_also_within_a_commit,
                a_long_lane_is_handed_out_in_order_while_it_grows,
            ]
            model: [
                a_random_life_agrees_with_a_naive_model,
            ]
            restart: [
                everything_survives_a_restart,
                leases_of_the_process_end_with_it_and_those_of_others_do_not,
                what_was_planned_for_an_erased_job_does_not_befall_another,
                a_clock_that_was_set_back_holds_up_no_job,
            ]
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_facts {
    ($harness:expr; $($topic:ident: [$($fact:ident),* $(,)?])*) => {
        $($(
            #[tokio::test]
            async fn $fact() {
                $crate::conformance::$topic::$fact($crate::conformance::World::with($harness).await).await;
            }
        )*)*
    };
}
