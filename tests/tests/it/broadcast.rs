//! A broadcast process by a real plugin, with its inputs in a known order: what is known when an order comes, in each subtask, and after
//! starting again from what was left.
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use arrow_array::{ArrayRef, Int64Array, StringArray, cast::AsArray, types::Int64Type};
use async_trait::async_trait;
use wasmill::{
    codec::Format,
    dataflow::{
        Broadcast, Failures, Keyed, KeyedInput, KeyedSettings, Message, Moments, NodeMetrics, Operator, Outputs,
        Rejects, Route, Sender, Target, TaskError,
    },
    job::{FailureSpec, OnError},
    model::{
        Batch, Field, Kind, NO_WATERMARK, OperatorKind, Schema, SnapshotKind, SnapshotRequest, StateKind, SubtaskState,
    },
    plugin::{Budget, Limits, Placement, Plugin},
    state::{BroadcastMaps, KeyedStore, Layout, StateBackend, StoreSettings, TaskSettings},
};
use wasmill_tests::guests;

use super::jobs;

/// Rows by output: 0 is the main one, 1 `unknown`.
type Emitted = Arc<Mutex<Vec<(usize, Batch)>>>;

struct Capture(usize, Emitted);

#[async_trait]
impl Sender for Capture {
    async fn send(&mut self, message: Message) -> Result<(), TaskError> {
        if let Message::Batch(batch) = message {
            self.1.lock().unwrap().push((self.0, batch));
        }
        Ok(())
    }
}

fn orders() -> Schema {
    Schema::new(["orderId", "productId", "amount"].map(|name| Field::new(name, Kind::Int64))).unwrap()
}

fn products() -> Schema {
    let category = Field { nullable: true, ..Field::new("category", Kind::Utf8) };
    Schema::new([Field::new("productId", Kind::Int64), category]).unwrap()
}

fn joined() -> Schema {
    let mut fields = orders().fields().to_vec();
    fields.push(Field::new("category", Kind::Utf8));
    Schema::new(fields).unwrap()
}

/// Subtask `subtask` of two, which has the other half of the key groups too, so that one can be asked for every key.
struct Join {
    operator: Broadcast,
    outputs: Outputs,
    emitted: Emitted,
}

impl Join {
    fn open(config: &str, subtask: u32, restored: SubtaskState) -> Join {
        let plugin = guests::root().join("plugins/dimension-join");
        let plugin = Plugin::load(jobs::engine(), &guests::rust_plugin(&plugin)).unwrap();
        let limits = Limits {
            memory_bytes: 64 << 20,
            batch_time: Duration::from_secs(20),
            retire_memory_bytes: 32 << 20,
            budget: Budget::default(),
        };
        let placement = Placement { subtask, parallelism: 2, ..Placement::scratch("join") };
        let instance = plugin.instantiate(OperatorKind::BroadcastProcess, config, placement, limits).unwrap();
        let states = instance.description().states.clone();
        let settings = TaskSettings { name: "join".into(), states: states.clone(), drop_vanished: false };
        let broadcast = BroadcastMaps::open(settings, &restored.operator_states).unwrap();
        let store = StoreSettings {
            name: "keys".into(),
            uid: "join".into(),
            subtask,
            start: 1,
            states: states.into_iter().filter(|state| state.kind != StateKind::Broadcast).collect(),
            layout: Layout::Keys,
            groups: 0..128,
            max_parallelism: 128,
            drop_vanished: false,
        };
        let store = KeyedStore::open(&StateBackend::memory(), store, restored.stores).unwrap();
        let rejects = |schema: &Schema| Rejects::new("join", 2, OnError::Fail, Format::Json.encoder(schema).unwrap());
        let settings = KeyedSettings {
            node: "join".into(),
            inputs: vec![
                KeyedInput { key: vec![1], reads: vec![0, 1, 2] },
                KeyedInput { key: Vec::new(), reads: vec![0, 1] },
            ],
            key_kinds: vec![Kind::Int64],
            key_wanted: Vec::new(),
            schemas: vec![joined(), orders()],
            batch_records: 7,
        };
        let moments = Moments::new(&jobs::environment(), "join", subtask);
        let rejects = vec![rejects(&orders()), rejects(&products())];
        let clock = jobs::environment().clock;
        let failures = Failures::new(FailureSpec::default(), ("join", subtask), None, clock).unwrap();
        let keyed = Keyed::new(settings, instance, (rejects, failures), moments, store, broadcast, NO_WATERMARK);
        let emitted = Emitted::default();
        let port = |port| vec![Target { adapt: None, route: Route::Forward(Box::new(Capture(port, emitted.clone()))) }];
        let outputs = Outputs::new(vec![port(0), port(1), port(2)], Arc::new(NodeMetrics::default()));
        Join { operator: Broadcast::new(keyed, subtask), outputs, emitted }
    }

