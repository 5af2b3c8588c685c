//! Metrics an operator declares and reports.
//!
//! Guarantees: readings leave with the result of the call, so a call that fails counts nothing. Must not know: how the host
//! keeps or shows them.

use crate::bindings::types::{self, Measurement, MetricKind};

/// The metrics of an operator: a struct with a [`Counter`], [`Gauge`] or [`Histogram`] for each, which carries the name of its
/// field. Implement it by `#[derive(Metrics)]`; `()` is none.
pub trait Metrics {
    /// The declarations, in order.
    fn describe() -> Vec<types::Metric>;
    /// No readings yet.
    fn start() -> Self;
    /// The readings.
    fn finish(self) -> Vec<Measurement>;
}

impl Metrics for () {
    fn describe() -> Vec<types::Metric> {
        Vec::new()
    }
    fn start() {}
    fn finish(self) -> Vec<Measurement> {
        Vec::new()
    }
}

/// One metric.
pub trait Metric: Default {
    /// What kind of metric it is.
    const KIND: MetricKind;
    /// Adds its readings, as those of the metric with this index.
    fn report(self, metric: u32, readings: &mut Vec<Measurement>);
}

/// Counts up.
#[derive(Clone, Debug, Default)]
pub struct Counter(f64);

impl Counter {
    /// Adds to it.
    #[inline]
    pub fn add(&mut self, count: u64) {
        self.0 += count as f64;
    }
}

impl Metric for Counter {
    const KIND: MetricKind = MetricKind::Counter;
    fn report(self, metric: u32, readings: &mut Vec<Measurement>) {
        if self.0 > 0.0 {
            readings.push(Measurement { metric, value: self.0 });
        }
    }
}

/// A value that goes up and down; the last one of a call is reported.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Option<f64>);

impl Gauge {
    /// Sets it.
    #[inline]
    pub fn set(&mut self, value: f64) {
        self.0 = Some(value);
    }
}

impl Metric for Gauge {
    const KIND: MetricKind = MetricKind::Gauge;
    fn report(self, metric: u32, readings: &mut Vec<Measurement>) {
        readings.extend(self.0.map(|value| Measurement { metric, value }));
    }
}

/// A distribution of values.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Vec<f64>);

impl Histogram {
    /// Adds an observation.
    #[inline]
    pub fn observe(&mut self, value: f64) {
        self.0.push(value);
    }
}

impl Metric for Histogram {
    const KIND: MetricKind = MetricKind::Histogram;
    fn report(self, metric: u32, readings: &mut Vec<Measurement>) {
        readings.extend(self.0.into_iter().map(|value| Measurement { metric, value }));
    }
}
