//! What outlives the process: policies by the hash of their bytes, which one is live, who did what.
//!
//! ```text
//! DIR/policies/SHA256.wasm       as pushed; the name is the proof
//! DIR/policies/SHA256.minisig    its signature, where one came with it
//! DIR/live.json                  the live policy, its configuration, and those before
//! DIR/audit.jsonl                every action of an operator, every one of the ladder
//! ```
//!
//! A file is written under another name, synchronised and renamed, so that a reader sees all of it
//! or nothing. Without a folder everything is kept in memory and ends with the process.

mod audit;
mod digest;
mod files;
mod live;
mod signature;
mod store;

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use audit::Action;
pub use digest::{Digest, DigestError};
pub use live::{Choice, LiveRecord};
pub use signature::{SignatureError, Signers};
pub use store::StoreError;

use audit::Audit;
use store::Store;

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The system says no.
    #[error("cannot use {path} as the state folder: {cause}; choose another --state-dir")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Another server has it.
    #[error("another server uses the state folder {0}; give this one its own --state-dir")]
    InUse(String),
}

/// The folder, or its stand-in in memory.
#[derive(Debug)]
pub struct Shelf {
    store: Mutex<Store>,
    live: Mutex<live::Keeper>,
    audit: Mutex<Audit>,
    durable: bool,
    /// Held for as long as the folder is ours.
    _lock: Option<File>,
}

impl Shelf {
    /// A shelf that ends with the process.
    pub fn in_memory() -> Self {
        Self {
            store: Mutex::new(Store::in_memory()),
            live: Mutex::new(live::Keeper::in_memory()),
            audit: Mutex::new(Audit::default()),
            durable: false,
            _lock: None,
        }
    }

    /// The shelf in a folder, made if need be.
    ///
    /// # Errors
    ///
    /// [`ShelfError`] if it cannot be used.
    pub fn open(dir: &Path) -> Result<Self, ShelfError> {
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |cause| ShelfError::Io { path, cause }
        };
        files::make_private(dir).map_err(io(dir))?;
        let lock = dir.join("lock");
        let lock = File::create(&lock).map_err(io(&lock))?;
        if lock.try_lock().is_err() {
            return Err(ShelfError::InUse(dir.display().to_string()));
        }
        let policies = dir.join("policies");
        let audit = dir.join("audit.jsonl");
        files::sweep(dir).map_err(io(dir))?;
        Ok(Self {
            store: Mutex::new(Store::open(&policies).map_err(io(&policies))?),
            live: Mutex::new(live::Keeper::open(dir)),
            audit: Mutex::new(Audit::open(&audit).map_err(io(&audit))?),
            durable: true,
            _lock: Some(lock),
        })
    }

    /// Whether what is here survives the process.
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// Keeps a policy and its signature. Whether it was new.
    ///
    /// # Errors
    ///
    /// There is no room, or the disk does not take it.
    pub fn put(
        &self,
        digest: Digest,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<bool, StoreError> {
        lock(&self.store).put(digest, bytes, signature)
    }

    /// The bytes of a policy, and its signature.
    ///
    /// # Errors
    ///
    /// It is not here, or no longer what it was.
    pub fn get(&self, digest: Digest) -> Result<(Vec<u8>, Option<String>), StoreError> {
        lock(&self.store).get(digest)
    }

    /// Lets go of a policy.
    ///
    /// # Errors
    ///
    /// It is not here, or the disk does not let go.
    pub fn remove(&self, digest: Digest) -> Result<(), StoreError> {
        lock(&self.store).remove(digest)
    }

    /// What is here, with sizes in bytes.
    pub fn list(&self) -> Vec<(Digest, u64)> {
        lock(&self.store).list()
    }

    /// Which policy was live last; `Err` says what is wrong with the record.
    pub fn live(&self) -> Result<Option<LiveRecord>, String> {
        lock(&self.live).load()
    }

    /// Notes which policy is live, unless something newer is known already.
    ///
    /// # Errors
    ///
    /// What the system says. The old record stands.
    pub fn set_live(&self, record: &LiveRecord) -> std::io::Result<()> {
        lock(&self.live).save(record)
    }

    /// Notes who did what.
    pub fn audit(&self, action: &Action) {
        if let Err(error) = lock(&self.audit).write(action) {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }

    /// The last actions, oldest first.
    pub fn actions(&self) -> Vec<Action> {
        lock(&self.audit).recent()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_server() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path()).unwrap();
        let error = Shelf::open(dir.path()).unwrap_err();
        assert!(matches!(error, ShelfError::InUse(_)), "{error}");
        drop(shelf);
        Shelf::open(dir.path()).unwrap();
    }
}
