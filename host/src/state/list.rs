//! Encoded lists of one state. A short one lies in the record of its row, so that whoever looks at it waits for memory once. Knows
//! nothing of elements.

/// Stands for the length of a list that lies elsewhere.
const LONG: u8 = u8::MAX;

/// The longest list that a record can have room for, in bytes.
pub(super) const SHORT_BYTES_MAX: usize = 248;

/// Where the lists of a state are.
pub(super) struct Lists {
    /// Where in a record a list's length is, one byte.
    length_at: usize,
    /// Where in a record a short list is, or else the place of a long one in `long`, as 4 bytes.
    at: usize,
    /// The longest list that lies in a record.
    short_bytes: usize,
    long: Vec<Vec<u8>>,
    /// Places of `long` that no row has.
    free: Vec<u32>,
}

impl Lists {
    /// None yet; `short_bytes` is from 4 to [`SHORT_BYTES_MAX`].
    pub(super) fn new(length_at: usize, at: usize, short_bytes: usize) -> Lists {
        Lists { length_at, at, short_bytes, long: Vec::new(), free: Vec::new() }
    }

    fn place(&self, record: &[u8]) -> Option<usize> {
        let place = || record.get(self.at..)?.first_chunk().map(|place| u32::from_le_bytes(*place) as usize);
        if record[self.length_at] == LONG { place() } else { None }
    }

    /// The bytes of a record's list.
    #[inline]
    pub(super) fn bytes<'a>(&'a self, record: &'a [u8]) -> &'a [u8] {
        match self.place(record) {
            Some(place) => &self.long[place],
            None => &record[self.at..][..usize::from(record[self.length_at])],
        }
    }

    /// How many of them lie outside of the record.
    #[inline]
    pub(super) fn outside(&self, record: &[u8]) -> usize {
        self.place(record).map_or(0, |place| self.long[place].len())
    }

    /// Puts bytes behind those there are, or in place of them. A list that was once long stays outside, since it may be long again.
    #[inline]
    pub(super) fn put(&mut self, record: &mut [u8], added: &[u8], append: bool) {
        if let Some(place) = self.place(record) {
            let list = &mut self.long[place];
            if !append {
                list.clear();
            }
            return list.extend_from_slice(added);
        }
        let kept = if append { usize::from(record[self.length_at]) } else { 0 };
        let length = kept + added.len();
        if length <= self.short_bytes {
            record[self.at + kept..self.at + length].copy_from_slice(added);
            record[self.length_at] = length as u8;
        } else {
            let list = [&record[self.at..self.at + kept], added].concat();
            self.put_outside(record, list);
        }
    }

    fn put_outside(&mut self, record: &mut [u8], list: Vec<u8>) {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.long.push(Vec::new());
                (self.long.len() - 1) as u32
            }
        };
        self.long[place as usize] = list;
        record[self.length_at] = LONG;
        record[self.at..self.at + 4].copy_from_slice(&place.to_le_bytes());
    }

    /// Forgets a record's list; gives what was outside.
    pub(super) fn take(&mut self, record: &mut [u8]) -> Vec<u8> {
        let place = self.place(record);
        record[self.length_at] = 0;
        place.map_or_else(Vec::new, |place| {
            self.free.push(place as u32);
            std::mem::take(&mut self.long[place])
        })
    }

    /// Takes over the list of a record of another table, which is about to become `record`; gives how many bytes of it are outside.
    pub(super) fn move_from(&mut self, from: &mut Lists, record: &mut [u8]) -> usize {
        if from.place(record).is_none() {
            return 0;
        }
        let list = from.take(record);
        let length = list.len();
        self.put_outside(record, list);
        length
    }

    /// Bytes of what there is beside the lists, approximately.
    pub(super) fn memory(&self) -> usize {
        self.long.len() * (size_of::<Vec<u8>>() + size_of::<u32>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_hold_what_was_put_whether_short_or_long() {
        let new = || Lists::new(1, 8, 40);
        let (mut lists, mut record, mut expected) = (new(), [0u8; 48], Vec::new());
        for length in [0, 1, 38, 5, 1, 0, 40, 8, 100, 3, 40, 0, 41] {
            for append in [false, true] {
                let added: Vec<u8> = (0..length).map(|i| i + length).collect();
                if !append {
                    expected.clear();
                }
                expected.extend_from_slice(&added);
                lists.put(&mut record, &added, append);
                assert_eq!(lists.bytes(&record), expected);
                let outside = lists.outside(&record);
                assert!(if expected.len() > 40 {
                    outside == expected.len()
                } else {
                    outside == 0 || lists.long.len() == 1
                });
            }
        }
        let mut others = new();
        assert_eq!(others.move_from(&mut lists, &mut record), expected.len());
        assert_eq!((others.bytes(&record), record[0]), (&expected[..], 0));
        assert_eq!(others.take(&mut record), expected);
        assert!(others.bytes(&record).is_empty());
        for lists in [&mut lists, &mut others] {
            lists.put(&mut record, &[7; 99], false);
            assert_eq!(lists.long.len(), 1, "a place that is free is used again");
            lists.take(&mut record);
        }
    }
}
