//! Formats: bytes of records to columns and back. Knows nothing of where bytes come from.
mod api;
mod columns;
mod csv;
mod format;
mod json;
#[cfg(test)]
mod round_trip;
mod text;
mod view;

pub use api::{Decoded, Decoder, Encoder, Malformed};
pub use csv::CsvSettings;
pub use format::Format;
