//! Guests written by hand against the WIT, run by the real engine: what it takes to speak the contract without an SDK, and what
//! happens to a guest that does not.
use std::{
    io::Write,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, cast::AsArray, types::Int64Type};
use wasmill::{
    model::{Batch, Field, Kind, NO_WATERMARK, OperatorKind, Schema},
    plugin::{Budget, CallFailure, CallMoment, Emitted, Instance, Limits, LoadError, Placement, Plugin, PluginEngine},
};
use wasmill_tests::guests;

const LIMITS: Limits = Limits {
    memory_bytes: 64 << 20,
    batch_time: Duration::from_millis(500),
    retire_memory_bytes: 16 << 20,
    budget: Budget { outputs_per_record: None, record_time: None, state_bytes_per_key: None },
};
const MOMENT: CallMoment = CallMoment { processing_time: 0, watermark: NO_WATERMARK, seed: 1 };

fn load(component: &Path) -> Arc<Plugin> {
    let engine = PluginEngine::new(Some(guests::compiled())).unwrap();
    Plugin::load(&engine, component).unwrap_or_else(|error| panic!("{error}"))
}

fn instantiate(plugin: &Arc<Plugin>, kind: OperatorKind, configuration: &str) -> Result<Instance, LoadError> {
    plugin.instantiate(kind, configuration, Placement::scratch("tested"), LIMITS)
}

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn lines(values: &[&str]) -> Batch {
    let columns = RecordBatch::try_from_iter([("line", text(values))]).unwrap();
    Batch {
        timestamps: (0..values.len() as i64).map(|row| 100 + row).collect(),
        columns,
        arrived: Duration::ZERO,
        key_hashes: None,
    }
}

fn schema(column: &str) -> Schema {
    Schema::new(vec![Field::new(column, Kind::Utf8)]).unwrap()
}

/// Splits lines, counts rows, adds counts.
fn check_word_count(component: &Path) {
    let plugin = load(component);
    let mut split = instantiate(&plugin, OperatorKind::Transform, "{}").unwrap();
    for (input, words, times) in [
        (&["To be, or", " \t", "NOT\u{a0}to"][..], &["to", "be,", "or", "not\u{a0}to"][..], &[100, 100, 100, 102][..]),
        (&["", "x"], &["x"], &[101]),
        (&[""], &[], &[]),
        (&[], &[], &[]),
    ] {
        let emitted = split.transform(MOMENT, &lines(input), &[0], &[schema("word")], 0..3).unwrap();
        let column = emitted.main.columns.column(0).as_string::<i32>();
        assert_eq!(column.iter().map(Option::unwrap).collect::<Vec<_>>(), words);
        assert_eq!(&*emitted.main.timestamps, times);
    }

    let mut count = instantiate(&plugin, OperatorKind::Aggregate, "{}").unwrap();
    let numbers = |array: &ArrayRef| array.as_primitive::<Int64Type>().values().to_vec();
    let old: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(7), None]));
    let batch = lines(&["", "", "", ""]);
    let new = count.accumulate(MOMENT, &batch, &[], &[1, 0, 1, 0], &old, 0..4).unwrap().values;
    assert_eq!((numbers(&new), new.null_count()), (vec![2, 9, 0], 0));
    let merged = count.merge(&old, &new, &[2, 1, 2], 0..4).unwrap();
    assert_eq!(numbers(&merged), [0, 16, 2]);
    let results = count.results(&merged, 0..4).unwrap();
    assert_eq!(results.iter().map(numbers).collect::<Vec<_>>(), [[0, 16, 2]]);
}

#[test]
fn word_count_in_c() {
    check_word_count(&guests::c("word-count-c"));
}

#[test]
fn word_count_in_python_with_wasi() {
    let component = guests::python("word-count-python");
    let imports = load(&component).imports().to_vec();
    assert!(imports.iter().any(|import| import.starts_with("wasi:filesystem/")), "{imports:?}");
    check_word_count(&component);
}

