//! Memory of batches that is handed on as Arrow columns, and taken back for a later batch once nobody reads it any more, so that a
//! steady stream neither copies nor allocates. Knows nothing of what is in it.
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};

use crate::model::RawBatch;

/// Batches whose memory is waited for; what is handed out beyond them is freed by its last reader.
const LENT_BATCHES_MAX: usize = 8;

/// Memory handed on.
#[derive(Debug, Default)]
pub struct Lent(Vec<Buffer>);

impl Lent {
    /// The records of a batch, as a column of strings or bytes has them. The batch gets other memory, which is empty.
    pub fn take(&mut self, raw: &mut RawBatch) -> (OffsetBuffer<i32>, Buffer) {
        let memory = self.memory(raw.data.len());
        let data = Buffer::from_vec(std::mem::replace(&mut raw.data, memory));
        let mut offsets = Vec::with_capacity(raw.ends.len() + 1);
        offsets.push(0);
        // At most 2 GiB in sum, as `RawBatch` says.
        offsets.extend(raw.ends.iter().map(|end| *end as i32));
        if self.0.len() < LENT_BATCHES_MAX {
            self.0.push(data.clone());
        }
        (OffsetBuffer::new(ScalarBuffer::from(offsets)), data)
    }

    /// Empty memory for about `bytes` bytes: from an earlier batch if one is no longer read.
    fn memory(&mut self, bytes: usize) -> Vec<u8> {
        let free = self.0.iter().position(|buffer| buffer.strong_count() == 1);
        match free.map(|i| self.0.swap_remove(i).into_vec::<u8>()) {
            Some(Ok(mut data)) => {
                data.clear();
                data
            }
            _ => Vec::with_capacity(bytes),
        }
    }
}
