//! How a call fails: within the layers as a [`CallError`], to the caller as a [`GatewayError`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use longhaul_providers::protocol::EncodeError;
use longhaul_providers::{ErrorClass, ErrorCode, ProviderError};
use longhaul_resilience::{Class, Classify, Cx, Fail, RetryAfter, Why};

use crate::http::HttpError;
use crate::models::UnknownModel;
use crate::record::CallRecord;
use crate::served::Served;

/// A provider's error, and who said it. Cheap to clone: it is told to all who waited for the same call.
#[derive(Debug, Clone)]
pub(crate) struct CallError(Arc<Fault>);

#[derive(Debug)]
struct Fault {
    error: ProviderError,
    by: Arc<Served>,
    /// The provider may have done the work all the same.
    ambiguous: bool,
    /// Nobody was asked: the request does not fit the target.
    unasked: bool,
}

impl CallError {
    /// What the provider answered.
    pub(crate) fn answered(error: ProviderError, by: &Arc<Served>) -> Self {
        Self::of(error, by, false, false)
    }

    /// What broke on the way.
    pub(crate) fn lost(error: HttpError, by: &Arc<Served>) -> Self {
        let ambiguous = error.may_have_arrived();
        Self::of(error.into(), by, ambiguous, false)
    }

    /// The answer began and did not come to its end.
    pub(crate) fn broken_off(error: ProviderError, by: &Arc<Served>) -> Self {
        Self::of(error, by, true, false)
    }

    /// What cannot be put to this target.
    pub(crate) fn unfit(error: EncodeError, by: &Arc<Served>) -> Self {
        Self::of(error.into(), by, false, true)
    }

    fn of(error: ProviderError, by: &Arc<Served>, ambiguous: bool, unasked: bool) -> Self {
        Self(Arc::new(Fault { error, by: Arc::clone(by), ambiguous, unasked }))
    }

    pub(crate) fn error(&self) -> &ProviderError {
        &self.0.error
    }

    pub(crate) fn by(&self) -> &Arc<Served> {
        &self.0.by
    }

    pub(crate) fn is_ambiguous(&self) -> bool {
        self.0.ambiguous
    }

    /// This target cannot be told the request; another may.
    pub(crate) fn is_unfit(&self) -> bool {
        self.0.unasked || self.error().class() == ErrorClass::Unsupported
    }

    /// No other target would answer, or should: the request is wrong, or what it asks for was refused. That is for who was
    /// asked to say: what one protocol has no words for may be nothing special in another.
    pub(crate) fn is_final(&self) -> bool {
        !self.0.unasked && matches!(self.error().code, ErrorCode::InvalidRequest | ErrorCode::ContentFiltered)
    }

    /// What the layers make of it.
    pub(crate) fn class(&self) -> Class {
        if self.0.unasked {
            // It says nothing about the provider, who was not asked.
            return Class::Ignore;
        }
        match self.error().class() {
            ErrorClass::Transient => Class::Transient,
            ErrorClass::Throttled => Class::Throttled(self.error().retry_after.map(RetryAfter::In)),
            ErrorClass::Caller | ErrorClass::Permanent | ErrorClass::Unsupported => Class::Permanent,
        }
    }
}

/// The judgement of a model's stacks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByCallError;

impl<Out> Classify<Out, CallError> for ByCallError {
    fn class(&self, result: Result<&Out, &CallError>) -> Class {
        result.map_or_else(CallError::class, |_| Class::Ok)
    }

    fn retry_after(&self, result: Result<&Out, &CallError>) -> Option<RetryAfter> {
        result.err()?.error().retry_after.map(RetryAfter::In)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.by.provider, self.0.error)
    }
}

