//! User behaviour as JSON: who did what to which item when, out of order by up to ten seconds.
use super::{FIRST_TIME_MS, below, high, low, push_block, random, user};
use crate::digits::push_u64;

/// The longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = 96;

/// Event `i`: `{"userId":U,"itemId":I,"behavior":"B","timestamp":T}`.
#[inline]
pub fn push(out: &mut Vec<u8>, i: u64) {
    let (a, c) = (random(2, 2 * i), random(2, 2 * i + 1));
    // In tenths: of ten, six view, two put into the cart, one likes, one buys.
    const KINDS: [(&[u8; 16], usize); 10] = {
        let view = (b"\"pv\"            ", 4);
        let cart = (b"\"cart\"          ", 6);
        [view, view, view, view, view, view, cart, cart, (b"\"fav\"           ", 5), (b"\"buy\"           ", 5)]
    };
    let (kind, length) = KINDS[(below(high(c), 100) / 10) as usize];
    push_block(out, b"{\"userId\":      ", 10);
    push_u64(out, user(high(a), i));
    push_block(out, b",\"itemId\":      ", 10);
    push_u64(out, below(low(a), 50_000));
    push_block(out, b",\"behavior\":    ", 12);
    push_block(out, kind, length);
    push_block(out, b",\"timestamp\":   ", 13);
    push_u64(out, FIRST_TIME_MS + 10 * i - below(low(c), 10_001));
    out.push(b'}');
}
