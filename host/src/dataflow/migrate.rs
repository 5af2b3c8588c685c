//! Guests as those who make values of earlier schema versions into the current ones, where states of several of them lie in one store. Must
//! not know where the values come from.
use arrow_array::ArrayRef;

use crate::{
    model::{Kind, key_text},
    plugin::{CallError, CallFailure, Instance},
    state::{MigrateError, Migrator},
};

/// The guests whose states lie in a store.
pub struct Guests<'a> {
    /// Where the states of each begin.
    guests: Vec<(usize, &'a mut Instance)>,
    key: Vec<Kind>,
}

impl<'a> Guests<'a> {
    /// None yet; keys are of columns of these kinds.
    pub fn new(key: &[Kind]) -> Guests<'a> {
        Guests { guests: Vec::new(), key: key.to_vec() }
    }

    /// With a guest, if there is one, whose states begin at `first`.
    pub fn with(mut self, first: usize, instance: Option<&'a mut Instance>) -> Guests<'a> {
        self.guests.extend(instance.map(|instance| (first, instance)));
        self
    }

    /// Which guest a state is of, and which of its states it is.
    fn of(&self, state: usize) -> Option<(usize, usize)> {
        let mut guests = self.guests.iter().enumerate();
        guests.find_map(|(guest, (first, instance))| {
            let own = state.checked_sub(*first)?;
            (own < instance.description().states.len()).then_some((guest, own))
        })
    }
}

impl Migrator for Guests<'_> {
    fn migrates(&self, state: usize) -> bool {
        self.of(state).is_some_and(|(guest, _)| self.guests[guest].1.migrates())
    }

    fn migrate(&mut self, state: usize, from_version: u32, values: &ArrayRef) -> Result<ArrayRef, MigrateError> {
        let Some((guest, own)) = self.of(state) else {
            return Err(MigrateError { what: "it is the state of no plugin".to_owned(), retry: false });
        };
        self.guests[guest].1.migrate(own, from_version, values).map_err(refused)
    }

    fn key_text(&self, key: &[u8]) -> String {
        key_text(&self.key, key)
    }
}

fn refused(CallError { plugin, failure, .. }: CallError) -> MigrateError {
    let retry = matches!(failure, CallFailure::Fault { retry: true, .. });
    MigrateError { what: format!("{plugin}: {failure}"), retry }
}
