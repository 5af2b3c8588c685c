//! What the metrics that plugins declare have come to. Guarantees: a reading is counted without a lock and without looking its metric up,
//! one that would spoil what was counted before is passed over, and how much is kept does not grow with the readings. Must not know of which
//! calls they are, nor who reads them.
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::MetricKind;

/// Metrics that one subtask of an operator keeps, of all versions it has had; as many as one description may declare.
const METRICS_MAX: usize = 1024;

/// Upper bounds of the buckets of histograms, two a power of ten, whatever the unit: what is larger is in one more.
pub const HISTOGRAM_BOUNDS: [f64; 25] = [
    1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1e0, 3e0, 1e1, 3e1, 1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7, 3e7,
    1e8, 3e8, 1e9,
];

/// What one subtask of an operator has measured, by name and kind: plugins, and versions of them, that declare the same count together.
#[derive(Debug, Default)]
pub struct Measures(Mutex<BTreeMap<(String, MetricKind), Arc<Series>>>);

/// One metric of one subtask.
#[derive(Debug)]
pub(super) enum Series {
    Counter(Sum),
    /// The bits of the latest value; not a number before the first.
    Gauge(AtomicU64),
    Histogram {
        sum: Sum,
        /// As many as there are bounds, and one.
        buckets: Box<[AtomicU64]>,
    },
}

/// The bits of a sum of numbers.
#[derive(Debug, Default)]
pub(super) struct Sum(AtomicU64);

impl Sum {
    fn add(&self, value: f64) {
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // It always has something to store.
        let _ = self.0.fetch_update(Relaxed, Relaxed, add);
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

impl Series {
    fn new(kind: MetricKind) -> Series {
        match kind {
            MetricKind::Counter => Series::Counter(Sum::default()),
            MetricKind::Gauge => Series::Gauge(AtomicU64::new(f64::NAN.to_bits())),
            MetricKind::Histogram => {
                let buckets = (0..=HISTOGRAM_BOUNDS.len()).map(|_| AtomicU64::default()).collect();
                Series::Histogram { sum: Sum::default(), buckets }
            }
        }
    }

    /// A reading. Of no effect if it is not finite, or would have a counter go down.
    pub(super) fn record(&self, value: f64) {
        if !value.is_finite() {
            return;
        }
        match self {
            Series::Counter(sum) if value > 0.0 => sum.add(value),
            Series::Counter(_) => {}
            Series::Gauge(latest) => latest.store(value.to_bits(), Relaxed),
            Series::Histogram { sum, buckets } => {
                sum.add(value);
                buckets[HISTOGRAM_BOUNDS.partition_point(|bound| *bound < value)].fetch_add(1, Relaxed);
            }
        }
    }
}

/// What a metric has come to in all subtasks.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MetricValue {
    /// A sum.
    Counter {
        /// Of all subtasks together.
        value: f64,
    },
    /// The latest value.
    Gauge {
        /// Of each subtask; null where there was none yet.
        values: Vec<Option<f64>>,
    },
    /// A distribution, of all subtasks together.
    Histogram {
        /// Of what was observed.
        sum: f64,
        /// How much was observed.
        count: u64,
        /// How much was in each bucket, not counting those before: one for each of [`HISTOGRAM_BOUNDS`], and that of all that is larger.
        #[serde(skip)]
        buckets: Vec<u64>,
    },
}

impl Measures {
    /// What these metrics are to be counted in, in their order. Beyond [`METRICS_MAX`], that is nowhere.
    pub(super) fn series(&self, declared: &[(String, MetricKind)]) -> Vec<Arc<Series>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lost = 0;
        let series = declared
            .iter()
            .map(|metric| {
                if let Some(series) = all.get(metric) {
                    return series.clone();
                }
                let series = Arc::new(Series::new(metric.1));
                match all.len() < METRICS_MAX {
                    true => drop(all.insert(metric.clone(), series.clone())),
                    false => lost += 1,
                }
                series
            })
            .collect();
        if lost > 0 {
            tracing::warn!(lost, max = METRICS_MAX, "an operator has had too many metrics: some are not counted");
        }
        series
    }

