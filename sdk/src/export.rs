//! The exports of a component.
//!
//! Guarantees: natively nothing is exported, but the types are still checked. Must not know: operators.

/// Exports the operators of a plugin, one of a kind: `export!(transform: words, aggregate: WordCount)`.
///
/// The kinds are `transform`, `aggregate`, `keyed_process`, `connected_process`, `broadcast_process`, `process_window`, `trigger` and `sink`.
/// Besides them, `checkpoint_listener` and `migration` name an operator of the same component that has these traits.
///
/// The plugin's name and version are those in the author's `Cargo.toml`.
#[macro_export]
macro_rules! export {
    ($($kind:ident : $operator:ty),+ $(,)?) => { $( $crate::__export!($kind, $operator); )+ };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (transform, $operator:ty) => {
        const _: () = {
            use $crate::bindings::types::{Batch, Description, Emission, Fault, Moment, Placement};
            use $crate::transform::Transform;
            $crate::__instance!($operator, Transform);
            impl $crate::bindings::exports_of_transform::Guest for Component {
                fn describe() -> Description {
                    describe()
                }
                fn configure(configuration: String, _: Placement) -> Result<(), String> {
                    configure(&configuration)
                }
                fn process(moment: Moment, batch: Batch) -> Result<Emission, Fault> {
                    with(|operator| Transform::process(operator, moment, batch))
                }
            }
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::transform::export!(Component with_types_in $crate::bindings::transform);
        };
    };
    (aggregate, $operator:ty) => {
        const _: () = {
            use $crate::aggregate::Aggregate;
            use $crate::bindings::exports_of_aggregate::{Accumulated, Accumulators};
            use $crate::bindings::types::{Batch, Column, Description, Fault, Moment, Placement};
            $crate::__instance!($operator, Aggregate);
            impl $crate::bindings::exports_of_aggregate::Guest for Component {
                fn describe() -> Description {
                    describe()
                }
                fn configure(configuration: String, _: Placement) -> Result<(), String> {
                    configure(&configuration)
                }
                fn accumulate(
                    moment: Moment,
                    batch: Batch,
                    groups: Vec<u32>,
                    accumulators: Accumulators,
                ) -> Result<Accumulated, Fault> {
                    with(|operator| Aggregate::accumulate(operator, moment, batch, groups, accumulators.values))
                }
                fn merge(accumulators: Accumulators, others: Accumulators, groups: Vec<u32>) -> Result<Column, Fault> {
                    with(|operator| Aggregate::merge(operator, accumulators.values, others.values, groups))
                }
                fn results(accumulators: Accumulators) -> Result<Vec<Column>, Fault> {
                    with(|operator| Aggregate::results(operator, accumulators.values))
                }
            }
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::aggregate::export!(Component with_types_in $crate::bindings::aggregate);
        };
    };
    (keyed_process, $operator:ty) => {
        const _: () = {
            use $crate::bindings::types::{Batch, Description, Fault, KeyedResult, Keys, Moment, Placement, StateValues, Timers};
            use $crate::keyed::KeyedProcess;
            $crate::__instance!($operator, KeyedProcess);
            impl $crate::bindings::exports_of_keyed_process::Guest for Component {
                fn describe() -> Description {
                    describe()
                }
                fn configure(configuration: String, _: Placement) -> Result<(), String> {
                    configure(&configuration)
                }
                fn process(
                    moment: Moment,
                    batch: Batch,
                    keys: Keys,
                    states: Vec<StateValues>,
                ) -> Result<KeyedResult, Fault> {
                    with(|operator| KeyedProcess::process(operator, moment, batch, keys, states))
                }
                fn fire(
                    moment: Moment,
                    timers: Timers,
                    keys: Keys,
                    states: Vec<StateValues>,
                ) -> Result<KeyedResult, Fault> {
                    with(|operator| KeyedProcess::fire(operator, moment, timers, keys, states))
                }
            }
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::keyed_process::export!(Component with_types_in $crate::bindings::keyed_process);
        };
    };
    (connected_process, $operator:ty) => {
        const _: () = {
            use $crate::bindings::types::{Batch, Description, Fault, KeyedResult, Keys, Moment, Placement, StateValues, Timers};
            use $crate::keyed::ConnectedProcess;
            $crate::__instance!($operator, ConnectedProcess);
            impl $crate::bindings::exports_of_connected_process::Guest for Component {
                fn describe() -> Description {
                    describe()
                }
                fn configure(configuration: String, _: Placement) -> Result<(), String> {
                    configure(&configuration)
                }
                fn process_first(
                    moment: Moment,
                    batch: Batch,
                    keys: Keys,
                    states: Vec<StateValues>,
                ) -> Result<KeyedResult, Fault> {
                    with(|operator| ConnectedProcess::process_first(operator, moment, batch, keys, states))
                }
                fn process_second(
                    moment: Moment,
                    batch: Batch,
                    keys: Keys,
                    states: Vec<StateValues>,
                ) -> Result<KeyedResult, Fault> {
                    with(|operator| ConnectedProcess::process_second(operator, moment, batch, keys, states))
                }
                fn fire(
                    moment: Moment,
                    timers: Timers,
                    keys: Keys,
                    states: Vec<StateValues>,
                ) -> Result<KeyedResult, Fault> {
                    with(|operator| ConnectedProcess::fire(operator, moment, timers, keys, states))
                }
            }
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::connected_process::export!(Component with_types_in $crate::bindings::connected_process);
        };
    };
    (broadcast_process, $operator:ty) => {
        const _: () = {
            use $crate::bindings::types::{Batch, Description, Fault, KeyedResult, Keys, Moment, Placement, StateValues, Timers};
            use $crate::broadcast::BroadcastProcess;
            use $crate::bindings::exports_of_broadcast_process::BroadcastResult;
            $crate::__instance!($operator, BroadcastProcess);
            impl $crate::bindings::exports_of_broadcast_process::Guest for Component {
                fn describe() -> Description {
                    describe()
                }
                fn configure(configuration: String, _: Placement) -> Result<(), String> {
                    configure(&configuration)
                }
                fn process(
                    moment: Moment,
                    batch: Batch,
                    keys: Keys,
                    states: Vec<StateValues>,
                ) -> Result<KeyedResult, Fault> {
                    with(|operator| BroadcastProcess::process(operator, moment, batch, keys, states))
                }
                fn process_broadcast(
                    moment: Moment,
                    batch: Batch,
                ) -> Result<BroadcastResult, Fault> {
                    with(|operator| BroadcastProcess::process_broadcast(operator, moment, batch))
                }
                fn fire(
                    moment: Moment,
                    timers: Timers,
                    keys: Keys,
                    states: Vec<StateValues>,
                ) -> Result<KeyedResult, Fault> {
                    with(|operator| BroadcastProcess::fire(operator, moment, timers, keys, states))
                }
            }
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::broadcast_process::export!(Component with_types_in $crate::bindings::broadcast_process);
        };
    };
    (process_window, $operator:ty) => {
        const _: () = {
            use $crate::bindings::types::{Batch, Description, Fault, KeyedResult, Keys, Moment, Placement, StateValues, Windows};
            use $crate::window::ProcessWindow;
            $crate::__instance!($operator, ProcessWindow);
            impl $crate::bindings::exports_of_process_window::Guest for Component {
                fn describe() -> Description {
                    describe()
                }
                fn configure(configuration: String, _: Placement) -> Result<(), String> {
                    configure(&configuration)
                }
                fn process(
                    moment: Moment,
                    windows: Windows,
                    keys: Keys,
                    elements: Batch,
                    groups: Vec<u32>,
                    states: Vec<StateValues>,
                ) -> Result<KeyedResult, Fault> {
                    with(|operator| ProcessWindow::process(operator, moment, windows, keys, elements, groups, states))
                }
            }
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::process_window::export!(Component with_types_in $crate::bindings::process_window);
        };
    };
    (trigger, $operator:ty) => {
        const _: () = {
            use $crate::bindings::types::{Batch, Description, Fault, Moment, Placement, StateValues, Timers, Windows};
            use $crate::trigger::Trigger;
            use $crate::bindings::exports_of_trigger::Verdict;
            use $crate::trigger::Call;
            $crate::__instance!($operator, Trigger);
            impl $crate::bindings::exports_of_trigger::Guest for Component {
                fn describe() -> Description {
                    describe()
                }
                fn configure(configuration: String, _: Placement) -> Result<(), String> {
                    configure(&configuration)
                }
                fn on_elements(
                    moment: Moment,
                    of: Batch,
                    windows: Windows,
                    groups: Vec<u32>,
                    states: Vec<StateValues>,
                ) -> Result<Verdict, Fault> {
                    with(|operator| Trigger::on_elements(operator, Call { moment, of, windows, groups, states }))
                }
                fn on_timers(
                    moment: Moment,
                    of: Timers,
                    windows: Windows,
                    groups: Vec<u32>,
                    states: Vec<StateValues>,
                ) -> Result<Verdict, Fault> {
                    with(|operator| Trigger::on_timers(operator, Call { moment, of, windows, groups, states }))
                }
                fn merge(
                    moment: Moment,
                    windows: Windows,
                    groups: Vec<u32>,
                    states: Vec<StateValues>,
                ) -> Result<Verdict, Fault> {
                    with(|operator| Trigger::merge(operator, Call { moment, of: (), windows, groups, states }))
                }
            }
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::trigger::export!(Component with_types_in $crate::bindings::trigger);
        };
    };
    (sink, $operator:ty) => {
        const _: () = {
            use $crate::bindings::types::{Batch, Description, Fault, Moment, Placement, StateValues};
            use $crate::sink::Sink;
            use $crate::bindings::exports_of_sink::Written;
            $crate::__instance!($operator, Sink);
            impl $crate::bindings::exports_of_sink::Guest for Component {
                fn describe() -> Description {
                    describe()
                }
                fn configure(configuration: String, _: Placement) -> Result<(), String> {
                    configure(&configuration)
                }
                fn write(
                    moment: Moment,
                    batch: Batch,
                    states: Vec<StateValues>,
                ) -> Result<Written, Fault> {
                    with(|operator| Sink::write(operator, moment, batch, states))
                }
                fn finish(
                    moment: Moment,
                    states: Vec<StateValues>,
                ) -> Result<Written, Fault> {
                    with(|operator| Sink::finish(operator, moment, states))
                }
            }
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::sink::export!(Component with_types_in $crate::bindings::sink);
        };
    };
    (checkpoint_listener, $operator:ty) => {
        const _: () = {
            use $crate::lifecycle::{CheckpointListener, Instance};
            #[allow(dead_code)]
            struct Component;
            impl $crate::bindings::exports_of_checkpoint_listener::Guest for Component {
                fn completed(checkpoint: u64) {
                    <$operator as Instance>::visit(|operator| CheckpointListener::completed(operator, checkpoint));
                }
                fn aborted(checkpoint: u64) {
                    <$operator as Instance>::visit(|operator| CheckpointListener::aborted(operator, checkpoint));
                }
            }
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::checkpoint_listener::export!(Component with_types_in $crate::bindings::checkpoint_listener);
        };
    };
    (migration, $operator:ty) => {
        const _: () = {
            use $crate::bindings::types::{Column, Fault};
            use $crate::lifecycle::{Instance, migrate};
            #[allow(dead_code)]
            struct Component;
            impl $crate::bindings::exports_of_migration::Guest for Component {
                fn migrate(state: u32, from_version: u32, values: Column) -> Result<Column, Fault> {
                    migrate::<$operator>(<$operator as Instance>::states(), state, from_version, values)
                        .map_err(Fault::Fail)
                }
            }
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::migration::export!(Component with_types_in $crate::bindings::migration);
        };
    };
    ($kind:ident, $operator:ty) => {
        compile_error!(concat!(
            "`",
            stringify!($kind),
            "` is no kind of operator; there are `transform`, `aggregate`, `keyed_process`, `connected_process`, ",
            "`broadcast_process`, `process_window`, `trigger` and `sink`, and besides them `checkpoint_listener` and `migration`"
        ));
    };
}