impl std::error::Error for CallError {}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No model has this name.
    UnknownModel(UnknownModel),
    /// The model is for something else.
    WrongUse {
        /// What it is for, and which models are for what was asked.
        message: String,
    },
    /// The provider said so, or could not be reached.
    Provider,
    /// One attempt took too long, and there was no other.
    Timeout {
        /// What it was allowed.
        limit: Duration,
    },
    /// The whole call ran out of time.
    Deadline,
    /// Every target that could answer has failed too often of late; none was asked.
    Open {
        /// When one will be tried again.
        retry_after: Duration,
    },
    /// The limits of the configuration would have made the call wait too long.
    Limited {
        /// When there will be room.
        retry_after: Duration,
    },
    /// Too many calls at once, and too many waiting.
    Full,
    /// Too many calls are being retried already.
    BudgetSpent,
    /// The provider wants to be asked again at a time that is not worth waiting for. Something durable should.
    Park {
        /// How long from now.
        retry_after: Duration,
        /// The moment, since the Unix epoch.
        until_unix: Duration,
    },
}

/// Why there is no answer, with the record of how it came to that.
#[derive(Debug, Clone)]
pub struct GatewayError {
    /// Which layer gave up, and why.
    pub failure: Failure,
    /// The last thing that a provider said or did, if one was asked.
    pub provider: Option<Box<ProviderError>>,
    /// What happened.
    pub record: Box<CallRecord>,
}

impl GatewayError {
    /// The stable name of the error, for machines.
    pub fn code(&self) -> &'static str {
        match (&self.failure, &self.provider) {
            (Failure::UnknownModel(_), _) => "unknown_model",
            (Failure::WrongUse { .. }, _) => "unsupported_operation",
            (Failure::Provider | Failure::BudgetSpent | Failure::Park { .. }, Some(error)) => error.code.as_str(),
            (Failure::Provider, None) => ErrorCode::ServerError.as_str(),
            (Failure::Timeout { .. }, _) => ErrorCode::Timeout.as_str(),
            (Failure::Deadline, _) => "deadline_exceeded",
            (Failure::Open { .. }, _) => "circuit_open",
            (Failure::Limited { .. }, _) => "rate_limited_here",
            (Failure::Full, _) => "too_many_calls",
            (Failure::BudgetSpent, None) => "retry_budget_spent",
            (Failure::Park { .. }, None) => ErrorCode::RateLimited.as_str(),
        }
    }

    /// Whose fault it is, and so whether asking again can help.
    pub fn class(&self) -> ErrorClass {
        match (&self.failure, &self.provider) {
            (Failure::UnknownModel(_), _) => ErrorClass::Caller,
            (Failure::WrongUse { .. }, _) => ErrorClass::Unsupported,
            (Failure::Provider | Failure::Park { .. }, Some(error)) => error.class(),
            (Failure::Limited { .. } | Failure::Park { .. }, _) => ErrorClass::Throttled,
            (
                Failure::Provider
                | Failure::Timeout { .. }
                | Failure::Deadline
                | Failure::Open { .. }
                | Failure::Full
                | Failure::BudgetSpent,
                _,
            ) => ErrorClass::Transient,
        }
    }

    /// How long to wait before asking again, where somebody knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.failure {
            Failure::Open { retry_after } | Failure::Limited { retry_after } | Failure::Park { retry_after, .. } => {
                Some(*retry_after)
            }
            Failure::UnknownModel(_)
            | Failure::WrongUse { .. }
            | Failure::Provider
            | Failure::Timeout { .. }
            | Failure::Deadline
            | Failure::Full
            | Failure::BudgetSpent => self.provider.as_ref()?.retry_after,
        }
    }

    /// The moment at which to ask again, since the Unix epoch, if it is too far away to wait for.
    pub fn park_until(&self) -> Option<Duration> {
        match self.failure {
            Failure::Park { until_unix, .. } => Some(until_unix),
            _ => None,
        }
    }

    /// Whether a provider may have done the work, and charged for it, although no answer came.
    pub fn is_ambiguous(&self) -> bool {
        self.record.ambiguous
    }

    /// The HTTP status that tells this best.
    pub fn http_status(&self) -> u16 {
        match (&self.failure, &self.provider) {
            (Failure::UnknownModel(_), _) => 404,
            (Failure::WrongUse { .. }, _) => 400,
            // Whatever else ends an attempt leaves an error behind: without one it was a time-out.
            (Failure::Timeout { .. } | Failure::Deadline, _) | (Failure::BudgetSpent, None) => 504,
            (Failure::Open { .. } | Failure::Full, _) => 503,
            // It is out of order, and has said for how long.
            (Failure::Park { .. }, Some(error)) if error.class() == ErrorClass::Transient => 503,
            (Failure::Limited { .. } | Failure::Park { .. }, _) => 429,
            (Failure::Provider | Failure::BudgetSpent, Some(error)) => status_of(error),
            (Failure::Provider, None) => 502,
        }
    }
}

