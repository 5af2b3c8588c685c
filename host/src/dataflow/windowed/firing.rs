//! What decides when windows fire: a built-in trigger or a plugin. What either remembers lies with the windows in the store.
use std::{ops::Range, sync::Arc};

use arrow_array::{Array, ArrayRef, Int64Array, cast::AsArray, types::Int64Type};

use super::{
    TriggerPlugin,
    intake::Intake,
    state::{change_of, single, states_of},
};
use crate::{
    dataflow::{Replacement, TaskError},
    model::{
        Batch, Decision, EventTime, Kind, OperatorKind, StateChange, StateDescription, StateKind, StateValues,
        TimeDomain, TimerChange, Window,
    },
    plugin::{CallMoment, Elements, Instance, Verdict},
    state::{KeyedStore, Touched},
    window::{Registers, TimerRequest, Times, Trigger},
};

/// Keys in windows that a call touches.
#[derive(Default)]
pub(super) struct Panes {
    /// Where they are in the store.
    pub(super) touched: Touched,
    /// The window of each.
    pub(super) windows: Vec<Window>,
}

/// When a call happens, and of which rows.
#[derive(Clone)]
pub(super) struct Occasion {
    /// For guests.
    pub(super) moment: CallMoment,
    /// Rows of the operator's input, for errors.
    pub(super) records: Range<u64>,
}

impl Occasion {
    /// Processing time.
    pub(super) fn now_ms(&self) -> i64 {
        self.moment.processing_time
    }

    fn times(&self) -> Times {
        Times { watermark: self.moment.watermark, now_ms: self.moment.processing_time }
    }
}

/// What decides.
pub(super) enum Decider {
    /// One of ours.
    BuiltIn(Trigger),
    /// A plugin.
    Plugin(Box<TriggerPlugin>),
}

/// What decides, and where what it remembers lies.
pub(super) struct Firing {
    decider: Decider,
    /// Its states in the store.
    states: Range<usize>,
    intake: Intake,
}

/// What was remembered of windows that are no more.
pub(super) enum Remembered {
    /// Of a built-in trigger.
    Registers(Vec<Registers>),
    /// Of a plugin.
    States(Vec<StateValues>),
}

const PENDING: usize = 0;
const NEXT: usize = 1;

impl Decider {
    /// The states it needs.
    pub(super) fn states(&self) -> Vec<StateDescription> {
        let register = |name: &str| StateDescription {
            name: name.to_owned(),
            kind: StateKind::Value,
            schema_version: 1,
            value: Kind::Int64,
            key: None,
            time_to_live: None,
        };
        match self {
            Decider::BuiltIn(_) => vec![register("trigger-pending"), register("trigger-next")],
            Decider::Plugin(plugin) => {
                states_of(OperatorKind::Trigger, &plugin.instance.description().states).collect()
            }
        }
    }
}

impl Firing {
    /// `states` is where the decider's states lie in the store.
    pub(super) fn new(decider: Decider, states: Range<usize>, intake: Intake) -> Firing {
        Firing { decider, states, intake }
    }

    /// The built-in trigger, if it is one.
    pub(super) fn built_in(&self) -> Option<Trigger> {
        match &self.decider {
            Decider::BuiltIn(trigger) => Some(*trigger),
            Decider::Plugin(_) => None,
        }
    }

    /// From now on another trigger decides.
    pub(super) fn replace(&mut self, new: Replacement) {
        if let Decider::Plugin(plugin) = &mut self.decider {
            **plugin = TriggerPlugin { instance: new.instance, reads: new.reads };
        }
    }

    /// The guest, if there is one.
    pub(super) fn instance(&mut self) -> Option<&mut Instance> {
        match &mut self.decider {
            Decider::BuiltIn(_) => None,
            Decider::Plugin(plugin) => Some(&mut plugin.instance),
        }
    }

