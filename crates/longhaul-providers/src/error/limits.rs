//! What headers say about patience: when to come back, how much is left.
//!
//! Vendors disagree on names and on forms of time: seconds, `6m0s`, `120ms`, seconds or milliseconds since the epoch,
//! RFC 3339, HTTP dates. All of them are read here, against the time at which the reply came.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::exchange::Head;

/// A wait that no vendor means; longer ones are taken as this. Keeps sums of times far from overflow.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

/// How much of one allowance is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// Of what, in the vendor's words: `requests`, `tokens`, `input-tokens`, `requests-day`.
    pub of: String,
    /// The whole allowance.
    pub limit: Option<u64>,
    /// What is left of it.
    pub remaining: Option<u64>,
    /// When it is whole again, counted from the reply.
    pub reset_after: Option<Duration>,
}

/// What the headers of a reply say about limits. Empty if they say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RateLimits(pub Vec<RateLimit>);

impl RateLimits {
    /// How long the next call must wait: the longest reset among the allowances that are used up. `None` if none
    /// is, or none of those says when.
    pub fn hold(&self) -> Option<Duration> {
        self.0.iter().filter(|limit| limit.remaining == Some(0)).filter_map(|limit| limit.reset_after).max()
    }

    /// Reads the headers of OpenAI and those that follow it: `x-ratelimit-{limit,remaining,reset}[-{of}]`, and
    /// `ratelimit-…` of the IETF draft.
    pub fn openai(head: Head<'_>) -> Self {
        Self::collect(head, |name| {
            let rest = name.strip_prefix("x-ratelimit-").or_else(|| name.strip_prefix("ratelimit-"))?;
            let (figure, of) = rest.split_once('-').unwrap_or((rest, "requests"));
            Some((Figure::named(figure)?, of))
        })
    }

    /// Reads the headers of Anthropic: `anthropic-ratelimit-{of}-{limit,remaining,reset}`.
    pub fn anthropic(head: Head<'_>) -> Self {
        Self::collect(head, |name| {
            let (of, figure) = name.strip_prefix("anthropic-ratelimit-")?.rsplit_once('-')?;
            Some((Figure::named(figure)?, of))
        })
    }

    fn collect<'a>(head: Head<'a>, sort: impl Fn(&'a str) -> Option<(Figure, &'a str)>) -> Self {
        let mut limits: Vec<RateLimit> = Vec::new();
        for (name, value) in head.headers {
            let (Some((figure, of)), Ok(value)) = (sort(name.as_str()), value.to_str()) else { continue };
            let at = limits.iter().position(|limit| limit.of == of).unwrap_or_else(|| {
                limits.push(RateLimit { of: of.to_owned(), limit: None, remaining: None, reset_after: None });
                limits.len() - 1
            });
            let Some(slot) = limits.get_mut(at) else { continue };
            match figure {
                Figure::Limit => slot.limit = count(value),
                Figure::Remaining => slot.remaining = count(value),
                Figure::Reset => slot.reset_after = wait(value, head.received_at),
            }
        }
        limits.sort_by(|a, b| a.of.cmp(&b.of));
        Self(limits)
    }
}

#[derive(Clone, Copy)]
enum Figure {
    Limit,
    Remaining,
    Reset,
}

impl Figure {
    fn named(name: &str) -> Option<Self> {
        match name {
            "limit" => Some(Self::Limit),
            "remaining" => Some(Self::Remaining),
            "reset" => Some(Self::Reset),
            _ => None,
        }
    }
}

/// A count, of which some vendors send a negative or a fractional one: less than one is nothing left.
fn count(value: &str) -> Option<u64> {
    let value = value.trim();
    if let Ok(count) = value.parse() {
        return Some(count);
    }
    // `as` saturates and takes a negative number to zero.
    value.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number as u64)
}

/// How long a reply asks to be left alone: `retry-after-ms`, Azure's `x-ms-retry-after-ms`, then `retry-after` in
/// seconds or as an HTTP date. A date that has passed is no wait at all.
pub fn retry_after(head: Head<'_>) -> Option<Duration> {
    ["retry-after-ms", "x-ms-retry-after-ms"]
        .into_iter()
        .find_map(|name| number(head.header(name)?))
        .and_then(|milliseconds| seconds(milliseconds / 1000.0))
        .or_else(|| wait(head.header("retry-after")?, head.received_at))
}

/// Reads `Please try again in 6m0s.`, which is all that some errors inside streams have.
pub(super) fn wait_in_message(message: &str) -> Option<Duration> {
    let (_, rest) = message.split_once("try again in ")?;
    let word = rest.split([' ', ',']).next()?.trim_end_matches('.');
    match number(word) {
        // "in 20 seconds"
        Some(amount) if rest.get(word.len()..)?.trim_start().starts_with("second") => seconds(amount),
        Some(_) => None,
        None => with_units(word),
    }
}