/// The one instance in a component, and what all kinds do with it.
#[doc(hidden)]
#[macro_export]
macro_rules! __instance {
    ($operator:ty, $trait:ident) => {
        #[allow(dead_code)]
        struct Component;

        thread_local! {
            static INSTANCE: std::cell::RefCell<Option<$operator>> = const { std::cell::RefCell::new(None) };
        }

        impl $crate::lifecycle::Instance for $operator {
            fn visit(call: impl FnOnce(&mut Self)) {
                INSTANCE.with_borrow_mut(|operator| operator.as_mut().map(call));
            }
            fn states() -> Vec<$crate::bindings::types::State> {
                describe().states
            }
        }

        #[allow(dead_code)]
        fn describe() -> Description {
            $crate::log::catch_panics();
            <$operator as $trait>::describe($crate::operator::Identity {
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
            })
        }

        #[allow(dead_code)]
        fn configure(configuration: &str) -> Result<(), String> {
            $crate::log::catch_panics();
            let operator = <$operator as $trait>::new(configuration)?;
            INSTANCE.set(Some(operator));
            Ok(())
        }

        #[allow(dead_code)]
        fn with<R>(call: impl FnOnce(&mut $operator) -> Result<R, Fault>) -> Result<R, Fault> {
            INSTANCE.with_borrow_mut(|operator| match operator {
                Some(operator) => call(operator),
                None => Err(Fault::Fail("the operator was called before it was configured".into())),
            })
        }
    };
}
