//! What stands before a payload: a zero byte, and the id of its schema, the highest byte first. In Protobuf the way to its message follows.

/// Messages that a message may be in.
const PATH_LENGTH_MAX: usize = 64;

/// The id of a record's schema, and what follows it.
pub fn split(record: &[u8]) -> Result<(u32, &[u8]), String> {
    match record {
        [0, a, b, c, d, payload @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), payload)),
        [0, ..] | [] => Err(format!("{} bytes are too short: a zero byte and the id of a schema take 5", record.len())),
        [first, ..] => Err(format!("it begins with byte {first}, not with 0 and the id of a schema")),
    }
}

/// The place of a message in its file: that of the outermost, then of the one in it and so on. What follows is what remains of `payload`.
pub fn message_path(payload: &mut &[u8]) -> Result<Vec<usize>, String> {
    let length = index(payload)?;
    if length == 0 {
        // Short for the first message.
        return Ok(vec![0]);
    }
    if length > PATH_LENGTH_MAX {
        return Err(format!("the way to its message has {length} steps, more than {PATH_LENGTH_MAX}"));
    }
    (0..length).map(|_| index(payload)).collect()
}

/// A number that is not negative.
fn index(payload: &mut &[u8]) -> Result<usize, String> {
    let wrong = || "the way to its message is cut off, or none".to_owned();
    usize::try_from(zigzag(payload).ok_or_else(wrong)?).map_err(|_| wrong())
}

/// A number as Avro has it, and Protobuf its `sint64`: of 7 bits a byte, the lowest first, and the sign in the lowest bit. Nothing if it is
/// cut off or has more than 64 bits.
#[inline]
pub fn zigzag(input: &mut &[u8]) -> Option<i64> {
    let mut bits = 0u64;
    for (i, byte) in input.iter().enumerate().take(10) {
        if i == 9 && *byte > 1 {
            return None;
        }
        bits |= u64::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            *input = &input[i + 1..];
            return Some((bits >> 1) as i64 ^ -((bits & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_zero_and_an_id() {
        assert_eq!(split(b"\0\0\0\x01\x02payload"), Ok((258, &b"payload"[..])));
        assert_eq!(split(b"\0\xff\xff\xff\xff"), Ok((u32::MAX, &b""[..])));
        for record in [&b""[..], b"\0", b"\0\0\0\x01"] {
            assert!(split(record).unwrap_err().contains("too short"));
        }
        assert_eq!(split(b"{\"a\":1}").unwrap_err(), "it begins with byte 123, not with 0 and the id of a schema");
    }

    #[test]
    fn numbers_are_zigzag() {
        let read = |mut bytes: &[u8]| zigzag(&mut bytes).map(|value| (value, bytes.len()));
        for (bytes, value) in [(&b"\0"[..], 0), (b"\x01", -1), (b"\x02", 1), (b"\x80\x01", 64), (b"\xff\x01", -128)] {
            assert_eq!(read(bytes), Some((value, 0)));
        }
        assert_eq!(read(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01."), Some((i64::MIN, 1)));
        assert_eq!(read(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Some((i64::MAX, 0)));
        for bytes in [&b""[..], b"\x80", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", &[0x80; 20]] {
            assert_eq!(read(bytes), None);
        }
    }

    #[test]
    fn a_path_is_counted_and_a_zero_is_the_first_message() {
        let read = |mut bytes: &[u8]| message_path(&mut bytes).map(|path| (path, bytes.len()));
        assert_eq!(read(b"\0rest"), Ok((vec![0], 4)));
        assert_eq!(read(b"\x04\x02\x04rest"), Ok((vec![1, 2], 4)));
        for bytes in [&b""[..], b"\x01", b"\x04\x02", b"\x02\x01", b"\x80"] {
            assert!(read(bytes).unwrap_err().contains("cut off"), "{bytes:?}");
        }
        assert!(read(b"\x84\x01").unwrap_err().contains("66 steps"));
    }
}
