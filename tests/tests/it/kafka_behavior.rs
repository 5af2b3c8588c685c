//! What users do, read from Kafka, counted in sliding windows and written to Kafka, with what came too late beside it: compared with a
//! count in plain Rust, as read by a client of another language.
use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use rdkafka::producer::BaseRecord;
use serde_json::json;
use wasmill_tests::kafka::{Broker, Topic};

use super::{jobs, process::Life};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const SIZE: i64 = HOUR;
const SLIDE: i64 = 5 * MINUTE;
/// How far behind an event may come.
const BEHIND: i64 = 10 * SECOND;
/// When it begins: a full hour.
const BEGIN: i64 = 472_222 * HOUR;

const USERS: i64 = 20;
/// Each has the users of a remainder.
const PARTITIONS: i32 = 3;
const KINDS: [&str; 4] = ["pv", "cart", "fav", "buy"];

#[derive(Clone, Copy)]
struct Event {
    user: i64,
    item: i64,
    kind: usize,
    at: i64,
}

impl Event {
    /// Someone's.
    fn new(random: &mut Rng, at: i64) -> Event {
        Event { user: random.i64(0..USERS), item: random.i64(0..15), kind: random.usize(..KINDS.len()), at }
    }

    fn text(&self) -> String {
        let Event { user, item, kind, at } = self;
        format!(r#"{{"userId":{user},"itemId":{item},"behavior":"{}","timestamp":{at}}}"#, KINDS[*kind])
    }
}

/// What happened in a time, told of out of order, but in time.
fn events(random: &mut Rng, from: i64, to: i64) -> Vec<Event> {
    let mut all = Vec::new();
    let mut now = from + BEHIND;
    while now < to {
        let at = now - random.i64(0..BEHIND);
        all.push(Event::new(random, at));
        now += random.i64(0..20 * SECOND);
    }
    // By then all partitions have come to the same time.
    all.extend((0..i64::from(PARTITIONS)).map(|user| Event { user, ..Event::new(random, to) }));
    all
}

#[derive(Default)]
struct Counts {
    kinds: [u32; KINDS.len()],
    items: BTreeSet<i64>,
}

/// Windows by user and end.
#[derive(Default)]
struct Windows(BTreeMap<(i64, i64), Counts>);

impl Windows {
    /// Adds an event to its windows but those that are over; whether there is one.
    fn add(&mut self, event: &Event, over: i64) -> bool {
        let last = event.at.div_euclid(SLIDE) * SLIDE + SIZE;
        let ends = (0..SIZE / SLIDE).map(|i| last - i * SLIDE).filter(|end| *end > over);
        ends.map(|end| {
            let counts = self.0.entry((event.user, end)).or_default();
            counts.kinds[event.kind] += 1;
            counts.items.insert(event.item);
        })
        .count()
            > 0
    }

    /// How many are over by then.
    fn over(&self, end: i64) -> usize {
        self.0.keys().filter(|(_, its)| *its <= end).count()
    }

