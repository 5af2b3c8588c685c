//! W6: JSON in, filtered and scored, JSON out.
use super::{super::Run, Outputs, behavior_values, number};
use crate::{connector::generator::behavior, writer::Writer};

/// The outputs of a subtask.
pub fn run(run: &Run, subtask: u32) -> Outputs {
    let mut outputs = Outputs::new(run.verify);
    let (mut record, mut line) = (Vec::with_capacity(256), Vec::with_capacity(256));
    for i in (u64::from(subtask)..run.events).step_by(run.parallelism as usize) {
        record.clear();
        let mut writer = Writer::new(&mut record, behavior::RECORD_BYTES_MAX);
        behavior::push(&mut writer, i);
        writer.finish();
        let Some([user, item, behavior, timestamp]) = behavior_values(&record) else { continue };
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
        outputs.add(&line);
    }
    outputs
}
