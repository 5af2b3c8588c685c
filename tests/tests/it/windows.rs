//! Windows by a real plugin that counts, against their definition, row by row.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::Duration,
};

use arrow_array::{ArrayRef, StringArray, cast::AsArray, types::Int64Type};
use async_trait::async_trait;
use wasmill::{
    codec::Format,
    dataflow::{
        AggregatePlugin, Failures, Message, Moments, NodeMetrics, Operator, Outputs, Rejects, Route, Sender, StateHome,
        Target, TaskError, WindowWork, WindowedSettings, windowed,
    },
    job::{FailureSpec, OnError},
    model::{
        Batch, Field, Kind, OperatorKind, Schema, SnapshotKind, SnapshotRequest, SubtaskState, TimeDomain,
        WATERMARK_END, Window,
    },
    plugin::{Budget, Limits, Placement, Plugin},
    state::StateBackend,
    window::{Assigner, Lateness, Sessions, Sliding, Trigger},
};

use super::jobs;

/// Key, start and end of the window, number of rows.
type Row = (String, i64, i64, i64);

struct Capture(Arc<Mutex<Vec<Batch>>>);

#[async_trait]
impl Sender for Capture {
    async fn send(&mut self, message: Message) -> Result<(), TaskError> {
        if let Message::Batch(batch) = message {
            self.0.lock().unwrap().push(batch);
        }
        Ok(())
    }
}

/// An operator at work.
struct Stage {
    settings: WindowedSettings,
    plugin: Arc<Plugin>,
    operator: Box<dyn Operator>,
    outputs: Outputs,
    metrics: Arc<NodeMetrics>,
    emitted: Arc<Mutex<Vec<Batch>>>,
}

fn input() -> Schema {
    Schema::new([Field::new("word", Kind::Utf8)]).unwrap()
}

fn open(settings: &WindowedSettings, plugin: &Arc<Plugin>, restored: SubtaskState) -> Box<dyn Operator> {
    let placement = Placement::scratch("counts");
    let limits = Limits {
        memory_bytes: 64 << 20,
        batch_time: Duration::from_secs(20),
        retire_memory_bytes: 32 << 20,
        budget: Budget::default(),
    };
    let instance = plugin.instantiate(OperatorKind::Aggregate, "{}", placement, limits).unwrap();
    let rejects = Rejects::new("counts", 2, OnError::Skip, Format::Json.encoder(&input()).unwrap());
    let clock = jobs::environment().clock;
    let failures = Failures::new(FailureSpec::default(), ("counts", 0), None, clock).unwrap();
    let moments = Moments::new(&jobs::environment(), "counts", 0);
    let home = StateHome {
        backend: StateBackend::memory(),
        uid: "counts".into(),
        subtask: 0,
        start: 1,
        groups: 0..128,
        max_parallelism: 128,
        drop_vanished: false,
    };
    let work = WindowWork::Aggregate(AggregatePlugin { instance, reads: Vec::new() });
    windowed(settings.clone(), work, None, (rejects, failures), moments, &home, restored).unwrap()
}

impl Stage {
    fn new(assigner: Assigner, lateness: u64, trigger: Trigger) -> Stage {
        let mut fields = vec![Field::new("word", Kind::Utf8)];
        fields.extend(["window_start", "window_end", "count"].map(|name| Field::new(name, Kind::Int64)));
        let settings = WindowedSettings {
            node: "counts".into(),
            key: vec![0],
            key_kinds: vec![Kind::Utf8],
            assigner,
            time: TimeDomain::Event,
            lateness: Lateness::new(Duration::from_millis(lateness)),
            trigger,
            late: Some(1),
            window_columns: true,
            schema: Schema::new(fields).unwrap(),
            batch_records: 7,
            combined: false,
        };
        let plugin = Plugin::load(jobs::engine(), jobs::plugin("word-count").as_ref()).unwrap();
        let (metrics, emitted) = (Arc::new(NodeMetrics::default()), Arc::default());
        let capture = Route::Forward(Box::new(Capture(Arc::clone(&emitted))));
        let ports = vec![vec![Target { adapt: None, route: capture }], Vec::new(), Vec::new()];
        let outputs = Outputs::new(ports, metrics.clone());
        let operator = open(&settings, &plugin, SubtaskState::default());
        Stage { settings, plugin, operator, outputs, metrics, emitted }
    }

    async fn rows(&mut self, rows: &[(String, i64)]) {
        let words: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(word, _)| word)));
        let columns = input().record_batch(vec![words], rows.len()).unwrap();
        let timestamps = rows.iter().map(|(_, time)| *time).collect();
        let batch = Batch { columns, timestamps, arrived: Duration::ZERO, key_hashes: None };
        self.operator.batch(batch, &mut self.outputs).await.unwrap();
    }

    async fn watermark(&mut self, watermark: i64) {
        self.operator.watermark(watermark, &mut self.outputs).await.unwrap();
    }

    /// Leaves off and starts again from what was left.
    async fn restart(&mut self) {
        let request = SnapshotRequest::new(1, SnapshotKind::Savepoint, "x");
        let left = self.operator.snapshot(&request).await.unwrap();
        self.operator = open(&self.settings, &self.plugin, left);
    }

    /// What was emitted since it was last asked, sorted.
    fn emitted(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for batch in self.emitted.lock().unwrap().drain(..) {
            let number = |column: usize, row| batch.columns.column(column).as_primitive::<Int64Type>().value(row);
            for row in 0..batch.rows() {
                let word = batch.columns.column(0).as_string::<i32>().value(row).to_owned();
                assert_eq!(batch.timestamps[row], Window { start: 0, end: number(2, row) }.last());
                rows.push((word, number(1, row), number(2, row), number(3, row)));
            }
        }
        rows.sort();
        rows
    }
}

