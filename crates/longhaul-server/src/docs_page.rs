//! `/docs`: the API reference as a page that needs nothing but this server.
//!
//! A static page whose script renders `/openapi.json`, and `/docs/errors`, the list of codes, rendered here. Neither
//! asks any other host for anything, and the content security policy holds them to it: no inline script, no inline
//! style, no framing. Assets carry a digest of their content in their names and may be kept for ever; the pages are
//! asked for again each time and answered 304 when they are the same.

use std::{fmt::Write as _, sync::LazyLock};

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sha2::{Digest as _, Sha256};

use crate::problem::{Code, Problem};

/// `/docs`, `/docs/errors` and their assets. They hold no secret and need no key.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/docs", get(|headers: HeaderMap| async move { page(&PAGES.reference, &headers) }))
        .route("/docs/errors", get(|headers: HeaderMap| async move { page(&PAGES.errors, &headers) }))
        .route("/docs/assets/{name}", get(asset))
}

/// What a page of ours may load: its own server's files, and nothing inline.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct Asset {
    /// `docs-0123456789ab.js`
    name: String,
    media_type: &'static str,
    content: &'static str,
}

struct Page {
    html: String,
    etag: String,
}

struct Pages {
    assets: [Asset; 2],
    reference: Page,
    errors: Page,
}

static PAGES: LazyLock<Pages> = LazyLock::new(|| {
    let asset = |stem: &str, extension: &str, media_type, content: &'static str| Asset {
        name: format!("{stem}-{}.{extension}", digest(content)),
        media_type,
        content,
    };
    let script = asset("docs", "js", "text/javascript; charset=utf-8", include_str!("../assets/docs/docs.js"));
    let style = asset("docs", "css", "text/css; charset=utf-8", include_str!("../assets/docs/docs.css"));
    let page = |template: &str| {
        let html = template
            .replace("{{docs.js}}", &format!("/docs/assets/{}", script.name))
            .replace("{{docs.css}}", &format!("/docs/assets/{}", style.name))
            .replace("{{errors}}", &errors_list());
        let etag = format!("\"{}\"", digest(&html));
        Page { html, etag }
    };
    let reference = page(include_str!("../assets/docs/index.html"));
    let errors = page(include_str!("../assets/docs/errors.html"));
    Pages { assets: [script, style], reference, errors }
});

fn digest(content: &str) -> String {
    Sha256::digest(content).iter().take(6).fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn page(page: &'static Page, request: &HeaderMap) -> Response {
    let fresh = request.get(header::IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == page.etag.as_bytes());
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, page.etag.as_str()),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    let mut response =
        if fresh { StatusCode::NOT_MODIFIED.into_response() } else { page.html.as_str().into_response() };
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

async fn asset(Path(name): Path<String>) -> Response {
    let Some(asset) = PAGES.assets.iter().find(|asset| asset.name == name) else {
        return Problem::new(Code::NotFound, "There is no such file; reload the page that asked for it.")
            .into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, asset.content).into_response()
}

/// The codes as sections, each with its word as anchor, since problems' `type` leads there.
fn errors_list() -> String {
    let mut html = String::new();
    for &code in Code::ALL {
        let again = if code.retryable() { " · the same request may succeed later" } else { "" };
        let _infallible = write!(
            html,
            "<section class=\"error\" id=\"{name}\"><h3><code>{name}</code></h3>\n<p class=\"quiet\">{status} {title}{again}</p>\n\
             <p>{doc}</p></section>\n",
            name = code.as_str(),
            status = code.status().as_u16(),
            title = escaped(code.title()),
            doc = with_code(code.doc().trim()),
        );
    }
    html
}

/// Prose with `code` between back quotes, as HTML.
fn with_code(markdown: &str) -> String {
    let mut html = String::new();
    for (index, part) in markdown.split('`').enumerate() {
        match index % 2 {
            0 => html.push_str(&escaped(part)),
            _ => html.extend(["<code>", &escaped(part), "</code>"]),
        }
    }
    html
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn fetched(path: &str, etag: Option<&str>) -> (http::response::Parts, String) {
        let mut request = Request::get(path).body(Body::empty()).expect("a request");
        if let Some(etag) = etag {
            request.headers_mut().insert(header::IF_NONE_MATCH, etag.parse().expect("a value"));
        }
        let (parts, body) = router::<()>().oneshot(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (parts, String::from_utf8(body.to_vec()).expect("text"))
    }

    /// The values of an attribute, in order.
    fn attribute<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
        let begin = format!(" {name}=\"");
        html.split(&begin).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[tokio::test]
    async fn the_pages_load_only_files_that_this_server_has() {
        for path in ["/docs", "/docs/errors"] {
            let (parts, html) = fetched(path, None).await;
            assert_eq!(parts.headers["content-type"], "text/html; charset=utf-8");
            assert!(!html.contains("{{"), "a placeholder is left in {path}");
            let mut assets = attribute(&html, "src");
            assets.extend(attribute(&html, "href").into_iter().filter(|href| href.starts_with("/docs/assets/")));
            assert!(!assets.is_empty());
            for asset in assets {
                let (parts, _) = fetched(asset, None).await;
                assert_eq!(parts.status, 200, "{asset}");
                assert_eq!(parts.headers["cache-control"], "public, max-age=31536000, immutable");
                assert_eq!(parts.headers["x-content-type-options"], "nosniff");
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_inline_and_no_other_host_is_named() {
        for path in ["/docs", "/docs/errors"] {
            let (parts, html) = fetched(path, None).await;
            let policy = parts.headers["content-security-policy"].to_str().expect("text");
            assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
            assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("<style"));
            for script in html.split("<script").skip(1) {
                assert!(script.starts_with(" src=\"/docs/") && script.contains("defer></script>"), "{script}");
            }
        }
    }

    #[test]
    fn the_script_makes_text_and_never_markup() {
        let script = PAGES.assets[0].content;
        for sink in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", ".src ="]
        {
            assert!(!script.contains(sink), "{sink}");
        }
    }

    #[tokio::test]
    async fn a_page_that_is_the_same_is_not_sent_again() {
        let (parts, _) = fetched("/docs", None).await;
        let etag = parts.headers["etag"].to_str().expect("text").to_owned();
        let (again, body) = fetched("/docs", Some(&etag)).await;
        assert_eq!((again.status.as_u16(), body.len()), (304, 0));
    }

    #[tokio::test]
    async fn every_code_has_the_anchor_that_its_type_leads_to() {
        let (_, html) = fetched("/docs/errors", None).await;
        for code in Code::ALL {
            let anchor = code.type_uri().replace("/docs/errors#", "");
            assert!(html.contains(&format!("id=\"{anchor}\"")), "{code}");
        }
    }

    #[tokio::test]
    async fn an_asset_of_another_version_is_told_apart_from_a_fault() {
        assert_eq!(fetched("/docs/assets/docs-000000000000.js", None).await.0.status, 404);
    }
}
