//! API keys and the kinds that users register.

use longhaul_core::{ApiKey, Backoff, KeyId, KindSpec, Scope, Span, Tenant};

use super::{World, kind, queue, tenant};
use crate::StoreError;

pub(super) fn key(w: &World, name: &str) -> ApiKey {
    ApiKey {
        id: KeyId::fresh(&*w.ids, w.now()),
        tenant: tenant(),
        name: name.into(),
        scopes: vec![Scope::JobsRead, Scope::Worker(Some(queue("ocr")))],
        secret_hash: [3; 32],
        created_at: w.now(),
        expires_at: None,
        revoked_at: None,
    }
}

pub async fn keys_are_kept_changed_and_revoked(mut w: World) {
    let one = key(&w, "one");
    w.advance(1);
    let mut two = ApiKey { expires_at: Some(w.now() + Span::from_secs(9)), ..key(&w, "two") };
    w.store.put_key(one.clone()).await.unwrap();
    w.store.put_key(two.clone()).await.unwrap();
    two.name = "second".into();
    w.store.put_key(two.clone()).await.unwrap();
    assert_eq!(w.store.keys().await, Ok(vec![one.clone(), two.clone()]));
    w.advance(3);
    let revoked = ApiKey { revoked_at: Some(w.now()), ..one.clone() };
    assert_eq!(w.store.revoke_key(&tenant(), one.id).await, Ok(revoked.clone()));
    w.advance(3);
    assert_eq!(w.store.revoke_key(&tenant(), one.id).await, Ok(revoked.clone()), "it was revoked then");
    let unknown = KeyId::fresh(&*w.ids, w.now());
    assert_eq!(w.store.revoke_key(&tenant(), unknown).await, Err(StoreError::NotFound("key")));
    w.reopen().await;
    assert_eq!(w.store.keys().await, Ok(vec![revoked, two]));
}

pub async fn kinds_are_kept_and_replaced(mut w: World) {
    let other = Tenant::new("other").unwrap();
    let spec = KindSpec {
        name: kind("thumbnail"),
        description: Some("makes thumbnails".into()),
        input_schema: Some(serde_json::json!({"type": "object"})),
        output_schema: None,
        queue: Some(queue("gpu")),
        max_attempts: Some(2),
        backoff: Some(Backoff { initial_ms: 5, max_ms: 50 }),
        timeout_s: Some(30),
        limits: vec![longhaul_core::Limit { key: Some("/a".into()), concurrency: Some(2), rate: None }],
    };
    w.store.put_kind(&tenant(), KindSpec { max_attempts: None, ..spec.clone() }).await.unwrap();
    w.store.put_kind(&tenant(), spec.clone()).await.unwrap();
    w.store.put_kind(&other, spec.clone()).await.unwrap();
    w.reopen().await;
    assert_eq!(w.store.kinds().await, Ok(vec![(tenant(), spec.clone()), (other, spec)]));
}
