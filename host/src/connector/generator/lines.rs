//! Lines of ten words each, frequent and rare ones as in natural language, ten lines a millisecond of event time.
use std::sync::LazyLock;

use super::{FIRST_TIME_MS, random};
use crate::writer::Writer;

const WORDS: u64 = 10_000;
const WORDS_PER_LINE: u64 = 10;
/// Lines in the pool, and entries of the table words are drawn from.
const POOL: u64 = 65_536;

/// Bytes of a line's place in the pool: the longest line, and one for its length.
const SLOT_BYTES: usize = 80;

/// The longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = SLOT_BYTES;

/// All lines there are, each at the beginning of a slot whose last byte is its length.
static SLOTS: LazyLock<Vec<[u8; SLOT_BYTES]>> = LazyLock::new(|| {
    let words: Vec<Vec<u8>> = (0..WORDS).map(word).collect();
    let table = table();
    (0..POOL)
        .map(|line| {
            let word = |w| words[table[(random(1, WORDS_PER_LINE * line + w) >> 48) as usize]].as_slice();
            let mut text = (0..WORDS_PER_LINE).map(word).collect::<Vec<_>>().join(&b' ');
            text[0].make_ascii_uppercase();
            let length = text.len();
            let mut slot = [b' '; SLOT_BYTES];
            slot[..length].copy_from_slice(&text);
            slot[SLOT_BYTES - 1] = length as u8;
            slot
        })
        .collect()
});

/// One to four random letters, and three that make it different from all other words.
fn word(k: u64) -> Vec<u8> {
    let h = random(101, k);
    let random = (0..1 + (h & 3)).map(|j| (h >> (8 + 8 * j) & 0xff) % 26);
    random.chain([k / 676, k / 26 % 26, k % 26]).map(|letter| b'a' + letter as u8).collect()
}

/// Words by Zipf's law: word `k` has a part of the table in proportion to 1 / (k + 1).
fn table() -> Vec<usize> {
    let weight = |k| (1 << 32) / (k + 1);
    let total: u64 = (0..WORDS).map(weight).sum();
    let (mut k, mut sum) = (0, weight(0));
    let entry = |j| {
        while sum * POOL <= j * total {
            k += 1;
            sum += weight(k);
        }
        k as usize
    };
    (0..POOL).map(entry).collect()
}

/// Makes the pool, which takes some milliseconds, if this was not done before.
pub fn prepare() {
    LazyLock::force(&SLOTS);
}

/// Event `i`; gives its time.
#[inline(always)]
pub fn push(out: &mut Writer, i: u64) -> i64 {
    let slot = &SLOTS[(random(11, i) >> 48) as usize];
    out.block(slot, usize::from(slot[SLOT_BYTES - 1]));
    time(i)
}

/// Event time of event `i`, in ms since 1970-01-01 UTC.
#[inline]
pub fn time(i: u64) -> i64 {
    (FIRST_TIME_MS + i / 10) as i64
}
