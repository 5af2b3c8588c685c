//! Records that are JSON objects (RFC 8259), one member per column. Members no column asks for are skipped; of several members
//! of one name the last counts; nested values become the text of a string column.
//!
//! There are two decoders. The general one ([`general`]) decides what is well-formed and what it means. Records of a stream
//! mostly look alike, so what one looked like is kept as a layout ([`layout`]), and the next ones are read by comparing with
//! it: that either gives what the general decoder would give, or gives up.
mod decode;
mod encode;
mod general;
mod layout;
mod learn;
#[cfg(test)]
mod mutations;
mod scan;

pub use decode::JsonDecoder;
pub use encode::JsonEncoder;