/// What windows are by their definition: all of them, row by row.
struct Oracle {
    assigner: Assigner,
    lateness: Lateness,
    watermark: i64,
    windows: BTreeMap<(String, Window), i64>,
    late: u64,
    emitted: Vec<Row>,
}

impl Oracle {
    fn row(&mut self, word: &str, time: i64) {
        let mut windows: Vec<Window> = match self.assigner {
            Assigner::Sliding(sliding) => sliding.windows_of(sliding.slice_of(time)).collect(),
            Assigner::Session(sessions) => {
                let alone = sessions.window_of(time);
                let overlaps = |it: &Window| it.start < alone.end && alone.start < it.end;
                let joined: Vec<Window> =
                    self.windows.keys().filter(|(key, it)| key == word && overlaps(it)).map(|(_, it)| *it).collect();
                let start = joined.iter().map(|it| it.start).chain([alone.start]).min().unwrap();
                let end = joined.iter().map(|it| it.end).chain([alone.end]).max().unwrap();
                let whole = Window { start, end };
                if !self.lateness.is_late(whole, self.watermark) {
                    let sum: i64 = joined.iter().map(|it| self.windows.remove(&(word.into(), *it)).unwrap()).sum();
                    self.windows.insert((word.into(), whole), sum);
                }
                vec![whole]
            }
            Assigner::Global => vec![Window::GLOBAL],
        };
        windows.retain(|window| !self.lateness.is_late(*window, self.watermark));
        self.late += u64::from(windows.is_empty());
        for window in windows {
            let count = self.windows.entry((word.to_owned(), window)).or_default();
            *count += 1;
            if window.last() <= self.watermark {
                self.emitted.push((word.to_owned(), window.start, window.end, *count));
            }
        }
    }

    fn watermark(&mut self, watermark: i64) {
        for ((word, window), count) in &self.windows {
            if window.last() > self.watermark && window.last() <= watermark {
                self.emitted.push((word.clone(), window.start, window.end, *count));
            }
        }
        self.watermark = watermark;
        self.windows.retain(|(_, window), _| !self.lateness.is_late(*window, watermark));
    }

    fn emitted(&mut self) -> Vec<Row> {
        self.emitted.sort();
        std::mem::take(&mut self.emitted)
    }
}

async fn compare(assigner: Assigner, lateness: u64, rows_max: usize, seed: u64) {
    let mut stage = Stage::new(assigner, lateness, Trigger::at_end(TimeDomain::Event));
    let lateness = Lateness::new(Duration::from_millis(lateness));
    let mut oracle =
        Oracle { assigner, lateness, watermark: i64::MIN, windows: BTreeMap::new(), late: 0, emitted: Vec::new() };
    let mut random = fastrand::Rng::with_seed(seed);
    let mut now = 0;
    for step in 0..120 {
        match random.u8(0..6) {
            0 => {
                now += random.i64(0..40);
                stage.watermark(now).await;
                oracle.watermark(now);
            }
            1 if step % 3 == 0 => stage.restart().await,
            _ => {
                let rows: Vec<(String, i64)> = (0..random.usize(0..=rows_max))
                    .map(|_| (format!("w{}", random.u8(0..12)), now + random.i64(-60..80)))
                    .collect();
                stage.rows(&rows).await;
                rows.iter().for_each(|(word, time)| oracle.row(word, *time));
            }
        }
        assert_eq!(stage.emitted(), oracle.emitted(), "{assigner:?}, {lateness:?}, step {step} of seed {seed}");
    }
    stage.watermark(WATERMARK_END).await;
    oracle.watermark(WATERMARK_END);
    assert_eq!(stage.emitted(), oracle.emitted(), "{assigner:?} at the end");
    assert_eq!(stage.metrics.late.load(Relaxed), oracle.late);
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test]
async fn windows_of_one_length_count_what_their_definition_says() {
    for (size, slide, offset, lateness) in
        [(10, 10, 0, 0), (10, 10, 3, 25), (60, 5, 0, 0), (50, 20, 7, 0), (30, 10, 0, 15), (7, 7, 0, 1)]
    {
        let assigner = Assigner::Sliding(Sliding::new(ms(size), ms(slide), ms(offset)));
        compare(assigner, lateness, 30, size + slide).await;
    }
}

#[tokio::test]
async fn sessions_count_what_their_definition_says() {
    for (gap, lateness, rows_max) in [(5, 0, 30), (12, 0, 30), (30, 0, 10), (8, 20, 1), (20, 50, 1)] {
        compare(Assigner::Session(Sessions::new(ms(gap))), lateness, rows_max, gap).await;
    }
}

#[tokio::test]
async fn a_global_window_fires_at_its_end_or_with_every_so_many_rows() {
    compare(Assigner::Global, 0, 20, 1).await;
    let mut stage = Stage::new(Assigner::Global, 0, Trigger::count(3.try_into().unwrap()).purging());
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    let mut random = fastrand::Rng::with_seed(9);
    for step in 0..60 {
        let rows: Vec<(String, i64)> = (0..random.usize(0..20)).map(|_| (format!("w{}", random.u8(0..4)), 0)).collect();
        let mut expected: Vec<Row> = Vec::new();
        for (word, _) in &rows {
            let count = counts.entry(word.clone()).or_default();
            *count += 1;
            if *count % 3 == 0 {
                expected.push((word.clone(), i64::MIN, i64::MAX, 3));
            }
        }
        expected.sort();
        stage.rows(&rows).await;
        if step % 7 == 0 {
            stage.restart().await;
        }
        assert_eq!(stage.emitted(), expected, "step {step}");
    }
    stage.watermark(WATERMARK_END).await;
    assert_eq!(stage.emitted(), [], "a count that is not reached does not fire");
}