fn misbehaving() -> Arc<Plugin> {
    let plugin = load(&guests::c("misbehaving-c"));
    assert!(plugin.imports().iter().all(|import| import.starts_with("wasmill:operator/")), "{:?}", plugin.imports());
    plugin
}

fn told_to(plugin: &Arc<Plugin>, action: &str) -> Instance {
    instantiate(plugin, OperatorKind::Transform, &format!(r#"{{"do": "{action}"}}"#)).unwrap()
}

fn call(instance: &mut Instance) -> Result<Emitted, CallFailure> {
    let batch = lines(&["one", "two", "three"]);
    instance.transform(MOMENT, &batch, &[0], &[schema("line")], 0..3).map_err(|error| error.failure)
}

#[test]
fn what_breaks_down_is_named() {
    let plugin = misbehaving();
    let failure = |action| call(&mut told_to(&plugin, action)).unwrap_err();
    assert_eq!(failure("loop"), CallFailure::Deadline(LIMITS.batch_time));
    assert!(matches!(failure("trap"), CallFailure::Trap(_)));
    assert_eq!(failure("memory"), CallFailure::Memory(LIMITS.memory_bytes));
    assert_eq!(failure("stack"), CallFailure::Stack);
    assert_eq!(failure("fault"), CallFailure::Fault { retry: false, message: "told to fail".into() });
    assert_eq!(failure("retry"), CallFailure::Fault { retry: true, message: "told to ask again".into() });
}

#[test]
fn results_against_the_contract_are_refused() {
    let plugin = misbehaving();
    for action in [
        "offsets-decrease",
        "offsets-too-long",
        "wrong-count",
        "bad-utf8",
        "unknown-origin",
        "too-few-columns",
        "wrong-kind",
        "null-where-not-nullable",
        "reject-twice",
        "share-reasons",
    ] {
        let result = call(&mut told_to(&plugin, action));
        assert!(matches!(result, Err(CallFailure::Nonsense(_))), "{action}: {result:?}");
    }
}

#[test]
fn what_is_allowed_works() {
    let plugin = misbehaving();
    for action in ["pass", "leak", "print"] {
        let emitted = call(&mut told_to(&plugin, action)).unwrap();
        assert_eq!(emitted.main.columns.column(0), &text(&["one", "two", "three"]), "{action}");
        assert_eq!(&*emitted.main.timestamps, [100, 101, 102]);
    }
    let rejecting = call(&mut told_to(&plugin, "reject")).unwrap();
    assert_eq!(rejecting.main.rows(), 0);
    assert_eq!(rejecting.rejections, [0, 1, 2].map(|row| (row, "told to reject".to_owned())));
    let Err(error) = instantiate(&plugin, OperatorKind::Transform, r#"{"do": "configure-fails"}"#) else {
        panic!("it was configured")
    };
    assert!(error.to_string().contains("told to fail"), "{error}");
}

#[test]
fn a_leak_costs_an_instance_and_nothing_else() {
    const CALLS: usize = 64;
    let mut leaking = told_to(&misbehaving(), "leak");
    for _ in 0..CALLS {
        call(&mut leaking).unwrap();
    }
    let leaked_bytes = CALLS << 20;
    assert!(leaking.replaced() as usize >= leaked_bytes / LIMITS.retire_memory_bytes - 1, "{}", leaking.replaced());
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What guests log meanwhile, by lines.
pub fn logged(work: impl FnOnce()) -> Vec<String> {
    let log = Lines::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    log.lines().filter(|line| line.contains("guest")).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn what_a_guest_prints_is_logged_line_by_line() {
    let mut printing = told_to(&misbehaving(), "print");
    let log = logged(|| drop(call(&mut printing).unwrap()));
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(log[0].starts_with("INFO") && log[0].contains("3 rows"), "{log:?}");
    assert!(log[1].starts_with("WARN") && log[1].contains("3 rows, said in two pieces"), "{log:?}");
}
