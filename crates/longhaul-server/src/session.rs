//! Sessions of the dashboard: a key is shown once and traded for a cookie that a page's scripts cannot read.
//!
//! The cookie names the key and a time, signed with what is stored of the key's secret (HMAC-SHA256). So nothing is kept
//! for a session, it outlives a restart, and it ends with its key: at once when that is revoked. The key itself is not in
//! it.
//!
//! A browser sends a cookie whoever made it ask. `SameSite=Strict` keeps other sites from it; besides, whatever could
//! change something, and a WebSocket, must come from a page of this very origin.

use axum::http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use hmac::{Hmac, KeyInit as _, Mac as _};
use longhaul_core::{ApiKey, KeyId, Span, Timestamp};
use sha2::Sha256;

/// The cookie's name.
const COOKIE: &str = "longhaul_session";

/// How long a session lasts: a working day.
pub(crate) const LASTS: Span = Span::from_secs(12 * 3_600);

/// The `Set-Cookie` that begins a session of `key`.
pub(crate) fn begin(key: &ApiKey, now: Timestamp, is_secure: bool) -> Option<HeaderValue> {
    let until = now + LASTS;
    let value = format!("{}.{}.{}", key.id, until.as_micros(), hex::encode(sign(key, until)?));
    set(&value, LASTS.as_secs(), is_secure)
}

/// The `Set-Cookie` that ends whatever session there is.
pub(crate) fn end(is_secure: bool) -> Option<HeaderValue> {
    set("", 0, is_secure)
}

fn set(value: &str, seconds: u64, is_secure: bool) -> Option<HeaderValue> {
    let secure = if is_secure { "; Secure" } else { "" };
    HeaderValue::from_str(&format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"))
        .ok()
}

fn sign(key: &ApiKey, until: Timestamp) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.secret_hash).ok()?;
    mac.update(b"longhaul session\0");
    mac.update(key.id.as_bytes());
    mac.update(&until.as_micros().to_be_bytes());
    Some(mac.finalize().into_bytes().into())
}

/// A session as it was shown; not yet believed.
pub(crate) struct Shown<'a> {
    pub(crate) key: KeyId,
    /// When it is over.
    pub(crate) until: Timestamp,
    signature: &'a str,
}

/// The session cookie of a request.
pub(crate) fn shown(headers: &HeaderMap) -> Option<Shown<'_>> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let value = cookies.flat_map(|value| value.split(';')).find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })?;
    let mut parts = value.splitn(3, '.');
    let key = parts.next()?.parse().ok()?;
    let until = Timestamp::from_micros(parts.next()?.parse().ok()?);
    Some(Shown { key, until, signature: parts.next()? })
}

impl Shown<'_> {
    /// Whether it is one of `key`'s and not over.
    pub(crate) fn is_of(&self, key: &ApiKey, now: Timestamp) -> bool {
        let Ok(signature) = hex::decode(self.signature) else { return false };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key.secret_hash) else { return false };
        mac.update(b"longhaul session\0");
        mac.update(key.id.as_bytes());
        mac.update(&self.until.as_micros().to_be_bytes());
        now < self.until && key.id == self.key && mac.verify_slice(&signature).is_ok()
    }
}

/// Whether a request that brings a session may do what it asks for: reading, or from a page of this origin.
pub(crate) fn comes_from_here(parts: &Parts) -> bool {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let only_reads = matches!(parts.method, Method::GET | Method::HEAD) && header("upgrade").is_none();
    let host = header("host").or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
    match header("origin") {
        Some(origin) => origin.split_once("://").is_some_and(|(_, theirs)| Some(theirs) == host),
        None => match header("sec-fetch-site") {
            Some(site) => matches!(site, "same-origin" | "none") || (only_reads && site == "same-site"),
            // Every browser that can open the dashboard says one or the other when something could change.
            None => only_reads,
        },
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use longhaul_core::{Ids, Scope, Tenant};

    use super::*;

    fn key(seed: u64) -> ApiKey {
        let now = Timestamp::from_micros(5);
        crate::auth::mint(&Ids::seeded(seed), now, Tenant::default_tenant(), "ci".into(), vec![Scope::Admin], None).0
    }

    fn cookie(key: &ApiKey, now: Timestamp) -> HeaderMap {
        let set = begin(key, now, false).unwrap();
        let value = set.to_str().unwrap().split(';').next().unwrap().to_owned();
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&format!("theme=dark; {value}")).unwrap())])
    }

    #[test]
    fn a_session_is_its_keys_until_it_is_over() {
        let (ours, other) = (key(1), key(2));
        let now = Timestamp::from_micros(1_000);
        let headers = cookie(&ours, now);
        let shown = shown(&headers).unwrap();
        assert_eq!(shown.key, ours.id);
        assert!(shown.is_of(&ours, now));
        assert!(!shown.is_of(&other, now));
        assert!(!shown.is_of(&ours, now + LASTS));
        let mut changed = ours.clone();
        changed.secret_hash[0] ^= 1;
        assert!(!shown.is_of(&changed, now));
    }

    #[test]
    fn a_longer_time_cannot_be_written_into_it() {
        let ours = key(1);
        let headers = cookie(&ours, Timestamp::from_micros(1_000));
        let text = headers[header::COOKIE].to_str().unwrap();
        let until = (Timestamp::from_micros(1_000) + LASTS).as_micros().to_string();
        let forged = text.replace(&until, "99999999999999999");
        let forged = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&forged).unwrap())]);
        assert!(!shown(&forged).unwrap().is_of(&ours, Timestamp::from_micros(2_000)));
    }

    #[test]
    fn only_a_page_of_this_origin_changes_anything_by_its_session() {
        let asks = |method: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).uri("/v1/jobs").header("host", "lh.example:8080");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            comes_from_here(&request.body(()).unwrap().into_parts().0)
        };
        assert!(asks("POST", &[("origin", "http://lh.example:8080")]));
        assert!(!asks("POST", &[("origin", "http://evil.example")]));
        assert!(!asks("POST", &[]));
        assert!(!asks("POST", &[("sec-fetch-site", "cross-site")]));
        assert!(asks("GET", &[]));
        assert!(!asks("GET", &[("upgrade", "websocket")]));
        assert!(asks("GET", &[("upgrade", "websocket"), ("origin", "https://lh.example:8080")]));
        assert!(!asks("GET", &[("upgrade", "websocket"), ("origin", "https://evil.example")]));
    }
}
