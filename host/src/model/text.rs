//! Text for messages: cut short where it is long, and values and keys as such, on one line.
use arrow_array::{
    ArrayRef,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};

use super::{Kind, decode_keys};

/// Characters of a value that are shown.
const SHOWN_MAX: usize = 100;

/// The beginning of a text, of so many bytes at most.
pub fn beginning(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// Row `row` of a column, which is not null: text in quotes, bytes in hexadecimal, cut off where it is long.
pub fn value_text(column: &ArrayRef, row: usize) -> String {
    let cut = |text: String| match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    };
    match Kind::of(column.data_type()) {
        Some(Kind::Boolean) => column.as_boolean().value(row).to_string(),
        Some(Kind::Int64) => column.as_primitive::<Int64Type>().value(row).to_string(),
        Some(Kind::Float64) => column.as_primitive::<Float64Type>().value(row).to_string(),
        Some(Kind::Utf8) => cut(format!("{:?}", column.as_string::<i32>().value(row))),
        Some(Kind::Binary) => {
            let bytes = column.as_binary::<i32>().value(row).iter().take(SHOWN_MAX);
            cut(format!("0x{}", bytes.map(|byte| format!("{byte:02x}")).collect::<String>()))
        }
        None => "?".to_owned(),
    }
}

/// An encoded key of columns of these kinds.
pub fn key_text(kinds: &[Kind], key: &[u8]) -> String {
    match decode_keys(kinds, std::iter::once(key)) {
        Ok(columns) => columns.iter().map(|column| value_text(column, 0)).collect::<Vec<_>>().join(", "),
        Err(_) => format!("{key:02x?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BinaryArray, BooleanArray, Int64Array, StringArray};

    use super::*;
    use crate::model::KeyRows;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!([2, 3, 9].map(|max| beginning("aää".into(), max)), ["a", "aä", "aää"]);
    }

    #[test]
    fn keys_are_shown_as_they_were_and_on_one_line() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["a\n\"b\""])),
            Arc::new(Int64Array::from(vec![-7])),
            Arc::new(BooleanArray::from(vec![true])),
            Arc::new(BinaryArray::from(vec![&b"\x01\xff"[..]])),
        ];
        let kinds = [Kind::Utf8, Kind::Int64, Kind::Boolean, Kind::Binary];
        let keys = KeyRows::encode(&columns, 1);
        assert_eq!(key_text(&kinds, keys.get(0)), r#""a\n\"b\"", -7, true, 0x01ff"#);
        assert_eq!(key_text(&[Kind::Int64], b"abc"), "[61, 62, 63]");
        let long: ArrayRef = Arc::new(StringArray::from(vec!["ä".repeat(1000)]));
        assert_eq!(value_text(&long, 0), format!("\"{}...", "ä".repeat(99)));
    }
}
