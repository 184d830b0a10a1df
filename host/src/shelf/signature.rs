//! Who may sign policies: minisign's Ed25519 keys.

use std::path::Path;

use minisign_verify::{PublicKey, Signature};

/// Why a policy is not taken for what it says it is.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The file of a key cannot be read.
    #[error("the key {path} cannot be read: {cause}; give the .pub file that minisign writes")]
    Key {
        /// Of the file.
        path: String,
        /// What is wrong.
        cause: String,
    },
    /// No signature came with it.
    #[error(
        "this server takes signed policies only and no signature came with this one; sign it with \
         `minisign -Sm FILE`, and push sends FILE.minisig"
    )]
    Missing,
    /// It is none.
    #[error("the signature cannot be read: {0}")]
    Malformed(String),
    /// No key of ours made it.
    #[error("the signature is not one of these bytes by a key that this server knows")]
    Wrong,
}

/// The keys that policies may be signed with; none at all asks for no signature.
#[derive(Debug, Clone, Default)]
pub struct Signers(Vec<PublicKey>);

impl Signers {
    /// Reads the keys.
    ///
    /// # Errors
    ///
    /// A file is not a minisign public key.
    pub fn read<P: AsRef<Path>>(paths: &[P]) -> Result<Self, SignatureError> {
        let read = |path: &P| {
            let failed = |cause: String| SignatureError::Key {
                path: path.as_ref().display().to_string(),
                cause,
            };
            let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
            PublicKey::decode(text.trim()).map_err(|e| failed(e.to_string()))
        };
        paths.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a policy is signed by one of the keys; `true` where signatures are asked for.
    ///
    /// # Errors
    ///
    /// It is not, and should be.
    pub fn check(&self, bytes: &[u8], signature: Option<&str>) -> Result<bool, SignatureError> {
        if self.0.is_empty() {
            return Ok(false);
        }
        let text = signature.ok_or(SignatureError::Missing)?;
        let malformed = |e: minisign_verify::Error| SignatureError::Malformed(e.to_string());
        let signature = Signature::decode(text).map_err(malformed)?;
        let known = |key: &PublicKey| key.verify(bytes, &signature, false).is_ok();
        if self.0.iter().any(known) {
            Ok(true)
        } else {
            Err(SignatureError::Wrong)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use minisign::KeyPair;

    use super::*;

    #[test]
    fn only_the_right_key_over_the_right_bytes_passes() {
        let dir = tempfile::tempdir().unwrap();
        let [ours, foreign] = [(); 2].map(|()| KeyPair::generate_unencrypted_keypair().unwrap());
        let path = dir.path().join("ours.pub");
        std::fs::write(&path, ours.pk.to_box().unwrap().to_string()).unwrap();
        let signers = Signers::read(&[&path]).unwrap();
        let sign = |pair: &KeyPair| {
            let signed = minisign::sign(None, &pair.sk, Cursor::new(b"policy"), None, None);
            signed.unwrap().to_string()
        };
        let good = sign(&ours);
        assert!(signers.check(b"policy", Some(&good)).unwrap());
        let check = |bytes: &[u8], text: Option<&str>| signers.check(bytes, text).unwrap_err();
        assert!(matches!(check(b"policy", None), SignatureError::Missing));
        assert!(matches!(
            check(b"polici", Some(&good)),
            SignatureError::Wrong
        ));
        let other = sign(&foreign);
        assert!(matches!(
            check(b"policy", Some(&other)),
            SignatureError::Wrong
        ));
        let nonsense = check(b"policy", Some("nonsense"));
        assert!(matches!(nonsense, SignatureError::Malformed(_)));
        assert!(!Signers::default().check(b"policy", None).unwrap());
        assert!(Signers::read(&[dir.path().join("none.pub")]).is_err());
    }
}
