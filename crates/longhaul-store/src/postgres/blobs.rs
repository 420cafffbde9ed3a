//! Blobs as rows: bytes in pieces, named by their SHA-256, so that any server can read what another took in.
//!
//! Bytes come in under a number, since their name is known only at their end. A pin is a row as well, and so are uploads
//! under way: what a server that died was holding is let go when its death is noticed. One that was only taken for dead is
//! told so when it goes on: no piece is stored and no name is given without the upload's row, and no use is counted of a
//! blob that has gone. Pins are let go through the writer, before whatever is asked of it afterwards.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, mpsc},
};

use bytes::{Bytes, BytesMut};
use longhaul_core::BlobRef;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;

use super::{
    grant::WayBack,
    rows,
    rows::Cells,
    session::{Connections, Session},
};
use crate::{
    StoreError,
    blob::{BlobStore, BlobWriter, Pin, PinKeeper},
};

/// How many bytes stand in one row: few rows for a large upload, and little memory for each that is under way.
const PIECE: usize = 256 * 1024;

/// Keeps blobs in the database.
#[derive(Clone)]
pub(super) struct PgBlobs {
    pub(super) connections: Connections,
    /// Where the database is talked to: not the caller's runtime, which this may block.
    pub(super) runtime: Handle,
    pub(super) node: i64,
    pub(super) way_back: Arc<WayBack>,
}

impl fmt::Debug for PgBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgBlobs").field("node", &self.node).finish_non_exhaustive()
    }
}

impl PinKeeper for WayBack {
    fn unpin(&self, blob: &BlobRef) {
        WayBack::unpin(self, blob.digest);
    }
}

fn failed(error: StoreError) -> io::Error {
    match error {
        StoreError::StorageFull => io::ErrorKind::StorageFull.into(),
        StoreError::Corrupt(why) => io::Error::new(io::ErrorKind::InvalidData, why),
        other => io::Error::other(other),
    }
}

/// This server was silent for so long that another has taken it for dead.
fn forgotten() -> StoreError {
    StoreError::Unavailable("the database has given up this upload: its server was silent for too long".into())
}

impl PgBlobs {
    /// Runs in the store's runtime, and blocks until it is done.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> io::Result<T> {
        let (done, result) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // Nobody has gone: the caller waits for it.
            let _ = done.send(work.await);
        });
        result.recv().map_err(|_| io::Error::other("the store is closed"))?.map_err(failed)
    }

    fn pin(&self, digest: [u8; 32], size: u64) -> Pin {
        Pin::new(BlobRef { digest, size }, self.way_back.clone())
    }

    async fn session(&self) -> Result<Session, StoreError> {
        self.connections.session().await
    }

    /// A number for bytes that are coming in.
    async fn begin_upload(&self) -> Result<i64, StoreError> {
        let session = self.session().await?;
        let row = session.row(include_str!("queries/begin_upload.sql"), &[&self.node]).await?;
        let row = row.ok_or_else(|| rows::damaged("upload"))?;
        Cells::of(&row).next()
    }

    async fn store_piece(&self, body: i64, place: i32, piece: Vec<u8>) -> Result<(), StoreError> {
        let session = self.session().await?;
        match session.execute(include_str!("queries/store_piece.sql"), &[&body, &place, &piece]).await? {
            0 => Err(forgotten()),
            _ => Ok(()),
        }
    }

    /// Gives bytes their name, and pins them.
    async fn name(&self, body: i64, digest: [u8; 32], size: u64) -> Result<(), StoreError> {
        let (digest, size) = (digest.as_slice(), rows::signed(size));
        self.in_transaction(async |session| {
            if session.row(include_str!("queries/end_upload.sql"), &[&body]).await?.is_none() {
                return Err(forgotten());
            }
            // Locks the row, new or old: it cannot be removed before the pin shows.
            let row = session.row(include_str!("queries/name_blob.sql"), &[&digest, &size, &body]).await?;
            let kept: i64 = row.map(|row| Cells::of(&row).next()).transpose()?.unwrap_or(body);
            if kept != body {
                let row = session.row(include_str!("queries/bytes_of_body.sql"), &[&kept]).await?;
                let is_whole = row.map(|row| Cells::of(&row).next::<i64>()).transpose()? == Some(size);
                if !is_whole {
                    session.execute(include_str!("queries/change_body.sql"), &[&digest, &body]).await?;
                }
                let not_needed = [if is_whole { body } else { kept }].to_vec();
                session.execute(include_str!("queries/drop_chunks.sql"), &[&not_needed]).await?;
            }
            session.execute(include_str!("queries/pin_blob.sql"), &[&digest, &self.node]).await?;
            Ok(())
        })
        .await
    }

    /// Removes what has come in, unless it has its name.
    async fn give_up(&self, body: i64) -> Result<(), StoreError> {
        self.in_transaction(async |session| {
            if session.row(include_str!("queries/end_upload.sql"), &[&body]).await?.is_some() {
                session.execute(include_str!("queries/drop_chunks.sql"), &[&vec![body]]).await?;
            }
            Ok(())
        })
        .await
    }

    async fn in_transaction(
        &self,
        work: impl AsyncFnOnce(&Session) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let session = self.session().await?;
        let done = async {
            session.batch("BEGIN").await?;
            work(&session).await?;
            Ok(session.batch("COMMIT").await?)
        };
        let result = done.await;
        if result.is_err() {
            session.discard();
        }
        result
    }

    /// Removes what nothing refers to and nobody is about to: a server that died with its pins may have left it. Each
    /// start takes some; there are seldom any.
    pub(super) async fn drop_unused(&self) -> Result<(), StoreError> {
        self.in_transaction(async |session| {
            let unused = session.rows(include_str!("queries/unused_blobs.sql"), &[]).await?;
            let unused: Vec<&[u8]> = unused.iter().map(|row| Cells::of(row).next()).collect::<Result<_, _>>()?;
            if !unused.is_empty() {
                session.rows(include_str!("queries/lock_blobs.sql"), &[&unused]).await?;
                session.rows(include_str!("queries/drop_blobs.sql"), &[&unused]).await?;
            }
            Ok(())
        })
        .await
    }

    async fn read(&self, blob: BlobRef) -> Result<Option<Bytes>, StoreError> {
        let session = self.session().await?;
        let (mut bytes, mut place) = (BytesMut::new(), -1i32);
        loop {
            let found = session.rows(include_str!("queries/read_blob.sql"), &[&blob.digest.as_slice(), &place]).await?;
            if found.is_empty() {
                break;
            }
            for row in &found {
                let mut cells = Cells::of(row);
                place = cells.next()?;
                bytes.extend_from_slice(cells.next()?);
            }
        }
        let is_there = place >= 0 || blob.size == 0;
        Ok(is_there.then(|| bytes.freeze()))
    }
}

