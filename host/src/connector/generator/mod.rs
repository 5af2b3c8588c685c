//! Made-up input that is the same on every machine, for measurements and trials.
pub(crate) mod behavior;
pub(crate) mod lines;
#[cfg(test)]
mod results;
mod source;
mod splits;
pub(crate) mod transactions;

pub use source::GeneratorSource;

/// Event time of the first event, in ms since 1970-01-01 UTC.
const FIRST_TIME_MS: u64 = 1_700_000_000_000;

/// Random number `i` of a sequence: output `i` of splitmix64 started at `seed`. A pure function, so that any task can make any
/// event.
#[inline]
fn random(seed: u64, i: u64) -> u64 {
    let z = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[inline]
fn high(x: u64) -> u64 {
    x >> 32
}

#[inline]
fn low(x: u64) -> u64 {
    x & 0xffff_ffff
}

/// 0 to `limit` - 1, for `x` of 32 bits.
#[inline]
fn below(x: u64, limit: u64) -> u64 {
    (x * limit) >> 32
}

/// One of 100 000 users. The event's number modulo 8 is that of the user, so that with 1, 2, 4 or 8 tasks all events of a user
/// come from one.
#[inline]
fn user(x: u64, i: u64) -> u64 {
    below(x, 12_500) * 8 + (i & 7)
}
