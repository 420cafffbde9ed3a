//! Which web pages may call this API from a browser: none, unless the configuration names them.
//!
//! Keys travel in headers that scripts set themselves, never in cookies, so credentials are not allowed across
//! origins; with `*` that would hand every page on the web whatever the browser holds.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// The configuration of `server.cors`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CorsOptions {
    /// Origins such as `https://app.example.com` or `http://localhost:5173`; `*` alone for every page. Empty: off.
    pub origins: Vec<String>,
    /// Whether browsers may send cookies along. Refused together with `*`.
    pub credentials: bool,
}

/// A list of origins that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CorsError {
    /// An entry that is no origin.
    #[error("CORS origin {origin:?} {reason}")]
    BadOrigin {
        /// The entry as it was written.
        origin: String,
        /// What is wrong with it, and what to write.
        reason: String,
    },
    /// Every page on the web would act with the cookies of whoever visits it.
    #[error("CORS cannot allow every origin (\"*\") together with credentials; name the origins")]
    EverythingWithCredentials,
    /// The one entry makes the others pointless; one of the two is a mistake.
    #[error("CORS origin \"*\" allows every origin; remove it or the others")]
    EverythingAmongOthers,
}

/// The layer for this configuration; `None` when CORS is off.
///
/// # Errors
/// [`CorsError`] names the origin that cannot be used.
pub fn cors_layer(options: &CorsOptions) -> Result<Option<CorsLayer>, CorsError> {
    if options.origins.is_empty() {
        return Ok(None);
    }
    let everything = options.origins.iter().any(|origin| origin == "*");
    let allowed = match (everything, options.origins.len(), options.credentials) {
        (true, _, true) => return Err(CorsError::EverythingWithCredentials),
        (true, 2.., _) => return Err(CorsError::EverythingAmongOthers),
        (true, ..) => AllowOrigin::any(),
        (false, ..) => AllowOrigin::list(options.origins.iter().map(|o| origin(o)).collect::<Result<Vec<_>, _>>()?),
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_credentials(options.credentials)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        // Vendors' SDKs send headers of their own, whose names change; what matters is who sends them.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(ANSWER_HEADERS)
        .max_age(Duration::from_secs(3_600));
    Ok(Some(layer))
}

/// What scripts may read of an answer.
const ANSWER_HEADERS: [HeaderName; 17] = [
    header::LOCATION,
    header::RETRY_AFTER,
    header::ETAG,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("preference-applied"),
    HeaderName::from_static("idempotency-replayed"),
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("longhaul-attempts"),
    HeaderName::from_static("longhaul-cache"),
    HeaderName::from_static("longhaul-cost-microusd"),
    HeaderName::from_static("longhaul-degraded"),
    HeaderName::from_static("longhaul-ignored"),
    HeaderName::from_static("longhaul-latency-ms"),
    HeaderName::from_static("longhaul-provider"),
    HeaderName::from_static("longhaul-target"),
    HeaderName::from_static("ratelimit"),
];

/// Browsers compare origins as text, so only the exact form that they send can ever match.
fn origin(text: &str) -> Result<HeaderValue, CorsError> {
    let bad = |reason: String| Err(CorsError::BadOrigin { origin: text.to_owned(), reason });
    let Ok(uri) = text.parse::<Uri>() else {
        return bad("is no origin; write it as https://app.example.com".to_owned());
    };
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return bad("needs a scheme and a host, as https://app.example.com".to_owned());
    };
    let default_port = match (scheme, authority.port_u16()) {
        ("http", Some(80)) | ("https", Some(443)) => format!(":{}", authority.port_u16().unwrap_or_default()),
        _ => String::new(),
    };
    let exact = format!("{scheme}://{}", authority.as_str().trim_end_matches(&default_port).to_ascii_lowercase());
    if authority.as_str().contains('@') || authority.as_str().contains('*') {
        return bad("names no single host; list each origin".to_owned());
    }
    if exact != text {
        return bad(format!("is not as browsers send it; write {exact}"));
    }
    HeaderValue::from_str(text).or_else(|_| bad("is no origin".to_owned()))
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use http::{HeaderMap, Request};
    use tower::ServiceExt as _;

    use super::*;

    fn options(origins: &[&str], credentials: bool) -> CorsOptions {
        CorsOptions { origins: origins.iter().map(|origin| (*origin).to_owned()).collect(), credentials }
    }

    fn said(origins: &[&str], credentials: bool) -> String {
        cors_layer(&options(origins, credentials)).expect_err("unusable").to_string()
    }

    async fn preflight(origins: &[&str], from: &str) -> HeaderMap {
        let layer = cors_layer(&options(origins, false)).expect("usable").expect("on");
        let router = Router::new().route("/", get(|| async {})).layer(layer);
        let request = Request::options("/")
            .header("origin", from)
            .header("access-control-request-method", "POST")
            .body(Body::empty())
            .expect("a request");
        router.oneshot(request).await.expect("an answer").headers().clone()
    }

    #[test]
    fn cors_is_off_by_default() {
        assert!(matches!(cors_layer(&CorsOptions::default()), Ok(None)));
    }

    #[tokio::test]
    async fn a_named_origin_may_and_another_may_not() {
        let named = preflight(&["https://app.example.com"], "https://app.example.com").await;
        assert_eq!(named["access-control-allow-origin"], "https://app.example.com");
        let other = preflight(&["https://app.example.com"], "https://app.example.com.evil.test").await;
        assert!(!other.contains_key("access-control-allow-origin"));
    }

    #[tokio::test]
    async fn every_origin_may_when_asked_for() {
        assert_eq!(preflight(&["*"], "https://any.test").await["access-control-allow-origin"], "*");
    }

    #[test]
    fn what_is_wrong_with_an_origin_is_said() {
        insta::assert_debug_snapshot!([
            said(&["https://app.example.com/"], false),
            said(&["https://App.example.com"], false),
            said(&["https://app.example.com:443"], false),
            said(&["https://app.example.com/path"], false),
            said(&["app.example.com"], false),
            said(&["ftp://app.example.com"], false),
            said(&["https://*.example.com"], false),
            said(&["https://user@example.com"], false),
            said(&["not an origin"], false),
            said(&["*"], true),
            said(&["*", "https://app.example.com"], false),
        ]);
    }

    #[test]
    fn credentials_go_with_named_origins() {
        assert!(cors_layer(&options(&["http://localhost:5173"], true)).is_ok());
    }
}
