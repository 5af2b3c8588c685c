//! Joins against their definition: every row with every other, in nested loops.
use std::{
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::Duration,
};

use arrow_array::{ArrayRef, Int64Array, StringArray, cast::AsArray, types::Int64Type};
use async_trait::async_trait;

use super::{JoinInput, JoinSettings, Windowing, interval_join, window_join};
use crate::{
    codec::Format,
    dataflow::{
        Environment, MemoryExchanges, Message, Moments, NodeMetrics, Operator, Outputs, Rejects, Route, Sender,
        StateHome, Target, TaskError, TokioSpawner,
    },
    job::{AssignerSpec, IntervalSpec, OnError},
    model::{
        Batch, Blob, Clock, Field, Kind, Schema, SnapshotKind, SnapshotRequest, SubtaskState, TimeDomain,
        WATERMARK_END, Window,
    },
    state::StateBackend,
    window::{Sessions, Sliding},
};

/// Which join.
#[derive(Clone, Copy, Debug)]
enum Join {
    Interval(IntervalSpec),
    Window(Windowing),
}

/// A row: its key, its number and its time.
type Row = (Option<String>, i64, i64);

/// Numbers of the two rows, the window if there is one, and the time.
type Pair = (i64, i64, Option<(i64, i64)>, i64);

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

/// A clock that is set.
#[derive(Default)]
struct SetClock(Mutex<i64>);

impl Clock for SetClock {
    fn now_ms(&self) -> i64 {
        *self.0.lock().unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep_until(&self, _: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

/// An operator at work.
struct Stage {
    join: Join,
    operator: Box<dyn Operator>,
    outputs: Outputs,
    metrics: Arc<NodeMetrics>,
    emitted: Arc<Mutex<Vec<Batch>>>,
    clock: Arc<SetClock>,
    starts: u64,
    /// Of databases; every other start is on one.
    directory: Option<tempfile::TempDir>,
}

/// Rows in an emitted batch.
const BATCH_RECORDS: usize = 7;

fn inputs() -> [JoinInput; 2] {
    let first = Schema::new([Field::new("user", Kind::Utf8).nullable(), Field::new("id", Kind::Int64)]).unwrap();
    let second = Schema::new([Field::new("id", Kind::Int64), Field::new("user", Kind::Utf8).nullable()]).unwrap();
    [JoinInput { schema: first, key: vec![0] }, JoinInput { schema: second, key: vec![1] }]
}

fn settings(join: Join) -> JoinSettings {
    let mut fields = vec![Field::new("user", Kind::Utf8), Field::new("id", Kind::Int64)];
    fields.extend([Field::new("second_id", Kind::Int64), Field::new("second_user", Kind::Utf8)]);
    if let Join::Window(_) = join {
        fields.extend(["window_start", "window_end"].map(|name| Field::new(name, Kind::Int64)));
    }
    JoinSettings {
        node: "pairs".into(),
        inputs: inputs(),
        schema: Schema::new(fields).unwrap(),
        batch_records: BATCH_RECORDS,
    }
}

impl Stage {
    fn new(join: Join, databases: bool) -> Stage {
        let (metrics, emitted, clock) = (Arc::new(NodeMetrics::default()), Arc::default(), Arc::default());
        let capture = Route::Forward(Box::new(Capture(Arc::clone(&emitted))));
        let ports = vec![vec![Target { adapt: None, route: capture }], Vec::new()];
        let outputs = Outputs::new(ports, metrics.clone());
        let directory = databases.then(|| tempfile::tempdir().unwrap());
        let operator = Stage::open(join, 0, directory.as_ref(), &clock, SubtaskState::default()).unwrap();
        Stage { join, operator, outputs, metrics, emitted, clock, starts: 0, directory }
    }

    fn open(
        join: Join,
        start: u64,
        directory: Option<&tempfile::TempDir>,
        clock: &Arc<SetClock>,
        restored: SubtaskState,
    ) -> Result<Box<dyn Operator>, TaskError> {
        let rejects =
            inputs().map(|input| Rejects::new("pairs", 1, OnError::Skip, Format::Json.encoder(&input.schema).unwrap()));
        let (exchanges, spawner) = (Arc::new(MemoryExchanges), Arc::new(TokioSpawner));
        let environment = Environment { clock: clock.clone(), seed: 1, exchanges, spawner };
        let moments = Moments::new(&environment, "pairs", 0);
        let backend = match directory {
            #[cfg(feature = "rocksdb")]
            Some(directory) if start.is_multiple_of(2) => {
                let directory = directory.path().join(start.to_string());
                StateBackend::rocksdb(crate::state::RocksDbSettings::new(directory)).unwrap()
            }
            _ => StateBackend::memory(),
        };
        let home = StateHome {
            backend,
            uid: "pairs".into(),
            subtask: 0,
            start,
            groups: 0..128,
            max_parallelism: 128,
            drop_vanished: false,
        };
        match join {
            Join::Interval(interval) => interval_join(settings(join), interval, rejects, moments, &home, restored),
            Join::Window(windowing) => window_join(settings(join), windowing, rejects, moments, &home, restored),
        }
    }

    async fn rows(&mut self, side: usize, rows: &[Row]) {
        let users: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|(user, ..)| user.as_ref())));
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, id, _)| *id)));
        let columns = if side == 0 { vec![users, ids] } else { vec![ids, users] };
        let columns = inputs()[side].schema.record_batch(columns, rows.len()).unwrap();
        let timestamps = rows.iter().map(|(.., time)| *time).collect();
        let batch = Batch { columns, timestamps, arrived: Duration::ZERO, key_hashes: None };
        let done = match side {
            0 => self.operator.batch(batch, &mut self.outputs).await,
            _ => self.operator.second(batch, &mut self.outputs).await,
        };
        done.unwrap();
    }

    async fn watermark(&mut self, watermark: i64) {
        self.operator.watermark(watermark, &mut self.outputs).await.unwrap();
    }

    /// Processing time has come this far.
    async fn clock(&mut self, now_ms: i64) {
        *self.clock.0.lock().unwrap() = now_ms;
        if self.operator.wake_at().is_some_and(|at| at <= now_ms) {
            self.operator.wake(now_ms, &mut self.outputs).await.unwrap();
        }
    }

    async fn snapshot(&mut self) -> SubtaskState {
        let request = SnapshotRequest::new(1, SnapshotKind::Savepoint, "x");
        self.operator.snapshot(&request).await.unwrap()
    }

    /// Leaves off and starts again from what was left.
    async fn restart(&mut self) {
        let left = self.snapshot().await;
        self.starts += 1;
        self.operator = Stage::open(self.join, self.starts, self.directory.as_ref(), &self.clock, left).unwrap();
    }

    /// Bytes of state.
    async fn state_bytes(&mut self) -> u64 {
        let left = self.snapshot().await;
        let parts = left.stores.iter().flat_map(|store| &store.parts).filter_map(|part| part.content.as_ref());
        parts
            .map(|content| match content {
                Blob::Bytes(bytes) => bytes.len() as u64,
                Blob::File(path) => path.metadata().unwrap().len(),
            })
            .sum()
    }

    /// What was emitted since it was last asked, sorted.
    fn emitted(&self) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for batch in self.emitted.lock().unwrap().drain(..) {
            assert!(batch.rows() <= BATCH_RECORDS);
            assert_eq!(batch.columns.column(0).as_ref(), batch.columns.column(3).as_ref(), "keys");
            let number = |column: usize, row| batch.columns.column(column).as_primitive::<Int64Type>().value(row);
            for row in 0..batch.rows() {
                let window = (batch.columns.num_columns() > 4).then(|| (number(4, row), number(5, row)));
                pairs.push((number(1, row), number(2, row), window, batch.timestamps[row]));
            }
        }
        pairs.sort();
        pairs
    }
}

