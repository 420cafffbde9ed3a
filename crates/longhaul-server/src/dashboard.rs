//! The dashboard at `/`: its files, as they are embedded.
//!
//! The page routes itself, so that every path under `/ui` is the same page. The files hold no secret and need no key; what
//! they ask for does. They load nothing from any other host, and the content security policy holds them to it.

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::problem::{Code, Problem};

/// The page and its files.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { page(&headers) }))
        .route("/ui", get(|headers: HeaderMap| async move { page(&headers) }))
        .route("/ui/{*path}", get(|headers: HeaderMap| async move { page(&headers) }))
        .route("/favicon.svg", get(|headers: HeaderMap| async move { file("favicon.svg", KEPT_A_DAY, &headers) }))
        .route("/assets/{name}", get(asset))
}

/// What the page may load: its own server's files and data, and nothing inline.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Names change with the content.
const KEPT: &str = "public, max-age=31536000, immutable";
const KEPT_A_DAY: &str = "public, max-age=86400";

fn page(request: &HeaderMap) -> Response {
    let mut response = file("index.html", "no-cache", request);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    response
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    file(&format!("assets/{name}"), KEPT, &headers)
}

fn file(path: &str, keep: &'static str, request: &HeaderMap) -> Response {
    let Some(file) = longhaul_ui::file(path) else {
        return Problem::new(Code::NotFound, "There is no such file; reload the page that asked for it.")
            .into_response();
    };
    let zipped = file.gzip.filter(|_| takes_gzip(request));
    // Two forms of one file are two entities.
    let form = if zipped.is_some() { "-gzip" } else { "" };
    let etag = format!("\"{}{form}\"", hex::encode(&file.digest[..8]));
    let is_known = request.get(header::IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == etag.as_bytes());
    let is_zipped = zipped.is_some();
    let mut response = match (is_known, zipped) {
        (true, _) => StatusCode::NOT_MODIFIED.into_response(),
        (false, Some(zipped)) => zipped.into_response(),
        (false, None) => file.content.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if is_zipped && !is_known {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

fn takes_gzip(request: &HeaderMap) -> bool {
    let offered = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    offered.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        is_gzip && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(path: &str, coding: Option<&str>) -> Response {
        let mut request = Request::get(path);
        if let Some(coding) = coding {
            request = request.header("accept-encoding", coding);
        }
        router::<()>().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn every_path_of_the_page_is_the_page_and_its_files_are_kept_for_ever() {
        let page = get("/ui/jobs/job_1", None).await;
        assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
        assert_eq!(page.headers()["cache-control"], "no-cache");
        let html = String::from_utf8(to_bytes(page.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap();
        let script = html.split('"').find(|part| part.starts_with("/assets/") && part.ends_with(".js")).unwrap();
        let whole = get(script, None).await;
        assert_eq!(whole.headers()["cache-control"], KEPT);
        assert!(whole.headers().get("content-encoding").is_none());
        let zipped = get(script, Some("br, gzip")).await;
        assert_eq!(zipped.headers()["content-encoding"], "gzip");
        assert_ne!(zipped.headers()["etag"], whole.headers()["etag"]);
        assert_eq!(get(script, Some("gzip;q=0")).await.headers().get("content-encoding"), None);
        assert!(!html.contains("<script>") && !html.contains("http://") && !html.contains("https://"));
    }

    #[tokio::test]
    async fn the_first_load_is_small() {
        let html = longhaul_ui::file("index.html").unwrap();
        let text = String::from_utf8(html.content.to_vec()).unwrap();
        let loaded = text.split('"').filter_map(|part| part.strip_prefix('/')).filter_map(longhaul_ui::file);
        let bytes: usize = loaded.map(|file| file.gzip.map_or(file.content.len(), |zipped| zipped.len())).sum();
        assert!((1..250 * 1024).contains(&bytes), "{bytes} bytes");
    }

    #[tokio::test]
    async fn what_is_not_there_is_a_problem() {
        assert_eq!(get("/assets/none.js", None).await.status(), 404);
        assert_eq!(get("/assets/..%2Findex.html", None).await.status(), 404);
    }
}
