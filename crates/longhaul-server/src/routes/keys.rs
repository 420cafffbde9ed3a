//! `/v1/api_keys`: who may do what.

use axum::{body::Body, extract::State, http::StatusCode, response::Response};
use longhaul_core::{ApiKey, Caller, KeyId, Scope, Span, Tenant, Timestamp};
use longhaul_engine::store::StoreError;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::jobs::{read::to_json, view::json_answer};
use crate::{
    app::App,
    auth::{self, Admin},
    json::{ApiJson, ApiPath},
    problem::{Code, FieldError, Problem},
};

/// The longest that a key which expires at all may last: ten years.
const EXPIRY_MOST_S: u64 = 10 * 366 * 86_400;

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(crate) struct KeyBody {
    #[schema(value_type = String)]
    key_id: KeyId,
    /// Whose data it opens.
    tenant: String,
    /// What a person called it.
    name: String,
    /// What it allows: `jobs:read`, `jobs:write`, `llm`, `worker`, `worker:<queue>`, `admin`.
    scopes: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// The key itself: shown once, when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl KeyBody {
    fn of(key: ApiKey, shown: Option<String>) -> Self {
        Self {
            key_id: key.id,
            tenant: key.tenant.to_string(),
            name: key.name,
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            key: shown,
        }
    }
}

/// A key to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKey {
    /// What to call it.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// What it shall allow: `jobs:read`, `jobs:write`, `llm`, `worker`, `worker:<queue>`, `admin`.
    #[schema(min_items = 1)]
    scopes: Vec<String>,
    /// Whose data it shall open. Only an admin of the tenant `default` may name another than its own.
    tenant: Option<String>,
    /// After how many seconds it stops working.
    #[schema(minimum = 1)]
    expires_in_s: Option<u64>,
}

/// Make a key
///
/// The answer is the only place where the key itself is ever shown. With the first key the installation stops trusting
/// whoever can connect; the first key must therefore be an admin's.
#[utoipa::path(
    post, path = "/v1/api_keys", tag = "api keys", operation_id = "create_api_key", request_body = CreateKey,
    responses((status = 201, description = "Made; `key` is shown this once.", body = KeyBody))
)]
pub(crate) async fn create(
    State(app): State<App>,
    Admin(caller): Admin,
    ApiJson(body): ApiJson<CreateKey>,
) -> Result<Response, Problem> {
    let mut errors = Vec::new();
    let mut wrong = |pointer: String, message: String| errors.push(FieldError::new(pointer, message));
    let named = body.name.chars().count();
    if !(1..=100).contains(&named) {
        wrong("/name".into(), "must have 1 to 100 characters".into());
    }
    let mut scopes: Vec<Scope> = Vec::new();
    for (index, scope) in body.scopes.iter().enumerate() {
        match scope.parse() {
            Ok(scope) => scopes.push(scope),
            Err(why) => wrong(format!("/scopes/{index}"), format!("cannot be used: {why}")),
        }
    }
    if body.scopes.is_empty() {
        wrong("/scopes".into(), "must name at least one scope".into());
    }
    if app.0.keys.is_empty() && errors_free(&scopes, &body.scopes) && !scopes.contains(&Scope::Admin) {
        wrong(
            "/scopes".into(),
            "must contain `admin`: this is the first key, and nobody else could make another".into(),
        );
    }
    if app.0.keys.is_empty() {
        if body.tenant.as_deref().is_some_and(|tenant| tenant != &*Tenant::default_tenant()) {
            wrong("/tenant".into(), "must be `default`, or be left out: this is the first key".into());
        }
        if body.expires_in_s.is_some() {
            wrong(
                "/expires_in_s".into(),
                "must be left out: this is the first key, and nobody could make another".into(),
            );
        }
    }
    let tenant = match body.tenant.as_deref().map(Tenant::new) {
        None => Some(caller.tenant.clone()),
        Some(Ok(tenant)) => Some(tenant),
        Some(Err(why)) => {
            wrong("/tenant".into(), why.to_string());
            None
        }
    };
    if body.expires_in_s.is_some_and(|seconds| !(1..=EXPIRY_MOST_S).contains(&seconds)) {
        wrong("/expires_in_s".into(), format!("must be from 1 to {EXPIRY_MOST_S} seconds (ten years)"));
    }
    let (Some(tenant), true) = (tenant, errors.is_empty()) else {
        return Err(Problem::invalid(Code::InvalidRequest, errors));
    };
    may_manage(&caller, &tenant)?;
    let engine = app.engine();
    let now = engine.clock().now();
    let expires_at = body.expires_in_s.map(|seconds| now + Span::from_secs(seconds));
    let (key, shown) = auth::mint(&**engine.ids(), now, tenant, body.name, scopes, expires_at);
    put(&app, key.clone()).await?;
    let json = serde_json::to_vec(&KeyBody::of(key, Some(shown)));
    let json = json.map_err(|_| Problem::new(Code::Internal, "The key could not be shown."))?;
    Ok(json_answer(StatusCode::CREATED, json))
}