/// Rows of one key and window.
struct Pane {
    key: String,
    window: Window,
    rows: [Vec<Row>; 2],
}

/// What joins are by their definition.
struct Oracle {
    join: Join,
    watermark: i64,
    now_ms: i64,
    /// Of intervals: all rows.
    rows: [Vec<Row>; 2],
    panes: Vec<Pane>,
    late: u64,
    emitted: Vec<Pair>,
}

impl Oracle {
    fn new(join: Join) -> Oracle {
        let (rows, panes, emitted) = Default::default();
        Oracle { join, watermark: i64::MIN, now_ms: 0, rows, panes, late: 0, emitted }
    }

    fn row(&mut self, side: usize, row: &Row) {
        let Some(key) = &row.0 else { return };
        match self.join {
            Join::Interval(_) if row.2 < self.watermark => self.late += 1,
            Join::Interval(IntervalSpec { lower_ms, upper_ms }) => {
                for other in self.rows[1 - side].iter().filter(|other| other.0 == row.0) {
                    let (first, second) = if side == 0 { (row, other) } else { (other, row) };
                    if (lower_ms..=upper_ms).contains(&(second.2 - first.2)) {
                        self.emitted.push((first.1, second.1, None, first.2.max(second.2)));
                    }
                }
                self.rows[side].push(row.clone());
            }
            Join::Window(windowing) => self.add_to_windows(windowing, side, key, row),
        }
    }

    fn is_over(&self, time: TimeDomain, window: Window) -> bool {
        match time {
            TimeDomain::Event => window.end - 1 <= self.watermark,
            TimeDomain::Processing => window.end <= self.now_ms,
        }
    }

