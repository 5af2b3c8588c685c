//! Values with others in them, as the JSON text of a string column; and strings of any format on their way there. Guarantees that a value's
//! text is bounded, so that a column of a batch is.
use base64::{Engine, prelude::BASE64_STANDARD};

use super::columns::Column;

/// Bytes of a value's text.
pub const TEXT_BYTES_MAX: usize = 16 << 20;

/// Text in the making. What is beyond [`TEXT_BYTES_MAX`] is not written; `finish` says so.
#[derive(Debug, Default)]
pub struct JsonText {
    out: Vec<u8>,
    too_long: bool,
}

impl JsonText {
    /// Appends JSON.
    pub fn push(&mut self, json: &str) {
        self.too_long |= self.out.len() + json.len() > TEXT_BYTES_MAX;
        if !self.too_long {
            self.out.extend_from_slice(json.as_bytes());
        }
    }

    /// Whether more is in vain.
    pub fn is_too_long(&self) -> bool {
        self.too_long
    }

    fn value(&mut self, value: &impl serde::Serialize) {
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut self.out, value);
        self.too_long |= self.out.len() > TEXT_BYTES_MAX;
        self.out.truncate(TEXT_BYTES_MAX);
    }

    pub fn string(&mut self, text: &str) {
        match text.len() > TEXT_BYTES_MAX {
            true => self.too_long = true,
            false => self.value(&text),
        }
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        match bytes.len() > TEXT_BYTES_MAX {
            true => self.too_long = true,
            false => self.value(&BASE64_STANDARD.encode(bytes)),
        }
    }

    pub fn i64(&mut self, value: i64) {
        self.push(itoa::Buffer::new().format(value));
    }

    pub fn u64(&mut self, value: u64) {
        self.push(itoa::Buffer::new().format(value));
    }

    /// What JSON has no number for is null.
    pub fn f64(&mut self, value: f64) {
        self.value(&value);
    }

    /// Like [`f64`](JsonText::f64), with no more digits than the number has.
    pub fn f32(&mut self, value: f32) {
        self.value(&value);
    }

    pub fn bool(&mut self, value: bool) {
        self.push(if value { "true" } else { "false" });
    }

    /// Writes the text to a column.
    pub fn finish(self, column: &mut Column, row: usize) -> Result<(), String> {
        let too_long = || format!("its text has more than {TEXT_BYTES_MAX} bytes");
        let text = String::from_utf8(self.out).ok().filter(|_| !self.too_long).ok_or_else(too_long)?;
        set_str(column, row, &text)
    }
}

/// Sets a string that may be longer than what it was decoded from.
pub fn set_str(column: &mut Column, row: usize, text: &str) -> Result<(), String> {
    if !column.has_room(row, text.len()) {
        return Err("the strings of the batch have more than 2 GiB".into());
    }
    column.set_str(row, text);
    Ok(())
}

/// The same for bytes.
pub fn set_bytes(column: &mut Column, row: usize, bytes: &[u8]) -> Result<(), String> {
    if !column.has_room(row, bytes.len()) {
        return Err("the bytes of the batch have more than 2 GiB".into());
    }
    column.set_bytes(row, bytes);
    Ok(())
}
