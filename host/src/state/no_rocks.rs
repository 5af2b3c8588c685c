//! Stands for databases in a build without RocksDB: there are none.
use std::path::{Path, PathBuf};

use super::error::StateError;
use crate::model::{LaterParts, Part};

/// A database, of which there is none.
pub(super) enum Db {}

/// What is to be written to none.
pub(super) enum Writes {}

impl Writes {
    pub(super) fn put(&mut self, _: &[u8], _: &[u8]) {
        match *self {}
    }

    pub(super) fn delete(&mut self, _: &[u8]) {
        match *self {}
    }

    pub(super) fn delete_range(&mut self, _: &[u8], _: &[u8]) {
        match *self {}
    }

    pub(super) fn bytes(&self) -> usize {
        match *self {}
    }
}

impl Db {
    pub(super) fn cache_bytes(&self) -> usize {
        match *self {}
    }

    pub(super) fn directory(&self) -> &Path {
        match *self {}
    }

    pub(super) fn set_now(&self, _: i64) {
        match *self {}
    }

    pub(super) fn get(&self, _: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StateError> {
        match *self {}
    }

    pub(super) fn write(&self, _: &mut Writes) -> Result<(), StateError> {
        match *self {}
    }

    pub(super) fn scan(
        &self,
        _: &[u8],
        _: &[u8],
        _: impl FnMut(&[u8], &[u8]) -> Result<bool, StateError>,
    ) -> Result<(), StateError> {
        match *self {}
    }

    pub(super) fn checkpoint(
        &self,
        _: &mut Writes,
        _: PathBuf,
        _: impl FnOnce(&Path) -> Result<Vec<Part>, StateError> + Send + 'static,
    ) -> Result<LaterParts, StateError> {
        match *self {}
    }

    pub(super) fn settle(&self) {
        match *self {}
    }
}
