//! Changes to plugins that declare other states than those before them: whether the state there is fits, and what taking it over would come
//! to. Must not know how it is taken over.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Bound, ChangeError, Prepared, TrialSpec, operators::key_kinds, prepare::limits, run::Shared};
use crate::{
    dataflow::{Guests, Offer, Place, state_prefix},
    job::{PlanNode, Role},
    model::{Description, Kind, OperatorKind, StateDescription, SubtaskState},
    plugin::{Instance, LoadError},
    state::{CopiedState, StateError, StateMigration, rehearse},
};

/// How the states a plugin declares lie to those there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// They are the same.
    Same,
    /// What there is has to be opened anew for them.
    Other {
        /// Whether values of some are of an earlier schema version.
        migrates: bool,
    },
}

impl Fit {
    pub(super) fn is_same(self) -> bool {
        self == Fit::Same
    }
}

/// Whether what `old` has left fits what `new` declares, which `migrates` or not. `force` names the states that may be discarded. Fails with what
/// does not fit.
pub(super) fn fit(
    (old, new): (&Description, &Description),
    migrates: bool,
    force: &[String],
    trial: Option<TrialSpec>,
) -> Result<Fit, String> {
    let find = |states: &[StateDescription], name: &str| states.iter().position(|state| state.name == name);
    if let Some(name) = force.iter().find(|name| find(&old.states, name).is_none()) {
        return Err(format!("`{name}` is to be discarded, and there is no such state"));
    }
    let mut older = false;
    for state in &old.states {
        let forced = force.contains(&state.name);
        match find(&new.states, &state.name).map(|place| &new.states[place]) {
            None if forced => {}
            None => return Err(format!("`{}` is no state of it; name it in `force` to have it discarded", state.name)),
            Some(_) if forced => {
                return Err(format!("`{}` is to be discarded, and is a state of it", state.name));
            }
            Some(other) => older |= fits(state, other, migrates)?,
        }
    }
    if older && trial.is_some_and(|trial| !trial.with_state) {
        return Err("it migrates state, which the version before it could not read: try it `with_state`".to_owned());
    }
    Ok(if old.states == new.states { Fit::Same } else { Fit::Other { migrates: older } })
}

/// Whether what a state holds is of an earlier version than is declared.
fn fits(state: &StateDescription, other: &StateDescription, migrates: bool) -> Result<bool, String> {
    let (from, to) = (state.schema_version, other.schema_version);
    let shape = |state: &StateDescription| (state.kind, state.key, state.time_to_live);
    if shape(state) != shape(other) || (from == to && state.value != other.value) {
        return Err(format!("`{}` is of another kind or type, or expires otherwise", state.name));
    }
    match from.cmp(&to) {
        std::cmp::Ordering::Equal => Ok(false),
        std::cmp::Ordering::Less if migrates => Ok(true),
        std::cmp::Ordering::Less => Err(format!(
            "`{}` is of schema version {from}, it declares version {to} and does not export `migration`",
            state.name
        )),
        std::cmp::Ordering::Greater => {
            Err(format!("`{}` is of schema version {from} already, it declares version {to}", state.name))
        }
    }
}

/// What it takes to find out what taking over the state would come to.
pub(super) struct Rehearsing {
    operator: String,
    instance: Instance,
    /// Of the key's columns.
    key: Vec<Kind>,
    prefix: &'static str,
    places: Vec<Place>,
}

/// Copies of the state of subtasks, by their numbers.
type Copies = Arc<Mutex<BTreeMap<u32, Result<CopiedState, StateError>>>>;

impl Rehearsing {
    pub(super) fn new(
        (shared, prepared): (&Shared, &Prepared),
        node: &PlanNode,
        kind: OperatorKind,
        bound: &Bound,
    ) -> Result<Rehearsing, LoadError> {
        let operator = node.name.clone();
        let placement = prepared.placement(node, 0, &shared.environment.clock);
        let limits = limits(&prepared.limits(&operator));
        let instance = bound.instantiate(kind, placement, limits)?;
        let key = match &node.role {
            Role::Operator { key, .. } => key_kinds(node, key),
            _ => Vec::new(),
        };
        let place = |subtask| Place { uid: node.uid.clone(), edge: None, subtask };
        let places = (0..node.parallelism).map(place).collect();
        Ok(Rehearsing { operator, instance, key, prefix: state_prefix(kind), places })
    }

    /// What has every subtask copy its state.
    pub(super) fn offers(&self, copies: &Copies) -> Vec<(Place, Offer)> {
        let offer = |place: &Place| {
            let (copies, subtask) = (copies.clone(), place.subtask);
            let take = move |state: SubtaskState| {
                let copy = CopiedState::of(state);
                copies.lock().unwrap_or_else(PoisonError::into_inner).insert(subtask, copy);
            };
            (place.clone(), Offer::Copy(Box::new(take)))
        };
        self.places.iter().map(offer).collect()
    }

