//! A running guest: calls into it, what each may cost, and its replacement. An instance belongs to one task; nothing that must
//! last lives in it, so it is thrown away after any failure and whenever its memory has grown too much.
use std::{ops::Range, sync::Arc, time::Duration};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task,
};
use wasmtime::{
    AsContext, AsContextMut, Store, StoreContext, StoreContextMut, Trap, UpdateDeadline,
    component::{ComponentNamedList, Func, Lift, Lower, TypedFunc},
};

use super::{
    budget::{Budget, Deadline},
    calls::{CallMoment, Measured, Optional},
    component::{Plugin, interface},
    contract::types,
    engine::EPOCH_TICK,
    error::{CallError, CallFailure, LoadError, words},
    guest::GuestState,
    maps::{Lent, Maps},
    measures::{Measures, Series},
    wasi::{Grants, Refused, Wasi},
};
use crate::model::{Description, OperatorKind, thread_processor_time};

/// Bytes that the host takes over with the result of a call, or with what an import is called with: lists may lie in the same memory of
/// the guest many times over.
pub const RETURNED_BYTES_MAX: usize = 128 << 20;

/// How long a call may hold a thread that other tasks wait for: one that takes longer is made anew where it holds up nobody, with all the time there is.
pub const HELD_TIME_MAX: Duration = Duration::from_millis(50);

/// Calls made so after one that took longer or failed, before it is tried again whether they are fast: so many that a slow guest loses less than 1 % to that.
const ASIDE_CALLS: u32 = 100;

/// What an instance may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of linear memories and tables.
    pub memory_bytes: usize,
    /// The longest a call may take on a processor; exact to two of [`EPOCH_TICK`].
    pub batch_time: Duration,
    /// An instance with more memory than this is replaced between two calls.
    pub retire_memory_bytes: usize,
    /// What else a call may cost.
    pub budget: Budget,
}

/// Resources of the host, and of its own, that an instance may have open.
const HANDLES_MAX: usize = 4096;

/// Where an instance runs.
#[derive(Clone)]
pub struct Placement {
    /// Name of the operator in the job.
    pub operator: String,
    /// Which of its subtasks, from 0.
    pub subtask: u32,
    /// How many there are.
    pub parallelism: u32,
    /// What it is granted there.
    pub grants: Grants,
}

impl Placement {
    /// Of an instance that is only asked what it is, or configured.
    pub fn scratch(operator: &str) -> Placement {
        Placement { operator: operator.to_owned(), subtask: 0, parallelism: 1, grants: Grants::default() }
    }
}

/// A store with an instance in it.
pub(super) struct Call {
    store: Store<GuestState>,
    instance: wasmtime::component::Instance,
    /// Of the call under way, or the next.
    deadline: Deadline,
    pub(super) budget: Budget,
}

impl AsContext for Call {
    type Data = GuestState;
    fn as_context(&self) -> StoreContext<'_, GuestState> {
        self.store.as_context()
    }
}

impl AsContextMut for Call {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, GuestState> {
        self.store.as_context_mut()
    }
}

/// A function of the contract, found in an instance.
#[derive(Clone, Copy)]
pub(super) struct Function(Func);

impl Call {
    pub(super) fn open(
        plugin: &Plugin,
        kind: OperatorKind,
        placement: &Placement,
        limits: &Limits,
    ) -> Result<Call, LoadError> {
        let state = GuestState {
            operator: placement.operator.clone(),
            subtask: placement.subtask,
            memory_bytes_max: limits.memory_bytes,
            memory_bytes: 0,
            memory_exceeded: false,
            log_lines: 0,
            last_error: None,
            maps: None,
            wasi: Wasi::new(placement.grants.clone()),
            deadline: Deadline::of_batch(limits.batch_time),
            began: thread_processor_time(),
        };
        let mut store = Store::new(plugin.engine.engine(), state);
        store.limiter(|state| state);
        store.epoch_deadline_callback(|store| match store.data().left() {
            Some(left) => Ok(UpdateDeadline::Continue(ticks(left))),
            None => Err(Trap::Interrupt.into()),
        });
        store.set_hostcall_fuel(RETURNED_BYTES_MAX);
        store.set_max_component_handles(HANDLES_MAX);
        store.set_epoch_deadline(ticks(limits.batch_time));
        let instance = plugin.pre.instantiate(&mut store);
        store.data_mut().end_call();
        let instance = instance.map_err(|error| {
            let failure = failure(&store, &error);
            LoadError::Start(format!("the {} cannot be instantiated: {failure}", kind.interface()))
        })?;
        Ok(Call { store, instance, deadline: Deadline::of_batch(limits.batch_time), budget: limits.budget })
    }

