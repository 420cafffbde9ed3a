//! Documents, what is derived from them, and the blobs behind both.

use longhaul_core::{BlobRef, DocumentId, JobSpec, Payload, Span, Usage};

use super::{World, succeeded, tenant};
use crate::{Document, NewJob, StoreError, Submit};

fn exists(w: &World, blob: &BlobRef) -> bool {
    w.store.blobs().get(blob).is_ok()
}

/// A document that was submitted with the job that takes it in.
pub(super) async fn submitted(w: &World, bytes: &[u8]) -> Document {
    let pin = w.store.blobs().put(bytes).unwrap();
    let spec = w.spec();
    let document = Document {
        id: DocumentId::fresh(&*w.ids, w.now()),
        tenant: tenant(),
        file_name: "../../etc/passwd \u{202e}.pdf".into(),
        content_type: Some("application/pdf".into()),
        content: pin.blob(),
        job: spec.id,
        created_at: w.now(),
    };
    let jobs = vec![NewJob { spec: spec.into(), input: Payload::inline("{}") }];
    let submit = Submit { jobs, idempotency: None, document: Some(document.clone()) };
    w.store.submit(submit).await.unwrap();
    document
}

pub async fn a_document_and_its_parts_read_back(mut w: World) {
    let document = submitted(&w, b"%PDF").await;
    let id = document.id;
    let text = Payload::inline("\"text\"");
    assert_eq!(w.store.document_part(&tenant(), id, "text").await, Ok(None));
    let held = w.claim_one().await.held;
    w.store.put_document_part(held, id, "text", text.clone()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(w.store.document(&tenant(), id).await, Ok(document.clone()));
        assert_eq!(w.store.document_part(&tenant(), id, "text").await, Ok(Some(text.clone())));
        assert_eq!(w.store.document_part(&tenant(), id, "chunks").await, Ok(None));
        assert_eq!(w.store.blobs().get(&document.content).unwrap(), b"%PDF"[..]);
        w.reopen().await;
    }
}

pub async fn a_blob_goes_with_its_last_reference(w: World) {
    let document = submitted(&w, b"shared").await;
    w.claim_one().await;
    // A job has the same bytes as its input, and another one as its output.
    let pin = w.store.blobs().put(b"shared").unwrap();
    let blob = pin.blob();
    assert_eq!(blob, document.content);
    let submit = |spec: JobSpec, input| {
        let jobs = vec![NewJob { spec: spec.into(), input }];
        w.store.submit(Submit { jobs, idempotency: None, document: None })
    };
    submit(JobSpec { retention: Span::from_secs(10), ..w.spec() }, Payload::Blob(blob)).await.unwrap();
    let one = w.claim_one().await;
    submit(w.spec(), Payload::inline("1")).await.unwrap();
    let two = w.claim_one().await;
    let step = longhaul_core::StepName::new("s").unwrap();
    w.store.checkpoint(one.held.clone(), step, Payload::Blob(blob), Usage::default()).await.unwrap();
    w.finish(&one.held, succeeded("1")).await.unwrap();
    let output = crate::Outcome::Succeeded { output: Payload::Blob(blob), report: Box::default() };
    w.finish(&two.held, output).await.unwrap();
    drop(pin);
    assert!(exists(&w, &blob));
    w.store.delete_document(&tenant(), document.id).await.unwrap();
    assert!(exists(&w, &blob), "input, step and output refer to it");
    w.advance(12);
    assert_eq!(w.prune().await, 1);
    assert!(exists(&w, &blob), "the output refers to it");
    w.store.erase(&tenant(), two.held.job).await.unwrap();
    assert!(!exists(&w, &blob));
}

pub async fn a_blob_that_is_pinned_stays(w: World) {
    let document = submitted(&w, b"pinned").await;
    let pin = w.store.blobs().put(b"pinned").unwrap();
    w.store.delete_document(&tenant(), document.id).await.unwrap();
    assert!(exists(&w, &document.content), "somebody is about to refer to it");
    drop(pin);
    let again = submitted(&w, b"pinned").await;
    assert!(exists(&w, &again.content));
    w.store.delete_document(&tenant(), again.id).await.unwrap();
    assert!(!exists(&w, &again.content));
}

pub async fn a_replaced_part_lets_its_blob_go(w: World) {
    let document = submitted(&w, b"doc").await;
    let held = w.claim_one().await.held;
    let put = async |bytes: &[u8]| {
        let pin = w.store.blobs().put(bytes).unwrap();
        let part = Payload::Blob(pin.blob());
        w.store.put_document_part(held.clone(), document.id, "text", part).await.unwrap();
        pin.blob()
    };
    let old = put(b"old").await;
    assert_eq!(put(b"old").await, old);
    assert!(exists(&w, &old), "replaced by the same bytes");
    let new = put(b"new").await;
    assert_eq!((exists(&w, &old), exists(&w, &new)), (false, true));
    w.store.delete_document(&tenant(), document.id).await.unwrap();
    assert_eq!((exists(&w, &new), exists(&w, &document.content)), (false, false));
    assert_eq!(w.store.document_part(&tenant(), document.id, "text").await, Ok(None));
}

pub async fn a_deleted_document_takes_no_parts(w: World) {
    let document = submitted(&w, b"doc").await;
    let held = w.claim_one().await.held;
    let part = || w.store.put_document_part(held.clone(), document.id, "text", Payload::inline("1"));
    let (gone, late) = futures::join!(w.store.delete_document(&super::TENANT, document.id), part());
    let missing = StoreError::NotFound("document");
    assert_eq!((gone, late), (Ok(()), Err(missing.clone())));
    assert_eq!(w.store.document(&tenant(), document.id).await.err(), Some(missing.clone()));
    assert_eq!(part().await, Err(missing.clone()));
    assert_eq!(w.store.delete_document(&tenant(), document.id).await, Err(missing));
}

pub async fn parts_are_stored_by_who_has_the_lease_and_by_nobody_else(w: World) {
    let document = submitted(&w, b"doc").await;
    let put = |held, text| w.store.put_document_part(held, document.id, "text", Payload::inline(text));
    let stale = w.claim_one().await.held;
    put(stale.clone(), "1").await.unwrap();
    w.finish(&stale, crate::Outcome::Released { ambiguous: false }).await.unwrap();
    let lost = Err(StoreError::Refused(longhaul_core::Refused::LeaseLost));
    assert_eq!(put(stale.clone(), "2").await, lost, "nobody has it");
    let held = w.claim_one().await.held;
    put(held.clone(), "3").await.unwrap();
    assert_eq!(put(stale, "4").await, lost, "a worker that was given up for dead comes back");
    assert_eq!(w.store.document_part(&tenant(), document.id, "text").await, Ok(Some(Payload::inline("3"))));
    w.finish(&held, succeeded("1")).await.unwrap();
    assert!(put(held, "5").await.is_err(), "the job has ended");
    assert_eq!(w.store.document_part(&tenant(), document.id, "text").await, Ok(Some(Payload::inline("3"))));
}