    /// Migrates the copies, and forgets them. Blocks as long as that takes.
    pub(super) fn count(mut self, copies: &Copies) -> Result<Vec<StateMigration>, ChangeError> {
        let copies = std::mem::take(&mut *copies.lock().unwrap_or_else(PoisonError::into_inner));
        let plugin = self.instance.name().to_string();
        let failed = |error: StateError| ChangeError::Migration {
            operator: self.operator.clone(),
            plugin: plugin.clone(),
            what: error.to_string(),
        };
        let copies = copies.into_values().collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let states = self.instance.description().states.clone();
        let mut guests = Guests::new(&self.key).with(0, Some(&mut self.instance));
        rehearse(&copies, self.prefix, &states, &mut guests).map_err(failed)
    }
}

/// Fails if anything cannot be migrated.
pub(super) fn all_migrate(counts: &[StateMigration], operator: &str, plugin: &str) -> Result<(), ChangeError> {
    let Some(count) = counts.iter().find(|count| count.failing > 0) else { return Ok(()) };
    let StateMigration { state, to_migrate, failing, .. } = count;
    let first = count.samples.first().map(|it| format!("; key {}: {}", it.key, it.reason)).unwrap_or_default();
    let what = format!("{failing} of {to_migrate} values of `{state}` cannot be migrated{first}");
    Err(ChangeError::Migration { operator: operator.to_owned(), plugin: plugin.to_owned(), what })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Shape, StateKind};

    fn state(name: &str, schema_version: u32, value: Kind) -> StateDescription {
        let kind = StateKind::Value;
        StateDescription { name: name.into(), kind, schema_version, value, key: None, time_to_live: None }
    }

    #[test]
    fn what_fits_is_taken_over_and_the_rest_is_refused_with_a_reason() {
        let describe = |states: &[StateDescription]| Description {
            kind: OperatorKind::KeyedProcess,
            name: "x".into(),
            version: semver::Version::new(1, 0, 0),
            inputs: Vec::new(),
            keys: Vec::new(),
            output: Shape::InputRows,
            side_outputs: Vec::new(),
            states: states.to_vec(),
            metrics: Vec::new(),
            configuration: String::new(),
        };
        let (total, text) = (state("total", 1, Kind::Int64), state("text", 2, Kind::Utf8));
        let old = describe(&[total.clone(), text.clone()]);
        let of = |states: &[StateDescription], migrates, force: &[&str]| {
            let force: Vec<String> = force.iter().map(|name| (*name).to_owned()).collect();
            fit((&old, &describe(states)), migrates, &force, None)
        };
        let newer = state("total", 2, Kind::Float64);
        assert_eq!(of(&old.states, false, &[]), Ok(Fit::Same));
        assert_eq!(of(&[text.clone(), total.clone()], false, &[]), Ok(Fit::Other { migrates: false }));
        let added = [total.clone(), text.clone(), state("new", 7, Kind::Boolean)];
        assert_eq!(of(&added, false, &[]), Ok(Fit::Other { migrates: false }));
        assert_eq!(of(&[newer.clone(), text.clone()], true, &[]), Ok(Fit::Other { migrates: true }));
        assert_eq!(of(std::slice::from_ref(&newer), true, &["text"]), Ok(Fit::Other { migrates: true }));
        let refused = |states: &[StateDescription], migrates, force: &[&str], why: &str| {
            let what = of(states, migrates, force).unwrap_err();
            assert!(what.contains(why), "{what}");
        };
        refused(&[newer.clone(), text.clone()], false, &[], "does not export");
        refused(&[total.clone(), state("text", 1, Kind::Utf8)], true, &[], "already");
        refused(&[state("total", 1, Kind::Float64), text.clone()], true, &[], "another kind or type");
        refused(std::slice::from_ref(&total), true, &[], "force");
        refused(&old.states, true, &["text"], "is a state of it");
        refused(&old.states, true, &["txt"], "no such state");
        let trial = |with_state| TrialSpec {
            time: Duration::from_secs(1),
            with_state,
            rejected_max: None,
            failed_max: None,
            record_time_max: None,
        };
        let new = describe(&[newer, text]);
        assert!(fit((&old, &new), true, &[], Some(trial(false))).unwrap_err().contains("with_state"));
        assert_eq!(fit((&old, &new), true, &[], Some(trial(true))), Ok(Fit::Other { migrates: true }));
    }
}