struct PgWriter {
    blobs: PgBlobs,
    /// None once it has been given its name.
    body: Option<i64>,
    place: i32,
    pending: Vec<u8>,
    hash: Sha256,
    size: u64,
}

impl PgWriter {
    fn store(&mut self, piece: Vec<u8>) -> io::Result<()> {
        let (Some(body), place, blobs) = (self.body, self.place, self.blobs.clone()) else { return Ok(()) };
        self.place += 1;
        self.blobs.wait(async move { blobs.store_piece(body, place, piece).await })
    }

    fn end(&mut self) -> io::Result<Pin> {
        let rest = std::mem::take(&mut self.pending);
        // A blob of no bytes is one empty piece.
        if !rest.is_empty() || self.place == 0 {
            self.store(rest)?;
        }
        let digest: [u8; 32] = std::mem::take(&mut self.hash).finalize().into();
        let (blobs, size) = (self.blobs.clone(), self.size);
        if let Some(body) = self.body {
            self.blobs.wait(async move { blobs.name(body, digest, size).await })?;
        }
        self.body = None;
        Ok(self.blobs.pin(digest, size))
    }
}

impl BlobWriter for PgWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        self.pending.extend_from_slice(bytes);
        while self.pending.len() >= PIECE {
            let rest = self.pending.split_off(PIECE);
            let piece = std::mem::replace(&mut self.pending, rest);
            self.store(piece)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<Pin> {
        self.end()
    }
}

impl Drop for PgWriter {
    fn drop(&mut self) {
        if let Some(body) = self.body {
            let blobs = self.blobs.clone();
            // What cannot be removed now goes when this server does.
            self.blobs.runtime.spawn(async move { blobs.give_up(body).await });
        }
    }
}

impl BlobStore for PgBlobs {
    fn put(&self, bytes: &[u8]) -> io::Result<Pin> {
        let mut writer = self.begin()?;
        writer.write(bytes)?;
        writer.finish()
    }

    fn begin(&self) -> io::Result<Box<dyn BlobWriter>> {
        let blobs = self.clone();
        let body = self.wait(async move { blobs.begin_upload().await })?;
        let (pending, hash) = (Vec::new(), Sha256::new());
        Ok(Box::new(PgWriter { blobs: self.clone(), body: Some(body), place: 0, pending, hash, size: 0 }))
    }

    fn get(&self, blob: &BlobRef) -> io::Result<Bytes> {
        let (blobs, wanted) = (self.clone(), *blob);
        let bytes = self.wait(async move { blobs.read(wanted).await })?;
        let bytes = bytes.ok_or(io::ErrorKind::NotFound)?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        if digest != blob.digest {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the blob's bytes are not what its name says"));
        }
        Ok(bytes)
    }

    fn path(&self, _: &BlobRef) -> Option<PathBuf> {
        None
    }

    fn remove(&self, gone: &[BlobRef]) {
        let (blobs, digests) = (self.clone(), gone.iter().map(|blob| blob.digest.to_vec()).collect::<Vec<_>>());
        let removed = self.wait(async move {
            blobs.session().await?.rows(include_str!("queries/drop_blobs.sql"), &[&digests]).await?;
            Ok(())
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "blobs that nothing refers to could not be removed");
        }
    }

    fn retain(&self, is_referred_to: &dyn Fn(&[u8; 32]) -> bool) -> io::Result<usize> {
        let blobs = self.clone();
        let unused = self.wait(async move {
            let found = blobs.session().await?.rows("SELECT digest, size FROM blob WHERE uses <= 0", &[]).await?;
            found.iter().map(|row| Cells::of(row).blob()).collect::<Result<Vec<_>, StoreError>>()
        })?;
        let gone: Vec<BlobRef> = unused.into_iter().flatten().filter(|blob| !is_referred_to(&blob.digest)).collect();
        self.remove(&gone);
        Ok(gone.len())
    }
}
