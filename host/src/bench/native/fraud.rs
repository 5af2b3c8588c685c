//! W3: large payments of a user that are many, or follow on small ones, with state and a timer for each user.
use std::collections::VecDeque;

use hashbrown::{HashMap, hash_map::Entry};

use super::{super::Run, Outputs, events_by_user, number, values};
use crate::{connector::generator::transactions, writer::Writer};

/// A payment above this is large.
const LARGE: u64 = 10_000;
/// A payment below this is small.
const SMALL: u64 = 100;
/// As many large payments within the time are not too many.
const LARGE_MANY: u64 = 3;
/// How long large payments are counted from the first one on.
const PERIOD_MS: u64 = 300_000;
/// Payments of a user that are looked back at.
const LAST: usize = 5;

/// The state of a user.
#[derive(Default)]
struct User {
    /// Large payments since the first of the period.
    count: u64,
    /// When the period is over.
    until: Option<u64>,
    /// The last amounts, the oldest one at `oldest` once there are so many.
    last: [u64; LAST],
    seen: usize,
    oldest: usize,
}

impl User {
    fn remember(&mut self, amount: u64) {
        self.last[self.oldest] = amount;
        self.oldest = (self.oldest + 1) % LAST;
        self.seen = LAST.min(self.seen + 1);
    }
}

/// The outputs of a subtask.
pub fn run(run: &Run, subtask: u32) -> Outputs {
    let mut outputs = Outputs::new(run.verify);
    let mut users = HashMap::<u64, User>::new();
    // Event time goes up, and all periods are of one length, so they end in the order in which they begin.
    let mut timers = VecDeque::<(u64, u64)>::new();
    let (mut record, mut line) = (Vec::with_capacity(256), Vec::with_capacity(256));
    events_by_user(run, subtask, |i| {
        record.clear();
        let mut writer = Writer::new(&mut record, transactions::RECORD_BYTES_MAX);
        transactions::push(&mut writer, i);
        writer.finish();
        let layout: [(&[u8], u8); 3] = [(b"{\"user\":", b','), (b",\"amount\":", b','), (b",\"timestamp\":", b'}')];
        let Some([id, amount, time]) = values(&record, layout).map(|values| values.map(number)) else { return };
        // The watermark is behind the latest timestamp.
        while timers.front().is_some_and(|(until, _)| *until < time) {
            let Some((until, id)) = timers.pop_front() else { break };
            if let Entry::Occupied(mut user) = users.entry(id)
                && user.get().until == Some(until)
            {
                let user = user.get_mut();
                (user.until, user.count) = (None, 0);
            }
        }
        let user = users.entry(id).or_default();
        if amount > LARGE {
            if user.until.is_none_or(|until| time >= until) {
                let until = time + PERIOD_MS;
                (user.count, user.until) = (1, Some(until));
                timers.push_back((until, id));
            } else {
                user.count += 1;
                if user.count > LARGE_MANY {
                    alert(&mut line, &mut outputs, [1, id, time, user.count]);
                }
            }
            if user.seen == LAST && user.last.iter().all(|amount| *amount < SMALL) {
                alert(&mut line, &mut outputs, [2, id, time, amount]);
            }
        }
        user.remember(amount);
    });
    outputs
}

/// Puts out rule, user, timestamp and value.
fn alert(line: &mut Vec<u8>, outputs: &mut Outputs, [rule, user, time, value]: [u64; 4]) {
    line.clear();
    let mut writer = Writer::new(line, 96);
    writer.bytes(b"R");
    writer.u64(rule);
    for number in [user, time, value] {
        writer.bytes(b",");
        writer.u64(number);
    }
    writer.finish();
    outputs.add(line);
}
