//! An upload on its way: written to a temporary file, counted and hashed as it comes. Must not know what is in it.
use std::{fmt::Write, path::Path};

use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempPath};
use tokio::{fs::File, io::AsyncWriteExt, sync::OwnedSemaphorePermit};

use super::{RegistryError, blocking};

/// A file that is being received. It is gone if this is dropped.
pub struct Upload {
    file: File,
    path: TempPath,
    hash: Sha256,
    size: u64,
    max: u64,
    permit: OwnedSemaphorePermit,
}

/// A file that was received, durable under its temporary name.
pub(super) struct Received {
    pub(super) file: TempPath,
    pub(super) sha256: [u8; 32],
    /// The same, in hexadecimal digits.
    pub(super) digest: String,
    pub(super) size: u64,
    _permit: OwnedSemaphorePermit,
}

impl Upload {
    pub(super) async fn new(folder: &Path, max: u64, permit: OwnedSemaphorePermit) -> Result<Upload, RegistryError> {
        let folder = folder.to_owned();
        let file = blocking(move || NamedTempFile::new_in(&folder).map_err(RegistryError::io(folder))).await?;
        let (file, path) = file.into_parts();
        Ok(Upload { file: File::from_std(file), path, hash: Sha256::new(), size: 0, max, permit })
    }

    /// Takes the next bytes. Fails once there are too many.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), RegistryError> {
        self.size += bytes.len() as u64;
        if self.size > self.max {
            return Err(RegistryError::TooLarge { max: self.max });
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).await.map_err(RegistryError::io(&*self.path))
    }

    /// SHA-256 of what has come so far, in hexadecimal digits.
    pub fn digest(&self) -> String {
        hex(&self.hash.clone().finalize())
    }

    pub(super) async fn finish(mut self) -> Result<Received, RegistryError> {
        let failed = |error| RegistryError::Io { path: self.path.to_path_buf(), error };
        self.file.flush().await.map_err(failed)?;
        self.file.sync_all().await.map_err(failed)?;
        let sha256: [u8; 32] = self.hash.finalize().into();
        Ok(Received { file: self.path, sha256, digest: hex(&sha256), size: self.size, _permit: self.permit })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
