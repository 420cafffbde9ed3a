//! Large payloads and uploads: bytes named by their SHA-256.
//!
//! A blob is on disk, synced, before the row that refers to it is committed; it is removed after the commit that drops
//! the last reference. Between `put` and that first commit it is pinned, so that a removal running at the same moment
//! leaves it alone. What a crash leaves without a reference is found at the next start.

use std::{
    collections::HashMap,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use longhaul_core::BlobRef;
use sha2::{Digest, Sha256};

/// Keeps blobs. All methods block; callers on an async runtime move them to a blocking thread.
pub trait BlobStore: Send + Sync + 'static {
    /// Stores bytes; they are durable on return, and stay while the pin lives.
    fn put(&self, bytes: &[u8]) -> io::Result<Pin>;

    /// Begins a blob whose bytes come piece by piece.
    fn begin(&self) -> io::Result<Box<dyn BlobWriter>>;

    /// All bytes of a blob.
    fn get(&self, blob: &BlobRef) -> io::Result<Bytes>;

    /// Where the bytes can be read as a file, when they can.
    fn path(&self, blob: &BlobRef) -> Option<PathBuf>;

    /// Removes blobs that no row refers to any more; pinned ones stay.
    fn remove(&self, blobs: &[BlobRef]);

    /// Removes everything that `is_referred_to` does not know.
    fn retain(&self, is_referred_to: &dyn Fn(&[u8; 32]) -> bool) -> io::Result<usize>;
}

/// Takes the bytes of one blob.
pub trait BlobWriter: Send {
    /// The next bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// That was all: makes them durable and gives them their name.
    fn finish(self: Box<Self>) -> io::Result<Pin>;
}

/// Keeps a blob from being removed before the row that refers to it is committed.
pub struct Pin {
    blob: BlobRef,
    keeper: Arc<dyn PinKeeper>,
}

/// Counts a store's pins.
pub(crate) trait PinKeeper: Send + Sync + 'static {
    /// One pin of this blob was let go.
    fn unpin(&self, blob: &BlobRef);
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pin").field(&self.blob).finish()
    }
}

impl Pin {
    pub(crate) fn new(blob: BlobRef, keeper: Arc<dyn PinKeeper>) -> Self {
        Self { blob, keeper }
    }

    /// The blob.
    pub fn blob(&self) -> BlobRef {
        self.blob
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.keeper.unpin(&self.blob);
    }
}

#[derive(Debug, Default)]
struct Pins(Mutex<HashMap<[u8; 32], usize>>);

impl Pins {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pin(self: &Arc<Self>, blob: BlobRef) -> Pin {
        *self.lock().entry(blob.digest).or_default() += 1;
        Pin::new(blob, self.clone())
    }
}

impl PinKeeper for Pins {
    fn unpin(&self, blob: &BlobRef) {
        let mut pins = self.lock();
        if let Some(count) = pins.get_mut(&blob.digest) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&blob.digest);
            }
        }
    }
}

/// Blobs as files of one directory, named by their digest, in 256 folders.
#[derive(Debug)]
pub struct DirBlobs {
    root: PathBuf,
    pins: Arc<Pins>,
    counter: std::sync::atomic::AtomicU64,
}

impl DirBlobs {
    /// Opens, and makes if need be, the directory. What an interrupted upload left is removed.
    pub fn open(root: &Path) -> io::Result<Self> {
        let incoming = root.join("incoming");
        if incoming.exists() {
            fs::remove_dir_all(&incoming)?;
        }
        fs::create_dir_all(&incoming)?;
        // All folders at once, and synced: a blob's name is durable when its folder is, and so is the folder's own.
        for folder in 0..=u8::MAX {
            fs::create_dir_all(root.join(hex::encode([folder])))?;
        }
        sync_dir(root)?;
        Ok(Self { root: root.to_owned(), pins: Arc::default(), counter: Default::default() })
    }

    fn file_of(&self, digest: &[u8; 32]) -> PathBuf {
        let name = hex::encode(digest);
        self.root.join(&name[..2]).join(name)
    }

    fn writer(&self) -> io::Result<DirWriter> {
        let number = self.counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = self.root.join("incoming").join(number.to_string());
        let file = fs::File::create_new(&path)?;
        Ok(DirWriter { file, path, root: self.root.clone(), pins: self.pins.clone(), hash: Sha256::new(), size: 0 })
    }
}

