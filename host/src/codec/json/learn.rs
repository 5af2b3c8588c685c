//! Makes a layout of a record that the general decoder took.
use super::layout::{Layout, Literal, Slot};
use crate::{codec::columns::Column, model::Kind};

/// The layout of `record`, which must have been decoded into `columns`. `None` where a layout would not do: a member twice, a
/// nested value in a column, a name with escapes.
pub fn learn(record: &[u8], columns: &[Column]) -> Option<Layout> {
    let mut steps = Vec::new();
    let mut seen = vec![false; columns.len()];
    let (mut at, mut literal_start, mut depth) = (0, 0, 0);
    let mut column = None;
    while at < record.len() {
        match record[at] {
            b'"' => {
                let end = string_end(record, at)?;
                if is_name(record, end) {
                    if depth == 1 {
                        column = member(&record[at + 1..end - 1], columns, &mut seen)?;
                    }
                } else {
                    steps.push((Literal::new(&record[literal_start..at]), slot(column, columns)));
                    literal_start = end;
                    column = None;
                }
                at = end;
            }
            b'-' | b'0'..=b'9' | b'a'..=b'z' => {
                let scalar = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'E' | b'0'..=b'9' | b'a'..=b'z');
                let end = at + record[at..].iter().take_while(|byte| scalar(byte)).count();
                steps.push((Literal::new(&record[literal_start..at]), slot(column, columns)));
                literal_start = end;
                column = None;
                at = end;
            }
            byte => {
                match byte {
                    b'{' | b'[' if column.is_some() => return None,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
            }
        }
    }
    let absent = (0..columns.len()).filter(|i| !seen[*i]).collect();
    Some(Layout { steps, tail: Literal::new(&record[literal_start..]), absent, used: false })
}

/// Past the closing quote of the string that opens at `at`.
fn string_end(record: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', record.get(at..)?)?;
        match record[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// Whether a string that ended before `end` names a member.
fn is_name(record: &[u8], end: usize) -> bool {
    record[end..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// The column for a member; `None` if no layout may be made.
#[expect(clippy::option_option, reason = "no layout, no column, a column")]
fn member(name: &[u8], columns: &[Column], seen: &mut [bool]) -> Option<Option<usize>> {
    if name.contains(&b'\\') {
        return None;
    }
    let found = columns.iter().position(|column| column.field.name.as_bytes() == name);
    if let Some(column) = found
        && std::mem::replace(&mut seen[column], true)
    {
        return None;
    }
    Some(found)
}

fn slot(column: Option<usize>, columns: &[Column]) -> Slot {
    let Some(column) = column else {
        return Slot::Skip;
    };
    match columns[column].field.kind {
        Kind::Boolean => Slot::Boolean(column),
        Kind::Int64 => Slot::Int64(column),
        Kind::Float64 => Slot::Float64(column),
        Kind::Utf8 => Slot::Utf8(column),
        Kind::Binary => Slot::Binary(column),
    }
}
