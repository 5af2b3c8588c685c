//! The calls of each kind of operator: batches, keys, windows and timers in, checked results out. Everything a guest returns is
//! checked before anyone else sees it.
mod aggregate;
mod broadcast;
mod changes;
mod emission;
#[cfg(test)]
mod fuzz;
mod input;
mod keyed;
mod optional;
mod sink;
mod transform;
mod trigger;
mod window;

pub use aggregate::Accumulators;
pub use emission::Emitted;
pub use input::{Elements, Keys};
pub use keyed::{KeyedEmitted, KeyedInput};
pub(super) use optional::Optional;
pub use sink::Written;
pub use trigger::Verdict;

pub use super::contract::types::Moment as CallMoment;
use arrow_array::ArrayRef;

use super::{
    contract::types::Fault,
    error::{CallFailure, LoadError, words},
    instance::{Call, Function},
};
use crate::model::OperatorKind;

/// The functions of a kind that take data, checked against the contract.
pub(super) fn functions_of(kind: OperatorKind, interface: &str, call: &mut Call) -> Result<Vec<Function>, LoadError> {
    match kind {
        OperatorKind::Transform => transform::functions(interface, call),
        OperatorKind::Aggregate => aggregate::functions(interface, call),
        OperatorKind::ProcessWindow => window::functions(interface, call),
        OperatorKind::KeyedProcess => keyed::functions(interface, &["process"], call),
        OperatorKind::ConnectedProcess => keyed::functions(interface, &["process-first", "process-second"], call),
        OperatorKind::BroadcastProcess => broadcast::functions(interface, call),
        OperatorKind::Trigger => trigger::functions(interface, call),
        OperatorKind::Sink => sink::functions(interface, call),
        OperatorKind::AsyncFunction => {
            Err(LoadError::Contract(format!("this host cannot run operators of kind {} yet", kind.interface())))
        }
    }
}

/// The result of a call, checked.
pub(super) trait Measured {
    /// Its metric readings, by index in the description.
    fn measurements(&self) -> &[(usize, f64)] {
        &[]
    }
}

impl Measured for () {}
impl Measured for ArrayRef {}
impl Measured for Vec<ArrayRef> {}

impl Measured for Emitted {
    fn measurements(&self) -> &[(usize, f64)] {
        &self.measurements
    }
}

impl Measured for KeyedEmitted {
    fn measurements(&self) -> &[(usize, f64)] {
        &self.emitted.measurements
    }
}

impl Measured for Written {
    fn measurements(&self) -> &[(usize, f64)] {
        &self.emitted.measurements
    }
}

impl Measured for Accumulators {
    fn measurements(&self) -> &[(usize, f64)] {
        &self.measurements
    }
}

impl Measured for Verdict {
    fn measurements(&self) -> &[(usize, f64)] {
        &self.measurements
    }
}

fn fault(fault: Fault) -> CallFailure {
    match fault {
        Fault::Retry(message) => CallFailure::Fault { retry: true, message: words(message) },
        Fault::Fail(message) => CallFailure::Fault { retry: false, message: words(message) },
    }
}

fn nonsense(what: impl Into<String>) -> CallFailure {
    CallFailure::Nonsense(words(what.into()))
}
