//! What jobs count, for Prometheus: asked for whenever somebody reads the server's metrics.
use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::{
    control::NodeReport,
    dataflow::{CallCounts, Compared},
    model::split_rule,
    plugin::{HISTOGRAM_BOUNDS, MetricValue},
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

/// A number of what a shadow is compared by.
type OfShadow = (&'static str, fn(&Compared) -> u64);

/// A number of one of the versions where there is a canary.
type OfCanary = (&'static str, &'static str, fn(&CallCounts) -> u64);

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

/// Of families of their own: what they count, but for rows in, is in the series of their operators as well.
const OF_RULES: [OfNode; 6] = [
    ("rule_records_in", "Rows that a rule was given", |rule| rule.records_in),
    ("rule_records_out", "Rows out of a rule, side outputs included", |rule| rule.records_out),
    ("rule_records_rejected", "Rows that a rule has rejected", |rule| rule.rejected),
    ("rule_failed", "Rows and timers that calls of a rule have failed on", |rule| rule.failed),
    ("rule_circuits_opened", "How often the circuit breaker of a rule has opened", |rule| rule.circuits_opened),
    ("rule_guests_replaced", "Guests of a rule replaced because their memory had grown", |rule| rule.guests_replaced),
];

/// By the label `compared`.
const OF_SHADOWS: [OfShadow; 4] = [
    ("equal", |compared| compared.equal),
    ("missing", |compared| compared.missing),
    ("extra", |compared| compared.extra),
    ("different", |compared| compared.different),
];

/// By the label `version`.
const OF_CANARIES: [OfCanary; 7] = [
    ("canary_rows", "Rows processed since there is a canary", |counts| counts.rows),
    ("canary_timers", "Timers fired", |counts| counts.timers),
    ("canary_emitted", "Rows emitted, side outputs included", |counts| counts.emitted),
    ("canary_rejected", "Rows rejected", |counts| counts.rejected),
    ("canary_failed", "Rows and timers that calls have failed on", |counts| counts.failed),
    ("canary_calls", "Calls, also failed ones", |counts| counts.calls),
    ("canary_call_us", "Time in calls, in us", |counts| counts.time_us),
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
        for (name, help, value) in OF_RULES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (job, rule) in running.iter().flat_map(|job| job.rules.iter().map(move |rule| (job, rule))) {
                let labels = labels(job, &rule.name);
                family.encode_family(&Set(&labels))?.encode_counter::<NoLabelSet, _, u64>(&value(rule), None)?;
            }
        }
        gauges(&mut encoder, &running)?;
        tried(&mut encoder, &running)?;
        measured(&mut encoder, &running)
    }
}

/// Whose a series is: the job, and its operator or rule.
fn labels<'a>(job: &'a JobMetrics, operator: &'a str) -> Vec<(&'static str, &'a str)> {
    let labels = [("job", &*job.id), ("name", &*job.name)];
    match split_rule(operator) {
        None => [&labels[..], &[("operator", operator)]].concat(),
        Some((operator, rule)) => [&labels[..], &[("operator", operator), ("rule", rule)]].concat(),
    }
}

/// What has come of versions that are tried beside those in force, or have a share of the keys.
fn tried(encoder: &mut DescriptorEncoder<'_>, running: &[&JobMetrics]) -> fmt::Result {
    let help = "Rows of a shadow and of the version in force, compared";
    let mut family = encoder.encode_descriptor("shadow_rows", help, None, MetricType::Counter)?;
    for (job, report) in running.iter().flat_map(|job| job.shadows.iter().map(move |report| (job, report))) {
        for (compared, value) in OF_SHADOWS {
            let labels = [&labels(job, &report.operator)[..], &[("compared", compared)]].concat();
            let value = value(&report.compared);
            family.encode_family(&Set(&labels))?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
    }
    let help = "Calls of a shadow that failed";
    let mut family = encoder.encode_descriptor("shadow_failed", help, None, MetricType::Counter)?;
    for (job, report) in running.iter().flat_map(|job| job.shadows.iter().map(move |report| (job, report))) {
        let (labels, failed) = (labels(job, &report.operator), report.compared.failed);
        family.encode_family(&Set(&labels))?.encode_counter::<NoLabelSet, _, u64>(&failed, None)?;
    }
    for (name, help, value) in OF_CANARIES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (job, report) in running.iter().flat_map(|job| job.canaries.iter().map(move |report| (job, report))) {
            for (version, counts) in [("in_force", &report.in_force), ("canary", &report.canary)] {
                let labels = [&labels(job, &report.operator)[..], &[("version", version)]].concat();
                let value = value(counts);
                family.encode_family(&Set(&labels))?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
        }
    }
    Ok(())
}

/// What plugins measure themselves. Of rules with a label more, so that sums over all series are those of operators.
fn measured(encoder: &mut DescriptorEncoder<'_>, running: &[&JobMetrics]) -> fmt::Result {
    for (family, help, kind) in [
        ("operator_counter", "Counters that plugins declare", MetricType::Counter),
        ("operator_gauge", "Gauges that plugins declare, by subtask", MetricType::Gauge),
        ("operator_histogram", "Histograms that plugins declare", MetricType::Histogram),
    ] {
        let mut family = encoder.encode_descriptor(family, help, None, kind)?;
        for (job, report) in running.iter().flat_map(|job| job.measured.iter().map(move |report| (job, report))) {
            let labels = [&labels(job, &report.operator)[..], &[("metric", &*report.metric)]].concat();
            match (kind, &report.value) {
                (MetricType::Counter, MetricValue::Counter { value }) => {
                    family.encode_family(&Set(&labels))?.encode_counter::<NoLabelSet, _, u64>(value, None)?;
                }
                (MetricType::Gauge, MetricValue::Gauge { values }) => {
                    for (subtask, value) in values.iter().enumerate() {
                        let (Some(value), subtask) = (value, subtask.to_string()) else { continue };
                        let labels = [&labels[..], &[("subtask", &*subtask)]].concat();
                        family.encode_family(&Set(&labels))?.encode_gauge(value)?;
                    }
                }
                (MetricType::Histogram, MetricValue::Histogram { sum, count, buckets }) => {
                    let bounds = HISTOGRAM_BOUNDS.into_iter().chain([f64::INFINITY]);
                    let buckets: Vec<(f64, u64)> = bounds.zip(buckets.iter().copied()).collect();
                    family
                        .encode_family(&Set(&labels))?
                        .encode_histogram::<NoLabelSet>(*sum, *count, &buckets, None)?;
                }
                _ => {}
            }
        }
    }
    Ok(())
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
