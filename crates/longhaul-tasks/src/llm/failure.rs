//! What a call's failure means for its job.

use longhaul_core::{JobError, ProviderError, RetryPlan, Span, Timestamp};
use longhaul_engine::{Failure, JobContext};
use longhaul_gateway::{ErrorClass, Failure as Why, GatewayError};

use super::call::is_patient;

/// The job's failure, or its park.
pub(super) fn failure(job: &JobContext, error: &GatewayError) -> Failure {
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
        Why::UnknownModel(_)
        | Why::WrongUse { .. }
        | Why::Provider
        | Why::Timeout { .. }
        | Why::Deadline
        | Why::Full
        | Why::BudgetSpent => RetryPlan::Backoff,
    };
    Failure::Job { error: Box::new(job_error(error)), plan, ambiguous: error.is_ambiguous() }
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
