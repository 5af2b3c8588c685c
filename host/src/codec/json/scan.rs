//! Scanning JSON scalars a word at a time. Everything works on a buffer that goes on after the scalar, answers `None` for
//! whatever is not plainly well-formed, and never reads past the buffer.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

#[inline(always)]
fn word(buffer: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*buffer.get(at..at + 8)?.first_chunk()?))
}

/// The value of eight digits, the first in the lowest byte, each byte 0 to 9.
#[inline(always)]
fn eight(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let high = (pairs >> 16 & 0x0000_00ff_0000_00ff).wrapping_mul(1 + (10_000 << 32));
    low.wrapping_add(high) >> 32
}

/// The value of up to 19 digits, and how many there are.
#[inline(always)]
fn digits(buffer: &[u8], mut at: usize) -> Option<(u64, usize)> {
    const POWERS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
    const DIGITS_MAX: usize = 19;
    let (mut value, mut count) = (0u64, 0);
    loop {
        let distance = word(buffer, at)? ^ (ONES * 0x30);
        // A byte's high bit is set where it is no digit; a carry only reaches bytes after the first such.
        let others = (distance.wrapping_add(ONES * 0x76) | distance) & HIGHS;
        let run = (others.trailing_zeros() / 8) as usize;
        if count + run > DIGITS_MAX {
            return None;
        }
        if run < 8 {
            if run > 0 {
                value = value * POWERS[run] + eight(distance << (64 - 8 * run));
            }
            return Some((value, count + run));
        }
        value = value * 100_000_000 + eight(distance);
        count += 8;
        at += 8;
    }
}

/// An integer as JSON has it, and where it ends. What follows is not looked at.
#[inline(always)]
pub fn integer(buffer: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = *buffer.get(at)? == b'-';
    let first = at + usize::from(negative);
    let (value, count) = digits(buffer, first)?;
    let leading_zero = count > 1 && buffer[first] == b'0';
    // JSON's `-0` is a number with a fraction to many readers: not decided here.
    if count == 0 || leading_zero || (negative && value == 0) {
        return None;
    }
    let value = if negative { 0i64.checked_sub_unsigned(value)? } else { i64::try_from(value).ok()? };
    Some((value, first + count))
}

/// Where a number of any form ends.
pub fn number_end(buffer: &[u8], at: usize) -> Option<usize> {
    let digits_end = |from: usize| {
        let count = buffer.get(from..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then_some(from + count)
    };
    let first = at + usize::from(*buffer.get(at)? == b'-');
    let mut end = digits_end(first)?;
    if buffer[first] == b'0' && end > first + 1 {
        return None;
    }
    if buffer.get(end) == Some(&b'.') {
        end = digits_end(end + 1)?;
    }
    if matches!(buffer.get(end), Some(b'e' | b'E')) {
        end = digits_end(end + 1 + usize::from(matches!(buffer.get(end + 1), Some(b'+' | b'-'))))?;
    }
    Some(end)
}

/// For a string that begins at `at`, after its opening quote: where its closing quote is, and whether it is all ASCII.
/// `None` if it has escapes or control characters. Whether it is UTF-8 is not looked at.
#[inline(always)]
pub fn string_end(buffer: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let mut highs = 0;
    loop {
        let word = word(buffer, at)?;
        // A byte's high bit is set where it is what is looked for; false hits only come after the first true one.
        let equals = |byte: u64| {
            let difference = word ^ (ONES * byte);
            difference.wrapping_sub(ONES) & !difference
        };
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let stops = (equals(b'"'.into()) | equals(b'\\'.into()) | control) & HIGHS;
        if stops == 0 {
            highs |= word;
            at += 8;
            continue;
        }
        let bits = stops.trailing_zeros() / 8 * 8;
        highs |= word & ((1u64 << bits) - 1);
        let end = at + bits as usize / 8;
        return (buffer[end] == b'"').then_some((end, highs & HIGHS == 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(text: &str) -> Vec<u8> {
        [text.as_bytes(), &[0; 16]].concat()
    }

    #[test]
    fn integers_are_those_of_json() {
        let check = |text: &str, expected: Option<i64>| {
            let found = integer(&padded(text), 0);
            assert_eq!(found, expected.map(|value| (value, text.len())), "{text}");
        };
        for value in [0, 7, -1, 12345678, 123456789, 1700000000123, i64::MAX, i64::MIN, -12345678, 1234567812345678] {
            check(&value.to_string(), Some(value));
        }
        for power in 0..19 {
            check(&10i64.pow(power).to_string(), Some(10i64.pow(power)));
            check(&(10i64.pow(power) - 1).to_string(), Some(10i64.pow(power) - 1));
        }
        for text in ["", "-", "-0", "00", "01", "-01", "x", "9223372036854775808", "-9223372036854775809"] {
            check(text, None);
        }
        check("99999999999999999999", None);
        check("123456781234567812345678123", None);
        assert_eq!(integer(&padded("12.5"), 0), Some((12, 2)));
        assert_eq!(integer(b"12", 0), None);
    }

    #[test]
    fn numbers_end_where_json_says() {
        let end = |text: &str| number_end(&padded(text), 0);
        for text in ["0", "-0", "10", "1.5", "0.25e-7", "1E+9", "-3e5"] {
            assert_eq!(end(text), Some(text.len()), "{text}");
        }
        for text in ["", "-", "01", "1.", ".5", "1e", "1e+", "+1", "NaN"] {
            assert_eq!(end(text), None, "{text}");
        }
    }

    #[test]
    fn strings_end_at_the_first_quote_of_any_alignment() {
        for length in 0..40 {
            let text = "x".repeat(length);
            assert_eq!(string_end(&padded(&format!("{text}\"é")), 0), Some((length, true)));
            assert_eq!(string_end(&padded(&format!("{text}é\"")), 0), Some((length + 2, false)));
            for stop in ["\\n\"", "\n\"", "\0\"", "\u{1f}\"", ""] {
                assert_eq!(string_end(&padded(&format!("{text}{stop}")), 0), None);
            }
            assert_eq!(string_end(&padded(&format!("{text} !~\u{7f}\"")), 0), Some((length + 4, true)));
        }
    }
}