    /// Key, time and value of what is to be written, sorted.
    fn records(&self) -> Vec<(String, i64, String)> {
        let record = |((user, end), Counts { kinds: [pv, cart, fav, buy], items }): (&(i64, i64), &Counts)| {
            let (start, items) = (end - SIZE, items.len());
            let value = format!(
                r#"{{"userId":{user},"window_start":{start},"window_end":{end},"pv":{pv},"cart":{cart},"fav":{fav},"buy":{buy},"distinctItems":{items}}}"#
            );
            (user.to_string(), end - 1, value)
        };
        let mut records: Vec<_> = self.0.iter().map(record).collect();
        records.sort();
        records
    }
}

struct Behavior {
    input: Topic,
    counts: Topic,
    late: Topic,
}

impl Behavior {
    fn text(&self, until: &str) -> String {
        let plugin = jobs::plugin("user-behavior");
        let kafka = |topic: &Topic, more: &str| {
            let brokers = Broker::shared().address();
            json!({ "brokers": brokers, "topic": topic.name() }).to_string().replace('}', &format!("{more}}}"))
        };
        let (input, counts, late) =
            (kafka(&self.input, until), kafka(&self.counts, ", key: userId"), kafka(&self.late, ", key: userId"));
        format!(
            "name: {name}\nparallelism: 2\ncheckpoints: {{ directory: checkpoints, interval: 100ms }}\nrestart: none\n\
             sources:\n  events: {{ kafka: {input}, format: json, \
             schema: {{ userId: i64, itemId: i64, behavior: string, timestamp: i64 }}, \
             time: {{ column: timestamp, out_of_orderness: 10s }} }}\n\
             operators:\n  counts: {{ input: events, key: userId, window: {{ sliding: {{ size: 1h, slide: 5min }} }}, \
             aggregate: {{ plugin: '{plugin}' }} }}\n\
             sinks:\n  out: {{ input: counts, kafka: {counts} }}\n  late: {{ input: counts.late, kafka: {late} }}\n",
            name = self.input.name(),
        )
    }

    fn write(&self, events: &[Event]) {
        let producer = self.input.producer();
        for event in events {
            let partition = (event.user % i64::from(PARTITIONS)) as i32;
            producer.send(BaseRecord::<[u8], str>::to(self.input.name()).partition(partition).payload(&event.text()));
        }
        producer.flush();
    }
}

fn read(topic: &Topic) -> Vec<(String, i64, String)> {
    topic.wait_until_settled();
    let records = topic.read_by_python();
    let mut found: Vec<_> = records
        .iter()
        .map(|record| {
            let key = String::from_utf8(record.key.clone().expect("a key")).unwrap();
            (key, record.timestamp, record.text().to_owned())
        })
        .collect();
    found.sort();
    found
}

#[test]
fn behavior_is_counted_from_topic_to_topic_as_python_reads_it() {
    let topic = |name: &str, partitions| Topic::new(Broker::shared(), &format!("behavior-{name}"), partitions);
    let job = Behavior { input: topic("events", PARTITIONS), counts: topic("counts", 2), late: topic("late", 1) };
    let folder = tempfile::tempdir().unwrap();
    let mut random = Rng::with_seed(1);
    let mut windows = Windows::default();

    // Three hours and a bit, by which all windows are over that end with the third.
    let over = BEGIN + 3 * HOUR;
    let first = Life::start(folder.path(), &job.text(""), &[]);
    let begin = events(&mut random, BEGIN, over + MINUTE);
    assert!(begin.iter().all(|event| windows.add(event, i64::MIN)));
    job.write(&begin);
    job.counts.reader().wait_for(windows.over(over));

    // Then some that are too late for all of their windows, or for some.
    let mut more: Vec<Event> = (0..200)
        .map(|_| {
            let at = random.i64(BEGIN..over);
            Event::new(&mut random, at)
        })
        .collect();
    let (some, late): (Vec<Event>, Vec<Event>) = more.iter().copied().partition(|event| windows.add(event, over));
    assert!(some.len() > 30 && late.len() > 30);
    let next = events(&mut random, over + MINUTE, over + HOUR);
    assert!(next.iter().all(|event| windows.add(event, over)));
    more.extend(&next);
    job.write(&more);
    job.late.reader().wait_for(late.len());
    first.signal("-TERM");
    let (code, said) = first.end();
    assert_eq!(code, Some(0), "{said}");

    // The rest is there when it is started again.
    let rest = events(&mut random, over + HOUR, over + 2 * HOUR);
    assert!(rest.iter().all(|event| windows.add(event, over)));
    job.write(&rest);
    let (code, said) = Life::start(folder.path(), &job.text(", until: latest"), &[]).end();
    assert_eq!(code, Some(0), "{said}");

    assert_eq!(read(&job.counts), windows.records());
    let mut expected: Vec<_> = late.iter().map(|event| (event.user.to_string(), event.at, event.text())).collect();
    expected.sort();
    assert_eq!(read(&job.late), expected);
}
