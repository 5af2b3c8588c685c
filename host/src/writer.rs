//! Writing short pieces and decimal integers one after the other: the one thing formats and generated input both spend their
//! time on. Knows nothing of either.

/// A word whose bytes, read from memory in order, are the eight digits of `value`, which is below 10^8.
#[inline]
fn eight(value: u64) -> u64 {
    // Halves of a word first hold four digits each, then quarters two, then bytes one.
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    // n / 100 is n * 10486 >> 20 for n < 10^4, and n / 10 is n * 103 >> 10 for n < 100.
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds + ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens + ((twos - 10 * tens) << 8) + 0x3030_3030_3030_3030
}

/// Appends to a `Vec`. Keeps the place of the next byte to itself, in a register, where a `Vec` would keep it in memory: with
/// pieces as short as numbers and names are, that takes most of the time. What is not [`finish`](Writer::finish)ed is lost.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Those of `out`, which nobody else changes meanwhile.
    start: *mut u8,
    capacity: usize,
    /// Bytes of `out` below this are initialised, and it is at most the capacity.
    at: usize,
}

impl<'a> Writer<'a> {
    /// Appends to `out`, of which `room` bytes are reserved at once.
    pub fn new(out: &'a mut Vec<u8>, room: usize) -> Writer<'a> {
        out.reserve(room);
        let (start, capacity, at) = (out.as_mut_ptr(), out.capacity(), out.len());
        Writer { out, start, capacity, at }
    }

    /// Number of bytes there are.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.at
    }

    #[inline(always)]
    fn room(&mut self, bytes: usize) {
        if self.capacity - self.at < bytes {
            (self.start, self.capacity) = grow(self.out, self.at, bytes);
        }
    }

    /// Appends the first `length` bytes of `block`, at most all. It is copied as a whole, since that takes no loop.
    #[inline(always)]
    pub fn block<const N: usize>(&mut self, block: &[u8; N], length: usize) {
        self.room(N);
        // SAFETY: there is room for N bytes, and a `&mut Vec` and what it is given do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(block.as_ptr(), self.start.add(self.at), N) };
        self.at += length.min(N);
    }

    /// Appends `bytes`.
    #[inline(always)]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.room(bytes.len());
        // SAFETY: there is room for all of them, and a `&mut Vec` and what it is given do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(self.at), bytes.len()) };
        self.at += bytes.len();
    }

    /// Appends up to eight digits of `value`, which is below 10^8, without leading zeros.
    #[inline(always)]
    fn leading(&mut self, value: u64) {
        let word = eight(value);
        // Zero itself keeps its last digit.
        let zeros = ((word & 0x0f0f_0f0f_0f0f_0f0f) | 1 << 56).trailing_zeros() / 8;
        self.block(&(word >> (8 * zeros)).to_le_bytes(), 8 - zeros as usize);
    }

    /// Appends `value` in decimal.
    #[inline(always)]
    pub fn u64(&mut self, value: u64) {
        const GROUP: u64 = 100_000_000;
        if value < GROUP {
            self.leading(value);
        } else if value < GROUP * GROUP {
            self.leading(value / GROUP);
            self.block(&eight(value % GROUP).to_le_bytes(), 8);
        } else {
            self.leading(value / (GROUP * GROUP));
            self.block(&eight(value / GROUP % GROUP).to_le_bytes(), 8);
            self.block(&eight(value % GROUP).to_le_bytes(), 8);
        }
    }

    /// Appends `value` in decimal.
    #[inline(always)]
    pub fn i64(&mut self, value: i64) {
        if value < 0 {
            self.block(b"-", 1);
        }
        self.u64(value.unsigned_abs());
    }

    /// Makes what was appended part of the `Vec`.
    pub fn finish(self) {
        // SAFETY: as said of `at`: it began at the length and only went past bytes that were written.
        unsafe { self.out.set_len(self.at) };
    }
}

/// Makes room for `bytes` more than `length`; gives the new memory and capacity. The bytes up to `length` stay.
#[cold]
#[inline(never)]
fn grow(out: &mut Vec<u8>, length: usize, bytes: usize) -> (*mut u8, usize) {
    // SAFETY: they are initialised and within the capacity, as said of `at`.
    unsafe { out.set_len(length) };
    out.reserve(bytes);
    (out.as_mut_ptr(), out.capacity())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_written_as_the_standard_library_writes_them() {
        let check = |value: i64| {
            let mut out = b"x".to_vec();
            let mut writer = Writer::new(&mut out, 0);
            writer.i64(value);
            writer.block(b" and ", 1);
            writer.u64(value as u64);
            writer.bytes(b"end");
            writer.finish();
            assert_eq!(String::from_utf8(out).unwrap(), format!("x{value} {}end", value as u64));
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
