//! Text, fast: what `str` does too, without an allocation and sixteen bytes at a time.
//!
//! Guarantees: the same results as the functions of `str` they stand for, for any text. Must not know: records, operators.

use std::cell::Cell;
use std::ops::Deref;
use std::str::SplitWhitespace;

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
    if !text.is_ascii() {
        return Lowercase(text.to_lowercase().into_bytes());
    }
    let mut buffer = BUFFER.take();
    buffer.clear();
    buffer.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
    Lowercase(buffer)
}

/// The words of a text, as by [`str::split_whitespace`].
pub fn words(text: &str) -> Words<'_> {
    Words(if text.is_ascii() { Kind::Ascii(AsciiWords::new(text)) } else { Kind::Unicode(text.split_whitespace()) })
}

/// The iterator of [`words`].
pub struct Words<'a>(Kind<'a>);

enum Kind<'a> {
    Ascii(AsciiWords<'a>),
    Unicode(SplitWhitespace<'a>),
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        match &mut self.0 {
            Kind::Ascii(words) => words.next(),
            Kind::Unicode(words) => words.next(),
        }
    }
}

/// Splits at the edges between white space and other characters: they are found for a block at a time, as bits.
struct AsciiWords<'a> {
    text: &'a str,
    /// The edges of the block in hand that are still to come.
    edges: u64,
    /// Where that block starts.
    block: usize,
    /// Where the next one starts.
    next_block: usize,
    /// Whether the last character of the block in hand is white space; so is what lies before the text.
    after_space: bool,
}

impl<'a> AsciiWords<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, edges: 0, block: 0, next_block: 0, after_space: true }
    }

    #[inline(always)]
    fn next_edge(&mut self) -> Option<usize> {
        while self.edges == 0 {
            let rest = self.text.as_bytes().get(self.next_block..).filter(|rest| !rest.is_empty())?;
            let spaces = spaces(rest);
            self.edges = spaces ^ (spaces << 1 | u64::from(self.after_space));
            if rest.len() < BLOCK {
                self.edges &= (1 << rest.len()) - 1;
            }
            self.after_space = spaces >> (BLOCK - 1) != 0;
            self.block = self.next_block;
            self.next_block += BLOCK;
        }
        let edge = self.block + self.edges.trailing_zeros() as usize;
        self.edges &= self.edges - 1;
        Some(edge)
    }

    #[inline(always)]
    fn next(&mut self) -> Option<&'a str> {
        let start = self.next_edge()?;
        let end = self.next_edge().unwrap_or(self.text.len());
        Some(&self.text[start..end])
    }
}

/// Which of the first `BLOCK` bytes are white space: bit `i` for byte `i`. Bits past the end are unspecified.
#[inline(always)]
fn spaces(bytes: &[u8]) -> u64 {
    let bytes = &bytes[..bytes.len().min(BLOCK)];
    let (chunks, rest) = bytes.as_chunks::<LANES>();
    let mut bits = 0;
    for (index, chunk) in chunks.iter().enumerate() {
        bits |= u64::from(spaces_of_chunk(chunk)) << (index * LANES);
    }
    if rest.is_empty() {
        return bits;
    }
    let start = chunks.len() * LANES;
    let tail = match bytes.last_chunk::<LANES>() {
        // The last chunk overlaps the one before; what both hold is shifted out.
        Some(chunk) => u64::from(spaces_of_chunk(chunk)) >> (LANES - rest.len()),
        None => rest.iter().rev().fold(0, |bits, &byte| bits << 1 | u64::from(is_space(byte))),
    };
    bits | tail << start
}

#[inline(always)]
fn is_space(byte: u8) -> bool {
    // Tab, line feed, vertical tab, form feed, carriage return, and space: the white space of Unicode within ASCII.
    byte == b' ' || byte.wrapping_sub(b'\t') < 5
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn spaces_of_chunk(chunk: &[u8; LANES]) -> u16 {
    chunk.iter().rev().fold(0, |bits, &byte| bits << 1 | u16::from(is_space(byte)))
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline(always)]
fn spaces_of_chunk(chunk: &[u8; LANES]) -> u16 {
    use core::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_lt, u8x16_splat, u8x16_sub, v128_load, v128_or};
    // SAFETY: the array is as long as what is loaded, and such a load may be unaligned.
    let bytes = unsafe { v128_load(chunk.as_ptr().cast()) };
    let blank = u8x16_eq(bytes, u8x16_splat(b' '));
    let control = u8x16_lt(u8x16_sub(bytes, u8x16_splat(b'\t')), u8x16_splat(5));
    u8x16_bitmask(v128_or(blank, control))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALPHABET: [&str; 12] = ["a", "B", "xyz", " ", "  ", "\t", "\n", "\r\n", "\u{b}", "Longer-Word", "é", "\u{2003}"];

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
