//! Payments as JSON, in order, one a millisecond: many small ones, few large ones, and a fifth of them by few users.
use super::{FIRST_TIME_MS, below, high, low, random, user};
use crate::writer::Writer;

/// The longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 80;

/// Event `i`, `{"user":U,"amount":A,"timestamp":T}`; gives its time, that is the timestamp.
#[inline(always)]
pub fn push(out: &mut Writer, i: u64) -> i64 {
    push_of(out, i, u64::MAX)
}

/// The same of users with numbers below `users`: those of others are theirs.
#[inline(always)]
pub fn push_of(out: &mut Writer, i: u64, users: u64) -> i64 {
    let (a, c) = (random(3, 2 * i), random(3, 2 * i + 1));
    let who = if below(low(c), 100) < 20 { below(high(a), 125) * 8 + (i & 7) } else { user(high(a), i) };
    let amount = match below(high(c), 100) {
        0..50 => 1 + below(low(a), 99),
        50..95 => 100 + below(low(a), 9_901),
        _ => 10_001 + below(low(a), 90_000),
    };
    out.block(b"{\"user\":        ", 8);
    out.u64(who % users);
    out.block(b",\"amount\":      ", 10);
    out.u64(amount);
    out.block(b",\"timestamp\":   ", 13);
    let time = FIRST_TIME_MS + i;
    out.u64(time);
    out.block(b"}", 1);
    time as i64
}
