//! The same workloads in plain Rust, with nothing between the steps: the limit any engine can reach for. A thread per subtask,
//! the same generators, no batches, no exchange but one merge per window.
use std::{collections::BTreeMap, sync::Mutex};

use hashbrown::{HashTable, hash_table::Entry};

use super::{Measured, Run, Start, Workload};
use crate::connector::{
    discard::fnv1a,
    generator::{behavior, lines},
};
use crate::{model::key_hash, writer::Writer};

/// Length of W1's windows.
const WINDOW_MS: i64 = 5000;

/// Runs a workload on the calling process's threads.
pub fn native(run: &Run) -> Measured {
    // The pool of lines is input, not work.
    if run.workload == Workload::W1 {
        lines::prepare();
    }
    let start = Start::now();
    let total = Mutex::new(Outputs::default());
    let windows = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for subtask in 0..run.parallelism {
            let (total, windows) = (&total, &windows);
            scope.spawn(move || {
                let outputs = match run.workload {
                    Workload::W1 => word_count(run, subtask, windows),
                    Workload::W6 => scores(run, subtask),
                };
                let mut total = total.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                total.count += outputs.count;
                total.checksum = total.checksum.wrapping_add(outputs.checksum);
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    start.cost("native", total.count, run.verify.then(|| format!("{:016x}", total.checksum)))
}

#[derive(Default)]
struct Outputs {
    count: u64,
    checksum: u64,
}

impl Outputs {
    fn add(&mut self, line: &[u8], verify: bool) {
        self.count += 1;
        if verify {
            self.checksum = self.checksum.wrapping_add(fnv1a(line));
        }
    }
}

/// Words and their counts, by the engine's hash.
type Counts = HashTable<(Box<[u8]>, u64)>;

/// Windows some threads are done with: how many, and their counts together.
type Windows = Mutex<BTreeMap<i64, (u32, Counts)>>;

fn word_count(run: &Run, subtask: u32, windows: &Windows) -> Outputs {
    let mut outputs = Outputs::default();
    let mut counts = Counts::default();
    let mut window = None;
    let mut line = Vec::with_capacity(256);
    for i in (u64::from(subtask)..run.events).step_by(run.parallelism as usize) {
        let start = lines::time(i).div_euclid(WINDOW_MS) * WINDOW_MS;
        if window != Some(start)
            && let Some(window) = window.replace(start)
        {
            close(run, window, std::mem::take(&mut counts), windows, &mut outputs);
        }
        line.clear();
        let mut writer = Writer::new(&mut line, lines::RECORD_BYTES_MAX);
        lines::push(&mut writer, i);
        writer.finish();
        line.make_ascii_lowercase();
        for word in line.split(|byte| *byte == b' ') {
            count(&mut counts, word, 1);
        }
    }
    if let Some(window) = window {
        close(run, window, counts, windows, &mut outputs);
    }
    outputs
}

fn count(counts: &mut Counts, word: &[u8], times: u64) {
    match counts.entry(key_hash(word), |(key, _)| **key == *word, |(key, _)| key_hash(key)) {
        Entry::Occupied(mut entry) => entry.get_mut().1 += times,
        Entry::Vacant(entry) => {
            entry.insert((word.into(), times));
        }
    }
}

/// Adds a thread's counts to the others'; the last one puts them out.
fn close(run: &Run, window: i64, counts: Counts, windows: &Windows, outputs: &mut Outputs) {
    let mut windows = windows.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (threads, all) = windows.entry(window).or_default();
    *threads += 1;
    if all.is_empty() {
        *all = counts;
    } else {
        for (word, times) in counts {
            count(all, &word, times);
        }
    }
    let expected = run.parallelism;
    if *threads < expected {
        return;
    }
    let mut line = Vec::with_capacity(64);
    for (word, times) in all.iter() {
        line.clear();
        line.extend_from_slice(word);
        for number in [window.unsigned_abs(), *times] {
            line.push(b',');
            line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        outputs.add(&line, run.verify);
    }
    windows.remove(&window);
}

fn scores(run: &Run, subtask: u32) -> Outputs {
    let mut outputs = Outputs::default();
    let (mut record, mut line) = (Vec::with_capacity(256), Vec::with_capacity(256));
    for i in (u64::from(subtask)..run.events).step_by(run.parallelism as usize) {
        record.clear();
        let mut writer = Writer::new(&mut record, behavior::RECORD_BYTES_MAX);
        behavior::push(&mut writer, i);
        writer.finish();
        let Some([user, item, behavior, timestamp]) = parse(&record) else { continue };
        let score = match behavior {
            b"cart" => 2,
            b"fav" => 3,
            b"buy" => 5,
            _ => continue,
        };
        line.clear();
        let mut writer = Writer::new(&mut line, 2 * behavior::RECORD_BYTES_MAX);
        writer.bytes(b"{\"userId\":");
        writer.u64(number(user));
        writer.bytes(b",\"itemId\":");
        writer.u64(number(item));
        writer.bytes(b",\"score\":");
        writer.u64(score);
        writer.bytes(b",\"timestamp\":");
        writer.u64(number(timestamp));
        writer.bytes(b"}");
        writer.finish();
        outputs.add(&line, run.verify);
    }
    outputs
}

/// The four values of a record whose layout is known.
fn parse(record: &[u8]) -> Option<[&[u8]; 4]> {
    let mut rest = record;
    let mut value = |before: &[u8], end: u8| {
        let after = rest.strip_prefix(before)?;
        let length = after.iter().position(|byte| *byte == end)?;
        let (value, left) = after.split_at(length);
        rest = left;
        Some(value)
    };
    Some([
        value(b"{\"userId\":", b',')?,
        value(b",\"itemId\":", b',')?,
        value(b",\"behavior\":\"", b'"')?,
        value(b"\",\"timestamp\":", b'}')?,
    ])
}

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}