    fn add_to_windows(&mut self, Windowing { assigner, time: domain }: Windowing, side: usize, key: &str, row: &Row) {
        let time = if domain == TimeDomain::Event { row.2 } else { self.now_ms };
        let mut windows: Vec<Window> = match assigner {
            AssignerSpec::Tumbling { size, offset } => {
                let windows = Sliding::tumbling(size, offset);
                windows.windows_of(windows.slice_of(time)).collect()
            }
            AssignerSpec::Sliding { size, slide, offset } => {
                let windows = Sliding::new(size, slide, offset);
                windows.windows_of(windows.slice_of(time)).collect()
            }
            AssignerSpec::Session { gap } => {
                let alone = Sessions::new(gap).window_of(time);
                let meets =
                    |pane: &Pane| pane.key == key && pane.window.start < alone.end && alone.start < pane.window.end;
                let joined = || self.panes.iter().filter(|pane| meets(pane)).map(|pane| pane.window).chain([alone]);
                let start = joined().map(|window| window.start).min().unwrap();
                let window = Window { start, end: joined().map(|window| window.end).max().unwrap() };
                if !self.is_over(domain, window) {
                    let (before, others) = std::mem::take(&mut self.panes).into_iter().partition(meets);
                    self.panes = others;
                    let mut whole = Pane { key: key.to_owned(), window, rows: Default::default() };
                    for pane in before {
                        let _: &Pane = &pane;
                        whole.rows.iter_mut().zip(pane.rows).for_each(|(rows, more)| rows.extend(more));
                    }
                    self.panes.push(whole);
                }
                vec![window]
            }
            AssignerSpec::Global => unreachable!(),
        };
        windows.retain(|window| !self.is_over(domain, *window));
        self.late += u64::from(windows.is_empty());
        for window in windows {
            let at = self.panes.iter().position(|pane| pane.key == key && pane.window == window);
            let at = at.unwrap_or_else(|| {
                self.panes.push(Pane { key: key.to_owned(), window, rows: Default::default() });
                self.panes.len() - 1
            });
            self.panes[at].rows[side].push(row.clone());
        }
    }

    fn advance(&mut self) {
        let Join::Window(windowing) = self.join else { return };
        let ended = self.watermark == WATERMARK_END;
        let panes = std::mem::take(&mut self.panes);
        let (over, open): (Vec<Pane>, Vec<Pane>) =
            panes.into_iter().partition(|pane| ended || self.is_over(windowing.time, pane.window));
        self.panes = open;
        for Pane { window, rows: [first, second], .. } in over {
            for first in &first {
                let pair = |second: &Row| (first.1, second.1, Some((window.start, window.end)), window.end - 1);
                self.emitted.extend(second.iter().map(pair));
            }
        }
    }

    fn emitted(&mut self) -> Vec<Pair> {
        self.emitted.sort();
        std::mem::take(&mut self.emitted)
    }
}

async fn compare(join: Join, users: u8, rows_max: usize, databases: bool, seed: u64) {
    let (mut stage, mut oracle) = (Stage::new(join, databases), Oracle::new(join));
    let fresh = stage.state_bytes().await;
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut now, mut id, mut keyless, mut pairs) = (0, 0, 0, 0);
    for step in 0..100 {
        match random.u8(0..8) {
            0 => {
                now += random.i64(0..40);
                stage.watermark(now).await;
                oracle.watermark = now;
                oracle.advance();
            }
            1 => {
                oracle.now_ms += random.i64(0..30);
                stage.clock(oracle.now_ms).await;
                oracle.advance();
            }
            2 if step % 3 == 0 => stage.restart().await,
            _ => {
                let side = random.usize(0..2);
                let rows: Vec<Row> = (0..random.usize(0..=rows_max))
                    .map(|_| {
                        id += 1;
                        let user = random.u8(0..users + 1);
                        ((user > 0).then(|| format!("user {user}")), id, now + random.i64(-60..80))
                    })
                    .collect();
                keyless += rows.iter().filter(|(user, ..)| user.is_none()).count() as u64;
                stage.rows(side, &rows).await;
                rows.iter().for_each(|row| oracle.row(side, row));
            }
        }
        let emitted = stage.emitted();
        pairs += emitted.len();
        assert_eq!(emitted, oracle.emitted(), "{join:?}, step {step} of seed {seed}");
    }
    stage.watermark(WATERMARK_END).await;
    oracle.watermark = WATERMARK_END;
    oracle.advance();
    let emitted = stage.emitted();
    pairs += emitted.len();
    assert_eq!(emitted, oracle.emitted(), "{join:?} at the end");
    assert!(pairs > 0, "{join:?} says nothing");
    assert_eq!(stage.metrics.late.load(Relaxed), oracle.late, "{join:?}");
    assert_eq!(stage.metrics.rejected.load(Relaxed), keyless);
    stage.restart().await;
    assert_eq!(stage.state_bytes().await, fresh, "{join:?} leaves nothing behind");
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn windows(assigner: AssignerSpec, time: TimeDomain) -> Join {
    Join::Window(Windowing { assigner, time })
}

