//! How JSON is shown to people: aligned columns, and lines of a name and a value. Pure. Guarantees: one line for each row, without control characters.
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

/// Between two columns.
const GAP: &str = "  ";

/// Text in one line, without characters that terminals act on.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A value in one line; empty for null.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        Value::Array(items) if items.iter().all(|item| !item.is_array() && !item.is_object()) => {
            items.iter().map(cell).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// A time in ms since 1970-01-01 UTC, as RFC 3339; empty if it is none.
pub(super) fn time(value: &Value) -> String {
    // Four digits of a year.
    const MAX: u64 = 253_402_300_799_999;
    let ms = value.as_u64().filter(|ms| *ms <= MAX);
    ms.map(|ms| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms)).to_string())
        .unwrap_or_default()
}

/// Columns as wide as what is in them; the header in capitals.
pub(super) fn table<const COLUMNS: usize>(
    headers: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let mut all = vec![headers.map(str::to_uppercase)];
    all.extend(rows);
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The items of a list, a row each.
pub(super) fn list<const COLUMNS: usize>(
    value: &Value,
    headers: [&str; COLUMNS],
    row: impl Fn(&Value) -> [String; COLUMNS],
) -> String {
    let items = value["items"].as_array().or_else(|| value.as_array());
    table(headers, items.into_iter().flatten().map(row))
}

/// An object, a line for each field that says something; times as times. Objects in it are indented below their names.
pub(super) fn fields(value: &Value) -> String {
    let mut lines = Vec::new();
    add_fields(value, 0, &mut lines);
    lines.join("\n")
}

fn add_fields(value: &Value, depth: usize, lines: &mut Vec<String>) {
    let Some(object) = value.as_object() else {
        lines.push(format!("{}{}", GAP.repeat(depth), cell(value)));
        return;
    };
    let is_empty = |value: &Value| value.as_object().is_some_and(|object| object.is_empty()) || cell(value).is_empty();
    let said = || object.iter().filter(|(_, value)| !is_empty(value));
    let width = said().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    for (name, value) in said() {
        let (indent, name) = (GAP.repeat(depth), plain(name));
        let parts = value.as_array().filter(|items| items.iter().any(Value::is_object));
        match parts {
            _ if value.is_object() => {
                lines.push(format!("{indent}{name}"));
                add_fields(value, depth + 1, lines);
            }
            Some(parts) => parts.iter().for_each(|part| {
                lines.push(format!("{indent}{name}"));
                add_fields(part, depth + 1, lines);
            }),
            None => {
                let shown = match time(value) {
                    time if name.ends_with("_ms") && value.as_u64().is_some_and(is_date) => time,
                    _ => cell(value),
                };
                lines.push(format!("{indent}{name:width$}{GAP}{shown}"));
            }
        }
    }
}

/// Whether a number of ms is a time since 1970-01-01 UTC rather than how long something took: thirty years at least.
fn is_date(ms: u64) -> bool {
    const YEARS_30: u64 = 30 * 365 * 86_400_000;
    ms >= YEARS_30
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows = [["a".to_owned(), String::new()], ["höher".to_owned(), "x".to_owned()]];
        assert_eq!(table(["name", "b"], rows), "NAME   B\na\nhöher  x");
        let items = json!({ "items": [{ "name": "n\u{1b}[31m\n" }], "next": null });
        assert_eq!(list(&items, ["name"], |item| [cell(&item["name"])]), "NAME\nn [31m");
    }

    #[test]
    fn fields_are_a_line_each() {
        let value = json!({
            "id": "7", "none": null, "empty": {}, "created_ms": 1_700_000_000_000_u64, "took_ms": 5,
            "allowed": ["stop", "cancel"], "parallelism": { "operators": { "a": 2 } }, "nodes": [{ "n": 1 }, { "n": 2 }],
        });
        let expected = "allowed      stop, cancel\ncreated_ms   2023-11-14T22:13:20Z\nid           7\nnodes\n  n  1\nnodes\n  n  2\n\
            parallelism\n  operators\n    a  2\ntook_ms      5";
        assert_eq!(fields(&value), expected);
    }
}
