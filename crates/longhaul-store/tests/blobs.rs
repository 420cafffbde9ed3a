//! Blobs as files, and what a crash leaves among them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path, sync::Arc};

use longhaul_core::{Ids, testing::ManualClock};
use longhaul_store::{
    JobStore, SqliteOptions, SqliteStore, StoreClock, Unobserved,
    blob::{BlobStore, DirBlobs},
};
use tempfile::TempDir;

fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found
}

fn open(directory: &Path) -> Arc<dyn JobStore> {
    let time = StoreClock { clock: Arc::new(ManualClock::default()), ids: Arc::new(Ids::seeded(1)) };
    SqliteStore::open(&SqliteOptions::at(directory), time, Arc::new(Unobserved)).unwrap()
}

#[test]
fn bytes_written_piece_by_piece_are_one_blob_named_by_what_it_is() {
    let directory = TempDir::new().unwrap();
    let blobs = DirBlobs::open(directory.path()).unwrap();
    let whole = blobs.put(b"one two three").unwrap();
    let mut writer = blobs.begin().unwrap();
    for piece in [&b"one "[..], b"two", b"", b" three"] {
        writer.write(piece).unwrap();
    }
    let pieces = writer.finish().unwrap();
    assert_eq!(pieces.blob(), whole.blob());
    assert_eq!(blobs.get(&whole.blob()).unwrap(), b"one two three"[..]);
    assert_eq!(files(directory.path()).len(), 1);
    assert_eq!(whole.blob().size, 13);
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let blobs = DirBlobs::open(directory.path()).unwrap();
    let mut writer = blobs.begin().unwrap();
    writer.write(b"half of").unwrap();
    assert_eq!(files(directory.path()).len(), 1);
    drop(writer);
    assert_eq!(files(directory.path()), Vec::<String>::new());
}

#[test]
fn a_blob_whose_bytes_have_changed_is_not_given_out() {
    let directory = TempDir::new().unwrap();
    let blobs = DirBlobs::open(directory.path()).unwrap();
    let pin = blobs.put(b"as it was").unwrap();
    fs::write(blobs.path(&pin.blob()).unwrap(), b"as it is!").unwrap();
    assert_eq!(blobs.get(&pin.blob()).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn what_a_crash_left_among_the_blobs_is_removed_at_the_start() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().join("blobs");
    {
        // A blob that no row came to refer to, and an upload that did not end.
        let blobs = DirBlobs::open(&root).unwrap();
        drop(blobs.put(b"orphan").unwrap());
        fs::write(root.join("incoming").join("0"), b"half").unwrap();
    }
    assert_eq!(files(&root).len(), 2);
    open(directory.path()).close().await;
    assert_eq!(files(&root), Vec::<String>::new());
}
