//! Formats: bytes of records to columns and back. Knows nothing of where bytes come from.
mod api;

pub use api::{Decoded, Decoder, Encoder, Malformed};
