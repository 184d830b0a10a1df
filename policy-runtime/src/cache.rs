//! Compiled policies on disk, found by the hash of what they were compiled from.
//!
//! Compiled code is as powerful as the process that loads it. Therefore the folder must belong to
//! the user alone, and a file counts only if its seal fits: the hash of its content together with
//! that of the source and of the engine. A torn, renamed or foreign file is compiled again.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::RuntimeError;

const MAGIC: &[u8] = b"elis-cwasm-1\n";
const SEAL_BYTES: usize = 32;

/// A folder of compiled policies for one engine.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    /// Stands for the version and all settings of the engine.
    engine: u64,
}

impl Cache {
    /// Makes the folder if need be.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> Result<Self, RuntimeError> {
        make_private(dir).map_err(|e| RuntimeError::Cache {
            path: dir.display().to_string(),
            cause: e.to_string(),
        })?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            dir: dir.to_owned(),
            engine: hasher.finish(),
        })
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.dir
            .join(format!("{digest}-{:016x}.cwasm", self.engine))
    }

    fn seal(&self, digest: &str, code: &[u8]) -> [u8; SEAL_BYTES] {
        let mut hasher = Sha256::new();
        hasher.update(digest.as_bytes());
        hasher.update(self.engine.to_le_bytes());
        hasher.update(code);
        hasher.finalize().into()
    }

    /// The component compiled from the policy of that hash, if it is here and whole.
    pub(crate) fn get(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let file = fs::read(self.path(digest)).ok()?;
        let rest = file.strip_prefix(MAGIC)?;
        let (seal, code) = rest.split_at_checked(SEAL_BYTES)?;
        if self.seal(digest, code) != seal {
            return None;
        }
        deserialize(engine, code)
    }

    /// Keeps a compiled component. Failing to is no error: the next load compiles again.
    pub(crate) fn put(&self, digest: &str, component: &Component) {
        let Ok(code) = component.serialize() else {
            return;
        };
        let file = [MAGIC, &self.seal(digest, &code), &code].concat();
        // Another process may load while this one writes: it must see all of the file or nothing.
        let path = self.path(digest);
        let temporary = path.with_extension(format!("{}.{}", std::process::id(), unique()));
        if fs::write(&temporary, file).is_err() || fs::rename(&temporary, &path).is_err() {
            drop(fs::remove_file(&temporary));
        }
    }
}

/// Tells the threads of this process apart.
fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn make_private(dir: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

#[expect(unsafe_code, reason = "compiled code can only be loaded on trust")]
fn deserialize(engine: &Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: the bytes must come from `Component::serialize`. They lie in a folder that only this
    // user can write, and their seal says that `Cache::put` wrote them whole for this engine;
    // somebody who can forge both already runs code as this user. wasmtime checks version and
    // settings itself.
    unsafe { Component::deserialize(engine, code) }.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_or_renamed_file_is_not_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let cache = Cache::open(dir.path(), &engine).unwrap();
        let component = Component::new(&engine, wat::parse_str("(component)").unwrap()).unwrap();
        assert!(cache.get(&engine, "aa").is_none());
        cache.put("aa", &component);
        assert!(cache.get(&engine, "aa").is_some());

        fs::copy(cache.path("aa"), cache.path("bb")).unwrap();
        assert!(cache.get(&engine, "bb").is_none(), "renamed");

        let mut bytes = fs::read(cache.path("aa")).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(cache.path("aa"), &bytes).unwrap();
        assert!(cache.get(&engine, "aa").is_none(), "one bit flipped");
        fs::write(cache.path("aa"), &bytes[..20]).unwrap();
        assert!(cache.get(&engine, "aa").is_none(), "torn");
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 2, "no temporary file is left");
    }
}
