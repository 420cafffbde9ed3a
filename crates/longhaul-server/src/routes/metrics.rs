//! `GET /metrics`: see [`crate::metrics`].

use axum::{
    body::Body,
    extract::FromRequestParts as _,
    http::{HeaderValue, header, request::Parts},
    response::Response,
};
use longhaul_core::Tenant;

use crate::{
    app::App,
    auth::Read,
    metrics::{CONTENT_TYPE, rendered},
    problem::{Code, Problem},
};

/// The page. Unless it `is_open` it needs a key that may read jobs, and the figures are the installation's: only keys of the
/// tenant `default` see them.
pub(crate) async fn show(app: App, mut parts: Parts, is_open: bool) -> Result<Response, Problem> {
    // Without keys this machine may ask and no web page of another site: that is looked at even where the page is open.
    if !is_open || app.0.keys.is_empty() {
        let Read(caller) = Read::from_request_parts(&mut parts, &app).await?;
        if caller.tenant != Tenant::default_tenant() {
            let detail = "The figures are the installation's; only keys of the tenant `default` may see them.";
            return Err(Problem::new(Code::Forbidden, detail));
        }
    }
    let page = rendered(&app).await.map_err(|error| {
        tracing::error!(%error, "the figures could not be written");
        Problem::new(Code::Internal, "The figures could not be written.")
    })?;
    let mut response = Response::new(Body::from(page));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    Ok(response)
}
