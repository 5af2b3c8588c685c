//! What all kinds of operator share.
//!
//! Guarantees and knowledge: none but the contract's words for an operator.

use std::fmt::Display;

use crate::bindings::types::{Batch, Description, Fault, Field, Shape};

/// The plugin an operator is from. `export!` takes both from the author's `Cargo.toml`.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The name of the package.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// A description with nothing optional in it.
pub(crate) fn description(identity: Identity, input: Vec<Field>, output: Shape) -> Description {
    Description {
        // A package may have underscores in its name, which the contract does not.
        name: identity.name.replace('_', "-").to_lowercase(),
        version: identity.version.into(),
        inputs: vec![input],
        keys: Vec::new(),
        output,
        side_outputs: Vec::new(),
        states: Vec::new(),
        metrics: Vec::new(),
        configuration: String::new(),
    }
}

/// Why a record is rejected, in words; of an error with causes, all of them.
pub fn reason(error: impl Display) -> String {
    format!("{error:#}")
}

/// The host broke the contract, or reads another version of it.
pub(crate) fn broken(what: String) -> Fault {
    Fault::Fail(format!("{what}: the batch is not what the operator declared"))
}

/// The host sent state that cannot be read, or there is something in it that cannot be written.
pub(crate) fn failed(what: String) -> Fault {
    Fault::Fail(what)
}

/// Checks that there is a key for each row, and that each is one of the keys.
pub(crate) fn check_indices(indices: &[u32], rows: usize, count: usize) -> Result<(), Fault> {
    if indices.len() != rows || indices.iter().any(|&index| index as usize >= count) {
        return Err(broken(format!("{} indices below {count} for {rows} rows", indices.len())));
    }
    Ok(())
}

pub(crate) fn check_timestamps(batch: &Batch) -> Result<(), Fault> {
    if batch.timestamps.len() != batch.rows as usize {
        return Err(broken(format!("{} timestamps for {} rows", batch.timestamps.len(), batch.rows)));
    }
    Ok(())
}
