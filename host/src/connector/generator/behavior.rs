//! User behaviour as JSON: who did what to which item when, out of order by up to ten seconds.
use super::{FIRST_TIME_MS, below, high, low, random, user};
use crate::writer::Writer;

/// The longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 96;

/// Event `i`, `{"userId":U,"itemId":I,"behavior":"B","timestamp":T}`; gives its time, that is the timestamp.
#[inline(always)]
pub fn push(out: &mut Writer, i: u64) -> i64 {
    let (a, c) = (random(2, 2 * i), random(2, 2 * i + 1));
    // In tenths: of ten, six view, two put into the cart, one likes, one buys.
    const KINDS: [(&[u8; 16], usize); 10] = {
        let view = (b"\"pv\"            ", 4);
        let cart = (b"\"cart\"          ", 6);
        [view, view, view, view, view, view, cart, cart, (b"\"fav\"           ", 5), (b"\"buy\"           ", 5)]
    };
    let (kind, length) = KINDS[(below(high(c), 100) / 10) as usize];
    out.block(b"{\"userId\":      ", 10);
    out.u64(user(high(a), i));
    out.block(b",\"itemId\":      ", 10);
    out.u64(below(low(a), 50_000));
    out.block(b",\"behavior\":    ", 12);
    out.block(kind, length);
    out.block(b",\"timestamp\":   ", 13);
    let time = FIRST_TIME_MS + 10 * i - below(low(c), 10_001);
    out.u64(time);
    out.block(b"}", 1);
    time as i64
}
