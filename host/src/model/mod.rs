//! What flows: batches of typed columns, their types, keys and key groups, time. Pure data; knows nothing of jobs, tasks, I/O
//! or WebAssembly, and imports nothing else of this crate.
mod batch;
mod description;
mod key;
mod keyed;
mod raw;
mod schema;
mod share;
mod snapshot;
mod text;
mod time;
mod version;

pub use batch::Batch;
pub use description::{
    Description, MetricKind, OperatorKind, Shape, SideOutput, StateDescription, StateKind, TimeToLive,
};
pub use key::{
    KeyDecodeError, KeyRows, MAX_PARALLELISM_DEFAULT, MAX_PARALLELISM_LIMIT, decode_keys, groups_of, key_group,
    key_hash, subtask_of,
};
pub use keyed::{Decision, KeyGroups, MapPage, MapReader, NoMaps, StateChange, StateValues, TimerChange, Window};
pub use raw::{Encoded, MetadataColumn, Position, RawBatch, RefusedRecord};
pub use schema::{Field, Kind, Schema, SchemaError};
pub use share::{SHARE_STEPS, SHARE_STEPS_MAX, Share, row_hashes};
pub use snapshot::{
    Blob, LaterParts, OperatorState, Part, Redistribution, SnapshotKind, SnapshotRequest, SplitPosition, StoreFormat,
    StoreSnapshot, SubtaskState,
};
pub use text::{beginning, key_text, value_text};
pub use time::{Clock, EventTime, NO_WATERMARK, SystemClock, TimeDomain, WATERMARK_END, thread_processor_time};
pub use version::{CanaryVersion, OperatorVersion, RULE_SEPARATOR, RuleVersion, latest_versions, split_rule};
