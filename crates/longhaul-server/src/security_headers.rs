//! Headers that keep a browser from making more of an answer than it is.
//!
//! An API answers JSON to programs; a browser that is led to one of its answers must neither run it nor frame it.
//! Pages of our own set their own, wider policy, which is kept.

use axum::response::Response;
use http::{HeaderName, HeaderValue, header};
use tower::util::MapResponseLayer;

const DEFAULTS: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Adds the headers to an answer that does not have them.
pub fn harden(response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in DEFAULTS {
        headers.entry(name).or_insert(value);
    }
}

/// [`harden`] as a layer, without a box per request.
///
/// ```
/// use longhaul_server::security_headers::hardening_layer;
/// let app: axum::Router = axum::Router::new().layer(hardening_layer());
/// ```
pub fn hardening_layer() -> MapResponseLayer<fn(Response) -> Response> {
    MapResponseLayer::new(|mut response| {
        harden(&mut response);
        response
    })
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_hardened_and_a_page_keeps_its_own_policy() {
        let router =
            Router::new().route("/", get(|| async { "{}" })).merge(crate::docs_page::router()).layer(hardening_layer());
        let get = |path: &str| Request::get(path).body(Body::empty()).expect("a request");
        let answer = router.clone().oneshot(get("/")).await.expect("an answer");
        assert_eq!(answer.headers()["content-security-policy"], "default-src 'none'; frame-ancestors 'none'");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let page = router.oneshot(get("/docs")).await.expect("an answer");
        let policies: Vec<_> = page.headers().get_all("content-security-policy").iter().collect();
        assert!(policies.len() == 1 && policies[0].to_str().is_ok_and(|policy| policy.contains("script-src 'self'")));
    }
}
