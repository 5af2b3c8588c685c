//! W2: what users did in the last hour, every five minutes. A user does little in an hour, so the fastest way is to keep the
//! events themselves, once, and to look through them for each window.
use hashbrown::HashMap;

use super::{super::Run, Outputs, behavior_values, events_by_user, number};
use crate::{connector::generator::behavior, writer::Writer};

/// From the start of a window to that of the next.
const SLIDE_MS: u64 = 300_000;
/// Windows that an event belongs to.
const SLICES: u64 = 12;
/// Events come this much behind later ones at most.
const OUT_OF_ORDERNESS_MS: u64 = 10_000;
/// Kinds of behaviour.
const KINDS: usize = 4;
/// Items of so many events are compared with each other, more are sorted.
const COMPARED: usize = 32;

/// Something a user did, in a time of the length of [`SLIDE_MS`].
#[derive(Clone, Copy)]
struct Event {
    slice: u64,
    item: u32,
    kind: u8,
}

/// A subtask at work.
struct Windows {
    /// Events of windows that are not over.
    users: HashMap<u64, Vec<Event>>,
    /// First slice of the next window to be put out; the first one that has an event, if there is any.
    next: Option<u64>,
    /// The latest slice with an event.
    last: u64,
    line: Vec<u8>,
    items: Vec<u32>,
    outputs: Outputs,
}

/// The outputs of a subtask.
pub fn run(run: &Run, subtask: u32) -> Outputs {
    let mut windows = Windows {
        users: HashMap::new(),
        next: None,
        last: 0,
        line: Vec::with_capacity(128),
        items: Vec::new(),
        outputs: Outputs::new(run.verify),
    };
    let (mut record, mut latest) = (Vec::with_capacity(256), 0);
    events_by_user(run, subtask, |i| {
        record.clear();
        let mut writer = Writer::new(&mut record, behavior::RECORD_BYTES_MAX);
        behavior::push(&mut writer, i);
        writer.finish();
        let Some([user, item, behavior, time]) = behavior_values(&record) else { return };
        let kind = match behavior {
            b"pv" => 0,
            b"cart" => 1,
            b"fav" => 2,
            _ => 3,
        };
        let time = number(time);
        windows.add(number(user), Event { slice: time / SLIDE_MS, item: number(item) as u32, kind });
        if time > latest {
            latest = time;
            windows.fire((latest - OUT_OF_ORDERNESS_MS) / SLIDE_MS);
        }
    });
    windows.fire(u64::MAX);
    windows.outputs
}

impl Windows {
    fn add(&mut self, user: u64, event: Event) {
        let first = event.slice + 1 - SLICES;
        self.next = Some(self.next.map_or(first, |next| next.min(first)));
        self.last = self.last.max(event.slice);
        self.users.entry(user).or_default().push(event);
    }

    /// Puts out the windows that end with slices below `slice`.
    fn fire(&mut self, slice: u64) {
        while let Some(start) = self.next.filter(|start| *start <= self.last && start + SLICES <= slice) {
            self.put_out(start);
            self.next = Some(start + 1);
        }
    }

    fn put_out(&mut self, start: u64) {
        let Windows { users, line, items, outputs, .. } = self;
        users.retain(|user, events| {
            let mut counts = [0; KINDS];
            items.clear();
            for event in events.iter().filter(|event| event.slice < start + SLICES) {
                counts[usize::from(event.kind)] += 1;
                items.push(event.item);
            }
            if !items.is_empty() {
                let [views, carts, favourites, buys] = counts;
                let values = [*user, start * SLIDE_MS, views, carts, favourites, buys, distinct(items)];
                write(line, values);
                outputs.add(line);
            }
            // No later window has the first slice of this.
            events.retain(|event| event.slice > start);
            !events.is_empty()
        });
    }
}

fn distinct(items: &mut Vec<u32>) -> u64 {
    if items.len() <= COMPARED {
        let first = |i: &usize| !items[..*i].contains(&items[*i]);
        return (0..items.len()).filter(first).count() as u64;
    }
    items.sort_unstable();
    items.dedup();
    items.len() as u64
}

fn write(line: &mut Vec<u8>, values: [u64; 7]) {
    line.clear();
    let mut writer = Writer::new(line, 160);
    for (i, value) in values.into_iter().enumerate() {
        if i > 0 {
            writer.block(b",", 1);
        }
        writer.u64(value);
    }
    writer.finish();
}
