//! An encoded list. A short one lies where it is kept, so that whoever looks at it waits for memory once. Knows nothing of elements.

/// The longest list that lies in place: with it and its length a list takes 48 bytes.
const SHORT_BYTES: usize = 46;

/// The bytes of a list.
pub(super) enum List {
    /// In place, the first `length` bytes.
    Short { length: u8, bytes: [u8; SHORT_BYTES] },
    /// Elsewhere. A list that was once long stays there, since it may be long again.
    Long(Vec<u8>),
}

impl Default for List {
    fn default() -> List {
        List::Short { length: 0, bytes: [0; SHORT_BYTES] }
    }
}

impl List {
    /// Its bytes.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            List::Short { length, bytes } => &bytes[..usize::from(*length)],
            List::Long(bytes) => bytes,
        }
    }

    /// How many of them lie elsewhere.
    #[inline]
    pub(super) fn outside(&self) -> usize {
        match self {
            List::Short { .. } => 0,
            List::Long(bytes) => bytes.len(),
        }
    }

    /// Puts bytes behind those there are, or in place of them.
    #[inline]
    pub(super) fn put(&mut self, added: &[u8], append: bool) {
        let kept = if append { self.bytes().len() } else { 0 };
        match self {
            List::Short { length, bytes } if kept + added.len() <= SHORT_BYTES => {
                bytes[kept..kept + added.len()].copy_from_slice(added);
                *length = (kept + added.len()) as u8;
            }
            List::Short { bytes, .. } => *self = List::Long([&bytes[..kept], added].concat()),
            List::Long(bytes) => {
                bytes.truncate(kept);
                bytes.extend_from_slice(added);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_hold_what_was_put_whether_short_or_long() {
        assert_eq!(size_of::<List>(), 48);
        let (mut list, mut expected) = (List::default(), Vec::new());
        for length in [0, 1, 40, 5, 1, 0, 46, 8, 100, 3, 46, 0, 47] {
            for append in [false, true] {
                let added: Vec<u8> = (0..length).map(|i| i + length).collect();
                if !append {
                    expected.clear();
                }
                expected.extend_from_slice(&added);
                list.put(&added, append);
                assert_eq!(list.bytes(), expected);
                assert!(list.outside() == 0 || list.outside() == expected.len());
            }
        }
    }
}
