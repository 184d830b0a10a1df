//! A file read whole, unpacked and fingerprinted.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::WorkloadError;

/// A file's text with the fingerprint of the file as it is stored.
pub(crate) struct Source {
    /// The path as the user wrote it, for messages.
    pub(crate) path: String,
    /// The bytes, unpacked where the name ends in `.gz`.
    pub(crate) bytes: Vec<u8>,
    /// SHA-256 of the stored bytes, in lower case hexadecimal.
    pub(crate) sha256: String,
}

impl Source {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`WorkloadError::Read`] if it cannot be read or unpacked.
    pub(crate) fn open(path: &Path) -> Result<Self, WorkloadError> {
        let shown = path.display().to_string();
        let failed = |cause| WorkloadError::Read {
            path: shown.clone(),
            cause,
        };
        let stored = std::fs::read(path).map_err(failed)?;
        let sha256 = sha256_hex(&stored);
        let packed = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("gz"));
        let bytes = if packed {
            let mut bytes = Vec::new();
            // Multi-member archives are what `cat a.gz b.gz` makes; read them to the end.
            flate2::read::MultiGzDecoder::new(stored.as_slice())
                .read_to_end(&mut bytes)
                .map_err(failed)?;
            bytes
        } else {
            stored
        };
        Ok(Self {
            path: shown,
            bytes,
            sha256,
        })
    }
}

/// SHA-256 in lower case hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
