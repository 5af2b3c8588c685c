//! Text, fast: what `str` does too, without an allocation and sixteen bytes at a time.
//!
//! Guarantees: the same results as the functions of `str` they stand for, for any text. Must not know: records, operators.

use std::cell::Cell;
use std::ops::Deref;

/// Bytes looked at together.
const LANES: usize = 16;
/// Bytes whose white space is kept in one word of bits.
const BLOCK: usize = 64;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lower-cased text in a buffer that is used again once this is dropped.
pub struct Lowercase(Vec<u8>);

impl Deref for Lowercase {
    type Target = str;
    fn deref(&self) -> &str {
        // SAFETY: the buffer holds the bytes of a `String`, or the lower-cased ASCII bytes of a `str`.
        unsafe { str::from_utf8_unchecked(&self.0) }
    }
}

impl Drop for Lowercase {
    fn drop(&mut self) {
        BUFFER.set(std::mem::take(&mut self.0));
    }
}

/// The text in lower case, as by [`str::to_lowercase`].
pub fn to_lowercase(text: &str) -> Lowercase {
    let bytes = text.as_bytes();
    if !is_ascii(bytes) {
        return Lowercase(text.to_lowercase().into_bytes());
    }
    let mut buffer = BUFFER.take();
    buffer.clear();
    buffer.reserve(bytes.len() + LANES);
    let (chunks, rest) = bytes.as_chunks::<LANES>();
    for chunk in chunks {
        buffer.extend_from_slice(&lower(*chunk));
    }
    match bytes.last_chunk::<LANES>() {
        // The last chunk overlaps the one before.
        Some(chunk) if !rest.is_empty() => {
            buffer.truncate(bytes.len() - LANES);
            buffer.extend_from_slice(&lower(*chunk));
        }
        Some(_) => {}
        None => buffer.extend(rest.iter().map(u8::to_ascii_lowercase)),
    }
    Lowercase(buffer)
}

#[inline(always)]
fn lower(mut chunk: [u8; LANES]) -> [u8; LANES] {
    for byte in &mut chunk {
        *byte |= u8::from(byte.wrapping_sub(b'A') < 26) << 5;
    }
    chunk
}

/// As `is_ascii` of `str`, for texts of a few chunks.
#[inline(always)]
fn is_ascii(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<LANES>() else { return bytes.is_ascii() };
    let mut bits = u128::from_ne_bytes(*last);
    for chunk in bytes.as_chunks::<LANES>().0 {
        bits |= u128::from_ne_bytes(*chunk);
    }
    bits & u128::from_ne_bytes([0x80; LANES]) == 0
}

/// The words of a text, as by [`str::split_whitespace`].
pub fn words(text: &str) -> Words<'_> {
    Words { text, block: 0, next_block: 0, starts: 0, ends: 0, start: 0, in_word: false }
}

/// The iterator of [`words`]. It finds where words start and end for a block of bytes at a time, as bits.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    text: &'a str,
    /// Where the block in hand starts.
    block: usize,
    /// Where the next one starts.
    next_block: usize,
    /// Bit `i` is set if a word starts at byte `i` of the block, words already begun left out.
    starts: u64,
    /// Bit `i` is set if a word ends before byte `i` of the block, words already given out left out.
    ends: u64,
    /// Where the word begun starts.
    start: usize,
    /// Whether a word goes on behind the block.
    in_word: bool,
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    #[inline(always)]
    fn next(&mut self) -> Option<&'a str> {
        while self.ends == 0 {
            if self.next_block >= self.text.len() {
                let word = self.in_word.then(|| self.word(self.text.len()));
                self.in_word = false;
                return word;
            }
            self.enter_block();
        }
        let word = self.word(self.block + self.ends.trailing_zeros() as usize);
        self.ends &= self.ends - 1;
        self.begin_word();
        Some(word)
    }
}

impl<'a> Words<'a> {
    #[inline(always)]
    fn word(&self, end: usize) -> &'a str {
        // SAFETY: words start and end where white space ends and starts, and that consists of whole characters.
        unsafe { str::from_utf8_unchecked(&self.text.as_bytes()[self.start..end]) }
    }

    #[inline(always)]
    fn begin_word(&mut self) {
        self.start = self.block + self.starts.trailing_zeros() as usize;
        self.starts &= self.starts.wrapping_sub(1);
    }

    #[inline(always)]
    fn enter_block(&mut self) {
        self.block = self.next_block;
        self.next_block += BLOCK;
        let spaces = spaces(self.text, self.block);
        let before = !spaces << 1 | u64::from(self.in_word);
        self.starts = !spaces & !before;
        self.ends = spaces & before;
        if !self.in_word {
            self.begin_word();
        }
        self.in_word = spaces >> (BLOCK - 1) == 0;
    }
}