struct DirWriter {
    file: fs::File,
    path: PathBuf,
    root: PathBuf,
    pins: Arc<Pins>,
    hash: Sha256,
    size: u64,
}

impl DirWriter {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn keep(&mut self) -> io::Result<Pin> {
        self.file.sync_all()?;
        let digest: [u8; 32] = std::mem::take(&mut self.hash).finalize().into();
        let pin = self.pins.pin(BlobRef { digest, size: self.size });
        let name = hex::encode(digest);
        let folder = self.root.join(&name[..2]);

        fs::rename(&self.path, folder.join(name))?;
        sync_dir(&folder)?;
        Ok(pin)
    }
}

impl BlobWriter for DirWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.append(bytes)
    }

    fn finish(mut self: Box<Self>) -> io::Result<Pin> {
        self.keep()
    }
}

impl Drop for DirWriter {
    fn drop(&mut self) {
        // After `keep` the name is gone, and there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}

/// A new name in a directory is durable only when the directory is.
fn sync_dir(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

impl BlobStore for DirBlobs {
    fn put(&self, bytes: &[u8]) -> io::Result<Pin> {
        let mut writer = self.writer()?;
        writer.append(bytes)?;
        writer.keep()
    }

    fn begin(&self) -> io::Result<Box<dyn BlobWriter>> {
        Ok(Box::new(self.writer()?))
    }

    fn get(&self, blob: &BlobRef) -> io::Result<Bytes> {
        let bytes = fs::read(self.file_of(&blob.digest))?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        if digest != blob.digest {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the blob's bytes are not what its name says"));
        }
        Ok(bytes.into())
    }

    fn path(&self, blob: &BlobRef) -> Option<PathBuf> {
        Some(self.file_of(&blob.digest))
    }

    fn remove(&self, blobs: &[BlobRef]) {
        for blob in blobs {
            // Held over the removal, so that nobody pins what is about to go.
            let pins = self.pins.lock();
            if !pins.contains_key(&blob.digest) {
                // What cannot be removed now is found at the next start.
                let _ = fs::remove_file(self.file_of(&blob.digest));
            }
        }
    }

    fn retain(&self, is_referred_to: &dyn Fn(&[u8; 32]) -> bool) -> io::Result<usize> {
        let mut removed = 0;
        for folder in fs::read_dir(&self.root)? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() || folder.file_name().len() != 2 {
                continue;
            }
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                let mut digest = [0; 32];
                let named =
                    file.file_name().to_str().is_some_and(|name| hex::decode_to_slice(name, &mut digest).is_ok());
                if named && !is_referred_to(&digest) && !self.pins.lock().contains_key(&digest) {
                    fs::remove_file(file.path())?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

/// Blobs in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryBlobs {
    blobs: Arc<Mutex<HashMap<[u8; 32], Bytes>>>,
    pins: Arc<Pins>,
}

struct MemoryWriter {
    bytes: Vec<u8>,
    blobs: Arc<Mutex<HashMap<[u8; 32], Bytes>>>,
    pins: Arc<Pins>,
}

impl BlobWriter for MemoryWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<Pin> {
        let digest: [u8; 32] = Sha256::digest(&self.bytes).into();
        let pin = self.pins.pin(BlobRef { digest, size: self.bytes.len() as u64 });
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, self.bytes.into());
        Ok(pin)
    }
}

impl BlobStore for MemoryBlobs {
    fn put(&self, bytes: &[u8]) -> io::Result<Pin> {
        let mut writer = self.begin()?;
        writer.write(bytes)?;
        writer.finish()
    }

    fn begin(&self) -> io::Result<Box<dyn BlobWriter>> {
        Ok(Box::new(MemoryWriter { bytes: Vec::new(), blobs: self.blobs.clone(), pins: self.pins.clone() }))
    }

    fn get(&self, blob: &BlobRef) -> io::Result<Bytes> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.get(&blob.digest).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn path(&self, _: &BlobRef) -> Option<PathBuf> {
        None
    }

    fn remove(&self, gone: &[BlobRef]) {
        let pins = self.pins.lock();
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        for blob in gone.iter().filter(|blob| !pins.contains_key(&blob.digest)) {
            blobs.remove(&blob.digest);
        }
    }

    fn retain(&self, is_referred_to: &dyn Fn(&[u8; 32]) -> bool) -> io::Result<usize> {
        let pins = self.pins.lock();
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let before = blobs.len();
        blobs.retain(|digest, _| pins.contains_key(digest) || is_referred_to(digest));
        Ok(before - blobs.len())
    }
}