    pub(super) fn function(&mut self, interface: &str, name: &str) -> Result<Function, LoadError> {
        let found = self
            .instance
            .get_export_index(&mut self.store, None, interface)
            .and_then(|index| self.instance.get_export_index(&mut self.store, Some(&index), name))
            .and_then(|index| self.instance.get_func(&mut self.store, index));
        found.map(Function).ok_or_else(|| {
            LoadError::Contract(format!("the component exports `{interface}` without its function `{name}`"))
        })
    }
}

impl Function {
    fn typed<P, R>(self, call: &Call) -> wasmtime::Result<TypedFunc<P, R>>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        self.0.typed(call)
    }

    /// Refuses a function of another type than the contract's, naming the difference.
    pub(super) fn check<P, R>(self, call: &Call, name: &str) -> Result<Function, LoadError>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        match self.typed::<P, R>(call) {
            Ok(_) => Ok(self),
            Err(error) => {
                Err(LoadError::Contract(format!("`{name}` has another type than in the contract: {error:#}")))
            }
        }
    }

    /// One call, within its limits.
    pub(super) fn call<P, R>(self, call: &mut Call, parameters: P) -> Result<R, CallFailure>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift + 'static,
    {
        call.store.set_epoch_deadline(ticks(call.deadline.time));
        call.store.data_mut().begin_call(call.deadline);
        let result = self.typed::<P, R>(call).and_then(|function| function.call(&mut call.store, parameters));
        call.store.data_mut().end_call();
        result.map_err(|error| failure(&call.store, &error))
    }

    /// The same, with maps for the guest to read.
    pub(super) fn call_reading<P, R>(
        self,
        call: &mut Call,
        maps: &mut Maps<'_>,
        parameters: P,
    ) -> Result<R, CallFailure>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift + 'static,
    {
        // SAFETY: `maps` outlives this function, which takes the loan back before it returns. If it does not return, but
        // unwinds, then so does `Instance::run`, and the store goes without running again.
        call.store.data_mut().maps = Some(unsafe { Lent::new(maps) });
        let result = self.call(call, parameters);
        call.store.data_mut().maps = None;
        result
    }
}

/// Epoch ticks after which to see whether a call must end: never less than asked for, since the first tick may come at once.
fn ticks(time: Duration) -> u64 {
    time.as_micros().div_ceil(EPOCH_TICK.as_micros()).try_into().unwrap_or(u64::MAX / 2).saturating_add(1)
}

/// Does work that may take long here, while the tasks that this thread would run go on elsewhere. Where there are no other threads, they wait.
fn aside<R>(work: impl FnOnce() -> R) -> R {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => task::block_in_place(work),
        _ => work(),
    }
}

fn failure(store: &Store<GuestState>, error: &wasmtime::Error) -> CallFailure {
    let state = store.data();
    if state.memory_exceeded {
        return CallFailure::Memory(state.memory_bytes_max);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => state.deadline.passed(),
        Some(Trap::StackOverflow) => CallFailure::Stack,
        Some(trap) => {
            let place = error
                .chain()
                .map(ToString::to_string)
                .find(|text| text.starts_with("error while executing"))
                .unwrap_or_default();
            let logged = state.last_error.as_ref().map(|line| format!("{line}; ")).unwrap_or_default();
            CallFailure::Trap(words(format!("{logged}{trap}{}{place}", if place.is_empty() { "" } else { "; " })))
        }
        None => match error.downcast_ref::<Refused>() {
            Some(refused) => CallFailure::Trap(refused.to_string()),
            None => CallFailure::Nonsense(words(format!("{error:#}"))),
        },
    }
}

/// A configured guest.
pub struct Instance {
    plugin: Arc<Plugin>,
    kind: OperatorKind,
    configuration: String,
    placement: Placement,
    limits: Limits,
    description: Arc<Description>,
    /// `name@version`.
    name: Arc<str>,
    /// What its metrics are counted in, in their order; empty if nowhere.
    series: Vec<Arc<Series>>,
    /// None after a failure, until the next call needs one.
    running: Option<Running>,
    /// How many calls are to be made aside.
    aside: u32,
    replaced: u64,
}

pub(super) struct Running {
    pub(super) call: Call,
    /// In the order of [`functions_of`](super::calls::functions_of).
    pub(super) functions: Vec<Function>,
    pub(super) optional: Optional,
}

impl Instance {
    pub(super) fn new(
        plugin: Arc<Plugin>,
        kind: OperatorKind,
        configuration: &str,
        placement: Placement,
        limits: Limits,
    ) -> Result<Instance, LoadError> {
        let description = plugin.description(kind).cloned().map(Arc::new).ok_or_else(|| {
            LoadError::Contract(format!("{} exports no {}", plugin.path().display(), kind.interface()))
        })?;
        let mut instance = Instance {
            plugin,
            kind,
            configuration: configuration.to_owned(),
            placement,
            limits,
            name: format!("{}@{}", description.name, description.version).into(),
            description,
            series: Vec::new(),
            running: None,
            aside: 0,
            replaced: 0,
        };
        instance.running = Some(instance.start()?);
        Ok(instance)
    }

