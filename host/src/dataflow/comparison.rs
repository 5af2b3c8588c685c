//! What two versions of an operator have made of the same input, compared: what both gave, what only one of them gave, and what they gave
//! differently. Must not know where rows come from.
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use arrow_array::{Array, ArrayRef};
use schemars::JsonSchema;
use serde::Serialize;

use super::TaskError;
use crate::{
    codec::{Encoder, Format},
    model::{Batch, Encoded, KeyRows, Schema},
};

/// Differences of which the rows are kept; of more, the first.
pub const SAMPLES_MAX: usize = 100;

/// What came of comparing, over all subtasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Compared {
    /// Rows both gave.
    pub equal: u64,
    /// Rows only the version in force gave.
    pub missing: u64,
    /// Rows only the shadow gave.
    pub extra: u64,
    /// Pairs of rows of one key, or of one event time where there is no key, that differ.
    pub different: u64,
    /// Calls of the shadow that failed: what it would have given is not compared.
    pub failed: u64,
    /// Why the last of them failed.
    pub failure: Option<String>,
    /// Some of the differences.
    pub samples: Vec<Difference>,
}

/// Rows that are not the same, as JSON objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    /// The side output; `None` for the main one.
    pub output: Option<String>,
    /// What the version in force gave.
    pub in_force: Option<String>,
    /// What the shadow gave.
    pub shadow: Option<String>,
}

/// A comparison that goes on. Shared by all subtasks of an operator.
#[derive(Debug, Default)]
pub struct Comparison(Mutex<Compared>);

impl Comparison {
    fn lock(&self) -> MutexGuard<'_, Compared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has come of it so far.
    pub fn so_far(&self) -> Compared {
        self.lock().clone()
    }

    pub(super) fn failed(&self, error: &TaskError) {
        let mut compared = self.lock();
        compared.failed += 1;
        compared.failure = Some(error.to_string());
    }

    fn add(&self, output: Option<&str>, paired: Paired<'_>) {
        let mut compared = self.lock();
        compared.equal += paired.equal;
        for (in_force, shadow) in paired.unequal {
            match (in_force, shadow) {
                (Some(_), Some(_)) => compared.different += 1,
                (Some(_), None) => compared.missing += 1,
                (None, _) => compared.extra += 1,
            }
            if compared.samples.len() < SAMPLES_MAX {
                let row = |row: Option<&Row>| row.map(|row| row.text.clone());
                let difference =
                    Difference { output: output.map(str::to_owned), in_force: row(in_force), shadow: row(shadow) };
                compared.samples.push(difference);
            }
        }
    }
}

/// A row as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    /// Rows of one key are held against each other.
    key: Vec<u8>,
    text: String,
}

/// Rows held against each other.
#[derive(Debug, Default, PartialEq, Eq)]
struct Paired<'a> {
    equal: u64,
    /// Of the version in force, and of the shadow.
    unequal: Vec<(Option<&'a Row>, Option<&'a Row>)>,
}

/// Finds for each row one of the other side: an equal one, else one of its key.
fn pair<'a>(in_force: &'a [Row], shadow: &'a [Row]) -> Paired<'a> {
    let mut equal: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, row) in shadow.iter().enumerate().rev() {
        equal.entry(&row.text).or_default().push(at);
    }
    let mut taken = vec![false; shadow.len()];
    let (found, alone): (Vec<&Row>, Vec<&Row>) = in_force.iter().partition(|row| {
        let at = equal.get_mut(row.text.as_str()).and_then(Vec::pop);
        at.map(|at| taken[at] = true).is_some()
    });
    let mut of_key: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for at in (0..shadow.len()).rev().filter(|at| !taken[*at]) {
        of_key.entry(&shadow[at].key).or_default().push(at);
    }
    let mut paired = Paired { equal: found.len() as u64, unequal: Vec::new() };
    for row in alone {
        let at = of_key.get_mut(row.key.as_slice()).and_then(Vec::pop);
        paired.unequal.push((Some(row), at.map(|at| &shadow[at])));
        at.into_iter().for_each(|at| taken[at] = true);
    }
    paired.unequal.extend(shadow.iter().zip(taken).filter(|(_, taken)| !taken).map(|(row, _)| (None, Some(row))));
    paired
}