    fn find(&self, metric: &(String, MetricKind)) -> Option<Arc<Series>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(metric).cloned()
    }

    /// What a metric has come to in these subtasks, which are all there are.
    pub fn read<'a>(subtasks: impl Iterator<Item = &'a Measures>, metric: &(String, MetricKind)) -> MetricValue {
        let subtasks: Vec<Option<Arc<Series>>> = subtasks.map(|subtask| subtask.find(metric)).collect();
        let there = subtasks.iter().flatten().map(|series| &**series);
        match metric.1 {
            MetricKind::Counter => {
                let add =
                    |total, series: &Series| if let Series::Counter(sum) = series { total + sum.get() } else { total };
                MetricValue::Counter { value: there.fold(0.0, add) }
            }
            MetricKind::Gauge => {
                let latest = |series: &Option<Arc<Series>>| {
                    let Some(Series::Gauge(latest)) = series.as_deref() else { return None };
                    Some(f64::from_bits(latest.load(Relaxed))).filter(|value| !value.is_nan())
                };
                MetricValue::Gauge { values: subtasks.iter().map(latest).collect() }
            }
            MetricKind::Histogram => {
                let (mut total, mut counts) = (0.0, vec![0; HISTOGRAM_BOUNDS.len() + 1]);
                for series in there {
                    let Series::Histogram { sum, buckets } = series else { continue };
                    total += sum.get();
                    counts.iter_mut().zip(buckets).for_each(|(count, more)| *count += more.load(Relaxed));
                }
                MetricValue::Histogram { sum: total, count: counts.iter().sum(), buckets: counts }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(metrics: &[(&str, MetricKind)]) -> Vec<(String, MetricKind)> {
        metrics.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect()
    }

    #[test]
    fn subtasks_are_added_up_but_for_gauges() {
        let metrics =
            declared(&[("rows", MetricKind::Counter), ("size", MetricKind::Gauge), ("each", MetricKind::Histogram)]);
        let subtasks = [Measures::default(), Measures::default(), Measures::default()];
        let read = |metric| Measures::read(subtasks.iter(), &metrics[metric]);
        let none = vec![0; HISTOGRAM_BOUNDS.len() + 1];
        assert_eq!(read(0), MetricValue::Counter { value: 0.0 });
        assert_eq!(read(1), MetricValue::Gauge { values: vec![None; 3] });
        assert_eq!(read(2), MetricValue::Histogram { sum: 0.0, count: 0, buckets: none.clone() });
        for (subtask, values) in [(0, vec![1.0, 2.5]), (1, vec![f64::NAN, 1e12, -4.0, f64::INFINITY])] {
            let series = subtasks[subtask].series(&metrics);
            series.iter().for_each(|series| values.iter().for_each(|value| series.record(*value)));
        }
        // A counter goes up, and what is not finite is no reading.
        assert_eq!(read(0), MetricValue::Counter { value: 1e12 + 3.5 });
        assert_eq!(read(1), MetricValue::Gauge { values: vec![Some(2.5), Some(-4.0), None] });
        let mut buckets = none;
        // -4 is below all bounds, 1 is one of them, 2.5 below the next.
        [0, 6, 7, 25].into_iter().for_each(|bucket| buckets[bucket] += 1);
        assert_eq!(read(2), MetricValue::Histogram { sum: 1e12 - 0.5, count: 4, buckets });
    }

    #[test]
    fn another_version_goes_on_with_the_metrics_of_the_same_name_and_kind() {
        let measures = Measures::default();
        let (old, other) = (("rows", MetricKind::Counter), ("rows", MetricKind::Gauge));
        measures.series(&declared(&[old]))[0].record(2.0);
        let new = declared(&[("more", MetricKind::Counter), other, old]);
        measures.series(&new).iter().zip([5.0, 7.0, 1.0]).for_each(|(series, value)| series.record(value));
        let read = |metric: usize| Measures::read([&measures].into_iter(), &new[metric]);
        assert_eq!(read(0), MetricValue::Counter { value: 5.0 });
        assert_eq!(read(1), MetricValue::Gauge { values: vec![Some(7.0)] });
        assert_eq!(read(2), MetricValue::Counter { value: 3.0 });
    }

    #[test]
    fn versions_with_ever_new_metrics_do_not_fill_memory() {
        let measures = Measures::default();
        let metrics: Vec<_> = (0..METRICS_MAX + 3).map(|it| (format!("m{it}"), MetricKind::Counter)).collect();
        measures.series(&metrics).iter().for_each(|series| series.record(1.0));
        let counted = |metric| Measures::read([&measures].into_iter(), metric) == MetricValue::Counter { value: 1.0 };
        assert_eq!(metrics.iter().filter(|metric| counted(metric)).count(), METRICS_MAX);
    }
}
