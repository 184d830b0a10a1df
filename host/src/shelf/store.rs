//! Policies by the hash of their bytes, which is checked whenever they are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::digest::Digest;
use super::files;

/// What all policies together may take, in bytes: an operator's mistake must not fill the disk.
const ALL_BYTES_MAX: u64 = 1 << 30;

/// Why a policy is not kept, or not had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not here.
    #[error("there is no policy {0}; `elis policy list --to URL` shows what is there")]
    Unknown(Digest),
    /// Its file has changed.
    #[error(
        "the stored policy {0} is damaged: its bytes have another digest; push it again to mend it"
    )]
    Damaged(Digest),
    /// No room is left.
    #[error("the stored policies would take more than {ALL_BYTES_MAX} bytes; remove some")]
    Full,
    /// The system says no.
    #[error("the policy store cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// Where policies are.
#[derive(Debug)]
pub(super) enum Store {
    Memory(BTreeMap<Digest, (Vec<u8>, Option<String>)>),
    Disk(PathBuf),
}

impl Store {
    pub(super) fn in_memory() -> Self {
        Self::Memory(BTreeMap::new())
    }

    /// The store in a folder, made if need be.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        files::make_private(dir)?;
        files::sweep(dir)?;
        Ok(Self::Disk(dir.to_owned()))
    }

    /// Keeps a policy. Whether it was new.
    pub(super) fn put(
        &mut self,
        digest: Digest,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<bool, StoreError> {
        let known = self.list().into_iter().any(|(other, _)| other == digest);
        let all: u64 = self.list().iter().map(|(_, size)| size).sum();
        if !known && all.saturating_add(bytes.len() as u64) > ALL_BYTES_MAX {
            return Err(StoreError::Full);
        }
        match self {
            Self::Memory(all) => {
                all.insert(digest, (bytes.to_vec(), signature.map(str::to_owned)));
            }
            Self::Disk(dir) => {
                // The signature first: a policy that is there has all that belongs to it.
                if let Some(signature) = signature {
                    files::replace(&path(dir, digest, "minisig"), signature.as_bytes())?;
                }
                let path = path(dir, digest, "wasm");
                // What is damaged is mended.
                let whole = known && fs::read(&path).is_ok_and(|old| Digest::of(&old) == digest);
                if !whole {
                    files::replace(&path, bytes)?;
                }
            }
        }
        Ok(!known)
    }

    /// The bytes of a policy, and its signature.
    pub(super) fn get(&self, digest: Digest) -> Result<(Vec<u8>, Option<String>), StoreError> {
        let (bytes, signature) = match self {
            Self::Memory(all) => all
                .get(&digest)
                .cloned()
                .ok_or(StoreError::Unknown(digest))?,
            Self::Disk(dir) => {
                let bytes = fs::read(path(dir, digest, "wasm")).map_err(|error| {
                    if error.kind() == io::ErrorKind::NotFound {
                        StoreError::Unknown(digest)
                    } else {
                        error.into()
                    }
                })?;
                let signature = fs::read_to_string(path(dir, digest, "minisig"));
                (bytes, signature.ok())
            }
        };
        if Digest::of(&bytes) != digest {
            return Err(StoreError::Damaged(digest));
        }
        Ok((bytes, signature))
    }

    /// Lets go of a policy.
    pub(super) fn remove(&mut self, digest: Digest) -> Result<(), StoreError> {
        match self {
            Self::Memory(all) => {
                let gone = all.remove(&digest);
                gone.map(drop).ok_or(StoreError::Unknown(digest))
            }
            Self::Disk(dir) => {
                match fs::remove_file(path(dir, digest, "wasm")) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(StoreError::Unknown(digest));
                    }
                    removed => removed?,
                }
                drop(fs::remove_file(path(dir, digest, "minisig")));
                Ok(files::sync(dir)?)
            }
        }
    }

    /// What is here, with sizes in bytes.
    pub(super) fn list(&self) -> Vec<(Digest, u64)> {
        match self {
            Self::Memory(all) => {
                let sizes = all.iter().map(|(&d, (bytes, _))| (d, bytes.len() as u64));
                sizes.collect()
            }
            Self::Disk(dir) => {
                let entries = dir.read_dir().into_iter().flatten().flatten();
                let mut found: Vec<_> = entries
                    .filter_map(|entry| {
                        let path = entry.path();
                        let stem = path.file_stem()?.to_str()?;
                        let size = entry.metadata().ok()?.len();
                        let policy = path.extension().is_some_and(|e| e == "wasm");
                        policy.then(|| Some((stem.parse().ok()?, size)))?
                    })
                    .collect();
                found.sort_unstable();
                found
            }
        }
    }
}

fn path(dir: &Path, digest: Digest, extension: &str) -> PathBuf {
    dir.join(format!("{digest}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(mut store: Store) {
        let bytes = b"a policy";
        let digest = Digest::of(bytes);
        assert!(matches!(store.get(digest), Err(StoreError::Unknown(_))));
        assert!(store.put(digest, bytes, Some("signed")).unwrap());
        assert!(!store.put(digest, bytes, Some("signed")).unwrap());
        let (had, signature) = store.get(digest).unwrap();
        assert_eq!(
            (&had[..], signature.as_deref()),
            (&bytes[..], Some("signed"))
        );
        assert_eq!(store.list(), [(digest, 8)]);
        store.remove(digest).unwrap();
        assert!(matches!(store.remove(digest), Err(StoreError::Unknown(_))));
        assert!(store.list().is_empty());
    }

    #[test]
    fn a_policy_is_kept_had_and_let_go() {
        let dir = tempfile::tempdir().unwrap();
        life(Store::in_memory());
        life(Store::open(dir.path()).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn damage_is_noticed_and_mended_by_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let digest = Digest::of(b"a policy");
        store.put(digest, b"a policy", None).unwrap();
        fs::write(path(dir.path(), digest, "wasm"), b"a pol").unwrap();
        assert!(matches!(store.get(digest), Err(StoreError::Damaged(_))));
        store.put(digest, b"a policy", None).unwrap();
        assert_eq!(store.get(digest).unwrap().0, b"a policy");
    }

    #[test]
    fn what_was_half_written_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"a policy");
        fs::write(path(dir.path(), digest, "unfinished"), b"a pol").unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert!(store.list().is_empty());
        assert!(matches!(store.get(digest), Err(StoreError::Unknown(_))));
    }
}