#[tokio::test]
async fn intervals_pair_what_their_definition_says() {
    for (seed, (lower_ms, upper_ms)) in
        [(-10, 10), (0, 0), (-200, 200), (5, 30), (-40, -20), (0, 60)].into_iter().enumerate()
    {
        let join = Join::Interval(IntervalSpec { lower_ms, upper_ms });
        for (users, rows_max) in [(10, 12), (2, 40)] {
            compare(join, users, rows_max, users == 2, seed as u64).await;
        }
    }
}

#[tokio::test]
async fn windows_of_one_length_pair_what_their_definition_says() {
    for (size, slide, offset) in [(10, 10, 0), (10, 10, 3), (60, 5, 0), (50, 20, 7)] {
        let (size, slide, offset) = (ms(size), ms(slide), ms(offset));
        let assigner = match size == slide {
            true => AssignerSpec::Tumbling { size, offset },
            false => AssignerSpec::Sliding { size, slide, offset },
        };
        for time in [TimeDomain::Event, TimeDomain::Processing] {
            compare(windows(assigner, time), 8, 12, false, 1).await;
            compare(windows(assigner, time), 2, 30, true, 2).await;
        }
    }
}

#[tokio::test]
async fn sessions_pair_what_their_definition_says() {
    for gap in [1, 4, 12, 30] {
        for time in [TimeDomain::Event, TimeDomain::Processing] {
            let join = windows(AssignerSpec::Session { gap: ms(gap) }, time);
            compare(join, 6, 12, false, gap).await;
            compare(join, 2, 30, true, gap).await;
        }
    }
}

#[tokio::test]
async fn what_is_kept_is_bounded_by_the_interval_also_if_it_was_another_before() {
    let mut stage = Stage::new(Join::Interval(IntervalSpec { lower_ms: -100, upper_ms: 100 }), false);
    let fresh = stage.state_bytes().await;
    let rows = |time: i64| (0..100).map(|id| (Some(format!("user {}", id % 5)), id, time + id)).collect::<Vec<Row>>();
    let mut most = 0;
    for time in (0..100_000).step_by(100) {
        stage.rows((time / 100 % 2) as usize, &rows(time)).await;
        stage.watermark(time).await;
        if time % 5000 == 0 {
            let bytes = stage.state_bytes().await;
            most = if time < 10_000 { bytes * 3 / 2 } else { most };
            assert!(bytes <= most, "{bytes} at {time}, {most} before");
        }
    }
    // Rows that came with the short interval are kept for the long one, and no longer.
    stage.join = Join::Interval(IntervalSpec { lower_ms: -5000, upper_ms: 5000 });
    stage.restart().await;
    stage.watermark(104_000).await;
    assert!(stage.state_bytes().await > fresh);
    stage.watermark(106_000).await;
    assert_eq!(stage.state_bytes().await, fresh);
}

#[tokio::test]
async fn rows_that_come_from_other_subtasks_with_lower_numbers_replace_none() {
    let join = Join::Interval(IntervalSpec { lower_ms: 0, upper_ms: 0 });
    let mut stage = Stage::new(join, false);
    let row = |id| (Some("a".into()), id, 5);
    stage.rows(0, &[row(1), row(2), row(3)]).await;
    let mut left = stage.snapshot().await;
    let numbers = Stage::new(join, false).snapshot().await.operator_states.remove(0).elements;
    left.operator_states[0].elements.extend(numbers);
    stage.operator = Stage::open(join, 1, None, &stage.clock, left).unwrap();
    stage.rows(0, &[row(4)]).await;
    stage.rows(1, &[row(5)]).await;
    assert_eq!(stage.emitted(), (1..5).map(|id| (id, 5, None, 5)).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_kept_for_other_windows_are_refused() {
    let tumbling = |size| windows(AssignerSpec::Tumbling { size: ms(size), offset: ms(0) }, TimeDomain::Event);
    let mut stage = Stage::new(tumbling(10), false);
    stage.rows(0, &[(Some("a".into()), 1, 5)]).await;
    let left = stage.snapshot().await;
    let error = Stage::open(tumbling(20), 1, None, &stage.clock, left).err().expect("an error").to_string();
    assert!(error.contains("join-tumbling-10-0-event") && error.contains("join-tumbling-20-0-event"), "{error}");
}