/// Which bytes of the block at `block` belong to white space, bit `i` for byte `i`; all past the end do.
#[inline(always)]
fn spaces(text: &str, block: usize) -> u64 {
    let rest = &text.as_bytes()[block..];
    let bytes = &rest[..rest.len().min(BLOCK)];
    let (chunks, tail) = bytes.as_chunks::<LANES>();
    let (mut spaces, mut beyond_ascii) = (0, 0);
    for (index, chunk) in chunks.iter().enumerate() {
        let of_chunk = scan(chunk);
        spaces |= u64::from(of_chunk.spaces) << (index * LANES);
        beyond_ascii |= of_chunk.beyond_ascii;
    }
    if !tail.is_empty() {
        // The last chunk overlaps the one before; what both hold is shifted out. A text shorter than a chunk is padded.
        let of_tail = match text.as_bytes().last_chunk() {
            Some(chunk) => scan(chunk) >> (LANES - tail.len()),
            None => scan(&std::array::from_fn(|lane| tail.get(lane).copied().unwrap_or(b' '))),
        };
        spaces |= u64::from(of_tail.spaces) << (chunks.len() * LANES);
        beyond_ascii |= of_tail.beyond_ascii;
    }
    if beyond_ascii != 0 {
        spaces = unicode_spaces(text, block);
    }
    if bytes.len() < BLOCK { spaces | u64::MAX << bytes.len() } else { spaces }
}

/// The same where there is more than ASCII.
#[cold]
#[inline(never)]
fn unicode_spaces(text: &str, block: usize) -> u64 {
    // A character of the block before may reach into this one.
    let from = (0..=block).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let mut spaces = 0;
    for (at, letter) in text[from..].char_indices().take_while(|(at, _)| from + at < block + BLOCK) {
        if letter.is_whitespace() {
            let bytes = from + at..from + at + letter.len_utf8();
            let within = bytes.filter(|byte| (block..block + BLOCK).contains(byte));
            within.for_each(|byte| spaces |= 1 << (byte - block));
        }
    }
    spaces
}

/// What the bytes of a chunk are, bit `i` for byte `i`.
struct Scan {
    /// Tab, line feed, vertical tab, form feed, carriage return, and space: the white space of Unicode within ASCII.
    spaces: u16,
    /// Parts of characters beyond ASCII.
    beyond_ascii: u16,
}

impl std::ops::Shr<usize> for Scan {
    type Output = Self;
    fn shr(self, bits: usize) -> Self {
        Self { spaces: self.spaces >> bits, beyond_ascii: self.beyond_ascii >> bits }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn scan(chunk: &[u8; LANES]) -> Scan {
    let bits = |is: fn(u8) -> bool| chunk.iter().rev().fold(0, |bits, &byte| bits << 1 | u16::from(is(byte)));
    Scan {
        spaces: bits(|byte| byte == b' ' || (b'\t'..=b'\r').contains(&byte)),
        beyond_ascii: bits(|byte| byte >= 0x80),
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline(always)]
fn scan(chunk: &[u8; LANES]) -> Scan {
    use core::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_lt, u8x16_splat, u8x16_sub, v128_load, v128_or};
    // SAFETY: the array is as long as what is loaded, and such a load may be unaligned.
    let bytes = unsafe { v128_load(chunk.as_ptr().cast()) };
    let blank = u8x16_eq(bytes, u8x16_splat(b' '));
    let control = u8x16_lt(u8x16_sub(bytes, u8x16_splat(b'\t')), u8x16_splat(b'\r' - b'\t' + 1));
    // The mask gathers the highest bit of each byte.
    Scan { spaces: u8x16_bitmask(v128_or(blank, control)), beyond_ascii: u8x16_bitmask(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALPHABET: [&str; 12] =
        ["a", "B", "xyz", " ", "  ", "\t", "\n", "\r\n", "\u{b}", "Longer-Word", "é", "\u{2003}"];

    /// All texts are made of the first `letters` of the alphabet, in an order that differs from text to text.
    fn texts(letters: usize) -> impl Iterator<Item = String> {
        (0..4000_usize).map(move |number| {
            let mut seed = number;
            (0..number % 60)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    ALPHABET[(seed >> 33) % letters]
                })
                .collect()
        })
    }

    #[test]
    fn words_are_those_of_split_whitespace() {
        for text in texts(10).chain(texts(12)) {
            assert!(words(&text).eq(text.split_whitespace()), "{text:?}");
            let mut folded = Vec::new();
            words(&text).for_each(|word| folded.push(word));
            assert!(folded.into_iter().eq(text.split_whitespace()), "{text:?}");
        }
    }

    #[test]
    fn every_ascii_character_separates_as_in_split_whitespace() {
        for byte in 0..128_u8 {
            let text = format!("left{}right", byte as char);
            assert!(words(&text).eq(text.split_whitespace()), "{text:?}");
        }
    }

    #[test]
    fn lower_case_is_that_of_str() {
        for text in texts(10).chain(texts(12)).chain(["ΟΔΟΣ".into(), "İ".into(), String::new()]) {
            assert_eq!(*to_lowercase(&text), text.to_lowercase());
        }
    }

    #[test]
    fn two_lowercased_texts_may_be_held_at_once() {
        let (left, right) = (to_lowercase("LEFT"), to_lowercase("RIGHT"));
        assert_eq!((&*left, &*right), ("left", "right"));
    }
}
