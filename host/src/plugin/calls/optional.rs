//! The calls of what any operator may export besides its kind: `checkpoint-listener` and `migration`.
use arrow_array::{Array, ArrayRef};

use super::{
    super::{
        columns::{Realigned, column_from_guest},
        component::Exports,
        contract::{
            ColumnRef,
            types::{Column, Fault},
        },
        error::{CallError, LoadError},
        instance::{Call, Function, Instance, Running},
    },
    fault, nonsense,
};

type MigrateParameters<'a> = (u32, u32, ColumnRef<'a>);
type MigrateResult = (Result<Column, Fault>,);

/// The functions of an instance that it need not have.
pub(in super::super) struct Optional {
    migrate: Option<Function>,
    completed: Option<Function>,
    aborted: Option<Function>,
}

impl Optional {
    /// Those that are exported, checked against the contract.
    pub(in super::super) fn of(exports: &Exports, call: &mut Call) -> Result<Optional, LoadError> {
        let mut optional = Optional { migrate: None, completed: None, aborted: None };
        if let Some(interface) = &exports.migration {
            let migrate = call.function(interface, "migrate")?;
            optional.migrate = Some(migrate.check::<MigrateParameters, MigrateResult>(call, "migrate")?);
        }
        if let Some(interface) = &exports.listener {
            let completed = call.function(interface, "completed")?;
            optional.completed = Some(completed.check::<(u64,), ()>(call, "completed")?);
            optional.aborted = Some(call.function(interface, "aborted")?.check::<(u64,), ()>(call, "aborted")?);
        }
        Ok(optional)
    }
}

impl Instance {
    /// Tells the operator that a checkpoint is complete, if it listens.
    pub fn checkpoint_completed(&mut self, checkpoint: u64) -> Result<(), CallError> {
        self.tell(checkpoint, |optional| optional.completed)
    }

    /// Tells the operator that a checkpoint was given up, if it listens.
    pub fn checkpoint_aborted(&mut self, checkpoint: u64) -> Result<(), CallError> {
        self.tell(checkpoint, |optional| optional.aborted)
    }

    fn tell(&mut self, checkpoint: u64, which: impl Fn(&Optional) -> Option<Function>) -> Result<(), CallError> {
        if !self.plugin().listens() {
            return Ok(());
        }
        self.run(None, 0..0, usize::MAX, |Running { call, optional, .. }| match which(optional) {
            Some(function) => function.call::<(u64,), ()>(call, (checkpoint,)),
            None => Ok(()),
        })
    }

    /// Calls `migration.migrate`: values of the state with this index, as they were in schema version `from_version`, become as
    /// many of the current one, null only where there may be nulls already, each within the limits of one key's state. Fails where
    /// [`migrates`](Instance::migrates) is false.
    pub fn migrate(&mut self, state: usize, from_version: u32, values: &ArrayRef) -> Result<ArrayRef, CallError> {
        let description = self.shared_description();
        self.run(None, 0..0, usize::MAX, |Running { call, optional, .. }| {
            let (Some(migrate), Some(declared)) = (optional.migrate, description.states.get(state)) else {
                return Err(nonsense(format!("state {state} cannot be migrated: it exports no `migration` of it")));
            };
            let parts = Realigned::of(values);
            let (result,): MigrateResult = migrate.call(call, (state as u32, from_version, parts.column(values)))?;
            let migrated =
                column_from_guest(result.map_err(fault)?, declared.value, values.null_count() > 0, values.len());
            let migrated = migrated.map_err(|what| {
                nonsense(format!("state `{}`, migrated from version {from_version}: {what}", declared.name))
            })?;
            call.budget.check_accumulators(&migrated)?;
            Ok(migrated)
        })
    }
}
