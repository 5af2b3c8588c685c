//! What an operator may know besides the record in hand.
//!
//! Guarantees: nothing here differs when a call is replayed. Must not know: clocks, records.

use crate::bindings::types::Moment;

/// The time and the randomness of the record in hand. Times are in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Debug)]
pub struct Context {
    moment: Moment,
    row: u32,
    timestamp_ms: i64,
}

impl Context {
    pub(crate) fn new(moment: Moment) -> Self {
        Self { moment, row: 0, timestamp_ms: 0 }
    }

    #[inline(always)]
    pub(crate) fn at_row(&mut self, row: u32, timestamp_ms: i64) {
        self.row = row;
        self.timestamp_ms = timestamp_ms;
    }

    /// The event time of the record.
    #[inline]
    pub fn timestamp_ms(&self) -> i64 {
        self.timestamp_ms
    }

    /// The processing time of the call. It is the same for all records of a call.
    #[inline]
    pub fn processing_time_ms(&self) -> i64 {
        self.moment.processing_time
    }

    /// The watermark: no more records with an earlier event time are to be expected. `None` before there is one.
    #[inline]
    pub fn watermark_ms(&self) -> Option<i64> {
        (self.moment.watermark != i64::MIN).then_some(self.moment.watermark)
    }

    /// A number as if drawn at random, another one for each record, the same one when the call is replayed. Seed a generator
    /// with it where one number is not enough.
    pub fn random(&self) -> u64 {
        // The finalizer of SplitMix64: neighbouring rows get unrelated numbers.
        let mut bits = self.moment.seed.wrapping_add(u64::from(self.row).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}
