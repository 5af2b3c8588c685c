//! Records to nowhere, counted: for measurements, and with a checksum that does not depend on order for comparing results.
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ConnectorError, Delivery, Opening, Recovery, Sink, SinkWriter};
use crate::model::{Batch, Encoded};

/// `discard: { checksum: true }`. Its summary is `{"records":..,"bytes":..}` (rows, and encoded bytes with line ends) and
/// with a checksum `"checksum":"16 hex digits"`: the wrapping sum of the FNV-1a hashes of 64 bits of each encoded record
/// without its line end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscardSink {
    /// Default false.
    #[serde(default)]
    checksum: bool,
    #[serde(skip)]
    totals: Arc<Totals>,
}

/// Over all parts.
#[derive(Debug, Default)]
struct Totals {
    records: AtomicU64,
    bytes: AtomicU64,
    checksum: AtomicU64,
}

/// FNV-1a of 64 bits.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[async_trait]
impl Sink for DiscardSink {
    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    async fn recover(&self, _recovery: &Recovery, _committables: &[Vec<u8>]) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn open(&self, _opening: &Opening) -> Result<Box<dyn SinkWriter>, ConnectorError> {
        Ok(Box::new(DiscardWriter { checksum: self.checksum, totals: self.totals.clone() }))
    }

    fn summary(&self) -> Option<Value> {
        let mut summary =
            json!({ "records": self.totals.records.load(Relaxed), "bytes": self.totals.bytes.load(Relaxed) });
        if self.checksum {
            summary["checksum"] = format!("{:016x}", self.totals.checksum.load(Relaxed)).into();
        }
        Some(summary)
    }
}

struct DiscardWriter {
    checksum: bool,
    totals: Arc<Totals>,
}

#[async_trait]
impl SinkWriter for DiscardWriter {
    async fn write(&mut self, rows: &Batch, encoded: &Encoded) -> Result<(), ConnectorError> {
        self.totals.records.fetch_add(rows.rows() as u64, Relaxed);
        self.totals.bytes.fetch_add(encoded.data.len() as u64, Relaxed);
        if self.checksum {
            let (mut start, mut sum) = (0, 0u64);
            for end in &encoded.ends {
                let record = &encoded.data[start..*end];
                sum = sum.wrapping_add(fnv1a(record.strip_suffix(b"\n").unwrap_or(record)));
                start = *end;
            }
            self.totals.checksum.fetch_add(sum, Relaxed);
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    async fn prepare(&mut self, _checkpoint: u64) -> Result<Vec<Vec<u8>>, ConnectorError> {
        self.flush().await?;
        Ok(Vec::new())
    }

    async fn commit(&mut self, _committables: &[Vec<u8>]) -> Result<(), ConnectorError> {
        Ok(())
    }

    async fn close(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing::{batch, clock, opening};

    #[tokio::test]
    async fn records_are_summed_up_over_all_parts() {
        // The hash of "foobar" is one of the vectors published with the function.
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        let sink: DiscardSink = serde_saphyr::from_str("{ checksum: true }").unwrap();
        for part in 0..2 {
            let mut writer = sink.open(&opening(part, 2, &clock())).unwrap();
            let (rows, encoded) = batch(&["foobar", ""]);
            writer.write(&rows, &encoded).await.unwrap();
            writer.close().await.unwrap();
        }
        let sum = fnv1a(b"foobar").wrapping_add(fnv1a(b"")).wrapping_mul(2);
        let expected = json!({ "records": 4, "bytes": 16, "checksum": format!("{sum:016x}") });
        assert_eq!(sink.summary(), Some(expected));
    }
}