/// Compares rows of one output.
pub(super) struct Comparer {
    output: Option<String>,
    /// Columns compared, and the schema they make up.
    columns: Vec<usize>,
    schema: Schema,
    /// Of these, the key's.
    key: Vec<usize>,
    encoder: Box<dyn Encoder>,
    encoded: Encoded,
}

impl Comparer {
    /// Of an output with these columns; `key` are the names of key columns, `ignored` those of columns that may differ.
    pub(super) fn new(
        output: Option<String>,
        schema: &Schema,
        key: &[String],
        ignored: &[String],
    ) -> Result<Comparer, String> {
        let fields = schema.fields();
        let columns: Vec<usize> =
            (0..fields.len()).filter(|at| !ignored.iter().any(|name| **name == *fields[*at].name)).collect();
        let compared = Schema::new(columns.iter().map(|at| fields[*at].clone()).collect::<Vec<_>>())
            .map_err(|error| error.to_string())?;
        let of_key = |name: &String| fields.iter().position(|field| *field.name == **name);
        let key: Option<Vec<usize>> = key.iter().map(of_key).collect();
        let encoder = Format::Json.encoder(&compared)?;
        let key = key.unwrap_or_default();
        Ok(Comparer { output, columns, schema: compared, key, encoder, encoded: Encoded::default() })
    }

    fn rows(&mut self, batches: &[Batch]) -> Result<Vec<Row>, String> {
        let mut rows = Vec::new();
        for batch in batches {
            let picked = self.columns.iter().map(|at| batch.columns.column(*at).clone()).collect();
            let compared = self.schema.record_batch(picked, batch.rows()).map_err(|error| error.to_string())?;
            self.encoder.encode(&compared, &mut self.encoded);
            let key: Vec<ArrayRef> = self.key.iter().map(|at| batch.columns.column(*at).clone()).collect();
            let keyed = !key.is_empty() && key.iter().all(|column| column.null_count() == 0);
            let keys = keyed.then(|| KeyRows::encode(&key, batch.rows()));
            let mut start = 0;
            for (row, end) in self.encoded.ends.iter().enumerate() {
                let text = String::from_utf8_lossy(&self.encoded.data[start..*end]).trim_end().to_owned();
                start = *end;
                let key = match &keys {
                    Some(keys) => keys.get(row).to_vec(),
                    None => batch.timestamps[row].to_le_bytes().to_vec(),
                };
                rows.push(Row { key, text });
            }
        }
        Ok(rows)
    }

    /// Compares what both have made of the same input.
    pub(super) fn compare(
        &mut self,
        in_force: &[Batch],
        shadow: &[Batch],
        comparison: &Comparison,
    ) -> Result<(), String> {
        let (in_force, shadow) = (self.rows(in_force)?, self.rows(shadow)?);
        comparison.add(self.output.as_deref(), pair(&in_force, &shadow));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(texts: &[(&str, &str)]) -> Vec<Row> {
        texts.iter().map(|(key, text)| Row { key: key.as_bytes().to_vec(), text: (*text).to_owned() }).collect()
    }

    #[test]
    fn rows_are_held_against_equal_ones_first_and_then_against_those_of_their_key() {
        let in_force = rows(&[("a", "1"), ("a", "2"), ("b", "3"), ("c", "4"), ("a", "1")]);
        let shadow = rows(&[("a", "5"), ("c", "4"), ("a", "1"), ("d", "6"), ("a", "1"), ("a", "1")]);
        let paired = pair(&in_force, &shadow);
        assert_eq!(paired.equal, 3);
        let unequal = [
            (Some(&in_force[1]), Some(&shadow[0])),
            (Some(&in_force[2]), None),
            (None, Some(&shadow[3])),
            (None, Some(&shadow[5])),
        ];
        assert_eq!(paired.unequal, unequal);
    }
}
