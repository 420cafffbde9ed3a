//! All routes, in one list that is also the OpenAPI document's.

pub(crate) mod anthropic;
mod documents;
pub(crate) mod events;
mod health;
pub(crate) mod jobs;
mod keys;
mod kinds;
pub(crate) mod metrics;
pub(crate) mod openai;
mod presets;
mod queues;
mod session;
mod worker;

use axum::{Extension, Router, extract::DefaultBodyLimit};
use utoipa::OpenApi as _;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::{App, Limits},
    facade::{InWordsOf, Vendor},
    json::{BodyLimit, DepthLimit},
    openapi,
};

/// What a key and the names around it take, in bytes.
const SIGN_IN_BODY: usize = 4 * 1024;

/// Every route of the API with its description.
fn api(limits: &Limits) -> OpenApiRouter<App> {
    // Layers are put on together and where they are needed: each time costs a box per request.
    let depth = Extension(DepthLimit(limits.json_depth));
    // What comes in bulk: many jobs at once, and what workers hand in.
    let bulk = OpenApiRouter::new()
        .routes(routes!(jobs::create::create_many))
        .routes(routes!(worker::attempt::checkpoint))
        .routes(routes!(worker::attempt::complete))
        .routes(routes!(worker::many::complete_many))
        .routes(routes!(worker::children::spawn, worker::children::read))
        .layer((Extension(BodyLimit(limits.bulk_body)), depth));
    let uploads = OpenApiRouter::new()
        .routes(routes!(documents::upload))
        .routes(routes!(documents::upload_short))
        // The route counts the bytes of the document itself while it streams them; this bounds all of the body.
        .layer(DefaultBodyLimit::max(usize::try_from(limits.upload).unwrap_or(usize::MAX).saturating_add(1 << 20)));
    let rest = OpenApiRouter::new()
        .routes(routes!(jobs::create::create, jobs::read::list))
        .routes(routes!(jobs::read::show, jobs::act::erase))
        .routes(routes!(jobs::read::result))
        .routes(routes!(jobs::read::events))
        .routes(routes!(jobs::read::attempts))
        .routes(routes!(jobs::act::cancel))
        .routes(routes!(jobs::act::retry))
        .routes(routes!(jobs::act::answer))
        .routes(routes!(jobs::read::children))
        .routes(routes!(events::socket::connect))
        .routes(routes!(events::stats::show))
        .routes(routes!(kinds::list))
        .routes(routes!(kinds::register))
        .routes(routes!(queues::list))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(documents::show, documents::remove))
        .routes(routes!(documents::search))
        .routes(routes!(presets::process))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::revoke))
        .routes(routes!(presets::show_job))
        .routes(routes!(presets::process_short))
        .routes(routes!(presets::create_analysis))
        .routes(routes!(presets::analysis_status))
        .routes(routes!(presets::analysis_result))
        .routes(routes!(worker::claims::claim))
        .routes(routes!(worker::attempt::heartbeat))
        .routes(routes!(worker::stream::output))
        .routes(routes!(worker::stream::wait))
        .routes(routes!(worker::attempt::fail))
        .routes(routes!(worker::attempt::release))
        .routes(routes!(openai::models::stack))
        .routes(routes!(openai::models::set_breaker))
        .routes(routes!(openai::models::purge))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .layer((Extension(BodyLimit(limits.json_body)), depth));
    // Open to everybody, so it takes no more than a key.
    let sign_in = OpenApiRouter::new()
        .routes(routes!(session::begin, session::end, session::show))
        .layer((Extension(BodyLimit(SIGN_IN_BODY)), depth));
    let openai = OpenApiRouter::new()
        .routes(routes!(openai::chat::create))
        .routes(routes!(openai::embeddings::create))
        .routes(routes!(openai::models::list))
        .routes(routes!(openai::models::show))
        .routes(routes!(openai::responses::create::create))
        .routes(routes!(openai::responses::stored::show, openai::responses::stored::remove))
        .routes(routes!(openai::responses::stored::cancel))
        .routes(routes!(openai::responses::stored::input_items))
        .layer(InWordsOf(Vendor::OpenAi));
    let anthropic = OpenApiRouter::new().routes(routes!(anthropic::create)).layer(InWordsOf(Vendor::Anthropic));
    let ours = rest.merge(sign_in).merge(bulk).merge(uploads);
    OpenApiRouter::with_openapi(openapi::Description::openapi()).merge(ours).merge(openai).merge(anthropic)
}

/// The API, and its OpenAPI document as JSON.
pub(crate) fn router(app: App) -> (Router, String) {
    let (router, document) = api(&app.0.limits).split_for_parts();
    let document = openapi::complete(document);
    (router.with_state(app), document)
}

/// The OpenAPI document alone.
pub(crate) fn document() -> String {
    openapi::complete(api(&Limits::default()).into_openapi())
}
