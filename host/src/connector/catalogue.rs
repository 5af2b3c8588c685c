//! Which connectors there are. Stand-in until the connectors are merged.
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, de::MapAccess};

use super::{ConnectorError, Sink, SinkWriter, Source, SourceReader};
use crate::model::Clock;

/// Names of sources.
pub const SOURCES: &[&str] = &["file", "generator", "socket", "stdin"];
/// Names of sinks.
pub const SINKS: &[&str] = &["discard", "file", "print"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[expect(dead_code, reason = "stand-in")]
    address: Option<String>,
    path: Option<PathBuf>,
}

impl Source for Settings {
    fn parallelism_max(&self) -> Option<usize> {
        Some(1)
    }
    fn can_replay(&self) -> bool {
        false
    }
    fn resolve_paths(&mut self, base: &Path) {
        self.path = self.path.as_ref().map(|path| base.join(path));
    }
    fn open(&self, _: usize, _: usize, _: &Arc<dyn Clock>) -> Result<Box<dyn SourceReader>, ConnectorError> {
        Err(ConnectorError { place: String::new(), what: "stand-in".into(), retry: false })
    }
}

impl Sink for Settings {
    fn open(&self, _: usize, _: usize, _: &Arc<dyn Clock>) -> Result<Box<dyn SinkWriter>, ConnectorError> {
        Err(ConnectorError { place: String::new(), what: "stand-in".into(), retry: false })
    }
}

/// Reads a source's settings.
pub fn next_source<'de, A: MapAccess<'de>>(_kind: &str, map: &mut A) -> Result<Box<dyn Source>, A::Error> {
    Ok(Box::new(map.next_value::<Settings>()?))
}

/// Reads a sink's settings.
pub fn next_sink<'de, A: MapAccess<'de>>(_kind: &str, map: &mut A) -> Result<Box<dyn Sink>, A::Error> {
    Ok(Box::new(map.next_value::<Settings>()?))
}
