//! From what a vendor says to one of our codes: one place for all protocols.
//!
//! The vendor's own narrow words go first, since vendors put them behind misleading statuses (a bad key as 400, a spent
//! budget as 429); then the status; then the vendor's wide words, which are all there is inside a stream.

use std::time::Duration;

use super::{ErrorCode, ProviderError, limits};
use crate::exchange::Head;

/// Messages of providers are cut here, in characters: they go into logs, records and replies.
const MAX_MESSAGE_CHARS: usize = 1_000;

/// An error as a vendor tells it, taken out of the vendor's JSON.
#[derive(Debug, Clone, Default)]
pub(crate) struct VendorError {
    /// The wide word (`type` at OpenAI and Anthropic, `status` at Google).
    pub(crate) kind: Option<String>,
    /// The narrow word (`code` at OpenAI, `reason` at Google).
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) param: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) request_id: Option<String>,
}

/// Sorts an error. `head` is absent for one that came inside a stream.
pub(crate) fn sort(head: Option<Head<'_>>, vendor: VendorError) -> ProviderError {
    let status = head.map(|head| head.status.as_u16()).filter(|status| !(200..300).contains(status));
    let words = [vendor.code.as_deref(), vendor.kind.as_deref()];
    let message = vendor.message.as_deref().unwrap_or_default();
    let code = words
        .into_iter()
        .flatten()
        .find_map(narrow)
        .or_else(|| by_message(status, message))
        .or_else(|| status.map(by_status))
        .or_else(|| words.into_iter().flatten().find_map(wide))
        .unwrap_or(ErrorCode::ServerError);

    let mut error = ProviderError::new(code, describe(status, message));
    error.http_status = head.map(|head| head.status.as_u16());
    error.param = vendor.param;
    error.request_id = vendor.request_id.or_else(|| head.and_then(request_id));
    error.should_retry = head.and_then(|head| head.header("x-should-retry")).and_then(|word| word.parse().ok());
    error.retry_after = head
        .and_then(limits::retry_after)
        .or(vendor.retry_after)
        .or_else(|| (code == ErrorCode::RateLimited).then(|| limits::wait_in_message(message)).flatten());
    error.upstream_code = vendor.code.or(vendor.kind).map(|code| bounded_message(&code));
    error
}

/// Words that mean one thing whatever the status.
fn narrow(word: &str) -> Option<ErrorCode> {
    use ErrorCode as E;
    Some(match word {
        "insufficient_quota"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "billing_error"
        | "enforced_spend_limit_reached"
        | "spend_limit_reached"
        | "credit_limit_reached"
        | "insufficient_credits"
        | "insufficient_balance" => E::QuotaExhausted,
        "context_length_exceeded"
        | "exceed_context_size_error"
        | "model_max_prompt_tokens_exceeded"
        | "string_above_max_length" => E::ContextLengthExceeded,
        "content_filter"
        | "content_policy_violation"
        | "ResponsibleAIPolicyViolation"
        | "invalid_prompt"
        | "moderation_blocked"
        | "image_content_policy_violation" => E::ContentFiltered,
        "invalid_api_key"
        | "authentication_error"
        | "account_deactivated"
        | "API_KEY_INVALID"
        | "API_KEY_EXPIRED"
        | "UNAUTHENTICATED" => E::Authentication,
        "permission_error"
        | "PERMISSION_DENIED"
        | "API_KEY_SERVICE_BLOCKED"
        | "SERVICE_DISABLED"
        | "unsupported_country_region_territory" => E::Permission,
        "model_not_found" | "not_found_error" | "NOT_FOUND" | "DeploymentNotFound" => E::NotFound,
        "request_too_large" => E::RequestTooLarge,
        "rate_limit_exceeded" | "rate_limit_error" | "RESOURCE_EXHAUSTED" | "too_many_requests" => E::RateLimited,
        "overloaded_error" | "engine_overloaded" | "server_overloaded" | "slow_down" | "UNAVAILABLE" => E::Overloaded,
        "timeout_error" | "DEADLINE_EXCEEDED" => E::Timeout,
        _ => return None,
    })
}

/// Words too wide to stand against a status.
fn wide(word: &str) -> Option<ErrorCode> {
    use ErrorCode as E;
    Some(match word {
        "invalid_request_error"
        | "invalid_request"
        | "BadRequestError"
        | "INVALID_ARGUMENT"
        | "FAILED_PRECONDITION"
        | "OUT_OF_RANGE" => E::InvalidRequest,
        // Servers that put the status into the body: vLLM, llama.cpp, Google, Azure.
        _ => return word.parse().ok().filter(|status| (400..600).contains(status)).map(by_status),
    })
}

/// What vendors tell in prose only.
fn by_message(status: Option<u16>, message: &str) -> Option<ErrorCode> {
    const TOO_LONG: &[&str] = &[
        "maximum context length",
        "prompt is too long",
        "exceeds the maximum number of tokens",
        "exceeds the available context size",
        "exceed context limit",
        "exceeds the context window",
        "input is too long",
        "string too long",
        "too many tokens",
        "maximum prompt length",
        "maximum model length",
        "exceeds max length",
        "exceeded model token limit",
        "reduce the length of",
        "range of input length should be",
        "tokens + `max_new_tokens` must be",
    ];
    const NO_MONEY: &[&str] = &["credit balance is too low", "exceeded your current quota, please check your plan"];
    const BAD_KEY: &[&str] = &["api key not valid"];
    if status.is_some_and(|status| !matches!(status, 400 | 402 | 403 | 413 | 422 | 429)) {
        return None;
    }
    let message = message.get(..message.len().min(4096)).unwrap_or(message).to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    if status != Some(429) && says(TOO_LONG) {
        Some(ErrorCode::ContextLengthExceeded)
    } else if status != Some(429) && says(BAD_KEY) {
        Some(ErrorCode::Authentication)
    } else if says(NO_MONEY) {
        Some(ErrorCode::QuotaExhausted)
    } else {
        None
    }
}

