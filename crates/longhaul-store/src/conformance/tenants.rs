//! No tenant sees another's.

use longhaul_core::{DocumentId, JobSpec, Payload, Status, StepName, Tenant, Usage};

use super::{World, claim, tenant};
use crate::{Claim, Held, JobQuery, StoreError};

pub async fn a_tenant_sees_nothing_of_another(w: World) {
    let other = Tenant::new("other").unwrap();
    let missing = StoreError::NotFound("job");
    let queued = w.submit(JobSpec { priority: -1, ..w.spec() }).await;
    let leased = w.running().await;
    let step = StepName::new("one").unwrap();
    w.store.checkpoint(leased.held.clone(), step.clone(), Payload::inline("1"), Usage::default()).await.unwrap();
    for id in [queued, leased.held.job] {
        assert_eq!(w.store.job(&other, id).await.err(), Some(missing.clone()));
        assert_eq!(w.store.events(&other, id, 0, 9).await.err(), Some(missing.clone()));
        assert_eq!(w.store.attempts(&other, id).await.err(), Some(missing.clone()));
        assert_eq!(w.store.steps(&other, id).await.err(), Some(missing.clone()));
        assert_eq!(w.store.queue_position(&other, id).await.err(), Some(missing.clone()));
        assert_eq!(w.store.cancel(&other, id).await.err(), Some(missing.clone()));
        assert_eq!(w.store.erase(&other, id).await.err(), Some(missing.clone()));
    }
    let stolen = Held { tenant: other.clone(), ..leased.held.clone() };
    assert_eq!(w.finish(&stolen, super::succeeded("1")).await, Err(missing.clone()));
    assert_eq!(w.store.checkpoint(stolen, step, Payload::inline("1"), Usage::default()).await, Err(missing.clone()));
    assert_eq!(w.store.jobs(JobQuery::newest(other.clone(), 9)).await.unwrap(), crate::JobPage::default());
    assert_eq!((w.status(queued).await, w.status(leased.held.job).await), (Status::Queued, Status::Running));
    // Ended, just ended, or gone: it is all the same to others.
    w.finish(&leased.held, super::succeeded("1")).await.unwrap();
    assert_eq!(w.store.job(&other, leased.held.job).await.err(), Some(missing.clone()));
    w.store.erase(&tenant(), leased.held.job).await.unwrap();
    assert_eq!(w.store.job(&other, leased.held.job).await.err(), Some(missing.clone()));
    assert_eq!(w.store.erase(&other, leased.held.job).await.err(), Some(missing));

    let document = super::documents::submitted(&w, b"bytes").await;
    let missing = StoreError::NotFound("document");
    assert_eq!(w.store.document(&other, document.id).await.err(), Some(missing.clone()));
    let part = Payload::inline("\"text\"");
    // The job that takes it in, and one of the other tenant's.
    let mine = w.take(Claim { tenant: Some(tenant()), ..claim(9) }).await;
    let mine = mine.into_iter().find(|leased| leased.held.job == document.job).unwrap().held;
    w.submit(JobSpec { tenant: other.clone(), ..w.spec() }).await;
    let theirs = w.take(Claim { tenant: Some(other.clone()), ..claim(9) }).await.pop().unwrap().held;
    assert_eq!(w.store.put_document_part(theirs, document.id, "text", part.clone()).await, Err(missing.clone()));
    w.store.put_document_part(mine, document.id, "text", part).await.unwrap();
    assert_eq!(w.store.document_part(&other, document.id, "text").await, Ok(None));
    assert_eq!(w.store.delete_document(&other, document.id).await, Err(missing.clone()));
    let unknown = DocumentId::fresh(&*w.ids, w.now());
    assert_eq!(w.store.document(&tenant(), unknown).await.err(), Some(missing));

    let key = super::keys::key(&w, "mine");
    w.store.put_key(key.clone()).await.unwrap();
    assert_eq!(w.store.revoke_key(&other, key.id).await, Err(StoreError::NotFound("key")));
    assert_eq!(w.store.keys().await, Ok(vec![key]));
}

pub async fn a_claim_can_be_for_one_tenant(w: World) {
    let other = Tenant::new("other").unwrap();
    let mine = w.submit(JobSpec { priority: 9, ..w.spec() }).await;
    let theirs = w.submit(JobSpec { tenant: other.clone(), ..w.spec() }).await;
    let leased = w.take(Claim { tenant: Some(other.clone()), ..claim(9) }).await;
    assert_eq!(leased.len(), 1);
    assert_eq!((leased[0].held.job, &leased[0].held.tenant), (theirs, &other));
    assert_eq!(w.claim_one().await.held.job, mine);
}
