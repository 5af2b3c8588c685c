//! Runs operators in ordinary tests, without WebAssembly.
//!
//! Guarantees: records go through the very code they go through in a component: into columns, through the operator's batch,
//! out of columns; columns are found by name, and state and timers kept by key, as the host does. Everything that does not fit is a panic
//! that says so. Must not know: the host.

mod aggregate;
mod cells;
mod keyed;
mod outcome;
mod sink;
mod store;
mod stored;
mod transform;
mod windows;

pub use aggregate::{AggregateHarness, Folded};
pub use keyed::{BroadcastHarness, ConnectedHarness, KeyedProcessHarness};
pub use outcome::Outcome;
pub use sink::SinkHarness;
pub use stored::{IntoKey, KeyedStates, Snapshot};
pub use transform::TransformHarness;
pub use windows::{ProcessWindowHarness, TriggerHarness};

use crate::bindings::types::{Batch, Column, Description, Fault, Field, Moment};
use crate::operator::Identity;
use crate::record::{FieldInfo, Record};
use crate::transform::Transform;
use cells::{Cell, cells};

const IDENTITY: Identity = Identity { name: "test", version: "0.0.0" };

/// A moment with all zero, but for the watermark, of which there is none yet.
const MOMENT: Moment = Moment { processing_time: 0, watermark: i64::MIN, seed: 0 };

/// Records in columns, which are found by name.
struct Table {
    names: Vec<&'static str>,
    timestamps: Vec<i64>,
    columns: Vec<Column>,
}

impl Table {
    fn new<'i, I: Record<At<'i> = I>>(records: impl IntoIterator<Item = (i64, I)>) -> Self {
        let mut timestamps = Vec::new();
        let mut builder = I::builder(0);
        for (timestamp_ms, record) in records {
            timestamps.push(timestamp_ms);
            I::push(&mut builder, record);
        }
        let names = I::FIELDS.iter().map(|field| field.name).collect();
        Self { names, timestamps, columns: I::finish(builder) }
    }

    fn column(&self, name: &str) -> &Column {
        let found = self.names.iter().position(|found| *found == name);
        &self.columns[found.unwrap_or_else(|| panic!("the records have no `{name}`"))]
    }

    /// The columns an operator reads.
    fn batch(&self, declared: &[Field]) -> Batch {
        let columns = declared.iter().map(|field| self.column(&field.name).clone()).collect();
        Batch { rows: self.timestamps.len() as u32, timestamps: self.timestamps.clone(), columns }
    }

    /// The cells of these columns, for each row.
    fn keys(&self, names: &[String]) -> Vec<Vec<Cell>> {
        let rows = self.timestamps.len();
        let columns: Vec<Vec<Cell>> = names.iter().map(|name| cells(self.column(name), rows)).collect();
        (0..rows).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
    }
}

fn batch<'i, I: Record<At<'i> = I>>(declared: &[Field], records: impl IntoIterator<Item = (i64, I)>) -> Batch {
    Table::new(records).batch(declared)
}

fn succeeded<T>(result: Result<T, Fault>) -> T {
    result.unwrap_or_else(|fault| panic!("the operator failed: {fault:?}"))
}

/// The records in columns, which must be those of `O`.
fn read<'c, O: Record>(columns: &'c [Column], rows: usize) -> Vec<O::At<'c>> {
    assert_eq!(columns.len(), O::FIELDS.len(), "columns against those of {:?}", O::FIELDS);
    let reader = O::reader(columns, rows).unwrap_or_else(|error| panic!("the output is not {:?}: {error}", O::FIELDS));
    (0..rows).map(|row| O::read(&reader, row)).collect()
}

/// A description of a transform as the host sees it, for tests of declarations.
pub fn describe<T: Transform>() -> Description {
    T::describe(IDENTITY)
}

/// The columns that records of type `R` have.
pub fn fields<R: Record>() -> &'static [FieldInfo] {
    R::FIELDS
}