async fn put(app: &App, key: ApiKey) -> Result<(), Problem> {
    let changing = app.clone();
    in_full(app, async move {
        changing.engine().put_key(key.clone()).await?;
        changing.0.keys.put(key);
        Ok(())
    })
    .await
}

/// Does a change to its end, whether or not the client stays for the answer: what is on disk is in force.
async fn in_full(
    app: &App,
    change: impl Future<Output = Result<(), StoreError>> + Send + 'static,
) -> Result<(), Problem> {
    match app.0.changes.spawn(change).await {
        Ok(changed) => changed.map_err(Problem::from),
        Err(error) => {
            tracing::error!(%error, "a change of the keys did not end");
            Err(Problem::new(Code::Internal, "The change did not end."))
        }
    }
}

fn errors_free(read: &[Scope], given: &[String]) -> bool {
    !read.is_empty() && read.len() == given.len()
}

/// The tenant `default` is the installation's own: its admins make the first key of every other tenant.
fn may_manage(caller: &Caller, tenant: &Tenant) -> Result<(), Problem> {
    if caller.tenant == *tenant || caller.tenant == Tenant::default_tenant() {
        return Ok(());
    }
    Err(Problem::new(Code::Forbidden, "Only an admin of the tenant `default` may make keys of other tenants."))
}

/// All keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct KeyList {
    data: Vec<KeyBody>,
}

/// List keys
///
/// Those of the caller's tenant; an admin of the tenant `default` sees all. Never the secrets.
#[utoipa::path(
    get, path = "/v1/api_keys", tag = "api keys", operation_id = "list_api_keys",
    responses((status = 200, description = "Keys, oldest first.", body = KeyList))
)]
pub(crate) async fn list(State(app): State<App>, Admin(caller): Admin) -> Result<Response, Problem> {
    let keys = app.engine().keys().await?.into_iter().filter(|key| may_manage(&caller, &key.tenant).is_ok());
    to_json(&KeyList { data: keys.map(|key| KeyBody::of(key, None)).collect() })
}

/// The key that a path names.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct KeyPath {
    /// The key's id; not the key.
    key_id: String,
}

/// Revoke a key
///
/// It opens nothing from the next request on. May be repeated.
#[utoipa::path(
    delete, path = "/v1/api_keys/{key_id}", tag = "api keys", operation_id = "revoke_api_key", params(KeyPath),
    responses((status = 204, description = "Revoked."))
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    Admin(caller): Admin,
    ApiPath(path): ApiPath<KeyPath>,
) -> Result<Response, Problem> {
    let unknown = || Problem::new(Code::NotFound, "There is no such key.");
    let id: KeyId = path.key_id.parse().map_err(|_| unknown())?;
    let engine = app.engine();
    let found = engine.keys().await?.into_iter().find(|key| key.id == id).ok_or_else(unknown)?;
    may_manage(&caller, &found.tenant).map_err(|_| unknown())?;
    let changing = app.clone();
    in_full(&app, async move {
        let revoked = changing.engine().revoke_key(&found.tenant, id).await?;
        changing.0.keys.put(revoked);
        Ok(())
    })
    .await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
