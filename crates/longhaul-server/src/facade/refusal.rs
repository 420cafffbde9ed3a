//! Why a call of another vendor's API was not answered, until it is put into that vendor's words.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use longhaul_engine::{Rejected, store::StoreError};
use longhaul_gateway::{CallRecord, ErrorClass, GatewayError};
use longhaul_providers::{
    anthropic,
    facade::{Failure, RequestError},
    openai,
};

use super::{Vendor, tell};
use crate::problem::{Code, Problem};

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(crate) struct Refusal(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    failure: Failure,
    retry_after: Option<Duration>,
    /// Whether the SDKs shall try again by themselves; unset leaves it to them.
    should_retry: Option<bool>,
    record: Option<Box<CallRecord>>,
    headers: HeaderMap,
}

impl Refusal {
    /// A refusal that no other try of the same request can mend.
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        let failure = Failure { status, code: Some(code.to_owned()), message: message.into(), param: None };
        Self::of(failure)
    }

    /// A failure that no other try mends.
    fn of(failure: Failure) -> Self {
        let headers = HeaderMap::new();
        Self(Box::new(Inner { failure, retry_after: None, should_retry: Some(false), record: None, headers }))
    }

    /// The field that is to blame.
    pub(crate) fn at(mut self, param: &str) -> Self {
        self.0.failure.param = Some(param.to_owned());
        self
    }

    /// One of our own problems; `headers` are those that it was rendered with.
    pub(crate) fn of_problem(problem: &Problem, headers: &HeaderMap) -> Self {
        let code = problem.code();
        let mut message = problem.detail().to_owned();
        if problem.errors().len() > 1 {
            let named: Vec<String> =
                problem.errors().iter().map(|error| format!("{} {}", error.pointer, error.message)).collect();
            message = format!("{message} {}", named.join("; "));
        }
        let status = match code.status().as_u16() {
            // The vendors know no 422 for what can be read and not used, and their SDKs name 400 for it.
            422 => 400,
            status => status,
        };
        let failure = Failure {
            status,
            code: Some(code.as_str().to_owned()),
            message,
            param: problem.errors().first().map(|error| error.pointer.trim_start_matches('/').to_owned()),
        };
        let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut kept = headers.clone();
        for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::RETRY_AFTER] {
            kept.remove(name);
        }
        Self(Box::new(Inner {
            failure,
            retry_after: seconds.map(Duration::from_secs),
            should_retry: Some(code.retryable()),
            record: None,
            headers: kept,
        }))
    }

    /// The reply in the vendor's words.
    pub(crate) fn render(self, vendor: Vendor, request_id: &str) -> Response {
        let Inner { failure, retry_after, should_retry, record, headers: own } = *self.0;
        let body = match vendor {
            Vendor::OpenAi => openai::facade::encode_failure(&failure),
            Vendor::Anthropic => anthropic::facade::encode_failure(&failure, Some(request_id)),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_GATEWAY);
        if let Some(record) = &record {
            tell(&mut response, record);
        }
        let headers = response.headers_mut();
        headers.extend(own);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(wait) = retry_after {
            // Rounded up: who comes a moment early is refused again.
            let millis = u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX).max(1);
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(millis));
            headers.insert(header::RETRY_AFTER, HeaderValue::from(millis.div_ceil(1_000)));
        }
        if let Some(should_retry) = should_retry {
            let word = if should_retry { "true" } else { "false" };
            headers.insert(SHOULD_RETRY, HeaderValue::from_static(word));
        }
        response
    }
}

impl IntoResponse for Refusal {
    /// [`InWordsOf`](super::InWordsOf) renders it; until then it is a status.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(self.0.failure.status).unwrap_or(StatusCode::BAD_GATEWAY);
        response.extensions_mut().insert(self);
        response
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Self::of(Failure::from(&error))
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let response = problem.render();
        Self::of_problem(&problem, response.headers())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Problem::from(error).into()
    }
}

impl From<Rejected> for Refusal {
    fn from(error: Rejected) -> Self {
        crate::refusal::rejected(error, |_| String::new(), "").into()
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Problem::new(code, code.title()).into()
    }
}

impl From<GatewayError> for Refusal {
    fn from(error: GatewayError) -> Self {
        let failure = failure_of(&error);
        let retry_after = error.retry_after();
        let should_retry = should_retry(&error, retry_after);
        let headers = HeaderMap::new();
        Self(Box::new(Inner { failure, retry_after, should_retry, record: Some(error.record), headers }))
    }
}

/// What the client gets to hear of it.
pub(crate) fn failure_of(error: &GatewayError) -> Failure {
    use longhaul_gateway::Failure as F;
    let own = |code: &str| Failure {
        status: error.http_status(),
        code: Some(code.to_owned()),
        message: error.to_string(),
        param: None,
    };
    match (&error.failure, &error.provider) {
        (F::UnknownModel(_), _) => Failure { param: Some("model".to_owned()), ..own("model_not_found") },
        (F::WrongUse { .. }, _) => Failure { param: Some("model".to_owned()), ..own(error.code()) },
        (F::Provider | F::BudgetSpent, Some(provider)) => Failure::from(&**provider),
        (F::Park { .. }, Some(provider)) if provider.class() == ErrorClass::Transient => {
            Failure { status: error.http_status(), ..Failure::from(&**provider) }
        }
        (F::Limited { .. } | F::Park { .. }, _) => own("rate_limit_exceeded"),
        (F::Timeout { .. } | F::Deadline, _) => own("timeout"),
        // No word of a provider's, and no more tries: what was tried was cut off by the clock.
        (F::BudgetSpent, None) => Failure { status: 504, ..own("timeout") },
        (F::Open { .. } | F::Full | F::Provider, _) => own(error.code()),
    }
}

/// Longer than this no SDK waits within a call.
const WAIT_MOST: Duration = Duration::from_secs(60);

/// The stack has tried again already where that could help; an SDK that tried all of it once more would multiply the
/// calls. It shall only where somebody knows when there will be room.
fn should_retry(error: &GatewayError, retry_after: Option<Duration>) -> Option<bool> {
    match error.class() {
        ErrorClass::Throttled => Some(retry_after.is_some_and(|wait| wait <= WAIT_MOST)),
        ErrorClass::Transient if error.record.retries > 0 => Some(false),
        ErrorClass::Transient => retry_after.map(|wait| wait <= WAIT_MOST),
        ErrorClass::Caller | ErrorClass::Permanent | ErrorClass::Unsupported => Some(false),
    }
}
