//! W1: words of lines, counted in windows of event time; windows are merged over all threads.
use std::{collections::BTreeMap, sync::Mutex};

use hashbrown::{HashTable, hash_table::Entry};

use super::{super::Run, Outputs};
use crate::{connector::generator::lines, model::key_hash, writer::Writer};

/// Length of the windows.
const WINDOW_MS: i64 = 5000;

/// Words and their counts, by the engine's hash.
pub type Counts = HashTable<(Box<[u8]>, u64)>;

/// Windows some threads are done with: how many, and their counts together.
pub type Windows = Mutex<BTreeMap<i64, (u32, Counts)>>;

/// The outputs of the windows that this subtask is the last to be done with.
pub fn run(run: &Run, subtask: u32, windows: &Windows) -> Outputs {
    let mut outputs = Outputs::new(run.verify);
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
        outputs.add(&line);
    }
    windows.remove(&window);
}
