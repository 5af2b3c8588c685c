//! A sink that stands still holds the source: what lies between them is bounded by queues and batches, however much there is.
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use wasmill::{
    connector::{
        BatchLimits, ConnectorError, Delivery, Opening, ReadStatus, Recovery, Sink, SinkWriter, Source, SourceReader,
    },
    control::{LocalPlugins, prepare},
    dataflow::QUEUE_BATCHES_MAX,
    job,
    model::{Batch, Encoded, Position, RawBatch, SplitPosition},
};

use super::jobs;

const BATCH_RECORDS: usize = 10;
const OPERATORS: usize = 2;
const SINKS: usize = 3;
/// Looks at a count that must not move before it counts as standing still.
const LOOKS: usize = 20_000;

const JOB: &str = r#"
name: backpressure
batch: { records: 10 }
sources:
  lines: { stdin: {}, parallelism: 1 }
operators:
  pass: { input: lines, transform: { plugin: "${PLUGIN}" }, parallelism: 2 }
sinks:
  out: { input: pass, discard: {}, format: text, parallelism: 3 }
"#;

/// Gives as many records as anybody takes, and counts them.
#[derive(Clone, Debug, Default)]
struct Endless(Arc<AtomicUsize>);

impl Source for Endless {
    fn parallelism_max(&self) -> Option<usize> {
        Some(1)
    }
    fn can_replay(&self) -> bool {
        false
    }
    fn open(&self, _: &Opening, _: Option<&[SplitPosition]>) -> Result<Box<dyn SourceReader>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl SourceReader for Endless {
    async fn read(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<ReadStatus, ConnectorError> {
        if into.is_empty() {
            into.position = Position { place: "endless".into(), record: 1 };
        }
        while into.len() < limits.records {
            into.data.extend_from_slice(b"a line");
            into.ends.push(into.data.len() as u32);
            self.0.fetch_add(1, SeqCst);
        }
        Ok(ReadStatus::More)
    }
    fn positions(&self) -> Vec<SplitPosition> {
        Vec::new()
    }
}

/// Writes as many batches as it has permits, and counts those it has begun.
#[derive(Clone, Debug)]
struct Reluctant {
    permits: Arc<Semaphore>,
    begun: Arc<AtomicUsize>,
}

#[async_trait]
impl Sink for Reluctant {
    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
    async fn recover(&self, _: &Recovery, _: &[Vec<u8>]) -> Result<(), ConnectorError> {
        Ok(())
    }
    fn open(&self, _: &Opening) -> Result<Box<dyn SinkWriter>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl SinkWriter for Reluctant {
    async fn write(&mut self, _: &Batch, _: &Encoded) -> Result<(), ConnectorError> {
        self.begun.fetch_add(1, SeqCst);
        // The semaphore is closed once all may pass.
        if let Ok(permit) = self.permits.acquire().await {
            permit.forget();
        }
        Ok(())
    }
    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
    async fn prepare(&mut self, _: u64) -> Result<Vec<Vec<u8>>, ConnectorError> {
        Ok(Vec::new())
    }
    async fn commit(&mut self, _: &[Vec<u8>]) -> Result<(), ConnectorError> {
        Ok(())
    }
    async fn close(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_sink_that_stands_still_holds_the_source() {
    let source = Endless::default();
    let sink = Reluctant { permits: Arc::new(Semaphore::new(0)), begun: Arc::default() };
    let variable = |_: &str| Some(jobs::misbehaving());
    let mut spec = job::parse(JOB, "job.yaml", &variable, Path::new("")).unwrap();
    spec.sources["lines"].connector = Arc::new(source.clone());
    spec.sinks["out"].connector = Arc::new(sink.clone());
    let prepared =
        Arc::new(prepare(spec, &LocalPlugins::new(jobs::engine(), false)).unwrap_or_else(|error| panic!("{error}")));
    assert_eq!(prepared.plan.tasks.len(), 3, "{}", prepared.plan);

    // Each source and operator has a batch in hand that it waits to hand over, each sink one it is writing.
    let queues = OPERATORS + OPERATORS * SINKS;
    let batches_max = queues * QUEUE_BATCHES_MAX + 1 + OPERATORS + SINKS;
    let stop = CancellationToken::new();
    jobs::runtime().block_on(async {
        let job = jobs::start(prepared, &stop);
        until(|| sink.begun.load(SeqCst) == SINKS).await;
        let (mut read, mut looks) = (0, 0);
        while looks < LOOKS {
            tokio::task::yield_now().await;
            let now = source.0.load(SeqCst);
            looks = if now == read { looks + 1 } else { 0 };
            read = now;
            assert!(read <= batches_max * BATCH_RECORDS, "{read} records are on their way");
        }
        assert_eq!(sink.begun.load(SeqCst), SINKS);
        // As soon as the sinks go on, so does the source.
        sink.permits.close();
        until(|| source.0.load(SeqCst) > 2 * batches_max * BATCH_RECORDS).await;
        stop.cancel();
        let report = job.wait().await.unwrap_or_else(|error| panic!("{error}"));
        assert!(report.stopped);
        let written = jobs::node(&report.nodes, "out").records_in;
        assert_eq!(written, source.0.load(SeqCst) as u64, "what was read before the stop was not written");
    });
}