    /// A decision a row of the batch; row `i` is of pane `groups[i]`.
    pub(super) fn on_rows(
        &mut self,
        store: &mut KeyedStore,
        panes: &Panes,
        (batch, groups): (&Batch, &[u32]),
        occasion: &Occasion,
    ) -> Result<Vec<Decision>, TaskError> {
        match &mut self.decider {
            Decider::BuiltIn(trigger) => {
                let trigger = *trigger;
                let mut registers = self.registers(store, &panes.touched, occasion)?;
                let (mut timers, mut requests) = (Vec::new(), Vec::new());
                let decisions = groups
                    .iter()
                    .zip(batch.timestamps.iter())
                    .map(|(group, time)| {
                        let (window, registers) = (panes.windows[*group as usize], &mut registers[*group as usize]);
                        let decision = trigger.on_element(*time, window, occasion.times(), registers, &mut requests);
                        note(&mut timers, *group, &mut requests);
                        decision
                    })
                    .collect();
                self.remember(store, &panes.touched, &registers, occasion)?;
                store.change_timers(&panes.touched, &timers)?;
                Ok(decisions)
            }
            Decider::Plugin(plugin) => {
                let states = read_all(store, &panes.touched, self.states.clone(), occasion)?;
                let TriggerPlugin { instance, reads } = &mut **plugin;
                let elements = Elements { batch, reads, groups };
                let (moment, records) = (occasion.moment, occasion.records.clone());
                let verdict = instance.on_elements(moment, elements, &panes.windows, &states, records)?;
                self.take_effect(store, &panes.touched, verdict, occasion)
            }
        }
    }

    /// A decision for each of some of the timers, of which timer `i` is of pane `i`. Where time has ended no new timers are set but those within a window that ends:
    /// others might go on for ever.
    pub(super) fn on_timers(
        &mut self,
        store: &mut KeyedStore,
        panes: &Panes,
        (timers, part): (&[(EventTime, TimeDomain)], Range<usize>),
        ended: bool,
        occasion: &Occasion,
    ) -> Result<Vec<Decision>, TaskError> {
        match &mut self.decider {
            Decider::BuiltIn(trigger) => {
                let trigger = *trigger;
                let mut registers = self.registers(store, &panes.touched, occasion)?;
                let (mut changes, mut requests) = (Vec::new(), Vec::new());
                let decisions = part
                    .map(|pane| {
                        let decision =
                            trigger.on_timer(timers[pane], panes.windows[pane], &mut registers[pane], &mut requests);
                        note(&mut changes, pane as u32, &mut requests);
                        decision
                    })
                    .collect();
                self.remember(store, &panes.touched, &registers, occasion)?;
                store.change_timers(&panes.touched, &changes)?;
                Ok(decisions)
            }
            Decider::Plugin(plugin) => {
                let states = read_all(store, &panes.touched, self.states.clone(), occasion)?;
                let groups: Vec<u32> = part.clone().map(|pane| pane as u32).collect();
                let (moment, records) = (occasion.moment, occasion.records.clone());
                let mut verdict =
                    plugin.instance.on_timers(moment, &timers[part], &panes.windows, &groups, &states, records)?;
                let within = |timer: &TimerChange| {
                    let window = panes.windows[timer.key as usize];
                    window != Window::GLOBAL && timer.domain == TimeDomain::Event && timer.time <= window.last()
                };
                verdict.timers.retain(|timer| !ended || !timer.set || within(timer));
                self.take_effect(store, &panes.touched, verdict, occasion)
            }
        }
    }

    /// What is remembered of panes, to be given to [`merged`](Firing::merged).
    pub(super) fn remembered(
        &self,
        store: &mut KeyedStore,
        touched: &Touched,
        occasion: &Occasion,
    ) -> Result<Remembered, TaskError> {
        Ok(match &self.decider {
            Decider::BuiltIn(_) => Remembered::Registers(self.registers(store, touched, occasion)?),
            Decider::Plugin(_) => Remembered::States(read_all(store, touched, self.states.clone(), occasion)?),
        })
    }

    /// When a window has a timer for its end, if the trigger is ours.
    pub(super) fn end_timer(&self, window: Window) -> Option<(EventTime, TimeDomain)> {
        match &self.decider {
            Decider::BuiltIn(trigger) => trigger.end_timer(window),
            Decider::Plugin(_) => None,
        }
    }