/// A wait, from any form that a vendor writes it in.
pub(crate) fn wait(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Some(number) = number(value) {
        // Large numbers are points in time: seconds since the epoch from 2001 on, milliseconds from 1973 on.
        return match number {
            n if n >= 1e11 => Some(until(UNIX_EPOCH + seconds_raw(n / 1000.0)?, now)),
            n if n >= 1e9 => Some(until(UNIX_EPOCH + seconds_raw(n)?, now)),
            n => seconds(n),
        };
    }
    if let Some(wait) = with_units(value) {
        return Some(wait);
    }
    if let Ok(date) = httpdate::parse_http_date(value) {
        return Some(until(date, now));
    }
    let at: jiff::Timestamp = value.parse().ok()?;
    Some(until(SystemTime::from(at), now))
}

fn until(at: SystemTime, now: SystemTime) -> Duration {
    at.duration_since(now).unwrap_or_default().min(LONGEST_WAIT)
}

fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    plain.then(|| text.parse().ok()).flatten()
}

fn seconds(amount: f64) -> Option<Duration> {
    Some(seconds_raw(amount)?.min(LONGEST_WAIT))
}

/// `None` for what a duration cannot hold. Bounded so that it can be added to the epoch.
fn seconds_raw(amount: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(amount.min(1e12)).ok()
}

/// `6m0s`, `1.5s`, `250ms`, `2h`, `1d`.
pub(crate) fn with_units(mut text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let amount = number(text.get(..digits)?)?;
        let rest = text.get(digits..)?;
        let unit = rest.get(..rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len()))?;
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total = total.saturating_add(seconds(amount * factor)?).min(LONGEST_WAIT);
        text = rest.get(unit.len()..)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
    use proptest::prelude::*;

    /// 2026-01-01T00:00:00Z.
    const NOW: u64 = 1_767_225_600;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn head(headers: &HeaderMap) -> Head<'_> {
        Head { status: StatusCode::TOO_MANY_REQUESTS, headers, received_at: now() }
    }

    #[test]
    fn every_form_of_a_wait_is_read() {
        let forms = [
            ("20", 20_000),
            ("1.5", 1_500),
            ("6m0s", 360_000),
            ("120ms", 120),
            ("2m59.56s", 179_560),
            ("1h2m3s", 3_723_000),
            ("1767225630", 30_000),
            ("1767225630500", 30_500),
            ("Thu, 01 Jan 2026 00:00:30 GMT", 30_000),
            ("2026-01-01T00:00:30Z", 30_000),
            ("2025-12-31T23:59:00Z", 0),
            ("0", 0),
        ];
        for (form, milliseconds) in forms {
            assert_eq!(wait(form, now()), Some(Duration::from_millis(milliseconds)), "{form}");
        }
        for nonsense in ["", "soon", "-1", "5 apples", "1.2.3", "NaN", "inf"] {
            assert_eq!(wait(nonsense, now()), None, "{nonsense}");
        }
    }

    #[test]
    fn milliseconds_go_before_seconds() {
        let all = headers(&[("retry-after", "20"), ("retry-after-ms", "1500")]);
        assert_eq!(retry_after(head(&all)), Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn openai_headers_hold_the_next_call_until_the_used_up_allowance_is_back() {
        let all = headers(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ]);
        let limits = RateLimits::openai(head(&all));
        assert_eq!(limits.0.len(), 2);
        assert_eq!(limits.hold(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn anthropic_headers_are_read_against_the_time_of_the_reply() {
        let all = headers(&[
            ("anthropic-ratelimit-input-tokens-limit", "50000"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-01-01T00:00:10Z"),
        ]);
        assert_eq!(RateLimits::anthropic(head(&all)).hold(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_wait_in_prose_is_read() {
        let wait = |text| wait_in_message(text).map(|wait| wait.as_millis());
        assert_eq!(wait("Rate limit reached. Please try again in 6m0s. Visit x"), Some(360_000));
        assert_eq!(wait("Please try again in 20ms."), Some(20));
        assert_eq!(wait("Please try again in 20 seconds."), Some(20_000));
        assert_eq!(wait("Please try again in a while"), None);
    }

    proptest! {
        #[test]
        fn no_header_value_panics(value in "\\PC{0,40}", digits in "[0-9.]{0,400}[a-z]{0,2}") {
            for value in [value.as_str(), digits.as_str()] {
                let _ = wait(value, now());
                let _ = count(value);
                let _ = wait_in_message(&format!("try again in {value}"));
            }
        }
    }
}
