//! Decodes batches: by a layout where one fits, else by the general decoder.
use super::{
    general,
    layout::{Layout, PADDING_BYTES},
    learn::learn,
};
use crate::{
    codec::{Decoded, Decoder, Malformed, columns::Columns},
    model::{RawBatch, Schema},
};

/// Layouts kept; streams that mix more kinds of record than this are mostly read by the general decoder.
const LAYOUTS_MAX: usize = 4;

/// The most records between two attempts to learn, once learning has proved useless.
const LEARN_PAUSE_RECORDS_MAX: u32 = 1023;

pub struct JsonDecoder {
    columns: Columns,
    /// The one used last first.
    layouts: Vec<Layout>,
    /// Records to go until the next attempt to learn, and how many there were between the last two.
    pause: u32,
    pause_length: u32,
}

impl JsonDecoder {
    pub fn new(schema: &Schema) -> JsonDecoder {
        JsonDecoder { columns: Columns::new(schema), layouts: Vec::new(), pause: 0, pause_length: 0 }
    }

    #[inline]
    fn record(&mut self, buffer: &[u8], start: usize, end: usize, row: usize) -> Result<(), String> {
        let columns = &mut self.columns.columns;
        if let Some(layout) = self.layouts.first()
            && layout.read(buffer, start, end, columns, row).is_some()
        {
            return Ok(());
        }
        self.other_record(buffer, start, end, row)
    }

    #[cold]
    fn other_record(&mut self, buffer: &[u8], start: usize, end: usize, row: usize) -> Result<(), String> {
        let columns = &mut self.columns.columns;
        let mut others = 1..self.layouts.len();
        let fits = others.find(|i| self.layouts[*i].read(buffer, start, end, columns, row).is_some());
        if let Some(i) = fits {
            self.layouts[i].used = true;
            self.layouts[..=i].rotate_right(1);
            return Ok(());
        }
        let record = &buffer[start..end];
        general::read(record, columns, row)?;
        self.learn(record);
        Ok(())
    }

    /// Learns what a record looks like, ever more rarely if that was of no use before.
    fn learn(&mut self, record: &[u8]) {
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        let learned = learn(record, &self.columns.columns);
        let mut useful = learned.is_some();
        if let Some(layout) = learned {
            self.layouts.insert(0, layout);
            if self.layouts.len() > LAYOUTS_MAX {
                useful = self.layouts.pop().is_some_and(|layout| layout.used);
            }
        }
        self.pause_length = if useful { 0 } else { (self.pause_length * 2 + 1).min(LEARN_PAUSE_RECORDS_MAX) };
        self.pause = self.pause_length;
    }
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, raw: &mut RawBatch) -> Decoded {
        self.columns.begin(raw.len());
        let length = raw.data.len();
        raw.data.resize(length + PADDING_BYTES, 0);
        let (mut row, mut start, mut malformed) = (0, 0, Vec::new());
        for (record, end) in raw.ends.iter().enumerate() {
            let end = *end as usize;
            match self.record(&raw.data, start, end, row) {
                Ok(()) => row += 1,
                Err(reason) => malformed.push(Malformed { record, reason }),
            }
            start = end;
        }
        raw.data.truncate(length);
        // The first layout is not marked with each record it fits.
        if let Some(first) = self.layouts.first_mut() {
            first.used |= row > 1;
        }
        Decoded { rows: self.columns.finish(row), malformed }
    }
}
