//! One judgement per stack: is a result fine, worth another try, throttled, hopeless, or nobody's business.
//!
//! Every layer asks the same classifier, so retry and breaker never disagree about an error. Failures that layers
//! themselves produce have fixed classes ([`class_of`]): an attempt that timed out is transient; a rejection by a
//! local breaker, bulkhead, deadline or budget is ignored, because it says nothing about the service.

use std::time::Duration;

use crate::fail::{Fail, Why};

/// What a result means to the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A good answer.
    Ok,
    /// May succeed when tried again; counts against the service's health.
    Transient,
    /// The service asks for patience. Tried again, no earlier than the hint; says nothing about its health.
    Throttled(Option<RetryAfter>),
    /// Will fail again: a bad key, a malformed request. Not tried again. The service is healthy, for it judged.
    Permanent,
    /// Neither success nor failure: a cancellation, a rejection of our own. Not tried again.
    Ignore,
}

/// When a service wants to be asked again.
///
/// ```
/// use longhaul_resilience::RetryAfter;
/// use std::time::Duration;
///
/// assert_eq!(RetryAfter::parse("20"), Some(RetryAfter::In(Duration::from_secs(20))));
/// assert_eq!(RetryAfter::parse("1.5s"), Some(RetryAfter::In(Duration::from_millis(1500))));
/// let at = RetryAfter::parse("Thu, 01 Jan 2026 00:00:30 GMT").unwrap();
/// assert_eq!(at.wait(Duration::from_secs(1_767_225_600)), Duration::from_secs(30));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// This long after the answer came.
    In(Duration),
    /// At this wall time, since the Unix epoch.
    At(Duration),
}

