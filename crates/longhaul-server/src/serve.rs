//! Puts the parts together: routes, the documents about them, and the layers around all of it.

use axum::{Router, response::Response, routing::get};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use tower::util::option_layer;

use crate::{
    app::App,
    auth::AnyKey,
    cors::{CorsError, CorsOptions, cors_layer},
    dashboard, docs_page,
    observe::Observe,
    problem::{Problem, no_such_method, no_such_route},
    request_id::{RequestId, RequestIdLayer},
    routes,
    security_headers::hardening_layer,
};

/// What the layers around the routes need to know.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// Whether `/openapi.json`, `/docs` and `/metrics` are open to everybody who can connect; else they need a key.
    pub open_documents: bool,
    /// Which web pages may call the API.
    pub cors: CorsOptions,
}

/// Everything that a listener serves.
///
/// # Errors
/// When an origin of `cors` is none.
pub fn application(app: App, options: &ServeOptions) -> Result<Router, CorsError> {
    let ids = app.engine().ids().clone();
    let clock = app.engine().clock().clone();
    let (api, document) = routes::router(app.clone());
    let document = Bytes::from(document);
    let is_open = options.open_documents;
    let show = move |state: axum::extract::State<App>, parts: http::request::Parts| async move {
        show_document(state.0, parts, is_open, document).await
    };
    let scrape = move |state: axum::extract::State<App>, parts: http::request::Parts| async move {
        routes::metrics::show(state.0, parts, is_open).await
    };
    let observe = Observe { telemetry: app.telemetry().clone(), clock: clock.clone(), ids: ids.clone() };
    let documents = Router::new().route("/openapi.json", get(show)).route("/metrics", get(scrape)).with_state(app);
    let request_ids = RequestIdLayer::new(move || RequestId::from_u128(ids.uuid(clock.now()).as_u128()));
    let router = api.merge(documents).merge(docs_page::router()).merge(dashboard::router());
    let router = router.fallback(no_such_route).method_not_allowed_fallback(no_such_method);
    // The outermost first, and together: put on one by one, each would cost a box and a clone of all below it per request.
    let around = (request_ids, option_layer(cors_layer(&options.cors)?), observe, hardening_layer());
    Ok(router.layer(around))
}

async fn show_document(
    app: App,
    mut parts: http::request::Parts,
    is_open: bool,
    document: Bytes,
) -> Result<Response, Problem> {
    if !is_open {
        <AnyKey as axum::extract::FromRequestParts<App>>::from_request_parts(&mut parts, &app).await?;
    }
    let mut response = Response::new(axum::body::Body::from(document));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The OpenAPI document, for those who want it without a server.
pub fn openapi_document() -> String {
    routes::document()
}

#[cfg(test)]
mod tests {
    /// `openapi.json` is committed for clients and generators; `UPDATE=1` writes it anew.
    #[test]
    fn the_committed_document_is_what_the_server_serves() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi.json");
        let served = super::openapi_document();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &served).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == served, "openapi.json is stale: UPDATE=1 cargo nextest run -p longhaul-server openapi");
    }
}
