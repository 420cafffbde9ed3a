//! What a call's failure means for its job.

use longhaul_core::{JobError, ProviderError, RetryPlan, Span, Timestamp};
use longhaul_engine::{Failure, JobContext};
use longhaul_gateway::{CallRecord, ErrorClass, Failure as Why, GatewayError};
use longhaul_providers::ProviderError as Said;

use super::call::{is_patient, tell};

/// When a job asks again whose call found no room among others.
const WAIT_FOR_ROOM: Span = Span::from_secs(10);

/// The job's failure, or its park; what the layers decided is told first.
pub(crate) async fn of_call(job: &JobContext, error: &GatewayError) -> Failure {
    if let Err(lost) = tell(job, &error.record).await {
        return lost;
    }
    let now = job.clock().now();
    let plan = match &error.failure {
        Why::Park { until_unix, .. } => {
            let micros = i64::try_from(until_unix.as_micros()).unwrap_or(i64::MAX);
            RetryPlan::Park(Timestamp::from_micros(micros))
        }
        Why::Open { retry_after } | Why::Limited { retry_after } => {
            let until = now + Span::from(*retry_after);
            if is_patient(job, until) { RetryPlan::Park(until) } else { RetryPlan::Backoff }
        }
        // Who has waited in vain for room waits on without a worker.
        Why::Full => {
            let until = now + WAIT_FOR_ROOM;
            if is_patient(job, until) { RetryPlan::Park(until) } else { RetryPlan::Backoff }
        }
        Why::UnknownModel(_)
        | Why::WrongUse { .. }
        | Why::Provider
        | Why::Timeout { .. }
        | Why::Deadline
        | Why::BudgetSpent => RetryPlan::Backoff,
    };
    Failure::Job { error: Box::new(job_error(error)), plan, ambiguous: error.is_ambiguous() }
}

/// The failure of a stream that broke off after its first token: nothing repeats it unseen.
pub(crate) fn of_stream(record: Option<&CallRecord>, error: &Said) -> Failure {
    let provider = record.and_then(|record| record.provider.as_deref()).map(|name| ProviderError {
        name: name.to_owned(),
        http_status: error.http_status,
        request_id: error.request_id.clone(),
    });
    let error = JobError {
        code: error.code.as_str().to_owned(),
        message: error.for_clients().to_owned(),
        retryable: error.class().is_retryable(),
        attempt: 0,
        provider,
    };
    Failure::Job { error: Box::new(error), plan: RetryPlan::Backoff, ambiguous: true }
}

/// The failure of something else while a call was under way: what the call came to is not known.
pub(crate) fn amid_a_call(failure: Failure) -> Failure {
    match failure {
        Failure::Job { error, plan, .. } => Failure::Job { error, plan, ambiguous: true },
        other @ (Failure::Waiting(_) | Failure::Interrupted) => other,
    }
}

/// The error as the job keeps it.
fn job_error(error: &GatewayError) -> JobError {
    let record = &error.record;
    let last = error.provider.as_deref();
    let provider = record.provider.as_deref().map(|name| ProviderError {
        name: name.to_owned(),
        http_status: last.and_then(|error| error.http_status),
        request_id: last.and_then(|error| error.request_id.clone()),
    });
    JobError {
        code: error.code().to_owned(),
        message: error.to_string(),
        retryable: matches!(error.class(), ErrorClass::Transient | ErrorClass::Throttled),
        attempt: 0,
        provider,
    }
}