    /// Orders, each a row of `(order, product)`, all at time 0.
    async fn order(&mut self, rows: &[(i64, i64)]) {
        let numbers =
            |of: fn(&(i64, i64)) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(rows.iter().map(of))) };
        let columns = vec![numbers(|row| row.0), numbers(|row| row.1), numbers(|_| 10)];
        let batch = batch(&orders(), columns, rows.len());
        self.operator.batch(batch, &mut self.outputs).await.unwrap();
    }

    async fn product(&mut self, rows: &[(i64, Option<&str>)]) {
        let ids = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
        let categories: StringArray = rows.iter().map(|row| row.1).collect();
        let batch = batch(&products(), vec![Arc::new(ids), Arc::new(categories)], rows.len());
        self.operator.second(batch, &mut self.outputs).await.unwrap();
    }

    async fn left(&mut self) -> SubtaskState {
        let request = SnapshotRequest::new(1, SnapshotKind::Savepoint, "x");
        self.operator.snapshot(&request).await.unwrap()
    }

    /// What was emitted since it was last asked, sorted: the order, and its category or that it is unknown.
    fn emitted(&self) -> Vec<(i64, String)> {
        let mut rows = Vec::new();
        for (port, batch) in self.emitted.lock().unwrap().drain(..) {
            for row in 0..batch.rows() {
                let category = match port {
                    0 => batch.columns.column(3).as_string::<i32>().value(row),
                    _ => "unknown",
                };
                rows.push((batch.columns.column(0).as_primitive::<Int64Type>().value(row), category.to_owned()));
            }
        }
        rows.sort();
        rows
    }
}

fn batch(schema: &Schema, columns: Vec<ArrayRef>, rows: usize) -> Batch {
    let columns = schema.record_batch(columns, rows).unwrap();
    Batch { columns, timestamps: vec![0; rows].into(), arrived: Duration::ZERO, key_hashes: None }
}

fn rows(rows: &[(i64, &str)]) -> Vec<(i64, String)> {
    rows.iter().map(|(order, category)| (*order, (*category).to_owned())).collect()
}

/// What the join puts out for an order of a product that is not known yet, and behind the product's arrival for it and another.
async fn early(config: &str) -> (Vec<(i64, String)>, Vec<(i64, String)>) {
    let mut join = Join::open(config, 0, SubtaskState::default());
    join.product(&[(1, Some("toys")), (2, Some("food")), (1, None), (1, Some("games"))]).await;
    join.order(&[(10, 1), (11, 3)]).await;
    let before = join.emitted();
    join.product(&[(3, Some("books"))]).await;
    join.order(&[(12, 3), (13, 2)]).await;
    (before, join.emitted())
}

#[test]
fn orders_before_their_product_are_dropped_held_or_put_aside() {
    jobs::runtime().block_on(async {
        let known = rows(&[(12, "books"), (13, "food")]);
        assert_eq!(early(r#"{"missing": "drop"}"#).await, (rows(&[(10, "games")]), known.clone()));
        assert_eq!(early(r#"{"missing": "side_output"}"#).await, (rows(&[(10, "games"), (11, "unknown")]), known));
        let held = rows(&[(11, "books"), (12, "books"), (13, "food")]);
        assert_eq!(early(r#"{"missing": "hold"}"#).await, (rows(&[(10, "games")]), held));
    });
}

#[test]
fn what_the_first_subtask_leaves_is_what_any_starts_from() {
    jobs::runtime().block_on(async {
        let config = r#"{"missing": "hold"}"#;
        let mut subtasks = [0, 1].map(|subtask| Join::open(config, subtask, SubtaskState::default()));
        for join in &mut subtasks {
            join.product(&[(1, Some("toys")), (2, Some("food")), (2, None)]).await;
        }
        subtasks[1].order(&[(10, 2), (11, 1)]).await;
        assert_eq!(subtasks[1].emitted(), rows(&[(11, "toys")]));
        let [first, second] = &mut subtasks;
        let (first, second) = (first.left().await, second.left().await);
        assert_eq!(first.operator_states.iter().map(|state| state.elements.len()).sum::<usize>(), 1);
        assert!(second.operator_states.is_empty(), "one copy is enough");

        let restored = SubtaskState { operator_states: first.operator_states, ..second };
        let mut join = Join::open(config, 1, restored);
        join.order(&[(12, 1), (13, 2)]).await;
        assert_eq!(join.emitted(), rows(&[(12, "toys")]));
        join.product(&[(2, Some("food"))]).await;
        join.order(&[(14, 2)]).await;
        assert_eq!(join.emitted(), rows(&[(10, "food"), (13, "food"), (14, "food")]));
    });
}