    /// Sessions have been joined: the one of which `before[i]` was remembered is part of pane `groups[i]`. A decision a pane.
    pub(super) fn merged(
        &mut self,
        store: &mut KeyedStore,
        panes: &Panes,
        groups: &[u32],
        before: Remembered,
        occasion: &Occasion,
    ) -> Result<Vec<Decision>, TaskError> {
        match (&mut self.decider, before) {
            (Decider::BuiltIn(trigger), Remembered::Registers(before)) => {
                let trigger = *trigger;
                let mut of = vec![Vec::new(); panes.windows.len()];
                groups.iter().zip(before).for_each(|(group, registers)| of[*group as usize].push(registers));
                let (mut timers, mut requests) = (Vec::new(), Vec::new());
                let registers: Vec<Registers> = of
                    .into_iter()
                    .enumerate()
                    .map(|(pane, before)| {
                        let window = panes.windows[pane];
                        let merged = trigger.merged(before.into_iter(), window, occasion.times(), &mut requests);
                        note(&mut timers, pane as u32, &mut requests);
                        merged
                    })
                    .collect();
                self.remember(store, &panes.touched, &registers, occasion)?;
                store.change_timers(&panes.touched, &timers)?;
                Ok(vec![Decision::Continue; panes.windows.len()])
            }
            (Decider::Plugin(plugin), Remembered::States(before)) => {
                let (moment, records) = (occasion.moment, occasion.records.clone());
                let verdict = plugin.instance.merge_windows(moment, &panes.windows, groups, &before, records)?;
                self.take_effect(store, &panes.touched, verdict, occasion)
            }
            _ => Err(self.intake.bug("what a trigger remembers is another trigger's")),
        }
    }

    /// Whether panes that are to be forgotten fire once more: a decision each.
    pub(super) fn on_cleanup(
        &self,
        store: &mut KeyedStore,
        touched: &Touched,
        occasion: &Occasion,
    ) -> Result<Vec<Decision>, TaskError> {
        match &self.decider {
            Decider::BuiltIn(trigger) => {
                let registers = self.registers(store, touched, occasion)?;
                Ok(registers.into_iter().map(|registers| trigger.on_cleanup(registers)).collect())
            }
            Decider::Plugin(_) => Ok(vec![Decision::Continue; touched.len()]),
        }
    }

    fn registers(
        &self,
        store: &mut KeyedStore,
        touched: &Touched,
        occasion: &Occasion,
    ) -> Result<Vec<Registers>, TaskError> {
        let mut column = |register: usize| {
            let values = store.read(touched, self.states.start + register, occasion.now_ms())?;
            single(values, &self.intake)
        };
        let (pending, next) = (column(PENDING)?, column(NEXT)?);
        let value = |column: &ArrayRef, pane: usize| {
            column.is_valid(pane).then(|| column.as_primitive::<Int64Type>().value(pane))
        };
        let registers = |pane| Registers { pending: value(&pending, pane), next: value(&next, pane) };
        Ok((0..touched.len()).map(registers).collect())
    }

    fn remember(
        &self,
        store: &mut KeyedStore,
        touched: &Touched,
        registers: &[Registers],
        occasion: &Occasion,
    ) -> Result<(), TaskError> {
        // Where no end is to come, a window nobody waits for is as good as one not seen yet, and need not be kept.
        let endless = self.built_in().is_some_and(|trigger| trigger.end.is_none());
        let pending = |it: &Registers| it.pending.filter(|rows| !(endless && *rows == 0 && it.next.is_none()));
        let pending: ArrayRef = Arc::new(registers.iter().map(pending).collect::<Int64Array>());
        let next: ArrayRef = Arc::new(registers.iter().map(|it| it.next).collect::<Int64Array>());
        store.put_column(touched, self.states.start + PENDING, &pending, occasion.now_ms())?;
        store.put_column(touched, self.states.start + NEXT, &next, occasion.now_ms())?;
        Ok(())
    }

    fn take_effect(
        &self,
        store: &mut KeyedStore,
        touched: &Touched,
        verdict: Verdict,
        occasion: &Occasion,
    ) -> Result<Vec<Decision>, TaskError> {
        let changes: Vec<StateChange> =
            verdict.states.into_iter().map(|change| change_of(change, self.states.start, |key| key)).collect();
        store.apply(touched, &changes, occasion.now_ms())?;
        store.change_timers(touched, &verdict.timers)?;
        Ok(verdict.decisions)
    }
}

fn note(timers: &mut Vec<TimerChange>, pane: u32, requests: &mut Vec<TimerRequest>) {
    timers.extend(requests.drain(..).map(|TimerRequest { time, domain, set }| TimerChange {
        key: pane,
        time,
        domain,
        set,
    }));
}

/// What these states hold for each key touched.
pub(super) fn read_all(
    store: &mut KeyedStore,
    touched: &Touched,
    states: Range<usize>,
    occasion: &Occasion,
) -> Result<Vec<StateValues>, TaskError> {
    states.map(|state| store.read(touched, state, occasion.now_ms()).map_err(TaskError::from)).collect()
}