impl RetryAfter {
    /// Reads a `Retry-After` value: seconds (a fraction is allowed), an HTTP date, or the providers' variants with a
    /// unit (`250ms`, `1.5s`, `6m0s`, `2h`). `None` if it is none of these.
    pub fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        if let Some(seconds) = number(value) {
            return seconds_to_duration(seconds).map(Self::In);
        }
        if let Some(wait) = with_units(value) {
            return Some(Self::In(wait));
        }
        let date = httpdate::parse_http_date(value).ok()?;
        // A date before 1970 is in the past, as every past date is.
        Some(Self::At(date.duration_since(std::time::UNIX_EPOCH).unwrap_or_default()))
    }

    /// How long to wait, given the wall time now. Zero for a date that has passed.
    pub fn wait(self, unix_now: Duration) -> Duration {
        match self {
            Self::In(wait) => wait,
            Self::At(at) => at.saturating_sub(unix_now),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain.then(|| text.parse().ok()).flatten()
}

fn seconds_to_duration(seconds: f64) -> Option<Duration> {
    // More than a duration can hold means: for ever.
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

fn with_units(mut text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let amount = number(&text[..digits])?;
        let rest = &text[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..unit_len] {
            "ms" => amount / 1000.0,
            "s" => amount,
            "m" => amount * 60.0,
            "h" => amount * 3600.0,
            _ => return None,
        };
        total = total.saturating_add(seconds_to_duration(seconds)?);
        text = &rest[unit_len..];
    }
    Some(total)
}

/// Judges results. One per stack.
pub trait Classify<Out, E>: Send + Sync {
    /// The class of a result of the innermost step.
    fn class(&self, result: Result<&Out, &E>) -> Class;

    /// When the service wants to be asked again after an error that is [`Class::Transient`]: tried again no earlier, and a
    /// failure of the service all the same. By default it does not say.
    fn retry_after(&self, result: Result<&Out, &E>) -> Option<RetryAfter> {
        let _ = result;
        None
    }
}

/// The classifier of a stack that was given none: every error is worth another try.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyErrorIsTransient;

impl<Out, E> Classify<Out, E> for AnyErrorIsTransient {
    fn class(&self, result: Result<&Out, &E>) -> Class {
        if result.is_ok() { Class::Ok } else { Class::Transient }
    }
}

/// Judges errors by a function; every answer is fine.
#[derive(Clone, Copy, Debug)]
pub struct ByError<F>(pub(crate) F);

impl<Out, E, F: Fn(&E) -> Class + Send + Sync> Classify<Out, E> for ByError<F> {
    fn class(&self, result: Result<&Out, &E>) -> Class {
        result.map_or_else(&self.0, |_| Class::Ok)
    }
}

/// Judges errors and answers by a function: for services that put errors into good answers.
#[derive(Clone, Copy, Debug)]
pub struct ByResult<F>(pub(crate) F);

impl<Out, E, F: Fn(Result<&Out, &E>) -> Class + Send + Sync> Classify<Out, E> for ByResult<F> {
    fn class(&self, result: Result<&Out, &E>) -> Class {
        (self.0)(result)
    }
}

/// When to ask again after a transient error, if it came from the innermost step.
pub(crate) fn hint_of<Out, E>(classify: &impl Classify<Out, E>, result: &Result<Out, Fail<E>>) -> Option<RetryAfter> {
    let fail = result.as_ref().err()?;
    let error = fail.error().filter(|_| fail.why() == Why::Inner)?;
    classify.retry_after(Err(error))
}

/// The class of a result that may have been made by a layer.
pub fn class_of<Out, E>(classify: &impl Classify<Out, E>, result: &Result<Out, Fail<E>>) -> Class {
    let fail = match result {
        Ok(out) => return classify.class(Ok(out)),
        Err(fail) => fail,
    };
    match (fail.why(), fail.error()) {
        (Why::Inner, Some(error)) => classify.class(Err(error)),
        (Why::Timeout { .. }, _) => Class::Transient,
        (Why::Limited { retry_after }, _) => Class::Throttled(Some(RetryAfter::In(retry_after))),
        (Why::Inner | Why::Deadline | Why::Open { .. } | Why::Full | Why::BudgetSpent | Why::Park { .. }, _) => {
            Class::Ignore
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_reads_what_services_send() {
        let seconds = |s: f64| Some(RetryAfter::In(Duration::from_secs_f64(s)));
        assert_eq!(RetryAfter::parse(" 120 "), seconds(120.0));
        assert_eq!(RetryAfter::parse("0"), seconds(0.0));
        assert_eq!(RetryAfter::parse("6m0s"), seconds(360.0));
        assert_eq!(RetryAfter::parse("1h2m3.5s"), seconds(3723.5));
        assert_eq!(RetryAfter::parse("88ms"), seconds(0.088));
        assert_eq!(
            RetryAfter::parse("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(RetryAfter::At(Duration::from_secs(784_111_777)))
        );
        assert_eq!(
            RetryAfter::parse("Sunday, 06-Nov-94 08:49:37 GMT"),
            Some(RetryAfter::At(Duration::from_secs(784_111_777)))
        );
    }

    #[test]
    fn retry_after_refuses_the_rest() {
        for text in ["", "soon", "-5", "5 s", "1e9", "NaN", "5x", "s", "ms5", "..", "1.2.3"] {
            assert_eq!(RetryAfter::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_enormous_wait_is_for_ever_and_does_not_panic() {
        assert_eq!(RetryAfter::parse(&"9".repeat(40)), Some(RetryAfter::In(Duration::MAX)));
    }

    #[test]
    fn a_date_that_has_passed_means_now() {
        let at = |unix| RetryAfter::At(Duration::from_secs(5)).wait(Duration::from_secs(unix));
        assert_eq!((at(9), at(5), at(2)), (Duration::ZERO, Duration::ZERO, Duration::from_secs(3)));
        assert_eq!(RetryAfter::In(Duration::from_secs(5)).wait(Duration::from_secs(9)), Duration::from_secs(5));
    }

    #[test]
    fn rejections_of_our_own_are_nobodys_business() {
        let local = |why| Err::<(), _>(Fail::<()>::local(why, crate::Label::NONE, crate::Label::NONE));
        let wait = Duration::from_secs(1);
        for why in [Why::Open { retry_after: wait }, Why::Full, Why::Deadline, Why::BudgetSpent] {
            assert_eq!(class_of(&AnyErrorIsTransient, &local(why)), Class::Ignore);
        }
        assert_eq!(class_of(&AnyErrorIsTransient, &local(Why::Timeout { limit: wait })), Class::Transient);
    }
}
