//! The YAML reader's errors in the words of job files.
use serde::de::DeserializeOwned;
use serde_saphyr::{Error, Location, MessageFormatter, UserMessageFormatter};

use super::{Code, Place, error::suggest};

/// An error without its file.
#[derive(Debug)]
pub(super) struct Explained {
    pub code: Code,
    pub place: Place,
    pub message: String,
    pub help: Option<String>,
}

/// A place in the text that was read, which may differ from the file as written.
pub(super) fn place(location: Location) -> Place {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Place { line: number(location.line()), column: number(location.column()) }
}

/// YAML as data. YAML 1.1's `no` and `off` stay words: a country code in a plugin's configuration is not false.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true, with_snippet: false })
}

pub(super) fn explain(error: &Error) -> Explained {
    let error = error.without_snippet();
    let place = error.location().map(place).unwrap_or_default();
    let (code, message, help) = match error {
        Error::AliasError { error, .. } => {
            let inner = explain(error);
            (inner.code, inner.message, inner.help)
        }
        Error::SerdeUnknownField { field, expected, .. } => (
            Code::UnknownField,
            format!("unknown field `{field}`"),
            Some(suggest(field, expected.iter().copied(), "fields here")),
        ),
        Error::SerdeMissingField { field, .. } => {
            (Code::MissingField, format!("the field `{field}` is missing"), Some(example(field)))
        }
        Error::SerdeInvalidType { unexpected, expected, .. } => {
            (Code::WrongType, format!("this must be {expected}, not {}", plain(unexpected)), None)
        }
        Error::Unexpected { expected, .. } => (Code::WrongType, format!("this must be {}", plain(expected)), None),
        Error::InvalidScalar { ty, .. } => (Code::WrongType, format!("this must be {}", plain(ty)), None),
        Error::InvalidBooleanStrict { .. } => (Code::WrongType, "this must be `true` or `false`".into(), None),
        Error::InvalidCharNotSingleScalar { .. } | Error::InvalidCharNull { .. } => {
            (Code::WrongType, "this must be a single character".into(), None)
        }
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. } => {
            (Code::WrongType, "this must be a word, or a map of one word to its settings".into(), None)
        }
        Error::NullIntoString { .. } => (Code::WrongType, "a value is missing here".into(), None),
        Error::SerdeInvalidValue { unexpected, expected, .. } => {
            (Code::BadValue, format!("this must be {expected}, not {}", plain(unexpected)), None)
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => (
            Code::BadValue,
            format!("`{variant}` is not possible here"),
            Some(suggest(variant, expected.iter().copied(), "possible values")),
        ),
        Error::Message { msg, .. } => (Code::BadValue, msg.clone(), None),
        Error::DuplicateMappingKey { key, .. } => {
            (Code::Duplicate, format!("`{}` is given twice", key.as_deref().unwrap_or("this")), None)
        }
        other => (Code::Syntax, UserMessageFormatter.format_message(other).into_owned(), None),
    };
    Explained { code, place, message, help }
}

/// The reader's name of a YAML thing in plain words.
fn plain(thing: &str) -> &str {
    match thing {
        "mapping start" | "map" | "empty mapping start" => "a map, such as `{ name: value }`",
        "sequence start" | "sequence" => "a list, such as `[a, b]`",
        "string scalar" | "scalar" => "a single value",
        "i64" | "u64" | "i32" | "u32" | "usize" => "a whole number",
        "f64" => "a number",
        "bool" => "`true` or `false`",
        "unit value" => "nothing",
        other => other,
    }
}

/// What a missing field looks like.
fn example(field: &str) -> String {
    match field {
        "input" => "write `input:` with the name of a source or operator",
        "directory" => "write `directory:` with the path of a folder",
        "backend" => "write `backend: memory` or `backend: rocksdb`",
        "key" => "write `key:` with the columns whose rows belong together",
        "plugin" => "write `plugin:` with the path of a crate's folder or of a `.wasm` file",
        _ => return format!("add `{field}:`"),
    }
    .to_owned()
}
