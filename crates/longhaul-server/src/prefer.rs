//! What a client would like: `Prefer: wait=N` (RFC 7240), `Idempotency-Key`, `If-None-Match`.

use axum::http::{HeaderMap, HeaderValue, header::IF_NONE_MATCH};
use longhaul_core::{Span, Timestamp};
use longhaul_engine::store::Idempotency;
use sha2::{Digest as _, Sha256};

use crate::problem::{Code, Problem};

/// The longest wait that is granted, in seconds.
pub(crate) const WAIT_MOST: u64 = 60;

/// How long an idempotency key is kept at least.
const KEY_KEPT: Span = Span::from_secs(86_400);

/// How long the client would wait for the end of what it submits. A preference that cannot be read is none: RFC 7240
/// lets a server ignore what it does not understand.
pub(crate) fn wait(headers: &HeaderMap) -> Option<Span> {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut waits = preferences.flat_map(|value| value.split([',', ';'])).filter_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse::<u64>().ok())?
    });
    waits.next().map(|seconds| Span::from_secs(seconds.min(WAIT_MOST)))
}

/// Whether the client would rather have a receipt than wait.
pub(crate) fn respond_async(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferences.flat_map(|value| value.split([',', ';'])).any(|word| word.trim().eq_ignore_ascii_case("respond-async"))
}

/// What the client knows of a job already.
pub(crate) struct Known<'h> {
    /// The version.
    pub(crate) version: u64,
    /// The tag as it came; see `routes::jobs::view::etag`.
    pub(crate) tag: Option<&'h HeaderValue>,
}

impl<'h> Known<'h> {
    /// From `If-None-Match`. A tag that is none of ours is as good as none.
    pub(crate) fn of(headers: &'h HeaderMap) -> Option<Self> {
        let tag = headers.get(IF_NONE_MATCH)?;
        let text = tag.to_str().ok()?.trim().trim_start_matches("W/").trim_matches('"');
        let (version, is_whole) = text.split_once('-').map_or((text, false), |(version, _)| (version, true));
        Some(Self { version: version.parse().ok()?, tag: is_whole.then_some(tag) })
    }

    /// Whether it asks for another version, and for nothing else that changes.
    pub(crate) fn is_version_alone(&self) -> bool {
        self.tag.is_none()
    }
}

/// The idempotency key of a request, with the fingerprint of its body.
pub(crate) fn idempotency(
    headers: &HeaderMap,
    route: &'static str,
    body: &[u8],
    now: Timestamp,
) -> Result<Option<Idempotency>, Problem> {
    let Some(key) = idempotency_key(headers)? else { return Ok(None) };
    Ok(Some(kept(key, route, Sha256::digest(body).into(), now)))
}

/// A key as it is kept from `now` on.
pub(crate) fn kept(key: [u8; 32], route: &'static str, fingerprint: [u8; 32], now: Timestamp) -> Idempotency {
    Idempotency { route, key, fingerprint, keep_until: now + KEY_KEPT }
}

/// The hash of the request's idempotency key.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<[u8; 32]>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let is_sane = (1..=255).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
    if !is_sane {
        return Err(Problem::new(
            Code::MalformedRequest,
            "The Idempotency-Key header must be 1 to 255 visible ASCII characters.",
        ));
    }
    Ok(Some(Sha256::digest(value.as_bytes()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefer(value: &'static str) -> Option<Span> {
        wait(&HeaderMap::from_iter([("prefer".parse().unwrap(), HeaderValue::from_static(value))]))
    }

    #[test]
    fn a_wait_is_read_and_bounded() {
        assert_eq!(prefer("wait=10"), Some(Span::from_secs(10)));
        assert_eq!(prefer("respond-async, wait=\"5\""), Some(Span::from_secs(5)));
        assert_eq!(prefer("wait=9999"), Some(Span::from_secs(60)));
        assert_eq!(prefer("wait=soon"), None);
    }
}
