//! Operators as authors write them, run natively: every form of function, configuration, rejections, side outputs, event times,
//! metrics, and accumulators of every kind.

use std::collections::BTreeMap;

use wasmill_sdk::bindings::types::{Kind, Shape};
use wasmill_sdk::prelude::*;
use wasmill_sdk::testing::{AggregateHarness, TransformHarness, describe};

#[derive(Record, Debug, Clone, PartialEq)]
#[record(rename_all = "camelCase")]
struct Reading<'a> {
    sensor_id: &'a str,
    celsius: f64,
    #[record(name = "note")]
    remark: Option<&'a str>,
}

fn reading(sensor_id: &str, celsius: f64) -> Reading<'_> {
    Reading { sensor_id, celsius, remark: None }
}

#[derive(Record, Debug, PartialEq)]
struct Fahrenheit<'a> {
    sensor: &'a str,
    degrees: f64,
}

#[map]
fn to_fahrenheit(reading: Reading) -> Result<Fahrenheit, String> {
    if reading.celsius < -273.15 {
        return Err(format!("{} is below absolute zero", reading.celsius));
    }
    Ok(Fahrenheit { sensor: reading.sensor_id, degrees: reading.celsius * 1.8 + 32.0 })
}

#[test]
fn a_map_emits_or_rejects() {
    let result = TransformHarness::<to_fahrenheit>::new().run([reading("a", 100.0), reading("b", -300.0)]);
    assert_eq!(result.emitted::<Fahrenheit>(), [Fahrenheit { sensor: "a", degrees: 212.0 }]);
    assert_eq!(result.rejected(), [(1, "-300 is below absolute zero")]);
    assert!(to_fahrenheit(reading("a", 0.0)).is_ok(), "the function is still one");
}

/// What counts as hot.
#[config]
struct Threshold {
    celsius: f64,
}

#[filter]
fn hot(reading: Reading, config: &Threshold) -> bool {
    reading.celsius > config.celsius
}

