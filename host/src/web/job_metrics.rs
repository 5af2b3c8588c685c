//! What jobs count, for Prometheus: asked for whenever somebody reads the server's metrics.
use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::{
    control::NodeReport,
    service::{JobMetrics, Jobs},
};

/// Reads what jobs count.
pub(super) struct JobCollector(pub(super) Jobs);

impl fmt::Debug for JobCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JobCollector")
    }
}

/// `job`, and what else.
type Labels<'a> = [(&'static str, &'a str)];

/// A job's number.
type OfJob = (&'static str, &'static str, fn(&JobMetrics) -> u64);

/// A number of a source, operator or sink.
type OfNode = (&'static str, &'static str, fn(&NodeReport) -> u64);

const OF_JOBS: [OfJob; 3] = [
    ("job_restarts", "Starts after failures", |job| job.restarts),
    ("job_checkpoints", "Complete checkpoints and savepoints", |job| job.checkpoints),
    ("job_checkpoints_failed", "Checkpoints and savepoints that were given up", |job| job.checkpoints_failed),
];

const OF_NODES: [OfNode; 7] = [
    ("job_records_in", "Rows in", |node| node.records_in),
    ("job_records_out", "Rows out, side outputs included", |node| node.records_out),
    ("job_records_rejected", "Rows rejected, or malformed", |node| node.rejected),
    ("job_records_late", "Rows too late for their window", |node| node.late),
    ("job_failed", "Rows, timers and windows that calls have failed on", |node| node.failed),
    ("job_circuits_opened", "How often a circuit breaker has opened", |node| node.circuits_opened),
    ("job_guests_replaced", "Guests replaced because their memory had grown", |node| node.guests_replaced),
];

struct Set<'a>(&'a Labels<'a>);

impl EncodeLabelSet for Set<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for pair in self.0 {
            pair.encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

impl Collector for JobCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let jobs = self.0.metrics();
        let mut states =
            encoder.encode_descriptor("job_state", "1 for the state that a job is in", None, MetricType::Gauge)?;
        for job in &jobs {
            let state = job.state.to_string();
            states
                .encode_family(&Set(&[("job", &job.id), ("name", &job.name), ("state", &state)]))?
                .encode_gauge(&1u64)?;
        }
        let running: Vec<_> = jobs.iter().filter(|job| !job.state.is_terminal()).collect();
        for (name, help, value) in OF_JOBS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for job in &running {
                let labels: &Labels<'_> = &[("job", &job.id), ("name", &job.name)];
                family.encode_family(&Set(labels))?.encode_counter::<NoLabelSet, _, u64>(&value(job), None)?;
            }
        }
        for (name, help, value) in OF_NODES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (job, node) in running.iter().flat_map(|job| job.nodes.iter().map(move |node| (job, node))) {
                let labels: &Labels<'_> = &[("job", &job.id), ("name", &job.name), ("operator", &node.name)];
                family.encode_family(&Set(labels))?.encode_counter::<NoLabelSet, _, u64>(&value(node), None)?;
            }
        }
        gauges(&mut encoder, &running)
    }
}

/// What goes up and down.
fn gauges(encoder: &mut DescriptorEncoder<'_>, running: &[&JobMetrics]) -> fmt::Result {
    let help = "How far event time has come, in ms since 1970-01-01 UTC";
    let mut family = encoder.encode_descriptor("job_watermark_ms", help, None, MetricType::Gauge)?;
    for (job, node) in running.iter().flat_map(|job| job.nodes.iter().map(move |node| (job, node))) {
        let Some(watermark) = node.watermark else { continue };
        let labels: &Labels<'_> = &[("job", &job.id), ("name", &job.name), ("operator", &node.name)];
        family.encode_family(&Set(labels))?.encode_gauge(&watermark)?;
    }
    for (name, help, value) in [
        ("job_checkpoint_duration_ms", "Of the latest checkpoint, from barrier to manifest", |latest| latest.took_ms),
        ("job_checkpoint_bytes", "Written for the latest checkpoint", |latest| latest.bytes),
    ] as [(_, _, fn(&crate::service::CheckpointInfo) -> Option<u64>); 2]
    {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for job in running {
            let Some(value) = job.latest.as_ref().and_then(value) else { continue };
            family.encode_family(&Set(&[("job", &job.id), ("name", &job.name)]))?.encode_gauge(&value)?;
        }
    }
    Ok(())
}
