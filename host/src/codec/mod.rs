//! Formats: bytes of records to columns and back. Knows nothing of where bytes come from.
mod api;
mod format;

pub use api::{Decoded, Decoder, Encoder, Malformed};
pub use format::Format;