/// What a provider said of the request is passed on; what it said of itself, or of our key, is our failure.
fn status_of(error: &ProviderError) -> u16 {
    match error.code {
        ErrorCode::InvalidRequest | ErrorCode::ContextLengthExceeded | ErrorCode::ContentFiltered => 400,
        ErrorCode::Unsupported => 400,
        ErrorCode::RequestTooLarge => 413,
        ErrorCode::RateLimited => 429,
        ErrorCode::Timeout => 504,
        ErrorCode::Overloaded => 503,
        ErrorCode::Authentication
        | ErrorCode::Permission
        | ErrorCode::NotFound
        | ErrorCode::QuotaExhausted
        | ErrorCode::ServerError
        | ErrorCode::Conflict
        | ErrorCode::ConnectFailed
        | ErrorCode::ConnectionLost
        | ErrorCode::StreamInterrupted
        | ErrorCode::MalformedResponse
        | ErrorCode::ResponseTooLarge => 502,
    }
}

impl fmt::Display for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Failure::UnknownModel(unknown) => return write!(f, "{unknown}"),
            Failure::WrongUse { message } => return f.write_str(message),
            Failure::Provider => f.write_str("the provider failed")?,
            Failure::Timeout { limit } => write!(f, "no answer within {limit:?}")?,
            Failure::Deadline => f.write_str("out of time")?,
            Failure::Open { retry_after } => {
                write!(f, "the provider has failed too often of late and is not asked for another {retry_after:?}")?;
            }
            Failure::Limited { retry_after } => write!(f, "the configured limit has no room for {retry_after:?}")?,
            Failure::Full => f.write_str("too many calls at once")?,
            Failure::BudgetSpent => f.write_str("too many calls are being retried already")?,
            Failure::Park { retry_after, .. } => write!(f, "the provider asks for {retry_after:?} of patience")?,
        }
        let at = self.record.target.as_ref().map(|target| format!(" ({}/{target})", self.record.model));
        f.write_str(at.as_deref().unwrap_or_default())?;
        match &self.provider {
            Some(error) => write!(f, ": {}", error.for_clients()),
            None => Ok(()),
        }
    }
}

impl std::error::Error for GatewayError {}

/// A failure of the layers, in the caller's words.
pub(crate) fn failure_of(fail: &Fail<CallError>, cx: &Cx<'_>) -> Failure {
    match fail.why() {
        Why::Timeout { limit } => Failure::Timeout { limit },
        Why::Deadline => Failure::Deadline,
        Why::Open { retry_after } => Failure::Open { retry_after },
        Why::Limited { retry_after } => Failure::Limited { retry_after },
        Why::Full => Failure::Full,
        Why::BudgetSpent => Failure::BudgetSpent,
        Why::Park { until } => {
            Failure::Park { retry_after: until.since(cx.renew()), until_unix: cx.unix_time_at(until) }
        }
        // The provider's own error; and what a later version of the library may add.
        _ => Failure::Provider,
    }
}
