//! Who may: the first key, scopes, tenants, and every route of the contract against every sort of caller.

mod matrix;
mod tenants;

use crate::stage::Stage;
use longhaul_testkit::{client::Client, server::Launch};
use serde_json::{Value, json};

/// A key for tests: `lh_`, an id, a secret.
const BOOTSTRAP: &str = "lh_bootstrapkey0001_Zm9yLXRlc3RzLW9ubHktMzItYnl0ZXMtb2Ytc2VjcmV0";

/// A server that was given its first key, and a client that holds it.
async fn guarded() -> (Stage, Client) {
    guarded_with(|launch| launch).await
}

/// The same at an address.
pub(crate) async fn guarded_at(listen: &str) -> (Stage, Client) {
    guarded_with(|launch| launch.listen(listen)).await
}

/// The same, started as `arrange` says.
pub(crate) async fn guarded_with(arrange: impl FnOnce(Launch) -> Launch) -> (Stage, Client) {
    let stage = Stage::with(|launch| arrange(launch).env("LONGHAUL_BOOTSTRAP_KEY", BOOTSTRAP)).await;
    let admin = stage.client().with_key(BOOTSTRAP);
    (stage, admin)
}

/// Creates a key and returns the whole answer, secret included.
pub(crate) async fn create(admin: &Client, body: Value) -> Value {
    let reply = admin.post("/v1/api_keys").json(&body).send().await.unwrap();
    assert_eq!(reply.status, 201, "{reply}");
    reply.json()
}

/// A client with a fresh key of this tenant and these scopes.
pub(crate) async fn client_for(admin: &Client, tenant: &str, scopes: &[&str]) -> Client {
    let key = create(admin, json!({"name": "test", "tenant": tenant, "scopes": scopes})).await;
    admin.with_key(secret(&key))
}

/// The secret in the answer that made the key.
pub(crate) fn secret(created: &Value) -> &str {
    let fields = ["key", "secret", "api_key"].iter().filter_map(|field| created[*field].as_str());
    fields.into_iter().find(|text| text.starts_with("lh_")).unwrap_or_else(|| panic!("no secret: {created}"))
}

/// The public id of a key.
fn key_id(created: &Value) -> &str {
    let fields = ["key_id", "id"].iter().find_map(|field| created[*field].as_str());
    fields.unwrap_or_else(|| panic!("no id: {created}"))
}
