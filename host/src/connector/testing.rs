//! What tests of connectors share.
use std::{fs, io::Write, path::Path, pin::Pin, sync::Arc, time::Duration};

use arrow_array::{RecordBatch, StringArray};
use tokio::sync::watch;

use super::{BatchLimits, ConnectorError, Opening, ReadStatus, Recovery, SourceReader};
use crate::model::{Batch, Clock, Encoded, Field, Kind, RawBatch, Schema, SystemClock};

pub const LIMITS: BatchLimits = BatchLimits { records: 4096, bytes: 1 << 20 };

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

pub fn opening(subtask: usize, parallelism: usize, clock: &Arc<dyn Clock>) -> Opening {
    let (job, uid, metadata) = ("job".into(), "node".into(), Vec::new());
    Opening { job, uid, subtask, parallelism, start: 1, metadata, clock: clock.clone() }
}

/// Of the node `node`.
pub fn recovery(start: u64) -> Recovery {
    Recovery { job: "job".into(), uid: "node".into(), start, clock: clock() }
}

pub fn records(raw: &RawBatch) -> Vec<String> {
    (0..raw.len()).map(|i| String::from_utf8_lossy(raw.record(i)).into_owned()).collect()
}

/// Reads until there are `count` records, or to the end.
pub async fn read_some(reader: &mut dyn SourceReader, count: usize) -> Result<Vec<String>, ConnectorError> {
    let (mut raw, mut all) = (RawBatch::default(), Vec::new());
    while all.len() < count {
        raw.clear();
        let status = reader.read(&mut raw, LIMITS).await?;
        all.extend(records(&raw));
        if status == ReadStatus::End {
            break;
        }
    }
    Ok(all)
}

pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Names of the files in a directory, sorted.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names = entries.collect::<Vec<_>>();
    names.sort();
    names
}

/// Rows and the same, encoded.
pub fn batch(records: &[&str]) -> (Batch, Encoded) {
    let schema = Schema::new([Field::new("line", Kind::Utf8)]).unwrap();
    let column = Arc::new(StringArray::from(records.to_vec()));
    let columns = RecordBatch::try_new(schema.arrow().clone(), vec![column]).unwrap();
    let timestamps = vec![0; records.len()].into();
    let mut encoded = Encoded { separator: 1, ..Encoded::default() };
    for record in records {
        encoded.data.extend_from_slice(record.as_bytes());
        encoded.data.push(b'\n');
        encoded.ends.push(encoded.data.len());
    }
    (Batch { columns, timestamps, arrived: Duration::ZERO, key_hashes: None }, encoded)
}

/// Stands still unless told to go on; whoever sleeps is woken when it has come far enough.
pub struct ManualClock(pub watch::Sender<Duration>);

impl ManualClock {
    pub fn new() -> Arc<ManualClock> {
        Arc::new(ManualClock(watch::Sender::new(Duration::ZERO)))
    }

    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.monotonic().as_millis() as i64
    }

    fn monotonic(&self) -> Duration {
        *self.0.borrow()
    }

    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut receiver = self.0.subscribe();
        Box::pin(async move { drop(receiver.wait_for(|now| *now >= deadline).await) })
    }
}
