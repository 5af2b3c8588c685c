//! Decimal digits of integers, eight at a time: the one thing formats and generated input both spend their time on. Knows
//! nothing of either.

/// A word whose bytes, read from memory in order, are the eight digits of `value`, which is below 10^8.
#[inline]
fn eight(value: u64) -> u64 {
    // Halves of a word first hold four digits each, then quarters two, then bytes one.
    let fours = value / 10_000 | (value % 10_000) << 32;
    // n / 100 is n * 10486 >> 20 for n < 10^4, and n / 10 is n * 103 >> 10 for n < 100.
    let hundreds = (fours * 10_486 >> 20) & 0x7f_0000_007f;
    let twos = hundreds + ((fours - 100 * hundreds) << 16);
    let tens = (twos * 103 >> 10) & 0x000f_000f_000f_000f;
    tens + ((twos - 10 * tens) << 8) + 0x3030_3030_3030_3030
}

/// Appends up to eight digits of `value`, which is below 10^8, without leading zeros.
#[inline]
fn push_leading(out: &mut Vec<u8>, value: u64) {
    let word = eight(value);
    // Zero itself keeps its last digit.
    let zeros = ((word & 0x0f0f_0f0f_0f0f_0f0f) | 1 << 56).trailing_zeros() / 8;
    let length = out.len();
    out.extend_from_slice(&(word >> (8 * zeros)).to_le_bytes());
    out.truncate(length + 8 - zeros as usize);
}

/// Appends `value` in decimal.
#[inline]
pub fn push_u64(out: &mut Vec<u8>, value: u64) {
    const GROUP: u64 = 100_000_000;
    if value < GROUP {
        push_leading(out, value);
    } else if value < GROUP * GROUP {
        push_leading(out, value / GROUP);
        out.extend_from_slice(&eight(value % GROUP).to_le_bytes());
    } else {
        push_leading(out, value / (GROUP * GROUP));
        out.extend_from_slice(&eight(value / GROUP % GROUP).to_le_bytes());
        out.extend_from_slice(&eight(value % GROUP).to_le_bytes());
    }
}

/// Appends `value` in decimal.
#[inline]
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    push_u64(out, value.unsigned_abs());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_written_as_the_standard_library_writes_them() {
        let check = |value: i64| {
            let mut out = b"x".to_vec();
            push_i64(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{value}"));
            let mut out = Vec::new();
            push_u64(&mut out, value as u64);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{}", value as u64));
        };
        [i64::MIN, i64::MAX, 0, -1].into_iter().for_each(check);
        for digits in 0..19 {
            for near in -2..=2 {
                check(10i64.pow(digits) + near);
            }
        }
        (0..20_000).for_each(check);
        let mut state = 1u64;
        for i in 0..100_000u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            check((state as i64) >> (i % 64));
        }
    }
}
