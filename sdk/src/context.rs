//! What an operator may know besides the record in hand.
//!
//! Guarantees: nothing here differs when a call is replayed. Must not know: clocks, records other than keys.

use std::ops::Deref;

use crate::bindings::types::{Keys, Moment, TimeDomain, TimerAction};
use crate::record::Record;
use crate::timer::{TimerSet, timer_methods};
use crate::window::Window;

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

/// What an operator may know and do besides the record in hand, or the timer in hand, of a key: all that a [`Context`] can, and the key,
/// of which it sees the columns of `K`.
pub struct KeyedContext<'k, K: Record = ()> {
    context: Context,
    keys: K::Reader<'k>,
    is_keyed: bool,
    pub(crate) of: u32,
    pub(crate) timers: TimerSet,
}

impl<'k, K: Record> KeyedContext<'k, K> {
    pub(crate) fn new(moment: Moment, keys: &'k Keys, timers: TimerSet) -> Result<Self, String> {
        let is_keyed = keys.count > 0;
        let keys = K::reader(&keys.columns, keys.count as usize)?;
        Ok(Self { context: Context::new(moment), keys, is_keyed, of: 0, timers })
    }

    #[inline(always)]
    pub(crate) fn at_row(&mut self, row: u32, timestamp_ms: i64, key: u32) {
        self.context.at_row(row, timestamp_ms);
        self.of = key;
    }

    /// Whether there are keys: the main input of a broadcast function may have none. Then there are no states and no timers either.
    #[inline]
    pub fn is_keyed(&self) -> bool {
        self.is_keyed
    }

    /// The key of the record or timer in hand.
    #[inline]
    pub fn key(&self) -> K::At<'k> {
        K::read(&self.keys, self.of as usize)
    }

    timer_methods!();
}

impl<K: Record> Deref for KeyedContext<'_, K> {
    type Target = Context;
    fn deref(&self) -> &Context {
        &self.context
    }
}

/// What an operator may know of the window that fires: all that a [`Context`] can, where the event time is that of the results, and the
/// window's key, of which it sees the columns of `K`.
pub struct WindowContext<'k, K: Record = ()> {
    context: Context,
    keys: K::Reader<'k>,
    key: u32,
    window: Window,
}

impl<'k, K: Record> WindowContext<'k, K> {
    pub(crate) fn new(moment: Moment, keys: &'k Keys) -> Result<Self, String> {
        let keys = K::reader(&keys.columns, keys.count as usize)?;
        Ok(Self { context: Context::new(moment), keys, key: 0, window: Window { start_ms: 0, end_ms: 0 } })
    }

    pub(crate) fn at_window(&mut self, index: u32, window: Window, key: u32) {
        self.context.at_row(index, window.last_ms());
        self.window = window;
        self.key = key;
    }

    /// The key of the window.
    #[inline]
    pub fn key(&self) -> K::At<'k> {
        K::read(&self.keys, self.key as usize)
    }

    /// The window.
    #[inline]
    pub fn window(&self) -> Window {
        self.window
    }
}

impl<K: Record> Deref for WindowContext<'_, K> {
    type Target = Context;
    fn deref(&self) -> &Context {
        &self.context
    }
}

/// What a trigger may know and do besides the element or timer in hand: all that a [`Context`] can, and the window.
pub struct TriggerContext {
    context: Context,
    window: Window,
    of: u32,
    timers: TimerSet,
}

impl TriggerContext {
    pub(crate) fn new(moment: Moment, firing: bool) -> Self {
        let timers = TimerSet::new(firing);
        Self { context: Context::new(moment), window: Window { start_ms: 0, end_ms: 0 }, of: 0, timers }
    }

    #[inline(always)]
    pub(crate) fn at_row(&mut self, row: u32, timestamp_ms: i64, index: u32, window: Window) {
        self.context.at_row(row, timestamp_ms);
        self.window = window;
        self.of = index;
    }

    pub(crate) fn timers(&self) -> &TimerSet {
        &self.timers
    }

    pub(crate) fn finish(self) -> TimerSet {
        self.timers
    }

    /// The window of the element or timer in hand.
    #[inline]
    pub fn window(&self) -> Window {
        self.window
    }

    timer_methods!();
}

impl Deref for TriggerContext {
    type Target = Context;
    fn deref(&self) -> &Context {
        &self.context
    }
}
