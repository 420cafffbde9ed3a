//! Blobs of servers that are taken for dead, and of those that are.

use std::sync::Arc;

use longhaul_core::{BlobRef, JobSpec, Payload};
use longhaul_store::{JobStore, NewJob, StoreError, Submit, Submitted, conformance::tenant};

use crate::nodes::Servers;

/// More than is stored in one row.
fn bytes() -> Vec<u8> {
    (0..600_000u32).map(|n| (n % 251) as u8).collect()
}

/// Has the second server take the first for dead, as it would be that was silent for too long.
async fn take_for_dead(servers: &Servers) {
    servers.database.run("UPDATE node SET alive_until = 0").await;
    servers.stores[1].sweep().await.unwrap();
}

async fn submit(store: &dyn JobStore, spec: JobSpec, input: BlobRef) -> Result<Submitted, StoreError> {
    let jobs = vec![NewJob { spec: Arc::new(spec), input: Payload::Blob(input) }];
    store.submit(Submit { jobs, idempotency: None, document: None }).await
}

#[tokio::test]
async fn an_upload_of_a_server_that_was_taken_for_dead_is_refused_and_the_bytes_can_be_sent_again() {
    let servers = Servers::new(2).await;
    let (one, two) = (servers.stores[0].blobs(), servers.stores[1].blobs());
    let bytes = bytes();
    let (head, tail) = bytes.split_at(300_000);
    let mut upload = one.begin().unwrap();
    upload.write(head).unwrap();
    take_for_dead(&servers).await;
    let finished = upload.write(tail).and_then(|()| upload.finish());
    assert!(finished.is_err());
    assert_eq!(servers.database.number("SELECT count(*) FROM blob_chunk").await, 0);
    for blobs in [two, one] {
        let pin = blobs.put(&bytes).unwrap();
        assert_eq!(two.get(&pin.blob()).unwrap(), bytes);
    }
}

#[tokio::test]
async fn an_upload_whose_last_bytes_were_stored_before_its_server_was_taken_for_dead_gets_no_name() {
    let servers = Servers::new(2).await;
    let one = servers.stores[0].blobs();
    let mut upload = one.begin().unwrap();
    upload.write(&bytes()[..262_144]).unwrap();
    take_for_dead(&servers).await;
    assert!(upload.finish().is_err());
    assert_eq!(servers.database.number("SELECT count(*) FROM blob").await, 0);
}

#[tokio::test]
async fn a_job_is_refused_whose_payload_went_with_the_pins_of_a_server_that_was_taken_for_dead() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    let pin = servers.stores[0].blobs().put(&bytes()).unwrap();
    take_for_dead(&servers).await;
    drop(servers.stores[1].blobs().put(&bytes()).unwrap());
    servers.stores[1].queues().await.unwrap();
    let spec = w.spec();
    let refused = submit(&*servers.stores[0], spec.clone(), pin.blob()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(w.store.job(&tenant(), spec.id).await.err(), Some(StoreError::NotFound("job")));
    let again = servers.stores[0].blobs().put(&bytes()).unwrap();
    assert_eq!(submit(&*servers.stores[0], spec, again.blob()).await, Ok(Submitted::Created));
}

#[tokio::test]
async fn a_blob_whose_bytes_are_not_all_there_is_whole_once_they_are_sent_again() {
    let servers = Servers::new(1).await;
    let blobs = servers.stores[0].blobs();
    let damaged = blobs.put(&bytes()).unwrap();
    servers.database.run("DELETE FROM blob_chunk WHERE place = 0").await;
    assert!(blobs.get(&damaged.blob()).is_err());
    let again = blobs.put(&bytes()).unwrap();
    assert_eq!(blobs.get(&again.blob()).unwrap(), bytes());
    assert_eq!(servers.database.number("SELECT count(DISTINCT body) FROM blob_chunk").await, 1);
}

#[tokio::test]
async fn a_blob_goes_with_the_server_that_was_about_to_refer_to_it() {
    let servers = Servers::new(2).await;
    let w = &servers.world;
    let (used, unused) = (servers.stores[0].blobs().put(b"used"), servers.stores[0].blobs().put(b"unused"));
    let used = used.unwrap();
    assert_eq!(submit(&*servers.stores[1], w.spec(), used.blob()).await, Ok(Submitted::Created));
    take_for_dead(&servers).await;
    assert!(servers.stores[1].blobs().get(&unused.unwrap().blob()).is_err());
    assert_eq!(servers.stores[1].blobs().get(&used.blob()).unwrap(), b"used"[..]);
    assert_eq!(servers.database.number("SELECT count(*) FROM blob_chunk").await, 1);
}

#[tokio::test]
async fn a_start_removes_what_an_earlier_version_left_without_uses_or_pins() {
    let mut servers = Servers::new(1).await;
    let blobs = servers.stores[0].blobs();
    let (left, pinned) = (blobs.put(b"left").unwrap(), blobs.put(b"pinned").unwrap());
    servers.database.run("DELETE FROM blob_pin WHERE digest IN (SELECT digest FROM blob WHERE size = 4)").await;
    servers.add(7).await;
    assert!(servers.stores[1].blobs().get(&left.blob()).is_err());
    assert_eq!(servers.stores[1].blobs().get(&pinned.blob()).unwrap(), b"pinned"[..]);
}
