//! Single values of a job file: names, numbers, durations, sizes, columns. Each is checked once, here, and an error says where it
//! stands and what to write.
use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use humantime::format_duration;
use serde::{Deserialize, de::IntoDeserializer};
use serde_saphyr::{Location, Spanned};

use super::{
    Code, ColumnRef, InputRef, JobError, KINDS, NAME_BYTES_MAX, Place,
    error::{list, suggest},
    raw::{Named, OneOrMany},
    substitute::Substituted,
    yaml,
};
use crate::model::{Field, Kind};

/// The file a value stands in.
pub(super) struct Context<'a> {
    pub file: &'a str,
    pub text: &'a Substituted,
}

impl Context<'_> {
    /// A place in the file as it was written.
    pub fn place(&self, location: Location) -> Place {
        self.text.original(yaml::place(location))
    }

    pub fn refuse(&self, code: Code, location: Location, message: impl Into<String>) -> JobError {
        JobError::new(code, self.file, self.place(location), message)
    }

    pub fn integer(&self, field: &str, value: &Spanned<i64>, range: RangeInclusive<i64>) -> Result<i64, JobError> {
        if range.contains(&value.value) {
            return Ok(value.value);
        }
        let (low, high) = (range.start(), range.end());
        let message = format!("`{field}` is {}, but must be from {low} to {high}", value.value);
        Err(self.refuse(Code::BadValue, value.referenced, message))
    }

    pub fn duration(
        &self,
        field: &str,
        value: &Spanned<String>,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, JobError> {
        let Ok(duration) = humantime::parse_duration(&value.value) else {
            let message = format!("`{field}: {}` is no duration", value.value);
            return Err(self
                .refuse(Code::BadValue, value.referenced, message)
                .help("write a number and a unit, such as `500ms`, `5s`, `10min`, `1h` or `1d`"));
        };
        if range.contains(&duration) {
            return Ok(duration);
        }
        let (low, high) = (format_duration(*range.start()), format_duration(*range.end()));
        let message = format!("`{field}` is {}, but must be from {low} to {high}", format_duration(duration));
        Err(self.refuse(Code::BadValue, value.referenced, message))
    }

    /// A duration in event time, which has no fractions of milliseconds.
    pub fn milliseconds(
        &self,
        field: &str,
        value: &Spanned<String>,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, JobError> {
        let duration = self.duration(field, value, range)?;
        if duration.subsec_nanos() % 1_000_000 == 0 {
            return Ok(duration);
        }
        let message = format!("`{field}` is {}, but must be whole milliseconds", format_duration(duration));
        Err(self.refuse(Code::BadValue, value.referenced, message))
    }

    /// The same, or what is meant where nothing is written.
    pub fn duration_or(
        &self,
        field: &str,
        value: &Option<Spanned<String>>,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Result<Duration, JobError> {
        value.as_ref().map_or(Ok(default), |value| self.duration(field, value, range))
    }

    /// A difference of event times such as `-5min`, in ms; `reach` in either direction, which is below 2^63 ms.
    pub fn signed_milliseconds(&self, field: &str, value: &Spanned<String>, reach: Duration) -> Result<i64, JobError> {
        let (negative, text) = match value.value.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, value.value.as_str()),
        };
        let unsigned = Spanned { value: text.to_owned(), referenced: value.referenced, defined: value.defined };
        let span = self.milliseconds(field, &unsigned, Duration::ZERO..=reach)?;
        let span = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Ok(if negative { -span } else { span })
    }

    /// A number that is not negative, or what is meant where nothing is written.
    pub fn number(
        &self,
        field: &str,
        value: &Option<Spanned<i64>>,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, JobError> {
        let Some(value) = value else { return Ok(default) };
        let found = self.integer(field, value, i64::from(*range.start())..=i64::from(*range.end()))?;
        Ok(u32::try_from(found).unwrap_or(default))
    }

    /// A number with a fraction, or what is meant where nothing is written.
    pub fn fraction(
        &self,
        field: &str,
        value: &Option<Spanned<f64>>,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> Result<f64, JobError> {
        match value {
            None => Ok(default),
            Some(value) if range.contains(&value.value) => Ok(value.value),
            Some(value) => {
                let (low, high) = (range.start(), range.end());
                let message = format!("`{field}` is {}, but must be from {low} to {high}", value.value);
                Err(self.refuse(Code::BadValue, value.referenced, message))
            }
        }
    }

    /// A path, joined to the job file's folder.
    pub fn path(&self, field: &str, value: &Spanned<String>, base: &Path) -> Result<PathBuf, JobError> {
        if value.value.is_empty() {
            let message = format!("`{field}` is empty");
            return Err(self.refuse(Code::BadValue, value.referenced, message).help("write the path of a folder"));
        }
        Ok(base.join(&value.value))
    }

    /// The one of these fields that is there.
    pub fn one_of(
        &self,
        location: Location,
        what: &str,
        fields: &[(&'static str, bool)],
        example: &str,
    ) -> Result<&'static str, JobError> {
        let given: Vec<&'static str> = fields.iter().filter(|(_, given)| *given).map(|(field, _)| *field).collect();
        let all: Vec<&str> = fields.iter().map(|(field, _)| *field).collect();
        match given.as_slice() {
            [one] => Ok(one),
            [] => {
                let message = format!("{what} has none of {}", list(&all));
                Err(self.refuse(Code::Choice, location, message).help(format!("write one, such as `{example}`")))
            }
            many => {
                let message = format!("{what} has {} at once", list(many));
                Err(self.refuse(Code::Choice, location, message).help("choose one of them"))
            }
        }
    }

    pub fn size(&self, field: &str, value: &Spanned<String>, range: RangeInclusive<usize>) -> Result<usize, JobError> {
        let Ok(size) = value.value.parse::<ByteSize>() else {
            let message = format!("`{field}: {}` is no size", value.value);
            return Err(self
                .refuse(Code::BadValue, value.referenced, message)
                .help("write a number of bytes, or one with a unit, such as `64KiB`, `256MiB` or `1GB`"));
        };
        match usize::try_from(size.as_u64()) {
            Ok(bytes) if range.contains(&bytes) => Ok(bytes),
            _ => {
                let (low, high) = (ByteSize(*range.start() as u64), ByteSize(*range.end() as u64));
                let message = format!("`{field}` is {size}, but must be from {low} to {high}");
                Err(self.refuse(Code::BadValue, value.referenced, message))
            }
        }
    }

    /// A letter, then letters, digits, `-` and `_`.
    pub fn name(&self, value: &Spanned<String>) -> Result<String, JobError> {
        self.check_name(&value.value, value.referenced)?;
        Ok(value.value.clone())
    }

    /// The same of a text.
    pub fn check_name(&self, name: &str, location: Location) -> Result<(), JobError> {
        let message = if name.len() > NAME_BYTES_MAX {
            format!("a name has {} bytes; {NAME_BYTES_MAX} are the most", name.len())
        } else if name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        {
            return Ok(());
        } else {
            format!("`{}` cannot be a name", name.escape_debug())
        };
        Err(self
            .refuse(Code::BadName, location, message)
            .help("names begin with a letter and have letters, digits, `-` and `_` only"))
    }

    /// Names that are not checked here but looked up later; no name twice.
    pub fn columns(&self, names: &Spanned<OneOrMany>) -> Result<Vec<ColumnRef>, JobError> {
        let columns =
            self.each(names, |name, location| Ok(ColumnRef { name: name.to_owned(), place: self.place(location) }))?;
        self.distinct(columns.iter().map(|column| (column.name.as_str(), column.place)))?;
        Ok(columns)
    }

    /// `a` or `a.output`, one or several; none twice.
    pub fn inputs(&self, names: &Spanned<OneOrMany>) -> Result<Vec<InputRef>, JobError> {
        let inputs = self.each(names, |name, location| {
            let (node, output) = match name.split_once('.') {
                Some((node, output)) => (node, Some(output)),
                None => (name, None),
            };
            self.check_name(node, location)?;
            if let Some(output) = output {
                self.check_name(output, location)?;
            }
            Ok(InputRef { node: node.to_owned(), output: output.map(str::to_owned), place: self.place(location) })
        })?;
        let written: Vec<(String, Place)> = inputs.iter().map(|input| (input.to_string(), input.place)).collect();
        self.distinct(written.iter().map(|(name, place)| (name.as_str(), *place)))?;
        Ok(inputs)
    }

    fn each<T>(
        &self,
        names: &Spanned<OneOrMany>,
        one: impl Fn(&str, Location) -> Result<T, JobError>,
    ) -> Result<Vec<T>, JobError> {
        match &names.value {
            OneOrMany::One(name) => Ok(vec![one(name, names.referenced)?]),
            OneOrMany::Many(list) if list.is_empty() => {
                let message = "this list is empty";
                Err(self.refuse(Code::BadValue, names.referenced, message).help("write at least one name"))
            }
            OneOrMany::Many(list) => list.iter().map(|name| one(&name.value, name.referenced)).collect(),
        }
    }

    fn distinct<'n>(&self, names: impl Iterator<Item = (&'n str, Place)>) -> Result<(), JobError> {
        let mut seen = std::collections::BTreeSet::new();
        for (name, place) in names {
            if !seen.insert(name) {
                return Err(JobError::new(Code::Duplicate, self.file, place, format!("`{name}` is listed twice")));
            }
        }
        Ok(())
    }

    /// `{ userId: i64, note: string? }`
    pub fn schema(&self, schema: &Spanned<Named<Spanned<String>>>) -> Result<Vec<Field>, JobError> {
        if schema.value.0.is_empty() {
            let message = "this schema has no columns";
            return Err(self.refuse(Code::BadValue, schema.referenced, message).help("write `schema: { id: i64 }`"));
        }
        schema.value.0.iter().map(|(name, kind)| self.field(name, kind)).collect()
    }

    fn field(&self, name: &Spanned<String>, kind: &Spanned<String>) -> Result<Field, JobError> {
        let (word, nullable) = match kind.value.strip_suffix('?') {
            Some(word) => (word, true),
            None => (kind.value.as_str(), false),
        };
        let reader: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = word.into_deserializer();
        match Kind::deserialize(reader) {
            Ok(kind) => Ok(Field { name: name.value.as_str().into(), kind, nullable }),
            Err(_) => {
                let kinds = KINDS.map(|kind| kind.to_string());
                let near = suggest(word, kinds.iter().map(String::as_str), "types");
                let help = match near.starts_with("did") {
                    true => near,
                    false => format!("the types are {}, each with `?` if values may be null", list(&kinds)),
                };
                let message = format!("column `{}` has the unknown type `{word}`", name.value);
                Err(self.refuse(Code::BadValue, kind.referenced, message).help(help))
            }
        }
    }
}