fn by_status(status: u16) -> ErrorCode {
    match status {
        401 => ErrorCode::Authentication,
        402 => ErrorCode::QuotaExhausted,
        403 => ErrorCode::Permission,
        404 | 410 => ErrorCode::NotFound,
        408 | 504 | 522 | 524 => ErrorCode::Timeout,
        409 | 425 => ErrorCode::Conflict,
        413 => ErrorCode::RequestTooLarge,
        429 => ErrorCode::RateLimited,
        503 | 529 => ErrorCode::Overloaded,
        500..=599 => ErrorCode::ServerError,
        400..=499 => ErrorCode::InvalidRequest,
        // A redirect, or a number that is no status of HTTP: whoever answered is not the provider.
        _ => ErrorCode::MalformedResponse,
    }
}

fn describe(status: Option<u16>, message: &str) -> String {
    let message = bounded_message(message);
    match (message.is_empty(), status) {
        (false, _) => message,
        (true, Some(status)) => format!("the provider answered with status {status} and no message"),
        (true, None) => "the provider reported an error without a message".to_owned(),
    }
}

/// The provider's name for a call.
pub(crate) fn request_id(head: Head<'_>) -> Option<String> {
    ["x-request-id", "request-id", "apim-request-id", "x-goog-request-id", "cf-ray"]
        .into_iter()
        .find_map(|name| head.header(name))
        .map(bounded_message)
}

/// Text of a provider, fit for a log line: one line, of bounded length.
pub(crate) fn bounded_message(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_MESSAGE_CHARS));
    for (at, c) in text.trim().chars().enumerate() {
        if at == MAX_MESSAGE_CHARS {
            out.push('…');
            break;
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorClass;
    use http::{HeaderMap, HeaderValue, StatusCode};
    use std::time::SystemTime;

    fn sorted(status: u16, vendor: VendorError) -> ProviderError {
        let headers = HeaderMap::new();
        let head = Head {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            received_at: SystemTime::UNIX_EPOCH,
        };
        sort(Some(head), vendor)
    }

    fn code(word: &str) -> VendorError {
        VendorError { code: Some(word.to_owned()), ..VendorError::default() }
    }

    #[test]
    fn statuses_that_may_pass_are_transient_and_the_rest_is_final() {
        for status in [408, 409, 425, 500, 502, 503, 504, 529, 520, 524] {
            assert_eq!(sorted(status, VendorError::default()).class(), ErrorClass::Transient, "{status}");
        }
        assert_eq!(sorted(429, VendorError::default()).class(), ErrorClass::Throttled);
        for status in [400, 401, 402, 403, 404, 413, 422, 418] {
            assert!(!sorted(status, VendorError::default()).class().is_retryable(), "{status}");
        }
    }

    #[test]
    fn a_spent_budget_is_final_though_its_status_is_429() {
        let error = sorted(429, code("insufficient_quota"));
        assert_eq!((error.code, error.class()), (ErrorCode::QuotaExhausted, ErrorClass::Permanent));
    }

    #[test]
    fn a_text_that_is_too_long_is_told_from_any_other_bad_request_however_a_vendor_says_it() {
        for message in [
            "This model's maximum context length is 8192 tokens, however you requested 9000",
            "prompt is too long: 203456 tokens > 200000 maximum",
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
            "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
            "too many tokens: size limit exceeded by 1200 tokens",
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097.",
            "Invalid 'messages[1].content': string too long. Expected a string with maximum length 10485760",
            "Please reduce the length of the messages or completion.",
        ] {
            let said = |status| {
                sorted(status, VendorError { message: Some(message.to_owned()), ..VendorError::default() }).code
            };
            assert_eq!(said(400), ErrorCode::ContextLengthExceeded, "{message}");
            assert_eq!(said(429), ErrorCode::RateLimited, "tokens per minute are another matter: {message}");
        }
    }

    #[test]
    fn a_bad_key_behind_a_400_is_still_a_bad_key() {
        assert_eq!(sorted(400, code("API_KEY_INVALID")).code, ErrorCode::Authentication);
    }

    #[test]
    fn inside_a_stream_the_wide_words_decide() {
        let inside =
            |kind: &str| sort(None, VendorError { kind: Some(kind.to_owned()), ..VendorError::default() }).code;
        assert_eq!(inside("invalid_request_error"), ErrorCode::InvalidRequest);
        assert_eq!(inside("overloaded_error"), ErrorCode::Overloaded);
        assert_eq!(inside("503"), ErrorCode::Overloaded);
        assert_eq!(inside("api_error"), ErrorCode::ServerError);
    }

    #[test]
    fn the_providers_word_against_another_try_is_heard() {
        let mut headers = HeaderMap::new();
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
        headers.insert("x-request-id", HeaderValue::from_static("req_1"));
        let head = Head { status: StatusCode::BAD_GATEWAY, headers: &headers, received_at: SystemTime::UNIX_EPOCH };
        let error = sort(Some(head), VendorError::default());
        assert_eq!(error.class(), ErrorClass::Permanent);
        assert_eq!(error.request_id.as_deref(), Some("req_1"));
    }

    #[test]
    fn messages_are_one_bounded_line() {
        let message = bounded_message(&format!("a\nb\u{1b}[31m{}", "x".repeat(5_000)));
        assert!(message.starts_with("a b [31m"));
        assert_eq!(message.chars().count(), MAX_MESSAGE_CHARS + 1);
    }
}