#[test]
fn a_filter_passes_rows_on_whole() {
    let mut harness = TransformHarness::<hot>::configured(r#"{"celsius": 30}"#).expect("a fitting configuration");
    let result = harness.run([reading("a", 10.0), reading("b", 31.0), reading("c", 32.0)]);
    assert_eq!(result.origins(), [1, 2]);
    let description = describe::<hot>();
    assert!(matches!(description.output, Shape::InputRows));
    let names: Vec<_> = description.inputs[0].iter().map(|field| (field.name.as_str(), field.nullable)).collect();
    assert_eq!(names, [("sensorId", false), ("celsius", false), ("note", true)]);
}

#[test]
fn a_configuration_is_checked_and_described() {
    let refused = |json| TransformHarness::<hot>::configured(json).err().expect("a wrong configuration");
    assert!(refused(r#"{"celsius": 1, "kelvin": 2}"#).contains("unknown field `kelvin`"));
    assert!(refused("").contains("missing field `celsius`"));
    assert!(TransformHarness::<to_fahrenheit>::configured(r#"{"a": 1}"#).is_err());
    let schema = describe::<hot>().configuration;
    assert!(schema.contains("What counts as hot") && schema.contains("\"additionalProperties\":false"), "{schema}");
    assert_eq!(describe::<to_fahrenheit>().configuration, "");
}

#[filter_map]
fn remark<'a>(reading: Reading<'a>, context: &Context) -> Option<Fahrenheit<'a>> {
    Some(Fahrenheit { sensor: reading.remark?, degrees: context.timestamp_ms() as f64 })
}

#[test]
fn a_filter_map_emits_some_and_sees_the_event_time() {
    let with = Reading { remark: Some("odd"), ..reading("a", 1.0) };
    let result = TransformHarness::<remark>::new().run_at([(7, reading("b", 1.0)), (8, with)]);
    assert_eq!(result.emitted::<Fahrenheit>(), [Fahrenheit { sensor: "odd", degrees: 8.0 }]);
    assert_eq!(result.timestamps_ms(), [8]);
}

#[derive(SideOutputs)]
enum Side<'a> {
    TooCold(Fahrenheit<'a>),
    NotANumber,
}

#[derive(Metrics)]
struct Stats {
    seen: Counter,
    last: Gauge,
    spread: Histogram,
}

#[flat_map]
fn sort_out(reading: Reading, out: &mut Output<Reading, Side>, stats: &mut Stats) -> Result<(), String> {
    stats.seen.add(1);
    stats.last.set(reading.celsius);
    stats.spread.observe(reading.celsius);
    if reading.celsius.is_nan() {
        out.side(Side::NotANumber);
        return Ok(());
    }
    out.emit(reading.clone());
    out.emit_at(99, reading.clone());
    out.side_at(98, Side::TooCold(Fahrenheit { sensor: reading.sensor_id, degrees: 0.0 }));
    if reading.celsius < 0.0 {
        return Err("taken back".into());
    }
    Ok(())
}

#[test]
fn side_outputs_event_times_and_metrics_leave_with_the_batch() {
    let mut harness = TransformHarness::<sort_out>::new();
    let result = harness.run_at([(1, reading("a", -1.0)), (2, reading("b", 5.0)), (3, reading("c", f64::NAN))]);
    assert_eq!(result.emitted::<Reading>(), [reading("b", 5.0), reading("b", 5.0)]);
    assert_eq!((result.origins(), result.timestamps_ms()), (vec![1, 1], vec![2, 99]));
    assert_eq!(result.side::<Fahrenheit>("too-cold"), [(98, Fahrenheit { sensor: "b", degrees: 0.0 })]);
    assert!(matches!(describe::<sort_out>().side_outputs[1].shape, Shape::InputRows));
    assert_eq!(result.side::<InputRow>("not-a-number"), [(3, InputRow)]);
    assert_eq!(result.rejected(), [(0, "taken back")]);
    assert_eq!(result.metric("seen"), [3.0]);
    assert!(result.metric("last")[0].is_nan());
    assert_eq!(result.metric("spread")[..2], [-1.0, 5.0]);
}

struct Deduplicate {
    last: String,
}

#[transform]
impl Deduplicate {
    fn new() -> Self {
        Self { last: String::new() }
    }

    fn process(&mut self, reading: Reading, out: &mut Output<InputRow>) {
        if self.last != reading.sensor_id {
            self.last.replace_range(.., reading.sensor_id);
            out.emit(InputRow);
        }
    }
}

#[test]
fn a_struct_keeps_fields_between_records() {
    let result = TransformHarness::<Deduplicate>::new().run(["a", "a", "b"].map(|sensor| reading(sensor, 0.0)));
    assert_eq!(result.origins(), [0, 2]);
}

#[config]
struct Limit {
    most: usize,
}

/// How often each sensor was seen.
#[state(postcard, version = 3)]
#[derive(Default)]
struct Seen(BTreeMap<String, u64>);

struct MostSeen {
    limit: Limit,
}

#[aggregate]
impl MostSeen {
    fn new(limit: Limit) -> Result<Self, String> {
        if limit.most == 0 { Err("most is at least 1".into()) } else { Ok(Self { limit }) }
    }

    fn accumulate(&self, seen: &mut Seen, reading: Reading) -> Result<(), String> {
        if seen.0.len() == self.limit.most && !seen.0.contains_key(reading.sensor_id) {
            return Err(format!("there are more than {} sensors", self.limit.most));
        }
        *seen.0.entry(reading.sensor_id.into()).or_default() += 1;
        Ok(())
    }

    fn merge(seen: &mut Seen, other: Seen) {
        other.0.into_iter().for_each(|(sensor, count)| *seen.0.entry(sensor).or_default() += count);
    }

    fn result(seen: &Seen) -> Fahrenheit<'_> {
        let most = seen.0.iter().max_by_key(|(_, count)| **count);
        most.map_or(Fahrenheit { sensor: "", degrees: 0.0 }, |(sensor, count)| Fahrenheit {
            sensor,
            degrees: *count as f64,
        })
    }
}

#[test]
fn an_accumulator_may_be_a_struct() {
    assert_eq!(AggregateHarness::<MostSeen>::configured(r#"{"most": 0}"#).err().as_deref(), Some("most is at least 1"));
    let mut harness = AggregateHarness::<MostSeen>::configured(r#"{"most": 2}"#).expect("a fitting configuration");
    let left = harness.fold(["a", "b", "c", "a"].map(|sensor| reading(sensor, 0.0)));
    assert_eq!(left.rejected(), [(2, "there are more than 2 sensors")]);
    assert_eq!(left.result::<Fahrenheit>(), Fahrenheit { sensor: "a", degrees: 2.0 });
    let right = harness.fold(["b", "b"].map(|sensor| reading(sensor, 0.0)));
    assert_eq!(harness.merge(&left, &right).result::<Fahrenheit>(), Fahrenheit { sensor: "b", degrees: 3.0 });
}

/// The greatest and the last value, by event time.
#[state(json)]
struct Extent {
    greatest: f64,
    last_ms: i64,
}

struct Latest;

#[derive(Record, Debug, PartialEq)]
struct Summary {
    greatest: f64,
    last_ms: i64,
}

#[aggregate]
impl Latest {
    fn create() -> Extent {
        Extent { greatest: f64::MIN, last_ms: i64::MIN }
    }

    fn accumulate(extent: &mut Extent, reading: Reading, context: &Context) {
        extent.greatest = extent.greatest.max(reading.celsius);
        extent.last_ms = extent.last_ms.max(context.timestamp_ms());
    }

    fn merge(extent: &mut Extent, other: &Extent) {
        extent.greatest = extent.greatest.max(other.greatest);
        extent.last_ms = extent.last_ms.max(other.last_ms);
    }

    fn result(extent: Extent) -> Summary {
        Summary { greatest: extent.greatest, last_ms: extent.last_ms }
    }
}

#[test]
fn a_new_accumulator_is_what_create_makes() {
    let folded = AggregateHarness::<Latest>::new().fold_at([(5, reading("a", -4.0)), (3, reading("a", -6.0))]);
    assert_eq!(folded.result::<Summary>(), Summary { greatest: -4.0, last_ms: 5 });
}

#[test]
fn values_travel_as_their_own_kind_and_structs_as_bytes() {
    use wasmill_sdk::state::State;
    assert_eq!((i64::KIND, f64::KIND, String::KIND), (Kind::Int64, Kind::Float64, Kind::Utf8));
    assert_eq!((Seen::KIND, Seen::VERSION), (Kind::Binary, 3));
    assert_eq!((Extent::KIND, Extent::VERSION), (Kind::Binary, 1));
    let column = bool::encode(vec![true, false]).expect("booleans encode");
    assert_eq!(bool::decode(column, || false), Ok(vec![true, false]));
}

wasmill_sdk::export!(transform: sort_out, aggregate: MostSeen);
