//! Windows of all rows are in one subtask. What goes there is aggregated before, in the subtasks it comes from: of each batch a row for
//! each slice of time, so that nothing is held back and nothing need be remembered.
use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{ArrayRef, Int64Array, cast::AsArray, new_null_array, types::Int64Type};

use super::{AggregatePlugin, intake::Intake};
use crate::{
    dataflow::{Changes, Moments, NodeMetrics, Offer, Outputs, Place, Rejects, RowNumbers, TaskError},
    model::{Batch, Field, Kind, NO_WATERMARK, Schema, Window},
    window::Sliding,
};

/// How many rows an accumulator is of.
const ROWS: usize = 0;
const ACCUMULATORS: usize = 1;

/// Aggregates batches on their way to the stage of such windows.
pub struct Combiner {
    intake: Intake,
    windows: Sliding,
    aggregate: AggregatePlugin,
    rejects: Rejects,
    moments: Moments,
    /// Of the stage, whose other outputs nobody reads.
    outputs: Outputs,
    schema: Schema,
    seen: u64,
    place: Place,
    changes: Arc<Changes>,
}

impl Combiner {
    /// `node` is the operator; `ports` is the number of its outputs, of which nobody may read those of late and rejected rows.
    pub fn new(
        node: &str,
        windows: Sliding,
        aggregate: AggregatePlugin,
        rejects: Rejects,
        moments: Moments,
        (ports, metrics): (usize, Arc<NodeMetrics>),
        (place, changes): (Place, Arc<Changes>),
    ) -> Result<Combiner, TaskError> {
        let intake = Intake { node: node.to_owned(), key: Vec::new(), late: None };
        let schema = schema(&aggregate, &intake)?;
        let outputs = Outputs::new((0..ports).map(|_| Vec::new()).collect(), metrics);
        Ok(Combiner { intake, windows, aggregate, rejects, moments, outputs, schema, seen: 0, place, changes })
    }

    /// The barrier of a change goes by.
    pub(in crate::dataflow) fn change(&mut self, change: u64) -> Result<(), TaskError> {
        if let Some(Offer::Replace(new)) = self.changes.take(change, &self.place) {
            self.aggregate = AggregatePlugin { instance: new.instance, reads: new.reads };
            self.schema = schema(&self.aggregate, &self.intake)?;
        }
        Ok(())
    }

    /// The accumulators of a batch, each at the start of its slice.
    pub(in crate::dataflow) async fn combine(&mut self, batch: Batch) -> Result<Batch, TaskError> {
        let numbers = RowNumbers::after(self.seen);
        let records = self.seen..self.seen + batch.rows() as u64;
        self.seen = records.end;
        let mut groups_of: BTreeMap<Window, u32> = BTreeMap::new();
        let mut starts = Vec::new();
        let groups: Vec<u32> = batch
            .timestamps
            .iter()
            .map(|time| {
                let slice = self.windows.slice_of(*time);
                *groups_of.entry(slice).or_insert_with(|| {
                    starts.push(slice.start);
                    starts.len() as u32 - 1
                })
            })
            .collect();
        let kind = self.schema.fields()[ACCUMULATORS].kind;
        let none = new_null_array(&kind.data_type(), starts.len());
        let AggregatePlugin { instance, reads } = &mut self.aggregate;
        // What it is told of event time is what the rows say: the stage alone knows how far all of them have come.
        let moment = self.moments.next(NO_WATERMARK);
        let began = self.moments.monotonic();
        let after = instance.accumulate(moment, &batch, reads, &groups, &none, records);
        self.outputs.metrics().called(self.moments.monotonic().saturating_sub(began), batch.rows());
        let after = after?;
        let mut rows = vec![0; starts.len()];
        groups.iter().for_each(|group| rows[*group as usize] += 1);
        self.outputs.metrics().add(&self.outputs.metrics().records_in, batch.rows() - starts.len());
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(rows)), after.values];
        let from = (Some(self.aggregate.instance.name()), &numbers);
        self.rejects.rows(&batch, after.rejections, from, &mut self.outputs).await?;
        let columns = self.schema.record_batch(columns, starts.len()).map_err(|what| self.intake.bug(what))?;
        Ok(Batch { columns, timestamps: starts.into(), arrived: batch.arrived, key_hashes: None })
    }
}

/// How many rows, and what an aggregate keeps of them.
fn schema(aggregate: &AggregatePlugin, intake: &Intake) -> Result<Schema, TaskError> {
    let state = aggregate.instance.description().states.first();
    let kind = state.map(|state| state.value).ok_or_else(|| intake.bug("an aggregate keeps nothing"))?;
    let schema = Schema::new([Field::new("rows", Kind::Int64), Field::new("accumulator", kind)]);
    schema.map_err(|what| intake.bug(what))
}

/// The accumulators of a batch that was combined, and how many rows they are of.
pub(super) fn combined(batch: &Batch) -> (ArrayRef, &[i64]) {
    let rows = batch.columns.column(ROWS).as_primitive::<Int64Type>().values();
    (batch.columns.column(ACCUMULATORS).clone(), rows)
}