    /// What the operator says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The same, to be kept during a call.
    pub(super) fn shared_description(&self) -> Arc<Description> {
        self.description.clone()
    }

    /// Its plugin, as `name@version`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// The operator's or sink's name in the job.
    pub fn operator(&self) -> &str {
        &self.placement.operator
    }

    /// Whether it makes values of earlier schema versions of its states into the current ones.
    pub fn migrates(&self) -> bool {
        self.plugin.migrates()
    }

    /// How many times the guest was replaced because its memory had grown too much.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// From now on, what calls measure that succeed is counted here. Before, nowhere.
    pub fn count_in(&mut self, measures: &Measures) {
        self.series = measures.series(&self.description.metrics);
    }

    /// A fresh guest. Starting and configuring it may take as long as a call may, and nobody else is to wait for that.
    fn start(&self) -> Result<Running, LoadError> {
        aside(|| self.started())
    }

    fn started(&self) -> Result<Running, LoadError> {
        let mut call = Call::open(&self.plugin, self.kind, &self.placement, &self.limits)?;
        let exports = &self.plugin.exports;
        let version =
            exports.kinds.iter().find(|(kind, _)| *kind == self.kind).map_or("", |(_, version)| version.as_str());
        let interface = interface(self.kind, version);
        let placement = types::Placement {
            operator: self.placement.operator.clone(),
            subtask: self.placement.subtask,
            parallelism: self.placement.parallelism,
        };
        // First: a guest that refuses this configuration may take another, and is to be one that can be called then.
        let functions = super::calls::functions_of(self.kind, &interface, &mut call)?;
        let optional = Optional::of(exports, &mut call)?;
        let configure = call
            .function(&interface, "configure")?
            .check::<(&str, types::Placement), (Result<(), String>,)>(&call, "configure")?;
        let (configured,): (Result<(), String>,) = configure
            .call(&mut call, (self.configuration.as_str(), placement))
            .map_err(|failure| LoadError::Start(format!("`configure`: {failure}")))?;
        configured.map_err(|said| LoadError::Configuration(words(said)))?;
        Ok(Running { call, functions, optional })
    }

    /// Runs `work` in the guest, a fresh one if need be, and counts what it measured. After a failure the guest is thrown away. If it takes longer than
    /// [`HELD_TIME_MAX`], it is done anew, aside. `records` are the rows of the call, for the error; `items` is how many rows, timers or windows it is
    /// given; `moment` is that of the call, if it has one.
    pub(super) fn run<R: Measured>(
        &mut self,
        moment: Option<CallMoment>,
        records: Range<u64>,
        items: usize,
        mut work: impl FnMut(&mut Running) -> Result<R, CallFailure>,
    ) -> Result<R, CallError> {
        let deadline = self.limits.budget.deadline(items, self.limits.batch_time);
        if self.aside == 0 {
            let held = match deadline.time > HELD_TIME_MAX {
                true => Deadline { time: HELD_TIME_MAX, on_processor: false, ..deadline },
                false => deadline,
            };
            match self.attempt(moment, held, &mut work) {
                Ok(result) => return Ok(result),
                Err(failure) => {
                    self.aside = ASIDE_CALLS;
                    if held == deadline || !failure.is_late() {
                        return Err(self.error(records, failure));
                    }
                }
            }
        }
        self.aside -= 1;
        aside(|| self.attempt(moment, deadline, &mut work)).map_err(|failure| {
            // What is sought now fails often.
            self.aside = ASIDE_CALLS;
            self.error(records, failure)
        })
    }

    fn attempt<R: Measured>(
        &mut self,
        moment: Option<CallMoment>,
        deadline: Deadline,
        work: &mut impl FnMut(&mut Running) -> Result<R, CallFailure>,
    ) -> Result<R, CallFailure> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self.start().map_err(|error| CallFailure::Trap(error.to_string()))?,
        };
        running.call.store.data_mut().wasi.begin(moment);
        running.call.deadline = deadline;
        let result = work(&mut running)?;
        for (metric, value) in result.measurements() {
            if let Some(series) = self.series.get(*metric) {
                series.record(*value);
            }
        }
        if running.call.store.data().memory_bytes > self.limits.retire_memory_bytes {
            self.replaced += 1;
        } else {
            self.running = Some(running);
        }
        Ok(result)
    }

    pub(super) fn error(&self, records: Range<u64>, failure: CallFailure) -> CallError {
        CallError {
            plugin: self.name.to_string(),
            operator: self.placement.operator.clone(),
            subtask: self.placement.subtask,
            records,
            failure,
        }
    }
}
