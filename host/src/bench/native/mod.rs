//! The same workloads in plain Rust, with nothing between the steps: the limit any engine can reach for. A thread per subtask,
//! the same generators and the same records, no batches, and no exchange but where a result takes what several threads have.
mod fraud;
mod scores;
mod user_behavior;
mod word_count;

use std::{collections::BTreeMap, sync::Mutex};

use super::{Measured, Run, Start, Workload};
use crate::connector::{discard::fnv1a, generator::lines};

/// The numbers of all events of a user are the same modulo this.
const USER_CLASSES: u64 = 8;

/// Runs a workload on the calling process's threads.
pub fn native(run: &Run) -> Measured {
    // The pool of lines is input, not work.
    if run.workload == Workload::W1 {
        lines::prepare();
    }
    let start = Start::now();
    let total = Mutex::new(Outputs::new(run.verify));
    let windows = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for subtask in 0..run.parallelism {
            let (total, windows) = (&total, &windows);
            scope.spawn(move || {
                let outputs = match run.workload {
                    Workload::W1 => word_count::run(run, subtask, windows),
                    Workload::W2 => user_behavior::run(run, subtask),
                    Workload::W3 => fraud::run(run, subtask),
                    Workload::W6 => scores::run(run, subtask),
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

/// What was put out.
struct Outputs {
    count: u64,
    checksum: u64,
    verify: bool,
}

impl Outputs {
    fn new(verify: bool) -> Outputs {
        Outputs { count: 0, checksum: 0, verify }
    }

    fn add(&mut self, line: &[u8]) {
        self.count += 1;
        if self.verify {
            self.checksum = self.checksum.wrapping_add(fnv1a(line));
        }
    }
}

/// Calls `each` with the events of a subtask in order, shared out so that all of one user's belong to one. With 1, 2, 4 or 8
/// subtasks they are those that a generator's parts make; of more than 8 the others have none.
#[inline(always)]
fn events_by_user(run: &Run, subtask: u32, mut each: impl FnMut(u64)) {
    let (parallelism, subtask) = (u64::from(run.parallelism), u64::from(subtask));
    let classes: Vec<u64> = (0..USER_CLASSES).filter(|class| class % parallelism == subtask).collect();
    if classes.is_empty() {
        return;
    }
    for first in (0..run.events).step_by(USER_CLASSES as usize) {
        for event in classes.iter().map(|class| first + class).filter(|event| *event < run.events) {
            each(event);
        }
    }
}

/// The values of a record whose layout is known: what comes before each, and the byte that ends it.
#[inline(always)]
fn values<'a, const N: usize>(record: &'a [u8], layout: [(&[u8], u8); N]) -> Option<[&'a [u8]; N]> {
    let (mut rest, mut values) = (record, [&[][..]; N]);
    for (value, (before, end)) in values.iter_mut().zip(layout) {
        let after = rest.strip_prefix(before)?;
        let length = after.iter().position(|byte| *byte == end)?;
        (*value, rest) = after.split_at(length);
    }
    Some(values)
}

/// User, item, behaviour and timestamp.
#[inline(always)]
fn behavior_values(record: &[u8]) -> Option<[&[u8]; 4]> {
    values(
        record,
        [(b"{\"userId\":", b','), (b",\"itemId\":", b','), (b",\"behavior\":\"", b'"'), (b"\",\"timestamp\":", b'}')],
    )
}

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_those_of_an_independent_computation_whatever_the_parallelism() {
        for (workload, events, outputs, checksum) in [
            (Workload::W1, 200_000, 37_442, "8aa0758ae48b6d18"),
            (Workload::W2, 200_000, 1_219_995, "9203a7b77f2f6cb7"),
            (Workload::W3, 200_000, 320, "81907e9527da9d74"),
            (Workload::W3, 1_000_000, 3990, "451f308d5afd00e7"),
            (Workload::W6, 200_000, 80_095, "404cf5cadf894ed7"),
        ] {
            for parallelism in [1, 3] {
                let found = native(&Run {
                    workload,
                    events,
                    parallelism,
                    verify: true,
                    rate: None,
                    directory: std::path::PathBuf::new(),
                    rocksdb: false,
                    checkpoint: None,
                });
                assert_eq!((found.outputs, found.checksum.as_deref()), (outputs, Some(checksum)), "{workload:?}");
            }
        }
    }
}
