//! Signatures of uploads: ed25519 over the 32 bytes of the SHA-256 of the file. Must not know what is signed.
use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, VerifyingKey, pkcs8::DecodePublicKey};

use super::RegistryError;

/// Bytes of a signature's text; longer ones are not looked at.
pub const SIGNATURE_BYTES_MAX: usize = 128;

/// A key whose signatures are trusted.
#[derive(Clone, Debug)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads a key: PEM (`-----BEGIN PUBLIC KEY-----`), or base64 of its 32 bytes. Fails with what is wrong.
    pub fn parse(text: &str) -> Result<PublicKey, String> {
        let text = text.trim();
        if text.starts_with("-----") {
            return VerifyingKey::from_public_key_pem(text).map(PublicKey).map_err(|error| error.to_string());
        }
        let bytes = BASE64_STANDARD.decode(text).map_err(|error| format!("neither PEM nor base64: {error}"))?;
        let bytes = <[u8; 32]>::try_from(bytes).map_err(|bytes| format!("a key has 32 bytes, not {}", bytes.len()))?;
        VerifyingKey::from_bytes(&bytes).map(PublicKey).map_err(|error| error.to_string())
    }

    fn text(&self) -> String {
        BASE64_STANDARD.encode(self.0.as_bytes())
    }
}

/// The key that signed this, if one of them did.
pub(super) fn signer(keys: &[PublicKey], digest: &[u8; 32], signature: Option<&str>) -> Option<String> {
    let signature = signature.filter(|text| text.len() <= SIGNATURE_BYTES_MAX)?;
    let signature = Signature::from_slice(&BASE64_STANDARD.decode(signature).ok()?).ok()?;
    keys.iter().find(|key| key.0.verify_strict(digest, &signature).is_ok()).map(PublicKey::text)
}

/// Refuses what none of the keys has signed, if there are keys.
pub(super) fn check(keys: &[PublicKey], digest: &[u8; 32], signature: Option<&str>) -> Result<(), RegistryError> {
    if keys.is_empty() || signer(keys, digest, signature).is_some() {
        return Ok(());
    }
    Err(RegistryError::Signature(match signature {
        None => "the upload has no signature, and only signed plugins are taken".into(),
        Some(_) => "the signature is not one of the uploaded file by a trusted key".into(),
    }))
}
